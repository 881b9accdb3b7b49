"""An estimator fitted to texts and models that are in memory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from muka_fast import AmalgamatedClassifier
from tests.helpers.models import make_model, texts

CLASSES = ("Travel", "bank", "lights", "music", "weather")


def fit_estimator(folder: Path) -> AmalgamatedClassifier:
    """Merge a loaded teacher and one in a pipeline, on a Series of which a few texts have labels."""
    one = make_model(folder / "one", CLASSES[3:], seed=1)
    two = make_model(folder / "two", CLASSES[:3], family="distilbert", seed=2)
    estimator = AmalgamatedClassifier(
        {
            "loaded": (AutoModelForSequenceClassification.from_pretrained(one), AutoTokenizer.from_pretrained(one)),
            "in a <pipeline>": pipeline("text-classification", model=str(two)),
        },
        make_model(folder / "base", ("x", "y"), seed=3),
        training={"max_steps": 2, "batch_size": 8},
        device="cpu",
        verbose=0,
    )
    return estimator.fit(pd.Series(texts(60)), [*CLASSES, *[None] * 55])
