"""Attention of each text's [CLS] row only, for a last layer of which the classifier reads one row.

With one query q per text and head, and keep mask mₖ of pass k: p = softmax(scale · K q (+ bias)), yₖ = c · (mₖ · p) V.
If all passes share queries, keys and values (the scope starts after them), p is computed once, the passes are the rows
of one matrix product with V, and keys and values are read once for all passes; only the masks differ. Otherwise each
pass has its own program. Blocks of keys are merged as in ``attention``.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from muka_fast.kernels import launch_configs
from muka_fast.kernels.attention import LOG2_E, check_bias
from muka_fast.kernels.dropout_mask import keep_tile
from muka_fast.kernels.layout import DropoutSpec, PackedLayout, drop_arguments


def cls_attention_reference(
    q: Tensor,
    kv: Tensor,
    heads: int,
    scale: float,
    lengths: list[int],
    passes: int,
    keep: list[Tensor] | None,
    drop_scale: float,
    bias: Tensor | None = None,
    window: int | None = None,
) -> Tensor:
    """Compute the same in PyTorch, in the precision of ``q``; ``keep`` holds (K, L, H, L) for each text, or is None."""
    size = q.shape[1] // heads
    queries = q.unflatten(0, (-1, len(lengths))).expand(passes, -1, -1)
    outputs = []
    for index, text in enumerate(kv.unflatten(0, (-1, sum(lengths))).expand(passes, -1, -1).split(lengths, 1)):
        k, v = text.unflatten(-1, (2, heads, size)).permute(2, 0, 3, 1, 4)
        scores = (k @ queries[:, index].reshape(passes, heads, size, 1)).squeeze(-1) * scale
        if bias is not None:
            scores = scores + bias[:, 0, : text.shape[1]].to(scores.dtype)
        if window is not None:
            scores[..., window + 1 :] = float("-inf")
        p = scores.softmax(-1)
        if keep is not None:
            p = p * keep[index][:, 0] * drop_scale
        outputs.append((p.unsqueeze(-2) @ v).flatten(1))
    return torch.stack(outputs, 1).flatten(0, 1)


@triton.jit
def _softmax_block(
    q, kv_ptr, bias_ptr, key, length, head, bias_side, scale, highest, total,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BIAS: tl.constexpr,
):  # fmt: skip
    k_ptr = kv_ptr + key[:, None] * (2 * HEADS * SIZE) + tl.arange(0, SIZE)[None, :]
    k = tl.load(k_ptr, mask=key[:, None] < length, other=0.0).to(tl.float32)
    scores = tl.sum(q[None, :] * k, 1) * (scale * LOG2_E)
    if BIAS:
        bias_at = head * bias_side * bias_side + key
        scores += tl.load(bias_ptr + bias_at, mask=key < length, other=0.0) * LOG2_E
    scores = tl.where(key < length, scores, float("-inf"))
    higher = tl.maximum(highest, tl.max(scores, 0))
    p = tl.exp2(scores - higher)
    shrink = tl.exp2(highest - higher)
    return p, shrink, higher, total * shrink + tl.sum(p, 0)


@triton.jit(do_not_specialize=["texts", "passes", "bias_side", "window", "first_pass", "site", "threshold"])
def _shared_kernel(
    q_ptr, kv_ptr, bias_ptr, y_ptr, key_ptr, text_ids_ptr, starts_ptr,
    texts, passes, bias_side, window, scale, first_pass, site, threshold, drop_scale,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BIAS: tl.constexpr, DROP: tl.constexpr, OPERAND: tl.constexpr,
    PRECISION: tl.constexpr, PASSES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0) // HEADS
    head = tl.program_id(0) % HEADS
    pass_index = tl.program_id(1) * PASSES + tl.arange(0, PASSES)
    start = tl.load(starts_ptr + text)
    length = tl.minimum(tl.load(starts_ptr + text + 1) - start, window + 1)
    row_blocks = (tl.load(starts_ptr + text + 1) - start + 15) // 16
    text_id = tl.load(text_ids_ptr + text)
    feature = tl.arange(0, SIZE)
    q = tl.load(q_ptr + (text * HEADS + head) * SIZE + feature).to(tl.float32)
    kv_ptr += start.to(tl.int64) * (2 * HEADS * SIZE) + head * SIZE
    highest = tl.full((1,), -1e30, tl.float32)
    total = tl.zeros((1,), tl.float32)
    y = tl.zeros((PASSES, SIZE), tl.float32)
    for first_key in range(0, length, KEYS):
        key = first_key + tl.arange(0, KEYS)
        p, shrink, highest, total = _softmax_block(
            q, kv_ptr, bias_ptr, key, length, head, bias_side, scale, highest, total, HEADS, SIZE, BIAS
        )
        kept = tl.broadcast_to(p[None, :], (PASSES, KEYS))
        if DROP:
            block = head * row_blocks + first_key // 16 + tl.arange(0, KEYS // 16)[None, :]
            block = tl.broadcast_to(block, (PASSES, KEYS // 16))
            kept = tl.where(
                keep_tile(key_ptr, text_id, (first_pass + pass_index)[:, None], site, block, threshold), kept, 0.0
            )
        v_ptr = kv_ptr + HEADS * SIZE + key[:, None] * (2 * HEADS * SIZE) + feature[None, :]
        v = tl.load(v_ptr, mask=key[:, None] < length, other=0.0).to(OPERAND)
        y = tl.dot(kept.to(OPERAND), v, y * shrink[:, None], input_precision=PRECISION)
    y_at = ((pass_index.to(tl.int64) * texts + text) * HEADS + head) * SIZE
    tl.store(
        y_ptr + y_at[:, None] + feature[None, :], y * (drop_scale / total)[:, None], mask=pass_index[:, None] < passes
    )


@triton.jit(do_not_specialize=["texts", "rows", "bias_side", "window", "first_pass", "site", "threshold"])
def _separate_kernel(
    q_ptr, kv_ptr, bias_ptr, y_ptr, key_ptr, text_ids_ptr, starts_ptr,
    texts, rows, bias_side, window, scale, first_pass, site, threshold, drop_scale,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BIAS: tl.constexpr, DROP: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0) // HEADS
    head = tl.program_id(0) % HEADS
    pass_index = tl.program_id(1)
    start = tl.load(starts_ptr + text)
    length = tl.minimum(tl.load(starts_ptr + text + 1) - start, window + 1)
    row_blocks = (tl.load(starts_ptr + text + 1) - start + 15) // 16
    text_id = tl.load(text_ids_ptr + text)
    feature = tl.arange(0, SIZE)
    y_at = ((pass_index.to(tl.int64) * texts + text) * HEADS + head) * SIZE
    q = tl.load(q_ptr + y_at + feature).to(tl.float32)
    kv_ptr += (pass_index.to(tl.int64) * rows + start) * (2 * HEADS * SIZE) + head * SIZE
    highest = tl.full((1,), -1e30, tl.float32)
    total = tl.zeros((1,), tl.float32)
    y = tl.zeros((SIZE,), tl.float32)
    for first_key in range(0, length, KEYS):
        key = first_key + tl.arange(0, KEYS)
        p, shrink, highest, total = _softmax_block(
            q, kv_ptr, bias_ptr, key, length, head, bias_side, scale, highest, total, HEADS, SIZE, BIAS
        )
        if DROP:
            block = head * row_blocks + first_key // 16 + tl.arange(0, KEYS // 16)[None, :]
            keep = keep_tile(key_ptr, text_id, first_pass + pass_index, site, block, threshold)
            p = tl.where(tl.reshape(keep, (KEYS,)), p, 0.0)
        v_ptr = kv_ptr + HEADS * SIZE + key[:, None] * (2 * HEADS * SIZE) + feature[None, :]
        v = tl.load(v_ptr, mask=key[:, None] < length, other=0.0).to(tl.float32)
        y = y * shrink + tl.sum(p[:, None] * v, 0)
    tl.store(y_ptr + y_at + feature, y * (drop_scale / total))


def cls_attention(
    q: Tensor,
    kv: Tensor,
    heads: int,
    scale: float,
    layout: PackedLayout,
    first_pass: int,
    passes: int,
    drop: DropoutSpec | None,
    bias: Tensor | None = None,
    window: int | None = None,
) -> Tensor:
    """Attend from the [CLS] row of each text.

    Args:
        q: Queries of the [CLS] rows, (B, H · S) if the passes share them, else (K · B, H · S), pass-major.
        kv: Keys and values side by side, (R0, 2 · H · S) if the passes share them, else (K · R0, 2 · H · S).
        heads: Attention heads, H.
        scale: Factor of the scores, usually 1 / √S.
        layout: Of the R0 packed rows of B texts.
        first_pass: Id of the first pass.
        passes: Passes, K.
        drop: The dropout site, or None for no dropout.
        bias: Added to the scores by head, query and key, fp32, (H, M, M) with M at least the longest text, or None.
        window: Largest distance of a visible key from the [CLS] row, or None for all.

    Returns:
        (K · B, H · S), pass-major, of ``q``'s type.

    Raises:
        ValueError: If shapes do not fit.
        RuntimeError: If the tensors are on no GPU.
    """
    size = q.shape[1] // heads
    shared = passes > 1 and (len(q), len(kv)) == (layout.texts, layout.rows)
    if not shared and (len(q), len(kv)) != (passes * layout.texts, passes * layout.rows):
        raise ValueError(
            f"q and kv must have {layout.texts} and {layout.rows} rows, or {passes} times that: {len(q)} and {len(kv)}"
        )
    if q.shape[1] != heads * size or kv.shape[1] != 2 * q.shape[1] or size not in (16, 32, 64, 128):
        raise ValueError(f"need {heads} heads of size 16, 32, 64 or 128: q {tuple(q.shape)}, kv {tuple(kv.shape)}")
    if not (q.is_contiguous() and kv.is_contiguous()):
        raise ValueError("q and kv must be contiguous")
    check_bias(bias, heads, layout)
    launch_configs.architecture(q)  # refuses devices that run no kernel
    options = launch_configs.cls_attention(size, layout.longest)
    y = q.new_empty(passes * layout.texts, heads * size)
    tensors = (q, kv, bias, y, layout.key, layout.text_ids, layout.starts)
    numbers = (
        0 if bias is None else bias.shape[1], layout.longest if window is None else window, scale,
        first_pass, *drop_arguments(drop),
    )  # fmt: skip
    shape = {"HEADS": heads, "SIZE": size, "BIAS": bias is not None, "DROP": drop is not None}
    with torch.cuda.device_of(q):
        if shared:
            tile = min(64, max(16, triton.next_power_of_2(passes)))
            _shared_kernel[(heads * layout.texts, triton.cdiv(passes, tile))](
                *tensors, layout.texts, passes, *numbers, **shape, PASSES=tile,
                OPERAND=launch_configs.operand(q), PRECISION=launch_configs.precision(q), **options,
            )  # fmt: skip
        else:
            _separate_kernel[(heads * layout.texts, passes)](
                *tensors, layout.texts, layout.rows, *numbers, **shape, **options
            )
    return y
