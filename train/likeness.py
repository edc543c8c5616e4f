"""Metrics against the data: distances between distributions, copies, and what a fresh judge can tell.

Shapes: N pictures, C features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.camera import Camera, sample_poses
from stylesdf.model import Generator
from train.distances import frechet_distance, kernel_distance, recall
from train.metrics import REFERENCE_SEED, Context, Quantity, differs_from_background, draw_full, latent, metric
from train.poses import to_reader_size

MIN_DATA_IMAGES = 4  # two halves with a covariance each
NEIGHBOURS = 3  # of the k-nearest-neighbour radius, as in arXiv 1904.06991
JUDGE = {"epochs": 12, "batch": 16, "rate": 1e-3, "channels": (16, 32, 64, 96, 128), "small": 64, "seeds": (1, 2, 3)}
JUDGE_HAS_LEARNED = 0.6  # nats a picture over its last pass; it starts at 0.69


@dataclass(frozen=True, eq=False)
class Crowd:
    """Pictures from everywhere and what the reader sees in them.

    Attributes:
        pictures: The model's, one per seed, poses from its prior, at full size, 8 bits. ``(N, 3, R, R)``.
        features: Theirs. ``(N, C)``.
        real_index: Two disjoint sets of the data, of one size.
        real: The features of each.
    """

    pictures: Tensor
    features: np.ndarray
    real_index: tuple[Tensor, Tensor]
    real: tuple[np.ndarray, np.ndarray]


@torch.no_grad()
def gather(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> Crowd:
    """Draw a picture per seed and as many of the data, twice where it has so many; kept for the next metric.

    Raises:
        ValueError: The data has fewer than four pictures.
    """
    check_data(context)
    key = (model, tuple(seeds), truncation)
    if context.crowd is not None and context.crowd[0] == key:
        return context.crowd[1]
    random = torch.Generator().manual_seed(REFERENCE_SEED)
    pictures, features = [], []
    for index, picture in enumerate(from_the_prior(model, seeds, truncation, context, random)):
        pictures.append(to_bytes(picture))
        features.append(context.reader.features(to_reader_size(picture)).numpy())
        context.report((index + 1) / len(seeds))
    order = torch.randperm(len(context.data), generator=random)
    count = min(len(seeds), len(order) // 2)
    halves = order[:count], order[count : 2 * count]
    real = tuple(context.reader.features(to_reader_size(context.real(half))).numpy() for half in halves)
    crowd = Crowd(torch.cat(pictures), np.concatenate(features), halves, real)
    context.crowd = (key, crowd)
    return crowd


def check_data(context: Context) -> None:
    """Raise ValueError where the data is too few for two halves."""
    if len(context.data) < MIN_DATA_IMAGES:
        raise ValueError(f"the data has {len(context.data)} pictures, expected at least {MIN_DATA_IMAGES}")


def from_the_prior(
    model: Generator, seeds: Sequence[int], truncation: float, context: Context, random: torch.Generator
) -> Iterator[Tensor]:
    """Draw a picture per seed, one after the other, from poses of the model's own prior. ``(1, 3, R, R)`` each."""
    config = model.config
    poses = sample_poses(len(seeds), config.pose_yaw, config.pose_pitch, config.pose_distribution, random)
    for seed, (yaw, pitch) in zip(seeds, poses.tolist()):
        w = model.mapping(latent(model, seed), truncation)
        yield draw_full(model, w, Camera.from_angles(yaw, pitch), truncation, context.pictures)[0]


def to_bytes(pictures: Tensor) -> Tensor:
    """Round pictures in [−1, 1] to 8 bits."""
    return ((pictures + 1.0) * 127.5).round().to(torch.uint8)


@metric(
    "toy-frechet",
    Quantity("distance", "Fréchet distance to the data, toy features", "", "lower", "reference_distance"),
    needs_data=True,
)
def toy_frechet(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How far are the pictures from the data's? The Fréchet distance of FID, on the 128 features of the reader.

    Poses are drawn from the model's own prior. This is a scale of its own, not FID's. The reference, which no model
    can be expected to beat, is the distance between two halves of the data that share no picture, each of at most as
    many as there are seeds.
    """
    crowd = gather(model, seeds, truncation, context)
    return {
        "count": len(seeds),
        "data_count": len(crowd.real[0]),
        "distance": frechet_distance(crowd.features, crowd.real[0]),
        "reference_distance": frechet_distance(*crowd.real),
    }


@metric(
    "toy-kid",
    Quantity("distance", "kernel distance to the data × 1000, toy features", "", "lower", "reference_distance"),
    needs_data=True,
)
def toy_kid(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """The unbiased kernel distance of KID (arXiv 1801.01401) on the reader's features, divided by their mean square."""
    crowd = gather(model, seeds, truncation, context)
    scale = np.sqrt(np.square(crowd.real[1]).mean())  # one for all: some features hardly vary
    return {
        "count": len(seeds),
        "distance": 1000.0 * kernel_distance(crowd.features / scale, crowd.real[0] / scale),
        "reference_distance": 1000.0 * kernel_distance(crowd.real[1] / scale, crowd.real[0] / scale),
    }


@metric(
    "toy-recall",
    Quantity("recall", "share of the data within reach of generated heads", "share", "higher", "reference_recall"),
    Quantity("precision", "share of generated heads within reach of the data", "share", "higher", "reference_recall"),
    needs_data=True,
)
def toy_recall(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Is all of the data's variety there, and nothing else? Improved precision and recall (arXiv 1904.06991).

    Within reach is nearer than some picture of the other set is to its third neighbour there, in the reader's
    features. The reference compares two halves of the data.
    """
    crowd = gather(model, seeds, truncation, context)
    return {
        "count": len(seeds),
        "recall": recall(crowd.real[0], crowd.features, NEIGHBOURS),
        "precision": recall(crowd.features, crowd.real[0], NEIGHBOURS),
        "reference_recall": recall(crowd.real[0], crowd.real[1], NEIGHBOURS),
    }


@metric(
    "copies",
    Quantity("ratio", "distance to the nearest picture of the data, over that of unseen heads", "", "nearer", 1.0),
    Quantity("nearest", "nearest of all, over the median of unseen heads", "", "higher", "reference_nearest"),
    needs_data=True,
)
def copies(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Has the model learned pictures by heart? Colour distances at 16×16 pixels to the nearest picture of the data.

    One half of the data stands for unseen heads. A model that copies is much nearer to the other half than those are.
    """
    crowd = gather(model, seeds, truncation, context)

    def small(pictures: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(pictures, 16).flatten(1)

    known, unseen = (small(context.real(index)) for index in crowd.real_index)
    generated = small(crowd.pictures.float() / 127.5 - 1.0)
    ours, theirs = (torch.cdist(pictures, known).min(dim=1).values for pictures in (generated, unseen))
    middle = float(theirs.median())
    return {
        "count": len(seeds),
        "ratio": float(ours.median()) / middle if middle else None,
        "nearest": float(ours.min()) / middle if middle else None,
        "reference_nearest": float(theirs.min()) / middle if middle else None,
    }


@metric(
    "speckle",
    Quantity("speckle", "speckle of coats, in 8-bit steps", "", "nearer", "reference_speckle"),
    needs_data=True,
)
def speckle(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Are coats blotched with colour that the data's have not? The median over heads of ``speckle_of``."""
    crowd = gather(model, seeds, truncation, context)

    def middle(chunks: Iterator[Tensor]) -> float | None:
        found = torch.cat([speckle_of(chunk) for chunk in chunks])
        found = found[~found.isnan()]
        return float(found.median()) if len(found) else None

    return {
        "count": len(seeds),
        "speckle": middle(chunk.float() / 127.5 - 1.0 for chunk in crowd.pictures.split(JUDGE["batch"])),
        "reference_speckle": middle(context.real(index) for index in crowd.real_index[0].split(JUDGE["batch"])),
    }


def speckle_of(pictures: Tensor) -> Tensor:
    """Return how far a head's pixels are from the chroma around them, its median, in 8-bit steps. ``(N,)``.

    Around is a square of a 32nd of the picture's width; pixels nearer to the outline do not count, and NaN is a picture
    without any. The median leaves out eyes, mouths and edges of patterns, which are few.

    Args:
        pictures: In [−1, 1], on the toy heads' background. ``(N, 3, R, R)``.
    """
    around = pictures.shape[-1] // 32 | 1
    outside = ~differs_from_background((pictures + 1.0) / 2.0)
    is_inner = F.max_pool2d(outside.float(), around, 1, around // 2) == 0
    chroma = 127.5 * (pictures - pictures.mean(dim=1, keepdim=True))
    deviation = (chroma - F.avg_pool2d(chroma, around, 1, around // 2)).norm(dim=1)
    return torch.stack(
        [
            each[inner[0]].median() if inner.any() else each.new_tensor(math.nan)
            for each, inner in zip(deviation, is_inner)
        ]
    )


@metric(
    "judge",
    Quantity("accuracy", "a fresh judge tells generated from real, at full size", "share", "nearer", 0.5),
    Quantity("small_accuracy", "another, pictures averaged down to 64×64", "share", "nearer", 0.5),
    needs_data=True,
)
def judge(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How often is a fresh classifier right that has learned real from generated? 50 % is the limit.

    Strided convolutions with group normalisation learn on one half of the seeds and as many real pictures, twelve
    passes of Adam with a falling rate, mirrored at random; asked about the other half and as many other real ones. One
    that has learned next to nothing starts anew from other weights, up to twice, and the best pupil is asked. A second
    one does the same on pictures averaged down to 64×64: what it cannot tell any more lies in the fine detail.
    """
    crowd = gather(model, seeds, truncation, context)
    count = min(len(seeds), len(crowd.real_index[0]))
    real = to_bytes(context.real(crowd.real_index[0][:count]))
    half = count // 2
    school = torch.cat([real[:half], crowd.pictures[:half]]), torch.arange(2 * half) < half
    exam = torch.cat([real[half:], crowd.pictures[half:count]]), torch.arange(2 * (count - half)) < count - half
    small = [(_averaged_down(pictures), is_real) for pictures, is_real in (school, exam)]
    return {"count": count, "accuracy": _examine(school, exam, context), "small_accuracy": _examine(*small, context)}


def _averaged_down(pictures: Tensor) -> Tensor:
    chunks = pictures.split(JUDGE["batch"])
    return torch.cat([F.adaptive_avg_pool2d(chunk.float(), JUDGE["small"]).round().to(torch.uint8) for chunk in chunks])


def _examine(school: tuple[Tensor, Tensor], exam: tuple[Tensor, Tensor], context: Context) -> float:
    """Train a judge on pictures and which of them are real; return how often it is right about others."""
    pupils = []
    for seed in JUDGE["seeds"]:
        pupils.append(_train_judge(*school, seed, context))
        if pupils[-1][1] < JUDGE_HAS_LEARNED:
            break
    network = min(pupils, key=lambda pupil: pupil[1])[0]
    with torch.no_grad():
        answers = torch.cat([network(chunk.float() / 127.5 - 1.0) for chunk in exam[0].split(JUDGE["batch"])]) > 0
    return float((answers[:, 0] == exam[1]).double().mean())


@torch.enable_grad()
def _train_judge(pictures: Tensor, is_real: Tensor, seed: int, context: Context) -> tuple[nn.Module, float]:
    """Return a judge, and its loss over the last pass."""
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers, width = [], 3
        for channels in JUDGE["channels"]:
            layers += [nn.Conv2d(width, channels, 3, stride=2, padding=1), nn.GroupNorm(8, channels), nn.LeakyReLU(0.2)]
            width = channels
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=JUDGE["rate"], weight_decay=0.01)
    steps_per_pass = math.ceil(len(pictures) / JUDGE["batch"])
    total = JUDGE["epochs"] * steps_per_pass
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, JUDGE["rate"], total_steps=total)
    for step in range(total):
        if step % steps_per_pass == 0:
            lost = 0.0
            batches = list(torch.randperm(len(pictures), generator=random).split(JUDGE["batch"]))
        index = batches.pop()
        batch = pictures[index].float() / 127.5 - 1.0
        is_flipped = torch.rand(len(index), 1, 1, 1, generator=random) < 0.5
        logits = network(torch.where(is_flipped, batch.flip(3), batch))[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, is_real[index].float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        lost += loss.item() * len(index) / len(pictures)
        context.report((step + 1) / total)
    return network.eval(), lost
