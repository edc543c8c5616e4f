"""Distances between two sets of features."""

from __future__ import annotations

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return ‖μₐ − μᵦ‖² + tr(Σₐ + Σᵦ − 2 (Σₐ Σᵦ)^½) of two sets of features, ``(N, C)`` each (arXiv 1706.08500)."""
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # the eigenvalues of a product of two covariances are real and not negative, up to rounding
    roots = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(min=0.0))
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2.0 * roots.sum())


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the unbiased squared MMD with the kernel (x·y / C + 1)³, of ``(N, C)`` and ``(M, C)`` (arXiv 1801.01401).

    It is 0 on average for two sets of one distribution, and so may be negative.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1.0) ** 3

    def within(x: np.ndarray) -> float:
        values = kernel(x, x)
        return (values.sum() - np.trace(values)) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2.0 * kernel(a, b).mean())


def recall(asked: np.ndarray, others: np.ndarray, neighbours: int = 3) -> float:
    """Return the share of ``asked`` within reach of ``others`` (improved recall, arXiv 1904.06991).

    Args:
        asked: ``(N, C)``; the data for recall, the generated for precision.
        others: ``(M, C)``; each reaches as far as its k-th neighbour among them.
        neighbours: k.
    """
    own = np.sort(_distances(others, others), axis=1)
    reach = own[:, min(neighbours, len(others) - 1)]  # column 0 is the point itself
    return float((_distances(asked, others) <= reach[None]).any(axis=1).mean())


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None] - 2.0 * a @ b.T
    return np.sqrt(squared.clip(min=0.0))
