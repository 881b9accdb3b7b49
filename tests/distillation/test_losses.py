import math

import pytest
import torch

from muka_fast.distillation.losses import (
    CFLLoss,
    DFALoss,
    KLDistillationLoss,
    UHCLoss,
    distillation_loss,
    squared_discrepancy,
)
from muka_fast.selection.base import targets
from muka_fast.selection.muka_rule import muka_rule
from tests.helpers.pools import POOL

ONE = torch.ones(1)
HARD = [[0.9, 0.1, 0, 0], [0, 0, 1, 0], [0.2, 0.8, 0, 0], [1, 0, 0, 0]]
"""Targets of ``POOL`` by the most trusted teacher alone."""


def logs(*values) -> torch.Tensor:
    return torch.tensor([[math.log(value) for value in values]])


def test_temperature_by_hand():
    # T = 2: softmax(ln 4 / 2, ln 1 / 2) = (2, 1) / 3; KL((.5, .5) ‖ (2/3, 1/3)) = ½ ln(.75 · 1.5); times T² = 4.
    target = torch.tensor([[0.5, 0.5]])
    by_hand = 4 * 0.5 * math.log(0.75 * 1.5)
    assert distillation_loss(logs(4, 1), target, None, 2.0).item() == pytest.approx(by_hand, rel=1e-5)
    assert KLDistillationLoss(2.0)(logs(4, 1), None, target, ONE / 2).item() == pytest.approx(by_hand / 2, rel=1e-5)


def test_uhc_compares_within_each_teachers_classes():
    # Union (a, b, c); the teachers know (b, a) and (c, b). Softmax ∝ (1, 2, 6): within (b, a) ⅔, ⅓; within (c, b) ¾, ¼.
    loss_fn = UHCLoss([[1, 0], [2, 1]], temperature=1.0)
    logits = logs(1, 2, 6)
    agreeing = torch.tensor([[2 / 3, 1 / 3, 3 / 4, 1 / 4]])
    assert loss_fn(logits, None, agreeing, ONE).item() == pytest.approx(0, abs=1e-6)
    second = torch.tensor([[2 / 3, 1 / 3, 1.0, 0.0]])
    assert loss_fn(logits, None, second, ONE).item() == pytest.approx(-math.log(3 / 4), rel=1e-5)
    both = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    by_hand = -math.log(2 / 3) - math.log(3 / 4)
    assert loss_fn(logits, None, both, ONE).item() == pytest.approx(by_hand, rel=1e-5)


def set_linear(layer, weight, bias=0.0):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight, dtype=torch.float32))
        layer.bias.fill_(bias)


def test_dfa_by_hand():
    # One feature each: code f₁ + f₂, decoded (f₁ + f₂) / 2 for both; the student encodes 3 as 6.
    loss_fn = DFALoss(classes=2, widths=[1, 1], student_width=1, temperature=1.0)
    set_linear(loss_fn.encoder, [[1.0, 1.0]])
    set_linear(loss_fn.decoder, [[0.5], [0.5]])
    set_linear(loss_fn.student_encoder, [[2.0]])
    targets = torch.tensor([[0.5, 0.5, 1.0, 3.0]])  # distribution, then f₁ = 1 and f₂ = 3: code 4, decoded 2, 2
    loss = loss_fn(logs(1, 1), torch.tensor([[3.0]]), targets, ONE)
    assert loss.item() == pytest.approx((6 - 4) ** 2 + (2 - 1) ** 2 + (2 - 3) ** 2, rel=1e-5)
    loss.backward()
    # The code is what the student learns, not the other way round: only the reconstruction moves the encoder.
    # d/dw of (½·w·f − f₁)² + (½·w·f − f₂)² at code 4, with errors 1 and −1: ½ · 2 · (1 − 1) · f = 0.
    assert loss_fn.encoder.weight.grad.abs().max().item() == pytest.approx(0, abs=1e-6)
    assert loss_fn.student_encoder.weight.grad.item() == pytest.approx(2 * (6 - 4) * 3)
    with pytest.raises(ValueError, match="needs the student's features"):
        loss_fn(logs(1, 1), None, targets, ONE)


def test_discrepancy_by_hand():
    # Rows at a right angle: squared distance 2, mean over all pairs 1; kernels exp(−2 / 2s).
    first, second = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    by_hand = sum(2 - 2 * math.exp(-1 / scale) for scale in (0.25, 0.5, 1, 2, 4))
    assert squared_discrepancy(first, second).item() == pytest.approx(by_hand, rel=1e-5)
    sample = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    assert squared_discrepancy(sample, 2 * sample.flip(0)).item() == pytest.approx(0, abs=1e-5)
    assert squared_discrepancy(torch.ones(4, 2), torch.ones(4, 2)).isfinite()


def test_cfl_by_hand():
    # One common dimension: the student's 2 and the teacher's 3 are coded as 2 and 3, decoded as 6: error (6 − 3)².
    loss_fn = CFLLoss(classes=2, widths=[1], student_width=1, temperature=1.0)
    set_linear(loss_fn.student_encoder[0], [[1.0]])
    set_linear(loss_fn.encoders[0][0], [[1.0]])
    for layer in (loss_fn.extractor[0], loss_fn.extractor[2], loss_fn.decoders[0][0]):
        set_linear(layer, [[1.0]])
    set_linear(loss_fn.decoders[0][2], [[2.0]])
    targets = torch.tensor([[0.5, 0.5, 3.0]])
    # Of length one both codes are 1: no discrepancy.
    assert loss_fn(logs(1, 1), torch.tensor([[2.0]]), targets, ONE).item() == pytest.approx(9)
    # Turned round, the teacher's code is −1: squared distance 4, mean over pairs 2, kernels exp(−4 / 4s); decoded as 0.
    set_linear(loss_fn.encoders[0][0], [[-1.0]], bias=4.0)  # 3 becomes 1
    set_linear(loss_fn.extractor[2], [[2.0]], bias=-3.0)  # student 2 → 1, teacher 1 → −1
    by_hand = sum(2 - 2 * math.exp(-1 / scale) for scale in (0.25, 0.5, 1, 2, 4)) + 9
    assert loss_fn(logs(1, 1), torch.tensor([[2.0]]), targets, ONE).item() == pytest.approx(by_hand, rel=1e-5)


def test_cfl_learns_to_bring_features_together():
    torch.manual_seed(0)
    loss_fn = CFLLoss(classes=2, widths=[3, 5], student_width=8, temperature=1.0)
    features, targets = torch.randn(16, 8), torch.cat([torch.full((16, 2), 0.5), torch.randn(16, 8)], dim=1)
    logits, sample_weight = torch.zeros(16, 2), torch.ones(16)
    optimizer = torch.optim.Adam(loss_fn.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = loss_fn(logits, features, targets, sample_weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert all(parameter.grad is not None for parameter in loss_fn.parameters())


def test_the_loss_of_the_example():
    logits = torch.tensor([[1.0, 0, 0, 0], [0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    trust = muka_rule(POOL)
    target = targets(POOL, trust)
    expected = 0.0
    for row, weight, out in zip(target.tolist(), trust.sample_weight.tolist(), logits.tolist(), strict=True):
        normaliser = math.log(sum(math.exp(v) for v in out))
        expected += weight * sum(t * (math.log(t) - (v - normaliser)) for t, v in zip(row, out, strict=True)) / 4
    loss = distillation_loss(logits, torch.from_numpy(target), torch.from_numpy(trust.sample_weight))
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    # By hand for the hard targets without margin: KL rows .491 …, from q = softmax(logits).
    q1, q2, q3 = (math.exp(v) / (math.exp(v) + 3) for v in (1.0, 2.0, 1.0))
    o1, o3 = 1 / (math.e + 3), 1 / (math.e + 3)
    rows = [
        0.9 * math.log(0.9 / q1) + 0.1 * math.log(0.1 / o1),
        -math.log(q2),
        0.2 * math.log(0.2 / o3) + 0.8 * math.log(0.8 / q3),
        math.log(4),
    ]
    hard = distillation_loss(logits, torch.tensor(HARD))
    assert hard.item() == pytest.approx(sum(rows) / 4, abs=1e-6)


def test_loss_edges():
    target = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert distillation_loss(torch.tensor([[1e4, -1e4], [0.0, 0.0]]), target).item() == pytest.approx(0, abs=1e-6)
    assert distillation_loss(torch.tensor([[-1e4, 1e4]]), target[:1]).item() == pytest.approx(2e4)
    assert distillation_loss(torch.zeros(2, 2).half(), target, torch.zeros(2)).item() == 0
