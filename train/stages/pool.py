"""Renderings of a frozen renderer for stage 2, kept and shown again, and pictures of the data among them.

Shapes: B batch, N pictures, R image resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stylesdf.camera import sample_poses
from stylesdf.fast.surface import SurfaceGuide, render_guided
from stylesdf.model import Generator
from train.config import DecoderConfig
from train.data.images import ImageSet
from train.networks.encoder import PictureEncoder, encode
from train.run.engine import take
from train.stages.latents import cameras_of, draw_latents, latent_codes


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
            pose: Yaw and pitch, radians. ``(B, 2)``, on the CPU.
        """
        is_shown, codes = (pictures >= 0)[:, None], self.codes[pictures.to(w.device)]
        return torch.where(is_shown.to(w.device), codes, w), torch.where(is_shown, self.data.poses[pictures], pose)


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
            features, thumbnail = render_scenes(self.generator, w, pose)
            self.w[slot], self.features[slot], self.thumbnails[slot] = w[0].cpu(), features[0].cpu(), thumbnail[0].cpu()
        self.next = step + self.size

    def _scene(self, number: int) -> tuple[Tensor, Tensor, int]:
        """Return code ``(1, latent_size)``, pose ``(1, 2)`` on the CPU, and which picture it is of, −1 for none."""
        model = self.generator.config
        random = torch.Generator().manual_seed(self.seed * 2**32 + number)
        picture = torch.full((1,), -1) if self.shown is None else self.shown.draw_one(random)
        pose = sample_poses(1, model.pose_yaw, model.pose_pitch, model.pose_distribution, random)
        latents = draw_latents(1, model.latent_size, self.least_truncation, random)
        w = frozen_codes(self.generator, take(latents, slice(None), self.generator.device))
        if self.shown is not None:
            w, pose = self.shown.put_in(picture, w, pose)
        return w, pose, int(picture)

    def targets(self, index: Tensor) -> Tensor:
        """Return what some entries' images should be: pictures shown again, or else the field's own. ``(B, 3, R, R)``.

        The field's own has one ray per pixel of the image.
        """
        first, images = self.next - self.size, []
        for slot in index.tolist():
            number = first + (slot - first) % self.size
            if self.pictures[slot] >= 0:
                images.append(self.shown.data.image_batch(self.pictures[slot : slot + 1]).to(self.generator.device))
                continue
            if number not in self._field_images:
                w, pose, _ = self._scene(number)
                self._field_images[number] = render_field_image(self.generator, w, pose).to(torch.float16).cpu()
            images.append(self._field_images[number].to(self.generator.device).float())
        self._field_images = {number: image for number, image in self._field_images.items() if number >= first}
        return torch.cat(images)

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
