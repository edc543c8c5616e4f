"""``convert``: a checkpoint of the authors' code as one of ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from stylesdf.commands.output import check_folder
from stylesdf.config import DENSITIES
from stylesdf.convert import OVERRIDES, PRESET_NAMES, convert_checkpoint

ABOUT = "turn an original .pt checkpoint into a checkpoint folder"
EXAMPLE = "python -m stylesdf convert ffhq1024x1024.pt checkpoints/ffhq --preset ffhq"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("src", type=Path, metavar="SRC", help="the .pt or .safetensors file")
    parser.add_argument("dst", type=Path, metavar="DST", help="the folder to write")
    parser.add_argument("--preset", choices=PRESET_NAMES, required=True, help="what the file does not hold")
    override = {"default": argparse.SUPPRESS}
    parser.add_argument("--fov-deg", type=float, help="full field of view, degrees; overrides the preset", **override)
    parser.add_argument("--scene-radius", type=float, help="world units; overrides the preset", **override)
    parser.add_argument("--num-samples", type=int, help="samples per ray; overrides the preset", **override)
    parser.add_argument("--density", choices=DENSITIES, help="density law; overrides the preset", **override)
    yaw, pitch = {"dest": "pose_yaw", **override}, {"dest": "pose_pitch", **override}
    parser.add_argument("--pose-yaw-std", type=float, help="radians; overrides the preset", **yaw)
    parser.add_argument("--pose-pitch-std", type=float, help="radians; overrides the preset", **pitch)
    parser.add_argument("--with-discriminators", action="store_true", help="convert the discriminators as well")


def run(args: argparse.Namespace) -> None:
    check_folder(args.dst)
    overrides = {name: getattr(args, name) for name in OVERRIDES if hasattr(args, name)}
    convert_checkpoint(args.src, args.dst, args.preset, overrides, with_discriminators=args.with_discriminators)
    print(args.dst)
