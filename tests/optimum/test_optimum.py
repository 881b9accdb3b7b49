"""Exported folders in Optimum: the same logits, and the same names from its pipeline. Runs where Optimum is."""

import numpy as np
import pytest
import torch

from muka_fast.export import OnnxClassifier, export
from muka_fast.export.parity import Tolerances
from tests.helpers.exports import FAMILIES, make_family
from tests.helpers.models import make_classifier, texts

pytestmark = pytest.mark.transformers4
optimum = pytest.importorskip("optimum.onnxruntime", reason="Optimum needs transformers 4.57: make test-optimum")


@pytest.mark.parametrize("family", FAMILIES)
def test_its_model_gives_our_logits(family, tmp_path):
    from transformers import AutoTokenizer

    model = make_family(tmp_path / family, family)
    export(str(model), tmp_path / "out")
    theirs = optimum.ORTModelForSequenceClassification.from_pretrained(tmp_path / "out")
    batch = AutoTokenizer.from_pretrained(tmp_path / "out")(texts(12), padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = theirs(**batch).logits.numpy()
    np.testing.assert_allclose(logits, OnnxClassifier(tmp_path / "out").logits(texts(12)), atol=1e-4)


@pytest.mark.xdist_group("export-bert")
def test_its_pipeline_gives_our_names(tmp_path):
    from transformers import AutoTokenizer

    model = make_classifier(tmp_path / "bert")
    export(str(model), tmp_path / "out", precisions=("int8", "fp32"), tolerances=Tolerances(agreement=0.5))
    for precision, file in (("fp32", "model.onnx"), ("int8", "model_int8.onnx")):
        theirs = optimum.ORTModelForSequenceClassification.from_pretrained(tmp_path / "out", file_name=file)
        classify = optimum.pipeline(
            "text-classification", model=theirs, tokenizer=AutoTokenizer.from_pretrained(tmp_path / "out")
        )
        ours = OnnxClassifier(tmp_path / "out", precision=precision).classify(texts(12))
        for found, one in zip(classify(texts(12)), ours, strict=True):
            # Activations are quantised by their range in a batch, and the pipeline runs one text at a time.
            slack = 1e-4 if precision == "fp32" else 0.02
            assert found["score"] == pytest.approx(one.probability, abs=slack)
            assert precision == "int8" or found["label"] == one.label
