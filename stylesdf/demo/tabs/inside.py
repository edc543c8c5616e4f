"""Look inside: the field cut open, the camera among those of the training, the head among all heads."""

from __future__ import annotations

import gradio as gr

from stylesdf.demo import pictures
from stylesdf.demo.page import QUICK, Page

TEXT = (
    "First, a cut through the signed distance field in the plane of the camera: the dark line is the surface, the dots "
    "are the samples of the central ray, large where they give the pixel its colour. Then the camera among the "
    "angles of the training, and this head among 600 others in the plane of largest variance."
)


def build(page: Page, tab: str) -> None:
    """Arrange the tab."""
    with gr.Row():
        figures = [
            gr.Plot(label=label, elem_id=name)
            for label, name in (
                ("Signed distance, cut along the camera", "slice"),
                ("What the central ray meets", "ray"),
            )
        ]
    with gr.Row():
        figures += [
            gr.Plot(label=label, elem_id=name)
            for label, name in (("Where the camera stands", "prior"), ("Among other heads", "plane"))
        ]
    gr.Markdown(TEXT, elem_classes="small")

    def draw(query: str) -> list:
        scene = page.read(query)
        cut = page.studio.inside(scene)
        return [
            pictures.slice_figure(cut),
            pictures.ray_figure(cut),
            pictures.prior_figure(page.studio.model(scene).config, scene.yaw, scene.pitch),
            pictures.plane_figure(*page.studio.plane(scene)),
        ]

    signal = page.signal(tab)
    signal.change(draw, signal, figures, trigger_mode="always_last", show_progress="hidden", **QUICK)
