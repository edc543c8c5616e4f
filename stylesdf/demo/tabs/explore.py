"""Explore: the picture that turns, and the controls that make it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gradio as gr

from stylesdf.arguments import MAX_SEED
from stylesdf.camera import MAX_PERSPECTIVE
from stylesdf.demo.models import NotLoaded, pinned
from stylesdf.demo.page import GOAL_SECONDS, LOAD, PRIVATE, QUICK, Page, sentence, slider, speaking, visitor, warn
from stylesdf.demo.pictures import data_url
from stylesdf.demo.scene import (
    ABOVE,
    AROUND,
    MAX_ABOVE,
    MAX_AROUND,
    MAX_FOV,
    MAX_PITCH,
    MAX_ROLL,
    MAX_YAW,
    MIN_FOV,
    MODES,
    Scene,
)
from stylesdf.demo.stage import stage, stage_value
from stylesdf.shot import QUALITIES

FIRST_SEED = 10  # the head that greets
SNAPS = (("¾ left", -40), ("Front", 0), ("¾ right", 40), ("Profile", 90))
MODE_NAMES = ("Picture", "Thumbnail", "Depth", "Normals", "Bare shape")
KEYS = "With the picture in focus, arrow keys turn it, + and − zoom, and Home brings back the front."


def build(page: Page) -> None:
    """Arrange the picture and what makes a head; fill in the page's stage, buttons and these controls."""

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
    with gr.Row(elem_classes="ends"):
        controls["seed"] = gr.Number(
            greeting.seed, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, min_width=110, elem_id="seed"
        )  # fmt: skip
        dice = gr.Button("⚄ Dice", variant="primary", elem_id="dice", min_width=90)
        controls["truncation"] = slider(
            0, 1, greeting.truncation, step=0.01, label="Truncation", elem_id="truncation", min_width=240, scale=3,
            info="0: the mean head, 1: all variety",
        )  # fmt: skip
    controls |= {name: gr.Textbox(visible=False) for name in ("head", "edits")}
    with gr.Row():
        page.download = gr.DownloadButton("Download PNG", size="sm", min_width=120, elem_id="download-png")
        page.keep = gr.Button("☆ Keep", size="sm", min_width=120, elem_id="keep")
    page.query, page.goal, page.wish = (gr.Textbox(visible=False) for _ in range(3))
    thrown = going("", "{ seed: Math.floor(Math.random() * 10000), head: '' }")
    dice.click(None, None, [page.goal, controls["seed"], controls["head"]], js=thrown, **PRIVATE)
    controls["seed"].input(None, None, controls["head"], js="() => ''", **PRIVATE)
    whole = "(seed) => seed === null ? seed : Math.round(seed)"  # as it was drawn
    controls["seed"].blur(None, controls["seed"], controls["seed"], js=whole, **PRIVATE)
    page.controls |= controls | _view_controls(page.studio.model(greeting).config.fov_deg)


def _view_controls(fov_deg: float) -> dict:
    """Make the controls of camera, drawing and quality; ``build_view`` puts them into their place."""
    sliders = (
        ("yaw", "Yaw °", -MAX_YAW, MAX_YAW, 0, 0.1), ("pitch", "Pitch °", -MAX_PITCH, MAX_PITCH, 0, 0.1),
        ("roll", "Roll °", -MAX_ROLL, MAX_ROLL, 0, 1), ("fov", "Field of view °", MIN_FOV, MAX_FOV, fov_deg, 0.1),
        ("perspective", "Perspective, 0 is orthographic", 0, MAX_PERSPECTIVE, 1, 0.05),
        ("around", "Light from the side °", -MAX_AROUND, MAX_AROUND, AROUND, 1),
        ("above", "Light from above °", -MAX_ABOVE, MAX_ABOVE, ABOVE, 1),
    )  # fmt: skip
    made = {
        name: slider(low, high, value, step=step, label=label, min_width=240, elem_id=name, render=False)
        for name, label, low, high, value, step in sliders
    }
    made["mode"] = gr.Radio(list(zip(MODE_NAMES, MODES)), value="image", elem_id="mode", label="Show", render=False)
    made["quality"] = gr.Radio(
        list(QUALITIES), value="exact", label="Quality", elem_id="quality", render=False,
        info="exact as trained; fast samples near the surface only; best takes more rays, for films",
    )  # fmt: skip
    return made


def build_view(page: Page) -> None:
    """Arrange the tab of camera, drawing and quality."""
    camera = [page.controls[name] for name in ("yaw", "pitch", "roll", "fov")]
    page.controls["mode"].render()
    with gr.Row():
        for each in (*camera, page.controls["perspective"]):
            each.render()
    with gr.Row(equal_height=True):
        for text, yaw in SNAPS:
            snap = gr.Button(text, size="sm", min_width=60, elem_id=f"snap-{text.split()[-1].lower()}")
            there = going("", f"{{ yaw: {yaw}, pitch: 0, roll: 0 }}")
            snap.click(None, None, [page.goal, *camera[:3]], js=there, **PRIVATE)
    with gr.Row():
        for name in ("around", "above"):
            page.controls[name].render()
    page.controls["quality"].render()
    gr.Markdown(KEYS, elem_classes="small")
    released = going("{ camera: { yaw, pitch, roll, fov } }", "{ yaw, pitch, roll, fov }")
    page.stage.release(None, page.stage, [page.goal, *camera], js=released, **PRIVATE)


def going(argument: str, fields: str) -> str:
    """Return JavaScript that sets some controls, the goal before them as in ``Page.settings``.

    Args:
        argument: What the function takes.
        fields: An object of the controls' values by name, in the order of the outputs after the goal.
    """
    goal = f"JSON.stringify({{ until: Date.now() / 1000 + {GOAL_SECONDS}, ...to }})"
    return f"({argument}) => {{ const to = {fields}; return [{goal}, ...Object.values(to)] }}"


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
        path = look.save(page.files.new(visitor(request), f"{scene.title}.png", is_view=True))
        value = stage_value(scene, data_url(Path(path).read_bytes()), look.model.config)
        return [value, path, look.scene.query(), look.scene.python()]

    def follow(request: gr.Request, drawn: str, goal: str, *values):
        with speaking():
            if page.is_typing(values) or page.is_on_the_way(goal, values):  # the old picture stays
                return [gr.skip()] * (1 + len(outputs))
            scene = page.scene(values)
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
