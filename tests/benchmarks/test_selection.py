"""Learning and judging the selection rule, on settings with planted structure."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from muka_fast.selection.conditional_logit import weights_for
from tests.helpers.planted import planted

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import learn_selection
import selection
import selection_labels
import selection_pools


@pytest.fixture(scope="module")
def signals(tmp_path_factory):
    """Three settings of 240 pool, 40 test and 40 foreign texts."""
    folder = tmp_path_factory.mktemp("signals")
    for number, (name, counts) in enumerate({"a-2": (140, 140), "b-2": (140, 140), "a+c": (140, 140)}.items()):
        texts, owner = planted(counts, seed=number, unknown=40)
        order = np.concatenate([np.random.default_rng(number).permutation(280), 280 + np.arange(40)])
        kinds = texts.predicted[np.arange(320), np.maximum(owner, 0)]  # a teacher is nearly always right on its own
        of = np.array([f"{o}{kind}" if o >= 0 else "?" for o, kind in zip(owner, kinds, strict=True)])
        columns = {f"logits{t}": texts.logits[t][order].astype(np.float16) for t in range(2)}
        columns |= {f"feat{t}": texts.features[t][order].astype(np.float16) for t in range(2)}
        classes = [[f"{t}{c}" for c in range(3)] for t in range(2)]
        np.savez(
            folder / f"{name}.npz", n=[240, 40, 40], labels=of[order], classes=json.dumps(classes),
            emb=texts.embeddings[order], names=texts.names[order], **columns,
        )  # fmt: skip
    return folder


def test_cells_keep_what_they_say(signals):
    setting = selection_pools.settings(signals)[0]
    assert setting.data_sets == {"a", "c"}
    whole = selection_pools.cell(setting, "balanced")
    skewed = selection_pools.cell(setting, "12 % of teacher 1")
    unknown = selection_pools.cell(setting, "foreign")
    assert len(whole.texts) == 240
    assert skewed.known_by[:, 0].sum() == whole.known_by[:, 0].sum()
    assert 0 < skewed.known_by[:, 1].sum() < 0.3 * whole.known_by[:, 1].sum()
    assert (~unknown.known_by.any(1)).sum() == 40


def test_recalls_and_shares_by_hand():
    known_by = np.array([[True, False]] * 6 + [[False, True]] * 4)
    scores = np.array([[1.0, 0.0]] * 9 + [[0.0, 1.0]])
    assert selection_pools.recalls(known_by, scores).tolist() == [100.0]  # the second has fewer than five texts
    assert selection_pools.share_right(known_by, scores) == pytest.approx(70.0)


def test_the_rule_is_judged_in_five_cells(signals, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["selection.py", "--signals", str(signals), "--json"])
    selection.main()
    rows = json.loads(capsys.readouterr().out)
    assert [(row["setting"], row["cell"]) for row in rows] == [
        (name, cell) for name in ("a+c", "a-2", "b-2") for cell in selection_pools.CELLS
    ]
    assert set(rows[0]) >= {"recall", "lowest", "chosen", "entropy_recall", "entropy_chosen", "reliability", "seconds"}
    assert np.mean([row["recall"] for row in rows]) > np.mean([row["entropy_recall"] for row in rows])


def test_a_conditional_logit_recovers_its_weights():
    random = np.random.default_rng(0)
    x = random.normal(size=(4000, 3, 2))
    p = np.exp(x @ [2.0, -1.0])
    p /= p.sum(1, keepdims=True)
    chosen = (random.random((4000, 1)) > p.cumsum(1)).sum(1)
    known_by = np.eye(3, dtype=bool)[chosen]
    found = learn_selection.fit_conditional_logit([(x, known_by, np.full(4000, 1 / 4000))], 1e-6)
    assert found == pytest.approx([2.0, -1.0], abs=0.15)


def test_weights_are_learned_without_the_judged_data_set(signals, tmp_path, monkeypatch):
    seen = []
    learn = learn_selection.learn

    def spy(pools, numbers, ridge, without=frozenset()):
        seen.append({one.pool.setting for one in pools if not one.pool.data_sets & without})
        return learn(pools, numbers, ridge, without)

    monkeypatch.setattr(learn_selection, "learn", spy)
    weights = tmp_path / "weights.json"
    monkeypatch.setattr(learn_selection, "WEIGHTS", weights)
    arguments = ["--signals", str(signals), "--out", str(tmp_path / "out.json"), "--derived", "1", "--write"]
    monkeypatch.setattr(sys, "argv", ["learn_selection.py", *arguments, "--kinds", "encoder + features"])
    learn_selection.main()
    assert {"b-2"} in seen  # judging a-2, weights come from b-2 alone: a+c has its texts
    results = json.loads((tmp_path / "out.json").read_text())["kinds"]["encoder + features"]
    assert len(results["rows"]) == 3 * len(selection_pools.CELLS)
    assert json.loads(weights.read_text())["weights"]["encoder + features"]["reliability"]["constant"] != 0


def test_labels_are_measured_in_a_cell_and_shown(signals, tmp_path, monkeypatch, capsys):
    weights, out, page = tmp_path / "weights.json", tmp_path / "out.json", tmp_path / "page.md"
    whole = weights_for(encoder=True, names=True, features=True)
    own = {"evidence": whole.evidence, "prototypes": whole.prototypes}
    weights.write_text(json.dumps({"a+c": own, "a": own, "b": own}))
    arguments = [
        "--signals",
        str(signals),
        "--out",
        str(out),
        "--weights",
        str(weights),
        "--cells",
        "12 % of teacher 0",
    ]
    monkeypatch.setattr(sys, "argv", ["selection_labels.py", *arguments])
    selection_labels.main()
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 3 * (2 + 2 * len(selection_labels.COUNTS))
    assert {(row["labels"], row["count"]) for row in rows} >= {("none", 0), ("shares", 0), ("random", 50), ("ask", 200)}
    assert all(row["recall"] >= row["others"] for row in rows)
    assert all(row["recall"] == row["others"] for row in rows if not row["count"])
    page.write_text("<!-- selection-labels: few -->\n\n<!-- end -->\n")
    monkeypatch.setattr(sys, "argv", ["selection_labels.py", "--show", str(out), "--documents", str(page)])
    selection_labels.main()
    assert "| 50, by `ask` |" in page.read_text()
    assert "12 % of teacher 0" in capsys.readouterr().out
