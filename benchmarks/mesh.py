"""Meshes: full size and bundled, beside the floor of evaluating the whole grid; and importing the package."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.floor import field_floor
from benchmarks.images import DEVICE, SEED, TRUNCATION, model
from benchmarks.measure import Contest, Row
from stylesdf.meshfile import export_mesh


def mesh_contest(name: str, resolution: int, with_floor: bool) -> Contest:
    """Extract a mesh; the floor evaluates the field, with colour, at every sample of the grid."""
    ours = model(name)
    contestants = {"ours": lambda: ours.extract_mesh(SEED, TRUNCATION, resolution=resolution)}
    if with_floor:
        contestants["floor"] = field_floor(ours.config, resolution**3, DEVICE)
    return Contest(contestants)


def glb_contest(name: str, resolution: int) -> Contest:
    """Extract a mesh of a bundled model and write it as GLB."""
    ours, folder = model(name), tempfile.TemporaryDirectory()

    def run() -> None:
        mesh = ours.extract_mesh(SEED, TRUNCATION, resolution=resolution)
        export_mesh(mesh, Path(folder.name) / "head.glb")

    return Contest({"ours": run, "floor": field_floor(ours.config, resolution**3, DEVICE)})


def import_contest() -> Contest:
    """Import the package in a process of its own, beside torch alone."""

    def importing(name: str) -> None:
        subprocess.run([sys.executable, "-c", f"import {name}"], check=True, cwd=Path(__file__).parents[1])

    return Contest({"ours": partial(importing, "stylesdf"), "torch": partial(importing, "torch")})


ROWS = [
    Row(
        "mesh-128-ffhq",
        "128³ mesh, full size, a sphere; floor: all 128³ samples",
        partial(mesh_contest, "ffhq", 128, True),
        3,
    ),
    Row("mesh-256-ffhq", "256³ mesh, full size, a sphere", partial(mesh_contest, "ffhq", 256, False), 3),
    Row("mesh-512-ffhq", "512³ mesh, full size, a sphere", partial(mesh_contest, "ffhq", 512, False), 1),
    Row("mesh-128-people", "128³ mesh of bundled people, GLB written", partial(glb_contest, "people", 128), 5),
    Row("mesh-128-toy-heads", "128³ mesh of bundled toy heads, GLB written", partial(glb_contest, "toy-heads", 128), 5),
    Row("import", "import stylesdf in a new process, beside import torch", import_contest, 5, memory=()),
]
