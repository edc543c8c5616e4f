"""Foxes. Sizes in world units before ``HeadBuilder.finish`` scales them; what varies is a trait or a small jitter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.data.toy_heads.builder import Attributes, HeadBuilder, to_hex
from train.data.toy_heads.face import DARK, add_eyes, add_pointed_ears, paint_mouth

COATS = {  # base, light, dark tips
    "red": ((0.87, 0.40, 0.14), (0.99, 0.95, 0.89), (0.20, 0.11, 0.09)),
    "orange": ((0.96, 0.56, 0.20), (0.99, 0.96, 0.90), (0.30, 0.16, 0.10)),
    "silver": ((0.44, 0.46, 0.51), (0.93, 0.93, 0.94), (0.14, 0.14, 0.17)),
    "sand": ((0.90, 0.74, 0.50), (0.99, 0.96, 0.88), (0.48, 0.31, 0.19)),
}
SHARES = (0.34, 0.30, 0.18, 0.18)  # of the coats
EYES = ((0.96, 0.72, 0.20), (0.85, 0.50, 0.14), (0.66, 0.76, 0.36))
Y = -0.020  # of the head's centre


@dataclass(frozen=True, eq=False)
class _Fox:
    coat: str
    base: np.ndarray
    light: np.ndarray
    dark: np.ndarray
    eye_color: np.ndarray
    inner: np.ndarray
    width: float
    height: float
    muzzle_length: float
    cheek: float
    cheek_drop: float
    ear_height: float
    ear_width: float
    ear_lean: float
    eye_size: float

    @property
    def tip(self) -> float:
        """Return z of the muzzle's end."""
        return 0.024 + self.muzzle_length


def build_fox(head: HeadBuilder) -> Attributes:
    """Add the parts and the paint of a fox; return its attributes."""
    fox = _draw(head)
    _add_parts(head, fox)
    _paint_coat(head, fox)
    add_eyes(
        head, 0.0215, Y + 0.004, fox.eye_size, eye=fox.eye_color, iris=fox.eye_color * 0.9,
        rim=head.jitter(DARK, 0.01), shape=(1.16, 0.86), roll=0.34, sink=0.20,
        pupil=(head.uniform(0.22, 0.36), 0.66), rim_size=1.14,
    )  # fmt: skip
    paint_mouth(head, Y - 0.0245, 0.012, fox.dark * 0.8, ("snout", "jaw"), drop=0.007, angle=0.35, line=0.0014)
    nose_y = Y - 0.0115
    nose_center, nose_color = (0, nose_y, head.front(0, nose_y) - 0.003), head.jitter((0.10, 0.08, 0.09), 0.01)
    head.add("nose", nose_center, (0.0098, 0.0084, 0.0084), nose_color)
    gleam = (-0.003, nose_y + 0.005, fox.tip)
    head.paint(gleam, (0.0028, 0.0018, 0.03), (0.60, 0.58, 0.60), "nose", softness=0.7)
    return dict(
        coat=fox.coat,
        base_color=to_hex(fox.base),
        eye_color=to_hex(fox.eye_color),
        head_width=fox.width,
        ear_height=fox.ear_height,
        ear_lean=fox.ear_lean,
        eye_size=fox.eye_size,
        muzzle_length=fox.muzzle_length,
        cheek_length=fox.cheek,
    )


def _draw(head: HeadBuilder) -> _Fox:
    coat = str(head.rng.choice(list(COATS), p=SHARES))
    base, light, dark = (head.jitter(color) for color in COATS[coat])
    return _Fox(
        coat=coat,
        base=base,
        light=light,
        dark=dark,
        eye_color=head.jitter(EYES[head.rng.integers(3)]),
        inner=head.jitter(0.55 * np.asarray(COATS[coat][1]) + 0.45 * np.array((0.93, 0.70, 0.62))),
        width=head.uniform(0.050, 0.055),
        height=head.uniform(0.043, 0.048),
        muzzle_length=head.uniform(0.030, 0.044),
        cheek=head.uniform(0.027, 0.034),
        cheek_drop=head.uniform(0.15, 0.42),
        ear_height=head.uniform(0.058, 0.074),
        ear_width=head.uniform(0.025, 0.030),
        ear_lean=head.uniform(0.14, 0.34),
        eye_size=head.uniform(0.0115, 0.0140),
    )


def _add_parts(head: HeadBuilder, fox: _Fox) -> None:
    base, tip = fox.base, fox.tip
    head.add("skull", (0, Y + 0.004, -0.012), (fox.width, fox.height - 0.002, 0.046), base)
    head.add("brow", (0, Y + 0.014, 0.002), (0.034, 0.024, 0.032), base)
    head.add_pair("cheek", (0.022, Y - 0.012, -0.001), (0.026, 0.021, 0.030), base)
    head.add_pair("tuft", (0.036, Y - 0.010, -0.006), (fox.cheek, 0.0165, 0.0210), base, roll=-fox.cheek_drop)
    head.add_pair("tuft_low", (0.021, Y - 0.026, -0.002), (0.0270, 0.0125, 0.0200), base, roll=0.50)
    head.add("snout", (0, Y - 0.013, 0.5 * tip), (0.0155, 0.0135, 0.5 * tip + 0.003), base, pitch=0.14)
    head.add("bridge", (0, Y - 0.004, 0.026), (0.0165, 0.0170, 0.0200), base, pitch=0.3)
    head.add("jaw", (0, Y - 0.024, 0.42 * tip), (0.0130, 0.0095, 0.42 * tip), fox.light, pitch=0.08)
    add_pointed_ears(
        head, (0.60 * fox.width, Y + 0.58 * fox.height, -0.014), height=fox.ear_height, width=fox.ear_width,
        thickness=0.0115, lean=fox.ear_lean, color=base, inner=fox.inner, tip=fox.dark, tip_from=0.62,
    )  # fmt: skip


def _paint_coat(head: HeadBuilder, fox: _Fox) -> None:
    """Paint cheeks, the underside of the snout and spots above the eyes in the coat's light colour."""
    light, tip, around = fox.light, fox.tip, ("skull", "cheek", "tuft")
    head.paint_pair((0.039, Y - 0.030, 0.012), (0.036, 0.0205, 0.050), light, around, roll=0.32, softness=0.14)
    head.paint((0, Y - 0.042, 0.020), (0.034, 0.022, 0.050), light, around, softness=0.14)
    snout = (0.0145, 0.0120, 0.60 * tip)
    head.paint_pair((0.019, Y - 0.020, 0.5 * tip), snout, light, ("snout", "bridge", "cheek"), softness=0.14)
    spot = (0.0055, 0.0034, 0.05)
    head.paint_pair((0.0115, Y + 0.0215, 0.02), spot, light, ("brow", "skull"), roll=0.5, softness=0.4)
