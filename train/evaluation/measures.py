"""Measures of people as networks read them off pictures: for edits with names (``train/directions.py``).

Shapes: N pictures, M measures.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.data.images import ImageSet, to_signed
from train.data.people.identity import sample_person
from train.data.people.measures import HELD, MEASURES, RARE
from train.data.people.write import are_default_people
from train.evaluation.features import to_bytes
from train.evaluation.readers import load_reader
from train.evaluation.readings import r_squared
from train.evaluation.subjects import SUBJECTS
from train.networks.pose_reader import (
    CHUNK,
    MAX_PITCH,
    MAX_YAW,
    PoseReader,
    learn,
    pose_loss,
    to_reader_size,
)

READ = {**MEASURES, **HELD}
SIZE = 128  # pixels in each direction that are read
FACE = slice(48, 112), slice(32, 96)  # rows and columns of eyes, nose and mouth
RECIPE = {"epochs": 8, "batch": 50, "rate": 1e-3}
FEWEST_PEOPLE = 2000


class MeasureReader(nn.Module):
    """Reads poses and measures off pictures of 128×128 pixels: half as large for the whole head, the face as it is.

    Args:
        known: What both parts begin as.
        num_measures: M.

    Attributes:
        gains: By how much it says that pictures differ whose measures differ by 1. ``(M,)``.
    """

    def __init__(self, known: PoseReader, num_measures: int) -> None:
        super().__init__()
        self.whole, self.face = copy.deepcopy(known), copy.deepcopy(known)
        self.measures = nn.Linear(2 * 128, num_measures)
        self.register_buffer("gains", torch.ones(num_measures))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Read pictures in [−1, 1], ``(N, 3, 128, 128)``: poses as ``PoseReader`` does, measures ``(N, M)``."""
        whole, face = self.whole.hidden(to_reader_size(pictures)), self.face.hidden(pictures[(..., *FACE)])
        return self.whole.pose(whole), self.measures(torch.cat([whole, face], dim=1))

    @torch.no_grad()
    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return measures ``(N, M)`` and yaw and pitch in degrees ``(N, 2)``."""
        shares, measures = (torch.cat(parts) for parts in zip(*map(self, pictures.split(CHUNK))))
        return measures, (shares * shares.new_tensor([MAX_YAW, MAX_PITCH])).rad2deg()


def has_measures(data: ImageSet) -> bool:
    """Return whether the data has what ``measures_of`` needs."""
    is_known = data.subject == "people" and are_default_people(data.names, data.options)
    return is_known and len(data) >= FEWEST_PEOPLE


def measures_of(data: ImageSet) -> Tensor:
    """Return what is read of drawn people, in its units, less its mean. ``(N, len(READ))``.

    Raises:
        ValueError: The data is not ``people`` as it is drawn on the spot, in its own order, or has too few pictures.
    """
    if data.subject != "people":
        raise ValueError(f"directions need numbers of each picture, which {data.name or 'the data'} does not have")
    if not are_default_people(data.names, data.options):
        raise ValueError(f"{data.name} holds other people than those drawn by default, expected `--data people:COUNT`")
    if len(data) < FEWEST_PEOPLE:
        raise ValueError(f"directions cannot be learned from {len(data)} people, expected at least {FEWEST_PEOPLE}")
    people = [sample_person(number) for number in range(len(data))]
    values = torch.tensor([[measure(person) for measure in READ.values()] for person in people])
    std, mean = torch.std_mean(values, dim=0)
    units = [RARE.get(name, one.item()) for name, one in zip(READ, std)]
    return (values - mean) / torch.tensor(units)


def room_of(truth: Tensor, most: float) -> dict[str, float]:
    """Return by how much measures could change per unit between −most and most, if nobody left the range of all.

    Somebody old cannot become much older. Of what most people lack it is the change from 0 to most.

    Args:
        truth: Of ``measures_of``.
        most: In its units.
    """
    lowest, highest = truth.min(dim=0).values, truth.max(dim=0).values
    rise = (torch.minimum(truth + most, highest) - truth).mean(dim=0) / most
    fall = (truth - torch.maximum(truth - most, lowest)).mean(dim=0) / most
    pairs = zip(READ, rise.tolist(), fall.tolist())
    return {name: up if name in RARE else (up + down) / 2 for name, up, down in pairs}


def learn_measures(
    data: ImageSet, truth: Tensor, is_known: Tensor, seed: int, report: Callable
) -> tuple[MeasureReader, dict[str, float]]:
    """Train a reader on a part of the data.

    Args:
        data: Drawn people with poses.
        truth: Of ``measures_of``.
        is_known: Which pictures it learns from, bool ``(N,)``; the others test it.
        seed: Of everything random.
        report: Called with the share that is done, in [0, 1].

    Returns:
        The reader, with its gains, and by name the R² on the pictures that it has not seen.
    """
    numbers = torch.arange(len(data))

    def pictures(index: Tensor) -> Tensor:
        parts = [to_bytes(F.adaptive_avg_pool2d(data.image_batch(part), SIZE)) for part in index.split(CHUNK)]
        return torch.cat(parts)

    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = MeasureReader(load_reader(SUBJECTS[data.subject]), truth.shape[1])
    true, poses = truth[is_known], data.poses[is_known]

    def loss(batch: Tensor, index: Tensor) -> Tensor:
        shares, measures = reader(batch)
        return pose_loss(shares, poses[index]) + F.mse_loss(measures, true[index])

    learn(reader, pictures(numbers[is_known]), loss, RECIPE, random, report)
    read, _ = reader.read(to_signed(pictures(numbers[~is_known])))
    unseen = truth[~is_known]
    reader.gains.copy_((read * unseen).mean(dim=0) / unseen.square().mean(dim=0).clamp(min=1e-6))
    return reader, {name: r_squared(*pair) for name, *pair in zip(READ, unseen.t(), read.t())}
