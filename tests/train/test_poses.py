"""The reader of poses, and polishing that turns heads by what it reads."""

import dataclasses

import numpy as np
import pytest
import torch

from stylesdf.camera import Camera
from tests.train import runs
from tests.train.test_polish import CONFIG
from tests.train.test_polish import make as make_polish
from tests.train.test_training import interrupt_and_resume
from train.data.images import ImageSet
from train.networks import pose_reader as poses
from train.networks.pose_reader import MAX_PITCH, MAX_YAW, learn_poses, to_reader_size
from train.run.loop import train
from train.run.options import RunOptions
from train.stages import PolishStage
from train.stages.latents import latent_codes
from train.stages.polish import MOST_TURN, READINGS


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
    plain, config = make_polish(), dataclasses.replace(CONFIG, rectify_poses=True)
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


def test_rectifying_needs_poses():
    with pytest.raises(ValueError, match="rectify_poses is on, it needs --data with yaw and pitch"):
        make(data=None)
    with pytest.raises(ValueError, match="no yaw and pitch"):
        make(data=dataclasses.replace(DATA, poses=None))


class Squinting(torch.nn.Module):
    """Is shown some views one after the other, and reads each as turned by the same too much, give or take."""

    def __init__(self, views: torch.Tensor, turn: tuple[float, float]) -> None:
        super().__init__()
        errors = torch.tensor([0.01, -0.02, 0.03, -0.02])[:, None, None]
        self.answers = iter(views.transpose(0, 1) + torch.tensor(turn) + errors)

    def angles(self, pictures: torch.Tensor) -> torch.Tensor:
        assert pictures.shape[1:] == (3, 64, 64)
        return next(self.answers)


@pytest.mark.parametrize("turn", [(0.0, 0.0), (0.03, -0.06), (-0.5, 0.5)])
def test_the_teacher_is_turned_back_by_what_is_read_and_not_by_much(turn):
    rectifying, plain = make(), make_polish()
    pose = torch.tensor([[0.2, 0.1], [-0.1, 0.0]])
    views = torch.randn(2, READINGS, 2) * 0.2
    rectifying.reader = Squinting(views, turn)
    with torch.no_grad():
        codes = plain.generator.renderer_mapping(torch.randn(2, plain.generator.config.latent_size))
    back = -torch.tensor(turn).clamp(-MOST_TURN, MOST_TURN)
    taught, expected = rectifying._teach(codes, pose, views), plain._teach(codes, pose + back)
    torch.testing.assert_close(taught.thumbnail, expected.thumbnail)
    torch.testing.assert_close(taught.xyz, expected.xyz)


def test_a_step_holds_the_pupil_as_asked_against_the_teacher_as_turned(monkeypatch):
    stage, turn = make(), torch.tensor([0.05, -0.02])
    drawn = stage._draw()
    monkeypatch.setattr(stage, "_draw", lambda: drawn)
    stage.reader = Squinting(drawn["views"], tuple(turn.tolist()))
    terms, seen = stage._terms, []
    monkeypatch.setattr(stage, "_terms", lambda *arguments: seen.append(arguments) or terms(*arguments))
    stage.step()
    [(_, camera, taught, _)] = seen
    assert torch.equal(camera.cam2world, Camera.from_angles(*drawn["pose"].unbind(dim=1)).cam2world)
    plain = make_polish()
    codes = latent_codes(stage.generator.renderer_mapping, drawn)
    torch.testing.assert_close(taught.thumbnail, plain._teach(codes, drawn["pose"] - turn).thumbnail)
    assert not torch.allclose(taught.thumbnail, plain._teach(codes, drawn["pose"]).thumbnail, atol=1e-4)


def test_a_rectifying_run_resumes_bit_for_bit(tmp_path):
    whole = make()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(make, tmp_path / "parts", whole, stop_at=3)


def test_micro_batches_do_not_change_the_gradient_of_a_turned_head():
    class Blind(torch.nn.Module):
        """Reads every pose as frontal, so that each head is turned by its own views."""

        def angles(self, pictures: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(pictures), 2)

    def blind(engine=None) -> PolishStage:
        stage = make(engine=engine)
        stage.reader = Blind()
        return stage

    whole, parts = (runs.gradients_of_a_step(blind, micro_batch) for micro_batch in (0, 1))
    assert len(whole) == len(parts) > 0
    for a, b in zip(whole, parts):  # a pixel at the kink of an absolute value may fall to either side
        assert (a - b).norm() < 2e-3 * a.norm() + 1e-6, ((a - b).norm(), a.norm())
