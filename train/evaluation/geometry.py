"""Metrics of the geometry: is the level set one closed surface, as deep, as round and as smooth as it should be?

The level set is measured by rays and by marching cubes, never by the volume rendering. Where there is a subject, its
drawn heads are the reference.

Shapes: N seeds, H W thumbnail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from stylesdf.mesh import extract_mesh
from stylesdf.model import Generator
from train.evaluation.registry import Quantity, metric
from train.evaluation.views import Context, latent

MESH_RESOLUTION = 96


def relief(depth: Tensor) -> float | None:
    """Return the depth of a frontal view's relief: 98th less 2nd percentile of ``(H, W)``; None without a surface."""
    found = depth[~depth.isnan()]
    if len(found) == 0:
        return None
    low, high = np.percentile(found.numpy(), [2, 98])
    return float(high - low)


def bulge(depth: Tensor) -> float | None:
    """Return by how much the centre of a silhouette is nearer to the camera than its rim.

    Centre and rim are the thirds of its pixels that lie deepest in the silhouette and nearest to its outline; each
    stands with its median depth.

    Args:
        depth: z-depth, NaN in the background. ``(H, W)``.

    Returns:
        World units, negative for a hollow; None without a surface.
    """
    depth = depth.numpy()
    mask = ~np.isnan(depth)
    if not mask.any():
        return None
    to_outline = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    low, high = np.quantile(to_outline[mask], [1 / 3, 2 / 3])
    rim, centre = depth[mask & (to_outline <= low)], depth[mask & (to_outline >= high)]
    return float(np.median(rim) - np.median(centre))


@metric(
    "surface",
    Quantity("closed", "level set is one closed surface", "share", "higher", 1.0),
    Quantity("pieces", "pieces of the level set, mean", "", "nearer", 1.0),
    Quantity("absent", "no level set at all", "share", "lower", 0.0),
)
def surface(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Is the level set one closed surface, as it comes out of marching cubes, nothing dropped and nothing repaired?

    A surface that leaves the scene ball is cut open there and does not count as closed; a bubble inside the head
    counts as a piece.
    """
    closed, absent, pieces = 0, 0, []
    for index, seed in enumerate(seeds):
        try:
            mesh = extract_mesh(model, model.mapping(latent(model, seed), truncation), MESH_RESOLUTION, keep="all")
        except ValueError:  # the field has one sign all over the ball
            mesh = None
        if mesh is None or len(mesh.faces) == 0:
            absent += 1
        else:
            pieces.append(mesh.body_count)
            closed += pieces[-1] == 1 and mesh.is_watertight
        context.report((index + 1) / len(seeds))
    return {
        "count": len(seeds),
        "closed": closed / len(seeds),
        "pieces": _mean(pieces),
        "absent": absent / len(seeds),
    }


@metric("silhouette", Quantity("iou", "rendering's and level set's silhouette, IoU", "", "higher", 1.0))
def silhouette(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Does the rendering show the level set? Frontal views; coverage above one half against rays that hit."""
    views = context.views(model, seeds, truncation)
    rendered, solid = views.alpha > 0.5, ~views.depth.isnan()
    both = (rendered & solid).sum(dim=(1, 2)).double()
    either = (rendered | solid).sum(dim=(1, 2)).double()
    iou = both / either.clamp(min=1.0)
    return {"count": len(seeds), "iou": float(iou.mean()), "iou_5th_percentile": float(torch.quantile(iou, 0.05))}


@metric(
    "relief",
    Quantity("relief", "depth of the relief", "world units", "nearer", "reference_relief"),
    Quantity("convex", "centre nearer than rim", "share", "higher", "reference_convex"),
    Quantity("bulge", "by how much nearer, mean", "world units", "nearer", "reference_bulge"),
)
def relief_of_heads(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Is the head as deep as it should be, and does it bulge towards the camera instead of being a hollow mask?

    Heads without a surface have no relief and are not convex.
    """
    result = {"count": len(seeds)} | _relief("", context.views(model, seeds, truncation).depth)
    references = context.references(model, len(seeds))
    return result if references is None else result | _relief("reference_", references.depth)


def _relief(prefix: str, depth: Tensor) -> dict[str, float]:
    reliefs = [value for view in depth if (value := relief(view)) is not None]
    bulges = [value for view in depth if (value := bulge(view)) is not None]
    return {
        f"{prefix}relief": _mean(reliefs),
        f"{prefix}convex": sum(value > 0 for value in bulges) / len(depth),
        f"{prefix}hollow": sum(value < 0 for value in bulges) / len(depth),
        f"{prefix}bulge": _mean(bulges),
        f"{prefix}with_surface": len(bulges) / len(depth),
    }


@metric(
    "smoothness",
    Quantity("bend", "bend of the surface between neighbouring pixels, median", "degrees", "nearer", "reference_bend"),
    Quantity("rough", "share of the surface that bends by more than 30°", "share", "nearer", "reference_rough"),
)
def smoothness(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Is the level set smooth where the data is? Angles between normals of neighbouring pixels, frontal views.

    Normals are those of the depth map, of heads as of the data; pixels at the outline have none.
    """
    width = 2.0 * math.tan(math.radians(model.config.fov_deg) / 2.0)
    result = {"count": len(seeds)} | _bends("", context.views(model, seeds, truncation).depth, width)
    references = context.references(model, len(seeds))
    return result if references is None else result | _bends("reference_", references.depth, width)


def bends(depth: Tensor, width: float) -> Tensor:
    """Return the angles between the normals of horizontally and vertically neighbouring pixels, in degrees.

    Args:
        depth: z-depth, NaN in the background. ``(H, W)``.
        width: Of the view at depth 1, world units.
    """
    step = width / depth.shape[-1] * 2.0
    across, down = (depth[1:-1, 2:] - depth[1:-1, :-2]) / step, (depth[2:, 1:-1] - depth[:-2, 1:-1]) / step
    normals = torch.nn.functional.normalize(torch.stack([across, down, torch.ones_like(across)]), dim=0)
    cosines = [(normals[:, :, 1:] * normals[:, :, :-1]).sum(0), (normals[:, 1:] * normals[:, :-1]).sum(0)]
    angles = torch.cat([cosine[~cosine.isnan()].clamp(-1.0, 1.0).acos() for cosine in cosines])
    return angles.rad2deg()


def _bends(prefix: str, depth: Tensor, width: float) -> dict[str, float]:
    found = [angles for view in depth if len(angles := bends(view, width))]
    return {
        f"{prefix}bend": _mean([float(angles.median()) for angles in found]),
        f"{prefix}rough": _mean([float((angles > 30.0).double().mean()) for angles in found]),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
