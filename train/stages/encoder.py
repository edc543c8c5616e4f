"""The network that finds the head in a picture learns from pictures that a finished model draws of random heads.

There is no adversary. Codes come from Gaussian latents, truncated by different amounts, cameras from the model's pose
prior, a little wider; the picture is the decoder's, averaged down to what the network sees. Where stage 1 had an
encoder, every second head is from the data instead, with the code that the encoder reads in it: no model draws all that
pictures show. They are varied as photos differ from them: in light, colours, sharpness, framing and background.
Everything is kept and shown again, and what drawing number i shows follows from the seed and i, so that a run that is
resumed finds the same.

Shapes: B batch, H W picture, K coordinates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.camera import Camera
from stylesdf.encoder import RESOLUTION, CodeSpace, Encoder
from stylesdf.fast.decoder import condition_decoder
from stylesdf.fast.surface import SurfaceGuide, render_guided
from train.config import HEADS_PER_STEP, PICTURES_PER_STEP, VIEWS_OF_HEAD, EncoderConfig
from train.data.images import ImageSet
from train.game import adam, linear_decay, scale_learning_rates, update_average
from train.networks.encoder import PictureEncoder
from train.poses import draw_poses
from train.pretrained import PretrainedGenerator
from train.run.engine import Engine, Means, fetch, share_of, take
from train.run.state import RunState
from train.stages.latents import draw_latents
from train.stages.pool import frozen_codes

LEARNING_RATE, WARM_UP, FINAL_LEARNING_RATE = 1e-3, 50, 0.02  # Adam's; steps over which it rises; share left at the end
EMA_DECAY = 0.99
LEAST_TRUNCATION = 0.7
WIDER = 1.15  # poses than the prior's
POSE_WEIGHT = 20.0  # of an error's square in radians², beside that of codes in shares of their variance
FIRST_HEADS = 16  # drawn before the first step
NUMBERS = 16  # uniform numbers that vary one picture
VARIED = 0.75  # share of pictures that are varied at all
MOST_SCALE, MOST_SHIFT = 0.06, 0.04  # of a picture's size
MOST_GAIN, MOST_OFFSET = 0.2, 0.12  # of colours in [−1, 1]
REPLACED = 0.25  # share of pictures with another background


class EncoderStage:
    """The encoder learns to read coordinates and poses.

    Args:
        config: Settings of the stage.
        initial: The finished model; nothing of it is trained.
        engine: Where it runs; None is one process on the CPU.
        data: Pictures with poses, of which ``picture_encoder`` reads the codes.
        picture_encoder: Of stage 1; None learns from the model's pictures alone.
    """

    name = "encoder"

    def __init__(
        self,
        config: EncoderConfig,
        initial: PretrainedGenerator,
        engine: Engine | None = None,
        data: ImageSet | None = None,
        picture_encoder: PictureEncoder | None = None,
    ) -> None:
        self.config = config
        self.engine = engine or Engine()
        self.device = self.engine.device
        torch.manual_seed(config.seed)
        self.generator = self.generator_ema = initial.to(self.device).requires_grad_(False)
        space = CodeSpace.measure(initial.renderer_mapping, initial.config.latent_size)
        self.encoder = Encoder(initial.config.latent_size, len(space.axes)).to(self.device)
        self.encoder.set_space(space)
        self.average = copy.deepcopy(self.encoder).requires_grad_(False)
        vars(self.generator)["inverter"] = self.average  # what is kept and measured meanwhile; no part of the module
        self.optimizer = adam(self.encoder.parameters(), LEARNING_RATE)
        modules = {"generator": self.generator, "encoder": self.encoder, "average": self.average}
        self.state = RunState(modules, {"optimizer": self.optimizer})
        known = None
        if picture_encoder is not None:
            known = partial(known_pictures, picture_encoder.to(self.device).requires_grad_(False), data)
        self.drawings = Drawings(self.generator, space, config.seed, self.engine, known)

    def discriminators(self) -> dict[str, nn.Module]:
        """Return what lies beside the model."""
        return {"inverter": self.average}

    def grid_options(self) -> dict:
        return {}

    def prepare(self) -> None:
        """Nothing comes before the first step."""

    def step(self) -> dict[str, float]:
        """Take one step; return the share of the codes' variance that is not read, and the poses' mean errors."""
        step, means = self.state.step, Means(self.engine, PICTURES_PER_STEP)
        rising, falling = (step + 1) / WARM_UP, linear_decay(step / self.config.total_steps, FINAL_LEARNING_RATE)
        scale_learning_rates(self.optimizer, min(1.0, rising) * falling)
        self.drawings.draw_up_to(FIRST_HEADS + step * HEADS_PER_STEP)
        draws = {
            "index": torch.randint(self.drawings.count * VIEWS_OF_HEAD, (PICTURES_PER_STEP,)),
            "numbers": torch.rand(PICTURES_PER_STEP, NUMBERS),
        }
        for part in self.engine.parts(PICTURES_PER_STEP):
            share, mine = share_of(part, PICTURES_PER_STEP), take(draws, part, self.device)
            terms = self._terms(draws["index"][part], mine["numbers"])
            (share * (terms["code"] + POSE_WEIGHT * terms.pop("pose"))).backward()
            means.add(terms, share)
        self.engine.optimizer_step(self.optimizer)
        update_average(self.average, self.encoder, EMA_DECAY, step)
        self.state.step += 1
        return fetch(means.result())

    def _terms(self, index: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        pictures, coordinates, poses = self.drawings.take(index)
        read, angles = self.encoder(vary(pictures, numbers))
        # an axis counts by its variance: by how much it moves the code
        weights = self.encoder.axes.square().sum(dim=1)
        off = (angles - poses).abs().mean(dim=0).rad2deg()
        return {
            "code": ((read - coordinates).square() @ weights).mean() / weights.sum(),
            "pose": (angles - poses).square().mean(),
            "yaw_error_deg": off[0],
            "pitch_error_deg": off[1],
        }


def known_pictures(
    encoder: PictureEncoder, data: ImageSet, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose as many of the data's pictures as a head has views, and read their codes.

    Returns:
        Colours in [−1, 1] and the background's share in [0, 1], ``(V, 4, 64, 64)``; codes ``(V, latent_size)``; yaw and
        pitch, radians ``(V, 2)``.
    """
    index = torch.randint(len(data), (VIEWS_OF_HEAD,), generator=random)
    colours, poses = data.image_batch(index), data.poses[index].to(data.device)
    has_alpha = data.thumbnails.shape[1] == 4
    background = 1.0 - data.alpha_batch(index) if has_alpha else torch.zeros_like(colours[:, :1])
    pictures = F.adaptive_avg_pool2d(torch.cat([colours, background], dim=1), RESOLUTION)
    return pictures, encoder.code(colours, poses), poses


class Drawings:
    """Pictures of an endless, numbered sequence of heads, a few views of each, as far as they are drawn.

    Args:
        generator: Draws.
        space: Of its codes.
        seed: Of all numbers.
        engine: Whose processes draw in turn; each keeps all pictures.
        known: Returns what every second head is, as ``known_pictures`` does; None draws all.

    Attributes:
        count: Heads that are drawn.
    """

    def __init__(
        self,
        generator: PretrainedGenerator,
        space: CodeSpace,
        seed: int,
        engine: Engine,
        known: Callable[[torch.Generator], tuple[Tensor, Tensor, Tensor]] | None = None,
    ) -> None:
        self.generator, self.space, self.seed, self.engine, self.known = generator, space, seed, engine, known
        self.count = 0
        self._pictures: list[Tensor] = []  # of each head (V, 4, H, W) uint8: colours, and the background's share
        self._facts: list[Tensor] = []  # of each head (V, K + 2): coordinates, yaw and pitch

    def draw_up_to(self, count: int) -> None:
        """Draw all heads up to a number, each process its share."""
        processes = self.engine.accelerator.num_processes
        while self.count < count:
            numbers = range(self.count, min(self.count + 8 * processes, count))
            mine = self.engine.accelerator.process_index
            rows = [self._draw(number) if number % processes == mine else self._nothing() for number in numbers]
            pictures, facts = (torch.stack(column).to(self.engine.device) for column in zip(*rows))
            if processes > 1:
                pictures, facts = self.engine.total(pictures), self.engine.total(facts)
            self._pictures += pictures.cpu().unbind()
            self._facts += facts.cpu().unbind()
            self.count += len(numbers)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return some of the pictures, which are numbered view by view.

        Returns:
            Colours in [−1, 1] and the background's share in [0, 1], ``(B, 4, H, W)``; coordinates ``(B, K)``; yaw and
            pitch, radians ``(B, 2)``.
        """
        places = [divmod(number, VIEWS_OF_HEAD) for number in index.tolist()]
        pictures = torch.stack([self._pictures[head][view] for head, view in places]).to(self.engine.device).float()
        facts = torch.stack([self._facts[head][view] for head, view in places]).to(self.engine.device)
        pictures = torch.cat([pictures[:, :3] / 127.5 - 1.0, pictures[:, 3:] / 255.0], dim=1)
        return pictures, facts[:, :-2], facts[:, -2:]

    def _nothing(self) -> tuple[Tensor, Tensor]:
        pictures = torch.zeros(VIEWS_OF_HEAD, 4, RESOLUTION, RESOLUTION, dtype=torch.uint8)
        return pictures, torch.zeros(VIEWS_OF_HEAD, len(self.space.axes) + 2)

    @torch.no_grad()
    def _draw(self, number: int) -> tuple[Tensor, Tensor]:
        """Draw the views of a head, or choose pictures, ``(V, 4, H, W)``, and return their facts, ``(V, K + 2)``."""
        random = torch.Generator().manual_seed(self.seed * 2**32 + number)
        is_known = self.known is not None and number % 2 == 1
        pictures, w, poses = self.known(random) if is_known else self._render(random)
        shown = torch.cat([pictures[:, :3].add(1.0).mul(127.5), pictures[:, 3:].mul(255.0)], dim=1)
        coordinates = self.space.coordinates(w).expand(VIEWS_OF_HEAD, -1)
        return shown.clamp(0.0, 255.0).round().byte(), torch.cat([coordinates, poses.to(coordinates)], dim=1)

    def _render(self, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the views of a random head: as ``known_pictures``, of one code."""
        model, config = self.generator, self.generator.config
        latents = draw_latents(1, config.latent_size, LEAST_TRUNCATION, random)
        w = frozen_codes(model, {name: value.to(model.device) for name, value in latents.items()})
        poses = WIDER * draw_poses(VIEWS_OF_HEAD, config, random)
        field = model.field.condition(w)
        guide = SurfaceGuide.measure(field, config)
        decoder = condition_decoder(model.decoder, model.decoder_codes(w)) if config.has_decoder else None
        views = []
        for yaw, pitch in poses:
            camera = Camera.from_angles(yaw, pitch).to(model.device)
            options = {"num_samples": config.num_samples, "with_features": decoder is not None}
            seen = render_guided(model.renderer, field, guide, camera, **options)
            colours = seen.thumbnail if decoder is None else decoder(seen.features)
            background = F.interpolate(seen.background, size=RESOLUTION, mode="bilinear")
            views.append(torch.cat([F.adaptive_avg_pool2d(colours, RESOLUTION), background], dim=1))
        return torch.cat(views), w, poses


def vary(pictures: Tensor, numbers: Tensor) -> Tensor:
    """Vary most of some pictures, each by its own numbers, as photos differ from a model's pictures.

    Args:
        pictures: Colours in [−1, 1] and the background's share in [0, 1]. ``(B, 4, H, W)``.
        numbers: Uniform in [0, 1). ``(B, 16)``.

    Returns:
        Colours, ``(B, 3, H, W)``.
    """
    signed = numbers * 2.0 - 1.0
    of_picture = signed[:, :, None, None]
    scale = 1.0 + MOST_SCALE * signed[:, 0]
    shift = 2.0 * MOST_SHIFT * signed[:, 1:3]  # in a picture from −1 to 1
    zero = torch.zeros_like(scale)
    rows = torch.stack([scale, zero, shift[:, 0], zero, scale, shift[:, 1]], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(rows, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
    colours, background = moved[:, :3], moved[:, 3:] * (numbers[:, 3, None, None, None] < REPLACED)
    colours = torch.lerp(colours, of_picture[:, 4:7].expand_as(colours), background)
    blurred = F.avg_pool2d(F.pad(colours, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    # a share above 1 of the blurred picture softens it, one below sharpens it
    colours = torch.lerp(colours, blurred, 0.25 + 0.75 * of_picture[:, 7:8])
    colours = colours * (1.0 + MOST_GAIN * of_picture[:, 8:9]) + 0.5 * MOST_OFFSET * of_picture[:, 9:12]
    colours = colours + 0.5 * MOST_OFFSET * of_picture[:, 12:13]
    is_varied = numbers[:, 13, None, None, None] < VARIED
    return torch.where(is_varied, colours, pictures[:, :3])
