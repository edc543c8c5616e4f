"""Quality ``"best"``: more rays than pixels, so that a turning head does not flicker.

A feature map of 64×64 rays is too coarse for hair and eyes: what falls between two rays changes from frame to frame,
and the decoder enlarges it. A map of 96×96 rays, filtered on its way to 64×64, changes less, but is softer; a slight
sharpening gives its contrast back. In an orbit each picture is also blended with the one before, moved as the surface
moved (temporal antialiasing). ``python scripts/flicker.py`` measures all of it.

Shapes: B batch, C channels, H W thumbnail, R image.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera, project
from stylesdf.fast.surface import SurfaceGuide, num_guided_samples, render_guided
from stylesdf.field import ConditionedField
from stylesdf.outputs import RenderOutput
from stylesdf.renderer import VolumeRenderer

OVERSAMPLING = 1.5  # rays per pixel and axis
FINER = 4 / 3  # samples per ray, over those of "fast"
SHARPENING = 0.22  # share of what a blur takes from the features that is added to them
KEPT = 0.5  # share of the frame before in a frame
SAME_SURFACE = 0.003  # largest difference of depths, world units
SOLID = 0.02  # largest share of background


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

    def resized(maps: Tensor, **how) -> Tensor:  # half precision has no antialiasing
        return F.interpolate(maps.float(), size=(resolution, resolution), antialias=True, **how).to(maps)

    features = fine.features
    if features is not None:
        features = sharpen(resized(features, mode="bicubic"), SHARPENING)
    maps = ("thumbnail", "xyz", "depth", "background")
    return RenderOutput(
        features=features,
        sdf=resized(fine.sdf.permute(0, 3, 1, 2), mode="bilinear").permute(0, 2, 3, 1),
        **{name: resized(getattr(fine, name), mode="bilinear") for name in maps},
    )


def sharpen(maps: Tensor, amount: float) -> Tensor:
    """Add to maps ``(B, C, H, W)`` some of what a binomial blur of 3×3 pixels takes from them; flat ones stay."""
    kernel = torch.tensor([1.0, 2.0, 1.0], dtype=maps.dtype, device=maps.device) / 4.0
    kernel = torch.outer(kernel, kernel).expand(maps.shape[1], 1, 3, 3)
    blurred = F.conv2d(F.pad(maps, (1, 1, 1, 1), mode="replicate"), kernel, groups=maps.shape[1])
    return maps + amount * (maps - blurred)


def blend_with_last(
    image: Tensor, seen: RenderOutput, last_image: Tensor, last_seen: RenderOutput, last_camera: Camera, fov_deg: float
) -> Tensor:
    """Blend a picture with the one before it of the same head, where both see the same surface.

    Args:
        image: Of the decoder. ``(1, 3, R, R)``.
        seen: What it was decoded from.
        last_image: The picture before, blended itself, ``(1, 3, R, R)``.
        last_seen: What that one was decoded from.
        last_camera: From where, on the picture's device, in float32, in which places are computed.
        fov_deg: Full field of view in degrees where the camera states none.

    Returns:
        ``(1, 3, R, R)``.
    """
    size = image.shape[-1]

    def enlarged(*maps: Tensor) -> Tensor:
        return F.interpolate(torch.cat(maps, dim=1).float(), size=(size, size), mode="bilinear")

    def there(maps: Tensor, mode: str) -> Tensor:
        return F.grid_sample(maps.float(), grid, mode=mode, padding_mode="border", align_corners=False)

    here = enlarged(seen.xyz, seen.background)
    places, depth = project(last_camera, here[0, :3].permute(1, 2, 0), fov_deg, size)
    grid = (places * (2.0 / size) - 1.0)[None]
    before = there(enlarged(last_seen.depth, last_seen.background), "bilinear")
    is_same = (before[:, :1] - depth).abs() < SAME_SURFACE
    is_same &= torch.maximum(before[:, 1:], here[:, 3:]) < SOLID
    return torch.lerp(image, there(last_image, "bicubic").to(image), (KEPT * is_same).to(image))
