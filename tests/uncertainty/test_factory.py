"""Which engine a model gets."""

import re
from dataclasses import replace

import numpy as np
import pytest

from muka_fast.errors import ModelError
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.factory import build_engine, known_family
from muka_fast.uncertainty.packed_engine import PackedEngine
from tests.helpers.engines import batch, make

pytestmark = pytest.mark.transformers4


def test_build_engine_runs_unknown_families_unchanged_and_logs_it():
    logged = []
    model = make("deberta-v2")
    engine = build_engine(model, 1, where="teacher x", scope="tail", log=logged.append)
    assert not known_family(model)
    assert (engine.scope, engine.backend) == ("full", "transformers")
    assert "teacher x: no packed engine for DebertaV2ForSequenceClassification" in logged[0]


def test_build_engine_refuses_an_encoder_whose_logits_differ_from_the_models():
    logged = []
    model = make("bert")
    # A patched model: what the family's encoder knows is not all it does.
    layer = model.bert.encoder.layer[0].output  # of the layer itself, transformers 4 returns a tuple
    layer.register_forward_hook(lambda module, inputs, output: output * 1.01)
    assert build_engine(model, 1, where="here", log=logged.append).backend == "transformers"
    assert "differ from the model's" in logged[0]
    with pytest.raises(ModelError, match="scope 'tail' is not available"):
        build_engine(model, 1, where="here", scope="tail")


def test_build_engine_packs_a_modernbert_with_layer_types():
    model = make("modernbert")
    if hasattr(model.config, "layer_types"):  # transformers 5 writes these instead of a period
        vars(model.config).pop("global_attn_every_n_layers", None)
        assert build_engine(model, 1, where="here").backend != "transformers"


def fail(encoder):
    raise RuntimeError("could not create a primitive\nmore")


def differ(encoder):
    return replace(encoder, layers=encoder.layers[:1])


@pytest.mark.parametrize(
    ("pack_encoder", "problem"),
    [(fail, r"oneDNN's products fail \(could not create a primitive\)"), (differ, "by oneDNN's products differ")],
)
def test_products_by_onednn_that_fail_or_differ_leave_the_packed_engine(pack_encoder, problem, monkeypatch):
    monkeypatch.setattr("muka_fast.uncertainty.onednn.is_available", lambda: True)
    monkeypatch.setattr("muka_fast.uncertainty.onednn.is_faster", lambda vendor, capability: True)
    monkeypatch.setattr("muka_fast.uncertainty.onednn.pack_encoder", pack_encoder)
    logged, model = [], make("bert")
    engine = build_engine(model, 1, where="teacher x", scope="tail", log=logged.append)
    assert len(logged) == 1
    assert re.fullmatch(f"teacher x: .*{problem}.*; using PyTorch's products", logged[0])
    plain = PackedEngine(FAMILIES["bert"](model), 1, scope="tail")
    np.testing.assert_array_equal(engine.score(batch(), 3).logits, plain.score(batch(), 3).logits)
