"""Between stage 1 and polishing: the mapping learns to draw from Gaussian latents the codes that the data has.

Stage 1 with an encoder (``train/networks/encoder.py``) shows the data's pictures well from the codes that the encoder
finds for them, but the mapping gives other codes. As in a two-stage autoencoder (arXiv 1903.05789) a second, small game
closes the gap: the mapping against a discriminator of codes, which needs no rendering, so that it takes minutes. The
field is left alone.

Shapes: B batch.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig
from stylesdf.model import Generator
from train.config import CODE_DISCRIMINATOR_WIDTH, CODES_PER_STEP, PriorConfig
from train.data.images import ImageSet
from train.game import Game
from train.networks.encoder import PictureEncoder, encode, unrectify
from train.pretrained import copy_renderer
from train.run.engine import Engine, take
from train.run.state import RunState
from train.stages.latents import draw_latents, latent_codes

R1_GAMMA = 0.1


class PriorStage:
    """The mapping against a discriminator of codes.

    Args:
        model_config: Architecture; its decoder is left out.
        config: Settings of the stage.
        data: Pictures with poses.
        initial: The generator that was trained with the encoder.
        encoder: That encoder.
        engine: Where it runs; None is one process on the CPU. Several processes each do all of it.

    Raises:
        ValueError: The data has no poses, or settings of the game that are for images.
    """

    name = "prior"

    def __init__(
        self,
        model_config: StyleSDFConfig,
        config: PriorConfig,
        data: ImageSet,
        initial: Generator,
        encoder: PictureEncoder,
        engine: Engine | None = None,
    ) -> None:
        if config.game.augment or config.game.ada_target or config.game.freeze_generator_steps:
            raise ValueError("game has augment, ada_target or freeze_generator_steps, but codes are no images")
        self.config = config
        self.engine = engine or Engine()
        self.device = self.engine.device
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(self.device)
        copy_renderer(initial, self.generator)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.encoder = encoder.to(self.device)
        codes, std = encode(self.encoder, data)
        self.codes = unrectify(codes)
        # what is small beside the noise of stage 1 does not show, so distances are measured in that
        self.centre = self.codes.mean(dim=0)
        self.scale = std * ((self.codes - self.centre) / std).square().mean().sqrt()
        self.discriminator = _code_discriminator(self.codes.shape[1]).to(self.device)
        mapping = {"params": list(self.generator.renderer_mapping.parameters()), "lr": config.game.learning_rate}
        self.game = Game(config.game, self.engine, [mapping], self.discriminator)
        self.state = RunState(
            {"generator": self.generator, "generator_ema": self.generator_ema, "discriminator": self.discriminator},
            self.game.optimizers,
        )

    @property
    def images_per_step(self) -> int:
        return 0  # all are encoded once

    def discriminators(self) -> dict[str, nn.Module]:
        """Return the encoder, which reads the same codes as before; the discriminator of codes is not kept."""
        return {"encoder": self.encoder}

    def grid_options(self) -> dict:
        return {"num_samples": 48}

    def prepare(self) -> None:
        """Nothing comes before the first step."""

    def step(self) -> dict[str, float]:
        """Take one step of both players; return every term."""
        config, game = self.config, self.game
        game.set_learning_rates(self.state.step / config.total_steps)
        share = 1.0 / self.engine.accelerator.num_processes  # each draws and computes the same
        real, drawn = self._draw_real(), self._draw()
        penalise = game.is_penalised(self.state.step)
        real.requires_grad_(penalise)
        real_logit = self.discriminator(real)
        terms = game.discriminator_terms(real_logit, self.discriminator(drawn.detach()))
        loss = terms["d_loss"]
        if penalise:
            loss = loss + game.penalty(R1_GAMMA, terms, r1=(real_logit, real))
        (share * loss).backward()
        self.engine.optimizer_step(game.discriminator_optimizer)
        real, drawn = self._draw_real(), self._draw()
        self.discriminator.requires_grad_(False)
        terms["g_loss"] = game.generator_loss(self.discriminator(drawn), self.discriminator(real))
        terms["energy"] = energy_distance(drawn, real)
        (share * (terms["g_loss"] + config.energy_weight * terms["energy"])).backward()
        self.discriminator.requires_grad_(True)
        self.engine.optimizer_step(game.generator_optimizer)
        game.update_average(self.generator_ema, self.generator, self.state.step)
        self.state.step += 1
        return {name: value.item() for name, value in terms.items()}

    def _draw_real(self) -> Tensor:
        """Codes of some of the data's pictures, before ``rectify``, scaled. ``(B, latent_size)``."""
        index = torch.randint(len(self.codes), (CODES_PER_STEP,)).to(self.device)
        return (self.codes[index] - self.centre) / self.scale

    def _draw(self) -> Tensor:
        """Codes of Gaussian latents, truncated as in stage 1 and scaled alike. ``(B, latent_size)``."""
        latents = draw_latents(CODES_PER_STEP, self.codes.shape[1], self.config.least_truncation)
        codes = unrectify(latent_codes(self.generator.renderer_mapping, take(latents, slice(None), self.device)))
        return (codes - self.centre) / self.scale


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return 2 E‖a − b‖ − E‖a − a′‖ − E‖b − b′‖ of two sets of points ``(N, C)``; 0 where they are one distribution."""
    count_a, count_b = len(a), len(b)
    within_a = torch.cdist(a, a).sum() / (count_a * (count_a - 1))
    within_b = torch.cdist(b, b).sum() / (count_b * (count_b - 1))
    return 2.0 * torch.cdist(a, b).mean() - within_a - within_b


def _code_discriminator(size: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (size, CODE_DISCRIMINATOR_WIDTH, CODE_DISCRIMINATOR_WIDTH):
        layers += [nn.Linear(before, CODE_DISCRIMINATOR_WIDTH), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(CODE_DISCRIMINATOR_WIDTH, 1))
