"""The reader of poses: it learns from known ones, the same every time, and refuses data without them."""

import dataclasses

import numpy as np
import pytest
import torch

from train.data.images import ImageSet
from train.networks.pose_reader import (
    MAX_PITCH,
    MAX_YAW,
    POSE_RECIPE,
    PoseReader,
    check_poses,
    learn,
    pose_loss,
    to_reader_size,
)


def blobs(count: int) -> ImageSet:
    """Pictures with a bright blob where the pose is."""
    random = np.random.default_rng(3)
    true = random.uniform(-1, 1, (count, 2)).astype(np.float32) * 0.8
    axis = np.linspace(-1, 1, 16, dtype=np.float32)
    away = (axis[None, :, None] + true[:, None, None, 1]) ** 2 + (axis[None, None, :] - true[:, None, None, 0]) ** 2
    pictures = np.repeat((230 * np.exp(-8 * away))[:, None], 3, axis=1).astype(np.uint8)
    known = torch.from_numpy(true) * torch.tensor([MAX_YAW, MAX_PITCH])
    return ImageSet(images=pictures, thumbnails=pictures, poses=known)


def pictures_of(data: ImageSet, numbers: torch.Tensor) -> torch.Tensor:
    return to_reader_size(data.thumbnail_batch(numbers, 16, 3))


def learned(data: ImageSet, recipe: dict = POSE_RECIPE) -> PoseReader:
    torch.manual_seed(0)
    reader, random = PoseReader(), torch.Generator().manual_seed(0)
    pictures = pictures_of(data, torch.arange(len(data)))
    learn(reader, pictures, lambda seen, index: pose_loss(reader(seen), data.poses[index]), recipe, random)
    return reader


def test_poses_of_unseen_pictures_are_read():
    reader, unseen = learned(blobs(400)), blobs(600)
    errors = (reader.angles(pictures_of(unseen, torch.arange(400, 600))) - unseen.poses[400:]).abs().mean(dim=0)
    assert errors[0] < 0.12 * MAX_YAW and errors[1] < 0.12 * MAX_PITCH
    assert not reader.training


def test_learning_repeats():
    first, second = (learned(blobs(100), POSE_RECIPE | {"epochs": 2}).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_too_few_pictures_and_unknown_poses_are_refused():
    check_poses(blobs(100))
    with pytest.raises(ValueError, match="from 40 pictures, expected at least 100"):
        check_poses(blobs(40))
    with pytest.raises(ValueError, match="no yaw and pitch"):
        check_poses(dataclasses.replace(blobs(100), poses=None))
