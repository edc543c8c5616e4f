"""Distances to the data on features of networks trained on ImageNet: FID, KID and the same with MobileNetV2.

Shapes: N pictures, C features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stylesdf.model import Generator
from train.evaluation import inception, mobilenet
from train.evaluation.distances import frechet_distance, subset_kernel_distance
from train.evaluation.features import CHUNK, FeatureNetwork, resize_bytes, to_bytes
from train.evaluation.registry import Quantity, metric
from train.evaluation.subjects import REFERENCE_SEED
from train.evaluation.views import Context, check_data, draw_from_prior, draw_samples


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the Inception network.

    Attributes:
        generated: Of the model's pictures. ``(N, C)``.
        real: Of all of the data. ``(M, C)``.
        halves: Of N pictures of the data, at most half of them, and of all others.
    """

    generated: np.ndarray
    real: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]


@torch.no_grad()
def inception_features(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> Features:
    """Return features at 256×256 of a generated picture per seed and of all of the data; kept for the next metric.

    Raises:
        ValueError: The data has fewer than four pictures.
    """
    check_data(context)
    key = (model, tuple(seeds), truncation)
    return context.cached("inception", key, lambda: _compute_features(model, seeds, truncation, context))


def _compute_features(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> Features:
    network, resize, count = context.inception, context.options.resize, len(context.data)
    pictures, total = context.pictures_of(model), count + len(seeds)
    real = inception.data_features(
        context.data, pictures, network, resize, lambda done: context.report(done / total)
    )  # fmt: skip
    random = torch.Generator().manual_seed(REFERENCE_SEED)
    chunk, generated = [], []
    for index, picture in enumerate(draw_from_prior(model, seeds, truncation, pictures, random)):
        chunk.append(resize_bytes(to_bytes(picture), inception.SIZE, resize))
        if len(chunk) == CHUNK or index == len(seeds) - 1:
            generated.append(network(torch.cat(chunk)).numpy())
            chunk = []
        context.report((count + index + 1) / total)
    order = torch.randperm(count, generator=random).numpy()
    held_out = min(len(seeds), count // 2)
    return Features(np.concatenate(generated), real, (real[order[:held_out]], real[order[held_out:]]))


@metric(
    "fid",
    Quantity("distance", "Fréchet distance to the data, Inception at 256×256", "", "lower", "reference_distance"),
    needs=("data", "inception"),
)
def fid(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How far are the pictures from the data's? FID, arXiv 1706.08500; published with 50,000 seeds and no truncation.

    Poses are drawn from the model's own prior; all of the data counts. The reference is the distance of as many
    pictures of the data, at most half, to the others: with few pictures both are far too large.
    """
    features = inception_features(model, seeds, truncation, context)
    return {
        "count": len(seeds),
        "data_count": len(features.real),
        "distance": frechet_distance(features.generated, features.real),
        "reference_distance": frechet_distance(*features.halves),
    }


@metric(
    "kid",
    Quantity("distance", "kernel distance × 1000, Inception at 256×256", "", "lower", "reference_distance"),
    needs=("data", "inception"),
)
def kid(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """The same by the unbiased kernel distance, × 1000: KID, arXiv 1801.01401; usable with fewer pictures than FID.

    The mean over 100 pairs of subsets of 1,000 pictures, where there are more.
    """
    features = inception_features(model, seeds, truncation, context)
    return {
        "count": len(seeds),
        "data_count": len(features.real),
        "distance": 1000.0 * subset_kernel_distance(features.generated, features.real),
        "reference_distance": 1000.0 * subset_kernel_distance(*features.halves),
    }


@metric(
    "mobilenet-frechet",
    Quantity("distance", "Fréchet distance to the data, MobileNetV2 at 224×224", "", "lower", "reference_distance"),
    needs=("data", "mobilenet"),
    num_seeds=1000,
)
@torch.no_grad()
def mobilenet_frechet(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How far are the pictures from the data's, by features of another network of ImageNet? A scale of its own.

    The Fréchet distance on the 1,280 features of MobileNetV2. It depends on the number of pictures, so as many of the
    model's are compared with as many of the data, by default 1,000 each, and the reference is the distance between two
    sets of the data, of that size each, that share no picture.
    """
    samples = draw_samples(model, seeds, truncation, context)
    count, pictures = len(samples.real_index[0]), context.pictures_of(model)
    network = context.mobilenet

    def features_of_data() -> tuple[np.ndarray, ...]:
        return tuple(
            _features(network, (to_bytes(context.real(part, pictures)) for part in half.split(CHUNK)))
            for half in samples.real_index
        )

    real = context.cached("mobilenet", (pictures, count), features_of_data)
    generated = _features(network, samples.generated[:count].split(CHUNK))
    return {
        "count": count,
        "distance": frechet_distance(generated, real[0]),
        "reference_distance": frechet_distance(*real),
    }


def _features(network: FeatureNetwork, chunks: Iterable[Tensor]) -> np.ndarray:
    rows = [network(resize_bytes(chunk, mobilenet.SIZE, mobilenet.RESIZE)).numpy() for chunk in chunks]
    return np.concatenate(rows)
