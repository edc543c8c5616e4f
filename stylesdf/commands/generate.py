"""``generate``: pictures of seeds."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

import numpy as np
from PIL import Image

from stylesdf.arguments import parse_seeds
from stylesdf.commands import options
from stylesdf.commands.output import check_folder, progress, save_png

ABOUT = "write pictures, one PNG per seed"
EXAMPLE = "python -m stylesdf generate --seeds 0-3,7 --yaw 0.3 --pitch 0.1 --out pictures"


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--seeds", type=options.typed(parse_seeds), help="integers and ranges: 0-3,7")
    options.add_saved_head(whose)
    options.add_edits(parser)
    options.add_truncation(parser)
    options.add_angles(parser)
    options.add_style(parser)
    folder = "folder for seed0003.png, ..., or a picture named as the file of the head; made if missing"
    parser.add_argument("--out", type=Path, required=True, help=folder)
    parser.add_argument(
        "--save-all",
        action="store_true",
        help="also write _thumbnail.png, _depth.png (16 bits, near to far) and _normals.png (world axes, -1..1)",
    )


def run(args: argparse.Namespace) -> None:
    check_folder(args.out)
    model = options.load_model(args)
    new = [folder for folder in (args.out, *args.out.parents) if not folder.exists()]
    written: list[Path] = []
    try:
        for seed in progress(args.seeds or [None], "pictures"):
            name = args.head.stem if seed is None else f"seed{seed:04d}"
            head = options.head_of(args, model, seed)
            view = head.view(options.shot_of(args))
            about = {**head.provenance, "yaw": args.yaw, "pitch": args.pitch, "quality": args.quality}
            about["noise_mode"] = args.noise_mode
            lens_and_light = {"fov_deg": args.fov_deg, "perspective": args.perspective, "light": args.light_deg}
            about |= {name: value for name, value in lens_and_light.items() if value is not None}
            pictures = {"": view.image}
            if args.save_all:
                near, far = model.config.near, model.config.far
                pictures |= {"_thumbnail": view.thumbnail, "_normals": _normals_picture(view.normals)}
                pictures["_depth"] = _depth_picture(view.depth, near, far)
                about |= {"depth_at_0": near, "depth_at_65535": far}
            for kind, picture in pictures.items():
                written.append(args.out / f"{name}{kind}.png")
                save_png(picture, written[-1], about)
    except Exception:
        if new:  # what a failed run wrote into a new folder goes with it; pictures of an interrupted one stay
            for path in written:
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not where somebody else has put something there
                for folder in new:
                    folder.rmdir()
        raise


def _depth_picture(depth: np.ndarray, near: float, far: float) -> Image.Image:
    """z-depth ``(H, W)`` in world units as 16 bits: near is 0, far 65535."""
    share = np.clip((depth - near) / (far - near), 0.0, 1.0)
    return Image.fromarray(np.round(share * 65535.0).astype(np.uint16))


def _normals_picture(normals: np.ndarray) -> Image.Image:
    """Unit normals ``(H, W, 3)`` as colours: −1 is 0, 1 is 255; the background's zeros are 128."""
    return Image.fromarray(np.round((normals + 1.0) * 127.5).astype(np.uint8))
