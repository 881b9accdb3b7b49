import numpy as np
import pytest
import torch
from conftest import make_config
from transformers import AutoModelForSequenceClassification

from muka_fast.uncertainty.dropout import find_sites
from muka_fast.uncertainty.reference import pass_seed, score_batch


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(make_config("bert", ("a", "b", "c"))).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(20)
    return model


BATCH = {
    "input_ids": torch.tensor([[2, 7, 8, 9, 3], [2, 11, 3, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
}


def test_signals_are_those_of_passes_done_by_hand(model):
    signals = score_batch(model, BATCH, 3, b"seed")
    with torch.no_grad():
        assert np.allclose(signals.logits, model(**BATCH).logits.numpy(), atol=1e-6)
        model.train()
        passes = []
        for number in range(3):
            torch.manual_seed(pass_seed(b"seed", number))
            passes.append(model(**BATCH).logits.softmax(-1))
    mean = torch.stack(passes).mean(0).numpy()
    assert np.allclose(signals.mean_probabilities, mean, atol=1e-6)
    assert np.allclose(signals.predictive_entropy, -(mean * np.log(mean)).sum(1), atol=1e-5)
    assert signals.trust_spread.min() > 0


def test_equal_seeds_give_equal_bits_and_the_callers_generator_is_left_alone(model):
    torch.manual_seed(5)
    first = score_batch(model, BATCH, 4, b"x")
    after = torch.rand(1)
    torch.manual_seed(5)
    torch.rand(0)
    assert torch.equal(after, torch.rand(1))
    torch.manual_seed(99)
    again, other = score_batch(model, BATCH, 4, b"x"), score_batch(model, BATCH, 4, b"y")
    assert np.array_equal(first.mean_probabilities, again.mean_probabilities)
    assert not np.array_equal(first.mean_probabilities, other.mean_probabilities)


def test_the_first_passes_do_not_depend_on_how_many_follow(model):
    assert pass_seed(b"x", 0) != pass_seed(b"x", 1)
    one = score_batch(model, BATCH, 1, b"x")
    model.train()
    with torch.no_grad():
        torch.manual_seed(pass_seed(b"x", 0))
        assert np.allclose(one.mean_probabilities, model(**BATCH).logits.softmax(-1).numpy(), atol=1e-6)


def test_without_dropout_the_passes_equal_the_deterministic_one(model):
    for site in find_sites(model):
        site.p = 0.0
    signals = score_batch(model, BATCH, 4, b"x")
    probabilities = torch.from_numpy(signals.logits).softmax(-1).numpy()
    assert np.allclose(signals.mean_probabilities, probabilities, atol=1e-6)
    assert signals.trust_spread.max() < 1e-6


def test_zero_passes_give_the_deterministic_signals(model):
    signals = score_batch(model, BATCH, 0, b"x")
    assert signals.passes.tolist() == [0, 0]
    assert np.allclose(signals.mean_probabilities, torch.from_numpy(signals.logits).softmax(-1).numpy(), atol=1e-7)


@pytest.mark.parametrize("mode", [True, False])
def test_the_models_mode_survives(model, mode):
    model.train(mode)
    score_batch(model, BATCH, 1, b"x")
    assert all(module.training == mode for module in model.modules())
