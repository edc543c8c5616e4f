"""Metrics against the data: copies, and the accuracy of a classifier that is trained to tell the two apart.

Shapes: N pictures, R pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.model import Generator
from train.data.images import to_signed
from train.evaluation.features import to_bytes
from train.evaluation.registry import Quantity, metric
from train.evaluation.views import Context, draw_samples

CLASSIFIER = {
    "epochs": 12, "batch": 16, "rate": 1e-3, "channels": (16, 32, 64, 96, 128), "small": 64, "seeds": (1, 2, 3),
}  # fmt: skip
TRAINED_LOSS = 0.6  # cross entropy over the last epoch, nats; one that knows nothing has 0.69


@metric(
    "copies",
    Quantity("ratio", "distance to the nearest picture of the data, over that of new heads", "", "nearer", 1.0),
    Quantity("nearest", "nearest of all, over the median of new heads", "", "higher", "reference_nearest"),
    needs=("data",),
)
def copies(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Does the model reproduce pictures of the data? Colour distances at 16×16 pixels to the nearest of them.

    One half of the data stands for new heads. A model that copies is much nearer to the other half than those are.
    """
    samples, kind = draw_samples(model, seeds, truncation, context), context.pictures_of(model)

    def small(pictures: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(pictures, 16).flatten(1)

    known, new = (small(context.real(index, kind)) for index in samples.real_index)
    generated = small(to_signed(samples.generated))
    ours, theirs = (torch.cdist(pictures, known).min(dim=1).values for pictures in (generated, new))
    middle = float(theirs.median())
    return {
        "count": len(seeds),
        "ratio": float(ours.median()) / middle if middle else None,
        "nearest": float(ours.min()) / middle if middle else None,
        "reference_nearest": float(theirs.min()) / middle if middle else None,
    }


@metric(
    "classifier",
    Quantity("accuracy", "accuracy of a classifier of real and generated, full size", "share", "nearer", 0.5),
    Quantity("small_accuracy", "the same, pictures averaged down to 64×64", "share", "nearer", 0.5),
    needs=("data",),
)
def classifier(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How well does a classifier tell generated from real? The classifier two-sample test of arXiv 1610.06545.

    Strided convolutions with group normalisation are trained on one half of the seeds and as many real pictures, for
    twelve epochs of Adam with a falling rate, mirrored at random, and tested on the other half and as many other real
    ones; 50 % is chance. Where the training loss hardly falls, training is repeated from other weights, up to twice,
    and the network with the lowest training loss is tested. A second network does the same on pictures averaged down to
    64×64; what it can no longer tell lies in the fine detail.
    """
    samples = draw_samples(model, seeds, truncation, context)
    count = min(len(seeds), len(samples.real_index[0]))
    real = to_bytes(context.real(samples.real_index[0][:count], context.pictures_of(model)))
    half = count // 2
    train = torch.cat([real[:half], samples.generated[:half]]), torch.arange(2 * half) < half
    test = torch.cat([real[half:], samples.generated[half:count]]), torch.arange(2 * (count - half)) < count - half
    small = [(_averaged_down(pictures), is_real) for pictures, is_real in (train, test)]
    return {"count": count, "accuracy": _accuracy(train, test, context), "small_accuracy": _accuracy(*small, context)}


def _averaged_down(pictures: Tensor) -> Tensor:
    chunks, size = pictures.split(CLASSIFIER["batch"]), CLASSIFIER["small"]
    return torch.cat([F.adaptive_avg_pool2d(chunk.float(), size).round().to(torch.uint8) for chunk in chunks])


def _accuracy(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], context: Context) -> float:
    """Train a classifier on pictures and which of them are real; return its accuracy on others."""
    trained = []
    for seed in CLASSIFIER["seeds"]:
        trained.append(_train_classifier(*train, seed, context))
        if trained[-1][1] < TRAINED_LOSS:
            break
    network = min(trained, key=lambda pair: pair[1])[0]
    with torch.no_grad():
        logits = torch.cat([network(to_signed(chunk)) for chunk in test[0].split(CLASSIFIER["batch"])])
    return float(((logits[:, 0] > 0) == test[1]).double().mean())


@torch.enable_grad()
def _train_classifier(pictures: Tensor, is_real: Tensor, seed: int, context: Context) -> tuple[nn.Module, float]:
    """Return a classifier, and its mean loss over the last epoch."""
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers, width = [], 3
        for channels in CLASSIFIER["channels"]:
            layers += [nn.Conv2d(width, channels, 3, stride=2, padding=1), nn.GroupNorm(8, channels), nn.LeakyReLU(0.2)]
            width = channels
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=CLASSIFIER["rate"], weight_decay=0.01)
    steps_per_epoch = math.ceil(len(pictures) / CLASSIFIER["batch"])
    total = CLASSIFIER["epochs"] * steps_per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, CLASSIFIER["rate"], total_steps=total)
    for step in range(total):
        if step % steps_per_epoch == 0:
            epoch_loss = 0.0
            batches = list(torch.randperm(len(pictures), generator=random).split(CLASSIFIER["batch"]))
        index = batches.pop()
        batch = to_signed(pictures[index])
        is_flipped = torch.rand(len(index), 1, 1, 1, generator=random) < 0.5
        logits = network(torch.where(is_flipped, batch.flip(3), batch))[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, is_real[index].float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        epoch_loss += loss.item() * len(index) / len(pictures)
        context.report((step + 1) / total)
    return network.eval(), epoch_loss
