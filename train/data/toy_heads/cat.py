"""Cats. Sizes in world units before ``HeadBuilder.finish`` scales them; what varies is a trait or a small jitter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.data.toy_heads.builder import Attributes, HeadBuilder, to_hex
from train.data.toy_heads.face import DARK, add_eyes, add_pointed_ears, paint_mouth

COATS = {  # base, light, stripe
    "ginger": ((0.93, 0.60, 0.27), (0.99, 0.90, 0.76), (0.72, 0.36, 0.12)),
    "grey": ((0.60, 0.62, 0.66), (0.90, 0.90, 0.92), (0.33, 0.34, 0.38)),
    "brown": ((0.63, 0.48, 0.34), (0.93, 0.86, 0.76), (0.30, 0.20, 0.13)),
    "black": ((0.22, 0.21, 0.24), (0.36, 0.34, 0.38), (0.12, 0.11, 0.13)),
    "cream": ((0.95, 0.85, 0.70), (0.99, 0.96, 0.90), (0.78, 0.62, 0.44)),
}
EYES = ((0.55, 0.78, 0.32), (0.93, 0.74, 0.22), (0.36, 0.68, 0.86), (0.85, 0.52, 0.18))
Y = -0.016  # of the skull's centre


@dataclass(frozen=True, eq=False)
class _Cat:
    coat: str
    base: np.ndarray
    light: np.ndarray
    stripe: np.ndarray
    eye_color: np.ndarray
    pink: np.ndarray
    nose_color: np.ndarray
    width: float
    height: float
    ear_height: float
    ear_width: float
    ear_lean: float
    eye_size: float
    muzzle: float
    is_striped: bool


def build_cat(head: HeadBuilder) -> Attributes:
    """Add the parts and the paint of a cat; return its attributes."""
    cat = _draw(head)
    _add_parts(head, cat)
    nose_y = Y - 0.009
    nose_z = head.front(0, nose_y - 0.002) - 0.0005
    _paint_coat(head, cat)
    add_eyes(
        head, 0.0245, Y + 0.005, cat.eye_size, eye=cat.eye_color, iris=cat.eye_color * 0.88,
        rim=head.jitter(DARK, 0.01), shape=(1.08, 0.92), roll=0.20, sink=0.30,
        pupil=(head.uniform(0.18, 0.34), 0.78), rim_size=1.16,
    )  # fmt: skip
    paint_mouth(head, Y - 0.024, 0.014, cat.stripe * 0.55, ("pad", "chin"), drop=0.010)
    for dx, dy in ((0.011, -0.0165), (0.016, -0.0145), (0.0145, -0.0205)):
        head.paint_pair((dx, Y + dy, 0.06), (0.0014, 0.0014, 0.04), cat.stripe * 0.6, "pad", softness=0.6)
    head.add("nose", (0, nose_y, nose_z), (0.0090, 0.0082, 0.0082), cat.nose_color)
    return dict(
        coat=cat.coat,
        base_color=to_hex(cat.base),
        eye_color=to_hex(cat.eye_color),
        striped=float(cat.is_striped),
        head_width=cat.width,
        ear_height=cat.ear_height,
        ear_lean=cat.ear_lean,
        eye_size=cat.eye_size,
        muzzle_length=cat.muzzle,
    )


def _draw(head: HeadBuilder) -> _Cat:
    coat = str(head.rng.choice(list(COATS)))
    base, light, stripe = (head.jitter(color) for color in COATS[coat])
    return _Cat(
        coat=coat,
        base=base,
        light=light,
        stripe=stripe,
        eye_color=head.jitter(EYES[head.rng.integers(4)]),
        pink=head.jitter((0.95, 0.66, 0.66)),
        nose_color=head.jitter((0.88, 0.48, 0.50)),
        width=head.uniform(0.056, 0.063),
        height=head.uniform(0.047, 0.053),
        ear_height=head.uniform(0.042, 0.056),
        ear_width=head.uniform(0.024, 0.030),
        ear_lean=head.uniform(0.22, 0.45),
        eye_size=head.uniform(0.0135, 0.0165),
        muzzle=head.uniform(0.0, 0.006),
        is_striped=head.chance(0.7),
    )


def _add_parts(head: HeadBuilder, cat: _Cat) -> None:
    base, muzzle = cat.base, cat.muzzle
    head.add("skull", (0, Y, -0.010), (cat.width, cat.height, 0.050), base)
    head.add("brow", (0, Y + 0.020, 0.006), (0.036, 0.024, 0.032), base)
    head.add_pair("cheek", (0.030, Y - 0.016, 0.002), (0.031, 0.026, 0.032), base)
    head.add_pair("tuft", (0.040, Y - 0.017, -0.005), (0.027, 0.0155, 0.022), base, roll=-0.35)
    head.add("bridge", (0, Y + 0.000, 0.032), (0.012, 0.018, 0.016), base, pitch=-0.35)
    head.add_pair("pad", (0.0095, Y - 0.018, 0.036 + muzzle), (0.0150, 0.0120, 0.0140), cat.light)
    head.add("chin", (0, Y - 0.028, 0.032 + muzzle), (0.013, 0.011, 0.013), cat.light)
    add_pointed_ears(
        head, (0.62 * cat.width, Y + 0.64 * cat.height, -0.012), height=cat.ear_height, width=cat.ear_width,
        thickness=0.0115, lean=cat.ear_lean, color=base, inner=cat.pink,
    )  # fmt: skip


def _paint_coat(head: HeadBuilder, cat: _Cat) -> None:
    head.paint((0, Y - 0.036, 0.030), (0.028, 0.022, 0.030), cat.light, ("cheek", "skull", "chin"), softness=0.35)
    if not cat.is_striped:
        return
    for k, x in enumerate((0.0, 0.013, 0.026)):
        center, radii = (x, Y + 0.041 - 0.004 * k, 0.02), (0.0042, 0.016 - 0.003 * k, 0.06)
        paint = head.paint if k == 0 else head.paint_pair
        paint(center, radii, cat.stripe, ("skull", "brow"), roll=0.20 * k, softness=0.25)
    for k in range(3):
        center, radii = (0.064, Y - 0.001 - 0.0135 * k, 0.005), (0.022 - 0.002 * k, 0.0036, 0.05)
        on = ("skull", "cheek", "tuft")
        head.paint_pair(center, radii, cat.stripe, on, roll=-0.12 - 0.18 * k, softness=0.3)
