"""Compare: the same view drawn in two ways, with a slider between them."""

from __future__ import annotations

import gradio as gr

from stylesdf.demo.page import QUICK, Page
from stylesdf.demo.scene import MODES
from stylesdf.demo.tabs.explore import MODE_NAMES


def build(page: Page, tab: str) -> None:
    """Arrange the tab."""
    choices = list(zip(MODE_NAMES, MODES))
    with gr.Row():
        left = gr.Dropdown(choices, value="image", label="Left", elem_id="compare-left", min_width=120)
        right = gr.Dropdown(choices, value="shape", label="Right", elem_id="compare-right", min_width=120)
    slider = gr.ImageSlider(
        type="filepath", label="Two of the same", interactive=False, elem_id="compare", max_height=520,
        buttons=["fullscreen"],
    )  # fmt: skip

    def draw(request: gr.Request, query: str, *modes: str):
        if not query:
            return gr.skip()
        scene = page.read(query)
        return tuple(page.path_of(picture, scene, request) for picture in page.studio.compare(scene, modes))

    signal = page.signal(tab)
    gr.on(
        [signal.change, left.change, right.change], draw, [signal, left, right], slider, trigger_mode="always_last",
        show_progress="hidden", **QUICK,
    )  # fmt: skip
