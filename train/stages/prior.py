"""Between stage 1 and polishing: the mapping learns to give codes like those that the data has.

Stage 1 with an encoder (``train/networks/encoder.py``) shows the data's pictures well from the codes that the encoder
finds for them, but the mapping gives other codes. As in a two-stage autoencoder (arXiv 1903.05789) a second, small
model closes the gap. First a flow (``train/networks/flow.py``) learns the distribution of the data's codes, along the
axes on which they vary most; then the mapping, three layers, learns by least squares where the flow, in many steps,
takes Gaussian latents. The codes' mean and covariance alone would give averages of hair styles. That needs no rendering
and no adversary. The field is left alone.

Shapes: B batch, A axes.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig
from stylesdf.mapping import unrectify
from stylesdf.model import Generator
from train.config import CODE_AXES, CODE_PATHS, CODES_PER_STEP, PATHS_AT_ONCE, PriorConfig
from train.data.images import ImageSet
from train.game import adam, linear_decay, scale_learning_rates, update_average
from train.networks.encoder import PictureEncoder, encode
from train.networks.flow import VelocityField, flow_loss, follow
from train.pretrained import copy_renderer
from train.run.engine import Engine
from train.run.state import RunState

LEARNING_RATE, FINAL_LEARNING_RATE = 1e-3, 0.02  # Adam's; share left at the end, to which it falls in either part
FLOW_EMA_DECAY = 0.999
EMA_DECAY = 0.99


class PriorStage:
    """A flow learns the distribution of the data's codes, and the mapping learns the flow.

    Args:
        model_config: Architecture; its decoder is left out.
        config: Settings of the stage.
        data: Pictures with poses.
        initial: The generator that was trained with the encoder.
        encoder: That encoder.
        engine: Where it runs; None is one process on the CPU. Of several, each encodes the data and learns the whole
            flow; paths and the mapping's steps are shared.

    Attributes:
        mean: Of the data's codes, before ``rectify``, ``(latent_size,)``.
        axes: Orthonormal principal axes of the codes in units of their noise, ``(latent_size, A)``.
        spread: Standard deviation of codes with noise along these, ``(A,)``.

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
        self.config = config
        self.engine = engine or Engine()
        self.device = self.engine.device
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(self.device)
        copy_renderer(initial, self.generator)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        codes, self.noise = encode(encoder.to(self.device), data)
        codes = unrectify(codes)
        self.mean = codes.mean(dim=0)
        codes = (codes - self.mean) / self.noise
        variances, axes = principal_axes(codes, CODE_AXES)
        self.axes, self.spread = axes, (variances + 1.0).sqrt()
        self.codes = codes @ axes / self.spread  # (N, A)
        self.velocity = VelocityField(len(self.spread)).to(self.device)
        self.velocity_ema = copy.deepcopy(self.velocity).requires_grad_(False)
        self.flow_optimizer = adam(self.velocity.parameters(), LEARNING_RATE)
        self.optimizer = adam(self.generator.renderer_mapping.parameters(), LEARNING_RATE)
        self.paths: tuple[Tensor, Tensor] | None = None  # latents and where they get to, once the flow is there
        self.state = RunState(
            {
                "generator": self.generator, "generator_ema": self.generator_ema,
                "velocity": self.velocity, "velocity_ema": self.velocity_ema,
            },
            {"optimizer": self.optimizer, "flow_optimizer": self.flow_optimizer},
        )  # fmt: skip

    def discriminators(self) -> dict[str, nn.Module]:
        return {}

    def grid_options(self) -> dict:
        return {"num_samples": 48}

    def prepare(self) -> None:
        """Nothing comes before the first step."""

    def step(self) -> dict[str, float]:
        """Take one step.

        Returns:
            The flow's mean squared error; or how far the mapping is from it, mean squared distance in units of the
            noise that stage 1 adds to codes.
        """
        step, num_flow = self.state.step, self.config.flow_steps
        self.state.step += 1
        return self._flow_step(step) if step < num_flow else self._mapping_step(step - num_flow)

    def _flow_step(self, step: int) -> dict[str, float]:
        scale_learning_rates(self.flow_optimizer, linear_decay(step / self.config.flow_steps, FINAL_LEARNING_RATE))
        index = torch.randint(len(self.codes), (CODES_PER_STEP,))
        noise, start = torch.randn(2, CODES_PER_STEP, len(self.spread)).to(self.device)
        codes = self.codes[index.to(self.device)] + noise / self.spread
        loss = flow_loss(self.velocity, start, codes, torch.rand(CODES_PER_STEP, 1).to(self.device), self.spread)
        (loss / self.engine.accelerator.num_processes).backward()  # each draws and computes the same
        self.engine.optimizer_step(self.flow_optimizer)
        update_average(self.velocity_ema, self.velocity, FLOW_EMA_DECAY, step)
        return {"flow": loss.item()}

    def _mapping_step(self, step: int) -> dict[str, float]:
        scale_learning_rates(self.optimizer, linear_decay(step / self.config.steps, FINAL_LEARNING_RATE))
        if self.paths is None:
            self.paths = self.draw_paths(CODE_PATHS)
        z, ends = self.paths
        index = torch.randint(len(z), (CODES_PER_STEP,))
        mine = index[self.engine.own(CODES_PER_STEP)].to(self.device)
        distance = self.distance(z[mine], self.codes_at(ends[mine])) * (len(mine) / CODES_PER_STEP)
        distance.backward()
        self.engine.optimizer_step(self.optimizer)
        update_average(self.generator_ema, self.generator, EMA_DECAY, step)
        return {"distance": self.engine.total(distance.detach()).item()}

    def draw_paths(self, count: int) -> tuple[Tensor, Tensor]:
        """Return latents ``(count, latent_size)`` and where the flow takes them ``(count, A)``, the same every time."""
        random = torch.Generator().manual_seed(self.config.seed)
        z = torch.randn(count, len(self.mean), generator=random).to(self.device)
        ends = z.new_zeros(count, len(self.spread))
        mine = self.engine.own(count)
        for some, end in zip(z[mine].split(PATHS_AT_ONCE), ends[mine].split(PATHS_AT_ONCE)):
            end.copy_(follow(self.velocity_ema, some @ self.axes))
        return z, self.engine.total(ends)

    def codes_at(self, ends: Tensor) -> Tensor:
        """Return the codes, before ``rectify``, of ends of paths ``(B, A)``. ``(B, latent_size)``."""
        return self.mean + self.noise * ((ends * self.spread) @ self.axes.t())

    def distance(self, z: Tensor, codes: Tensor) -> Tensor:
        """Measure how far what the mapping makes of latents is from codes; ``(B, latent_size)`` both."""
        return ((unrectify(self.generator.renderer_mapping(z)) - codes) / self.noise).square().mean()


def principal_axes(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest variances ``(A,)`` of values with mean zero ``(N, C)``, and their axes ``(C, A)``."""
    _, spread, axes = torch.linalg.svd(values.double(), full_matrices=False)
    variances = spread.square() / max(len(values) - 1, 1)
    return variances[:count].to(values), axes[:count].t().contiguous().to(values)
