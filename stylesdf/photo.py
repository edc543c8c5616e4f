"""Photographs: where the face is, and the head alone, cut as a model's heads are and put before its background.

scikit-image finds upright faces that look ahead, by a cascade of local binary patterns that it ships. Where a model's
own heads have their faces says how a photo is cut; where all of its heads are, and where none is, tells surely what is
head and what is background, and a random walk tells the rest by its colours (Grady 2006).

Shapes: R image, H W thumbnail.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from stylesdf.head import View

LARGEST = 512  # pixels of the longer side, in which faces are looked for
SMALLEST_SHARE, SMALLEST_FACE = 8, 24  # of the shorter side in a face's; pixels that the cascade looks at
SAME_FACE = 0.5  # of a box's side, between the centres of boxes of one face
COUNTED = 0.75  # of the largest box of a face: others that are as large count for where it is
WALK_RESOLUTION, WALK_BETA = 128, 600.0  # pixels per side; how much a difference of colour keeps the walk away
CUT_OUT = 0.1  # share of what is around all heads that is not transparent, below which a head is cut out already
MATTE = 0.2, 0.5  # probabilities of being head that are surely not and surely


@dataclass(frozen=True, eq=False)
class Frame:
    """How a model's heads lie in its pictures.

    Attributes:
        face: Centre across and down and side of the box that is found about a face, in shares of the picture's side.
        head: Where all heads are. Bool, ``(H, W)``.
        around: Where none is. Bool, ``(H, W)``.
    """

    face: tuple[float, float, float]
    head: np.ndarray
    around: np.ndarray

    @classmethod
    def measure(cls, views: Sequence[View]) -> Frame:
        """Look at a few heads of a model.

        Args:
            views: From the front, one of each.

        Raises:
            ValueError: Faces are found in less than half of them.
        """
        faces = [np.divide(face, view.image.width) for view in views for face in find_faces(view.image)[:1]]
        if 2 * len(faces) < len(views):
            raise ValueError("in the pictures of this model no faces are found, expected photos cut by hand")
        solid = [view.background < 0.5 for view in views]
        return cls(tuple(np.median(faces, axis=0).tolist()), np.all(solid, axis=0), ~np.any(solid, axis=0))


def find_faces(picture: Image.Image) -> list[tuple[float, float, float]]:
    """Find upright faces that look ahead; the same picture gives the same faces.

    Args:
        picture: Of any size; what is transparent counts as white.

    Returns:
        Centre across and down and side of each face's box, pixels, the largest first: what is found in the picture and
        in its mirror image.
    """
    small = _opaque(picture)
    small.thumbnail((LARGEST, LARGEST))
    pixels, side, boxes = np.asarray(small), min(small.size), []
    if side < SMALLEST_FACE:
        return []
    for is_mirrored in (False, True):
        seen = np.ascontiguousarray(pixels[:, ::-1]) if is_mirrored else pixels
        for box in _detector().detect_multi_scale(
            seen, scale_factor=1.05, step_ratio=1, min_size=(max(SMALLEST_FACE, side // SMALLEST_SHARE),) * 2,
            max_size=(side, side),
        ):
            x = box["c"] + box["width"] / 2
            x = small.width - x if is_mirrored else x
            boxes.append((x, box["r"] + box["height"] / 2, box["width"], is_mirrored))
    faces = []
    while boxes:
        x, y, side, _ = max(boxes, key=lambda box: box[2])
        own = [box for box in boxes if max(abs(box[0] - x), abs(box[1] - y)) < SAME_FACE * side]
        boxes = [box for box in boxes if box not in own]
        if len({box[3] for box in own}) == 2:
            near = np.array([box[:3] for box in own if box[2] >= COUNTED * side])
            faces.append(tuple((near.mean(axis=0) * picture.width / small.width).tolist()))
    return faces


def cut_photo(picture: Image.Image, frame: Frame, size: int, name: str = "the picture") -> Image.Image:
    """Cut a photo about its only face, and take its background away, unless it is transparent already.

    Args:
        picture: RGB or RGBA, upright.
        frame: How the model's heads lie.
        size: Height and width of what is returned, pixels.
        name: For messages.

    Returns:
        RGBA; what is not head is transparent.

    Raises:
        ValueError: No face is found, or several.
    """
    faces = find_faces(picture)
    if len(faces) != 1:
        found = f"{len(faces)} faces are" if faces else "no face is"
        raise ValueError(f"{found} found in {name}, expected one, upright, that looks ahead")
    ((x, y, side),), (across, down, share) = faces, frame.face
    whole = side / share  # of the square, in the picture's pixels
    left, top = x - across * whole, y - down * whole
    box = (left, top, left + whole, top + whole)
    square = picture.convert("RGBA").transform(
        (size, size), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC, fillcolor=(0, 0, 0, 0)
    )
    alpha = np.asarray(square.getchannel("A").resize(frame.around.shape[::-1], Image.Resampling.BOX))
    if (alpha[frame.around] >= 128).mean() > CUT_OUT:
        square.putalpha(_matte(square, frame))
    return square


def _matte(square: Image.Image, frame: Frame) -> Image.Image:
    """Return how much each pixel of a square belongs to the head, an 8-bit picture."""
    from skimage.color import rgb2lab
    from skimage.segmentation import random_walker

    shape = (WALK_RESOLUTION, WALK_RESOLUTION)
    small = square.resize(shape, Image.Resampling.BOX)

    def enlarged(mask: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(mask).resize(shape, Image.Resampling.NEAREST))

    is_outside = np.asarray(small.getchannel("A")) < 128  # beyond the photo's rim
    labels = np.where(enlarged(frame.around) | is_outside, 2, np.where(enlarged(frame.head), 1, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that another solver, which needs another package, would be quicker
        share = random_walker(
            rgb2lab(np.asarray(_opaque(small))) / 100.0, labels, WALK_BETA, mode="cg_j", return_full_prob=True,
            channel_axis=-1,
        )[0]  # fmt: skip
    alpha = np.clip((share - MATTE[0]) / (MATTE[1] - MATTE[0]), 0.0, 1.0)
    matte = Image.fromarray(np.rint(255.0 * alpha).astype(np.uint8)).resize(square.size, Image.Resampling.BICUBIC)
    return Image.composite(matte, Image.new("L", square.size), square.getchannel("A"))


def _opaque(picture: Image.Image) -> Image.Image:
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")


@cache
def _detector():
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())
