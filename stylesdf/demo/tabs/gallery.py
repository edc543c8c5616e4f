"""Gallery: pages of seeds, the same seed at several truncations, and favourites that stay in the browser."""

from __future__ import annotations

from dataclasses import replace

import gradio as gr

from stylesdf.arguments import MAX_SEED, check_seed
from stylesdf.demo.page import AT_ONCE, HEAVY, QUICK, Page, speaking
from stylesdf.demo.scene import Scene

TILES = 12  # of one page
MAX_SHOWN = 96
STRIP = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MAX_FAVOURITES = 48


def build(page: Page, tab: str) -> None:
    """Arrange the tab."""
    shown = gr.State([])
    tiles = _gallery("Click a head to explore it", "gallery")
    with gr.Row(elem_classes="ends"):
        first_seed = gr.Number(
            0, label="From seed", precision=0, minimum=0, maximum=MAX_SEED, step=TILES, elem_id="first-seed",
            min_width=110,
        )  # fmt: skip
        show = gr.Button("Show", elem_id="show-gallery", min_width=80)
        more = gr.Button("More", elem_id="more-heads", min_width=80)
    strip = _gallery("This seed from truncation 0 to 1", "strip")
    favourites = gr.BrowserState([], storage_key="stylesdf-favourites", secret="not a secret")
    with gr.Column(elem_id="kept"):  # seen where there are any
        kept = _gallery("Kept in this browser", "favourites")
        drop = gr.Button("Forget all", size="sm", elem_id="forget-favourites")

    def tile(scene: Scene, seed: int) -> str:
        return page.pictures.path(page.studio.tile(scene, seed))

    def add(scene: Scene, before: list, start: int):
        """Draw a page below those that are there, tile by tile as they finish."""
        with speaking():
            start = min(check_seed(start), MAX_SEED - TILES + 1)
            before = before[-(MAX_SHOWN - TILES) :]
            seeds = list(range(start, start + TILES))
            drawn = [(tile(scene, seed), f"seed {seed}") for seed in before]
            for i, seed in enumerate(seeds, 1):
                drawn.append((tile(scene, seed), f"seed {seed}"))
                if i % 3 == 0 or i == TILES:  # not every one: each sends all that are there
                    yield list(drawn), before + seeds[:i]

    def fill(query: str, start: int):
        yield from add(page.read(query), [], start)

    def add_more(query: str, before: list):
        yield from add(page.read(query), before, min(before[-1] + 1 if before else 0, MAX_SEED))

    def arrive(query: str, filled: tuple | None, before: list, start: int, queries: list):
        """Draw the strip of another seed; with another model or truncation, the page of seeds too."""
        scene = page.read(query)


        def strip_now() -> list:
            return [(tile(replace(scene, truncation=psi), scene.seed), f"ψ {psi:g}") for psi in STRIP]

        if filled == (scene.model, scene.truncation):
            yield strip_now(), gr.skip(), gr.skip(), gr.skip(), gr.skip()
            return
        for drawn, seeds in add(scene, [], before[0] if before else start):
            yield gr.skip(), gr.skip(), drawn, seeds, gr.skip()
        yield strip_now(), draw_kept(queries), gr.skip(), gr.skip(), (scene.model, scene.truncation)

    def draw_kept(queries: list):
        return [(tile(scene, scene.seed), f"seed {scene.seed}") for scene in _scenes(page, queries)]

    def keep_this(query: str, queries: list):
        queries = [old for old in queries if old != query][-(MAX_FAVOURITES - 1) :] + [query]
        return queries, draw_kept(queries)

    def pick_kept(query: str, queries: list, event: gr.SelectData):
        return page.settings(_scenes(page, queries)[event.index], page.read(query))

    def pick_tile(query: str, seeds: list, event: gr.SelectData):
        scene = page.read(query)
        return page.settings(replace(scene, seed=seeds[event.index], head=None), scene)

    filling = {"outputs": [tiles, shown], "show_progress": "minimal", **HEAVY}
    show.click(fill, [page.query, first_seed], **filling)
    first_seed.submit(fill, [page.query, first_seed], **filling)
    more.click(add_more, [page.query, shown], **filling)
    tiles.select(pick_tile, [page.query, shown], page.setters, **AT_ONCE)
    strip.select(pick_truncation, None, page.controls["truncation"], **AT_ONCE)
    page.keep.click(keep_this, [page.query, favourites], [favourites, kept], show_progress="hidden", **QUICK)
    drop.click(lambda: ([], []), None, [favourites, kept], **AT_ONCE)
    kept.select(pick_kept, [page.query, favourites], page.setters, **AT_ONCE)
    signal, filled = page.signal(tab), gr.State()
    signal.change(
        arrive, [signal, filled, shown, first_seed, favourites], [strip, kept, tiles, shown, filled],
        trigger_mode="always_last", show_progress="hidden", **HEAVY,
    )  # fmt: skip


def pick_truncation(event: gr.SelectData) -> float:
    """Return the truncation of the picture that was clicked."""
    return STRIP[event.index]


def _scenes(page: Page, queries: list) -> list[Scene]:
    """Read favourites; those that cannot be read, or are of a model that is gone, are left out."""
    scenes = []
    for query in queries if isinstance(queries, list) else []:
        try:
            scene = page.read(str(query))
            page.studio.model(scene)
        except (ValueError, OSError):
            continue
        scenes.append(scene)
    return scenes


def _gallery(label: str, elem_id: str) -> gr.Gallery:
    gr.Markdown(label, elem_classes="small")
    return gr.Gallery(
        label=label, show_label=False, container=False, columns=6, height="auto", allow_preview=False, buttons=[],
        object_fit="cover", interactive=False, elem_id=elem_id, elem_classes="gallery",
    )  # fmt: skip
