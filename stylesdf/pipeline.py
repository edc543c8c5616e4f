"""The model for people: seeds, truncation and angles in; heads, pictures, films and meshes out.

Shapes: N seeds, H W thumbnail, R image.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylesdf.arguments import check_num_frames, check_number, check_per_seed, check_seed, check_seeds, check_truncation
from stylesdf.edit import EditMixin
from stylesdf.fast.decoder import condition_decoder
from stylesdf.head import FRONT, Head, View, check_heads, read_head, recent_origin
from stylesdf.hub import HubMixin
from stylesdf.inversion import InversionMixin
from stylesdf.live.export import export_live as write_live_page
from stylesdf.mapping import truncate
from stylesdf.model import Generator
from stylesdf.outputs import GenerateResult
from stylesdf.shot import Shot
from stylesdf.torch_state import ordinary_torch
from stylesdf.version import __version__

if TYPE_CHECKING:
    import trimesh


class StyleSDF(HubMixin, InversionMixin, EditMixin, Generator):
    """A generator that people can talk to.

    ``StyleSDF.from_pretrained`` loads one; called with tensors it is ``Generator.forward``. A *seed* is an integer from
    0 to 2³² − 1 that names one latent on every device, *truncation* lies in [0, 1] (0 is the mean head, 1 the full
    variety), and *yaw* and *pitch* are radians (0 is frontal; positive yaw moves the camera to +x, positive pitch to
    +y). What a head can do is in ``Head``; ``generate``, ``extract_mesh`` and ``render_orbit`` are short ways to it.
    """

    @ordinary_torch()
    def latents(self, seeds: int | Iterable[int]) -> Tensor:
        """Draw one latent per seed, each from a generator of its own, so that company and order do not matter.

        Args:
            seeds: One or several.

        Returns:
            z, on the model's device. ``(N, latent_size)``.

        Raises:
            ValueError: One of them is not an integer from 0 to 2³² − 1.
        """
        seeds = check_seeds(seeds)
        z = torch.empty(len(seeds), self.config.latent_size)
        for row, seed in zip(z, seeds):
            row.normal_(generator=torch.Generator("cpu").manual_seed(seed))
        return z.to(self.w_avg)

    @ordinary_torch()
    def head(self, seed: int, truncation: float = 0.7, texture_seed: int | None = None) -> Head:
        """Compute all of one head that does not depend on the camera, for any number of views of it.

        Args:
            seed: Whose head.
            truncation: In [0, 1].
            texture_seed: Seed whose style all decoder layers but the first take; shape stays with ``seed``.

        Raises:
            ValueError: An argument out of range, or a texture seed for a renderer-only model.
        """
        psi = check_truncation(truncation)
        origin = {"seed": check_seed(seed), "truncation": psi}
        w, ws, styled = self._code(seed, psi), None, None
        if texture_seed is not None:
            origin["texture_seed"] = check_seed(texture_seed)
            if not self.config.has_decoder:
                raise ValueError(f"texture_seed is {texture_seed}, but a renderer-only model has no decoder to style")
            styled = self._code(texture_seed, psi)
        if self.config.has_decoder:
            ws = self._decoder_codes(w, psi, styled, 1)
        return self._head(w, ws, origin)

    @ordinary_torch()
    def head_from_codes(self, w: Tensor, ws: Tensor | None = None) -> Head:
        """Make a head of any codes.

        Args:
            w: Renderer code, truncated, as of ``mapping``. ``(1, latent_size)``.
            ws: Decoder codes, as of ``decoder_codes``. ``(1, L, decoder_style_size)``. None makes them of ``w``.

        Raises:
            ValueError: A wrong shape, or decoder codes for a renderer-only model.
        """
        if tuple(w.shape) != (1, self.config.latent_size):
            raise ValueError(f"w has shape {tuple(w.shape)}, expected (1, {self.config.latent_size})")
        w = w.to(self.w_avg, copy=True)
        if ws is None and self.config.has_decoder:
            ws = self.decoder_codes(w)
        shape = (1, self.config.num_ws, self.config.decoder_style_size) if self.config.has_decoder else None
        if (have := None if ws is None else tuple(ws.shape)) != shape:
            raise ValueError(f"ws has shape {have}, expected {shape}")
        return self._head(w, None if ws is None else ws.to(self.w_avg, copy=True))

    def load_head(self, path: str | os.PathLike) -> Head:
        """Read a head that ``Head.save`` wrote with this model; one of another model becomes another head.

        Args:
            path: Ends in .safetensors.

        Raises:
            ValueError: Not such a file, or of a model with other sizes.
        """
        w, ws, provenance = read_head(path)
        try:
            head = self.head_from_codes(w, ws)
        except ValueError as error:
            raise ValueError(f"{path} is a head of another model: {error}") from None
        return dataclasses.replace(head, origin={k: v for k, v in provenance.items() if k not in head.model})

    @ordinary_torch()
    def blend(self, first: Head, second: Head, share: float) -> Head:
        """Make the head between two of this model's, for morphs: lerp(first, second, share) in both code spaces.

        Args:
            first: Share 0.
            second: Share 1.
            share: Of the second; beyond [0, 1] it extrapolates.

        Raises:
            ValueError: A share that is not a finite number, or a head of another model.
        """
        share = check_number("share", share)
        check_heads((first, second), self.config)
        ws = None if first.ws is None else torch.lerp(first.ws, second.ws, share)
        blend = self.head_from_codes(torch.lerp(first.w, second.w, share), ws)
        parents = [recent_origin(first.origin), recent_origin(second.origin)]
        return dataclasses.replace(blend, origin={"parents": parents, "share": share})

    def morph(
        self,
        heads: Iterable[Head],
        num_frames: int = 60,
        path: str | None = None,
        yaw_range: float = 0.5,
        pitch_range: float = 0.25,
        shot: Shot = FRONT,
    ) -> Iterator[View]:
        """Go from each head to the next and from the last back to the first, for a film that loops.

        Every leg takes the same time, starts and ends slowly, and is a ``blend``.

        Args:
            heads: Two or more of this model.
            num_frames: Views of one round, at least one per head.
            path: None keeps the camera still; else it goes one round of that path of ``Shot.round`` meanwhile.
            yaw_range: Largest yaw of the path, radians.
            pitch_range: Largest pitch of the path, radians.
            shot: Around which the camera goes.

        Returns:
            Iterator of views; the ``head`` of each knows its parents. Arguments are checked at once, not at the first
            view.

        Raises:
            ValueError: Fewer than two heads, one of another model, or an argument out of range.
        """
        heads = list(heads)
        if len(heads) < 2:
            raise ValueError(f"heads are {len(heads)}, expected at least two")
        check_heads(heads, self.config)
        num_frames = check_num_frames(num_frames, len(heads))
        shots = shot.round(num_frames, path, yaw_range, pitch_range)

        def views() -> Iterator[View]:
            for frame, each in enumerate(shots):
                leg, step = divmod(frame * len(heads), num_frames)
                t = step / num_frames
                share = t * t * (3.0 - 2.0 * t)  # smoothstep: both ends at rest
                yield self.blend(heads[leg], heads[(leg + 1) % len(heads)], share).view(each)

        return views()

    @ordinary_torch()
    def generate(
        self,
        seeds: int | Iterable[int],
        truncation: float = 0.7,
        yaw: float | Sequence[float] = 0.0,
        pitch: float | Sequence[float] = 0.0,
        fov_deg: float | None = None,
        noise_mode: str = "const",
        texture_seed: int | None = None,
        quality: str = "exact",
    ) -> GenerateResult:
        """Generate pictures and their geometry.

        Every seed is computed on its own, so its bytes are the same alone, in company and in any order.

        Args:
            seeds: One head each.
            truncation: In [0, 1].
            yaw: Radians, one for all or one per seed.
            pitch: Radians, strictly between −π/2 and π/2, one for all or one per seed.
            fov_deg: Full field of view in degrees; None takes the model's.
            noise_mode: The decoder's noise, see ``Shot``.
            texture_seed: See ``head``.
            quality: See ``Shot``.

        Raises:
            ValueError: An argument out of range, or a texture seed for a renderer-only model.
        """
        seeds, truncation = check_seeds(seeds), check_truncation(truncation)
        yaws, pitches = check_per_seed("yaw", yaw, len(seeds)), check_per_seed("pitch", pitch, len(seeds))
        shots = [Shot(y, p, 0.0, fov_deg, quality, noise_mode) for y, p in zip(yaws, pitches)]
        views = (self.head(seed, truncation, texture_seed).view(shot) for seed, shot in zip(seeds, shots))
        results = [(view.image, view.thumbnail, view.depth, view.normals, view.background) for view in views]
        images, thumbnails, depth, normals, background = zip(*results) if results else [()] * 5
        size = (len(seeds), self.config.render_resolution, self.config.render_resolution)
        return GenerateResult(
            images=list(images),
            thumbnails=list(thumbnails),
            depth=np.array(depth, np.float32).reshape(size),
            normals=np.array(normals, np.float32).reshape(*size, 3),
            background=np.array(background, np.float32).reshape(size),
            seeds=tuple(seeds),
            truncation=truncation,
        )

    def extract_mesh(
        self,
        seed: int,
        truncation: float = 0.7,
        resolution: int = 128,
        progress: Callable[[float], None] | None = None,
        keep: str = "largest",
    ) -> trimesh.Trimesh:
        """Extract the surface of a seed's head as a coloured mesh in world units: ``Head.mesh``.

        Args:
            seed: Whose head.
            truncation: In [0, 1].
            resolution: Grid samples per side, from 32 to 512; time and memory grow with its square.
            progress: Called with the share that is done, in [0, 1], now and then.
            keep: ``"largest"`` piece of surface, or ``"all"``.

        Raises:
            ValueError: An argument out of range, or a field without a surface.
        """
        return self.head(seed, truncation).mesh(resolution, progress, keep)

    def render_orbit(
        self, seed: int, truncation: float = 0.7, num_frames: int = 60, path: str = "ellipse"
    ) -> Iterator[Image.Image]:
        """Render a seed's head along a closed path, picture by picture as they are asked for: ``Head.orbit``.

        Args:
            seed: Whose head.
            truncation: In [0, 1].
            num_frames: Frames of one round, from 1 to 10,000.
            path: ``"ellipse"``, ``"sweep"`` or ``"spiral"``; see ``Shot.round``.

        Raises:
            ValueError: An argument out of range.
        """
        return (view.image for view in self.head(seed, truncation).orbit(num_frames, path))

    def export_live(self, path: str | os.PathLike, weights: str = "float16", fov_deg: float | None = None) -> None:
        """Write a web page that draws this model's heads by itself, offline.

        Args:
            path: Ends in .html. A missing folder is made; the file appears only once it is complete.
            weights: ``"float16"`` (distances off by at most 1e-4 in the bundled models) or ``"float32"``, twice the
                size.
            fov_deg: Full field of view that the page opens with, degrees; None takes the model's.

        Raises:
            ValueError: Another ending, unknown weights, a field of view out of range, or a model that a page cannot
                draw.
        """
        write_live_page(self, path, weights, fov_deg)

    def _code(self, seed: int, psi: float) -> Tensor:
        return truncate(self.renderer_mapping(self.latents(seed)), self.w_avg, psi)  # (1, latent_size)

    def _head(self, w: Tensor, ws: Tensor | None, origin: dict | None = None) -> Head:
        decoder = None if ws is None else condition_decoder(self.decoder, ws)
        model = {"model": self.public_name, "commit": self.commit_hash or "", "version": __version__}
        origin = origin or {"seed": None, "truncation": None}
        return Head(w, ws, self.field.condition(w), decoder, self.renderer, origin, model)
