"""Measure how much films flicker: frames of an orbit, moved onto the frame before by the depth that is known.

python scripts/flicker.py --model checkpoints/people --seeds 0-3

Flicker is the mean absolute difference (of 255 levels) between a frame and the next one moved onto it, where both see
the same surface. Sharpness is the power of frequencies above an eighth of a period per pixel. Times are medians of
frames that the qualities draw in turn, the first of each head left out. All three are given as shares of "exact".
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.texture import bilinear  # noqa: E402
from stylesdf import StyleSDF  # noqa: E402
from stylesdf.arguments import parse_seeds  # noqa: E402
from stylesdf.camera import project  # noqa: E402
from stylesdf.config import DEFAULT_MODEL  # noqa: E402
from stylesdf.fast.surface import render_guided  # noqa: E402
from stylesdf.head import Head  # noqa: E402
from stylesdf.shot import QUALITIES, Shot  # noqa: E402

LEAST_FREQUENCY = 0.125  # periods per pixel
SAME_SURFACE = 0.003  # largest difference of depths, world units
SOLID = 0.02  # largest share of background


@torch.no_grad()
def surface(head: Head, shot: Shot, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the surface's points in the world ``(R, R, 3)``, and depth and background, ``(R, R, 2)``."""
    out = render_guided(head.renderer, head.field, head.guide, shot.camera, resolution, with_features=False)
    maps = torch.cat([out.xyz, out.depth, out.background], dim=1)[0].permute(1, 2, 0).double().numpy()
    return maps[..., :3], maps[..., 3:]


def flicker(head: Head, shots: list[Shot], films: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """Return each film's mean difference between frames, on the surface that two of them see."""
    resolution = len(next(iter(films.values()))[0])
    surfaces, differences = [surface(head, shot, resolution) for shot in shots], {name: [] for name in films}
    for i, ((points, seen), (_, next_seen)) in enumerate(zip(surfaces, surfaces[1:])):
        is_solid = seen[..., 1] < SOLID
        next_camera, solid = shots[i + 1].camera, torch.from_numpy(points[is_solid])
        places, depth = (part.numpy() for part in project(next_camera, solid, head.config.fov_deg, resolution))
        there = bilinear(next_seen, places - 0.5)
        both = (np.abs(there[:, 0] - depth) < SAME_SURFACE) & (there[:, 1] < SOLID)
        for name, frames in films.items():
            moved = bilinear(frames[i + 1], places[both] - 0.5)
            differences[name].append(np.abs(moved - frames[i][is_solid][both]).mean())
    return {name: float(np.mean(values)) for name, values in differences.items()}


def sharpness(frame: np.ndarray) -> float:
    """Return the power of a picture's high frequencies."""
    grey = frame.mean(axis=-1)
    rows, columns = np.fft.fftfreq(len(grey))[:, None], np.fft.rfftfreq(len(grey))[None]
    power = np.abs(np.fft.rfft2(grey - grey.mean())) ** 2
    return float(power[np.hypot(rows, columns) > LEAST_FREQUENCY].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="checkpoint folder or hub repository")
    parser.add_argument("--seeds", type=parse_seeds, default=[0, 1, 2, 3], help="integers and ranges: 0-3,7")
    parser.add_argument("--truncation", type=float, default=0.7, help="from 0 to 1")
    parser.add_argument("--frames", type=int, default=60, help="of a round")
    args = parser.parse_args()
    model = StyleSDF.from_pretrained(args.model)
    measured = {quality: [] for quality in QUALITIES}
    times = {quality: [] for quality in QUALITIES}
    for seed in args.seeds:
        head = model.head(seed, args.truncation)
        shots = Shot().round(args.frames)
        films = {quality: [] for quality in QUALITIES}
        rounds = {quality: head.orbit(args.frames, shot=Shot(quality=quality)) for quality in QUALITIES}
        for _ in shots:
            for quality, frames in films.items():
                start = time.perf_counter()
                image = next(rounds[quality]).image
                times[quality] += [time.perf_counter() - start] if frames else []
                frames.append(np.asarray(image, float))
        for quality, value in flicker(head, shots, films).items():
            measured[quality].append((value, np.mean([sharpness(frame) for frame in films[quality]])))
    reference, first = np.mean(measured[QUALITIES[0]], axis=0), np.median(times[QUALITIES[0]])
    for quality in QUALITIES:
        (level, _), shares = np.mean(measured[quality], axis=0), np.mean(measured[quality], axis=0) / reference
        seconds = np.median(times[quality])
        print(f"{quality}: flicker {level:.2f} levels ({shares[0]:.2f}), sharpness {shares[1]:.2f}, "
              f"{1000 * seconds:.0f} ms a frame ({seconds / first:.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
