"""Residual connection: y = LayerNorm(residual + dropout(x)), or y = residual + dropout(x) where the norm comes later.

With keep mask m and drop scale c: h = residual + c · m · x, μ = mean(h), σ² = mean((h − μ)²) over the D features, and
y = (h − μ) / √(σ² + ε) · weight + bias. One program holds one row in registers, so x and residual are read once and y
is written once; m is made where it is used. Sums are fp32. If all passes share one residual, it is read in place.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from muka_fast.kernels import launch_configs
from muka_fast.kernels.dropout_mask import keep_row
from muka_fast.kernels.layout import DropoutSpec, PackedLayout, drop_arguments


def residual_norm_reference(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    keep: Tensor | None,
    scale: float,
) -> Tensor:
    """Compute the same in PyTorch, in the precision of ``x``; ``keep`` is boolean, (K · R0, D), or None."""
    if keep is not None:
        x = x * keep * scale
    total = residual.repeat(len(x) // len(residual), 1) + x
    return total if weight is None else functional.layer_norm(total, weight.shape, weight, bias, eps)


@triton.jit(do_not_specialize=["rows", "first_pass", "site", "threshold"])
def _residual_norm_kernel(
    x_ptr, residual_ptr, weight_ptr, bias_ptr, y_ptr, key_ptr, text_ids_ptr, row_text_ptr, row_position_ptr,
    rows, eps, first_pass, site, threshold, scale,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, SHARED: tl.constexpr, NORM: tl.constexpr, BIAS: tl.constexpr,
    DROP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    packed = row % rows
    feature = tl.arange(0, BLOCK)
    inside = feature < WIDTH
    h = tl.load(x_ptr + row.to(tl.int64) * WIDTH + feature, mask=inside, other=0.0).to(tl.float32)
    if DROP:
        keep = keep_row(
            key_ptr, text_ids_ptr, row_text_ptr, row_position_ptr, packed, first_pass + row // rows, site, threshold,
            WIDTH, BLOCK,
        )  # fmt: skip
        h = tl.where(keep, h * scale, 0.0)
    residual_row = packed if SHARED else row
    h += tl.load(residual_ptr + residual_row.to(tl.int64) * WIDTH + feature, mask=inside, other=0.0).to(tl.float32)
    if NORM:
        mean = tl.sum(tl.where(inside, h, 0.0)) / WIDTH
        centred = tl.where(inside, h - mean, 0.0)
        h = centred * (1.0 / tl.sqrt(tl.sum(centred * centred) / WIDTH + eps))
        h *= tl.load(weight_ptr + feature, mask=inside, other=0.0).to(tl.float32)
        if BIAS:
            h += tl.load(bias_ptr + feature, mask=inside, other=0.0).to(tl.float32)
    tl.store(y_ptr + row.to(tl.int64) * WIDTH + feature, h, mask=inside)


def residual_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    layout: PackedLayout,
    first_pass: int,
    drop: DropoutSpec | None,
) -> Tensor:
    """Add dropped ``x`` to the residual stream and normalise.

    Args:
        x: Output of the linear layer before, its bias added, (K · R0, D), pass-major.
        residual: (K · R0, D), or (R0, D) where the passes share it.
        weight: LayerNorm's scale, (D,), or None for no norm.
        bias: LayerNorm's shift, (D,), or None.
        eps: LayerNorm's ε.
        layout: Of the R0 packed rows.
        first_pass: Id of the first pass.
        drop: The dropout site, or None for no dropout.

    Returns:
        (K · R0, D), of ``x``'s type.

    Raises:
        ValueError: If shapes do not fit.
        RuntimeError: If the tensors are on no GPU.
    """
    rows, width = x.shape
    if rows % layout.rows or not x.is_contiguous():
        raise ValueError(f"x must be contiguous, a multiple of {layout.rows} packed rows: {tuple(x.shape)}")
    if residual.shape not in {x.shape, (layout.rows, width)} or not residual.is_contiguous():
        raise ValueError(f"residual must be {tuple(x.shape)} or {(layout.rows, width)}: {tuple(residual.shape)}")
    if any(each is not None and each.shape != (width,) for each in (weight, bias)):
        raise ValueError(f"weight and bias must be ({width},)")
    block = max(16, triton.next_power_of_2(width))
    launch_configs.architecture(x)  # refuses devices that run no kernel
    options = launch_configs.row(block)
    y = torch.empty_like(x)
    with torch.cuda.device_of(x):
        _residual_norm_kernel[(rows,)](
            x, residual, weight, bias, y, layout.key, layout.text_ids, layout.row_text, layout.row_position,
            layout.rows, eps, first_pass, *drop_arguments(drop),
            WIDTH=width, BLOCK=block, SHARED=len(residual) != rows, NORM=weight is not None, BIAS=bias is not None,
            DROP=drop is not None, **options,
        )  # fmt: skip
    return y
