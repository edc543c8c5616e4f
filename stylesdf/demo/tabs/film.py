"""Film: the camera goes round the head, or one head becomes another."""

from __future__ import annotations

import time

import gradio as gr

from stylesdf.arguments import parse_seeds
from stylesdf.config import shown
from stylesdf.demo.pace import in_words
from stylesdf.demo.page import AT_ONCE, QUICK, Page, slider, speaking, start_and_stop, visitor
from stylesdf.demo.studio import FILM_FORMATS, FILM_KINDS, FRAMES, frames_per_second
from stylesdf.demo.zero import on_gpu
from stylesdf.film import write_video


def build(page: Page) -> None:
    """Arrange the tab."""
    with gr.Row(equal_height=True):
        kind = gr.Dropdown(
            [(name.capitalize(), name) for name in FILM_KINDS], value="ellipse", label="Film", min_width=110,
            elem_id="film-kind",
        )  # fmt: skip
        frames = slider(
            FRAMES[0], FRAMES[1], 36, step=1, precision=0, label="Frames", min_width=130, elem_id="frames"
        )  # fmt: skip
        file_format = gr.Dropdown(
            list(FILM_FORMATS), value="MP4", label="Format", min_width=90, elem_id="film-format"
        )  # fmt: skip
    with gr.Row(equal_height=True):
        shape = gr.Checkbox(False, label="Bare shape beside it", min_width=130, elem_id="film-shape")
        seeds = gr.Textbox(
            "", label="Morph through seeds", placeholder="3, 8, 21", min_width=150, elem_id="film-seeds", visible=False
        )  # fmt: skip
    with gr.Row(equal_height=True):
        make = gr.Button("Make film", variant="primary", elem_id="make-film", min_width=110)
        stop = gr.Button("Stop", elem_id="stop-film", min_width=80, interactive=False)
    status = gr.Markdown("", elem_id="film-info", elem_classes="small")
    movie = gr.Video(
        label="Film", autoplay=True, loop=True, interactive=False, elem_id="film", height="min(400px, 88vw)"
    )
    animation = gr.Image(
        label="Film", type="filepath", format="webp", interactive=False, elem_id="film-image", visible=False,
        buttons=[], height="min(400px, 88vw)", alt_text="The film",
    )  # fmt: skip
    download = gr.DownloadButton("Download film", interactive=False, elem_id="download-film")

    def estimate(count: int | None, *values):
        with speaking():
            if count is None or page.is_typing(values):
                return gr.skip()
            scene = page.scene(values)
        seconds = page.studio.pace.estimate(page.studio.model(scene), "image", count)
        return f"{count} frames take {in_words(seconds)} here."

    def shoot(request: gr.Request, what: str, count: int, with_shape: bool, morph: str, ending: str, *values):
        """Draw the frames one by one, telling how far it is, then write the file."""
        idle, busy = gr.Button(interactive=False), gr.Button(interactive=True)
        with speaking():
            if ending not in FILM_FORMATS:
                raise ValueError(f"format is {shown(ending)}, expected one of {', '.join(FILM_FORMATS)}")
            scene = page.scene(values)
            others = parse_seeds(morph) if what == "morph" else []
            source = page.studio.film(scene, what, count, with_shape, others)
            drawn, start, told = [], time.monotonic(), 0.0
            for frame in source:
                drawn.append(frame)
                now = time.monotonic()
                if now - told > 0.3:
                    told, left = now, (now - start) / len(drawn) * (count - len(drawn))
                    yield (
                        gr.skip(),
                        gr.skip(),
                        f"Frame {len(drawn)} of {count}, {in_words(left)} left.",
                        gr.skip(),
                        busy,
                    )
            yield gr.skip(), gr.skip(), "Writing the file.", gr.skip(), busy  # who has gone, or pressed stop, ends here
            path = page.files.new(visitor(request), f"{scene.title}-{what}.{ending.lower()}")
            write_video(drawn, path, fps=frames_per_second(count, len(others)))
        text = f"{count} frames in {time.monotonic() - start:.1f} s."
        is_video = ending == "MP4"
        yield (
            gr.Video(value=path if is_video else None, visible=is_video),
            gr.Image(value=None if is_video else path, visible=not is_video),
            text, gr.DownloadButton(value=path, interactive=True), idle,
        )  # fmt: skip

    start_and_stop(
        make, stop, status, on_gpu(shoot), [kind, frames, shape, seeds, file_format, *page.inputs],
        [movie, animation, status, download, stop], show_progress="minimal", show_progress_on=movie,
    )  # fmt: skip
    kind.change(lambda what: gr.Textbox(visible=what == "morph"), kind, seeds, **AT_ONCE)
    frames.release(estimate, [frames, *page.inputs], status, show_progress="hidden", **QUICK)
