"""Stage 1's second teacher: an encoder, so that the data's own pictures can be shown again, ray by ray at full size.

An adversary that sees 64×64 pixels says little about an eye of three. Where poses are labelled, an encoder reads a
picture's renderer code, as that of a variational autoencoder (arXiv 1312.6114), the field draws it from the picture's
own camera, and each ray is compared with the pixel of the full-size picture it goes through. Before a background of one
colour that does not tell where a head ends, so its coverage can be compared too. The codes do not go through the
mapping, which learns them later (``train/stages/prior.py``). There is no adversary meanwhile.

The field draws a picture from its own camera alone. Where its code tells which that is, a head need not look right from
any other side, and drawn heads turned by a tenth less than the camera. With the term leak the codes' means lose what
poses explain of them, by a regression of the third degree that is fitted as the encoder learns. Where codes are
truncated the picture to be shown stays the same, so that a head keeps its beard at a smaller ψ.

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
    ENCODED_AT_ONCE,
    ENCODER_LEARNING_RATE,
    ENCODER_RESOLUTION,
    PictureEncoder,
    divergence,
    expected_code,
)
from train.run.engine import Engine, Means, share_of, take
from train.stages.chunked import ChunkedField, render_field
from train.stages.latents import cameras_of, draw_points, draw_psi
from train.terms import weighted_sum

DETAIL_SHARE = 0.5  # of the rays of a picture go where it is detailed
SMALLEST_CONTRAST = 1e-4
MEASURED_PICTURES, NEW_SHARE = 2000, 0.03  # that regression and centre begin with; share of a step's in them


def contrast(pictures: Tensor) -> Tensor:
    """Measure how far the neighbourhoods of blocks of 2×2 pixels are from plain, in units of a picture's mean.

    Args:
        pictures: In [−1, 1]. ``(B, 3, R, R)``.

    Returns:
        Positive. ``(B, R/2, R/2)``.
    """
    blocks = F.avg_pool2d(pictures, 2)
    width = 2 * max(1, blocks.shape[-1] // 64) + 1
    options = {"kernel_size": width, "stride": 1, "padding": width // 2, "count_include_pad": False}
    differences = (blocks - F.avg_pool2d(blocks, **options)).abs().mean(dim=1, keepdim=True)
    around = F.avg_pool2d(differences, **options).squeeze(1) + SMALLEST_CONTRAST
    return around / around.mean(dim=(1, 2), keepdim=True)


def choose_pixels(pictures: Tensor, random: Tensor) -> Tensor:
    """Choose pixels to be shown again, ``DETAIL_SHARE`` of them where a picture is detailed, the others anywhere.

    Args:
        pictures: In [−1, 1]. ``(B, 3, R, R)``.
        random: In [0, 1), one number for a pixel. ``(B, N)``.

    Returns:
        Numbers of pixels, counted row by row, from the middle of the picture outwards: those of all pictures lie about
        equally far from it, and so do their samples from the middle of the scene. ``(B, N)``.
    """
    detail = contrast(pictures)
    side, count = detail.shape[-1], random.shape[1]
    axis = torch.arange(side, device=detail.device) - (side - 1) / 2
    outwards = (axis.square()[:, None] + axis.square()).flatten().argsort(stable=True)
    chance = torch.lerp(torch.ones_like(detail), detail, DETAIL_SHARE).flatten(1)[:, outwards]
    reached = chance.cumsum(dim=1)
    # one pixel in each of N parts of equal chance
    places = (torch.arange(count, device=detail.device) + random) / count * reached[:, -1:]
    chosen = torch.searchsorted(reached, places).clamp(max=side * side - 1)
    left = (reached.gather(1, chosen) - places) / chance.gather(1, chosen)  # of the block, in [0, 1]
    quarter = (4 * left).long().clamp(0, 3)
    block = outwards[chosen]
    return (2 * (block // side) + quarter // 2) * 2 * side + 2 * (block % side) + quarter % 2


def take_pixels(maps: Tensor, pixels: Tensor) -> Tensor:
    """Return some pixels, numbered row by row ``(B, H, W)``, of maps ``(B, C, R, R)``. ``(B, C, H, W)``."""
    index = pixels.flatten(1)[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).gather(2, index).unflatten(2, pixels.shape[1:])


def places_of(pixels: Tensor, size: int) -> Tensor:
    """Return where a camera's rays go through the centres of pixels ``(B, H, W)``: its ``places``, ``(B, H, W, 2)``."""
    return (torch.stack([pixels % size, pixels // size], dim=-1) + 0.5) / size - 0.5


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
            raise ValueError("terms has reconstruction, but the data has no yaw and pitch")
        if not config.num_points:
            raise ValueError("terms has reconstruction, but num_points is 0: its rays are surface-guided")
        self.generator, self.config, self.data, self.engine = generator, config, data, engine
        resolution = min(ENCODER_RESOLUTION, data.images.shape[-1])
        self.encoder = PictureEncoder(generator.config.latent_size, resolution).to(engine.device)
        self.optimizer = adam(self.encoder.parameters(), ENCODER_LEARNING_RATE)

    @torch.no_grad()
    def codes(self) -> Tensor:
        """Return the codes of the data's first eight pictures, ``(8, latent_size)``; of fewer, some come again."""
        index, device = torch.arange(8) % len(self.data), self.engine.device
        return self.encoder.code(self.data.image_batch(index).to(device), self.data.poses[index].to(device))

    def step(
        self,
        phase: Phase,
        point_losses: Callable[[Phase, ChunkedField, Tensor], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Take the encoder's step, and leave the generator's gradients for it to take its own.

        Args:
            phase: Its batch size says how many pictures are shown, its resolution squared through how many of their
                full-size pixels rays go.
            point_losses: Function of phase, fields and random points ``(B, P, 3)`` that returns further terms.

        Returns:
            Every term, ``()``.
        """
        config, model = self.config, self.generator.config
        batch, side, device = phase.batch_size, phase.resolution, self.engine.device
        means, products, centres = Means(self.engine, batch), [], []
        draws = {
            "noise": torch.randn(batch, model.latent_size),
            "pixel": torch.rand(batch, side * side),
            "offset": torch.rand(batch, side, side),
            "points": draw_points(batch, config.num_points, model),
        }
        draws |= draw_psi(batch, config.least_truncation)
        index = torch.randint(len(self.data), (batch,))
        self.data.prefetch(torch.cat([index[part] for part in self.engine.parts(batch)]))
        for part in self.engine.parts(batch):
            share, mine = share_of(part, batch), take(draws, part, device)
            pictures, poses = self.data.image_batch(index[part]).to(device), self.data.poses[index[part]]
            read = self.encoder(pictures, poses.to(device))
            # terms and field both go back to what was read, and from there once through the encoder
            leaves = [values.detach().requires_grad_() for values in read]
            codes = rectify(leaves[0] + leaves[1].exp() * mine["noise"])
            shown = torch.lerp(self.encoder.centre, codes, mine["psi"]) if "psi" in mine else codes
            field = ChunkedField(self.generator.field.condition(shown))
            terms = self._show(index[part], pictures, poses, leaves, field, mine, phase)
            terms |= point_losses(phase, field, mine["points"])
            (share * weighted_sum(terms, config.terms)).backward()
            field.backward()
            torch.autograd.backward(read, [leaf.grad for leaf in leaves])
            means.add(terms, share)
            if "leak" in config.terms:
                products.append(share * self.encoder.products(leaves[0], poses.to(device)))
            centres.append(share * codes.detach().mean(dim=0, keepdim=True))
        self.engine.optimizer_step(self.optimizer)
        for running, parts in ((self.encoder.regression, products), (self.encoder.centre, centres)):
            if parts:
                running.lerp_(self.engine.total(sum(parts)), NEW_SHARE)
        return means.result()

    @torch.no_grad()
    def prepare(self) -> None:
        """Measure, before the first step, the codes' centre and, where leak is a term, their regression on poses."""
        index, device, encoder = torch.arange(min(MEASURED_PICTURES, len(self.data))), self.engine.device, self.encoder
        products, centre = torch.zeros_like(encoder.regression), torch.zeros_like(encoder.centre)
        for part in index.split(ENCODED_AT_ONCE):
            pictures, poses = self.data.image_batch(part).to(device), self.data.poses[part].to(device)
            mean, log_std = encoder(pictures, poses)
            products += len(part) / len(index) * encoder.products(mean, poses)
            centre += expected_code(mean, log_std.exp()).sum(dim=0) / len(index)
        encoder.centre.copy_(centre)
        if "leak" in self.config.terms:
            encoder.regression.copy_(products)

    def _show(
        self,
        index: Tensor,
        pictures: Tensor,
        poses: Tensor,
        read: list[Tensor],
        field: ChunkedField,
        draws: dict[str, Tensor],
        phase: Phase,
    ) -> dict[str, Tensor]:
        """Draw some pictures by the fields of what the encoder read in them; return the terms."""
        mean, log_std = read
        pixels = choose_pixels(pictures, draws["pixel"]).unflatten(1, (phase.resolution, phase.resolution))
        places = places_of(pixels, pictures.shape[-1])
        camera = replace(cameras_of(poses, self.engine.device), places=places)
        sampling = phase.resolution, phase.num_samples, phase.surface_guided
        rendering = render_field(self.generator, field, camera, draws["offset"], *sampling)
        terms = {
            "reconstruction": F.l1_loss(rendering.thumbnail, take_pixels(pictures, pixels)),
            "divergence": divergence(mean, log_std),
        }
        if "leak" in self.config.terms:
            explained = self.encoder.explained(poses.to(self.engine.device))
            # on average the variance that poses explain
            terms["leak"] = ((mean + explained) * explained).sum(dim=1).mean()
        if "coverage" in self.config.terms:
            alpha = take_pixels(self.data.alpha_batch(index).to(self.engine.device), pixels)
            terms["coverage"] = losses.coverage_loss(1.0 - rendering.background, alpha)
        return terms
