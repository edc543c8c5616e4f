"""Distances between two sets of features."""

from __future__ import annotations

import numpy as np


def gaussian_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Return ‖μₐ − μᵦ‖² + tr(Σₐ + Σᵦ − 2 (Σₐ Σᵦ)^½) of two Gaussians (arXiv 1706.08500).

    Args:
        mean_a: μₐ. ``(C,)``.
        covariance_a: Σₐ, may be singular. ``(C, C)``.
        mean_b: μᵦ. ``(C,)``.
        covariance_b: Σᵦ, likewise. ``(C, C)``.
    """
    # the eigenvalues of a product of two covariances are real and not negative, up to rounding
    roots = np.sqrt(np.linalg.eigvals(covariance_a @ covariance_b).real.clip(min=0.0))
    shift = np.square(mean_a - mean_b).sum()
    return float(shift + np.trace(covariance_a) + np.trace(covariance_b) - 2.0 * roots.sum())


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance of the Gaussians that have the moments of two sets of features, ``(N, C)`` each."""
    moments = [(x.mean(axis=0, dtype=np.float64), np.cov(x, rowvar=False)) for x in (a, b)]
    return gaussian_distance(*moments[0], *moments[1])


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


def subset_kernel_distance(
    a: np.ndarray, b: np.ndarray, size: int = 1000, num_subsets: int = 100, seed: int = 0
) -> float:
    """Return the mean ``kernel_distance`` of random subsets, as KID is published; of all where there are so few.

    Args:
        a: ``(N, C)``.
        b: ``(M, C)``.
        size: Of a subset of each, drawn without replacement; less where there are less.
        num_subsets: How many pairs of them.
        seed: Of the draw.
    """
    if max(len(a), len(b)) <= size:
        return kernel_distance(a, b)
    random, sizes = np.random.default_rng(seed), [min(size, len(x)) for x in (a, b)]
    distances = []
    for _ in range(num_subsets):
        chosen = [x[random.choice(len(x), count, replace=False)] for x, count in zip((a, b), sizes)]
        distances.append(kernel_distance(*chosen))
    return float(np.mean(distances))


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
