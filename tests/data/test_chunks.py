import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muka_fast.config.specs import DataSpec
from muka_fast.data.chunks import read_chunks, scan
from muka_fast.errors import CorpusError


def test_chunks_hold_whole_rows_and_their_places(tmp_path):
    (tmp_path / "a.csv").write_text("n,text\n" + "".join(f"{i},t{i}\n" for i in range(5)), encoding="utf-8")
    pq.write_table(pa.table({"text": ["x", "y"], "n": [1, 2]}), tmp_path / "b.parquet")
    spec = DataSpec(texts=[str(tmp_path / "a.csv"), str(tmp_path / "b.parquet")])
    chunks = list(read_chunks(spec, 3))
    assert [len(chunk) for chunk in chunks] == [3, 2, 2]
    assert [text for chunk in chunks for text in chunk.texts] == ["t0", "t1", "t2", "t3", "t4", "x", "y"]
    assert chunks[1].where == [f"{tmp_path}/a.csv:5", f"{tmp_path}/a.csv:6"]
    assert chunks[1].records() == [{"n": "3", "text": "t3"}, {"n": "4", "text": "t4"}]
    assert chunks[2].where[1] == f"{tmp_path}/b.parquet: row 1"
    assert chunks[2].records() == [{"text": "x", "n": 1}, {"text": "y", "n": 2}]
    contents = scan(spec, types=False)
    assert (contents.rows, contents.columns, contents.schema) == (7, ["n", "text"], None)
    with pytest.raises(CorpusError, match="column 'n' has no single type, as Parquet needs it: string and int64"):
        scan(spec, types=True)


def test_partitions_of_a_folder_are_columns(tmp_path):
    for name in ("x", "y"):
        (tmp_path / f"kind={name}").mkdir()
    (tmp_path / "kind=x" / "a.jsonl").write_text(json.dumps({"text": "t"}), encoding="utf-8")
    pq.write_table(pa.table({"text": ["u"]}), tmp_path / "kind=y" / "b.parquet")
    spec = DataSpec(texts=str(tmp_path), text_column="text", pair_column="kind")
    assert [chunk.records() for chunk in read_chunks(spec)] == [
        [{"text": "t", "kind": "x"}],
        [{"text": "u", "kind": "y"}],
    ]
    assert [chunk.pairs for chunk in read_chunks(spec)] == [["x"], ["y"]]


def test_a_row_without_text_is_found_by_reading_all_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 5000 + '{"text": null}\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.jsonl:5001"):
        scan(DataSpec(texts=str(tmp_path / "a.jsonl")), types=False)
