"""Numbers made visible: images, depth, normals and bare surfaces, for page and command line alike.

Shapes: H W thumbnail.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# A perceptually even ramp, near to far: pale yellow, coral, plum, midnight.
DEPTH_RAMP = np.array([(254, 246, 190), (253, 176, 108), (229, 92, 98), (149, 48, 122), (75, 26, 116), (18, 12, 52)])
PAPER = np.array([244.0, 246.0, 249.0])  # where there is no surface
CLAY = np.array([236.0, 228.0, 216.0])
KEY_LIGHT = np.array([-0.45, 0.55, 0.70]) / np.linalg.norm([-0.45, 0.55, 0.70])
FILL_LIGHT = np.array([0.8, 0.1, 0.6]) / np.linalg.norm([0.8, 0.1, 0.6])
FILL_TURN, FILL_ABOVE = math.radians(86.0), math.radians(6.0)  # where the fill light is, seen from a key light
AMBIENT, WRAP = 0.35, 0.4  # of the soft light that relights pictures: its least share, and how far it reaches round
GAMMA = 2.2  # of pictures
SIZE = 256  # pixels of the enlarged maps


def to_pil(image: Tensor) -> Image.Image:
    """Turn one image in [−1, 1], ``(3, H, W)`` or ``(1, 3, H, W)``, into a picture; values beyond are clipped."""
    image = image.reshape(image.shape[-3:]).float()
    levels = ((image + 1.0) * 0.5).clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())


def to_numpy(values: Tensor) -> np.ndarray:
    """Return a tensor's values as float32 on the CPU."""
    return values.float().cpu().numpy()


def depth_picture(depth: np.ndarray, background: np.ndarray) -> Image.Image:
    """Colour the depth of the surface from near (light) to far (dark), stretched to what the picture holds.

    Args:
        depth: Expected z-depth, world units. ``(H, W)``.
        background: Share of the pixel that is no surface, in [0, 1]. ``(H, W)``.
    """
    on_surface = depth[background <= 0.5]
    near, far = (on_surface.min(), on_surface.max()) if on_surface.size else (0.0, 1.0)
    share = np.clip((depth - near) / max(far - near, 1e-6), 0.0, 1.0)
    stops = np.linspace(0.0, 1.0, len(DEPTH_RAMP))
    colours = np.stack([np.interp(share, stops, DEPTH_RAMP[:, channel]) for channel in range(3)], axis=-1)
    return _on_paper(colours, background)


def normals_picture(normals: np.ndarray, background: np.ndarray) -> Image.Image:
    """Colour the surface by its direction: red is the world's x, green y (up), blue z (frontal).

    Args:
        normals: Unit normals, zero where there is no surface. ``(H, W, 3)``.
        background: Share of the pixel that is no surface, in [0, 1]. ``(H, W)``.
    """
    return _on_paper((normals * 0.5 + 0.5) * 255.0, np.where((normals == 0.0).all(axis=-1), 1.0, background))


def shape_picture(
    normals: np.ndarray, background: np.ndarray, light: tuple[float, float] | None = None
) -> Image.Image:
    """Light the bare surface, as if of clay: a key light from the upper left, a fill light from the right.

    Args:
        normals: Unit normals, zero where there is no surface. ``(H, W, 3)``.
        background: Share of the pixel that is no surface, in [0, 1]. ``(H, W)``.
        light: Where the key light is instead, as in ``Shot.light``; the fill light moves with it.
    """
    key, fill = KEY_LIGHT, FILL_LIGHT
    if light is not None:
        key, fill = direction_of(*light), direction_of(light[0] + FILL_TURN, FILL_ABOVE)
    shade = 0.25 + 0.65 * np.clip(normals @ key, 0.0, None) + 0.2 * np.clip(normals @ fill, 0.0, None)
    return _on_paper(shade[..., None] * CLAY, np.where((normals == 0.0).all(axis=-1), 1.0, background))


def direction_of(around: float, above: float) -> np.ndarray:
    """Return the unit vector towards a light, world axes, from its angles in radians. ``(3,)``."""
    return np.array([math.sin(around) * math.cos(above), math.sin(above), math.cos(around) * math.cos(above)])


def relit(
    picture: Image.Image, normals: np.ndarray, background: np.ndarray, light: tuple[float, float]
) -> Image.Image:
    """Move the light of a picture: multiply it by what a soft light from there gives, over that of ``KEY_LIGHT``.

    Args:
        picture: Colour, of any size; its background stays.
        normals: Unit normals of the same view, zero where there is no surface. ``(H, W, 3)``.
        background: Share of the pixel that is no surface, in [0, 1]. ``(H, W)``.
        light: As in ``Shot.light``.
    """

    def soft(towards: np.ndarray) -> np.ndarray:
        return AMBIENT + (1.0 - AMBIENT) * np.clip((normals @ towards + WRAP) / (1.0 + WRAP), 0.0, None)

    ratio = (soft(direction_of(*light)) / soft(KEY_LIGHT)) ** (1.0 / GAMMA)
    share = np.clip(1.0 - 2.0 * _enlarged(background, picture.size), 0.0, 1.0)  # a rim would be a bright line
    factor = 1.0 + share * (_enlarged(ratio, picture.size) - 1.0)
    levels = np.asarray(picture, dtype=np.float32) * factor[..., None]
    return Image.fromarray(np.clip(levels, 0.0, 255.0).round().astype(np.uint8))


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))


def _on_paper(colours: np.ndarray, background: np.ndarray) -> Image.Image:
    share = background[..., None]
    levels = np.clip(colours * (1.0 - share) + PAPER * share, 0.0, 255.0).round().astype(np.uint8)
    return Image.fromarray(levels).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
