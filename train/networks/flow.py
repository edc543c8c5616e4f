"""A flow from Gaussian noise to given vectors: conditional flow matching (arXiv 2210.02747) with optimal transport.

Within a batch noise is paired with the vectors that are nearest to it as a whole (arXiv 2302.00482), so that paths are
short and hardly cross: the way from noise to a vector is then simple enough for a small network to learn.

Shapes: B batch, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

WIDTH = 512
NUM_BLOCKS = 3
NUM_FREQUENCIES = 16  # of the time, half a period within a path and multiples
PATH_STEPS = 8  # of Heun's method


class VelocityField(nn.Module):
    """Place and time to velocity: residual blocks of two linear layers.

    Args:
        num_channels: Of the vectors.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_channels + 2 * NUM_FREQUENCIES, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
            for _ in range(NUM_BLOCKS)
        )
        self.last = nn.Linear(WIDTH, num_channels)

    def forward(self, place: Tensor, time: Tensor) -> Tensor:
        """Return the velocity ``(B, C)`` at places ``(B, C)`` and times in [0, 1] ``(B, 1)``."""
        angles = time * torch.arange(1, NUM_FREQUENCIES + 1, device=time.device) * (math.pi / 2.0)
        hidden = self.first(torch.cat([place, angles.sin(), angles.cos()], dim=1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.last(F.silu(hidden))


def flow_loss(velocity: VelocityField, noise: Tensor, vectors: Tensor, time: Tensor, scale: Tensor) -> Tensor:
    """Compare velocities with those of straight paths from noise to the vectors that are paired with it.

    Args:
        velocity: What learns.
        noise: Standard normal. ``(B, C)``.
        vectors: The data. ``(B, C)``.
        time: In [0, 1]. ``(B, 1)``.
        scale: What a channel counts in distances between noise and vectors. ``(C,)``.

    Returns:
        The mean squared error, a scalar.
    """
    costs = torch.cdist(noise * scale, vectors * scale).square()
    _, pairs = linear_sum_assignment(costs.cpu().numpy())
    vectors = vectors[torch.from_numpy(pairs).to(vectors.device)]
    return (velocity(torch.lerp(noise, vectors, time), time) - (vectors - noise)).square().mean()


@torch.no_grad()
def follow(velocity: VelocityField, noise: Tensor) -> Tensor:
    """Return where standard normal noise ``(B, C)`` gets to. ``(B, C)``."""
    place = noise
    for step in range(PATH_STEPS):
        time = torch.full_like(place[:, :1], step / PATH_STEPS)
        start = velocity(place, time)
        end = velocity(place + start / PATH_STEPS, time + 1.0 / PATH_STEPS)
        place = place + (start + end) / (2 * PATH_STEPS)
    return place
