import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
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
    stores = [ScoreStore(tmp_path / name, MANIFEST) for name in "abc"]
    for store, seed in zip(stores, (0, 0, 1), strict=True):
        store.write(0, 0, IDS, TOKENS, signals(seed))
    first, second, other = (store.path(0, 0).read_bytes() for store in stores)
    assert first == second != other


def test_a_shard_in_anothers_place_counts_as_absent(tmp_path):
    store, other = ScoreStore(tmp_path / "s", MANIFEST), ScoreStore(tmp_path / "o", MANIFEST | {"passes": 8})
    for one, teacher, shard in ((store, 0, 0), (store, 1, 0), (store, 0, 1), (other, 0, 0)):
        one.write(teacher, shard, IDS, TOKENS, signals())
    own = store.path(0, 0).read_bytes()
    for stray in (store.path(1, 0), store.path(0, 1), other.path(0, 0)):
        store.path(0, 0).write_bytes(stray.read_bytes())
        assert store.read(0, 0, IDS) is None
    store.path(0, 0).write_bytes(own)
    assert store.read(0, 0, IDS) is not None


def test_a_shard_that_does_not_name_its_place_counts_as_absent(tmp_path):
    store = ScoreStore(tmp_path / "s", MANIFEST)
    store.write(0, 0, IDS, TOKENS, signals())
    table = pq.read_table(store.path(0, 0)).replace_schema_metadata(None)
    pq.write_table(table, store.path(0, 0), write_page_checksum=True)
    assert store.read(0, 0, IDS) is None


def test_a_store_takes_further_teachers_and_keeps_the_scores_of_those_it_has(tmp_path):
    first = ScoreStore(tmp_path / "s", MANIFEST)
    first.write(1, 0, IDS, TOKENS, signals(1))
    more = MANIFEST | {"teachers": [{"weights": "c"}, {"weights": "b"}]}
    assert ScoreStore.exists_for(tmp_path / "s", more, extend=True) is False
    with pytest.raises(ScoreStoreError, match=r"'teachers.0.weights'"):
        ScoreStore(tmp_path / "s", more)
    second = ScoreStore(tmp_path / "s", more, extend=True)
    assert second.read(0, 0, IDS) is None
    assert np.array_equal(second.read(1, 0, IDS).logits, signals(1).logits)
    second.write(0, 0, IDS, TOKENS, signals(2))
    alone = ScoreStore(tmp_path / "alone", MANIFEST | {"teachers": [{"weights": "c"}]})
    alone.write(0, 0, IDS, TOKENS, signals(2))
    assert second.path(0, 0).read_bytes() == alone.path(0, 0).read_bytes()
    # The first run, and one of fewer teachers, read the store as before.
    for manifest in (MANIFEST, MANIFEST | {"teachers": [{"weights": "b"}]}):
        assert ScoreStore.exists_for(tmp_path / "s", manifest)
        assert ScoreStore(tmp_path / "s", manifest).read(len(manifest["teachers"]) - 1, 0, IDS) is not None


def test_scores_of_adaptive_passes_belong_to_their_set_of_teachers(tmp_path):
    adaptive = MANIFEST | {"adaptive": {"audit": 0.1}}
    ScoreStore(tmp_path / "s", adaptive)
    for teachers in ([{"weights": "a"}], [{"weights": "a"}, {"weights": "b"}, {"weights": "c"}]):
        with pytest.raises(ScoreStoreError, match="'teachers'"):
            ScoreStore(tmp_path / "s", adaptive | {"teachers": teachers}, extend=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda column: pc.cast(column, pa.float64()),
        lambda column: pc.multiply(column, float("nan")),
        lambda column: pa.chunked_array([pa.array([None, None, None], pa.float32())]),
        lambda column: pa.chunked_array([pa.array(["a", "b", "c"])]),
    ],
    ids=["type", "NaN", "null", "text"],
)
def test_a_shard_with_values_of_another_kind_counts_as_absent(tmp_path, change):
    store = ScoreStore(tmp_path / "s", MANIFEST)
    store.write(0, 0, IDS, TOKENS, signals())
    table = pq.read_table(store.path(0, 0))
    index = table.column_names.index("mean_energy")
    pq.write_table(table.set_column(index, "mean_energy", change(table["mean_energy"])), store.path(0, 0))
    assert store.read(0, 0, IDS) is None


@pytest.mark.slow
def test_no_damage_of_a_shard_is_read_as_other_values(tmp_path):
    """The footer has no checksum: every byte of it is changed in turn, and every fifth one of the pages."""
    store = ScoreStore(tmp_path / "s", MANIFEST)
    store.write(0, 0, IDS, TOKENS, signals())
    content = store.path(0, 0).read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in (*range(0, footer, 5), *range(footer, len(content))):
        store.path(0, 0).write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        found = store.read(0, 0, IDS)
        assert found is None or all(np.array_equal(getattr(found, name), one) for name, one in vars(signals()).items())


def test_a_note_is_read_whole_or_not_at_all(tmp_path):
    store = ScoreStore(tmp_path, MANIFEST)
    assert store.read_note("audit") is None
    store.write_note("audit", {"audited": 12, "changed": 3})
    assert store.read_note("audit") == {"audited": 12, "changed": 3}
    path = tmp_path / "audit.json"
    content = path.read_bytes()
    for place in range(len(content)):
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]):
            path.write_bytes(damaged)
            assert store.read_note("audit") in (None, {"audited": 12, "changed": 3})
    for strange in (b"[]", b"7", b"null", b'{"content": {}}', b"[" * 100_000, b"\xff", b"NaN"):
        path.write_bytes(strange)
        assert store.read_note("audit") is None
    path.unlink()
    path.mkdir()
    assert store.read_note("audit") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000, b"1" * 5000, b'{"a": NaN}'])
def test_a_damaged_manifest_is_refused_in_words(tmp_path, content):
    ScoreStore(tmp_path, MANIFEST)
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ScoreStoreError, match="unreadable manifest") as refused:
        ScoreStore(tmp_path, MANIFEST)
    assert refused.value.where == str(tmp_path / "manifest.json")


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
        ({"teachers": [{"weights": "a"}, {"weights": "c"}, {"weights": "b"}]}, "'teachers'"),
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
