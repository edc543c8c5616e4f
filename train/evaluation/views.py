"""What metrics share: pictures that a model generates, the level set behind them, and what they are compared with.

The geometry is measured on the field itself, along dense rays or on a grid, never on the volume rendering, which is
under test.

Shapes: N seeds, H W thumbnail, S samples of a ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera, camera_rays
from stylesdf.model import Generator
from stylesdf.renderer import points_per_chunk
from train.data.images import LEAST_PLAIN, ImageSet
from train.evaluation.features import RESIZE_FILTERS, FeatureNetwork, to_bytes
from train.evaluation.inception import load_inception
from train.evaluation.mobilenet import load_mobilenet
from train.evaluation.readers import Reader, load_reader
from train.evaluation.references import References, draw_references
from train.evaluation.subjects import REFERENCE_SEED, SUBJECTS, Subject
from train.networks.pose_reader import RESOLUTION, to_reader_size
from train.poses import draw_poses

RAY_SAMPLES = 96
MIN_DATA_IMAGES = 4  # two halves with a covariance each
MIN_DIFFERENCE = 0.06  # of a colour from the background, to belong to the head
PICTURES = ("image", "thumbnail")


@dataclass(frozen=True)
class Options:
    """How a model is evaluated.

    Attributes:
        subject: Of ``SUBJECTS``; None takes the one that the data says it shows, if it says so.
        pictures: Of ``PICTURES``: which pictures of the model are evaluated, and which of the data they are compared
            with. ``"image"`` is the decoder's image, and the thumbnail of a model without a decoder.
        reader: File of the subject's reader, trained and written where absent; None takes the shipped one.
        inception: TorchScript file of the Inception network; None takes torch-fidelity's, which downloads it.
        resize: Of ``RESIZE_FILTERS``, by which pictures get the input size of the Inception network.
        mobilenet: Weights of MobileNetV2; None takes those of the package that brings them.
        device: Where these networks compute.
    """

    subject: str | None = None
    pictures: str = "image"
    reader: str | Path | None = None
    inception: str | Path | None = None
    resize: str = "lanczos"
    mobilenet: str | Path | None = None
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        for name, known in (("pictures", PICTURES), ("resize", RESIZE_FILTERS), ("subject", (None, *SUBJECTS))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected of {', '.join(filter(None, known))}")


@dataclass(frozen=True, eq=False)
class Views:
    """One frontal view per seed.

    Attributes:
        pictures: Colour in [−1, 1], of the kind that is evaluated, averaged down. ``(N, 3, 64, 64)``.
        alpha: Coverage by the volume rendering, in [0, 1]. ``(N, H, W)``.
        depth: z-depth of the level set, world units; NaN where a ray misses it. ``(N, H, W)``.
    """

    pictures: Tensor
    alpha: Tensor
    depth: Tensor


@dataclass(eq=False)
class Context:
    """What metrics share within one evaluation; everything is computed at its first use.

    Args:
        data: The pictures the model was trained on, with poses where they have them; None: there are none.
        options: How the model is evaluated.
        report: Called with the share of the running metric that is done, in [0, 1].

    Raises:
        ValueError: The data says that it shows another subject, or has another background than the subject.
    """

    data: ImageSet | None = None
    options: Options = Options()
    report: Callable[[float], None] = lambda share: None  # noqa: E731
    subject: Subject | None = field(init=False)
    _cache: dict[str, tuple[Any, Any]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        asked, drawn_as = self.options.subject, self.data.subject if self.data is not None else ""
        if asked and self.data is not None:
            _check_subject(SUBJECTS[asked], self.data)
        self.subject = SUBJECTS[asked or drawn_as] if asked or drawn_as else None

    @cached_property
    def reader(self) -> Reader:
        return load_reader(self.subject, self.options.reader, self.report)

    @cached_property
    def inception(self) -> FeatureNetwork:
        return load_inception(self.options.inception, self.options.device)

    @cached_property
    def mobilenet(self) -> FeatureNetwork:
        return load_mobilenet(self.options.mobilenet, self.options.device)

    @cached_property
    def background(self) -> Tensor | None:
        """Colour of the subject's background, or of the data's where it is plain, in [0, 1]. ``(3,)``."""
        if self.subject is not None:
            return torch.tensor(self.subject.background)
        share, colour = self.data.border() if self.data is not None else (0.0, None)
        return colour if share >= LEAST_PLAIN else None

    def cached(self, name: str, key: Any, make: Callable[[], Any]) -> Any:
        """Return what was made under a name for the same key, or make it and keep it instead of the last."""
        if name not in self._cache or self._cache[name][0] != key:
            self._cache[name] = (key, make())
        return self._cache[name][1]

    def pictures_of(self, model: Generator) -> str:
        """Return which of ``PICTURES`` of a model is evaluated."""
        return self.options.pictures if model.config.has_decoder else "thumbnail"

    def real(self, index: Tensor, pictures: str) -> Tensor:
        """Return pictures of the data, of the kind that is evaluated, in [−1, 1]. ``(N, 3, R, R)``."""
        if pictures == "image":
            return self.data.image_batch(index)
        return self.data.thumbnail_batch(index, self.data.thumbnails.shape[-1], 3)

    def for_reader(self, model: Generator, pictures: Tensor) -> Tensor:
        """Show pictures in the frame that the subject's reader was trained on, whatever a model's field of view is.

        The camera stays where it is, so a narrower view is the middle of the reader's and a wider one reaches beyond.

        Args:
            model: At whose field of view they were made.
            pictures: In [−1, 1]. ``(N, 3, R, R)``.

        Returns:
            ``(N, 3, 64, 64)``; the background where nothing was seen.
        """
        half_width, reader_half_width = (
            math.tan(math.radians(fov_deg) / 2.0) for fov_deg in (model.config.fov_deg, self.subject.fov_deg)
        )
        if half_width == reader_half_width:
            return to_reader_size(pictures)
        margin = RESOLUTION // 2 - max(1, round(RESOLUTION / 2 * half_width / reader_half_width))  # < 0 cuts off
        background = 2.0 * torch.tensor(self.subject.background).to(pictures)[:, None, None] - 1.0
        size = RESOLUTION - 2 * margin
        small = F.interpolate(pictures - background, size, mode="bilinear", antialias=True)
        return F.pad(small, (margin,) * 4) + background

    def references(self, model: Generator, count: int) -> References | None:
        """Draw heads of the subject at a model's field of view to compare results with; None without a subject."""
        if self.subject is None:
            return None
        key = count, model.config.fov_deg
        return self.cached("references", key, lambda: draw_references(self.subject, *key, self.report))

    def reference_pictures(self, model: Generator, count: int) -> Tensor | None:
        """Return pictures of the subject, else some of the data, to compare frontal views with. ``(N, 3, 64, 64)``."""
        if self.subject is not None:
            return self.references(model, count).front
        if self.data is None:
            return None
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(REFERENCE_SEED))
        resolution = self.data.thumbnails.shape[-1]
        return to_reader_size(self.data.thumbnail_batch(order[:count].sort().values, resolution, 3))

    def views(self, model: Generator, seeds: Sequence[int], truncation: float) -> Views:
        """Render each seed from the front."""

        def render() -> Views:
            rows, camera = [], Camera.from_angles(0.0, 0.0)
            for index, seed in enumerate(seeds):
                w = model.mapping(latent(model, seed), truncation)
                picture, alpha = draw(model, w, camera, truncation, self.pictures_of(model))
                rows.append((picture, alpha, level_set_depth(model, w, camera)))
                self.report((index + 1) / len(seeds))
            return Views(*(torch.cat(column) for column in zip(*rows)))

        return self.cached("views", (model, tuple(seeds), truncation), render)


def _check_subject(subject: Subject, data: ImageSet) -> None:
    """Raise ValueError where the data was drawn as another subject, or has another background than this one."""
    if data.subject == subject.name:
        return
    _, colour = data.border()
    if data.subject:
        difference = f"shows {data.subject!r}"
    elif (colour - torch.tensor(subject.background)).abs().max() > MIN_DIFFERENCE:
        found, expected = (", ".join(f"{x:.2f}" for x in each) for each in (colour.tolist(), subject.background))
        difference = f"has the background ({found}), expected ({expected})"
    else:
        return
    raise ValueError(
        f"subject is {subject.name!r}, but {data.name or 'the data'} {difference}: metrics of {subject.title} do not "
        "fit it, leave --subject out for those that do"
    )


def latent(model: Generator, seed: int) -> Tensor:
    """Return the latent that a seed names, ``(1, latent_size)``: the same as ``StyleSDF.latents``."""
    z = torch.randn(model.config.latent_size, generator=torch.Generator("cpu").manual_seed(seed))
    return z[None].to(model.w_avg)


@torch.no_grad()
def draw_full(
    model: Generator, w: Tensor, camera: Camera, truncation: float, pictures: str = "image"
) -> tuple[Tensor, Tensor]:
    """Generate one picture at full size.

    Args:
        model: Whose picture it is.
        w: Renderer code of one identity. ``(1, latent_size)``.
        camera: One camera.
        truncation: Of the decoder's codes, in [0, 1].
        pictures: Of ``PICTURES``.

    Returns:
        Picture in [−1, 1] ``(1, 3, R, R)`` and coverage by the volume rendering ``(1, H, W)``, on the CPU.
    """
    rendering = model.render(w, camera)
    picture = rendering.thumbnail
    if pictures == "image" and model.config.has_decoder:
        picture = model.synthesis(rendering.features, model.decoder_codes(w, truncation))
    return picture.float().cpu().clamp(-1.0, 1.0), 1.0 - rendering.background[:, 0].float().cpu()


def draw(
    model: Generator, w: Tensor, camera: Camera, truncation: float, pictures: str = "image"
) -> tuple[Tensor, Tensor]:
    """Generate one picture of a reader's input size: as ``draw_full``, averaged down. ``(1, 3, 64, 64)``."""
    picture, alpha = draw_full(model, w, camera, truncation, pictures)
    return to_reader_size(picture), alpha


def draw_from_prior(
    model: Generator, seeds: Sequence[int], truncation: float, pictures: str, random: torch.Generator
) -> Iterator[Tensor]:
    """Generate a picture per seed, one after the other, from poses of the model's own prior. ``(1, 3, R, R)`` each."""
    for seed, (yaw, pitch) in zip(seeds, draw_poses(len(seeds), model.config, random).tolist()):
        w = model.mapping(latent(model, seed), truncation)
        yield draw_full(model, w, Camera.from_angles(yaw, pitch), truncation, pictures)[0]


@dataclass(frozen=True, eq=False)
class Samples:
    """Pictures of the model, and which of the data they are compared with.

    Attributes:
        generated: One per seed, poses from the model's prior, at full size, 8 bits. ``(N, 3, R, R)``.
        real_index: Numbers of two disjoint sets of the data, each of N pictures where the data has so many.
    """

    generated: Tensor
    real_index: tuple[Tensor, Tensor]


@torch.no_grad()
def draw_samples(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> Samples:
    """Draw a picture per seed and choose as many of the data, twice where it has so many; kept for the next metric.

    Raises:
        ValueError: The data has fewer than four pictures.
    """
    check_data(context)

    def make() -> Samples:
        random = torch.Generator().manual_seed(REFERENCE_SEED)
        pictures = []
        for picture in draw_from_prior(model, seeds, truncation, context.pictures_of(model), random):
            pictures.append(to_bytes(picture))
            context.report(len(pictures) / len(seeds))
        order = torch.randperm(len(context.data), generator=random)
        count = min(len(seeds), len(order) // 2)
        return Samples(torch.cat(pictures), (order[:count], order[count : 2 * count]))

    return context.cached("samples", (model, tuple(seeds), truncation), make)


def check_data(context: Context) -> None:
    """Raise ValueError where the data is too few for two halves."""
    if len(context.data) < MIN_DATA_IMAGES:
        raise ValueError(f"the data has {len(context.data)} pictures, expected at least {MIN_DATA_IMAGES}")


@torch.no_grad()
def level_set_depth(model: Generator, w: Tensor, camera: Camera) -> Tensor:
    """Find where each ray of one view first enters the level set inside the scene ball, by ``RAY_SAMPLES`` each.

    A thinner part than their distance may be missed.

    Args:
        model: Whose field it is.
        w: Renderer code of one identity. ``(1, latent_size)``.
        camera: One camera.

    Returns:
        z-depth in world units, NaN where no sample is inside; on the CPU. ``(1, H, W)``.
    """
    config, field = model.config, model.field.condition(w)
    camera = camera.to(model.device, model.dtype)
    rays_o, rays_d, _ = camera_rays(camera, config.render_resolution, config.fov_deg)
    spacing = (config.far - config.near) / RAY_SAMPLES
    depth = config.near + (torch.arange(RAY_SAMPLES).to(rays_d) + 0.5) * spacing  # (S,)
    points = rays_o[..., None, :] + rays_d[..., None, :] * depth[:, None]  # (1, H, W, S, 3)
    in_ball = points.norm(dim=-1) <= config.scene_radius  # (1, H, W, S)
    sdf = torch.full(in_ball.shape, spacing).to(points)
    chunks = points[in_ball].split(points_per_chunk(points.device))
    sdf[in_ball] = torch.cat([field.sdf(chunk[None])[0] for chunk in chunks])
    inside = sdf < 0
    first = inside.to(torch.uint8).argmax(dim=-1, keepdim=True)  # (1, H, W, 1)
    before = (first - 1).clamp(min=0)
    here, there = sdf.gather(-1, first), sdf.gather(-1, before)
    # linear between the samples on both sides of the surface; at the ball's surface the first sample inside counts
    enters = (there > 0) & in_ball.gather(-1, before)
    back = torch.where(enters, here / (here - there), torch.zeros_like(here)) * spacing
    found = (depth[first] - back).squeeze(-1)
    return torch.where(inside.any(dim=-1), found, torch.nan).float().cpu()
