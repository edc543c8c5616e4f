"""Measure baked textures: meshes drawn from views that were not baked, beside the decoder's pictures of them.

python scripts/texture.py --model checkpoints/people --seeds 0-4 --out texture
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stylesdf import StyleSDF  # noqa: E402
from stylesdf.arguments import parse_seeds  # noqa: E402
from stylesdf.camera import project  # noqa: E402
from stylesdf.config import DEFAULT_MODEL  # noqa: E402
from stylesdf.mesh import refine_mesh  # noqa: E402
from stylesdf.meshfile import export_mesh  # noqa: E402
from stylesdf.raster import rasterize  # noqa: E402
from stylesdf.shot import Shot  # noqa: E402
from stylesdf.texture import bake_texture  # noqa: E402

RESOLUTION, SMOOTHING, MAX_FACES = 128, 5, 20_000
SUPERSAMPLE = 3  # rays per pixel and axis
# yaw and pitch in radians, none of them among those that are baked for people, nor half a degree from one
HELD_OUT = ((0.13, 0.06), (-0.13, -0.08), (0.39, 0.07), (-0.39, -0.06), (0.22, 0.18))


def draw(mesh, shot: Shot, fov_deg: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a mesh without light, antialiased.

    Returns:
        Colours in [0, 255] times coverage, ``(size, size, 3)``, and coverage in [0, 1], ``(size, size)``.
    """
    side = size * SUPERSAMPLE
    vertices = torch.from_numpy(np.array(mesh.vertices))
    places, depth = (part.numpy() for part in project(shot.camera, vertices, fov_deg, side))
    pixel, face, shares = rasterize(places[mesh.faces], depth[mesh.faces], side)
    # straight in the world, not in the picture
    shares = shares / depth[mesh.faces[face]]
    shares /= shares.sum(axis=1, keepdims=True)
    if mesh.visual.kind == "texture":
        texture = np.asarray(mesh.visual.material.baseColorTexture, float)
        uv = np.einsum("nc,ncx->nx", shares, mesh.visual.uv[mesh.faces[face]])
        colours = bilinear(texture, (uv * [1, -1] + [0, 1]) * texture.shape[0] - 0.5)
    else:
        colours = np.einsum("nc,ncx->nx", shares, mesh.visual.vertex_colors[mesh.faces[face], :3].astype(float))
    canvas = np.zeros((side * side, 4))
    canvas[pixel] = np.concatenate([colours, np.ones((len(colours), 1))], axis=1)
    canvas = canvas.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 4).mean(axis=(1, 3))
    return canvas[..., :3], canvas[..., 3]


def bilinear(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Read a picture ``(H, W, C)`` between its pixels, at x and y ``(N, 2)``."""
    places = np.clip(places, 0.0, len(picture) - 1.001)
    column, row = places.astype(int).T
    right, down = (places % 1.0).T[..., None]
    above = picture[row, column] * (1 - right) + picture[row, column + 1] * right
    below = picture[row + 1, column] * (1 - right) + picture[row + 1, column + 1] * right
    return above * (1 - down) + below * down


def compare(head, meshes: list, shot: Shot) -> tuple[list[float], list[np.ndarray]]:
    """Return the PSNR of each mesh where all of its pixel is head in mesh and rendering, in dB, and the pictures."""
    view, fov_deg = head.view(shot), head.config.fov_deg
    picture = np.asarray(view.image, float)
    size = len(picture)
    background = np.asarray(Image.fromarray(view.background).resize((size, size), Image.Resampling.BILINEAR))
    psnr, pictures = [], [picture]
    for mesh in meshes:
        colours, coverage = draw(mesh, shot, fov_deg, size)
        on_head = (coverage == 1.0) & (background < 0.05)
        psnr.append(10 * np.log10(255**2 / ((colours - picture)[on_head] ** 2).mean()))
        pictures.append(colours + (1.0 - coverage[..., None]) * picture[:8, :8].mean(axis=(0, 1)))
    return psnr, pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="checkpoint folder or hub repository")
    parser.add_argument("--seeds", type=parse_seeds, default=[0, 1, 2, 3, 4], help="integers and ranges: 0-3,7")
    parser.add_argument("--truncation", type=float, default=0.7, help="from 0 to 1")
    parser.add_argument("--size", type=int, default=1024, help="of the texture, texels")
    parser.add_argument("--out", type=Path, help="folder for pictures (decoder, texture, vertex colours) and meshes")
    args = parser.parse_args()
    model = StyleSDF.from_pretrained(args.model)
    rows = []
    for seed in args.seeds:
        head = model.head(seed, args.truncation)
        plain = refine_mesh(head.mesh(RESOLUTION), SMOOTHING, MAX_FACES)
        start, start_cpu = time.perf_counter(), time.process_time()
        textured = bake_texture(head, plain, args.size)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        results = [compare(head, [textured, plain], Shot(*angles)) for angles in HELD_OUT]
        rows.append(np.mean([psnr for psnr, _ in results], axis=0))
        print(
            f"seed {seed}: texture {rows[-1][0]:.2f} dB, vertex colours {rows[-1][1]:.2f} dB, gain "
            f"{rows[-1][0] - rows[-1][1]:+.2f} dB; {cpu:.1f} s of a core, {seconds:.1f} s passed",
            flush=True,
        )
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            sheet = np.concatenate([np.concatenate(pictures, axis=1) for _, pictures in results])
            Image.fromarray(np.rint(np.clip(sheet, 0, 255)).astype(np.uint8)).save(args.out / f"seed{seed:04d}.png")
            export_mesh(textured, args.out / f"seed{seed:04d}.glb")
    texture, vertices = np.mean(rows, axis=0)
    print(f"mean: texture {texture:.2f} dB, vertex colours {vertices:.2f} dB, gain {texture - vertices:+.2f} dB")


if __name__ == "__main__":
    main()
