"""Distances of distributions, by Gaussians whose distance is known."""

import numpy as np
import pytest

from train.evaluation.distances import (
    frechet_distance,
    gaussian_distance,
    kernel_distance,
    recall,
    subset_kernel_distance,
)


def gaussian(count, mean, deviation, seed=0):
    return np.random.RandomState(seed).randn(count, 4) * deviation + mean


def test_frechet_distance_of_gaussians():
    # ‖Δμ‖² + Σ (σ − τ)² = 4 · 0.25 + 4 · 1
    found = frechet_distance(gaussian(40_000, 0.5, 1.0), gaussian(40_000, 0.0, 2.0, seed=1))
    assert found == pytest.approx(5.0, rel=0.02)
    assert frechet_distance(gaussian(500, 0, 1), gaussian(500, 0, 1)) == pytest.approx(0.0, abs=1e-6)


def test_kernel_distance_of_gaussians():
    same = [kernel_distance(gaussian(300, 0, 1, seed), gaussian(300, 0, 1, seed + 50)) for seed in range(12)]
    assert abs(np.mean(same)) < 2.5 * np.std(same) / np.sqrt(12) + 1e-3 and min(same) < 0 < max(same)  # unbiased
    # (x·y/4 + 1)³ with E over independent x ~ N(0, 1), y ~ N(μ, 1): by hand for one-point sets
    assert kernel_distance(np.zeros((2, 4)), np.ones((2, 4))) == pytest.approx(1.0 + 8.0 - 2.0)


def test_the_distance_of_two_gaussians_by_hand():
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])  # a turn: the two covariances share their axes, the other way round
    wide = np.diag([9.0, 1.0])
    # ‖Δμ‖² = 25; the roots are 3 and 1 along one axis, 1 and 3 along the other: Σ (σ − τ)² = 4 + 4
    assert gaussian_distance(np.zeros(2), wide, np.array([3.0, 4.0]), quarter @ wide @ quarter.T) == pytest.approx(33.0)
    # Σₐ = [[5, 3], [3, 5]] with roots √8 and √2 along the diagonals, Σᵦ = 4 · 1: (√8 − 2)² + (√2 − 2)²
    leaning = np.array([[5.0, 3.0], [3.0, 5.0]])
    expected = (8**0.5 - 2) ** 2 + (2**0.5 - 2) ** 2
    assert gaussian_distance(np.zeros(2), leaning, np.zeros(2), 4 * np.eye(2)) == pytest.approx(expected)
    flat = np.diag([4.0, 0.0])  # a point in one direction, as with fewer pictures than features
    assert gaussian_distance(np.zeros(2), flat, np.zeros(2), np.diag([1.0, 1.0])) == pytest.approx(2.0)


def test_kernel_distance_of_subsets():
    a, b = gaussian(80, 0, 1), gaussian(60, 1, 1, seed=1)
    assert subset_kernel_distance(a, b) == kernel_distance(a, b)  # few enough for one pair of all
    many = subset_kernel_distance(a, b, size=20, num_subsets=400)
    assert many == pytest.approx(kernel_distance(a, b), rel=0.1)  # unbiased: the mean of subsets is that of all
    assert many == subset_kernel_distance(a, b, size=20, num_subsets=400)
    assert subset_kernel_distance(a, b[:10], size=20, num_subsets=3) > 0  # one of them smaller than a subset


def test_recall_and_precision_of_halves():
    line = np.linspace(0.0, 1.0, 101)[:, None]
    left = line[:50]
    assert recall(line, left, 3) == pytest.approx(0.52, abs=0.02)  # the data's right half is out of reach
    assert recall(left, line, 3) == 1.0
