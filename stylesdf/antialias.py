"""Quality ``"best"``: more rays than pixels, so that a turning head does not flicker.

A feature map of 64×64 rays is too coarse for hair and eyes: what falls between two rays changes from frame to frame,
and the decoder enlarges it. A map of 96×96 rays, filtered on its way to 64×64, changes less, but is softer; a slight
sharpening gives its contrast back. ``python scripts/flicker.py`` measures both.

Shapes: B batch, C channels, H W image, S samples.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.fast.surface import SurfaceGuide, num_guided_samples, render_guided
from stylesdf.field import ConditionedField
from stylesdf.outputs import RenderOutput
from stylesdf.renderer import VolumeRenderer

OVERSAMPLING = 1.5  # rays per pixel and axis
FINER = 4 / 3  # samples per ray, over those of "fast"
SHARPENING = 0.22  # share of what a blur takes from the features that is added to them


def render_antialiased(
    renderer: VolumeRenderer, field: ConditionedField, guide: SurfaceGuide, camera: Camera, with_features: bool = True
) -> RenderOutput:
    """Render one identity with more rays than pixels, near its surface only.

    Args:
        renderer: Whose scene and density it is.
        field: Of one code.
        guide: Of that field.
        camera: One camera, on the field's device.
        with_features: Integrate the feature map too; without, the output has none.

    Returns:
        As of ``VolumeRenderer.forward``, of batch size 1: means over each pixel, but features that are filtered and
        sharpened.
    """
    resolution = renderer.config.render_resolution
    num_samples = round(FINER * num_guided_samples(renderer.config, renderer.beta.item()))
    rays = math.ceil(OVERSAMPLING * resolution)
    fine = render_guided(renderer, field, guide, camera, rays, num_samples, with_features=with_features)

    def resized(maps: Tensor, **how) -> Tensor:
        return F.interpolate(maps, size=(resolution, resolution), **how)

    features = fine.features
    if features is not None:
        features = sharpen(resized(features, mode="bicubic", antialias=True), SHARPENING)
    maps = ("thumbnail", "xyz", "depth", "background")
    return RenderOutput(
        features=features,
        sdf=resized(fine.sdf.permute(0, 3, 1, 2), mode="area").permute(0, 2, 3, 1),
        **{name: resized(getattr(fine, name), mode="area") for name in maps},
    )


def sharpen(maps: Tensor, amount: float) -> Tensor:
    """Add to maps ``(B, C, H, W)`` some of what a binomial blur of 3×3 pixels takes from them; flat ones stay."""
    kernel = torch.tensor([1.0, 2.0, 1.0], dtype=maps.dtype, device=maps.device) / 4.0
    kernel = torch.outer(kernel, kernel).expand(maps.shape[1], 1, 3, 3)
    blurred = F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), kernel, groups=maps.shape[1])
    return maps + amount * (maps - blurred)
