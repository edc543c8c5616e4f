"""Surface-guided rendering: samples are spent where the signed distance says that light can be taken or given.

A published model's density is so sharp that most samples of a ray see nothing. A coarse grid of the signed distance,
measured once per identity, tells which ones: with a bound ε on its error the field at a sample lies within g ± ε. Where
g − ε is far outside the sample is transparent; where everything in front of it is opaque even at g + ε it is hidden.
Only the others are evaluated, more of them than in training, since they are few.

Shapes: B batch, H W image, R rays, S samples, P evaluated points, G grid samples per side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera, camera_rays
from stylesdf.config import StyleSDFConfig
from stylesdf.field import ConditionedField
from stylesdf.outputs import FieldOutput, RenderOutput
from stylesdf.renderer import VolumeRenderer, points_per_chunk, view_axes
from stylesdf.volume import density_from_sdf, segment_lengths

GRID = 32  # samples per side that are measured where an identity is seen many times
REFINEMENT = 3  # times as many after interpolation, of which the nearest is looked up
ERROR = 0.35  # ε in grid spacings times the field's slope, for GRID: interpolation, and looking up the nearest
REACH = 6.0  # the density ends this many β outside of the surface
SPACING = 2.75  # distance of samples in β; what that costs, the notes of python -m benchmarks 'view-fast-*' tell
HIDDEN = 6.0  # optical depth, e⁻⁶ = 0.0025
MAX_SAMPLES = 48  # a density much sharper than their distance is as good as a surface


@dataclass(frozen=True)
class SurfaceGuide:
    """The signed distance of one identity on a grid around the origin, and how far it may be off.

    Attributes:
        sdf: World units; 0, where anything is possible, at corners that were not measured. ``(G³,)``, x slowest.
        extent: Half of the cube's side, world units.
        error: ε, world units.
    """

    sdf: Tensor
    extent: float
    error: float

    @classmethod
    def measure(cls, field: ConditionedField, config: StyleSDFConfig, side: int = GRID) -> SurfaceGuide:
        """Evaluate the field on a grid that holds all samples of all cameras with the model's own field of view.

        Args:
            field: Of one code.
            config: Of its model.
            side: Samples per side of the grid. With fewer of them ε is larger, so more is evaluated of a rendering.
        """
        matrix = field.view_layer[0]
        half_width = config.far * math.tan(math.radians(config.fov_deg) / 2)
        corner = math.sqrt(config.scene_radius**2 + 2.0 * half_width**2)
        radius = config.scene_radius if config.cull_to_ball else corner
        spacing = 2.0 * radius / (side - 1)
        axis = torch.linspace(-radius, radius, side, device=matrix.device, dtype=matrix.dtype)
        points = torch.cartesian_prod(axis, axis, axis)  # (G³, 3)
        wanted = (points.norm(dim=-1) < radius + math.sqrt(3.0) * spacing).nonzero().squeeze(1)
        chunks = points[wanted].split(points_per_chunk(matrix.device))
        sdf = points.new_zeros(side**3).index_copy(0, wanted, torch.cat([field.sdf(part[None])[0] for part in chunks]))
        grid = sdf.view(side, side, side)
        corner = grid[:-1, :-1, :-1]
        steps = (grid[1:, :-1, :-1] - corner, grid[:-1, 1:, :-1] - corner, grid[:-1, :-1, 1:] - corner)
        # the slope where the surface can be; without one there is nothing to miss
        near = (corner.abs() < 3.0 * spacing) & (points.norm(dim=-1) < radius).view_as(grid)[:-1, :-1, :-1]
        slopes = torch.stack([step[near] for step in steps]).norm(dim=0).sort().values / spacing
        slope = slopes[int(0.99 * (len(slopes) - 1))].item() if len(slopes) else 1.0
        size = REFINEMENT * (side - 1) + 1
        fine = F.interpolate(grid[None, None], size=(size,) * 3, mode="trilinear", align_corners=True)
        # the error of interpolation grows with the square of the spacing
        return cls(fine.flatten(), radius, ERROR * (GRID / side) * spacing * slope)

    @property
    def size(self) -> int:
        """Corners per side after interpolation."""
        return round(len(self.sdf) ** (1 / 3))

    def look_up(self, points: Tensor) -> Tensor:
        """Return g at world points ``(..., 3)``: the value of the nearest corner; 0 outside of the grid.

        Corners are counted in float32, whatever the points' type: in half precision there are not so many numbers.
        """
        size = self.size
        corner = (points.float() * ((size - 1) / (2.0 * self.extent)) + (size - 1) / 2.0).round_()
        flat = (corner[..., 0] * size + corner[..., 1]) * size + corner[..., 2]
        values = self.sdf[flat.long().clamp_(0, size**3 - 1)]
        return values.masked_fill_(points.abs().amax(dim=-1) > self.extent, 0.0)


def num_guided_samples(config: StyleSDFConfig, beta: float) -> int:
    """Return samples per ray that resolve the density, at least as many as in training; 48 are enough."""
    wanted = math.ceil((config.far - config.near) / (SPACING * beta))
    return max(min(wanted, MAX_SAMPLES), config.num_samples)


def render_guided(
    renderer: VolumeRenderer,
    field: Callable[[Tensor, Tensor], FieldOutput],
    guide: SurfaceGuide,
    camera: Camera,
    resolution: int | None = None,
    num_samples: int | None = None,
    offset: Tensor | None = None,
    viewdirs: str = "camera",
    with_features: bool = True,
) -> RenderOutput:
    """Render one identity, evaluating the field only where the guide cannot tell what is there.

    Gradients reach the field at what is evaluated, and the sharpness.

    Args:
        renderer: Whose scene and density it is.
        field: Of one code.
        guide: Of that field.
        camera: One camera, on the field's device.
        num_samples: Samples per ray; None takes as many as ``num_guided_samples`` says.
        resolution, offset, viewdirs, with_features: See ``VolumeRenderer.forward``.

    Returns:
        As of ``VolumeRenderer.forward``, of batch size 1; ``sdf`` is the guide's where nothing was evaluated.
    """
    config, beta = renderer.config, renderer.beta
    resolution = config.render_resolution if resolution is None else resolution
    num_samples = num_guided_samples(config, renderer.beta.item()) if num_samples is None else num_samples
    rays_o, rays_d, camera_d = camera_rays(camera, resolution, config.fov_deg)
    depth = renderer.sample_depths(rays_d, num_samples, offset)
    points = rays_o[..., None, :] + rays_d[..., None, :] * depth[..., None]  # (1, H, W, S, 3)
    sdf = guide.look_up(points)
    beta_here = beta.detach()
    possible = sdf - guide.error < REACH * beta_here
    if config.cull_to_ball:
        possible &= points.square().sum(dim=-1) < config.scene_radius**2
    # what lies in front of a sample takes at least this much light
    density = density_from_sdf(sdf + guide.error, beta_here, config.density) * possible
    optical_depth = (density * segment_lengths(depth, rays_d, endless=False)).cumsum(dim=-1)
    seen = F.pad(optical_depth[..., :-1], (1, 0)) < HIDDEN
    if config.background == "last_sample":
        possible[..., -1] = True
    wanted = possible & seen
    chosen = wanted.flatten().nonzero().squeeze(1)  # (P,), ray by ray
    rays = chosen // num_samples
    axes = view_axes(viewdirs, camera_d, rays_d)
    unit_d = (axes / axes.norm(dim=-1, keepdim=True)).reshape(-1, 3)
    where, towards = points.view(-1, 3)[chosen], unit_d[rays]
    size = points_per_chunk(points.device)
    parts = [field(*(part[None] for part in pair)) for pair in zip(where.split(size), towards.split(size))]
    sdf.view(-1)[chosen] = torch.cat([part.sdf[0] for part in parts])
    weights = renderer.sample_weights(sdf, depth, rays_d, inside=wanted)
    shares = weights.flatten()[chosen]
    counts = wanted.sum(dim=-1).flatten()
    starts = counts.cumsum(0) - counts

    def integrate(values: Tensor) -> Tensor:  # Σ over the evaluated samples of each ray, (P, C) -> (1, H, W, C)
        order = torch.arange(len(values), device=values.device)
        summed = F.embedding_bag(order, values, starts, mode="sum", per_sample_weights=shares)
        return summed.view(*rays_d.shape[:3], -1)

    return renderer.compose(
        colour=integrate(torch.sigmoid(torch.cat([part.rgb[0] for part in parts]))),
        features=integrate(torch.cat([part.features[0] for part in parts])) if with_features else None,
        weights=weights,
        depth=depth,
        rays=(rays_o, rays_d),
        sdf=sdf,
    )


def render_guided_batch(
    renderer: VolumeRenderer,
    fields: Sequence[Callable[[Tensor, Tensor], FieldOutput]],
    guides: Sequence[SurfaceGuide],
    camera: Camera,
    offset: Tensor | None = None,
    **options,
) -> RenderOutput:
    """Render B identities, one after the other, as their guides differ.

    Args:
        renderer: Whose scene and density it is.
        fields: B of one code each.
        guides: Of those fields.
        camera: B cameras, on the fields' device.
        offset: Of each ray's samples, in [0, 1), ``(B, H, W)``; None is 0.
        **options: Of ``render_guided``.

    Returns:
        As of ``VolumeRenderer.forward``, of batch size B.
    """
    offsets = [None] * len(fields) if offset is None else offset.split(1)
    scenes = zip(fields, guides, camera.split(), offsets)
    return RenderOutput.batch(
        [render_guided(renderer, field, guide, single, offset=own, **options) for field, guide, single, own in scenes]
    )
