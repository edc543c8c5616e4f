"""Distances of distributions by known Gaussians; metrics against the data by what must come out."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stylesdf.camera import sample_poses
from tests.tiny import TINY, Model
from train import likeness, reader
from train.data.images import load_images
from train.distances import (
    frechet_distance,
    gaussian_distance,
    kernel_distance,
    recall,
    subset_kernel_distance,
)
from train.evaluate import evaluate
from train.metrics import METRICS, Context

NAMES = ("toy-frechet", "toy-kid", "toy-recall", "copies", "speckle", "judge")


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


class Show:
    """A model that shows given pictures."""

    def __init__(self, monkeypatch, pictures):
        self.pictures = iter(pictures[:, None])
        monkeypatch.setattr(likeness, "draw_full", lambda *arguments: (next(self.pictures), None))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLESDF_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_images("toy-heads:160", 64, 64)


@pytest.fixture
def context(data):
    context = Context(data)
    torch.manual_seed(0)
    context.reader = reader.HeadReader().eval()
    return context


def measure(monkeypatch, context, pictures):
    context.crowd = None
    Show(monkeypatch, pictures)
    model = Model(TINY)
    return {name: METRICS[name].measure(model, range(len(pictures)), 1.0, context) for name in NAMES}


def test_noise_is_far_and_the_data_is_near(monkeypatch, context):
    unseen = context.data.image_batch(torch.arange(160))[80:]
    heads = measure(monkeypatch, context, unseen)
    noise = measure(monkeypatch, context, torch.rand(80, 3, 64, 64) * 2 - 1)
    for name in ("toy-frechet", "toy-kid"):
        assert heads[name]["distance"] < 3 * abs(heads[name]["reference_distance"]) + 1 < noise[name]["distance"] + 1
        assert heads[name]["reference_distance"] == noise[name]["reference_distance"]
    assert heads["toy-recall"]["recall"] > 0.7 > 0.1 > noise["toy-recall"]["precision"]
    for name in ("accuracy", "small_accuracy"):
        assert noise["judge"][name] > 0.95 > 0.75 > heads["judge"][name]


@pytest.mark.parametrize("losses, seeds", [([0.1], [1]), ([0.69, 0.1], [1, 2]), ([0.69, 0.65, 0.68], [1, 2, 3])])
def test_a_judge_that_has_not_learned_is_not_asked(monkeypatch, context, losses, seeds):
    asked = []

    def train(pictures, is_real, seed, context):
        asked.append(seed)
        sign = 1.0 if losses[len(asked) - 1] == min(losses) else -1.0
        return lambda batch: sign * batch.mean(dim=(1, 2, 3))[:, None], losses[len(asked) - 1]

    monkeypatch.setattr(likeness, "_train_judge", train)
    white_is_real = torch.arange(8) < 4
    pictures = 255 * white_is_real.to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    assert likeness._examine((pictures, white_is_real), (pictures, white_is_real), context) == 1.0
    assert asked == seeds


def test_blotches_of_colour_are_speckle_and_shading_is_not(monkeypatch, context):
    unseen = context.data.image_batch(torch.arange(160))[80:110]
    blotches = F.interpolate(0.1 * torch.randn(30, 3, 32, 32), scale_factor=2)
    clean, darker = (measure(monkeypatch, context, each)["speckle"] for each in (unseen, unseen * 0.99))
    blotched = measure(monkeypatch, context, (unseen + blotches).clamp(-1, 1))["speckle"]
    grey = measure(monkeypatch, context, (unseen + blotches[:, :1]).clamp(-1, 1))["speckle"]
    reference = clean["reference_speckle"]
    assert 0.5 * reference < clean["speckle"] < 2.0 * reference
    assert darker["speckle"] == pytest.approx(clean["speckle"], rel=0.2)
    assert blotched["speckle"] > 3.0 * reference > 1.5 * grey["speckle"]
    assert measure(monkeypatch, context, torch.full((4, 3, 64, 64), 2.0))["speckle"]["speckle"] is not None


def test_copies_are_found(monkeypatch, context):
    random = torch.Generator().manual_seed(likeness.REFERENCE_SEED)
    sample_poses(40, TINY.pose_yaw, TINY.pose_pitch, TINY.pose_distribution, random)
    learned_by_heart = context.data.image_batch(torch.randperm(160, generator=random)[:40])
    found = measure(monkeypatch, context, learned_by_heart)["copies"]
    assert found["ratio"] < 0.05 and found["nearest"] < found["reference_nearest"]


def test_metrics_that_need_data_are_left_out_or_refused_without(data):
    assert all(METRICS[name].needs_data for name in NAMES)
    with pytest.raises(ValueError, match="toy-frechet compares with the data"):
        evaluate(Model(TINY), metrics=["toy-frechet"], num_seeds=2)
    few = dataclasses.replace(data, images=data.images[:3], thumbnails=data.thumbnails[:3], poses=None)
    with pytest.raises(ValueError, match="the data has 3 pictures"):
        likeness.gather(Model(TINY), range(2), 1.0, Context(few))
