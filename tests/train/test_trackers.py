"""Trackers get the settings once, every number and every sample grid at its step, and none twice."""

import contextlib
import json
import os
import sys
import types
from collections import Counter

import pytest
from accelerate import Accelerator
from accelerate import tracking as accelerate_tracking
from accelerate.utils import LoggerType, ProjectConfiguration
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.train import runs
from train.run.engine import Engine
from train.run.loop import train
from train.run.options import RunOptions
from train.run.trackers import PROJECT, TRACKER_FILE, Tracker

STEPS = [1, 2, 3, 4, 5, 6]
OPTIONS = RunOptions(save_every=2, log_every=1, grid_every=3)


class Killed(BaseException):
    """Ends a run where a kill would."""


def tracked(out, name: str) -> Engine:
    folders = ProjectConfiguration(project_dir=str(out), logging_dir=str(out))
    return Engine(Accelerator(cpu=True, log_with=name, project_config=folders))


def run(out, name: str, kill_after: int | None = None, options: RunOptions = OPTIONS) -> None:
    """Train in a folder; where it is killed, what came after its last state was logged and is to be done again."""
    stage = runs.renderer_stage(tracked(out, name))
    step = stage.step

    def step_or_die() -> dict:
        if stage.state.step == kill_after:
            raise Killed
        return step()

    stage.step = step_or_die
    with contextlib.suppress(Killed):
        train(stage, out, options)


def events(out) -> EventAccumulator:
    return EventAccumulator(str(out / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_tensorboard_has_each_step_once_after_a_kill(tmp_path):
    for kill_after in (3, 5, 5, None):  # of states after 2 and 4
        run(tmp_path, "tensorboard", kill_after)
    found = events(tmp_path)
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in logged] == STEPS
    for name in ("d_loss", "g_loss", "beta"):
        scalars = found.Scalars(name)
        assert [event.step for event in scalars] == STEPS
        assert [event.value for event in scalars] == pytest.approx([record[name] for record in logged])


def test_tensorboard_has_sample_grids_and_settings(tmp_path):
    run(tmp_path, "tensorboard", kill_after=5)
    run(tmp_path, "tensorboard")
    found = events(tmp_path)
    pictures = found.Images("samples")
    assert [event.step for event in pictures] == [3, 6]
    with Image.open(tmp_path / "grids" / "00000006.png") as grid:
        assert (pictures[1].width, pictures[1].height) == grid.size
    files = sorted((tmp_path / "tensorboard").iterdir())
    assert len(files) == 2  # one of each process, and no folder of another run
    assert [b"training.phases.0.r1_gamma" in path.read_bytes() for path in files] == [True, False]


def test_a_large_grid_is_reduced_for_the_tracker(tmp_path):
    tracker = Tracker(tracked(tmp_path, "tensorboard").accelerator, tmp_path)
    tracker.start({"stage": "renderer", "training": {"phases": [{"steps": 1}], "augment": []}}, 0)
    tracker.log_picture("samples", Image.new("RGB", (4100, 2000)), 1)
    tracker.close()
    (event,) = events(tmp_path).Images("samples")
    assert (event.width, event.height) == (1367, 667)  # a third


class FakeRun:
    """A run as wandb and trackio have them, which notes what it is told."""

    def __init__(self, service, arguments) -> None:
        self.service, self.arguments, self.is_finished = service, arguments, False

    def log(self, values, step=None) -> None:
        if self.service.is_down:
            raise ConnectionError("no route to host")
        last = max(step for step, _ in self.service.log) if self.service.log else 0
        assert step >= last  # wandb ignores earlier steps
        self.service.log.append((step, values))

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture(params=["wandb", "trackio"])
def service(request, monkeypatch):
    """A package of that name, as far as accelerate calls it."""
    fake = types.ModuleType(request.param)
    fake.log, fake.runs, fake.settings, fake.is_down = [], [], [], False

    def init(**arguments):
        if "config" in arguments:  # trackio keeps no other
            fake.settings.append(arguments["config"])
        fake.runs.append(FakeRun(fake, arguments))
        return fake.runs[-1]

    fake.init, fake.Image = init, lambda picture: picture
    fake.config = types.SimpleNamespace(update=lambda values, **_: fake.settings.append(values))
    monkeypatch.setitem(sys.modules, request.param, fake)
    both = [*accelerate_tracking.get_available_trackers(), LoggerType(request.param)]
    monkeypatch.setattr(accelerate_tracking, "_available_trackers", both)
    return fake


def test_other_trackers_get_each_step_once_in_order(service, tmp_path):
    out = tmp_path / "cats"
    for kill_after in (3, 5, None):
        run(out, service.__name__, kill_after)
    numbers = Counter(step for step, values in service.log if "d_loss" in values)
    assert numbers == Counter(STEPS)
    pictures = [(step, values["samples"]) for step, values in service.log if "samples" in values]
    assert [step for step, _ in pictures] == [3, 6]
    for step, picture in pictures:
        picture = picture[0] if service.__name__ == "wandb" else picture
        with Image.open(out / "grids" / f"{step:08d}.png") as grid:
            assert picture.tobytes() == grid.tobytes()
    assert all(run.is_finished for run in service.runs)


def test_other_trackers_know_the_run_again(service, tmp_path):
    run(tmp_path / "cats", service.__name__, kill_after=3)
    run(tmp_path / "cats", service.__name__)
    run(tmp_path / "again" / "cats", service.__name__)
    first, second, other = (run.arguments for run in service.runs)
    assert first == second and first["project"] == PROJECT and first["name"].startswith("cats")
    key = "id" if service.__name__ == "wandb" else "name"
    assert first[key] != other[key]
    mine, *others = service.settings
    assert len(others) == (1 if service.__name__ == "wandb" else 2)  # trackio takes them with each start
    assert all(mine == other for other in others)
    assert mine["training.phases.0.batch_size"] == 8 and mine["stage"] == "renderer"
    assert all(isinstance(value, int | float | str) for value in mine.values())


def test_a_tracker_that_is_down_is_one_warning(service, tmp_path, caplog):
    service.is_down = True
    run(tmp_path, service.__name__)
    lines = [record.getMessage() for record in caplog.records if "no route" in record.getMessage()]
    assert sorted(line.partition(" failed")[0] for line in lines) == ["a sample grid", "the tracker"]
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == ["00000003.png", "00000006.png"]


def test_a_tracker_that_does_not_start_is_refused(service, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "init", lambda **_: 1 / 0)
    with pytest.raises(ValueError, match=f"the tracker {service.__name__} does not start: ZeroDivisionError"):
        train(runs.renderer_stage(tracked(tmp_path, service.__name__)), tmp_path, OPTIONS)
    assert not (tmp_path / TRACKER_FILE).exists()


def test_a_run_without_a_tracker_keeps_nothing_of_one(tmp_path):
    train(runs.renderer_stage(), tmp_path, OPTIONS)
    assert not (tmp_path / TRACKER_FILE).exists() and not (tmp_path / "tensorboard").exists()
    assert "tracker" not in " ".join(os.listdir(tmp_path))
