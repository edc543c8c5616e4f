"""Rays and a field give a thumbnail, a feature map and geometry (paper section 3.1).

Shapes: B batch, H W image, S samples, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from stylesdf.camera import Camera, camera_rays
from stylesdf.config import StyleSDFConfig
from stylesdf.outputs import FieldOutput, RenderOutput
from stylesdf.volume import composite_weights, density_from_sdf, integrate, sample_depths, segment_lengths

CHUNK_POINTS = 4096  # points per field evaluation without gradients on a CPU: their activations stay in the cache,
CHUNK_WIDTH = 256  # if they have so many channels
CHUNK_POINTS_GPU = 2**18
VIEW_AXES = ("camera", "world")


def points_per_chunk(device: torch.device, width: int = CHUNK_WIDTH) -> int:
    """Return how many points a field of that width is best asked for at a time, without gradients."""
    return max(1, CHUNK_POINTS * CHUNK_WIDTH // width) if device.type == "cpu" else CHUNK_POINTS_GPU


def view_axes(viewdirs: str, camera_d: Tensor, rays_d: Tensor) -> Tensor:
    """Choose the ray directions that the colour sees: in the axes of the camera or of the world, ``(B, H, W, 3)``.

    Raises:
        ValueError: ``viewdirs`` is neither of the two.
    """
    if viewdirs not in VIEW_AXES:
        raise ValueError(f"viewdirs is {viewdirs!r}, expected one of {', '.join(VIEW_AXES)}")
    return camera_d.expand_as(rays_d) if viewdirs == "camera" else rays_d


class VolumeRenderer(nn.Module):
    """Volume rendering of a signed distance field; owns the sharpness β and the background colour."""

    def __init__(self, config: StyleSDFConfig) -> None:
        super().__init__()
        self.config = config
        self.log_beta = nn.Parameter(torch.tensor(math.log(0.1)))
        if config.background == "learned":
            self.background_rgb = nn.Parameter(torch.zeros(3))  # before the sigmoid

    @property
    def beta(self) -> Tensor:
        """Sharpness of the density in world units, positive."""
        return self.log_beta.exp()

    def forward(
        self,
        field: Callable[[Tensor, Tensor], FieldOutput],
        camera: Camera,
        resolution: int | None = None,
        num_samples: int | None = None,
        offset: Tensor | None = None,
        viewdirs: str = "camera",
        opaque_background: bool = True,
        with_features: bool = True,
    ) -> RenderOutput:
        """Render.

        Args:
            field: The field of B codes: called with world points and unit view directions, both ``(B, P, 3)``.
            camera: B cameras.
            resolution: Height and width in pixels; None takes the config's.
            num_samples: Samples per ray; None takes the config's.
            offset: Where in its interval each ray's samples lie, in [0, 1), ``(B, H, W)``; None is 0.
            viewdirs: Axes of the view directions the colour sees: ``"camera"`` (inference: colour does not depend
                on where the camera stands) or ``"world"`` (training).
            opaque_background: Give the last sample all remaining weight; without effect on a learned background.
            with_features: Integrate the feature map too; without, the output has none.

        Raises:
            ValueError: ``viewdirs`` is neither of the two.
        """
        config = self.config
        resolution = config.render_resolution if resolution is None else resolution
        num_samples = config.num_samples if num_samples is None else num_samples
        rays_o, rays_d, camera_d = camera_rays(camera, resolution, config.fov_deg)
        depth = self.sample_depths(rays_d, num_samples, offset)
        axes = view_axes(viewdirs, camera_d, rays_d)
        unit_d = axes / axes.norm(dim=-1, keepdim=True)
        if torch.is_grad_enabled() or torch.compiler.is_exporting():
            return self._render_rays(field, rays_o, rays_d, unit_d, depth, opaque_background, with_features)
        size = points_per_chunk(depth.device, config.field_width)
        rows = max(1, size // (depth.shape[0] * resolution * num_samples))
        rays = (rays_o, rays_d, unit_d, depth)
        parts = [
            self._render_rays(field, *(t[:, top : top + rows] for t in rays), opaque_background, with_features)
            for top in range(0, resolution, rows)
        ]
        maps = ("thumbnail", "xyz", "depth", "background") + (("features",) if with_features else ())
        return RenderOutput(
            sdf=torch.cat([part.sdf for part in parts], dim=1),
            **{"features": None, **{name: torch.cat([getattr(part, name) for part in parts], dim=2) for name in maps}},
        )

    def _render_rays(self, field, rays_o, rays_d, unit_d, depth, opaque_background, with_features) -> RenderOutput:
        batch, height, width, num_samples = depth.shape
        points = rays_o[..., None, :] + rays_d[..., None, :] * depth[..., None]  # (B, H, W, S, 3)
        directions = unit_d[..., None, :].expand_as(points)
        grid = (batch, height, width, num_samples)
        flat_points, flat_directions = points.reshape(batch, -1, 3), directions.reshape(batch, -1, 3)
        if self.config.cull_to_ball:
            out, inside = self._evaluate_in_ball(field, flat_points, flat_directions)
            inside = inside.view(grid)
        else:
            out, inside = field(flat_points, flat_directions), None
        sdf = out.sdf.view(grid)
        rgb = torch.sigmoid(out.rgb).view(*grid, 3)
        weights = self.sample_weights(sdf, depth, rays_d, opaque_background, inside)
        features = integrate(weights, out.features.view(*grid, -1)) if with_features else None
        return self.compose(integrate(weights, rgb), features, weights, depth, (rays_o, rays_d), sdf)

    def sample_depths(self, rays_d: Tensor, num_samples: int, offset: Tensor | None = None) -> Tensor:
        """Place samples along rays, the last one of them no farther than in training where it is the background.

        Args:
            rays_d: Ray directions, ``(B, H, W, 3)``.
            num_samples: Samples per ray.
            offset: See ``forward``.

        Returns:
            z-depth, ``(B, H, W, S)``. Samples that fall behind the last one share its place and weigh nothing.
        """
        config = self.config
        depth = sample_depths(config.near, config.far, num_samples, rays_d, offset)
        if config.background == "last_sample" and offset is None and num_samples > config.num_samples:
            depth = depth.clamp(max=config.far - (config.far - config.near) / config.num_samples)
        return depth.expand(*rays_d.shape[:3], num_samples)

    def compose(
        self,
        colour: Tensor,
        features: Tensor | None,
        weights: Tensor,
        depth: Tensor,
        rays: tuple[Tensor, Tensor],
        sdf: Tensor,
    ) -> RenderOutput:
        """Put a rendering together from what was integrated along its rays.

        Args:
            colour: In [0, 1], without the learned background. ``(B, H, W, 3)``.
            features: ``(B, H, W, C)`` or None.
            weights: Of ``sample_weights``. ``(B, H, W, S)``.
            depth: z-depth of the samples. ``(B, H, W, S)``.
            rays: Origins and directions with unit z-depth, ``(B, H, W, 3)`` each.
            sdf: Signed distance at the samples. ``(B, H, W, S)``.
        """
        rays_o, rays_d = rays
        z_depth = (weights * depth).sum(dim=-1, keepdim=True)  # (B, H, W, 1)
        total = weights.sum(dim=-1, keepdim=True)
        if self.config.background == "learned":
            # what is left of the light meets a plane at the far end
            background = 1.0 - total
            colour = colour + background * torch.sigmoid(self.background_rgb)
            z_depth, total = z_depth + background * self.config.far, 1.0
        else:
            background = weights[..., -1:]
        return RenderOutput(
            thumbnail=_channels_first(2.0 * colour - 1.0),
            features=None if features is None else _channels_first(features),
            xyz=_channels_first(rays_o * total + rays_d * z_depth),  # Σ w (o + d t)
            depth=_channels_first(z_depth),
            background=_channels_first(background),
            sdf=sdf,
        )

    def sample_weights(
        self, sdf: Tensor, depth: Tensor, rays_d: Tensor, opaque_background: bool = True, inside: Tensor | None = None
    ) -> Tensor:
        """Share of the light owed to each sample of some rays, by this model's density law and background.

        Args:
            sdf: Signed distance at the samples, world units. ``(B, H, W, S)``.
            depth: z-depth of the samples. ``(B, H, W, S)``.
            rays_d: Ray directions with unit z-depth. ``(B, H, W, 3)``.
            opaque_background: Give the last sample all remaining weight; without effect on a learned background.
            inside: Which samples may be occupied at all; None is every one. Bool, ``(B, H, W, S)``.

        Returns:
            Weights in [0, 1], ``(B, H, W, S)``.
        """
        density = density_from_sdf(sdf, self.beta, self.config.density)
        if inside is not None:
            density = density * inside
        is_learned = self.config.background == "learned"
        # before a background of its own the volume ends at the far plane: no endless last segment
        deltas = segment_lengths(depth, rays_d, endless=not is_learned)
        return composite_weights(density, deltas, opaque_background and not is_learned)

    def _evaluate_in_ball(self, field, points: Tensor, directions: Tensor) -> tuple[FieldOutput, Tensor]:
        """Evaluate the field at the points ``(B, P, 3)`` inside the scene ball.

        Outside, the sdf is the distance to the ball, and colours and features are zero (anything in an export).

        Returns:
            The field at all points, and which of them are inside, ``(B, P)``.
        """
        distance = points.norm(dim=-1) - self.config.scene_radius
        inside = distance < 0
        if torch.compiler.is_exporting():  # a graph cannot choose its points: it sees all, and the others weigh nothing
            out = field(points, directions)
            return replace(out, sdf=torch.where(inside, out.sdf, distance)), inside
        # one index for the whole batch: cameras on the unit sphere see the ball alike, up to the samples' offsets
        index = inside.any(dim=0).nonzero().squeeze(1)
        part = field(points[:, index], directions[:, index])
        sdf, rgb, features = (
            None
            if values is None
            else values.new_zeros(*points.shape[:2], values.shape[-1]).index_copy_(1, index, values)
            for values in (part.sdf[..., None], part.rgb, part.features)
        )
        return FieldOutput(sdf=torch.where(inside, sdf.squeeze(-1), distance), rgb=rgb, features=features), inside


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W)
