"""The PyTorch operations against their definitions; the masks are those of ``dropout_masks``."""

import numpy as np
import torch
from torch import nn

from muka_fast.kernels.layout import DropoutSpec
from muka_fast.uncertainty.dropout_masks import PassContext, keep_attention, keep_rows
from muka_fast.uncertainty.encoder_parts import Attention, Head, Linear, Norm
from muka_fast.uncertainty.packing import pack
from muka_fast.uncertainty.torch_ops import TorchOperations

SITE, OUT = DropoutSpec(0, 0.3), DropoutSpec(1, 0.4)
NORM = Norm(torch.linspace(0.5, 1.5, 8), torch.linspace(-1, 1, 8), 1e-5)
OPERATIONS = TorchOperations()


def context(lengths=(3, 2), passes=range(2, 5)):
    rows = [{"input_ids": np.arange(length)} for length in lengths]
    return PassContext(pack(rows, np.arange(len(lengths), dtype=np.uint64), torch.device("cpu")), passes, 7)


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_expand_normalises_once_and_drops_per_pass():
    ctx, x = context(), random(5, 8)
    expected = NORM(x).repeat(3, 1) * keep_rows(ctx, SITE, 8) * SITE.scale
    torch.testing.assert_close(OPERATIONS.expand(x, NORM, SITE, ctx), expected)


def test_expand_without_passes_drops_nothing():
    x = random(5, 8)
    torch.testing.assert_close(OPERATIONS.expand(x, NORM, SITE, context(passes=None)), NORM(x))


def test_residual_norm_shares_a_residual_without_passes():
    ctx, x, residual = context(), random(15, 8), random(5, 8)
    expected = NORM(residual.repeat(3, 1) + x * keep_rows(ctx, SITE, 8) * SITE.scale)
    found = OPERATIONS.residual_norm(x.clone(), residual, NORM, SITE, ctx, cls_rows=False)
    torch.testing.assert_close(found, expected)


def test_drop_of_cls_rows_uses_the_masks_of_position_0():
    ctx, x = context(), random(6, 8)
    expected = x * keep_rows(ctx, SITE, 8, cls_rows=True) * SITE.scale
    torch.testing.assert_close(OPERATIONS.drop(x.clone(), SITE, ctx, cls_rows=True), expected)


def attention(**options):
    return Attention(Linear(random(24, 8), None), Linear(random(8, 8), None), 2, SITE, None, **options)


def test_attention_drops_probabilities_inside_each_text():
    ctx, qkv, attend = context(), random(15, 24), attention()
    found = OPERATIONS.attention(qkv.clone(), attend, ctx).view(3, 5, 8)
    masks = keep_attention(ctx, SITE, 2)
    for segment, mask in zip(ctx.batch.segments, masks, strict=True):
        length = segment.length
        q, k, v = qkv.view(3, 5, 3, 2, 4)[:, segment.rows].permute(2, 0, 3, 1, 4)
        p = (q @ k.mT * attend.scale).softmax(-1) * mask[:, 0] * SITE.scale
        torch.testing.assert_close(found[:, segment.rows], (p @ v).transpose(1, 2).reshape(3, length, 8))


def test_attention_with_a_window_ignores_far_keys():
    ctx, qkv = context((5,), None), random(5, 24)
    narrow = OPERATIONS.attention(qkv.clone(), attention(window=1), ctx)
    changed = qkv.clone()
    changed[4] += 1
    again = OPERATIONS.attention(changed, attention(window=1), ctx)
    torch.testing.assert_close(again[:3], narrow[:3])
    assert not torch.allclose(OPERATIONS.attention(changed, attention(), ctx)[:3], narrow[:3])


def test_cls_attention_equals_the_cls_rows_of_attention():
    ctx, qkv = context(), random(15, 24)
    whole = OPERATIONS.attention(qkv.clone(), attention(), ctx).view(3, 5, 8)[:, ctx.batch.cls_rows].flatten(0, 1)
    query = qkv.view(3, 5, 24)[:, ctx.batch.cls_rows, :8].reshape(6, 8)
    torch.testing.assert_close(OPERATIONS.cls_attention(query, qkv[:, 8:].contiguous(), attention(), ctx), whole)


def test_cls_attention_of_shared_queries_and_keys_equals_repeated_ones():
    ctx, query, key_value = context(), random(2, 8), random(5, 16)
    shared = OPERATIONS.cls_attention(query, key_value, attention(), ctx)
    repeated = OPERATIONS.cls_attention(query.repeat(3, 1), key_value.repeat(3, 1), attention(), ctx)
    torch.testing.assert_close(shared, repeated)


def test_head_drops_before_and_after_the_dense_layer():
    ctx, x = context(), random(2, 8)
    head = Head(SITE, Linear(random(8, 8), random(8)), torch.tanh, None, OUT, Linear(random(4, 8), random(4)))
    hidden = x.repeat(3, 1) * keep_rows(ctx, SITE, 8, cls_rows=True) * SITE.scale
    hidden = nn.functional.linear(hidden, head.dense.weight, head.dense.bias).tanh()
    hidden = hidden * keep_rows(ctx, OUT, 8, cls_rows=True) * OUT.scale
    expected = nn.functional.linear(hidden, head.classifier.weight, head.classifier.bias).view(3, 2, 4)
    torch.testing.assert_close(OPERATIONS.head(x, head, ctx), expected)


def test_folded_cls_attention_equals_attention_on_keys_and_values():
    bias = random(2, 5, 5)
    for qkv_bias, ctx in ((random(24), context()), (None, context((5, 4, 4))), (random(24), context(passes=None))):
        x = random(ctx.passes * ctx.batch.rows, 8)
        attend = Attention(
            Linear(random(24, 8), qkv_bias), Linear(random(8, 8), None), 2, SITE, None,
            bias=lambda length: bias[:, :length, :length],
        )  # fmt: skip
        cls_rows = x.view(ctx.passes, -1, 8)[:, ctx.batch.cls_rows].flatten(0, 1)
        query = attend.qkv.rows(None, 8)(cls_rows)
        expected = OPERATIONS.cls_attention(query, attend.qkv.rows(8, None)(x), attend, ctx)
        torch.testing.assert_close(OPERATIONS.folded_cls_attention(query, x, attend, ctx), expected)
