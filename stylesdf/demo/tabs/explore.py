"""Explore: the picture that turns, and the controls that make it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gradio as gr

from stylesdf.arguments import MAX_SEED
from stylesdf.demo.models import NotLoaded, pinned
from stylesdf.demo.page import LOAD, PRIVATE, QUICK, Page, sentence, speaking, visitor, warn
from stylesdf.demo.pictures import data_url
from stylesdf.demo.scene import MAX_FOV, MAX_PITCH, MAX_ROLL, MAX_YAW, MIN_FOV, MODES, Scene
from stylesdf.demo.stage import RELEASED, stage, stage_value
from stylesdf.shot import QUALITIES

FIRST_SEED = 5  # the head that greets
MAX_SLIDER_SEED = 9999
DICE = f"() => Math.floor(Math.random() * {MAX_SLIDER_SEED + 1})"
TO_SLIDER = f"(seed) => Math.min(Math.max(seed ?? 0, 0), {MAX_SLIDER_SEED})"
SNAPS = (("¾ left", -40), ("Front", 0), ("¾ right", 40), ("Profile", 90))
MODE_NAMES = ("Picture", "Thumbnail", "Depth", "Normals", "Bare shape")


def build(page: Page) -> None:
    """Arrange picture and controls; fill in the page's stage, download and most controls."""

    def quick(fields: dict) -> dict:
        try:
            return page.studio.quick(fields)
        except (ValueError, TypeError):  # of somebody else's making: the page keeps to the limits
            return {}

    def weights(name: str) -> dict:
        try:
            return {"path": page.live.path(page.studio.model(Scene(name)))}
        except (ValueError, TypeError, OSError):  # too large for a browser, or gone: the server draws
            return {}

    greeting = Scene(page.studio.models.default, FIRST_SEED)
    controls = {"model": gr.State(greeting.model)}
    page.stage = stage(quick, weights)
    controls["mode"] = gr.Radio(
        list(zip(MODE_NAMES, MODES)), value="image", show_label=False, container=False, elem_id="mode", label="Show"
    )  # fmt: skip
    with gr.Group():
        with gr.Row(equal_height=True):
            controls["seed"] = gr.Number(
                greeting.seed, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, min_width=120, elem_id="seed",
                scale=4,
            )  # fmt: skip
            dice = gr.Button("⚄ Dice", elem_id="dice", min_width=90, scale=1)
        seed_slider = gr.Slider(
            0, MAX_SLIDER_SEED, greeting.seed, step=1, precision=0, label="Walk through the seeds",
            elem_id="seed-slider",
        )  # fmt: skip
        controls["truncation"] = gr.Slider(
            0, 1, greeting.truncation, step=0.01, label="Truncation", elem_id="truncation",
            info="0 is the mean head, 1 the full variety",
        )  # fmt: skip
        with gr.Row():
            controls["yaw"] = gr.Slider(-MAX_YAW, MAX_YAW, 0, step=0.1, label="Yaw °", min_width=140, elem_id="yaw")
            controls["pitch"] = gr.Slider(
                -MAX_PITCH, MAX_PITCH, 0, step=0.1, label="Pitch °", min_width=140, elem_id="pitch"
            )  # fmt: skip
        with gr.Row(equal_height=True):
            snaps = [
                (gr.Button(text, size="sm", min_width=60, elem_id=f"snap-{text.split()[-1].lower()}"), yaw)
                for text, yaw in SNAPS
            ]
    with gr.Accordion("Roll, field of view, quality", open=False):
        with gr.Row():
            controls["roll"] = gr.Slider(
                -MAX_ROLL, MAX_ROLL, 0, step=1, label="Roll °", min_width=140, elem_id="roll"
            )  # fmt: skip
            controls["fov"] = gr.Slider(
                MIN_FOV, MAX_FOV, page.studio.model(greeting).config.fov_deg, step=0.1, label="Field of view °",
                min_width=140, elem_id="fov",
            )  # fmt: skip
        controls["quality"] = gr.Radio(
            list(QUALITIES), value="exact", label="Quality", elem_id="quality",
            info="exact as trained; fast samples near the surface only; best takes four times the samples",
        )  # fmt: skip
    page.download = gr.DownloadButton("Download PNG", elem_id="download-png")

    seed, camera = controls["seed"], [controls[name] for name in ("yaw", "pitch", "roll", "fov")]
    # The number is the seed; whatever writes it sets off the rest.
    seed_slider.input(None, seed_slider, seed, js="(seed) => seed", **PRIVATE)
    seed.change(None, seed, seed_slider, js=TO_SLIDER, **PRIVATE)
    dice.click(None, None, seed, js=DICE, **PRIVATE)
    for button, yaw in snaps:
        button.click(None, None, camera[:3], js=f"() => [{yaw}, 0, 0]", **PRIVATE)
    page.stage.release(None, page.stage, camera, js=RELEASED, **PRIVATE)
    page.query, page.goal, page.wish = (gr.Textbox(visible=False) for _ in range(3))
    page.controls |= controls


def wire(page: Page, blocks: gr.Blocks, code: gr.Code) -> None:
    """Draw the scene when the page opens, as its link says, and whenever a control changes.

    Args:
        page: With all its controls and signals.
        blocks: The page's.
        code: Shows the Python of the scene.
    """
    outputs = [page.stage, page.download, page.query, code]

    def draw(scene: Scene, request: gr.Request) -> list:
        look = page.studio.look(scene)
        path = look.save(page.files.new(visitor(request), f"{scene.title}.png"))
        value = stage_value(scene, data_url(Path(path).read_bytes()), look.model.config.fov_deg)
        return [value, path, look.scene.query(), look.scene.python()]

    def follow(request: gr.Request, drawn: str, goal: str, *values):
        with speaking():
            scene = page.scene(values)
            if scene is None or page.is_on_the_way(goal, scene):  # None: the seed is being typed; the old picture stays
                return [gr.skip()] * (1 + len(outputs))
            if replace(scene, model=pinned(page.studio.model(scene))).query() == drawn:
                return ["", *[gr.skip()] * len(outputs)]
            return ["", *draw(scene, request)]

    def open_link(request: gr.Request):
        greeting, wish = Scene(page.studio.models.default, FIRST_SEED), gr.skip()
        try:
            scene = Scene.from_query(request.query_params, greeting)
            page.studio.model(scene)
        except NotLoaded:
            scene, wish = greeting, page.wish_for(scene)
        except (ValueError, OSError, MemoryError) as error:
            warn(f"The link cannot be followed: {sentence(error)}")
            scene = greeting
        return [*page.settings(scene, greeting), *draw(scene, request), wish]

    def fetch(wish: str, drawn: str) -> list:
        """Load the model that a link or a picture names, then go there."""
        with speaking("The model cannot be loaded", OSError, MemoryError):
            scene = page.read(wish.partition(" ")[2])
            try:
                page.studio.model(scene)
            except NotLoaded:
                page.studio.models.load(scene.model)
            return page.settings(scene, page.read(drawn))

    # A change, not a release: keys and typed numbers count too. always_last keeps a drag from piling up requests.
    gr.on(
        [control.change for control in page.inputs], follow, [page.query, page.goal, *page.inputs],
        [page.goal, *outputs],
        trigger_mode="always_last", show_progress="minimal", show_progress_on=page.stage, **QUICK,
    )  # fmt: skip
    blocks.load(open_link, None, [*page.setters, *outputs, page.wish], show_progress="hidden", **QUICK)
    page.wish.change(fetch, [page.wish, page.query], page.setters, show_progress="hidden", **LOAD)
