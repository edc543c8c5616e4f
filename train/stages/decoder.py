"""One step of stage 2: the decoder against the image discriminator, the renderer frozen (paper section 3.4).

Shapes: B batch, H W image.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.config import StyleSDFConfig
from stylesdf.decoder import standard_normal
from stylesdf.model import Generator
from train import losses
from train.config import PATH_LENGTH_EVERY, RENDERINGS_AT_ONCE, STEPS_PER_RENDERING, DecoderConfig
from train.data.images import ImageSet
from train.game import Game
from train.networks.discriminators import GROUP_SIZE, ImageDiscriminator
from train.networks.encoder import PictureEncoder
from train.poses import draw_poses
from train.pretrained import RENDERER_PARTS, copy_decoder, copy_renderer
from train.run.engine import Engine, Means, fetch, share_of, take
from train.run.state import RunState
from train.stages.latents import draw_latents
from train.stages.pairs import Pairs
from train.stages.pool import RenderingPool, frozen_codes, new_scene, render_scenes

PATH_LENGTH_DECAY = 0.01  # of the running mean


@dataclass
class Scenes:
    """What a batch of pictures shows, and what it looks like: both players see the same renderings.

    Attributes:
        draws: On the CPU and for all processes.
        rendered: Renderer codes, feature maps and thumbnails of this process's parts, by their first image.
    """

    draws: dict[str, Tensor]
    rendered: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)


class DecoderStage:
    """Stage 2: the decoder and its mapping learn.

    Args:
        model_config: Architecture, with a decoder.
        config: Settings of the stage.
        data: Pictures.
        renderer: A generator that stage 1 trained; its mapping, field and sharpness are taken, and its decoder where
            it has the same one.
        engine: Where it runs; None is one process on the CPU.
        encoder: Reads the codes of the data's pictures; needed for ``pair_weight``.

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
        encoder: PictureEncoder | None = None,
    ) -> None:
        self.config = config
        self.data = data
        self.engine = engine or Engine()
        self.device = self.engine.device
        torch.manual_seed(config.seed)
        self.generator = Generator(model_config).to(self.device)
        copy_renderer(renderer, self.generator)
        if renderer.config == model_config:
            copy_decoder(renderer, self.generator)
        elif config.draws_field:  # colours are learned sooner while styles do not change them
            for affine in (module.affine for module in self.generator.decoder.modules() if hasattr(module, "affine")):
                torch.nn.init.zeros_(affine.weight)
        for part in RENDERER_PARTS:
            getattr(self.generator, part).requires_grad_(False)
        self.discriminator = None
        if config.is_adversarial:
            sizes = model_config.image_resolution, config.discriminator_channels
            self.discriminator = ImageDiscriminator(*sizes).to(self.device)
        self.pairs = self._renderings = None
        if config.pair_weight:
            self.pairs = Pairs(self.generator, config, data, encoder, self.engine)
        elif config.num_renderings:
            draw_scene = partial(new_scene, self.generator, config.least_truncation)
            self._renderings = RenderingPool(
                self.generator, config.num_renderings, draw_scene, config.seed, self.engine
            )
        self.generator_ema = copy.deepcopy(self.generator).requires_grad_(False)
        self.path_length_mean = torch.zeros((), device=self.device)
        trained = list(self.generator.decoder.parameters()) + list(self.generator.decoder_mapping.parameters())
        group = {"params": trained, "lr": config.game.learning_rate}
        lazy = PATH_LENGTH_EVERY if config.path_length_weight else 0, config.game.r1_every
        player = self.discriminator if self.pairs is None else self.pairs.discriminator
        kernels = [each for each in self.generator.decoder.parameters() if each.shape[2:] == (3, 3)]
        self.game = Game(config.game, self.engine, [group], kernels, player, lazy)
        modules = {"generator": self.generator, "generator_ema": self.generator_ema}
        self.state = RunState(
            modules | ({} if player is None else {"discriminator": player}),
            self.game.optimizers,
            {"path_length_mean": self.path_length_mean, "augment_probability": self.game.augment_probability},
        )

    @property
    def discriminator_group(self) -> int:
        """Images that the discriminator compares with each other, at most."""
        return 1 if self.discriminator is None else GROUP_SIZE

    def discriminators(self) -> dict[str, torch.nn.Module]:
        """Return the networks to be saved beside the model, by kind."""
        return {} if self.discriminator is None else {"image": self.discriminator}

    def grid_options(self) -> dict:
        return {}

    def prepare(self) -> None:
        """Stage 2 starts from stage 1's result; there is nothing more to prepare."""

    def step(self) -> dict[str, float]:
        """Take one step of both players; return every term."""
        config, step = self.config, self.state.step
        self.game.set_learning_rates(step / max(config.total_steps, 1))
        if self._renderings is not None:
            exchanges = step // (RENDERINGS_AT_ONCE * STEPS_PER_RENDERING)
            self._renderings.advance_to(RENDERINGS_AT_ONCE * exchanges, config.draws_field)
        if self.pairs is not None:
            record = self.pairs.step(self.game, step)
        else:
            record = self._field_step() if config.draws_field else self._adversarial_step()
        self.game.update_average(self.generator_ema, self.generator, step)
        self.state.step += 1
        return fetch(record)

    def _adversarial_step(self) -> dict[str, Tensor]:
        """Take one step of the paper's game."""
        scenes = Scenes(self._draw_scenes(self.config.batch_size))
        record = self._discriminator_step(scenes)
        if self.game.is_frozen(self.state.step):
            return record
        record |= self._generator_step(scenes)
        if self.config.path_length_weight and self.state.step % PATH_LENGTH_EVERY == 0:
            record |= self._path_length_step()
        return record

    def _draw_scenes(self, batch: int) -> dict[str, Tensor]:
        """Draw what a batch of pictures needs, on the CPU and for all processes."""
        config, model = self.config, self.generator.config
        if config.num_renderings:
            draws = {"entry": torch.randint(config.num_renderings, (batch,))}
        else:
            draws = draw_latents(batch, model.latent_size, config.least_truncation)
            draws["pose"] = draw_poses(batch, model)
        draws["noise_seed"] = torch.randint(2**62, (batch,))
        if torch.rand(()) < config.mixing_probability:
            draws["mix_z"] = torch.randn(batch, model.latent_size)
            draws["inject_index"] = torch.randint(1, model.num_ws, ()).expand(batch)  # one for all
        return draws | self.game.draw_augmentation(batch)

    def _draw_real(self, batch: int) -> dict[str, Tensor]:
        draws = {"index": torch.randint(len(self.data), (batch,))}
        # compressed ones are decoded while the discriminator's other pictures are drawn
        self.data.prefetch(torch.cat([draws["index"][part] for part in self.engine.parts(batch)]))
        if self.config.horizontal_flip:
            draws["is_flipped"] = torch.rand(batch) < 0.5
        return draws | self.game.draw_augmentation(batch)

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
        w = frozen_codes(self.generator, take(latents, part, self.device))
        return w, *render_scenes(self.generator, w, draws["pose"][part])

    def _real(self, draws: dict, part: slice) -> Tensor:
        images = self.data.image_batch(draws["index"][part]).to(self.device)
        if self.config.horizontal_flip:
            is_flipped = draws["is_flipped"][part].to(self.device)
            images = torch.where(is_flipped[:, None, None, None], images.flip(3), images)
        return images

    def _field_step(self) -> dict[str, Tensor]:
        """Draw what the field shows at the image's resolution."""
        batch = self.config.batch_size
        means = Means(self.engine, batch)
        draws = self._draw_scenes(batch)
        draws.pop("mix_z", None)  # a second style has other colours than the field
        scenes = Scenes(draws)
        for part in self.engine.parts(batch):
            with self.engine.autocast():
                features, _, codes, noise = self._inputs(scenes, part)
                image = self.generator.synthesis(features, codes, "random", noise).float()
            target, share = self._renderings.targets(draws["entry"][part]), share_of(part, batch)
            (share * losses.l1_with_differences(image, target)).backward()
            means.add({"field_l1": F.l1_loss(image, target)}, share)
            means.add_variety(image, share)
        self.game.step_generator()
        return means.result()

    def _discriminator_step(self, scenes: Scenes) -> dict[str, Tensor]:
        game, batch = self.game, self.config.batch_size
        means = Means(self.engine, batch)
        draws = self._draw_real(batch)
        for part in self.engine.parts(batch):
            share = share_of(part, batch)
            with torch.no_grad(), self.engine.autocast():
                fake = self._fake(scenes, part)
            with self.engine.autocast():
                fake_logit = self.discriminator(game.augmented(fake, scenes.draws, part))
                real_logit = self.discriminator(game.augmented(self._real(draws, part), draws, part))
            terms = game.discriminator_terms(real_logit, fake_logit)
            (share * terms["d_loss"]).backward()
            means.add(terms, share)
        self.engine.optimizer_step(game.discriminator_optimizer)
        if game.is_penalised(self.state.step):
            for part in self.engine.parts(batch):
                terms, share = {}, share_of(part, batch)
                pairs = {"r1": self._with_logits(self._real(draws, part), draws, part)}
                if game.config.use_relativistic_loss:
                    with torch.no_grad():
                        fake = self._fake(scenes, part)
                    pairs["r2"] = self._with_logits(fake, scenes.draws, part)
                (share * game.penalty(self.config.r1_gamma, terms, **pairs)).backward()
                means.add(terms, share)
            self.engine.optimizer_step(game.discriminator_optimizer)
        record = means.result()
        game.adapt(record, batch, self.config.total_steps)
        return record

    def _fake(self, scenes: Scenes, part: slice) -> Tensor:
        features, _, codes, noise = self._inputs(scenes, part)
        return self.generator.synthesis(features, codes, "random", noise)

    def _with_logits(self, images: Tensor, draws: dict, part: slice) -> tuple[Tensor, Tensor]:
        """Return the logits of images, and these, as their gradient will be asked for."""
        images.requires_grad_(True)
        return self.discriminator(self.game.augmented(images, draws, part)), images

    def _generator_step(self, scenes: Scenes) -> dict[str, Tensor]:
        config, batch = self.config, self.config.batch_size
        means = Means(self.engine, batch)
        self.discriminator.requires_grad_(False)
        draws = self._draw_real(batch) if config.game.use_relativistic_loss else None
        for part in self.engine.parts(batch):
            share = share_of(part, batch)
            with self.engine.autocast():
                features, thumbnail, codes, noise = self._inputs(scenes, part)
                image = self.generator.synthesis(features, codes, "random", noise)
                logit = self.discriminator(self.game.augmented(image, scenes.draws, part))
            real_logit = None
            if draws is not None:
                with torch.no_grad(), self.engine.autocast():
                    real_logit = self.discriminator(self.game.augmented(self._real(draws, part), draws, part))
            terms = {"g_loss": self.game.generator_loss(logit, real_logit)}
            loss = terms["g_loss"]
            # a second style has other colours than the thumbnail
            if config.thumbnail_weight and "mix_z" not in scenes.draws:
                shrunk = F.adaptive_avg_pool2d(image.float(), thumbnail.shape[-1])
                terms["thumbnail_l1"] = F.l1_loss(shrunk, thumbnail)
                loss = loss + config.thumbnail_weight * terms["thumbnail_l1"]
            (share * loss).backward()
            means.add(terms, share)
            means.add_variety(image, share)
        self.game.step_generator()
        self.discriminator.requires_grad_(True)
        return means.result()

    def _path_length_step(self) -> dict[str, Tensor]:
        """Path-length penalty on a batch of half the size, in full precision."""
        config = self.config
        batch = max(self.engine.accelerator.num_processes, config.batch_size // 2)
        scenes, parts = Scenes(self._draw_scenes(batch)), self.engine.parts(batch)
        lengths = [self._path_lengths(scenes, part, len(parts) == 1) for part in parts]
        total = self.engine.total(sum(length.detach().sum() for length in lengths))
        self.path_length_mean.lerp_(total / batch, PATH_LENGTH_DECAY)
        means = Means(self.engine, batch)
        for part, length in zip(parts, lengths):
            if len(parts) > 1:  # only now that the mean is known can a part be taken back
                length = self._path_lengths(scenes, part, True)
            penalty = losses.path_length_penalty(length, self.path_length_mean)
            share = share_of(part, batch)
            (share * config.path_length_weight * PATH_LENGTH_EVERY * penalty).backward()
            means.add({"path_length": penalty, "path_length_mean": self.path_length_mean}, share)
        self.game.step_generator()
        return means.result()

    def _path_lengths(self, scenes: Scenes, part: slice, differentiable: bool) -> Tensor:
        features, _, codes, noise = self._inputs(scenes, part)
        image = self.generator.synthesis(features, codes, "random", noise)
        return losses.path_lengths(image, codes, standard_normal(image, noise), differentiable)
