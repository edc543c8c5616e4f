"""What a run writes beside its states: log, alarms, sample grids, snapshots and what they measure."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from PIL import Image

from stylesdf.files import replacing
from train.run.alarms import Alarms
from train.run.background import Background
from train.run.folder import GRIDS, append_record
from train.run.grid import sample_grid
from train.run.lineage import Origin, finished_model
from train.run.options import RunOptions, is_due
from train.run.settings import training_of
from train.run.snapshots import CURVE_FILE, Evaluations, draw_curves, save_snapshot, snapshot_folder
from train.run.trackers import Tracker

log = logging.getLogger(__name__)


def check_finite(record: dict[str, float], step: int) -> None:
    """Raise FloatingPointError where a term of a step is not finite."""
    for name, value in record.items():
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{name} is {value} at step {step}; the last saved state is before it: export its model and start from "
                "that (--init-from) with a lower learning rate or a higher r1_gamma"
            )


class Monitor:
    """Watches a run.

    Args:
        stage: One of ``train/stages``.
        out: Folder of the run.
        options: What is done how often.
        origin: What the run starts from.

    Raises:
        ValueError: A metric that cannot be measured.
    """

    def __init__(self, stage, out: Path, options: RunOptions, origin: Origin) -> None:
        self.stage, self.out, self.options, self.origin = stage, out, options, origin
        self.is_main = stage.engine.is_main
        self.alarms = Alarms(stage.config.total_steps, options.log_every)
        self.background, self.tracker = Background(), Tracker(stage.engine.accelerator, out)
        self.history: dict[int, dict[str, float]] = {}  # step → what was measured
        self.evaluations = None
        if options.evaluate_every and self.is_main:
            metrics, seeds = options.evaluate_metrics, options.evaluate_seeds
            self.evaluations = Evaluations(metrics, seeds, origin.data, stage.engine.device)

    def start(self, records: Iterable[dict] = ()) -> None:
        """Begin to watch.

        Args:
            records: What was logged before the state that the run goes on from.
        """
        for record in records:
            if "evaluation" in record:
                self.history[record["step"]] = record["evaluation"]
            else:
                self.alarms.update(record["step"], record)
        self._started, self._first = time.monotonic(), self.stage.state.step

    def log(self, record: dict[str, float], is_last: bool) -> tuple[dict[str, float], dict[str, str]]:
        """Log the terms of a step where a line is due; return them, or nothing, and the alarms that they raise."""
        step, every = self.stage.state.step, self.options.log_every
        if not is_due(step, every, is_last):
            return {}, {}
        seconds = (time.monotonic() - self._started) / (step - self._first)
        raised = self.alarms.update(step, record)
        record = record | {"seconds_per_step": round(seconds, 4)}
        self._tell_tracker(record, step)
        record = {"step": step, **record}
        if self.is_main:
            append_record(self.out, record | ({"alarms": raised} if raised else {}))
        for sentence in raised.values():
            log.warning("step %d: %s", step, sentence)
        return record, raised

    def draw_and_measure(self, is_last: bool) -> None:
        """Draw, keep and measure what is due after a step, in the main process."""
        step, options = self.stage.state.step, self.options
        if not self.is_main:
            return
        if is_due(step, options.grid_every, is_last):
            grid = sample_grid(self.stage.generator_ema, **self.stage.grid_options())
            self.background.submit("a sample grid", partial(self._keep_grid, grid, step), is_large=True)
        is_kept = is_due(step, options.snapshot_every)
        is_measured = is_due(step, options.evaluate_every, is_last)
        if is_kept or is_measured:
            model = finished_model(self.stage.generator_ema, self.origin.initial)
            if is_kept:
                save_snapshot(model, self.out, step, self._card(model, step))
            if is_measured:
                self._measure(model, step)

    def _measure(self, model, step: int) -> None:
        numbers = self.evaluations.measure(model)
        self.history[step] = numbers
        append_record(self.out, {"step": step, "evaluation": numbers})
        self._tell_tracker({f"evaluation/{name}": value for name, value in numbers.items()}, step)
        with replacing(self.out / CURVE_FILE) as path:
            draw_curves(self.history).save(path)
        self.evaluations.record_best(self.history, model, self.out, self._card(model, step))

    def _card(self, model, step: int) -> str:
        return self.origin.card(model.config, snapshot_folder(self.out, step), training_of(self.stage))

    def _keep_grid(self, grid: Image.Image, step: int) -> None:
        with replacing(self.out / GRIDS / f"{step:08d}.png") as path:
            grid.save(path)
        self.tracker.log_picture("samples", grid, step)

    def _tell_tracker(self, values: dict[str, float], step: int) -> None:
        if self.tracker.is_on:
            self.background.submit("the tracker", partial(self.tracker.log, values, step))

    def close(self) -> None:
        """Wait until everything is written and sent."""
        if self.tracker.is_on:
            self.background.submit("the tracker", self.tracker.close)
        self.background.close()
