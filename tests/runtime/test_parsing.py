import pytest

from muka_fast.runtime.parsing import UnreadableError, parse_json, parse_yaml, read_json, read_text, read_yaml

JSON = {
    "empty": b"",
    "truncated": b'{"a": ',
    "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "long number": b"1" * 5000,
    "NaN": b'{"a": NaN}',
    "infinity": b"-Infinity",
    "not UTF-8": b'"\xff"',
    "nothing but zeros": bytes(64),
}
YAML = {
    "date": "a: 2020-13-45",
    "int tag": "!!int x",
    "bool tag": "!!bool x",
    "timestamp tag": "!!timestamp x",
    "nested": "[" * 1200,
    "object tag": "!!python/object/apply:os.system [id]",
    "control character": "a: \x00",
    "unhashable key": "? [a]\n: b",
    "open quote": 'a: "x',
    "sexagesimal": "a: !!int 1:x",
    "binary tag": "!!binary \u00e9",
    "unknown alias": "a: *b",
}


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_json_that_cannot_be_read_raises_one_exception(text, tmp_path):
    with pytest.raises(UnreadableError, match=r"JSON"):
        parse_json(text)
    (tmp_path / "file.json").write_bytes(text)
    with pytest.raises(UnreadableError):
        read_json(tmp_path / "file.json")


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_yaml_that_cannot_be_read_raises_one_exception(text, tmp_path):
    with pytest.raises(UnreadableError, match=r"not valid YAML"):
        parse_yaml(text)
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UnreadableError):
        read_yaml(tmp_path / "file.yaml")


def test_the_line_of_a_problem_is_known():
    with pytest.raises(UnreadableError) as json:
        parse_json('{"a": 1,\n"b": }')
    with pytest.raises(UnreadableError) as yaml:
        parse_yaml("a: 1\nb: [")
    assert (json.value.line, yaml.value.line) == (2, 2)


def test_text_that_is_not_utf8_or_no_file_cannot_be_read(tmp_path):
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(UnreadableError, match="byte 0 is 0xe9"):
        read_text(tmp_path / "latin")
    with pytest.raises(UnreadableError, match="directory"):
        read_text(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "absent")


def test_valid_files_are_read(tmp_path):
    (tmp_path / "a").write_text('{"a": [1, 2.5, null, "é"]}', encoding="utf-8")
    assert read_json(tmp_path / "a") == read_yaml(tmp_path / "a") == {"a": [1, 2.5, None, "é"]}
