"""A small network that reads yaw, pitch and species off a picture of a toy head: the eye of the metrics.

It never sees the training set: it learns from heads of another seed, drawn for it with uniform poses, so that it knows
the whole range as well as the middle. Shapes: N pictures.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from train.data.toy_heads import SPECIES, render_heads, sample_head
from train.poses import CHUNK, MAX_PITCH, MAX_YAW, POSE_RECIPE, RESOLUTION, PoseReader, learn, pose_loss

log = logging.getLogger(__name__)
SCHOOL_SEED = 20_240_601  # no data set should have it
RECIPE = {"version": 1, "pictures": 4000, **POSE_RECIPE, "seed": SCHOOL_SEED}


class HeadReader(PoseReader):
    """A reader of poses that tells the species, too."""

    def __init__(self) -> None:
        super().__init__()
        self.species = nn.Linear(128, len(SPECIES))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Read pictures in [−1, 1], ``(N, 3, 64, 64)``: poses as shares of the range ``(N, 2)``, logits ``(N, 4)``."""
        hidden = self._hidden(pictures)
        return self.pose(hidden), self.species(hidden)

    @torch.no_grad()
    def features(self, pictures: Tensor) -> Tensor:
        """Return what poses and species are read from, of pictures in [−1, 1] ``(N, 3, 64, 64)``. ``(N, 128)``."""
        return torch.cat([self._hidden(chunk) for chunk in pictures.split(CHUNK)])

    @torch.no_grad()
    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return (yaw, pitch) in radians ``(N, 2)`` and the species' numbers ``(N,)``."""
        shares, species = zip(*(self(chunk) for chunk in pictures.split(CHUNK)))
        return torch.cat(shares) * torch.tensor([MAX_YAW, MAX_PITCH]), torch.cat(species).argmax(dim=1)


def draw_heads(
    seed: int, yaw: Tensor, pitch: Tensor, report: Callable[[float], None] = lambda share: None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw as many new toy heads as there are angles.

    Returns:
        Pictures in [−1, 1] ``(N, 3, 64, 64)``, z-depth with NaN in the background ``(N, 64, 64)``, and the species'
        numbers ``(N,)``.
    """
    pictures, depths, species = [], [], []
    for start in range(0, len(yaw), CHUNK):
        stop = min(start + CHUNK, len(yaw))
        heads = [sample_head(index, seed) for index in range(start, stop)]
        drawn = render_heads(heads, yaw[start:stop], pitch[start:stop], RESOLUTION, supersample=2)
        pictures.append(drawn.rgb.permute(0, 3, 1, 2) * 2.0 - 1.0)
        depths.append(drawn.depth)
        species += [SPECIES.index(head.species) for head in heads]
        report(stop / len(yaw))
    return torch.cat(pictures), torch.cat(depths), torch.tensor(species)


def uniform_poses(count: int, yaw_range: float, pitch_range: float) -> Tensor:
    """Return (yaw, pitch) that fill ±range evenly, the same at every call. ``(N, 2)``.

    The additive recurrence of the plastic number, x_i = frac(i / φ₂), y_i = frac(i / φ₂²): of low discrepancy in two
    dimensions.
    """
    plastic = 1.324717957244746
    steps = torch.tensor([1.0 / plastic, 1.0 / plastic**2], dtype=torch.float64)
    unit = (0.5 + torch.arange(count, dtype=torch.float64)[:, None] * steps) % 1.0
    return ((unit * 2.0 - 1.0) * torch.tensor([yaw_range, pitch_range], dtype=torch.float64)).float()


def load_reader(path: str | Path, report: Callable[[float], None] = lambda share: None) -> HeadReader:
    """Load the reader from a file, or train it and write the file; one of another recipe is replaced.

    Args:
        path: safetensors.
        report: Called with the share of the training that is done, in [0, 1].
    """
    path = Path(path)
    recipe = json.dumps(RECIPE, sort_keys=True)
    if path.is_file():
        with safe_open(path, framework="pt") as file:
            known = (file.metadata() or {}).get("recipe")
        if known == recipe:
            reader = HeadReader()
            reader.load_state_dict(safetensors.torch.load_file(path))
            return reader.eval()
        log.info("%s holds a reader of another recipe: a new one is trained", path)
    reader = train_reader(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(reader.state_dict(), path, metadata={"recipe": recipe})
    return reader


def train_reader(report: Callable[[float], None] = lambda share: None, **recipe) -> HeadReader:
    """Draw heads and train a reader on them; ``recipe`` overrides entries of ``RECIPE``."""
    recipe = {**RECIPE, **recipe}
    count = recipe["pictures"]
    random = torch.Generator().manual_seed(recipe["seed"])
    poses = (torch.rand(count, 2, generator=random) * 2 - 1) * torch.tensor([MAX_YAW, MAX_PITCH])
    pictures, _, species = draw_heads(recipe["seed"], poses[:, 0], poses[:, 1], lambda share: report(0.4 * share))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe["seed"])
        reader = HeadReader()

    def loss(seen: Tensor, index: Tensor) -> Tensor:
        shares, logits = reader(seen)
        return pose_loss(shares, poses[index]) + 0.1 * F.cross_entropy(logits, species[index])

    learn(reader, pictures, loss, recipe, random, lambda share: report(0.4 + 0.6 * share))
    return reader
