"""The page of a comparison: its numbers, and hostile texts."""

import re

import numpy as np

from muka_fast.evaluation.drift import compare, pool_reference
from muka_fast.evaluation.drift_report import drift_page, share_rows
from muka_fast.inference.predictions import distributions
from tests.helpers.records import HOSTILE


def drift(texts=200):
    logits = np.random.default_rng(0).normal(0, 2, (texts, 3)).astype(np.float32)
    reference = pool_reference(distributions(logits[: texts // 2] + np.float32([2, 0, 0])), held_out=True)
    return compare(
        distributions(logits), [HOSTILE] * texts, reference, ("pay", "save", HOSTILE), ("bank", "bank", HOSTILE)
    )


def test_the_page_shows_the_numbers_and_loads_nothing():
    found = drift()
    page = drift_page(found)
    assert "<h1>200 new texts compared with the pool</h1>" in page
    assert f"{found.classes.shift.psi:.3f}, threshold {found.classes.shift.threshold:.3f}: drift." in page
    assert page.count("<svg") == 2
    assert not re.search(r"(?:src|href)=", page)


def test_no_text_becomes_markup():
    page = drift_page(drift())
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_too_few_texts_for_a_comparison_are_named():
    assert "Too few texts for a comparison." in drift_page(drift(texts=4))


def test_the_largest_change_stands_first():
    rows = share_rows(drift().classes)
    changes = [abs(float(now.split()[0]) - float(before.split()[0])) for _, now, before in rows]
    assert changes == sorted(changes, reverse=True)
    assert rows[0][0] == "pay"
