"""Selection: which teacher to believe for each text, judged over the whole pool, and the student's targets from it.

A trust score maps one teacher's signals to one number a text, larger for more trust. A method turns the scores of all
teachers into weights that sum to one over the teachers. None sees a label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from muka_fast.config.recipe import SelectionSpec
from muka_fast.data.label_space import LabelSpace
from muka_fast.errors import RecipeError
from muka_fast.selection.mixture import MixturePosterior, TeacherMixture, fit_mixture
from muka_fast.selection.ood_scores import MahalanobisModel, TeacherOutputs
from muka_fast.uncertainty.signals import Signals, entropy, normalised


@dataclass(frozen=True)
class Pool:
    """All that selection sees of N texts; no label is among it.

    Attributes:
        signals: Every teacher's.
        space: How the teachers' columns lie in the label space.
        ids: Text ids, (N,).
        embeddings: From :func:`~muka_fast.selection.text_embeddings.embed`, (N, D); None if the method needs none.
    """

    signals: tuple[Signals, ...]
    space: LabelSpace
    ids: np.ndarray
    embeddings: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.signals[0])


@dataclass(frozen=True)
class Selection:
    """Verdict on N texts and T teachers.

    Attributes:
        scores: Selection scores, (N, T).
        belief: In each teacher, (N, T), rows summing to one.
        sample_weight: Weight of each text in the student's loss, (N,).
        hard: Whether the most trusted teacher alone makes the target.
        ownership: What the pool said, if it was asked.
        model: What the pool taught, for texts outside it.
    """

    scores: np.ndarray
    belief: np.ndarray
    sample_weight: np.ndarray
    hard: bool = False
    ownership: MixturePosterior | None = None
    model: TeacherMixture | None = None

    @property
    def chosen(self) -> np.ndarray:
        """The most trusted teacher of each text, (N,)."""
        return self.belief.argmax(1)

    @property
    def weights(self) -> np.ndarray:
        """Share of each teacher in the target, (N, T), rows summing to one."""
        return np.eye(self.belief.shape[1])[self.chosen] if self.hard else self.belief

    @property
    def margin(self) -> np.ndarray:
        """Difference of the two largest scores, (N,)."""
        top = np.sort(self.scores, axis=1)[:, -2:]
        return top[:, 1] - top[:, 0]


def _probabilities(signals: Signals) -> torch.Tensor:
    return torch.from_numpy(signals.logits).softmax(-1)


def _predictive_entropy(signals: Signals) -> np.ndarray:
    return 1 - normalised(signals.predictive_entropy, signals.logits.shape[1])


def _single_pass_entropy(signals: Signals) -> np.ndarray:
    return 1 - normalised(entropy(_probabilities(signals)).numpy(), signals.logits.shape[1])


def _energy(signals: Signals) -> np.ndarray:
    return torch.from_numpy(signals.logits).logsumexp(-1).numpy()


def _max_probability(signals: Signals) -> np.ndarray:
    return _probabilities(signals).amax(-1).numpy()


def _mutual_information(signals: Signals) -> np.ndarray:
    return 1 - normalised(signals.mutual_information, signals.logits.shape[1])


def _standard_energy(signals: Signals) -> np.ndarray:
    energy = _energy(signals)
    middle = np.median(energy)
    return (energy - middle) / (MAD_TO_DEVIATION * np.median(np.abs(energy - middle)) + 1e-6)


def _tempered_entropy(signals: Signals) -> np.ndarray:
    logits = torch.from_numpy(signals.logits).double()
    return 1 - normalised(entropy((logits / level_temperature(logits)).softmax(-1)).numpy(), logits.shape[1])


def level_temperature(logits: torch.Tensor) -> float:
    """Return the temperature at which a teacher is as often sure as unsure over a pool.

    That is where the mean entropy of softmax(logits / T) is half of what it can be, so that teachers with few classes
    or large logits are not the surer ones; the entropy grows with T, found by bisection between 1/1024 and 1024.

    Args:
        logits: (N, C), C ≥ 2.
    """
    some = logits[:: max(1, len(logits) // FITTED_ON)]
    low, high = -10.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        level = normalised(entropy((some / 2**middle).softmax(-1)).numpy(), logits.shape[1]).mean()
        low, high = (middle, high) if level < 0.5 else (low, middle)
    return float(2**middle)


def _relative_mahalanobis(signals: Signals) -> np.ndarray:
    features, everyone = signals.features.astype(np.float64), np.ones(len(signals))
    if not features.shape[1]:
        raise RecipeError(
            "trust 'relative-mahalanobis' needs features, and a teacher's classifier has none",
            where="selection.trust",
            hint="use 'energy'",
        )
    background, own = (
        MahalanobisModel.fit(features, classes, everyone).nearest(features)
        for classes in (everyone[:, None], _probabilities(signals).double().numpy())
    )
    return background - own


FITTED_ON = 20_000
"""Texts that a temperature is fitted on, about."""
MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

TRUST_SCORES: dict[str, Callable[[Signals], np.ndarray]] = {
    # 1 − H(mean over K passes of the softmax) / ln C: MUKA (arXiv 2112.07327), section 3.
    "predictive-entropy": _predictive_entropy,
    # The same of the one deterministic pass.
    "single-pass-entropy": _single_pass_entropy,
    # The same at a temperature a teacher at which all teachers are equally sure over the pool (the softmax's
    # temperature of Guo et al. 2017, fitted without labels).
    "tempered-entropy": _tempered_entropy,
    # logsumexp of the deterministic logits (Liu et al. 2020), unscaled: teachers differ in its level.
    "energy": _energy,
    # The same, averaged over the passes.
    "mc-energy": lambda signals: signals.mean_energy,
    # 1 − I / ln C, I the mutual information of class and mask: what the passes disagree about (Houlsby et al. 2011).
    "mutual-information": _mutual_information,
    # Energy less its median over the pool, over its spread there: one level for all teachers.
    "standard-energy": _standard_energy,
    # How much nearer its own classes than the pool's middle (Ren et al. 2021, arXiv 2106.09022), means from the pool.
    "relative-mahalanobis": _relative_mahalanobis,
    # Largest softmax probability of the deterministic pass.
    "max-probability": _max_probability,
}


def muka(pool: Pool, settings: SelectionSpec) -> Selection:
    """The paper's rule, one text at a time: hard argmax or softmax(score / temperature), margin as importance."""
    scores = np.stack([TRUST_SCORES[settings.trust](signals) for signals in pool.signals], axis=1).astype(np.float64)
    belief = torch.from_numpy(scores / settings.temperature).softmax(-1).numpy()
    trust = Selection(scores, belief, np.ones(len(scores)), settings.targets == "hard")
    # Not renormalised, as the authors do it: the effective learning rate shrinks with the mean margin.
    return replace(trust, sample_weight=trust.margin + 1e-6) if settings.margin_weighting else trust


def views(pool: Pool) -> list[TeacherOutputs]:
    """Return what each teacher says of whose text is whose."""
    known_by = [tuple(column) for column in pool.space.membership.T.tolist()]
    sets = list(dict.fromkeys(known_by))
    membership = np.array([sets.index(teachers) for teachers in known_by])
    return [
        TeacherOutputs(
            probabilities=_probabilities(signals).numpy(),
            energy=signals.mean_energy,
            features=signals.features if signals.features.shape[1] else None,
            owners=membership[list(columns)],
        )
        for signals, columns in zip(pool.signals, pool.space.union_index, strict=True)
    ]


def mixture_selection(pool: Pool, settings: SelectionSpec, model: TeacherMixture | None = None) -> Selection:
    """The posterior of :mod:`muka_fast.selection.mixture`: whose text is this, judged over the whole pool.

    All texts count alike, those that are nobody's too: a rare class of own texts is easily taken for foreign.
    Where its two views agree but slightly, the paper's rule is applied instead, to the signals there are.

    Args:
        pool: The texts.
        settings: The recipe's selection section.
        model: What another pool taught; default: these texts are judged as a pool of their own.
    """
    if model is None:
        ownership, model = fit_mixture(views(pool), pool.embeddings, pool.ids)
    else:
        ownership = model.judge(views(pool), pool.embeddings)
    if ownership.views_disagree:
        paper = settings.model_copy(update={"trust": "predictive-entropy"})
        return replace(muka(pool, paper), ownership=ownership, model=model)
    posterior = ownership.posterior
    alike = np.ones(len(posterior))
    return Selection(posterior, posterior, alike, settings.targets == "hard", ownership, model)


BY_POOL = ("pool", "ensemble")
"""Methods that judge whose text is whose over the whole pool."""
CHOOSING = ("muka", *BY_POOL)
"""Methods that choose between the teachers."""


def shares(pool: Pool, temperature: float = 1.0) -> list[np.ndarray]:
    """Return each teacher's part of the softmax over all teachers' logits side by side, (N, C_t) fp32 each."""
    together = torch.from_numpy(np.concatenate([signals.logits for signals in pool.signals], axis=1))
    widths = [signals.logits.shape[1] for signals in pool.signals]
    return [part.numpy() for part in (together / temperature).softmax(-1).split(widths, dim=1)]


def select_teachers(pool: Pool, settings: SelectionSpec, model: TeacherMixture | None = None) -> Selection:
    """Apply the recipe's method to a pool.

    Methods that choose nobody trust a teacher as much as its classes have of the softmax over all logits side by side.

    Args:
        pool: The texts.
        settings: The recipe's selection section.
        model: What another pool taught the methods ``BY_POOL``, if these texts are not to be judged as one.
    """
    if settings.method in BY_POOL:
        return mixture_selection(pool, settings, model)
    if settings.method == "muka":
        return muka(pool, settings)
    weights = np.stack([part.sum(1) for part in shares(pool)], axis=1).astype(np.float64)
    return Selection(weights, weights, np.ones(len(pool)))


def targets(pool: Pool, trust: Selection) -> np.ndarray:
    """Mix the teachers' deterministic distributions, padded into the label space, by trust.

    Returns:
        The student's target distributions, (N, classes), fp32, rows summing to one.
    """
    mixed = np.zeros((len(pool), len(pool.space)), dtype=np.float32)
    for teacher, signals in enumerate(pool.signals):
        weighted = trust.weights[:, teacher, None] * _probabilities(signals).double().numpy()
        mixed[:, list(pool.space.union_index[teacher])] += weighted.astype(np.float32)
    return mixed


def teacher_predictions(pool: Pool) -> np.ndarray:
    """Return each teacher's own most likely class as a union column, (N, T)."""
    columns: Sequence[np.ndarray] = [
        np.asarray(pool.space.union_index[teacher])[signals.logits.argmax(1)]
        for teacher, signals in enumerate(pool.signals)
    ]
    return np.stack(columns, axis=1)
