from dataclasses import dataclass

import numpy as np
import pytest

from muka_fast.runtime.arrays import UNREADABLE, load_arrays, restore, save_arrays


@dataclass(frozen=True)
class Leaf:
    values: np.ndarray
    scale: float


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    named: dict[str, Leaf]
    weights: dict[str, float]
    label: str
    maybe: Leaf | None
    other: np.ndarray | None


def tree(maybe=True):
    leaf = Leaf(np.arange(6.0).reshape(2, 3), 0.5)
    return Tree(
        tuple(Leaf(np.array([i]), float(i)) for i in range(12)),
        {"z": leaf},
        {"a": 1.5},
        "é",
        leaf if maybe else None,
        None,
    )


@pytest.mark.parametrize("maybe", [True, False])
def test_a_tree_comes_back_as_it_was(tmp_path, maybe):
    save_arrays(tmp_path / "tree.npz", tree(maybe))
    found = load_arrays(tmp_path / "tree.npz", Tree)
    assert [leaf.scale for leaf in found.leaves] == list(range(12))
    assert np.array_equal(found.named["z"].values, np.arange(6.0).reshape(2, 3))
    assert (found.weights, found.label, found.other) == ({"a": 1.5}, "é", None)
    assert (found.maybe is not None) == maybe


def test_a_damaged_file_raises_what_is_promised(tmp_path):
    save_arrays(tmp_path / "tree.npz", tree())
    content = (tmp_path / "tree.npz").read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no archive", content.replace(b"label", b"lable")):
        (tmp_path / "bad.npz").write_bytes(damaged)
        with pytest.raises(UNREADABLE):
            load_arrays(tmp_path / "bad.npz", Tree)


def test_a_type_that_is_no_array_is_refused():
    with pytest.raises(TypeError, match="cannot restore"):
        restore(list[int], {})
