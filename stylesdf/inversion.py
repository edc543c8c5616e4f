"""A head from pictures of it: they are read and cut square, and what ``stylesdf/fit.py`` finds becomes a ``Head``.

Shapes: R image.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylesdf.fit import OnStep, fit_pictures
from stylesdf.head import Head
from stylesdf.model import Generator
from stylesdf.photo import Frame, cut_photo
from stylesdf.pixels import LeftOut, convert_picture, decode_picture
from stylesdf.shot import Shot
from stylesdf.torch_state import ordinary_torch

Picture = str | os.PathLike | Image.Image
MAX_PICTURES = 16
MAX_PICTURE_BYTES = 1 << 27
SMALLEST_SIDE = 32  # pixels
PHOTO_HEADS, PHOTO_TRUNCATION = 12, 0.8  # of the model's own, that say how a photo is cut


@dataclass(frozen=True, eq=False)
class Inversion:
    """A head that was found in pictures; the head itself holds nothing of them.

    Attributes:
        head: Like any other.
        shots: From where each picture sees it.
        psnr: Of each picture, as ``head.view(shot).image`` draws it, against its central square at the model's size,
            decibels: from about 22 on it is a likeness.
        pictures: What was looked at, R×R each.
    """

    head: Head
    shots: tuple[Shot, ...]
    psnr: tuple[float, ...]
    pictures: tuple[Image.Image, ...]


class InversionMixin:
    """``invert`` for a generator that makes heads of codes."""

    @ordinary_torch()
    def invert(
        self,
        images: Picture | Sequence[Picture],
        mirror: bool = False,
        refine: bool = True,
        photo: bool = False,
        on_step: OnStep | None = None,
    ) -> Inversion:
        """Find the head that pictures show, and from where each sees it.

        The model draws what comes nearest to them among its own heads. The head should fill the picture as it fills the
        model's, upright, before the model's background; beyond the central square nothing is looked at. With the
        inverter beside the model it takes about fifteen seconds on two cores, without it some more; the same pictures
        give the same head.

        Args:
            images: One picture or several of the same head, each a file or a PIL image. N take √N times as long.
            mirror: Let each picture, mirrored, count a little as one from the other side; it takes twice as long. When
                to use: one picture, from the side, of a head that is symmetric. What it does not show comes out better
                then, the picture itself and its pose a little worse.
            refine: Compare and move; False returns what the inverter reads.
            photo: They are photographs of people: each is cut around its face, its background is taken away, and what
                is looked for is a likeness in the model's own style, seen from ahead.
            on_step: Called after every step with a ``Progress``: ``share`` of the work, ``psnr`` and ``image`` as it is
                drawn now. Where it returns False the search ends there, with what was found.

        Raises:
            ValueError: None or too many pictures, or one that is no picture, is damaged, too large or too small; a
                photo in which not one face is found, or a model in whose own pictures none are.
        """
        pictures = read_pictures(self, images, photo)
        fit = fit_pictures(self, [as_tensor(each) for each in pictures], self.inverter, mirror, refine, photo, on_step)
        origin = {"seed": None, "truncation": None, "pictures": len(pictures)}
        head = replace(self.head_from_codes(fit.w, fit.ws), origin=origin)
        shots = tuple(Shot(yaw, pitch) for yaw, pitch in fit.angles.tolist())
        return Inversion(head, shots, fit.psnr, tuple(pictures))

    @cached_property
    @ordinary_torch()
    def photo_frame(self: Generator) -> Frame:
        """How this model's heads lie in its pictures, measured once.

        Raises:
            ValueError: No faces are found in them.
        """
        return Frame.measure([self.head(seed, PHOTO_TRUNCATION).view() for seed in range(PHOTO_HEADS)])


def read_pictures(model: Generator, images: Picture | Sequence[Picture], photo: bool = False) -> list[Image.Image]:
    """Read pictures and bring them to what a model draws: upright, sRGB, their central square, R×R.

    What is transparent shows the model's own background.

    Args:
        model: Whose size and background are meant.
        images: One or several files or PIL images.
        photo: As of ``invert``.

    Raises:
        ValueError: None or too many of them, or one that is no picture, is damaged, too large or too small; a photo in
            which not one face is found, or a model in whose own pictures none are.
    """
    images = list(images) if isinstance(images, (list, tuple)) else [images]
    if not 1 <= len(images) <= MAX_PICTURES:
        raise ValueError(f"there are {len(images)} pictures, expected from 1 to {MAX_PICTURES}")
    pictures = [open_picture(image, number) for number, image in enumerate(images)]
    if photo:
        size, names = model.config.image_resolution, [_name(image, number) for number, image in enumerate(images)]
        pictures = [cut_photo(each, model.photo_frame, size, name) for each, name in zip(pictures, names)]
    return [_square(picture, model) for picture in pictures]


def cut(
    picture: Image.Image, zoom: float = 1.0, right: float = 0.0, down: float = 0.0, turn: float = 0.0
) -> Image.Image:
    """Cut a square out of a picture, around a head that does not fill it or is not upright.

    Args:
        picture: As of ``open_picture``.
        zoom: Length of the picture's shorter side over that of the square; below 1 there is a border.
        right: Where the square's centre is, in lengths of the shorter side from the picture's centre.
        down: The same downwards.
        turn: Degrees by which the picture is turned clockwise, about that centre.

    Returns:
        RGBA; what lies beyond the picture is transparent.
    """
    width, height = picture.size
    shorter = min(width, height)
    side = max(SMALLEST_SIDE, round(shorter / zoom))
    x, y = width / 2 + right * shorter, height / 2 + down * shorter
    cosine, sine, half = math.cos(math.radians(turn)), math.sin(math.radians(turn)), side / 2
    # where a pixel of the square comes from: turned back about the centre
    place = (cosine, sine, x - half * (cosine + sine), -sine, cosine, y + half * (sine - cosine))
    return picture.convert("RGBA").transform(
        (side, side), Image.Transform.AFFINE, place, Image.Resampling.BICUBIC, fillcolor=(0, 0, 0, 0)
    )


def as_tensor(picture: Image.Image) -> Tensor:
    """Return an RGB picture in [−1, 1], ``(1, 3, H, W)``."""
    return torch.from_numpy(np.array(picture, np.float32)).permute(2, 0, 1)[None] / 127.5 - 1.0


def open_picture(image: Picture, number: int = 0) -> Image.Image:
    """Read a picture: upright, sRGB, RGB or RGBA.

    Args:
        image: A file or a PIL image.
        number: To name a PIL image by.

    Raises:
        ValueError: It is no picture, is damaged, too large or too small.
    """
    if not isinstance(image, (str, os.PathLike, Image.Image)):
        raise ValueError(f"picture {number} is of type {type(image).__name__}, expected a file or a PIL image")
    name = _name(image, number)
    try:
        picture, _ = convert_picture(image) if isinstance(image, Image.Image) else _decode_file(Path(image))
    except LeftOut as error:
        raise ValueError(f"{name} cannot be read as a picture: {error}") from None
    if min(picture.size) < SMALLEST_SIDE:
        size = f"{picture.width}×{picture.height}"
        raise ValueError(f"{name} has {size} pixels, expected at least {SMALLEST_SIDE} in each direction")
    return picture


def _name(image: Picture, number: int) -> str:
    return f"picture {number}" if isinstance(image, Image.Image) else Path(image).name


def _decode_file(path: Path) -> tuple[Image.Image, set[str]]:
    if not path.is_file():
        raise ValueError(f"{path} is not a file, expected a picture")
    if (size := path.stat().st_size) > MAX_PICTURE_BYTES:
        raise ValueError(f"{path.name} has {size:,} bytes, expected a picture of at most {MAX_PICTURE_BYTES:,}")
    return decode_picture(path.read_bytes(), path.name)


def _square(picture: Image.Image, model: Generator) -> Image.Image:
    side, size = min(picture.size), model.config.image_resolution
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    if square.mode == "RGBA":  # before it is made smaller: colours of what cannot be seen stay out
        square = Image.alpha_composite(Image.new("RGBA", square.size, (*background_colour(model), 255)), square)
    return square.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


@torch.no_grad()
def background_colour(model: Generator) -> tuple[int, int, int]:
    """Return the colour behind a model's heads, 0 to 255; where it has none of its own, white."""
    if model.config.background != "learned":
        return 255, 255, 255
    return tuple(torch.sigmoid(model.renderer.background_rgb.float()).mul(255.0).round().int().tolist())
