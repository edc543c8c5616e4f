"""Renderings of a frozen renderer for stage 2, kept and shown again.

Shapes: B batch, R image resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stylesdf.fast.surface import SurfaceGuide, render_guided
from stylesdf.model import Generator
from train.data.images import ImageSet
from train.networks.encoder import PictureEncoder
from train.poses import draw_poses
from train.run.engine import Engine, take
from train.stages.latents import cameras_of, draw_latents, draw_psi, latent_codes


@dataclass(frozen=True)
class Scene:
    """What a rendering shows.

    Attributes:
        w: Renderer code, ``(1, latent_size)``.
        pose: Yaw and pitch in radians, on the CPU, ``(1, 2)``.
        picture: Returns what the decoder should make of it, in [−1, 1], ``(1, 3, R, R)``.
    """

    w: Tensor
    pose: Tensor
    picture: Callable[[], Tensor]


def new_scene(generator: Generator, least_truncation: float, random: torch.Generator) -> Scene:
    """Draw a new head; its picture is what the field shows at the image's resolution."""
    model = generator.config
    pose = draw_poses(1, model, random)
    latents = draw_latents(1, model.latent_size, least_truncation, random)
    w = frozen_codes(generator, take(latents, slice(None), generator.device))
    return Scene(w, pose, lambda: render_field_image(generator, w, pose))


@torch.no_grad()
def known_scene(encoder: PictureEncoder, data: ImageSet, least_truncation: float, random: torch.Generator) -> Scene:
    """Choose one of the data's pictures, and read its code; truncated, it shows the same head."""
    index = torch.randint(len(data), (1,), generator=random)
    picture, pose = data.image_batch(index), data.poses[index]
    w = encoder.code(picture, pose.to(picture.device))
    draws = draw_psi(1, least_truncation, random)
    if "psi" in draws:
        w = torch.lerp(encoder.centre, w, draws["psi"].to(w))
    return Scene(w, pose, lambda: picture)


class RenderingPool:
    """The last ``size`` of an endless, numbered sequence of renderings of a frozen renderer.

    What rendering ``i`` shows follows from the seed and ``i`` alone, so a run that is resumed finds the same pool. The
    processes of a run share the work; each holds all renderings.

    Args:
        generator: Renders.
        size: Renderings that are kept.
        draw_scene: What a rendering shows, by a source of random numbers of its own.
        seed: Of all numbers.
        engine: Where it runs; None is one process.
    """

    def __init__(
        self,
        generator: Generator,
        size: int,
        draw_scene: Callable[[torch.Generator], Scene],
        seed: int,
        engine: Engine | None = None,
    ) -> None:
        self.generator = generator
        self.size = size
        self.draw_scene = draw_scene
        self.seed = seed
        self.engine = engine or Engine()
        self.next = 0  # number of the first rendering that is not in the pool
        model = generator.config
        map_size = (model.field_width, model.render_resolution, model.render_resolution)
        self.w = torch.zeros(size, model.latent_size)
        self.features = torch.zeros(size, *map_size, dtype=torch.float16)  # in [-1, 1]: half precision is enough
        self.thumbnails = torch.zeros(size, 3, *map_size[1:])
        self.images = torch.zeros(0, 3, *[model.image_resolution] * 2, dtype=torch.float16)

    def advance_to(self, first: int, with_images: bool = False) -> None:
        """Hold the renderings from a number on, with or without their pictures at the image's resolution.

        Args:
            first: Number of the first rendering, no lower than that of the call before.
            with_images: Whether ``targets`` will be asked for; not once it was not.
        """
        count, rank = self.engine.accelerator.num_processes, self.engine.accelerator.process_index
        if with_images and not len(self.images):
            self.images = self.images.new_zeros(self.size, *self.images.shape[1:])
        numbers = range(max(self.next, first), first + self.size)
        for group in (numbers[start : start + count] for start in range(0, len(numbers), count)):
            # a process without one of its own draws the last one, too
            own = self._render(group[min(rank, len(group) - 1)], with_images)
            for number, *rendering in zip(group, *(self.engine.gather(part).cpu() for part in own)):
                slot = number % self.size
                for kept, part in zip((self.w, self.features, self.thumbnails, self.images), rendering):
                    kept[slot] = part
        self.next = first + self.size

    def _render(self, number: int, with_images: bool) -> tuple[Tensor, ...]:
        """Return a number's code, feature map, thumbnail and, where it is asked for, image, each a batch of one."""
        scene = self._scene(number)
        picture = (scene.picture(),) if with_images else ()
        return scene.w, *render_scenes(self.generator, scene.w, scene.pose), *picture

    def _scene(self, number: int) -> Scene:
        return self.draw_scene(torch.Generator().manual_seed(self.seed * 2**32 + number))

    def targets(self, index: Tensor) -> Tensor:
        """Return what some entries' images should be. ``(B, 3, R, R)``."""
        return self.images[index].to(self.generator.device).float()

    def take(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return codes, feature maps and thumbnails of some entries."""
        device = self.generator.device
        return self.w[index].to(device), self.features[index].to(device).float(), self.thumbnails[index].to(device)


@torch.no_grad()
def frozen_codes(generator: Generator, latents: dict[str, Tensor]) -> Tensor:
    """Renderer codes of latents, in full precision. ``(B, latent_size)``."""
    with torch.autocast(generator.device.type, enabled=False):
        return latent_codes(generator.renderer_mapping, latents)


@torch.no_grad()
def render_scenes(generator: Generator, w: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Render identities from poses on the CPU, in full precision: feature maps and thumbnails."""
    with torch.autocast(w.device.type, enabled=False):
        size = 1 if w.device.type == "cpu" else len(w)  # one identity's matrices and activations stay in the cache
        renderings = [
            generator.render(codes, cameras_of(angles, w.device))
            for codes, angles in zip(w.split(size), pose.split(size))
        ]
    features, thumbnails = (
        torch.cat([getattr(rendering, name) for rendering in renderings]) for name in ("features", "thumbnail")
    )
    return features, thumbnails


@torch.no_grad()
def render_field_image(generator: Generator, w: Tensor, pose: Tensor) -> Tensor:
    """Render one identity with one ray per pixel of the image, as finely as β asks for. ``(1, 3, R, R)``."""
    model = generator.config
    with torch.autocast(w.device.type, enabled=False):
        field = generator.field.condition(w)
        return render_guided(
            generator.renderer,
            field,
            SurfaceGuide.measure(field, model),
            cameras_of(pose, generator.device),
            resolution=model.image_resolution,
            with_features=False,
        ).thumbnail
