"""One step of stage 1: mapping, field and sharpness against the thumbnail discriminator (paper section 3.3).

Shapes: B batch, H W image, P points.
"""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from stylesdf.camera import Camera, sample_poses
from stylesdf.config import StyleSDFConfig
from stylesdf.field import sphere_initialize
from stylesdf.model import Generator
from stylesdf.outputs import RenderOutput
from train import losses
from train.augment import NUMBERS, adapt_probability, augment
from train.config import Phase, RendererConfig
from train.data.images import ImageSet
from train.ema import update_ema
from train.networks.discriminators import ThumbnailDiscriminator
from train.networks.encoder import ENCODER_WARM_UP, rectify
from train.pretrained import copy_renderer
from train.run.engine import Engine, Means, share_of, take
from train.run.state import RunState
from train.stages.chunked import ChunkedField, render_field
from train.stages.inside import filled_depth
from train.stages.latents import draw_latents, latent_codes
from train.stages.reconstruction import Reconstruction

ANCHOR_POINTS = 300  # random points per image that bounds and anchor are measured on where the eikonal loss has none


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
        self.config = config
        self.data = data
        self.engine = engine or Engine()
        self.device = self.engine.device
        self.is_fine_tuning = initial is not None
        self.channels = 4 if config.use_alpha else 3
        if config.use_alpha and data.thumbnails.shape[1] < 4:
            raise ValueError("use_alpha is on, but the pictures have no alpha channel")
        if config.use_pose_labels and data.poses is None:
            raise ValueError("use_pose_labels is on, but the data has no yaw and pitch in metadata.jsonl")
        if config.use_pose_labels_only and not config.use_pose_labels:
            raise ValueError("use_pose_labels_only is on, but use_pose_labels is off: nothing would teach poses")
        if any(phase.surface_guided for phase in config.phases) and not config.eikonal_points:
            raise ValueError("surface_guided is on, but eikonal_points is 0: the losses of the samples need some")
        if not config.reconstruction_weight and not all(phase.is_adversarial for phase in config.phases):
            raise ValueError("a phase is not adversarial, but reconstruction_weight is 0: nothing would teach it")
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(self.device)
        self.discriminator = ThumbnailDiscriminator(
            config.discriminator_channels,
            in_channels=self.channels,
            resolution=model_config.render_resolution,
            low_resolutions=tuple(sorted({p.resolution for p in config.phases} - {model_config.render_resolution})),
            use_minibatch_std=config.use_minibatch_std,
        ).to(self.device)
        renderer = self.generator.renderer
        with torch.no_grad():
            if initial is not None:
                copy_renderer(initial, self.generator)
            else:
                renderer.log_beta.fill_(math.log(config.beta_start))
            if initial is None and model_config.background == "learned":
                renderer.background_rgb.copy_(torch.logit(data.border_colour().clamp(0.01, 0.99)))
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        adam = {"betas": (config.adam_beta1, config.adam_beta2)}
        rate = config.generator_learning_rate
        mapping_rate = rate * config.mapping_learning_rate_multiplier
        self.generator_optimizer = torch.optim.Adam(
            [
                {"params": list(self.generator.field.parameters()), "lr": rate},
                {"params": list(self.generator.renderer_mapping.parameters()), "lr": mapping_rate},
                {"params": list(renderer.parameters()), "lr": config.scalar_learning_rate},
            ],
            **adam,
        )
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=config.discriminator_learning_rate, **adam
        )
        modules = {
            "generator": self.generator, "generator_ema": self.generator_ema, "discriminator": self.discriminator
        }  # fmt: skip
        optimizers = {
            "generator_optimizer": self.generator_optimizer, "discriminator_optimizer": self.discriminator_optimizer
        }  # fmt: skip
        self.reconstruction = None
        if config.reconstruction_weight:
            self.reconstruction = Reconstruction(self.generator, config, data, self.engine)
            modules["encoder"] = self.reconstruction.encoder
            optimizers["encoder_optimizer"] = self.reconstruction.optimizer
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        self.augment_probability = torch.tensor(config.augment_probability, device=self.device)
        self.state = RunState(modules, optimizers, {"augment_probability": self.augment_probability})

    @property
    def images_per_step(self) -> int:
        phase, _ = self.config.phase_at(self.state.step)
        return phase.batch_size * (phase.is_adversarial + (self.reconstruction is not None))

    def discriminators(self) -> dict[str, torch.nn.Module]:
        """Return what judges which output, to be saved beside the model; and the encoder, where there is one."""
        encoder = {} if self.reconstruction is None else {"encoder": self.reconstruction.encoder}
        return {"thumbnail": self.discriminator, **encoder}

    def grid_options(self) -> dict:
        phase, _ = self.config.phase_at(max(self.state.step - 1, 0))
        return {"resolution": phase.resolution, "num_samples": max(phase.num_samples, 24)}

    def prepare(self, progress=None) -> None:
        """Sphere initialisation, before the first step of a run from nothing."""
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
            progress=progress,
        )
        self.generator_ema.load_state_dict(generator.state_dict())

    def _draw_codes(self) -> Tensor:
        """Renderer codes as the first steps have them, from the encoder where there is one. ``(4, latent_size)``."""
        latents = torch.randn(4, self.generator.config.latent_size).to(self.device)
        return rectify(latents) if self.reconstruction is not None else self.generator.renderer_mapping(latents)

    def step(self) -> dict[str, float]:
        """Take one step of both players; return every term."""
        config = self.config
        phase, step_in_phase = config.phase_at(self.state.step)
        self._set_learning_rates(phase)
        fade = min(1.0, (step_in_phase + 1) / phase.fade_steps) if phase.fade_steps else 1.0
        is_frozen = self.state.step < config.freeze_generator_steps
        record = self._adversarial_step(phase, fade, is_frozen) if phase.is_adversarial else {}
        if self.reconstruction is not None:
            # where the adversary's heads have no losses at points, these have
            point_losses = None if phase.is_adversarial else partial(self._point_losses, phase)
            record |= self.reconstruction.step(phase, is_frozen, point_losses)
        if not is_frozen:
            self.engine.descend(self.generator_optimizer)
            with torch.no_grad():
                self._bound_beta(self.generator.renderer.log_beta)
            # early on the average follows faster, so that it forgets the sphere
            decay = min(config.ema_decay, (1 + self.state.step) / (10 + self.state.step))
            update_ema(self.generator_ema, self.generator, decay)
            record["beta"] = self.generator.renderer.beta.item()
        self.state.step += 1
        return record | {"resolution": phase.resolution, "fade": fade}

    def _adversarial_step(self, phase: Phase, fade: float, is_frozen: bool) -> dict[str, float]:
        """Take the discriminator's step, and leave the generator's gradients for it to take its own."""
        scenes, real = self._draw_scenes(phase), self._draw_real(phase)
        # renderings are kept for the generator's step only where they are not a memory problem
        keep = self.config.reuse_renderings and not is_frozen and len(self.engine.parts(phase.batch_size)) == 1
        kept = self._render(phase, scenes, self.engine.parts(phase.batch_size)[0]) if keep else None
        record = self._discriminator_step(phase, fade, scenes, real, kept)
        if not is_frozen:
            if not self.config.reuse_renderings:
                scenes, real = self._draw_scenes(phase), self._draw_real(phase)
            record |= self._generator_gradients(phase, fade, scenes, real, kept)
        return record

    def _set_learning_rates(self, phase: Phase) -> None:
        progress = self.state.step / max(self.config.total_steps, 1)
        decay = 1.0 - (1.0 - self.config.final_learning_rate) * progress
        for group in self.generator_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * phase.learning_rate_scale * decay
        if self.reconstruction is not None:
            warm_up = min(1.0, (self.state.step + 1) / ENCODER_WARM_UP)
            for group in self.reconstruction.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * phase.learning_rate_scale * decay * warm_up
        for group in self.discriminator_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * phase.learning_rate_scale

    def _draw_scenes(self, phase: Phase) -> dict[str, Tensor]:
        """Draw what a batch of renderings needs, on the CPU and for all processes."""
        model, batch, size = self.generator.config, phase.batch_size, phase.resolution
        views = self.config.views_per_latent
        if batch % views:
            raise ValueError(f"views_per_latent is {views}, expected a divisor of the batch size {batch}")
        latents = draw_latents(batch // views, model.latent_size, self.config.least_truncation)
        draws = {
            **{name: value.repeat_interleave(views, dim=0) for name, value in latents.items()},
            "pose": sample_poses(batch, model.pose_yaw, model.pose_pitch, model.pose_distribution),
            "offset": torch.rand(batch, size, size),
        }
        config = self.config
        if config.eikonal_points or config.bounds_weight or config.sphere_anchor_weight or config.solidity_weight:
            count = self.config.eikonal_points or ANCHOR_POINTS
            draws["points"] = (torch.rand(batch, count, 3) * 2 - 1) * model.scene_radius
        if self.config.augment:
            draws["augmentation"] = torch.rand(batch, NUMBERS)
        return draws

    def _draw_real(self, phase: Phase) -> dict[str, Tensor]:
        draws = {"index": torch.randint(len(self.data), (phase.batch_size,))}
        if self.config.horizontal_flip:
            draws["is_flipped"] = torch.rand(phase.batch_size) < 0.5
        if self.config.augment:
            draws["augmentation"] = torch.rand(phase.batch_size, NUMBERS)
        return draws

    def _render(self, phase: Phase, scenes: dict, part: slice) -> tuple[RenderOutput, ChunkedField]:
        config = self.config
        mine = take(scenes, part, self.device)
        field = ChunkedField(
            self.generator.field.condition(latent_codes(self.generator.renderer_mapping, mine)),
            # the mean over the batch is the sum over its parts
            eikonal_weight=0.0 if config.eikonal_points else config.eikonal_weight * share_of(part, phase.batch_size),
        )
        camera = Camera.from_angles(mine["pose"][:, 0], mine["pose"][:, 1])
        sampling = phase.resolution, phase.num_samples, phase.surface_guided
        return render_field(self.generator, field, camera, mine["offset"], *sampling), field

    def _fake(self, rendering: RenderOutput, scenes: dict, part: slice) -> Tensor:
        """What the discriminator sees of a rendering. ``(B, 3 or 4, H, W)``."""
        seen = rendering.thumbnail
        if self.config.use_alpha:
            seen = torch.cat([seen, 1.0 - 2.0 * rendering.background], dim=1)
        return self._augmented(seen, scenes, part)

    def _augmented(self, images: Tensor, draws: dict, part: slice) -> Tensor:
        if not self.config.augment:
            return images
        numbers = draws["augmentation"][part].to(self.device)
        return augment(images, numbers, self.config.augment, self.augment_probability)

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

    def _discriminator_step(self, phase: Phase, fade: float, scenes: dict, draws: dict, kept) -> dict[str, float]:
        config, means = self.config, Means()
        penalise = self.state.step % config.r1_every == 0
        for part in self.engine.parts(phase.batch_size):
            share = share_of(part, phase.batch_size)
            real, real_pose = self._real(phase, draws, part)
            with torch.no_grad():
                rendering = kept[0] if kept else self._render(phase, scenes, part)[0]
                fake = self._fake(rendering, scenes, part)
            fake = fake.detach()  # a kept rendering has a graph, which the generator's step goes back through
            pose = scenes["pose"][part].to(self.device)
            real.requires_grad_(penalise)
            fake.requires_grad_(penalise and config.use_r2)
            # second derivatives stay in full precision
            with nullcontext() if penalise else self.engine.autocast():
                real_logit, real_predicted = self.discriminator(self._augmented(real, draws, part), fade)
                fake_logit, fake_predicted = self.discriminator(fake, fade)
            adversarial = losses.d_logistic_loss(real_logit, fake_logit, config.use_relativistic_loss)
            view = losses.view_loss(fake_predicted, pose)
            loss = adversarial if config.use_pose_labels_only else adversarial + config.pose_weight * view
            terms = {"d_loss": adversarial, "d_view": view, "d_real": real_logit.mean(), "d_fake": fake_logit.mean()}
            if config.ada_target:
                terms["d_real_sign"] = real_logit.sign().mean()
            if config.use_pose_labels:
                terms["d_view_real"] = losses.view_loss(real_predicted, real_pose)
                loss = loss + config.pose_weight * terms["d_view_real"]
            if penalise:
                terms["r1"] = losses.gradient_penalty(real_logit, real)
                loss = loss + phase.r1_gamma / 2 * config.r1_every * terms["r1"]
                if config.use_r2:
                    terms["r2"] = losses.gradient_penalty(fake_logit, fake)
                    loss = loss + phase.r1_gamma / 2 * config.r1_every * terms["r2"]
            (share * loss).backward()
            means.add(terms, share)
        self.engine.descend(self.discriminator_optimizer)
        record = means.result(self.engine)
        if config.ada_target:
            sign = torch.tensor(record["d_real_sign"], device=self.device)
            step_size = phase.batch_size / config.ada_images
            self.augment_probability.copy_(
                adapt_probability(self.augment_probability, sign, config.ada_target, step_size)
            )
            record["augment_probability"] = self.augment_probability.item()
        return record

    def _generator_gradients(self, phase: Phase, fade: float, scenes: dict, draws: dict, kept) -> dict[str, float]:
        config, means = self.config, Means()
        self.discriminator.requires_grad_(False)
        for part in self.engine.parts(phase.batch_size):
            share = share_of(part, phase.batch_size)
            rendering, field = kept or self._render(phase, scenes, part)
            with self.engine.autocast():
                logit, predicted = self.discriminator(self._fake(rendering, scenes, part), fade)
            real_logit = None
            if config.use_relativistic_loss:
                real = self._augmented(self._real(phase, draws, part)[0], draws, part)
                with torch.no_grad(), self.engine.autocast():
                    real_logit = self.discriminator(real, fade)[0]
            terms = {
                "g_loss": losses.g_nonsaturating_loss(logit, real_logit),
                "g_view": losses.view_loss(predicted, scenes["pose"][part].to(self.device)),
            }
            loss = terms["g_loss"] + config.pose_weight * terms["g_view"]
            if not phase.surface_guided:  # else most of its samples were not evaluated
                terms["minimal_surface"] = losses.minimal_surface_loss(rendering.sdf)
                loss = loss + config.minimal_surface_weight * terms["minimal_surface"]
            if "points" in scenes:
                loss = loss + self._point_losses(phase, field, scenes["points"][part].to(self.device), terms)
            (share * loss).backward()
            field.backward()
            if not config.eikonal_points:
                terms["eikonal"] = field.eikonal
            with torch.no_grad():
                terms |= {
                    "inside": (rendering.sdf < 0).float().mean(),
                    "coverage": 1.0 - rendering.background.mean(),
                    "variety": rendering.thumbnail.std(dim=0).mean(),
                }
            means.add(terms, share)
        self.discriminator.requires_grad_(True)
        return means.result(self.engine)

    def _point_losses(self, phase: Phase, field: ChunkedField, points: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """Weighted losses at random world points ``(B, P, 3)``; each is added to the terms."""
        config, model = self.config, self.generator.config
        sdf, gradient = field.sdf_and_gradient(points)
        loss = points.new_zeros(())
        if config.eikonal_points:
            terms["eikonal"] = losses.eikonal_loss(gradient)
            loss = loss + config.eikonal_weight * terms["eikonal"]
        anchor_weight = config.sphere_anchor_weight * math.exp(-self.state.step / config.sphere_anchor_steps)
        if anchor_weight > 1e-3 and not self.is_fine_tuning:
            radius = model.scene_radius / 2 if config.sphere_radius is None else config.sphere_radius
            centre = points.new_tensor([0.0, 0.0, config.sphere_centre_z])
            terms["sphere_anchor"] = (sdf - ((points - centre).norm(dim=-1) - radius)).abs().mean()
            loss = loss + anchor_weight * terms["sphere_anchor"]
        if config.bounds_weight:
            outer, inner = config.bounds_outer * model.scene_radius, config.bounds_inner * model.scene_radius
            terms["bounds"] = losses.scene_bounds_loss(sdf, points, outer, inner)
            loss = loss + config.bounds_weight * terms["bounds"]
        if phase.surface_guided or not phase.is_adversarial:
            terms["minimal_surface"] = losses.minimal_surface_loss(sdf)
            loss = loss + config.minimal_surface_weight * terms["minimal_surface"]
        if config.solidity_weight:
            depth = torch.stack([filled_depth(*pair) for pair in zip(field.guides(model), points)])
            terms["solidity"] = losses.solidity_loss(sdf, depth)
            loss = loss + config.solidity_weight * terms["solidity"]
        return loss

    def _bound_beta(self, log_beta: Tensor) -> None:
        config = self.config
        if config.beta_end:
            share = (self.state.step + 1) / config.total_steps
            log_beta.clamp_(max=math.log(config.beta_start) * (1 - share) + math.log(config.beta_end) * share)
        if config.beta_floor:
            log_beta.clamp_(min=math.log(config.beta_floor))
