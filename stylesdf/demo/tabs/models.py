"""Models: which one draws, and another of the hub."""

from __future__ import annotations

import contextlib
import logging

import gradio as gr

from stylesdf.demo.models import licence_of
from stylesdf.demo.page import PRIVATE, Page
from stylesdf.pipeline import StyleSDF

logger = logging.getLogger(__name__)
TEXT = (
    "A folder of `checkpoints/`, or a Hugging Face repository `owner/name` or `owner/name@revision`; safetensors only."
)


def build(page: Page, presets: dict[str, str]) -> None:
    """Arrange the part.

    Args:
        page: The page.
        presets: Models to choose from, by what the page calls them.
    """
    with gr.Row(equal_height=True):
        text = gr.Dropdown(
            list(presets.items()), value=page.studio.models.default, allow_custom_value=True, label="Model", info=TEXT,
            elem_id="model", scale=4,
        )  # fmt: skip
        check = gr.Button("Size and licence", elem_id="check-model", min_width=110, scale=1)
        load = gr.Button("Load", elem_id="load-model", min_width=80, scale=1)
    info = gr.Markdown(
        about(page.studio.models.get(page.studio.models.default)), elem_id="model-info", elem_classes="small"
    )

    def look_up(name: str) -> str:
        with _telling(name):
            return page.studio.models.look_up(name)

    def load_model(name: str):
        with _telling(name, " The page stays with the model it has."):
            model = page.studio.models.load(name)
        return model.name_or_path, about(model)

    one = {"concurrency_limit": 1, "concurrency_id": "load", "show_progress_on": info, **PRIVATE}
    check.click(look_up, text, info, **one)
    load.click(load_model, text, [page.controls["model"], info], **one)


def about(model: StyleSDF) -> str:
    """Say in one line of Markdown what a model is."""
    config, size = model.config, sum(parameter.numel() for parameter in model.parameters()) / 1e6
    commit = f" at {model.commit_hash[:7]}" if model.commit_hash else ""
    licence = licence_of(model.card)
    decoder = f"images of {config.image_resolution}² pixels" if config.has_decoder else "a renderer without decoder"
    return (
        f"`{model.name_or_path}`{commit}: {decoder}, rendered at {config.render_resolution}² with "
        f"{config.num_samples} samples per ray, {size:.1f} M parameters; licence {licence or 'not stated'}"
    )


@contextlib.contextmanager
def _telling(name: str, consequence: str = ""):
    """Tell the visitor why a model cannot be had."""
    try:
        yield
    except (ValueError, OSError, MemoryError) as error:  # errors of the hub are one of the first two
        logger.info("cannot load %r", name, exc_info=True)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        title = f"Cannot load {name!r}"[:100]
        raise gr.Error(reason + consequence, title=title, print_exception=False) from error
