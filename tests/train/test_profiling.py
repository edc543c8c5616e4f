"""A profile of a run's steps changes nothing of the run."""

import gzip
import json
import logging
import re
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity

from tests.train import runs
from train.arguments import parser, run_options
from train.run import profiling
from train.run.loop import train
from train.run.options import RunOptions


def run(out: Path, steps: int, **options) -> Path:
    return train(runs.renderer_stage(), out, RunOptions(profile=steps, log_every=1, grid_every=0, **options))


def profiled_steps(out: Path) -> list[int]:
    """Numbers of the steps of a command that its trace has."""
    events = json.loads(gzip.decompress((out / "profile" / "trace.json.gz").read_bytes()))["traceEvents"]
    names = {event["name"] for event in events if event.get("name", "").startswith("ProfilerStep#")}
    return sorted(int(name.partition("#")[2]) for name in names)


def test_a_profiled_run_has_the_same_weights_a_trace_and_a_table(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        profiled = run(tmp_path / "profiled", 100)
    plain = run(tmp_path / "plain", 0)
    assert (profiled / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    assert not (tmp_path / "plain" / "profile").exists()
    folder = tmp_path / "profiled" / "profile"
    assert sorted(path.name for path in folder.iterdir()) == ["table.txt", "trace.json.gz"]
    # counted from 0: three of six warm up, and after the last step the profiler waits for another one
    assert profiled_steps(tmp_path / "profiled")[:3] == [3, 4, 5]
    table = (folder / "table.txt").read_text(encoding="utf-8")
    assert "Self CPU %" in table and "Operators by their own time on the CPU" in table
    assert re.search(r"aten::\w+", table) and ("on the GPU" in table) == torch.cuda.is_available()
    (line,) = [record.getMessage() for record in caplog.records if "profiled steps" in record.getMessage()]
    assert str(folder) in line


def test_a_run_that_goes_on_is_profiled_anew(tmp_path):
    step = (stage := runs.renderer_stage()).step

    def step_or_die():
        if stage.state.step == 2:
            raise RuntimeError("the machine went away")
        return step()

    stage.step = step_or_die
    with pytest.raises(RuntimeError, match="went away"):
        train(stage, tmp_path, RunOptions(profile=1, save_every=1))
    assert not (tmp_path / "profile").exists()
    run(tmp_path, 1)
    assert profiled_steps(tmp_path) == [3]  # of the command; it is the run's sixth


@pytest.mark.parametrize("warm_up", [6, 7])
def test_a_run_too_short_to_be_profiled_says_so(warm_up, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(profiling, "WARM_UP", warm_up)
    run(tmp_path, 1)
    assert f"nothing is profiled: the run ended after 6 steps, expected over {warm_up}" in caplog.text
    assert not (tmp_path / "profile").exists()


def test_a_gpu_is_watched_where_there_is_one(monkeypatch):
    for has_gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert profiling._activities() == [ProfilerActivity.CPU, ProfilerActivity.CUDA][: 1 + has_gpu]


def test_the_option_reaches_the_run_and_is_checked():
    args = parser("").parse_args(["renderer", "--data", "x", "--out", "y", "--profile", "5"])
    assert run_options(args).profile == 5 and RunOptions().profile == 0
    with pytest.raises(ValueError, match="profile is -1, expected a number of steps, or 0 for never"):
        RunOptions(profile=-1)
