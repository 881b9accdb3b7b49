import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from muka_fast.config.recipe import UncertaintySpec
from muka_fast.config.specs import TeacherSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.errors import ModelError, ScoreStoreError
from muka_fast.models.teacher import describe_teachers
from muka_fast.runtime.distributed import SINGLE_PROCESS, DistributedContext
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.score_pool import ScoringJob, collect, manifest, score_pool, shard_size
from muka_fast.scoring.store import ScoreStore
from tests.helpers.models import texts

CPU = torch.device("cpu")
QUIET = Progress(silent=True)


@pytest.fixture
def teachers(model_folder):
    folders = model_folder("one", ("a", "b"), seed=1), model_folder("two", ("c", "d", "e"), family="roberta", seed=2)
    return describe_teachers([TeacherSpec(model=str(folder)) for folder in folders])


def fill(folder, teachers, corpus, settings, context=SINGLE_PROCESS, seed=0):
    store = ScoreStore(folder, manifest(teachers, corpus, settings, seed))
    job = ScoringJob(teachers, corpus, store, settings, seed, CPU, QUIET, context)
    score_pool(job)
    return job


SETTINGS = UncertaintySpec(passes=3, adaptive=False, token_budget=64, shard_size=8)


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def test_order_and_number_of_workers_do_not_change_a_byte(tmp_path, teachers):
    corpus = build_corpus(texts(30))
    fill(tmp_path / "first", teachers, corpus, SETTINGS)
    shuffled = corpus.take(np.random.default_rng(0).permutation(30))
    parts = []
    for index in range(3):
        folder = tmp_path / f"part-{index}"
        fill(folder, teachers, shuffled, SETTINGS, context=DistributedContext(index, 3))
        parts.append(files(folder))
    assert files(tmp_path / "first") == parts[0] | parts[1] | parts[2]
    assert sum(map(len, parts)) == 2 * 4
    assert len(files(tmp_path / "first")) == 2 * 4


def test_missing_and_torn_shards_are_recomputed_to_the_same_bytes(tmp_path, teachers):
    corpus = build_corpus(texts(30))
    job = fill(tmp_path / "s", teachers, corpus, SETTINGS)
    store = job.store
    before = files(tmp_path / "s")
    store.path(0, 1).unlink()
    store.path(1, 2).write_bytes(b"torn")
    with pytest.raises(ScoreStoreError, match="missing or damaged"):
        collect(job)
    kept = store.path(0, 0).stat().st_mtime_ns
    fill(tmp_path / "s", teachers, corpus, SETTINGS)
    assert files(tmp_path / "s") == before
    assert store.path(0, 0).stat().st_mtime_ns == kept


def test_signals_come_back_in_the_texts_order(tmp_path, teachers):
    corpus = build_corpus(texts(20))
    scores = collect(fill(tmp_path / "a", teachers, corpus, SETTINGS))
    shuffled = corpus.take(np.arange(19, -1, -1))
    again = collect(fill(tmp_path / "a", teachers, shuffled, SETTINGS))
    for first, second in zip(scores.signals, again.signals, strict=True):
        assert np.array_equal(first.predictive_entropy, second.predictive_entropy[::-1])
        assert first.logits.shape[0] == 20
    assert scores.truncated == (0.0, 0.0)


def test_another_seed_gives_other_masks_and_is_refused_in_the_same_store(tmp_path, teachers):
    corpus = build_corpus(texts(10))
    first = fill(tmp_path / "a", teachers, corpus, SETTINGS, seed=0).store.read(0, 0, np.sort(corpus.ids)[:8])
    second = fill(tmp_path / "b", teachers, corpus, SETTINGS, seed=1).store.read(0, 0, np.sort(corpus.ids)[:8])
    assert np.array_equal(first.logits, second.logits)
    assert not np.array_equal(first.mean_probabilities, second.mean_probabilities)
    with pytest.raises(ScoreStoreError, match="'seed'"):
        fill(tmp_path / "a", teachers, corpus, SETTINGS, seed=1)


def test_cut_texts_are_counted(tmp_path, model_folder):
    folders = model_folder("one", ("a", "b"), seed=1), model_folder("two", ("c", "d"), seed=2)
    teachers = describe_teachers([TeacherSpec(model=str(folder), max_length=8) for folder in folders])
    corpus = build_corpus(["music", "what is the weather in paris tomorrow please", "rock", "stop jazz"])
    scores = collect(fill(tmp_path / "s", teachers, corpus, SETTINGS))
    assert scores.truncated == (0.25, 0.25)


def break_weights(folder, value):
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_teacher_that_gives_nan_is_named_with_the_text(tmp_path, model_folder, value):
    folders = model_folder("one", ("a", "b"), seed=1), model_folder("two", ("c", "d"), seed=2)
    break_weights(folders[1], value)
    teachers = describe_teachers([TeacherSpec(model=str(folder)) for folder in folders])
    corpus = build_corpus(texts(4))
    with pytest.raises(ModelError, match="NaN or infinite") as caught:
        fill(tmp_path / "s", teachers, corpus, SETTINGS)
    assert "two" in caught.value.where
    assert any(f"{int(identity):016x}" in caught.value.what for identity in corpus.ids)


def test_identical_passes_are_never_reported_as_uncertainty(tmp_path, model_folder):
    corpus = build_corpus(texts(4))
    other = model_folder("two", ("c", "d"), seed=1)
    # A probability that nothing applies: the module exists, the forward pass never calls it.
    inert = model_folder(
        "inert",
        family="albert",
        seed=3,
        hidden_dropout_prob=0.5,
        attention_probs_dropout_prob=0.0,
        classifier_dropout_prob=0.0,
    )
    import muka_fast.scoring.teacher_pool as loaded

    teachers = describe_teachers([TeacherSpec(model=str(f)) for f in (inert, other)])

    def load(teacher, device, load=loaded.load_teacher):
        model, tokenizer = load(teacher, device)
        for name, module in model.named_modules():
            if hasattr(module, "p") and name != "albert.encoder.albert_layer_groups.0.albert_layers.0.dropout":
                module.p = 0.0
        return model, tokenizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaded, "load_teacher", load)
        with pytest.raises(ModelError, match="no dropout site is live"):
            fill(tmp_path / "t", teachers, corpus, SETTINGS)
    fill(tmp_path / "u", teachers, corpus, UncertaintySpec(passes=0))


def test_a_large_pool_has_few_files():
    counts = (1, 65_536, 65_537, 10**6, 10**7)
    assert [shard_size(UncertaintySpec(), count) for count in counts] == [1024, 1024, 2048, 16_384, 16_384]
    assert shard_size(UncertaintySpec(shard_size=100), 10**7) == 100
