"""Tiny models with random weights, made on the spot: every test runs offline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

_LINE = (
    "please what is the weather in paris rome book a table flight hotel play some jazz rock song stop music "
    "account card lost money send transfer bank turn on off light heating kitchen bedroom tomorrow today now"
)
WORDS = _LINE.split()

SMALL = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
}
for _family in ("roberta", "electra", "deberta-v2", "modernbert", "xlm-roberta", "camembert", "mpnet"):
    SMALL[_family] = SMALL["bert"]
SMALL["albert"] = SMALL["bert"] | {"embedding_size": 16}
SMALL["electra"] = SMALL["bert"] | {"embedding_size": 16}
SMALL["modernbert"] = SMALL["bert"] | {
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
    "global_attn_every_n_layers": 2,
}


@cache
def wordpieces(words: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Join the most frequent pair of pieces, of equals the first in the alphabet, until there are ``count`` pieces.

    The trainer of ``tokenizers`` takes any of equally frequent pairs, so its vocabularies differ from run to run.
    """
    split = [[word[0], *(f"##{letter}" for letter in word[1:])] for word in words]
    pieces = sorted({piece for word in split for piece in word})
    while len(pieces) < count:
        pairs = Counter(pair for word in split for pair in pairwise(word))
        first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
        joined = first + second.removeprefix("##")
        if joined not in pieces:
            pieces.append(joined)
        for word in split:
            for index in reversed(range(len(word) - 1)):
                if word[index : index + 2] == [first, second]:
                    word[index : index + 2] = [joined]
    return tuple(pieces)


def make_tokenizer(folder: Path, seed: int = 0, max_length: int = 48) -> PreTrainedTokenizerFast:
    """Make a WordPiece tokenizer; seeds give different vocabularies."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    pieces = (*special, *wordpieces(tuple(WORDS[seed:]), 85 + 10 * seed))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
    )
    fast.save_pretrained(folder)
    return fast


def make_config(family: str, labels: Sequence[str], **extra: Any) -> Any:
    """Return a tiny configuration of a family."""
    settings = {
        "vocab_size": 128,
        "max_position_embeddings": 64,
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {name: i for i, name in enumerate(labels)},
    }
    return AutoConfig.for_model(family, **(settings | SMALL[family] | extra))


def make_model(
    folder: Path,
    labels: Sequence[str] = ("a", "b"),
    *,
    family: str = "bert",
    seed: int = 0,
    scale: float = 8.0,
    **extra: Any,
) -> Path:
    """Save a tiny classifier with random weights and its tokenizer; a larger scale makes it more decided."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(make_config(family, labels, **extra))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "classifier" in name and parameter.dim() == 2:
                parameter.mul_(scale)
    model.save_pretrained(folder)
    make_tokenizer(folder, seed % 3)
    return folder


def one_layer(family: str) -> dict[str, int]:
    """Return the settings of a model of one layer; of two for ModernBERT, whose layers are of two kinds.

    For tests over all families: these differ in embeddings, heads and kinds of layers, not in their number.
    """
    return {"n_layers" if family == "distilbert" else "num_hidden_layers": 2 if family == "modernbert" else 1}


def make_classifier(folder: Path, family: str = "bert", **extra: Any) -> Path:
    """Save a classifier of three labels whose logits differ between texts by far more than exports may lose."""
    names = ("music", "weather", "travel")
    return make_model(folder, names, family=family, seed=1, initializer_range=0.2, scale=1.0, **extra)


def texts(count: int, start: int = 0) -> list[str]:
    """Return distinct short texts of different lengths."""
    return [
        " ".join(WORDS[(i * 7 + j * (i % 5 + 1)) % len(WORDS)] for j in range(2 + i % 9)) + f" {i}"
        for i in range(start, start + count)
    ]
