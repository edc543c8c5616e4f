"""Metrics against the data: copies, and what a fresh classifier can tell apart.

Shapes: N pictures, R pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.model import Generator
from train.evaluation.features import to_bytes
from train.evaluation.registry import Quantity, metric
from train.evaluation.views import Context, draw_samples

JUDGE = {"epochs": 12, "batch": 16, "rate": 1e-3, "channels": (16, 32, 64, 96, 128), "small": 64, "seeds": (1, 2, 3)}
JUDGE_HAS_LEARNED = 0.6  # nats a picture over its last pass; it starts at 0.69


@metric(
    "copies",
    Quantity("ratio", "distance to the nearest picture of the data, over that of unseen heads", "", "nearer", 1.0),
    Quantity("nearest", "nearest of all, over the median of unseen heads", "", "higher", "reference_nearest"),
    needs=("data",),
)
def copies(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Has the model learned pictures by heart? Colour distances at 16×16 pixels to the nearest picture of the data.

    One half of the data stands for unseen heads. A model that copies is much nearer to the other half than those are.
    """
    samples, kind = draw_samples(model, seeds, truncation, context), context.pictures_of(model)

    def small(pictures: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(pictures, 16).flatten(1)

    known, unseen = (small(context.real(index, kind)) for index in samples.real_index)
    generated = small(samples.generated.float() / 127.5 - 1.0)
    ours, theirs = (torch.cdist(pictures, known).min(dim=1).values for pictures in (generated, unseen))
    middle = float(theirs.median())
    return {
        "count": len(seeds),
        "ratio": float(ours.median()) / middle if middle else None,
        "nearest": float(ours.min()) / middle if middle else None,
        "reference_nearest": float(theirs.min()) / middle if middle else None,
    }


@metric(
    "judge",
    Quantity("accuracy", "a fresh judge tells generated from real, at full size", "share", "nearer", 0.5),
    Quantity("small_accuracy", "another, pictures averaged down to 64×64", "share", "nearer", 0.5),
    needs=("data",),
)
def judge(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How often is a fresh classifier right that has learned real from generated? 50 % is the limit.

    Strided convolutions with group normalisation learn on one half of the seeds and as many real pictures, twelve
    passes of Adam with a falling rate, mirrored at random; asked about the other half and as many other real ones. One
    that has learned next to nothing starts anew from other weights, up to twice, and the one that learned most is
    asked. A second one does the same on pictures averaged down to 64×64: what it cannot tell any more lies in the fine
    detail.
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
    chunks = pictures.split(JUDGE["batch"])
    return torch.cat([F.adaptive_avg_pool2d(chunk.float(), JUDGE["small"]).round().to(torch.uint8) for chunk in chunks])


def _accuracy(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], context: Context) -> float:
    """Train a judge on pictures and which of them are real; return how often it is right about others."""
    judges = []
    for seed in JUDGE["seeds"]:
        judges.append(_train_judge(*train, seed, context))
        if judges[-1][1] < JUDGE_HAS_LEARNED:
            break
    network = min(judges, key=lambda judge: judge[1])[0]
    with torch.no_grad():
        answers = torch.cat([network(chunk.float() / 127.5 - 1.0) for chunk in test[0].split(JUDGE["batch"])]) > 0
    return float((answers[:, 0] == test[1]).double().mean())


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
