"""Your picture: the head in a visitor's picture is looked for among the model's own, then it is a head like any other.

The file that was sent is removed at once; what is kept, at the size that is needed, goes with the visit.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import gradio as gr
from PIL import Image

from stylesdf.demo.pace import in_words
from stylesdf.demo.page import AT_ONCE, HEAVY, QUICK, Page, speaking, visitor
from stylesdf.demo.scene import MAX_PITCH, MAX_YAW, Scene
from stylesdf.demo.zero import on_gpu
from stylesdf.inversion import Inversion, cut, open_picture, read_pictures

MAX_SIDE = 1024  # pixels that are kept of a picture
LIKENESS = 18.0  # decibels; below it the head has little to do with the picture
TOLD_EVERY = 0.4  # seconds
TEXT = (
    "A drawing or a photo of one head becomes the nearest head that this model can make. Cut it so that the head fills "
    "the square, upright; a plain background helps. The picture is removed when you leave."
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
            gr.Slider(low, high, value, step=step, label=name, min_width=110, elem_id=f"cut-{name.lower()}")
            for name, low, high, value, step in CUTS
        ]
    with gr.Row():
        square, likeness = (
            gr.Image(
                label=label, type="filepath", height="min(260px, 40vw)", min_width=120, interactive=False, buttons=[],
                elem_id=elem_id, alt_text=label,
            )
            for label, elem_id in (("What is looked at", "looked-at"), ("The head that is found", "likeness"))
        )  # fmt: skip
    with gr.Row(equal_height=True):
        find = gr.Button("Find the head", variant="primary", elem_id="find", min_width=110, interactive=False)
        stop = gr.Button("Stop", elem_id="stop-find", min_width=80, interactive=False)
        download = gr.DownloadButton("Download head", interactive=False, elem_id="download-head", min_width=110)
    status = gr.Markdown(TEXT, elem_id="find-info", elem_classes="small")
    kept = gr.State()  # where the picture is, in the visitor's folder

    def save(picture: Image.Image, name: str, request: gr.Request) -> str:
        path = page.files.new(visitor(request), name)
        picture.save(path)
        return path

    def framed(path: str | None, values) -> Image.Image:
        if path is None or not Path(path).is_file():
            raise ValueError("there is no picture, drop one first")
        with Image.open(path) as picture:
            return cut(picture, *values)

    def take(path: str | None, query: str, request: gr.Request):
        """Read a picture that was dropped, and remove its file."""
        with speaking("This picture cannot be used", OSError, MemoryError):
            if path is None:
                raise ValueError("there is no picture, drop one first")
            try:
                picture = open_picture(path)
            finally:
                Path(path).unlink(missing_ok=True)
            picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
            model = page.studio.model(Scene(page.read(query).model))
            told = f"Finding the head takes {in_words(page.studio.seconds_to_find(model))} here."
            path = save(picture, "picture.png", request)
        # the sliders' change, which shows the square, does not come where they are at their defaults already
        shown = save(read_pictures(model, picture)[0], "square.png", request)
        cuts = [value for _, _, _, value, _ in CUTS]
        return None, path, shown, None, told, gr.Button(interactive=True), *cuts

    def show(path: str | None, query: str, request: gr.Request, *values):
        """Draw the square that is cut out."""
        if path is None:
            return gr.skip()
        with speaking():
            model = page.studio.model(Scene(page.read(query).model))
            return save(read_pictures(model, framed(path, values))[0], "square.png", request)

    def look_for(request: gr.Request, path: str | None, query: str, *values):
        """Find the head and show how it comes; at the end the page shows it, from where the picture does."""
        stay, busy = [gr.skip()] * len(page.setters), gr.Button(interactive=True)
        with speaking("No head was found", OSError, MemoryError):
            before = page.read(query)
            model = page.studio.model(Scene(before.model))
            picture, told, start = framed(path, values), 0.0, time.monotonic()
            for step in page.studio.find(model, picture):
                if isinstance(step, Inversion):
                    break
                if time.monotonic() - told > TOLD_EVERY:
                    told = time.monotonic()
                    text = f"{100 * step.share:.0f} %, {step.psnr:.1f} dB."
                    yield save(step.image, "likeness.png", request), text, gr.skip(), busy, *stay
            (shot,), (psnr,) = step.shots, step.psnr
            found = page.studio.found.add(visitor(request), model, step.head)
            path = page.files.new(visitor(request), "head-yours.safetensors")
            step.head.save(path)
            drawn = save(step.head.view(shot).image, "likeness.png", request)
        text = f"Found in {time.monotonic() - start:.0f} s, {psnr:.1f} dB. Turn it, mix it, film it or save its mesh."
        if psnr < LIKENESS:
            text += " It is no likeness: the picture may be cut amiss, or the model has no such head."
        yaw, pitch = _within(shot.yaw, MAX_YAW), _within(shot.pitch, MAX_PITCH)
        scene = Scene(before.model, before.seed, head=found, yaw=yaw, pitch=pitch, quality=before.quality)
        saved = gr.DownloadButton(value=path, interactive=True)
        yield drawn, text, saved, gr.Button(interactive=False), *page.settings(scene, before)

    taken = [dropped, kept, square, likeness, status, find, *frame]
    dropped.upload(take, [dropped, page.query], taken, show_progress_on=square, **QUICK)
    gr.on(
        [each.change for each in frame], show, [kept, page.query, *frame], square,
        trigger_mode="always_last", show_progress="hidden", **QUICK,
    )  # fmt: skip
    finding = find.click(
        on_gpu(look_for), [kept, page.query, *frame], [likeness, status, download, stop, *page.setters],
        show_progress="hidden", **HEAVY,
    )  # fmt: skip
    stop.click(
        lambda: ("Stopped.", gr.Button(interactive=False)), None, [status, stop], cancels=[finding], **AT_ONCE,
    )  # fmt: skip


def _within(angle: float, most: float) -> float:
    """Return an angle in degrees that a control can take."""
    return max(-most, min(most, round(math.degrees(angle), 1)))
