"""Distillation losses: the student's outputs against a batch's stored targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize


def distillation_loss(
    logits: Tensor, targets: Tensor, sample_weight: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Mean over the batch of sample weight · T² · KL(target ‖ softmax(logits / T)).

    Args:
        logits: The student's, (B, C), any float type; computed in fp32.
        targets: Distributions, (B, C), zeros allowed.
        sample_weight: Weight of each text, (B,); None means one.
        temperature: T (Hinton et al. 2015); the targets are taken as they are.

    Returns:
        A scalar. Weights are not renormalised (as in the authors' code, lancopku/MUKI).
    """
    targets = targets.float()
    cross = -(targets * (logits.float() / temperature).log_softmax(-1)).sum(-1)
    divergence = (cross - torch.special.entr(targets).sum(-1)) * temperature**2
    if sample_weight is not None:
        divergence = divergence * sample_weight
    return divergence.mean()


class DistillationLoss(nn.Module, ABC):
    """A loss of student logits, and of what the student's classifier reads, against stored targets.

    Its parameters, if it has any, are trained with the student and are not saved with it.

    Attributes:
        reads_features: Whether :meth:`forward` needs features.
    """

    reads_features = False

    @abstractmethod
    def forward(self, logits: Tensor, features: Tensor | None, targets: Tensor, sample_weight: Tensor) -> Tensor:
        """Return the mean loss of a batch.

        Args:
            logits: (B, C).
            features: (B, D), or None.
            targets: (B, W), in the layout of the method that uses this loss.
            sample_weight: (B,).
        """


class KLDistillationLoss(DistillationLoss):
    """:func:`distillation_loss` against one distribution over the label space."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, logits: Tensor, features: Tensor | None, targets: Tensor, sample_weight: Tensor) -> Tensor:
        """Return the mean loss; targets (B, C)."""
        return distillation_loss(logits, targets, sample_weight, self.temperature)


class UHCLoss(DistillationLoss):
    """UHC (Vongkulbhaisal et al. 2019): the student, renormalised within each teacher's classes, against that teacher.

    Args:
        columns: For each teacher, the label space's column of each of its own.
        temperature: T of student and teachers.
    """

    def __init__(self, columns: Sequence[Sequence[int]], temperature: float) -> None:
        super().__init__()
        self.columns, self.temperature = [list(own) for own in columns], temperature

    def forward(self, logits: Tensor, features: Tensor | None, targets: Tensor, sample_weight: Tensor) -> Tensor:
        """Return the mean over texts of the sum over teachers; targets: their distributions side by side."""
        total, start = logits.new_zeros((), dtype=torch.float32), 0
        for own in self.columns:
            part = targets[:, start : start + len(own)]
            # A softmax over some of the logits is the whole one renormalised.
            total = total + distillation_loss(logits[:, own], part, sample_weight, self.temperature)
            start += len(own)
        return total


class FeatureMatchingLoss(DistillationLoss):
    """VKD plus features: targets are its distribution and then the teachers' features, all side by side.

    Args:
        classes: C.
        widths: Features of each teacher.
        temperature: T of the distillation part.
    """

    reads_features = True

    def __init__(self, classes: int, widths: Sequence[int], temperature: float) -> None:
        super().__init__()
        self.classes, self.widths, self.temperature = classes, list(widths), temperature

    def forward(self, logits: Tensor, features: Tensor | None, targets: Tensor, sample_weight: Tensor) -> Tensor:
        """Return distillation, matching and reconstruction losses, each with weight one as in the authors' code."""
        if features is None:
            raise ValueError("this loss needs the student's features")
        distilled = distillation_loss(logits, targets[:, : self.classes], sample_weight, self.temperature)
        return distilled + self.match(features.float(), targets[:, self.classes :].float().split(self.widths, dim=1))

    @abstractmethod
    def match(self, student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        """Return the loss of student features (B, D) against each teacher's, (B, F_t)."""


class DFALoss(FeatureMatchingLoss):
    """DFA (Shen et al. 2019): an autoencoder makes one code of all teachers' features; the student learns the code."""

    def __init__(self, classes: int, widths: Sequence[int], student_width: int, temperature: float) -> None:
        super().__init__(classes, widths, temperature)
        self.student_encoder = nn.Linear(student_width, student_width)
        self.encoder = nn.Linear(sum(widths), student_width)
        self.decoder = nn.Linear(student_width, sum(widths))

    def match(self, student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        """Return mean squared errors of the student against the code, and of the decoded code against the features."""
        code = self.encoder(torch.cat(list(teachers), dim=1))
        decoded = self.decoder(code).split(self.widths, dim=1)
        reconstruction = torch.stack([mse_loss(ours, own) for ours, own in zip(decoded, teachers, strict=True)])
        return mse_loss(self.student_encoder(student), code.detach()) + reconstruction.sum()


class CFLLoss(FeatureMatchingLoss):
    """CFL (Luo et al. 2019): one extractor maps student and teachers into a space where their distributions meet."""

    def __init__(self, classes: int, widths: Sequence[int], student_width: int, temperature: float) -> None:
        super().__init__(classes, widths, temperature)
        common = max(1, student_width // 4)
        self.student_encoder = nn.Sequential(nn.Linear(student_width, common), nn.ReLU())
        self.encoders = nn.ModuleList(nn.Sequential(nn.Linear(width, common), nn.ReLU()) for width in widths)
        self.extractor = nn.Sequential(nn.Linear(common, common), nn.ReLU(), nn.Linear(common, common))
        self.decoders = nn.ModuleList(
            nn.Sequential(nn.Linear(common, width), nn.ReLU(), nn.Linear(width, width)) for width in widths
        )

    def match(self, student: Tensor, teachers: Sequence[Tensor]) -> Tensor:
        """Return the squared maximum mean discrepancies to the teachers, and the reconstruction errors."""
        own = self.extractor(self.student_encoder(student))
        total = own.new_zeros(())
        for features, encoder, decoder in zip(teachers, self.encoders, self.decoders, strict=True):
            code = self.extractor(encoder(features))
            total = total + squared_discrepancy(own, code) + mse_loss(decoder(code), features)
        return total


def squared_discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples, rows scaled to length one, by a sum of five Gaussian kernels.

    Their variances are the mean squared distance of two rows times ¼, ½, 1, 2, 4. Biased estimate: never negative, zero
    for equal samples.

    Args:
        first: (B, D).
        second: (B, D).
    """
    rows = torch.cat([normalize(first, dim=1), normalize(second, dim=1)])
    apart = (2 - 2 * rows @ rows.T).clamp_min(0)
    variance = apart.detach().mean() + torch.finfo(apart.dtype).tiny
    kernel = torch.stack([torch.exp(-apart / (2 * scale * variance)) for scale in (0.25, 0.5, 1, 2, 4)]).sum(0)
    size = len(first)
    return kernel[:size, :size].mean() + kernel[size:, size:].mean() - 2 * kernel[:size, size:].mean()
