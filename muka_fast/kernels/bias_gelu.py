"""GELU of a sum: y = z · Φ(z) with z = x + bias and Φ(z) = (1 + erf(z / √2)) / 2, elementwise in fp32.

The library's erf takes so many instructions that they bound the kernel. Here Φ(−a) = 2^q(a) for a = |z|, with q of
degree 8 fitted to log₂ Φ(−a) (weighted least squares, Lawson's iteration) so that a · Φ(−a) is off by 1e-8 at most;
rounding to fp32 adds up to 4e-7 at z = 4.6, where PyTorch's own result is off by 1e-6.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from muka_fast.kernels import launch_configs


def bias_gelu_reference(x: Tensor, bias: Tensor | None) -> Tensor:
    """Compute the same in PyTorch, in the precision of ``x``."""
    return functional.gelu(x if bias is None else x + bias)


@triton.jit
def gelu(z):
    """GELU of an fp32 tile."""
    a = tl.abs(z)
    q = ((-1.9919746e-06 * a + 2.92729893e-05) * a - 0.000138093356) * a - 0.00025342298
    q = (((q * a + 0.00721637014) * a - 0.0526030344) * a - 0.459172223) * a
    tail = tl.exp2((q - 1.15110973) * a - 0.999999903)
    return z * tl.where(z > 0, 1.0 - tail, tail)


@triton.jit
def _bias_gelu_kernel(x_ptr, bias_ptr, y_ptr, WIDTH: tl.constexpr, BIAS: tl.constexpr, BLOCK: tl.constexpr):
    feature = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = feature < WIDTH
    start = tl.program_id(0).to(tl.int64) * WIDTH
    z = tl.load(x_ptr + start + feature, mask=inside, other=0.0).to(tl.float32)
    if BIAS:
        z += tl.load(bias_ptr + feature, mask=inside, other=0.0).to(tl.float32)
    tl.store(y_ptr + start + feature, gelu(z), mask=inside)


def bias_gelu(x: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    """Add a bias and apply GELU, the exact one and not its tanh form.

    Args:
        x: (R, F).
        bias: (F,) or None.
        out: Where the result goes, (R, F); may be ``x`` itself.

    Returns:
        ``out``, or a new tensor, (R, F).

    Raises:
        ValueError: If shapes do not fit.
        RuntimeError: If the tensors are on no GPU.
    """
    y = torch.empty_like(x) if out is None else out
    rows, width = x.shape
    if not x.is_contiguous() or not y.is_contiguous() or y.shape != x.shape:
        raise ValueError(f"x and out must be contiguous and of one shape: {tuple(x.shape)}, {tuple(y.shape)}")
    if bias is not None and bias.shape != (width,):
        raise ValueError(f"bias must be ({width},): {tuple(bias.shape)}")
    launch_configs.architecture(x)  # refuses devices that run no kernel
    options = launch_configs.elementwise()
    with torch.cuda.device_of(x):
        _bias_gelu_kernel[(rows, triton.cdiv(width, options["BLOCK"]))](
            x, bias, y, WIDTH=width, BIAS=bias is not None, **options
        )
    return y
