"""Metrics of several views of one head: do they show the same thing?

Shapes: P points, H W thumbnail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor

from stylesdf.camera import Camera, focal_length
from stylesdf.fast.surface import SurfaceGuide, render_guided
from stylesdf.model import Generator
from stylesdf.outputs import RenderOutput
from train.evaluation.registry import Quantity, metric
from train.evaluation.subjects import REFERENCE_SEED
from train.evaluation.views import Context, latent
from train.poses import draw_poses

DEPTH_RAYS = 128  # per side of the depth maps
REFINED = 5  # a map is made denser by so much before distances to it are taken: to its surface, not to its rays
DEPTH_SAMPLES = 128  # per ray; their distance is the unit of the measure
MAX_BACKGROUND = 0.5
# A point deeper than the other view's surface by more than this share of the scene radius is hidden behind it, not
# inconsistent with it.
OCCLUSION = 0.25
MIN_POINTS = 20


def project(points: Tensor, camera: Camera, fov_deg: float) -> tuple[Tensor, Tensor]:
    """Project world points into a view.

    Args:
        points: ``(P, 3)``.
        camera: One.
        fov_deg: Full field of view, degrees.

    Returns:
        Positions as ``grid_sample`` takes them, x to the right and y down, the picture from −1 to 1 ``(P, 2)``, and
        z-depths ``(P,)``.
    """
    matrix = camera.cam2world[0].to(points)
    local = (points - matrix[:, 3]) @ matrix[:, :3]  # right, up, back
    depth = -local[:, 2]
    scale = 2.0 * focal_length(fov_deg) / depth
    return torch.stack([local[:, 0] * scale, -local[:, 1] * scale], dim=1), depth


def render_near_surface(model: Generator, w: Tensor, camera: Camera, **options) -> RenderOutput:
    """Volume-render a code ``(1, latent_size)`` without the samples that a grid shows to be empty or hidden.

    It takes a sixth of the time at 128×128 rays, and depth consistency is the same to 5e-4 of a sample spacing.
    """
    field = model.field.condition(w)
    guide = SurfaceGuide.measure(field, model.config)
    return render_guided(model.renderer, field, guide, camera.to(model.device, model.dtype), **options)


def lift(model: Generator, w: Tensor, camera: Camera, rays: int, samples: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Volume-render a view: surface points ``(H, W, 3)``, depth, coverage ``(H, W)`` and colours ``(3, H, W)``."""
    view = render_near_surface(model, w, camera, resolution=rays, num_samples=samples, with_features=False)
    return view.xyz[0].permute(1, 2, 0), view.depth[0, 0], 1.0 - view.background[0, 0], view.thumbnail[0]


def visible_from(
    points: Tensor, camera: Camera, fov_deg: float, depth: Tensor, coverage: Tensor, tolerance: float
) -> Tensor:
    """Tell which world points ``(P, 3)`` another view shows: inside its silhouette, and not far behind its surface."""
    place, own_depth = project(points, camera, fov_deg)
    grid = place[None, None]
    there = F.grid_sample(coverage[None, None], grid, mode="nearest", align_corners=False)[0, 0, 0]
    front = F.grid_sample(depth[None, None], grid, mode="nearest", align_corners=False)[0, 0, 0]
    return (there >= 1.0 - MAX_BACKGROUND) & (own_depth <= front + tolerance)


def surface_points(points: Tensor, is_solid: Tensor) -> np.ndarray:
    """Lay a dense surface through a view's points ``(H, W, 3)``, where all neighbours are solid. ``(P, 3)``."""
    size = REFINED * (points.shape[0] - 1) + 1
    maps = torch.cat([points.permute(2, 0, 1), is_solid[None].to(points)])[None]
    dense = F.interpolate(maps, size, mode="bilinear", align_corners=True)[0]
    return dense[:3, dense[3] > 0.999].T.cpu().numpy()


def mean_distance(points: np.ndarray, surface: np.ndarray) -> float:
    """Return the mean distance of points to the nearest of another set, ``(P, 3)`` each."""
    return float(cKDTree(surface).query(points)[0].mean())


def _two_cameras(model: Generator, count: int) -> list[tuple[Camera, Camera]]:
    """Draw two views per head from the model's own poses, the same at every call."""
    random = torch.Generator().manual_seed(REFERENCE_SEED)
    poses = draw_poses(2 * count, model.config, random).tolist()
    return [tuple(Camera.from_angles(*pose) for pose in poses[2 * i : 2 * i + 2]) for i in range(count)]


@metric(
    "depth-consistency",
    Quantity("distance", "Chamfer distance of two views' depth maps, in 128ths of the depth range", "", "lower", 0.0),
    num_seeds=100,
)
@torch.no_grad()
def depth_consistency(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Do the depth maps of two views describe one surface? The paper's measure (section 4.2); 0.40 on its FFHQ model.

    Two views drawn from the model's poses are volume-rendered with 128×128 rays and 128 samples; the expected points
    of each that both show are compared with the surface through the other's by the Chamfer distance (the mean of both
    directions), in units of (far − near) / 128. Comparing with the other's points alone, a perfect ball would have
    0.6: that is the distance of the rays.
    """
    config = model.config
    spacing = (config.far - config.near) / DEPTH_SAMPLES
    distances = []
    for index, (seed, cameras) in enumerate(zip(seeds, _two_cameras(model, len(seeds)))):
        w = model.mapping(latent(model, seed), truncation)
        views = [lift(model, w, camera, DEPTH_RAYS, DEPTH_SAMPLES) for camera in cameras]
        surfaces = [
            surface_points(points.float(), coverage >= 1.0 - MAX_BACKGROUND) for points, _, coverage, _ in views
        ]
        clouds = []
        for this, other in ((0, 1), (1, 0)):
            points, _, coverage, _ = views[this]
            points = points[coverage >= 1.0 - MAX_BACKGROUND].float()
            _, depth, coverage, _ = views[other]
            tolerance = OCCLUSION * config.scene_radius
            shared = visible_from(points, cameras[other], config.fov_deg, depth, coverage, tolerance)
            clouds.append(points[shared].cpu().numpy())
        if min(map(len, clouds)) >= MIN_POINTS:
            both = mean_distance(clouds[0], surfaces[1]) + mean_distance(clouds[1], surfaces[0])
            distances.append(both / 2.0 / spacing)
        context.report((index + 1) / len(seeds))
    return {
        "count": len(seeds),
        "compared": len(distances),
        "distance": float(np.mean(distances)) if distances else None,
    }


@metric(
    "reprojection",
    Quantity("error", "colour change of a surface point between two views, RMS", "", "lower", 0.0),
)
@torch.no_grad()
def reprojection(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Does a point of the surface keep its colour? One thumbnail is lifted by its depth and laid on the other.

    Root of the mean squared difference, colours in [0, 1], over the points both views show; pixels half covered are
    left out, resampling is in it. ``unrelated`` is the same with another head's view, the scale of the measure.
    """
    config, size = model.config, model.config.render_resolution
    errors, unrelated, last = [], [], None
    for index, (seed, cameras) in enumerate(zip(seeds, _two_cameras(model, len(seeds)))):
        w = model.mapping(latent(model, seed), truncation)
        first, second = (lift(model, w, camera, size, config.num_samples) for camera in cameras)
        solid = first[2] > 0.95
        points, colours = first[0][solid].float(), first[3][:, solid].float()
        if len(points) >= MIN_POINTS:
            errors.append(_colour_change(points, colours, cameras[1], second, config))
            if last is not None:
                unrelated.append(_colour_change(points, colours, *last, config))
        last = (cameras[1], second)
        context.report((index + 1) / len(seeds))
    errors, unrelated = ([value for value in values if value is not None] for values in (errors, unrelated))
    return {
        "count": len(seeds),
        "compared": len(errors),
        "error": float(np.mean(errors)) if errors else None,
        "unrelated": float(np.mean(unrelated)) if unrelated else None,
    }


def _colour_change(points: Tensor, colours: Tensor, camera: Camera, view: tuple, config) -> float | None:
    _, depth, coverage, picture = view
    shared = visible_from(
        points, camera, config.fov_deg, depth, coverage, 2.0 * config.scene_radius / config.num_samples
    )
    if shared.sum() < MIN_POINTS:
        return None
    place, _ = project(points[shared], camera, config.fov_deg)
    there = F.grid_sample(picture[None].float(), place[None, None], mode="bilinear", align_corners=False)[0, :, 0]
    return float(((there - colours[:, shared]) / 2.0).square().mean().sqrt())
