from __future__ import annotations

import pytest
import torch

from muka_fast.kernels.classifier_head import head, head_reference
from muka_fast.kernels.layout import DropoutSpec
from tests.helpers.kernel_cases import DEVICE, FIRST_PASS, assert_precise, double, layout, random, row_mask

LENGTHS = [5, 1]
TEXTS = len(LENGTHS)
INPUT, HIDDEN = DropoutSpec(site_id=4, p=0.1), DropoutSpec(site_id=5, p=0.5)
FIELDS = ("mean_probabilities", "predictive_entropy", "expected_entropy", "mean_energy", "trust_spread", "logits")


def rows(drop, passes, width):
    return row_mask(passes, drop, width, [1] * TEXTS)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("width", "hidden", "classes", "passes", "shared", "activation", "input_drop", "hidden_drop"),
    [
        (72, 72, 3, 17, False, "none", INPUT, HIDDEN),
        (40, 72, 2, 3, True, "tanh", INPUT, HIDDEN),
        (24, 40, 77, 1, True, "gelu", None, HIDDEN),
        (40, 24, 77, 3, False, "relu", INPUT, None),
        (40, 40, 3, 3, False, "tanh", None, None),
        (24, 20, 300, 17, True, "relu", None, HIDDEN),
        (136, 72, 3, 3, False, "tanh", INPUT, HIDDEN),  # several tiles of either
        (136, 72, 3, 3, True, "gelu", INPUT, HIDDEN),
    ],
)
def test_equals_reference(width, hidden, classes, passes, shared, activation, input_drop, hidden_drop, dtype):
    x = random(TEXTS if shared else passes * TEXTS, width, dtype=dtype)
    dense = None
    if (width, activation) != (72, "none"):
        dense = (random(hidden, width, dtype=dtype, seed=1, scale=width**-0.5), random(hidden, dtype=dtype, seed=2))
    classifier = (random(classes, hidden, dtype=dtype, seed=3, scale=0.3), random(classes, dtype=dtype, seed=4))
    keeps = rows(input_drop, passes, width), rows(hidden_drop, passes, hidden)
    scales = input_drop.scale if input_drop else 1.0, hidden_drop.scale if hidden_drop else 1.0
    rest = (keeps[0], scales[0], keeps[1], scales[1])
    x_passes = x.repeat(passes, 1) if shared else x
    actual = head(
        x, passes, layout(LENGTHS), FIRST_PASS, dense, activation, classifier, input_drop, hidden_drop, want_logits=True
    )
    naive = head_reference(x_passes, passes, dense, activation, classifier, *rest)
    exact = head_reference(double(x_passes), passes, double(dense), activation, double(classifier), *rest)
    for field in FIELDS:
        assert_precise(*(getattr(each, field) for each in (actual, naive, exact)), dtype)


def test_certain_passes_have_no_entropy_and_no_spread():
    x = torch.ones(TEXTS, 16, device=DEVICE)
    weight = torch.stack([torch.full((16,), 100.0), torch.full((16,), -100.0)]).to(DEVICE)
    signals = head(x, 2, layout(LENGTHS), 0, None, "none", (weight, None), None, None)
    zero = torch.zeros(TEXTS, device=DEVICE)
    for field in ("predictive_entropy", "expected_entropy", "trust_spread"):
        assert torch.equal(getattr(signals, field), zero)
    assert signals.logits is None


def test_one_pass_has_no_spread():
    signals = head(random(TEXTS, 16), 1, layout(LENGTHS), 0, None, "none", (random(5, 16), None), None, HIDDEN)
    assert not signals.trust_spread.any()


def test_wrong_shapes_are_named():
    classifier = (random(3, 16), None)
    with pytest.raises(ValueError, match="rows"):
        head(random(5, 16), 2, layout(LENGTHS), 0, None, "none", classifier, None, None)
    with pytest.raises(ValueError, match="chain"):
        head(random(TEXTS, 17), 2, layout(LENGTHS), 0, None, "none", classifier, None, None)
    with pytest.raises(ValueError, match="classes"):
        head(random(TEXTS, 16), 2, layout(LENGTHS), 0, None, "none", (random(1, 16), None), None, None)
    with pytest.raises(ValueError, match="activation"):
        head(random(TEXTS, 16), 2, layout(LENGTHS), 0, None, "swish", classifier, None, None)
