"""Toy heads: a procedural data set of animal heads, one picture per random animal, with the exact truth.

A head is a union of ellipsoids ("parts") coloured by soft ellipsoids of paint ("brushes"). Rays meet the parts
analytically, so colour, mask, depth and normals are exact; paint is a function of the 3D point, so a stripe stays where
it is when the camera moves. The camera is the one of the model: on the unit sphere, looking at the origin.

World axes are head axes: +x to the right of a frontal picture, +y up, the face looks along +z. World units throughout;
a head has a radius of about 0.068 and lies inside ``MAX_RADIUS``.

Shapes: N images, H W picture, P parts, K brushes, R rays.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SPECIES = ("cat", "dog", "bear", "fox")
BACKGROUND = (0.80, 0.86, 0.93)
MAX_RADIUS = 0.113
FORMAT = 1

_AMBIENT = 0.5
_LIGHT = (-0.42, 0.62, 0.66)  # world direction towards the light: from the upper left front
_FIT_RADIUS = 0.104  # heads that reach further are scaled down; it also keeps them inside a picture of 12 degrees
_MIN_RADIUS = 0.008
_RAYS_PER_BAND = 2048  # small temporaries stay in the cache
_IMAGES_PER_TASK = 32


@dataclass(frozen=True)
class ToyHeadsConfig:
    """What is in a toy-heads folder; the same config gives the same bytes.

    Args:
        count: Number of images, each of another animal.
        image_size: Height and width in pixels.
        seed: Seed of animals and cameras.
        yaw_std: Standard deviation of the camera's yaw, radians; draws are clipped at three of them.
        pitch_std: The same for the pitch.
        fov_deg: Full field of view in degrees.
        supersample: Rays per pixel and axis for antialiasing.
    """

    count: int = 8000
    image_size: int = 128
    seed: int = 0
    yaw_std: float = 0.3
    pitch_std: float = 0.15
    fov_deg: float = 12.0
    supersample: int = 2

    def __post_init__(self) -> None:
        for name in ("count", "image_size", "supersample"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "yaw_std", "pitch_std"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.fov_deg < 180:
            raise ValueError(f"fov_deg must lie between 0 and 180, got {self.fov_deg}")


@dataclass(frozen=True, eq=False)
class Head:
    """One animal: parts, paint, and the numbers it was drawn from.

    Args:
        species: One of ``SPECIES``.
        part_names: P names; paired parts end in ``_l`` (at -x) and ``_r`` (at +x).
        centers: Centres of the parts, world units. ``(P, 3)``.
        rotations: Columns are the axes of each part. ``(P, 3, 3)``.
        radii: Half axes, world units. ``(P, 3)``.
        colors: Unpainted albedo of each part in [0, 1]. ``(P, 3)``.
        brush_centers: Centres of the paint brushes. ``(K, 3)``.
        brush_matrices: Map an offset from the centre to the brush's unit ball. ``(K, 3, 3)``.
        brush_colors: Albedo that the brush paints. ``(K, 3)``.
        brush_softness: Width of the brush's edge as a share of its radius. ``(K,)``.
        brush_targets: Which parts take the paint; later brushes cover earlier ones. ``(K, P)`` bool.
        attributes: Plain floats and strings: sizes in world units, angles in radians, colours as ``#rrggbb``.
    """

    species: str
    part_names: tuple[str, ...]
    centers: Tensor
    rotations: Tensor
    radii: Tensor
    colors: Tensor
    brush_centers: Tensor
    brush_matrices: Tensor
    brush_colors: Tensor
    brush_softness: Tensor
    brush_targets: Tensor
    attributes: dict[str, float | str]


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


# ---------------------------------------------------------------------------------------------------------------------
# Building a head
# ---------------------------------------------------------------------------------------------------------------------


def _rotation(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Rotate about x, then y, then z; angles in radians."""
    cx, sx, cy, sy, cz, sz = (f(a) for a in (pitch, yaw, roll) for f in (math.cos, math.sin))
    rot_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    rot_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rot_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rot_z @ rot_y @ rot_x


def _hex(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * float(c)):02x}" for c in color)


class _Sculptor:
    """Collects parts and brushes; ``sides`` names the mirror images of what is paired."""

    sides = (("_l", -1.0), ("_r", 1.0))

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.names: list[str] = []
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        self.brushes: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float, tuple[str, ...], bool]] = []

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.uniform() < probability)

    def jitter(self, color: Sequence[float], amount: float = 0.03) -> np.ndarray:
        """A colour like the given one: brightness by up to 9 %, channels by up to ``amount``."""
        brightness = self.rng.uniform(0.91, 1.09)
        shift = self.rng.uniform(-amount, amount, 3) * (0.3 + 0.7 * max(color))  # a dark coat keeps its hue
        return np.clip(np.asarray(color) * brightness + shift, 0.02, 0.98)

    def add(self, name, center, radii, color, pitch=0.0, yaw=0.0, roll=0.0) -> None:
        radii = np.maximum(np.asarray(radii, float), _MIN_RADIUS * 1.02)
        self.names.append(name)
        self.parts.append((np.asarray(center, float), _rotation(pitch, yaw, roll), radii, np.asarray(color, float)))

    def add_pair(self, name, center, radii, color, pitch=0.0, yaw=0.0, roll=0.0) -> None:
        """Add a part at +x and its mirror image at -x."""
        for suffix, side in self.sides:
            mirrored = (side * center[0], center[1], center[2])
            self.add(name + suffix, mirrored, radii, color, pitch, side * yaw, side * roll)

    def paint(self, center, radii, color, on=(), pitch=0.0, yaw=0.0, roll=0.0, soft=0.2, but=False) -> None:
        """Paint what lies in an ellipsoid on parts whose name starts with one of ``on`` (``but``: on all others)."""
        rotation = _rotation(pitch, yaw, roll)
        on = (on,) if isinstance(on, str) else tuple(on)
        self.brushes.append(
            (np.asarray(center, float), rotation, np.asarray(radii, float), np.asarray(color, float), soft, on, but)
        )

    def paint_pair(self, center, radii, color, on=(), pitch=0.0, yaw=0.0, roll=0.0, soft=0.2, but=False) -> None:
        for _, side in self.sides:
            mirrored = (side * center[0], center[1], center[2])
            self.paint(mirrored, radii, color, on, pitch, side * yaw, side * roll, soft, but)

    def front(self, x: float, y: float, on: tuple[str, ...] = ()) -> float:
        """z of the frontmost surface above (x, y)."""
        best = -math.inf
        for name, (center, rotation, radii, _) in zip(self.names, self.parts, strict=True):
            if on and not name.startswith(on):
                continue
            to_unit = rotation.T / radii[:, None]
            offset = to_unit @ (np.array([x, y, 0.0]) - center)
            along = to_unit[:, 2]
            a, b, c = along @ along, offset @ along, offset @ offset - 1.0
            if b * b > a * c:
                best = max(best, (-b + math.sqrt(b * b - a * c)) / a)
        assert best > -math.inf, (x, y)
        return best

    # Pieces that several species share

    def eyes(
        self,
        x,
        y,
        size,
        eye,
        iris,
        rim,
        shape=(1.0, 1.0),
        roll=0.0,
        sink=0.25,
        pupil=(0.45, 0.45),
        iris_size=0.8,
        rim_size=1.22,
        turn=0.2,
    ) -> None:
        """Two eyes: an eyeball, a dark rim on the face around it, an iris, a pupil and a highlight."""
        z = self.front(x, y) - sink * size
        radii = (shape[0] * size, shape[1] * size, 0.8 * size)
        gaze = self.uniform(-0.06, 0.06)
        self.paint_pair(
            (x, y, z), [rim_size * r for r in radii[:2]] + [2.2 * size], rim, "eye", roll=roll, soft=0.12, but=True
        )
        self.add_pair("eye", (x, y, z), radii, eye, yaw=turn, roll=roll)
        for _, side in self.sides:

            def dot(dx, dy, width, height, color, soft, center=(side * x, y, z), side=side):
                out = np.array([math.sin(side * turn), 0.0, math.cos(turn)]) * 0.8 * size
                across = np.array([math.cos(turn), 0.0, -math.sin(side * turn)]) * dx * size
                at = np.asarray(center) + out + across + np.array([0.0, dy * size, 0.0])
                self.paint(
                    at,
                    (width * size, height * size, 1.1 * size),
                    color,
                    f"eye{'_l' if side < 0 else '_r'}",
                    yaw=side * turn,
                    soft=soft,
                )

            toe_in = gaze - 0.06 * side
            dot(toe_in, 0.0, iris_size, iris_size, iris, 0.12)
            dot(toe_in, 0.0, pupil[0], pupil[1], (0.03, 0.03, 0.04), 0.15)
            dot(toe_in - 0.36, 0.36, 0.24, 0.24, (0.97, 0.97, 0.97), 0.25)
            dot(toe_in + 0.38, -0.34, 0.12, 0.12, (0.85, 0.85, 0.85), 0.4)

    def pointed_ears(self, x, y, z, height, width, thickness, lean, color, inner, tip=None, tip_from=0.55) -> None:
        """Two triangular ears: two slanted edges that meet in the tip and a web between them."""
        for suffix, side in self.sides:
            roll = -side * (lean + self.uniform(-0.05, 0.05))
            turn = _rotation(-0.06, side * 0.22, roll)

            def at(u, v, w=0.0, turn=turn, side=side):
                return np.array([side * x, y, z]) + turn @ np.array([u * width, v * height, w * thickness])

            slope = math.atan2(0.60 * width, height)
            for edge, u in (("in", -side), ("out", side)):
                center, half = at(0.36 * u, 0.40), 0.60 * math.hypot(0.6 * width, height)
                self._add_turned(
                    f"ear_{edge}{suffix}",
                    center,
                    (0.36 * width, half, thickness),
                    color,
                    turn @ _rotation(0, 0, u * slope),
                )
            self._add_turned(
                f"ear_web{suffix}", at(0, 0.22, -0.15), (0.66 * width, 0.50 * height, 0.85 * thickness), color, turn
            )
            self._paint_turned(
                at(0, 0.30, 1.0), (0.46 * width, 0.52 * height, 1.15 * thickness), inner, "ear", suffix, turn, 0.18
            )
            if tip is not None:
                self._paint_turned(
                    at(0, 1.15),
                    (1.2 * width, (1.15 - tip_from) * height, 4 * thickness),
                    tip,
                    "ear",
                    suffix,
                    turn,
                    0.16,
                )

    def _add_turned(self, name, center, radii, color, rotation) -> None:
        self.add(name, center, radii, color)
        center, _, radii, color = self.parts[-1]
        self.parts[-1] = (center, rotation, radii, color)

    def _paint_turned(self, center, radii, color, stem, suffix, rotation, soft) -> None:
        on = tuple(n for n in self.names if n.startswith(stem) and n.endswith(suffix))
        self.paint(center, radii, color, on, soft=soft)
        self.brushes[-1] = (self.brushes[-1][0], rotation, *self.brushes[-1][2:])

    def mouth(self, y, width, color, on, drop=0.008, line=0.0017, angle=0.45, z=0.04) -> None:
        """A vertical line under the nose and two strokes that rise from its end: a smile."""
        self.paint((0, y + 0.5 * drop, z), (line, 0.62 * drop, 0.04), color, on, soft=0.5)
        self.paint_pair(
            (0.48 * width * math.cos(angle), y + 0.30 * width * math.sin(angle), z),
            (0.56 * width, line, 0.05),
            color,
            on,
            roll=angle,
            soft=0.5,
        )

    def finish(self, species: str, attributes: dict[str, float | str]) -> Head:
        """Scale the head so that it fits the scene, and turn it into tensors."""
        reach = max(_reach(center, rotation, radii) for center, rotation, radii, _ in self.parts)
        scale = min(1.0, _FIT_RADIUS / reach)
        names = tuple(self.names)
        for _, _, _, _, _, on, but in self.brushes:
            assert any(name.startswith(on) != but for name in names), on
        to_tensor = lambda rows: torch.from_numpy(np.stack(rows).astype(np.float32))  # noqa: E731
        return Head(
            species=species,
            part_names=names,
            centers=to_tensor([scale * p[0] for p in self.parts]),
            rotations=to_tensor([p[1] for p in self.parts]),
            radii=to_tensor([scale * p[2] for p in self.parts]),
            colors=to_tensor([p[3] for p in self.parts]),
            brush_centers=to_tensor([scale * b[0] for b in self.brushes]),
            brush_matrices=to_tensor([b[1].T / (scale * b[2])[:, None] for b in self.brushes]),
            brush_colors=to_tensor([b[3] for b in self.brushes]),
            brush_softness=to_tensor([np.float32(b[4]) for b in self.brushes]),
            brush_targets=torch.tensor([[name.startswith(b[5]) != b[6] for name in names] for b in self.brushes]),
            attributes={key: v if isinstance(v, str) else round(float(v), 6) for key, v in attributes.items()},
        )


def _fibonacci_sphere(count: int) -> np.ndarray:
    k = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / count), math.pi * (1 + 5**0.5) * k
    return np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)


_SPHERE = _fibonacci_sphere(256)


def _reach(center: np.ndarray, rotation: np.ndarray, radii: np.ndarray) -> float:
    """Largest distance of a part's surface from the origin, to about one percent of the part's size."""
    return float(np.linalg.norm(center + (_SPHERE * radii) @ rotation.T, axis=1).max())


# The species. Sizes in world units, at scale 1; every number that varies is an attribute or a small jitter.

_DARK = (0.10, 0.08, 0.08)


def _sculpt_cat(s: _Sculptor) -> dict[str, float | str]:
    coats = {  # base, light, stripe
        "ginger": ((0.93, 0.60, 0.27), (0.99, 0.90, 0.76), (0.72, 0.36, 0.12)),
        "grey": ((0.60, 0.62, 0.66), (0.90, 0.90, 0.92), (0.33, 0.34, 0.38)),
        "brown": ((0.63, 0.48, 0.34), (0.93, 0.86, 0.76), (0.30, 0.20, 0.13)),
        "black": ((0.22, 0.21, 0.24), (0.36, 0.34, 0.38), (0.12, 0.11, 0.13)),
        "cream": ((0.95, 0.85, 0.70), (0.99, 0.96, 0.90), (0.78, 0.62, 0.44)),
    }
    coat = str(s.rng.choice(list(coats)))
    base, light, stripe = (s.jitter(c) for c in coats[coat])
    eye_color = s.jitter(
        [(0.55, 0.78, 0.32), (0.93, 0.74, 0.22), (0.36, 0.68, 0.86), (0.85, 0.52, 0.18)][s.rng.integers(4)]
    )
    pink, nose_color = s.jitter((0.95, 0.66, 0.66)), s.jitter((0.88, 0.48, 0.50))
    width, height, y0 = s.uniform(0.056, 0.063), s.uniform(0.047, 0.053), -0.016
    ear_height, ear_width, ear_lean = s.uniform(0.042, 0.056), s.uniform(0.024, 0.030), s.uniform(0.22, 0.45)
    eye_size, muzzle, striped = s.uniform(0.0135, 0.0165), s.uniform(0.0, 0.006), s.chance(0.7)

    s.add("skull", (0, y0, -0.010), (width, height, 0.050), base)
    s.add("brow", (0, y0 + 0.020, 0.006), (0.036, 0.024, 0.032), base)
    s.add_pair("cheek", (0.030, y0 - 0.016, 0.002), (0.031, 0.026, 0.032), base)
    s.add_pair("tuft", (0.040, y0 - 0.017, -0.005), (0.027, 0.0155, 0.022), base, roll=-0.35)
    s.add("bridge", (0, y0 + 0.000, 0.032), (0.012, 0.018, 0.016), base, pitch=-0.35)
    s.add_pair("pad", (0.0095, y0 - 0.018, 0.036 + muzzle), (0.0150, 0.0120, 0.0140), light)
    s.add("chin", (0, y0 - 0.028, 0.032 + muzzle), (0.013, 0.011, 0.013), light)
    s.pointed_ears(0.62 * width, y0 + 0.64 * height, -0.012, ear_height, ear_width, 0.0115, ear_lean, base, pink)
    nose_y = y0 - 0.009
    nose_z = s.front(0, nose_y - 0.002) - 0.0005
    s.paint((0, y0 - 0.036, 0.030), (0.028, 0.022, 0.030), light, ("cheek", "skull", "chin"), soft=0.35)
    if striped:
        for k, x in enumerate((0.0, 0.013, 0.026)):
            pos = ((x, y0 + 0.041 - 0.004 * k, 0.02), (0.0042, 0.016 - 0.003 * k, 0.06), stripe, ("skull", "brow"))
            (s.paint if k == 0 else s.paint_pair)(*pos, roll=0.20 * k, soft=0.25)
        for k in range(3):
            s.paint_pair(
                (0.064, y0 - 0.001 - 0.0135 * k, 0.005),
                (0.022 - 0.002 * k, 0.0036, 0.05),
                stripe,
                ("skull", "cheek", "tuft"),
                roll=-0.12 - 0.18 * k,
                soft=0.3,
            )
    s.eyes(
        0.0245,
        y0 + 0.005,
        eye_size,
        eye_color,
        eye_color * 0.88,
        s.jitter(_DARK, 0.01),
        shape=(1.08, 0.92),
        roll=0.20,
        sink=0.30,
        pupil=(s.uniform(0.18, 0.34), 0.78),
        rim_size=1.16,
    )
    s.mouth(y0 - 0.024, 0.014, stripe * 0.55, ("pad", "chin"), drop=0.010)
    for dx, dy in ((0.011, -0.0165), (0.016, -0.0145), (0.0145, -0.0205)):
        s.paint_pair((dx, y0 + dy, 0.06), (0.0014, 0.0014, 0.04), stripe * 0.6, "pad", soft=0.6)
    s.add("nose", (0, nose_y, nose_z), (0.0090, 0.0082, 0.0082), nose_color)
    return dict(
        coat=coat,
        base_color=_hex(base),
        eye_color=_hex(eye_color),
        striped=float(striped),
        head_width=width,
        ear_height=ear_height,
        ear_lean=ear_lean,
        eye_size=eye_size,
        muzzle_length=muzzle,
    )


def _sculpt_dog(s: _Sculptor) -> dict[str, float | str]:
    coats = {  # base, light, ears and patch
        "golden": ((0.88, 0.68, 0.40), (0.98, 0.90, 0.74), (0.70, 0.46, 0.22)),
        "chocolate": ((0.48, 0.31, 0.20), (0.74, 0.56, 0.40), (0.30, 0.18, 0.11)),
        "white": ((0.95, 0.92, 0.87), (0.99, 0.98, 0.95), (0.45, 0.28, 0.17)),
        "slate": ((0.42, 0.43, 0.48), (0.86, 0.85, 0.85), (0.22, 0.22, 0.26)),
    }
    coat = str(s.rng.choice(list(coats)))
    base, light, dark = (s.jitter(c) for c in coats[coat])
    iris = s.jitter([(0.36, 0.20, 0.10), (0.55, 0.34, 0.14), (0.34, 0.52, 0.68)][s.rng.choice(3, p=[0.5, 0.32, 0.18])])
    nose_color = s.jitter((0.13, 0.10, 0.10), 0.01)
    width, height, y0 = s.uniform(0.050, 0.056), s.uniform(0.047, 0.053), 0.006
    length, ear_length, ear_lean = s.uniform(0.022, 0.038), s.uniform(0.036, 0.047), s.uniform(-0.02, 0.22)
    eye_size, tongue = s.uniform(0.0115, 0.0140), s.chance(0.4)
    patch = ("none", "left", "right")[s.rng.choice(3, p=[0.45, 0.275, 0.275])]
    blaze = s.chance(0.45)
    tip = 0.030 + length  # z of the muzzle's end

    s.add("skull", (0, y0, -0.012), (width, height, 0.050), base)
    s.add("crown", (0, y0 + 0.018, -0.004), (0.040, 0.036, 0.040), base)
    s.add_pair("cheek", (0.026, y0 - 0.024, -0.002), (0.027, 0.026, 0.032), base)
    s.add("muzzle", (0, y0 - 0.020, 0.5 * tip), (0.0215, 0.0175, 0.5 * tip + 0.004), light, pitch=0.10)
    s.add_pair("flew", (0.0105, y0 - 0.029, 0.58 * tip), (0.0150, 0.0150, 0.40 * tip), light)
    s.add("jaw", (0, y0 - 0.042, 0.46 * tip), (0.0150, 0.0105, 0.40 * tip), light)
    s.add_pair("ear_root", (0.80 * width, y0 + 0.032, -0.012), (0.017, 0.013, 0.018), dark, roll=-0.5)
    s.add_pair(
        "ear",
        (width + 0.004 + ear_length * math.sin(ear_lean) * 0.6, y0 + 0.036 - 0.86 * ear_length, -0.006),
        (0.0125, ear_length, 0.0215),
        dark,
        pitch=-0.10,
        yaw=0.25,
        roll=ear_lean,
    )
    if tongue:
        s.add("tongue", (0, y0 - 0.046, 0.66 * tip), (0.0095, 0.0125, 0.0100), s.jitter((0.93, 0.47, 0.52)), pitch=0.3)
    if blaze:
        s.paint((0, y0 + 0.022, 0.03), (0.0105, 0.040, 0.06), light, ("skull", "crown"), soft=0.3)
    s.paint((0, y0 - 0.040, 0.020), (0.030, 0.026, 0.040), light, ("skull", "cheek"), soft=0.4)
    ex, ey = 0.0225, y0 + 0.008
    if patch != "none":
        side = -1 if patch == "left" else 1
        s.paint(
            (side * 0.027, ey + 0.006, 0.025),
            (0.0215, 0.026, 0.040),
            dark,
            ("skull", "crown", "cheek", "brow"),
            roll=-side * 0.35,
            soft=0.15,
        )
    s.add_pair(
        "brow",
        (ex + 0.001, ey + eye_size * 0.95, s.front(ex, ey + eye_size) - 0.0065),
        (0.0150, 0.0085, 0.0090),
        base,
        roll=-0.25,
    )
    s.paint_pair(
        (ex - 0.001, ey + eye_size * 1.75, 0.03),
        (0.0075, 0.0034, 0.05),
        light if coat != "white" else dark,
        ("brow", "crown", "skull"),
        roll=0.25,
        soft=0.4,
    )
    s.eyes(
        ex,
        ey,
        eye_size,
        (0.97, 0.96, 0.94),
        iris,
        s.jitter(_DARK, 0.01),
        sink=0.05,
        pupil=(0.52, 0.52),
        iris_size=0.82,
        rim_size=1.12,
    )
    s.mouth(y0 - 0.035, 0.019, _DARK, ("muzzle", "flew", "jaw"), drop=0.010, angle=0.24, line=0.0016)
    nose_y = y0 - 0.0125
    s.add("nose", (0, nose_y, s.front(0, nose_y) - 0.003), (0.0125, 0.0092, 0.0090), nose_color)
    s.paint((-0.004, nose_y + 0.006, tip + 0.004), (0.0035, 0.0022, 0.02), (0.62, 0.60, 0.62), "nose", soft=0.7)
    return dict(
        coat=coat,
        base_color=_hex(base),
        eye_color=_hex(iris),
        patch=patch,
        blaze=float(blaze),
        tongue=float(tongue),
        head_width=width,
        ear_length=ear_length,
        ear_lean=ear_lean,
        eye_size=eye_size,
        muzzle_length=length,
    )


def _sculpt_bear(s: _Sculptor) -> dict[str, float | str]:
    coats = {  # base, muzzle, inner ear and chin
        "brown": ((0.52, 0.34, 0.21), (0.84, 0.68, 0.50), (0.76, 0.54, 0.40)),
        "honey": ((0.80, 0.57, 0.31), (0.97, 0.87, 0.68), (0.93, 0.72, 0.54)),
        "black": ((0.23, 0.21, 0.22), (0.66, 0.52, 0.40), (0.44, 0.35, 0.33)),
        "polar": ((0.96, 0.93, 0.86), (0.99, 0.98, 0.95), (0.90, 0.76, 0.72)),
        "panda": ((0.97, 0.96, 0.94), (0.99, 0.98, 0.97), (0.30, 0.28, 0.30)),
    }
    coat = str(s.rng.choice(list(coats), p=[0.27, 0.22, 0.17, 0.17, 0.17]))
    base, light, inner = (s.jitter(c) for c in coats[coat])
    dark = s.jitter((0.13, 0.12, 0.13), 0.01)
    ear_color = dark if coat == "panda" else base
    iris = s.jitter([(0.30, 0.17, 0.09), (0.45, 0.27, 0.12)][s.rng.integers(2)])
    width, height, y0 = s.uniform(0.058, 0.064), s.uniform(0.051, 0.056), -0.010
    length, ear_size, ear_angle = s.uniform(0.014, 0.024), s.uniform(0.018, 0.024), s.uniform(0.62, 0.88)
    eye_size = s.uniform(0.0088, 0.0108)

    s.add("skull", (0, y0, -0.012), (width, height, 0.050), base)
    s.add("crown", (0, y0 + 0.022, -0.004), (0.042, 0.034, 0.038), base)
    s.add_pair("cheek", (0.034, y0 - 0.020, -0.002), (0.031, 0.029, 0.034), base)
    s.add("muzzle", (0, y0 - 0.018, 0.022 + 0.5 * length), (0.0275, 0.0215, 0.016 + 0.5 * length), light)
    s.add("bridge", (0, y0 - 0.004, 0.024 + 0.3 * length), (0.0140, 0.0150, 0.014 + 0.3 * length), light, pitch=0.25)
    s.add_pair("pad", (0.0105, y0 - 0.025, 0.026 + 0.62 * length), (0.0150, 0.0125, 0.0150), light)
    s.add("chin", (0, y0 - 0.036, 0.020 + 0.55 * length), (0.0150, 0.0095, 0.0150), light)
    ex, ey = (width + 0.002) * math.sin(ear_angle), y0 + (height + 0.003) * math.cos(ear_angle)
    s.add_pair("ear", (ex, ey, -0.014), (ear_size, ear_size, 0.0125), ear_color, yaw=0.2, roll=-ear_angle)
    s.add_pair(
        "ear_web",
        (0.86 * ex, 0.86 * (ey - y0) + y0, -0.014),
        (0.9 * ear_size, 0.7 * ear_size, 0.0140),
        ear_color,
        roll=-ear_angle,
    )
    s.paint_pair((1.02 * ex, ey + 0.001, 0.002), (0.62 * ear_size, 0.62 * ear_size, 0.0160), inner, "ear", soft=0.2)
    eye_x, eye_y = 0.0235, y0 + 0.008
    if coat == "panda":
        s.paint_pair(
            (eye_x + 0.003, eye_y - 0.002, 0.025), (0.0150, 0.0195, 0.040), dark, "ear", roll=0.55, soft=0.14, but=True
        )
    else:
        s.paint((0, y0 - 0.020, 0.030), (0.030, 0.022, 0.030), light, ("skull", "cheek"), soft=0.5)
        s.add_pair(
            "brow",
            (eye_x, eye_y + 0.0105, s.front(eye_x, eye_y + 0.0105) - 0.0065),
            (0.0145, 0.0085, 0.0085),
            base,
            roll=-0.18,
        )
    s.eyes(
        eye_x,
        eye_y,
        eye_size,
        (0.95, 0.94, 0.92),
        iris,
        dark,
        sink=0.05,
        pupil=(0.58, 0.58),
        iris_size=0.90,
        rim_size=1.16,
    )
    s.mouth(y0 - 0.030, 0.018, _DARK, ("muzzle", "pad", "chin"), drop=0.010, angle=0.26, line=0.0018)
    nose_y = y0 - 0.011
    s.add("nose", (0, nose_y, s.front(0, nose_y) - 0.003), (0.0145, 0.0098, 0.0090), dark)
    s.paint((-0.0045, nose_y + 0.0062, 0.05), (0.0040, 0.0024, 0.04), (0.62, 0.60, 0.62), "nose", soft=0.7)
    return dict(
        coat=coat,
        base_color=_hex(base),
        eye_color=_hex(iris),
        head_width=width,
        ear_size=ear_size,
        ear_angle=ear_angle,
        eye_size=eye_size,
        muzzle_length=length,
    )


def _sculpt_fox(s: _Sculptor) -> dict[str, float | str]:
    coats = {  # base, light, dark tips
        "red": ((0.87, 0.40, 0.14), (0.99, 0.95, 0.89), (0.20, 0.11, 0.09)),
        "orange": ((0.96, 0.56, 0.20), (0.99, 0.96, 0.90), (0.30, 0.16, 0.10)),
        "silver": ((0.44, 0.46, 0.51), (0.93, 0.93, 0.94), (0.14, 0.14, 0.17)),
        "sand": ((0.90, 0.74, 0.50), (0.99, 0.96, 0.88), (0.48, 0.31, 0.19)),
    }
    coat = str(s.rng.choice(list(coats), p=[0.34, 0.30, 0.18, 0.18]))
    base, light, dark = (s.jitter(c) for c in coats[coat])
    eye_color = s.jitter([(0.96, 0.72, 0.20), (0.85, 0.50, 0.14), (0.66, 0.76, 0.36)][s.rng.integers(3)])
    inner = s.jitter(0.55 * np.asarray(coats[coat][1]) + 0.45 * np.array((0.93, 0.70, 0.62)))
    width, height, y0 = s.uniform(0.050, 0.055), s.uniform(0.043, 0.048), -0.020
    length, cheek, cheek_drop = s.uniform(0.030, 0.044), s.uniform(0.027, 0.034), s.uniform(0.15, 0.42)
    ear_height, ear_width, ear_lean = s.uniform(0.058, 0.074), s.uniform(0.025, 0.030), s.uniform(0.14, 0.34)
    eye_size = s.uniform(0.0115, 0.0140)
    tip = 0.024 + length

    s.add("skull", (0, y0 + 0.004, -0.012), (width, height - 0.002, 0.046), base)
    s.add("brow", (0, y0 + 0.014, 0.002), (0.034, 0.024, 0.032), base)
    s.add_pair("cheek", (0.022, y0 - 0.012, -0.001), (0.026, 0.021, 0.030), base)
    s.add_pair("tuft", (0.036, y0 - 0.010, -0.006), (cheek, 0.0165, 0.0210), base, roll=-cheek_drop)
    s.add_pair("tuft_low", (0.021, y0 - 0.026, -0.002), (0.0270, 0.0125, 0.0200), base, roll=0.50)
    s.add("snout", (0, y0 - 0.013, 0.5 * tip), (0.0155, 0.0135, 0.5 * tip + 0.003), base, pitch=0.14)
    s.add("bridge", (0, y0 - 0.004, 0.026), (0.0165, 0.0170, 0.0200), base, pitch=0.3)
    s.add("jaw", (0, y0 - 0.024, 0.42 * tip), (0.0130, 0.0095, 0.42 * tip), light, pitch=0.08)
    s.pointed_ears(
        0.60 * width, y0 + 0.58 * height, -0.014, ear_height, ear_width, 0.0115, ear_lean, base, inner, dark, 0.62
    )
    # white cheeks and underside of the snout, two-toned against the coat
    s.paint_pair(
        (0.039, y0 - 0.030, 0.012), (0.036, 0.0205, 0.050), light, ("skull", "cheek", "tuft"), roll=0.32, soft=0.14
    )
    s.paint((0, y0 - 0.042, 0.020), (0.034, 0.022, 0.050), light, ("skull", "cheek", "tuft"), soft=0.14)
    s.paint_pair(
        (0.019, y0 - 0.020, 0.5 * tip), (0.0145, 0.0120, 0.60 * tip), light, ("snout", "bridge", "cheek"), soft=0.14
    )
    s.paint_pair((0.0115, y0 + 0.0215, 0.02), (0.0055, 0.0034, 0.05), light, ("brow", "skull"), roll=0.5, soft=0.4)
    s.eyes(
        0.0215,
        y0 + 0.004,
        eye_size,
        eye_color,
        eye_color * 0.9,
        s.jitter(_DARK, 0.01),
        shape=(1.16, 0.86),
        roll=0.34,
        sink=0.20,
        pupil=(s.uniform(0.22, 0.36), 0.66),
        rim_size=1.14,
    )
    s.mouth(y0 - 0.0245, 0.012, dark * 0.8, ("snout", "jaw"), drop=0.007, angle=0.35, line=0.0014)
    nose_y = y0 - 0.0115
    s.add("nose", (0, nose_y, s.front(0, nose_y) - 0.003), (0.0098, 0.0084, 0.0084), s.jitter((0.10, 0.08, 0.09), 0.01))
    s.paint((-0.003, nose_y + 0.005, tip), (0.0028, 0.0018, 0.03), (0.60, 0.58, 0.60), "nose", soft=0.7)
    return dict(
        coat=coat,
        base_color=_hex(base),
        eye_color=_hex(eye_color),
        head_width=width,
        ear_height=ear_height,
        ear_lean=ear_lean,
        eye_size=eye_size,
        muzzle_length=length,
        cheek_length=cheek,
    )


_SCULPT = {"cat": _sculpt_cat, "dog": _sculpt_dog, "bear": _sculpt_bear, "fox": _sculpt_fox}


def sample_head(index: int, seed: int) -> Head:
    """Draw animal number ``index`` of the world ``seed``; it depends on nothing else.

    Args:
        index: Number of the animal, from 0.
        seed: Seed of the data set, from 0.

    Returns:
        The head; its species is uniform over ``SPECIES``.
    """
    if index < 0 or seed < 0:
        raise ValueError(f"index and seed must not be negative, got {index} and {seed}")
    rng = np.random.default_rng([seed, index])
    species = SPECIES[rng.integers(len(SPECIES))]
    sculptor = _Sculptor(rng)
    attributes = _SCULPT[species](sculptor)
    return sculptor.finish(species, attributes)


def pose_of(index: int, config: ToyHeadsConfig) -> tuple[float, float]:
    """Draw the camera of image ``index``: Gaussian yaw and pitch, clipped at three standard deviations.

    Args:
        index: Number of the image, from 0.
        config: Gives the seed and the standard deviations.

    Returns:
        Yaw and pitch in radians; +yaw moves the camera to +x, +pitch to +y.
    """
    draws = np.random.default_rng([config.seed, index, 1]).standard_normal(2).clip(-3, 3)
    return float(config.yaw_std * draws[0]), float(config.pitch_std * draws[1])


def head_sdf_sign(head: Head, points: Tensor) -> Tensor:
    """Tell which points lie inside the head.

    Args:
        head: The animal.
        points: World points. ``(..., 3)``.

    Returns:
        True where a point lies in at least one part. ``(...)`` bool.
    """
    inside = torch.zeros(points.shape[:-1], dtype=torch.bool, device=points.device)
    for matrix, center in zip(_part_matrices(head), head.centers, strict=True):
        offset = (points - center.to(points)) @ matrix.to(points).T
        inside |= offset.square().sum(-1) < 1
    return inside


# ---------------------------------------------------------------------------------------------------------------------
# Rendering
# ---------------------------------------------------------------------------------------------------------------------


def _part_matrices(head: Head) -> Tensor:
    """Map an offset from a part's centre to its unit ball. ``(P, 3, 3)``."""
    return head.rotations.transpose(1, 2) / head.radii[:, :, None]


def _camera(yaw: float, pitch: float, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Camera axes as columns (right, up, back) and its position on the unit sphere. ``(3, 3)``, ``(3,)``."""
    back = np.array([math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw)])
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(back, right), back], axis=1)
    return tuple(torch.from_numpy(array.astype(np.float32)).to(device) for array in (axes, back))


def _pixel_directions(size: int, fov_deg: float, device: torch.device | str) -> Tensor:
    """Camera-frame directions of unit z-depth through the centres of ``size`` x ``size`` pixels. ``(3, R)``."""
    focal = 0.5 * size / math.tan(math.radians(fov_deg) / 2)
    at = (torch.arange(size, dtype=torch.float32, device=device) + 0.5 - size / 2) / focal
    x, y = at.expand(size, size), -at[:, None].expand(size, size)
    return torch.stack([x, y, -torch.ones_like(x)]).reshape(3, -1)  # (3, R)


@dataclass(frozen=True, eq=False)
class _Scene:
    """A head on the device, with the matrices that rays need."""

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
    def of(cls, head: Head, device: torch.device | str) -> _Scene:
        to_unit = _part_matrices(head)
        brush_rows = head.brush_matrices.transpose(0, 1).contiguous()
        fields = dict(
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
        return cls(**{name: tensor.to(device) for name, tensor in fields.items()})


def _intersect(scene: _Scene, origin: Tensor, directions: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest root over the active parts: z-depth (inf where nothing is met) and part index. ``(R,)`` each."""
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


def _paint(scene: _Scene, points: Tensor, part: Tensor) -> Tensor:
    """Albedo of surface points. ``(3, R)``, ``(R,)`` -> ``(R, 3)``."""
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


@dataclass(frozen=True, eq=False)
class _Hits:
    """Where rays meet the head: flat pixel index and part ``(R,)``, z-depth ``(R,)``, points and normals ``(R, 3)``."""

    pixel: Tensor
    part: Tensor
    depth: Tensor
    points: Tensor
    normals: Tensor


def _trace(scene: _Scene, axes: Tensor, origin: Tensor, size: int, fov_deg: float) -> Iterator[_Hits]:
    """Send a ray through the centre of every pixel that may see the head, a band of rows at a time."""
    directions = (axes @ _pixel_directions(size, fov_deg, origin.device)).view(3, size, size)
    boxes = _screen_boxes(scene, axes, origin, size, fov_deg)
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    width = max(right - left, 1)
    step = max(1, _RAYS_PER_BAND // width)
    for row in range(top, bottom, step):
        stop = min(row + step, bottom)
        active = torch.from_numpy(((boxes[:, 1] < stop) & (boxes[:, 3] > row)).nonzero()[0]).to(origin.device)
        if len(active) == 0:
            continue
        rays = directions[:, row:stop, left:right].reshape(3, -1)  # (3, R)
        depth, part = _intersect(scene, origin, rays, active)
        hit = torch.isfinite(depth).nonzero()[:, 0]
        depth, part = depth[hit], part[hit]
        points = origin + depth[:, None] * rays[:, hit].T
        normals = (scene.normal_maps[part] @ (points - scene.centers[part])[..., None])[..., 0]
        pixel = (row + torch.div(hit, width, rounding_mode="floor")) * size + left + hit % width
        yield _Hits(pixel, part, depth, points, torch.nn.functional.normalize(normals, dim=-1))


def _screen_boxes(scene: _Scene, axes: Tensor, origin: Tensor, size: int, fov_deg: float) -> np.ndarray:
    """Pixel boxes that hold the parts: left, top, right, bottom, the last two exclusive. ``(P, 4)`` int."""
    focal = 0.5 * size / math.tan(math.radians(fov_deg) / 2)
    center = ((scene.centers - origin) @ axes).double().cpu().numpy()  # (P, 3) in the camera's frame
    # half the size of an ellipsoid along u is |diag(radii) R^T u|
    extent = (scene.from_unit.transpose(1, 2) @ axes).norm(dim=1).double().cpu().numpy()  # (P, 3)
    low, high = center - extent, center + extent
    nearest, farthest = -high[:, 2], -low[:, 2]  # the camera looks along -z
    bounds = []
    for axis, sign in ((0, 1.0), (1, -1.0)):  # rows run against y
        corners = np.stack([sign * edge[:, axis] / z for edge in (low, high) for z in (nearest, farthest)])
        bounds.append((corners.min(0) * focal + size / 2 - 1, corners.max(0) * focal + size / 2 + 1))
    (left, right), (top, bottom) = bounds
    box = np.stack([np.floor(left), np.floor(top), np.ceil(right), np.ceil(bottom)], axis=1)
    return box.clip(0, size).astype(np.int64)


def _render_color(scene: _Scene, axes: Tensor, origin: Tensor, size: int, fov_deg: float, supersample: int):
    """Antialiased colour over the background and coverage. ``(H, W, 3)``, ``(H, W)``."""
    light = torch.nn.functional.normalize(torch.tensor(_LIGHT, device=origin.device), dim=0)
    fine = size * supersample
    rgba = torch.tensor((*BACKGROUND, 0.0), device=origin.device).repeat(fine * fine, 1)
    for hits in _trace(scene, axes, origin, fine, fov_deg):
        shade = _AMBIENT + (1 - _AMBIENT) * (hits.normals @ light).clamp_(min=0)
        albedo = _paint(scene, hits.points.T.contiguous(), hits.part)
        color = (albedo * shade[:, None]).clamp_(0, 1)
        rgba[hits.pixel] = torch.cat([color, torch.ones_like(color[:, :1])], dim=1)
    rgba = rgba.view(size, supersample, size, supersample, 4).mean(dim=(1, 3))
    return rgba[..., :3], rgba[..., 3]


def _render_geometry(scene: _Scene, axes: Tensor, origin: Tensor, size: int, fov_deg: float) -> tuple[Tensor, Tensor]:
    """Depth and normals under the pixel centres. ``(H, W)``, ``(H, W, 3)``."""
    depth = torch.full((size * size,), math.nan, device=origin.device)
    normals = torch.zeros(size * size, 3, device=origin.device)
    for hits in _trace(scene, axes, origin, size, fov_deg):
        depth[hits.pixel], normals[hits.pixel] = hits.depth, hits.normals
    return depth.view(size, size), normals.view(size, size, 3)


@torch.no_grad()
def render_heads(
    heads: Sequence[Head],
    yaw: Sequence[float] | Tensor,
    pitch: Sequence[float] | Tensor,
    image_size: int,
    fov_deg: float = 12.0,
    supersample: int = 2,
    device: torch.device | str = "cpu",
) -> RenderedHeads:
    """Draw each head from its own camera; a picture does not depend on its batch.

    Args:
        heads: N animals.
        yaw: N angles in radians; +yaw moves the camera to +x.
        pitch: N angles in radians; +pitch moves the camera to +y.
        image_size: Height and width in pixels.
        fov_deg: Full field of view in degrees.
        supersample: Rays per pixel and axis for colour and coverage.
        device: Where to compute, and where the result lies.

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
        scene, (axes, origin) = _Scene.of(head, device), _camera(head_yaw, head_pitch, device)
        rgb, alpha = _render_color(scene, axes, origin, image_size, fov_deg, supersample)
        rows.append((rgb, alpha, *_render_geometry(scene, axes, origin, image_size, fov_deg)))
    return RenderedHeads(*(torch.stack(column) for column in zip(*rows, strict=True)))


# ---------------------------------------------------------------------------------------------------------------------
# Writing a folder
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small tensors are faster on one thread, and the bytes do not depend on the machine's cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _write_images(task: tuple[str, ToyHeadsConfig, int, int]) -> list[str]:
    """Write images ``start`` to ``stop`` and return their lines of metadata."""
    folder, config, start, stop = task
    lines = []
    with _one_thread():
        for index in range(start, stop):
            head, (yaw, pitch) = sample_head(index, config.seed), pose_of(index, config)
            scene, (axes, origin) = _Scene.of(head, "cpu"), _camera(yaw, pitch, "cpu")
            rgb, alpha = _render_color(scene, axes, origin, config.image_size, config.fov_deg, config.supersample)
            pixels = (torch.cat([rgb, alpha[..., None]], dim=-1) * 255).round_().to(torch.uint8).numpy()
            name = f"images/{index:06d}.png"
            Image.fromarray(pixels).save(Path(folder) / name, compress_level=1)
            record = dict(file_name=name, yaw=round(yaw, 6), pitch=round(pitch, 6), species=head.species)
            lines.append(json.dumps(record | head.attributes))
    return lines


def write_toy_heads(folder: str | Path, config: ToyHeadsConfig, progress: bool = True) -> None:
    """Write the data set as an ordinary image folder.

    ``images/000000.png`` ... are 8-bit RGBA: colour already over ``BACKGROUND`` everywhere, alpha the coverage.
    ``metadata.jsonl`` has one line per image: file_name, yaw, pitch (radians), species and the attributes of the head.
    ``toy_heads.json`` holds the config. The folder appears under its name only when it is complete.

    Two worker processes are spawned for more than a handful of images, so a script that calls this needs the usual
    ``if __name__ == "__main__"``.

    Args:
        folder: Where to write; must not exist, or be empty.
        config: What to write; the same config gives the same bytes.
        progress: Show a progress bar.

    Raises:
        ValueError: If the folder exists and is not empty.
    """
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"will not overwrite {folder}: it exists and is not an empty folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (partial / "images").mkdir()
        starts = range(0, config.count, _IMAGES_PER_TASK)
        tasks = [(str(partial), config, k, min(k + _IMAGES_PER_TASK, config.count)) for k in starts]
        with open(partial / "metadata.jsonl", "w", encoding="utf-8", newline="\n") as file:
            for lines in _with_progress(_run_tasks(tasks), config.count, progress):
                file.writelines(line + "\n" for line in lines)
        about = dict(format=FORMAT, kind="toy_heads", background=BACKGROUND, species=SPECIES, config=asdict(config))
        (partial / "toy_heads.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        os.replace(partial, folder)  # an empty folder may stand there
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _run_tasks(tasks: list[tuple[str, ToyHeadsConfig, int, int]]) -> Iterator[list[str]]:
    if len(tasks) <= 2:  # starting processes would take longer
        yield from map(_write_images, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        yield from pool.imap(_write_images, tasks)


def _with_progress(batches: Iterator[list[str]], count: int, progress: bool) -> Iterator[list[str]]:
    from tqdm import tqdm

    with tqdm(total=count, unit="image", desc="toy heads", disable=not progress) as bar:
        for lines in batches:
            yield lines
            bar.update(len(lines))
