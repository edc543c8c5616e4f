"""Models kept while a run goes on, what they measure, and which is the best of them.

``snapshots/step-NNNNNNNN`` is the folder of a model, ``snapshots/best.json`` names the best one, ``evaluation.png``
shows the numbers over the steps. They stand in ``log.jsonl`` too, under ``evaluation`` in lines of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from stylesdf.checkpoint import save_model
from stylesdf.files import replacing
from stylesdf.model import Generator
from train.data.images import ImageSet
from train.evaluation.registry import METRICS, NETWORKS, Quantity
from train.evaluation.report import chosen_metrics, evaluate
from train.evaluation.views import Context, Options

BEST_FILE = "best.json"
CURVE_FILE = "evaluation.png"
PANEL, MARGIN, COLUMNS = (320, 160), 26, 3  # pixels, pixels, panels in a row


def snapshot_folder(out: Path, step: int) -> Path:
    return out / "snapshots" / f"step-{step:08d}"


def save_snapshot(model: Generator, out: Path, step: int, card: str | None = None) -> None:
    """Keep a model as that of a step; one that is there already is the same."""
    if not snapshot_folder(out, step).exists():
        save_model(model, snapshot_folder(out, step), card)


class Evaluations:
    """Metrics of a run's model, measured while it goes on.

    Args:
        metrics: Names of the registry.
        num_seeds: Seeds that each takes.
        data: Pictures that the model is held against; None: there are none.
        device: Where networks of metrics compute.

    Raises:
        ValueError: An unknown metric, or one that cannot be measured on this data.
    """

    def __init__(self, metrics: Sequence[str], num_seeds: int, data: ImageSet | None, device: torch.device) -> None:
        self.options = Options(device=device)
        context = Context(data, self.options)
        self.metrics, self.num_seeds, self.data = chosen_metrics(metrics, context), num_seeds, data
        self.subject = context.subject
        for network in {need for name in self.metrics for need in METRICS[name].needs} & set(NETWORKS):
            getattr(context, network)  # loads its weights, so that missing ones are noticed before the run

    def measure(self, model: Generator) -> dict[str, float]:
        """Return every finite number of the metrics' tables as ``metric.number``, and those that they should be near.

        The random state is left alone.
        """
        with undisturbed_random_state():
            report = evaluate(model, self.data, self.metrics, self.num_seeds, options=self.options)
        found = {}
        for name, result in report["metrics"].items():
            for quantity in METRICS[name].rows(self.subject):
                is_named = quantity.better == "nearer" and isinstance(quantity.reference, str)
                for key in (quantity.name, quantity.reference) if is_named else (quantity.name,):
                    if result.get(key) is not None and math.isfinite(result[key]):
                        found[f"{name}.{key}"] = float(result[key])
        return found

    @property
    def criterion(self) -> tuple[str, Quantity]:
        """The first metric, and its first number: what says which model is the best."""
        return self.metrics[0], METRICS[self.metrics[0]].rows(self.subject)[0]

    def shortfall(self, numbers: dict[str, float]) -> float:
        """Return how far from best a model is by the criterion: the lower the better; infinite where it is unknown."""
        metric, quantity = self.criterion
        value, reference = numbers.get(f"{metric}.{quantity.name}"), quantity.reference
        if isinstance(reference, str):
            reference = numbers.get(f"{metric}.{reference}")
        if value is None or (quantity.better == "nearer" and reference is None):
            return math.inf
        return {"lower": value, "higher": -value}.get(quantity.better, abs(value - (reference or 0.0)))

    def best_step(self, history: dict[int, dict[str, float]]) -> int | None:
        """Return the step whose model is the best; None where none could be measured.

        Args:
            history: Step → its numbers.
        """
        known = {step: self.shortfall(numbers) for step, numbers in history.items()}
        known = {step: value for step, value in known.items() if value < math.inf}
        return min(known, key=known.get) if known else None

    def record_best(
        self, history: dict[int, dict[str, float]], model: Generator, out: Path, card: str | None = None
    ) -> None:
        """Keep a model as a snapshot if it is the best so far, and name the best in ``snapshots/best.json``.

        Args:
            history: Step → its numbers; the last one is the model's.
            model: Of the last step.
            out: Folder of the run.
            card: README of the model; None takes a template.
        """
        last = max(history)
        kept = {step for step in history if step == last or snapshot_folder(out, step).exists()}
        step = self.best_step({step: history[step] for step in kept})
        if step is None:
            return
        if step == last:
            save_snapshot(model, out, step, card)
        metric, quantity = self.criterion
        name = f"{metric}.{quantity.name}"
        best = {"snapshot": snapshot_folder(out, step).name, "step": step, "metric": name}
        best |= {"value": history[step][name], "better": quantity.better}
        with replacing(out / "snapshots" / BEST_FILE) as path:
            path.write_text(json.dumps(best, indent=2) + "\n", encoding="utf-8")


def undisturbed_random_state():
    """Context in which random numbers may be drawn without a trace."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()] if torch.cuda.is_available() else [])


def draw_curves(history: dict[int, dict[str, float]]) -> Image.Image:
    """Draw every measured number over the steps, a panel each.

    Args:
        history: Step → its numbers.
    """
    names = list(dict.fromkeys(name for numbers in history.values() for name in numbers))
    (width, height), rows = PANEL, -(-len(names) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width, max(rows, 1) * height), "white")
    for place, name in enumerate(names):
        points = [(step, numbers[name]) for step, numbers in sorted(history.items()) if name in numbers]
        sheet.paste(_panel(name, points), (place % COLUMNS * width, place // COLUMNS * height))
    return sheet


def _panel(name: str, points: list[tuple[int, float]]) -> Image.Image:
    panel = Image.new("RGB", PANEL, "white")
    pen, (width, height) = ImageDraw.Draw(panel), PANEL
    steps, values = zip(*points)
    low, high = min(values), max(values)
    line = [
        (
            MARGIN + (width - 2 * MARGIN) * (step - steps[0]) / max(steps[-1] - steps[0], 1),
            height - MARGIN - (height - 2 * MARGIN) * (value - low) / max(high - low, 1e-12),
        )
        for step, value in points
    ]
    pen.rectangle((MARGIN, MARGIN, width - MARGIN, height - MARGIN), outline="#cbd5e1")
    pen.line(line, fill="#1d4e89", width=2)
    for x, y in line:
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill="#1d4e89")
    pen.text((MARGIN, 8), f"{name}: {low:.4g} to {high:.4g}", fill="#334155")
    pen.text((MARGIN, height - 20), f"step {steps[0]} to {steps[-1]}, last {values[-1]:.4g}", fill="#334155")
    return panel
