"""Edit: sliders with names, one for each direction that came with the model."""

from __future__ import annotations

import gradio as gr

from stylesdf.arguments import parse_edits
from stylesdf.demo.page import PRIVATE, QUICK, Page
from stylesdf.demo.scene import Scene

MOST = 16  # sliders
LIMIT = 3.0  # either way
HINT = (
    "Each slider changes one thing about the head that is seen. 1 is about a standard deviation among heads; beyond 2 "
    "it may look odd. What goes with what in the data stays together a little. It goes into pictures, films and meshes."
)
COLLECT = (  # as a scene writes them, twice
    "(names, ...amounts) => Array(2).fill(names.split(',')"
    f".map((name, i) => [name, Math.round(100 * Math.min(Math.max(amounts[i], {-LIMIT}), {LIMIT})) / 100])"
    ".filter(([, amount]) => amount).map((edit) => edit.join('=')).sort().join(','))"
)
NONE = "This model has no edits: `python -m train directions MODEL --factors 5` makes some for any model."


def build(page: Page, tab: str) -> None:
    """Arrange the tab."""
    edits = page.controls["edits"]
    hint = gr.Markdown(HINT, elem_classes="small", elem_id="edit-info")
    with gr.Row(elem_id="edits"):
        sliders = [
            gr.Slider(-LIMIT, LIMIT, 0, step=0.1, visible=False, min_width=180, elem_id=f"edit-{number}")
            for number in range(MOST)
        ]
    reset = gr.Button("No edits", size="sm", elem_id="no-edits")
    names = gr.Textbox(visible=False)  # of the directions whose sliders are seen
    held = gr.Textbox(visible=False)  # the edits that the sliders hold

    def show(query: str, names_before: str, held_before: str, wanted: str) -> list:
        """Set the sliders to what the scene says, as many as its model has directions.

        Not where they hold it already, or the hand that moves one is ahead of the picture: none is set back under it.
        """
        scene = page.read(query)
        known, amounts = names_of(page, scene), parse_edits(scene.edits)
        if names_before == ",".join(known) and (held_before == scene.edits or wanted != scene.edits):
            return [gr.skip()] * len(shown)
        changed = [
            gr.Slider(label=name.replace("_", " "), value=amounts.get(name, 0.0), visible=True) for name in known
        ]
        rest = [gr.Slider(visible=False)] * (MOST - len(known))
        return [",".join(known), scene.edits, HINT if known else NONE, *changed, *rest]

    # by hand only: what ``show`` sets one after the other must not come back in pieces; a reset counts as a release
    by_hand = [event for slider in sliders for event in (slider.input, slider.release)]
    gr.on(by_hand, None, [names, *sliders], [edits, held], js=COLLECT, **PRIVATE)
    reset.click(None, None, edits, js="() => ''", **PRIVATE)
    signal = page.signal(tab)
    shown = [names, held, hint, *sliders]
    following = [signal, names, held, edits]
    signal.change(show, following, shown, trigger_mode="always_last", show_progress="hidden", **QUICK)


def names_of(page: Page, scene: Scene) -> list[str]:
    """Return the names of a scene's model's directions, as many as there are sliders for."""
    directions = page.studio.model(scene).directions
    return [] if directions is None else directions.names[:MOST]
