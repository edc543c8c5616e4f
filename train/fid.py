"""FID and KID: distances to the data on the 2,048 features of the Inception network, as models are published with.

Shapes: N pictures, C features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stylesdf.model import Generator
from train.distances import frechet_distance, subset_kernel_distance
from train.inception import CHUNK, data_features, to_inception_size
from train.likeness import check_data, from_the_prior, to_bytes
from train.metrics import REFERENCE_SEED, Context, Quantity, metric


@dataclass(frozen=True, eq=False)
class Features:
    """What the network sees.

    Attributes:
        generated: In the model's pictures. ``(N, C)``.
        real: In all of the data. ``(M, C)``.
        halves: In N pictures of the data, at most half of them, and in all others.
    """

    generated: np.ndarray
    real: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]


@torch.no_grad()
def look(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> Features:
    """Draw a picture per seed at full size and look at it at 256×256, and at all of the data; kept for the next metric.

    Raises:
        ValueError: The data has fewer than four pictures.
    """
    check_data(context)
    key = (model, tuple(seeds), truncation)
    if context.features is not None and context.features[0] == key:
        return context.features[1]
    network, resize, count = context.network, context.inception.resize, len(context.data)
    total = count + len(seeds)
    real = data_features(context.data, context.pictures, network, resize, lambda done: context.report(done / total))
    random = torch.Generator().manual_seed(REFERENCE_SEED)
    waiting, generated = [], []
    for index, picture in enumerate(from_the_prior(model, seeds, truncation, context, random)):
        waiting.append(to_inception_size(to_bytes(picture), resize))
        if len(waiting) == CHUNK or index == len(seeds) - 1:
            generated.append(network(torch.cat(waiting)).numpy())
            waiting = []
        context.report((count + index + 1) / total)
    order = torch.randperm(count, generator=random).numpy()
    held_out = min(len(seeds), count // 2)
    halves = real[order[:held_out]], real[order[held_out:]]
    context.features = (key, Features(np.concatenate(generated), real, halves))
    return context.features[1]


@metric(
    "fid",
    Quantity("distance", "Fréchet distance to the data, Inception at 256×256", "", "lower", "reference_distance"),
    needs_data=True,
    needs_inception=True,
)
def fid(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How far are the pictures from the data's? FID, arXiv 1706.08500; published with 50,000 seeds and no truncation.

    Poses are drawn from the model's own prior; all of the data counts. The reference is the distance of as many
    pictures of the data, at most half, to the others: with few pictures both are far too large.
    """
    seen = look(model, seeds, truncation, context)
    return {
        "count": len(seeds),
        "data_count": len(seen.real),
        "distance": frechet_distance(seen.generated, seen.real),
        "reference_distance": frechet_distance(*seen.halves),
    }


@metric(
    "kid",
    Quantity("distance", "kernel distance × 1000, Inception at 256×256", "", "lower", "reference_distance"),
    needs_data=True,
    needs_inception=True,
)
def kid(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """The same by the unbiased kernel distance, × 1000: KID, arXiv 1801.01401; usable with fewer pictures than FID.

    The mean over 100 pairs of subsets of 1,000 pictures, where there are more.
    """
    seen = look(model, seeds, truncation, context)
    return {
        "count": len(seeds),
        "data_count": len(seen.real),
        "distance": 1000.0 * subset_kernel_distance(seen.generated, seen.real),
        "reference_distance": 1000.0 * subset_kernel_distance(*seen.halves),
    }
