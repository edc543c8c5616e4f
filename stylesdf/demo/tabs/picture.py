"""Your picture: the head in a visitor's picture is looked for among the model's own, then it is a head like any other.

The file that was sent is removed at once; what is kept, at the size that is needed, goes with the visit.
"""

from __future__ import annotations

import io
import math
import time
from pathlib import Path

import gradio as gr
from PIL import Image

from stylesdf.demo.pace import in_words
from stylesdf.demo.page import QUICK, Page, sentence, slider, speaking, start_and_stop, visitor, warn
from stylesdf.demo.pictures import data_url
from stylesdf.demo.scene import MAX_PITCH, MAX_YAW, Scene
from stylesdf.inversion import Inversion, cut, open_picture, read_pictures
from stylesdf.pipeline import StyleSDF

MAX_SIDE = 1024  # pixels that are kept of a picture
LIKENESS = 18.0  # decibels; below it the head has little to do with the picture
TOLD_EVERY = 0.4  # seconds
PICTURE, FOUND = "picture.png", "The head that is found"
TEXT = (
    "A drawing of a head becomes the nearest head that this model can make. Cut it so that the head fills the square, "
    "upright; a plain background helps. In a photograph the face is found, the background is taken away, and a "
    "likeness in the model's own style is looked for. The picture is removed when you leave."
)
CUTS = (
    ("Zoom", 0.5, 6.0, 1.0, 0.05), ("Right", -1.0, 1.0, 0.0, 0.01), ("Down", -1.0, 1.0, 0.0, 0.01),
    ("Turn", -90.0, 90.0, 0.0, 1.0),
)  # fmt: skip


def build(page: Page) -> None:
    """Arrange the tab."""
    dropped = gr.File(
        label="Drop a picture of a head", file_types=["image"], type="filepath", elem_id="your-picture", height=110
    )  # fmt: skip
    with gr.Row():
        frame = [
            slider(low, high, value, step=step, label=name, min_width=220, elem_id=f"cut-{name.lower()}")
            for name, low, high, value, step in CUTS
        ]
    is_photo = gr.Checkbox(False, label="It is a photograph of somebody", elem_id="is-photo")
    with gr.Row():
        square, likeness = (gr.HTML(elem_id=name, min_width=120) for name in ("looked-at", "likeness"))
    with gr.Row(equal_height=True):
        find = gr.Button("Find the head", variant="primary", elem_id="find", min_width=110, interactive=False)
        stop = gr.Button("Stop", elem_id="stop-find", min_width=80, interactive=False)
        download = gr.DownloadButton("Download head", interactive=False, elem_id="download-head", min_width=110)
    status = gr.Markdown(TEXT, elem_id="find-info", elem_classes="small")

    def model_of(query: str) -> StyleSDF:
        return page.studio.model(Scene(page.read(query).model))

    def framed(values, request: gr.Request) -> Image.Image:
        path = page.files.held(visitor(request), PICTURE)
        if not path.is_file():
            raise ValueError("there is no picture, drop one first")
        if None in values:
            raise ValueError("a number of the cut is empty, expected one in each field")
        with Image.open(path) as picture:
            return cut(picture, *values)

    def looked_at(model: StyleSDF, picture: Image.Image, photo: bool) -> str:
        return figure(read_pictures(model, picture, photo)[0], "What is looked at")

    def take(path: str, query: str, request: gr.Request):
        """Read a picture that was dropped, and remove its file; then the field is ready for another."""
        cuts = [value for _, _, _, value, _ in CUTS]
        try:
            picture = open_picture(path)
            picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
            picture.save(page.files.held(visitor(request), PICTURE))
            model = model_of(query)
            shown = looked_at(model, framed(cuts, request), False)
        except (ValueError, OSError, MemoryError) as error:
            warn(f"This picture cannot be used: {sentence(error)}")
            return None, *[gr.skip()] * (5 + len(frame))
        finally:
            Path(path).unlink(missing_ok=True)
        told = f"Finding the head takes {in_words(page.studio.seconds_to_find(model))} here."
        # the sliders' change, which shows the square, does not come where they are at their defaults already
        return None, shown, "", told, gr.Button(interactive=True), False, *cuts

    def show(query: str, request: gr.Request, photo: bool, *values):
        """Draw the square that is cut out."""
        if None in values:  # a number is being typed
            return gr.skip()
        with speaking():
            return looked_at(model_of(query), framed(values, request), photo)

    def look_for(request: gr.Request, query: str, photo: bool, *values):
        """Find the head and show how it comes; at the end the page shows it, from where the picture does."""
        stay, busy = [gr.skip()] * len(page.setters), gr.Button(interactive=True)
        with speaking("No head was found", OSError, MemoryError):
            before = page.read(query)
            model = model_of(query)
            picture, told, start = framed(values, request), 0.0, time.monotonic()
            for step in page.studio.find(model, picture, photo):
                if isinstance(step, Inversion):
                    break
                if time.monotonic() - told > TOLD_EVERY:
                    told = time.monotonic()
                    text = f"{100 * step.share:.0f} %, {step.psnr:.1f} dB."
                    yield figure(step.image, FOUND), text, gr.skip(), busy, *stay
            (shot,), (psnr,) = step.shots, step.psnr
            found = page.studio.heads.found.add(visitor(request), model, step.head)
            path = page.files.new(visitor(request), "head-yours.safetensors")
            step.head.save(path)
            drawn = figure(step.head.view(shot).image, FOUND)
        text = f"Found in {time.monotonic() - start:.0f} s, {psnr:.1f} dB. Turn it, mix it, film it or save its mesh."
        if psnr < LIKENESS and not photo:
            text += " It is no likeness: the picture may be cut amiss, or the model has no such head."
        yaw, pitch = _within(shot.yaw, MAX_YAW), _within(shot.pitch, MAX_PITCH)
        scene = Scene(before.model, before.seed, head=found, yaw=yaw, pitch=pitch, quality=before.quality)
        saved = gr.DownloadButton(value=path, interactive=True)
        yield drawn, text, saved, gr.Button(interactive=False), *page.settings(scene, before)

    taken = [dropped, square, likeness, status, find, is_photo, *frame]
    how = [page.query, is_photo, *frame]
    dropped.upload(take, [dropped, page.query], taken, show_progress_on=square, **QUICK)
    gr.on(
        [is_photo.input, *(event for each in frame for event in (each.input, each.release))], show, how, square,
        trigger_mode="always_last", show_progress="hidden", **QUICK,
    )  # fmt: skip
    start_and_stop(
        find, stop, status, look_for, how, [likeness, status, download, stop, *page.setters], show_progress="minimal",
        show_progress_on=likeness,
    )  # fmt: skip


def figure(picture: Image.Image, caption: str) -> str:
    """Return HTML that shows a picture, which is in it, so that no file is written."""
    content = io.BytesIO()
    picture.save(content, format="png")
    image = f'<img src="{data_url(content.getvalue())}" alt="{caption}">'
    return f'<figure class="own">{image}<figcaption>{caption}</figcaption></figure>'


def _within(angle: float, most: float) -> float:
    """Return an angle in degrees that a control can take."""
    return max(-most, min(most, round(math.degrees(angle), 1)))
