"""The demo page: a seed becomes a head that can be looked at, turned and taken home.

Run ``python app.py`` and open the address it prints.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import math
import os
import secrets
import threading
from collections import OrderedDict
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "2")  # before torch starts; more gain little on pictures this small

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from stylesdf.allocator import keep_large_blocks
from stylesdf.demo import pictures
from stylesdf.demo.models import ModelShelf
from stylesdf.mesh import export_mesh
from stylesdf.pipeline import MAX_SEED, StyleSDF, check_seed, check_truncation, write_video

ROOT = Path(__file__).resolve().parent
DEFAULT_MODEL = "checkpoints/toy-heads"
MAX_SLIDER_SEED = 9999
FIRST_SEED = 14  # the head that greets: with the bundled model, a panda
MAX_YAW, MAX_PITCH = 45, 25  # degrees
RESOLUTIONS = (64, 96, 128, 192, 256)
FORMATS = ("GLB", "OBJ", "PLY", "STL")
GALLERY_SIZE = 12
GALLERY_PIXELS = 256  # models with larger images show thumbnails in the gallery
FRAMES = (24, 36, 48, 60)
ROUND_SECONDS = 3.0
MAX_MESHES = 4

MODELS = ModelShelf(ROOT, is_public="SPACE_ID" in os.environ)
_meshes: OrderedDict[tuple, object] = OrderedDict()
_meshes_lock = threading.Lock()
PROGRESS = gr.Progress()  # as a default argument: Gradio fills in the visitor's own
logger = logging.getLogger(__name__)


@contextlib.contextmanager
def speaking():
    """Tell the visitor what was wrong with a request."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(str(error), title="That did not work", print_exception=False) from error


def new_file(name: str) -> str:
    """Return a path nobody can guess, in the folder that Gradio serves from and clears."""
    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return str(folder / name)


def radians(name: str, degrees: float, limit: float) -> float:
    """Check an angle of the page and convert it."""
    if not isinstance(degrees, (int, float)) or not abs(degrees) <= limit:
        raise ValueError(f"{name} is {degrees!r}, expected degrees from {-limit} to {limit}")
    return math.radians(degrees)


def save_png(image: Image.Image, path: str, texts: dict) -> str:
    """Write a PNG whose text fields say where it comes from."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in texts.items():
        info.add_text(str(key), str(value))
    image.save(path, pnginfo=info)
    return path


def generate(name: str, seed: int, truncation: float = 0.7, yaw: float = 0, pitch: float = 0):
    """Generate one picture; angles in degrees.

    Returns:
        Paths of the picture (twice: to look at, to download), and the thumbnail, depth and normals.
    """
    with speaking():
        angles = radians("yaw", yaw, MAX_YAW), radians("pitch", pitch, MAX_PITCH)
        model = MODELS.get(name)
        result = model.generate([seed], truncation, *angles)
    texts = {**model.provenance(seed, truncation), "yaw_deg": yaw, "pitch_deg": pitch}
    picture = save_png(result.images[0], new_file(f"head-{seed}.png"), texts)
    depth = pictures.depth_picture(result.depth[0], result.background[0])
    normals = pictures.normals_picture(result.normals[0], result.background[0])
    return picture, picture, result.thumbnails[0], depth, normals


def follow(name: str, seed: int | None, truncation: float, yaw: float, pitch: float):
    """Like ``generate``, but keep the old picture while the seed's field is empty."""
    return generate(name, seed, truncation, yaw, pitch) if seed is not None else [gr.skip()] * 5


def cut_open(name: str, seed: int | None, truncation: float, yaw: float, pitch: float):
    """Draw the field in the camera's plane, and the camera's ray."""
    if seed is None:
        return gr.skip(), gr.skip()
    with speaking():
        angles = radians("yaw", yaw, MAX_YAW), radians("pitch", pitch, MAX_PITCH)
        cut = MODELS.get(name).slice_sdf(seed, truncation, *angles)
    return pictures.slice_figure(cut), pictures.ray_figure(cut)


@functools.lru_cache(maxsize=20 * GALLERY_SIZE)
def _tile(model: StyleSDF, seed: int, truncation: float) -> Image.Image:
    if model.config.image_resolution > GALLERY_PIXELS:
        return model.thumbnail(seed, truncation)
    return model.generate([seed], truncation).images[0]


def gallery(name: str, first_seed: int, truncation: float = 0.7, progress=PROGRESS):
    """Generate a page of frontal pictures of consecutive seeds.

    Returns:
        The pictures with their captions, and the first seed.
    """
    with speaking():
        first_seed = min(check_seed(first_seed), MAX_SEED - GALLERY_SIZE + 1)
        truncation = check_truncation(truncation)
        model = MODELS.get(name)
        seeds = range(first_seed, first_seed + GALLERY_SIZE)
        seeds = progress.tqdm(seeds, desc="Drawing heads", unit="heads")
        tiles = [(_tile(model, seed, truncation), f"seed {seed}") for seed in seeds]
    return tiles, first_seed


def pick(first_seed: int, event: gr.SelectData) -> int:
    """Return the seed of the picture that was clicked."""
    return first_seed + event.index


def _mesh(name: str, seed: int, truncation: float, resolution: int, progress=None):
    """Return the mesh and where it comes from; the latest few are kept, so that another format costs little."""
    if resolution not in RESOLUTIONS:
        raise ValueError(f"resolution is {resolution!r}, expected one of {', '.join(map(str, RESOLUTIONS))}")
    model = MODELS.get(name)
    key = (model, check_seed(seed), check_truncation(truncation), resolution)
    with _meshes_lock:
        mesh = _meshes.get(key)
    if mesh is None:
        mesh = model.extract_mesh(seed, truncation, resolution, progress=progress)
        with _meshes_lock:
            _meshes[key] = mesh
            while len(_meshes) > MAX_MESHES:
                _meshes.popitem(last=False)
    return mesh


def make_mesh(name: str, seed: int, truncation: float = 0.7, resolution: int = 128, progress=PROGRESS):
    """Extract the surface of a head as a coloured mesh.

    Returns:
        Path of a GLB file, what is in it, and what ``save_mesh`` needs to write it in another format.
    """
    with speaking():
        mesh = _mesh(name, seed, truncation, resolution, lambda share: progress(share, desc="Finding the surface"))
    path = new_file(f"head-{seed}.glb")
    export_mesh(mesh, path)
    width, height, depth = mesh.extents
    closed = "one closed surface" if mesh.is_watertight else "open where it leaves the scene"
    about = (
        f"**Seed {seed}**, truncation {truncation:g}: {len(mesh.faces):,} triangles, {len(mesh.vertices):,} vertices, "
        f"{closed}; {width:.3f} × {height:.3f} × {depth:.3f} world units; {os.path.getsize(path) / 1e6:.1f} MB as GLB."
    )
    return path, about, (name, seed, truncation, resolution)


def save_mesh(made: tuple | None, file_format: str):
    """Write the mesh that is shown and unlock its download; without one, lock it."""
    if made is None:
        return gr.DownloadButton(value=None, interactive=False)
    if file_format not in FORMATS:
        raise gr.Error(f"format is {file_format!r}, expected one of {', '.join(FORMATS)}", print_exception=False)
    with speaking():
        mesh = _mesh(*made)
    path = new_file(f"head-{made[1]}.{file_format.lower()}")
    export_mesh(mesh, path)
    return gr.DownloadButton(value=path, interactive=True)


def forget_mesh():
    """Take away the mesh of another head."""
    return None, MESH_HINT, None, gr.DownloadButton(value=None, interactive=False)


def film(name: str, seed: int, truncation: float = 0.7, num_frames: int = 36, progress=PROGRESS):
    """Film a round of the camera as an animated WebP."""
    with speaking():
        if num_frames not in FRAMES:
            raise ValueError(f"frames are {num_frames!r}, expected one of {', '.join(map(str, FRAMES))}")
        frames = MODELS.get(name).render_orbit(seed, truncation, num_frames)
        path = new_file(f"head-{seed}.webp")
        frames = progress.tqdm(frames, desc="Filming", total=num_frames, unit="frames")
        write_video(frames, path, fps=num_frames / ROUND_SECONDS)
    return path


def load_model(text: str):
    """Load another model.

    Returns:
        Its name and what it is.
    """
    try:
        model = MODELS.load(text)
    except (ValueError, OSError, MemoryError) as error:  # errors of the hub are one of the first two
        logger.info("cannot load %r", text, exc_info=True)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        message = f"{reason} The page stays with the model it has."
        raise gr.Error(message, title=f"Cannot load {text!r}"[:100], print_exception=False) from error
    return model.name_or_path, describe(model)


def describe(model: StyleSDF) -> str:
    """Say in one line of Markdown what a model is."""
    config, size = model.config, sum(parameter.numel() for parameter in model.parameters()) / 1e6
    commit = f" at {model.commit_hash[:7]}" if model.commit_hash else ""
    decoder = f"images of {config.image_resolution}² pixels" if config.has_decoder else "a renderer without decoder"
    return (
        f"`{model.name_or_path}`{commit}: {decoder}, rendered at {config.render_resolution}² with "
        f"{config.num_samples} samples per ray, {size:.1f} M parameters"
    )


CSS = """
.gradio-container {max-width: 1320px !important; margin: 0 auto !important}
#header h1 {font-size: 1.75rem; margin: 0 0 .1rem}
#header p {margin: 0; opacity: .75}
#picture img, .map img, #film img {width: 100%; height: 100%; object-fit: contain}
.map label, #gallery label {font-size: .75rem}
#seed-slider input[type=number], #seed-slider button {display: none}
#mesh-info {min-height: 2.6rem}
#mesh-info p, #model-info p {margin: 0; font-size: .9rem; opacity: .85}
#gallery .caption-label {font-size: .65rem; padding: 0 .3rem}
#gallery .grid-wrap {height: auto; min-height: 8rem; max-height: none; overflow: visible}
#gallery .grid-container {grid-template-columns: repeat(6, minmax(0, 1fr))}
#slice, #ray, #film-column {min-width: 0 !important; flex: 1 1 300px; overflow: hidden}
@media (max-width: 640px) {#gallery .grid-container {grid-template-columns: repeat(4, minmax(0, 1fr))}}
"""
MESH_HINT = "Press *Make mesh* to turn this head."
DICE = f"() => Math.floor(Math.random() * {MAX_SLIDER_SEED + 1})"
TO_SLIDER = f"(seed) => Math.min(Math.max(seed ?? 0, 0), {MAX_SLIDER_SEED})"


def build() -> gr.Blocks:
    """Arrange the page for the model that the shelf holds."""
    private = {"api_visibility": "private"}
    with gr.Blocks(title="StyleSDF", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        name = gr.State(MODELS.get(MODELS.default).name_or_path)
        made, shown_seed = gr.State(), gr.State(0)
        gr.Markdown(
            "# StyleSDF\nEvery seed is a head: a picture, and the surface behind it to turn and take home.",
            elem_id="header",
        )
        with gr.Row(equal_height=False):
            with gr.Column(min_width=340):
                picture = gr.Image(
                    label="Picture", type="filepath", format="png", height="min(400px, 88vw)", elem_id="picture",
                    interactive=False, buttons=["fullscreen"], alt_text="The generated head",
                )  # fmt: skip
                with gr.Row():
                    maps = [
                        gr.Image(
                            label=label, type="pil", format="png", height="min(150px, 27vw)", min_width=90,
                            interactive=False, buttons=[], elem_classes="map", elem_id=label.lower(), alt_text=alt,
                        )
                        for label, alt in (
                            ("Thumbnail", "The head as the volume renderer draws it, before the decoder"),
                            ("Depth", "Depth of the surface, light is near"),
                            ("Normals", "Direction of the surface: red to the right, green up, blue frontal"),
                        )
                    ]  # fmt: skip
                with gr.Group():
                    with gr.Row(equal_height=True):
                        seed = gr.Number(
                            FIRST_SEED, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, min_width=120,
                            elem_id="seed", scale=4,
                        )  # fmt: skip
                        dice = gr.Button("⚄ Dice", elem_id="dice", min_width=90, scale=1)
                    seed_slider = gr.Slider(
                        0, MAX_SLIDER_SEED, FIRST_SEED, step=1, precision=0, label="Walk through the seeds",
                        elem_id="seed-slider",
                    )  # fmt: skip
                    truncation = gr.Slider(
                        0, 1, 0.7, step=0.01, label="Truncation", info="0 is the mean head, 1 the full variety",
                        elem_id="truncation",
                    )  # fmt: skip
                    with gr.Row():
                        yaw = gr.Slider(-MAX_YAW, MAX_YAW, 0, step=1, label="Yaw °", min_width=140, elem_id="yaw")
                        pitch = gr.Slider(
                            -MAX_PITCH, MAX_PITCH, 0, step=1, label="Pitch °", min_width=140, elem_id="pitch"
                        )
                download = gr.DownloadButton("Download PNG", elem_id="download-png")
            with gr.Column(min_width=340):
                viewer = gr.Model3D(
                    label="Surface", height="min(566px, 96vw)", camera_position=(90, 90, None), elem_id="viewer",
                    interactive=False, clear_color=(0.957, 0.965, 0.976, 1.0),
                )  # fmt: skip
                mesh_info = gr.Markdown(MESH_HINT, elem_id="mesh-info")
                with gr.Row(equal_height=True):
                    resolution = gr.Dropdown(list(RESOLUTIONS), value=128, label="Resolution", min_width=110)
                    file_format = gr.Dropdown(list(FORMATS), value="GLB", label="Format", min_width=90)
                    mesh_button = gr.Button("Make mesh", variant="primary", elem_id="make-mesh", min_width=110)
                    mesh_download = gr.DownloadButton(
                        "Download mesh", interactive=False, elem_id="download-mesh", min_width=110
                    )
                tiles = gr.Gallery(
                    label="More heads: click one", columns=6, height="auto", allow_preview=False, buttons=[],
                    object_fit="cover", interactive=False, elem_id="gallery",
                )  # fmt: skip
                with gr.Row(equal_height=True):
                    first_seed = gr.Number(
                        0, label="From seed", precision=0, minimum=0, maximum=MAX_SEED, step=GALLERY_SIZE,
                        elem_id="first-seed", min_width=110,
                    )  # fmt: skip
                    show_page = gr.Button("Show", elem_id="show-page", min_width=90)
                    next_page = gr.Button("Next page", elem_id="next-page", min_width=90)
        with gr.Row(equal_height=False):
            section = gr.Plot(label="Cut along the camera's plane", min_width=300, elem_id="slice")
            ray = gr.Plot(label="Along the centre pixel's ray", min_width=300, elem_id="ray")
            with gr.Column(elem_id="film-column"):
                movie = gr.Image(
                    label="Film", type="filepath", height=346, elem_id="film", interactive=False,
                    buttons=["download", "fullscreen"], alt_text="The camera goes around the head",
                )  # fmt: skip
                with gr.Row(equal_height=True):
                    num_frames = gr.Dropdown(list(FRAMES), value=36, label="Frames", min_width=90)
                    film_button = gr.Button("Film a round", elem_id="make-film", min_width=120)
        with gr.Row(equal_height=True):
            model_text = gr.Textbox(
                MODELS.default, label="Model", scale=6, elem_id="model", max_lines=1,
                info="A bundled folder (toy-heads), or owner/name or owner/name@revision on the Hugging Face Hub",
            )  # fmt: skip
            load_button = gr.Button("Load", elem_id="load-model", min_width=90)
        model_info = gr.Markdown(describe(MODELS.get(MODELS.default)), elem_id="model-info")

        view, view_outputs = [name, seed, truncation, yaw, pitch], [picture, download, *maps]
        head, tile_outputs = [name, seed, truncation], [tiles, shown_seed]
        quick = {"concurrency_limit": 1, "concurrency_id": "view"}
        heavy = {"concurrency_limit": 1, "concurrency_id": "jobs"}

        # Gradio sends the events of one change one after the other: the mesh of the old head goes first, so that it is
        # never the new one that is taken away.
        mesh = mesh_button.click(
            make_mesh, [*head, resolution], [viewer, mesh_info, made], api_name="mesh", show_progress_on=viewer, **heavy
        )
        mesh.success(save_mesh, [made, file_format], mesh_download, **quick, **private)
        file_format.change(save_mesh, [made, file_format], mesh_download, **quick, **private)
        gr.on(
            [seed.change, truncation.change, name.change], forget_mesh, None, [viewer, mesh_info, made, mesh_download],
            cancels=[mesh], queue=False, show_progress="hidden", trigger_mode="always_last", **private,
        )  # fmt: skip

        # The number is the seed; whatever writes it sets off the rest.
        seed_slider.input(None, seed_slider, seed, js="(seed) => seed", **private)
        dice.click(None, None, seed, js=DICE, **private)
        tiles.select(pick, shown_seed, seed, queue=False, show_progress="hidden", **private)
        seed.change(None, seed, seed_slider, js=TO_SLIDER, **private)

        first = page.load(generate, view, view_outputs, api_name="generate", **quick)
        first.then(cut_open, view, [section, ray], show_progress="hidden", **quick, **private)
        first.then(gallery, [name, first_seed, truncation], tile_outputs, api_name="gallery", **heavy)
        # A change, not a release: keys and typed numbers count too. always_last keeps a drag from piling up requests.
        changes = [seed.change, truncation.change, yaw.change, pitch.change]
        moved = {"trigger_mode": "always_last", **quick, **private}
        gr.on(changes, follow, view, view_outputs, show_progress="minimal", show_progress_on=picture, **moved)
        gr.on(changes, cut_open, view, [section, ray], show_progress="hidden", **moved)

        show_page.click(gallery, [name, first_seed, truncation], tile_outputs, **heavy, **private)
        truncation.release(
            gallery, [name, first_seed, truncation], tile_outputs, trigger_mode="always_last", **heavy, **private
        )
        next_page.click(
            None, first_seed, first_seed, js=f"(seed) => Math.min(seed + {GALLERY_SIZE}, {MAX_SEED})", **private
        ).then(gallery, [name, first_seed, truncation], tile_outputs, **heavy, **private)

        film_button.click(film, [*head, num_frames], movie, api_name="film", **heavy)

        gr.on(
            [load_button.click, model_text.submit], load_model, model_text, [name, model_info],
            concurrency_limit=1, concurrency_id="load", **private,
        ).success(generate, view, view_outputs, **quick, **private).success(
            cut_open, view, [section, ray], **quick, **private
        ).success(gallery, [name, first_seed, truncation], tile_outputs, **heavy, **private)  # fmt: skip
    return page.queue(max_size=20, default_concurrency_limit=1)


def main(arguments: list[str] | None = None) -> None:
    """Start the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default=os.environ.get("STYLESDF_MODEL") or DEFAULT_MODEL,
        help="folder or hub repository owner/name[@revision]; also STYLESDF_MODEL (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, help="TCP port (default: the first free one from 7860)")
    parser.add_argument("--host", help="address to listen on; 0.0.0.0 is all of them (default: this machine only)")
    parser.add_argument("--share", action="store_true", help="offer the page under a public gradio.live address too")
    options = parser.parse_args(arguments)
    keep_large_blocks()
    MODELS.is_public = MODELS.is_public or options.share
    try:
        MODELS.load_default(options.model)
    except (ValueError, OSError) as error:
        parser.exit(2, f"app.py: error: {error}\n")
    build().launch(
        server_name=options.host, server_port=options.port, share=options.share, ssr_mode=False, css=CSS,
        run_history=False,
        theme=gr.themes.Soft(primary_hue="indigo", neutral_hue="slate"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
