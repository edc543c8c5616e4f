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
