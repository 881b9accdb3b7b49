"""An export served without torch and transformers: ``write FOLDER`` where they are, ``check FOLDER`` where not.

``make test-serving`` runs both, each in its own environment.
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

SAMPLE = ["play some jazz", "what is the weather in paris", "", "lost my card today " * 40, "zzz"]


def write(folder: Path) -> None:
    """Export a tiny model, and write down what it says."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import torch

    from muka_fast.export import export
    from muka_fast.inference.classifier import Classifier
    from tests.helpers.models import make_model

    model = make_model(folder / "model", ("music", "weather", "bank"), seed=1, initializer_range=0.2, scale=1.0)
    export(str(model), folder / "out")
    logits = Classifier.load(str(model), torch.device("cpu")).logits(SAMPLE)
    (folder / "expected.json").write_text(json.dumps(logits.tolist()))


def check(folder: Path) -> None:
    """Serve it and compare."""
    for name in ("torch", "transformers", "pydantic", "pyarrow", "typer"):
        assert importlib.util.find_spec(name) is None, f"{name} is installed: this proves nothing"
    from muka_fast.export import OnnxClassifier

    classifier = OnnxClassifier(folder / "out")
    expected = np.array(json.loads((folder / "expected.json").read_text()))
    assert expected.std(0).min() > 0.01
    np.testing.assert_allclose(classifier.logits(SAMPLE), expected, atol=1e-4)
    labels = [one.label for one in classifier.classify(SAMPLE)]
    assert labels == [("music", "weather", "bank")[column] for column in expected.argmax(1)]
    print(f"served {len(SAMPLE)} texts without torch and transformers, logits as the model's")


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](Path(sys.argv[2]))
