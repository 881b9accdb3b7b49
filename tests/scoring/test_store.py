import numpy as np
import pytest
import torch

from muka_fast.errors import ScoreStoreError
from muka_fast.scoring.store import ScoreStore, differences, shards, texts_fingerprint
from muka_fast.uncertainty.signals import summarise

MANIFEST = {"passes": 4, "teachers": [{"weights": "a"}, {"weights": "b"}], "texts": {"count": 3}}
IDS = np.array([5, 2**63 + 1, 9], dtype=np.uint64)
TOKENS = np.array([3, 4, 5])


def signals(seed: int = 0):
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(seed))
    return summarise(logits[0], logits)


def test_what_is_written_is_read(tmp_path):
    store = ScoreStore(tmp_path / "s", MANIFEST)
    assert store.read(0, 0, IDS) is None
    written = signals()
    store.write(1, 7, IDS, TOKENS, written)
    read = ScoreStore(tmp_path / "s", MANIFEST).read(1, 7, IDS)
    for name in vars(written):
        assert np.array_equal(getattr(read, name), getattr(written, name)), name
        assert getattr(read, name).dtype == getattr(written, name).dtype
    assert store.tokens(1, 7).tolist() == [3, 4, 5]
    assert not list((tmp_path / "s").rglob("*.tmp"))


def test_equal_signals_give_equal_bytes(tmp_path):
    store = ScoreStore(tmp_path / "s", MANIFEST)
    store.write(0, 0, IDS, TOKENS, signals())
    store.write(0, 1, IDS, TOKENS, signals())
    store.write(0, 2, IDS, TOKENS, signals(1))
    first, second, other = (store.path(0, i).read_bytes() for i in range(3))
    assert first == second != other


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_torn_or_damaged_shard_counts_as_absent(tmp_path, damage):
    store = ScoreStore(tmp_path / "s", MANIFEST)
    store.write(0, 0, IDS, TOKENS, signals())
    path = store.path(0, 0)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flip":
        content[120] ^= 0xFF
    else:
        content = bytearray()
    path.write_bytes(bytes(content))
    assert store.read(0, 0, IDS) is None


def test_a_shard_of_other_texts_counts_as_absent(tmp_path):
    store = ScoreStore(tmp_path / "s", MANIFEST)
    store.write(0, 0, IDS, TOKENS, signals())
    assert store.read(0, 0, IDS[::-1]) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"passes": 8}, "'passes'"),
        ({"teachers": [{"weights": "a"}, {"weights": "c"}]}, "'teachers.1.weights'"),
        ({"teachers": [{"weights": "a"}]}, "'teachers'"),
        ({"texts": {"count": 4}}, "'texts.count'"),
        ({"scope": "full"}, "'scope'"),
    ],
)
def test_another_manifest_is_refused_by_the_name_of_the_field(tmp_path, change, field):
    ScoreStore(tmp_path / "s", MANIFEST)
    with pytest.raises(ScoreStoreError, match=field):
        ScoreStore(tmp_path / "s", MANIFEST | change)


def test_foreign_folders_and_unreadable_manifests_are_refused(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("x")
    with pytest.raises(ScoreStoreError, match="no score store"):
        ScoreStore(tmp_path / "other", MANIFEST)
    with pytest.raises(ScoreStoreError, match="no score store"):
        ScoreStore.exists_for(tmp_path / "other", MANIFEST)
    ScoreStore(tmp_path / "s", MANIFEST)
    (tmp_path / "s" / "manifest.json").write_text("{")
    with pytest.raises(ScoreStoreError, match="unreadable manifest"):
        ScoreStore(tmp_path / "s", MANIFEST)


def test_the_hint_is_one_that_works_where_it_is_given(tmp_path):
    ScoreStore(tmp_path / "s", MANIFEST)
    with pytest.raises(ScoreStoreError) as caught:
        ScoreStore(tmp_path / "s", MANIFEST | {"passes": 8})
    assert caught.value.hint == "choose another 'scores' folder, or delete this store"
    for content in (None, "{"):
        if content is not None:
            (tmp_path / "s" / "manifest.json").write_text(content)
        with pytest.raises(ScoreStoreError) as caught:
            ScoreStore.exists_for(tmp_path / "s", MANIFEST | {"passes": 8}, hint="begin again")
        assert caught.value.hint == "begin again"


def test_shards_follow_from_the_ids_alone():
    ids = np.random.default_rng(0).integers(0, 2**64, 100, dtype=np.uint64)
    order = np.random.default_rng(1).permutation(100)
    first = [ids[pick].tolist() for pick in shards(ids, 30)]
    second = [ids[order][pick].tolist() for pick in shards(ids[order], 30)]
    assert first == second
    assert [len(shard) for shard in first] == [30, 30, 30, 10]
    assert texts_fingerprint(ids) == texts_fingerprint(ids[order]) != texts_fingerprint(ids[:99])


def test_differences_name_paths():
    assert differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}], "c": 1}) == [("a.1.b", 2, 3), ("c", None, 1)]
