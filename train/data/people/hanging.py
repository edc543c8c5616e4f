"""Hair that hangs: a dome over a curtain that is open in front of the face, parted or with a fringe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from train.data.people.geometry import exit_radius, round_edge, smoothstep
from train.data.people.identity import Person
from train.data.people.scalp import Scalp, Shell, blur_on_grid, broad_locks, lay_hair, strand_coordinates
from train.data.people.shape import SKULL


def hanging_hair(person: Person, scalp: Scalp, rng: np.random.Generator) -> Shell:
    """Shape a bob, a bowl or long hair; over the forehead it lies on the skin and thins out towards the opening."""
    style = person.hair_style
    scalp = replace(scalp, radius=blur_on_grid(scalp.radius, 3))  # ears leave no dents
    is_long, has_fringe = "long" in style, style in ("fringe_bob", "fringe_long", "bowl")
    bottom = rng.uniform(5.80, 5.98) if is_long else rng.uniform(6.30, 6.60)
    if style == "bowl":
        bottom = rng.uniform(7.02, 7.15)
    offset = rng.uniform(-0.4, 0.4)
    if has_fringe and rng.random() < 0.5:
        offset = 0.0
    strand, along = strand_coordinates(scalp.directions, (offset, 1.0, -0.1 if has_fringe else 0.1))
    wave = 0.0 if has_fringe else float(rng.choice([0, 0, 0.5, 0.9]))
    lock, tone = broad_locks(strand, along, int(rng.integers(11, 15)), person.texture_seed, wave)
    outer = _curtain_radius(scalp, bottom, is_long, rng)
    swing = smoothstep(0.3, 1.2, along)
    outer = outer + (0.06 * (lock - 0.65) + 0.05 * np.sin(5.5 * along + 2 * strand) * wave) * swing
    points = SKULL + outer[:, None] * scalp.directions
    opening = _fringe_opening if has_fringe else _parted_opening
    free = opening(points, lock, offset, rng)
    behind = -np.maximum(points[:, 1] - bottom, 0.3) if style == "bowl" else -1.0  # a bowl is open at the nape
    shut = round_edge(-np.where(points[:, 2] > 0.35, free, behind) / 0.2)
    y = scalp.points[:, 1]
    deep = np.where(y > 7.5, scalp.radius - 0.12, np.minimum(scalp.radius - 0.12, 0.55))
    curtain = deep + (outer - deep) * shut
    on_skin = np.minimum(lay_hair(scalp, 0.34, -free, 1.0), outer)
    share = smoothstep(6.9, 7.6, y) * smoothstep(0.35, 0.75, points[:, 2])
    return Shell(curtain + (on_skin - curtain) * share, tone, lock * (0.5 + 0.5 * shut))


def _curtain_radius(scalp: Scalp, bottom: float, is_long: bool, rng: np.random.Generator) -> np.ndarray:
    """Return the radius of a dome that goes over into a curtain down to a height, without an opening. ``(N,)``."""
    half_x, half_z = rng.uniform(0.93, 1.01), rng.uniform(0.98, 1.04)
    flare = rng.uniform(-0.02, 0.12) if is_long else rng.uniform(-0.08, 0.14)
    half_y = 1.05 + rng.uniform(0.0, 0.06)

    def inside(points: np.ndarray) -> np.ndarray:
        x, y, z = (points - SKULL).T
        down = np.maximum(-y, 0) / (SKULL[1] - bottom)
        widen = 1 + flare * down**1.5
        planar = (x / (half_x * widen)) ** 2 + (z / (half_z * np.where(z > 0, 0.93, 1.0))) ** 2
        return 1 - planar - np.where(y > 0, (y / half_y) ** 2, down**6)

    y = scalp.points[:, 1]
    radius = exit_radius(inside, SKULL, scalp.directions)
    clear = scalp.radius + 0.08 + 0.03 * smoothstep(7.5, 7.9, y)  # broad heads have hair, too
    return np.maximum(radius, np.where(y > bottom + 0.1, clear, 0))


def _fringe_opening(points: np.ndarray, lock: np.ndarray, offset: float, rng: np.random.Generator) -> np.ndarray:
    """Return how far points of the curtain lie inside the opening under a fringe. ``(N,)``."""
    x, y, _ = points.T
    brow = rng.uniform(7.67, 7.80)
    half = np.interp(y, [6.0, 6.6, 7.2, 7.6], [0.50, 0.58, 0.62, 0.60]) + rng.uniform(-0.03, 0.05)
    arch = brow + 0.05 * (lock - 0.5) - 0.25 * np.clip(np.abs(x) / 0.8, 0, 1) ** 3 + rng.uniform(-0.1, 0.1) * x
    return _smooth_minimum(half - np.abs(x), arch - y)


def _parted_opening(points: np.ndarray, lock: np.ndarray, offset: float, rng: np.random.Generator) -> np.ndarray:
    """Return how far points of the curtain lie inside the opening under a parting. ``(N,)``."""
    x, y, _ = points.T
    rise, wide = rng.uniform(8.0, 8.1), rng.uniform(0.56, 0.66)
    u = np.abs(x - offset * 0.75 * smoothstep(7.3, 8.0, y)) / wide
    half = np.interp(y, [6.0, 6.6, 7.2, 7.5], [0.50, 0.57, 0.62, 0.64]) + rng.uniform(-0.03, 0.05)
    return _smooth_minimum(half - np.abs(x), rise - 0.44 * np.clip(u, 0, 1.4) ** 1.7 - y)


def _smooth_minimum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the smaller number, rounded off within 0.12 where both are equal."""
    share = np.clip(0.5 + 0.5 * (b - a) / 0.12, 0, 1)
    return b + (a - b) * share - 0.12 * share * (1 - share)
