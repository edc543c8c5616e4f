"""Hair: a radial surface round the skull for each style.

Hair styles: short (``part``, ``quiff``, ``crop``, ``pixie``, ``receding``), curls (``curly``, ``afro``), tied
(``bun``, ``knot``, ``puffs``, ``pigtails``, ``spacebuns``), hanging (``bob``, ``fringe_bob``, ``long``,
``fringe_long``, ``bowl``), painted on the skin only (``buzz``), and ``bald``, which has none. Canonical space
throughout. Shapes: N directions of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.data.people.geometry import bumps, fibonacci_sphere, mix, round_edge, smoothstep
from train.data.people.hanging import hanging_hair
from train.data.people.identity import Person
from train.data.people.scalp import Scalp, Shell, blur_on_grid, broad_locks, lay_hair, strand_coordinates


def build_shell(person: Person, scalp: Scalp, rng: np.random.Generator) -> Shell | None:
    """Shape hair, None where no hair stands out; the generator is the person's stream ``HAIR``."""
    if person.hair_style in ("bald", "buzz"):
        return None
    if person.hair_style in _SHORT:
        return _short_hair(person, scalp, rng)
    if person.hair_style in ("curly", "afro"):
        return _curls(person, scalp, rng)
    if person.hair_style in _TIED_POLES:
        return _tied_hair(person, scalp, rng)
    return hanging_hair(person, scalp, rng)


@dataclass(frozen=True)
class _ShortStyle:
    """Where the hair whirls, how much it turns there, how many locks (from, below), and how thick it is."""

    pole: tuple[float, float, float]  # x towards the side of the parting
    swirl: float
    locks: tuple[int, int]
    thickness: float
    top: float  # added on top


_SHORT = {
    "part": _ShortStyle((0.45, 0.9, -0.1), 0.0, (9, 12), 0.09, 0.10),
    "quiff": _ShortStyle((0.1, 0.75, -0.75), 0.25, (10, 13), 0.07, 0.12),
    "crop": _ShortStyle((0.15, 0.9, -0.45), 0.5, (11, 14), 0.08, 0.09),
    "pixie": _ShortStyle((0.4, 0.9, -0.25), 0.35, (10, 13), 0.12, 0.10),
    "receding": _ShortStyle((0.05, 0.9, -0.4), 0.2, (11, 14), 0.06, 0.02),
}


def _short_hair(person: Person, scalp: Scalp, rng: np.random.Generator) -> Shell:
    style, name = _SHORT[person.hair_style], person.hair_style
    x, y, z = scalp.points.T
    inside, top = scalp.inside, scalp.top
    side = rng.choice([-1, 1])
    pole = style.pole * np.array([side, 1, 1])
    strand, along = strand_coordinates(scalp.directions, pole, style.swirl * side)
    lock, tone = broad_locks(strand, along, int(rng.integers(*style.locks)), person.texture_seed)
    t = style.thickness * rng.uniform(0.85, 1.25) + style.top * top
    front = np.exp(-(((z - 1.1) / 0.45) ** 2)) * smoothstep(7.7, 8.15, y)
    away = smoothstep(0.45, -0.55, side * x)  # from the side of the parting
    width = 0.22 + 0.12 * front
    if name == "part":
        t = t + 0.17 * rng.uniform(0.6, 1.3) * away * front
    if name == "quiff":
        t = t + rng.uniform(0.22, 0.36) * front * np.exp(-((x / 0.55) ** 2))
        width = width - 0.08 * front
    if name == "crop":
        inside = inside + front * (0.10 + 0.06 * lock)
    if name == "pixie":
        inside = inside + front * (0.10 + 0.20 * away + 0.06 * lock)
    t = t + 0.05 * (lock - 0.65) * smoothstep(0.05, 0.3, inside) * (0.5 + top)
    return Shell(lay_hair(scalp, t, inside, width), tone, lock)


def _curls(person: Person, scalp: Scalp, rng: np.random.Generator) -> Shell:
    """Broad curls: rounded bumps on a soft surface that is the rounder the bigger it is."""
    is_big = person.hair_style == "afro"
    thickness = rng.uniform(0.28, 0.38) if is_big else rng.uniform(0.13, 0.21)
    count = int(rng.integers(80, 105)) if is_big else int(rng.integers(90, 115))
    centres = fibonacci_sphere(count) + rng.normal(size=(count, 3)) * 0.03
    lock = bumps(scalp.directions, centres / np.linalg.norm(centres, axis=1, keepdims=True))
    y = scalp.points[:, 1]
    low = smoothstep(7.7, 7.0, y)
    full = scalp.radius + thickness * (1 - 0.35 * low)
    if is_big:
        full = mix(full[:, None], np.full((len(y), 1), 0.92 + thickness), 0.65 * smoothstep(7.0, 7.8, y))[:, 0]
    border = scalp.inside + 0.08 * (lock - 0.5)
    rise = round_edge((border - 0.01) / (0.30 if is_big else 0.22))
    skin = scalp.radius - 0.05 - 0.25 * smoothstep(-0.05, -0.2, scalp.inside)
    radius = skin + (blur_on_grid(full, 2.0) - skin + 0.10 * (lock - 0.6)) * rise
    tone = np.clip(0.8 * (y - 8.0), -0.5, 0.4)
    return Shell(blur_on_grid(radius, 0.7), tone, 0.25 + 0.75 * lock)


_TIED_POLES = {  # where the strands meet; of two, that at +x
    "bun": (0, 0.9, -0.45),
    "knot": (0, 0.95, -0.4),
    "puffs": (0.85, 0.6, -0.25),
    "spacebuns": (0.75, 0.75, -0.15),
    "pigtails": (0.9, 0.05, -0.3),
}


def _tied_hair(person: Person, scalp: Scalp, rng: np.random.Generator) -> Shell:
    """Hair combed close to the head, towards one pole or, parted in the middle, towards two."""
    d, pole = scalp.directions, _TIED_POLES[person.hair_style]
    x, y, _ = scalp.points.T
    is_parted = pole[0] != 0
    strand, along = strand_coordinates(np.column_stack([np.abs(d[:, 0]), d[:, 1:]]) if is_parted else d, pole)
    lock, tone = broad_locks(strand, along, int(rng.integers(12, 16)), person.texture_seed)
    t = 0.075 + 0.06 * scalp.top + 0.03 * (lock - 0.65)
    if is_parted:
        parting = np.exp(-((x / 0.05) ** 2)) * (y > 7.5)
        t, lock = t - 0.06 * parting, lock * (1 - 0.7 * parting)
    return Shell(lay_hair(scalp, t, width=0.3), tone, lock)
