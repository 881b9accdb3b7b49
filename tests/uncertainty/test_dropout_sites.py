"""Every dropout site of every family, one at a time."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from muka_fast.errors import ModelError
from muka_fast.uncertainty.dropout_sites import find_sites, inject_dropout, live_dropout, live_sites, require_sites
from tests.helpers.models import make_config

pytestmark = pytest.mark.transformers4

# Two layers each. BERT-like: embeddings, then per layer attention probabilities, attention output, feed-forward output,
# then the head. RoBERTa-like heads drop twice. DistilBERT drops nothing after the attention's output projection.
SITES = {
    "bert": 1 + 2 * 3 + 1,
    "roberta": 1 + 2 * 3 + 1,
    "electra": 1 + 2 * 3 + 1,
    "mpnet": 1 + 2 * 3 + 1,
    "distilbert": 1 + 2 * 2 + 1,
    "deberta-v2": 1 + 2 * 3 + 2,
    "albert": 1 + 2 + 1,  # layers share their weights, and their dropout
    "modernbert": 1 + 2 * 3 + 1,
}
# Transformers defines this module but its forward pass never calls it.
INERT = {"albert.encoder.albert_layer_groups.0.albert_layers.0.dropout"}


def build(family: str, p: float):
    torch.manual_seed(0)
    config = inject_dropout(make_config(family, ("a", "b", "c")), p)
    return AutoModelForSequenceClassification.from_config(config).eval()


def spread(model) -> float:
    """Largest standard deviation of a logit over 12 live passes."""
    batch = {"input_ids": torch.arange(5, 25).view(2, 10), "attention_mask": torch.ones(2, 10, dtype=torch.long)}
    with torch.inference_mode(), live_dropout(model):
        return float(torch.stack([model(**batch).logits for _ in range(12)]).std(0).max())


@pytest.mark.parametrize("family", SITES)
def test_each_site_alone_makes_the_passes_differ(family):
    model = build(family, 0.3)
    sites = live_sites(model)
    assert len([site for site in sites if site.name not in INERT]) == SITES[family], [site.name for site in sites]
    assert any("attention" in site.name.lower() or "attn" in site.name.lower() for site in sites)
    for site in sites:
        site.p = 0.0
    assert spread(model) == 0.0
    torch.manual_seed(1)
    for site in sites:
        site.p = 0.5
        assert (spread(model) > 1e-7) == (site.name not in INERT), f"{family}: {site.name} is not live"
        site.p = 0.0


@pytest.mark.parametrize("family", SITES)
def test_modes_are_restored_even_after_an_error(family):
    model = build(family, 0.1)
    for index, module in enumerate(model.modules()):
        module.training = index % 3 == 0
    before = [module.training for module in model.modules()]
    with live_dropout(model):
        assert all(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    with pytest.raises(RuntimeError), live_dropout(model):
        raise RuntimeError
    assert [module.training for module in model.modules()] == before


def test_batch_normalisation_stays_as_trained():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).eval()
    with live_dropout(model):
        assert (model[0].training, model[1].training, model[2].training) == (True, False, True)
        model(torch.randn(3, 4))
    assert torch.equal(model[1].running_mean, torch.zeros(4))


def test_look_alikes_and_plain_numbers_are_sites():
    class StableDropout(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop_prob = 0.2

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_dropout = 0.1
            self.gate = StableDropout()

    sites = find_sites(Attention())
    assert {(site.name, site.p) for site in sites} == {("attention_dropout", 0.1), ("gate", 0.2)}
    for site in sites:
        site.p = 0.0
    assert all(site.p == 0 for site in sites)


def test_modernbert_has_nothing_to_sample_until_injected():
    plain = AutoModelForSequenceClassification.from_config(make_config("modernbert", ("a", "b")))
    assert not live_sites(plain)
    with pytest.raises(ModelError, match="no dropout site is live") as caught:
        require_sites(len(live_sites(plain)), "teacher x")
    assert "--inject-dropout" in caught.value.hint
    assert len(live_sites(build("modernbert", 0.1))) > 5


def test_injection_reaches_every_kind_of_key_and_no_layerdrop():
    config = make_config("roberta", ("a", "b"))
    config.encoder_layerdrop, config.attn_pdrop, config.classifier_dropout = 0.0, 0.0, None
    inject_dropout(config, 0.25)
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == config.classifier_dropout == 0.25
    assert (config.attn_pdrop, config.encoder_layerdrop) == (0.25, 0.0)
