import pytest
import yaml

from muka_fast.config.portable import last_part, portable_recipe


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/me/base", "base"),
        ("C:\\models\\base", "base"),
        ("/", "…"),
        ("owner/base", "owner/base"),
        ("hub:owner/texts", "hub:owner/texts"),
    ],
)
def test_a_path_is_shown_by_its_last_part(value, shown):
    assert last_part(value) == shown


def test_keys_of_paths_are_shortened_and_names_stay():
    tree = {
        "teachers": [{"model": "/a/one", "base": "/a/base", "labels": ["/r/news"]}, {"labels": {"file": "/a/b/n.txt"}}],
        "data": {"texts": ["/a/t.csv", "hub:o/t"]},
        "labels": {"map": {"x": "/r/news"}},
        "output": "/a",
    }
    found = portable_recipe(tree)
    assert yaml.safe_load(found.text) == {
        "teachers": [{"model": "one", "base": "base", "labels": ["/r/news"]}, {"labels": {"file": "n.txt"}}],
        "data": {"texts": ["t.csv", "hub:o/t"]},
        "labels": {"map": {"x": "/r/news"}},
        "output": "a",
    }
    assert sorted(found.paths) == ["/a", "/a/b/n.txt", "/a/base", "/a/one", "/a/t.csv"]
    assert [len(path) for path in found.paths] == sorted(map(len, found.paths), reverse=True)
