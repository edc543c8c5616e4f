"""The two stages as players and steps: what one step of stage 1 and of stage 2 does.

Shapes: B batch, H W image, P points.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera, sample_poses
from stylesdf.config import StyleSDFConfig
from stylesdf.field import ConditionedField, sphere_initialize
from stylesdf.hub import HubMixin
from stylesdf.model import Generator
from stylesdf.outputs import RenderOutput
from train import losses
from train.config import DecoderConfig, Phase, RendererConfig
from train.data.images import ImageSet
from train.discriminators import ImageDiscriminator, ThumbnailDiscriminator
from train.ema import update_ema
from train.state import RunState

RENDERER_PARTS = ("renderer_mapping", "field", "renderer")


class PretrainedGenerator(HubMixin, Generator):
    """A generator from a folder or the hub, to start a stage from."""


class RendererStage:
    """Stage 1: mapping, field and sharpness against the thumbnail discriminator.

    Args:
        model_config: Architecture; its decoder is left out.
        config: Settings of the stage.
        data: Pictures.
        device: Where it runs.
        initial: A generator of the same architecture to train on, instead of sphere initialisation.
    """

    name = "renderer"
    judges = "thumbnail"

    def __init__(
        self,
        model_config: StyleSDFConfig,
        config: RendererConfig,
        data: ImageSet,
        device="cpu",
        initial: Generator | None = None,
    ) -> None:
        self.config = config
        self.data = data
        self.device = torch.device(device)
        self.is_fine_tuning = initial is not None
        self.channels = 4 if config.use_alpha else 3
        if config.use_alpha and data.thumbnails.shape[1] < 4:
            raise ValueError("use_alpha is on, but the pictures have no alpha channel")
        if config.use_pose_labels and data.poses is None:
            raise ValueError("use_pose_labels is on, but the data has no yaw and pitch in metadata.jsonl")
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(device)
        self.discriminator = ThumbnailDiscriminator(
            config.discriminator_channels,
            in_channels=self.channels,
            resolution=model_config.render_resolution,
            low_resolutions=tuple(sorted({p.resolution for p in config.phases} - {model_config.render_resolution})),
            use_minibatch_std=config.use_minibatch_std,
        ).to(device)
        with torch.no_grad():
            if initial is not None:
                _copy_renderer(initial, self.generator)
            else:
                self.generator.renderer.log_beta.fill_(math.log(config.beta_start))
            if initial is None and model_config.background == "learned":
                colour = data.border_colour().clamp(0.01, 0.99)
                self.generator.renderer.background_rgb.copy_(torch.logit(colour))
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        adam = {"betas": (config.adam_beta1, config.adam_beta2)}
        generator = self.generator
        rate = config.generator_learning_rate
        self.generator_optimizer = torch.optim.Adam(
            [
                {"params": list(generator.field.parameters()), "lr": rate},
                {
                    "params": list(generator.renderer_mapping.parameters()),
                    "lr": rate * config.mapping_learning_rate_multiplier,
                },
                {"params": list(generator.renderer.parameters()), "lr": config.scalar_learning_rate},
            ],
            **adam,
        )
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=config.discriminator_learning_rate, **adam
        )
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        self.state = RunState(
            {"generator": self.generator, "generator_ema": self.generator_ema, "discriminator": self.discriminator},
            {"generator_optimizer": self.generator_optimizer, "discriminator_optimizer": self.discriminator_optimizer},
        )

    @property
    def images_per_step(self) -> int:
        return self.config.phase_at(self.state.step)[0].batch_size

    def prepare(self, progress=None) -> None:
        """Sphere initialisation, before the first step of a run from nothing."""
        if self.is_fine_tuning:
            return
        config, generator = self.config, self.generator
        sphere_initialize(
            generator.field,
            config.sphere_steps,
            lambda: generator.renderer_mapping(self._latents(4)),
            learning_rate=config.sphere_learning_rate,
            radius=config.sphere_radius,
            centre=(0.0, 0.0, config.sphere_centre_z),
            progress=progress,
        )
        self.generator_ema.load_state_dict(generator.state_dict())

    def step(self) -> dict[str, float]:
        """Take one step of both players; return every term."""
        phase, step_in_phase = self.config.phase_at(self.state.step)
        self._set_learning_rates(phase)
        fade = min(1.0, (step_in_phase + 1) / phase.fade_steps) if phase.fade_steps else 1.0
        scene = self._render(phase) if self.config.reuse_renderings else None
        record = self._discriminator_step(phase, fade, scene)
        record |= self._generator_step(phase, fade, scene)
        # early on the average follows faster, so that it forgets the sphere
        decay = min(self.config.ema_decay, (1 + self.state.step) / (10 + self.state.step))
        update_ema(self.generator_ema, self.generator, decay)
        self.state.step += 1
        return record | {"resolution": phase.resolution, "fade": fade}

    def grid_options(self) -> dict:
        phase, _ = self.config.phase_at(max(self.state.step - 1, 0))
        return {"resolution": phase.resolution, "num_samples": max(phase.num_samples, 24)}

    def _set_learning_rates(self, phase: Phase) -> None:
        progress = self.state.step / max(self.config.total_steps, 1)
        decay = 1.0 - (1.0 - self.config.final_learning_rate) * progress
        for group in self.generator_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * phase.learning_rate_scale * decay
        for group in self.discriminator_optimizer.param_groups:
            group["lr"] = group["initial_lr"] * phase.learning_rate_scale

    def _latents(self, batch_size: int) -> Tensor:
        return torch.randn(batch_size, self.generator.config.latent_size).to(self.device)

    def _render(self, phase: Phase) -> tuple[RenderOutput, Tensor, ConditionedField]:
        model = self.generator.config
        pose = sample_poses(phase.batch_size, model.pose_yaw, model.pose_pitch, model.pose_distribution)
        field = self.generator.field.condition(self.generator.renderer_mapping(self._latents(phase.batch_size)))
        rendering = self.generator.render(
            field,
            Camera.from_angles(pose[:, 0], pose[:, 1]),
            resolution=phase.resolution,
            num_samples=phase.num_samples,
            offset=torch.rand(phase.batch_size, phase.resolution, phase.resolution).to(self.device),
            viewdirs="world",
            opaque_background=False,
        )
        return rendering, pose.to(self.device), field

    def _seen(self, rendering: RenderOutput) -> Tensor:
        """What the discriminator sees of a rendering. ``(B, 3 or 4, H, W)``."""
        if not self.config.use_alpha:
            return rendering.thumbnail
        return torch.cat([rendering.thumbnail, 1.0 - 2.0 * rendering.background], dim=1)

    def _discriminator_step(self, phase: Phase, fade: float, scene) -> dict[str, float]:
        config = self.config
        indices = torch.randint(len(self.data), (phase.batch_size,))
        real = self.data.thumbnail_batch(indices, phase.resolution, self.channels).to(self.device)
        real_pose = None if self.data.poses is None else self.data.poses[indices].to(self.device)
        if config.horizontal_flip:
            flip = torch.rand(phase.batch_size) < 0.5
            real = torch.where(flip.to(self.device)[:, None, None, None], real.flip(3), real)
            if real_pose is not None:
                sign = torch.where(flip, -1.0, 1.0)[:, None]
                real_pose = real_pose * torch.cat([sign, torch.ones_like(sign)], dim=1).to(self.device)
        with torch.no_grad():
            rendering, fake_pose, _ = scene or self._render(phase)
            fake = self._seen(rendering)
        penalise = self.state.step % config.r1_every == 0
        real.requires_grad_(penalise)
        real_logit, real_predicted = self.discriminator(real, fade)
        fake_logit, fake_predicted = self.discriminator(fake, fade)
        adversarial = losses.d_logistic_loss(real_logit, fake_logit)
        view = losses.view_loss(fake_predicted, fake_pose)
        loss = adversarial + config.pose_weight * view
        record = {"d_loss": adversarial, "d_view": view, "d_real": real_logit.mean(), "d_fake": fake_logit.mean()}
        if config.use_pose_labels:
            real_view = losses.view_loss(real_predicted, real_pose)
            loss = loss + config.pose_weight * real_view
            record["d_view_real"] = real_view
        if penalise:
            r1 = losses.r1_penalty(real_logit, real)
            loss = loss + phase.r1_gamma / 2 * config.r1_every * r1
            record["r1"] = r1
        _descend(self.discriminator_optimizer, loss)
        return {name: value.item() for name, value in record.items()}

    def _generator_step(self, phase: Phase, fade: float, scene) -> dict[str, float]:
        config, model = self.config, self.generator.config
        self.discriminator.requires_grad_(False)
        rendering, pose, field = scene or self._render(phase)
        logit, predicted = self.discriminator(self._seen(rendering), fade)
        adversarial = losses.g_nonsaturating_loss(logit)
        view = losses.view_loss(predicted, pose)
        minimal = losses.minimal_surface_loss(rendering.sdf)
        points = self._eikonal_points(phase)
        eikonal = losses.eikonal_loss(losses.sdf_gradient(field.sdf, points))
        loss = (
            adversarial
            + config.pose_weight * view
            + config.minimal_surface_weight * minimal
            + config.eikonal_weight * eikonal
        )
        record = {"g_loss": adversarial, "g_view": view, "minimal_surface": minimal, "eikonal": eikonal}
        if config.sphere_anchor_weight or config.bounds_weight:
            sdf = field.sdf(points)
        anchor_weight = config.sphere_anchor_weight * math.exp(-self.state.step / config.sphere_anchor_steps)
        if anchor_weight > 1e-3:
            radius = model.scene_radius / 2 if config.sphere_radius is None else config.sphere_radius
            centre = points.new_tensor([0.0, 0.0, config.sphere_centre_z])
            anchor = (sdf - ((points - centre).norm(dim=-1) - radius)).abs().mean()
            loss = loss + anchor_weight * anchor
            record["sphere_anchor"] = anchor
        if config.bounds_weight:
            outer, inner = config.bounds_outer * model.scene_radius, config.bounds_inner * model.scene_radius
            bounds = losses.scene_bounds_loss(sdf, points, outer, inner)
            loss = loss + config.bounds_weight * bounds
            record["bounds"] = bounds
        _descend(self.generator_optimizer, loss)
        self.discriminator.requires_grad_(True)
        renderer = self.generator.renderer
        with torch.no_grad():
            self._bound_beta(renderer.log_beta)
            record |= {
                "beta": renderer.beta,
                "inside": (rendering.sdf < 0).float().mean(),
                "coverage": 1.0 - rendering.background.mean(),
                "variety": rendering.thumbnail.std(dim=0).mean(),
            }
        return {name: value.item() for name, value in record.items()}

    def _bound_beta(self, log_beta: Tensor) -> None:
        config = self.config
        if config.beta_end:
            share = (self.state.step + 1) / config.total_steps
            log_beta.clamp_(max=math.log(config.beta_start) * (1 - share) + math.log(config.beta_end) * share)
        if config.beta_floor:
            log_beta.clamp_(min=math.log(config.beta_floor))

    def _eikonal_points(self, phase: Phase) -> Tensor:
        """World points in the volume the rays cross. ``(B, P, 3)``."""
        radius = self.generator.config.scene_radius
        count = self.config.eikonal_points or phase.resolution**2 * phase.num_samples
        return ((torch.rand(phase.batch_size, count, 3) * 2 - 1) * radius).to(self.device)


class DecoderStage:
    """Stage 2: the decoder and its mapping against the image discriminator; the renderer is frozen.

    Args:
        model_config: Architecture, with a decoder.
        config: Settings of the stage.
        data: Pictures.
        renderer: A generator that stage 1 trained; its mapping, field and sharpness are taken, and its decoder where
            it has the same one.
        device: Where it runs.
    """

    name = "decoder"
    judges = "image"

    def __init__(
        self, model_config: StyleSDFConfig, config: DecoderConfig, data: ImageSet, renderer: Generator, device="cpu"
    ) -> None:
        self.config = config
        self.data = data
        self.device = torch.device(device)
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(device)
        _copy_renderer(renderer, self.generator)
        if renderer.config == model_config:  # its decoder is trained on
            self.generator.load_state_dict(renderer.state_dict())
        for part in RENDERER_PARTS:
            getattr(self.generator, part).requires_grad_(False)
        self.discriminator = ImageDiscriminator(model_config.image_resolution, config.discriminator_channels).to(device)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.path_length_mean = torch.zeros((), device=self.device)
        self._renderings = RenderingPool(self.generator, config.num_renderings, config.seed)
        generator_every = config.path_length_every if config.path_length_weight else 0
        trained = list(self.generator.decoder.parameters()) + list(self.generator.decoder_mapping.parameters())
        self.generator_optimizer = _lazy_adam(trained, config, generator_every)
        self.discriminator_optimizer = _lazy_adam(self.discriminator.parameters(), config, config.r1_every)
        self.state = RunState(
            {"generator": self.generator, "generator_ema": self.generator_ema, "discriminator": self.discriminator},
            {"generator_optimizer": self.generator_optimizer, "discriminator_optimizer": self.discriminator_optimizer},
            {"path_length_mean": self.path_length_mean},
        )

    @property
    def images_per_step(self) -> int:
        return self.config.batch_size

    def prepare(self, progress=None) -> None:
        """Stage 2 starts from stage 1's result; there is nothing more to prepare."""

    def step(self) -> dict[str, float]:
        """Take one step of both players; return every term."""
        progress = self.state.step / max(self.config.total_steps, 1)
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * (1.0 - (1.0 - self.config.final_learning_rate) * progress)
        if self.config.num_renderings:
            self._renderings.advance_to(self.state.step)
        record = self._discriminator_step() | self._generator_step()
        decay = min(self.config.ema_decay, (1 + self.state.step) / (10 + self.state.step))
        update_ema(self.generator_ema, self.generator, decay)
        self.state.step += 1
        return record

    def grid_options(self) -> dict:
        return {}

    def _scenes(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Feature maps, thumbnails and codes of a batch; a gradient flows through the codes alone."""
        config, model = self.config, self.generator.config
        if config.num_renderings:
            w, features, thumbnail = self._renderings.draw(batch_size)
        else:
            w, features, thumbnail = _render_scenes(self.generator, batch_size, None)
        mix_w, inject_index = None, None
        if torch.rand(()) < config.mixing_probability:
            mix_w = self.generator.mapping(torch.randn(batch_size, model.latent_size).to(self.device))
            inject_index = int(torch.randint(1, model.num_ws, ()))
        return features, thumbnail, self.generator.decoder_codes(w, mix_w=mix_w, inject_index=inject_index)

    def _discriminator_step(self) -> dict[str, float]:
        config = self.config
        indices = torch.randint(len(self.data), (config.batch_size,))
        real = self.data.image_batch(indices).to(self.device)
        if config.horizontal_flip:
            flip = (torch.rand(config.batch_size) < 0.5).to(self.device)
            real = torch.where(flip[:, None, None, None], real.flip(3), real)
        with torch.no_grad():
            features, _, ws = self._scenes(config.batch_size)
            fake = self.generator.synthesis(features, ws, noise_mode="random")
        fake_logit, real_logit = self.discriminator(fake), self.discriminator(real)
        loss = losses.d_logistic_loss(real_logit, fake_logit)
        record = {"d_loss": loss, "d_real": real_logit.mean(), "d_fake": fake_logit.mean()}
        _descend(self.discriminator_optimizer, loss)
        if self.state.step % config.r1_every == 0:
            real.requires_grad_(True)
            r1 = losses.r1_penalty(self.discriminator(real), real)
            _descend(self.discriminator_optimizer, config.r1_gamma / 2 * config.r1_every * r1)
            record["r1"] = r1
        return {name: value.item() for name, value in record.items()}

    def _generator_step(self) -> dict[str, float]:
        config = self.config
        self.discriminator.requires_grad_(False)
        features, thumbnail, ws = self._scenes(config.batch_size)
        is_mixed = not torch.equal(ws[:, 0], ws[:, -1])
        image = self.generator.synthesis(features, ws, noise_mode="random")
        adversarial = losses.g_nonsaturating_loss(self.discriminator(image))
        loss = adversarial
        record = {"g_loss": adversarial, "variety": image.detach().std(dim=0).mean()}
        if config.thumbnail_weight and not is_mixed:  # a second style has other colours than the thumbnail
            agreement = F.l1_loss(F.adaptive_avg_pool2d(image, thumbnail.shape[-1]), thumbnail)
            loss = loss + config.thumbnail_weight * agreement
            record["thumbnail_l1"] = agreement
        _descend(self.generator_optimizer, loss)
        if config.path_length_weight and self.state.step % config.path_length_every == 0:
            features, _, ws = self._scenes(max(1, config.batch_size // 2))
            image = self.generator.synthesis(features, ws, noise_mode="random")
            penalty, mean = losses.path_length_penalty(image, ws, self.path_length_mean, config.path_length_decay)
            self.path_length_mean.copy_(mean)
            _descend(self.generator_optimizer, config.path_length_weight * config.path_length_every * penalty)
            record |= {"path_length": penalty, "path_length_mean": mean}
        self.discriminator.requires_grad_(True)
        return {name: value.item() for name, value in record.items()}


class RenderingPool:
    """The last ``size`` of an endless, numbered sequence of renderings of a frozen renderer.

    What rendering ``i`` shows follows from the seed and ``i`` alone, so a run that is resumed finds the same pool.
    """

    def __init__(self, generator: Generator, size: int, seed: int) -> None:
        self.generator = generator
        self.size = size
        self.seed = seed
        self.next = 0  # number of the first rendering that is not in the pool
        model = generator.config
        map_size = (model.field_width, model.render_resolution, model.render_resolution)
        self.w = torch.zeros(size, model.latent_size)
        self.features = torch.zeros(size, *map_size, dtype=torch.float16)  # in [-1, 1]: half precision is enough
        self.thumbnails = torch.zeros(size, 3, *map_size[1:])

    def advance_to(self, step: int) -> None:
        """Hold the renderings from number ``step`` on."""
        for number in range(max(self.next, step), step + self.size):
            random = torch.Generator().manual_seed(self.seed * 2**32 + number)
            w, features, thumbnail = _render_scenes(self.generator, 1, random)
            slot = number % self.size
            self.w[slot], self.features[slot], self.thumbnails[slot] = w[0].cpu(), features[0].cpu(), thumbnail[0].cpu()
        self.next = step + self.size

    def draw(self, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes, feature maps and thumbnails of random entries."""
        index = torch.randint(self.size, (batch_size,))
        device = self.generator.device
        return self.w[index].to(device), self.features[index].to(device).float(), self.thumbnails[index].to(device)


@torch.no_grad()
def _render_scenes(
    generator: Generator, batch_size: int, random: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Render random identities from random cameras: codes, feature maps, thumbnails."""
    model = generator.config
    pose = sample_poses(batch_size, model.pose_yaw, model.pose_pitch, model.pose_distribution, random)
    w = generator.mapping(torch.randn(batch_size, model.latent_size, generator=random))
    rendering = generator.render(w, Camera.from_angles(pose[:, 0], pose[:, 1]))
    return w, rendering.features, rendering.thumbnail


def _copy_renderer(source: Generator, target: Generator) -> None:
    for part in RENDERER_PARTS:
        getattr(target, part).load_state_dict(getattr(source, part).state_dict())


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _lazy_adam(parameters, config: DecoderConfig, every: int) -> torch.optim.Adam:
    """Adam whose rate and betas make up for a penalty that comes every so many steps (StyleGAN2, appendix B)."""
    ratio = every / (every + 1) if every else 1.0
    rate = config.learning_rate * ratio
    betas = (config.adam_beta1**ratio if config.adam_beta1 else 0.0, config.adam_beta2**ratio)
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=betas)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer
