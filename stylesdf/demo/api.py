"""Named, typed endpoints for programs, and tools for agents: what the page can do, with every number checked.

Gradio reads types and descriptions from the functions themselves, so annotations are no text here.
"""

import gradio as gr

from stylesdf.arguments import parse_seeds
from stylesdf.config import shown
from stylesdf.demo.page import LOAD, Page, speaking
from stylesdf.demo.scene import ABOVE, AROUND, Scene
from stylesdf.demo.studio import frames_per_second
from stylesdf.demo.tabs.mesh import FORMATS
from stylesdf.demo.zero import on_gpu
from stylesdf.film import write_video
from stylesdf.meshfile import export_mesh


def build(page: Page, may_load: bool = False) -> None:
    """Offer the endpoints; the empty model is the page's own.

    Args:
        page: The page.
        may_load: Offer ``load`` too, which brings models of the hub; the others take those that are here.
    """

    def scene(model: str, **fields) -> Scene:
        return Scene(model or page.studio.models.default, **fields)

    def picture(what: Scene) -> gr.FileData:
        with speaking():
            look = page.studio.look(what)
        return gr.FileData(path=look.save(page.files.new(None, f"{what.title}.png")))

    def generate(
        seed: int, truncation: float = 0.7, yaw: float = 0.0, pitch: float = 0.0, model: str = ""
    ) -> gr.FileData:
        """Generate the picture of a 3D head, named by its seed, as PNG, which carries its scene.

        Args:
            seed: From 0 to 4294967295.
            truncation: From 0 (the mean head) to 1 (the full variety).
            yaw: Degrees, from -90 to 90.
            pitch: Degrees, from -60 to 60.
            model: A bundled model, people or toy-heads, or one of the hub that is loaded; empty is the page's own.
        """
        with speaking():
            what = scene(model, seed=seed, truncation=truncation, yaw=yaw, pitch=pitch)
        return picture(what)

    def view(
        seed: int, truncation: float = 0.7, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0,
        fov: float | None = None, around: float = AROUND, above: float = ABOVE, mode: str = "image",
        quality: str = "exact", edits: str = "", model: str = "", perspective: float = 1.0,
    ) -> gr.FileData:  # fmt: skip
        """Look at the head of a seed in any way the page can; PNG.

        Args:
            seed: From 0 to 4294967295.
            truncation: From 0 to 1.
            yaw: Degrees, from -90 to 90.
            pitch: Degrees, from -60 to 60.
            roll: Degrees, from -180 to 180.
            fov: Full field of view, degrees, from 4 to 40; null is the model's own.
            around: Where the light is around the head, degrees, from -180 to 180; -33 leaves it where it is.
            above: Where it is above the head, degrees, from -90 to 90; 33 leaves it.
            mode: image, thumbnail, depth, normals or shape.
            quality: exact, fast or best.
            edits: What to change about the head, as in age=1.5,hat=1; a wrong name is answered with all names.
            model: See generate.
            perspective: From 0 (orthographic) to 4 (a near eye).
        """
        with speaking():
            what = scene(
                model, seed=seed, truncation=truncation, yaw=yaw, pitch=pitch, roll=roll, fov=fov,
                perspective=perspective, around=around, above=above, mode=mode, quality=quality, edits=edits,
            )  # fmt: skip
        return picture(what)

    def mix(
        seed: int, texture_seed: int | None = None, morph_seed: int | None = None, morph_share: float = 0.5,
        truncation: float = 0.7, yaw: float = 0.0, pitch: float = 0.0, model: str = "",
    ) -> gr.FileData:  # fmt: skip
        """Give a head another's texture, or blend it with another; PNG.

        Args:
            seed: Whose shape.
            texture_seed: Whose colours; null is its own.
            morph_seed: Whom to blend with; null is nobody.
            morph_share: Of that one, from 0 to 1.
            truncation: From 0 to 1.
            yaw: Degrees, from -90 to 90.
            pitch: Degrees, from -60 to 60.
            model: See generate.
        """
        with speaking():
            what = scene(
                model, seed=seed, texture_seed=texture_seed, morph_seed=morph_seed, morph_share=morph_share,
                truncation=truncation, yaw=yaw, pitch=pitch,
            )  # fmt: skip
        return picture(what)

    def mesh(
        seed: int, truncation: float = 0.7, resolution: int = 128, smoothing: int = 0, max_faces: int | None = None,
        file_format: str = "GLB", model: str = "",
    ) -> gr.FileData:  # fmt: skip
        """Extract the surface of a seed's head as a coloured mesh.

        Args:
            seed: From 0 to 4294967295.
            truncation: From 0 to 1.
            resolution: 64, 96, 128, 192 or 256.
            smoothing: Rounds, from 0 to 30.
            max_faces: From 1000 to 1000000; null keeps all.
            file_format: GLB, OBJ, PLY or STL.
            model: See generate.
        """
        with speaking():
            if file_format not in FORMATS:
                raise ValueError(f"file_format is {shown(file_format)}, expected one of {', '.join(FORMATS)}")
            what = scene(model, seed=seed, truncation=truncation)
            made = page.studio.mesh(what, resolution, smoothing, max_faces)
        path = page.files.new(None, f"{what.title}.{file_format.lower()}")
        export_mesh(made, path)
        return gr.FileData(path=path)

    @on_gpu
    def film(
        seed: int, truncation: float = 0.7, kind: str = "ellipse", frames: int = 36, with_shape: bool = False,
        morph_seeds: str = "", model: str = "",
    ) -> gr.FileData:  # fmt: skip
        """Film the head of a seed as MP4: the camera goes round it, or it becomes others.

        Args:
            seed: From 0 to 4294967295.
            truncation: From 0 to 1.
            kind: ellipse, sweep, spiral or morph.
            frames: From 2 to 120.
            with_shape: The bare surface beside the picture.
            morph_seeds: For a morph, whom it visits, as in 5,6 or 5-8.
            model: See generate.
        """
        with speaking():
            others = parse_seeds(morph_seeds) if kind == "morph" else []
            what, drawn = scene(model, seed=seed, truncation=truncation), []
            for frame in page.studio.film(what, kind, frames, with_shape, others):
                drawn.append(frame)
                yield None  # for a client that has gone, this is the end; for others the last result counts
            path = page.files.new(None, f"{what.title}-{kind}.mp4")
            write_video(drawn, path, fps=frames_per_second(frames, len(others)))
        yield gr.FileData(path=path)

    def load(model: str) -> str:
        """Load a model of the hub, so that the others can draw with it.

        Args:
            model: owner/name or owner/name@revision.
        """
        with speaking("The model cannot be loaded", OSError, MemoryError):
            return page.studio.models.load(model).name_or_path

    if may_load:
        limits = {name: value for name, value in LOAD.items() if name != "api_visibility"}
        gr.api(load, api_name="load", **limits)
    for endpoint in (generate, view, mix):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=1, concurrency_id="view")
    for endpoint in (mesh, film):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=1, concurrency_id="jobs")
