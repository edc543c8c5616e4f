"""What the model returns. Shapes: B batch, P points, H W thumbnail, R image, S samples, C feature channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class FieldOutput:
    """The field at some points.

    Attributes:
        sdf: Signed distance in world units, negative inside. ``(B, P)``.
        rgb: Colour before the sigmoid. ``(B, P, 3)``.
        features: Channels for the decoder, in [−1, 1]; None where nobody asked. ``(B, P, C)``.
    """

    sdf: Tensor
    rgb: Tensor
    features: Tensor | None


@dataclass(frozen=True)
class RenderOutput:
    """One volume rendering.

    Attributes:
        thumbnail: Colour in [−1, 1]. ``(B, 3, H, W)``.
        features: What the decoder reads; None where nobody asked. ``(B, C, H, W)``.
        xyz: Expected surface point in the world. ``(B, 3, H, W)``.
        depth: Expected z-depth along the optical axis, world units. ``(B, 1, H, W)``.
        background: Share of the pixel that does not belong to the surface, in [0, 1]. ``(B, 1, H, W)``.
        sdf: Signed distance at every sample, world units. ``(B, H, W, S)``.
    """

    thumbnail: Tensor
    features: Tensor | None
    xyz: Tensor
    depth: Tensor
    background: Tensor
    sdf: Tensor

    @classmethod
    def batch(cls, parts: Sequence[RenderOutput]) -> RenderOutput:
        """Put renderings of the same settings together into one batch."""
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}
        return cls(**{name: None if rows[0] is None else torch.cat(rows) for name, rows in columns.items()})


@dataclass(frozen=True)
class StyleSDFOutput:
    """A rendering and the image decoded from it.

    Attributes:
        image: Colour, about [−1, 1]; None in a renderer-only model. ``(B, 3, R, R)``.
        thumbnail: See ``RenderOutput``. ``(B, 3, H, W)``.
        features: See ``RenderOutput``. ``(B, C, H, W)``.
        xyz: See ``RenderOutput``. ``(B, 3, H, W)``.
        depth: See ``RenderOutput``. ``(B, 1, H, W)``.
        background: See ``RenderOutput``. ``(B, 1, H, W)``.
    """

    image: Tensor | None
    thumbnail: Tensor
    features: Tensor
    xyz: Tensor
    depth: Tensor
    background: Tensor


@dataclass(frozen=True)
class GenerateResult:
    """What ``StyleSDF.generate`` returns, one entry per seed.

    Attributes:
        images: Pictures, R×R; in a renderer-only model the thumbnails stand in.
        thumbnails: What the volume renderer sees, H×W.
        depth: Expected z-depth along the optical axis, world units, float32. ``(N, H, W)``.
        normals: Unit normals in world axes from the field's gradient at the expected surface point, float32; zero
            where more than half of the pixel is background. ``(N, H, W, 3)``.
        background: Share of the pixel that does not belong to the surface, in [0, 1], float32. ``(N, H, W)``.
        seeds: The seeds.
        truncation: The truncation, in [0, 1].
    """

    images: list[Image.Image]
    thumbnails: list[Image.Image]
    depth: np.ndarray
    normals: np.ndarray
    background: np.ndarray
    seeds: tuple[int, ...]
    truncation: float
