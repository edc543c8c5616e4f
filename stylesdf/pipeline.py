"""The model for people: seeds, truncation and angles in; pictures, films, meshes and slices out.

Shapes: N seeds, H W thumbnail, R image, S samples of a ray.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylesdf import mesh as meshes
from stylesdf.camera import Camera, orbit_angles
from stylesdf.config import StyleSDFConfig
from stylesdf.decoder import NOISE_MODES, ConditionedDecoder
from stylesdf.field import ConditionedField
from stylesdf.files import check_ending, replacing
from stylesdf.hub import HubMixin
from stylesdf.live.export import export_live as write_live_page
from stylesdf.model import Generator
from stylesdf.outputs import RenderOutput
from stylesdf.renderer import points_per_chunk
from stylesdf.surface import SurfaceGuide, render_guided
from stylesdf.volume import density_from_sdf, sample_depths

if TYPE_CHECKING:
    import trimesh

__version__ = "0.1.0"  # here, so that results can tell which version made them

MAX_SEED = 2**32 - 1
MAX_SEEDS = 10_000  # that one text may ask for
MAX_FRAMES = 10_000
VIDEO_ENDINGS = (".mp4", ".gif", ".webp")
QUALITIES = ("exact", "fast", "best")
BEST_OVERSAMPLING = 4  # samples per ray of "best", over those of the training


def without_gradients(function: Callable) -> Callable:
    """Record nothing while the function runs, yet make ordinary tensors even for a caller in inference mode.

    Those of inference mode could not give normals later, which need gradients.
    """
    return torch.inference_mode(False)(torch.no_grad()(function))


@dataclass(frozen=True)
class GenerateResult:
    """What ``StyleSDF.generate`` returns, one entry per seed.

    Attributes:
        images: Pictures, R×R; in a renderer-only model the thumbnails stand in.
        thumbnails: What the volume renderer sees, H×W.
        depth: Expected z-depth along the optical axis, world units, float32. ``(N, H, W)``.
        normals: Unit normals in world axes from the field's gradient at the expected surface point, float32; zero
            where more than half of the pixel is background. ``(N, H, W, 3)``.
        background: Share of the pixel that does not belong to the surface, in [0, 1], float32. ``(N, H, W)``.
        seeds: The seeds.
        truncation: The truncation, in [0, 1].
    """

    images: list[Image.Image]
    thumbnails: list[Image.Image]
    depth: np.ndarray
    normals: np.ndarray
    background: np.ndarray
    seeds: tuple[int, ...]
    truncation: float


@dataclass(frozen=True)
class Identity:
    """One head: all that does not depend on the camera, computed once. ``StyleSDF.identity`` makes one.

    It holds the model's weights as they were; a model that has learned or moved since needs new identities.

    Attributes:
        w: Renderer code, truncated. ``(1, latent_size)``.
        ws: Decoder codes, one per layer; None in a renderer-only model. ``(1, L, decoder_style_size)``.
        field: The signed distance field of this head.
        decoder: The decoder of this head, its weights modulated; None in a renderer-only model.
        config: Of the model.
        seed: Whose latent it is; None for codes from elsewhere.
        truncation: In [0, 1]; None for codes from elsewhere.
        texture_seed: Whose style the decoder has, where that is another.
        parents: Of a blend: the origins of its two parents; empty otherwise.
        share: Of a blend: how much of the second parent it has.
    """

    w: Tensor
    ws: Tensor | None
    field: ConditionedField
    decoder: ConditionedDecoder | None
    config: StyleSDFConfig
    seed: int | None = None
    truncation: float | None = None
    texture_seed: int | None = None
    parents: tuple[dict, ...] = ()
    share: float | None = None

    @property
    def origin(self) -> dict:
        """Where it comes from, fit for JSON: seed, truncation and texture seed, or a blend's parents and share."""
        if self.parents:
            return {"parents": list(self.parents), "share": self.share}
        return _origin(self.seed, self.truncation, self.texture_seed)

    def compiled(self, backend: str = "inductor") -> Identity:
        """Return the same identity, seen through ``torch.compile``: for many views of one head, mostly on a GPU.

        The first view of each quality compiles, for seconds to minutes; other identities of the model share that.
        Pictures differ by rounding. What is not compiled: slices, meshes, normals and the grid of ``"fast"``. It needs
        a C++ compiler on a CPU and Triton on a GPU; a ZeroGPU Space, which forks for every call, cannot use it.

        Args:
            backend: Of ``torch.compile``.
        """
        decoder = self.decoder and self.decoder.compiled(backend)
        return replace(self, field=self.field.compiled(backend), decoder=decoder)

    @cached_property
    @without_gradients
    def fast_decoder(self) -> ConditionedDecoder | None:
        """The decoder in bfloat16, where the processor multiplies that."""
        return self.decoder.to(torch.bfloat16) if self.decoder and has_bfloat16(self.w.device) else self.decoder

    @cached_property
    @without_gradients
    def guide(self) -> SurfaceGuide:
        """Where the surface can be, measured once on a coarse grid."""
        return SurfaceGuide.measure(self.field, self.config)


class View:
    """One identity from one camera; each part is computed when it is first asked for.

    Args:
        identity: Who is seen.
        rendering: The volume rendering, of batch size 1.
        decoder: Makes the image; None in a renderer-only model.
        noise_mode: The decoder's noise.

    Attributes:
        identity: Who is seen.
        rendering: The volume rendering as tensors.
    """

    def __init__(
        self, identity: Identity, rendering: RenderOutput, decoder: ConditionedDecoder | None, noise_mode: str
    ) -> None:
        self.identity = identity
        self.rendering = rendering
        self._decoder = decoder
        self._noise_mode = noise_mode

    @cached_property
    @without_gradients
    def image(self) -> Image.Image:
        """The picture, R×R; in a renderer-only model the thumbnail stands in."""
        if self._decoder is None:
            return self.thumbnail
        return to_pil(self._decoder(self.rendering.features, self._noise_mode))

    @cached_property
    def thumbnail(self) -> Image.Image:
        """What the volume renderer sees, H×W."""
        return to_pil(self.rendering.thumbnail)

    @cached_property
    def depth(self) -> np.ndarray:
        """Expected z-depth along the optical axis, world units, float32. ``(H, W)``."""
        return _numpy(self.rendering.depth[0, 0])

    @cached_property
    def background(self) -> np.ndarray:
        """Share of the pixel that does not belong to the surface, in [0, 1], float32. ``(H, W)``."""
        return _numpy(self.rendering.background[0, 0])

    @cached_property
    @without_gradients
    def normals(self) -> np.ndarray:
        """Unit normals in world axes, float32; zero where more than half is background. ``(H, W, 3)``."""
        points = self.rendering.xyz[0].permute(1, 2, 0)  # (H, W, 3)
        normals = meshes.field_normals(self.identity.field, points.reshape(-1, 3).clone()).view(points.shape)
        return _numpy(normals * (self.rendering.background[0, 0] <= 0.5)[..., None])


@dataclass(frozen=True)
class SdfSlice:
    """A cut through the field along the vertical plane that holds the camera, and the camera's central ray in it.

    The plane contains the world's y axis and the camera. Its axes are *horizontal*, towards the side where the camera
    stands (z for a frontal camera), and *vertical*, the world's y; both in world units with the scene's centre at 0.

    Attributes:
        sdf: Signed distance, world units, negative inside; rows run along ``vertical``, upwards. ``(V, H)``.
        horizontal: Coordinates of the columns, ascending, from −scene_radius to scene_radius. ``(H,)``.
        vertical: Coordinates of the rows, ascending. ``(V,)``.
        ray_points: Samples of the central ray as (horizontal, vertical), near to far. ``(S, 2)``.
        ray_depth: z-depth of the samples, world units. ``(S,)``.
        ray_sdf: Signed distance at the samples. ``(S,)``.
        ray_density: Volume density at the samples, 1/length. ``(S,)``.
        ray_weights: Share of the pixel's colour owed to each sample, in [0, 1]. ``(S,)``.
        camera_position: The camera in the plane, (horizontal, vertical); it stands outside of the picture.
        beta: Sharpness of the density, world units.
    """

    sdf: np.ndarray
    horizontal: np.ndarray
    vertical: np.ndarray
    ray_points: np.ndarray
    ray_depth: np.ndarray
    ray_sdf: np.ndarray
    ray_density: np.ndarray
    ray_weights: np.ndarray
    camera_position: tuple[float, float]
    beta: float


class StyleSDF(HubMixin, Generator):
    """A generator that people can talk to.

    ``StyleSDF.from_pretrained`` loads one; called with tensors it is ``Generator.forward``. In all methods below a
    *seed* is an integer from 0 to 2³² − 1 that names one latent on every device, *truncation* lies in [0, 1]
    (0 is the mean head, 1 the full variety), and *yaw* and *pitch* are radians (0 is frontal; positive yaw moves the
    camera to +x, positive pitch to +y).
    """

    def latents(self, seeds: int | Iterable[int]) -> Tensor:
        """Draw one latent per seed, each from a generator of its own, so that company and order do not matter.

        Args:
            seeds: One or several.

        Returns:
            z, on the model's device. ``(N, latent_size)``.

        Raises:
            ValueError: No seed, or one that is not an integer from 0 to 2³² − 1.
        """
        draws = [
            torch.randn(self.config.latent_size, generator=torch.Generator("cpu").manual_seed(seed))
            for seed in check_seeds(seeds)
        ]
        return torch.stack(draws).to(self.w_avg)

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
            seeds: One identity each.
            truncation: In [0, 1].
            yaw: Radians, one for all or one per seed.
            pitch: Radians, strictly between −π/2 and π/2, one for all or one per seed.
            fov_deg: Full field of view in degrees; None takes the model's.
            noise_mode: The decoder's noise: ``"const"``, ``"random"`` (drawn anew at every call) or ``"none"``.
            texture_seed: Seed whose style all decoder layers but the first take; shape stays with ``seeds``.
            quality: See ``view``.

        Raises:
            ValueError: An argument out of range, or a texture seed for a renderer-only model.
        """
        seeds = check_seeds(seeds)
        truncation = check_truncation(truncation)
        yaws, pitches = _one_per_seed("yaw", yaw, len(seeds)), _one_per_seed("pitch", pitch, len(seeds))
        self._check_style(noise_mode, texture_seed, quality)
        cameras = [Camera.from_angles(y, p, fov_deg) for y, p in zip(yaws, pitches)]
        views = (
            self._view(self.identity(seed, truncation, texture_seed), camera, quality, noise_mode)
            for seed, camera in zip(seeds, cameras)
        )
        results = [(view.image, view.thumbnail, view.depth, view.normals, view.background) for view in views]
        images, thumbnails, depth, normals, background = zip(*results)
        return GenerateResult(
            images=list(images),
            thumbnails=list(thumbnails),
            depth=np.stack(depth),
            normals=np.stack(normals),
            background=np.stack(background),
            seeds=tuple(seeds),
            truncation=truncation,
        )

    @without_gradients
    def identity(self, seed: int, truncation: float = 0.7, texture_seed: int | None = None) -> Identity:
        """Compute all of one head that does not depend on the camera, for any number of views of it.

        Args:
            seed: The identity.
            truncation: In [0, 1].
            texture_seed: See ``generate``.

        Raises:
            ValueError: An argument out of range, or a texture seed for a renderer-only model.
        """
        psi = check_truncation(truncation)
        self._check_style("const", texture_seed)
        w, ws = self._code(seed, psi), None
        if self.config.has_decoder:
            mix_w = None if texture_seed is None else self._code(texture_seed, psi)
            ws = self.decoder_codes(w, psi, mix_w, None if mix_w is None else 1)
        texture_seed = None if texture_seed is None else check_seed(texture_seed)
        return self._identity(w, ws, check_seed(seed), psi, texture_seed)

    @without_gradients
    def identity_from_codes(self, w: Tensor, ws: Tensor | None = None) -> Identity:
        """Make an identity of any codes.

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
        have = None if ws is None else tuple(ws.shape)
        if have != shape:
            raise ValueError(f"ws has shape {have}, expected {shape}")
        return self._identity(w, None if ws is None else ws.to(self.w_avg, copy=True))

    def blend(self, first: Identity, second: Identity, share: float) -> Identity:
        """Make the identity between two of this model's, for morphs: lerp(first, second, share) in both code spaces.

        Args:
            first: Share 0.
            second: Share 1.
            share: Of the second; beyond [0, 1] it extrapolates.

        Raises:
            ValueError: A share that is not a finite number.
        """
        share = _number("share", share)
        ws = None if first.ws is None else torch.lerp(first.ws, second.ws, share)
        identity = self.identity_from_codes(torch.lerp(first.w, second.w, share), ws)
        return replace(identity, parents=(first.origin, second.origin), share=share)

    def view(
        self,
        identity: Identity,
        yaw: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        fov_deg: float | None = None,
        quality: str = "exact",
        noise_mode: str = "const",
    ) -> View:
        """Look at an identity.

        Args:
            identity: Of ``identity``, ``identity_from_codes`` or ``blend`` of this model.
            yaw: Radians.
            pitch: Radians, strictly between −π/2 and π/2.
            roll: Radians, positive turns the camera counter-clockwise, as seen by itself.
            fov_deg: Full field of view in degrees; None takes the model's.
            quality: ``"exact"`` renders as trained. ``"fast"`` spends samples near the surface only, where a coarse
                grid, measured once per identity, says it can be, and decodes in bfloat16 where the processor has it;
                a model whose density is too soft to have a surface is rendered as trained. ``"best"`` takes four
                times the samples of the training.
            noise_mode: See ``generate``.

        Raises:
            ValueError: An argument out of range.
        """
        self._check_style(noise_mode, None, quality)
        camera = Camera.from_angles(*_angles(yaw, pitch), fov_deg, _number("roll", roll))
        return self._view(identity, camera, quality, noise_mode)

    def thumbnail(
        self,
        seed: int | Identity,
        truncation: float = 0.7,
        yaw: float = 0.0,
        pitch: float = 0.0,
        fov_deg: float | None = None,
        quality: str = "exact",
    ) -> Image.Image:
        """Render the thumbnail only, without the decoder: quick enough to follow a hand.

        Args:
            seed: A seed, or the identity itself, which saves half of the time of ``"fast"``.
            truncation: In [0, 1]; unread with an identity.
            yaw: Radians.
            pitch: Radians, strictly between −π/2 and π/2.
            fov_deg: Full field of view in degrees; None takes the model's.
            quality: See ``view``.

        Returns:
            A picture, H×W.

        Raises:
            ValueError: An argument out of range.
        """
        self._check_style("const", None, quality)
        camera = Camera.from_angles(*_angles(yaw, pitch), fov_deg)
        identity = seed if isinstance(seed, Identity) else self._identity(self._code(seed, truncation), None)
        return to_pil(self._render(identity, camera, quality, with_features=False).thumbnail)

    def extract_mesh(
        self,
        seed: int | Identity,
        truncation: float = 0.7,
        resolution: int = 128,
        progress: Callable[[float], None] | None = None,
        keep: str = "largest",
    ) -> trimesh.Trimesh:
        """Extract the surface of one identity as a coloured mesh in world units.

        Args:
            seed: A seed, or the identity itself.
            truncation: In [0, 1]; unread with an identity.
            resolution: Grid samples per side, from 32 to 512; time and memory grow with its square.
            progress: Called with the share that is done, in [0, 1], now and then.
            keep: ``"largest"`` drops every piece of surface but the largest; ``"all"`` keeps them.

        Returns:
            The mesh; ``metadata`` tells what ``provenance`` does, resolution and how many pieces were dropped.

        Raises:
            ValueError: An argument out of range, or a field without a surface.
        """
        w = seed.w if isinstance(seed, Identity) else self._code(seed, truncation)
        mesh = meshes.extract_mesh(self, w, resolution, keep=keep, progress=progress)
        mesh.metadata.update(self.provenance(seed, truncation))
        return mesh

    def render_orbit(
        self,
        seed: int | Identity,
        truncation: float = 0.7,
        num_frames: int = 60,
        yaw_range: float = 0.5,
        pitch_range: float = 0.25,
        fov_deg: float | None = None,
        noise_mode: str = "const",
        texture_seed: int | None = None,
        quality: str = "exact",
        path: str = "ellipse",
    ) -> Iterator[Image.Image]:
        """Render one identity along a closed path around the frontal view, frame by frame as they are asked for.

        Args:
            seed: A seed, or the identity itself.
            truncation: In [0, 1]; unread with an identity.
            num_frames: Frames of one round.
            yaw_range: Largest yaw, radians.
            pitch_range: Largest pitch, radians, below π/2.
            fov_deg: Full field of view in degrees; None takes the model's.
            noise_mode: See ``generate``.
            texture_seed: See ``generate``; unread with an identity.
            quality: See ``view``.
            path: ``"ellipse"`` goes once around the frontal view. ``"sweep"`` turns to and fro at pitch 0.
                ``"spiral"`` swings three times to both sides while the camera rises from below, and mirrored on its
                way back.

        Returns:
            Iterator of pictures, R×R. Arguments are checked at once, not at the first frame.

        Raises:
            ValueError: An argument out of range.
        """
        views = self.orbit_views(
            seed, truncation, num_frames, yaw_range, pitch_range, fov_deg, noise_mode, texture_seed, quality, path
        )
        return (view.image for view in views)

    def orbit_views(
        self,
        seed: int | Identity,
        truncation: float = 0.7,
        num_frames: int = 60,
        yaw_range: float = 0.5,
        pitch_range: float = 0.25,
        fov_deg: float | None = None,
        noise_mode: str = "const",
        texture_seed: int | None = None,
        quality: str = "exact",
        path: str = "ellipse",
    ) -> Iterator[View]:
        """Look at one identity along a closed path: ``render_orbit`` with depth, normals and thumbnails.

        Args:
            seed: See ``render_orbit``, as all the others.
            truncation: In [0, 1]; unread with an identity.
            num_frames: Views of one round.
            yaw_range: Largest yaw, radians.
            pitch_range: Largest pitch, radians, below π/2.
            fov_deg: Full field of view in degrees.
            noise_mode: Of the decoder.
            texture_seed: Unread with an identity.
            quality: Of each view.
            path: Of the camera.

        Returns:
            Iterator of views. Arguments are checked at once, not at the first view.

        Raises:
            ValueError: An argument out of range.
        """
        num_frames = check_num_frames(num_frames)
        is_identity = isinstance(seed, Identity)
        self._check_style(noise_mode, None if is_identity else texture_seed, quality)
        angles = orbit_angles(num_frames, *_angles(yaw_range, pitch_range, names=("yaw_range", "pitch_range")), path)
        cameras = [Camera.from_angles(yaw, pitch, fov_deg) for yaw, pitch in angles]
        identity = seed if is_identity else self.identity(seed, truncation, texture_seed)
        return (self._view(identity, camera, quality, noise_mode) for camera in cameras)

    def morph_views(
        self,
        identities: Iterable[Identity],
        num_frames: int = 60,
        yaw: float = 0.0,
        pitch: float = 0.0,
        fov_deg: float | None = None,
        noise_mode: str = "const",
        quality: str = "exact",
        path: str | None = None,
        yaw_range: float = 0.5,
        pitch_range: float = 0.25,
    ) -> Iterator[View]:
        """Go from each identity to the next and from the last back to the first, for a film that loops.

        Every leg takes the same time, starts and ends slowly, and is a ``blend``.

        Args:
            identities: Two or more of this model.
            num_frames: Views of one round, at least one per identity.
            yaw: Radians.
            pitch: Radians, strictly between −π/2 and π/2.
            fov_deg: Full field of view in degrees; None takes the model's.
            noise_mode: See ``generate``.
            quality: See ``view``.
            path: None keeps the camera still; else it goes one round of that path of ``render_orbit`` meanwhile,
                around ``yaw`` and ``pitch``.
            yaw_range: Largest yaw of the path, radians.
            pitch_range: Largest pitch of the path, radians.

        Returns:
            Iterator of views; the ``identity`` of each knows its parents. Arguments are checked at once, not at the
            first view.

        Raises:
            ValueError: Fewer than two identities, one of another model, or an argument out of range.
        """
        identities = list(identities)
        if len(identities) < 2:
            raise ValueError(f"identities are {len(identities)}, expected at least two")
        for i, identity in enumerate(identities):
            if not isinstance(identity, Identity) or identity.config != self.config:
                raise ValueError(f"identities[{i}] is not an identity of this model, expected one of model.identity")
        num_frames = check_num_frames(num_frames, len(identities))
        self._check_style(noise_mode, None, quality)
        yaw, pitch = _angles(yaw, pitch)
        ranges = _angles(yaw_range, pitch_range, names=("yaw_range", "pitch_range"))
        angles = [(0.0, 0.0)] * num_frames if path is None else orbit_angles(num_frames, *ranges, path)
        cameras = [Camera.from_angles(yaw + aside, pitch + up, fov_deg) for aside, up in angles]

        def views() -> Iterator[View]:
            for frame, camera in enumerate(cameras):
                leg, step = divmod(frame * len(identities), num_frames)
                t = step / num_frames
                share = t * t * (3.0 - 2.0 * t)  # smoothstep: both ends at rest
                blend = self.blend(identities[leg], identities[(leg + 1) % len(identities)], share)
                yield self._view(blend, camera, quality, noise_mode)

        return views()

    def slice_sdf(
        self,
        seed: int | Identity,
        truncation: float = 0.7,
        yaw: float = 0.0,
        pitch: float = 0.0,
        resolution: int = 96,
    ) -> SdfSlice:
        """Cut the field open along the vertical plane that holds the camera, and follow its central ray.

        Args:
            seed: A seed, or the identity itself.
            truncation: In [0, 1]; unread with an identity.
            yaw: Radians; turns the plane.
            pitch: Radians; tilts the ray in it.
            resolution: Samples per side of the picture, from 8 to 1024.

        Raises:
            ValueError: An argument out of range.
        """
        if isinstance(resolution, bool) or not isinstance(resolution, int) or not 8 <= resolution <= 1024:
            raise ValueError(f"resolution is {resolution!r}, expected an integer from 8 to 1024")
        camera = Camera.from_angles(*_angles(yaw, pitch)).to(self.device, self.dtype)
        with torch.no_grad():
            is_identity = isinstance(seed, Identity)
            field = seed.field if is_identity else self.field.condition(self._code(seed, truncation))
            return self._slice(field, camera, resolution)

    def export_live(self, path: str | os.PathLike, weights: str = "float16", fov_deg: float | None = None) -> None:
        """Write a web page that draws this model's heads by itself, offline, with the field's own colour.

        Args:
            path: Ends in .html. A missing folder is made; the file appears only once it is complete.
            weights: ``"float16"`` (distances off by at most 1e-4 in the bundled models) or ``"float32"``, twice the
                size.
            fov_deg: Full field of view that the page opens with, degrees; None takes the model's.

        Raises:
            ValueError: Another ending, unknown weights, a field of view out of range, or a model that a page cannot
                draw.
        """
        write_live_page(self, path, weights, fov_deg, version=__version__)

    def provenance(
        self, seed: int | Identity, truncation: float = 0.7, texture_seed: int | None = None
    ) -> dict[str, object]:
        """Say where a result comes from, fit for JSON.

        Args:
            seed: A seed, or the identity itself.
            truncation: In [0, 1]; unread with an identity.
            texture_seed: See ``generate``; unread with an identity.

        Returns:
            ``seed``, ``truncation`` and, where there is one, ``texture_seed``; for a blend ``parents``, which holds the
            same of each, and ``share``; then ``model``, ``commit`` and package ``version``. Seed and truncation are
            None for codes from elsewhere.

        Raises:
            ValueError: An argument out of range.
        """
        if isinstance(seed, Identity):
            origin = seed.origin
        else:
            texture_seed = None if texture_seed is None else check_seed(texture_seed)
            origin = _origin(check_seed(seed), check_truncation(truncation), texture_seed)
        return {
            **origin,
            "model": str(getattr(self, "name_or_path", None) or "unnamed"),
            "commit": getattr(self, "commit_hash", None) or "",
            "version": __version__,
        }

    @without_gradients
    def _code(self, seed: int, truncation: float) -> Tensor:
        return self.mapping(self.latents([seed]), check_truncation(truncation))  # (1, latent_size)

    def _check_style(self, noise_mode: str, texture_seed: int | None, quality: str = "exact") -> None:
        if quality not in QUALITIES:
            raise ValueError(f"quality is {quality!r}, expected one of {', '.join(QUALITIES)}")
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode is {noise_mode!r}, expected one of {', '.join(NOISE_MODES)}")
        if texture_seed is not None:
            check_seed(texture_seed)
            if not self.config.has_decoder:
                raise ValueError(f"texture_seed is {texture_seed}, but a renderer-only model has no decoder to style")

    @without_gradients
    def _identity(self, w: Tensor, ws: Tensor | None, *origin) -> Identity:
        decoder = None if ws is None else self.decoder.condition(ws)
        return Identity(w, ws, self.field.condition(w), decoder, self.config, *origin)

    @without_gradients
    def _view(self, identity: Identity, camera: Camera, quality: str, noise_mode: str) -> View:
        decoder = identity.fast_decoder if quality == "fast" else identity.decoder
        rendering = self._render(identity, camera, quality, with_features=decoder is not None)
        return View(identity, rendering, decoder, noise_mode)

    @without_gradients
    def _render(self, identity: Identity, camera: Camera, quality: str, with_features: bool) -> RenderOutput:
        camera = camera.to(self.device, self.dtype)
        num_samples = self.config.num_samples
        if quality == "fast":
            return render_guided(self.renderer, identity.field, identity.guide, camera, with_features=with_features)
        if quality == "best":
            num_samples *= BEST_OVERSAMPLING
        return self.render(identity.field, camera, num_samples=num_samples, with_features=with_features)

    def _slice(self, field: ConditionedField, camera: Camera, resolution: int) -> SdfSlice:
        config, back = self.config, camera.cam2world[0, :, 2]
        up = torch.tensor([0.0, 1.0, 0.0]).to(back)
        aside = back * torch.tensor([1.0, 0.0, 1.0]).to(back)
        aside = aside / aside.norm()  # the plane's horizontal axis; the pitch is below π/2, so it has a length
        axis = torch.linspace(-config.scene_radius, config.scene_radius, resolution).to(back)
        points = axis[:, None, None] * up + axis[None, :, None] * aside  # (V, H, 3)
        sdf = torch.cat([field.sdf(row[None])[0] for row in points.reshape(-1, 3).split(points_per_chunk(self.device))])

        depth = sample_depths(config.near, config.far, config.num_samples, back)  # (1, 1, 1, S)
        ray = (camera.cam2world[0, :, 3] - depth[..., None] * back).reshape(-1, 3)  # (S, 3)
        ray_sdf = field.sdf(ray[None])[0]
        density = density_from_sdf(ray_sdf, self.renderer.beta, config.density)
        weights = self.renderer.sample_weights(ray_sdf.view_as(depth), depth, -back.expand(1, 1, 1, 3))
        return SdfSlice(
            sdf=_numpy(sdf.view(resolution, resolution)),
            horizontal=_numpy(axis),
            vertical=_numpy(axis),
            ray_points=_numpy(torch.stack([ray @ aside, ray @ up], dim=-1)),
            ray_depth=_numpy(depth.flatten()),
            ray_sdf=_numpy(ray_sdf),
            ray_density=_numpy(density),
            ray_weights=_numpy(weights.flatten()),
            camera_position=((back @ aside).item(), (back @ up).item()),
            beta=self.renderer.beta.item(),
        )


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is quicker than float32 there: on GPUs and processors with instructions for it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def to_pil(image: Tensor) -> Image.Image:
    """Turn one image in [−1, 1], ``(3, H, W)`` or ``(1, 3, H, W)``, into a picture; values beyond are clipped."""
    image = image.reshape(image.shape[-3:]).float()
    levels = ((image + 1.0) * 0.5).clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())


def check_seed(seed: int) -> int:
    """Return the seed as a plain integer.

    Raises:
        ValueError: It is not an integer from 0 to 2³² − 1; booleans and floats are not integers.
    """
    try:
        value = None if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        value = None
    if value is None or not 0 <= value <= MAX_SEED:
        raise ValueError(f"seed is {seed!r}, expected an integer from 0 to {MAX_SEED}")
    return value


def check_seeds(seeds: int | Iterable[int]) -> list[int]:
    """Return one or several seeds as a list of plain integers.

    Raises:
        ValueError: There is none, or one of them is not a seed.
    """
    if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Iterable):
        return [check_seed(seeds)]
    checked = [check_seed(seed) for seed in seeds]
    if not checked:
        raise ValueError("seeds is empty, expected at least one seed")
    return checked


def check_truncation(truncation: float) -> float:
    """Return the truncation as a float.

    Raises:
        ValueError: It is not a number in [0, 1].
    """
    value = _number("truncation", truncation)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"truncation is {truncation!r}, expected a number from 0 to 1")
    return value


def check_num_frames(num_frames: int, lowest: int = 1) -> int:
    """Return the number of frames.

    Raises:
        ValueError: It is not an integer from ``lowest`` to 10,000.
    """
    if isinstance(num_frames, bool) or not isinstance(num_frames, int) or not lowest <= num_frames <= MAX_FRAMES:
        raise ValueError(f"num_frames is {num_frames!r}, expected an integer from {lowest} to {MAX_FRAMES}")
    return num_frames


def parse_seeds(text: str) -> list[int]:
    """Read seeds from text: numbers and ranges with both ends, separated by commas, as in ``"0-3,7"``.

    Args:
        text: The numbers, each from 0 to 2³² − 1.

    Raises:
        ValueError: Not such a text, a seed beyond 2³² − 1, a range that runs backwards, or more than 10,000 seeds.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not (_is_digits(first) and (_is_digits(last) if dash else not last)):
            raise ValueError(f"seeds are {text!r}, expected integers from 0 to {MAX_SEED} and ranges as in 0-3,7")
        start = check_seed(int(first))
        stop = check_seed(int(last)) if dash else start
        if stop < start:
            raise ValueError(f"the range of seeds {part.strip()} runs backwards, expected {stop}-{start}")
        if len(seeds) + stop - start + 1 > MAX_SEEDS:
            raise ValueError(f"seeds {text!r} are more than {MAX_SEEDS}, expected no more")
        seeds.extend(range(start, stop + 1))
    return seeds


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def write_video(frames: Iterable[Image.Image], path: str | os.PathLike, fps: float = 30.0) -> None:
    """Write frames as a film that loops where its format can; the file appears only once it is complete.

    Args:
        frames: Pictures of one size.
        path: Ends in .mp4 (H.264), .gif or .webp (both loop forever).
        fps: Frames per second, above 0 and at most 100.

    Raises:
        ValueError: Another ending, no frame, or frames per second out of range.
    """
    path = check_ending(path, VIDEO_ENDINGS)
    fps = _number("fps", fps)
    if not 0.0 < fps <= 100.0:
        raise ValueError(f"fps is {fps!r}, expected frames per second above 0 and at most 100")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("there are no frames to write")
    with replacing(path) as temporary:
        if path.suffix.lower() == ".mp4":
            import imageio.v2 as imageio

            # yuv420p, which every player reads, needs even sides
            with imageio.get_writer(temporary, format="FFMPEG", fps=fps, codec="libx264", quality=8,
                                    pixelformat="yuv420p", macro_block_size=2) as writer:  # fmt: skip
                writer.append_data(np.asarray(first))
                for frame in frames:
                    writer.append_data(np.asarray(frame))
        else:
            options = {"quality": 90, "method": 4} if path.suffix.lower() == ".webp" else {}
            duration = round(1000.0 / fps)
            first.save(temporary, save_all=True, append_images=frames, duration=duration, loop=0, **options)


def _origin(seed: int | None, truncation: float | None, texture_seed: int | None) -> dict:
    texture = {} if texture_seed is None else {"texture_seed": texture_seed}
    return {"seed": seed, "truncation": truncation, **texture}


def _numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()


def _number(name: str, value: float) -> float:
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is {value!r}, expected a finite number")
    return number


def _angles(yaw, pitch, names=("yaw", "pitch")) -> tuple[float, float]:
    return _number(names[0], yaw), _number(names[1], pitch)


def _one_per_seed(name: str, value, num_seeds: int) -> list[float]:
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return [_number(name, value)] * num_seeds
    if len(value) != num_seeds:
        raise ValueError(f"{name} has {len(value)} values for {num_seeds} seeds, expected one for all or one per seed")
    return [_number(name, item) for item in value]
