"""Metrics of a subject: what its reader estimates in generated pictures, and distances to the data on its features.

Shapes: N pictures, C features, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.model import Generator
from train.data.images import to_signed
from train.evaluation.distances import frechet_distance, kernel_distance, recall
from train.evaluation.features import CHUNK
from train.evaluation.references import uniform_poses
from train.evaluation.registry import Quantity, metric
from train.evaluation.subjects import Subject
from train.evaluation.views import Context, draw, draw_samples, latent
from train.networks.pose_reader import MAX_PITCH, MAX_YAW

MAX_DATA_IMAGES = 1000
NEIGHBOURS = 3  # of the k-nearest-neighbour radius, as in arXiv 1904.06991
SIMULATIONS = 1000


def r_squared(true: Tensor, estimated: Tensor) -> float:
    """Return 1 − Σ(estimated − true)² / Σ(true − mean)²; negative for estimates that are worse than the mean.

    It is 0 where the truth does not vary.
    """
    true, estimated = true.double(), estimated.double()
    total = (true - true.mean()).square().sum()
    return float(1.0 - (estimated - true).square().sum() / total) if total > 0 else 0.0


def correlation(true: Tensor, estimated: Tensor) -> float:
    """Return Pearson's correlation; 0 where one of the two does not vary."""
    true, estimated = true.double() - true.double().mean(), estimated.double() - estimated.double().mean()
    scale = true.norm() * estimated.norm()
    return float((true * estimated).sum() / scale) if scale > 0 else 0.0


@metric(
    "pose",
    Quantity("yaw_r2", "yaw: estimated against requested, R²", "", "higher", "reference_yaw_r2"),
    Quantity("pitch_r2", "pitch: estimated against requested, R²", "", "higher", "reference_pitch_r2"),
    Quantity("yaw_error_deg", "yaw: mean error", "degrees", "lower", "reference_yaw_error_deg"),
    Quantity("pitch_error_deg", "pitch: mean error", "degrees", "lower", "reference_pitch_error_deg"),
    needs=("subject",),
)
def pose(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Does the head turn as requested? One view per seed, evenly over ±30° of yaw and ±15° of pitch.

    A negative correlation is a head that turns the wrong way. The reference is what the reader reaches on drawn heads
    with the same poses; ``data_…`` what it reaches on the data with the data's own poses, as far as they lie within the
    range of its train split.
    """
    reader = context.reader
    poses = uniform_poses(len(seeds))
    pictures = []
    for index, (seed, (yaw, pitch)) in enumerate(zip(seeds, poses.tolist())):
        w = model.mapping(latent(model, seed), truncation)
        pictures.append(draw(model, w, Camera.from_angles(yaw, pitch), truncation, context.pictures_of(model))[0])
        context.report((index + 1) / len(seeds))
    turned = context.references(model, len(seeds)).turned
    result = {"count": len(seeds)}
    for prefix, shown in (("", torch.cat(pictures)), ("reference_", turned)):
        result |= _pose_errors(prefix, poses, reader.angles(context.for_reader(model, shown)))
    data = context.data
    if data is not None and data.poses is not None:
        known = (data.poses.abs() <= torch.tensor([MAX_YAW, MAX_PITCH])).all(dim=1)
        index = known.nonzero()[:MAX_DATA_IMAGES, 0]
        result |= {"data_count": len(index)}
        if len(index):
            real = context.for_reader(model, data.thumbnail_batch(index, data.thumbnails.shape[-1], 3))
            result |= _pose_errors("data_", data.poses[index], reader.angles(real))
    return result


def _pose_errors(prefix: str, true: Tensor, estimated: Tensor) -> dict[str, float]:
    result = {}
    for column, name in enumerate(("yaw", "pitch")):
        asked, found = true[:, column], estimated[:, column]
        result[f"{prefix}{name}_r2"] = r_squared(asked, found)
        result[f"{prefix}{name}_correlation"] = correlation(asked, found)
        result[f"{prefix}{name}_error_deg"] = math.degrees(float((found - asked).abs().mean()))
    return result


def _total_variations(subject: Subject) -> tuple[Quantity, ...]:
    return tuple(
        Quantity(each.name, f"TV {each.text}", "share", "lower", f"reference_{each.name}")
        for each in subject.attributes
    )


@metric("shares", _total_variations, needs=("subject",))
def shares(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Are the kinds of heads as frequent as in the data? Frontal views, total variation (TV) by attribute.

    TV is half of Σ |share − share in the data|, the share of heads that would have to change. Both shares are as the
    subject's reader reads them; ``…_accuracy`` is its accuracy. A sample of the data itself has no TV of 0: the
    reference is the mean TV of as many heads as there are seeds, sampled from the shares of the data.
    """
    reader = context.reader
    read = reader.classes(context.for_reader(model, context.views(model, seeds, truncation).pictures))
    result = {"count": len(seeds)}
    for attribute in context.subject.attributes:
        name = attribute.name
        found = torch.bincount(read[name], minlength=len(attribute.classes)).double() / len(seeds)
        expected = reader.expected_shares(name)
        result[name] = total_variation(found, expected)
        result[f"reference_{name}"] = sampled_variation(expected, len(seeds))
        result[f"{name}_accuracy"] = reader.accuracy(name)
        for label, share, in_data in zip(attribute.classes, found.tolist(), expected.tolist()):
            result |= {f"{name}: {label}": share, f"reference_{name}: {label}": in_data}
    return result


def total_variation(a: Tensor, b: Tensor) -> float:
    """Return half of Σ |a − b| of two distributions, in [0, 1]. ``(K,)`` each."""
    return float((a - b).abs().sum() / 2.0)


def sampled_variation(shares: Tensor, count: int) -> float:
    """Return the mean total variation between shares ``(K,)`` and those of ``count`` draws from them."""
    drawn = np.random.default_rng(0).multinomial(count, shares.numpy() / float(shares.sum()), SIMULATIONS) / count
    return float(np.abs(drawn - shares.numpy()).sum(axis=1).mean() / 2.0)


@dataclass(frozen=True, eq=False)
class ReaderFeatures:
    """Features of the reader.

    Attributes:
        generated: Of the model's pictures. ``(N, C)``.
        real: Of each of the two sets of the data that ``Samples`` names.
    """

    generated: np.ndarray
    real: tuple[np.ndarray, np.ndarray]


@torch.no_grad()
def reader_features(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> ReaderFeatures:
    """Return features of the pictures of ``draw_samples``; kept for the next metric."""
    samples, kind = draw_samples(model, seeds, truncation, context), context.pictures_of(model)

    def features_of(pictures: Tensor) -> np.ndarray:
        return context.reader.features(context.for_reader(model, pictures)).numpy()

    def compute() -> ReaderFeatures:
        generated = [features_of(to_signed(chunk)) for chunk in samples.generated.split(CHUNK)]
        real = (np.concatenate([features_of(context.real(chunk, kind)) for chunk in half.split(CHUNK)])
                for half in samples.real_index)  # fmt: skip
        return ReaderFeatures(np.concatenate(generated), tuple(real))

    return context.cached("reader features", (model, tuple(seeds), truncation), compute)


@metric(
    "reader-frechet",
    Quantity("distance", "Fréchet distance to the data, the reader's features", "", "lower", "reference_distance"),
    needs=("data", "subject"),
)
def reader_frechet(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How far are the pictures from the data's? The Fréchet distance of FID, on the 128 features of the reader.

    Poses are drawn from the model's own prior. This is a scale of its own, not FID's. The reference, which no model
    can be expected to beat, is the distance between two halves of the data that share no picture, each of at most as
    many as there are seeds.
    """
    features = reader_features(model, seeds, truncation, context)
    return {
        "count": len(seeds),
        "data_count": len(features.real[0]),
        "distance": frechet_distance(features.generated, features.real[0]),
        "reference_distance": frechet_distance(*features.real),
    }


@metric(
    "reader-kid",
    Quantity("distance", "kernel distance × 1000, the reader's features", "", "lower", "reference_distance"),
    needs=("data", "subject"),
)
def reader_kid(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """The unbiased kernel distance of KID (arXiv 1801.01401) on the reader's features, divided by their mean square."""
    features = reader_features(model, seeds, truncation, context)
    scale = np.sqrt(np.square(features.real[1]).mean())  # one for all: some features hardly vary
    return {
        "count": len(seeds),
        "distance": 1000.0 * kernel_distance(features.generated / scale, features.real[0] / scale),
        "reference_distance": 1000.0 * kernel_distance(features.real[1] / scale, features.real[0] / scale),
    }


@metric(
    "recall",
    Quantity("recall", "share of the data within reach of generated heads", "share", "higher", "reference_recall"),
    Quantity("precision", "share of generated heads within reach of the data", "share", "higher", "reference_recall"),
    needs=("data", "subject"),
)
def recall_and_precision(
    model: Generator, seeds: Sequence[int], truncation: float, context: Context
) -> dict[str, float]:
    """Is all of the data's variety there, and nothing else? Improved precision and recall (arXiv 1904.06991).

    Within reach is nearer than some picture of the other set is to its third neighbour there, in the reader's
    features. The reference compares two halves of the data.
    """
    features = reader_features(model, seeds, truncation, context)
    return {
        "count": len(seeds),
        "recall": recall(features.real[0], features.generated, NEIGHBOURS),
        "precision": recall(features.generated, features.real[0], NEIGHBOURS),
        "reference_recall": recall(features.real[0], features.real[1], NEIGHBOURS),
    }
