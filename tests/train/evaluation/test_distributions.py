"""Metrics against the data: copies are found, a classifier tells noise apart and does not tell heads of the data."""

import dataclasses

import pytest
import torch

from stylesdf.camera import sample_poses
from tests.tiny import TINY, Model
from tests.train.evaluation.scenes import show
from train.evaluation import distributions
from train.evaluation.registry import METRICS
from train.evaluation.report import evaluate
from train.evaluation.subjects import REFERENCE_SEED
from train.evaluation.views import Context, draw_samples


@pytest.fixture
def data(toy_heads):
    return dataclasses.replace(toy_heads, subject="")  # these metrics need none


@pytest.fixture
def context(data):
    return Context(data)


def measure(name, monkeypatch, context, pictures):
    show(monkeypatch, pictures)
    return METRICS[name].measure(Model(TINY), range(len(pictures)), 1.0, context)


def test_a_classifier_tells_noise_and_not_new_heads(monkeypatch, context):
    new = context.data.image_batch(torch.arange(160))[80:]
    heads = measure("classifier", monkeypatch, context, new)
    noise = measure("classifier", monkeypatch, context, torch.rand(80, 3, 64, 64) * 2 - 1)
    for name in ("accuracy", "small_accuracy"):
        assert noise[name] > 0.95 > 0.75 > heads[name]


@pytest.mark.parametrize("losses, seeds", [([0.1], [1]), ([0.69, 0.1], [1, 2]), ([0.69, 0.65, 0.68], [1, 2, 3])])
def test_a_classifier_whose_training_failed_is_trained_again(monkeypatch, context, losses, seeds):
    used = []

    def train(pictures, is_real, seed, context):
        used.append(seed)
        sign = 1.0 if losses[len(used) - 1] == min(losses) else -1.0
        return lambda batch: sign * batch.mean(dim=(1, 2, 3))[:, None], losses[len(used) - 1]

    monkeypatch.setattr(distributions, "_train_classifier", train)
    white_is_real = torch.arange(8) < 4
    pictures = 255 * white_is_real.to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    assert distributions._accuracy((pictures, white_is_real), (pictures, white_is_real), context) == 1.0
    assert used == seeds


def test_copies_are_found(monkeypatch, context):
    random = torch.Generator().manual_seed(REFERENCE_SEED)
    sample_poses(40, TINY.pose_yaw, TINY.pose_pitch, TINY.pose_distribution, random)
    copied = context.data.image_batch(torch.randperm(160, generator=random)[:40])
    found = measure("copies", monkeypatch, context, copied)
    assert found["ratio"] < 0.05 and found["nearest"] < found["reference_nearest"]


def test_metrics_that_need_data_are_refused_without(data):
    for name in ("copies", "classifier"):
        with pytest.raises(ValueError, match=f"{name} compares with the data"):
            evaluate(Model(TINY), metrics=[name], num_seeds=2)
    few = dataclasses.replace(data, images=data.images[:3], thumbnails=data.thumbnails[:3], poses=None)
    with pytest.raises(ValueError, match="the data has 3 pictures"):
        draw_samples(Model(TINY), range(2), 1.0, Context(few))
