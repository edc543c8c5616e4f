"""Bears. Sizes in world units before ``HeadBuilder.finish`` scales them; what varies is a trait or a small jitter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from train.data.toy_heads.builder import Attributes, HeadBuilder, to_hex
from train.data.toy_heads.face import DARK, add_eyes, paint_mouth

COATS = {  # base, muzzle, inner ear and chin
    "brown": ((0.52, 0.34, 0.21), (0.84, 0.68, 0.50), (0.76, 0.54, 0.40)),
    "honey": ((0.80, 0.57, 0.31), (0.97, 0.87, 0.68), (0.93, 0.72, 0.54)),
    "black": ((0.23, 0.21, 0.22), (0.66, 0.52, 0.40), (0.44, 0.35, 0.33)),
    "polar": ((0.96, 0.93, 0.86), (0.99, 0.98, 0.95), (0.90, 0.76, 0.72)),
    "panda": ((0.97, 0.96, 0.94), (0.99, 0.98, 0.97), (0.30, 0.28, 0.30)),
}
SHARES = (0.27, 0.22, 0.17, 0.17, 0.17)  # of the coats
IRISES = ((0.30, 0.17, 0.09), (0.45, 0.27, 0.12))
Y = -0.010  # of the skull's centre
EYE_X, EYE_Y = 0.0235, Y + 0.008


@dataclass(frozen=True, eq=False)
class _Bear:
    coat: str
    base: np.ndarray
    light: np.ndarray
    inner: np.ndarray
    dark: np.ndarray
    iris: np.ndarray
    width: float
    height: float
    muzzle_length: float
    ear_size: float
    ear_angle: float
    eye_size: float


def build_bear(head: HeadBuilder) -> Attributes:
    """Add the parts and the paint of a bear; return its attributes."""
    bear = _draw(head)
    _add_parts(head, bear)
    _add_ears(head, bear)
    _add_brows(head, bear)
    add_eyes(
        head, EYE_X, EYE_Y, bear.eye_size, eye=(0.95, 0.94, 0.92), iris=bear.iris, rim=bear.dark, sink=0.05,
        pupil=(0.58, 0.58), iris_size=0.90, rim_size=1.16,
    )  # fmt: skip
    paint_mouth(head, Y - 0.030, 0.018, DARK, ("muzzle", "pad", "chin"), drop=0.010, angle=0.26, line=0.0018)
    nose_y = Y - 0.011
    head.add("nose", (0, nose_y, head.front(0, nose_y) - 0.003), (0.0145, 0.0098, 0.0090), bear.dark)
    gleam = (-0.0045, nose_y + 0.0062, 0.05)
    head.paint(gleam, (0.0040, 0.0024, 0.04), (0.62, 0.60, 0.62), "nose", softness=0.7)
    return dict(
        coat=bear.coat,
        base_color=to_hex(bear.base),
        eye_color=to_hex(bear.iris),
        head_width=bear.width,
        ear_size=bear.ear_size,
        ear_angle=bear.ear_angle,
        eye_size=bear.eye_size,
        muzzle_length=bear.muzzle_length,
    )


def _draw(head: HeadBuilder) -> _Bear:
    coat = str(head.rng.choice(list(COATS), p=SHARES))
    base, light, inner = (head.jitter(color) for color in COATS[coat])
    return _Bear(
        coat=coat,
        base=base,
        light=light,
        inner=inner,
        dark=head.jitter((0.13, 0.12, 0.13), 0.01),
        iris=head.jitter(IRISES[head.rng.integers(2)]),
        width=head.uniform(0.058, 0.064),
        height=head.uniform(0.051, 0.056),
        muzzle_length=head.uniform(0.014, 0.024),
        ear_size=head.uniform(0.018, 0.024),
        ear_angle=head.uniform(0.62, 0.88),
        eye_size=head.uniform(0.0088, 0.0108),
    )


def _add_parts(head: HeadBuilder, bear: _Bear) -> None:
    base, light, length = bear.base, bear.light, bear.muzzle_length
    head.add("skull", (0, Y, -0.012), (bear.width, bear.height, 0.050), base)
    head.add("crown", (0, Y + 0.022, -0.004), (0.042, 0.034, 0.038), base)
    head.add_pair("cheek", (0.034, Y - 0.020, -0.002), (0.031, 0.029, 0.034), base)
    head.add("muzzle", (0, Y - 0.018, 0.022 + 0.5 * length), (0.0275, 0.0215, 0.016 + 0.5 * length), light)
    head.add("bridge", (0, Y - 0.004, 0.024 + 0.3 * length), (0.0140, 0.0150, 0.014 + 0.3 * length), light, pitch=0.25)
    head.add_pair("pad", (0.0105, Y - 0.025, 0.026 + 0.62 * length), (0.0150, 0.0125, 0.0150), light)
    head.add("chin", (0, Y - 0.036, 0.020 + 0.55 * length), (0.0150, 0.0095, 0.0150), light)


def _add_ears(head: HeadBuilder, bear: _Bear) -> None:
    size, angle, color = bear.ear_size, bear.ear_angle, bear.dark if bear.coat == "panda" else bear.base
    x, y = (bear.width + 0.002) * math.sin(angle), Y + (bear.height + 0.003) * math.cos(angle)
    head.add_pair("ear", (x, y, -0.014), (size, size, 0.0125), color, yaw=0.2, roll=-angle)
    web_center, web_radii = (0.86 * x, 0.86 * (y - Y) + Y, -0.014), (0.9 * size, 0.7 * size, 0.0140)
    head.add_pair("ear_web", web_center, web_radii, color, roll=-angle)
    head.paint_pair((1.02 * x, y + 0.001, 0.002), (0.62 * size, 0.62 * size, 0.0160), bear.inner, "ear")


def _add_brows(head: HeadBuilder, bear: _Bear) -> None:
    """Add brows and paint the face around the eyes; a panda has patches there instead."""
    if bear.coat == "panda":
        center, radii = (EYE_X + 0.003, EYE_Y - 0.002, 0.025), (0.0150, 0.0195, 0.040)
        head.paint_pair(center, radii, bear.dark, not_on="ear", roll=0.55, softness=0.14)
        return
    head.paint((0, Y - 0.020, 0.030), (0.030, 0.022, 0.030), bear.light, ("skull", "cheek"), softness=0.5)
    center = (EYE_X, EYE_Y + 0.0105, head.front(EYE_X, EYE_Y + 0.0105) - 0.0065)
    head.add_pair("brow", center, (0.0145, 0.0085, 0.0085), bear.base, roll=-0.18)
