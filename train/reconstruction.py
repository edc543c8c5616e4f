"""Stage 1's second teacher: an encoder, so that the data's own pictures can be shown again, ray by ray at full size.

An adversary that sees 64×64 pixels says little about an eye of three. Where poses are labelled, an encoder reads a
picture's renderer code, as that of a variational autoencoder (arXiv 1312.6114), the field draws it from the picture's
own camera, and each ray is compared with the pixel of the full-size picture it goes through. The adversary judges what
is drawn from Gaussian latents (VAE-GAN, arXiv 1512.09300). The codes do not go through the mapping, so a mapping that
learns does not change what the encoder reads. It reads them as they are before the mapping's last leaky ReLU: a
distribution that is smooth behind it has a kink before it, which a mapping of three layers could not learn. The encoder
is not part of the model.

Shapes: B batch, H W image, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from stylesdf.camera import Camera
from stylesdf.model import Generator
from stylesdf.ops import SLOPE
from train.chunked import ChunkedField, render_field
from train.config import Phase, RendererConfig
from train.data.images import ImageSet
from train.discriminators import with_coordinates
from train.engine import Engine, Means, share_of, take

ENCODER_CHANNELS = (48, 96, 192, 256, 256, 256)
ENCODER_WIDTH = 512  # between the last map and the code
ENCODED_AT_ONCE = 200  # pictures
NUM_PLACES = 4  # further channels: row, column, yaw, pitch
SMALLEST = 4  # pixels that the last map is wide and high


class PictureEncoder(nn.Module):
    """Thumbnail and its pose to a Gaussian over renderer codes before ``rectify``: strided convolutions.

    Args:
        in_channels: 3, or 4 where the alpha is seen too.
        latent_size: Of a renderer code.
        resolution: Height and width of the thumbnails.
    """

    def __init__(self, in_channels: int, latent_size: int, resolution: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        count = max(1, int(math.log2(resolution // SMALLEST)))
        sizes = (in_channels + NUM_PLACES, *(ENCODER_CHANNELS * 2)[:count])
        layers: list[nn.Module] = []
        for a, b in zip(sizes, sizes[1:]):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.LeakyReLU(0.2)]
        side = resolution >> count
        layers += [nn.Flatten(), nn.Linear(sizes[-1] * side * side, ENCODER_WIDTH), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(ENCODER_WIDTH, 2 * latent_size)

    def forward(self, thumbnails: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Read thumbnails in [−1, 1] ``(B, C, H, W)`` of known (yaw, pitch), radians ``(B, 2)``.

        Returns:
            Mean and logarithm of the standard deviation, ``(B, latent_size)`` each.
        """
        seen = with_coordinates(thumbnails)
        seen = torch.cat([seen, poses[:, :, None, None].expand(-1, -1, *seen.shape[2:])], dim=1)
        mean, log_std = self.head(self.trunk(seen)).chunk(2, dim=1)
        return mean, (log_std - 1.0).clamp(-6.0, 1.0)


def encoder_channels(path: Path) -> int:
    """Return how many channels the thumbnails have that an encoder's file was trained on: 3, or 4 with alpha."""
    with safe_open(path, framework="pt") as file:
        return file.get_slice("trunk.0.weight").get_shape()[1] - NUM_PLACES


def rectify(codes: Tensor) -> Tensor:
    """Return what the mapping's last leaky ReLU makes of codes ``(B, latent_size)``."""
    return F.leaky_relu(codes, SLOPE)


def unrectify(codes: Tensor) -> Tensor:
    """Return what ``rectify`` makes renderer codes of, ``(B, latent_size)``."""
    return torch.where(codes < 0, codes / SLOPE, codes)


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
        ValueError: The data has no poses, or no alpha where the encoder sees it.
    """
    if data.poses is None:
        raise ValueError("the encoder needs poses, but the data has no yaw and pitch in metadata.jsonl")
    if encoder.in_channels > data.thumbnails.shape[1]:
        raise ValueError("the encoder reads alpha, but the pictures have no alpha channel")
    device, resolution = encoder.head.weight.device, data.thumbnails.shape[-1]
    codes, stds = [], []
    for index in torch.arange(len(data)).split(ENCODED_AT_ONCE):
        thumbnails = data.thumbnail_batch(index, resolution, encoder.in_channels).to(device)
        mean, log_std = encoder(thumbnails, data.poses[index].to(device))
        codes.append(expected_code(mean, log_std.exp()))
        stds.append(log_std.exp())
    return torch.cat(codes), torch.cat(stds).mean(dim=0)


def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence from the standard normal, in nats: summed over the code, mean over B."""
    return 0.5 * (mean.square() + (2.0 * log_std).exp() - 1.0 - 2.0 * log_std).sum(dim=1).mean()


class Lattice:
    """Every n-th pixel of a picture in both directions, from one of its first n×n on.

    Args:
        image_resolution: Of the picture.
        side: How many pixels are taken in each direction; a divisor of it.

    Raises:
        ValueError: It is none.
    """

    def __init__(self, image_resolution: int, side: int) -> None:
        if side < 1 or image_resolution % side:
            raise ValueError(
                f"a phase has {side}×{side} rays, expected a divisor of the pictures' {image_resolution} pixels"
            )
        self.resolution, self.side, self.step = image_resolution, side, image_resolution // side

    def shift(self, row: int, column: int) -> tuple[float, float]:
        """Return the camera's shift under which rays of ``side`` pixels go through the pixels' centres."""
        return tuple((place + 0.5 - self.step / 2) / self.resolution for place in (column, row))

    def slices(self, row: int, column: int) -> tuple[slice, slice]:
        """Return rows and columns of these pixels."""
        return slice(row, None, self.step), slice(column, None, self.step)


class Reconstruction:
    """The encoder, and the steps in which the data's pictures are shown again.

    Args:
        generator: Whose gradients are wanted.
        config: Settings of stage 1.
        data: Pictures with poses.
        channels: Of the thumbnails that the encoder sees.
        engine: Where it runs.

    Raises:
        ValueError: The data has no poses, or settings that do not go together.
    """

    def __init__(
        self, generator: Generator, config: RendererConfig, data: ImageSet, channels: int, engine: Engine
    ) -> None:
        if data.poses is None:
            raise ValueError("reconstruction_weight is set, but the data has no yaw and pitch in metadata.jsonl")
        if not config.eikonal_points:
            raise ValueError("reconstruction_weight is set, but eikonal_points is 0: its rays are surface-guided")
        self.generator, self.config, self.data, self.channels, self.engine = generator, config, data, channels, engine
        model = generator.config
        self.encoder = PictureEncoder(channels, model.latent_size, model.render_resolution).to(engine.device)
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=config.encoder_learning_rate)

    def step(
        self, phase: Phase, is_frozen: bool, point_losses: Callable[[ChunkedField, Tensor, dict], Tensor] | None
    ) -> dict[str, float]:
        """Take the encoder's step, and leave the generator's gradients for it to take its own.

        Args:
            phase: Its batch size and resolution say how many pictures are shown and with how many rays in each
                direction, among those through the full-size pixels.
            is_frozen: Leave the generator none.
            point_losses: Further losses of the fields at random points ``(B, P, 3)``, added to the terms; None is none.

        Returns:
            Every term.
        """
        config, model, means = self.config, self.generator.config, Means()
        batch, side = phase.batch_size, phase.resolution
        lattice = Lattice(self.data.images.shape[-1], side)
        draws = {
            "noise": torch.randn(batch, model.latent_size),
            "offset": torch.rand(batch, side, side),
            "points": (torch.rand(batch, config.eikonal_points, 3) * 2 - 1) * model.scene_radius,
        }
        index = torch.randint(len(self.data), (batch,))
        place = tuple(torch.randint(lattice.step, (2,)).tolist())
        self.generator.requires_grad_(not is_frozen)
        for part in self.engine.parts(batch):
            share, mine = share_of(part, batch), take(draws, part, self.engine.device)
            terms, field = self._show(index[part], lattice, place, mine, phase)
            loss = terms["reconstruction"] + config.divergence_weight * terms["divergence"]
            loss = config.reconstruction_weight * loss
            if point_losses is not None:
                loss = loss + point_losses(field, mine["points"], terms)
            (share * loss).backward(retain_graph=True)  # the field goes back through the encoder once more
            field.backward()
            means.add(terms, share)
        self.generator.requires_grad_(True)
        self.engine.descend(self.optimizer)
        return means.result(self.engine)

    def _show(
        self, index: Tensor, lattice: Lattice, place: tuple[int, int], draws: dict[str, Tensor], phase: Phase
    ) -> tuple[dict[str, Tensor], ChunkedField]:
        """Encode some pictures and draw them; return the terms and their fields."""
        model, device = self.generator.config, self.engine.device
        thumbnails = self.data.thumbnail_batch(index, model.render_resolution, self.channels).to(device)
        poses = self.data.poses[index].to(device)
        mean, log_std = self.encoder(thumbnails, poses)
        codes = rectify(mean + log_std.exp() * draws["noise"])
        field = ChunkedField(self.generator.field.condition(codes))
        camera = replace(Camera.from_angles(poses[:, 0], poses[:, 1]), shift=lattice.shift(*place))
        sampling = phase.resolution, phase.num_samples, phase.surface_guided
        rendering = render_field(self.generator, field, camera, draws["offset"], *sampling)
        pixels = self.data.image_batch(index, *lattice.slices(*place)).to(device)
        return {
            "reconstruction": F.l1_loss(rendering.thumbnail, pixels),
            "divergence": divergence(mean, log_std),
        }, field
