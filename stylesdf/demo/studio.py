"""What the page and its API make, without the page: pictures, meshes and films of scenes."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stylesdf.arguments import check_integer, check_seed, parse_edits
from stylesdf.camera import PATHS
from stylesdf.config import shown
from stylesdf.demo import pictures
from stylesdf.demo.heads import HeadCache
from stylesdf.demo.models import ModelShelf, pinned
from stylesdf.demo.pace import Pace
from stylesdf.demo.recent import Recent
from stylesdf.demo.scene import Scene
from stylesdf.demo.zero import on_device
from stylesdf.edit import check_edits
from stylesdf.fast.allocator import trim
from stylesdf.files import replacing
from stylesdf.fit import Progress
from stylesdf.head import Head, View
from stylesdf.inversion import Inversion
from stylesdf.mesh import refine_mesh
from stylesdf.pipeline import StyleSDF
from stylesdf.slice import SdfSlice
from stylesdf.texture import bake_texture

if TYPE_CHECKING:
    import trimesh

RESOLUTIONS = (64, 96, 128, 192, 256)
PREVIEW_RESOLUTION = 64
MAX_SMOOTHING = 30
FACES = (1_000, 1_000_000)  # what a mesh can be simplified to
TEXTURED_FACES = 20_000  # of a mesh with a texture at most; unwrapping 50,000 takes four times as long
PICTURES_TO_BAKE = 24  # that could be drawn while a texture is baked for few triangles
SURFACE_SHARE = 0.2  # of the time that a mesh with a texture takes
FRAMES = (2, 120)
FILM_KINDS = (*PATHS, "morph")
FILM_FORMATS = ("MP4", "GIF", "WebP")
MAX_MORPH_SEEDS = 8
ROUND_SECONDS, MORPH_SECONDS = 3.0, 1.5  # of a film round a head, and from one head to the next
MAX_MESHES = 4
GALLERY_PIXELS = 256  # models with larger images show thumbnails in the gallery
MAX_TILES = 240
QUICK_PATIENCE = 1.0  # seconds that a quick picture waits for its turn; the hand has moved on by then
QUICK_JPEG = 85
PLANE_SEEDS = 600
PICTURES_TO_FIND = 140  # that could be drawn while a head is found


@dataclass(frozen=True)
class Look:
    """A scene as it was drawn.

    Attributes:
        scene: What is seen, its model pinned to the commit that was loaded.
        model: Who drew it.
        picture: In the scene's mode.
        texts: For the picture's file: the scene, and where it comes from.
    """

    scene: Scene
    model: StyleSDF
    picture: Image.Image
    texts: dict[str, str]

    def save(self, path: str) -> str:
        """Write a PNG that carries its scene; the same scene gives the same bytes."""
        info = PngInfo()
        for key, value in self.texts.items():
            info.add_text(key, value)
        with replacing(Path(path)) as temporary:
            self.picture.save(temporary, format="png", pnginfo=info)
        return path


class Studio:
    """The models of the page at work.

    A ``Scene`` that a method takes has been checked; what is beyond the limits of the page is a ValueError of one
    sentence.

    Args:
        models: The models.
    """

    def __init__(self, models: ModelShelf) -> None:
        self.models = models
        self.heads = HeadCache()
        self.pace = Pace()
        self._tiles = Recent()
        self._meshes = Recent()
        self._planes: weakref.WeakKeyDictionary[StyleSDF, tuple] = weakref.WeakKeyDictionary()
        self._quick = threading.Lock()

    def calibrate(self) -> None:
        """Do a little of everything once, so that the first estimate is honest."""
        scene = Scene(self.models.default)
        model = self.model(scene)
        head = self.heads.head(model, scene)
        head.view().image  # noqa: B018 - the first of each loads libraries, which is not to count
        head.mesh(PREVIEW_RESOLUTION)
        self.look(scene)
        self.mesh(scene, PREVIEW_RESOLUTION)

    def model(self, scene: Scene) -> StyleSDF:
        """Return the scene's model, which has to be loaded, and has to know its head and edits."""
        model = self.models.get(scene.model)
        if scene.head is not None:
            self.heads.found.codes(model, scene.head)
        if scene.edits:
            check_edits(model, parse_edits(scene.edits))
        return model

    def forget(self, visitor: str | None) -> None:
        """Forget the heads that were found in a visitor's pictures, their tiles and their meshes."""
        names = self.heads.forget(visitor)
        self._tiles.drop(names), self._meshes.drop(names)

    def look(self, scene: Scene) -> Look:
        """Draw a scene."""
        model = self.model(scene)
        view = self._view(model, scene)
        scene = replace(scene, model=pinned(model))
        angles = {f"{axis}_deg": getattr(scene, axis) for axis in ("yaw", "pitch", "roll")}
        texts = scene.metadata({**view.head.provenance, **angles})
        return Look(scene, model, pictures.picture(view, scene.mode), texts)

    def compare(self, scene: Scene, modes: Sequence[str]) -> list[Image.Image]:
        """Draw one scene in several modes, at one size."""
        view = self._view(self.model(scene), scene)
        drawn = [pictures.picture(view, replace(scene, mode=mode).mode) for mode in modes]
        size = max(picture.size for picture in drawn)
        return [picture.resize(size, Image.Resampling.BICUBIC) for picture in drawn]

    def quick(self, fields: dict) -> dict:
        """Draw a scene as fast as it goes, for a hand that moves: ``{"picture": data URL}``, or ``{}`` if too busy.

        Args:
            fields: Of the scene; others are left alone.
        """
        known = {name: fields[name] for name in Scene.__dataclass_fields__ if name in fields}
        scene = Scene(**known)
        if not self._quick.acquire(timeout=QUICK_PATIENCE):
            return {}
        try:
            view = self.heads.view(self.model(scene), scene, "fast")
            is_image = scene.mode == "image"
            drawn = view.in_light(view.thumbnail) if is_image else pictures.picture(view, scene.mode)
            return {"picture": pictures.data_url(drawn, QUICK_JPEG)}
        finally:
            self._quick.release()

    def tile(self, scene: Scene) -> Image.Image:
        """Draw whom a scene shows from the front, small enough for a page of them."""
        model = self.model(scene)
        key = (weakref.ref(model), *scene.identity)

        def make() -> Image.Image:
            is_plain = scene.identity == scene.plain(scene.seed).identity  # there are many: their heads are not kept
            head = model.head(scene.seed, scene.truncation) if is_plain else self.heads.head(model, scene)
            return head.thumbnail() if model.config.image_resolution > GALLERY_PIXELS else head.view().image

        return self._tiles.get(key, make, MAX_TILES)

    def mesh(
        self,
        scene: Scene,
        resolution: int = 128,
        smoothing: int = 0,
        max_faces: int | None = None,
        texture: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> trimesh.Trimesh:
        """Extract the surface; the latest few are kept, so that another format costs little.

        Args:
            scene: Whose.
            resolution: One of ``RESOLUTIONS``.
            smoothing: Rounds, from 0 to 30.
            max_faces: From 1,000 to 1,000,000; None keeps all. With a texture from 1,000 to 20,000.
            texture: Bake the decoder's pictures into a texture, which takes the place of the vertices' colours.
            progress: Called with the share that is done.
        """
        if resolution not in RESOLUTIONS:
            raise ValueError(f"resolution is {shown(resolution)}, expected one of {', '.join(map(str, RESOLUTIONS))}")
        smoothing = check_integer("smoothing", smoothing, 0, MAX_SMOOTHING)
        if max_faces is not None:
            max_faces = check_integer("max_faces", max_faces, *FACES)
        if texture and (max_faces is None or max_faces > TEXTURED_FACES):
            raise ValueError(f"max_faces is {shown(max_faces)}, expected at most {TEXTURED_FACES:,} with a texture")
        model = self.model(scene)
        key = (weakref.ref(model), *scene.surface, resolution, smoothing, max_faces)
        if texture:
            key += ("texture", scene.texture_seed)
        report = progress if progress is not None else lambda share: None

        def bake() -> trimesh.Trimesh:
            surface = self.mesh(
                scene, resolution, smoothing, max_faces, progress=lambda share: report(SURFACE_SHARE * share)
            )
            with self.pace.measuring(model, "texture", _baking_units(len(surface.faces))):
                head = self.heads.head(model, scene)
                mesh = bake_texture(
                    head, surface, progress=lambda share: report(SURFACE_SHARE + (1.0 - SURFACE_SHARE) * share)
                )
            trim()
            return mesh

        def make() -> trimesh.Trimesh:
            with self.pace.measuring(model, "mesh", resolution**2):
                head = self.heads.head(model, scene)
                mesh = head.mesh(resolution, progress)
                mesh = refine_mesh(mesh, smoothing, max_faces) if smoothing or max_faces else mesh
            trim()
            return mesh

        return self._meshes.get(key, bake if texture else make, MAX_MESHES)

    def seconds_to_mesh(self, model: StyleSDF, resolution: int, textured_faces: int | None = None) -> float | None:
        """Return how long ``mesh`` will take; before the first texture, by how long a picture takes.

        Args:
            model: Whose head it is.
            resolution: Of the surface.
            textured_faces: Triangles that get a texture; None: no texture.
        """
        surface = self.pace.estimate(model, "mesh", resolution**2)
        if textured_faces is None:
            return surface
        units = _baking_units(textured_faces)
        texture = self.pace.estimate(model, "texture", units)
        if texture is None:
            texture = self.pace.estimate(model, "image", PICTURES_TO_BAKE * units)
        return None if surface is None or texture is None else surface + texture

    def film(
        self, scene: Scene, kind: str, num_frames: int, with_shape: bool = False, morph_seeds: Sequence[int] = ()
    ) -> Iterator[Image.Image]:
        """Draw the frames of a film that loops, one by one; arguments are checked at once.

        Args:
            scene: Who is seen, through which lens and in which light; its angles and its mode do not matter, and films
                are best where pictures are exact.
            kind: One of ``FILM_KINDS``.
            num_frames: From 2 to 120.
            with_shape: Draw the bare surface beside the picture.
            morph_seeds: Whom a morph visits after the scene's head.
        """
        if kind not in FILM_KINDS:
            raise ValueError(f"kind is {shown(kind)}, expected one of {', '.join(FILM_KINDS)}")
        num_frames = check_integer("frames", num_frames, *FRAMES)
        known = self.model(scene)
        model = on_device(known)

        def head_of(scene: Scene) -> Head:
            head = self.heads.head(known, scene)
            return head if model is known else replace(model.head_from_codes(head.w, head.ws), origin=head.origin)

        head = head_of(scene)
        if scene.quality == "exact":  # what is drawn best takes no longer, and flickers less
            scene = replace(scene, quality="best")
        if kind == "morph":
            if not 1 <= len(morph_seeds) <= MAX_MORPH_SEEDS:
                raise ValueError(f"there are {len(morph_seeds)} seeds to morph to, expected 1 to {MAX_MORPH_SEEDS}")
            alone = replace(scene, head=None, morph_seed=None, morph_share=0.0)
            others = [head_of(replace(alone, seed=check_seed(seed))) for seed in morph_seeds]
            views = model.morph([head, *others], num_frames, shot=replace(scene.shot, roll=0.0))
        else:
            views = head.orbit(num_frames, kind, shot=replace(scene.shot, yaw=0.0, pitch=0.0, roll=0.0))

        def frames() -> Iterator[Image.Image]:
            try:
                yield from (self._frame(view, with_shape) for view in views)
            finally:  # also of a film that is abandoned
                trim()

        return frames()

    def seconds_to_find(self, model: StyleSDF) -> float | None:
        """Return how long ``find`` will take; before the first time, by how long a picture takes."""
        found = self.pace.estimate(model, "find", 1.0)
        return self.pace.estimate(model, "image", PICTURES_TO_FIND) if found is None else found

    def find(self, model: StyleSDF, picture: Image.Image, photo: bool = False) -> Iterator[Progress | Inversion]:
        """Look for the head that a picture shows among those of a model.

        Args:
            model: One that the page has.
            picture, photo: As ``StyleSDF.invert`` takes them.

        Returns:
            What was drawn, step by step, and last what was found. Where it is closed before, the search ends.
        """
        steps, is_wanted = queue.SimpleQueue(), threading.Event()
        is_wanted.set()

        def on_step(progress: Progress) -> bool:
            steps.put(progress)
            return is_wanted.is_set()

        def work() -> None:
            try:
                with self.pace.measuring(model, "find", 1.0):
                    found = model.invert(picture, photo=photo, on_step=on_step)
                steps.put(found)
            except Exception as error:  # told by who waits for it
                steps.put(error)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            while not isinstance(step := steps.get(), Inversion):
                if isinstance(step, Exception):
                    raise step
                yield step
            yield step
        finally:
            is_wanted.clear()
            worker.join()
            trim()

    def inside(self, scene: Scene) -> SdfSlice:
        """Cut the field open in the camera's plane."""
        return self.heads.head(self.model(scene), scene).slice(scene.shot.yaw, scene.shot.pitch)

    def plane(self, scene: Scene) -> tuple[np.ndarray, np.ndarray, float]:
        """Lay the principal plane through the renderer's codes.

        Returns:
            Seeds 0 to 599 in the plane ``(600, 2)``, the scene's head in it ``(2,)``, and the share of the codes'
            variance that the plane holds.
        """
        model = self.model(scene)
        if model not in self._planes:
            codes = model.mapping(model.latents(range(PLANE_SEEDS)), 1.0).detach().cpu().double().numpy()
            centre = codes.mean(axis=0)
            _, spread, axes = np.linalg.svd(codes - centre, full_matrices=False)
            axes, share = axes[:2], float((spread[:2] ** 2).sum() / (spread**2).sum())
            self._planes[model] = ((codes - centre) @ axes.T, centre, axes, share)
        points, centre, axes, share = self._planes[model]
        head = self.heads.head(model, scene)
        return points, (head.w[0].cpu().double().numpy() - centre) @ axes.T, share

    def _view(self, model: StyleSDF, scene: Scene) -> View:
        with self.pace.measuring(model, "image", 1.0):
            view = self.heads.view(model, scene)
            view.image  # noqa: B018 - a part of a view is computed when it is asked for
        return view

    def _frame(self, view: View, with_shape: bool) -> Image.Image:
        image = view.image
        if not with_shape:
            return image
        shape = pictures.picture(view, "shape").resize(image.size, Image.Resampling.BICUBIC)
        both = Image.new("RGB", (2 * image.width, image.height))
        both.paste(image, (0, 0))
        both.paste(shape, (image.width, 0))
        return both


def frames_per_second(num_frames: int, num_others: int) -> float:
    """Return how fast a film is shown: a round of the camera, or of a morph that visits others and comes back."""
    seconds = MORPH_SECONDS * (num_others + 1) if num_others else ROUND_SECONDS
    return max(1.0, num_frames / seconds)


def _baking_units(num_faces: int) -> float:
    """Return how much work a texture is: unwrapping, which grows with the triangles, and what does not."""
    return 1.0 + num_faces / TEXTURED_FACES
