"""Hats: a knitted cap with a turned-up brim, with or without a pompom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.data.people.geometry import Material, Part, smoothstep, unit
from train.data.people.identity import Person, Stream
from train.data.people.scalp import GRID_ALONG, GRID_AROUND, Scalp, Shell, blur_on_grid, skull_grid
from train.data.people.shape import SKULL
from train.data.people.tufts import tuft


@dataclass(frozen=True, eq=False)
class Hat:
    """A hat over the grid of the skull.

    Attributes:
        radius: From ``SKULL``; inside the head below the brim. ``(N,)``.
        height: Over the brim. ``(N,)``.
        parts: Its meshes.
    """

    radius: np.ndarray
    height: np.ndarray
    parts: list[Part]


def build_hat(person: Person, scalp: Scalp, shell: Shell | None) -> Hat:
    """Knit a cap over a head and the hair that it can hold, None where the head is bald."""
    directions, faces = skull_grid()
    hair = scalp.radius if shell is None else np.minimum(shell.radius, scalp.radius + 0.15)
    under = blur_on_grid(np.maximum(np.maximum(scalp.radius, hair), 0.9), 6) + 0.06
    x, y, z = (SKULL + under[:, None] * scalp.directions).T
    height = y - (7.60 + 0.26 * smoothstep(-0.4, 1.4, z) + 0.03 * x)
    turn_up = smoothstep(0.31, 0.27, height)
    rib = 0.5 + 0.5 * np.cos(20 * np.arctan2(x, z - 0.4))
    thickness = 0.05 + 0.075 * turn_up + 0.018 * rib * (0.35 + 0.65 * turn_up) + 0.17 * smoothstep(8.0, 8.6, y)
    turn_in = np.sin(np.pi / 2 * np.clip(height / 0.15, 0, 1))
    radius = np.where(height > -0.12, under - 0.2 + (thickness + 0.2) * turn_in, 0.4)
    vertices = SKULL + radius[:, None] * directions
    parts = [Part.build(Material.BEANIE, vertices, faces, height, grid=(GRID_ALONG, GRID_AROUND))]
    if person.random(Stream.HAT).random() < 0.5:
        up = unit([0, 1, -0.12])
        top = SKULL + radius[np.argmax(directions @ up)] * up + [0, 0.10, 0]
        radii = np.array([0.21, 0.18, 0.21])
        parts.append(tuft(top, radii, person.texture_seed, True, Material.POMPOM))
    return Hat(radius, height, parts)
