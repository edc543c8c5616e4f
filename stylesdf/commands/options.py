"""Options that several commands have, and what becomes of them: a model, a head, a shot."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from stylesdf.arguments import MAX_FRAMES, check_truncation, parse_edits, parse_seed
from stylesdf.camera import MAX_PERSPECTIVE
from stylesdf.checkpoint import default_model
from stylesdf.commands.output import describe
from stylesdf.config import MAX_FOV_DEG
from stylesdf.decoder import NOISE_MODES
from stylesdf.film import MAX_FPS, MIN_FPS, VIDEO_ENDINGS
from stylesdf.head import Head
from stylesdf.pipeline import StyleSDF
from stylesdf.shot import QUALITIES, Shot

TRUNCATION = 0.7  # where none is given

Value = TypeVar("Value")


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=default_model(), help="checkpoint folder or hub repository")
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ...; auto is cuda where there is one")


def add_seed(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--seed", type=typed(parse_seed), help="integer from 0 to 4294967295")
    add_saved_head(whose)
    add_edits(parser)


def add_saved_head(group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument("--head", type=Path, metavar="FILE", help="a head that was saved, as by invert, instead")


def add_edits(parser: argparse.ArgumentParser) -> None:
    about = "what to change about the head and by how much, as in age=1.5,hat=1; info tells the model's names"
    parser.add_argument("--edit", type=typed(parse_edits), metavar="NAME=AMOUNT", help=about)


def add_truncation(parser: argparse.ArgumentParser) -> None:
    about = "from 0 (the mean head) to 1 (full variety)"
    parser.add_argument("--truncation", type=typed(_truncation), default=TRUNCATION, help=about)


def add_angles(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yaw", type=typed(_radians), default=0.0, help="radians, positive sees the head from +x")
    parser.add_argument("--pitch", type=typed(_pitch), default=0.0, help="radians, positive sees it from above")


def add_film(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", type=typed(integer(1, MAX_FRAMES)), default=60, help="number of frames")
    parser.add_argument("--fps", type=typed(_fps), default=30.0, help="frames per second")
    parser.add_argument("--yaw-range", type=typed(_radians), default=0.5, help="largest yaw of the path, radians")
    parser.add_argument("--pitch-range", type=typed(_pitch), default=0.25, help="largest pitch of the path, radians")
    parser.add_argument("--out", type=Path, required=True, help=f"file that ends in {', '.join(VIDEO_ENDINGS)}")


def add_fov(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fov-deg", type=typed(_fov_deg), help="full field of view, degrees; None is the model's")


def add_style(parser: argparse.ArgumentParser, quality: str = QUALITIES[0]) -> None:
    add_fov(parser)
    lens = f"from 0 (orthographic) to {MAX_PERSPECTIVE:g} (a near eye)"
    parser.add_argument("--perspective", type=typed(_perspective), default=1.0, help=lens)
    parser.add_argument("--noise-mode", choices=NOISE_MODES, default="const", help="the decoder's noise")
    parser.add_argument("--texture-seed", type=typed(parse_seed), help="take the texture from another seed")
    light = "move the picture's light: degrees around and above the head, as in --light-deg=-80,10"
    parser.add_argument("--light-deg", type=typed(_light_deg), metavar="AROUND,ABOVE", help=light)
    speed = "exact as trained, fast near the surface only, best with more rays, for films"
    parser.add_argument("--quality", choices=QUALITIES, default=quality, help=speed)


def load_model(args: argparse.Namespace) -> StyleSDF:
    name, device = args.model, args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return StyleSDF.from_pretrained(name, device=device)
    except OSError as error:
        raise ValueError(f"no model folder {name}, and the hub gives none: {describe(error)}") from error


def head_of(args: argparse.Namespace, model: StyleSDF, seed: int | None) -> Head:
    """Return the head of a seed, or the saved one, edited."""
    texture_seed = getattr(args, "texture_seed", None)
    if seed is None and texture_seed is not None:
        raise ValueError(f"--texture-seed is {texture_seed}, but --head has a texture of its own")
    if seed is None and args.truncation != TRUNCATION:
        raise ValueError(f"--truncation is {args.truncation:g}, but --head is taken as it was saved")
    head = model.load_head(args.head) if seed is None else model.head(seed, args.truncation, texture_seed)
    return model.edit(head, args.edit) if args.edit else head


def shot_of(args: argparse.Namespace) -> Shot:
    yaw, pitch = getattr(args, "yaw", 0.0), getattr(args, "pitch", 0.0)
    style = {name: getattr(args, name) for name in ("fov_deg", "quality", "noise_mode", "perspective")}
    return Shot(yaw, pitch, **style, light=args.light_deg)


def typed(read: Callable[[str], Value]) -> Callable[[str], Value]:
    """Let argparse show the message of a ValueError."""

    def convert(text: str) -> Value:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def integer(lowest: int, highest: int) -> Callable[[str], int]:
    """Return a function that reads an integer in a range."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"{text!r} is not an integer from {lowest} to {highest}")
        return int(text)

    return read


def real(text: str, expected: str, is_fine: Callable[[float], bool] = lambda value: True) -> float:
    """Read a finite number.

    Args:
        text: What stands on the command line.
        expected: What the error calls it, as in ``a number of degrees``.
        is_fine: Whether it is in its range.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and is_fine(value)):
        raise ValueError(f"{text!r} is not {expected}")
    return value


def _radians(text: str) -> float:
    return real(text, "a finite number of radians")


def _pitch(text: str) -> float:
    return real(text, "a number of radians between -pi/2 and pi/2", lambda value: abs(value) < math.pi / 2)


def _fps(text: str) -> float:
    expected = f"a number of frames per second from {MIN_FPS:g} to {MAX_FPS:g}"
    return real(text, expected, lambda value: MIN_FPS <= value <= MAX_FPS)


def _fov_deg(text: str) -> float:
    return real(text, f"a number of degrees between 0 and {MAX_FOV_DEG:g}", lambda value: 0 < value < MAX_FOV_DEG)


def _perspective(text: str) -> float:
    return real(text, f"a number from 0 to {MAX_PERSPECTIVE:g}", lambda value: 0 <= value <= MAX_PERSPECTIVE)


def _light_deg(text: str) -> tuple[float, float]:
    try:
        around, above = (real(angle, "a number") for angle in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is not two angles in degrees, expected as in -80,10") from None
    return math.radians(around), math.radians(above)


def _truncation(text: str) -> float:
    return check_truncation(real(text, "a number from 0 to 1"))
