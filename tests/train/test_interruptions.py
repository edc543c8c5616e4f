"""A run that is killed, at any moment, and continued ends where an undisturbed one does, bit for bit.

STYLESDF_KILLS=20 kills each stage so often.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import time

import pytest
import torch

from tests.train import runs
from tests.train.test_training import assert_same, snapshot
from train.__main__ import main
from train.run.loop import train
from train.run.options import RunOptions
from train.run.signals import Stopped, StopRequest
from train.run.state import newest_intact, saved_steps

KILLS = int(os.environ.get("STYLESDF_KILLS", 2))
OPTIONS = RunOptions(save_every=2, grid_every=3, log_every=1)
FORK = multiprocessing.get_context("fork")
STAGES = [runs.renderer_stage, runs.decoder_stage]


@pytest.fixture(autouse=True)
def one_thread():
    """A forked process finds no threads of its parent's."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(make_stage, out):
    try:
        train(make_stage(), out, OPTIONS)
    except Stopped as stopped:
        sys.exit(128 + stopped.signal_number)


def final_tensors(make_stage, out):
    stage = make_stage()
    stage.state.load(newest_intact(out / "state"))
    assert stage.state.step == stage.config.total_steps
    return snapshot(stage)


def newest(out) -> int:
    steps = saved_steps(out / "state")
    return int(steps[-1].name.partition("-")[2]) if steps else -1


def logged(out) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("make_stage", STAGES)
def test_kills_lose_only_what_was_not_saved(make_stage, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    started = time.monotonic()
    run(make_stage, whole)
    duration = time.monotonic() - started
    moments, kills, saved = random.Random(0), 0, -1
    while True:
        process = FORK.Process(target=run, args=(make_stage, killed))
        process.start()
        if kills < KILLS:
            process.join(moments.uniform(0.0, duration))
            process.kill()
        process.join()
        assert newest(killed) >= saved  # a saved state never goes
        saved = newest(killed)
        if process.exitcode == 0 and kills >= KILLS:
            break
        if process.exitcode != -signal.SIGKILL:
            assert process.exitcode == 0  # it was through before it could be killed: begin again
            killed, saved = tmp_path / f"killed-{kills}-{time.monotonic_ns()}", -1
            continue
        kills += 1
    assert_same(final_tensors(make_stage, whole), final_tensors(make_stage, killed))
    assert logged(whole) == logged(killed)
    for file in ("model.safetensors", "config.json"):
        assert (whole / "model" / file).read_bytes() == (killed / "model" / file).read_bytes()
    assert not [path for path in killed.rglob(".*") if path.is_dir() or path.suffix in (".safetensors", ".json")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, torch.Tensor]:
    out = tmp_path_factory.mktemp("whole")
    run(runs.renderer_stage, out)
    return final_tensors(runs.renderer_stage, out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_saves_first(number, undisturbed, tmp_path):
    out, asked = tmp_path / "run", {}

    def make_stage():
        stage = runs.renderer_stage()
        step = stage.step

        def step_and_ask():
            record = step()
            if stage.state.step == 3 and not asked:
                asked["yes"] = os.kill(os.getpid(), number)
            return record

        stage.step = step_and_ask
        return stage

    with pytest.raises(Stopped, match=signal.Signals(number).name):
        train(make_stage(), out, OPTIONS)
    assert newest(out) == 3  # no multiple of save_every
    assert signal.getsignal(number) is not None and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    train(make_stage(), out, OPTIONS)
    assert_same(final_tensors(runs.renderer_stage, out), undisturbed)
    assert logged(out) == list(range(1, 7))


@pytest.mark.parametrize("number, error", [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_that_comes_twice_at_once_is_one_request_and_later_is_another(number, error, monkeypatch):
    """A group of processes is asked by whoever stops it, and each process once more by the launcher."""

    def leave(*_):
        raise error

    before = signal.signal(number, leave)
    try:
        with StopRequest() as request:
            signal.raise_signal(number)
            signal.raise_signal(number)
            assert request.signal_number == number
            monkeypatch.setattr("train.run.signals.TOGETHER", 0.0)
            with pytest.raises(error):
                signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_the_command_ends_with_the_signals_status(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    settings = ["sphere_steps=2", "num_points=8", "phases.0.batch_size=4", "game.freeze_generator_steps=0"]
    command = [
        "renderer",
        "--data",
        "toy-heads:4",
        "--out",
        str(tmp_path / "run"),
        "--device",
        "cpu",
        "--log-every",
        "1",
    ]
    process = FORK.Process(target=lambda: sys.exit(main([*command, "--set", *settings])))
    process.start()
    while not (tmp_path / "run" / "log.jsonl").exists():
        time.sleep(0.05)
        assert process.is_alive()
    os.kill(process.pid, signal.SIGTERM)
    process.join(120)
    assert process.exitcode == 143
    assert newest(tmp_path / "run") == logged(tmp_path / "run")[-1] > 0
