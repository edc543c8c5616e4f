"""Metrics of pictures alone, without a network: how different they are, sizes and colours of heads, blotches.

Shapes: N pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.model import Generator
from train.data.images import to_signed
from train.evaluation.features import CHUNK
from train.evaluation.registry import Quantity, metric
from train.evaluation.views import MIN_DIFFERENCE, Context, draw_samples

HEAD_AREAS = 1 / 3, 2.0  # of the area of a reference's head; outside there is no head


def variety_of(pictures: Tensor) -> tuple[float, float]:
    """Return RMS colour distances of pictures in [−1, 1], in units of [0, 1]: mean of pairs, mean to the nearest."""
    flat = pictures.flatten(1) / 2.0
    distance = torch.cdist(flat, flat) / math.sqrt(flat.shape[1])
    count = len(flat)
    if count < 2:
        return 0.0, 0.0
    mean = float(distance.fill_diagonal_(0.0).sum() / (count * (count - 1)))
    return mean, float(distance.fill_diagonal_(math.inf).min(dim=1).values.mean())


@metric(
    "variety",
    Quantity("distance", "RMS colour distance of two heads", "", "nearer", "reference_distance"),
    Quantity("nearest", "RMS colour distance to the most similar head", "", "nearer", "reference_nearest"),
)
def variety(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How different are the heads from each other? Frontal views, colours in [0, 1].

    The reference is drawn heads of the subject, from the front; without a subject as many pictures of the data, as they
    are.
    """
    result = {"count": len(seeds)}
    pictures = {"": context.views(model, seeds, truncation).pictures}
    references = context.reference_pictures(model, len(seeds))
    if references is not None:
        pictures["reference_"] = references
    for prefix, shown in pictures.items():
        distance, nearest = variety_of(shown)
        result |= {f"{prefix}distance": distance, f"{prefix}nearest": nearest}
    return result


@metric(
    "appearance",
    Quantity("area", "area of the head, of the picture's", "share", "nearer", "reference_area"),
    Quantity("area_spread", "deviation of the area over heads", "share", "nearer", "reference_area_spread"),
    Quantity("colour_shift", "mean colour of all heads, RMS distance from the data's", "", "lower", 0.0),
    Quantity("colour_spread", "deviation of a head's mean colour, RMS", "", "nearer", "reference_colour_spread"),
    Quantity("degenerate", "nothing, or no head's size", "share", "lower", "reference_degenerate"),
    needs=("background",),
)
def appearance(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Do sizes and colours of heads vary as the data's do? Frontal views, no network; colours in [0, 1].

    A head is what differs from the background. Pictures of which less than a third or more than twice the area of the
    reference's heads differ are degenerate: nothing is there, or another background, or no head; only the others count
    for the rest, which is None without any. The reference is that of ``variety``.
    """
    background = context.background
    reference = _appearance(context.reference_pictures(model, len(seeds)), background, area=None)
    found = _appearance(context.views(model, seeds, truncation).pictures, background, reference["area"])
    shift = None
    if found["colour"] is not None:
        shift = float((found["colour"] - reference["colour"]).square().mean().sqrt())
    result = {"count": len(seeds), "colour_shift": shift}
    for prefix, numbers in (("", found), ("reference_", reference)):
        result |= {f"{prefix}{name}": value for name, value in numbers.items() if name != "colour"}
    return result


def heads_in(pictures: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Find what differs from the background: areas as shares ``(N,)`` and mean colours in [0, 1] ``(N, 3)``.

    Args:
        pictures: In [−1, 1]. ``(N, 3, H, W)``.
        background: In [0, 1]. ``(3,)``.
    """
    pictures = (pictures.double() + 1.0) / 2.0
    mask = differs_from(background, pictures).double()
    colours = (pictures * mask).sum(dim=(2, 3)) / mask.sum(dim=(2, 3)).clamp(min=1.0)
    return mask.mean(dim=(1, 2, 3)), colours


def differs_from(background: Tensor, pictures: Tensor) -> Tensor:
    """Find the pixels that are not of the background. ``(N, 1, H, W)``

    Args:
        background: In [0, 1]. ``(3,)``.
        pictures: In [0, 1]. ``(N, 3, H, W)``.
    """
    background = background.to(pictures)[:, None, None]
    return (pictures - background).abs().amax(dim=1, keepdim=True) > MIN_DIFFERENCE


def _appearance(pictures: Tensor, background: Tensor, area: float | None) -> dict:
    areas, colours = heads_in(pictures, background)
    typical = float(areas.mean()) if area is None else area
    is_head = (areas >= HEAD_AREAS[0] * typical) & (areas <= HEAD_AREAS[1] * typical)
    areas, colours = areas[is_head], colours[is_head]
    any_head, several = len(areas) > 0, len(areas) > 1
    return {
        "area": float(areas.mean()) if any_head else None,
        "area_spread": float(areas.std()) if several else None,
        "colour": colours.mean(dim=0) if any_head else None,
        "colour_spread": float(colours.var(dim=0).mean().sqrt()) if several else None,
        "degenerate": float((~is_head).double().mean()),
    }


@metric(
    "speckle",
    Quantity("speckle", "blotches of colour on a head, in 8-bit steps", "", "nearer", "reference_speckle"),
    needs=("data", "background"),
)
def speckle(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Do heads have blotches of colour that the data's heads do not have? The median over heads of ``speckle_of``."""
    samples, background = draw_samples(model, seeds, truncation, context), context.background
    pictures = context.pictures_of(model)

    def middle(chunks: Iterator[Tensor]) -> float | None:
        found = torch.cat([speckle_of(chunk, background) for chunk in chunks])
        found = found[~found.isnan()]
        return float(found.median()) if len(found) else None

    return {
        "count": len(seeds),
        "speckle": middle(to_signed(chunk) for chunk in samples.generated.split(CHUNK)),
        "reference_speckle": middle(context.real(index, pictures) for index in samples.real_index[0].split(CHUNK)),
    }


def speckle_of(pictures: Tensor, background: Tensor) -> Tensor:
    """Return how far a head's pixels are from the chroma around them, its median, in 8-bit steps. ``(N,)``.

    Around is a square of a 32nd of the picture's width; pixels nearer to the outline do not count, and NaN is a picture
    without any. The median leaves out eyes, mouths and edges of patterns, which are few.

    Args:
        pictures: In [−1, 1]. ``(N, 3, R, R)``.
        background: In [0, 1]. ``(3,)``.
    """
    around = pictures.shape[-1] // 32 | 1
    outside = ~differs_from(background, (pictures + 1.0) / 2.0)
    is_inner = F.max_pool2d(outside.float(), around, 1, around // 2) == 0
    chroma = 127.5 * (pictures - pictures.mean(dim=1, keepdim=True))
    deviation = (chroma - F.avg_pool2d(chroma, around, 1, around // 2)).norm(dim=1)
    return torch.stack(
        [
            each[inner[0]].median() if inner.any() else each.new_tensor(math.nan)
            for each, inner in zip(deviation, is_inner)
        ]
    )
