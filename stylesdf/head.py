"""A head: all of one identity that does not depend on the camera, and what can be asked of it.

Shapes: H W thumbnail, R image, L decoder codes.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylesdf import mesh as meshes
from stylesdf.antialias import blend_with_last, render_antialiased
from stylesdf.arguments import check_integer
from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig
from stylesdf.fast.decoder import ConditionedDecoder
from stylesdf.fast.field import CompiledField
from stylesdf.fast.surface import SurfaceGuide, render_guided
from stylesdf.field import ConditionedField
from stylesdf.files import check_ending, replacing
from stylesdf.outputs import RenderOutput
from stylesdf.pictures import relit, to_numpy, to_pil
from stylesdf.renderer import VolumeRenderer
from stylesdf.shot import Shot
from stylesdf.slice import SdfSlice, slice_field
from stylesdf.torch_state import ordinary_torch

if TYPE_CHECKING:
    import trimesh

HEAD_ENDINGS = (".safetensors",)
MAX_HEAD_BYTES = 1 << 20
MAX_GENERATIONS = 6  # of parents that a blend names
HEAD_KEY = "stylesdf_head"  # of a head file's metadata
FRONT = Shot()


@dataclass(frozen=True)
class Head:
    """One head: of a seed (``StyleSDF.head``), between two (``StyleSDF.blend``) or of pictures (``StyleSDF.invert``).

    It holds the model's weights as they were; a model that has learned or moved since needs new heads.

    Attributes:
        w: Renderer code, truncated. ``(1, latent_size)``.
        ws: Decoder codes, one per layer; None in a renderer-only model. ``(1, L, decoder_style_size)``.
        field: The signed distance field of this head.
        decoder: The decoder of this head, its weights modulated; None in a renderer-only model.
        renderer: The model's.
        origin: Where it comes from, fit for JSON: ``seed``, ``truncation`` and, where there is one, ``texture_seed``;
            for a blend ``parents``, which holds the same of each, six generations back, and ``share`` of the second.
            Seed and truncation are None for codes from elsewhere; ``pictures`` says in how many a head was found,
            ``edits`` what was changed.
        model: ``model``, ``commit`` and package ``version``, as texts.
    """

    w: Tensor
    ws: Tensor | None
    field: ConditionedField
    decoder: ConditionedDecoder | None
    renderer: VolumeRenderer
    origin: dict = dataclasses.field(default_factory=lambda: {"seed": None, "truncation": None})
    model: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def config(self) -> StyleSDFConfig:
        """The model's."""
        return self.renderer.config

    @property
    def provenance(self) -> dict[str, object]:
        """Where it comes from, fit for JSON: ``origin`` and ``model`` together."""
        return {**self.origin, **self.model}

    @ordinary_torch()
    def view(self, shot: Shot = FRONT) -> View:
        """Look at it.

        Args:
            shot: Camera, quality, noise and light.
        """
        decoder = self.fast_decoder if shot.quality == "fast" else self.decoder
        return View(self, self._render(shot, with_features=decoder is not None), decoder, shot)

    @ordinary_torch()
    def thumbnail(self, shot: Shot = FRONT) -> Image.Image:
        """Render the thumbnail only, H×W, without the decoder: quick enough to follow a hand.

        Args:
            shot: Camera and quality.
        """
        return to_pil(self._render(shot, with_features=False).thumbnail)

    def orbit(
        self,
        num_frames: int = 60,
        path: str = "ellipse",
        yaw_range: float = 0.5,
        pitch_range: float = 0.25,
        shot: Shot = FRONT,
    ) -> Iterator[View]:
        """Look at it along a closed path, one view after the other as they are asked for.

        Args:
            num_frames: Views of one round, from 1 to 10,000.
            path: ``"ellipse"``, ``"sweep"`` or ``"spiral"``; see ``Shot.round``.
            yaw_range: Largest yaw of the path, radians.
            pitch_range: Largest pitch of the path, radians.
            shot: Around which it goes.

        Returns:
            Iterator of views. Arguments are checked at once, not at the first view. With quality ``"best"`` a picture
            is blended with the one before, moved as the surface moved, so that films flicker less.

        Raises:
            ValueError: An argument out of range.
        """
        shots = shot.round(num_frames, path, yaw_range, pitch_range)

        def views() -> Iterator[View]:
            last = None
            for each in shots:
                view = self.view(each)
                if each.quality == "best" and last is not None:
                    view._blend_with(last)
                last = view
                yield view

        return views()

    @ordinary_torch()
    def mesh(
        self, resolution: int = 128, progress: Callable[[float], None] | None = None, keep: str = "largest"
    ) -> trimesh.Trimesh:
        """Extract its surface as a coloured mesh in world units.

        Args:
            resolution: Grid samples per side, from 32 to 512; time and memory grow with its square.
            progress: Called with the share that is done, in [0, 1], now and then.
            keep: ``"largest"`` drops every piece of surface but the largest; ``"all"`` keeps them.

        Returns:
            The mesh; ``metadata`` tells what ``provenance`` does, resolution and how many pieces were dropped.

        Raises:
            ValueError: An argument out of range, or a field without a surface.
        """
        resolution = check_integer("resolution", resolution, meshes.MIN_RESOLUTION, meshes.MAX_RESOLUTION)
        mesh = meshes.mesh_of_field(self.field, self.config, resolution, keep, progress=progress)
        mesh.metadata.update(self.provenance)
        return mesh

    @ordinary_torch()
    def slice(self, yaw: float = 0.0, pitch: float = 0.0, resolution: int = 96) -> SdfSlice:
        """Cut its field open along the vertical plane that holds the camera, and follow the camera's central ray.

        Args:
            yaw: Radians; turns the plane.
            pitch: Radians, strictly between −π/2 and π/2; tilts the ray in it.
            resolution: Samples per side of the picture, from 8 to 1024.

        Raises:
            ValueError: An argument out of range.
        """
        return slice_field(self.renderer, self.field, self._here(Shot(yaw, pitch).camera), resolution)

    def save(self, path: str | os.PathLike) -> None:
        """Write its codes and where it comes from; ``StyleSDF.load_head`` reads them.

        Args:
            path: Ends in .safetensors. The file appears only once it is complete.

        Raises:
            ValueError: Another ending, or a head that was edited thousands of times.
        """
        from safetensors.torch import save

        path = check_ending(path, HEAD_ENDINGS)
        codes = {"w": self.w} if self.ws is None else {"w": self.w, "ws": self.ws}
        tensors = {name: code.detach().float().cpu().contiguous() for name, code in codes.items()}
        content = save(tensors, {HEAD_KEY: json.dumps(self.provenance)})
        if len(content) > MAX_HEAD_BYTES:
            raise ValueError(f"the head and where it comes from take {len(content):,} bytes, over {MAX_HEAD_BYTES:,}")
        with replacing(path) as temporary:
            temporary.write_bytes(content)

    def compiled(self, backend: str = "inductor") -> Head:
        """Return the same head, seen through ``torch.compile``: for many views of one head, mostly on a GPU.

        The first view of each quality compiles, for seconds to minutes; other heads of the model share that. Pictures
        differ by rounding. What is not compiled: slices, meshes, normals and the grid of ``"fast"`` and ``"best"``. It
        needs a C++ compiler on a CPU and Triton on a GPU; a ZeroGPU Space, which forks for every call, cannot use it.

        Args:
            backend: Of ``torch.compile``.
        """
        decoder = self.decoder and self.decoder.compiled(backend)
        return replace(self, field=CompiledField(**{**vars(self.field), "backend": backend}), decoder=decoder)

    @cached_property
    @ordinary_torch()
    def fast_decoder(self) -> ConditionedDecoder | None:
        """The decoder in bfloat16, where the processor multiplies that."""
        return self.decoder.to(torch.bfloat16) if self.decoder and has_bfloat16(self.w.device) else self.decoder

    @cached_property
    @ordinary_torch()
    def guide(self) -> SurfaceGuide:
        """Where the surface can be, measured once on a coarse grid."""
        return SurfaceGuide.measure(self.field, self.config)

    def _here(self, camera: Camera) -> Camera:
        return camera.to(self.w.device, self.w.dtype)

    def _render(self, shot: Shot, with_features: bool) -> RenderOutput:
        camera = self._here(shot.camera)
        if shot.quality == "exact":
            return self.renderer(self.field, camera, with_features=with_features)
        render = render_guided if shot.quality == "fast" else render_antialiased
        return render(self.renderer, self.field, self.guide, camera, with_features=with_features)


class View:
    """One head from one camera; each part is computed when it is first asked for.

    Args:
        head: Who is seen; an attribute too, as the next.
        rendering: The volume rendering as tensors, of batch size 1.
        decoder: Makes the image; None in a renderer-only model.
        shot: How it is looked at; an attribute too.
    """

    def __init__(self, head: Head, rendering: RenderOutput, decoder: ConditionedDecoder | None, shot: Shot) -> None:
        self.head = head
        self.rendering = rendering
        self.shot = shot
        self._decoder = decoder

    @cached_property
    @ordinary_torch()
    def image(self) -> Image.Image:
        """The picture, R×R, in the shot's light; in a renderer-only model the thumbnail stands in."""
        return self.in_light(self.thumbnail if self._decoder is None else to_pil(self._decoded))

    @cached_property
    @ordinary_torch()
    def _decoded(self) -> Tensor:
        """What the decoder makes, ``(1, 3, R, R)``; ``_blend_with`` puts the blend in its place."""
        return self._decoder(self.rendering.features, self.shot.noise_mode)

    @ordinary_torch()
    def _blend_with(self, last: View) -> None:
        """Blend the picture with that of the view before, and keep it for the next one; see ``Head.orbit``."""
        if self._decoder is None:
            return
        camera, fov_deg = last.shot.camera.to(self.head.w.device), self.head.config.fov_deg
        self._decoded = blend_with_last(self._decoded, self.rendering, last._decoded, last.rendering, camera, fov_deg)

    def in_light(self, picture: Image.Image) -> Image.Image:
        """Return a picture of this view, of any size, in the shot's light."""
        light = self.shot.light
        return picture if light is None else relit(picture, self.normals, self.background, light)

    @cached_property
    def thumbnail(self) -> Image.Image:
        """What the volume renderer sees, H×W."""
        return to_pil(self.rendering.thumbnail)

    @cached_property
    def depth(self) -> np.ndarray:
        """Expected z-depth along the optical axis, world units, float32. ``(H, W)``."""
        return to_numpy(self.rendering.depth[0, 0])

    @cached_property
    def background(self) -> np.ndarray:
        """Share of the pixel that does not belong to the surface, in [0, 1], float32. ``(H, W)``."""
        return to_numpy(self.rendering.background[0, 0])

    @cached_property
    @ordinary_torch()
    def normals(self) -> np.ndarray:
        """Unit normals in world axes, float32; zero where more than half is background. ``(H, W, 3)``."""
        points = self.rendering.xyz[0].permute(1, 2, 0)  # (H, W, 3)
        normals = meshes.field_normals(self.head.field, points.reshape(-1, 3)).view(points.shape)
        return to_numpy(normals * (self.rendering.background[0, 0] <= 0.5)[..., None])


def read_head(path: str | os.PathLike) -> tuple[Tensor, Tensor | None, dict]:
    """Read what ``Head.save`` wrote.

    Returns:
        Renderer code, decoder codes if it has some, and its provenance.

    Raises:
        ValueError: Not such a file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = check_ending(path, HEAD_ENDINGS)
    if not path.is_file():
        raise ValueError(f"{path} is not a file, expected a head that was saved")
    try:
        if path.stat().st_size > MAX_HEAD_BYTES:
            raise ValueError(f"it has more than {MAX_HEAD_BYTES:,} bytes")
        data = path.read_bytes()  # not mapped, so that a file that is cut meanwhile is no fault of the system
        codes = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        provenance = json.loads(header["__metadata__"][HEAD_KEY])
        w = codes["w"]
        if not isinstance(provenance, dict) or not isinstance(provenance.get("edits", []), list):
            raise ValueError("it does not say where it comes from")
        if not all(code.isfinite().all() for code in codes.values()):
            raise ValueError("its codes are not numbers")
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise ValueError(f"{path} is not a head that was saved ({reason})") from error
    return w, codes.get("ws"), provenance


def recent_origin(origin: dict, generations: int = MAX_GENERATIONS) -> dict:
    """Return where a head comes from with so many generations of parents; those before are left out."""
    parents = origin.get("parents")
    if not isinstance(parents, list):
        return origin
    if generations == 0:
        return origin | {"parents": "left out"}
    return origin | {"parents": [recent_origin(parent, generations - 1) for parent in parents]}


def check_heads(heads: Iterable[Head], config: StyleSDFConfig) -> None:
    """Raise ValueError where one is not a head of a model with this config."""
    for i, head in enumerate(heads):
        if not isinstance(head, Head) or head.config != config:
            raise ValueError(f"heads[{i}] is not a head of this model, expected one of model.head")


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is quicker than float32 there: on GPUs and processors with instructions for it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return True
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
