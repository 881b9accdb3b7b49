import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muka_fast.config.specs import PredictionsSpec
from muka_fast.data.corpus import text_id
from muka_fast.data.predictions import LEAST, read_predictions
from muka_fast.errors import CorpusError
from tests.helpers.files import write


def read(path, labels=None, **keys):
    return read_predictions(PredictionsSpec(files=[str(path)], **keys), labels)


def of(table, text):
    """The probabilities of a text by class."""
    (row,) = table.find(np.array([text_id(text)], dtype=np.uint64))
    assert row >= 0
    return dict(zip(table.labels, np.exp(table.logits[row]).tolist(), strict=True))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_columns_of_probabilities_are_classes_in_every_format(tmp_path, suffix):
    frame = pd.DataFrame({"text": ["a", "b"], "spam": [0.25, 1.0], "ham": [0.75, 0.0]})
    path = tmp_path / f"answers.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    table = read(path)
    assert table.labels == ("spam", "ham")
    assert of(table, "a") == pytest.approx({"spam": 0.25, "ham": 0.75})
    assert of(table, "b") == pytest.approx({"spam": 1.0, "ham": LEAST})
    assert table.find(np.array([text_id("c"), text_id("b")], dtype=np.uint64)).tolist()[0] == -1
    assert read(path, labels=["x", "y"]).labels == ("x", "y")
    assert read(path).fingerprint() == table.fingerprint() != read(path, labels=["x", "y"]).fingerprint()


def test_a_label_with_a_score_shares_the_rest_evenly_and_without_one_it_is_smoothed(tmp_path):
    rows = [
        {"text": "a", "label": "B", "score": 0.7},
        {"text": "b", "label": "c", "score": None},
        {"text": "c", "label": "a", "score": 0.1},  # less than chance: no preference
        {"text": "d", "label": " b ", "score": 1.0},
        {"text": "e", "label": None, "score": None},
    ]
    path = write(tmp_path / "answers.jsonl", "\n".join(map(json.dumps, rows)))
    table = read(path, smoothing=0.4)
    assert table.labels == ("a", "B", "c")
    assert of(table, "a") == pytest.approx({"a": 0.15, "B": 0.7, "c": 0.15})
    assert of(table, "b") == pytest.approx({"a": 0.2, "B": 0.2, "c": 0.6})
    assert of(table, "c") == pytest.approx({"a": 1 / 3, "B": 1 / 3, "c": 1 / 3})
    assert of(table, "d") == pytest.approx({"a": LEAST, "B": 1.0, "c": LEAST})
    assert (len(table), table.unanswered, table.repeated) == (4, 1, 0)


def test_labels_of_other_types_are_read_as_text(tmp_path):
    for name, labels, expected in (
        ("bytes", pa.array([b"spam", b"ham", None], pa.binary()), ("ham", "spam")),
        ("numbers", pa.array([1.0, 2.0, None], pa.float64()), ("1", "2")),
    ):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"text": ["a", "b", "c"], "label": labels}), path)
        table = read(path)
        assert (table.labels, table.unanswered) == (expected, 1)


def test_how_a_table_is_read_is_logged(tmp_path):
    for name, content in (("a.csv", "text;label\na;x\nb;y\n"), ("b.csv", "text;p;q\na;0.5;0.5\n")):
        logged: list[str] = []
        path = write(tmp_path / name, content)
        read_predictions(PredictionsSpec(files=[path]), log=logged.append)
        assert logged == [f"{path}: columns are separated by semicolons"]


def test_listed_labels_may_be_named_by_their_index(tmp_path):
    table = read(write(tmp_path / "a.csv", "text,label\nx,1\ny,0\nz,Ham\n"), labels=["spam", "ham"])
    assert [max(of(table, text), key=of(table, text).get) for text in "xyz"] == ["ham", "spam", "ham"]


def test_rows_of_the_same_text_are_averaged(tmp_path):
    table = read(write(tmp_path / "a.csv", "text,p,q\nx,0.2,0.8\nx,0.6,0.4\ny,0.5,0.5\n"))
    assert of(table, "x") == pytest.approx({"p": 0.4, "q": 0.6})
    assert (len(table), table.repeated) == (2, 1)


def test_logits_keep_their_level(tmp_path):
    table = read(write(tmp_path / "a.csv", "text,p,q\nx,-3,5.5\n"), logits=True)
    assert table.logits.tolist() == [[-3.0, 5.5]]


def test_ids_are_equal_in_all_formats(tmp_path):
    pd.DataFrame({"id": [1.0, 2.0], "p": [0.5, 1.0], "q": [0.5, 0.0]}).to_parquet(tmp_path / "a.parquet")
    write(tmp_path / "b.csv", "id,p,q\n1,0.5,0.5\n2,1,0\n")
    one, two = (read(tmp_path / name, id_column="id") for name in ("a.parquet", "b.csv"))
    assert one.labels == ("p", "q")
    assert one.keys.tolist() == two.keys.tolist()


@pytest.mark.parametrize(
    ("content", "keys", "what", "hint"),
    [
        ("text,p,q\nx,0.2,0.2\n", {}, "sum to 0.4, not 1", "logits: true"),
        ("text,p,q\nx,-0.5,1.5\n", {}, "'p' holds -0.5, not a probability", "logits: true"),
        ("text,p,q\nx,0.5,\ny,0.5,0.5\n", {}, "'q' holds '', not a number", "correct the cell"),
        ("text,p,q\nx,0.5,nan\ny,1,2\n", {"logits": True}, "not a number", "correct the cell"),
        ("text,p,q\nx,0.5,inf\n", {"logits": True}, "not a number", "correct the cell"),
        ("text,p,q\nx,,\n", {}, "neither two columns of numbers", "label_column"),
        ("text,label\nx,\ny,\n", {}, "predictions of 0 class(es)", "labels"),
        ("text,label\nx,a\n", {}, "predictions of 1 class(es)", "labels"),
        ("text,label,score\nx,a,1.5\ny,b,1\n", {}, "'score' holds '1.5', not a probability", "from 0 to 1"),
        ("text,label,p,q\nx,a,0.5,0.5\n", {}, "both a label column 'label' and columns", "predictions.probabilities"),
        ("text,answer\nx,a\n", {}, "neither two columns of numbers nor a label column", "label_column"),
        ("first,note,p,q\nx,y,0.5,0.5\n", {}, "no text column", "predictions.text_column"),
        ("text,p,q\nx,1,0\n", {"probabilities": ["p", "r"]}, "no column 'r'", "predictions.probabilities"),
        ("text,p,q\nx,1,0\n", {"id_column": "id"}, "no column 'id'", "predictions.id_column"),
    ],
)
def test_what_is_no_prediction_is_refused_with_its_place(tmp_path, content, keys, what, hint):
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(CorpusError) as caught:
        read(path, **keys)
    assert what in caught.value.what
    assert caught.value.where.startswith(path)
    assert hint in caught.value.hint


def test_labels_must_fit_the_table(tmp_path):
    numbers = write(tmp_path / "a.csv", "text,p,q\nx,1,0\n")
    with pytest.raises(CorpusError, match=r"lists 3 name\(s\), the table has 2 columns"):
        read(numbers, labels=["a", "b", "c"])
    answers = write(tmp_path / "b.csv", "text,label\nx,spam\ny,dunno\nz,dunno\n")
    with pytest.raises(CorpusError, match=r"1 predicted class\(es\) are not in 'labels', for example 'dunno' \(2 rows"):
        read(answers, labels=["spam", "ham"])
