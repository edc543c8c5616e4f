"""Stage 2's second game: the decoder learns from the data's own pictures what the field is too coarse for.

Where poses are labelled and stage 1 had an encoder, the renderer code of each of the data's pictures is known, and the
decoder can be shown what its head should look like, from the same camera. Compared pixel by pixel alone it blurs what
the code leaves open, so a discriminator of patches judges as well, and sees beside each picture the thumbnail that it
was drawn from: it learns what lips look like where the field shows a soft mouth (arXiv 1611.07004).

Shapes: B batch, W pixels of a window.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.model import Generator
from train.config import PAIR_MARGIN, PAIR_WINDOW, RENDERINGS_AT_ONCE, DecoderConfig
from train.data.images import ImageSet
from train.game import Game
from train.networks.discriminators import PatchDiscriminator
from train.networks.encoder import PictureEncoder
from train.run.engine import Engine, Means, share_of
from train.stages.pool import RenderingPool, known_scene

BEYOND = 0.25  # of its way: so far beyond the picture's edge a window's place is drawn, and it stops there
SHRUNK = 2  # rays in a pixel in which image and thumbnail are compared: finer ones the decoder may change


class Pairs:
    """The discriminator of patches, and the steps in which the data's pictures are decoded from their codes.

    Args:
        generator: Whose decoder learns.
        config: Settings of stage 2.
        data: Pictures with poses.
        encoder: Reads their codes.
        engine: Where it runs.

    Raises:
        ValueError: The data has no poses.
    """

    def __init__(
        self, generator: Generator, config: DecoderConfig, data: ImageSet, encoder: PictureEncoder, engine: Engine
    ) -> None:
        if data.poses is None:
            raise ValueError("pair_weight is on, but the data has no yaw and pitch")
        self.generator, self.config, self.engine = generator, config, engine
        self.discriminator = PatchDiscriminator().to(engine.device)
        encoder = encoder.to(engine.device).requires_grad_(False)
        draw_scene = partial(known_scene, encoder, data, config.least_truncation)
        self.renderings = RenderingPool(generator, config.num_renderings, draw_scene, config.seed, engine)

    def step(self, game: Game, number: int) -> dict[str, Tensor]:
        """Take one step of both players; return every term."""
        config, batch = self.config, self.config.batch_size
        self.renderings.advance_to(RENDERINGS_AT_ONCE * (number // RENDERINGS_AT_ONCE), with_images=True)
        entries, corner = torch.randint(config.num_renderings, (batch,)), torch.rand(2)
        parts, means = self.engine.parts(batch), Means(self.engine, batch)
        is_kept = len(parts) == 1  # of several parts, none's graph waits for the others: they are drawn again
        for part in parts:
            share = share_of(part, batch)
            with torch.set_grad_enabled(is_kept):
                image, picture, thumbnail = self._draw(entries[part], corner)
            fake_logit = self.discriminator(image.detach(), thumbnail)
            real = picture.requires_grad_(game.is_penalised(number))
            real_logit = self.discriminator(real, thumbnail)
            terms = game.discriminator_terms(real_logit, fake_logit)
            loss = terms["d_loss"]
            if real.requires_grad:
                loss = loss + game.penalty(config.r1_gamma, terms, r1=(real_logit.mean(dim=(1, 2, 3)), real))
            (share * loss).backward()
            means.add(terms, share)
        self.engine.optimizer_step(game.discriminator_optimizer)
        self.discriminator.requires_grad_(False)
        for part in parts:
            share = share_of(part, batch)
            if not is_kept:
                image, picture, thumbnail = self._draw(entries[part], corner)
            terms = {
                "g_loss": game.generator_loss(self.discriminator(image, thumbnail), None),
                "pair_l1": F.l1_loss(image, picture.detach()),
                "thumbnail_l1": F.l1_loss(self._shrink(image), self._shrink(thumbnail)),
            }
            loss = terms["g_loss"] + config.pair_weight * terms["pair_l1"]
            (share * (loss + config.thumbnail_weight * terms["thumbnail_l1"])).backward()
            means.add(terms, share)
            means.add_variety(image, share)
        game.step_generator()
        self.discriminator.requires_grad_(True)
        return means.result()

    def _draw(self, entries: Tensor, corner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Decode a window of some renderings; return the image, the picture and the thumbnail there, ``(B, 3, W, W)``.

        Args:
            entries: Of the pool.
            corner: Where the window is, from 0 to 1 in each direction; near either it is at the edge. ``(2,)``.
        """
        model = self.generator.config
        side, scale = model.render_resolution, model.image_resolution // model.render_resolution
        size = round(PAIR_WINDOW * side)
        place = (corner * (1.0 + 2.0 * BEYOND) - BEYOND).clamp(0.0, 1.0)
        starts = (place * (side - size)).round().int().tolist()
        # with the rays about it that its convolutions see
        first = [max(0, start - PAIR_MARGIN) for start in starts]
        rays = [slice(begin, start + size + PAIR_MARGIN) for begin, start in zip(first, starts)]
        w, features, thumbnail = self.renderings.take(entries)
        with self.engine.autocast():
            codes = self.generator.decoder_codes(w)
            image = self.generator.synthesis(features[(..., *rays)], codes, "none").float()
        within = [slice(scale * (start - begin), scale * (start - begin + size)) for begin, start in zip(first, starts)]
        pixels = [slice(scale * start, scale * (start + size)) for start in starts]
        enlarged = F.interpolate(thumbnail, scale_factor=scale, mode="bilinear")
        picture = self.renderings.targets(entries)
        return image[(..., *within)], picture[(..., *pixels)].contiguous(), enlarged[(..., *pixels)].contiguous()

    def _shrink(self, images: Tensor) -> Tensor:
        model = self.generator.config
        return F.avg_pool2d(images, SHRUNK * model.image_resolution // model.render_resolution)
