"""Does the model find an unseen head in its picture? Drawn heads tell what is true beyond the picture.

Shapes: R image, H W thumbnail.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.fit import Fit, draw, fit_pictures, psnr
from stylesdf.model import Generator
from train.evaluation.registry import Quantity, metric
from train.evaluation.subjects import REFERENCE_SEED
from train.evaluation.views import Context
from train.poses import draw_poses

NUM_HEADS = 20
TURN = math.radians(20.0)  # to both sides of the picture, of the views that are compared with the truth
MOST_DEVIATIONS = 2.0  # of the pose prior, that pictures are seen from
ALLOWED_DEG = 2.0  # of the angle between the camera that was found and the true one


QUANTITIES = (
    Quantity("psnr", "picture, PSNR in decibels", "", "higher", 26.0),
    Quantity("turned_psnr", "views turned by 20°, PSNR in decibels", "", "higher", 24.5),
    Quantity("pose_error_deg", "angle between found and true camera, mean", "degrees", "lower", 0.0),
    Quantity("pose_within_2_deg", "within 2°", "share", "higher", 0.95),
    Quantity("depth_error", "depth, median error in shares of the head's radius", "share", "lower", 0.04),
    Quantity("seconds", "seconds per head", "", "lower", 20.0),
    Quantity("read_psnr", "inverter alone: picture, PSNR in decibels", "", "higher", 22.0),
    Quantity("read_pose_error_deg", "inverter alone: angle between the cameras, mean", "degrees", "lower", 3.0),
    Quantity("read_seconds", "inverter alone: seconds", "", "lower", 0.2),
)
OPTIONS = {"needs": ("subject",), "num_seeds": NUM_HEADS, "is_slow": True}


@metric("inversion", *QUANTITIES, **OPTIONS)
def inversion(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Find drawn heads of a seed that no data set has; their numbers are the seeds, and there is no truncation.

    Each is seen once, from the pose prior. References are what is aimed at. Where no inverter lies beside the model
    there are no figures of it alone.
    """
    return _find_heads(model, seeds, 1, context)


@metric("inversion-of-two", *QUANTITIES, **OPTIONS)
def inversion_of_two(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Find the same heads, each in two pictures."""
    return _find_heads(model, seeds, 2, context)


@metric("inversion-of-four", *QUANTITIES, **OPTIONS)
def inversion_of_four(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Find the same heads, each in four pictures."""
    return _find_heads(model, seeds, 4, context)


def _find_heads(model: Generator, seeds: Sequence[int], num_pictures: int, context: Context) -> dict[str, float]:
    config, inverter = model.config, getattr(model, "inverter", None)
    rows: dict[str, list[float]] = {}
    within: list[bool] = []
    for index, seed in enumerate(seeds):
        poses = _poses(seed, num_pictures, config)
        turned = poses[:1] + torch.tensor([[-TURN, 0.0], [TURN, 0.0]])
        asked, size = torch.cat([poses, turned]), config.image_resolution
        drawn = context.subject.draw(
            [seed], REFERENCE_SEED, asked[None], fov_deg=config.fov_deg, resolution=size
        )  # (num_pictures + 2, 3, R, R)
        pictures, truth = drawn.pictures[:num_pictures].split(1), drawn.pictures[num_pictures:]
        row, fit = {}, None
        for prefix, refine in (("read_", False), ("", True)) if inverter is not None else (("", True),):
            started = time.monotonic()
            fit = fit_pictures(model, pictures, inverter, refine=refine)
            row[f"{prefix}seconds"] = time.monotonic() - started
            row[f"{prefix}psnr"] = np.mean(fit.psnr)
            errors = [_angle_deg(*pair) for pair in zip(fit.angles.cpu(), poses)]
            row[f"{prefix}pose_error_deg"] = np.mean(errors)
        within += [error <= ALLOWED_DEG for error in errors]
        row["turned_psnr"] = _turned_psnr(model, fit, truth)
        row["depth_error"] = _depth_error(model, fit, drawn.depth[0])
        for name, value in row.items():
            rows.setdefault(name, []).append(float(value))
        context.report((index + 1) / len(seeds))
    result = {name: float(np.mean(values)) for name, values in rows.items()}
    if inverter is None:
        result |= dict.fromkeys(("read_psnr", "read_pose_error_deg", "read_seconds"))
    worst = {"worst_psnr": min(rows["psnr"]), "worst_pose_error_deg": max(rows["pose_error_deg"])}
    return {"count": len(seeds), **result, "pose_within_2_deg": sum(within) / len(within), **worst}


def _poses(seed: int, count: int, config) -> Tensor:
    """Draw yaw and pitch of a head's pictures, ``(count, 2)``; the first are the same whatever the count."""
    random = torch.Generator().manual_seed(seed)
    poses = torch.cat([draw_poses(1, config, random) for _ in range(count)])
    most = MOST_DEVIATIONS * torch.tensor([config.pose_yaw, config.pose_pitch])
    return torch.minimum(torch.maximum(poses, -most), most)


def _angle_deg(found: Tensor, true: Tensor) -> float:
    """Return the angle between the directions in which two cameras lie, degrees."""
    first, second = (Camera.from_angles(*angles.split(1)).cam2world[0, :, 3].double() for angles in (found, true))
    return math.degrees(2.0 * math.asin(min(1.0, (first - second).norm().item() / 2.0)))


def _turned_psnr(model: Generator, fit: Fit, truth: Tensor) -> float:
    """Compare what the head shows, turned from where it was found, with the truth: PSNR, the mean of both sides."""
    field, (yaw, pitch) = model.field.condition(fit.w), fit.angles[0]
    values = []
    for turn, picture in zip((-TURN, TURN), truth.to(model.device)):
        values.append(psnr(draw(model, field, fit.ws, Camera.from_angles(yaw + turn, pitch)), picture[None]))
    return float(np.mean(values))


def _depth_error(model: Generator, fit: Fit, truth: Tensor) -> float:
    seen = model.render(fit.w, Camera.from_angles(*fit.angles[0].split(1)), with_features=False)
    found = torch.where(seen.background < 0.5, seen.depth, math.nan)[0, 0].cpu()
    return depth_error(found, truth, model.config.fov_deg)


def depth_error(found: Tensor, truth: Tensor, fov_deg: float) -> float:
    """Return the median depth error over the pixels that both show, in shares of the head's radius.

    The median distance is taken out: a head that is farther away and larger looks the same. The radius is that of a
    disc as large as the silhouette.

    Args:
        found: z-depth, NaN in the background. ``(H, W)``.
        truth: The same at a multiple of that size. ``(R, R)``.
        fov_deg: Full field of view, degrees.

    Returns:
        In shares of the radius; 1 where they have no pixel in common.
    """
    true = F.adaptive_avg_pool2d(truth[None], found.shape[-1])[0]  # NaN where a part of it is background
    off = found - true
    off = off[~off.isnan()]
    if not len(off):
        return 1.0
    pixel = 2.0 * math.tan(math.radians(fov_deg) / 2.0) / truth.shape[-1]
    radius = math.sqrt((~truth.isnan()).sum().item() / math.pi) * pixel
    return (off - off.median()).abs().median().item() / radius
