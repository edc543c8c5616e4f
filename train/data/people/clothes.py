"""Clothes and spectacles: a bust with round shoulders and a neckline, round or square frames."""

from __future__ import annotations

import numpy as np

from train.data.people.geometry import Material, Part, sphere_grid, tube
from train.data.people.identity import HANGING, Person, Stream
from train.data.people.shape import Shape, load_asset

_OVER_EAR = np.array([0.735, 7.32, 0.66])  # of the base mesh, at +x: where a temple ends
_NECKLINES = {"crew": 0.45, "turtleneck": 0.3, "hood": 0.25}


def build_clothes(person: Person, shape: Shape) -> list[Part]:
    """Return the bust, rounded and closed below, and the border of its neckline."""
    rng = person.random(Stream.CLOTHES)
    middle, half = _measure_neck(shape)
    directions, faces = sphere_grid(56, 32, "y")
    x, y, z = directions.astype(float).T
    shoulders = rng.uniform(0.14, 0.18) + 0.05 * person.gender
    plan = np.maximum(np.hypot(x, z), 1e-6) ** -0.12  # a little squarer than an ellipsoid seen from the side
    height = 5.96 + y * np.where(y > 0, 0.19, 0.22) + 0.07 * np.maximum(-z, 0)
    forward = middle + 0.22 * np.maximum(-y, 0)  # less of the back is seen from below
    vertices = np.column_stack([(half[0] + shoulders) * x * plan, height, forward + (half[1] + 0.12) * z * plan])
    bust = Part.build(Material.SHIRT, vertices, faces, vertices[:, 1], grid=(32, 56))
    neckline = str(rng.choice(list(_NECKLINES), p=list(_NECKLINES.values())))
    return [bust, _neckline_part(neckline, middle, half, bool(rng.random() < 0.35))]


def _measure_neck(shape: Shape) -> tuple[float, np.ndarray]:
    """Return where the middle of the neck lies in z, and its half axes in x and z just above the shoulders."""
    x, y, z = shape.skin[load_asset().canonical[:, 2] < 1.1].T
    is_low = (y > 5.97) & (y < 6.13)
    front, back = z[is_low & (np.abs(x) < 0.2) & (y < 6.07)].max(), z[is_low].min()
    return (front + back) / 2, np.array([np.abs(x[is_low]).max(), (front - back) / 2])


def _neckline_part(neckline: str, middle: float, half: np.ndarray, has_other_colour: bool) -> Part:
    """Return the roll of cloth round a neck."""
    a = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    back = 0.5 - 0.5 * np.cos(a)  # 0 in front, 1 at the nape
    ones = np.ones(48)
    if neckline == "turtleneck":
        radius, height, reach = 0.11 * ones, 6.10 + 0.07 * back, 0.03
    elif neckline == "hood":
        radius, height, reach = 0.11 + 0.04 * back, 6.04 + 0.14 * back, 0.06
    else:
        radius, height, reach = 0.06 * ones, 6.07 + 0.06 * back, 0.015
    ring = np.stack([(half[0] + reach) * np.sin(a), height, middle + (half[1] + reach) * np.cos(a)], 1)
    vertices, faces = tube(ring, np.repeat(radius[:, None], 14, 1), 14, closed=True)
    return Part.build(Material.COLLAR, vertices, faces, np.full(len(vertices), float(has_other_colour)))


def build_glasses(person: Person, shape: Shape) -> list[Part]:
    """Return the rims, temples and bridge of spectacles."""
    rng = person.random(Stream.GLASSES)
    asset = load_asset()
    is_round = person.glasses == "round"
    power = 1.0 if is_round else 0.6
    half_width = rng.uniform(0.30, 0.34)
    half_height = rng.uniform(0.28, 0.32) if is_round else rng.uniform(0.23, 0.27)
    thickness = rng.uniform(0.036, 0.044)
    _, y, z = shape.eyes.centres.mean(0)
    y, z = y - 0.02, z + shape.eyes.radii[:, 2].mean() + 0.16
    centre = max(abs(shape.eyes.centres[:, 0]).mean() + 0.01, half_width + 0.07)

    def depth(x):
        return z - 0.12 * (x / 0.6) ** 2

    def part(path: list, closed: bool = False) -> Part:
        return Part.build(Material.GLASSES, *tube(np.stack(path, 1), thickness, 12, closed))

    parts = []
    a = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    u = np.linspace(0, 0.75 if person.hair_style in HANGING else 1, 14)  # hanging hair covers the ears
    for side in (1, -1):
        x = side * centre + np.sign(np.cos(a)) * np.abs(np.cos(a)) ** power * half_width
        rim_y = y + np.sign(np.sin(a)) * np.abs(np.sin(a)) ** power * half_height
        parts.append(part([x, rim_y, depth(x)], closed=True))
        ear = shape.vertices[np.argmin(np.linalg.norm(asset.base - _OVER_EAR * [side, 1, 1], axis=1))]
        outer = centre + half_width
        x = side * (outer + (abs(ear[0]) + 0.01 - outer) * u**0.7)
        temple_y, temple_z = y + 0.08 + (ear[1] - y - 0.04) * u, depth(outer) + (ear[2] - 0.16 - depth(outer)) * u
        parts.append(part([x, temple_y, temple_z]))
    u = np.linspace(-1, 1, 9)
    parts.append(part([u * (centre - half_width), y + 0.06 + 0.04 * (1 - u**2), z + 0.0 * u]))
    return parts
