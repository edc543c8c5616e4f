"""One step of stage 2: the decoder against the image discriminator, the renderer frozen (paper section 3.4).

Shapes: B batch, H W image.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera, sample_poses
from stylesdf.config import StyleSDFConfig
from stylesdf.decoder import standard_normal
from stylesdf.model import Generator
from stylesdf.surface import SurfaceGuide, render_guided
from train import losses
from train.augment import NUMBERS, adapt_probability, augment
from train.config import DecoderConfig
from train.data.images import ImageSet
from train.ema import update_ema
from train.networks.discriminators import ImageDiscriminator, PatchDiscriminator
from train.networks.encoder import PictureEncoder, encode
from train.pretrained import RENDERER_PARTS, copy_decoder, copy_renderer
from train.run.engine import Engine, Means, share_of, take
from train.run.state import RunState
from train.stages.latents import draw_latents, latent_codes


class DecoderStage:
    """Stage 2: the decoder and its mapping learn.

    Args:
        model_config: Architecture, with a decoder.
        config: Settings of the stage.
        data: Pictures.
        renderer: A generator that stage 1 trained; its mapping, field and sharpness are taken, and its decoder where
            it has the same one.
        engine: Where it runs; None is one process on the CPU.
        decoder: A generator whose decoder is trained on instead, as that of the model that ``renderer`` was
            fine-tuned from.
        encoder: Of ``train/networks/encoder.py``, trained with ``renderer``; needed where pictures are shown again.

    Raises:
        ValueError: Settings or models that do not go together.
    """

    name = "decoder"

    def __init__(
        self,
        model_config: StyleSDFConfig,
        config: DecoderConfig,
        data: ImageSet,
        renderer: Generator,
        engine: Engine | None = None,
        decoder: Generator | None = None,
        encoder: PictureEncoder | None = None,
    ) -> None:
        self.config = config
        self.data = data
        self.engine = engine or Engine()
        self.device = self.engine.device
        if config.field_steps and not (config.num_renderings or config.shown_share):
            raise ValueError(
                "field_steps is on, but num_renderings and shown_share are 0: there are no pictures to learn from"
            )
        if not 0.0 <= config.shown_share <= 1.0:
            raise ValueError(f"shown_share is {config.shown_share!r}, expected a number in [0, 1]")
        if config.shown_share and encoder is None:
            raise ValueError("shown_share is on, but there is no encoder that reads the data's pictures")
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(self.device)
        copy_renderer(renderer, self.generator)
        if decoder is None and renderer.config == model_config:
            decoder = renderer
        if decoder is not None:
            copy_decoder(decoder, self.generator)
        for part in RENDERER_PARTS:
            getattr(self.generator, part).requires_grad_(False)
        kind = PatchDiscriminator if config.use_patches else ImageDiscriminator
        self.discriminator = kind(model_config.image_resolution, config.discriminator_channels).to(self.device)
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.path_length_mean = torch.zeros((), device=self.device)
        self.augment_probability = torch.tensor(config.augment_probability, device=self.device)
        self._shown = ShownAgain(encoder.to(self.device), data, config) if config.shown_share else None
        self._renderings = RenderingPool(
            self.generator, config.num_renderings, config.least_truncation, config.seed, self._shown
        )
        generator_every = config.path_length_every if config.path_length_weight else 0
        trained = list(self.generator.decoder.parameters()) + list(self.generator.decoder_mapping.parameters())
        self.generator_optimizer = _lazy_adam(trained, config, generator_every)
        self.discriminator_optimizer = _lazy_adam(
            self.discriminator.parameters(), config, config.r1_every, config.discriminator_learning_rate
        )
        self.state = RunState(
            {"generator": self.generator, "generator_ema": self.generator_ema, "discriminator": self.discriminator},
            {"generator_optimizer": self.generator_optimizer, "discriminator_optimizer": self.discriminator_optimizer},
            {"path_length_mean": self.path_length_mean, "augment_probability": self.augment_probability},
        )

    @property
    def images_per_step(self) -> int:
        return self.config.batch_size

    def discriminators(self) -> dict[str, torch.nn.Module]:
        """Return what judges which output, to be saved beside the model."""
        return {"image": self.discriminator}

    def grid_options(self) -> dict:
        return {}

    def prepare(self, progress=None) -> None:
        """Stage 2 starts from stage 1's result; there is nothing more to prepare."""

    def step(self) -> dict[str, float]:
        """Take one step of both players; return every term."""
        config = self.config
        progress = self.state.step / max(config.total_steps, 1)
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * (1.0 - (1.0 - config.final_learning_rate) * progress)
        if config.num_renderings:
            self._renderings.advance_to(self.state.step // config.exchange_every)
        if self.state.step < config.field_steps:
            record = self._field_step()
        else:
            scenes = Scenes(self._draw_scenes(config.batch_size))
            record = self._discriminator_step(scenes)
            is_frozen = self.state.step < config.field_steps + config.freeze_generator_steps
            if not is_frozen:
                record |= self._generator_step(scenes)
            if config.path_length_weight and not is_frozen and self.state.step % config.path_length_every == 0:
                record |= self._path_length_step()
        decay = min(config.ema_decay, (1 + self.state.step) / (10 + self.state.step))
        update_ema(self.generator_ema, self.generator, decay)
        self.state.step += 1
        return record

    def _draw_scenes(self, batch: int) -> dict[str, Tensor]:
        """Draw what a batch of pictures needs, on the CPU and for all processes."""
        config, model = self.config, self.generator.config
        if config.num_renderings:
            draws = {"entry": torch.randint(config.num_renderings, (batch,))}
        else:
            draws = draw_latents(batch, model.latent_size, config.least_truncation)
            draws["pose"] = sample_poses(batch, model.pose_yaw, model.pose_pitch, model.pose_distribution)
            if self._shown is not None:
                draws["picture"] = self._shown.draw(batch)
        draws["noise_seed"] = torch.randint(2**62, (batch,))
        if torch.rand(()) < config.mixing_probability:
            draws["mix_z"] = torch.randn(batch, model.latent_size)
            draws["inject_index"] = torch.randint(1, model.num_ws, ()).expand(batch)  # one for all
        if config.augment:
            draws["augmentation"] = torch.rand(batch, NUMBERS)
        return draws

    def _draw_real(self, batch: int) -> dict[str, Tensor]:
        draws = {"index": torch.randint(len(self.data), (batch,))}
        if self.config.horizontal_flip:
            draws["is_flipped"] = torch.rand(batch) < 0.5
        if self.config.augment:
            draws["augmentation"] = torch.rand(batch, NUMBERS)
        return draws

    def _inputs(self, scenes: Scenes, part: slice) -> tuple[Tensor, Tensor, Tensor, list[torch.Generator] | None]:
        """Feature maps, thumbnails, codes and noise of a part; a gradient flows through the codes alone.

        On a CPU each image has a source of noise of its own, so that it is the same however a batch is shared; on a
        GPU, which would wait for many small draws, all have one.
        """
        draws = scenes.draws
        if part.start not in scenes.rendered:
            scenes.rendered[part.start] = self._render(draws, part)
        w, features, thumbnail = scenes.rendered[part.start]
        mix_w, inject_index = None, None
        if "mix_z" in draws:
            mix_w = self.generator.mapping(draws["mix_z"][part].to(self.device))
            inject_index = int(draws["inject_index"][0])
        codes = self.generator.decoder_codes(w, mix_w=mix_w, inject_index=inject_index)
        noise = None
        if self.device.type == "cpu":
            noise = [torch.Generator().manual_seed(seed) for seed in draws["noise_seed"][part].tolist()]
        return features, thumbnail, codes, noise

    def _render(self, draws: dict, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Renderer codes, feature maps and thumbnails of a part."""
        if "entry" in draws:
            return self._renderings.take(draws["entry"][part])
        latents = {name: draws[name] for name in ("z", "psi") if name in draws}
        w = _codes(self.generator, take(latents, part, self.device))
        pose = draws["pose"][part].to(self.device)
        if "picture" in draws:
            w, pose = self._shown.put_in(draws["picture"][part], w, pose)
        return w, *_render_scenes(self.generator, w, pose)

    def _augmented(self, images: Tensor, draws: dict, part: slice) -> Tensor:
        if not self.config.augment:
            return images
        numbers = draws["augmentation"][part].to(self.device)
        return augment(images, numbers, self.config.augment, self.augment_probability)

    def _real(self, draws: dict, part: slice) -> Tensor:
        images = self.data.image_batch(draws["index"][part]).to(self.device)
        if self.config.horizontal_flip:
            is_flipped = draws["is_flipped"][part].to(self.device)
            images = torch.where(is_flipped[:, None, None, None], images.flip(3), images)
        return images

    def _field_step(self) -> dict[str, float]:
        """Draw the data's pictures as they are; of the others what the field shows at the image's resolution.

        Where renderings are not kept the others' thumbnails have to do.
        """
        means, config = Means(), self.config
        batch = config.batch_size
        draws = self._draw_scenes(batch)
        draws.pop("mix_z", None)  # a second style has other colours than the field
        scenes = Scenes(draws)
        for part in self.engine.parts(batch):
            with self.engine.autocast():
                features, thumbnail, codes, noise = self._inputs(scenes, part)
                image = self.generator.synthesis(features, codes, "random", noise).float()
            if "entry" in draws:
                terms = {"field_l1": F.l1_loss(image, self._renderings.targets(draws["entry"][part]))}
            else:
                rows, pictures = self._pictures(draws, part)
                shrunk = F.adaptive_avg_pool2d(image, thumbnail.shape[-1])
                terms = {"thumbnail_l1": F.l1_loss(shrunk, thumbnail)}
                terms["reconstruction"] = len(rows) / len(image) * F.l1_loss(image[rows], pictures)
            share = share_of(part, batch)
            (share * sum(terms.values())).backward()
            means.add(terms | {"variety": image.detach().std(dim=0).mean()}, share)
        self.engine.descend(self.generator_optimizer)
        return means.result(self.engine)

    def _discriminator_step(self, scenes: Scenes) -> dict[str, float]:
        config, means = self.config, Means()
        batch = config.batch_size
        draws = self._draw_real(batch)
        for part in self.engine.parts(batch):
            share = share_of(part, batch)
            with torch.no_grad(), self.engine.autocast():
                features, _, codes, noise = self._inputs(scenes, part)
                fake = self.generator.synthesis(features, codes, "random", noise)
            with self.engine.autocast():
                fake_logit = self.discriminator(self._augmented(fake, scenes.draws, part))
                real_logit = self.discriminator(self._augmented(self._real(draws, part), draws, part))
            loss = losses.d_logistic_loss(real_logit, fake_logit, config.use_relativistic_loss)
            (share * loss).backward()
            terms = {"d_loss": loss, "d_real": real_logit.mean(), "d_fake": fake_logit.mean()}
            means.add(terms | {"d_real_sign": real_logit.sign().mean()}, share)
        self.engine.descend(self.discriminator_optimizer)
        if self.state.step % config.r1_every == 0:
            for part in self.engine.parts(batch):
                share = share_of(part, batch)
                terms = {"r1": self._penalty(self._real(draws, part), draws, part)}
                if config.use_r2:
                    with torch.no_grad():
                        features, _, codes, noise = self._inputs(scenes, part)
                        fake = self.generator.synthesis(features, codes, "random", noise)
                    terms["r2"] = self._penalty(fake, scenes.draws, part)
                (share * config.r1_gamma / 2 * config.r1_every * sum(terms.values())).backward()
                means.add(terms, share)
            self.engine.descend(self.discriminator_optimizer)
        record = means.result(self.engine)
        if config.ada_target:
            sign = torch.tensor(record["d_real_sign"], device=self.device)
            step_size = batch / config.ada_images
            self.augment_probability.copy_(
                adapt_probability(self.augment_probability, sign, config.ada_target, step_size)
            )
            record["augment_probability"] = self.augment_probability.item()
        return record

    def _penalty(self, images: Tensor, draws: dict, part: slice) -> Tensor:
        images.requires_grad_(True)
        logits = self.discriminator(self._augmented(images, draws, part))
        return losses.gradient_penalty(logits.mean(dim=1), images)

    def _generator_step(self, scenes: Scenes) -> dict[str, float]:
        config, means = self.config, Means()
        batch = config.batch_size
        self.discriminator.requires_grad_(False)
        draws = self._draw_real(batch) if config.use_relativistic_loss else None
        for part in self.engine.parts(batch):
            share = share_of(part, batch)
            with self.engine.autocast():
                features, thumbnail, codes, noise = self._inputs(scenes, part)
                image = self.generator.synthesis(features, codes, "random", noise)
                maps = self.discriminator.look(self._augmented(image, scenes.draws, part))
                logit = self.discriminator.conclude(maps[-1])
            real_logit = None
            if draws is not None:
                with torch.no_grad(), self.engine.autocast():
                    real_logit = self.discriminator(self._augmented(self._real(draws, part), draws, part))
            terms = {"g_loss": losses.g_nonsaturating_loss(logit, real_logit)}
            loss = config.adversarial_weight * terms["g_loss"]
            terms |= {"variety": image.detach().float().std(dim=0).mean()}
            is_mixed = "mix_z" in scenes.draws  # a second style has other colours than the thumbnail
            if config.thumbnail_weight and not is_mixed:
                shrunk = F.adaptive_avg_pool2d(image.float(), thumbnail.shape[-1])
                terms["thumbnail_l1"] = F.l1_loss(shrunk, thumbnail)
                loss = loss + config.thumbnail_weight * terms["thumbnail_l1"]
            if self._shown is not None and not is_mixed:
                terms |= self._distances_of_shown(image, maps, scenes.draws, part)
                loss = loss + config.reconstruction_weight * terms["reconstruction"]
                loss = loss + config.feature_weight * terms["features_l1"]
            (share * loss).backward()
            means.add(terms, share)
        self.engine.descend(self.generator_optimizer)
        self.discriminator.requires_grad_(True)
        return means.result(self.engine)

    def _distances_of_shown(self, image: Tensor, maps: list[Tensor], draws: dict, part: slice) -> dict[str, Tensor]:
        """How far from the pictures that they show again are those images that do? Means over the whole batch.

        Args:
            image: ``(B, 3, R, R)``.
            maps: What the discriminator sees in it.
            draws: Of the batch.
            part: Of it, these images.
        """
        rows, pictures = self._pictures(draws, part)
        if not len(rows):
            return dict.fromkeys(("reconstruction", "features_l1"), image.new_zeros((), dtype=torch.float32))
        mine = {"augmentation": draws["augmentation"][part][rows]} if self.config.augment else {}
        rows, share = rows.to(self.device), len(rows) / len(image)
        with torch.no_grad(), self.engine.autocast():
            targets = self.discriminator.look(self._augmented(pictures, mine, slice(None)))
        distances = [F.l1_loss(ours[rows].float(), theirs.float()) for ours, theirs in zip(maps, targets)]
        return {
            "reconstruction": share * F.l1_loss(image[rows].float(), pictures),
            "features_l1": share * sum(distances) / len(distances),
        }

    def _pictures(self, draws: dict, part: slice) -> tuple[Tensor, Tensor]:
        """Return which of a part show a picture of the data again, ``(N,)``, and these, ``(N, 3, R, R)``."""
        shown = self._renderings.pictures[draws["entry"][part]] if "entry" in draws else draws["picture"][part]
        rows = (shown >= 0).nonzero()[:, 0]
        return rows, self.data.image_batch(shown[rows]).to(self.device)

    def _path_length_step(self) -> dict[str, float]:
        """Path-length penalty on a batch of half the size, in full precision."""
        config = self.config
        batch = max(self.engine.accelerator.num_processes, config.batch_size // 2)
        scenes, parts = Scenes(self._draw_scenes(batch)), self.engine.parts(batch)
        lengths = [self._path_lengths(scenes, part, len(parts) == 1) for part in parts]
        total = self.engine.total(sum(length.detach().sum() for length in lengths))
        self.path_length_mean.lerp_(total / batch, config.path_length_decay)
        means = Means()
        for part, length in zip(parts, lengths):
            if len(parts) > 1:  # only now that the mean is known can a part be taken back
                length = self._path_lengths(scenes, part, True)
            penalty = losses.path_length_penalty(length, self.path_length_mean)
            share = share_of(part, batch)
            (share * config.path_length_weight * config.path_length_every * penalty).backward()
            means.add({"path_length": penalty, "path_length_mean": self.path_length_mean}, share)
        self.engine.descend(self.generator_optimizer)
        return means.result(self.engine)

    def _path_lengths(self, scenes: Scenes, part: slice, differentiable: bool) -> Tensor:
        features, _, codes, noise = self._inputs(scenes, part)
        image = self.generator.synthesis(features, codes, "random", noise)
        return losses.path_lengths(image, codes, standard_normal(image, noise), differentiable)


@dataclass
class Scenes:
    """What a batch of pictures shows, and what it looks like: both players see the same renderings.

    Attributes:
        draws: On the CPU and for all processes.
        rendered: Renderer codes, feature maps and thumbnails of this process's parts, by their first image.
    """

    draws: dict[str, Tensor]
    rendered: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)


class ShownAgain:
    """The data's pictures, and the codes from which the generator draws them (``train/networks/encoder.py``).

    Args:
        encoder: Reads renderer codes.
        data: Pictures with poses.
        config: Of the stage; ``shown_share`` of all renderings show a picture again.
    """

    def __init__(self, encoder: PictureEncoder, data: ImageSet, config: DecoderConfig) -> None:
        self.data, self.share = data, config.shown_share
        with torch.no_grad():
            self.codes, _ = encode(encoder, data)

    def draw(self, batch: int) -> Tensor:
        """Draw numbers of pictures that the first of a batch show; the others, with −1, show none. ``(B,)``."""
        numbers = torch.randint(len(self.data), (batch,))
        return torch.where(torch.arange(batch) < round(self.share * batch), numbers, -1)

    def draw_one(self, random: torch.Generator) -> Tensor:
        """Draw the number of a picture to be shown, or −1, from a generator. ``(1,)``."""
        number = torch.randint(len(self.data), (1,), generator=random)
        return torch.where(torch.rand(1, generator=random) < self.share, number, -1)

    def put_in(self, pictures: Tensor, w: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Replace codes and poses where a picture is to be shown by its own.

        Args:
            pictures: Numbers, −1 where none is. ``(B,)``, on the CPU.
            w: ``(B, latent_size)``.
            pose: Yaw and pitch, radians. ``(B, 2)``.
        """
        is_shown = (pictures >= 0)[:, None].to(w.device)
        codes, poses = self.codes[pictures.to(w.device)], self.data.poses[pictures].to(w.device)
        return torch.where(is_shown, codes, w), torch.where(is_shown, poses, pose)


class RenderingPool:
    """The last ``size`` of an endless, numbered sequence of renderings of a frozen renderer.

    What rendering ``i`` shows follows from the seed and ``i`` alone, so a run that is resumed finds the same pool.

    Args:
        generator: Renders.
        size: Renderings that are kept.
        least_truncation: As in stage 1, of Gaussian latents' codes.
        seed: Of all numbers.
        shown: Pictures of the data that some of the renderings show again.
    """

    def __init__(
        self, generator: Generator, size: int, least_truncation: float, seed: int, shown: ShownAgain | None = None
    ) -> None:
        self.generator = generator
        self.size = size
        self.least_truncation = least_truncation
        self.seed = seed
        self.shown = shown
        self._field_images: dict[int, Tensor] = {}
        self.next = 0  # number of the first rendering that is not in the pool
        model = generator.config
        map_size = (model.field_width, model.render_resolution, model.render_resolution)
        self.w = torch.zeros(size, model.latent_size)
        self.features = torch.zeros(size, *map_size, dtype=torch.float16)  # in [-1, 1]: half precision is enough
        self.thumbnails = torch.zeros(size, 3, *map_size[1:])
        self.pictures = torch.full((size,), -1)  # of the data, that are shown again; -1 where none is

    def advance_to(self, step: int) -> None:
        """Hold the renderings from number ``step`` on."""
        for number in range(max(self.next, step), step + self.size):
            slot = number % self.size
            w, pose, self.pictures[slot] = self._scene(number)
            features, thumbnail = _render_scenes(self.generator, w, pose)
            self.w[slot], self.features[slot], self.thumbnails[slot] = w[0].cpu(), features[0].cpu(), thumbnail[0].cpu()
        self.next = step + self.size

    def _scene(self, number: int) -> tuple[Tensor, Tensor, int]:
        """Return code ``(1, latent_size)`` and pose ``(1, 2)`` of a number, and which picture it shows, −1 for none."""
        model = self.generator.config
        random = torch.Generator().manual_seed(self.seed * 2**32 + number)
        picture = torch.full((1,), -1) if self.shown is None else self.shown.draw_one(random)
        pose = sample_poses(1, model.pose_yaw, model.pose_pitch, model.pose_distribution, random)
        latents = draw_latents(1, model.latent_size, self.least_truncation, random)
        w = _codes(self.generator, take(latents, slice(None), self.generator.device))
        if self.shown is not None:
            w, pose = self.shown.put_in(picture, w, pose.to(w))
        return w, pose, int(picture)

    def targets(self, index: Tensor) -> Tensor:
        """Return what some entries' images should be: pictures shown again, or else the field's own. ``(B, 3, R, R)``.

        The field's own has one ray per pixel of the image.
        """
        first, images = self.next - self.size, []
        for slot in index.tolist():
            number = first + (slot - first) % self.size
            if self.pictures[slot] >= 0:
                images.append(self.shown.data.image_batch(self.pictures[slot : slot + 1]))
                continue
            if number not in self._field_images:
                w, pose, _ = self._scene(number)
                self._field_images[number] = _render_field(self.generator, w, pose).to(torch.float16).cpu()
            images.append(self._field_images[number].float())
        self._field_images = {number: image for number, image in self._field_images.items() if number >= first}
        return torch.cat(images).to(self.generator.device)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes, feature maps and thumbnails of some entries."""
        device = self.generator.device
        return self.w[index].to(device), self.features[index].to(device).float(), self.thumbnails[index].to(device)


@torch.no_grad()
def _codes(generator: Generator, latents: dict[str, Tensor]) -> Tensor:
    """Renderer codes of latents, in full precision. ``(B, latent_size)``."""
    with torch.autocast(generator.device.type, enabled=False):
        return latent_codes(generator.renderer_mapping, latents)


@torch.no_grad()
def _render_scenes(generator: Generator, w: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Render identities from cameras, in full precision: feature maps and thumbnails."""
    with torch.autocast(w.device.type, enabled=False):
        size = 1 if w.device.type == "cpu" else len(w)  # one identity's matrices and activations stay in the cache
        renderings = [
            generator.render(codes, Camera.from_angles(angles[:, 0], angles[:, 1]))
            for codes, angles in zip(w.split(size), pose.split(size))
        ]
    features, thumbnails = (
        torch.cat([getattr(rendering, name) for rendering in renderings]) for name in ("features", "thumbnail")
    )
    return features, thumbnails


@torch.no_grad()
def _render_field(generator: Generator, w: Tensor, pose: Tensor) -> Tensor:
    """Render one identity with one ray per pixel of the image, in full precision. ``(1, 3, R, R)``."""
    model = generator.config
    with torch.autocast(w.device.type, enabled=False):
        field = generator.field.condition(w)
        return render_guided(
            generator.renderer,
            field,
            SurfaceGuide.measure(field, model),
            Camera.from_angles(pose[:, 0], pose[:, 1]).to(generator.device),
            resolution=model.image_resolution,
            num_samples=model.num_samples,
            with_features=False,
        ).thumbnail


def _lazy_adam(parameters, config: DecoderConfig, every: int, rate: float | None = None) -> torch.optim.Adam:
    """Adam whose rate and betas make up for a penalty that comes every so many steps (StyleGAN2, appendix B)."""
    ratio = every / (every + 1) if every else 1.0
    rate = (config.learning_rate if rate is None else rate) * ratio
    betas = (config.adam_beta1**ratio if config.adam_beta1 else 0.0, config.adam_beta2**ratio)
    optimizer = torch.optim.Adam(parameters, lr=rate, betas=betas)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer
