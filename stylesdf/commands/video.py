"""``video``: a film around a head."""

from __future__ import annotations

import argparse

from stylesdf.camera import PATHS
from stylesdf.commands import options
from stylesdf.commands.output import check_file, progress
from stylesdf.film import VIDEO_ENDINGS, write_video

ABOUT = "film one seed from a camera that moves around the frontal view, in a loop"
EXAMPLE = "python -m stylesdf video --seed 3 --frames 120 --out orbit.mp4"


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_seed(parser)
    options.add_truncation(parser)
    paths = "around the frontal view, to and fro, or swinging to both sides while it rises and sinks"
    parser.add_argument("--path", choices=PATHS, default=PATHS[0], help=paths)
    options.add_film(parser)
    options.add_style(parser, quality="best")


def run(args: argparse.Namespace) -> None:
    check_file(args.out, VIDEO_ENDINGS)
    model = options.load_model(args)
    head = options.head_of(args, model, args.seed)
    views = head.orbit(args.frames, args.path, args.yaw_range, args.pitch_range, options.shot_of(args))
    write_video((view.image for view in progress(views, "frames", args.frames)), args.out, args.fps)
    print(args.out)
