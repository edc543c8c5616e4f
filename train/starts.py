"""Several starts of stage 1, judged without labels: which way a head turns is decided in the first hundreds of steps.

With a narrow field of view the camera is almost orthographic, and a head whose relief and turn are both reversed gives
nearly the same pictures. A start on the wrong side of the turning point leads there. Both sides are tried; pictures of
a head that turns the wrong way hide and show the wrong parts, so their distribution stays farther from the data's.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from stylesdf.camera import Camera, sample_poses
from stylesdf.files import replacing
from train.config import RendererConfig
from train.engine import Engine
from train.evaluation.distances import frechet_distance
from train.signals import Stopped, StopRequest

log = logging.getLogger(__name__)
JUDGED_IMAGES = 1000
SAVE_EVERY = 200
FEATURE_CHANNELS = (32, 64, 96)


def choose_start(config: RendererConfig, make_stage: Callable, out: Path, engine: Engine) -> RendererConfig:
    """Try the starts of a run, keep the best one's state as the run's, and return its settings.

    The same call goes on where it was stopped, and returns at once when the choice has been made.

    Args:
        config: With ``start_centres_z``; returned as it is where that is empty.
        make_stage: Function of a ``RendererConfig`` that returns a ``RendererStage``.
        out: Folder of the run; the trials stand in ``starts/``, their scores in ``starts.json``.
        engine: Where the run runs.

    Returns:
        The settings with the chosen ``sphere_centre_z`` and no starts to try.

    Raises:
        ValueError: ``start_steps`` is not within the run.
        Stopped: SIGINT or SIGTERM; the state of the trial is saved.
    """
    if not config.start_centres_z:
        return config
    if not config.freeze_generator_steps < config.start_steps <= config.total_steps:
        raise ValueError(
            f"start_steps is {config.start_steps}, expected more than freeze_generator_steps "
            f"({config.freeze_generator_steps}) and at most the run's {config.total_steps}"
        )
    report = out / "starts.json"
    trials = [dataclasses.replace(config, sphere_centre_z=z, start_centres_z=()) for z in config.start_centres_z]
    if not report.exists():
        scores = [
            _run_trial(make_stage(trial), out / "starts" / str(index), trial, engine)
            for index, trial in enumerate(trials)
        ]
        best = int(np.argmin(scores))
        if engine.is_main:
            shutil.copytree(out / "starts" / str(best), out / "state", dirs_exist_ok=True)
            with replacing(report) as path:
                rows = [{"sphere_centre_z": t.sphere_centre_z, "score": s} for t, s in zip(trials, scores)]
                path.write_text(json.dumps({"starts": rows, "chosen": best}, indent=2) + "\n")
            shutil.rmtree(out / "starts")
        engine.accelerator.wait_for_everyone()
        rows = ", ".join(f"z = {t.sphere_centre_z:g}: {s:.4g}" for t, s in zip(trials, scores))
        log.info("distance to the data after %d steps: %s; going on from the nearest", config.start_steps, rows)
    return trials[json.loads(report.read_text())["chosen"]]


def _run_trial(stage, folder: Path, config: RendererConfig, engine: Engine) -> float:
    with StopRequest() as request:
        if not stage.state.restore(folder):
            stage.prepare()
        name = f"start at z = {config.sphere_centre_z:g}"
        bar = tqdm(total=config.start_steps, initial=stage.state.step, desc=name, mininterval=5)
        while stage.state.step < config.start_steps:
            stage.step()
            bar.update()
            asked = engine.any(request.signal_number is not None)
            if engine.is_main and (asked or stage.state.step % SAVE_EVERY == 0):
                stage.state.save(folder)
            if asked:
                raise Stopped(request.signal_number)
        bar.close()
        if engine.is_main:
            stage.state.save(folder)
    return distance_to_data(stage)


@torch.no_grad()
def distance_to_data(stage) -> float:
    """Return how far generated thumbnails are from the data's: Fréchet distance of random convolutional features.

    It takes no labels, no masks and no pretrained network; it compares models that were trained alike, and is no
    measure of quality beyond that. The state of randomness is left as it was.
    """
    model, phase = stage.generator_ema, stage.config.phase_at(max(stage.state.step - 1, 0))[0]
    random = torch.Generator().manual_seed(0)
    count = min(JUDGED_IMAGES, len(stage.data))
    index = torch.randperm(len(stage.data), generator=random)[:count]
    real = [stage.data.thumbnail_batch(part, phase.resolution, 3) for part in index.split(100)]
    pose = sample_poses(count, model.config.pose_yaw, model.config.pose_pitch, generator=random)
    z = torch.randn(count, model.config.latent_size, generator=random).to(model.device)
    fake = [
        model.render(
            model.mapping(codes),
            Camera.from_angles(angles[:, 0], angles[:, 1]),
            resolution=phase.resolution,
            with_features=False,
        ).thumbnail.cpu()
        for codes, angles in zip(z.split(50), pose.split(50))
    ]
    return frechet_distance(random_features(torch.cat(real)), random_features(torch.cat(fake)))


def random_features(images: Tensor) -> np.ndarray:
    """Return mean and deviation of the channels of a fixed random convolutional network. ``(N, 2 · 96)``.

    Args:
        images: In [−1, 1]. ``(N, 3, H, W)``.
    """
    random = torch.Generator().manual_seed(0)
    hidden = images
    for index, channels in enumerate(FEATURE_CHANNELS):
        fan_in = 9 * hidden.shape[1]
        kernel = torch.randn(channels, hidden.shape[1], 3, 3, generator=random) * (2 / fan_in) ** 0.5
        hidden = F.leaky_relu(F.conv2d(hidden, kernel, padding=1), 0.2)
        if index + 1 < len(FEATURE_CHANNELS):
            hidden = F.avg_pool2d(hidden, 2)
    flat = hidden.flatten(2)
    return torch.cat([flat.mean(dim=2), flat.std(dim=2)], dim=1).double().numpy()
