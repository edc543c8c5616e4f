"""The inside of an open mouth: one surface behind the lips, painted with a row of teeth, a tongue and the dark."""

from __future__ import annotations

import numpy as np

from train.data.people.geometry import Material, Part, mix, smoothstep, triangles
from train.data.people.shape import Shape, load_asset

_ACROSS, _DOWN = 33, 14  # points of the surface
TEETH, TONGUE, DARK = np.float32([0.86, 0.84, 0.79]), np.float32([0.42, 0.12, 0.11]), np.float32([0.10, 0.025, 0.022])


def build_mouth(shape: Shape) -> Part:
    """Return the surface that closes the gap between the lips, a little behind their edges.

    Its attributes are where a point lies between the mouth's corners, −1…1, and between the lips' inner edges, from
    0 at the upper to 1 at the lower one.
    """
    asset = load_asset()
    ring, base = shape.vertices[asset.mouth_rim], asset.base[asset.mouth_rim]
    is_upper = base[:, 1] > 6.635
    x = np.linspace(ring[:, 0].min(), ring[:, 0].max(), _ACROSS)
    edges = []
    for edge in (ring[is_upper], ring[~is_upper]):
        edge = edge[np.argsort(edge[:, 0])]
        fit = [np.polynomial.Polynomial.fit(edge[:, 0], edge[:, axis], 4) for axis in (1, 2)]
        edges.append(np.stack([x, *(f(x) for f in fit)], 1))
    upper, lower = edges
    upper[:, 1] += 0.03
    lower[:, 1] -= 0.03
    t = np.linspace(0, 1, _DOWN)[:, None, None]
    surface = upper + (lower - upper) * t
    depth = np.minimum(upper[:, 2], lower[:, 2]) - 0.015
    surface[..., 2] = np.minimum(surface[..., 2], depth + (upper[:, 2] - depth) * np.clip(1 - 1.2 * t[..., 0], 0, 1))
    i, j = np.meshgrid(np.arange(_DOWN - 1), np.arange(_ACROSS - 1), indexing="ij")
    a = (i * _ACROSS + j).ravel()
    quads = np.stack([a, a + _ACROSS, a + _ACROSS + 1, a + 1], 1)
    along = np.broadcast_to(np.linspace(-1, 1, _ACROSS), (_DOWN, _ACROSS)).ravel()
    return Part.build(
        Material.MOUTH, surface.reshape(-1, 3), triangles(quads), along, np.repeat(t.ravel(), _ACROSS)
    )


def mouth_colour(attributes: np.ndarray) -> np.ndarray:
    """Return the colour of the inside of a mouth. ``(R, 3)``."""
    along, down = attributes[:, 0], attributes[:, 1]
    colour = np.tile(DARK, (len(along), 1))
    colour = mix(colour, TONGUE, smoothstep(0.70, 0.95, down) * smoothstep(0.9, 0.3, np.abs(along)))
    edge = 0.66 - 0.10 * along**2
    colour = mix(colour, TEETH, smoothstep(edge + 0.04, edge - 0.04, down))
    return mix(colour, DARK, 0.85 * smoothstep(0.72, 0.98, np.abs(along)))
