"""Polish a trained renderer: the same pictures from a sharper density, a solid inside and a smoother surface.

No discriminator and no data: the renderer is its own teacher. Its pictures stay what they are; what an adversary never
sees, or cannot tell from a sharp surface, is put right: β falls far below what it was, so that rendering and level set
show one silhouette, cavities are filled, and normals of near points are drawn together.

Shapes: B batch, H W image, P points.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig
from stylesdf.fast.surface import GRID
from stylesdf.model import Generator
from stylesdf.outputs import RenderOutput
from train import losses
from train.config import NUM_SURFACE_POINTS, TEACHER_OVERSAMPLING, PolishConfig
from train.game import adam, linear_decay, scale_learning_rates, update_average
from train.poses import draw_poses
from train.pretrained import copy_renderer
from train.run.engine import Engine, Means, fetch, share_of, take
from train.run.state import RunState
from train.stages.chunked import ChunkedField, render_field
from train.stages.inside import filled_depths
from train.stages.latents import cameras_of, draw_latents, draw_points, latent_codes
from train.terms import POINT_TERMS, PointSamples, check_terms, point_terms, weighted_sum

TERMS = (*(POINT_TERMS.keys() - {"sphere_anchor"}), "colour", "coverage", "smoothness", "speckle")
SMOOTHNESS_REACH = 0.003  # world units, how far from the surface and from each other those are
OUTLINE_SHARPNESS = 3.0  # contrast, around one half, of the alpha that the student is shown
FINAL_LEARNING_RATE = 0.05  # share that is left at the end
EMA_DECAY = 0.995


class PolishStage:
    """The field learns to show its own pictures again, under losses that see its inside and its surface.

    Args:
        model_config: Architecture; its decoder is left out.
        config: Settings of the stage.
        teacher: The trained generator.
        engine: Where it runs; None is one process on the CPU.

    Raises:
        ValueError: An unknown term, a weight or ``beta_end`` that is not positive.
    """

    name = "polish"

    def __init__(
        self,
        model_config: StyleSDFConfig,
        config: PolishConfig,
        teacher: Generator,
        engine: Engine | None = None,
    ) -> None:
        check_terms(config.terms, TERMS)
        if not config.beta_end > 0.0:
            raise ValueError(f"beta_end is {config.beta_end!r}, expected a positive length")
        self.config = config
        self.engine = engine or Engine()
        self.device = self.engine.device
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(self.device)
        copy_renderer(teacher, self.generator)
        self.teacher = copy.deepcopy(self.generator).requires_grad_(False)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.optimizer = adam(self.generator.field.parameters(), config.learning_rate)
        modules = {"generator": self.generator, "generator_ema": self.generator_ema}
        self.state = RunState(modules, {"optimizer": self.optimizer})

    def discriminators(self) -> dict[str, torch.nn.Module]:
        return {}

    def grid_options(self) -> dict:
        return {"num_samples": 48}

    def prepare(self) -> None:
        """Nothing comes before the first step."""

    def step(self) -> dict[str, float]:
        """Take one step; return every term."""
        config, batch = self.config, self.config.batch_size
        means = Means(self.engine, batch)
        progress = self.state.step / config.total_steps
        scale_learning_rates(self.optimizer, linear_decay(progress, FINAL_LEARNING_RATE))
        self._sharpen(progress)
        draws = self._draw()
        for part in self.engine.parts(batch):
            share = share_of(part, batch)
            mine = take(draws, part, self.device)
            with torch.no_grad():
                codes = latent_codes(self.generator.renderer_mapping, mine)
            camera = cameras_of(draws["pose"][part], self.device)
            taught = self._teach(codes, camera)
            field = ChunkedField(self.generator.field.condition(codes))
            terms = self._terms(field, camera, taught, mine)
            (share * weighted_sum(terms, config.terms)).backward()
            field.backward()
            means.add(terms, share)
        self.engine.optimizer_step(self.optimizer)
        update_average(self.generator_ema, self.generator, EMA_DECAY, self.state.step)
        self.state.step += 1
        return fetch(means.result() | {"beta": self.generator.renderer.beta.detach()})

    @torch.no_grad()
    def _sharpen(self, progress: float) -> None:
        """Let β fall geometrically, to the end of the first half."""
        share, end = min(1.0, 2.0 * progress), math.log(self.config.beta_end)
        start = self.teacher.renderer.log_beta
        self.generator.renderer.log_beta.copy_(torch.minimum(start, start * (1.0 - share) + end * share))

    def _draw(self) -> dict[str, Tensor]:
        """Draw what a batch needs, on the CPU and for all processes."""
        config, model = self.config, self.generator.config
        batch, size = config.batch_size, model.render_resolution
        return {
            **draw_latents(batch, model.latent_size, config.least_truncation),
            "pose": draw_poses(batch, model),
            "offset": torch.rand(batch, size, size),
            "points": draw_points(batch, config.num_points, model),
            "pixel": torch.rand(batch, NUM_SURFACE_POINTS),
            "jitter": torch.randn(batch, NUM_SURFACE_POINTS, 3),
            "neighbour": F.normalize(torch.randn(batch, NUM_SURFACE_POINTS, 3), dim=-1),
        }

    @torch.no_grad()
    def _teach(self, codes: Tensor, camera: Camera) -> RenderOutput:
        """Draw what the teacher shows."""
        model, field = self.teacher, ChunkedField(self.teacher.field.condition(codes))
        resolution, samples = model.config.render_resolution, TEACHER_OVERSAMPLING * model.config.num_samples
        return render_field(model, field, camera, None, resolution, samples, surface_guided=True)

    def _terms(self, field: ChunkedField, camera: Camera, taught: RenderOutput, mine: dict) -> dict[str, Tensor]:
        config, model = self.config, self.generator.config
        resolution, samples = model.render_resolution, model.num_samples
        shown = render_field(self.generator, field, camera, mine["offset"], resolution, samples, surface_guided=True)
        near = _surface_points(taught, mine["pixel"]) + SMOOTHNESS_REACH * mine["jitter"]
        beside = near + SMOOTHNESS_REACH * mine["neighbour"]
        sizes = [config.num_points, NUM_SURFACE_POINTS, NUM_SURFACE_POINTS]
        sdf, gradient = field.sdf_and_gradient(torch.cat([mine["points"], near, beside], dim=1))
        normal, normal_beside = (F.normalize(part, dim=-1) for part in gradient.split(sizes, dim=1)[1:])
        inside = sdf[:, : config.num_points]
        # the outline stays where the alpha was one half; in between the student is not to learn the teacher's blur
        background = ((taught.background - 0.5) * OUTLINE_SHARPNESS + 0.5).clamp(0.0, 1.0)
        is_plain = (taught.background - 0.5).abs() > 0.45
        samples = PointSamples(
            inside, gradient, mine["points"], model, lambda: filled_depths(field.guides(model, GRID), mine["points"]),
            field.sdf_and_gradient,
        )  # fmt: skip
        terms = point_terms(samples, [name for name in config.terms if name in POINT_TERMS])
        terms["colour"] = ((shown.thumbnail - taught.thumbnail).abs() * is_plain).mean()
        terms["coverage"] = F.l1_loss(shown.background, background)
        if "smoothness" in config.terms:
            terms["smoothness"] = (normal - normal_beside).square().sum(dim=-1).mean()
        if "speckle" in config.terms:
            terms["speckle"] = losses.speckle_loss(shown.thumbnail, taught.background < 0.05)
        return terms


def _surface_points(rendering: RenderOutput, pixel: Tensor) -> Tensor:
    """Choose points of the rendered surface.

    Args:
        rendering: B pictures.
        pixel: Numbers in [0, 1) that choose among the covered pixels, ``(B, P)``.

    Returns:
        World points ``(B, P, 3)``; the origin where nothing is covered.
    """
    chosen = []
    for xyz, background, number in zip(rendering.xyz, rendering.background, pixel):
        covered = xyz[:, background[0] < 0.1].t()  # (pixels, 3)
        covered = covered if len(covered) else xyz.new_zeros(1, 3)
        chosen.append(covered[(number * len(covered)).long()])
    return torch.stack(chosen)
