from dataclasses import dataclass

import pytest

from muka_fast.runtime.parsing import UnreadableError
from muka_fast.runtime.typed import from_tree


@dataclass(frozen=True)
class Inner:
    count: int
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    parts: dict[str, Inner]
    labels: tuple[str, ...]
    flag: bool
    more: Inner | None = None


VALID = {"name": "x", "parts": {"a": {"count": 1}}, "labels": ["b"], "flag": True}


def test_every_value_is_built():
    built = from_tree(Outer, VALID | {"more": {"count": 2, "share": 1}})
    assert built == Outer("x", {"a": Inner(1, 0.5)}, ("b",), True, Inner(2, 1.0))
    assert isinstance(built.more.share, float)
    assert from_tree(Outer, VALID | {"more": None}).more is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": 1}, "name is not a string"),
        ({"name": None}, "name is not a string"),
        ({"parts": []}, "parts is not an object"),
        ({"parts": {"a": 1}}, "parts.a is not an object"),
        ({"parts": {"a": {}}}, "parts.a.count is missing"),
        ({"parts": {"a": {"count": 1.0}}}, "parts.a.count is not a whole number"),
        ({"parts": {"a": {"count": True}}}, "parts.a.count is not a whole number"),
        ({"parts": {"a": {"count": 1, "share": "1"}}}, "parts.a.share is not a number"),
        ({"parts": {"a": {"count": 1, "share": float("nan")}}}, "parts.a.share is not finite"),
        ({"parts": {"a": {"count": 1, "other": 2}}}, "parts.a.other is an unknown key"),
        ({"labels": "b"}, "labels is not a list"),
        ({"labels": [["b"]]}, "labels.0 is not a string"),
        ({"flag": 1}, "flag is not true or false"),
        ({"more": 3}, "more is not an object"),
    ],
)
def test_a_value_of_another_type_is_named(changed, message):
    with pytest.raises(UnreadableError, match=message):
        from_tree(Outer, VALID | changed)


@pytest.mark.parametrize("tree", [None, [], "x", 1])
def test_anything_but_an_object_is_refused(tree):
    with pytest.raises(UnreadableError, match="the content is not an object"):
        from_tree(Outer, tree)
