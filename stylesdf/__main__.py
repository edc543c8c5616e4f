"""The commands: ``python -m stylesdf demo | generate | invert | mesh | video | morph | export | convert | info``."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import math
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stylesdf.arguments import MAX_FRAMES, check_truncation, parse_edits, parse_seed, parse_seeds
from stylesdf.camera import MAX_PERSPECTIVE, PATHS
from stylesdf.card import licence_of
from stylesdf.checkpoint import default_model
from stylesdf.config import DEFAULT_MODEL, DENSITIES
from stylesdf.convert import PRESET_NAMES
from stylesdf.decoder import NOISE_MODES
from stylesdf.demo import start
from stylesdf.export import ONNX_ENDINGS, export_onnx
from stylesdf.fast.allocator import keep_large_blocks
from stylesdf.files import check_ending, replacing
from stylesdf.film import VIDEO_ENDINGS, write_video
from stylesdf.fit import Progress
from stylesdf.head import Head
from stylesdf.live.export import HTML_ENDINGS, WEIGHTS
from stylesdf.mesh import (
    KEEP,
    MAX_RESOLUTION,
    MAX_SIZE_MM,
    MAX_SMOOTHING,
    MESH_ENDINGS,
    MIN_FACES,
    MIN_RESOLUTION,
    TEXTURE_ENDINGS,
    UPS,
    export_mesh,
    refine_mesh,
)
from stylesdf.pipeline import StyleSDF
from stylesdf.shot import QUALITIES, Shot
from stylesdf.terminal import Parser, terminal
from stylesdf.texture import MAX_TEXTURE, MIN_TEXTURE, bake_texture
from stylesdf.version import __version__

BAD_INPUT, INTERRUPTED = 2, 130
TRUNCATION = 0.7  # where none is given
SHARE_TO_TELL_TIME = 0.05  # of the work that is done

EXAMPLES = """examples:
  python -m stylesdf demo
  python -m stylesdf generate --seeds 0-3,7 --truncation 0.7 --yaw 0.3 --pitch 0.1 --out pictures
  python -m stylesdf invert photo.png --out mine
  python -m stylesdf mesh --seed 3 --resolution 256 --out head.glb
  python -m stylesdf video --seed 3 --frames 120 --fps 30 --out orbit.mp4
  python -m stylesdf morph --seeds 3,7,11 --frames 120 --out morph.mp4
  python -m stylesdf export --out model.onnx
  python -m stylesdf export --out heads.html
  python -m stylesdf convert ffhq1024x1024.pt checkpoints/ffhq --preset ffhq
  python -m stylesdf info checkpoints/ffhq

Angles are radians: yaw 0.3 is 17 degrees. A model is a checkpoint folder or a hub repository, name/name or
name/name@revision; STYLESDF_MODEL in the environment changes the default."""


class _Parser(Parser):
    """A parser whose errors are one line."""

    def error(self, message: str):
        self.exit(BAD_INPUT, _error_line(message))


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults are shown, the epilog keeps its lines."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 on bad input, 130 at Ctrl-C, 143 at SIGTERM, 129 at SIGHUP."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # an error is one line, without the hub's retries before it
    logging.basicConfig(format="stylesdf: %(message)s")
    logging.getLogger("stylesdf.hub").setLevel(logging.INFO)  # what it asks, it says first
    try:
        with terminal():
            args = _parser().parse_args(argv)
            keep_large_blocks()
            args.run(args)
    except BrokenPipeError:  # the reader has seen enough
        pass
    except (ValueError, OSError, ImportError, MemoryError, torch.OutOfMemoryError) as error:
        sys.stderr.write(_error_line(_describe(error)))
        return BAD_INPUT
    except KeyboardInterrupt as stop:
        sys.stderr.write("stylesdf: interrupted\n")
        return getattr(stop, "status", INTERRUPTED)
    return 0


def _error_line(message: str) -> str:
    return f"stylesdf: error: {' '.join(message.split())}\n"


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


# ---- arguments


def _parser() -> _Parser:
    parser = _Parser("stylesdf", description=__doc__.strip(), epilog=EXAMPLES, formatter_class=_Help)
    parser.add_argument("--version", action="version", version=f"stylesdf {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, run, about: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=about, description=about, epilog=f"example:\n  {example}", formatter_class=_Help, prog=None
        )
        added.set_defaults(run=run)
        return added

    start.add_options(command("demo", start.start, "open the page in a browser", "python -m stylesdf demo --port 7860"))

    generate = command(
        "generate",
        _generate,
        "write pictures, one PNG per seed",
        "python -m stylesdf generate --seeds 0-3,7 --yaw 0.3 --pitch 0.1 --out pictures",
    )
    _add_model(generate)
    whose = generate.add_mutually_exclusive_group(required=True)
    whose.add_argument("--seeds", type=_typed(parse_seeds), help="integers and ranges: 0-3,7")
    _add_saved_head(whose)
    _add_edits(generate)
    _add_truncation(generate)
    _add_angles(generate)
    _add_style(generate)
    folder = "folder for seed0003.png, ..., or a picture named as the file of the head; made if missing"
    generate.add_argument("--out", type=Path, required=True, help=folder)
    generate.add_argument(
        "--save-all",
        action="store_true",
        help="also write _thumbnail.png, _depth.png (16 bits, near to far) and _normals.png (world axes, -1..1)",
    )

    invert = command(
        "invert",
        _invert,
        "find the head that a picture shows, or several of the same head: a file for --head, and a picture of both",
        "python -m stylesdf invert photo.png --out mine",
    )
    _add_model(invert)
    photos = "upright, the head in the middle of its central square, on a plain background or a transparent one"
    invert.add_argument("photos", type=Path, nargs="+", metavar="PICTURE", help=photos)
    sides = "let the mirrored picture count as one from the other side, where the head is symmetric"
    invert.add_argument("--mirror", action="store_true", help=sides)
    likeness = "they are photos of people: cut them around the face, take the background away, find a likeness"
    invert.add_argument("--photo", action="store_true", help=likeness)
    names = "NAME.safetensors, the head, and NAME.png, each picture beside what the model draws"
    invert.add_argument("--out", type=Path, metavar="NAME", required=True, help=names)

    mesh = command(
        "mesh",
        _mesh,
        "write the surface of one seed as a coloured mesh",
        "python -m stylesdf mesh --seed 3 --resolution 256 --out head.glb",
    )
    _add_model(mesh)
    _add_seed(mesh)
    _add_truncation(mesh)
    mesh.add_argument(
        "--resolution",
        type=_typed(_integer(MIN_RESOLUTION, MAX_RESOLUTION)),
        default=128,
        help=f"grid samples per side, from {MIN_RESOLUTION} to {MAX_RESOLUTION}",
    )
    mesh.add_argument("--keep", choices=KEEP, default=KEEP[0], help="pieces of surface that stay")
    rounds = f"rounds of smoothing, from 0 to {MAX_SMOOTHING}; 5 take the grid's steps away"
    mesh.add_argument("--smoothing", type=_typed(_integer(0, MAX_SMOOTHING)), default=0, help=rounds)
    limit = f"triangles at most, {MIN_FACES} or more; None keeps all"
    mesh.add_argument("--max-faces", type=_typed(_integer(MIN_FACES, 10**9)), help=limit)
    texels = f"height and width of a texture, from {MIN_TEXTURE} to {MAX_TEXTURE}, for {' and '.join(TEXTURE_ENDINGS)}"
    texels += "; None keeps vertex colours"
    mesh.add_argument("--texture", type=_typed(_integer(MIN_TEXTURE, MAX_TEXTURE)), metavar="TEXELS", help=texels)
    size = "largest extent in millimetres (in a .glb, whose unit is the metre, the same length); None keeps world units"
    mesh.add_argument("--size", type=_typed(_millimetres), metavar="MM", help=size)
    axis = "axis that points up: y as in the world and in glTF, z as slicers have it"
    mesh.add_argument("--up", choices=UPS, default=UPS[0], help=axis)
    mesh.add_argument("--out", type=Path, required=True, help=f"file that ends in {', '.join(MESH_ENDINGS)}")

    video = command(
        "video",
        _video,
        "film one seed from a camera that moves around the frontal view, in a loop",
        "python -m stylesdf video --seed 3 --frames 120 --out orbit.mp4",
    )
    _add_model(video)
    _add_seed(video)
    _add_truncation(video)
    paths = "around the frontal view, to and fro, or swinging to both sides while it rises and sinks"
    video.add_argument("--path", choices=PATHS, default=PATHS[0], help=paths)
    _add_film(video)
    _add_style(video, quality="best")

    morph = command(
        "morph",
        _morph,
        "film the way from each seed to the next and back to the first, in a loop",
        "python -m stylesdf morph --seeds 3,7,11 --frames 120 --out morph.mp4",
    )
    _add_model(morph)
    morph.add_argument("--seeds", type=_typed(_several_seeds), required=True, help="two or more: 3,7,11 or 0-3")
    _add_truncation(morph)
    _add_angles(morph)
    still = "move the camera meanwhile, around yaw and pitch; None keeps it still"
    morph.add_argument("--path", choices=PATHS, help=still)
    _add_film(morph)
    _add_style(morph, quality="best")

    export = command(
        "export",
        _export,
        "write one file: an ONNX graph of renderer and decoder (latent, camera and truncation in, image and geometry "
        "out), or a web page that draws the model's heads by itself, offline",
        f"python -m stylesdf export --model {DEFAULT_MODEL} --out heads.html",
    )
    _add_model(export)
    _add_fov(export)
    numbers = f"how a web page stores the weights; None is {WEIGHTS[0]}, float32 is twice the size"
    export.add_argument("--weights", choices=WEIGHTS, help=numbers)
    endings = f"file that ends in {', '.join(ONNX_ENDINGS)} (ONNX) or {', '.join(HTML_ENDINGS)} (web page)"
    export.add_argument("--out", type=Path, required=True, help=endings)

    convert = command(
        "convert",
        _convert,
        "turn an original .pt checkpoint into a checkpoint folder",
        "python -m stylesdf convert ffhq1024x1024.pt checkpoints/ffhq --preset ffhq",
    )
    convert.add_argument("src", type=Path, metavar="SRC", help="the .pt or .safetensors file")
    convert.add_argument("dst", type=Path, metavar="DST", help="the folder to write")
    convert.add_argument("--preset", choices=PRESET_NAMES, required=True, help="what the file does not hold")
    override = {"default": argparse.SUPPRESS}
    convert.add_argument("--fov-deg", type=float, help="full field of view, degrees; overrides the preset", **override)
    convert.add_argument("--scene-radius", type=float, help="world units; overrides the preset", **override)
    convert.add_argument("--num-samples", type=int, help="samples per ray; overrides the preset", **override)
    convert.add_argument("--density", choices=DENSITIES, help="density law; overrides the preset", **override)
    convert.add_argument(
        "--pose-yaw-std", dest="pose_yaw", type=float, help="radians; overrides the preset", **override
    )
    convert.add_argument(
        "--pose-pitch-std", dest="pose_pitch", type=float, help="radians; overrides the preset", **override
    )
    convert.add_argument("--with-discriminators", action="store_true", help="convert the discriminators as well")

    info = command("info", _info, "tell what a model is", f"python -m stylesdf info {DEFAULT_MODEL}")
    info.add_argument("model", nargs="?", metavar="M", default=default_model(), help="folder or hub repository")
    _add_device(info)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=default_model(), help="checkpoint folder or hub repository")
    _add_device(parser)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ...; auto is cuda where there is one")


def _add_seed(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--seed", type=_typed(parse_seed), help="integer from 0 to 4294967295")
    _add_saved_head(whose)
    _add_edits(parser)


def _add_saved_head(group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument("--head", type=Path, metavar="FILE", help="a head that was saved, as by invert, instead")


def _add_edits(parser: argparse.ArgumentParser) -> None:
    about = "what to change about the head and by how much, as in age=1.5,hat=1; info tells the model's names"
    parser.add_argument("--edit", type=_typed(parse_edits), metavar="NAME=AMOUNT", help=about)


def _add_truncation(parser: argparse.ArgumentParser) -> None:
    about = "from 0 (the mean head) to 1 (full variety)"
    parser.add_argument("--truncation", type=_typed(_truncation), default=TRUNCATION, help=about)


def _add_angles(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yaw", type=_typed(_radians), default=0.0, help="radians, positive sees the head from +x")
    parser.add_argument("--pitch", type=_typed(_pitch), default=0.0, help="radians, positive sees it from above")


def _add_film(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--frames", type=_typed(_integer(1, MAX_FRAMES)), default=60, help="number of frames")
    parser.add_argument("--fps", type=_typed(_fps), default=30.0, help="frames per second")
    parser.add_argument("--yaw-range", type=_typed(_radians), default=0.5, help="largest yaw of the path, radians")
    parser.add_argument("--pitch-range", type=_typed(_pitch), default=0.25, help="largest pitch of the path, radians")
    parser.add_argument("--out", type=Path, required=True, help=f"file that ends in {', '.join(VIDEO_ENDINGS)}")


def _add_fov(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fov-deg", type=_typed(_fov_deg), help="full field of view, degrees; None is the model's")


def _add_style(parser: argparse.ArgumentParser, quality: str = QUALITIES[0]) -> None:
    _add_fov(parser)
    lens = f"from 0 (orthographic) to {MAX_PERSPECTIVE:g} (a near eye)"
    parser.add_argument("--perspective", type=_typed(_perspective), default=1.0, help=lens)
    parser.add_argument("--noise-mode", choices=NOISE_MODES, default="const", help="the decoder's noise")
    parser.add_argument("--texture-seed", type=_typed(parse_seed), help="take the texture from another seed")
    light = "move the picture's light: degrees around and above the head, as in --light-deg=-80,10"
    parser.add_argument("--light-deg", type=_typed(_light_deg), metavar="AROUND,ABOVE", help=light)
    speed = "exact as trained, fast near the surface only, best with more rays, for films"
    parser.add_argument("--quality", choices=QUALITIES, default=quality, help=speed)


def _typed(read):
    """Let argparse show the message of a ValueError."""

    def convert(text: str):
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _real(text: str, expected: str, is_fine=lambda value: True) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and is_fine(value)):
        raise ValueError(f"{text!r} is not {expected}")
    return value


def _radians(text: str) -> float:
    return _real(text, "a finite number of radians")


def _pitch(text: str) -> float:
    return _real(text, "a number of radians between -pi/2 and pi/2", lambda value: abs(value) < math.pi / 2)


def _fps(text: str) -> float:
    return _real(text, "a number of frames per second above 0 and at most 100", lambda value: 0 < value <= 100)


def _fov_deg(text: str) -> float:
    return _real(text, "a number of degrees between 0 and 120", lambda value: 0 < value < 120)


def _perspective(text: str) -> float:
    return _real(text, f"a number from 0 to {MAX_PERSPECTIVE:g}", lambda value: 0 <= value <= MAX_PERSPECTIVE)


def _light_deg(text: str) -> tuple[float, float]:
    try:
        around, above = (_real(angle, "a number") for angle in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is not two angles in degrees, expected as in -80,10") from None
    return math.radians(around), math.radians(above)


def _millimetres(text: str) -> float:
    expected = f"a number of millimetres above 0 and at most {MAX_SIZE_MM:,}"
    return _real(text, expected, lambda value: 0 < value <= MAX_SIZE_MM)


def _truncation(text: str) -> float:
    return check_truncation(_real(text, "a number from 0 to 1"))


def _several_seeds(text: str) -> list[int]:
    seeds = parse_seeds(text)
    if len(seeds) < 2:
        raise ValueError(f"{text!r} is one seed, expected two or more")
    return seeds


def _integer(lowest: int, highest: int):
    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"{text!r} is not an integer from {lowest} to {highest}")
        return int(text)

    return read


# ---- commands


def _generate(args: argparse.Namespace) -> None:
    _check_folder(args.out)
    model = _load(args)
    new = [folder for folder in (args.out, *args.out.parents) if not folder.exists()]
    try:
        for seed in _progress(args.seeds or [None], "pictures"):
            name = args.head.stem if seed is None else f"seed{seed:04d}"
            head = _head(args, model, seed)
            view = head.view(_shot(args))
            about = {**head.provenance, "yaw": args.yaw, "pitch": args.pitch, "quality": args.quality}
            lens_and_light = {"fov_deg": args.fov_deg, "perspective": args.perspective, "light": args.light_deg}
            about |= {name: value for name, value in lens_and_light.items() if value is not None}
            pictures = {"": view.image}
            if args.save_all:
                near, far = model.config.near, model.config.far
                pictures |= {"_thumbnail": view.thumbnail, "_normals": _normals_picture(view.normals)}
                pictures["_depth"] = _depth_picture(view.depth, near, far)
                about |= {"depth_at_0": near, "depth_at_65535": far}
            for kind, picture in pictures.items():
                _save_png(picture, args.out / f"{name}{kind}.png", about)
    except Exception:
        if new:  # complete pictures of an interrupted run stay, those of a failed one go with the folder
            shutil.rmtree(new[-1], ignore_errors=True)
        raise


def _invert(args: argparse.Namespace) -> None:
    saved, sheet = (Path(f"{args.out}{ending}") for ending in (".safetensors", ".png"))
    for path in (saved, sheet):
        _check_file(path, (path.suffix,))
    model = _load(args)
    first, is_told = None, False
    with _progress_bar("search") as bar:

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
    _save_png(both, sheet, found.head.provenance)


def _mesh(args: argparse.Namespace) -> None:
    _check_file(args.out, MESH_ENDINGS if args.texture is None else TEXTURE_ENDINGS)
    head = _head(args, _load(args), args.seed)
    with _progress_bar("mesh") as bar:
        mesh = head.mesh(args.resolution, progress=bar, keep=args.keep)
    mesh = refine_mesh(mesh, args.smoothing, args.max_faces)
    if args.texture is not None:
        with _progress_bar("texture") as bar:
            mesh = bake_texture(head, mesh, args.texture, progress=bar)
    export_mesh(mesh, args.out, size_mm=args.size, up=args.up)
    dropped = mesh.metadata["pieces_dropped"]
    note = f", {dropped} small pieces dropped" if dropped else ""
    if args.size is None and args.out.suffix.lower() == ".stl":
        note += f"; slicers read its {mesh.extents.max():.2g} units as millimetres, --size MM enlarges it"
    print(f"{args.out}: {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles{note}")


def _video(args: argparse.Namespace) -> None:
    _check_file(args.out, VIDEO_ENDINGS)
    model = _load(args)
    head = _head(args, model, args.seed)
    views = head.orbit(args.frames, args.path, args.yaw_range, args.pitch_range, _shot(args))
    write_video((view.image for view in _progress(views, "frames", args.frames)), args.out, args.fps)
    print(args.out)


def _morph(args: argparse.Namespace) -> None:
    _check_file(args.out, VIDEO_ENDINGS)
    model = _load(args)
    heads = [model.head(seed, args.truncation, args.texture_seed) for seed in args.seeds]
    views = model.morph(heads, args.frames, args.path, args.yaw_range, args.pitch_range, _shot(args))
    write_video((view.image for view in _progress(views, "frames", args.frames)), args.out, args.fps)
    print(args.out)


def _export(args: argparse.Namespace) -> None:
    _check_file(args.out, ONNX_ENDINGS + HTML_ENDINGS)
    is_page = args.out.suffix.lower() in HTML_ENDINGS
    if args.weights and not is_page:
        raise ValueError(f"--weights is {args.weights}, but only a web page ({', '.join(HTML_ENDINGS)}) has the choice")
    model = _load(args)
    if is_page:
        model.export_live(args.out, args.weights or WEIGHTS[0], args.fov_deg)
        print(f"{args.out}: {args.out.stat().st_size:,} bytes")
        return
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else it tells of packages that nothing here needs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own, of its own
        export_onnx(model, args.out, args.fov_deg)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


def _convert(args: argparse.Namespace) -> None:
    from stylesdf.convert import convert_checkpoint

    if not args.src.is_file():
        raise ValueError(f"{args.src} is not a file, expected an original .pt checkpoint")
    _check_folder(args.dst)
    names = ("fov_deg", "scene_radius", "num_samples", "density", "pose_yaw", "pose_pitch")
    overrides = {name: getattr(args, name) for name in names if hasattr(args, name)}
    convert_checkpoint(args.src, args.dst, args.preset, overrides, with_discriminators=args.with_discriminators)
    print(args.dst)


def _info(args: argparse.Namespace) -> None:
    model = _load(args)
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
    _print_table("", facts)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    counts["total"] = sum(counts.values())
    _print_table("parameters", {name: f"{count:,}" for name, count in counts.items()})
    _print_table("config", dataclasses.asdict(config))


# ---- helpers


def _load(args: argparse.Namespace) -> StyleSDF:
    name, device = args.model, args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return StyleSDF.from_pretrained(name, device=device)
    except OSError as error:
        raise ValueError(f"no model folder {name}, and the hub gives none: {_describe(error)}") from error


def _head(args: argparse.Namespace, model: StyleSDF, seed: int | None) -> Head:
    """Return the head of a seed, or the saved one, edited."""
    texture_seed = getattr(args, "texture_seed", None)
    if seed is None and texture_seed is not None:
        raise ValueError(f"--texture-seed is {texture_seed}, but --head has a texture of its own")
    if seed is None and args.truncation != TRUNCATION:
        raise ValueError(f"--truncation is {args.truncation:g}, but --head is taken as it was saved")
    head = model.load_head(args.head) if seed is None else model.head(seed, args.truncation, texture_seed)
    return model.edit(head, args.edit) if args.edit else head


def _shot(args: argparse.Namespace) -> Shot:
    yaw, pitch = getattr(args, "yaw", 0.0), getattr(args, "pitch", 0.0)
    style = {name: getattr(args, name) for name in ("fov_deg", "quality", "noise_mode", "perspective")}
    return Shot(yaw, pitch, **style, light=args.light_deg)


def _check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made, before any work is done."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not existing.is_dir():
        raise ValueError(f"cannot write to {path}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write to {path}: {existing} is read-only")


def _check_file(path: Path, endings: Sequence[str]) -> None:
    check_ending(path, endings)
    if path.is_dir():
        raise ValueError(f"cannot write to {path}: it is a folder")
    _check_folder(path.absolute().parent)


def _save_png(picture: Image.Image, path: Path, about: dict) -> None:
    text = PngInfo()
    text.add_text("Software", f"stylesdf {__version__}")
    for name, value in about.items():
        text.add_itxt(name, str(value))
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=text)
    print(path)


def _depth_picture(depth: np.ndarray, near: float, far: float) -> Image.Image:
    """z-depth ``(H, W)`` in world units as 16 bits: near is 0, far 65535."""
    share = np.clip((depth - near) / (far - near), 0.0, 1.0)
    return Image.fromarray(np.round(share * 65535.0).astype(np.uint16))


def _normals_picture(normals: np.ndarray) -> Image.Image:
    """Unit normals ``(H, W, 3)`` as colours: −1 is 0, 1 is 255; the background's zeros are 128."""
    return Image.fromarray(np.round((normals + 1.0) * 127.5).astype(np.uint8))


def _print_table(title: str, rows: dict) -> None:
    if title:
        print(f"\n{title}")
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{'  ' if title else ''}{name:<{width}}  {value}")


def _progress(items, about: str, total: int | None = None):
    from tqdm import tqdm

    return tqdm(items, desc=about, total=total, file=sys.stderr, disable=None)  # None: only on a terminal


class _progress_bar:
    """A bar that is called with the share that is done."""

    def __init__(self, about: str) -> None:
        self.bar = _progress(None, about, 100)

    def __call__(self, share: float) -> None:
        self.bar.update(round(100 * share) - self.bar.n)

    def __enter__(self):
        return self

    def __exit__(self, *exception) -> None:
        self.bar.close()


if __name__ == "__main__":
    sys.exit(main())
