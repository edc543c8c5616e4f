"""Collects the parts and brushes of one head, and makes them a ``Head``. World units, angles in radians."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.data.toy_heads.head import Head

SIDES = (("_l", -1.0), ("_r", 1.0))  # name endings of paired parts, and the sign of their x
FIT_RADIUS = 0.104  # heads that reach farther are scaled down; it also keeps them inside a picture of 12 degrees
MIN_RADIUS = 0.008

Vector = Sequence[float] | np.ndarray
Names = str | tuple[str, ...]  # beginnings of part names
Attributes = dict[str, float | str]


@dataclass(frozen=True, eq=False)
class _Part:
    center: np.ndarray
    rotation: np.ndarray
    radii: np.ndarray
    color: np.ndarray


@dataclass(frozen=True, eq=False)
class _Brush:
    center: np.ndarray
    rotation: np.ndarray
    radii: np.ndarray
    color: np.ndarray
    softness: float
    on: Names
    not_on: Names

    def paints(self, name: str) -> bool:
        return name.startswith(self.on) and not name.startswith(self.not_on)


class HeadBuilder:
    """Adds ellipsoids and paint one after the other, and draws the random numbers that they depend on.

    Args:
        rng: Source of all random numbers of the head.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.names: list[str] = []
        self._parts: list[_Part] = []
        self._brushes: list[_Brush] = []

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.uniform() < probability)

    def jitter(self, color: Vector, amount: float = 0.03) -> np.ndarray:
        """Draw a colour like the given one: brightness by up to 9 %, channels by up to ``amount``."""
        brightness = self.rng.uniform(0.91, 1.09)
        shift = self.rng.uniform(-amount, amount, 3) * (0.3 + 0.7 * max(color))  # a dark coat keeps its hue
        return np.clip(np.asarray(color) * brightness + shift, 0.02, 0.98)

    def add(
        self, name: str, center: Vector, radii: Vector, color: Vector, *,
        pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0,
    ) -> None:  # fmt: skip
        """Add an ellipsoid, turned about x (pitch), then y (yaw), then z (roll)."""
        self.add_rotated(name, center, rotation(pitch, yaw, roll), radii, color)

    def add_rotated(self, name: str, center: Vector, axes: np.ndarray, radii: Vector, color: Vector) -> None:
        """Add an ellipsoid whose axes are the columns of a matrix ``(3, 3)``."""
        radii = np.maximum(np.asarray(radii, float), MIN_RADIUS * 1.02)
        self.names.append(name)
        self._parts.append(_Part(np.asarray(center, float), axes, radii, np.asarray(color, float)))

    def add_pair(
        self, name: str, center: Vector, radii: Vector, color: Vector, *,
        pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0,
    ) -> None:  # fmt: skip
        """Add a part at +x and its mirror image at -x."""
        for suffix, side in SIDES:
            mirrored = (side * center[0], center[1], center[2])
            self.add(name + suffix, mirrored, radii, color, pitch=pitch, yaw=side * yaw, roll=side * roll)

    def paint(
        self, center: Vector, radii: Vector, color: Vector, on: Names = "", *, not_on: Names = (),
        pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0, softness: float = 0.2,
    ) -> None:  # fmt: skip
        """Paint what lies in an ellipsoid, on the parts whose names begin with ``on`` but not with ``not_on``.

        ``softness`` is the width of the paint's edge as a share of the ellipsoid's radius.
        """
        self.paint_rotated(center, rotation(pitch, yaw, roll), radii, color, on, not_on, softness)

    def paint_rotated(
        self, center: Vector, axes: np.ndarray, radii: Vector, color: Vector, on: Names = "", not_on: Names = (),
        softness: float = 0.2,
    ) -> None:  # fmt: skip
        """Paint as ``paint`` does; the ellipsoid's axes are the columns of a matrix ``(3, 3)``."""
        arrays = (np.asarray(value, float) for value in (center, axes, radii, color))
        self._brushes.append(_Brush(*arrays, softness, on, not_on))

    def paint_pair(
        self, center: Vector, radii: Vector, color: Vector, on: Names = "", *, not_on: Names = (),
        roll: float = 0.0, softness: float = 0.2,
    ) -> None:  # fmt: skip
        """Paint at +x and mirrored at -x."""
        for _, side in SIDES:
            mirrored = (side * center[0], center[1], center[2])
            self.paint(mirrored, radii, color, on, not_on=not_on, softness=softness, roll=side * roll)

    def front(self, x: float, y: float) -> float:
        """Return z of the frontmost surface above (x, y) of the parts that were added so far."""
        best = -math.inf
        for part in self._parts:
            to_unit = part.rotation.T / part.radii[:, None]
            offset = to_unit @ (np.array([x, y, 0.0]) - part.center)
            along = to_unit[:, 2]
            a, b, c = along @ along, offset @ along, offset @ offset - 1.0
            if b * b > a * c:
                best = max(best, (-b + math.sqrt(b * b - a * c)) / a)
        assert best > -math.inf, (x, y)
        return best

    def finish(self, species: str, attributes: Attributes) -> Head:
        """Scale the head so that it fits the scene, and turn it into tensors."""
        parts, brushes, names = self._parts, self._brushes, tuple(self.names)
        scale = min(1.0, FIT_RADIUS / max(map(_reach, parts)))
        for brush in brushes:
            assert any(map(brush.paints, names)), (brush.on, brush.not_on)
        return Head(
            species=species,
            centers=_to_tensor([scale * part.center for part in parts]),
            rotations=_to_tensor([part.rotation for part in parts]),
            radii=_to_tensor([scale * part.radii for part in parts]),
            colors=_to_tensor([part.color for part in parts]),
            brush_centers=_to_tensor([scale * brush.center for brush in brushes]),
            brush_matrices=_to_tensor([brush.rotation.T / (scale * brush.radii)[:, None] for brush in brushes]),
            brush_colors=_to_tensor([brush.color for brush in brushes]),
            brush_softness=_to_tensor([np.float32(brush.softness) for brush in brushes]),
            brush_targets=torch.tensor([[brush.paints(name) for name in names] for brush in brushes]),
            attributes={key: v if isinstance(v, str) else round(float(v), 6) for key, v in attributes.items()},
        )


def rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Return the matrix that turns about x, then y, then z. ``(3, 3)``."""
    cx, sx, cy, sy, cz, sz = (f(a) for a in (pitch, yaw, roll) for f in (math.cos, math.sin))
    rot_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    rot_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rot_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rot_z @ rot_y @ rot_x


def to_hex(color: np.ndarray) -> str:
    """Return a colour in [0, 1] as ``#rrggbb``."""
    return "#" + "".join(f"{round(255 * float(c)):02x}" for c in color)


def _to_tensor(rows: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def _fibonacci_sphere(count: int) -> np.ndarray:
    k = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / count), math.pi * (1 + 5**0.5) * k
    return np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)


_SPHERE = _fibonacci_sphere(256)


def _reach(part: _Part) -> float:
    """Return the largest distance of a part's surface from the origin, to about one percent of the part's size."""
    return float(np.linalg.norm(part.center + (_SPHERE * part.radii) @ part.rotation.T, axis=1).max())
