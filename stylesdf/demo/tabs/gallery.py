"""Gallery: pages of seeds, the same seed at several truncations, and favourites that stay in the browser."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace

import gradio as gr

from stylesdf.arguments import MAX_SEED, check_seed
from stylesdf.demo.page import ASIDE, AT_ONCE, HEAVY, QUICK, Page, speaking, visitor
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
        kept, kept_seen = _gallery("Kept in this browser", "favourites"), gr.State([])
        drop = gr.Button("Forget all", size="sm", elem_id="forget-favourites")

    def tile(scene: Scene) -> str:
        return page.pictures.path(page.studio.tile(scene))

    def add(scene: Scene, before: list, start: int):
        """Draw a page below those that are there, tile by tile as they finish."""
        with speaking():
            start = min(check_seed(start), MAX_SEED - TILES + 1)
            before = before[-(MAX_SHOWN - TILES) :]
            seeds = list(range(start, start + TILES))
            drawn = [(tile(scene.plain(seed)), f"seed {seed}") for seed in before]
            for i, seed in enumerate(seeds, 1):
                drawn.append((tile(scene.plain(seed)), f"seed {seed}"))
                if i % 3 == 0 or i == TILES:  # not every one: each sends all that are there
                    yield list(drawn), before + seeds[:i]

    def fill(query: str, start: int):
        yield from add(page.read(query), [], start)

    def add_more(query: str, before: list):
        yield from add(page.read(query), before, min(before[-1] + 1 if before else 0, MAX_SEED))

    def arrive(query: str, filled: tuple | None, before: list, start: int):
        """With another model or truncation, draw the page of seeds again."""
        scene = page.read(query)
        if filled == (scene.model, scene.truncation):
            yield [gr.skip()] * 3
            return
        for drawn, seeds in add(scene, [], before[0] if before else start):
            yield drawn, seeds, gr.skip()
        yield gr.skip(), gr.skip(), (scene.model, scene.truncation)

    def draw_strip(query: str):
        """Draw a seed at several truncations."""
        scene = page.read(query)
        return [(tile(scene.plain(scene.seed, psi)), f"ψ {psi:g}") for psi in STRIP]

    def kept_tile(scene: Scene, request: gr.Request) -> str:
        """As ``tile``; what comes of a visitor's picture lies in that visitor's folder."""
        if scene.head is None:
            return tile(scene)
        path = page.files.held(visitor(request), f"{hashlib.sha256(repr(scene.identity).encode()).hexdigest()}.png")
        if not path.is_file():
            page.studio.tile(scene).save(path)
        return str(path)

    def still_there(queries: list, request: gr.Request) -> list[tuple[Scene, str]]:
        """Return what was kept, with tiles; what cannot be read, or is of a model or a picture that is gone, is not."""
        found = []
        for query in queries if isinstance(queries, list) else []:
            with contextlib.suppress(ValueError, OSError):
                scene = page.read(str(query))
                found.append((scene, kept_tile(scene, request)))
        return found

    def draw_kept(queries: list, request: gr.Request):
        found = still_there(queries, request)
        return [(picture, scene.caption) for scene, picture in found], [scene.query() for scene, _ in found]

    def keep_this(query: str, queries: list):
        return [old for old in queries if old != query][-(MAX_FAVOURITES - 1) :] + [query]

    def pick_kept(query: str, seen: list, event: gr.SelectData):
        with speaking():
            return page.settings(page.read(seen[event.index]), page.read(query))

    def pick_tile(query: str, seeds: list, event: gr.SelectData):
        scene = page.read(query)
        return page.settings(replace(scene, seed=seeds[event.index], head=None), scene)

    def pick_truncation(query: str, event: gr.SelectData):
        scene = page.read(query)
        return page.settings(replace(scene, truncation=STRIP[event.index], head=None), scene)

    filling = {"outputs": [tiles, shown], "show_progress": "minimal", **HEAVY}
    show.click(fill, [page.query, first_seed], **filling)
    first_seed.submit(fill, [page.query, first_seed], **filling)
    more.click(add_more, [page.query, shown], **filling)
    tiles.select(pick_tile, [page.query, shown], page.setters, **AT_ONCE)
    strip.select(pick_truncation, page.query, page.setters, **AT_ONCE)
    page.keep.click(keep_this, [page.query, favourites], favourites, show_progress="hidden", **QUICK)
    drop.click(lambda: [], None, favourites, **AT_ONCE)
    kept.select(pick_kept, [page.query, kept_seen], page.setters, **AT_ONCE)
    signal, filled = page.signal(tab), gr.State()
    # first: what follows the same change waits for what was wired before
    signal.change(draw_strip, signal, strip, trigger_mode="always_last", show_progress="hidden", **ASIDE)
    # one listener: of two, the one that knows an older list could be the last to show it
    gr.on([signal.change, favourites.change], draw_kept, favourites, [kept, kept_seen],
          trigger_mode="always_last", show_progress="hidden", **ASIDE)  # fmt: skip
    signal.change(
        arrive, [signal, filled, shown, first_seed], [tiles, shown, filled],
        trigger_mode="always_last", show_progress="hidden", **HEAVY,
    )  # fmt: skip


def _gallery(label: str, elem_id: str) -> gr.Gallery:
    gr.Markdown(label, elem_classes="small")
    return gr.Gallery(
        label=label, show_label=False, container=False, columns=6, height="auto", allow_preview=False, buttons=[],
        object_fit="cover", interactive=False, elem_id=elem_id, elem_classes="gallery",
    )  # fmt: skip
