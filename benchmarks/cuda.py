"""What a CUDA GPU does, as tables in Markdown: ``bash scripts/gpu.sh --help``."""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import cuda_training as training
from benchmarks.__main__ import describe_machine
from benchmarks.cuda_training import DEFAULT, TF32, attempt, free_memory
from benchmarks.images import DEVICE, SEED, TRUNCATION, model, random_model
from benchmarks.measure import seconds
from stylesdf.camera import Camera
from stylesdf.config import preset
from stylesdf.pipeline import StyleSDF
from stylesdf.shot import Shot
from train.recipe import TRUNCATIONS, is_finished
from train.recipes import RECIPES
from train.run.state import saved_steps, step_of

EPILOG = """examples:
  bash scripts/gpu.sh training                        steps of both stages, ffhq and people's large size
  bash scripts/gpu.sh training ffhq --cudnn-benchmark one recipe, with the convolutions that cuDNN finds by trying
  bash scripts/gpu.sh inference                       images, views and meshes per second
  bash scripts/gpu.sh people --minutes 9              trains people's large size for nine minutes; the same command
                                                      goes on, and prints what the model is like once it is finished
  bash scripts/gpu.sh training --tiny                 in miniature, which a CPU can do too
"""
PIECE_MINUTES = 10.0  # after which training is stopped, saved, and goes on
MESH_RESOLUTION = 256
CAMERAS = (0.3, -0.2, 0.1)  # yaws of further views, radians
WARM_UPS = len(CAMERAS)  # turns that do not count: what is compiled is so for each camera's number of points
INFERENCE_PRECISIONS = {"PyTorch's default": DEFAULT, "TF32": TF32}

Task = tuple[str, int, Callable[[], object]]  # what is done, how many images or meshes it is, what does it


def main(arguments: list[str] | None = None) -> int:
    options, further = _parser().parse_known_args(arguments)
    if further and options.command != "people":
        _parser().error(f"unrecognized arguments: {' '.join(further)}")
    for name in ("rounds", "minutes"):
        value = getattr(options, name, 1)
        if not value > 0:
            _parser().error(f"--{name} is {value}, expected more than 0")
    if DEVICE != "cuda" and not options.tiny:
        print("gpu.sh: error: PyTorch sees no CUDA GPU here; --tiny runs a miniature on the CPU", file=sys.stderr)
        return 2
    torch.backends.cudnn.benchmark = getattr(options, "cudnn_benchmark", False)
    benchmark = ", cudnn.benchmark" if torch.backends.cudnn.benchmark else ""
    print(f"## {options.command}: {describe_machine()}{benchmark}", flush=True)
    return {"training": _training, "inference": _inference, "people": _people}[options.command](options, further)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bash scripts/gpu.sh",
        description="Measure training and inference on a CUDA GPU, and train the recipe people's large size on it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    training_parser = commands.add_parser("training", help="images per second in training beside the arithmetic alone")
    training_parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="ffhq or people (default: both)")
    inference_parser = commands.add_parser("inference", help="images, views and meshes per second")
    people = commands.add_parser("people", help="train; further arguments go to python -m train run people")
    people.add_argument("--minutes", type=float, required=True, help="to train for; the same command goes on")
    people.add_argument("--out", type=Path, default=Path("runs/people-large"), help="folder (default: %(default)s)")
    for each in (training_parser, inference_parser, people):
        each.add_argument("--tiny", action="store_true", help="a miniature, also where there is no GPU")
    for each, rounds in ((training_parser, 3), (inference_parser, 10)):
        each.add_argument("--cudnn-benchmark", action="store_true", help="let cuDNN choose its convolutions by trying")
        each.add_argument("--rounds", type=int, default=rounds, help="turns of each precision (default: %(default)s)")
    return parser


def _training(options: argparse.Namespace, _: Sequence[str]) -> int:
    names = options.recipes or list(training.MEASURED)
    for name in names:
        if name not in training.MEASURED:
            _parser().error(f"recipe is {name!r}, expected one of {', '.join(training.MEASURED)}")
    for title, batch, make in training.stages(options.tiny, names):
        found: list[tuple] = []
        if failure := attempt(lambda: found.append(training.built_to_fit(batch, make))):  # noqa: B023
            print_table(title, [["precision", "images/s"], ["all", failure]])
            continue
        steps, part = found.pop()
        least_seconds = 0.0 if options.tiny else training.LEAST_SECONDS
        figures = training.measure(steps, options.rounds, least_seconds)
        print_table(f"{title}{f' in parts of {part}' if part else ''}", training.rows(steps, batch, figures))
        del steps
        free_memory()
    return 0


def _inference(options: argparse.Namespace, _: Sequence[str]) -> int:
    models: dict[str, Callable[[], StyleSDF]] = {
        "ffhq, 1024×1024": lambda: random_model(preset("ffhq")),
        "afhq, 512×512": lambda: random_model(preset("afhq")),
        "people, 256×256": lambda: model("people"),
    }
    if options.tiny:
        models = {"tiny, 32×32": lambda: random_model(training.tiny_model(preset("ffhq")))}
    head = ["what"] + [f"{name}: {unit}" for name in INFERENCE_PRECISIONS for unit in ("seconds", "per second")]
    for title, make in models.items():
        with torch.no_grad():
            rows = (_row(task, options.rounds) for task in tasks(make(), options.tiny))
            print_table(title, itertools.chain([[*head, "peak, GiB"]], rows))
        free_memory()
    return 0


def tasks(ours: StyleSDF, tiny: bool) -> Iterator[Task]:
    """Yield what is asked of a model; images of new heads stay tensors on the device, views become PIL images."""
    angles, camera = itertools.cycle(CAMERAS), Camera.from_angles(0.3, 0.0)
    for batch in (1, 8):
        z = ours.latents(range(batch))
        yield f"images of new heads, batch {batch}", batch, lambda z=z: ours(z, camera, psi=TRUNCATION)
    head = ours.head(SEED, TRUNCATION)
    compiled = head.compiled("eager" if tiny else "inductor")
    for name, seen in (("", head), (", compiled", compiled)):
        for quality in ("exact", "fast"):
            yield f"a further view, {quality}{name}", 1, lambda seen=seen, quality=quality: seen.view(
                Shot(next(angles), quality=quality)
            ).image
    resolution = 32 if tiny else MESH_RESOLUTION
    yield f"a mesh, {resolution}³", 1, lambda: ours.extract_mesh(SEED, TRUNCATION, resolution=resolution)


def _row(task: Task, rounds: int) -> list[str]:
    """Do a task in all precisions by turns; what the machine lacks stands in the row."""
    name, count, run = task
    times: dict[str, list[float]] = {precision: [] for precision in INFERENCE_PRECISIONS}

    def take_turns() -> None:
        for number in range(-WARM_UPS, rounds):
            for precision, taken in times.items():
                INFERENCE_PRECISIONS[precision].use()
                value = seconds(run)
                taken.extend([value] * (number >= 0))

    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    if failure := attempt(take_turns):
        return [name, failure, *["–"] * (2 * len(times))]
    medians = [statistics.median(taken) for taken in times.values()]
    peak = f"{torch.cuda.max_memory_allocated() / 2**30:.2f}" if DEVICE == "cuda" else "–"
    return [name, *(f"{number:.3g}" for median in medians for number in (median, count / median)), peak]


def _people(options: argparse.Namespace, further: Sequence[str]) -> int:
    size = "small" if options.tiny else "large"
    command = [sys.executable, "-m", "train", "run", "people", "--size", size, "--out", str(options.out), *further]
    status = run_in_pieces(command, 60 * options.minutes, 60 * PIECE_MINUTES)
    print_table("runs", [["run", "step", "of"], *run_rows(options.out, size)])
    reports = {psi: options.out / "model" / name for psi, name in TRUNCATIONS.items()}
    if status == 0:
        print_table("the finished model", report_rows({psi: json.loads(path.read_text(encoding="utf-8"))["metrics"]
                                                       for psi, path in reports.items()}))  # fmt: skip
    elif status == 128 + signal.SIGTERM:
        print("\nNot finished: the same command goes on.")
        return 0
    return status


def run_in_pieces(command: Sequence[str], total: float, piece: float) -> int:
    """Run a command, which saves at SIGTERM and goes on when it is called again, for some seconds.

    Args:
        command: What is run.
        total: Seconds in all; the last save may take longer.
        piece: Seconds after which it is stopped and goes on.

    Returns:
        Its last status: 0 once it is finished, 143 where it was stopped.
    """
    end, status = time.monotonic() + total, 128 + signal.SIGTERM
    while status == 128 + signal.SIGTERM and (left := end - time.monotonic()) > 0:
        process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
        before = signal.signal(signal.SIGTERM, partial(_hand_on, process))
        try:
            status = process.wait(min(left, piece))
        except subprocess.TimeoutExpired:
            process.terminate()
            status = process.wait()
        except KeyboardInterrupt:  # it has been told, too, and saves
            return process.wait()
        finally:
            signal.signal(signal.SIGTERM, before)
        if status == -signal.SIGTERM:  # it had not come far enough to take the signal
            status = 128 + signal.SIGTERM
    return status


def _hand_on(process: subprocess.Popen, *_) -> None:
    process.terminate()
    raise KeyboardInterrupt


def run_rows(out: Path, size: str) -> list[list[str]]:
    """Return for each run of the recipe how far it has come in a folder."""
    table = []
    for run in RECIPES["people"][size].runs:
        states, total = saved_steps(out / run.name / "state"), run.settings.total_steps
        step = step_of(states[-1]) if states else 0
        table.append([run.name, str(total if is_finished(out, run) else step), str(total)])
    return table


def report_rows(reports: dict[float, dict]) -> list[list[str]]:
    """Return the numbers of reports, one column for each truncation."""
    table = [["metric", *(f"truncation {psi:g}" for psi in reports)]]
    flat = [dict(_numbers(metrics)) for metrics in reports.values()]
    for name in flat[0]:
        table.append([name, *(f"{numbers[name]:.4g}" if name in numbers else "–" for numbers in flat)])
    return table


def _numbers(values: dict, prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)):
            yield f"{prefix}{name}", value


def print_table(title: str, table: Iterable[list[str]]) -> None:
    """Print a table in Markdown, row by row as they come, the first as the head."""
    print(f"\n### {title}\n")
    for number, row in enumerate(table):
        print(f"| {' | '.join(row)} |", flush=True)
        if number == 0:
            print("|---" * len(row) + "|")


if __name__ == "__main__":
    sys.exit(main())
