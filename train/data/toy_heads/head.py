"""One animal head as tensors.

Shapes: P parts, K brushes.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

SPECIES = ("cat", "dog", "bear", "fox")
MAX_RADIUS = 0.113  # no head reaches farther from the origin, world units


@dataclass(frozen=True, eq=False)
class Head:
    """One animal: parts, paint, and the numbers it was drawn from.

    Args:
        species: One of ``SPECIES``.
        centers: Centres of the parts, world units. ``(P, 3)``.
        rotations: Columns are the axes of each part. ``(P, 3, 3)``.
        radii: Half axes, world units. ``(P, 3)``.
        colors: Unpainted albedo of each part in [0, 1]. ``(P, 3)``.
        brush_centers: Centres of the paint brushes. ``(K, 3)``.
        brush_matrices: Map an offset from the centre to the brush's unit ball. ``(K, 3, 3)``.
        brush_colors: Albedo that the brush paints. ``(K, 3)``.
        brush_softness: Width of the brush's edge as a share of its radius. ``(K,)``.
        brush_targets: Which parts take the paint; later brushes cover earlier ones. ``(K, P)`` bool.
        attributes: Plain floats and strings: sizes in world units, angles in radians, colours as ``#rrggbb``.
    """

    species: str
    centers: Tensor
    rotations: Tensor
    radii: Tensor
    colors: Tensor
    brush_centers: Tensor
    brush_matrices: Tensor
    brush_colors: Tensor
    brush_softness: Tensor
    brush_targets: Tensor
    attributes: dict[str, float | str]

    def part_matrices(self) -> Tensor:
        """Return the maps from an offset from a part's centre to the part's unit ball. ``(P, 3, 3)``."""
        return self.rotations.transpose(1, 2) / self.radii[:, :, None]
