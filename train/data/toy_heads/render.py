"""Draws heads: colour, coverage, depth and normals.

Shapes: N images, H W picture, P parts, K brushes, R rays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from train.data.toy_heads.head import Head
from train.data.toy_heads.rays import Scene, View, trace

BACKGROUND = (0.80, 0.86, 0.93)
AMBIENT = 0.5
LIGHT = (-0.42, 0.62, 0.66)  # world direction towards the light: from the upper left front


@dataclass(frozen=True, eq=False)
class RenderedHeads:
    """Pictures of heads with their truth.

    Args:
        rgb: Antialiased colour composited over ``BACKGROUND``, in [0, 1]. ``(N, H, W, 3)``.
        alpha: Antialiased coverage in [0, 1]. ``(N, H, W)``.
        depth: z-depth of the surface under the pixel's centre, world units; NaN in the background. ``(N, H, W)``.
        normals: Outward unit normals there, world axes; zero in the background. ``(N, H, W, 3)``.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    normals: Tensor


@torch.no_grad()
def render_heads(
    heads: Sequence[Head],
    yaw: Sequence[float] | Tensor,
    pitch: Sequence[float] | Tensor,
    image_size: int,
    fov_deg: float = 12.0,
    supersample: int = 2,
) -> RenderedHeads:
    """Draw each head from its own camera; a picture does not depend on its batch.

    Args:
        heads: N animals.
        yaw: N angles in radians; +yaw moves the camera to +x.
        pitch: N angles in radians; +pitch moves the camera to +y.
        image_size: Height and width in pixels.
        fov_deg: Full field of view in degrees.
        supersample: Rays per pixel and axis for colour and coverage.

    Returns:
        Colour, coverage, depth and normals.

    Raises:
        ValueError: If the numbers of heads and angles differ, or a size is not positive.
    """
    yaw, pitch = [float(a) for a in yaw], [float(a) for a in pitch]
    if not len(heads) == len(yaw) == len(pitch) or len(heads) == 0:
        raise ValueError(f"need as many angles as heads, at least one, got {len(heads)}, {len(yaw)} and {len(pitch)}")
    if image_size < 1 or supersample < 1:
        raise ValueError(f"image_size and supersample must be positive, got {image_size} and {supersample}")
    rows = []
    for head, head_yaw, head_pitch in zip(heads, yaw, pitch, strict=True):
        scene, view = Scene.of(head), View.from_angles(head_yaw, head_pitch, image_size, fov_deg)
        rows.append((*render_color(scene, view, supersample), *_render_geometry(scene, view)))
    return RenderedHeads(*(torch.stack(column) for column in zip(*rows, strict=True)))


def render_color(scene: Scene, view: View, supersample: int) -> tuple[Tensor, Tensor]:
    """Return antialiased colour over the background and coverage. ``(H, W, 3)``, ``(H, W)``."""
    size, light = view.size, torch.nn.functional.normalize(torch.tensor(LIGHT), dim=0)
    fine = replace(view, size=size * supersample)
    rgba = torch.tensor((*BACKGROUND, 0.0)).repeat(fine.size**2, 1)
    for hits in trace(scene, fine):
        shade = AMBIENT + (1 - AMBIENT) * (hits.normals @ light).clamp_(min=0)
        albedo = _albedo(scene, hits.points.T.contiguous(), hits.part)
        color = (albedo * shade[:, None]).clamp_(0, 1)
        rgba[hits.pixel] = torch.cat([color, torch.ones_like(color[:, :1])], dim=1)
    rgba = rgba.view(size, supersample, size, supersample, 4).mean(dim=(1, 3))
    return rgba[..., :3], rgba[..., 3]


def _render_geometry(scene: Scene, view: View) -> tuple[Tensor, Tensor]:
    """Return depth and normals under the pixel centres. ``(H, W)``, ``(H, W, 3)``."""
    size = view.size
    depth, normals = torch.full((size * size,), math.nan), torch.zeros(size * size, 3)
    for hits in trace(scene, view):
        depth[hits.pixel], normals[hits.pixel] = hits.depth, hits.normals
    return depth.view(size, size), normals.view(size, size, 3)


def _albedo(scene: Scene, points: Tensor, part: Tensor) -> Tensor:
    """Return the painted albedo of surface points. ``(3, R)``, ``(R,)`` -> ``(R, 3)``."""
    distance = 0.0
    for axis in range(3):
        distance = distance + (scene.brush_rows[axis] @ points - scene.brush_offsets[axis]).square_()  # (K, R)
    cover = ((1.0 - distance.sqrt_()) / scene.brush_softness + 0.5).clamp_(0, 1)
    cover = cover * cover * (3 - 2 * cover) * scene.brush_targets[part].T  # (K, R)
    # a brush shows through those painted after it: cover_k * prod_{j > k} (1 - cover_j)
    beneath = torch.cumprod((1.0 - cover).flip(0), dim=0).flip(0)  # (K, R)
    weights = cover.clone()
    weights[:-1] *= beneath[1:]
    return weights.T @ scene.brush_colors + beneath[0][:, None] * scene.colors[part]
