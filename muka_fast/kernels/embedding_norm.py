"""Embeddings: normalise each packed row once, then write K dropped copies of it, pass-major.

y[k, r] = c · m[k, r] · LayerNorm(e[r]) with keep mask m and drop scale c; see ``residual_norm`` for the norm. One
program holds one packed row in registers: e is read once for all K passes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from muka_fast.kernels import launch_configs
from muka_fast.kernels.dropout_mask import keep_row
from muka_fast.kernels.layout import DropoutSpec, PackedLayout, drop_arguments


def embedding_norm_reference(
    e: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, passes: int, keep: Tensor | None, scale: float
) -> Tensor:
    """Compute the same in PyTorch, in the precision of ``e``; ``keep`` is boolean, (K · R0, D), or None."""
    if weight is not None:
        e = functional.layer_norm(e, weight.shape, weight, bias, eps)
    e = e.repeat(passes, 1)
    return e if keep is None else e * keep * scale


@triton.jit(do_not_specialize=["rows", "first_pass", "passes", "site", "threshold"])
def _embedding_norm_kernel(
    e_ptr, weight_ptr, bias_ptr, y_ptr, key_ptr, text_ids_ptr, row_text_ptr, row_position_ptr,
    rows, eps, first_pass, passes, site, threshold, scale,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, NORM: tl.constexpr, BIAS: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    feature = tl.arange(0, BLOCK)
    inside = feature < WIDTH
    h = tl.load(e_ptr + row.to(tl.int64) * WIDTH + feature, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        mean = tl.sum(h) / WIDTH
        centred = tl.where(inside, h - mean, 0.0)
        h = centred * (1.0 / tl.sqrt(tl.sum(centred * centred) / WIDTH + eps))
        h *= tl.load(weight_ptr + feature, mask=inside, other=0.0).to(tl.float32)
        if BIAS:
            h += tl.load(bias_ptr + feature, mask=inside, other=0.0).to(tl.float32)
    h *= scale
    start = row.to(tl.int64) * WIDTH
    for k in range(passes):
        y = h
        if DROP:
            keep = keep_row(
                key_ptr, text_ids_ptr, row_text_ptr, row_position_ptr, row, first_pass + k, site, threshold, WIDTH,
                BLOCK,
            )  # fmt: skip
            y = tl.where(keep, h, 0.0)
        tl.store(y_ptr + start + feature, y, mask=inside)
        start += rows.to(tl.int64) * WIDTH


def embedding_norm(
    e: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    layout: PackedLayout,
    first_pass: int,
    passes: int,
    drop: DropoutSpec | None,
) -> Tensor:
    """Normalise summed embeddings and expand them to dropped passes.

    Args:
        e: Summed embeddings, (R0, D).
        weight: LayerNorm's scale, (D,), or None for no norm.
        bias: LayerNorm's shift, (D,), or None.
        eps: LayerNorm's ε.
        layout: Of the R0 packed rows.
        first_pass: Id of the first pass.
        passes: Passes to write, K.
        drop: The dropout site, or None for no dropout.

    Returns:
        (K · R0, D), of ``e``'s type.

    Raises:
        ValueError: If shapes do not fit.
        RuntimeError: If the tensors are on no GPU.
    """
    rows, width = e.shape
    if rows != layout.rows or not e.is_contiguous():
        raise ValueError(f"e must be contiguous, of {layout.rows} packed rows: {tuple(e.shape)}")
    if any(each is not None and each.shape != (width,) for each in (weight, bias)):
        raise ValueError(f"weight and bias must be ({width},)")
    if passes < 1:
        raise ValueError(f"passes must be at least 1: {passes}")
    block = max(16, triton.next_power_of_2(width))
    launch_configs.architecture(e)  # refuses devices that run no kernel
    options = launch_configs.row(block)
    y = e.new_empty(passes * rows, width)
    with torch.cuda.device_of(e):
        _embedding_norm_kernel[(rows,)](
            e, weight, bias, y, layout.key, layout.text_ids, layout.row_text, layout.row_position,
            rows, eps, first_pass, passes, *drop_arguments(drop),
            WIDTH=width, BLOCK=block, NORM=weight is not None, BIAS=bias is not None, DROP=drop is not None, **options,
        )  # fmt: skip
    return y
