"""Dogs. Sizes in world units before ``HeadBuilder.finish`` scales them; what varies is a trait or a small jitter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from train.data.toy_heads.builder import Attributes, HeadBuilder, to_hex
from train.data.toy_heads.face import DARK, add_eyes, paint_mouth

COATS = {  # base, light, ears and patch
    "golden": ((0.88, 0.68, 0.40), (0.98, 0.90, 0.74), (0.70, 0.46, 0.22)),
    "chocolate": ((0.48, 0.31, 0.20), (0.74, 0.56, 0.40), (0.30, 0.18, 0.11)),
    "white": ((0.95, 0.92, 0.87), (0.99, 0.98, 0.95), (0.45, 0.28, 0.17)),
    "slate": ((0.42, 0.43, 0.48), (0.86, 0.85, 0.85), (0.22, 0.22, 0.26)),
}
IRISES = ((0.36, 0.20, 0.10), (0.55, 0.34, 0.14), (0.34, 0.52, 0.68))
Y = 0.006  # of the skull's centre
EYE_X, EYE_Y = 0.0225, Y + 0.008


@dataclass(frozen=True, eq=False)
class _Dog:
    coat: str
    base: np.ndarray
    light: np.ndarray
    dark: np.ndarray
    iris: np.ndarray
    nose_color: np.ndarray
    width: float
    height: float
    muzzle_length: float
    ear_length: float
    ear_lean: float
    eye_size: float
    has_tongue: bool
    patch: str
    has_blaze: bool

    @property
    def tip(self) -> float:
        """Return z of the muzzle's end."""
        return 0.030 + self.muzzle_length


def build_dog(head: HeadBuilder) -> Attributes:
    """Add the parts and the paint of a dog; return its attributes."""
    dog = _draw(head)
    _add_parts(head, dog)
    _paint_coat(head, dog)
    _add_brows(head, dog)
    add_eyes(
        head, EYE_X, EYE_Y, dog.eye_size, eye=(0.97, 0.96, 0.94), iris=dog.iris, rim=head.jitter(DARK, 0.01),
        sink=0.05, pupil=(0.52, 0.52), iris_size=0.82, rim_size=1.12,
    )  # fmt: skip
    paint_mouth(head, Y - 0.035, 0.019, DARK, ("muzzle", "flew", "jaw"), drop=0.010, angle=0.24, line=0.0016)
    nose_y = Y - 0.0125
    head.add("nose", (0, nose_y, head.front(0, nose_y) - 0.003), (0.0125, 0.0092, 0.0090), dog.nose_color)
    gleam = (-0.004, nose_y + 0.006, dog.tip + 0.004)
    head.paint(gleam, (0.0035, 0.0022, 0.02), (0.62, 0.60, 0.62), "nose", softness=0.7)
    return dict(
        coat=dog.coat,
        base_color=to_hex(dog.base),
        eye_color=to_hex(dog.iris),
        patch=dog.patch,
        blaze=float(dog.has_blaze),
        tongue=float(dog.has_tongue),
        head_width=dog.width,
        ear_length=dog.ear_length,
        ear_lean=dog.ear_lean,
        eye_size=dog.eye_size,
        muzzle_length=dog.muzzle_length,
    )


def _draw(head: HeadBuilder) -> _Dog:
    coat = str(head.rng.choice(list(COATS)))
    base, light, dark = (head.jitter(color) for color in COATS[coat])
    return _Dog(
        coat=coat,
        base=base,
        light=light,
        dark=dark,
        iris=head.jitter(IRISES[head.rng.choice(3, p=[0.5, 0.32, 0.18])]),
        nose_color=head.jitter((0.13, 0.10, 0.10), 0.01),
        width=head.uniform(0.050, 0.056),
        height=head.uniform(0.047, 0.053),
        muzzle_length=head.uniform(0.022, 0.038),
        ear_length=head.uniform(0.036, 0.047),
        ear_lean=head.uniform(-0.02, 0.22),
        eye_size=head.uniform(0.0115, 0.0140),
        has_tongue=head.chance(0.4),
        patch=("none", "left", "right")[head.rng.choice(3, p=[0.45, 0.275, 0.275])],
        has_blaze=head.chance(0.45),
    )


def _add_parts(head: HeadBuilder, dog: _Dog) -> None:
    base, light, tip = dog.base, dog.light, dog.tip
    head.add("skull", (0, Y, -0.012), (dog.width, dog.height, 0.050), base)
    head.add("crown", (0, Y + 0.018, -0.004), (0.040, 0.036, 0.040), base)
    head.add_pair("cheek", (0.026, Y - 0.024, -0.002), (0.027, 0.026, 0.032), base)
    head.add("muzzle", (0, Y - 0.020, 0.5 * tip), (0.0215, 0.0175, 0.5 * tip + 0.004), light, pitch=0.10)
    head.add_pair("flew", (0.0105, Y - 0.029, 0.58 * tip), (0.0150, 0.0150, 0.40 * tip), light)
    head.add("jaw", (0, Y - 0.042, 0.46 * tip), (0.0150, 0.0105, 0.40 * tip), light)
    head.add_pair("ear_root", (0.80 * dog.width, Y + 0.032, -0.012), (0.017, 0.013, 0.018), dog.dark, roll=-0.5)
    ear_x = dog.width + 0.004 + dog.ear_length * math.sin(dog.ear_lean) * 0.6
    ear_center, ear_radii = (ear_x, Y + 0.036 - 0.86 * dog.ear_length, -0.006), (0.0125, dog.ear_length, 0.0215)
    head.add_pair("ear", ear_center, ear_radii, dog.dark, pitch=-0.10, yaw=0.25, roll=dog.ear_lean)
    if dog.has_tongue:
        color = head.jitter((0.93, 0.47, 0.52))
        head.add("tongue", (0, Y - 0.046, 0.66 * tip), (0.0095, 0.0125, 0.0100), color, pitch=0.3)


def _paint_coat(head: HeadBuilder, dog: _Dog) -> None:
    if dog.has_blaze:
        head.paint((0, Y + 0.022, 0.03), (0.0105, 0.040, 0.06), dog.light, ("skull", "crown"), softness=0.3)
    head.paint((0, Y - 0.040, 0.020), (0.030, 0.026, 0.040), dog.light, ("skull", "cheek"), softness=0.4)
    if dog.patch != "none":
        side = -1 if dog.patch == "left" else 1
        center, on = (side * 0.027, EYE_Y + 0.006, 0.025), ("skull", "crown", "cheek", "brow")
        head.paint(center, (0.0215, 0.026, 0.040), dog.dark, on, roll=-side * 0.35, softness=0.15)


def _add_brows(head: HeadBuilder, dog: _Dog) -> None:
    z = head.front(EYE_X, EYE_Y + dog.eye_size) - 0.0065
    center = (EYE_X + 0.001, EYE_Y + dog.eye_size * 0.95, z)
    head.add_pair("brow", center, (0.0150, 0.0085, 0.0090), dog.base, roll=-0.25)
    center, color = (EYE_X - 0.001, EYE_Y + dog.eye_size * 1.75, 0.03), dog.light if dog.coat != "white" else dog.dark
    head.paint_pair(center, (0.0075, 0.0034, 0.05), color, ("brow", "crown", "skull"), roll=0.25, softness=0.4)
