"""Polish a trained renderer: the same pictures from a sharper density, a solid inside and a smoother surface.

No discriminator, and no data but for poses: the renderer is its own teacher. Its pictures stay what they are; what an
adversary never sees, or cannot tell from a sharp surface, is put right: β falls far below what it was, so that
rendering and level set show one silhouette, cavities are filled, and normals of near points are drawn together. Where
poses are labelled, relief can be corrected first: pictures of a narrow field of view hardly tell a flat head that turns
far from a deep one that turns less (the bas-relief ambiguity), but a reader of poses sees how far heads turn.

Shapes: B batch, H W image, P points.
"""

from __future__ import annotations

import copy
import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera, sample_poses
from stylesdf.config import StyleSDFConfig
from stylesdf.fast.surface import GRID
from stylesdf.field import Field
from stylesdf.model import Generator
from stylesdf.outputs import RenderOutput
from train import losses
from train.config import HEADS_READ, NUM_SURFACE_POINTS, READINGS, TEACHER_OVERSAMPLING, PolishConfig
from train.data.images import ImageSet
from train.game import adam, linear_decay, scale_learning_rates, update_average
from train.networks.encoder import PictureEncoder
from train.networks.pose_reader import PoseReader, check_poses, learn_poses, to_reader_size
from train.pretrained import copy_renderer
from train.run.engine import Engine, Means, fetch, share_of, take
from train.run.state import RunState
from train.stages.chunked import ChunkedField, render_field
from train.stages.inside import filled_depths
from train.stages.latents import cameras_of, draw_latents, latent_codes
from train.terms import POINT_TERMS, PointSamples, check_terms, point_terms, weighted_sum

log = logging.getLogger(__name__)
TERMS = (*(POINT_TERMS.keys() - {"sphere_anchor"}), "colour", "coverage", "smoothness", "speckle")
SMOOTHNESS_REACH = 0.003  # world units, how far from the surface and from each other those are
OUTLINE_SHARPNESS = 3.0  # contrast, around one half, of the alpha that the student is shown
FINAL_LEARNING_RATE = 0.05  # share that is left at the end
EMA_DECAY = 0.995
MOST_STRETCH = 1.25  # at a time; more is taken for a reader's mistake


class PolishStage:
    """The field learns to show its own pictures again, under losses that see its inside and its surface.

    Args:
        model_config: Architecture; its decoder is left out.
        config: Settings of the stage.
        teacher: The trained generator.
        engine: Where it runs; None is one process on the CPU.
        data: Pictures with poses, for ``correct_relief``.
        encoder: Of the teacher's codes; it is left as it is and goes with the result, whose codes are the same.

    Raises:
        ValueError: ``correct_relief`` is on without them, or with too few.
    """

    name = "polish"

    def __init__(
        self,
        model_config: StyleSDFConfig,
        config: PolishConfig,
        teacher: Generator,
        engine: Engine | None = None,
        data: ImageSet | None = None,
        encoder: PictureEncoder | None = None,
    ) -> None:
        if config.correct_relief:
            if data is None:
                raise ValueError("correct_relief is on, it needs --data with yaw and pitch in metadata.jsonl")
            check_poses(data)
        check_terms(config.terms, TERMS)
        if not config.beta_end > 0.0:
            raise ValueError(f"beta_end is {config.beta_end!r}, expected a positive length")
        self.config, self.data, self.encoder = config, data, encoder
        self.engine = engine or Engine()
        self.device = self.engine.device
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(self.device)
        copy_renderer(teacher, self.generator)
        self.teacher = copy.deepcopy(self.generator).requires_grad_(False)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.optimizer = adam(self.generator.field.parameters(), config.learning_rate)
        modules = {"generator": self.generator, "generator_ema": self.generator_ema, "teacher": self.teacher}
        self.state = RunState(modules, {"optimizer": self.optimizer})

    @property
    def images_per_step(self) -> int:
        return 0  # of the data

    def discriminators(self) -> dict[str, torch.nn.Module]:
        return {} if self.encoder is None else {"encoder": self.encoder}

    def grid_options(self) -> dict:
        return {"num_samples": 48}

    def prepare(self) -> None:
        """Correct the relief of teacher and student, where that is asked for."""
        if not self.config.correct_relief:
            return
        reader = learn_poses(self.data, self.config.seed).to(self.device)
        for _ in range(READINGS):
            share = self.share_of_turn(reader)
            log.info("heads turn by %.3f of what is asked for", share)
            factor = min(MOST_STRETCH, max(1.0 / MOST_STRETCH, 1.0 / share)) if share > 0.0 else MOST_STRETCH
            for model in (self.teacher, self.generator, self.generator_ema):
                stretch_depth(model.field, factor)

    @torch.no_grad()
    def share_of_turn(self, reader: PoseReader) -> float:
        """Return how far heads turn in the teacher's pictures, as a share of what is asked for, in the mean."""
        model = self.teacher.config
        random = torch.Generator().manual_seed(self.config.seed)
        draws = draw_latents(HEADS_READ, model.latent_size, self.config.least_truncation, random)
        turned, asked = torch.zeros(2, device=self.device)
        for part in self.engine.parts(HEADS_READ):
            codes = latent_codes(self.teacher.renderer_mapping, take(draws, part, self.device))
            for pose in torch.diag(torch.tensor([model.pose_yaw, model.pose_pitch])):
                there, back = (self._read(reader, codes, one.expand(len(codes), -1)) for one in (pose, -pose))
                pose = pose.to(self.device)
                turned += ((there - back) / 2.0 * pose).sum()  # what heads look aside by themselves drops out
                asked += len(codes) * pose.square().sum()
        return (self.engine.total(turned) / self.engine.total(asked)).item()

    def _read(self, reader: PoseReader, codes: Tensor, pose: Tensor) -> Tensor:
        """Return what poses the teacher's heads seem to have from (yaw, pitch), radians ``(B, 2)``."""
        return reader.angles(to_reader_size(self._teach(codes, pose, 1).thumbnail))

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
            taught = self._teach(codes, draws["pose"][part], TEACHER_OVERSAMPLING)
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
        prior = model.pose_yaw, model.pose_pitch, model.pose_distribution
        return {
            **draw_latents(batch, model.latent_size, config.least_truncation),
            "pose": sample_poses(batch, *prior),
            "offset": torch.rand(batch, size, size),
            "points": (torch.rand(batch, config.num_points, 3) * 2 - 1) * model.scene_radius,
            "pixel": torch.rand(batch, NUM_SURFACE_POINTS),
            "jitter": torch.randn(batch, NUM_SURFACE_POINTS, 3),
            "neighbour": F.normalize(torch.randn(batch, NUM_SURFACE_POINTS, 3), dim=-1),
        }

    @torch.no_grad()
    def _teach(self, codes: Tensor, pose: Tensor, oversampling: int) -> RenderOutput:
        """Draw what the teacher shows from (yaw, pitch), radians ``(B, 2)``."""
        model, camera = self.teacher, cameras_of(pose, self.device)
        field = ChunkedField(model.field.condition(codes))
        samples = oversampling * model.config.num_samples
        return render_field(model, field, camera, None, model.config.render_resolution, samples, surface_guided=True)

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


@torch.no_grad()
def stretch_depth(field: Field, factor: float) -> None:
    """Make all that a field shows so many times as deep, along z and from the origin; distances along z no longer hold.

    Args:
        field: It is changed.
        factor: Above 0.
    """
    field.layers[0].linear.weight[:, 2] /= factor
