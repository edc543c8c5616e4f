"""Make one film of a run's sample grids, from the first to the last.

python scripts/training_film.py runs/toy/renderer --out docs/pictures/training.webp
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stylesdf.film import write_video  # noqa: E402

ROWS, COLUMNS = 9, 8  # a grid: colours, depth and normals from three sides; eight heads
SHOWN = (3, 5)  # colours and normals from the front
TILE = 96
FPS, HOLD = 3.0, 6  # frames that the last one stays


def frame(path: Path) -> Image.Image:
    """Cut the rows that are shown out of a grid."""
    with Image.open(path) as grid:
        grid = grid.convert("RGB")
    height = grid.height // ROWS
    picture = Image.new("RGB", (COLUMNS * TILE, len(SHOWN) * TILE))
    for place, row in enumerate(SHOWN):
        strip = grid.crop((0, row * height, grid.width, (row + 1) * height))
        strip = strip.resize((COLUMNS * TILE, TILE), Image.Resampling.BICUBIC)
        picture.paste(strip, (0, place * TILE))
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run, with its grids/")
    parser.add_argument("--out", type=Path, required=True, help="film, .webp or .gif")
    options = parser.parse_args()
    paths = sorted((options.run / "grids").glob("*.png"))
    if not paths:
        parser.exit(2, f"{parser.prog}: error: {options.run} has no grids/*.png, expected the folder of a run\n")
    frames = [frame(path) for path in paths]
    write_video(frames + [frames[-1]] * HOLD, options.out, fps=FPS)


if __name__ == "__main__":
    main()
