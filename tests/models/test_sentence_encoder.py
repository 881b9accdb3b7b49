"""Sentence encoders in memory: the embeddings of sentence-transformers, for each text by itself."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from muka_fast.data.corpus import build_corpus
from muka_fast.errors import ModelError
from muka_fast.models.checkpoint import Checkpoint
from muka_fast.models.sentence_encoder import SentenceEncoder, encoder_limit
from muka_fast.models.sentence_layout import read_layout
from tests.helpers.models import texts
from tests.helpers.sentence_encoders import DENSE, WIDTH, make_encoder, write

BUDGET = 64
EVERY_MODE = ["max", "cls", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
TEXTS = [*texts(20), " ".join(texts(9)), "Play SOME Jazz"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("encoder") / "model", EVERY_MODE, ("Dense", "Normalize"))


def load(folder, max_length=None):
    checkpoint = Checkpoint(folder, None, "teacher")
    layout = read_layout(checkpoint)
    limit = encoder_limit(checkpoint, layout, max_length)
    return SentenceEncoder.load(checkpoint, layout, limit, torch.device("cpu"))


def embed(folder, some=TEXTS, **options):
    return load(folder, **options).encode(build_corpus(list(some)), BUDGET)


@pytest.mark.xdist_group("sentence-transformers")
def test_the_embeddings_are_those_of_sentence_transformers(made, tmp_path):
    from sentence_transformers import SentenceTransformer

    def compare(folder, width):
        expected = SentenceTransformer(str(folder), device="cpu", local_files_only=True).encode(TEXTS)
        found, lengths = embed(folder)
        assert found.shape == (len(TEXTS), width)
        np.testing.assert_allclose(found, expected, atol=2e-6)
        return found, lengths

    compare(made, DENSE)
    compare(make_encoder(tmp_path / "modes", EVERY_MODE), len(EVERY_MODE) * WIDTH)
    plain = make_encoder(tmp_path / "plain")
    as_written, lengths = compare(plain, WIDTH)
    assert lengths[-2] > 48  # that text is truncated
    write(plain / "sentence_bert_config.json", {"max_seq_length": 12, "do_lower_case": True})
    lower, shorter = compare(plain, WIDTH)
    assert (lower[-1] - as_written[-1]).abs().max() > 0.1
    assert load(plain).max_length == 12
    assert shorter[-2] == lengths[-2]


def test_a_text_has_the_same_embedding_in_any_company(made):
    together, lengths = embed(made)
    backwards, _ = embed(made, TEXTS[::-1])
    torch.testing.assert_close(together, backwards.flip(0), rtol=0, atol=1e-6)
    for index in (0, 8, 20):
        alone, own = embed(made, [TEXTS[index]])
        torch.testing.assert_close(alone[0], together[index], rtol=0, atol=1e-6)
        assert own[0] == lengths[index]
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_the_least_limit_of_tokens_holds(made, tmp_path):
    assert load(made).max_length == 48
    assert load(made, max_length=10).max_length == 10
    folder = shutil.copytree(made, tmp_path / "encoder")
    write(folder / "sentence_bert_config.json", {"max_seq_length": 1000})
    assert load(folder).max_length == 64  # the position embeddings


def test_an_encoder_with_missing_or_damaged_weights_is_refused(made, tmp_path):
    def refused(what):
        with pytest.raises(ModelError, match=what) as caught:
            load(folder)
        assert caught.value.hint

    folder = shutil.copytree(made, tmp_path / "encoder")
    weights = load_file(folder / "model.safetensors")
    without_pooler = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    save_file(without_pooler, folder / "model.safetensors", {"format": "pt"})
    torch.testing.assert_close(embed(folder)[0], embed(made)[0])
    without_pooler.pop("encoder.layer.1.output.dense.weight")
    save_file(without_pooler, folder / "model.safetensors", {"format": "pt"})
    refused(r"1 weight\(s\) of the encoder are not in the folder, for example encoder\.layer\.1")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    dense = folder / "2_Dense" / "model.safetensors"
    save_file({"bias": torch.zeros(2)}, dense)
    refused("the weights are bias, not those of a linear layer")
    dense.write_bytes(b"damaged")
    refused("damaged weights")


def test_an_encoder_with_a_decoder_is_refused(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "encoder")
    AutoConfig.for_model("t5", d_model=16, num_layers=1).save_pretrained(folder)
    with pytest.raises(ModelError, match="an encoder with a decoder"):
        load(folder)
