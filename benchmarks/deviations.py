"""Where the kit's paper presets differ from the paper, in numbers: ``python -m benchmarks.deviations``."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from stylesdf import Camera, StyleSDF  # noqa: E402
from stylesdf.camera import sample_poses  # noqa: E402
from stylesdf.fit import psnr  # noqa: E402
from train.config import RendererConfig  # noqa: E402
from train.stages.renderer import SCALAR_LEARNING_RATE  # noqa: E402

NUM_HEADS = 8
SHARP = 0.003  # below which β is when stage 1 has converged, world units
FORGOTTEN = 0.001  # share of the initial weights that is still in the average


@torch.no_grad()
def rendering_modes(name: str) -> tuple[float, float]:
    """Return how near thumbnails and images are when rays are shifted as in stage 1, decibels, mean over heads."""
    model, random = StyleSDF.from_pretrained(f"checkpoints/{name}"), torch.Generator().manual_seed(0)
    config, values = model.config, []
    for seed in range(NUM_HEADS):
        w = model.mapping(model.latents([seed]))
        yaw, pitch = sample_poses(1, config.pose_yaw, config.pose_pitch, config.pose_distribution, random).unbind(1)
        camera, size = Camera.from_angles(yaw, pitch), config.render_resolution
        offset = torch.rand(1, size, size, generator=random)
        ours, theirs = model.render(w, camera), model.render(w, camera, offset=offset, opaque_background=False)
        images = (model.synthesis(each.features, model.decoder_codes(w), "const") for each in (ours, theirs))
        values.append((float(psnr(ours.thumbnail, theirs.thumbnail)), float(psnr(*images))))
    thumbnails, pictures = zip(*values)
    return sum(thumbnails) / NUM_HEADS, sum(pictures) / NUM_HEADS


def steps_of_sharpness(config: RendererConfig) -> tuple[float, float]:
    """Return in how many steps β can fall to ``SHARP``: log β at its own rate, and β itself at the generator's.

    Without momentum Adam's steps are about as long as the learning rate where gradients agree.
    """
    logarithm = math.log(config.beta_start / SHARP) / SCALAR_LEARNING_RATE
    return logarithm, (config.beta_start - SHARP) / config.game.learning_rate


def steps_until_forgotten(decay: float, has_ramp: bool) -> int:
    """Return after how many steps the average has forgotten the initial weights."""
    left, step = 1.0, 0
    while left > FORGOTTEN:
        left *= min(decay, (1 + step) / (10 + step)) if has_ramp else decay
        step += 1
    return step


def main() -> None:
    for name in ("people", "toy-heads"):
        thumbnail, image = rendering_modes(name)
        print(f"renderings of stage 2, {name}: thumbnails {thumbnail:.1f} dB, images {image:.1f} dB")
    config = RendererConfig()
    ours, theirs = steps_of_sharpness(config)
    print(f"steps in which β can fall from {config.beta_start} to {SHARP}: {ours:.0f}, the paper {theirs:.0f}")
    ours, theirs = (steps_until_forgotten(config.game.ema_decay, has_ramp) for has_ramp in (True, False))
    print(f"steps until the average holds {FORGOTTEN:.1%} of its start: {ours}, the paper {theirs}")


if __name__ == "__main__":
    main()
