"""Start the page: what the command ``stylesdf demo`` takes and does, without Gradio until it is needed."""

from __future__ import annotations

import argparse
import ipaddress
import os
import threading
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

from stylesdf.checkpoint import BUNDLED, bundled_root, default_model
from stylesdf.config import DEFAULT_MODEL
from stylesdf.fast.allocator import use_one_arena

THIS_MACHINE = "127.0.0.1"
NUM_THREADS = 2  # more gain little on pictures this small
PACKAGES = ("gradio", "plotly")
ABOUT = "open the page in a browser"
EXAMPLE = "python -m stylesdf demo --port 7860"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the page's options; ``run`` takes what comes of them."""
    parser.add_argument("--model", default=default_model(), help="checkpoint folder or hub repository")
    parser.add_argument("--port", type=int, help="TCP port; None is the first free one from 7860")
    host = "address to listen on; 0.0.0.0 is all of them, and makes the page public"
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME") or THIS_MACHINE, help=host)
    strangers = "take visitors for strangers, as behind a proxy: they open no folders and nothing with the hub token"
    parser.add_argument("--public", action="store_true", help=strangers)
    parser.add_argument("--share", action="store_true", help="offer the page under a public gradio.live address too")
    parser.add_argument("--api-load", action="store_true", help="let programs load models of the hub too")
    parser.add_argument("--mcp", action="store_true", help="offer the endpoints as tools of an MCP server too")


def run(options: argparse.Namespace) -> None:
    """Serve the page until the process is told to stop.

    Args:
        options: As of ``add_options``.

    Raises:
        ValueError: No such model, or ``STYLESDF_PRESETS`` cannot be read. Errors of the hub and of the system pass
            unchanged.
        ImportError: A package is missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(f'the page needs {" and ".join(missing)}: pip install "stylesdf[app]"')
    if options.mcp and find_spec("mcp") is None:
        raise ImportError(f'--mcp needs one more package: pip install "gradio[mcp]=={version("gradio")}"')
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(NUM_THREADS, torch.get_num_threads()))
    use_one_arena()  # before the server starts its threads
    from stylesdf.demo.layout import build, server_options
    from stylesdf.demo.models import ModelShelf
    from stylesdf.demo.studio import Studio

    offered = presets(os.environ.get("STYLESDF_PRESETS", ""))
    is_public = options.public or options.share or "SPACE_ID" in os.environ or is_reachable(options.host)
    shelf = ModelShelf(bundled_root(), is_public)
    shelf.load_default(options.model)
    studio = Studio(shelf)
    threading.Thread(target=studio.calibrate, daemon=True).start()
    build(studio, offered, options.api_load).launch(
        server_name=options.host, server_port=options.port, share=options.share, mcp_server=options.mcp,
        **server_options(),
    )  # fmt: skip


def presets(text: str) -> dict[str, str]:
    """Read the models that the owner offers, ``FFHQ=owner/name, AFHQ=owner/other``; the bundled ones come first.

    Raises:
        ValueError: Not such a text.
    """
    bundled = [f"{BUNDLED}/{path.parent.name}" for path in (bundled_root() / BUNDLED).glob("*/config.json")]
    bundled.sort(key=lambda name: (name != DEFAULT_MODEL, name))
    offered = {Path(name).name.replace("-", " ").capitalize(): name for name in bundled}
    for entry in filter(None, map(str.strip, text.split(","))):
        label, equals, name = entry.partition("=")
        if not equals or not label.strip() or not name.strip():
            raise ValueError(f"STYLESDF_PRESETS holds {entry!r}, expected LABEL=OWNER/NAME entries separated by commas")
        offered[label.strip()] = name.strip()
    return offered


def is_reachable(host: str) -> bool:
    """Whether a server that listens on this address can be reached from other machines."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
