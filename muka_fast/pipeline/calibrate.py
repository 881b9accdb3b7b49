"""Calibrate a trained student: fit a temperature to texts that it was not trained on, and fold it into the weights."""

from __future__ import annotations

import numpy as np

from muka_fast.data.corpus import Corpus
from muka_fast.evaluation.calibration import (
    ENOUGH,
    VOTES_WEIGHT,
    LabelledLogits,
    fit_temperature,
    fit_threshold,
)
from muka_fast.evaluation.drift import pool_reference
from muka_fast.evaluation.drift_record import PoolReference
from muka_fast.evaluation.metrics import fidelity
from muka_fast.evaluation.run_record import Fidelity
from muka_fast.inference.classifier import Classifier
from muka_fast.inference.predictions import CALIBRATION_KEY, Calibration
from muka_fast.inference.temperature_folding import fold_temperature
from muka_fast.pipeline.plan import Plan
from muka_fast.pipeline.stages import TrainedStudent
from muka_fast.runtime.numerics import softmax
from muka_fast.runtime.progress import Progress
from muka_fast.selection.base import Pool, Selection, class_votes

FIDELITY_TEXTS = 50
"""Validation texts from which on the agreement is measured on them; else about as many training texts."""

REFERENCE_LEAST = 50
"""Validation texts from which on later texts are compared with them; else with training texts."""
REFERENCE_MOST = 2000
"""Texts that later texts are compared with, at most."""


def calibrate(
    plan: Plan,
    trained: TrainedStudent,
    pool: Pool,
    selection: Selection,
    progress: Progress,
    classes: np.ndarray | None = None,
) -> tuple[Classifier, Fidelity | None]:
    """Fit the student's temperature and fold it into its last layer; measure its agreement with the targets.

    The temperature is fitted to the given labels of validation texts, and to the teachers' most likely classes on the
    other validation texts. With fewer than 20 of these and no labels it stays 1. The
    agreement is of the validation texts or, with fewer than 50, of about 50 training texts. Where the targets are
    softened, or no class distributions, the temperature is fitted to labels alone, and the agreement is None.

    Args:
        plan: The run.
        trained: The student; its model is changed.
        pool: The texts of the run, scored.
        selection: The teachers' weights on them.
        progress: Receives a message if the temperature cannot be folded.
        classes: Column of the class of each text with a given label, −1 for all others, (N,); None for no labels.

    Returns:
        The classifier with its calibration, which its configuration holds too, and the agreement.
    """
    classifier, validation, agreement = trained.classifier, trained.validation, None
    classes = np.full(len(pool), -1) if classes is None else classes
    labelled, others = validation[classes[validation] >= 0], validation[classes[validation] < 0]
    if trained.targets.are_probabilities:
        agreement = _agreement(plan, trained)
    if not trained.targets.are_probabilities or len(others) < ENOUGH:
        others = others[:0]
    unlabelled, known = _logits(classifier, plan.corpus.take(others)), _logits(classifier, plan.corpus.take(labelled))
    given = LabelledLogits(known, classes[labelled])
    temperature = fit_temperature(unlabelled, class_votes(pool, selection, others), given)
    threshold = plan.recipe.student.abstain_below
    if plan.recipe.student.target_accuracy is not None:
        threshold = _choose_threshold(unlabelled, given, temperature, plan.recipe.student.target_accuracy, progress)
    calibration = Calibration(temperature, threshold)
    if temperature == 1 or fold_temperature(classifier, temperature, plan.corpus):
        calibration = Calibration(1.0, threshold, folded_temperature=temperature)
    else:
        progress.log(
            f"the student's last layer is not linear: its temperature {temperature:.3g} is applied by muka-fast alone, "
            "not by a transformers pipeline or another server"
        )
    setattr(classifier.model.config, CALIBRATION_KEY, calibration._asdict())
    return classifier.with_calibration(calibration), agreement


def _choose_threshold(
    logits: np.ndarray, given: LabelledLogits, temperature: float, target: float, progress: Progress
) -> float:
    """Return the probability below which the student abstains, so that its predictions are right often enough.

    Labelled texts count whether their prediction is right, the others their calibrated probability; these count like
    at most ``VOTES_WEIGHT`` labels together, as they do in the temperature.

    Args:
        logits: Of held-out texts without label, (N, C).
        given: Held-out labelled texts.
        temperature: Of the softmax.
        target: Share of right predictions.
        progress: Receives a message.
    """
    probabilities = softmax(np.concatenate([logits, given.logits]) / temperature)
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    right = np.append(confidence[: len(logits)], predicted[len(logits) :] == given.classes)
    weight = np.append(np.full(len(logits), min(1.0, VOTES_WEIGHT / max(1, len(logits)))), np.ones(len(given.classes)))
    threshold = fit_threshold(confidence, right, weight, target)
    predicts = float(np.average(confidence >= threshold, weights=weight)) if len(weight) else 0.0
    progress.log(
        f"the student abstains below a probability of {threshold:.3g}, to be right in {target:.0%} of its predictions; "
        f"it predicts a class for {predicts:.0%} of {len(weight)} held-out texts, {len(given.classes)} of them labelled"
    )
    return threshold


def measure_reference(plan: Plan, trained: TrainedStudent, classifier: Classifier) -> PoolReference:
    """Summarise what the calibrated student predicts for validation texts or, with fewer than 50, training texts.

    Args:
        plan: The run.
        trained: Which texts it was trained on.
        classifier: The calibrated student.
    """
    held_out = len(trained.validation) >= REFERENCE_LEAST
    indices = trained.validation if held_out else trained.training
    corpus = plan.corpus.take(indices[:: -(-len(indices) // REFERENCE_MOST)])
    return pool_reference(classifier.distributions(corpus.texts, corpus.pairs), held_out=held_out)


def _agreement(plan: Plan, trained: TrainedStudent) -> Fidelity:
    """Compare the student with its targets, on validation texts or, where these are few, on training texts."""
    held_out = len(trained.validation) >= FIDELITY_TEXTS
    step = max(1, len(trained.training) // FIDELITY_TEXTS)
    indices = trained.validation if held_out else trained.training[::step]
    logits = _logits(trained.classifier, plan.corpus.take(indices))
    return fidelity(logits, trained.targets.targets[indices], held_out=held_out)


def _logits(classifier: Classifier, corpus: Corpus) -> np.ndarray:
    return classifier.logits(corpus.texts, corpus.pairs)
