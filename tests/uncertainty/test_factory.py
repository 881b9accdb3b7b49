"""Which engine a model gets."""

import pytest

from muka_fast.errors import ModelError
from muka_fast.uncertainty.factory import build_engine, known_family
from tests.helpers.engines import make

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
