"""Whose text is this? Judged over the whole pool by expectation–maximisation, without a label.

Every text is taken to belong to a hidden owner: one of the T teachers, several that know its class alike (where label
sets overlap, each set of teachers that share a class is an owner), or nobody. Two views speak of it. The teachers'
view: for each teacher, how far the text's features lie from the teacher's own classes, and its energy (of three or more
teachers also how sure each is, and distances are relative to the pool's middle); own and foreign texts are modelled as
two normal distributions with a common covariance, the own one nearer, of higher energy and surer, whose log-likelihood
ratio λ_t puts all teachers on one scale whatever the size of their label sets. The λ of several is the sum of theirs,
each with the log of what the teacher gives the classes that just these teachers know: one that names another class
speaks against them. To nobody, λ = 0. The text's view: a gate, logistic regression from the text's vector to the owner,
always applied to texts it was not fitted on.

Expectation–maximisation finds a local optimum, and pools in which one teacher owns most texts have several: so the
teachers' view alone is fitted from several starts, with shares of the pool as prior (but where classes are shared,
starts know the answers and stay as they are: a small owner would die out), and the start is kept whose owners explain
best both what the teachers say (likelihood) and, through a gate on the embeddings, which text says it; but not one of
which the embeddings know next to nothing while they support another. From there a gate on the embeddings, then one on
embeddings and features, is the prior, posterior = softmax(gate + λ), and both are fitted to the posterior of the round
before: embeddings first, because the features have already spoken in λ. An embedding that hardly knows the owners that
the teachers' view found is no support for them, and the verdict says so.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch

from muka_fast.errors import ModelError
from muka_fast.runtime.files import atomic_write
from muka_fast.runtime.numerics import wilson_interval
from muka_fast.selection.gating import FIT_ON, FittedGate, GatingNetwork
from muka_fast.selection.ood_scores import Standardizer, TeacherDomainModel, TeacherOutputs
from muka_fast.selection.teacher_likelihood import (
    LabelGroups,
    TeacherLikelihoods,
    append_background,
    log_mixing_weights,
    softmax,
)

ROUNDS_EMBEDDED, ROUNDS_TOGETHER = 6, 6
"""With a gate on the embeddings, and with one on embeddings and features."""
MIXTURE_FILE = "mixture.npz"
"""Name of an :class:`TeacherMixture` beside the student."""
KAPPA_SLIGHT, KAPPA_MODERATE = 0.2, 0.4
"""Cohen's kappa up to which agreement is called slight, and from which on moderate (Landis and Koch 1977)."""
ONE_SIDED = 1.645
"""Standard errors to a one-sided bound of 95 % confidence."""


class KappaEstimate(NamedTuple):
    """How far two labellings agree: 1 if always, 0 if no more than by chance.

    Attributes:
        kappa: Cohen's.
        bound: What it is above with 95 % confidence, given how many texts there are.
    """

    kappa: float
    bound: float


@dataclass(frozen=True)
class MixturePosterior:
    """The verdict on N texts and T teachers.

    Attributes:
        posterior: Probability of each teacher to own the text if anybody does, that of several being divided between
            them, (N, T), rows summing to one.
        nobody: Probability that nobody does, (N,).
        evidence: Log of the likelihoods in the teachers' view, divided and summing to one alike, (N, T).
        gate: Log-probabilities of the text's view, alike, (N, T); constant if there is neither embedding nor feature.
        agreement: Of the owners by the teachers' view alone and by a gate that knows the embeddings alone, on texts it
            was not fitted on; None without embeddings. Who owns a text if anybody does is asked, so nobody is left out.
    """

    posterior: np.ndarray
    background: np.ndarray
    evidence: np.ndarray
    gate: np.ndarray
    agreement: KappaEstimate | None = None

    @property
    def views_disagree(self) -> bool:
        """Whether the two views may agree but slightly."""
        return self.agreement is not None and self.agreement.bound <= KAPPA_SLIGHT


def agree(first: np.ndarray, second: np.ndarray) -> KappaEstimate:
    """Compare two labellings, (N,) each.

    The bound is Wilson's for the share of equal labels, chance held fixed. Both are 0 if all texts have one label.
    """
    labels, count, same = np.union1d(first, second), len(first), float((first == second).mean())
    chance = sum(float((first == label).mean() * (second == label).mean()) for label in labels)
    if chance >= 1:
        return KappaEstimate(0.0, 0.0)
    least, _ = wilson_interval(same, count, ONE_SIDED)
    return KappaEstimate((same - chance) / (1 - chance), (least - chance) / (1 - chance))


@dataclass(frozen=True)
class TeacherMixture:
    """What a pool has taught of whose text is whose, for texts that were not in it, one by one.

    Attributes:
        teachers: Each one's view as fitted last.
        gate: From embedding and features to the owner; None if there was neither.
        shares: Log of the owners' shares of the pool, nobody last, (S + 1,): the prior where there is no gate.
        agreement: As :class:`MixturePosterior`.
        members: As :class:`LabelGroups`.
    """

    teachers: tuple[TeacherDomainModel, ...]
    gate: FittedGate | None
    shares: np.ndarray
    agreement: KappaEstimate | None
    members: np.ndarray

    def save(self, path: Path) -> None:
        """Write the model as arrays, without pickled objects."""
        arrays: dict[str, np.ndarray] = {"shares": self.shares, "members": self.members}
        if self.agreement is not None:
            arrays["agreement"] = np.array(self.agreement)
        for index, fit in enumerate(self.teachers):
            arrays |= {f"teacher-{index}.{name}": value for name, value in fit.arrays().items()}
        if self.gate is not None:
            arrays["gate.weights"] = self.gate.weights.numpy()
            arrays |= {"gate.mean": self.gate.scale.mean, "gate.spread": self.gate.scale.spread}
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        atomic_write(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> TeacherMixture:
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: If the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                arrays = dict(found)
            shares, members = arrays["shares"], arrays["members"]
            agreement = KappaEstimate(*map(float, arrays["agreement"])) if "agreement" in arrays else None
            fits = tuple(
                TeacherDomainModel.of(
                    {name: arrays.get(f"teacher-{index}.{name}") for name in TeacherDomainModel.ARRAYS}
                )
                for index in range(members.shape[1])
            )
            gate = None
            if "gate.weights" in arrays:
                scale = Standardizer(arrays["gate.mean"], arrays["gate.spread"])
                gate = FittedGate(scale, torch.from_numpy(arrays["gate.weights"]))
        except (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, BadZipFile, zlib.error):
            raise ModelError(
                "what the pool taught about whose text is whose cannot be read",
                where=str(path),
                hint="amalgamate again",
            ) from None
        return cls(fits, gate, shares, agreement, members)

    def judge(self, views: Sequence[TeacherOutputs], embeddings: np.ndarray | None) -> MixturePosterior:
        """Estimate who owns each of N texts; arguments as :func:`fit_mixture`."""
        owners = LabelGroups(self.members)
        evidence = np.stack([fit.ratio(view) for fit, view in zip(self.teachers, views, strict=True)], axis=1)
        ratio = append_background(owners.together(evidence, owners.answers(views)))
        prior = np.tile(self.shares, (len(ratio), 1))
        if self.gate is not None:
            scaled = [fit.features(view) for fit, view in zip(self.teachers, views, strict=True)]
            prior = self.gate.apply(_known(embeddings, scaled))
        return _posterior(owners, ratio, prior, self.agreement)


def fit_mixture(
    views: Sequence[TeacherOutputs], embeddings: np.ndarray | None, ids: np.ndarray
) -> tuple[MixturePosterior, TeacherMixture]:
    """Estimate who owns each text of a pool.

    Args:
        views: One a teacher, T of them, N texts each.
        embeddings: Embeddings of the texts, (N, D), or None.
        ids: Text ids, (N,), uint64: they deal the texts to folds, so their order does not matter.

    Returns:
        The verdict on the pool, gates held out, and what was learnt from it.
    """
    # Ids are hashes, so the first texts in their order are a random sample.
    sample = np.sort(np.argsort(ids, kind="stable")[:FIT_ON])
    part = None if embeddings is None else embeddings[sample]
    start, agreement = select_initialisation([view.take(sample) for view in views], part, ids[sample])
    told = TeacherLikelihoods(views)
    posterior, ratio, _ = told.alone(told.starts()[start])
    fitted_to, gate = posterior, None
    prior = np.tile(log_mixing_weights(posterior), (len(ratio), 1))
    for known, rounds in (
        (_known(embeddings, ()), ROUNDS_EMBEDDED),
        (_known(embeddings, told.features), ROUNDS_TOGETHER),
    ):
        if known:
            gate = GatingNetwork(known, ids, len(told.owners) + 1)
            for _ in range(rounds):
                fitted_to, prior, ratio = posterior, gate.predict(posterior), told.fit(posterior)[0]
                posterior = softmax(prior + ratio)
    fits, fitted = told.fit_out_of_fold(fitted_to, ids), None if gate is None else gate.model
    model = TeacherMixture(fits, fitted, log_mixing_weights(posterior), agreement, told.owners.members)
    return _posterior(told.owners, ratio, prior, agreement), model


def _known(embeddings: np.ndarray | None, features: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    return [one for one in (embeddings, *features) if one is not None]


def _posterior(
    owners: LabelGroups, ratio: np.ndarray, prior: np.ndarray, agreement: KappaEstimate | None
) -> MixturePosterior:
    def divided(logits: np.ndarray) -> np.ndarray:
        return softmax(logits[:, :-1]) @ owners.split

    evidence, gate = (np.log(np.maximum(divided(view), np.finfo(np.float64).tiny)) for view in (ratio, prior))
    return MixturePosterior(divided(prior + ratio), softmax(prior + ratio)[:, -1], evidence, gate, agreement)


class _Candidate(NamedTuple):
    number: int
    likelihood: float
    agreement: KappaEstimate | None

    @property
    def bound(self) -> float:
        return np.inf if self.agreement is None else self.agreement.bound


def select_initialisation(
    views: Sequence[TeacherOutputs], embeddings: np.ndarray | None, ids: np.ndarray
) -> tuple[int, KappaEstimate | None]:
    """Return the most likely start's index, and how far a gate on the embeddings agrees with what it leads to."""
    told = TeacherLikelihoods(views)
    gate = None
    if embeddings is not None or any(one is not None for one in told.features):
        known = [embeddings] if embeddings is not None else _known(None, told.features)
        gate = GatingNetwork(known, ids, len(told.owners) + 1)
    tried = []
    for number, start in enumerate(told.starts()):
        found, ratio, gain = told.alone(start)
        prior = log_mixing_weights(found)[None] if gate is None else gate.reset().predict(found)
        likelihood = float((np.logaddexp.reduce(prior + ratio, axis=1) + gain).mean())
        agreement = None if embeddings is None else agree(prior[:, :-1].argmax(1), found[:, :-1].argmax(1))
        tried.append(_Candidate(number, likelihood, agreement))
    best = max(tried, key=lambda one: one.likelihood)
    if best.bound <= KAPPA_SLIGHT:
        best = max((one for one in tried if one.bound > KAPPA_MODERATE), key=lambda one: one.likelihood, default=best)
    return best.number, best.agreement
