"""The training loop of all stages, on one page: prepare or resume, step, log, watch, save, draw, publish."""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from stylesdf.files import replacing
from stylesdf.hub import save_model
from train.config import to_dict
from train.run.alarms import Alarms
from train.run.grid import sample_grid
from train.run.publish import Publisher
from train.run.signals import Stopped, StopRequest

log = logging.getLogger(__name__)
SHOWN = ("d_loss", "g_loss", "beta", "inside", "error")


@dataclass(frozen=True)
class Habits:
    """What a run does beside its steps; all of it may change when the run is continued.

    Attributes:
        save_every: Steps between states.
        keep: Newest states that are kept.
        log_every: Steps between lines of the log.
        grid_every: Steps between sample grids.
        stop_on_alarm: End the run, saved, at the first alarm.
    """

    save_every: int = 200
    keep: int = 2
    log_every: int = 20
    grid_every: int = 500
    stop_on_alarm: bool = False


def train(
    stage, out: Path, habits: Habits | None = None, card: str | None = None, publisher: Publisher | None = None
) -> Path:
    """Run a stage to its end; the same call goes on where a stopped one was last saved.

    Args:
        stage: One of ``train/stages``, ready to be trained.
        out: Folder of the run: ``state/``, ``log.jsonl``, ``grids/`` and, at the end, ``model/``.
        habits: What it does beside its steps.
        card: README of the model.
        publisher: Where the model goes meanwhile and at the end; None is nowhere.

    Returns:
        The folder of the averaged model.

    Raises:
        ValueError: ``out`` holds a run with other settings.
        FloatingPointError: A loss is not finite; the last saved state is untouched.
        RuntimeError: An alarm, where they stop the run.
        Stopped: SIGINT or SIGTERM; the state is saved.
    """
    habits, is_main = habits or Habits(), stage.engine.is_main
    total, state = stage.config.total_steps, stage.state
    alarms = Alarms(total, habits.log_every)
    if is_main:
        out.mkdir(parents=True, exist_ok=True)
    _same_settings(stage, out / "settings.json")
    with StopRequest() as request:
        if state.restore(out / "state"):
            for record in _lines_until(out / "log.jsonl", state.step, rewrite=is_main):
                alarms.update(record["step"], record)
        else:
            stage.prepare()
            state.save(out / "state", habits.keep) if is_main else None
        bar = tqdm(total=total, initial=state.step, desc=stage.name, mininterval=5, disable=not is_main)
        started, first = time.monotonic(), state.step
        while state.step < total:
            record = stage.step()
            step, is_last = state.step, state.step == total
            bar.update()
            broken = [name for name, value in record.items() if not math.isfinite(value)]
            if broken:
                raise FloatingPointError(
                    f"{broken[0]} is {record[broken[0]]} at step {step}; the last saved state is before it: "
                    "lower the learning rate or raise r1_gamma, and go on from there"
                )
            raised = {}
            if step % habits.log_every == 0 or is_last:
                seconds = (time.monotonic() - started) / (step - first)
                raised = alarms.update(step, record)
                record = {"step": step, **record, "seconds_per_step": round(seconds, 4)}
                bar.set_postfix({name: f"{record[name]:.4g}" for name in SHOWN if name in record})
                stage.engine.accelerator.log(record, step=step)
                if is_main:
                    with open(out / "log.jsonl", "a") as lines:
                        lines.write(json.dumps(record | ({"alarms": raised} if raised else {})) + "\n")
            for sentence in raised.values():
                log.warning("step %d: %s", step, sentence)
            asked = stage.engine.any(request.signal_number is not None)
            ends = is_last or asked or (raised and habits.stop_on_alarm)
            if is_main and (step % habits.save_every == 0 or ends):
                state.save(out / "state", habits.keep)
            if is_main and (step % habits.grid_every == 0 or is_last):
                with replacing(out / "grids" / f"{step:08d}.png") as path:
                    sample_grid(stage.generator_ema, **stage.grid_options()).save(path)
            if is_main and publisher is not None and not ends:
                publisher.offer(stage, out)
            if asked:
                raise Stopped(request.signal_number or signal.SIGTERM)
            if raised and habits.stop_on_alarm:
                raise RuntimeError(f"stopped at step {step}, saved: {next(iter(raised.values()))}")
        bar.close()
        model = out / "model"
        if is_main:
            stage.generator_ema.update_means()
            save_model(stage.generator_ema, model, card=card, discriminators=stage.discriminators())
            if publisher is not None:
                publisher.finish(stage, out)
        stage.engine.accelerator.wait_for_everyone()
    return model


def _same_settings(stage, path: Path) -> None:
    settings = json.dumps(
        {"stage": stage.name, "model": stage.generator.config.to_dict(), "training": to_dict(stage.config)}, indent=2
    )
    if path.exists():
        if json.loads(path.read_text()) != json.loads(settings):
            raise ValueError(
                f"{path.parent} holds a run with other settings; choose another --out, or the same settings"
            )
    elif stage.engine.is_main:
        with replacing(path) as partial:
            partial.write_text(settings + "\n")


def _lines_until(path: Path, step: int, rewrite: bool) -> list[dict]:
    """Return what was logged up to a step; forget what a killed run logged after its last saved state."""
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("}")]  # the last line may be half written
    kept = [record for record in records if record["step"] <= step]
    if rewrite and len(kept) < len(lines):
        with replacing(path) as partial:
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept))
    return kept
