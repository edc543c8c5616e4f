"""A signed distance field cut open: what a plane and a ray meet.

Shapes: H V samples of the plane, S samples of the ray.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from stylesdf.arguments import check_integer
from stylesdf.camera import Camera
from stylesdf.field import ConditionedField
from stylesdf.pictures import to_numpy
from stylesdf.renderer import VolumeRenderer, points_per_chunk
from stylesdf.volume import density_from_sdf, sample_depths


@dataclass(frozen=True)
class SdfSlice:
    """A cut through the field along the vertical plane that holds the camera, and the camera's central ray in it.

    The plane contains the world's y axis and the camera. Its axes are *horizontal*, towards the side where the camera
    stands (z for a frontal camera), and *vertical*, the world's y; both in world units with the scene's centre at 0.

    Attributes:
        sdf: Signed distance, world units, negative inside; rows run along ``vertical``, upwards. ``(V, H)``.
        horizontal: Coordinates of the columns, ascending, from −scene_radius to scene_radius. ``(H,)``.
        vertical: Coordinates of the rows, ascending. ``(V,)``.
        ray_points: Samples of the central ray as (horizontal, vertical), near to far. ``(S, 2)``.
        ray_depth: z-depth of the samples, world units. ``(S,)``.
        ray_sdf: Signed distance at the samples. ``(S,)``.
        ray_density: Volume density at the samples, 1/length. ``(S,)``.
        ray_weights: Share of the pixel's colour owed to each sample, in [0, 1]. ``(S,)``.
        camera_position: The camera in the plane, (horizontal, vertical); it stands outside of the picture.
        beta: Sharpness of the density, world units.
    """

    sdf: np.ndarray
    horizontal: np.ndarray
    vertical: np.ndarray
    ray_points: np.ndarray
    ray_depth: np.ndarray
    ray_sdf: np.ndarray
    ray_density: np.ndarray
    ray_weights: np.ndarray
    camera_position: tuple[float, float]
    beta: float


def slice_field(renderer: VolumeRenderer, field: ConditionedField, camera: Camera, resolution: int = 96) -> SdfSlice:
    """Cut a field open along the vertical plane that holds the camera, and follow its central ray.

    Args:
        renderer: Whose scene and density it is.
        field: Of one code.
        camera: One, on the field's device.
        resolution: Samples per side of the picture, from 8 to 1024.

    Raises:
        ValueError: A resolution out of range.
    """
    resolution = check_integer("resolution", resolution, 8, 1024)
    config, back = renderer.config, camera.cam2world[0, :, 2]
    up = torch.tensor([0.0, 1.0, 0.0]).to(back)
    aside = back * torch.tensor([1.0, 0.0, 1.0]).to(back)
    aside = aside / aside.norm()  # the plane's horizontal axis; the pitch is below π/2, so it has a length
    axis = torch.linspace(-config.scene_radius, config.scene_radius, resolution).to(back)
    points = axis[:, None, None] * up + axis[None, :, None] * aside  # (V, H, 3)
    sdf = torch.cat([field.sdf(row[None])[0] for row in points.reshape(-1, 3).split(points_per_chunk(back.device))])

    depth = sample_depths(config.near, config.far, config.num_samples, back)  # (1, 1, 1, S)
    ray = (camera.cam2world[0, :, 3] - depth[..., None] * back).reshape(-1, 3)  # (S, 3)
    ray_sdf = field.sdf(ray[None])[0]
    density = density_from_sdf(ray_sdf, renderer.beta, config.density)
    weights = renderer.sample_weights(ray_sdf.view_as(depth), depth, -back.expand(1, 1, 1, 3))
    return SdfSlice(
        sdf=to_numpy(sdf.view(resolution, resolution)),
        horizontal=to_numpy(axis),
        vertical=to_numpy(axis),
        ray_points=to_numpy(torch.stack([ray @ aside, ray @ up], dim=-1)),
        ray_depth=to_numpy(depth.flatten()),
        ray_sdf=to_numpy(ray_sdf),
        ray_density=to_numpy(density),
        ray_weights=to_numpy(weights.flatten()),
        camera_position=((back @ aside).item(), (back @ up).item()),
        beta=renderer.beta.item(),
    )
