import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from muka_fast.uncertainty.features import DIMENSIONS, classifier_input, random_projection
from tests.helpers.models import make_config

FAMILIES = ("bert", "roberta", "electra", "distilbert", "deberta-v2", "albert", "mpnet", "modernbert")
BATCH = {"input_ids": torch.arange(5, 25).view(2, 10), "attention_mask": torch.ones(2, 10, dtype=torch.long)}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_are_the_last_layer_of_what_is_collected(family):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(make_config(family, ("a", "b", "c"))).eval()
    with torch.no_grad(), classifier_input(model) as seen:
        logits = model(**BATCH).logits
    assert len(seen) == 1
    last = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 3][-1]
    assert torch.allclose(last(seen[0]), logits, atol=1e-6)
    with torch.no_grad():
        model(**BATCH)
    assert len(seen) == 1  # the hook is gone


def test_projection_keeps_distances_and_is_always_the_same():
    features = torch.randn(40, 768, generator=torch.Generator().manual_seed(0))
    small = random_projection(features)
    assert small.shape == (40, DIMENSIONS)
    assert np.array_equal(small, random_projection(features))
    ratio = np.linalg.norm(small[1:] - small[:-1], axis=1) / (features[1:] - features[:-1]).norm(dim=1).numpy()
    assert 0.6 < ratio.min() < ratio.max() < 1.4
    matrix = np.random.Generator(np.random.Philox(0)).standard_normal((768, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    assert np.array_equal(small, (features @ torch.from_numpy(matrix.astype(np.float32))).numpy())
    assert random_projection(features[:, :16]).tolist() == features[:, :16].tolist()


def test_the_projection_is_drawn_once_a_width(monkeypatch):
    features = torch.randn(2, 131)
    first = random_projection(features)
    monkeypatch.delattr(np.random, "Philox")
    assert np.array_equal(random_projection(features), first)
