"""The classification head for all K passes of a text in one launch, from the pooled row to the signals.

xₖ → [dropout] → [activation(W₁ · + b₁)] → [dropout] → zₖ = W₂ · + b₂ → pₖ = softmax(zₖ), Hₖ = −Σ pₖ log pₖ,
Eₖ = logsumexp(zₖ); over the passes: p̄ = mean pₖ, H(p̄), mean Hₖ, mean Eₖ, and the sample standard deviation of
1 − Hₖ / ln C. One program holds one text; its passes are the rows of the products, sixteen at a time. Hidden features
are computed in tiles that the classifier's accumulation consumes at once, so they are never stored. Logits are stored
in tiles of classes and read again once their logsumexp is known; wide label spaces recompute the hidden features for
each tile. With m the maximum so far, Σ exp(z − m) and Σ exp(z − m) (z − m) give E and H without a probability's
logarithm. Dropout scales are applied to the accumulators. Means and variances of further tiles of passes are merged by
the formula of Chan, Golub and LeVeque (1979). fp32 from the logits on.
"""

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from muka_fast.kernels import launch_configs
from muka_fast.kernels.bias_gelu import gelu
from muka_fast.kernels.dropout_mask import keep_tile
from muka_fast.kernels.layout import DropoutSpec, PackedLayout, drop_arguments

ACTIVATIONS = {"none": lambda x: x, "tanh": torch.tanh, "gelu": functional.gelu, "relu": torch.relu}


@dataclass(frozen=True)
class HeadSignals:
    """Signals of K passes over B texts, all fp32; entropies and energies in nats.

    Attributes:
        mean_probabilities: Mean of the softmax, (B, C).
        predictive_entropy: Entropy of the mean probabilities, (B,).
        expected_entropy: Mean entropy, (B,).
        mean_energy: Mean logsumexp of the logits, (B,).
        trust_spread: Sample standard deviation of 1 − H / ln C, (B,); 0 for one pass.
        logits: Logits of each pass, (K, B, C), or None unless requested.
    """

    mean_probabilities: Tensor
    predictive_entropy: Tensor
    expected_entropy: Tensor
    mean_energy: Tensor
    trust_spread: Tensor
    logits: Tensor | None


def head_reference(
    x: Tensor,
    passes: int,
    dense: tuple[Tensor, Tensor | None] | None,
    activation: str,
    classifier: tuple[Tensor, Tensor | None],
    input_keep: Tensor | None,
    input_scale: float,
    hidden_keep: Tensor | None,
    hidden_scale: float,
) -> HeadSignals:
    """Compute the same in PyTorch, logits in the precision of ``x``; keep masks are boolean, (K · B, D), or None."""
    texts = len(hidden_keep if hidden_keep is not None else input_keep if input_keep is not None else x) // passes
    x = x.repeat(passes * texts // len(x), 1)
    if input_keep is not None:
        x = x * input_keep * input_scale
    if dense is not None:
        x = functional.linear(x, *dense)
    x = ACTIVATIONS[activation](x)
    if hidden_keep is not None:
        x = x * hidden_keep * hidden_scale
    logits = functional.linear(x, *classifier).unflatten(0, (passes, texts))
    logits = logits if logits.dtype == torch.float64 else logits.float()
    entropies = torch.special.entr(logits.softmax(-1)).sum(-1)
    mean = logits.softmax(-1).mean(0)
    return HeadSignals(
        mean_probabilities=mean,
        predictive_entropy=torch.special.entr(mean).sum(-1),
        expected_entropy=entropies.mean(0),
        mean_energy=logits.logsumexp(-1).mean(0),
        trust_spread=(entropies / torch.tensor(logits.shape[-1]).log()).var(0, correction=min(1, passes - 1)).sqrt(),
        logits=logits,
    )


@triton.jit
def _activate(h, ACTIVATION: tl.constexpr):
    if ACTIVATION == "tanh":
        small = tl.exp(-2.0 * tl.abs(h))
        h = tl.where(h < 0, -1.0, 1.0) * (1.0 - small) / (1.0 + small)
    elif ACTIVATION == "gelu":
        h = gelu(h)
    elif ACTIVATION == "relu":
        h = tl.maximum(h, 0.0)
    return h


@triton.jit
def _cls_row_keep(key_ptr, text_id, pass_id, site, first_feature, threshold, TILE: tl.constexpr):
    block = first_feature // 16 + tl.arange(0, TILE // 16)[None, :]
    return keep_tile(key_ptr, text_id, pass_id[:, None], site, tl.broadcast_to(block, (16, TILE // 16)), threshold)


@triton.jit
def _hidden_tile(
    x_ptr, dense_ptr, dense_bias_ptr, key_ptr, text_id, row, live, pass_id, first_hidden, site, threshold, scale,
    WIDTH: tl.constexpr, HIDDEN: tl.constexpr, DENSE: tl.constexpr, DENSE_BIAS: tl.constexpr, DROP: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr, INPUT_TILE: tl.constexpr, HIDDEN_TILE: tl.constexpr,
):  # fmt: skip
    feature = first_hidden + tl.arange(0, HIDDEN_TILE)
    if DENSE:
        h = tl.zeros((16, HIDDEN_TILE), tl.float32)
        for first_input in range(0, WIDTH, INPUT_TILE):
            column = first_input + tl.arange(0, INPUT_TILE)
            x_at = row[:, None] * WIDTH + column[None, :]
            x = tl.load(x_ptr + x_at, mask=live[:, None] & (column < WIDTH)[None, :], other=0.0).to(OPERAND)
            if DROP:
                keep = _cls_row_keep(key_ptr, text_id, pass_id, site, first_input, threshold, INPUT_TILE)
                x = tl.where(keep, x, 0.0).to(OPERAND)
            weight_at = feature[None, :] * WIDTH + column[:, None]
            inside = (feature < HIDDEN)[None, :] & (column < WIDTH)[:, None]
            weight = tl.load(dense_ptr + weight_at, mask=inside, other=0.0).to(OPERAND)
            h = tl.dot(x, weight, h, input_precision=PRECISION)
        h *= scale
        if DENSE_BIAS:
            h += tl.load(dense_bias_ptr + feature, mask=feature < HIDDEN, other=0.0).to(tl.float32)[None, :]
    else:
        x_at = row[:, None] * WIDTH + feature[None, :]
        h = tl.load(x_ptr + x_at, mask=live[:, None] & (feature < WIDTH)[None, :], other=0.0).to(tl.float32)
        if DROP:
            keep = _cls_row_keep(key_ptr, text_id, pass_id, site, first_hidden, threshold, HIDDEN_TILE)
            h = tl.where(keep, h * scale, 0.0)
    return h


@triton.jit(
    do_not_specialize=[
        "texts", "passes", "first_pass", "input_site", "input_threshold", "hidden_site", "hidden_threshold",
    ]
)  # fmt: skip
def _head_kernel(
    x_ptr, dense_ptr, dense_bias_ptr, classifier_ptr, classifier_bias_ptr, probabilities_ptr, signals_ptr, logits_ptr,
    key_ptr, text_ids_ptr, texts, passes, inverse_log_classes, first_pass,
    input_site, input_threshold, input_scale, hidden_site, hidden_threshold, hidden_scale,
    WIDTH: tl.constexpr, HIDDEN: tl.constexpr, CLASSES: tl.constexpr, CLASS_TILE: tl.constexpr, SHARED: tl.constexpr,
    DENSE: tl.constexpr, DENSE_BIAS: tl.constexpr, CLASSIFIER_BIAS: tl.constexpr, ACTIVATION: tl.constexpr,
    INPUT_DROP: tl.constexpr, HIDDEN_DROP: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr, INPUT_TILE: tl.constexpr, HIDDEN_TILE: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0)
    text_id = tl.load(text_ids_ptr + text)
    probabilities_ptr += text.to(tl.int64) * CLASSES
    entropy = 0.0
    energy = 0.0
    count = 0.0
    mean = 0.0
    squares = 0.0
    for first in range(0, passes, 16):
        pass_index = first + tl.arange(0, 16)
        pass_id = first_pass + pass_index
        live = pass_index < passes
        row = tl.zeros((16,), tl.int64) + text if SHARED else pass_index.to(tl.int64) * texts + text
        logits_at = (pass_index.to(tl.int64) * texts + text)[:, None] * CLASSES
        highest = tl.full((16,), float("-inf"), tl.float32)
        total = tl.zeros((16,), tl.float32)
        weighted = tl.zeros((16,), tl.float32)
        for first_label in range(0, CLASSES, CLASS_TILE):
            label = first_label + tl.arange(0, CLASS_TILE)
            is_label = (label < CLASSES)[None, :]
            logits = tl.zeros((16, CLASS_TILE), tl.float32)
            for first_hidden in range(0, HIDDEN, HIDDEN_TILE):
                feature = first_hidden + tl.arange(0, HIDDEN_TILE)
                h = _hidden_tile(
                    x_ptr, dense_ptr, dense_bias_ptr, key_ptr, text_id, row, live, pass_id, first_hidden,
                    input_site, input_threshold, input_scale,
                    WIDTH, HIDDEN, DENSE, DENSE_BIAS, INPUT_DROP, OPERAND, PRECISION, INPUT_TILE, HIDDEN_TILE,
                )  # fmt: skip
                h = _activate(h, ACTIVATION)
                if HIDDEN_DROP:
                    keep = _cls_row_keep(
                        key_ptr, text_id, pass_id, hidden_site, first_hidden, hidden_threshold, HIDDEN_TILE
                    )
                    h = tl.where(keep, h, 0.0)
                weight_at = label[None, :] * HIDDEN + feature[:, None]
                inside = is_label & (feature < HIDDEN)[:, None]
                weight = tl.load(classifier_ptr + weight_at, mask=inside, other=0.0).to(OPERAND)
                logits = tl.dot(h.to(OPERAND), weight, logits, input_precision=PRECISION)
            logits *= hidden_scale
            if CLASSIFIER_BIAS:
                logits += tl.load(classifier_bias_ptr + label, mask=label < CLASSES, other=0.0).to(tl.float32)[None, :]
            tl.store(logits_ptr + logits_at + label[None, :], logits, mask=live[:, None] & is_label)
            higher = tl.maximum(highest, tl.max(tl.where(is_label, logits, float("-inf")), 1))
            lower = tl.where(total > 0, highest - higher, 0.0)
            below = tl.where(is_label, logits - higher[:, None], 0.0)
            parts = tl.where(is_label, tl.exp(below), 0.0)
            weighted = (weighted + total * lower) * tl.exp(lower) + tl.sum(parts * below, 1)
            total = total * tl.exp(lower) + tl.sum(parts, 1)
            highest = higher
        energies = highest + tl.log(total)
        entropies = tl.where(live, tl.maximum(tl.log(total) - weighted / total, 0.0), 0.0)
        # One thread reads what another one stored.
        tl.debug_barrier()
        for first_label in range(0, CLASSES, CLASS_TILE):
            label = first_label + tl.arange(0, CLASS_TILE)
            inside = live[:, None] & (label < CLASSES)[None, :]
            logits = tl.load(logits_ptr + logits_at + label[None, :], mask=inside, other=float("-inf"))
            p = tl.sum(tl.exp(logits - energies[:, None]), 0)
            if first > 0:
                p += tl.load(probabilities_ptr + label, mask=label < CLASSES, other=0.0)
            tl.debug_barrier()
            tl.store(probabilities_ptr + label, p, mask=label < CLASSES)
        tl.debug_barrier()
        entropy += tl.sum(entropies)
        energy += tl.sum(tl.where(live, energies, 0.0))
        tile_count = tl.minimum(passes - first, 16).to(tl.float32)
        tile_mean = tl.sum(entropies) * inverse_log_classes / tile_count
        away = tl.where(live, entropies * inverse_log_classes - tile_mean, 0.0)
        delta = tile_mean - mean
        squares += tl.sum(away * away) + delta * delta * count * tile_count / (count + tile_count)
        mean += delta * tile_count / (count + tile_count)
        count += tile_count
    predictive = 0.0
    for first_label in range(0, CLASSES, CLASS_TILE):
        label = first_label + tl.arange(0, CLASS_TILE)
        p = tl.load(probabilities_ptr + label, mask=label < CLASSES, other=0.0) / count
        predictive -= tl.sum(p * tl.log(tl.where(p > 0, p, 1.0)))
        tl.debug_barrier()
        tl.store(probabilities_ptr + label, p, mask=label < CLASSES)
    tl.store(signals_ptr + text, tl.maximum(predictive, 0.0))
    tl.store(signals_ptr + texts + text, entropy / count)
    tl.store(signals_ptr + 2 * texts + text, energy / count)
    spread = tl.where(count > 1.0, tl.sqrt(squares / tl.maximum(count - 1.0, 1.0)), 0.0)
    tl.store(signals_ptr + 3 * texts + text, spread)


def head(
    x: Tensor,
    passes: int,
    layout: PackedLayout,
    first_pass: int,
    dense: tuple[Tensor, Tensor | None] | None,
    activation: str,
    classifier: tuple[Tensor, Tensor | None],
    input_drop: DropoutSpec | None,
    hidden_drop: DropoutSpec | None,
    want_logits: bool = False,
) -> HeadSignals:
    """Classify the pooled rows of all passes and reduce the logits to signals.

    Args:
        x: Pooled rows, (K · B, D), pass-major, or (B, D) if the passes share them.
        passes: K.
        layout: Of the B texts.
        first_pass: Id of the first pass.
        dense: Weight (F, D) and bias (F,) or None of the layer before the classifier; None for no such layer.
        activation: After the dense layer: ``none``, ``tanh``, ``gelu`` or ``relu``.
        classifier: Weight (C, F) and bias (C,) or None; C of at least 2.
        input_drop: Dropout site on ``x``, or None.
        hidden_drop: Dropout site on the classifier's input, or None.
        want_logits: Also return the logits of each pass.

    Returns:
        Signals of the B texts.

    Raises:
        ValueError: If shapes do not fit.
        RuntimeError: If the tensors are on no GPU.
    """
    texts, width = layout.texts, x.shape[1]
    weight, bias = classifier
    classes, hidden = weight.shape
    dense_weight, dense_bias = dense or (None, None)
    if len(x) not in (texts, passes * texts) or passes < 1:
        raise ValueError(f"x must have {texts} rows, or {passes} times that: {tuple(x.shape)}")
    if (hidden, width) != ((hidden, hidden) if dense_weight is None else dense_weight.shape):
        raise ValueError(f"weights do not chain from {width} features to a classifier of {hidden}")
    if classes < 2:
        raise ValueError(f"need at least 2 classes: {classes}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}: {activation}")
    if not all(each is None or each.is_contiguous() for each in (x, weight, bias, dense_weight, dense_bias)):
        raise ValueError("x, weights and biases must be contiguous")
    options = launch_configs.head(launch_configs.architecture(x), x, classes)
    probabilities, signals = (x.new_empty(size, dtype=torch.float32) for size in ((texts, classes), (4, texts)))
    logits = x.new_empty((passes, texts, classes), dtype=torch.float32)
    with torch.cuda.device_of(x):
        _head_kernel[(texts,)](
            x, dense_weight, dense_bias, weight, bias, probabilities, signals, logits,
            layout.key, layout.text_ids, texts, passes, 1 / math.log(classes), first_pass,
            *drop_arguments(input_drop), *drop_arguments(hidden_drop),
            WIDTH=width, HIDDEN=hidden, CLASSES=classes,
            SHARED=len(x) == texts, DENSE=dense is not None, DENSE_BIAS=dense_bias is not None,
            CLASSIFIER_BIAS=bias is not None, ACTIVATION=activation, INPUT_DROP=input_drop is not None,
            HIDDEN_DROP=hidden_drop is not None, OPERAND=launch_configs.operand(x),
            PRECISION=launch_configs.precision(x), **options,
        )  # fmt: skip
    predictive, expected, energy, spread = signals.unbind()
    return HeadSignals(probabilities, predictive, expected, energy, spread, logits if want_logits else None)
