from dataclasses import dataclass

import numpy as np
import pytest

from muka_fast.runtime.arrays import flatten, load_arrays, restore, save_arrays
from muka_fast.runtime.parsing import UnreadableError


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
        with pytest.raises(UnreadableError):
            load_arrays(tmp_path / "bad.npz", Tree)


def test_a_type_that_is_no_array_is_refused():
    with pytest.raises(TypeError, match="cannot restore"):
        restore(list[int], {})


def encrypted(content):
    """Set the flag of encryption in every header of a zip file."""
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(signature)
        while place >= 0:
            content = content[: place + offset] + b"\x01" + content[place + offset + 1 :]
            place = content.find(signature, place + 1)
    return content


def test_whatever_stands_in_the_file_one_exception_is_raised(tmp_path):
    path = tmp_path / "tree.npz"
    save_arrays(path, tree())
    content = path.read_bytes()
    flat = flatten(tree())
    np.savez(tmp_path / "pickled.npz", **flat | {"label": np.array([Leaf(np.zeros(1), 1.0)], dtype=object)})
    np.savez(tmp_path / "nan.npz", **flat | {"weights/a": np.array(np.nan)})
    np.savez(tmp_path / "vector.npz", **flat | {"weights/a": np.zeros(3)})
    (tmp_path / "encrypted.npz").write_bytes(encrypted(content))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    huge = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 4), }"
    (tmp_path / "huge.npz").write_bytes(huge + header.ljust(117) + b"\n")
    (tmp_path / "folder.npz").mkdir()
    for name in ("pickled", "nan", "vector", "encrypted", "single", "huge", "folder"):
        with pytest.raises(UnreadableError):
            load_arrays(tmp_path / f"{name}.npz", Tree)
    with pytest.raises(FileNotFoundError):
        load_arrays(tmp_path / "absent.npz", Tree)


def test_a_flipped_bit_is_seen_or_has_no_effect(tmp_path):
    path = tmp_path / "leaf.npz"
    save_arrays(path, Leaf(np.arange(6.0), 0.5))
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            found = load_arrays(path, Leaf)
        except UnreadableError:
            continue
        assert (found.values.tolist(), found.scale) == ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 0.5)
