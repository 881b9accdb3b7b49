"""Softmax attention over packed texts with dropout on the probabilities.

For each text, head and pass, with keep mask m and drop scale c: s = scale · Q Kᵀ (+ bias), p = softmax(s) over the
text's own keys, y = c · (m · p) V. Keys are read block by block with a running maximum and sum (Milakov and Gimelshein,
arXiv 1805.02867); both are those of the undropped probabilities, m multiplies the numerator only. Neither s, p nor m
is ever stored. A window keeps the keys at most that far from the query.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from muka_fast.kernels import launch_configs
from muka_fast.kernels.dropout_mask import keep_tile
from muka_fast.kernels.layout import DropoutSpec, PackedLayout, drop_arguments

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)


def attention_reference(
    qkv: Tensor,
    heads: int,
    scale: float,
    lengths: list[int],
    passes: int,
    keep: list[Tensor] | None,
    drop_scale: float,
    bias: Tensor | None = None,
    window: int | None = None,
) -> Tensor:
    """Compute the same in PyTorch, in ``qkv``'s precision; ``keep`` holds (K, L, H, L) for each text, or is None."""
    size = qkv.shape[1] // (3 * heads)
    outputs = []
    for index, text in enumerate(qkv.unflatten(0, (passes, -1)).split(lengths, 1)):
        length = text.shape[1]
        q, k, v = text.unflatten(-1, (3, heads, size)).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT * scale
        if bias is not None:
            scores = scores + bias[:, :length, :length].to(scores.dtype)
        if window is not None:
            position = torch.arange(length, device=qkv.device)
            scores = scores.masked_fill((position[:, None] - position).abs() > window, float("-inf"))
        p = scores.softmax(-1)
        if keep is not None:
            p = p * keep[index].transpose(1, 2) * drop_scale
        outputs.append((p @ v).transpose(1, 2).flatten(2))
    return torch.cat(outputs, 1).flatten(0, 1)


@triton.jit(
    do_not_specialize=["first_text", "rows", "query_blocks", "bias_side", "window", "first_pass", "site", "threshold"]
)
def _attention_kernel(
    qkv_ptr, bias_ptr, y_ptr, key_ptr, text_ids_ptr, starts_ptr,
    first_text, rows, query_blocks, bias_side, window, scale, first_pass, site, threshold, drop_scale,
    HEADS: tl.constexpr, SIZE: tl.constexpr, BIAS: tl.constexpr, WINDOW: tl.constexpr, DROP: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    first_query = tl.program_id(0) % query_blocks * QUERIES
    head = tl.program_id(0) // query_blocks % HEADS
    text = first_text + tl.program_id(0) // query_blocks // HEADS
    pass_index = tl.program_id(1)
    start = tl.load(starts_ptr + text)
    length = tl.load(starts_ptr + text + 1) - start
    if first_query >= length:
        return
    text_id = tl.load(text_ids_ptr + text)
    qkv_stride: tl.constexpr = 3 * HEADS * SIZE
    base = pass_index.to(tl.int64) * rows + start
    qkv_ptr += base * qkv_stride + head * SIZE
    query = first_query + tl.arange(0, QUERIES)
    feature = tl.arange(0, SIZE)
    q_ptr = qkv_ptr + query[:, None] * qkv_stride + feature[None, :]
    q = tl.load(q_ptr, mask=query[:, None] < length, other=0.0).to(OPERAND)
    # Finite, so that a row that has seen no visible key yet gives exp2(-inf) = 0 and not a NaN.
    highest = tl.full((QUERIES,), -1e30, tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    y = tl.zeros((QUERIES, SIZE), tl.float32)
    low = 0
    high = length
    if WINDOW:
        low = tl.maximum(first_query - window, 0) // KEYS * KEYS
        high = tl.minimum(first_query + QUERIES + window, length)
    for first_key in range(low, high, KEYS):
        key = first_key + tl.arange(0, KEYS)
        k_ptr = qkv_ptr + HEADS * SIZE + key[None, :] * qkv_stride + feature[:, None]
        k = tl.load(k_ptr, mask=key[None, :] < length, other=0.0).to(OPERAND)
        scores = tl.dot(q, k, input_precision=PRECISION) * (scale * LOG2_E)
        visible = key[None, :] < length
        if BIAS:
            bias_at = (head * bias_side + query[:, None]) * bias_side + key[None, :]
            inside = (query[:, None] < length) & (key[None, :] < length)
            scores += tl.load(bias_ptr + bias_at, mask=inside, other=0.0) * LOG2_E
        if WINDOW:
            visible = visible & (tl.abs(query[:, None] - key[None, :]) <= window)
        scores = tl.where(visible, scores, float("-inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        p = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(highest - higher)
        highest = higher
        total = total * shrink + tl.sum(p, 1)
        if DROP:
            row_block = (query * HEADS + head) * ((length + 15) // 16) + first_key // 16
            block = row_block[:, None] + tl.arange(0, KEYS // 16)[None, :]
            p = tl.where(keep_tile(key_ptr, text_id, first_pass + pass_index, site, block, threshold), p, 0.0)
        v_ptr = qkv_ptr + 2 * HEADS * SIZE + key[:, None] * qkv_stride + feature[None, :]
        v = tl.load(v_ptr, mask=key[:, None] < length, other=0.0).to(OPERAND)
        y = tl.dot(p.to(OPERAND), v, y * shrink[:, None], input_precision=PRECISION)
    y_ptr += base * (HEADS * SIZE) + head * SIZE
    # Rows behind the text's end may have seen no key at all.
    y = y * (drop_scale / tl.where(total > 0, total, 1.0))[:, None]
    tl.store(y_ptr + query[:, None] * (HEADS * SIZE) + feature[None, :], y, mask=query[:, None] < length)


def attention(
    qkv: Tensor,
    heads: int,
    scale: float,
    layout: PackedLayout,
    first_pass: int,
    passes: int,
    drop: DropoutSpec | None,
    bias: Tensor | None = None,
    window: int | None = None,
) -> Tensor:
    """Attend inside each text of each pass.

    Args:
        qkv: Queries, keys and values side by side, (K · R0, 3 · H · S), pass-major; S is 16, 32, 64 or 128.
        heads: Attention heads, H.
        scale: Factor of the scores, usually 1 / √S.
        layout: Of the R0 packed rows.
        first_pass: Id of the first pass.
        passes: Passes in ``qkv``, K.
        drop: The dropout site, or None for no dropout.
        bias: Added to the scores by head, query and key, fp32, (H, M, M) with M at least the longest text, or None.
        window: Largest distance of a visible key from its query, or None for all.

    Returns:
        (K · R0, H · S), of ``qkv``'s type.

    Raises:
        ValueError: If shapes do not fit.
        RuntimeError: If the tensors are on no GPU.
    """
    rows, width = qkv.shape
    size = width // (3 * heads)
    if rows != passes * layout.rows or not qkv.is_contiguous():
        raise ValueError(f"qkv must be contiguous, {passes} passes of {layout.rows} packed rows: {tuple(qkv.shape)}")
    if width != 3 * heads * size or size not in (16, 32, 64, 128):
        raise ValueError(f"qkv must be 3 · {heads} heads of size 16, 32, 64 or 128 wide: {tuple(qkv.shape)}")
    check_bias(bias, heads, layout)
    architecture = launch_configs.architecture(qkv)
    y = qkv.new_empty(rows, heads * size)
    with torch.cuda.device_of(qkv):
        for span in layout.spans:
            options = launch_configs.attention(architecture, qkv, size, span.longest)
            query_blocks = triton.cdiv(span.longest, options["QUERIES"])
            _attention_kernel[(query_blocks * heads * span.texts, passes)](
                qkv, bias, y, layout.key, layout.text_ids, layout.starts,
                span.first, layout.rows, query_blocks, 0 if bias is None else bias.shape[1], window or 0, scale,
                first_pass, *drop_arguments(drop),
                HEADS=heads, SIZE=size, BIAS=bias is not None, WINDOW=window is not None, DROP=drop is not None,
                OPERAND=launch_configs.operand(qkv), PRECISION=launch_configs.precision(qkv), **options,
            )  # fmt: skip
    return y


def check_bias(bias: Tensor | None, heads: int, layout: PackedLayout) -> None:
    """Raise ValueError unless a bias covers every head, query and key."""
    if bias is not None and not (
        bias.dtype == torch.float32
        and bias.is_contiguous()
        and bias.ndim == 3
        and len(bias) == heads
        and bias.shape[1] == bias.shape[2] >= layout.longest
    ):
        raise ValueError(
            f"bias must be contiguous fp32, ({heads}, M, M) with M of at least {layout.longest}: "
            f"{tuple(bias.shape)}, {bias.dtype}"
        )
