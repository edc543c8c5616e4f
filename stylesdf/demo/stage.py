"""The picture that turns under the pointer, as a component of the page."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from stylesdf.config import StyleSDFConfig
from stylesdf.demo.live import viewer_script
from stylesdf.demo.scene import MAX_FOV, MAX_PITCH, MAX_YAW, MIN_FOV, Scene

HERE = Path(__file__).parent
LIMITS = {"yaw": MAX_YAW, "pitch": MAX_PITCH, "fov": [MIN_FOV, MAX_FOV]}
TEMPLATE = """
<div class="stage" tabindex="0" role="application" aria-label="The head. Drag or arrow keys turn it, the wheel or plus
and minus zoom, Home or a double click bring back the front.">
<img class="stage-picture" draggable="false" alt=""><canvas class="stage-live" aria-hidden="true"></canvas>
<span class="stage-pose" aria-live="polite"></span></div>
"""


def stage(quick: Callable[[dict], dict], weights: Callable[[str], dict]) -> gr.HTML:
    """Make the component.

    Its ``release`` event comes when the hand rests; its value's ``camera`` holds yaw, pitch, roll and fov, in degrees.
    Its ``upload`` event comes when a file is dropped on the page; its value's ``dropped`` is a data URL of the file's
    first 128 KiB, which hold the scene of a PNG of this page.

    Args:
        quick: Called with a scene's fields while the hand moves, where the browser cannot draw; returns ``{"picture":
            data URL}``, or ``{}`` to skip.
        weights: Called with a model's name; returns ``{"path": file}``, see ``LiveFiles``, or ``{}`` where browsers
            cannot draw it.
    """
    # all scripts are inline: a dynamic import() was seen to hang on Spaces
    script = viewer_script() + "".join((HERE / name).read_text(encoding="utf-8") for name in ("live.js", "stage.js"))
    return gr.HTML(
        value={}, html_template=TEMPLATE, js_on_load=script, elem_id="stage", server_functions=[quick, weights],
        apply_default_css=False,
    )  # fmt: skip


def stage_value(scene: Scene, picture: str, config: StyleSDFConfig) -> dict:
    """Return what the component shows.

    Args:
        scene: What is seen.
        picture: A data URL.
        config: The model's, whose field of view and range of poses are told.
    """
    alt = f"Head of {scene.caption}, yaw {scene.yaw:g}, pitch {scene.pitch:g} degrees, as {scene.mode}"
    fields = {name: getattr(scene, name) for name in scene.__dataclass_fields__}
    return {
        "scene": fields, "picture": picture, "fov": config.fov_deg, "limits": LIMITS, "alt": alt,
        "query": scene.query(), "known": [math.degrees(angle) for angle in config.known_angles],
    }  # fmt: skip
