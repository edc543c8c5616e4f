"""Poses: of a model's own prior, and of the pictures that the kit draws."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stylesdf.camera import sample_poses
from stylesdf.config import StyleSDFConfig


def draw_poses(count: int, model: StyleSDFConfig, random: torch.Generator | None = None) -> Tensor:
    """Draw yaw and pitch from a model's pose prior, radians. ``(count, 2)``."""
    return sample_poses(count, model.pose_yaw, model.pose_pitch, model.pose_distribution, random)


def pose_of(index: int, config) -> tuple[float, float]:
    """Draw the camera of image ``index``: Gaussian yaw and pitch, clipped at three standard deviations.

    Args:
        index: Number of the image, from 0.
        config: Gives the ``seed`` and the standard deviations ``yaw_std`` and ``pitch_std``, radians.

    Returns:
        Yaw and pitch in radians; +yaw moves the camera to +x, +pitch to +y.
    """
    draws = np.random.default_rng([config.seed, index, 1]).standard_normal(2).clip(-3, 3)
    return float(config.yaw_std * draws[0]), float(config.pitch_std * draws[1])
