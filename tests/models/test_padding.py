import inspect

import numpy as np
import pytest
import torch
import transformers
from tokenizers import processors

from muka_fast.inference.classifier import Classifier
from muka_fast.models.padding import NO_PADDING, choose_padding, match_inputs, set_padding_token
from tests.helpers.models import make_tokenizer, texts

pytestmark = pytest.mark.transformers4

SIZES = {"vocab_size": 128, "num_labels": 3}
BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
BART = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64, "bos_token_id": 2, "eos_token_id": 3,
    "decoder_start_token_id": 3,
}  # fmt: skip
FAMILIES = {
    "Bert": BERT | {"max_position_embeddings": 64},
    "Roberta": BERT | {"max_position_embeddings": 64, "pad_token_id": 1},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "eos_token_id": 3, "bos_token_id": 2},
    "Llama": BERT | {"num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 2, "eos_token_id": 3},
    "Bart": BART | {"pad_token_id": 0},
    "T5": {
        "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "pad_token_id": 0, "eos_token_id": 3,
        "decoder_start_token_id": 0,
    },
    "FNet": BERT | {"max_position_embeddings": 64, "tpu_short_seq_length": 64, "pad_token_id": 0},
    "XLNet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "pad_token_id": 0, "eos_token_id": 3},
    "Canine": BERT | {
        "max_position_embeddings": 256, "num_hash_buckets": 64, "num_hash_functions": 4, "local_transformer_stride": 32,
    },
    "Perceiver": {
        "d_model": 16, "d_latents": 16, "num_latents": 4, "num_blocks": 1, "num_self_attends_per_block": 1,
        "num_self_attention_heads": 2, "num_cross_attention_heads": 2, "max_position_embeddings": 64,
    },
}  # fmt: skip


def make(family, **settings):
    """Return a classifier with random weights whose logits depend on what it reads."""
    config = getattr(transformers, f"{family}Config")(**(SIZES | FAMILIES[family] | settings))
    return build(family, config)


def build(family, config):
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.mul_(3 if "embed" in name or "wte" in name or "wpe" in name else 6)
    return model


def alone(model, tokenizer, some):
    """Return the model's own logits of each text."""
    taken = inspect.signature(model.forward).parameters  # transformers 4 passes on what a model does not take
    names = [name for name in ("input_ids", "token_type_ids") if name in tokenizer.model_input_names and name in taken]
    with torch.inference_mode():
        rows = [tokenizer(text, truncation=True, max_length=48, return_tensors="pt") for text in some]
        return torch.cat([model(**{name: row[name] for name in names}).logits for row in rows]).numpy()


def assert_alike(model, tokenizer, some):
    """Check that texts in batches get the logits that they get alone."""
    expected = alone(model, tokenizer, some)
    found = Classifier(model, tokenizer, ("a", "b", "c"), 48).logits(some)
    assert np.ptp(expected, 0).max() > 0.01  # the texts differ by more than what is allowed
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))


SOME = texts(14)
END = [*SOME, "play [SEP] music", "stop music [SEP]", "[PAD] play [PAD] stop", "play [PAD]"]


@pytest.mark.parametrize(
    ("family", "settings", "tokenizer_settings"),
    [
        ("Bert", {}, {"model_input_names": ["input_ids", "token_type_ids"]}),
        ("Bert", {}, {"model_input_names": ["input_ids"]}),
        ("Bert", {}, {"padding_side": "left"}),
        ("Bert", {"pad_token_id": None}, {}),
        ("Bert", {"pad_token_id": 0}, {"pad_token": None}),
        ("Bert", {"pad_token_id": 0}, {"pad_token": "[SEP]"}),
        ("Roberta", {}, {}),
        ("Roberta", {}, {"padding_side": "left"}),
        ("Roberta", {"pad_token_id": 0}, {"pad_token": "[SEP]"}),
        ("GPT2", {"pad_token_id": 0}, {"padding_side": "left"}),
        ("GPT2", {"pad_token_id": 3}, {"pad_token": "[SEP]"}),
        ("GPT2", {"pad_token_id": 3}, {}),
        ("GPT2", {"pad_token_id": None}, {"pad_token": None}),
        ("GPT2", {"pad_token_id": None, "vocab_size": 96}, {"pad_token": "[SEP]"}),
        ("Llama", {"pad_token_id": 0}, {"pad_token": "[SEP]"}),
        ("Llama", {"pad_token_id": -1}, {}),
        ("Llama", {"pad_token_id": 1}, {"padding_side": "left"}),
        ("Llama", {"pad_token_id": None}, {"padding_side": "left", "pad_token": None}),
        ("Bart", {}, {}),
        ("Bart", {}, {"padding_side": "left"}),
        ("Bart", {"pad_token_id": 3}, {"pad_token": "[SEP]"}),
        ("T5", {}, {}),
        ("T5", {}, {"pad_token": "[UNK]"}),
        ("FNet", {}, {}),
        ("XLNet", {}, {"padding_side": "left"}),
        ("XLNet", {}, {}),
    ],
)
def test_each_text_gets_in_a_batch_what_it_gets_alone(tmp_path, family, settings, tokenizer_settings):
    tokenizer = make_tokenizer(tmp_path)
    for name, value in tokenizer_settings.items():
        setattr(tokenizer, name, value)
    model = make(family, **({"vocab_size": len(tokenizer)} | settings))
    assert_alike(model, tokenizer, END)


def test_a_tokenizer_of_characters_and_a_nested_configuration(tmp_path):
    canine = transformers.CanineTokenizer(model_max_length=256)
    assert_alike(make("Canine", vocab_size=300), canine, SOME)
    part = transformers.Gemma3TextConfig(
        vocab_size=128, num_key_value_heads=1, head_dim=8, max_position_embeddings=64, pad_token_id=0, eos_token_id=3,
        sliding_window=8, **BERT,
    )  # fmt: skip
    vision = transformers.SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    whole = transformers.Gemma3Config(text_config=part, vision_config=vision, mm_tokens_per_image=4, num_labels=3)
    model = build("Gemma3", whole)
    tokenizer = make_tokenizer(tmp_path)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    assert_alike(model, tokenizer, SOME)


@pytest.mark.parametrize(
    ("family", "settings", "tokenizer"),
    [
        ("T5", {"vocab_size": 384, "eos_token_id": 1}, transformers.ByT5Tokenizer(model_max_length=64)),
        ("Perceiver", {"vocab_size": 262}, transformers.PerceiverTokenizer(model_max_length=64)),
        ("Canine", {"vocab_size": 300}, transformers.CanineTokenizer(model_max_length=256, padding_side="left")),
    ],
)
def test_tokenizers_of_characters_and_bytes(family, settings, tokenizer):
    assert_alike(make(family, **settings), tokenizer, SOME)


GEMMA = BERT | {
    "vocab_size": 128, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64, "sliding_window": 8,
    "pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 2,
}  # fmt: skip
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Mpt", {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 64, "vocab_size": 128, "pad_token_id": 0}),
        ("T5Gemma", {"encoder": GEMMA, "decoder": GEMMA}),
        (
            "ModernVBert",
            {
                "text_config": BERT | {"model_type": "modernbert", "vocab_size": 128, "pad_token_id": 0},
                "vision_config": VISION | {"image_size": 28, "patch_size": 14},
            },
        ),
    ],
)
def test_configurations_with_parts(tmp_path, family, settings):
    if not hasattr(transformers, f"{family}Config"):
        pytest.skip("not in this version of transformers")
    tokenizer = make_tokenizer(tmp_path)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    model = build(family, getattr(transformers, f"{family}Config")(num_labels=3, **settings))
    assert_alike(model, tokenizer, SOME)


def test_a_tokenizer_without_special_tokens_ends_no_text(tmp_path):
    tokenizer = make_tokenizer(tmp_path)
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    assert_alike(make("GPT2", pad_token_id=None, vocab_size=len(tokenizer)), tokenizer, END)


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("Bert", {}, ("right", True, None, 0)),
        ("GPT2", {"pad_token_id": 0}, ("right", True, None, 0)),
        ("GPT2", {"pad_token_id": None}, ("right", True, None, None)),  # the model embeds more tokens than there are
        ("FNet", {}, ("right", False, None, 0)),
        ("XLNet", {}, ("left", True, None, 0)),
        ("Bart", {}, ("right", True, 3, 0)),
    ],
)
def test_what_is_chosen(tmp_path, family, settings, expected):
    tokenizer = make_tokenizer(tmp_path)
    model = make(family, **settings)
    found = choose_padding(model, tokenizer, 48)
    assert found.values["input_ids"] == (len(tokenizer) if expected[3] is None else expected[3])
    assert (found.side, found.mixed_lengths, found.counted_token) == expected[:3]
    assert choose_padding(model, tokenizer, 48) == found


def test_the_model_of_a_choice_reads_the_last_token_where_no_token_can_be_padding(tmp_path):
    tokenizer = make_tokenizer(tmp_path)
    model = make("GPT2", pad_token_id=None, vocab_size=len(tokenizer)).train()
    assert not choose_padding(model, tokenizer, 48).mixed_lengths
    assert model.config.pad_token_id == NO_PADDING
    assert model.training


def test_the_tokenizer_names_the_padding_token_too_if_it_is_special(tmp_path):
    tokenizer = make_tokenizer(tmp_path)
    tokenizer.pad_token = None
    choose_padding(make("Bert", pad_token_id=0), tokenizer, 48)
    assert tokenizer.pad_token == "[PAD]"
    choose_padding(make("Bert", pad_token_id=40), tokenizer, 48)
    assert tokenizer.pad_token == "[PAD]"  # token 40 is a word


def test_a_model_to_be_trained_gets_a_padding_token(tmp_path):
    tokenizer = make_tokenizer(tmp_path)
    for given, expected in ((None, 0), (-1, 0), (2, 2)):
        model = make("GPT2", pad_token_id=given)
        set_padding_token(model, tokenizer)
        assert model.config.pad_token_id == expected


def test_inputs_are_those_that_forward_takes(tmp_path):
    tokenizer = make_tokenizer(tmp_path)

    class Wrapper(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.config = model, model.config

        def forward(self, *args, **kwargs):
            return self.model(*args, **kwargs)

    for model, expected in [
        (make("Bert"), {"input_ids", "token_type_ids", "attention_mask"}),
        (Wrapper(make("Bert")), {"input_ids", "token_type_ids", "attention_mask"}),
        (make("FNet"), {"input_ids", "token_type_ids"}),
        (make("Bert", type_vocab_size=1), {"input_ids", "attention_mask"}),
        (make("T5"), {"input_ids", "attention_mask"}),
    ]:
        tokenizer.model_input_names = ["input_ids", "token_type_ids"]
        assert set(match_inputs(model, tokenizer)) == expected
        assert set(tokenizer("play")) >= expected - {"token_type_ids"}
