"""``info``: what a model is."""

from __future__ import annotations

import argparse
import dataclasses

from stylesdf.card import licence_of
from stylesdf.checkpoint import default_model
from stylesdf.commands import options
from stylesdf.commands.output import print_table
from stylesdf.config import DEFAULT_MODEL

ABOUT = "tell what a model is"
EXAMPLE = f"python -m stylesdf info {DEFAULT_MODEL}"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="M", default=default_model(), help="folder or hub repository")
    options.add_device(parser)


def run(args: argparse.Namespace) -> None:
    model = options.load_model(args)
    config = model.config
    size, thumbnail_size = config.image_resolution, config.render_resolution
    facts = {
        "model": model.name_or_path,
        "commit": model.commit_hash or "local",
        "licence": licence_of(model.card) or "not stated",
        "image": f"{size}x{size}" if config.has_decoder else "none (renderer only)",
        "thumbnail": f"{thumbnail_size}x{thumbnail_size}",
        "beta": f"{model.renderer.beta.item():.6g} world units",
        "depth range": f"{config.near:g} to {config.far:g} world units",
        "edits": "none" if model.directions is None else ", ".join(model.directions.names),
    }
    print_table("", facts)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    counts["total"] = sum(counts.values())
    print_table("parameters", {name: f"{count:,}" for name, count in counts.items()})
    print_table("config", dataclasses.asdict(config))
