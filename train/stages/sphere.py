"""Sphere initialisation as a stage of its own (paper section 3.3): its model is what ``renderer --init-from`` takes."""

from __future__ import annotations

import math

import torch

from stylesdf.config import StyleSDFConfig
from stylesdf.field import sphere_loss
from stylesdf.model import Generator
from train.config import SphereConfig
from train.engine import Engine
from train.state import RunState


class SphereStage:
    """Fit the field of random codes to a sphere. One process does all of it; others repeat the same.

    Args:
        model_config: Architecture; its decoder is left out.
        config: Settings of the stage.
        engine: Where it runs.
    """

    name = "sphere-init"

    def __init__(self, model_config: StyleSDFConfig, config: SphereConfig, engine: Engine | None = None) -> None:
        self.config = config
        self.engine = engine or Engine()
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(self.engine.device)
        with torch.no_grad():
            self.generator.renderer.log_beta.fill_(math.log(config.beta_start))
        self.generator_ema = self.generator  # nothing is averaged
        field = self.generator.field
        parameters = list(field.layers.parameters()) + list(field.sdf_head.parameters())
        self.optimizer = torch.optim.Adam(parameters, lr=config.learning_rate)
        self.state = RunState({"generator": self.generator}, {"optimizer": self.optimizer})

    @property
    def images_per_step(self) -> int:
        return 0

    def prepare(self) -> None:
        """Nothing comes before the first step."""

    def step(self) -> dict[str, float]:
        """Take one step; return the mean distance error in world units."""
        model, config = self.generator.config, self.config
        z = torch.randn(config.batch_size, model.latent_size)
        points = (torch.rand(config.batch_size, config.num_points, 3) * 2 - 1) * model.scene_radius
        with torch.no_grad():
            codes = self.generator.renderer_mapping(z.to(self.engine.device))
        radius = model.scene_radius / 2 if config.radius is None else config.radius
        loss = sphere_loss(
            self.generator.field, codes, points.to(self.engine.device), radius, (0.0, 0.0, config.centre_z)
        )
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        return {"error": loss.item()}

    def grid_options(self) -> dict:
        return {"num_samples": 48}

    def discriminators(self) -> dict:
        return {}
