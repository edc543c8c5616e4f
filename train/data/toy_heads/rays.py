"""Casts the rays of a pinhole camera at a head and finds where they meet its parts, analytically.

Shapes: H W picture, P parts, K brushes, R rays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.data.toy_heads.head import Head

RAYS_PER_BAND = 2048  # small temporaries stay in the cache


@dataclass(frozen=True, eq=False)
class View:
    """A camera on the unit sphere that looks at the origin, and its picture.

    Args:
        axes: Camera axes as columns: right, up, back. ``(3, 3)``.
        origin: Position of the camera. ``(3,)``.
        size: Height and width of the picture in pixels.
        fov_deg: Full field of view in degrees.
    """

    axes: Tensor
    origin: Tensor
    size: int
    fov_deg: float

    @classmethod
    def from_angles(cls, yaw: float, pitch: float, size: int, fov_deg: float) -> View:
        """Return the view at two angles in radians; +yaw moves the camera to +x, +pitch to +y."""
        back = np.array([math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw)])
        right = np.cross([0.0, 1.0, 0.0], back)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(back, right), back], axis=1)
        axes, origin = (torch.from_numpy(array.astype(np.float32)) for array in (axes, back))
        return cls(axes, origin, size, fov_deg)

    @property
    def focal(self) -> float:
        """Return the focal length in pixels."""
        return 0.5 * self.size / math.tan(math.radians(self.fov_deg) / 2)

    def directions(self) -> Tensor:
        """Return world directions of unit z-depth through the pixel centres. ``(3, H, W)``."""
        size = self.size
        at = (torch.arange(size, dtype=torch.float32) + 0.5 - size / 2) / self.focal
        x, y = at.expand(size, size), -at[:, None].expand(size, size)
        local = torch.stack([x, y, -torch.ones_like(x)]).reshape(3, -1)  # (3, R), camera axes
        return (self.axes @ local).view(3, size, size)


@dataclass(frozen=True, eq=False)
class Scene:
    """A head with the matrices that rays need."""

    to_unit: Tensor  # (P, 3, 3)
    centers: Tensor  # (P, 3)
    from_unit: Tensor  # (P, 3, 3)
    normal_maps: Tensor  # (P, 3, 3)
    colors: Tensor  # (P, 3)
    brush_rows: Tensor  # (3, K, 3): row i of every brush matrix
    brush_offsets: Tensor  # (3, K, 1)
    brush_colors: Tensor  # (K, 3)
    brush_softness: Tensor  # (K, 1)
    brush_targets: Tensor  # (P, K)

    @classmethod
    def of(cls, head: Head) -> Scene:
        to_unit = head.part_matrices()
        brush_rows = head.brush_matrices.transpose(0, 1).contiguous()
        return cls(
            to_unit=to_unit,
            centers=head.centers,
            from_unit=head.rotations * head.radii[:, None, :],
            normal_maps=to_unit.transpose(1, 2) @ to_unit,
            colors=head.colors,
            brush_rows=brush_rows,
            brush_offsets=(brush_rows * head.brush_centers).sum(-1, keepdim=True),
            brush_colors=head.brush_colors,
            brush_softness=head.brush_softness[:, None],
            brush_targets=head.brush_targets.T.float(),
        )


@dataclass(frozen=True, eq=False)
class Hits:
    """Where rays meet the head: flat pixel index and part ``(R,)``, z-depth ``(R,)``, points and normals ``(R, 3)``."""

    pixel: Tensor
    part: Tensor
    depth: Tensor
    points: Tensor
    normals: Tensor


def trace(scene: Scene, view: View) -> Iterator[Hits]:
    """Send a ray through the centre of every pixel that may see the head, a band of rows at a time."""
    directions, origin, size = view.directions(), view.origin, view.size
    boxes = _screen_boxes(scene, view)
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    width = max(right - left, 1)
    step = max(1, RAYS_PER_BAND // width)
    for row in range(top, bottom, step):
        stop = min(row + step, bottom)
        active = torch.from_numpy(((boxes[:, 1] < stop) & (boxes[:, 3] > row)).nonzero()[0])
        if len(active) == 0:
            continue
        rays = directions[:, row:stop, left:right].reshape(3, -1)  # (3, R)
        depth, part = _intersect(scene, origin, rays, active)
        hit = torch.isfinite(depth).nonzero()[:, 0]
        depth, part = depth[hit], part[hit]
        points = origin + depth[:, None] * rays[:, hit].T
        normals = (scene.normal_maps[part] @ (points - scene.centers[part])[..., None])[..., 0]
        pixel = (row + torch.div(hit, width, rounding_mode="floor")) * size + left + hit % width
        yield Hits(pixel, part, depth, points, torch.nn.functional.normalize(normals, dim=-1))


def _intersect(scene: Scene, origin: Tensor, directions: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest root over the active parts: z-depth (inf where nothing is met), part index. ``(R,)`` each."""
    # |q + s d|^2 = 1 in each part's unit space, from the point q at z-depth 1 for the sake of float32
    to_unit = scene.to_unit[active]
    starts = (to_unit @ (origin - scene.centers[active])[..., None])[..., 0]  # (P, 3)
    a = b = c = 0.0
    for axis in range(3):
        d = to_unit[:, axis] @ directions  # (P, R)
        q = d + starts[:, axis, None]
        a, b, c = a + d * d, b + q * d, c + q * q
    root = (b * b - a * (c - 1.0)).sqrt_()  # NaN where the part is missed
    depth, part = torch.nan_to_num_(1.0 - (b + root) / a, nan=math.inf).min(dim=0)
    return depth, active[part]


def _screen_boxes(scene: Scene, view: View) -> np.ndarray:
    """Return pixel boxes that hold the parts: left, top, right, bottom, the last two exclusive. ``(P, 4)`` int."""
    size, focal = view.size, view.focal
    center = ((scene.centers - view.origin) @ view.axes).double().numpy()  # (P, 3) in the camera's frame
    # half the size of an ellipsoid along u is |diag(radii) R^T u|
    extent = (scene.from_unit.transpose(1, 2) @ view.axes).norm(dim=1).double().numpy()  # (P, 3)
    low, high = center - extent, center + extent
    nearest, farthest = -high[:, 2], -low[:, 2]  # the camera looks along -z
    bounds = []
    for axis, sign in ((0, 1.0), (1, -1.0)):  # rows run against y
        corners = np.stack([sign * edge[:, axis] / z for edge in (low, high) for z in (nearest, farthest)])
        bounds.append((corners.min(0) * focal + size / 2 - 1, corners.max(0) * focal + size / 2 + 1))
    (left, right), (top, bottom) = bounds
    box = np.stack([np.floor(left), np.floor(top), np.ceil(right), np.ceil(bottom)], axis=1)
    return box.clip(0, size).astype(np.int64)
