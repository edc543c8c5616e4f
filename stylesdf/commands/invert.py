"""``invert``: the head that a picture shows."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from PIL import Image

from stylesdf.commands import options
from stylesdf.commands.output import ProgressBar, check_file, save_png
from stylesdf.fit import Progress

ABOUT = "find the head that a picture shows, or several of the same head: a file for --head, and a picture of both"
EXAMPLE = "python -m stylesdf invert photo.png --out mine"

SHARE_TO_TELL_TIME = 0.05  # of the work that is done


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    photos = "upright, the head in the middle of its central square, on a plain background or a transparent one"
    parser.add_argument("photos", type=Path, nargs="+", metavar="PICTURE", help=photos)
    sides = "let the mirrored picture count as one from the other side, where the head is symmetric"
    parser.add_argument("--mirror", action="store_true", help=sides)
    likeness = "they are photos of people: cut them around the face, take the background away, find a likeness"
    parser.add_argument("--photo", action="store_true", help=likeness)
    names = "NAME.safetensors, the head, and NAME.png, each picture beside what the model draws"
    parser.add_argument("--out", type=Path, metavar="NAME", required=True, help=names)


def run(args: argparse.Namespace) -> None:
    saved, sheet = (Path(f"{args.out}{ending}") for ending in (".safetensors", ".png"))
    for path in (saved, sheet):
        check_file(path, (path.suffix,))
    model = options.load_model(args)
    first, is_told = None, False
    with ProgressBar("search") as bar:

        def show(progress: Progress) -> None:
            nonlocal first, is_told
            now, share = time.monotonic(), progress.share
            first = first or (now, share)
            if not is_told and share >= first[1] + SHARE_TO_TELL_TIME:
                is_told = True
                seconds = (now - first[0]) / (share - first[1]) * (1.0 - share)
                print(f"stylesdf: it takes about {seconds:.0f} s", file=sys.stderr)
            bar(share)

        found = model.invert(args.photos, mirror=args.mirror, photo=args.photo, on_step=show)
    size = model.config.image_resolution
    both = Image.new("RGB", (2 * size, len(found.pictures) * size))
    for row, (photo, picture, shot, psnr) in enumerate(zip(args.photos, found.pictures, found.shots, found.psnr)):
        both.paste(picture, (0, row * size))
        both.paste(found.head.view(shot).image, (size, row * size))
        print(f"{photo}: yaw {shot.yaw:.3f}, pitch {shot.pitch:.3f}, {psnr:.1f} dB")
    found.head.save(saved)
    print(saved)
    save_png(both, sheet, found.head.provenance)
