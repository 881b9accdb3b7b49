"""Teachers without dropout passes, run over texts: predictions, scikit-learn pipelines, ONNX graphs, SetFit models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from muka_fast.data.batching import TOKEN_BUDGET
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import tokenize
from muka_fast.errors import ModelError, first_line
from muka_fast.export.sessions import open_session
from muka_fast.models.deterministic_teacher import DeterministicTeacher
from muka_fast.models.graph_teacher import GraphTeacher
from muka_fast.models.loading import read_tokenizer
from muka_fast.models.pipeline_teacher import PipelineTeacher
from muka_fast.models.predictions_teacher import PredictionsTeacher
from muka_fast.models.setfit_teacher import SetFitTeacher
from muka_fast.uncertainty.signals import DeterministicOutput, Signals

Scorer = Callable[[Corpus], tuple[np.ndarray, Signals]]
"""Maps N texts to their tokens before truncation, (N,), and their signals."""
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


def open_scorer(teacher: DeterministicTeacher, device: torch.device) -> Scorer:
    """Return the function that scores texts with a teacher.

    Args:
        teacher: The teacher.
        device: Where an encoder or an ONNX graph runs; a graph on a GPU only if ONNX Runtime can use it.

    Raises:
        ModelError: If an encoder or a graph cannot be loaded, or a graph takes or gives something else than a
            classifier.
        MachineError: If ONNX Runtime is not installed.
    """
    if isinstance(teacher, GraphTeacher):
        return _GraphScorer(teacher, device)
    if isinstance(teacher, SetFitTeacher):
        encoder, budget = teacher.load_encoder(device), TOKEN_BUDGET[device.type]
        return lambda corpus: teacher.signals(encoder, corpus, budget)
    if not isinstance(teacher, PipelineTeacher | PredictionsTeacher):
        raise TypeError(f"no scorer for {type(teacher).__name__}")
    return lambda corpus: (np.zeros(len(corpus), dtype=np.int64), teacher.signals(corpus))


class _GraphScorer:
    """An ONNX graph in memory. Texts of equal length share a batch, so none is padded."""

    def __init__(self, teacher: GraphTeacher, device: torch.device) -> None:
        self._teacher, self._budget = teacher, TOKEN_BUDGET[device.type]
        where = "cpu" if device.type == "cpu" else "auto"
        self._session = open_session(teacher.graph, where, index=device.index or 0).run
        self._tokenizer = read_tokenizer(teacher.checkpoint)
        self._types = {one.name: _TYPES.get(one.type) for one in self._session.get_inputs()}
        outputs = [one.name for one in self._session.get_outputs()]
        wrong = [name for name, kind in self._types.items() if name not in _INPUTS or kind is None]
        if wrong or (len(outputs) > 1 and "logits" not in outputs):
            what = f"takes {', '.join(self._types)}, gives {', '.join(outputs)}"
            raise ModelError(
                f"the graph is no text classifier's: it {what}",
                where=str(teacher.graph),
                hint=f"export a sequence classifier, with inputs among {', '.join(_INPUTS)} and an output 'logits'",
            )
        self._output = "logits" if "logits" in outputs else outputs[0]

    def __call__(self, corpus: Corpus) -> tuple[np.ndarray, Signals]:
        encoded = tokenize(self._tokenizer, corpus, self._teacher.max_length)
        logits = np.empty((len(corpus), len(self._teacher.labels)), dtype=np.float32)
        for length in np.unique(encoded.lengths).tolist():
            same = np.flatnonzero(encoded.lengths == length)
            count = max(1, self._budget // length)
            for start in range(0, len(same), count):
                rows = same[start : start + count]
                logits[rows] = self._run([encoded.encodings[row] for row in rows.tolist()])
        no_features = np.zeros((len(corpus), 0), dtype=np.float32)
        return encoded.untruncated_lengths, DeterministicOutput(torch.from_numpy(logits), no_features).signals()

    def _run(self, encodings: list) -> np.ndarray:
        shape = (len(encodings), len(encodings[0]["input_ids"]))
        feed = {}
        for name, kind in self._types.items():
            if name in encodings[0]:
                feed[name] = np.array([one[name] for one in encodings], dtype=kind)
            else:
                feed[name] = np.full(shape, int(name == "attention_mask"), dtype=kind)
        try:
            (found,) = self._session.run([self._output], feed)
        except Exception as error:  # noqa: BLE001 - the runtime raises types of its own
            raise ModelError(
                f"the graph fails on {shape[0]} texts of {shape[1]} tokens: {first_line(error)[:200]}",
                where=str(self._teacher.graph),
                hint="export it with free batch size and length, or lower the teacher's max_length",
            ) from None
        expected = (len(encodings), len(self._teacher.labels))
        if found.shape != expected or not np.isfinite(found).all():
            what = f"of shape {found.shape}" if found.shape != expected else "that are NaN or infinite"
            raise ModelError(
                f"the graph gives logits {what} for {expected[0]} text(s) and {expected[1]} labels",
                where=str(self._teacher.graph),
                hint="correct id2label in config.json, or export the classifier again",
            )
        return found
