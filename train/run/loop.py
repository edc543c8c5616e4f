"""The training loop of all stages, on one page: prepare or resume, step, log, watch, save, draw, publish."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from train.errors import RunError
from train.run.folder import read_records, sole_run
from train.run.lineage import Origin, finished_model, write_model
from train.run.monitor import Monitor, check_finite
from train.run.options import RunOptions, is_due
from train.run.profiling import profiled
from train.run.publish import Publisher
from train.run.settings import check_settings, describe, training_of, write_settings
from train.run.signals import Stopped, StopRequest
from train.run.state import newest_intact, step_of

SHOWN = (  # beside the bar, of what a stage returns
    "d_loss", "g_loss", "beta", "inside", "reconstruction", "field_l1", "flow", "distance", "code"
)  # fmt: skip


def train(
    stage,
    out: Path,
    options: RunOptions | None = None,
    origin: Origin | None = None,
    publisher: Publisher | None = None,
) -> Path:
    """Run a stage to its end; the same call goes on where a stopped one was last saved.

    Args:
        stage: One of ``train/stages``, ready to be trained.
        out: Folder of the run: ``state/``, ``settings.json``, ``log.jsonl``, ``grids/`` and, at the end, ``model/``.
        options: What it does beside its steps.
        origin: What it starts from; None says nothing about that.
        publisher: Where the model goes meanwhile and at the end; None is nowhere.

    Returns:
        The folder of the averaged model.

    Raises:
        ValueError: ``out`` holds another run, one that is under way, or no intact state; or the batch cannot be shared.
        FloatingPointError: A loss is not finite; the last saved state is untouched.
        RunError: An alarm, where they stop the run; or the finished model did not reach the hub.
        Stopped: SIGINT or SIGTERM; the state is saved.
    """
    options, origin = (options or RunOptions()).for_steps(stage.config.total_steps), origin or Origin()
    engine = stage.engine
    _check_batches(stage)
    monitor = engine.main_first(lambda: Monitor(stage, out, options, origin))
    with ExitStack() as stack:
        engine.main_first(lambda: stack.enter_context(sole_run(out, engine)))
        stack.callback(monitor.close)  # however the run ends
        request = stack.enter_context(StopRequest())
        _prepare_or_resume(stage, out, options, origin, monitor)
        _take_steps(stage, out, options, origin, monitor, request, publisher)
        monitor.close()  # the last sample grid is published, too
        if engine.is_main:
            model = finished_model(stage.generator_ema, origin.initial)
            write_model(model, out / "model", stage.discriminators(), origin, training_of(stage))
            arrived = publisher is None or publisher.finish(stage, out, origin)
        engine.accelerator.wait_for_everyone()
    if engine.is_main and not arrived:
        where = f"{out / 'model'} is finished, but did not reach {publisher.repo_id}"
        raise RunError(f"{where}; the same command tries again")
    return out / "model"


def _prepare_or_resume(stage, out: Path, options: RunOptions, origin: Origin, monitor: Monitor) -> None:
    """Bring the stage to where its folder was last saved, or before its first step."""
    engine, state = stage.engine, stage.state
    source = engine.main_first(lambda: _find_state(stage, out, origin))
    step = 0 if source is None else step_of(source)
    engine.main_first(lambda: monitor.tracker.start(state.settings, step))
    if source is not None:
        state.load(source)
    if engine.is_main:
        write_settings(state.settings, out)
    records = read_records(out, state.step, rewrite=engine.is_main)
    if source is not None:
        monitor.start(records)
        return
    stage.prepare()
    state.clear_gradients()  # a run that is resumed has none left of what prepares it
    if options.save_every:
        _save(stage, out, options)
    monitor.start()


def _take_steps(stage, out: Path, options: RunOptions, origin: Origin, monitor: Monitor, request, publisher) -> None:
    """Take all steps that are left, and do after each what is due."""
    engine, state, total = stage.engine, stage.state, stage.config.total_steps
    bar = tqdm(total=total, initial=state.step, desc=stage.name, mininterval=5, disable=not engine.is_main)
    with profiled(out, options.profile if engine.is_main else 0) as count_step:
        while state.step < total:
            record = stage.step()
            is_last = state.step == total
            bar.update()
            check_finite(record, state.step)
            logged, alarms = monitor.log(record, is_last)
            if logged:
                bar.set_postfix({name: f"{logged[name]:.4g}" for name in SHOWN if name in logged})
            asked = engine.any(request.signal_number is not None)
            ends = asked or bool(alarms and options.stop_on_alarm)
            if is_last or not ends:
                monitor.draw_and_measure(is_last)
            if is_last or ends or is_due(state.step, options.save_every):
                _save(stage, out, options)
            if asked:
                raise Stopped(request.signal_number or signal.SIGTERM)
            if ends:
                raise RunError(f"stopped at step {state.step}, saved: {next(iter(alarms.values()))}")
            if engine.is_main and publisher is not None and not is_last:
                publisher.offer(stage, out, origin)
            count_step()
    bar.close()


def _check_batches(stage) -> None:
    """Refuse batches whose parts would make another network of a discriminator that compares images of a group."""
    config, group = stage.config, getattr(stage, "discriminator_group", 1)
    phases = {f"phases.{index}.batch_size": phase for index, phase in enumerate(getattr(config, "phases", ()))}
    for name, part in (phases or {"batch_size": config}).items():
        if part.steps and hasattr(part, "batch_size"):
            stage.engine.check_groups(part.batch_size, group, name)


def _find_state(stage, out: Path, origin: Origin) -> Path | None:
    """Return the state to go on from, None where there is none, if it is one of this very run."""
    source = newest_intact(out / "state", rename_damaged=stage.engine.is_main)
    stage.state.settings = check_settings(describe(stage, origin), out, source)
    return source


def _save(stage, out: Path, options: RunOptions) -> None:
    if stage.engine.is_main:
        stage.state.save(out / "state", options.keep)
