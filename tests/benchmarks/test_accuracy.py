"""The comparison of methods: its tables on small frames, its measurements on tiny teachers."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.helpers.models import make_model, texts

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import accuracy  # noqa: E402
import accuracy_tables  # noqa: E402
import mix_pool  # noqa: E402

NAMES = (("music", "weather"), ("travel", "bank", "lights"))


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    base = tmp_path_factory.mktemp("accuracy")
    run = base / "tiny" / "seed-0"
    for number, names in enumerate(NAMES, start=1):
        make_model(run / f"teacher-{number}", names, seed=number)
    make_model(base / "base", ("x", "y"), seed=3)
    labels = [name for names in NAMES for name in names]
    for file, count, start in (("pool", 80, 0), ("test", 30, 100)):
        rows = [(text, labels[index % 5]) for index, text in enumerate(texts(count, start))]
        pd.DataFrame(rows, columns=["text", "label"]).to_parquet(run / f"{file}.parquet")
    teachers = [{"classes": list(names)} for names in NAMES]
    (run / "teachers.json").write_text(json.dumps({"settings": {"seed": 0}, "teachers": teachers}))
    return base


@pytest.mark.slow
def test_every_method_is_measured_and_nothing_twice(setting, monkeypatch, capsys):
    results = setting / "results.parquet"
    arguments = [str(setting / "tiny"), "--base", str(setting / "base"), "--results", str(results), "--steps", "2"]
    for methods in (["muka", "pool"], list(accuracy.EVERY)):
        monkeypatch.setattr(sys, "argv", ["accuracy.py", *arguments, "--methods", *methods])
        accuracy.main()
    assert capsys.readouterr().out.count("tiny seed 0") == len(accuracy.EVERY)
    frame = pd.read_parquet(results).set_index("method")
    assert set(frame.index) == set(accuracy.EVERY)
    assert frame["accuracy"].between(0, 1).all()
    assert frame.loc["oracle", "chosen"] == 1
    assert frame.loc["supervised", "passes"] == 0
    assert (frame.loc["muka", "passes"], frame.loc["pool", "passes"]) == (17, 1)
    assert frame.loc["pool", "pseudo"] <= frame.loc["oracle", "pseudo"]
    assert (frame["test_texts"] == 30).all()
    assert frame["device"].str.startswith("cpu").all()


def test_selection_is_measured_without_students(setting, monkeypatch, capsys):
    results, page = setting / "selection.parquet", setting / "page.md"
    page.write_text("<!-- accuracy: selection -->\n\n<!-- end -->\n")
    arguments = [str(setting / "tiny"), "--base", str(setting / "base"), "--results", str(results), "--no-students"]
    monkeypatch.setattr(sys, "argv", ["a", *arguments, "--methods", "energy", "pool", "--documents", str(page)])
    monkeypatch.setattr(accuracy, "train", None)
    accuracy.main()
    frame = pd.read_parquet(results).set_index("method")
    assert frame["accuracy"].isna().all()
    row = " | ".join(f"{100 * frame.loc[name, 'chosen']:.1f}" for name in ("energy", "pool"))
    assert f"| setting | texts | energy | pool |\n|---|---|---|---|\n| tiny | 80 | {row} |" in page.read_text()


def test_passes_other_than_the_papers_are_named(setting, monkeypatch):
    results = setting / "sweep.parquet"
    arguments = [str(setting / "tiny"), "--base", str(setting / "base"), "--results", str(results), "--no-students"]
    for passes, scope in ((2, "full"), (3, "last-1")):
        extra = ["--methods", "muka", "--passes", str(passes), "--scope", scope]
        monkeypatch.setattr(sys, "argv", ["a", *arguments, *extra])
        accuracy.main()
    frame = pd.read_parquet(results)
    assert list(frame["method"]) == ["muka, K = 2", "muka, K = 3, last-1"]
    assert list(frame["passes"]) == [3, 4]


def test_upper_bounds_leave_out_of_domain_texts_out(setting, monkeypatch):
    other = pd.DataFrame({"text": [f"nothing {i}" for i in range(60)], "label": "odd", "split": "train"})
    other.to_parquet(setting / "other.parquet")
    arguments = [setting / "tiny" / "seed-0", "--out-of-domain", setting / "other.parquet", "--share", "0.2"]
    monkeypatch.setattr(sys, "argv", ["mix_pool.py", *map(str, arguments), "--out", str(setting / "mixed" / "seed-0")])
    mix_pool.main()
    run = accuracy.Run(setting / "mixed" / "seed-0", str(setting / "base"), 2, 8, 1e-3, 32, 0)
    assert (len(run.truth), int((run.truth < 0).sum())) == (100, 20)
    for bound in accuracy.BOUNDS:
        trust, goal = accuracy.select_and_build_targets(run, bound)
        assert (goal.sample_weight == (run.truth >= 0)).all()
        assert accuracy.selection_shares(run, trust)["chosen"] == 1
    goal = accuracy.select_and_build_targets(run, "supervised")[1].targets
    assert (goal.argmax(1) == run.truth)[run.truth >= 0].all()


def test_a_skewed_pool_has_its_share():
    pool = pd.DataFrame({"text": [str(i) for i in range(100)], "label": ["a", "b"] * 50})
    mixed = mix_pool.skewed(pool, ["a"], 0.9, seed=0)
    assert dict(mixed["label"].value_counts()) == {"a": 50, "b": 6}
    assert dict(mix_pool.skewed(pool, ["a"], 0.2, seed=0)["label"].value_counts()) == {"b": 48, "a": 12}


def test_a_pool_may_be_drawn_or_take_texts_of_one_out_of_domain_class(setting, monkeypatch):
    other = pd.DataFrame({"text": [f"none {i}" for i in range(60)], "label": ["odd", "even"] * 30, "split": "train"})
    other.to_parquet(setting / "classes.parquet")
    run = str(setting / "tiny" / "seed-0")
    other_texts = ["--out-of-domain", str(setting / "classes.parquet"), "--class", "odd", "--share", "0.2"]
    for extra, out in ((["--size", "30"], "drawn"), (other_texts, "one-class")):
        monkeypatch.setattr(sys, "argv", ["mix_pool.py", run, *extra, "--out", str(setting / out)])
        mix_pool.main()
    assert len(pd.read_parquet(setting / "drawn" / "pool.parquet")) == 30
    labels = pd.read_parquet(setting / "one-class" / "pool.parquet")["label"].value_counts()
    assert labels["out of domain: odd"] == 20
    assert "out of domain: even" not in labels


def test_the_table_of_students_without_passes():
    rows = [
        (setting, 0, method, accuracy, 0.5)
        for setting, entropy, ours, best in (
            ("a", 0.5, 0.8, 0.9),
            ("b", 0.8, 0.7, 0.82),
            ("unfinished", 0.5, 0.6, None),
        )
        for method, accuracy in (("single-pass entropy", entropy), ("pool", ours), ("oracle", best))
        if accuracy is not None
    ]
    frame = pd.DataFrame(rows, columns=["setting", "seed", "method", "accuracy", "chosen"])
    assert accuracy_tables.students(frame).splitlines()[2:] == [
        "| a | 50.0, 50.0 | 50.0 | 80.0 | 90.0 | +30.0 | 75% |",
        "| b | 50.0, 50.0 | 80.0 | 70.0 | 82.0 | -10.0 | – |",
        "| **mean** | 50.0, 50.0 | 65.0 | 75.0 | 86.0 | +10.0 | 75% |",
    ]


def test_tables_by_hand():
    rows = [
        ("s", seed, method, share, chosen)
        for method, share, chosen in (("muka", 0.5, 0.6), ("pool", 0.8, 0.9), ("oracle", 0.9, 1.0))
        for seed in (0, 1)
    ]
    frame = pd.DataFrame(rows, columns=["setting", "seed", "method", "accuracy", "chosen"])
    frame.loc[frame["seed"] == 1, "accuracy"] += 0.02
    frame["pseudo"], frame["macro_f1"], frame["passes"] = np.nan, 0.5, 1
    assert (
        "| s | 60.0 ± 0.0, 90.0 ± 0.0 | 51.0 ± 1.4 | – | – | **81.0 ± 1.4** | 91.0 ± 1.4 | – | 75% |"
        in accuracy_tables.summary(frame)
    )
    assert accuracy_tables.summary(frame).endswith("Gap closed over all settings: 75%.")
    assert "| s | pool | 2 | 90.0 ± 0.0 | – | **81.0 ± 1.4** | 50.0 ± 0.0 | 1 |" in accuracy_tables.table(frame)


def test_sweeps_and_out_of_domain_detection_have_tables(tmp_path):
    rows = [("s", "muka", 17, 0.5), ("s", "muka, K = 4", 5, 0.4), ("s", "muka, K = 16, last-2", 17, 0.3)]
    rows += [("t", "muka", 17, 0.9), ("t", "pool", 1, 0.8)]
    frame = pd.DataFrame(rows, columns=["setting", "method", "passes", "chosen"])
    frame["texts"], frame["seed"] = 100, 0
    more = frame.iloc[[0]].assign(seed=1, chosen=0.9)  # a seed that the others were not run with
    assert accuracy_tables.sweep(pd.concat([frame, more])) == accuracy_tables.sweep(frame)
    assert accuracy_tables.sweep(frame) == (
        "| setting | texts | K = 4 | K = 16 | K = 16, last-2 |\n|---|---|---|---|---|\n| s | 100 | 40.0 | 50.0 | 30.0 |"
    )
    assert accuracy_tables.ood_detection(frame).count("\n") == 1
    scored = frame.assign(auroc_background=0.9, auroc_energy=0.8, auroc_entropy=0.7)
    expected = ["| t | 100 | 70.0 | 80.0 | 90.0 |"]
    assert accuracy_tables.ood_detection(scored).splitlines()[2:] == expected
    # Results that were written with the column's former name.
    scored.rename(columns={"auroc_background": "auroc_nobody"}).to_parquet(tmp_path / "former.parquet")
    former = accuracy_tables.read_results(tmp_path / "former.parquet")
    assert accuracy_tables.ood_detection(former).splitlines()[2:] == expected
