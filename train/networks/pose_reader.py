"""A small network that reads yaw and pitch off a picture, learned from pictures whose poses are known.

Shapes: N pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.data.images import ImageSet, to_signed
from train.networks.discriminators import with_coordinates

RESOLUTION = 64
MAX_YAW, MAX_PITCH = math.radians(35.0), math.radians(20.0)
CHUNK = 100
POSE_RECIPE = {"epochs": 12, "batch": 50, "rate": 3e-3}
FEWEST = 2 * POSE_RECIPE["batch"]


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = []
        for _ in range(2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(hidden + self.layers(hidden))


class PoseReader(nn.Module):
    """Strided convolutions; row and column coordinates beside the colours.

    Args:
        is_residual: Whether a residual block follows each of them but the first: twice the time, fewer errors.
    """

    def __init__(self, is_residual: bool = False) -> None:
        super().__init__()
        layers, channels = [], 5
        for index, width in enumerate((24, 48, 96, 128)):  # 64 -> 32 -> 16 -> 8 -> 4
            size = 5 if index == 0 else 3
            layers += [nn.Conv2d(channels, width, size, stride=2, padding=size // 2, bias=False), nn.BatchNorm2d(width)]
            layers += [nn.ReLU(inplace=True)]
            if is_residual and index > 0:
                layers += [ResidualBlock(width)]
            channels = width
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 128), nn.ReLU(inplace=True))
        self.pose = nn.Linear(128, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        """Read pictures in [−1, 1], ``(N, 3, 64, 64)``: poses as shares of ``MAX_YAW`` and ``MAX_PITCH`` ``(N, 2)``."""
        return self.pose(self.hidden(pictures))

    @torch.no_grad()
    def angles(self, pictures: Tensor) -> Tensor:
        """Return (yaw, pitch) in radians, of pictures in [−1, 1] ``(N, 3, 64, 64)``. ``(N, 2)``."""
        shares = torch.cat([self.pose(self.hidden(chunk)) for chunk in pictures.split(CHUNK)])
        return shares * shares.new_tensor([MAX_YAW, MAX_PITCH])

    def hidden(self, pictures: Tensor) -> Tensor:
        """Return what is read from, of pictures as of ``forward``. ``(N, 128)``."""
        return self.trunk(with_coordinates(pictures))


def to_reader_size(pictures: Tensor) -> Tensor:
    """Average pictures ``(N, C, R, R)`` down to 64×64; smaller ones are enlarged."""
    if pictures.shape[-1] < RESOLUTION:
        return F.interpolate(pictures, RESOLUTION, mode="bilinear", align_corners=False)
    return F.adaptive_avg_pool2d(pictures, RESOLUTION)


def pose_loss(shares: Tensor, poses: Tensor) -> Tensor:
    """Return the smooth L1 distance of what was read to true (yaw, pitch) in radians, both ``(N, 2)``."""
    return F.smooth_l1_loss(shares, poses / poses.new_tensor([MAX_YAW, MAX_PITCH]), beta=0.1)


@torch.enable_grad()
def learn(
    reader: PoseReader,
    pictures: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    recipe: dict,
    random: torch.Generator,
    report: Callable[[float], None] = lambda share: None,
) -> None:
    """Train a reader: AdamW, one cycle of the rate, pictures as a generator may draw them.

    Args:
        reader: What learns; in evaluation mode afterwards.
        pictures: In [−1, 1], or 8 bits, which take a quarter of the memory. ``(N, 3, 64, 64)``.
        loss: Function of degraded pictures and their numbers in ``pictures``.
        recipe: ``epochs``, ``batch`` and ``rate``.
        random: Where randomness comes from.
        report: Called with the share that is done, in [0, 1].
    """
    reader.train()
    batch_size = recipe["batch"]
    optimizer = torch.optim.AdamW(reader.parameters(), lr=recipe["rate"], weight_decay=1e-3)
    total = recipe["epochs"] * (len(pictures) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe["rate"], total_steps=total)
    step = 0
    for _ in range(recipe["epochs"]):
        order = torch.randperm(len(pictures), generator=random)
        for index in order.split(batch_size)[: len(pictures) // batch_size]:
            batch = pictures[index]
            batch = to_signed(batch) if batch.dtype == torch.uint8 else batch
            value = loss(_degrade(batch, random), index)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % 25 == 0 or step == total:
                report(step / total)
    reader.eval()


def check_poses(data: ImageSet) -> None:
    """Raise ValueError where poses cannot be learned: the data has none, or too few pictures."""
    if data.poses is None:
        raise ValueError("poses cannot be learned: the data has no yaw and pitch")
    if len(data) < FEWEST:
        raise ValueError(f"poses cannot be learned from {len(data)} pictures, expected at least {FEWEST}")


def _degrade(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Pictures as a generator may draw them: half of them blurred, all a little noisy, brighter or darker."""
    count = pictures.shape[0]
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = (torch.rand(count, 1, 1, 1, generator=random) * 2.0 - 1.0).clamp(min=0.0)
    noise = torch.randn(pictures.shape, generator=random) * 0.05 * torch.rand(count, 1, 1, 1, generator=random)
    gain = 1.0 + 0.1 * torch.randn(count, 1, 1, 1, generator=random)
    shift = 0.05 * torch.randn(count, 3, 1, 1, generator=random)
    return torch.lerp(pictures, blurred, share) * gain + shift + noise
