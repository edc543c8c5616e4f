"""From nothing to a finished model with one command: the runs of a recipe, one after the other, and what comes of them.

Each run is a folder in the recipe's; one that is finished is not run again, and one that was stopped goes on where it
was last saved. The last run's model is measured and put together in ``model/``: weights, config, card, sample grid,
pictures, logs and reports.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image

from stylesdf.camera import Camera
from stylesdf.checkpoint import CARD_FILE, COMPANION_FILES, CONFIG_FILE, REPORT_FILES, WEIGHTS_FILE, file_hash
from stylesdf.files import replacing
from stylesdf.model import Generator
from train import directions, factors
from train.build import build_stage
from train.config import DecoderConfig, EncoderConfig, PolishConfig, to_dict
from train.data.images import ImageSet, describe_images, load_images, parse_label
from train.errors import RunError
from train.evaluation.measures import has_measures
from train.evaluation.mobilenet import INSTALL, find_weights
from train.evaluation.report import default_metrics, evaluate
from train.evaluation.views import Context, draw_full, latent
from train.pretrained import PretrainedGenerator
from train.recipes.base import Recipe, Run
from train.recipes.card import GRID_FILE, recipe_card
from train.run.card import default_licence, run_facts
from train.run.cost import HARDWARE, estimate
from train.run.engine import Engine
from train.run.folder import newest_grid
from train.run.lineage import Origin
from train.run.loop import train
from train.run.options import RunOptions
from train.run.settings import check_finished
from train.run.signals import Stopped
from train.run.state import saved_steps, step_of

log = logging.getLogger(__name__)
TRUNCATIONS = {0.7: "metrics.json", 1.0: "metrics-1.json"}  # reports of the finished model
MOBILENET_METRIC = "mobilenet-frechet"
NUM_FACTORS = 5  # of shape and of texture, where edits have no names
SHEET = 6, 4  # columns and rows of the picture of the first seeds


def plan(recipe: Recipe, cache_dir: Path | None = None) -> str:
    """Return the runs with their steps and estimated hours, as a text table, and how pictures will be kept."""
    rows = [["run", "stage", "starts from", "steps", "images", *HARDWARE]]
    totals = dict.fromkeys(HARDWARE, 0.0)
    for run in recipe.runs:
        cost = estimate(recipe.model, run.settings)
        for name in HARDWARE:
            totals[name] += cost["hours"][name]
        hours = [f"{cost['hours'][name]:.2f} h" for name in HARDWARE]
        rows.append([run.name, run.stage, run.start or "-", str(cost["steps"]), str(cost["images"]), *hours])
    rows.append(["all", "", "", "", "", *(f"{hours:.2f} h" for hours in totals.values())])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    kept = ""
    if recipe.data is not None:
        sizes = recipe.model.image_resolution, recipe.model.render_resolution
        kept = f": {describe_images(recipe.data, *sizes, True, cache_dir, **_reading(recipe))}"
    title = f"{recipe.name}: {len(recipe.runs)} runs on {recipe.data or '--data'}{kept}"
    return "\n".join([title, *lines]) + "\n"


def load_data(recipe: Recipe, cache_dir: Path | None = None) -> ImageSet:
    """Return the recipe's pictures, drawn and decoded where they are not there yet."""
    model = recipe.model
    sizes = model.image_resolution, model.render_resolution
    return load_images(recipe.data, *sizes, fov_deg=model.fov_deg, cache_dir=cache_dir, **_reading(recipe))


def _reading(recipe: Recipe) -> dict[str, object]:
    return {**recipe.reading, "label": parse_label(recipe.reading.get("label"))}


def is_finished(out: Path, run: Run) -> bool:
    """Return whether a run of a recipe's folder has come to its end; a model may also be exported before that."""
    states = saved_steps(out / run.name / "state")
    is_at_end = not states or step_of(states[-1]) >= run.settings.total_steps
    return is_at_end and (out / run.name / "model" / WEIGHTS_FILE).is_file()


def check_run(recipe: Recipe, run: Run, out: Path, data: ImageSet) -> None:
    """Hold a finished run against the recipe and its pictures as they are now, and against what it starts from.

    Raises:
        ValueError: It was made with other settings, another architecture or other pictures, or from another model; all
            that differs is named.
    """
    initial = None if run.start is None else _model_of(out, run.start)
    has_decoder = isinstance(run.settings, DecoderConfig | EncoderConfig)
    model = recipe.model if has_decoder else dataclasses.replace(recipe.model, decoder_channels=())
    current = {"training": to_dict(run.settings), "model": model.to_dict(), **Origin(data, initial).describe()}
    if not _takes_pictures(run):
        del current["data"]
    check_finished(out / run.name, current)


def _takes_pictures(run: Run) -> bool:
    return not isinstance(run.settings, PolishConfig)


def _model_of(out: Path, name: str) -> PretrainedGenerator:
    return PretrainedGenerator.from_pretrained(out / name / "model")


def execute(recipe: Recipe, run: Run, out: Path, data: ImageSet, engine: Engine, options: RunOptions) -> None:
    """Do one run in this process, or this process's share of it.

    Raises:
        ValueError: The run it starts from is not finished, or its folder holds a run with other settings.
        Stopped: SIGINT or SIGTERM; the state is saved.
    """
    initial = None
    if run.start is not None:
        earlier = next(other for other in recipe.runs if other.name == run.start)
        if not is_finished(out, earlier):
            raise ValueError(f"run {run.name!r} starts from {run.start!r}, which is not finished in {out}")
        initial = _model_of(out, run.start)
    stage = build_stage(recipe.model, run.settings, data, engine, initial)
    how, licence = f"`{recipe.command}` (run `{run.name}`)", _licence(recipe, data)
    source = recipe.data if _takes_pictures(run) else None
    facts = run_facts(how, source, data, initial, licence, recipe.reading.get("label"))
    train(stage, out / run.name, options, Origin(data, initial, facts))


def _licence(recipe: Recipe, data: ImageSet) -> str:
    return recipe.licence or default_licence(data)


def run_recipe(recipe: Recipe, out: Path, start_run: Callable[[Run], None], data: Callable[[], ImageSet]) -> Path:
    """Do all runs that are not finished, then measure the model and put it together.

    Args:
        recipe: What to do.
        out: Folder of all runs; the result is ``out/model``.
        start_run: Does one run to its end.
        data: Returns the pictures that it learns from, and is measured against.

    Returns:
        The folder of the finished model.

    Raises:
        ValueError: A run that is finished was made with other settings or pictures, or from another model than is there
            now.
    """
    for run in recipe.runs:
        if is_finished(out, run):
            check_run(recipe, run, out, data())
            log.info("%s is finished", run.name)
            continue
        start_run(run)
    return finish(recipe, out, data())


def finish(recipe: Recipe, out: Path, data: ImageSet) -> Path:
    """Measure the last run's model and put it together with its card; reports of this very model are kept.

    It gets directions, too: with names where the data has measures, with numbers elsewhere.
    """
    last, model_folder = out / recipe.runs[-1].name, out / "model"
    model_folder.mkdir(parents=True, exist_ok=True)
    model = PretrainedGenerator.from_pretrained(last / "model")
    reports = {}
    for truncation, name in TRUNCATIONS.items():
        path = model_folder / name
        if not _is_of(path, last / "model"):
            report = evaluate(model, data, _metrics(data), truncation=truncation)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        reports[truncation] = json.loads(path.read_text(encoding="utf-8"))
    for run in recipe.runs:
        if (out / run.name / "log.jsonl").is_file():  # a run with --log-every 0 has none
            _copy(out / run.name / "log.jsonl", model_folder / f"{run.name}-log.jsonl")
    grid = newest_grid(last)
    if grid is not None:
        _copy(grid, model_folder / GRID_FILE)
    with replacing(model_folder / "seeds.png") as path:
        seed_sheet(model, psi=0.7).save(path, optimize=True)
    for name in (CONFIG_FILE, WEIGHTS_FILE, COMPANION_FILES["inverter"]):
        if (last / "model" / name).is_file():
            _copy(last / "model" / name, model_folder / name)
        else:  # of the model before
            (model_folder / name).unlink(missing_ok=True)
    if not _is_of(model_folder / directions.REPORT_FILE, last / "model"):
        for name in (COMPANION_FILES["directions"], *REPORT_FILES):
            (model_folder / name).unlink(missing_ok=True)
        _add_directions(model_folder, model, data)
    names = {path.name for path in model_folder.iterdir()}
    with replacing(model_folder / CARD_FILE) as path:
        card = recipe_card(recipe, model.config, reports, _licence(recipe, data), names)
        path.write_text(card, encoding="utf-8")
    return model_folder


def _add_directions(folder: Path, model: Generator, data: ImageSet) -> None:
    try:
        if has_measures(data):
            found, summary = directions.learn_directions(model, data)
            captions = directions.captions(summary)
        else:
            found, summary = factors.find_factors(model, NUM_FACTORS)
            captions = factors.captions(summary)
    except ValueError as error:  # a model that cannot be edited is a model
        log.warning("the model gets no edits: %s", error)
    else:
        directions.write_directions(folder, model, found, summary, captions)


def _is_of(report: Path, model: Path) -> bool:
    """Return whether there is a report, and one of the model in a folder."""
    if not report.is_file():
        return False
    about = json.loads(report.read_text(encoding="utf-8")).get("model", {})
    return about.get("sha256") == file_hash(model / WEIGHTS_FILE, "sha256")


def _metrics(data: ImageSet) -> list[str]:
    """Return what can be measured here: MobileNet's distance only where its weights are installed."""
    names = default_metrics(Context(data))
    if find_weights() is not None:
        return [*names, MOBILENET_METRIC]
    log.warning("%s is left out of the report, its weights are missing: %s", MOBILENET_METRIC, INSTALL)
    return names


@torch.no_grad()
def seed_sheet(model: Generator, psi: float) -> Image.Image:
    """Draw the first seeds from the front, unpicked, at the model's full size."""
    (columns, rows), size = SHEET, model.config.image_resolution
    sheet = Image.new("RGB", (columns * size, rows * size))
    for seed in range(columns * rows):
        picture, _ = draw_full(model, model.mapping(latent(model, seed), psi), Camera.from_angles(0.0, 0.0), psi)
        pixels = picture[0].add(1.0).mul(127.5).round().byte().permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(pixels), (seed % columns * size, seed // columns * size))
    return sheet


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as path:
        shutil.copyfile(source, path)


def in_processes(arguments: Sequence[str], count: int) -> None:
    """Run ``python -m train`` with some arguments in several processes that share its batches, with torchrun.

    Raises:
        Stopped: SIGINT or SIGTERM; the processes have saved their state.
        RunError: They ended otherwise; they have said why.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    threads = str(max(1, (os.cpu_count() or 1) // count))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    process = subprocess.Popen([*command, "-m", "train", *arguments], env=environment)
    asked: list[int] = []

    def forward(number: int, _frame) -> None:
        asked.append(number)
        process.send_signal(signal.SIGTERM)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if asked:
        raise Stopped(asked[0])
    if status:
        raise RunError(f"the processes of {' '.join(arguments[:2])} ended with status {status}, see above")


def default_processes(device: str) -> int:
    """Return how many processes a run is shared by: two on two or more cores, but one where there is a GPU.

    On Windows it is one: a process there cannot be asked to save and stop.
    """
    if os.name == "nt" or (device != "cpu" and torch.cuda.is_available()):
        return 1
    return min(2, os.cpu_count() or 1)
