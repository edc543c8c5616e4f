"""How deep points lie inside a head, with its cavities filled: what the field should say there, if it were solid."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, distance_transform_edt
from torch import Tensor

from stylesdf.fast.surface import REFINEMENT, SurfaceGuide


def filled_depths(guides: list[SurfaceGuide], points: Tensor) -> Tensor:
    """Return ``filled_depth`` of the points of each identity: of B guides and ``(B, P, 3)``, ``(B, P)``."""
    return torch.stack([filled_depth(*pair) for pair in zip(guides, points)])


def filled_depth(guide: SurfaceGuide, points: Tensor) -> Tensor:
    """Return how far points are from the outside, as coarsely as the guide's grid can tell.

    Args:
        guide: Of one identity.
        points: World points. ``(P, 3)``.

    Returns:
        World units; 0 outside, and within a grid spacing of it. ``(P,)``.
    """
    grid = guide.sdf.view(guide.size, guide.size, guide.size)[::REFINEMENT, ::REFINEMENT, ::REFINEMENT].cpu().numpy()
    side = len(grid)
    spacing = 2.0 * guide.extent / (side - 1)
    # the nearest corner outside is at most one spacing beyond the surface
    depth = (distance_transform_edt(binary_fill_holes(grid < 0)) - 1.0) * spacing
    corner = ((points.cpu() + guide.extent) / spacing).round_().long().clamp_(0, side - 1)
    depth = torch.from_numpy(np.maximum(depth, 0.0).astype(np.float32))
    return depth[corner[:, 0], corner[:, 1], corner[:, 2]].to(points)
