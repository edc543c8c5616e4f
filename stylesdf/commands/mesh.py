"""``mesh``: the surface of a head, for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from stylesdf.commands import options
from stylesdf.commands.output import ProgressBar, check_file
from stylesdf.mesh import KEEP, MAX_FACES, MAX_RESOLUTION, MAX_SMOOTHING, MIN_FACES, MIN_RESOLUTION, refine_mesh
from stylesdf.meshfile import MAX_SIZE_MM, MESH_ENDINGS, TEXTURE_ENDINGS, UPS, export_mesh
from stylesdf.texture import MAX_TEXTURE, MIN_TEXTURE, bake_texture

ABOUT = "write the surface of one seed as a coloured mesh"
EXAMPLE = "python -m stylesdf mesh --seed 3 --resolution 256 --out head.glb"


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_seed(parser)
    options.add_truncation(parser)
    parser.add_argument(
        "--resolution",
        type=options.typed(options.integer(MIN_RESOLUTION, MAX_RESOLUTION)),
        default=128,
        help=f"grid samples per side, from {MIN_RESOLUTION} to {MAX_RESOLUTION}",
    )
    parser.add_argument("--keep", choices=KEEP, default=KEEP[0], help="pieces of surface that stay")
    rounds = f"rounds of smoothing, from 0 to {MAX_SMOOTHING}; 5 take the grid's steps away"
    smoothing = options.typed(options.integer(0, MAX_SMOOTHING))
    parser.add_argument("--smoothing", type=smoothing, default=0, help=rounds)
    limit = f"triangles at most, {MIN_FACES} or more; None keeps all"
    parser.add_argument("--max-faces", type=options.typed(options.integer(MIN_FACES, MAX_FACES)), help=limit)
    texels = f"height and width of a texture, from {MIN_TEXTURE} to {MAX_TEXTURE}, for {' and '.join(TEXTURE_ENDINGS)}"
    texels += "; None keeps vertex colours"
    texture = options.typed(options.integer(MIN_TEXTURE, MAX_TEXTURE))
    parser.add_argument("--texture", type=texture, metavar="TEXELS", help=texels)
    size = "largest extent in millimetres (in a .glb, whose unit is the metre, the same length); None keeps world units"
    parser.add_argument("--size", type=options.typed(_millimetres), metavar="MM", help=size)
    axis = "axis that points up: y as in the world and in glTF, z as slicers have it"
    parser.add_argument("--up", choices=UPS, default=UPS[0], help=axis)
    parser.add_argument("--out", type=Path, required=True, help=f"file that ends in {', '.join(MESH_ENDINGS)}")


def run(args: argparse.Namespace) -> None:
    check_file(args.out, MESH_ENDINGS if args.texture is None else TEXTURE_ENDINGS)
    head = options.head_of(args, options.load_model(args), args.seed)
    with ProgressBar("mesh") as bar:
        mesh = head.mesh(args.resolution, progress=bar, keep=args.keep)
    mesh = refine_mesh(mesh, args.smoothing, args.max_faces)
    if args.texture is not None:
        with ProgressBar("texture") as bar:
            mesh = bake_texture(head, mesh, args.texture, progress=bar)
    export_mesh(mesh, args.out, size_mm=args.size, up=args.up)
    dropped = mesh.metadata["pieces_dropped"]
    note = f", {dropped} small pieces dropped" if dropped else ""
    if args.size is None and args.out.suffix.lower() == ".stl":
        note += f"; slicers read its {mesh.extents.max():.2g} units as millimetres, --size MM enlarges it"
    print(f"{args.out}: {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles{note}")


def _millimetres(text: str) -> float:
    expected = f"a number of millimetres above 0 and at most {MAX_SIZE_MM:,}"
    return options.real(text, expected, lambda value: 0 < value <= MAX_SIZE_MM)
