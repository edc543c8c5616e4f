"""The encoder: from a picture and its pose to the renderer code from which the field draws it.

Stage 1 trains it as that of a variational autoencoder (arXiv 1312.6114). It reads codes as they are before the
mapping's last leaky ReLU: a distribution that is smooth behind it has a kink before it, which a mapping of three layers
could not learn. It is not part of the model.

Shapes: B batch, H W image.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.checkpoint import built_as, load_weights
from stylesdf.ops import SLOPE
from train.data.images import ImageSet
from train.networks.discriminators import with_coordinates

ENCODER_RESOLUTION = 128  # pixels that it sees of a picture in each direction, at most
ENCODER_LEARNING_RATE = 3e-4  # at 1e-3 codes and field run away within 400 steps
ENCODER_WARM_UP = 200  # steps over which the learning rate rises
CHANNELS = (32, 64, 128, 256, 256)
WIDTH = 512  # between the last map and the code
ENCODED_AT_ONCE = 200  # pictures
NUM_PLACES = 4  # further channels: row, column, yaw, pitch
SMALLEST = 4  # pixels that the last map is wide and high
POWERS, POSE_UNITS, LARGEST_POWER = 10, (0.3, 0.15), 8.0  # of a pose: how many; radians of yaw and pitch
RIDGE = 1e-3  # of the regression of codes on poses
RESOLUTIONS = tuple(SMALLEST << count for count in range(1, len(CHANNELS) + 1))


class PictureEncoder(nn.Module):
    """Picture and its pose to a Gaussian over renderer codes before ``rectify``: strided convolutions.

    Args:
        latent_size: Of a renderer code.
        resolution: Height and width that pictures are averaged to; a power of two from 8 to 128.

    Attributes:
        config: These two by their names, as its file keeps them.
        regression: Of codes on poses: running means of the products of ``powers`` with themselves and with the means
            that the network reads. Zero explains nothing. ``(POWERS, POWERS + latent_size)``.
        centre: Running mean of the codes behind ``rectify``, from which stage 1 truncates. ``(1, latent_size)``.

    Raises:
        ValueError: A size out of range.
    """

    def __init__(self, latent_size: int, resolution: int) -> None:
        if resolution not in RESOLUTIONS:
            expected = ", ".join(map(str, RESOLUTIONS))
            raise ValueError(f"resolution of an encoder is {resolution!r}, expected one of {expected}")
        super().__init__()
        self.resolution = resolution
        self.config = {"latent_size": latent_size, "resolution": resolution}
        count = int(math.log2(resolution // SMALLEST))
        sizes = (3 + NUM_PLACES, *CHANNELS[:count])
        layers: list[nn.Module] = []
        for a, b in zip(sizes, sizes[1:]):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.LeakyReLU(0.2)]
        side = resolution >> count
        layers += [nn.Flatten(), nn.Linear(sizes[-1] * side * side, WIDTH), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTH, 2 * latent_size)
        self.register_buffer("regression", torch.zeros(POWERS, POWERS + latent_size))
        self.register_buffer("centre", torch.zeros(1, latent_size))

    def forward(self, pictures: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Read pictures in [−1, 1] ``(B, 3, H, W)`` of known (yaw, pitch), radians ``(B, 2)``.

        Returns:
            Mean and logarithm of the standard deviation, ``(B, latent_size)`` each.
        """
        seen = with_coordinates(F.adaptive_avg_pool2d(pictures, self.resolution))
        seen = torch.cat([seen, poses[:, :, None, None].expand(-1, -1, *seen.shape[2:])], dim=1)
        mean, log_std = self.head(self.trunk(seen)).chunk(2, dim=1)
        return mean - self.explained(poses), (log_std - 1.0).clamp(-6.0, 1.0)

    def code(self, pictures: Tensor, poses: Tensor) -> Tensor:
        """Return the code from which the field draws each picture best, ``(B, latent_size)``; as ``forward``."""
        mean, log_std = self(pictures, poses)
        return expected_code(mean, log_std.exp())

    def explained(self, poses: Tensor) -> Tensor:
        """Return what poses, radians ``(B, 2)``, explain of the means, less its mean over poses. ``(B, latent_size)``.

        ``forward`` subtracts it: a code that tells the pose lets the field show another head from each side.
        """
        moments, products = self.regression[:, :POWERS], self.regression[:, POWERS:]
        weights = torch.linalg.solve(moments + RIDGE * torch.eye(POWERS).to(moments), products)
        return (powers(poses.to(moments)) - moments[:1]) @ weights

    @torch.no_grad()
    def products(self, means: Tensor, poses: Tensor) -> Tensor:
        """Return what a batch adds to ``regression``: means that ``forward`` gave ``(B, latent_size)``, their poses."""
        bases = powers(poses.to(means))
        return bases.T @ torch.cat([bases, means + self.explained(poses)], dim=1) / len(poses)


def powers(poses: Tensor) -> Tensor:
    """Return the products of yaw and pitch, radians ``(B, 2)``, up to the third degree; first is 1. ``(B, POWERS)``."""
    yaw, pitch = (poses / poses.new_tensor(POSE_UNITS)).T
    terms = [yaw**i * pitch**j for i in range(4) for j in range(4 - i)]
    return torch.stack(terms, dim=1).clamp(-LARGEST_POWER, LARGEST_POWER)


def load_encoder(path: Path, latent_size: int) -> PictureEncoder:
    """Read an encoder; its file says in its header how it is built.

    Args:
        path: A ``.safetensors`` file that ``save_model`` wrote.
        latent_size: Of the renderer codes that it has to read.

    Raises:
        ValueError: It is none, or it reads codes of another size.
    """
    encoder = PictureEncoder(**built_as(path, latent_size, ("latent_size", "resolution")))
    load_weights(encoder, path)
    return encoder


def expected_code(mean: Tensor, std: Tensor) -> Tensor:
    """Return the mean of ``rectify``'s result for Gaussian codes, ``(B, latent_size)``.

    The field was shown codes with noise; it draws a picture best from their mean behind the leaky ReLU.
    """
    normal = torch.distributions.Normal(0.0, 1.0)
    ratio = mean / std
    positive = mean * normal.cdf(ratio) + std * normal.log_prob(ratio).exp()  # of max(u, 0)
    return SLOPE * mean + (1.0 - SLOPE) * positive


@torch.no_grad()
def encode(encoder: PictureEncoder, data: ImageSet) -> tuple[Tensor, Tensor]:
    """Read all pictures of a data set.

    Returns:
        Their renderer codes ``(N, latent_size)`` and the mean standard deviation of the noise that these were shown
        with, before ``rectify``, ``(latent_size,)``, on the encoder's device.

    Raises:
        ValueError: The data has no poses.
    """
    if data.poses is None:
        raise ValueError("the encoder needs poses, but the data has no yaw and pitch")
    device = encoder.head.weight.device
    codes, stds = [], []
    for index in torch.arange(len(data)).split(ENCODED_AT_ONCE):
        mean, log_std = encoder(data.image_batch(index).to(device), data.poses[index].to(device))
        codes.append(expected_code(mean, log_std.exp()))
        stds.append(log_std.exp())
    return torch.cat(codes), torch.cat(stds).mean(dim=0)


def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence from the standard normal, in nats: summed over the code, mean over B."""
    return 0.5 * (mean.square() + (2.0 * log_std).exp() - 1.0 - 2.0 * log_std).sum(dim=1).mean()
