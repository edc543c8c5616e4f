"""What ``--dry-run`` estimates beside what runs take: ``python -m benchmarks.estimates --help``.

Every run is built as it is trained, in a process of its own with one thread. Each kind of work in it (a step of a
phase, a rendering that is kept, a sample grid) is done a few times, and its CPU time counts as often as the run does
it, so that a run of days takes a minute or two. Pictures are random, and heads are those of the bundled model of the
same architecture, or spheres.

Seconds are those of a core of the reference machine while its other core works: a probe, repeated in between, says how
much slower or faster this one is now, and that is divided out. The estimate for two cores halves what a recipe's two
processes share, and counts what each does by itself (the flow of the prior, updates of weights).

Memory is the peak resident set above that of a process which has imported torch, without the pictures, which a run maps
from files. Linux only.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch

from benchmarks.measure import _status_mib as status_mib

if __name__ == "__main__":
    AT_REST = status_mib("VmRSS")  # before anything else is imported

import numpy as np

from benchmarks.images import CHECKPOINTS, make_sphere
from stylesdf.config import StyleSDFConfig, preset
from stylesdf.field import Field
from stylesdf.mapping import unrectify
from stylesdf.pipeline import StyleSDF
from train.build import build_stage
from train.config import (
    CODE_PATHS,
    HEADS_PER_STEP,
    PATH_LENGTH_EVERY,
    PATHS_AT_ONCE,
    DecoderConfig,
    PolishConfig,
    PriorConfig,
    RendererConfig,
)
from train.data.images import ImageSet
from train.networks.encoder import ENCODER_RESOLUTION, PictureEncoder
from train.presets import PRESETS
from train.pretrained import PretrainedGenerator, copy_renderer
from train.recipes import RECIPES, Run
from train.recipes.drawn import MODEL
from train.run.cost import estimate, tasks_of
from train.run.counting import guided_beta
from train.run.engine import Engine
from train.run.grid import sample_grid
from train.run.lineage import Origin, write_model
from train.run.process import prepare_process
from train.stages.chunked import CHUNK_POINTS
from train.stages.pool import render_field_image, render_scenes

MEASURED = {"people": "small", "toy_heads": "small", "photos": "small", "ffhq": "large", "afhq": "large"}  # recipes
LARGE_WIDTH = 256  # fields from this width on are measured with ``LARGE_BATCH`` images per step
LARGE_BATCH = 2
LONG = 8.0  # seconds, from which on even the first time counts
SECONDS = 1.5  # of CPU time that each kind of work is repeated for
NUM_PICTURES = 200
PROBE_SECONDS = 0.026  # of a core of the machine that ``train/run/cost.py`` speaks of, while its other one works
PROBED = 0.25  # of what is measured, how long the probe is repeated
SHARPNESS = {PolishConfig: 0.0016}  # β of the model that a run starts from, world units
SHARPEST = 0.0008

Part = tuple[str, Callable[[], object]]


def all_runs() -> dict[str, tuple[StyleSDFConfig, Run]]:
    """Return what is measured by its name, settings of large models with fewer images per step."""
    runs = {}
    for name, size in MEASURED.items():
        recipe = RECIPES[name][size]
        runs |= {f"{name}/{run.name}": (recipe.model, run) for run in recipe.runs}
    for stage, settings in PRESETS.items():
        start = None if stage == "renderer" else "start"
        runs[f"toy/{stage}"] = (preset("toy"), Run(stage, settings["toy"], start))
    return {name: (model, _smaller(run) if model.field_width >= LARGE_WIDTH else run) for name, (model, run) in
            runs.items()}  # fmt: skip


def _smaller(run: Run) -> Run:
    settings = run.settings
    if isinstance(settings, RendererConfig):
        phases = tuple(dataclasses.replace(phase, batch_size=LARGE_BATCH) for phase in settings.phases)
        return dataclasses.replace(run, settings=dataclasses.replace(settings, phases=phases))
    return dataclasses.replace(run, settings=dataclasses.replace(settings, batch_size=LARGE_BATCH))


def random_pictures(model: StyleSDFConfig) -> ImageSet:
    """Return pictures of noise with alpha and poses."""
    random, count = np.random.RandomState(0), max(8, NUM_PICTURES * 256**2 // model.image_resolution**2)

    def noise(channels: int, size: int) -> np.ndarray:
        return random.randint(0, 256, (count, channels, size, size), dtype=np.uint8)

    poses = torch.rand(count, 2) * 0.2
    return ImageSet(images=noise(3, model.image_resolution), thumbnails=noise(4, model.render_resolution), poses=poses)


def start_of(config: StyleSDFConfig, run: Run, folder: Path) -> PretrainedGenerator:
    """Return a model to start from: the bundled one of this architecture, or one of spheres, with an encoder."""
    model = PretrainedGenerator(config)
    bundled = [path for path in CHECKPOINTS.iterdir() if _architecture(path) == config.to_dict()]
    if bundled:
        model = PretrainedGenerator.from_pretrained(bundled[0])
    else:
        spheres = StyleSDF(config).eval()
        make_sphere(spheres, radius=0.6 * config.scene_radius)
        model.load_state_dict(spheres.state_dict())
    model.renderer.log_beta.data.fill_(math.log(SHARPNESS.get(type(run.settings), SHARPEST)))
    model.update_means(1000)
    encoder = PictureEncoder(config.latent_size, min(ENCODER_RESOLUTION, config.image_resolution))
    write_model(model, folder, {"encoder": encoder}, Origin())
    return PretrainedGenerator.from_pretrained(folder)


def _architecture(folder: Path) -> dict | None:
    path = folder / "config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def parts_of(stage, initial: PretrainedGenerator) -> Iterator[Part]:
    """Yield each kind of work of a stage with its name in ``train/run/cost.py``, and what does it once."""
    config = stage.config
    if isinstance(config, RendererConfig):
        yield from _renderer_parts(stage, initial)
    elif isinstance(config, PriorConfig):
        yield "flow step", lambda: stage._flow_step(0)
        yield "paths", lambda: stage.draw_paths(PATHS_AT_ONCE)
        stage.paths = tuple(torch.randn(CODE_PATHS, len(of)) for of in (stage.mean, stage.spread))
        yield "mapping step", lambda: stage._mapping_step(0)
    elif isinstance(config, PolishConfig):
        yield "step", lambda: _step_at(stage, config.steps // 2)
    elif isinstance(config, DecoderConfig):
        yield from _decoder_parts(stage)
    else:
        yield "head", lambda: stage.drawings._draw(0)
        yield "step", lambda: _step_at(stage, 0)
        for _ in range(config.steps * HEADS_PER_STEP):  # as many as are kept at the end
            for kept, nothing in zip((stage.drawings._pictures, stage.drawings._facts), stage.drawings._nothing()):
                kept.append(nothing.clone())
    yield "grid view", lambda: sample_grid(stage.generator_ema, 1, yaws=(0.0,), **stage.grid_options())


def _step_at(stage, step: int) -> None:
    stage.state.step = step
    stage.step()


def _renderer_parts(stage, initial: PretrainedGenerator) -> Iterator[Part]:
    config, first = stage.config, 0
    stage.config = dataclasses.replace(config, sphere_steps=1)
    yield "sphere step", stage.prepare
    stage.config = config
    copy_renderer(initial, stage.generator)
    if stage.reconstruction is not None:  # all pictures then have codes near the mean, and show heads
        head = stage.reconstruction.encoder.head
        head.weight.data.zero_(), head.bias.data.zero_()
        head.bias.data[: len(initial.w_avg[0])] = unrectify(initial.w_avg[0])
        head.bias.data[len(initial.w_avg[0]) :] = -4.0
        stage.reconstruction.prepare()
    for number, phase in enumerate(config.phases):
        middle = first + phase.steps // 2
        middle -= middle % config.game.r1_every
        stage.generator.renderer.log_beta.data.fill_(math.log(guided_beta(config)))
        yield from _weighted(stage, f"phase {number}", kinds_of_steps(middle, [config.game.r1_every]))
        first += phase.steps


def kinds_of_steps(first: int, periods: list[int]) -> dict[int, int]:
    """Return the first step of each kind, and how many of a period are of that kind.

    Args:
        first: Step from which on they are looked for.
        periods: Of each penalty, which comes every so many steps.
    """
    kinds: dict[tuple[bool, ...], list[int]] = {}
    for step in range(first, first + math.lcm(*periods)):
        kinds.setdefault(tuple(step % every == 0 for every in periods), []).append(step)
    return {steps[0]: len(steps) for steps in kinds.values()}


def _weighted(stage, name: str, kinds: dict[int, int]) -> Iterator[Part]:
    for step, weight in kinds.items():
        yield f"{name}×{weight}", lambda step=step: _step_at(stage, step)


def _decoder_parts(stage) -> Iterator[Part]:
    config, pool, generator = stage.config, stage._renderings, stage.generator
    w, poses = generator.mapping(torch.randn(1, generator.config.latent_size)).detach(), torch.zeros(1, 2)
    if pool is not None:
        yield "rendering", lambda: render_scenes(generator, w, poses)
        pool.features.zero_(), pool.thumbnails.zero_(), pool.w.zero_()
        pool.next = config.num_renderings
        pool.advance_to = lambda *_: None
        if config.draws_field:
            yield "field image", lambda: render_field_image(generator, w, poses)
            pool.images = pool.images.new_zeros(config.num_renderings, *pool.images.shape[1:]).zero_()
    if config.draws_field:
        yield "field step", lambda: _step_at(stage, 0)
    if stage.pairs is not None:
        pairs = stage.pairs.renderings
        yield "pair", lambda: pairs._render(0, with_images=True)
        pairs.features.zero_(), pairs.thumbnails.zero_(), pairs.w.zero_()
        pairs.images = pairs.images.new_zeros(config.num_renderings, *pairs.images.shape[1:]).zero_()
        pairs.advance_to = lambda *_, **__: None
        yield from _weighted(stage, "pair step", kinds_of_steps(0, [config.game.r1_every]))
    if not config.is_adversarial:
        return
    periods = [config.game.r1_every] + [PATH_LENGTH_EVERY] * bool(config.path_length_weight)
    yield from _weighted(stage, "adversarial step", kinds_of_steps(0, periods))


def measure(name: str) -> dict:
    """Measure one run in this process: CPU seconds of each kind of work, and the peak memory in GB."""
    model, run = all_runs()[name]
    torch.manual_seed(0)
    data = random_pictures(model)
    kept = (data.images.nbytes + data.thumbnails.nbytes) / 2**20
    seconds: dict[str, list[tuple[int, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        initial = start_of(model, run, Path(folder))
        stage = build_stage(model, run.settings, data, Engine(), None if run.start is None else initial)
        for part, work in parts_of(stage, initial):
            part, _, weight = part.partition("×")
            seconds.setdefault(part, []).append((int(weight or 1), cpu_seconds(work)))
    means = {part: sum(w * s for w, s in both) / max(1, sum(w for w, _ in both)) for part, both in seconds.items()}
    return {"seconds": means, "memory_gb": (status_mib("VmHWM") - AT_REST - kept) * 2**20 / 1e9}


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes a core of the reference machine, from how long it takes beside the probe.

    It is repeated for ``SECONDS``, after a first time, which does not count where it is short.
    """
    probe()  # for the first time it takes longer
    spent, count, probed, probes = 0.0, 0, 0.0, 0
    while spent < SECONDS:
        taken = _timed(work)
        if not probes and taken < LONG:  # in the first one memory is fetched and kernels are chosen
            probes, probed = 1, _timed(probe)
            continue
        spent, count = spent + taken, count + 1
        while probed < PROBED * spent:
            probed, probes = probed + _timed(probe), probes + 1
    return spent / count * PROBE_SECONDS * probes / probed


@cache
def _probed_field() -> tuple:
    points = torch.full((1, CHUNK_POINTS, 3), 0.05)
    return Field(MODEL).condition(torch.zeros(1, MODEL.latent_size)), points


def probe() -> None:
    """Do a fixed piece of training's work: a chunk of a field without gradients, and one forth and back."""
    field, points = _probed_field()
    with torch.no_grad():
        field(points, points)
    out = field(points, points)
    torch.autograd.backward([out.sdf, out.rgb], [out.sdf.detach(), out.rgb.detach()], retain_graph=True)


def _timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def in_own_process(name: str) -> dict:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.estimates", "--one", name]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{run.stderr}")
    return json.loads(run.stdout.splitlines()[-1])


def row(name: str, measured: dict, with_parts: bool) -> str:
    """Return a run's line of the table, and one for each kind of work where they are wanted."""
    model, run = all_runs()[name]
    tasks, steps = tasks_of(model, run.settings), run.settings.total_steps
    ours = sum(task.count * task.core_seconds for task in tasks) / steps
    theirs = sum(task.count * measured["seconds"][task.name] for task in tasks) / steps
    memory = estimate(model, run.settings)["memory_gb"], measured["memory_gb"]
    cells = [f"{first:.3g} | {second:.3g} | {first / second:.2f}" for first, second in (memory, (ours, theirs))]
    lines = [f"| {name} | {' | '.join(cells)} |"]
    for task in tasks if with_parts else ():
        ours, theirs = task.core_seconds, measured["seconds"][task.name]
        lines.append(f"| … {task.name} × {task.count:g} | | | | {ours:.3g} | {theirs:.3g} | {ours / theirs:.2f} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    options_help = {
        "formatter_class": argparse.RawDescriptionHelpFormatter, "prog": "python -m benchmarks.estimates",
        "description": __doc__,
    }  # fmt: skip
    parser = argparse.ArgumentParser(**options_help)
    parser.add_argument("runs", nargs="*", metavar="NAME", help="runs to measure, * and ? stand for any (default: all)")
    parser.add_argument("--parts", action="store_true", help="a line for each kind of work too")
    parser.add_argument("--list", action="store_true", help="print the names of the runs and end")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        prepare_process()
        print(json.dumps(measure(options.one)))
        return 0
    names = [name for name in all_runs() if any(fnmatch.fnmatch(name, wanted) for wanted in options.runs or ["*"])]
    if not names:
        parser.error(f"no run is named {' or '.join(options.runs)}, see --list")
    if options.list:
        print("\n".join(names))
        return 0
    print("| run | GB, estimated | measured | ratio | core seconds a step, estimated | measured | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        print(row(name, in_own_process(name), options.parts), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
