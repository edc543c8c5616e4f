"""The reader of poses, and polishing that corrects relief by what it reads."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.train.test_polish import CONFIG
from tests.train.test_polish import make as make_polish
from tests.train.test_training import interrupt_and_resume
from train.data.images import ImageSet
from train.networks import pose_reader as poses
from train.networks.pose_reader import MAX_PITCH, MAX_YAW, learn_poses, to_reader_size
from train.run.loop import train
from train.run.options import RunOptions
from train.stages import PolishStage, polish


def blobs(count: int) -> ImageSet:
    """Pictures with a bright blob where the pose is."""
    random = np.random.default_rng(3)
    true = random.uniform(-1, 1, (count, 2)).astype(np.float32) * 0.8
    axis = np.linspace(-1, 1, 16, dtype=np.float32)
    away = (axis[None, :, None] + true[:, None, None, 1]) ** 2 + (axis[None, None, :] - true[:, None, None, 0]) ** 2
    pictures = np.repeat((230 * np.exp(-8 * away))[:, None], 3, axis=1).astype(np.uint8)
    known = torch.from_numpy(true) * torch.tensor([MAX_YAW, MAX_PITCH])
    return ImageSet(images=pictures, thumbnails=pictures, poses=known)


DATA = blobs(100)


def make(engine=None, data: ImageSet | None = DATA) -> PolishStage:
    plain, config = make_polish(), dataclasses.replace(CONFIG, correct_relief=True)
    return PolishStage(plain.generator.config, config, plain.teacher, engine, data)


def test_poses_are_learned_from_the_data_s_own(caplog):
    data = blobs(400)
    with caplog.at_level("INFO"):
        reader = learn_poses(data, seed=0)
    assert "off unseen pictures to" in caplog.text
    unseen = blobs(600)
    pictures = to_reader_size(unseen.thumbnail_batch(torch.arange(400, 600), 16, 3))
    errors = (reader.angles(pictures) - unseen.poses[400:]).abs().mean(dim=0)
    assert errors[0] < 0.12 * MAX_YAW and errors[1] < 0.12 * MAX_PITCH
    assert not reader.training


def test_learning_leaves_the_randomness_of_the_run_alone_and_repeats():
    state, data = torch.get_rng_state(), blobs(100)
    first, second = (learn_poses(data, seed=1).state_dict() for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_part_of_many_pictures_is_enough(monkeypatch):
    data, asked = blobs(300), []
    monkeypatch.setattr(poses, "MOST", 120)
    take = ImageSet.thumbnail_batch
    monkeypatch.setattr(
        ImageSet, "thumbnail_batch", lambda self, part, *rest: asked.append(part) or take(self, part, *rest)
    )
    learn_poses(data, seed=0)
    numbers = torch.cat(asked).tolist()
    assert len(numbers) == len(set(numbers)) == 120 and max(numbers) >= 200


def test_too_few_pictures_and_unknown_poses_are_refused():
    with pytest.raises(ValueError, match="from 40 pictures, expected at least 100"):
        learn_poses(blobs(40), seed=0)
    without = dataclasses.replace(blobs(100), poses=None)
    with pytest.raises(ValueError, match="no yaw and pitch"):
        learn_poses(without, seed=0)


def test_correcting_relief_needs_poses():
    with pytest.raises(ValueError, match="correct_relief is on, it needs --data with yaw and pitch"):
        make(data=None)
    with pytest.raises(ValueError, match="no yaw and pitch"):
        make(data=dataclasses.replace(DATA, poses=None))


class Reader:
    """Reads poses that grow with the depth of a stage's teacher, and a head that looks aside by itself."""

    def __init__(self, monkeypatch, share: float) -> None:
        self.share, self.asked = share, None
        cameras_of = polish.cameras_of
        monkeypatch.setattr(polish, "learn_poses", lambda data, seed: self)
        monkeypatch.setattr(polish, "cameras_of", lambda pose, device: cameras_of(self.noted(pose), device))

    def watch(self, stage: PolishStage) -> PolishStage:
        self.weight = stage.teacher.field.layers[0].linear.weight
        self.first = self.weight[:, 2].norm().item()
        return stage

    def noted(self, pose: torch.Tensor) -> torch.Tensor:
        self.asked = pose
        return pose

    def to(self, device) -> "Reader":
        return self

    def angles(self, pictures: torch.Tensor) -> torch.Tensor:
        assert pictures.shape[1:] == (3, 64, 64)
        return self.share * self.first / self.weight[:, 2].norm() * self.asked + torch.tensor([0.1, -0.2])


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_relief_is_corrected_until_heads_turn_as_far_as_is_asked(monkeypatch, share):
    monkeypatch.setattr(polish, "HEADS_READ", 4)
    reader = Reader(monkeypatch, share)
    stage, plain = reader.watch(make()), make_polish()
    torch.testing.assert_close(stage.share_of_turn(reader), share)
    stage.prepare()
    torch.testing.assert_close(stage.share_of_turn(reader), 1.0)
    state = torch.get_rng_state()
    stage.share_of_turn(reader)
    assert torch.equal(state, torch.get_rng_state())
    points = torch.rand(1, 50, 3) * 0.1
    codes = torch.randn(1, plain.generator.config.latent_size)
    expected = plain.generator.field.condition(codes).sdf(points * torch.tensor([1.0, 1.0, share]))
    for model in (stage.teacher, stage.generator, stage.generator_ema):
        torch.testing.assert_close(model.field.condition(codes).sdf(points), expected, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("share, stretch", [(0.01, 1.25), (-0.5, 1.25), (5.0, 0.8)])
def test_a_mistaken_reader_does_not_stretch_heads_beyond_use(monkeypatch, share, stretch):
    monkeypatch.setattr(polish, "HEADS_READ", 2)
    monkeypatch.setattr(polish, "READINGS", 1)
    reader = Reader(monkeypatch, share)
    stage = reader.watch(make())
    stage.prepare()
    torch.testing.assert_close(reader.first / reader.weight[:, 2].norm().item(), stretch)


def test_a_run_with_corrected_relief_resumes_bit_for_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(polish, "HEADS_READ", 2)
    whole = make()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(make, tmp_path / "parts", whole, stop_at=3)
