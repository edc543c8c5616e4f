"""Stage 1's second teacher: an encoder, so that the data's own pictures can be shown again, ray by ray at full size.

An adversary that sees 64×64 pixels says little about an eye of three. Where poses are labelled, an encoder reads a
picture's renderer code, as that of a variational autoencoder (arXiv 1312.6114), the field draws it from the picture's
own camera, and each ray is compared with the pixel of the full-size picture it goes through. Before a background of one
colour that does not tell where a head ends, so its coverage can be compared too. The adversary judges what is drawn
from Gaussian latents (VAE-GAN, arXiv 1512.09300). The codes do not go through the mapping, so a mapping that learns
does not change what the encoder reads.

Shapes: B batch, H W image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.mapping import rectify
from stylesdf.model import Generator
from train import losses
from train.config import Phase, RendererConfig
from train.data.images import ImageSet
from train.game import adam
from train.networks.encoder import (
    ENCODER_LEARNING_RATE,
    ENCODER_RESOLUTION,
    PictureEncoder,
    divergence,
    expected_code,
)
from train.run.engine import Engine, Means, share_of, take
from train.stages.chunked import ChunkedField, render_field
from train.stages.latents import cameras_of
from train.terms import weighted_sum


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
        engine: Where it runs.

    Raises:
        ValueError: The data has no poses, or settings that do not go together.
    """

    def __init__(self, generator: Generator, config: RendererConfig, data: ImageSet, engine: Engine) -> None:
        if data.poses is None:
            raise ValueError("terms has reconstruction, but the data has no yaw and pitch in metadata.jsonl")
        if not config.num_points:
            raise ValueError("terms has reconstruction, but num_points is 0: its rays are surface-guided")
        self.generator, self.config, self.data, self.engine = generator, config, data, engine
        resolution = min(ENCODER_RESOLUTION, data.images.shape[-1])
        self.encoder = PictureEncoder(generator.config.latent_size, resolution).to(engine.device)
        self.optimizer = adam(self.encoder.parameters(), ENCODER_LEARNING_RATE)

    @torch.no_grad()
    def codes(self, count: int = 8) -> Tensor:
        """Return the codes of the data's first pictures, ``(count, latent_size)``; of fewer, some come again."""
        index, device = torch.arange(count) % len(self.data), self.engine.device
        mean, log_std = self.encoder(self.data.image_batch(index).to(device), self.data.poses[index].to(device))
        return expected_code(mean, log_std.exp())

    def step(
        self,
        phase: Phase,
        is_frozen: bool,
        point_losses: Callable[[Phase, ChunkedField, Tensor], dict[str, Tensor]] | None,
    ) -> dict[str, Tensor]:
        """Take the encoder's step, and leave the generator's gradients for it to take its own.

        Args:
            phase: Its batch size and resolution say how many pictures are shown and with how many rays in each
                direction, among those through the full-size pixels.
            is_frozen: Leave the generator none.
            point_losses: Function of phase, fields and random points ``(B, P, 3)`` that returns further terms; None
                is none.

        Returns:
            Every term, ``()``.
        """
        config, model = self.config, self.generator.config
        batch, side = phase.batch_size, phase.resolution
        means = Means(self.engine, batch)
        lattice = Lattice(self.data.images.shape[-1], side)
        draws = {
            "noise": torch.randn(batch, model.latent_size),
            "offset": torch.rand(batch, side, side),
            "points": (torch.rand(batch, config.num_points, 3) * 2 - 1) * model.scene_radius,
        }
        index = torch.randint(len(self.data), (batch,))
        self.data.prefetch(torch.cat([index[part] for part in self.engine.parts(batch)]))
        place = tuple(torch.randint(lattice.step, (2,)).tolist())
        self.generator.requires_grad_(not is_frozen)
        for part in self.engine.parts(batch):
            share, mine = share_of(part, batch), take(draws, part, self.engine.device)
            terms, field = self._show(index[part], lattice, place, mine, phase)
            if point_losses is not None:
                terms |= point_losses(phase, field, mine["points"])
            # the field goes back through the encoder once more
            (share * weighted_sum(terms, config.terms)).backward(retain_graph=True)
            field.backward()
            means.add(terms, share)
        self.generator.requires_grad_(True)
        self.engine.optimizer_step(self.optimizer)
        return means.result()

    def _show(
        self, index: Tensor, lattice: Lattice, place: tuple[int, int], draws: dict[str, Tensor], phase: Phase
    ) -> tuple[dict[str, Tensor], ChunkedField]:
        """Encode some pictures and draw them; return the terms and their fields."""
        device = self.engine.device
        pictures, poses = self.data.image_batch(index).to(device), self.data.poses[index]
        mean, log_std = self.encoder(pictures, poses.to(device))
        codes = rectify(mean + log_std.exp() * draws["noise"])
        field = ChunkedField(self.generator.field.condition(codes))
        camera = replace(cameras_of(poses, device), shift=lattice.shift(*place))
        sampling = phase.resolution, phase.num_samples, phase.surface_guided
        rendering = render_field(self.generator, field, camera, draws["offset"], *sampling)
        rows, columns = lattice.slices(*place)
        terms = {
            "reconstruction": F.l1_loss(rendering.thumbnail, pictures[:, :, rows, columns]),
            "divergence": divergence(mean, log_std),
        }
        if "coverage" in self.config.terms:
            alpha = self.data.alpha_batch(index).to(device)[:, :, rows, columns]
            terms["coverage"] = losses.coverage_loss(1.0 - rendering.background, alpha)
        return terms, field
