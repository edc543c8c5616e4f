"""Nobody waits while pictures are compressed: in order, one waiting at most, and in full or not at all."""

import errno
import json
import threading

import pytest
from PIL import Image

from tests.train import runs
from train.run.background import Background
from train.run.loop import train
from train.run.options import RunOptions
from train.run.signals import Stopped

OPTIONS = RunOptions(save_every=2, log_every=1, grid_every=1)


def test_tasks_are_done_in_order_and_waited_for():
    background, done = Background(), []
    for number in range(5):
        background.submit("a number", lambda number=number: done.append(number), is_large=number % 2 == 0)
    background.close()
    background.close()
    assert done == [0, 1, 2, 3, 4]


def test_of_large_tasks_one_waits_and_a_third_holds_the_run():
    background, hold, third = Background(), threading.Event(), threading.Event()
    for _ in range(2):
        background.submit("a picture", hold.wait, is_large=True)
    for _ in range(3):
        background.submit("a number", hold.wait)  # small ones always find room

    def submit_third() -> None:
        background.submit("a picture", hold.wait, is_large=True)
        third.set()

    threading.Thread(target=submit_third).start()
    assert not third.wait(0.2)
    hold.set()
    assert third.wait(60)
    background.close()


def test_a_failure_is_one_warning_of_its_kind_and_makes_room_again(caplog):
    background = Background()
    for _ in range(4):
        background.submit("a picture", lambda: 1 / 0, is_large=True)
    background.submit("the tracker", lambda: [][0])
    background.close()
    assert [record.getMessage() for record in caplog.records] == [
        "a picture failed, the run goes on without: ZeroDivisionError: division by zero",
        "the tracker failed, the run goes on without: IndexError: list index out of range",
    ]


def test_steps_go_on_while_a_grid_is_written(tmp_path, monkeypatch):
    """The first grid is written only once two more steps are logged, which would else come after it."""
    save, gone_on = Image.Image.save, threading.Event()

    def save_late(image, path, *arguments, **options) -> None:
        assert gone_on.wait(60)
        save(image, path, *arguments, **options)

    stage = runs.renderer_stage()
    step = stage.step

    def step_and_say():
        record = step()
        if stage.state.step == 3:
            assert not list((tmp_path / "grids").glob("0*.png"))
            gone_on.set()
        return record

    stage.step = step_and_say
    monkeypatch.setattr(Image.Image, "save", save_late)
    train(stage, tmp_path, OPTIONS)
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == [f"{n:08d}.png" for n in range(1, 7)]


def test_a_grid_shows_the_average_as_it_was_at_its_step(tmp_path):
    train(runs.renderer_stage(), tmp_path / "often", OPTIONS)
    train(runs.renderer_stage(), tmp_path / "seldom", RunOptions(save_every=2, log_every=1, grid_every=3))
    for name in ("00000003.png", "00000006.png"):
        assert (tmp_path / "often" / "grids" / name).read_bytes() == (tmp_path / "seldom" / "grids" / name).read_bytes()


def test_grids_that_the_disk_cannot_hold_are_one_warning(tmp_path, monkeypatch, caplog):
    save = Image.Image.save

    def save_to_a_full_disk(image, path, *arguments, **options) -> None:
        save(image, path, *arguments, **options)
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Image.Image, "save", save_to_a_full_disk)
    train(runs.renderer_stage(), tmp_path, RunOptions(save_every=0, log_every=0, grid_every=3))
    lines = [record.getMessage() for record in caplog.records if "sample grid" in record.getMessage()]
    assert len(lines) == 1 and "No space left on device" in lines[0] and (tmp_path / "model").is_dir()
    assert not (tmp_path / "grids").exists()


def test_a_run_that_is_stopped_finishes_its_grid(tmp_path, monkeypatch):
    save, written = Image.Image.save, []

    def save_slowly(image, path, *arguments, **options) -> None:
        threading.Event().wait(0.5)
        save(image, path, *arguments, **options)
        written.append(path)

    monkeypatch.setattr(Image.Image, "save", save_slowly)
    stage = runs.renderer_stage()
    step = stage.step

    def step_and_stop():
        record = step()
        if stage.state.step == 2:
            raise Stopped(2)
        return record

    stage.step = step_and_stop
    with pytest.raises(Stopped):
        train(stage, tmp_path, OPTIONS)
    assert [path.name for path in (tmp_path / "grids").iterdir()] == ["00000001.png"] and len(written) == 1
    with Image.open(tmp_path / "grids" / "00000001.png") as grid:
        grid.load()


@pytest.mark.parametrize("total, every", [(2400, (200, 1000)), (200_000, (500, 10_000)), (0, (200, 1000))])
def test_by_default_intervals_grow_with_the_run(total, every):
    options = RunOptions().for_steps(total)
    assert (options.save_every, options.grid_every) == every
    chosen = RunOptions(save_every=0, grid_every=7).for_steps(total)
    assert (chosen.save_every, chosen.grid_every) == (0, 7)


def test_a_run_without_options_saves_and_draws_at_its_end(tmp_path):
    train(runs.renderer_stage(), tmp_path)
    assert [path.name for path in (tmp_path / "grids").iterdir()] == ["00000006.png"]
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [6]
