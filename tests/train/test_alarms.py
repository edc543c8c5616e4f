"""What goes wrong is noticed from made-up logs, once, and a healthy run raises nothing."""

import json

import pytest

from tests.train import runs
from train.run.alarms import WINDOW, Alarms
from train.run.loop import train
from train.run.options import RunOptions
from train.run.state import saved_steps

HEALTHY = {"inside": 0.06, "beta": 0.01, "variety": 0.2, "d_loss": 1.2, "g_loss": 0.8}


def raised(records, log_every=1, total=None):
    alarms = Alarms(total or len(records), log_every)
    return [
        (index, name)
        for index, record in enumerate(records, start=1)
        for name in alarms.update(index * log_every, record)
    ]


def falling(record, count):
    return [{**record, "beta": 0.01 * 0.98**index} for index in range(count)]


def test_a_healthy_run_raises_nothing():
    assert raised(falling(HEALTHY, 300)) == []
    assert raised([{"error": 0.1}] * 100) == []


@pytest.mark.parametrize(
    "trouble, name",
    [
        ({"inside": 0.0}, "one-signed"),
        ({"inside": 0.97}, "one-signed"),
        ({"variety": 0.005}, "collapsed-variety"),
        ({"d_loss": 0.001, "g_loss": 9.0}, "overwhelmed-generator"),
    ],
)
def test_trouble_is_noticed_after_a_window_and_said_once(trouble, name):
    records = falling(HEALTHY, 40) + falling(HEALTHY | trouble, 60)
    assert raised(records, total=1000) == [(40 + WINDOW, name)]
    again = records + falling(HEALTHY, 40) + falling(HEALTHY | trouble, 60)
    assert [alarm[1] for alarm in raised(again, total=1000)] == [name, name]


def test_a_single_odd_record_is_no_alarm():
    records = falling(HEALTHY, 60)
    records[30] = records[30] | {"inside": 0.0, "variety": 0.0}
    assert raised(records, total=1000) == []


def test_stalled_beta_is_noticed_only_where_it_has_far_to_go():
    assert ("stalled-beta") in {name for _, name in raised([HEALTHY] * 400)}
    assert raised([HEALTHY | {"beta": 0.002}] * 400) == []
    assert raised([HEALTHY] * 60, total=400) == []  # too early to tell


def test_the_run_says_so_and_stops_where_it_shall(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("train.run.alarms.WINDOW", 2)
    stage = runs.renderer_stage()
    step = stage.step
    stage.step = lambda: step() | {"inside": 0.0}
    options = RunOptions(save_every=100, grid_every=100, log_every=1, stop_on_alarm=True)
    with pytest.raises(RuntimeError, match="stopped at step 2, saved: nothing is solid any more"):
        train(stage, tmp_path, options)
    assert "nothing is solid" in caplog.text
    assert saved_steps(tmp_path / "state")[-1].name == "step-00000002"
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert "one-signed" in last["alarms"]
