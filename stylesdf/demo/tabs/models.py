"""Models: which one draws, and another of the hub."""

from __future__ import annotations

import gradio as gr

from stylesdf.card import licence_of
from stylesdf.demo.page import LOAD, QUICK, Page, speaking
from stylesdf.pipeline import StyleSDF
from stylesdf.words import in_markdown

TITLE = "The model cannot be loaded"
TEXT = (
    "A folder of `checkpoints/`, or a Hugging Face repository `owner/name` or `owner/name@revision`; safetensors only."
)


def build(page: Page, tab: str, presets: dict[str, str]) -> None:
    """Arrange the part.

    Args:
        page: The page.
        tab: Its name.
        presets: Models to choose from, by what the page calls them.
    """
    with gr.Row(elem_classes="ends"):
        text = gr.Dropdown(
            list(presets.items()), value=page.studio.models.default, allow_custom_value=True, label="Model", info=TEXT,
            elem_id="model", scale=4,
        )  # fmt: skip
        check = gr.Button("Size and licence", elem_id="check-model", min_width=150, scale=1)
        load = gr.Button("Load", elem_id="load-model", min_width=80, scale=1)
    info = gr.Markdown(
        about(page.studio.models.get(page.studio.models.default)), elem_id="model-info", elem_classes="small",
        latex_delimiters=[],
    )  # fmt: skip

    def look_up(name: str) -> str:
        with speaking(TITLE, OSError):  # errors of the hub are ValueError or OSError
            return page.studio.models.look_up(name)

    def load_model(name: str):
        with speaking(TITLE, OSError, MemoryError, consequence="The page stays with the model it has."):
            model = page.studio.models.load(name)
        return "", "", model.name_or_path, about(model)

    def follow(query: str, shown: str | None):
        """Name the model that draws, where it is another than before."""
        name = page.read(query).model
        if name == shown:
            return gr.skip(), gr.skip(), gr.skip()
        return name, about(page.studio.models.get(name)), name

    signal, shown = page.signal(tab), gr.State()
    signal.change(follow, [signal, shown], [text, info, shown], show_progress="hidden", **QUICK)
    check.click(look_up, text, info, show_progress_on=info, **LOAD)
    chosen = [*(page.controls[name] for name in ("head", "edits", "model")), info]
    load.click(load_model, text, chosen, show_progress_on=info, **LOAD)


def about(model: StyleSDF) -> str:
    """Say in one line of Markdown what a model is."""
    config, size = model.config, sum(parameter.numel() for parameter in model.parameters()) / 1e6
    commit = f" at {model.commit_hash[:7]}" if model.commit_hash else ""
    licence = licence_of(model.card)
    decoder = f"images of {config.image_resolution}² pixels" if config.has_decoder else "a renderer without decoder"
    name = f"**{in_markdown(model.name_or_path)}**{in_markdown(commit)}"
    return (
        f"{name}: {decoder}, rendered at {config.render_resolution}² with "
        f"{config.num_samples} samples per ray, {size:.1f} M parameters; licence {in_markdown(licence or 'not stated')}"
    )
