"""Parts of a face that several species share: eyes, pointed ears, a mouth. World units, angles in radians."""

from __future__ import annotations

import math

import numpy as np

from train.data.toy_heads.builder import SIDES, HeadBuilder, Names, Vector, rotation

DARK = (0.10, 0.08, 0.08)  # of mouths and of the rims of eyes
PUPIL = (0.03, 0.03, 0.04)
TURN = 0.2  # of eyes outwards


def add_eyes(
    head: HeadBuilder, x: float, y: float, size: float, *, eye: Vector, iris: Vector, rim: Vector,
    shape: tuple[float, float] = (1.0, 1.0), roll: float = 0.0, sink: float = 0.25,
    pupil: tuple[float, float] = (0.45, 0.45), iris_size: float = 0.8, rim_size: float = 1.22,
) -> None:  # fmt: skip
    """Add two eyes: an eyeball, a dark rim on the face around it, an iris, a pupil and two highlights.

    Args:
        head: Where they are added; the parts around them are there already.
        x: Centre of the eye at +x.
        y: Height of both centres.
        size: Half the width of a round eye.
        eye: Colour of the eyeball.
        iris: Colour of the iris.
        rim: Colour of the rim.
        shape: Width and height in units of ``size``.
        roll: Turn of the eye at +x about the viewing direction.
        sink: How far the centre lies behind the face's surface, in units of ``size``.
        pupil: Half width and half height of the pupil, in units of ``size``.
        iris_size: Radius of the iris, in units of ``size``.
        rim_size: Radius of the rim, in units of the eye's.
    """
    z = head.front(x, y) - sink * size
    radii = (shape[0] * size, shape[1] * size, 0.8 * size)
    gaze = head.uniform(-0.06, 0.06)
    rim_radii = [rim_size * r for r in radii[:2]] + [2.2 * size]
    head.paint_pair((x, y, z), rim_radii, rim, not_on="eye", roll=roll, softness=0.12)
    head.add_pair("eye", (x, y, z), radii, eye, yaw=TURN, roll=roll)
    for suffix, side in SIDES:
        toe_in = gaze - 0.06 * side
        for dx, dy, width, height, color, softness in (
            (toe_in, 0.0, iris_size, iris_size, iris, 0.12),
            (toe_in, 0.0, pupil[0], pupil[1], PUPIL, 0.15),
            (toe_in - 0.36, 0.36, 0.24, 0.24, (0.97, 0.97, 0.97), 0.25),
            (toe_in + 0.38, -0.34, 0.12, 0.12, (0.85, 0.85, 0.85), 0.4),
        ):
            out = np.array([math.sin(side * TURN), 0.0, math.cos(TURN)]) * 0.8 * size
            across = np.array([math.cos(TURN), 0.0, -math.sin(side * TURN)]) * dx * size
            center = np.asarray((side * x, y, z)) + out + across + np.array([0.0, dy * size, 0.0])
            dot_radii = (width * size, height * size, 1.1 * size)
            head.paint(center, dot_radii, color, f"eye{suffix}", yaw=side * TURN, softness=softness)


def add_pointed_ears(
    head: HeadBuilder, base: Vector, *, height: float, width: float, thickness: float, lean: float,
    color: Vector, inner: Vector, tip: Vector | None = None, tip_from: float = 0.55,
) -> None:  # fmt: skip
    """Add two triangular ears: two slanted edges that meet in the tip and a web between them.

    Args:
        head: Where they are added.
        base: Middle of the ear's base at +x.
        height: From the base to the tip, about.
        width: Of the base, about a half of it.
        thickness: Half the thickness.
        lean: Angle by which they lean outwards.
        color: Of the ear.
        inner: Of its inside.
        tip: Of its tip; None paints none.
        tip_from: Share of the height from which the tip is painted.
    """
    for suffix, side in SIDES:
        roll = -side * (lean + head.uniform(-0.05, 0.05))
        turn = rotation(-0.06, side * 0.22, roll)

        def at(u: float, v: float, w: float = 0.0, turn: np.ndarray = turn, side: float = side) -> np.ndarray:
            offset = np.array([u * width, v * height, w * thickness])
            return np.array([side * base[0], base[1], base[2]]) + turn @ offset

        slope = math.atan2(0.60 * width, height)
        for edge, u in (("in", -side), ("out", side)):
            radii = (0.36 * width, 0.60 * math.hypot(0.6 * width, height), thickness)
            head.add_rotated(f"ear_{edge}{suffix}", at(0.36 * u, 0.40), turn @ rotation(0, 0, u * slope), radii, color)
        web_radii = (0.66 * width, 0.50 * height, 0.85 * thickness)
        head.add_rotated(f"ear_web{suffix}", at(0, 0.22, -0.15), turn, web_radii, color)
        ear = tuple(name for name in head.names if name.startswith("ear") and name.endswith(suffix))
        inner_radii = (0.46 * width, 0.52 * height, 1.15 * thickness)
        head.paint_rotated(at(0, 0.30, 1.0), turn, inner_radii, inner, ear, softness=0.18)
        if tip is not None:
            tip_radii = (1.2 * width, (1.15 - tip_from) * height, 4 * thickness)
            head.paint_rotated(at(0, 1.15), turn, tip_radii, tip, ear, softness=0.16)


def paint_mouth(
    head: HeadBuilder, y: float, width: float, color: Vector, on: Names, *, drop: float = 0.008,
    line: float = 0.0017, angle: float = 0.45,
) -> None:  # fmt: skip
    """Paint a vertical line under the nose and two strokes that rise from its end: a smile.

    Args:
        head: What is painted.
        y: Height of the line's lower end.
        width: Of both strokes together, about.
        color: Of the lines.
        on: Parts that take them.
        drop: Length of the vertical line.
        line: Half the width of the lines.
        angle: By which the strokes rise.
    """
    z = 0.04
    head.paint((0, y + 0.5 * drop, z), (line, 0.62 * drop, 0.04), color, on, softness=0.5)
    center = (0.48 * width * math.cos(angle), y + 0.30 * width * math.sin(angle), z)
    head.paint_pair(center, (0.56 * width, line, 0.05), color, on, roll=angle, softness=0.5)
