"""The demo page: a seed becomes a head that can be looked at, turned and taken home.

Run ``python app.py`` and open the address it prints.
"""

# ruff: noqa: E402 - the environment and the allocator are set up before anything starts a thread
from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import threading
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "2")  # before torch starts; more gain little on pictures this small

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401 - it must come before torch
from stylesdf.allocator import keep_large_blocks, use_one_arena

use_one_arena()
import gradio as gr
from starlette.middleware import Middleware

from stylesdf.config import DEFAULT_MODEL
from stylesdf.demo import api
from stylesdf.demo.bodies import WholeBodies
from stylesdf.demo.live import live_link
from stylesdf.demo.models import ModelShelf
from stylesdf.demo.page import AT_ONCE, Page, visitor
from stylesdf.demo.scene import MAX_PICTURE_BYTES
from stylesdf.demo.studio import Studio
from stylesdf.demo.tabs import compare, explore, film, gallery, inside, mesh, mixing, models, sharing

ROOT = Path(__file__).resolve().parent
MAX_QUEUE = 40
CSS = (ROOT / "stylesdf" / "demo" / "page.css").read_text(encoding="utf-8")
HEADER = "# StyleSDF\nEvery seed is a head: drag the picture to turn it; the surface behind it is yours to take home."
THIS_MACHINE = "127.0.0.1"
KEYS = (
    "**Keys**, with the picture in focus: arrows turn, + and − zoom, Home brings back the front. **Programs**: "
    "*Use via API* at the foot of the page; docs/page.md has a script."
)


def presets(text: str) -> dict[str, str]:
    """Read the models that the owner offers, ``FFHQ=owner/name, AFHQ=owner/other``; the bundled ones come first."""
    bundled = [f"checkpoints/{path.parent.name}" for path in ROOT.glob("checkpoints/*/config.json")]
    bundled.sort(key=lambda name: (name != DEFAULT_MODEL, name))
    offered = {Path(name).name.replace("-", " ").capitalize(): name for name in bundled}
    for entry in filter(None, map(str.strip, text.split(","))):
        label, equals, name = entry.partition("=")
        if not equals or not label.strip() or not name.strip():
            raise ValueError(f"STYLESDF_PRESETS holds {entry!r}, expected LABEL=OWNER/NAME entries separated by commas")
        offered[label.strip()] = name.strip()
    return offered


def server_options() -> dict:
    """Return what the page is launched with, wherever it listens."""
    return {
        "ssr_mode": False, "run_history": False, "css": CSS,
        "theme": gr.themes.Soft(primary_hue="indigo", neutral_hue="slate"), "max_file_size": MAX_PICTURE_BYTES,
        "app_kwargs": {"middleware": [Middleware(WholeBodies)]},
    }  # fmt: skip


def is_reachable(host: str) -> bool:
    """Whether a server that listens on this address can be reached from other machines."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


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
        open_tab = gr.Textbox("Mesh", visible=False)
        gr.Markdown(HEADER + live_link(), elem_id="header")
        with gr.Row(equal_height=False):
            with gr.Column(min_width=340):
                explore.build(page)
            with gr.Column(min_width=340):
                with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as tabs:
                    with gr.Tab("Mesh", id="Mesh", render_children=True):
                        mesh.build(page, "Mesh")
                    with gr.Tab("Gallery", id="Gallery", render_children=True):
                        gallery.build(page, "Gallery")
                    with gr.Tab("Mix", id="Mix", render_children=True):
                        mixing.build(page, "Mix")
                    with gr.Tab("Film", id="Film", render_children=True):
                        film.build(page)
                    with gr.Tab("Compare", id="Compare", render_children=True):
                        compare.build(page, "Compare")
                    with gr.Tab("Inside", id="Inside", render_children=True):
                        inside.build(page, "Inside")
                    with gr.Tab("Link", id="Link", render_children=True):
                        code = sharing.build(page)
        models.build(page, offered or {})
        gr.Markdown(KEYS, elem_classes="small")
        tabs.select(opened, None, open_tab, **AT_ONCE)
        page.wire_signals(open_tab)
        explore.wire(page, blocks, code)
        api.build(page, may_load)

        def leave(request: gr.Request) -> None:
            page.files.forget(visitor(request))

        blocks.unload(leave)
    return blocks.queue(max_size=MAX_QUEUE, default_concurrency_limit=1)


def opened(event: gr.SelectData) -> str:
    """Return the tab that was opened."""
    return event.value


def main(arguments: list[str] | None = None) -> None:
    """Start the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default=os.environ.get("STYLESDF_MODEL") or DEFAULT_MODEL,
        help="folder or hub repository owner/name[@revision]; also STYLESDF_MODEL (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, help="TCP port (default: the first free one from 7860)")
    parser.add_argument(
        "--host", default=os.environ.get("GRADIO_SERVER_NAME") or THIS_MACHINE,
        help="address to listen on; 0.0.0.0 is all of them, and makes the page public (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--public", action="store_true",
        help="take visitors for strangers, as behind a proxy: they open no folders and nothing with the hub token",
    )  # fmt: skip
    parser.add_argument("--share", action="store_true", help="offer the page under a public gradio.live address too")
    parser.add_argument("--api-load", action="store_true", help="let programs load models of the hub too")
    parser.add_argument("--mcp", action="store_true", help="offer the endpoints as tools of an MCP server too")
    options = parser.parse_args(arguments)
    if options.mcp and importlib.util.find_spec("mcp") is None:
        parser.exit(2, f"app.py: error: --mcp needs one more package: pip install 'gradio[mcp]=={gr.__version__}'\n")
    keep_large_blocks()
    is_public = options.public or options.share or "SPACE_ID" in os.environ or is_reachable(options.host)
    shelf = ModelShelf(ROOT, is_public)
    try:
        offered = presets(os.environ.get("STYLESDF_PRESETS", ""))
        shelf.load_default(options.model)
    except (ValueError, OSError) as error:
        parser.exit(2, f"app.py: error: {error}\n")
    studio = Studio(shelf)
    threading.Thread(target=studio.calibrate, daemon=True).start()
    build(studio, offered, options.api_load).launch(
        server_name=options.host, server_port=options.port, share=options.share, mcp_server=options.mcp,
        **server_options(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
