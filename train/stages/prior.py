"""Between stage 1 and polishing: the mapping learns to draw from Gaussian latents codes like those that the data has.

Stage 1 with an encoder (``train/networks/encoder.py``) shows the data's pictures well from the codes that the encoder
finds for them, but the mapping gives other codes. As in a two-stage autoencoder (arXiv 1903.05789) a second, small step
closes the gap: the codes' mean and covariance are measured, and the mapping learns to give mean + covariance^½ · z, by
least squares. That needs no rendering and no adversary. The field is left alone.

Shapes: B batch.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig
from stylesdf.mapping import unrectify
from stylesdf.model import Generator
from train.config import CODES_PER_STEP, PriorConfig
from train.data.images import ImageSet
from train.game import adam, linear_decay, scale_learning_rates, update_average
from train.networks.encoder import PictureEncoder, encode
from train.pretrained import copy_renderer
from train.run.engine import Engine
from train.run.state import RunState

FINAL_LEARNING_RATE = 0.02  # what is left of it at the end
EMA_DECAY = 0.99


class PriorStage:
    """The mapping learns the codes' Gaussian.

    Args:
        model_config: Architecture; its decoder is left out.
        config: Settings of the stage.
        data: Pictures with poses.
        initial: The generator that was trained with the encoder.
        encoder: That encoder.
        engine: Where it runs; None is one process on the CPU. Several processes each do all of it.

    Raises:
        ValueError: The data has no poses.
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
        self.config, self.data = config, data
        self.engine = engine or Engine()
        self.device = self.engine.device
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(self.device)
        copy_renderer(initial, self.generator)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.encoder = encoder.to(self.device)
        codes, self.noise = encode(self.encoder, data)
        codes = unrectify(codes)
        self.mean = codes.mean(dim=0)
        self.root = covariance_root((codes - self.mean) / self.noise) * self.noise
        self.optimizer = adam(self.generator.renderer_mapping.parameters(), config.learning_rate)
        self.state = RunState(
            {"generator": self.generator, "generator_ema": self.generator_ema}, {"optimizer": self.optimizer}
        )

    @property
    def images_per_step(self) -> int:
        return 0  # all are encoded once

    def discriminators(self) -> dict[str, nn.Module]:
        """Return the encoder, which reads the same codes as before."""
        return {"encoder": self.encoder}

    def grid_options(self) -> dict:
        return {"num_samples": 48}

    def prepare(self) -> None:
        """Nothing comes before the first step."""

    def step(self) -> dict[str, float]:
        """Take one step; return the mean squared distance, in units of the noise that stage 1 adds to codes."""
        progress = self.state.step / self.config.total_steps
        scale_learning_rates(self.optimizer, linear_decay(progress, FINAL_LEARNING_RATE))
        distance = self.distance(torch.randn(CODES_PER_STEP, len(self.mean)).to(self.device))
        share = 1.0 / self.engine.accelerator.num_processes  # each draws and computes the same
        (share * distance).backward()
        self.engine.optimizer_step(self.optimizer)
        update_average(self.generator_ema, self.generator, EMA_DECAY, self.state.step)
        self.state.step += 1
        return {"distance": distance.item()}

    def distance(self, z: Tensor) -> Tensor:
        """Measure how far the mapping is from the codes' Gaussian at latents ``(B, latent_size)``."""
        drawn = unrectify(self.generator.renderer_mapping(z))
        return ((drawn - self.mean - z @ self.root) / self.noise).square().mean()


def covariance_root(values: Tensor) -> Tensor:
    """Return the symmetric square root of the covariance of values with mean zero: ``(N, C)`` gives ``(C, C)``."""
    _, spread, axes = torch.linalg.svd(values.double() / max(len(values) - 1, 1) ** 0.5, full_matrices=False)
    return (axes.t() * spread @ axes).to(values)
