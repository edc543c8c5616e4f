"""Sample grids: a row of identities for each yaw, with depth and normals beside the colours."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig
from stylesdf.model import Generator

SHAPE_SAMPLES = 96  # per ray of depth and normals: with as few as in training, steps of their distance would be seen


@torch.no_grad()
def sample_grid(
    model: Generator,
    num_identities: int = 8,
    yaws=(-0.5, 0.0, 0.5),
    resolution: int | None = None,
    codes: torch.Tensor | None = None,
    **options,
) -> Image.Image:
    """Draw identities × yaws from fixed latents, or from codes.

    Args:
        model: Generator.
        num_identities: Columns.
        yaws: Radians; for each a row of colours, one of depth (near is light) and one of normals.
        resolution: Of the rendering; None takes the config's, where the decoder's image is shown too.
        codes: Renderer codes to draw instead, ``(num_identities, latent_size)``.
        **options: For ``Generator.render``.
    """
    if codes is None:
        generator = torch.Generator().manual_seed(1)
        w = model.mapping(torch.randn(num_identities, model.config.latent_size, generator=generator))
    else:
        w = codes.to(model.device)
    rows = []
    for yaw in yaws:
        colours, depths, normals = [], [], []
        for index in range(num_identities):
            rendering = model.render(
                w[index : index + 1], Camera.from_angles(yaw, 0.0), resolution=resolution, **options
            )
            picture = rendering.thumbnail
            if model.config.has_decoder and resolution is None:
                picture = model.synthesis(rendering.features, model.decoder_codes(w[index : index + 1]))
            colours.append(_to_pixels(picture[0]))
            shape = model.render(
                w[index : index + 1],
                Camera.from_angles(yaw, 0.0),
                resolution=resolution,
                num_samples=SHAPE_SAMPLES,
                with_features=False,
            )
            depths.append(_depth(shape.depth[0, 0], shape.background[0, 0], model.config))
            normals.append(_shade(shape.xyz[0], shape.background[0, 0]))
        size = colours[0].shape[0]
        for row in (colours, depths, normals):
            rows.append(np.concatenate([_enlarge(picture, size) for picture in row], axis=1))
    grid = Image.fromarray(np.concatenate(rows, axis=0))
    scale = max(1, 1024 // grid.width)
    return grid.resize((grid.width * scale, grid.height * scale), Image.Resampling.NEAREST)


def _to_pixels(picture: torch.Tensor) -> np.ndarray:
    return picture.add(1).mul(127.5).clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy()


def _depth(depth: torch.Tensor, background: torch.Tensor, config: StyleSDFConfig) -> np.ndarray:
    """Depth in the scene as grey, near light; the background is white."""
    grey = (config.far - depth) / (config.far - config.near) * 2.0 - 1.0
    return _to_pixels(torch.where(background > 0.5, torch.ones_like(grey), grey)[None].expand(3, -1, -1))


def _shade(xyz: torch.Tensor, background: torch.Tensor) -> np.ndarray:
    """Normals of the surface as colours, from differences of the expected surface points."""
    dx = xyz[:, :, 1:] - xyz[:, :, :-1]
    dy = xyz[:, 1:] - xyz[:, :-1]
    normal = torch.linalg.cross(dx[:, 1:], -dy[:, :, 1:], dim=0)
    normal = torch.nn.functional.pad(torch.nn.functional.normalize(normal, dim=0), (1, 0, 1, 0))
    normal = torch.where(background[None] > 0.5, torch.ones_like(normal), normal)
    return _to_pixels(normal)


def _enlarge(pixels: np.ndarray, size: int) -> np.ndarray:
    return pixels.repeat(size // pixels.shape[0], axis=0).repeat(size // pixels.shape[0], axis=1)
