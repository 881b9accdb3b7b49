"""Maximum likelihood of a conditional logit over teachers, by Newton's method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def fit_conditional_logit(
    pools: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], ridge: float, rounds: int = 12
) -> np.ndarray:
    """Fit weights by Newton's method.

    Args:
        pools: For each, numbers (N, T, F), known_by (N, T) bool (any of several is right), weights of the texts (N,).
        ridge: Of half the squared weights beside the mean log-likelihood, numbers being divided by their spread.
        rounds: Newton steps at most.

    Returns:
        Weights of the numbers as they are, (F,).
    """
    groups: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for numbers, known_by, weight in pools:
        centred = numbers - numbers.mean(1, keepdims=True)
        groups.setdefault(numbers.shape[1], []).append((centred, known_by, weight / len(pools)))
    joined = [tuple(np.concatenate(part) for part in zip(*some, strict=True)) for some in groups.values()]
    spread = np.sqrt(sum((w[:, None, None] * x**2).sum((0, 1)) / x.shape[1] for x, _, w in joined)) + 1e-6
    joined = [(x / spread, own, w) for x, own, w in joined]
    beta = np.zeros(len(spread))

    def evaluate(beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        loss, gradient, hessian = ridge / 2 * beta @ beta, ridge * beta, ridge * np.eye(len(beta))
        for x, own, w in joined:
            score = x @ beta
            p = np.exp(score - score.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            right = (p * own).sum(1) + 1e-12
            loss -= w @ np.log(right)
            gradient = gradient + np.einsum("n,nt,ntf->f", w, p - p * own / right[:, None], x, optimize=True)
            mean = np.einsum("nt,ntf->nf", p, x)
            flat, share = x.reshape(-1, len(beta)), (w[:, None] * p).reshape(-1, 1)
            hessian = hessian + flat.T @ (flat * share) - mean.T @ (mean * w[:, None])
        return float(loss), gradient, hessian

    loss, gradient, hessian = evaluate(beta)
    for _ in range(rounds):
        step, length = np.linalg.solve(hessian, gradient), 1.0
        while True:
            found = evaluate(beta - length * step)
            if found[0] <= loss or length < 1e-3:
                break
            length /= 2
        beta, done, (loss, gradient, hessian) = beta - length * step, loss - found[0] < 1e-7, found
        if done:
            break
    return beta / spread
