import numpy as np
import pytest
import torch
from rich.console import Console

from muka_fast.config.specs import StudentSpec
from muka_fast.data.corpus import build_corpus
from muka_fast.runtime.progress import Progress
from muka_fast.selection.text_encoder import TextEncoder
from muka_fast.selection.text_vectors import read_or_encode
from tests.helpers.models import make_model, texts

CPU, QUIET = torch.device("cpu"), Progress(silent=True)
NAMES = ("play music", "weather")


@pytest.fixture
def spec(tmp_path):
    return StudentSpec(model=str(make_model(tmp_path / "base", ("x", "y"), seed=3)))


def test_vectors_are_kept_and_read_back_in_any_order(spec, tmp_path, monkeypatch):
    corpus = build_corpus(texts(12))
    vectors, similarity = read_or_encode(spec, corpus, NAMES, CPU, QUIET, tmp_path).of(corpus)
    assert (vectors.shape[0], similarity.shape) == (12, (12, 2))
    monkeypatch.setattr(TextEncoder, "load", lambda *_: pytest.fail("computed again"))
    turned = corpus.take(np.arange(12)[::-1])
    again, names = read_or_encode(spec, turned, NAMES, CPU, QUIET, tmp_path).of(turned)
    assert np.array_equal(again[:], vectors[::-1])
    assert names[:] == pytest.approx(similarity[::-1])


@pytest.mark.parametrize("what", ["texts", "names", "damaged", "changed", "shortened", "empty", "absent"])
def test_what_was_kept_of_other_texts_or_names_is_computed_again(what, spec, tmp_path):
    corpus = build_corpus(texts(6))
    read_or_encode(spec, corpus, NAMES, CPU, QUIET, tmp_path)
    (kept,) = tmp_path.glob("encoder-*.npz")
    other, names = build_corpus(texts(6, 50)) if what == "texts" else corpus, NAMES
    if what == "names":
        names = ("bank", "lights")
    if what == "damaged":
        kept.write_bytes(kept.read_bytes()[:100])
    vectors = kept.with_suffix(".npy")
    if what == "changed":
        vectors.write_bytes(vectors.read_bytes()[:-1] + b"\x01")
    if what == "shortened":
        vectors.write_bytes(vectors.read_bytes()[:-2])
    if what == "empty":
        vectors.write_bytes(b"")
    if what == "absent":
        vectors.unlink()
    console = Console(record=True, width=200)
    found = read_or_encode(spec, other, names, CPU, Progress(console), tmp_path)
    expected = read_or_encode(spec, other, names, CPU, QUIET)
    assert np.array_equal(found.texts, expected.texts)
    assert np.array_equal(found.name_vectors, expected.name_vectors)
    assert ("damaged" in console.export_text()) == (what in ("damaged", "changed", "shortened", "empty"))


@pytest.mark.parametrize("change", ["max_length", "tokenizer", "names"])
def test_what_the_vectors_depend_on_is_part_of_their_name(change, spec, tmp_path):
    corpus = build_corpus(texts(6))
    read_or_encode(spec, corpus, NAMES, CPU, QUIET, tmp_path)
    names = ("bank", "lights") if change == "names" else NAMES
    if change == "max_length":
        spec = spec.model_copy(update={"max_length": 8})
    if change == "tokenizer":
        spec = spec.model_copy(update={"tokenizer": str(make_model(tmp_path / "other", ("x", "y"), seed=1))})
    (kept,) = tmp_path.glob("encoder-*.npy")
    before = kept.stat().st_ino
    found = read_or_encode(spec, corpus, names, CPU, QUIET, tmp_path)
    assert kept.stat().st_ino == before  # the texts of other names are not encoded again
    expected = read_or_encode(spec, corpus, names, CPU, QUIET)
    assert np.array_equal(found.texts, expected.texts)
    assert np.array_equal(found.name_vectors, expected.name_vectors)
    assert len(list(tmp_path.glob("encoder-*.npz"))) == (1 if change == "names" else 2)
    assert np.array_equal(read_or_encode(spec, corpus, names, CPU, QUIET, tmp_path).name_vectors, found.name_vectors)


def test_repeated_texts_are_encoded_once(spec):
    corpus = build_corpus(["play jazz", "stop", "play jazz"], distinct=False)
    found = read_or_encode(spec, corpus, NAMES, CPU, QUIET)
    assert len(found.ids) == 2
    vectors, _ = found.of(corpus)
    assert np.array_equal(vectors[0], vectors[2])
    assert vectors.shape == (3, 16)
