"""Folders whose tokenizer is unusual, loaded from disk: each text gets the logits that the model gives it alone."""

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from muka_fast.inference.classifier import Classifier
from tests.helpers.models import make_config, make_tokenizer, texts

CPU = torch.device("cpu")
NAMES = {"id2label": {0: "music", 1: "weather", 2: "travel"}, "label2id": {"music": 0, "weather": 1, "travel": 2}}
DECODER = {"vocab_size": 128, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "pad_token_id": None}


def save(config, tokenizer, folder):
    """Save a classifier with random weights whose logits differ between texts, and its tokenizer."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def assert_alike(model, folder):
    tokenizer, some = AutoTokenizer.from_pretrained(folder), texts(12)
    with torch.inference_mode():
        alone = torch.cat([model(torch.tensor([tokenizer(text)["input_ids"]])).logits for text in some]).numpy()
    assert np.ptp(alone, 0).max() > 0.01, "the texts hardly differ: nothing is compared"
    loaded = Classifier.load(str(folder), CPU)
    assert loaded.labels == ("music", "weather", "travel")
    np.testing.assert_allclose(loaded.logits(some), alone, atol=1e-4 * max(1, np.abs(alone).max()))


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        *((family, {}) for family in ("bert", "roberta", "distilbert", "electra", "mpnet")),
        ("bert", {"pad_token_id": None}),
        ("gpt2", {"vocab_size": 128, "n_embd": 16, "n_layer": 1, "n_head": 2, "pad_token_id": None}),
        ("llama", DECODER | {"intermediate_size": 32}),
        ("opt", DECODER | {"ffn_dim": 32, "word_embed_proj_dim": 16}),
    ],
)
def test_a_tokenizer_that_names_no_special_token(tmp_path, family, settings):
    """As it is after ``PreTrainedTokenizerFast(tokenizer_object=…)``: neither padding nor an end nor unknown words."""
    tokenizer = make_tokenizer(tmp_path / "named").backend_tokenizer
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48)
    assert tokenizer.pad_token is tokenizer.eos_token is tokenizer.unk_token is None
    small = family in ("gpt2", "llama", "opt")
    names = {**NAMES, "max_position_embeddings": 64, **settings}
    config = (
        AutoConfig.for_model(family, **names) if small else make_config(family, tuple(NAMES["label2id"]), **settings)
    )
    assert_alike(save(config, tokenizer, tmp_path / "model"), tmp_path / "model")


SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
CANINE = SIZES | {
    "max_position_embeddings": 256, "num_hash_buckets": 64, "num_hash_functions": 4, "local_transformer_stride": 32,
}  # fmt: skip
PERCEIVER = {
    "d_model": 16, "d_latents": 16, "num_latents": 4, "num_blocks": 1, "num_self_attends_per_block": 1,
    "num_self_attention_heads": 2, "num_cross_attention_heads": 2, "max_position_embeddings": 64, "vocab_size": 262,
}  # fmt: skip
T5 = {
    "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 384, "pad_token_id": 0,
    "eos_token_id": 1, "decoder_start_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "settings", "tokenizer"),
    [
        ("canine", CANINE, transformers.CanineTokenizer(model_max_length=256)),
        ("canine", CANINE, transformers.CanineTokenizer(model_max_length=256, padding_side="left")),
        ("perceiver", PERCEIVER, transformers.PerceiverTokenizer(model_max_length=64)),
        ("t5", T5, transformers.ByT5Tokenizer(model_max_length=64)),
    ],
    ids=["canine", "canine, padded left", "perceiver", "byt5"],
)
def test_a_tokenizer_of_characters_or_bytes_has_no_vocabulary_file(tmp_path, family, settings, tokenizer):
    model = save(AutoConfig.for_model(family, **NAMES, **settings), tokenizer, tmp_path)
    assert not [*tmp_path.glob("vocab*"), *tmp_path.glob("tokenizer.json"), *tmp_path.glob("*.model")]
    assert_alike(model, tmp_path)
