"""From pictures of one head to its codes and their cameras: what is drawn is compared with the picture, and moved.

The renderer code's coordinates (``stylesdf/encoder.py``) and each picture's yaw and pitch are moved by Adam, from where
the model's inverter puts them, or else from the best of random codes. Small renderings come first, with a density that
is softer than the model's, so that outlines have a gradient; the last steps go through the decoder, whose codes move
too, and compare the pictures at their full size. The model is left as it is.

Shapes: N pictures, R image, K coordinates, L decoder codes, H W drawn picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.encoder import CodeSpace, Encoder
from stylesdf.fast.surface import SurfaceGuide, render_guided
from stylesdf.field import ConditionedField
from stylesdf.model import Generator
from stylesdf.pictures import to_pil
from stylesdf.renderer import VolumeRenderer

MOST_ANGLES = 1.5, 1.0  # radians, of yaw and pitch
MOST_COORDINATE = 3.0  # standard deviations, of a start
NUM_STARTS = 24  # random codes, where there is no inverter
START_SPREAD = 0.7  # of their coordinates
START_YAWS = -1.2, 0.0, 1.2  # at which each is looked at, in units of the pose prior
START_RESOLUTION = 16
PRIOR_WEIGHT = 6e-4  # of the coordinates' mean square
LIKENESS_WEIGHT = 0.2  # the same for a likeness, and that of its angles in units of the pose prior
L1_WEIGHT = 0.1
SMALLEST_SCALE = 32  # pixels that pictures are averaged down to, for the loss of their large parts
MIRROR_WEIGHT = 0.3  # of the mirrored picture
BETAS = 0.9, 0.95
CODE_RATE = 0.1  # of the decoder's codes


@dataclass(frozen=True)
class Phase:
    """Some steps of one kind.

    Attributes:
        steps: How many.
        resolution: Of the renderings, pixels; None takes the model's.
        softness: Least sharpness β of the density, in shares of the scene radius.
        rates: Learning rates of coordinates and angles; they fall linearly to 0 from half of the steps on.
        is_decoded: Compare the decoder's image, and move its codes.
        cost: Of a step, in those of the first phase: for the share that is done.
    """

    steps: int
    resolution: int | None
    softness: float
    rates: tuple[float, float]
    is_decoded: bool
    cost: float


COARSE = Phase(40, 16, 0.045, (0.1, 0.025), False, 1.0)  # only without an inverter
MIDDLE = Phase(40, 32, 0.018, (0.06, 0.01), False, 2.0)
FINE = Phase(100, None, 0.0, (0.06, 0.004), True, 4.0)


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a fit is.

    Attributes:
        share: Of the work that is done, in (0, 1].
        psnr: Of the first picture as it is drawn now, at the size of ``picture``, decibels.
        picture: As it is drawn now, about [−1, 1]. ``(3, H, W)``.
    """

    share: float
    psnr: float
    picture: Tensor

    @property
    def image(self) -> Image.Image:
        """The first picture as it is drawn now; at the beginning it is small."""
        return to_pil(self.picture)


OnStep = Callable[[Progress], bool | None]


@dataclass(frozen=True, eq=False)
class Fit:
    """What was found.

    Attributes:
        w: Renderer code. ``(1, latent_size)``.
        ws: Decoder codes; None in a renderer-only model. ``(1, L, decoder_style_size)``.
        angles: Yaw and pitch of each picture, radians. ``(N, 2)``.
        psnr: Of each picture, drawn as ``Head.view`` does, at R, decibels.
    """

    w: Tensor
    ws: Tensor | None
    angles: Tensor
    psnr: tuple[float, ...]


def fit_pictures(
    model: Generator,
    pictures: Sequence[Tensor],
    inverter: Encoder | None = None,
    mirror: bool = False,
    refine: bool = True,
    likeness: bool = False,
    on_step: OnStep | None = None,
) -> Fit:
    """Find the head in its pictures; the same pictures give the same head.

    Args:
        model: Left as it is.
        pictures: In [−1, 1], each ``(1, 3, R, R)``.
        inverter: Reads the start; None tries random codes.
        mirror: Let each picture, mirrored, be one from the other side, with a smaller weight.
        refine: Take steps; else what is returned is the start.
        likeness: Stay near heads that the model often makes, seen from ahead, and leave the decoder's codes alone: for
            pictures of heads that it does not know.
        on_step: Called after every step; where it returns False no further step is taken.
    """
    pictures = [picture.to(model.w_avg) for picture in pictures]
    with torch.no_grad():
        if inverter is None:
            space = CodeSpace.measure(model.renderer_mapping, model.config.latent_size)
            start = _search(model, space, pictures)
        else:
            space, start = inverter.space(model.w_avg), _read(inverter, pictures)
    search = _Search(model, space, pictures, *start, mirror, likeness)
    if refine:
        phases = [MIDDLE, FINE] if inverter is not None else [COARSE, MIDDLE, FINE]
        phases = [replace(phase, steps=round(phase.steps * math.sqrt(len(pictures)))) for phase in phases]
        total, done = sum(each.steps * each.cost for each in phases), 0.0
        for phase in phases:
            for drawn in search.steps(phase):
                done += phase.cost
                target = F.adaptive_avg_pool2d(pictures[0], drawn.shape[-1])
                if on_step and on_step(Progress(done / total, psnr(drawn, target), drawn[0])) is False:
                    return search.result()
    return search.result()


@torch.no_grad()
def psnr(drawn: Tensor, picture: Tensor) -> float:
    """Return the peak signal-to-noise ratio of a picture in [−1, 1], drawn values clipped to that, in decibels."""
    error = F.mse_loss(drawn.clamp(-1.0, 1.0), picture).item() / 4.0
    return -10.0 * math.log10(max(error, 1e-10))


def _read(inverter: Encoder, pictures: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return coordinates ``(1, K)``, the pictures' mean, and angles ``(N, 2)``, as the inverter reads them."""
    batch = torch.cat(list(pictures)).to(inverter.mean)
    coordinates, angles = (values.to(pictures[0]) for values in inverter(batch))
    return coordinates.mean(dim=0, keepdim=True).clamp(-MOST_COORDINATE, MOST_COORDINATE), _within(angles)


def _search(model: Generator, space: CodeSpace, pictures: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return coordinates ``(1, K)`` of the best of some random codes, and angles ``(N, 2)``."""
    config, random = model.config, torch.Generator().manual_seed(0)
    renderer = softened(model.renderer, COARSE.softness)
    targets = [F.adaptive_avg_pool2d(picture, START_RESOLUTION) for picture in pictures]
    draws = START_SPREAD * torch.randn(NUM_STARTS, len(space.axes), generator=random).to(space.axes)
    yaws, best = [config.pose_yaw * yaw for yaw in START_YAWS], (math.inf, 0, [0] * len(pictures))
    for number, coordinates in enumerate(draws.split(1)):
        field, errors = model.field.condition(space.codes(coordinates)), []
        for yaw in yaws:
            camera = Camera.from_angles(yaw, 0.0).to(model.device, model.dtype)
            drawn = renderer(field, camera, resolution=START_RESOLUTION, with_features=False).thumbnail
            errors.append([F.mse_loss(drawn, target).item() for target in targets])
        least = [min((error, index) for index, error in enumerate(column)) for column in zip(*errors)]
        best = min(best, (sum(error for error, _ in least), number, [index for _, index in least]))
    _, number, chosen = best
    angles = [[yaws[index], 0.0] for index in chosen]
    return draws[number : number + 1], torch.tensor(angles).to(draws)


def softened(renderer: VolumeRenderer, softness: float) -> VolumeRenderer:
    """Return a copy whose sharpness β is at least a share of the scene radius."""
    copy = VolumeRenderer(renderer.config).to(renderer.log_beta).requires_grad_(False)
    copy.load_state_dict(renderer.state_dict())
    if softness:
        copy.log_beta.clamp_(min=math.log(softness * renderer.config.scene_radius))
    return copy


def _within(angles: Tensor) -> Tensor:
    most = angles.new_tensor(MOST_ANGLES)
    return torch.minimum(torch.maximum(angles, -most), most)


class _Search:
    """The coordinates, angles and decoder codes that move.

    Args:
        model: What draws.
        space: Of its codes.
        pictures: As of ``fit_pictures``.
        coordinates: Where to start, ``(1, K)``.
        angles: Where to start, ``(N, 2)``.
        mirror, likeness: As of ``fit_pictures``.
    """

    def __init__(
        self,
        model: Generator,
        space: CodeSpace,
        pictures: Sequence[Tensor],
        coordinates: Tensor,
        angles: Tensor,
        mirror: bool,
        likeness: bool,
    ) -> None:
        self.model, self.space, self.pictures = model, space, pictures
        self.mirror, self.likeness = mirror, likeness
        self.coordinates = coordinates.detach().clone().requires_grad_()
        self.angles = angles.detach().clone().requires_grad_()
        config = model.config
        # what the decoder's codes are off from those that the mapping gives
        self.shift = coordinates.new_zeros(1, config.num_ws, config.decoder_style_size).requires_grad_()

    def steps(self, phase: Phase):
        """Take the steps of a phase; after each, yield what was last drawn of the first picture, ``(1, 3, H, W)``.

        Each looks at one picture, in turn: with N of them √N times as many steps come as near to all, in less time than
        N renderings a step would take.
        """
        is_decoded = phase.is_decoded and self.model.config.has_decoder
        moving = [(self.coordinates, phase.rates[0]), (self.angles, phase.rates[1])]
        moving += [(self.shift, CODE_RATE)] if is_decoded and not self.likeness else []
        leaves = [leaf for leaf, _ in moving]
        optimizer = torch.optim.Adam([{"params": [leaf], "lr": rate} for leaf, rate in moving], betas=BETAS)
        renderer = softened(self.model.renderer, phase.softness)
        for step in range(phase.steps):
            for group, (_, rate) in zip(optimizer.param_groups, moving):
                group["lr"] = rate * min(1.0, 2.0 * (1.0 - step / phase.steps))
            with torch.enable_grad():
                index = step % len(self.pictures)
                loss, drawn = self._loss(renderer, index, phase.resolution, is_decoded)
                # not backward(): the model's parameters are to have no gradients
                gradients = torch.autograd.grad(loss, leaves)
            for leaf, gradient in zip(leaves, gradients):
                leaf.grad = gradient
            optimizer.step()
            if index == 0:
                first = drawn.detach()
            yield first

    def _loss(
        self, renderer: VolumeRenderer, index: int, resolution: int | None, is_decoded: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of one picture, and the picture as it is drawn."""
        model = self.model
        w = self.space.codes(self.coordinates)
        ws = model.decoder_codes(w) + self.shift if is_decoded else None
        field, angles = model.field.condition(w), _within(self.angles[index])
        with torch.no_grad():
            guide = SurfaceGuide.measure(field, model.config)
        weight = LIKENESS_WEIGHT if self.likeness else PRIOR_WEIGHT
        loss = weight * self.coordinates.square().mean()
        if self.likeness:
            usual = angles.new_tensor([model.config.pose_yaw, model.config.pose_pitch])
            loss = loss + weight * (angles / usual).square().mean()
        resolution = resolution and min(resolution, model.config.render_resolution)
        # with features as many samples as the decoder was trained with
        num_samples = model.config.num_samples if is_decoded else None
        options = {"resolution": resolution, "num_samples": num_samples, "with_features": is_decoded}

        def seen_from(angles: Tensor) -> Tensor:
            seen = render_guided(renderer, field, guide, Camera.from_angles(*angles.split(1)), **options)
            return seen.thumbnail if ws is None else model.synthesis(seen.features, ws)

        drawn, picture = seen_from(angles), self.pictures[index]
        loss = loss + picture_loss(drawn, picture)
        if self.mirror:
            other_side = seen_from(angles * angles.new_tensor([-1.0, 1.0]))
            loss = loss + MIRROR_WEIGHT * picture_loss(other_side, picture.flip(3))
        return loss, drawn

    @torch.no_grad()
    def result(self) -> Fit:
        """Return what was found, drawn once more as it will be seen."""
        model, angles = self.model, _within(self.angles.detach())
        w = self.space.codes(self.coordinates)
        ws = model.decoder_codes(w) + self.shift if model.config.has_decoder else None
        pairs = zip(self.pictures, angles)
        qualities = [psnr(draw(model, w, ws, Camera.from_angles(*each)), picture) for picture, each in pairs]
        return Fit(w.detach(), ws, angles, tuple(qualities))


def draw(model: Generator, w: Tensor | ConditionedField, ws: Tensor | None, camera: Camera) -> Tensor:
    """Draw a head as ``Head.view`` does.

    Args:
        model: Draws.
        w: Renderer code ``(1, latent_size)``, or its field.
        ws: Decoder codes ``(1, L, decoder_style_size)``; None draws the thumbnail.
        camera: One.

    Returns:
        The picture, about [−1, 1]. ``(1, 3, R, R)``, or ``(1, 3, H, W)`` without decoder codes.
    """
    seen = model.render(w, camera, with_features=ws is not None)
    return seen.thumbnail if ws is None else model.synthesis(seen.features, ws)


def picture_loss(drawn: Tensor, picture: Tensor) -> Tensor:
    """Compare a drawn picture with one that is as large or larger, and averaged down: its pixels, and its large parts.

    Args:
        drawn: ``(1, 3, H, W)``.
        picture: In [−1, 1]. ``(1, 3, R, R)``.
    """
    size = drawn.shape[-1]
    target = F.adaptive_avg_pool2d(picture, size)
    loss = F.mse_loss(drawn, target) + L1_WEIGHT * F.l1_loss(drawn, target)
    while (size := size // 2) >= SMALLEST_SCALE:
        loss = loss + F.mse_loss(F.adaptive_avg_pool2d(drawn, size), F.adaptive_avg_pool2d(picture, size))
    return loss
