"""``predict`` from file to file and through pipes, with tiny models."""

import io
import json
import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import processors
from transformers import AutoConfig, AutoModelForSequenceClassification
from typer.testing import CliRunner

from muka_fast.cli import app
from muka_fast.cli.predict import _standard_output
from muka_fast.data.chunks import RowChunk
from muka_fast.inference.columns import ColumnOptions
from tests.helpers.models import make_tokenizer, texts


def write_parquet(path, count=40, **columns):
    table = pa.table({"id": pa.array(range(count), pa.int16()), "text": texts(count), **columns})
    pq.write_table(table, path)
    return table


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def decoder(tmp_path):
    """A GPT-2 whose tokenizer adds no token, so an empty text has none."""
    tokenizer = make_tokenizer(tmp_path / "gpt2")
    template = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    tokenizer.backend_tokenizer.post_processor = template
    tokenizer.save_pretrained(tmp_path / "gpt2")
    names = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}, "pad_token_id": 0}
    sizes = {"vocab_size": 128, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    config = AutoConfig.for_model("gpt2", **names, **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


EMPTY = [{"text": "play music", "other": "a"}, {"text": "", "other": ""}, {"text": "stop music", "other": "c"}]


@pytest.mark.parametrize(
    ("name", "write", "more", "place"),
    [
        ("in.txt", lambda path: path.write_text("play music\n\nstop music\n"), [], "in.txt:2, text ''"),
        ("in.txt", lambda path: path.write_text("play music\n  \nstop music\n"), [], "in.txt:2, text '  '"),
        ("in.csv", lambda path: pd.DataFrame(EMPTY).to_csv(path, index=False), [], "in.csv:3, text ''"),
        ("in.jsonl", lambda path: pd.DataFrame(EMPTY).to_json(path, orient="records", lines=True), [], "in.jsonl:2, "),
        ("in.parquet", lambda path: pd.DataFrame(EMPTY).to_parquet(path), [], "in.parquet: row 1, text ''"),
        (
            "in.csv",
            lambda path: pd.DataFrame(EMPTY).to_csv(path, index=False),
            ["--pair-column", "other"],
            "in.csv:3, ",
        ),
    ],
)
def test_a_text_without_tokens_is_found_in_its_file(decoder, tmp_path, name, write, more, place):
    write(tmp_path / name)
    refused = CliRunner().invoke(app, ["predict", str(decoder), "-d", str(tmp_path / name), *more])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"error: a text has no tokens\nwhere: {tmp_path}/{place}" in refused.stderr


@pytest.fixture
def pipe(project, monkeypatch):
    monkeypatch.chdir(project)
    return lambda content, *arguments: CliRunner().invoke(app, ["predict", *arguments], input=content)


def test_parquet_keeps_columns_order_and_types_and_gets_the_predictions_of_single_texts(run, project):
    given = write_parquet(
        project / "in.parquet",
        nested=[{"a": i} for i in range(40)],
        kind=pa.array(["x", "y"] * 20).dictionary_encode(),
    )
    result = run("predict", "one", "-d", "in.parquet", "-o", "out.parquet", "--top", "2", "--uncertainty")
    assert (result.exit_code, result.stdout) == (0, "out.parquet\n"), result.stderr
    assert "predicting: 40 texts" in result.stderr
    found = pq.read_table(project / "out.parquet")
    assert found.select(given.column_names).equals(given)
    added = ["label", "score", "abstained", "label_2", "score_2", "entropy", "energy"]
    assert found.column_names == [*given.column_names, *added]
    assert [str(found.schema.field(name).type) for name in added[:3]] == ["string", "double", "bool"]
    single = json.loads(run("predict", "one", *texts(40), "--json").stdout)["predictions"]
    for row, one in zip(found.to_pylist(), single, strict=True):
        assert (row["text"], row["label"], row["abstained"]) == (one["text"], one["label"], False)
        assert (row["score"], row["energy"]) == pytest.approx((one["probability"], one["energy"]), abs=2e-5)
        assert row["score"] + row["score_2"] == pytest.approx(1, abs=1e-5)
        assert {row["label"], row["label_2"]} == {"music", "weather"}
    assert not list(project.glob(".*tmp"))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("source", ["in.csv.gz", "in.jsonl", "in.parquet"])
def test_every_format_is_read_and_written(run, project, source, suffix):
    import csv
    import gzip

    some = ["play, some jazz", 'a "quoted"\nbreak', "weather\tin rome"]
    if source == "in.csv.gz":
        with gzip.open(project / source, "wt", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "text"), *enumerate(some)])
    elif source == "in.jsonl":
        (project / source).write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(some)))
    else:
        pq.write_table(pa.table({"id": range(3), "text": some}), project / source)
    result = run("predict", "one", "-d", source, "-o", f"out.{suffix}", "--probabilities", "--prefix", "p_")
    assert result.exit_code == 0, result.stderr
    names = ["id", "text", "p_label", "p_score", "p_abstained", "p_probability_music", "p_probability_weather"]
    if suffix == "parquet":
        rows = pq.read_table(project / "out.parquet").to_pylist()
    elif suffix == "jsonl":
        rows = rows_of(project / "out.jsonl")
    else:
        with (project / f"out.{suffix}").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="," if suffix == "csv" else "\t"))
    assert [list(row) for row in rows] == [names] * 3
    assert [row["text"] for row in rows] == some
    assert [str(row["id"]) for row in rows] == ["0", "1", "2"]
    kind = str if source == "in.csv.gz" or suffix in ("csv", "tsv") else int
    assert {type(row["id"]) for row in rows} == {kind}
    for row in rows:
        both = [float(row["p_probability_music"]), float(row["p_probability_weather"])]
        assert max(both) == float(row["p_score"])
        assert row["p_label"] == ("music", "weather")[both.index(max(both))]


def test_json_objects_stay_as_they_are(run, project):
    rows = [{"data": {"text": "play some jazz", "n": [1, None]}}, {"data": {"text": "rain"}, "late": True}]
    (project / "in.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"data": {"text": "x"}, "late": "\\ud800"}')
    assert run("predict", "one", "-d", "in.jsonl", "-o", "out.jsonl", "--text-column", "data.text").exit_code == 0
    found = rows_of(project / "out.jsonl")
    for row in found:
        assert {row.pop("label"), row.pop("abstained")} & {"music", "weather"}
        assert 0.5 <= row.pop("score") <= 1
    assert found == [*rows, {"data": {"text": "x"}, "late": "\ud800"}]
    refused = run("predict", "one", "-d", "in.jsonl", "-o", "out.parquet", "--text-column", "data.text")
    assert (refused.exit_code, "column 'late' has no single type" in refused.stderr) == (2, True)
    assert not (project / "out.parquet").exists()


def test_types_are_those_of_all_rows(run, project):
    rows = [{"text": "a", "x": None, "y": 1}] * 4100 + [{"text": "b", "x": "later", "y": 0.5, "z": 1}]
    (project / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert run("predict", "one", "-d", "in.jsonl", "-o", "out.parquet").exit_code == 0
    found = pq.read_table(project / "out.parquet")
    assert [str(found.schema.field(name).type) for name in "xyz"] == ["string", "double", "int64"]
    assert found.slice(4099).select(["text", "x", "y", "z"]).to_pylist() == [rows[0] | {"z": None}, rows[-1]]


def test_pairs_are_read_and_an_index_of_pandas_is_kept(run, project):
    meta = {b"pandas": b'{"index_columns": ["__index_level_0__"]}', b"huggingface": b"{}"}
    table = pa.table({"text": texts(9), "other": texts(9, 50), "__index_level_0__": range(9)})
    pq.write_table(table.replace_schema_metadata(meta), project / "in.parquet")
    (project / "single.txt").write_text("\n".join(texts(9)), encoding="utf-8")
    for name, more in (("pairs.parquet", ["--pair-column", "other"]), ("single.parquet", [])):
        assert run("predict", "one", "-d", "in.parquet", "-o", name, "--text-column", "text", *more).exit_code == 0
    pairs, single = (pq.read_table(project / name) for name in ("pairs.parquet", "single.parquet"))
    assert pairs.select(["text", "other", "__index_level_0__"]).to_pylist() == table.to_pylist()
    assert pairs.schema.metadata == {b"pandas": meta[b"pandas"]}
    assert pairs["score"] != single["score"]


def test_a_threshold_makes_the_classifier_abstain(run, project):
    write_parquet(project / "in.parquet")
    arguments = ["-d", "in.parquet", "-o", "out.csv", "--abstain-below", "0.999"]
    assert run("predict", "one", *arguments).exit_code == 0
    lines = (project / "out.csv").read_text().splitlines()
    assert lines[0] == "id,text,label,score,abstained"
    assert all(",,0." in line and line.endswith(",true") for line in lines[1:])


def test_refusals_leave_no_file_and_keep_the_earlier_one(run, project):
    write_parquet(project / "in.parquet")
    (project / "bad.csv").write_text("text,n\na,1\nb,2,3\n", encoding="utf-8")
    (project / "kept.csv").write_text("kept", encoding="utf-8")
    (project / "labelled.csv").write_text("text,label\na,1\n", encoding="utf-8")
    (project / "folder" / "sub").mkdir(parents=True)
    before = sorted(project.rglob("*"))
    for arguments, message in (
        (["-d", "in.parquet", "-o", "out.xlsx"], "cannot write files of type '.xlsx'"),
        (["-d", "in.parquet", "-o", "none/out.csv"], "no such folder"),
        (["-d", "in.parquet", "-o", "in.parquet", "--overwrite"], "input and output are the same file"),
        (["-d", "in.parquet", "-o", "kept.csv"], "the file exists"),
        (["-d", ".", "-o", "kept.csv", "--overwrite"], "the output is in a folder of the input"),
        (["-d", "folder", "-o", "folder/sub/out.csv"], "the output is in a folder of the input"),
        (["-d", "bad.csv", "-o", "kept.csv", "--overwrite"], "bad.csv:3"),
        (["-d", "labelled.csv", "-o", "out.csv"], "the input has 'label' already"),
        (["-d", "in.parquet", "-o", "out.csv", "--top", "3"], "give a number from 1 to 2"),
        (["-d", "in.parquet", "-o", "out.csv", "--teachers"], "no finished run in the folder"),
        (["-d", "in.parquet", "-o", "out.csv", "--json"], "--json prints to standard output"),
        (["-d", "in.parquet", "--top", "2"], "--top, --probabilities, --teachers and --prefix are about columns"),
        (["-d", "in.parquet", "-o", "out.csv", "--format", "xml"], "not a choice: xml"),
        (["a text", "-o", "out.csv"], "rows are read with --data"),
        (["-d", "-", "-d", "in.parquet", "-o", "out.csv"], "standard input beside other texts"),
    ):
        result = run("predict", "one", *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), result.stderr
        assert message in result.stderr
    assert sorted(project.rglob("*")) == before
    assert (project / "kept.csv").read_text() == "kept"
    assert run("predict", "one", "-d", "in.parquet", "-o", "kept.csv", "--overwrite").exit_code == 0
    assert (project / "kept.csv").read_text().startswith("id,text,label")


def test_standard_input_is_classified_in_lines_or_json(pipe, run, project):
    some = texts(600)
    plain = run("predict", "one", *some).stdout
    parts = [line.split("\t") for line in plain.splitlines()]
    for arguments in (["-"], ["-d", "-", "-o", "-"]):
        found = [line.split("\t") for line in pipe("\n".join(some), "one", *arguments).stdout.splitlines()]
        assert [(label, text) for label, _, text in found] == [(label, text) for label, _, text in parts]
        # Chunks are other batches than all texts at once.
        assert [float(one[1]) for one in found] == pytest.approx([float(one[1]) for one in parts], abs=2e-4)
    lines = "".join(json.dumps({"n": n, "text": text}) + "\n" for n, text in enumerate(some))
    result = pipe(lines, "one", "-d", "-", "--format", "jsonl", "--top", "2")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["n"], row["text"]) for row in rows] == list(enumerate(some))
    assert [row["label"] for row in rows] == [line.split("\t")[0] for line in plain.splitlines()]
    printed = json.loads(pipe("a\nb\n", "one", "-", "--json").stdout)["predictions"]
    assert [one["text"] for one in printed] == ["a", "b"]
    assert pipe(lines, "one", "-d", "-", "--format", "jsonl", "-o", "out.parquet").exit_code == 0
    assert pq.read_table(project / "out.parquet").column("n").to_pylist() == list(range(600))
    for content, message in (
        ("", "the file has no rows"),
        ('{"text": "a"}\nx', "standard input:2"),
        (b"\xff", "UTF-8"),
    ):
        failed = pipe(content, "one", "-d", "-", "--format", "jsonl")
        assert (failed.exit_code, message in failed.stderr) == (2, True), failed.stderr
    late = pipe('{"text": "a"}\n' * 300 + '{"text": "a", "label": 1}', "one", "-d", "-", "--format", "jsonl")
    assert (late.exit_code, "standard input:301" in late.stderr) == (2, True), late.stderr


def test_json_lines_on_standard_output_move_no_cursor_and_are_json_in_every_encoding(run, project, monkeypatch):
    text = "t\u00fcre \x9b\u202e"
    (project / "in.jsonl").write_text(json.dumps({"text": text}))
    printed = run("predict", "one", "-d", "in.jsonl", "--format", "jsonl").stdout
    assert "\\u009b\\u202e" in printed
    assert json.loads(printed)["text"] == text
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    with _standard_output("jsonl", ColumnOptions()) as write:
        write(RowChunk(["1"], [text], None, [{"text": text}]), {})
    assert json.loads(stream.buffer.getvalue())["text"] == text


@pytest.mark.slow
def test_a_reader_that_ends_early_is_no_error(project):
    (project / "many.txt").write_text("play some jazz\n" * 5000, encoding="utf-8")
    command = f"{sys.executable} -m muka_fast predict one -d many.txt -o - | head -n 2"
    done = subprocess.run(command, shell=True, cwd=project, capture_output=True, text=True, check=False)
    assert done.stdout.count("play some jazz") == 2
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.slow
def test_teachers_of_a_student_and_of_an_ensemble_are_named(run, project):
    write_parquet(project / "in.parquet")
    for name, more in (("student", ["training.max_steps=1"]), ("ensemble", ["selection.method=ensemble"])):
        overrides = [word for one in (*more, "uncertainty.passes=0") for word in ("--set", one)]
        made = run("amalgamate", "recipe.yaml", "-o", name, *overrides)
        assert made.exit_code == 0, made.stderr
        done = run("predict", name, "-d", "in.parquet", "-o", f"{name}.parquet", "--teachers", "--probabilities")
        assert done.exit_code == 0, done.stderr
    student, ensemble = (pq.read_table(project / f"{name}.parquet").to_pylist() for name in ("student", "ensemble"))
    classes = ("music", "weather", "Travel", "bank", "lights")
    for row, same in zip(student, ensemble, strict=True):
        assert {key: row[key] for key in row if "teacher" in key} == {key: same[key] for key in row if "teacher" in key}
        posterior = {"one": row["posterior_one"], "two": row["posterior_two"]}
        assert sum(posterior.values()) == pytest.approx(1, abs=1e-5)
        assert row["teacher"] == max(posterior, key=posterior.get)
        assert row["teacher_posterior"] == posterior[row["teacher"]]
        alone = run("predict", row["teacher"], row["text"]).stdout if row["id"] < 5 else row["teacher_label"]
        assert alone.startswith(row["teacher_label"])
        assert sum(same[f"probability_{name}"] for name in classes) == pytest.approx(1, abs=1e-5)
        assert same["score"] == max(same[f"probability_{name}"] for name in classes)
    alone = run("predict", "ensemble", "-d", "in.parquet", "-o", "alone.parquet", "--probabilities")
    assert alone.exit_code == 0, alone.stderr
    plain = pq.read_table(project / "alone.parquet").to_pylist()
    assert plain == [{key: row[key] for key in plain[0]} for row in ensemble]
    made = run("amalgamate", "recipe.yaml", "-o", "vkd", "--method", "vkd", "--set", "training.max_steps=1")
    assert made.exit_code == 0, made.stderr
    refused = run("predict", "vkd", "-d", "in.parquet", "-o", "x.csv", "--teachers")
    assert (refused.exit_code, "fits no choice of teachers" in refused.stderr) == (2, True)


def test_an_export_writes_what_its_model_writes(run, project):
    write_parquet(project / "in.parquet")
    assert run("export", "one", "onnx").exit_code == 0
    for name in ("one", "onnx"):
        assert run("predict", name, "-d", "in.parquet", "-o", f"{name}.jsonl").exit_code == 0
    theirs, ours = rows_of(project / "one.jsonl"), rows_of(project / "onnx.jsonl")
    assert [row | {"score": 0} for row in theirs] == [row | {"score": 0} for row in ours]
    assert [row["score"] for row in theirs] == pytest.approx([row["score"] for row in ours], abs=1e-4)
