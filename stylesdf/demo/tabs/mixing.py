"""Mix and morph: the shape of one head with the colours of another, and heads between two."""

from __future__ import annotations

import gradio as gr

from stylesdf.arguments import MAX_SEED
from stylesdf.demo.page import PRIVATE, QUICK, Page, slider, speaking

HINT = (
    "The picture is the mix: turn it, save it, make a mesh or a film of it. The texture seed gives the colours of the "
    "decoder's later layers; a mesh keeps the colours of its shape. A morph goes on in both codes."
)
# of two seeds; a head that was found has none
SWAP = f"""(seed, other, share, head) => {{
  const isSeed = /^\\s*\\d+\\s*$/.test(other) && Number(other) <= {MAX_SEED}
  return isSeed && seed !== null && !head ? [Number(other), String(seed), Math.round(100 * (1 - share)) / 100]
    : [seed, other, share]
}}"""


def controls() -> dict:
    """Make the tab's controls, which every part of the page reads; ``build`` puts them into their place."""
    seed = {"value": "", "max_lines": 1, "min_width": 120, "render": False}
    return {
        "texture_seed": gr.Textbox(label="Texture of seed", placeholder="its own", elem_id="texture", **seed),
        "morph_seed": gr.Textbox(label="Morph to seed", placeholder="nobody", elem_id="morph-seed", **seed),
        "morph_share": slider(
            0, 1, 0, step=0.01, label="How far", info="0 is the seed, 1 the other", elem_id="morph-share", render=False
        ),
    }


def build(page: Page, tab: str) -> None:
    """Arrange the tab."""
    texture, other, share = (page.controls[name] for name in ("texture_seed", "morph_seed", "morph_share"))
    with gr.Row(equal_height=True):
        texture.render()
        other.render()
    share.render()
    with gr.Row():
        parents = [
            gr.Image(
                label=label, type="filepath", height="min(180px, 27vw)", min_width=90, interactive=False,
                buttons=[], elem_id=f"parent-{name}", alt_text=f"The head that gives the {name}",
            )
            for label, name in (("Shape", "shape"), ("Texture", "texture"), ("Morph", "morph"))
        ]  # fmt: skip
    with gr.Row():
        swap = gr.Button("Swap the two", size="sm", elem_id="swap")
        clear = gr.Button("Only the seed", size="sm", elem_id="unmix")
    gr.Markdown(HINT, elem_classes="small")

    clear.click(None, None, [texture, other, share], js="() => ['', '', 0]", **PRIVATE)
    mixed = [page.controls["seed"], other, share]
    swap.click(None, [*mixed, page.controls["head"]], mixed, js=SWAP, **PRIVATE)

    def check(*values) -> None:
        with speaking():
            page.scene(values)

    def draw_parents(query: str) -> list:
        scene = page.read(query)
        seeds = (scene.seed, scene.texture_seed, scene.morph_seed)
        parents = [None if seed is None else page.pictures.path(page.studio.tile(scene.plain(seed))) for seed in seeds]
        return parents if scene.head is None else [None, *parents[1:]]

    leaving = [event for field in (texture, other) for event in (field.blur, field.submit)]
    gr.on(leaving, check, page.inputs, None, show_progress="hidden", **QUICK)
    signal = page.signal(tab)
    signal.change(draw_parents, signal, parents, trigger_mode="always_last", show_progress="hidden", **QUICK)
