"""One step of stage 1: the field learns against the thumbnail discriminator (paper section 3.3), or with an encoder.

Shapes: B batch, H W image, P points.
"""

from __future__ import annotations

import copy
import logging
import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig
from stylesdf.fast.surface import GRID
from stylesdf.field import Field, sphere_initialize
from stylesdf.mapping import rectify
from stylesdf.model import Generator
from stylesdf.outputs import RenderOutput
from train import losses
from train.config import Phase, RendererConfig
from train.data.images import LEAST_PLAIN, ImageSet
from train.game import Game, scale_learning_rates
from train.networks.discriminators import GROUP_SIZE, ThumbnailDiscriminator
from train.networks.encoder import ENCODER_WARM_UP
from train.poses import draw_poses
from train.pretrained import copy_renderer
from train.run.engine import Engine, Means, fetch, share_of, take
from train.run.state import RunState
from train.stages.chunked import ChunkedField, render_field
from train.stages.inside import filled_depths
from train.stages.latents import cameras_of, draw_latents, draw_points, latent_codes
from train.stages.reconstruction import Reconstruction
from train.terms import POINT_TERMS, PointSamples, check_terms, point_terms, weighted_sum

log = logging.getLogger(__name__)
TERMS = (*POINT_TERMS, "view", "reconstruction", "divergence", "coverage", "leak")
# of log β and the background colour: β falls about as soon as by the paper's own steps, which are of β itself
SCALAR_LEARNING_RATE = 1e-3
OUTER_SIZE = 3  # coordinates of a point, channels of a colour
FEWEST_POINTS = 300  # random points per image that terms of the field have where num_points is 0


class RendererStage:
    """Stage 1.

    Args:
        model_config: Architecture; its decoder is left out.
        config: Settings of the stage.
        data: Pictures.
        engine: Where it runs; None is one process on the CPU.
        initial: A generator of the same architecture to train on, instead of sphere initialisation.

    Raises:
        ValueError: The data lacks what the settings need, or settings that do not go together.
    """

    name = "renderer"

    def __init__(
        self,
        model_config: StyleSDFConfig,
        config: RendererConfig,
        data: ImageSet,
        engine: Engine | None = None,
        initial: Generator | None = None,
    ) -> None:
        _check(config, data)
        self.config, self.data = config, data
        self.engine = engine or Engine()
        self.device = self.engine.device
        self.is_fine_tuning = initial is not None
        self.channels = 4 if config.use_alpha else 3
        torch.manual_seed(config.seed)
        self.generator = self._build_generator(model_config, initial)
        self.discriminator = self._build_discriminator() if config.is_adversarial else None
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        rate = config.game.learning_rate
        groups = [
            {"params": list(self.generator.field.parameters()), "lr": rate},
            {
                "params": list(self.generator.renderer_mapping.parameters()),
                "lr": rate * config.mapping_learning_rate_multiplier,
            },
            {"params": list(self.generator.renderer.parameters()), "lr": SCALAR_LEARNING_RATE},
        ]
        matrices = inner_matrices(self.generator.field)
        self.game = Game(config.game, self.engine, groups, matrices, self.discriminator)
        modules = {"generator": self.generator, "generator_ema": self.generator_ema}
        modules |= self._discriminator_as("discriminator")
        optimizers = self.game.optimizers
        self.reconstruction = None
        if "reconstruction" in config.terms:
            self.reconstruction = Reconstruction(self.generator, config, data, self.engine)
            modules["encoder"] = self.reconstruction.encoder
            optimizers["encoder_optimizer"] = self.reconstruction.optimizer
        self.state = RunState(modules, optimizers, {"augment_probability": self.game.augment_probability})

    def _build_generator(self, model_config: StyleSDFConfig, initial: Generator | None) -> Generator:
        generator = Generator(model_config).to(self.device)
        renderer = generator.renderer
        with torch.no_grad():
            if initial is not None:
                copy_renderer(initial, generator)
            else:
                renderer.log_beta.fill_(math.log(self.config.beta_start))
            if initial is None and model_config.background == "learned":
                share, colour = self.data.border()
                if share < LEAST_PLAIN:
                    log.warning("%.0f %% of the borders have one colour, a learned background is only one", 100 * share)
                renderer.background_rgb.copy_(torch.logit(colour.clamp(0.01, 0.99)))
        return generator

    def _build_discriminator(self) -> ThumbnailDiscriminator:
        check_resolutions(self.config, self.generator.config)
        resolution = self.generator.config.render_resolution
        return ThumbnailDiscriminator(
            self.config.discriminator_channels,
            in_channels=self.channels,
            resolution=resolution,
            low_resolutions=tuple(sorted({phase.resolution for phase in self.config.phases} - {resolution})),
            use_minibatch_std=self.config.use_minibatch_std,
        ).to(self.device)

    def _discriminator_as(self, name: str) -> dict[str, nn.Module]:
        return {} if self.discriminator is None else {name: self.discriminator}

    @property
    def discriminator_group(self) -> int:
        """Images that the discriminator compares with each other, at most."""
        return GROUP_SIZE if self.config.use_minibatch_std and self.discriminator is not None else 1

    def discriminators(self) -> dict[str, nn.Module]:
        """Return the networks to be saved beside the model, by kind."""
        encoder = {} if self.reconstruction is None else {"encoder": self.reconstruction.encoder}
        return self._discriminator_as("thumbnail") | encoder

    def grid_options(self) -> dict:
        """Return how sample grids are drawn: the data's own pictures, where the mapping has not learned yet."""
        phase, _ = self.config.phase_at(max(self.state.step - 1, 0))
        options = {"resolution": phase.resolution, "num_samples": max(phase.num_samples, 24)}
        if self.reconstruction is None:
            return options
        return options | {"resolution": self.generator.config.render_resolution, "codes": self.reconstruction.codes()}

    def prepare(self) -> None:
        """Measure the codes that the encoder reads, and initialise spheres in a run from nothing."""
        if self.reconstruction is not None:
            self.reconstruction.prepare()
        if self.is_fine_tuning:
            return
        config, generator = self.config, self.generator
        sphere_initialize(
            generator.field,
            config.sphere_steps,
            self._draw_codes,
            learning_rate=config.sphere_learning_rate,
            radius=config.sphere_radius,
            centre=(0.0, 0.0, config.sphere_centre_z),
        )
        generator.zero_grad(set_to_none=True)  # else the first step would take the sphere's gradients with it
        self.generator_ema.load_state_dict(generator.state_dict())

    def _draw_codes(self) -> Tensor:
        """Renderer codes as the first steps have them, from the encoder where there is one. ``(4, latent_size)``."""
        latents = torch.randn(4, self.generator.config.latent_size).to(self.device)
        return rectify(latents) if self.reconstruction is not None else self.generator.renderer_mapping(latents)

    def step(self) -> dict[str, float]:
        """Take one step of both players, or of field and encoder; return every term."""
        config = self.config
        phase, step_in_phase = config.phase_at(self.state.step)
        self._set_learning_rates(phase)
        fade = min(1.0, (step_in_phase + 1) / phase.fade_steps) if phase.fade_steps else 1.0
        is_frozen = self.game.is_frozen(self.state.step)
        if self.reconstruction is None:
            record = self._adversarial_step(phase, fade, is_frozen)
        else:
            record = self.reconstruction.step(phase, self._point_losses)
        if not is_frozen:
            self.game.step_generator()
            self._bound_beta()
            self.game.update_average(self.generator_ema, self.generator, self.state.step)
            record["beta"] = self.generator.renderer.beta.detach()
        self.state.step += 1
        return fetch(record) | {"resolution": phase.resolution, "fade": fade}

    def _set_learning_rates(self, phase: Phase) -> None:
        progress = self.state.step / max(self.config.total_steps, 1)
        self.game.set_learning_rates(progress, phase.learning_rate_scale, both_fall=False)
        if self.reconstruction is not None:
            scale = phase.learning_rate_scale * self.game.generator_decay(progress)
            warm_up = min(1.0, (self.state.step + 1) / ENCODER_WARM_UP)
            scale_learning_rates(self.reconstruction.optimizer, scale * warm_up)

    def _adversarial_step(self, phase: Phase, fade: float, is_frozen: bool) -> dict[str, Tensor]:
        """Take the discriminator's step, and leave the generator's gradients for it to take its own.

        Both players see the same renderings, which are kept from one to the other where a batch has a single part.
        """
        scenes, real = self._draw_scenes(phase), self._draw_real(phase)
        parts = self.engine.parts(phase.batch_size)
        kept = self._render(phase, scenes, parts[0]) if len(parts) == 1 and not is_frozen else None
        record = self._discriminator_step(phase, fade, scenes, real, kept)
        return record if is_frozen else record | self._generator_gradients(phase, fade, scenes, real, kept)

    def _draw_scenes(self, phase: Phase) -> dict[str, Tensor]:
        """Draw what a batch of renderings needs, on the CPU and for all processes."""
        model, batch, size = self.generator.config, phase.batch_size, phase.resolution
        draws = {
            **draw_latents(batch, model.latent_size, self.config.least_truncation),
            "pose": draw_poses(batch, model),
            "offset": torch.rand(batch, size, size),
        }
        if self._names_at_points(phase):
            count = self.config.num_points or FEWEST_POINTS
            draws["points"] = draw_points(batch, count, model)
        return draws | self.game.draw_augmentation(batch)

    def _draw_real(self, phase: Phase) -> dict[str, Tensor]:
        draws = {"index": torch.randint(len(self.data), (phase.batch_size,))}
        if self.config.horizontal_flip:
            draws["is_flipped"] = torch.rand(phase.batch_size) < 0.5
        return draws | self.game.draw_augmentation(phase.batch_size)

    def _render(self, phase: Phase, scenes: dict, part: slice) -> tuple[RenderOutput, ChunkedField]:
        config, mine = self.config, take(scenes, part, self.device)
        on_rays = 0.0 if config.num_points else config.terms.get("eikonal", 0.0)
        field = ChunkedField(
            self.generator.field.condition(latent_codes(self.generator.renderer_mapping, mine)),
            eikonal_weight=on_rays * share_of(part, phase.batch_size),  # the batch's mean is the sum over its parts
        )
        camera = cameras_of(scenes["pose"][part], self.device)
        sampling = phase.resolution, phase.num_samples, phase.surface_guided
        return render_field(self.generator, field, camera, mine["offset"], *sampling), field

    def _fake(self, rendering: RenderOutput) -> Tensor:
        """What the discriminator sees of a rendering, not yet augmented. ``(B, 3 or 4, H, W)``."""
        if not self.config.use_alpha:
            return rendering.thumbnail
        return torch.cat([rendering.thumbnail, 1.0 - 2.0 * rendering.background], dim=1)

    def _real(self, phase: Phase, draws: dict, part: slice) -> tuple[Tensor, Tensor | None]:
        """Pictures of the data, not yet augmented ``(B, 3 or 4, H, W)``, and their poses where the data has them."""
        index = draws["index"][part]
        images = self.data.thumbnail_batch(index, phase.resolution, self.channels).to(self.device)
        poses = None if self.data.poses is None else self.data.poses[index].to(self.device)
        if self.config.horizontal_flip:
            is_flipped = draws["is_flipped"][part].to(self.device)
            images = torch.where(is_flipped[:, None, None, None], images.flip(3), images)
            if poses is not None:
                poses = torch.where(is_flipped[:, None], poses * poses.new_tensor([-1.0, 1.0]), poses)
        return images, poses

    def _discriminator_step(self, phase: Phase, fade: float, scenes: dict, draws: dict, kept) -> dict[str, Tensor]:
        config, means = self.config, Means(self.engine, phase.batch_size)
        penalise = self.game.is_penalised(self.state.step)
        for part in self.engine.parts(phase.batch_size):
            share = share_of(part, phase.batch_size)
            real, real_pose = self._real(phase, draws, part)
            with torch.no_grad():
                rendering = kept[0] if kept else self._render(phase, scenes, part)[0]
                fake = self._fake(rendering)
            fake = fake.detach()  # a kept rendering has a graph, which the generator's step goes back through
            real.requires_grad_(penalise)
            fake.requires_grad_(penalise and config.game.use_relativistic_loss)
            # second derivatives stay in full precision
            with nullcontext() if penalise else self.engine.autocast():
                real_logit, real_view = self.discriminator(self.game.augmented(real, draws, part), fade)
                fake_logit, fake_view = self.discriminator(self.game.augmented(fake, scenes, part), fade)
            terms = self.game.discriminator_terms(real_logit, fake_logit)
            terms["d_view"] = losses.view_loss(fake_view, scenes["pose"][part].to(self.device))
            view = terms["d_view"]
            if config.use_pose_labels:
                terms["d_view_real"] = losses.view_loss(real_view, real_pose)
                view = view + terms["d_view_real"]
            loss = terms["d_loss"] + config.terms.get("view", 0.0) * view
            if penalise:
                r2 = {"r2": (fake_logit, fake)} if config.game.use_relativistic_loss else {}
                loss = loss + self.game.penalty(phase.r1_gamma, terms, r1=(real_logit, real), **r2)
            (share * loss).backward()
            means.add(terms, share)
        self.engine.optimizer_step(self.game.discriminator_optimizer)
        record = means.result()
        self.game.adapt(record, phase.batch_size, config.total_steps)
        return record

    def _generator_gradients(self, phase: Phase, fade: float, scenes: dict, draws: dict, kept) -> dict[str, Tensor]:
        config, means = self.config, Means(self.engine, phase.batch_size)
        self.discriminator.requires_grad_(False)
        for part in self.engine.parts(phase.batch_size):
            share = share_of(part, phase.batch_size)
            rendering, field = kept or self._render(phase, scenes, part)
            with self.engine.autocast():
                logit, view = self.discriminator(self.game.augmented(self._fake(rendering), scenes, part), fade)
            real_logit = None
            if config.game.use_relativistic_loss:
                real = self.game.augmented(self._real(phase, draws, part)[0], draws, part)
                with torch.no_grad(), self.engine.autocast():
                    real_logit = self.discriminator(real, fade)[0]
            terms = {
                "g_loss": self.game.generator_loss(logit, real_logit),
                "view": losses.view_loss(view, scenes["pose"][part].to(self.device)),
            }
            if "minimal_surface" in config.terms and not phase.surface_guided:
                terms["minimal_surface"] = losses.minimal_surface_loss(rendering.sdf)
            if "points" in scenes:
                terms |= self._point_losses(phase, field, scenes["points"][part].to(self.device))
            (share * (terms["g_loss"] + weighted_sum(terms, config.terms))).backward()
            field.backward()
            if "eikonal" in config.terms and not config.num_points:
                terms["eikonal"] = field.eikonal
            with torch.no_grad():
                terms |= {
                    "inside": (rendering.sdf < 0).float().mean(),
                    "coverage": 1.0 - rendering.background.mean(),
                }
            means.add(terms, share)
            means.add_variety(rendering.thumbnail, share)
        self.discriminator.requires_grad_(True)
        return means.result()

    def _names_at_points(self, phase: Phase) -> list[str]:
        """Return which of the listed terms are measured at random points in a phase, not at the samples of rays."""
        on_rays = set() if self.config.num_points else {"eikonal"}
        if self.reconstruction is None and not phase.surface_guided:
            on_rays.add("minimal_surface")
        return [name for name in self.config.terms if name in POINT_TERMS and name not in on_rays]

    def _point_losses(self, phase: Phase, field: ChunkedField, points: Tensor) -> dict[str, Tensor]:
        """Measure terms of the fields at random world points ``(B, P, 3)``."""
        config, model = self.config, self.generator.config
        sdf, gradient = field.sdf_and_gradient(points)
        samples = PointSamples(
            sdf, gradient, points, model,
            filled_depth=lambda: filled_depths(field.guides(model, GRID), points),
            field=field.sdf_and_gradient,
            step=None if self.is_fine_tuning else self.state.step,
            sphere=(model.scene_radius / 2 if config.sphere_radius is None else config.sphere_radius,
                    config.sphere_centre_z),
        )  # fmt: skip
        return point_terms(samples, self._names_at_points(phase))

    @torch.no_grad()
    def _bound_beta(self) -> None:
        config = self.config
        if config.beta_end:
            share = (self.state.step + 1) / config.total_steps
            bound = math.log(config.beta_start) * (1 - share) + math.log(config.beta_end) * share
            self.generator.renderer.log_beta.clamp_(max=bound)


def _check(config: RendererConfig, data: ImageSet) -> None:
    check_terms(config.terms, TERMS)
    for is_on, name in ((config.use_alpha, "use_alpha is on"), ("coverage" in config.terms, "terms has coverage")):
        if is_on and data.thumbnails.shape[1] < 4:
            raise ValueError(f"{name}, but the pictures have no alpha channel")
    if config.use_pose_labels and data.poses is None:
        raise ValueError("use_pose_labels is on, but the data has no yaw and pitch")
    if any(phase.surface_guided for phase in config.phases) and not config.num_points:
        raise ValueError("surface_guided is on, but num_points is 0: the losses of the samples need some")
    if not config.is_adversarial:
        if "view" in config.terms:
            raise ValueError("terms has reconstruction beside view, which needs a discriminator: terms.view=none")
        if config.game.freeze_generator_steps:
            raise ValueError("freeze_generator_steps is on, but terms has reconstruction: there is no discriminator")
    for name in ("divergence", "coverage", "leak"):
        if name in config.terms and "reconstruction" not in config.terms:
            raise ValueError(f"terms has {name}, but no reconstruction, which it goes with")


def inner_matrices(field: Field) -> list[nn.Parameter]:
    """Return the matrices between hidden values, and from codes to them: all but those of points, SDF and colours."""
    return [each for each in field.parameters() if each.ndim == 2 and min(each.shape) > OUTER_SIZE]


def check_resolutions(config: RendererConfig, model: StyleSDFConfig) -> None:
    """Refuse phases that the thumbnail's discriminator cannot see.

    Raises:
        ValueError: One is larger than the thumbnail.
    """
    largest = max(phase.resolution for phase in config.phases)
    if largest > model.render_resolution:
        size = model.render_resolution
        raise ValueError(f"resolution of a phase is {largest}, expected at most the thumbnail's {size}")
