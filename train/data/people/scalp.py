"""The scalp: the head under the hair as a radial surface, the hairline, and how locks lie on it.

Canonical space throughout. Shapes: N directions of the grid.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates

from train.data.people.geometry import Material, Part, smoothstep, sphere_grid
from train.data.people.identity import Person, Stream
from train.data.people.rays import Scene
from train.data.people.shape import SKULL, Shape, load_asset

GRID_AROUND, GRID_ALONG = 180, 120  # points of a ring, and rings, of surfaces round the skull

_LINE_AZIMUTHS = [0, 0.3, 0.55, 0.78, 0.95, 1.08, 1.2, 1.3, 1.42, 1.55, 1.75, 2.1, 2.6, 3.15]
_LINE_HEIGHTS = [8.02, 8.02, 7.99, 7.86, 7.66, 7.42, 7.16, 7.13, 7.30, 7.42, 7.36, 6.95, 6.66, 6.58]
_AZIMUTHS, _HEIGHTS = np.linspace(0, np.pi, 80), np.linspace(6.0, 9.0, 76)  # grid of the distance to the hairline


@dataclass(frozen=True, eq=False)
class Scalp:
    """The head under the hair, seen from ``SKULL`` along the directions of ``skull_grid``.

    Attributes:
        directions: Unit vectors. ``(N, 3)``.
        radius: Of the skin. ``(N,)``.
        points: Of the skin. ``(N, 3)``.
        inside: Distance from the hairline, negative in the face. ``(N,)``.
        top: How much a direction belongs to the top of the head, 0…1. ``(N,)``.
    """

    directions: np.ndarray
    radius: np.ndarray
    points: np.ndarray
    inside: np.ndarray
    top: np.ndarray


@dataclass(frozen=True, eq=False)
class Shell:
    """A surface of hair over the grid.

    Attributes:
        radius: From ``SKULL``; below the skin where no hair grows. ``(N,)``.
        tone: Lightness of whole locks, −1…1. ``(N,)``.
        lock: 0 in the creases between locks, 1 on top of them. ``(N,)``.
    """

    radius: np.ndarray
    tone: np.ndarray
    lock: np.ndarray


@functools.cache
def skull_grid() -> tuple[np.ndarray, np.ndarray]:
    """Return the directions of surfaces round the skull, ``(N, 3)`` float32, and their triangles."""
    return sphere_grid(GRID_AROUND, GRID_ALONG)


def blur_on_grid(values: np.ndarray, sigma: float) -> np.ndarray:
    """Blur numbers of the grid by a Gaussian of ``sigma`` steps. ``(N,)``."""
    return gaussian_filter(values.reshape(GRID_ALONG, GRID_AROUND), sigma, mode=("nearest", "wrap")).ravel()


def measure_scalp(person: Person, shape: Shape) -> Scalp:
    """Find the skin from the skull's middle.

    Args:
        person: Gives the hairline.
        shape: Skin without a beard.

    Returns:
        The scalp; its radius is smoothed, and at most 1.35, so that ears and nose do not count.
    """
    directions, _ = skull_grid()
    asset = load_asset()
    scene = Scene(shape.skin[: len(shape.vertices)], asset.skin_faces)
    face, u, v, distance = scene.first_hits(np.tile(SKULL, (len(directions), 1)), directions)
    radius = blur_on_grid(np.minimum(np.where(face >= 0, distance, 0.9), 1.35), 1.0)
    directions = directions.astype(float)
    points = SKULL + radius[:, None] * directions
    weights = np.stack([1 - u - v, u, v], 1)
    canonical = np.einsum("nk,nkc->nc", weights, asset.base[asset.skin_faces[face]])
    inside = hairline_distance(np.where(face[:, None] >= 0, canonical, points), person)
    return Scalp(directions, radius, points, blur_on_grid(inside, 1.4), smoothstep(7.6, 8.4, points[:, 1]))


def hairline_distance(points: np.ndarray, person: Person) -> np.ndarray:
    """Return how far points of the base mesh lie behind the hairline, negative in front of and below it. ``(N,)``.

    The distance is that on a cylinder round the head, unrolled: azimuth times 0.85, and height.
    """
    heights = np.array(_LINE_HEIGHTS)
    rng = person.random(Stream.HAIRLINE)
    front, temple = rng.uniform(-0.06, 0.05) + 0.03 * person.gender, rng.uniform(0.0, 0.10) * person.gender
    heights[0] -= rng.uniform(0.0, 0.06)  # a peak
    heights[:6] += np.array([1, 1, 1, 0.8, 0.5, 0.2]) * front + np.array([0, 0.3, 1, 1, 0.6, 0.2]) * temple
    heights[6:8] -= 0.07 * (person.gender - 0.5)  # sideburns
    if person.hair_style == "receding":
        heights[:6] += np.array([0.29, 0.33, 0.39, 0.42, 0.30, 0.10])
    line = PchipInterpolator(_LINE_AZIMUTHS, heights)
    azimuths = np.linspace(0, 3.15, 100)
    wide, high = (a.ravel() for a in np.meshgrid(_AZIMUTHS, _HEIGHTS, indexing="ij"))
    offsets = np.hypot(0.85 * (wide[:, None] - azimuths), high[:, None] - line(azimuths)).min(1)
    table = (offsets * np.sign(high - line(wide))).reshape(len(_AZIMUTHS), len(_HEIGHTS))
    x, y, z = points.T
    at_azimuth = np.abs(np.arctan2(x, z - 0.35)) / _AZIMUTHS[1]
    at_height = (y - _HEIGHTS[0]) / (_HEIGHTS[1] - _HEIGHTS[0])
    inside = map_coordinates(table, [at_azimuth, at_height], order=1, mode="nearest")
    if person.hair_style == "receding":  # the line crosses the crown, where an azimuth says little
        on_crown = 1.0 - 0.8 * np.abs(x) - z
        inside = inside + (on_crown - inside) * smoothstep(8.15, 8.35, y)
    return inside


def strand_coordinates(directions: np.ndarray, pole, swirl: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return which strand a direction lies on, its angle round a pole, and how far along, its angle from it."""
    pole = np.asarray(pole, float) / np.linalg.norm(pole)
    u = np.cross(pole, [0.3, 0.2, 1.0])
    u /= np.linalg.norm(u)
    along = np.arccos(np.clip(directions @ pole, -1, 1))
    return np.arctan2(directions @ np.cross(pole, u), directions @ u) + swirl * along, along


def broad_locks(
    strand: np.ndarray, along: np.ndarray, count: int, seed: int, wave: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return rounded locks with soft creases between them, 0…1, and their lightness, −1…1.

    Args:
        strand, along: See ``strand_coordinates``.
        count: Of locks round the pole.
        seed: Of their bends.
        wave: How wavy they are, 0…1.

    Returns:
        Locks, which fade at the pole where they meet, and tones: each lock its own, and a lighter band across all.
    """
    f = np.random.default_rng(seed).uniform(0, 6.28, 6)
    bend = 1.1 * np.sin(2 * strand + f[0] + 0.8 * along) + 0.6 * np.sin(3 * strand + f[1] - 1.2 * along)
    bend = bend + 1.5 * wave * np.sin(5.5 * along + f[2])
    lock = (0.5 + 0.5 * np.cos(count * strand + bend)) ** 0.7
    lock = 0.65 + (lock - 0.65) * smoothstep(0.05, 0.55, along)
    tone = 0.5 * np.sin((count // 2) * strand + 0.5 * bend + f[3]) + 0.3 * np.sin(3 * strand + f[4])
    band = np.exp(-(((along - 0.85 - 0.1 * np.sin(3 * strand + f[5])) / 0.32) ** 2))
    return lock, np.clip(0.6 * tone * smoothstep(0.1, 0.6, along) + 0.7 * band - 0.25, -1, 1)


def lay_hair(
    scalp: Scalp, thickness: np.ndarray | float, inside: np.ndarray | None = None, width: np.ndarray | float = 0.35
) -> np.ndarray:
    """Return the radius of hair that comes out of the skin just behind its border and swells softly. ``(N,)``.

    Args:
        scalp: Under it.
        thickness: Where it is full. ``(N,)`` or a number.
        inside: Distance behind the border. ``(N,)``; by default that from the hairline.
        width: Distance at which it is full. ``(N,)`` or a number.
    """
    inside = scalp.inside if inside is None else inside
    out = 0.08 * smoothstep(-0.03, 0.10, inside) - 0.055 - 0.25 * smoothstep(-0.05, -0.2, inside)  # deep under ears
    swell = np.clip((inside - 0.02) / width, 0, 1)
    return scalp.radius + out + np.maximum(thickness - 0.025, 0) * (1 - (1 - swell) ** 2)


def shell_part(shell: Shell) -> Part:
    """Return a surface of hair as a part."""
    directions, faces = skull_grid()
    vertices = SKULL + shell.radius[:, None] * directions
    return Part.build(Material.HAIR, vertices, faces, shell.tone, shell.lock, grid=(GRID_ALONG, GRID_AROUND))


def tuck_under(shell: Shell, cap_radius: np.ndarray, cap_height: np.ndarray) -> Shell:
    """Keep hair inside a hat's radius ``(N,)`` wherever the height over its brim ``(N,)`` is not negative."""
    limit = np.maximum(cap_radius - 0.03, 0.4) + 10 * (cap_height < 0.0)
    return replace(shell, radius=np.minimum(shell.radius, limit))
