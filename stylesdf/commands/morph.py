"""``morph``: a film from head to head."""

from __future__ import annotations

import argparse

from stylesdf.arguments import parse_seeds
from stylesdf.camera import PATHS
from stylesdf.commands import options
from stylesdf.commands.output import check_file, progress
from stylesdf.film import VIDEO_ENDINGS, write_video

ABOUT = "film the way from each seed to the next and back to the first, in a loop"
EXAMPLE = "python -m stylesdf morph --seeds 3,7,11 --frames 120 --out morph.mp4"


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    seeds = options.typed(_several_seeds)
    parser.add_argument("--seeds", type=seeds, required=True, help="two or more: 3,7,11 or 0-3")
    options.add_truncation(parser)
    options.add_angles(parser)
    still = "move the camera meanwhile, around yaw and pitch; None keeps it still"
    parser.add_argument("--path", choices=PATHS, help=still)
    options.add_film(parser)
    options.add_style(parser, quality="best")


def run(args: argparse.Namespace) -> None:
    check_file(args.out, VIDEO_ENDINGS)
    model = options.load_model(args)
    heads = [model.head(seed, args.truncation, args.texture_seed) for seed in args.seeds]
    views = model.morph(heads, args.frames, args.path, args.yaw_range, args.pitch_range, options.shot_of(args))
    write_video((view.image for view in progress(views, "frames", args.frames)), args.out, args.fps)
    print(args.out)


def _several_seeds(text: str) -> list[int]:
    seeds = parse_seeds(text)
    if len(seeds) < 2:
        raise ValueError(f"{text!r} is one seed, expected two or more")
    return seeds
