"""The page: its parts arranged, and what it is launched with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from stylesdf.demo import api
from stylesdf.demo.bodies import WholeBodies
from stylesdf.demo.live import live_link
from stylesdf.demo.page import AT_ONCE, Page, visitor
from stylesdf.demo.scene import MAX_PICTURE_BYTES
from stylesdf.demo.studio import Studio
from stylesdf.demo.tabs import compare, edit, explore, film, gallery, inside, mesh, mixing, models, picture, sharing

MAX_QUEUE = 40
CSS = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
HEADER = "# StyleSDF\nEvery seed is a head: turn it, mix it, take it home."


def theme() -> gr.themes.Base:
    """Return the page's look: flat, the same roles in light and dark, every text legible on what lies behind it."""
    fonts = (gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif")
    return gr.themes.Default(primary_hue="indigo", secondary_hue="indigo", neutral_hue="slate", font=fonts).set(
        body_background_fill="*neutral_50", body_background_fill_dark="*neutral_900",
        body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400",
        block_background_fill="transparent", block_background_fill_dark="transparent", block_border_width="0px",
        block_padding="0px", block_title_text_color="*body_text_color", block_title_text_color_dark="*body_text_color",
        block_label_background_fill="*body_background_fill", block_label_background_fill_dark="*body_background_fill",
        block_label_text_color="*body_text_color_subdued", block_label_text_color_dark="*body_text_color_subdued",
        block_info_text_color="*body_text_color_subdued", block_info_text_color_dark="*body_text_color_subdued",
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700",
        button_secondary_background_fill_dark="*neutral_700",
        button_secondary_background_fill_hover_dark="*neutral_600",
        button_large_text_weight="400", link_text_color="*primary_600", link_text_color_dark="*primary_300",
    )  # fmt: skip


def server_options() -> dict:
    """Return what the page is launched with, wherever it listens."""
    return {
        "ssr_mode": False, "run_history": False, "css": CSS,
        "theme": theme(), "max_file_size": MAX_PICTURE_BYTES,
        "app_kwargs": {"middleware": [Middleware(WholeBodies)]},
    }  # fmt: skip


def build(studio: Studio, offered: dict[str, str] | None = None, may_load: bool = False) -> gr.Blocks:
    """Arrange the page.

    Args:
        studio: With the model the page is started with.
        offered: Further models to choose from, by label.
        may_load: Whether programs may load models of the hub too.
    """
    page = Page(studio)
    with gr.Blocks(title="StyleSDF", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        page.controls |= mixing.controls()
        parts = {
            "Gallery": partial(gallery.build, page, "Gallery"), "View": partial(explore.build_view, page),
            "Mesh": partial(mesh.build, page, "Mesh"), "Mix": partial(mixing.build, page, "Mix"),
            "Edit": partial(edit.build, page, "Edit"), "Film": partial(film.build, page),
            "Your picture": partial(picture.build, page),
            "Compare": partial(compare.build, page, "Compare"), "Inside": partial(inside.build, page, "Inside"),
            "Link": partial(sharing.build, page), "Model": partial(models.build, page, "Model", offered or {}),
        }  # fmt: skip
        open_tab = gr.Textbox("Gallery", visible=False)
        gr.Markdown(HEADER + live_link(), elem_id="header")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=340, elem_id="head"):
                explore.build(page)
            with gr.Column(min_width=340, elem_id="beside"):
                with gr.Tabs(elem_id="tabs") as tabs:
                    made = {}
                    for name, part in parts.items():
                        with gr.Tab(name, id=name, render_children=True):
                            made[name] = part()
        tabs.select(opened, None, open_tab, **AT_ONCE)
        page.wire_signals(open_tab)
        explore.wire(page, blocks, made["Link"])
        api.build(page, may_load)

        def leave(request: gr.Request) -> None:
            page.files.forget(visitor(request))
            studio.forget(visitor(request))

        blocks.unload(leave)
    return blocks.queue(max_size=MAX_QUEUE, default_concurrency_limit=1)


def opened(event: gr.SelectData) -> str:
    """Return the tab that was opened."""
    return event.value
