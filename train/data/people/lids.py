"""Lids: how far a person's eyes are open, whatever the morph targets made of them.

Both eyes open equally far, and nobody's are slits. Shapes: V vertices of the base mesh.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from train.data.people.geometry import Material, Part, smoothstep, tube
from train.data.people.identity import OLD_ABOVE, Person, Stream

# of the base mesh, at +x: the middles of the upper and of the lower lid's edge, the inner and the outer corner
LID_POINTS = np.array([[0.311, 7.327, 1.393], [0.311, 7.241, 1.393], [0.205, 7.272, 1.346], [0.435, 7.280, 1.339]])
LASH_POINTS = np.array(  # along the front edge of the upper lid, from the inner corner to the outer
    [
        [0.209, 7.281, 1.370],
        [0.219, 7.295, 1.375],
        [0.235, 7.310, 1.390],
        [0.272, 7.324, 1.401],
        [0.311, 7.332, 1.404],
        [0.349, 7.331, 1.398],
        [0.381, 7.325, 1.376],
        [0.407, 7.316, 1.360],
        [0.424, 7.309, 1.348],
        [0.434, 7.293, 1.341],
    ]
)
_EXPRESSIONS = {"smile": -0.02, "grin": -0.05, "soft": 0.0, "calm": -0.03, "smirk": -0.02, "wow": 0.10}


@dataclass(frozen=True, eq=False)
class Eyes:
    """Two eyeballs, that at +x first, as ellipsoids, and what is seen of them between the lids.

    Attributes:
        centres: ``(2, 3)``.
        radii: Half axes. ``(2, 3)``.
        middles: Height of the middle between the lids. ``(2,)``.
        heights: From the lower to the upper lid. ``(2,)``.
    """

    centres: np.ndarray
    radii: np.ndarray
    middles: np.ndarray
    heights: np.ndarray


def measure_eyes(vertices: np.ndarray, eye_vertices: tuple[np.ndarray, np.ndarray], lid_points: np.ndarray) -> Eyes:
    """Measure eyes and lids.

    Args:
        vertices: ``(V, 3)``.
        eye_vertices: Numbers of each eye's vertices.
        lid_points: Numbers of the vertices at ``LID_POINTS``, for each eye. ``(2, 4)``.
    """
    eyes = [vertices[ids] for ids in eye_vertices]
    upper, lower = vertices[lid_points[:, 0], 1], vertices[lid_points[:, 1], 1]
    return Eyes(
        centres=np.array([(eye.max(0) + eye.min(0)) / 2 for eye in eyes]),
        radii=np.array([np.ptp(eye, axis=0) / 2 for eye in eyes]) * 0.99,
        middles=(upper + lower) / 2,
        heights=upper - lower,
    )


def open_lids(vertices: np.ndarray, person: Person, eyes: Eyes, lid_points: np.ndarray) -> np.ndarray:
    """Turn the lids round the eyeballs until both eyes are open as wide as a person's shall be.

    Args:
        vertices: ``(V, 3)``.
        person: Gives age and expression.
        eyes: See ``measure_eyes``.
        lid_points: Numbers of the vertices at ``LID_POINTS``, for each eye. ``(2, 4)``.

    Returns:
        The moved vertices. ``(V, 3)``.
    """
    corners = vertices[lid_points[:, 2:]]
    widths = np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)
    natural = (eyes.heights / widths).mean()
    ratio = 0.64 + 0.5 * (natural - 0.60) + _EXPRESSIONS[person.expression]
    ratio = np.clip(ratio + 0.04 * person.is_child - 0.06 * (person.age > OLD_ABOVE), 0.56, 0.80)
    out = vertices.copy()
    for centre, radii, points, height, width in zip(eyes.centres, eyes.radii, lid_points, eyes.heights, widths):
        offset = (vertices - centre) / radii
        distance = np.linalg.norm(offset, axis=1)
        near = np.nonzero((distance < 2.0) & (offset[:, 2] > 0))[0]
        offset, distance = offset[near], distance[near]
        elevation = np.arctan2(offset[:, 1], offset[:, 2])
        edges = (vertices[points[:2]] - centre) / radii
        middle = np.arctan2(edges[:, 1], edges[:, 2]).mean()
        off = elevation - middle
        more = (ratio * width / height - 1) * 1.12 * np.exp(-(off**2)) * smoothstep(2.0, 1.2, distance)
        turned = elevation + np.clip(more, -0.9, 1.2) * off
        planar = np.hypot(offset[:, 1], offset[:, 2])
        out[near, 1] = centre[1] + radii[1] * planar * np.sin(turned)
        out[near, 2] = centre[2] + radii[2] * planar * np.cos(turned)
    return out


def build_lashes(person: Person, vertices: np.ndarray, lash_points: np.ndarray) -> list[Part]:
    """Return the lashes of both upper lids: a soft dark band that ends in a small wing.

    Args:
        person: Gives how strong they are.
        vertices: Of the base mesh, lids open. ``(V, 3)``.
        lash_points: Numbers of the vertices at ``LASH_POINTS``, for each eye. ``(2, 10)``.
    """
    strength = person.random(Stream.LASHES).uniform(0, 1)
    strength = 0.3 * strength if person.gender > 0.5 else 0.45 + 0.55 * strength
    parts = []
    for side, ids in zip((1, -1), lash_points):
        edge = vertices[ids].astype(float)
        wing = edge[-1] + (0.025 + 0.055 * strength) * np.array([side, 0.75, -0.5])
        at = np.append(np.linspace(0, 1, len(edge)), 1.18)
        u = np.linspace(0, 1.18, 26)
        path = CubicSpline(at, np.concatenate([edge, wing[None]]))(u) + [0, 0.002, 0.004]
        ring, faces = tube(path, 1.0, 8)
        profile = np.interp(u, [0, 0.15, 0.7, 0.95, 1.18], [0.15, 0.55, 1.0, 1.0, 0.1]) * (0.016 + 0.021 * strength)
        ring = path[:, None] + (ring.reshape(len(u), 8, 3) - path[:, None]) * profile[:, None, None]
        parts.append(Part.build(Material.LASHES, ring.reshape(-1, 3), faces))
    return parts
