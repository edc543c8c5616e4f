"""Mesh: the surface in a viewer that follows the camera of the picture, and as a file, with a texture if wanted."""

from __future__ import annotations

import json
import math
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from stylesdf.config import shown
from stylesdf.demo.pace import in_words
from stylesdf.demo.page import AT_ONCE, HEAVY, PRIVATE, PROGRESS, QUICK, Page, slider, speaking, tell, visitor
from stylesdf.demo.scene import MAX_PITCH, MAX_YAW, Scene
from stylesdf.demo.studio import MAX_SMOOTHING, PREVIEW_RESOLUTION, RESOLUTIONS, TEXTURED_FACES
from stylesdf.files import replacing
from stylesdf.meshfile import TEXTURE_ENDINGS, export_mesh

if TYPE_CHECKING:
    import trimesh

FORMATS = ("GLB", "OBJ", "PLY", "STL")
HINT = "A coarse surface of this head; *Make mesh* makes the one to take home."
TEXTURE_FILES = (
    "GLB holds the texture, OBJ comes with it and its material as one ZIP; PLY has the vertices' colours instead, STL "
    "the shape alone."
)
FACE_COUNTS = (2_000, 10_000, 50_000)
SLOW = 2.0  # seconds from which a preview comes first
LOCKED = {"__type__": "update", "value": None, "interactive": False}
VIEWER_FOV = 0.8  # radians, Babylon's


def build(page: Page, tab: str) -> None:
    """Arrange the tab."""
    viewer = gr.Model3D(
        label="Surface", height="min(92vw, max(20rem, 100svh - 21rem))", camera_position=(90, 90, None),
        elem_id="viewer", interactive=False,
    )  # fmt: skip
    render_here = gr.Button("Render the picture from here", size="sm", elem_id="render-here")
    about = gr.Markdown(HINT, elem_id="mesh-info", elem_classes="small")
    with gr.Row(elem_classes="ends"):
        resolution = gr.Dropdown(list(RESOLUTIONS), value=128, label="Resolution", min_width=90, elem_id="resolution")
        smoothing = slider(
            0, MAX_SMOOTHING, 0, step=1, precision=0, label="Smoothing", min_width=150, elem_id="smoothing"
        )  # fmt: skip
        faces = gr.Dropdown(
            [("All", 0), *((f"{count:,}", count) for count in FACE_COUNTS)], value=0, label="Triangles", min_width=90,
            elem_id="max-faces",
        )  # fmt: skip
        file_format = gr.Dropdown(list(FORMATS), value="GLB", label="Format", min_width=80, elem_id="format")
    with gr.Row(equal_height=True):
        texture = gr.Checkbox(False, label="Texture", min_width=90, elem_id="texture-mesh")
        make = gr.Button("Make mesh", variant="primary", elem_id="make-mesh", min_width=110)
        download = gr.DownloadButton("Download mesh", interactive=False, elem_id="download-mesh", min_width=110)
    made = gr.State()  # what ``save`` needs of the mesh that is shown: scene and settings
    seen = gr.State()  # whose surface that is

    def show(scene: Scene, arguments: tuple, title: str, request, progress=None):
        """Write the mesh for the viewer and say what it is."""
        mesh = page.studio.mesh(scene, *arguments, progress=progress)
        surface = page.studio.mesh(scene, *arguments[:3])  # without the texture, whose borders double vertices
        path = page.files.new(visitor(request), f"{scene.title}.glb")
        export_mesh(mesh, path)
        width, height, depth = surface.extents
        closed = "one closed surface" if surface.is_watertight else "open where it leaves the scene"
        size = mesh.metadata.get("texture_size")
        inside = f" with a texture of {size:,} × {size:,} texels" if size else ""
        text = (
            f"**{title}**, truncation {scene.truncation:g}: {len(surface.faces):,} triangles, "
            f"{len(surface.vertices):,} vertices, {closed}; {width:.3f} × {height:.3f} × {depth:.3f} world units; "
            f"{os.path.getsize(path) / 1e6:.1f} MB as GLB{inside}."
        )
        if inside and arguments[2] == TEXTURED_FACES and "faces_before" in surface.metadata:
            text += f" It had {surface.metadata['faces_before']:,} triangles; a texture allows {TEXTURED_FACES:,}."
        if inside:
            text += f" {TEXTURE_FILES}"
        return gr.Model3D(value=path, camera_position=viewer_camera(page, scene)), text

    def arrive(request: gr.Request, query: str, seen: tuple | None, made: tuple | None):
        """Turn the viewer as the picture is turned; of another head show a coarse surface, if that costs little."""
        scene = page.read(query)
        *_, is_textured = (False,) if made is None else made[1]
        if seen == head_of(scene, is_textured):
            return gr.Model3D(camera_position=viewer_camera(page, scene)), gr.skip(), gr.skip(), gr.skip(), gr.skip()
        locked = gr.DownloadButton(value=None, interactive=False)
        seconds = page.studio.seconds_to_mesh(page.studio.model(scene), PREVIEW_RESOLUTION)
        if seconds is not None and seconds > SLOW:
            return None, "Press *Make mesh* to see this head's surface.", None, head_of(scene), locked
        with speaking():
            shown, text = show(scene, (PREVIEW_RESOLUTION,), "Coarse surface", request)
        return shown, f"{text}\n\n{HINT}", None, head_of(scene), locked

    def extract(request: gr.Request, size, rounds, limit, with_texture, *values, progress=PROGRESS):
        """Make the mesh; where that takes long, a coarse one first."""
        with speaking():
            limit = min(limit or TEXTURED_FACES, TEXTURED_FACES) if with_texture else limit or None
            scene, arguments = page.scene(values), (size, rounds, limit, bool(with_texture))
            model = page.studio.model(scene)
            textured = limit if with_texture else None
            seconds = page.studio.seconds_to_mesh(model, size, textured) if size in RESOLUTIONS else None
            task = "Surface and texture" if with_texture else "Finding the surface"
            if seconds is not None and seconds > SLOW:
                shown, text = show(scene, (PREVIEW_RESOLUTION,), "Coarse surface", request)
                what = "The fine one with its texture" if with_texture else "The fine one"
                yield shown, f"{text}\n\n{what} takes {in_words(seconds)}.", None, head_of(scene)
            shown, text = show(
                scene, arguments, f"Seed {scene.seed}" if scene.head is None else "Your head", request,
                lambda share: progress(share, desc=f"{task}, {in_words(seconds)}"),
            )  # fmt: skip
        yield shown, text, (scene, arguments), head_of(scene, bool(with_texture))

    def save(what: tuple | None, kind: str, request: gr.Request):
        """Write the mesh that is shown and unlock its download; without one, lock it."""
        if what is None:
            return gr.DownloadButton(value=None, interactive=False)
        with speaking():
            if kind not in FORMATS:
                raise ValueError(f"format is {shown(kind)}, expected one of {', '.join(FORMATS)}")
            scene, (*arguments, with_texture) = what
            ending = f".{kind.lower()}"
            mesh = page.studio.mesh(scene, *arguments, texture=with_texture and ending in TEXTURE_ENDINGS)
            is_several = mesh.visual.kind == "texture" and ending == ".obj"
            path = page.files.new(visitor(request), scene.title + (".zip" if is_several else ending))
            (write_zip if is_several else export_mesh)(mesh, path)
        return gr.DownloadButton(value=path, interactive=True)

    make.click(None, None, download, js=f"() => ({json.dumps(LOCKED)})", **PRIVATE)
    making = make.click(
        extract, [resolution, smoothing, faces, texture, *page.inputs], [viewer, about, made, seen],
        show_progress_on=viewer, **HEAVY,
    )  # fmt: skip
    file_format.change(lambda: gr.DownloadButton(interactive=False), None, download, **AT_ONCE).then(
        save, [made, file_format], download, show_progress="hidden", **HEAVY
    )  # fmt: skip
    signal = page.signal(tab)
    following = {"inputs": [signal, seen, made], "outputs": [viewer, about, made, seen, download]}
    signal.change(arrive, **following, trigger_mode="always_last", show_progress="hidden", **QUICK)
    # the head may be another one by then
    making.then(arrive, **following, show_progress="hidden", **QUICK).then(
        save, [made, file_format], download, show_progress="hidden", **QUICK
    )  # fmt: skip
    angles = [page.controls["yaw"], page.controls["pitch"]]
    render_here.click(from_viewer, viewer, angles, show_progress="hidden", **QUICK)


def head_of(scene: Scene, with_texture: bool = False) -> tuple:
    """Return what of a scene decides its surface, and its texture where there is one."""
    return scene.model, *(scene.identity if with_texture else scene.surface)


def write_zip(mesh: trimesh.Trimesh, path: str) -> None:
    """Write a mesh with a texture as OBJ, its material and its picture in one ZIP; one mesh gives the same bytes."""
    with tempfile.TemporaryDirectory() as folder, replacing(Path(path)) as temporary:
        export_mesh(mesh, Path(folder) / f"{Path(path).stem}.obj")
        with zipfile.ZipFile(temporary, "w") as archive:
            for part in sorted(Path(folder).iterdir()):
                entry = zipfile.ZipInfo(part.name)  # of 1980, whatever the time is
                entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
                archive.writestr(entry, part.read_bytes())


def viewer_camera(page: Page, scene: Scene) -> tuple[float, float, float]:
    """Return where Babylon's camera stands for a scene: azimuth and polar angle in degrees, distance."""
    fov = scene.fov or page.studio.model(scene).config.fov_deg
    return 90.0 - scene.yaw, 90.0 - scene.pitch, math.tan(math.radians(fov) / 2) / math.tan(VIEWER_FOV / 2)


def from_viewer(viewer: gr.Model3D):
    """Return yaw and pitch of the viewer's camera, as far as a picture can follow."""
    azimuth, polar, _ = (*(viewer.camera_position or ()), None, None, None)[:3]
    if azimuth is None or polar is None:
        return gr.skip(), gr.skip()
    yaw = (90.0 - azimuth + 180.0) % 360.0 - 180.0
    limited = max(-MAX_YAW, min(MAX_YAW, yaw)), max(-MAX_PITCH, min(MAX_PITCH, 90.0 - polar))
    if limited[0] != yaw:
        tell(f"The picture turns to {MAX_YAW:g}° at most; the viewer was at {yaw:.0f}°.")
    return round(limited[0], 1), round(limited[1], 1)
