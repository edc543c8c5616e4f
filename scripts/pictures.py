"""Draw the README's pictures with the public API: the same model gives the same files.

Only the live page's picture depends on the machine: how finely a page draws follows from how fast it is.

python scripts/pictures.py
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stylesdf import Camera, Shot, StyleSDF  # noqa: E402
from stylesdf.camera import project  # noqa: E402
from stylesdf.config import DEFAULT_MODEL  # noqa: E402
from stylesdf.inversion import read_pictures  # noqa: E402
from stylesdf.raster import rasterize  # noqa: E402

PAPER = 255  # background and gaps
GAP = 4  # pixels between two pictures
TILE, MESH_TILE = 128, 192  # height and width of a picture in a sheet
MAX_BYTES = 600_000
MESH_RESOLUTION = 160
LIVE_PAGE = 900  # pixels, height and width of the live page, whose stage is in the picture
SEEDS = range(4)  # where a few are shown
TRUNCATION = 0.7
SUPERSAMPLE = 3  # rays per pixel and axis when a mesh is drawn
CLAY = np.array([0.83, 0.80, 0.76])
LIGHT = np.array([-0.45, 0.60, 0.66]) / np.linalg.norm([-0.45, 0.60, 0.66])


def draw_seeds(model: StyleSDF) -> Image.Image:
    """24 identities from the front."""
    images = model.generate(range(24), truncation=TRUNCATION).images
    return sheet([images[start : start + 6] for start in range(0, 24, 6)])


def draw_turn(model: StyleSDF) -> Image.Image:
    """Four identities from the left to the right, and the first of them from below to above."""
    yaws, pitches = np.radians(np.linspace(-40, 40, 7)).tolist(), np.radians(np.linspace(-24, 24, 7)).tolist()
    rows = [[model.generate([seed], truncation=TRUNCATION, yaw=yaw).images[0] for yaw in yaws] for seed in SEEDS]
    rows.append([model.generate([SEEDS[0]], truncation=TRUNCATION, pitch=pitch).images[0] for pitch in pitches])
    return sheet(rows)


def draw_mesh(model: StyleSDF) -> Image.Image:
    """Four identities: the picture, the surface as clay, and the coloured mesh from a three-quarter view."""
    cells = []
    for seed in SEEDS:
        image = model.generate([seed], truncation=TRUNCATION).images[0]
        mesh = model.extract_mesh(seed, truncation=TRUNCATION, resolution=MESH_RESOLUTION)
        light = mesh.vertex_normals @ LIGHT
        clay = CLAY * (0.42 + 0.58 * np.clip(light, 0.0, 1.0))[:, None]
        colours = mesh.visual.vertex_colors[:, :3] / 255.0
        fov = model.config.fov_deg
        drawn = [
            draw_surface(mesh.vertices, mesh.faces, values, yaw, pitch, fov, MESH_TILE)
            for values, yaw, pitch in ((clay, 0.0, 0.0), (colours, 0.75, 0.2))
        ]
        cells.append([image, *drawn])
    return sheet([[*cells[0], *cells[1]], [*cells[2], *cells[3]]], MESH_TILE, group=3)


def draw_truncation(model: StyleSDF) -> Image.Image:
    """Two identities from the mean head (truncation 0) to the full variety (1)."""
    steps = [index / 5 for index in range(6)]
    return sheet([[model.generate([seed], truncation=psi).images[0] for psi in steps] for seed in SEEDS[:2]])


def draw_edits(model: StyleSDF) -> Image.Image:
    """Four identities turned a little, as they are and with edits."""
    edits = ({}, {"age": 2}, {"glasses": 2}, {"hair_lightness": 2}, {"hair_length": -2}, {"hat": 1.5})
    edits += ({"skin_tone": 1.5, "age": 2},)
    heads = [model.head(seed, TRUNCATION) for seed in SEEDS]
    return sheet([[model.edit(head, each).view(Shot(yaw=0.25)).image for each in edits] for head in heads])


def draw_light(model: StyleSDF) -> Image.Image:
    """Two identities in the light that the model draws, then lit from the right, the left, above and below."""
    places = ((-90, 0), (90, 0), (0, 85), (0, -60))
    lights = (None, *(tuple(np.radians(place)) for place in places))
    heads = [model.head(seed, TRUNCATION) for seed in SEEDS[:2]]
    return sheet([[head.view(Shot(yaw=0.25, light=light)).image for light in lights] for head in heads])


def draw_perspective(model: StyleSDF) -> Image.Image:
    """Two identities without perspective, with the model's own, and from half and a quarter as far."""
    heads = [model.head(seed, TRUNCATION) for seed in SEEDS[:2]]
    return sheet([[head.view(Shot(0.25, 0.1, perspective=each)).image for head in heads for each in (0, 1, 2, 4)]])


def draw_likeness(model: StyleSDF) -> Image.Image:
    """A photograph (NASA, in the public domain, of scikit-image), what is looked at, and the head from three sides."""
    from skimage.data import astronaut

    photo = Image.fromarray(astronaut())
    found = model.invert(photo, photo=True)
    views = [found.head.view(shot).image for shot in (found.shots[0], Shot(yaw=0.4, pitch=0.1), Shot(yaw=-0.4))]
    return sheet([[photo, read_pictures(model, photo, photo=True)[0], *views]], MESH_TILE)


def draw_live(model: StyleSDF) -> Image.Image:
    """The live page in Chromium: a head, one cut open, and one of clay in another light."""
    from playwright.sync_api import sync_playwright

    from tests.browser.serve import find_browser
    from tests.live.visit import FLAGS, Visit

    decoded = "document.querySelector('#facts').textContent.includes('decoded in')"
    pages = {
        "#seed=3&yaw=25&pitch=5": decoded,
        "#seed=3&yaw=50&pitch=10&mode=shape&cut=side&cutAt=0": "liveHeads.isSharp",
        "#seed=7&yaw=-30&mode=shape&around=50": "liveHeads.isSharp",
    }
    shots = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "heads.html"
        model.export_live(file)
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        for fragment, is_there in pages.items():
            visit = Visit(browser, file, fragment, width=LIVE_PAGE, height=LIVE_PAGE)
            visit.until(is_there)
            stage = visit.page.locator("canvas").screenshot()
            shots.append(Image.open(io.BytesIO(stage)).convert("RGB"))
            visit.close()
    return sheet([shots], 2 * TILE)


def draw_people(_model: StyleSDF) -> Image.Image:
    """The first 24 pictures of the data set of people, which no model drew."""
    from train.data.people.render import Head, render_rgba
    from train.data.people.write import PeopleConfig, person_of, pose_of

    config = PeopleConfig(count=24, image_size=256)
    heads = [(Head(person_of(index, config)), pose_of(index, config)) for index in range(config.count)]
    images = [Image.fromarray(render_rgba(head, *pose, config.image_size)[..., :3]) for head, pose in heads]
    return sheet([images[start : start + 6] for start in range(0, 24, 6)])


PICTURES = {
    "people": draw_people, "seeds": draw_seeds, "turn": draw_turn, "mesh": draw_mesh, "truncation": draw_truncation,
    "edits": draw_edits, "light": draw_light, "perspective": draw_perspective, "likeness": draw_likeness,
    "live": draw_live,
}  # fmt: skip


def sheet(rows: list[list[Image.Image]], size: int = TILE, group: int | None = None) -> Image.Image:
    """Lay square pictures in rows with thin gaps, a wider one after every ``group`` of them."""
    columns = len(rows[0])
    lefts = [column * (size + GAP) + (3 * GAP * (column // group) if group else 0) for column in range(columns)]
    page = Image.new("RGB", (lefts[-1] + size, len(rows) * (size + GAP) - GAP), (PAPER,) * 3)
    for row, pictures in enumerate(rows):
        for left, picture in zip(lefts, pictures, strict=True):
            page.paste(picture.resize((size, size), Image.Resampling.LANCZOS), (left, row * (size + GAP)))
    return page


def draw_surface(
    vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray, yaw: float, pitch: float, fov_deg: float, size: int
) -> Image.Image:
    """Draw a triangle mesh with a z-buffer, antialiased, on paper.

    Args:
        vertices: World units. ``(V, 3)``.
        faces: ``(F, 3)``.
        colours: Of the vertices, in [0, 1]; straight between them. ``(V, 3)``.
        yaw: Radians.
        pitch: Radians.
        fov_deg: Full field of view in degrees.
        size: Height and width in pixels.
    """
    side = size * SUPERSAMPLE
    camera = Camera.from_angles(yaw, pitch)
    places, depth = (part.numpy() for part in project(camera, torch.from_numpy(np.array(vertices)), fov_deg, side))
    pixel, face, shares = rasterize(places[faces], depth[faces], side)
    canvas = np.full((side * side, 3), PAPER / 255.0)
    canvas[pixel] = np.einsum("nc,ncx->nx", shares, colours[faces[face]])
    canvas = canvas.reshape(size, SUPERSAMPLE, size, SUPERSAMPLE, 3).mean(axis=(1, 3))
    return Image.fromarray((canvas * 255.0).round().clip(0, 255).astype(np.uint8))


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG, with a palette where it would be too large without."""
    picture.save(path, optimize=True)
    if path.stat().st_size > MAX_BYTES:
        picture.quantize(256).save(path, optimize=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="folder or hub id (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder (default: %(default)s)")
    parser.add_argument("--only", nargs="*", choices=PICTURES, default=list(PICTURES), help="some of them")
    args = parser.parse_args(argv)
    model = StyleSDF.from_pretrained(args.model)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        path = args.out / f"{name}.png"
        save(PICTURES[name](model), path)
        print(f"{path}: {path.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
