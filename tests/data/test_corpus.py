import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import build_corpus, read_corpus, text_id
from muka_fast.errors import CorpusError, MachineError, TextError
from tests.helpers.files import assert_refused, write


def test_plain_text_is_one_text_a_line(tmp_path):
    file = write(tmp_path / "a.txt", "one\r\n\ntwo\nthree")
    corpus = read_corpus(DataSpec(texts=[file]))
    assert corpus.texts == ("one", "two", "three")
    assert (corpus.read, corpus.empty, corpus.duplicate) == (4, 1, 0)


def test_a_folder_is_read_in_name_order_and_repeats_are_counted(tmp_path):
    write(tmp_path / "b.txt", "two\none\n")
    write(tmp_path / "a.jsonl", '"one"\n"one"\n"  "\n')
    write(tmp_path / "notes.md", "# ignored")
    corpus = read_corpus(DataSpec(texts=[str(tmp_path)]))
    assert corpus.texts == ("one", "two")
    assert (corpus.read, corpus.empty, corpus.duplicate) == (5, 1, 2)


def test_the_text_column_is_guessed_with_a_message(tmp_path):
    logged: list[str] = []
    file = write(tmp_path / "a.csv", "Utterance,label\nhi,x\n")
    assert read_corpus(DataSpec(texts=[file]), log=logged.append).texts == ("hi",)
    assert "column 'Utterance'" in logged[0]
    only = write(tmp_path / "b.jsonl", '{"n": 1, "stuff": "hi"}\n')
    assert read_corpus(DataSpec(texts=[only]), log=logged.append).texts == ("hi",)


def test_pairs_and_labels(tmp_path):
    file = write(tmp_path / "a.csv", "premise,hypothesis,label\na,b,x\na,c,y\na,b,x\n")
    spec = DataSpec(texts=[file], text_column="premise", pair_column="hypothesis")
    corpus = read_corpus(spec)
    assert corpus.pairs == ("b", "c")
    assert corpus.labels is None
    labelled = read_corpus(spec, with_labels=True, distinct=False)
    assert labelled.labels == ("x", "y", "x")
    assert labelled.ids[0] == labelled.ids[2] != labelled.ids[1]


def test_a_whole_number_is_the_same_label_in_all_formats(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"], "label": [1.0, 2.5]}), tmp_path / "a.parquet")
    file = write(tmp_path / "a.csv", "text,label\na,1\nb,2.5\n")
    both = [read_corpus(DataSpec(texts=[str(one)]), with_labels=True) for one in (tmp_path / "a.parquet", file)]
    assert [one.labels for one in both] == [("1", "2.5")] * 2


def test_the_second_text_is_guessed_for_nothing_else(tmp_path):
    file = write(tmp_path / "a.csv", "answer,question,topic,label\na,q,t,x\n")
    corpus = read_corpus(DataSpec(texts=[file], text_column="answer", pair_column="topic"), with_labels=True)
    assert (corpus.pairs, corpus.labels) == (("t",), ("x",))
    two = write(tmp_path / "b.csv", "text,content,label\na,b,x\n")
    assert read_corpus(DataSpec(texts=[two], pair_column="text")).texts == ("b",)
    other = write(tmp_path / "c.jsonl", '{"query": "q", "answer": "a", "n": 1}\n')
    assert read_corpus(DataSpec(texts=[other], pair_column="query")).texts == ("a",)


def test_a_label_column_is_not_even_decoded_while_amalgamating(tmp_path):
    schema = pa.schema([("text", pa.string()), ("label", pa.binary())])
    pq.write_table(pa.table({"text": ["a"], "label": [b"\xff"]}, schema=schema), tmp_path / "a.parquet")
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    column = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(1)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\0" * column.total_compressed_size
    (tmp_path / "a.parquet").write_bytes(bytes(content))
    assert read_corpus(DataSpec(texts=[str(tmp_path / "a.parquet")])).texts == ("a",)


@pytest.mark.parametrize(
    ("name", "content", "what", "where"),
    [
        ("a.txt", "\n \n", "every text is empty", "a.txt"),
        ("a.jsonl", '{"text": "a"}\n{"text": 3.5}\n', "holds 3.5, not text", "a.jsonl:2"),
        ("a.jsonl", '{"text": "a"}\n{"text": null}\n', "missing (null or NaN)", "a.jsonl:2"),
        ("a.jsonl", '{"text": "a"}\n{"text": NaN}\n', "missing (null or NaN)", "a.jsonl:2"),
        ("a.jsonl", '{"text": "a"}\n{"body": "b"}\n', "missing (null or NaN)", "a.jsonl:2"),
        ("a.csv", "x,y\na,b\n", "no text column among columns: x, y", "a.csv"),
        ("a.jsonl", '{"n": 1, "label": "x"}\n', "no text column among columns: n, label", "a.jsonl"),
        ("a.jsonl", '{"text": "\\ud83d"}\n', "half of a surrogate pair", "a.jsonl:1"),
    ],
)
def test_read_corpus_refuses_bad_values_by_file_and_line(tmp_path, name, content, what, where):
    assert_refused(lambda file: read_corpus(DataSpec(texts=[file])), tmp_path / name, content, what, where)


def test_missing_files_columns_and_empty_folders(tmp_path):
    file = write(tmp_path / "a.csv", "text\na\n")
    (tmp_path / "empty").mkdir()
    for spec, what in [
        (DataSpec(texts=[str(tmp_path / "no.csv")]), "no such file"),
        (DataSpec(texts=[file], text_column="body"), "no column 'body' among columns: text"),
        (DataSpec(texts=[file], pair_column="other"), "no column 'other'"),
        (DataSpec(texts=[str(tmp_path / "empty")]), "no readable file"),
    ]:
        with pytest.raises(CorpusError, match=what):
            read_corpus(spec)
    with pytest.raises(CorpusError, match="no label column"):
        read_corpus(DataSpec(texts=[file]), with_labels=True)
    gap = write(tmp_path / "gap.jsonl", '{"text": "a", "label": null}\n')
    with pytest.raises(CorpusError, match=r"column 'label' is missing \(null or NaN\)"):
        read_corpus(DataSpec(texts=[gap]), with_labels=True)


def test_text_ids_are_fixed_by_content():
    assert text_id("hello") == 0x7D34E501A8EDB6A7
    assert text_id("a", "b") == 0xA3BA52031751C1FF
    assert text_id("a", "b") != text_id("ab") != text_id("a\0b", "")
    assert text_id("a", "b") != text_id("b", "a")


@given(st.lists(st.text(max_size=8), max_size=30), st.randoms(use_true_random=False))
def test_distinct_texts_and_ids_do_not_depend_on_order(values, random):
    first = build_corpus(values)
    shuffled = list(values)
    random.shuffle(shuffled)
    second = build_corpus(shuffled)
    assert set(first.texts) == set(second.texts)
    assert sorted(first.ids.tolist()) == sorted(second.ids.tolist())
    assert len(first) + first.empty + first.duplicate == first.read == len(values)


def test_a_hub_data_set_gives_texts_and_named_labels(monkeypatch):
    import datasets

    def load(name, config=None, split=None):
        if name == "owner/missing":
            raise datasets.exceptions.DatasetNotFoundError("Dataset 'owner/missing' doesn't exist")
        if name == "owner/offline":
            raise ConnectionError("Couldn't reach the hub")
        assert (name, config, split) == ("owner/name", "plain", "validation")
        features = datasets.Features(
            {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
        )
        return datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [1, 0]}, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load)
    spec = DataSpec(texts=["hub:owner/name"], config="plain", split="validation")
    assert read_corpus(spec).texts == ("a", "b")
    assert read_corpus(spec, with_labels=True).labels == ("pos", "neg")
    with pytest.raises(CorpusError, match="cannot load the data set"):
        read_corpus(DataSpec(texts=["hub:owner/missing"]))
    with pytest.raises(MachineError, match="cannot reach the hub") as caught:
        read_corpus(DataSpec(texts=["hub:owner/offline"]))
    assert caught.value.exit_code == 3


def test_a_hub_data_set_without_the_package_datasets_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MachineError, match="need the package datasets") as caught:
        read_corpus(DataSpec(texts=["hub:owner/name"]))
    assert "pip install 'muka-fast[hub]'" in caught.value.hint


def test_a_text_is_found_again_in_its_file(tmp_path):
    first = write(tmp_path / "a.txt", "play\n\nstop\n")
    second = write(tmp_path / "b.csv", "label,text\nx,go\ny,\n")
    corpus = read_corpus(DataSpec(texts=[first, second]), distinct=False)
    assert corpus.location(1) == f"{first}:2, text ''"
    assert corpus.location(3) == f"{second}:2, text 'go'"
    assert corpus.take([2]).location(0) == f"{first}:3, text 'stop'"
    assert build_corpus(["play"]).location(0) == "text 'play'"
    with pytest.raises(TextError, match=r"no tokens\nwhere: .*a.txt:3") as caught, corpus.locating_errors():
        raise TextError("no tokens", index=2)
    assert caught.value.index == 2


def test_bytes_of_a_text_column_are_decoded(tmp_path):
    pq.write_table(pa.table({"text": pa.array([b"caf\xc3\xa9"], pa.binary())}), tmp_path / "a.parquet")
    assert read_corpus(DataSpec(texts=[str(tmp_path / "a.parquet")])).texts == ("café",)
    pq.write_table(pa.table({"text": pa.array([b"\xff"], pa.binary())}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="bytes that are not UTF-8"):
        read_corpus(DataSpec(texts=[str(tmp_path / "a.parquet")]))


def test_how_a_file_is_read_is_logged(tmp_path):
    logged: list[str] = []
    file = write(tmp_path / "a.csv", "text;label\nplay;x\n")
    read_corpus(DataSpec(texts=[file]), log=logged.append)
    assert logged == [f"{file}: columns are separated by semicolons"]
