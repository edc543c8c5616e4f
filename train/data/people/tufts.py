"""What is tied or stitched on: buns, puffs, pigtails with their bands, and pompoms."""

from __future__ import annotations

import numpy as np

from train.data.people.geometry import Material, Part, bumps, fibonacci_sphere, sphere_grid, tube, unit
from train.data.people.identity import Person
from train.data.people.scalp import Shell, broad_locks, skull_grid, strand_coordinates
from train.data.people.shape import SKULL


def tuft(centre, radii, seed: int, has_curls: bool, material: Material = Material.HAIR) -> Part:
    """Return a bun, a puff or a pompom.

    Args:
        centre: ``(3,)``.
        radii: Half axes. ``(3,)``.
        seed: Of its locks.
        has_curls: Broad curls rather than rolled locks.
        material: What it consists of.
    """
    directions, faces = sphere_grid(48, 32, axis="y")
    if has_curls:
        centres = fibonacci_sphere(26) + np.random.default_rng(seed).normal(size=(26, 3)) * 0.08
        lock = bumps(directions, centres / np.linalg.norm(centres, axis=1, keepdims=True))
        tone, radius = 0.3 * directions[:, 1], 0.93 + 0.11 * lock
        lock = 0.4 + 0.6 * lock
    else:
        strand, along = strand_coordinates(directions.astype(float), (0.1, 1, 0.1), 1.4)
        lock, tone = broad_locks(strand, along, 5, seed)
        radius = 1 + 0.09 * (lock - 0.65) * np.sin(along)
    columns = (tone, lock) if material == Material.HAIR else ()
    vertices = np.asarray(centre) + directions * radius[:, None] * radii
    return Part.build(material, vertices, faces, *columns, grid=(32, 48))


def build_tufts(person: Person, shell: Shell, rng: np.random.Generator) -> list[Part]:
    """Return the buns, puffs or pigtails of a style; none for most. The generator goes on from ``build_shell``."""
    seed, style = person.texture_seed, person.hair_style
    size = rng.uniform(0.9, 1.15)
    has_curls = rng.random() < 0.15 + 0.7 * person.ancestry[0]
    directions, _ = skull_grid()

    def on_hair(direction) -> np.ndarray:
        direction = unit(direction)
        return SKULL + direction * shell.radius[np.argmax(directions @ direction)]

    def at(direction, radii, lift: float, is_curly: bool) -> Part:
        return tuft(on_hair(direction) + unit(direction) * lift, np.array(radii) * size, seed, is_curly)

    if style == "bun":
        return [at((0, 0.9, -0.25 + rng.uniform(-0.15, 0.1)), (0.35, 0.28, 0.35), 0.13 * size, has_curls)]
    if style == "knot":
        return [at((0, 0.96, -0.2), (0.23, 0.22, 0.23), 0.12 * size, False)]
    parts = []
    for side in (1, -1):
        if style == "puffs":
            parts.append(at((0.80 * side, 0.72, -0.10), (0.41, 0.39, 0.39), 0.22, True))
        if style == "spacebuns":
            parts.append(at((0.60 * side, 0.86, 0.0), (0.29, 0.28, 0.29), 0.18, False))
        if style == "pigtails":
            parts += _pigtail(on_hair((0.95 * side, 0.02, -0.18)), side, size, seed)
    return parts


def _pigtail(root: np.ndarray, side: int, size: float, seed: int) -> list[Part]:
    """Return a tail that leaves the head at a band, swells, droops and tapers, and its band."""
    t = np.linspace(0, 1, 30)
    path = np.stack([side * (0.40 * t**0.6 - 0.10 * t**2), 0.12 * t - 1.15 * size * t**1.8, 0.10 * t], 1) + root
    path -= [side * 0.05, 0, 0]
    profile = np.interp(t, [0, 0.10, 0.2, 0.38, 0.6, 0.8, 0.93, 1], [0.13, 0.14, 0.20, 0.26, 0.25, 0.18, 0.09, 0.0])
    around = 28
    turn = np.tile(np.arange(around) / around * 2 * np.pi, len(t)) * side
    along = np.repeat(t, around)
    lock = (0.5 + 0.5 * np.cos(4 * turn + 3.0 * along + seed % 7)) ** 0.7
    radius = np.repeat(profile, around) * (0.97 + 0.10 * (lock - 0.5) * np.sin(np.pi * along)) * size
    vertices, faces = tube(path, radius.reshape(len(t), around), around)
    tone = np.clip(0.6 * np.exp(-(((along - 0.4) / 0.2) ** 2)) - 0.2 + 0.2 * np.sin(2 * turn), -1, 1)
    a = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    axis = path[4] - path[1]
    u = np.cross(unit(axis), unit([0, 0.2, 1]))
    u /= np.linalg.norm(u)
    ring = path[2] + 0.15 * size * (np.cos(a)[:, None] * u + np.sin(a)[:, None] * np.cross(unit(axis), u))
    band = Part.build(Material.POMPOM, *tube(ring, 0.06, 10, closed=True))
    return [Part.build(Material.HAIR, vertices, faces, tone, lock, grid=(len(t), around)), band]
