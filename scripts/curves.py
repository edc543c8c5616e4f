"""Draw the curves of a run's log as small multiples.

python scripts/curves.py runs/toy/renderer/log.jsonl --out docs/pictures/curves.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

TERMS = ("d_loss", "g_loss", "view", "eikonal", "beta", "inside")
WIDTH, HEIGHT, MARGIN, COLUMNS = 300, 150, 26, 3
INK, LINE, BACKDROP = "#334155", "#1d4e89", "white"
SMOOTH = 15  # records in the running mean


def panel(name: str, steps: np.ndarray, values: np.ndarray) -> Image.Image:
    """Draw one term over the steps, its running mean and its range."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), BACKDROP)
    pen = ImageDraw.Draw(picture)
    count = min(SMOOTH, len(values))
    values = np.convolve(values, np.ones(count) / count, mode="valid")
    steps = steps[count - 1 :]
    low, high = float(values.min()), float(values.max())
    across = MARGIN + (WIDTH - 2 * MARGIN) * (steps - steps[0]) / max(steps[-1] - steps[0], 1)
    up = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (values - low) / max(high - low, 1e-12)
    pen.rectangle((MARGIN, MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN), outline="#cbd5e1")
    pen.line(list(zip(across.tolist(), up.tolist())), fill=LINE, width=2)
    pen.text((MARGIN, 8), f"{name}: {low:.3g} to {high:.3g}", fill=INK)
    pen.text((MARGIN, HEIGHT - 20), f"step {steps[0]} to {steps[-1]}", fill=INK)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path, help="log.jsonl of a run")
    parser.add_argument("--out", type=Path, required=True, help="picture, .png")
    parser.add_argument("--terms", nargs="+", default=TERMS, help="of the log (default: %(default)s)")
    options = parser.parse_args()
    records = [json.loads(line) for line in options.log.read_text().splitlines()]
    panels = []
    for name in options.terms:
        found = [(record["step"], record[name]) for record in records if record.get(name) is not None]
        if not found:
            parser.exit(2, f"{parser.prog}: error: {options.log} has no term {name!r}\n")
        panels.append(panel(name, *map(np.array, zip(*found))))
    rows = -(-len(panels) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * HEIGHT), BACKDROP)
    for place, picture in enumerate(panels):
        sheet.paste(picture, ((place % COLUMNS) * WIDTH, (place // COLUMNS) * HEIGHT))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.out, optimize=True)


if __name__ == "__main__":
    main()
