"""Beards: where they grow on the skin, and how far they stand out of it."""

from __future__ import annotations

import numpy as np

from train.data.people.geometry import smoothstep, vertex_normals
from train.data.people.identity import Person
from train.data.people.shape import Shape, load_asset

_LENGTHS = {"short": 0.03, "full": 0.10, "goatee": 0.06, "moustache": 0.04}  # decimetres; stubble is painted only


def beard_density(person: Person, points: np.ndarray, lips: np.ndarray, softness: float = 1.0) -> np.ndarray:
    """Return where a beard grows, 0…1 with soft edges; zero everywhere for a person without.

    Args:
        person: Gives the kind of beard.
        points: Of the skin, canonical. ``(N, 3)``.
        lips: Share of the lips there. ``(N,)``.
        softness: Width of the edge on the cheek; the greater, the farther inside it lies.

    Returns:
        Densities. ``(N,)`` float32.
    """
    x, y, z = points.T
    if person.beard == "none":
        return np.zeros(len(x), np.float32)
    is_stubble = person.beard == "stubble"
    azimuth = np.arctan2(np.abs(x), z - 0.45)
    knots = [0, 0.16, 0.26, 0.36, 0.5, 0.65, 0.8, 0.95, 1.1, 1.2]
    upper = np.interp(azimuth, knots, [6.80, 6.80, 6.77, 6.69, 6.63, 6.64, 6.72, 6.86, 7.10, 7.25])
    soft = 0.14 if is_stubble else 0.05
    density = smoothstep(-soft, (2 * softness - 1) * soft, upper - 0.02 - y)
    density = density * smoothstep(1.26, 1.26 - 0.18 * softness, azimuth) * smoothstep(0.58, 0.80, z)
    density = density * smoothstep(6.02, 6.16, y)
    if not is_stubble:
        density = density * smoothstep(0.70, 1.0, z + 0.35 * smoothstep(6.5, 6.9, y))
    under_lip = np.exp(-((x / 0.10) ** 2) - ((y - 6.47) / 0.03) ** 2)
    density = density * (1 - smoothstep(0.10, 0.45, lips)) * (1 - 0.3 * under_lip)
    if person.beard == "moustache":
        density = density * smoothstep(6.58, 6.66, y) * smoothstep(0.36, 0.27, azimuth)
    if person.beard == "goatee":
        density = density * smoothstep(0.38, 0.25, azimuth)
    return density.astype(np.float32)


def grow_beard(person: Person, shape: Shape) -> np.ndarray:
    """Move the skin outwards where a beard grows.

    Args:
        person: Gives the kind of beard.
        shape: Skin without a beard.

    Returns:
        Vertices of the subdivided skin. ``(S, 3)`` float32.
    """
    if person.beard not in _LENGTHS:
        return shape.skin
    asset = load_asset()
    x, y, z = asset.canonical.T
    density = beard_density(person, asset.canonical, asset.lips, softness=2.2)
    strand = np.arctan2(x, z - 0.6)
    lock = 0.5 + 0.5 * np.cos(22 * strand + 1.5 * np.sin(6 * y))
    length = _LENGTHS[person.beard] * smoothstep(0.0, 1.0, density) * (0.92 + 0.10 * lock)
    length = length * (1 + 0.7 * smoothstep(6.6, 6.25, y))
    length = length * smoothstep(0.9, 2.6, (x / 0.29) ** 2 + ((y - 6.62) / 0.11) ** 2)  # clear of the lips
    down = np.array([0, -0.35, 0]) * (length * smoothstep(6.7, 6.3, y))[:, None]
    normals = vertex_normals(shape.skin, asset.fine_faces)
    return (shape.skin + normals * length[:, None] + down).astype(np.float32)
