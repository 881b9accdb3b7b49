import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from muka_fast.cli import demo
from muka_fast.data.synthetic import DOMAINS, INTENTS, utterances
from muka_fast.errors import OutputError


def test_the_grammar_is_balanced_distinct_and_repeatable():
    rows = utterances(320, 5)
    assert rows == utterances(320, 5)
    assert len({text for text, _ in rows}) == 320
    labels = [label for _, label in rows]
    assert {label: labels.count(label) for label in set(labels)} == {n: 10 for d in DOMAINS for n in INTENTS[d]}
    assert {label for _, label in utterances(80, 1, DOMAINS[:2])} == {*INTENTS[DOMAINS[0]], *INTENTS[DOMAINS[1]]}
    assert len({text for text, _ in rows} & {text for text, _ in utterances(320, 6)}) < 5
    with pytest.raises(ValueError, match="domains must be some of"):
        utterances(1, 0, ["astrology"])


def test_single_words_do_not_solve_it():
    train, test = utterances(4000, 1), utterances(1000, 2)
    words = CountVectorizer()
    model = LogisticRegression(max_iter=300).fit(
        words.fit_transform([text for text, _ in train]), [label for _, label in train]
    )
    accuracy = model.score(words.transform([text for text, _ in test]), [label for _, label in test])
    assert 0.85 < accuracy < 0.97


def test_the_demo_plays_from_start_to_end_and_again(tmp_path, monkeypatch, capsys):
    for name, size in (("TEACHER_TEXTS", 64), ("POOL_TEXTS", 96), ("TEST_TEXTS", 64)):
        monkeypatch.setattr(demo, name, size)
    monkeypatch.setattr(demo, "RECIPE", demo.RECIPE.replace("epochs: 12", "epochs: 1"))
    record = demo.run(tmp_path / "demo")
    assert record["texts"]["used"] == 96
    assert len(record["labels"]) == 32
    printed = capsys.readouterr().out
    for part in ("teacher electra alone", "oracle", "student", "where the time went", "next:", " → "):
        assert part in printed
    assert (tmp_path / "demo" / "merged" / "model.safetensors").exists()
    with pytest.raises(OutputError, match="not empty"):
        demo.run(tmp_path / "demo")
    # As if killed before its end, when teachers of another kind had been trained.
    (tmp_path / "demo" / "merged" / "run.json").unlink()
    monkeypatch.setattr(demo, "TEACHER_TEXTS", 96)
    demo.run(tmp_path / "demo", overwrite=True)
    assert (tmp_path / "demo" / "merged" / "run.json").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "recipe.yaml").write_text("teachers: []")
    with pytest.raises(OutputError, match="not empty"):
        demo.run(tmp_path / "other", overwrite=True)
