import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.runtime.numerics import entropy, row_chunks, softmax, wilson_interval


def test_softmax_is_fp32_and_does_not_overflow():
    found = softmax(np.array([[1000.0, 1000.0, -1000.0], [0.0, math.log(2), math.log(5)]], dtype=np.float32))
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array([[0.5, 0.5, 0.0], [1 / 8, 2 / 8, 5 / 8]]))


def test_entropy_of_known_distributions():
    found = entropy(np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]], dtype=np.float32))
    assert found.dtype == np.float64
    assert found == pytest.approx([0, math.log(2), math.log(3)])
    assert not np.signbit(found).any()


def test_wilson_interval_of_a_textbook_case():
    # p = 0.05, n = 100, z = 1.96: centre (0.05 + 0.0192) / 1.0384 = 0.0667, half-width 0.0451.
    assert wilson_interval(0.05, 100) == pytest.approx((0.0215, 0.1118), abs=1e-4)
    # p = 0.8, n = 10, z = 1.645: (0.8 + 0.1353 − 1.645 · √(0.016 + 0.00676)) / 1.2706.
    assert wilson_interval(0.8, 10, 1.645)[0] == pytest.approx(0.5408, abs=1e-4)


def test_wilson_interval_without_a_sample_is_everything():
    assert wilson_interval(0.0, 0) == (0.0, 1.0)


@given(st.integers(1, 10_000), st.data())
def test_wilson_interval_holds_the_share_and_mirrors(count, data):
    successes = data.draw(st.integers(0, count))
    low, high = wilson_interval(successes / count, count)
    assert 0 <= low <= successes / count + 1e-12
    assert successes / count - 1e-12 <= high <= 1
    assert wilson_interval((count - successes) / count, count) == pytest.approx((1 - high, 1 - low))


@given(st.integers(0, 300), st.integers(1, 70))
def test_row_chunks_cover_every_row_once(count, size):
    rows = np.arange(count)
    chunks = [rows[chunk] for chunk in row_chunks(count, size)]
    assert all(0 < len(chunk) <= size for chunk in chunks)
    assert np.concatenate([rows[:0], *chunks]).tolist() == rows.tolist()
