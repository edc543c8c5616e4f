"""Models from any state, snapshots while a run goes on, and numbers that say which of them is the best."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from stylesdf.checkpoint import load_config
from tests.train import runs
from tests.train.test_training import assert_same, snapshot
from train.__main__ import main
from train.evaluation.report import evaluate
from train.pretrained import PretrainedGenerator
from train.run.export import export
from train.run.lineage import Origin
from train.run.loop import train
from train.run.options import RunOptions
from train.run.snapshots import Evaluations, draw_curves, save_snapshot
from train.run.state import saved_steps

STATES = RunOptions(save_every=1, keep=100, log_every=0, grid_every=0)


@pytest.mark.parametrize("make_stage", runs.STAGES)
def test_the_export_of_the_last_state_is_the_model_of_the_run(make_stage, tmp_path):
    model = train(make_stage(), tmp_path / "run", STATES)
    folder, step = export(tmp_path / "run", tmp_path / "exported")
    assert step == 6 and folder == tmp_path / "exported"
    assert {path.name for path in model.iterdir()} == {path.name for path in folder.iterdir()}
    for path in model.glob("*.safetensors"):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_any_state_can_be_exported_from_the_command_line(tmp_path, capsys):
    run = tmp_path / "run"
    model = train(runs.decoder_stage(), run, dataclasses.replace(STATES, snapshot_every=2))
    last = (model / "model.safetensors").read_bytes()
    assert main(["export", str(run), "--step", "2", "--out", str(tmp_path / "early")]) == 0
    assert capsys.readouterr().out == f"the model of step 2 is in {tmp_path / 'early'}\n"
    early = (tmp_path / "early" / "model.safetensors").read_bytes()
    assert early == (run / "snapshots" / "step-00000002" / "model.safetensors").read_bytes() != last
    assert main(["export", str(run), "--step", "4"]) == 0  # where the run itself leaves its model
    assert (model / "model.safetensors").read_bytes() != last
    assert main(["export", str(run)]) == 0
    assert (model / "model.safetensors").read_bytes() == last


@pytest.mark.parametrize("step, message", [
    ("9", "step is 9, expected one of 0, 1, 2, 3, 4, 5, 6, of which there are states"),
    ("3", r"step-00000003 is damaged \(state-0.safetensors is missing\), expected an intact state"),
])  # fmt: skip
def test_a_state_that_cannot_be_exported_is_one_line(step, message, tmp_path, capsys):
    run = tmp_path / "run"
    train(runs.decoder_stage(), run, STATES)
    (saved_steps(run / "state")[3] / "state-0.safetensors").unlink()
    assert main(["export", str(run), "--step", step, "--out", str(tmp_path / "out")]) == 2
    with pytest.raises(ValueError, match=message):
        export(run, tmp_path / "out", int(step))
    assert "error: " in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_folder_without_states_is_one_line(tmp_path, capsys):
    assert main(["export", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"python -m train: error: {tmp_path} has no saved state, expected the folder of a run\n"
    )


# What is kept and measured while a run goes on

MEASURED = RunOptions(
    save_every=100, log_every=3, grid_every=0, snapshot_every=4, evaluate_every=2,
    evaluate_metrics=("copies", "variety"), evaluate_seeds=4,
)  # fmt: skip


def measured(monkeypatch, out: Path, values: dict[int, float], metrics=("copies",), stage=None) -> list[int]:
    """Run with made-up results of a metric; return the steps at which it was measured."""
    steps, stage = [], stage or runs.decoder_stage()

    def evaluate(model, data, names, num_seeds, options):
        steps.append(stage.state.step)
        return {"metrics": {"copies": {"ratio": values[stage.state.step], "nearest": None, "count": num_seeds}}}

    monkeypatch.setattr("train.run.snapshots.evaluate", evaluate)
    options = dataclasses.replace(MEASURED, evaluate_metrics=metrics)
    train(stage, out, options, Origin(runs.tiny_data()))
    return steps


def evaluations(out: Path) -> dict[int, dict]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["evaluation"] for line in lines if "evaluation" in line}


def test_metrics_go_into_the_log_and_the_best_snapshot_is_named(monkeypatch, tmp_path):
    # of copies, the ratio should be near to 1
    assert measured(monkeypatch, tmp_path, {2: 1.5, 4: 0.9, 6: 3.0}) == [2, 4, 6]
    assert evaluations(tmp_path) == {2: {"copies.ratio": 1.5}, 4: {"copies.ratio": 0.9}, 6: {"copies.ratio": 3.0}}
    best = json.loads((tmp_path / "snapshots" / "best.json").read_text())
    assert best == {
        "snapshot": "step-00000004", "step": 4, "metric": "copies.ratio", "value": 0.9, "better": "nearer"
    }  # fmt: skip
    names = {path.name for path in (tmp_path / "snapshots").iterdir()}
    assert names == {"best.json", "step-00000002", "step-00000004"}  # the best at their time; the fourth step's is due
    assert load_config(tmp_path / "snapshots" / best["snapshot"]) == runs.MODEL
    with Image.open(tmp_path / "evaluation.png") as picture:
        assert picture.width > 300 and len(picture.getcolors(10_000)) > 2
    terms = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in terms if "evaluation" not in line] == [3, 6]


def test_a_run_that_is_resumed_keeps_what_was_measured(monkeypatch, tmp_path):
    stage = runs.decoder_stage()
    step = stage.step

    def step_or_die():
        if stage.state.step == 5:
            raise KeyboardInterrupt
        return step()

    stage.step = step_or_die
    with pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr("tests.train.test_snapshots.MEASURED", dataclasses.replace(MEASURED, save_every=3))
        measured(monkeypatch, tmp_path, {2: 1.0, 4: 2.0}, stage=stage)
    assert measured(monkeypatch, tmp_path, {4: 2.0, 6: 2.0}) == [4, 6]  # the state is that of step 3
    assert list(evaluations(tmp_path)) == [2, 4, 6]
    assert json.loads((tmp_path / "snapshots" / "best.json").read_text())["step"] == 2


def test_the_best_is_one_that_was_kept(monkeypatch, tmp_path):
    evaluations = Evaluations(["copies"], 4, runs.tiny_data(), "cpu")
    history = {2: {"copies.ratio": 1.0}, 4: {"copies.ratio": 1.5}, 6: {"copies.ratio": 2.0}}
    model = runs.renderer_stage().generator_ema
    save_snapshot(model, tmp_path, 4)  # by another metric step 2 was not the best
    evaluations.record_best(history, model, tmp_path)
    assert json.loads((tmp_path / "snapshots" / "best.json").read_text())["snapshot"] == "step-00000004"


def test_measuring_changes_no_weight(tmp_path, monkeypatch):
    def draw_and_evaluate(*arguments, **options):
        torch.rand(3)
        return evaluate(*arguments, **options)

    monkeypatch.setattr("train.run.snapshots.evaluate", draw_and_evaluate)
    plain = runs.decoder_stage()
    train(plain, tmp_path / "plain", RunOptions(log_every=0, grid_every=0))
    busy = runs.decoder_stage()
    train(busy, tmp_path / "busy", MEASURED, Origin(runs.tiny_data()))
    assert_same(snapshot(plain), snapshot(busy))
    numbers = evaluations(tmp_path / "busy")
    assert list(numbers) == [2, 4, 6] and {"copies.ratio", "variety.distance"} <= numbers[6].keys()
    assert (tmp_path / "busy" / "snapshots" / "best.json").is_file()


def test_a_snapshot_is_a_model(tmp_path):
    train(runs.renderer_stage(), tmp_path, dataclasses.replace(STATES, snapshot_every=5))
    (folder,) = (tmp_path / "snapshots").iterdir()
    assert folder.name == "step-00000005" and PretrainedGenerator.from_pretrained(folder).w_avg.abs().sum() > 0


@pytest.mark.parametrize("metrics, message", [
    (("fidelity",), "unknown metric 'fidelity', expected of"),
    (("copies", "pose"), "the metric pose is only for .*, and the data was not drawn as either"),
])  # fmt: skip
def test_a_metric_that_cannot_be_measured_is_refused_before_the_run(metrics, message, tmp_path):
    options = dataclasses.replace(MEASURED, evaluate_metrics=metrics)
    with pytest.raises(ValueError, match=message):
        train(runs.decoder_stage(), tmp_path / "run", options, Origin(runs.tiny_data()))
    assert not (tmp_path / "run").exists()


def best_step(metric: str, history: dict[int, dict[str, float]]) -> int | None:
    return Evaluations([metric], 4, runs.tiny_data(), "cpu").best_step(history)


def test_the_best_is_lower_higher_or_nearer():
    lower = {step: {"depth-consistency.distance": value} for step, value in ((1, 2.0), (2, 1.0))}
    assert best_step("depth-consistency", lower) == 2
    assert best_step("silhouette", {1: {"silhouette.iou": 0.9}, 2: {"silhouette.iou": 0.5}, 3: {}}) == 1
    assert best_step("copies", {1: {"copies.ratio": 0.5}, 2: {"copies.ratio": 1.2}}) == 2
    near = {"variety.reference_distance": 5.0}
    assert best_step("variety", {1: near | {"variety.distance": 4.0}, 2: near | {"variety.distance": 9.0}}) == 1
    assert best_step("variety", {1: {"variety.distance": 4.0}}) is None  # near to what?
    assert best_step("copies", {}) is None


def test_every_number_has_a_panel_of_the_curve():
    one = draw_curves({1: {"a": 0.0}, 2: {"a": 1.0}})
    several = draw_curves({1: {"a": 0.0, "b": 1.0, "c": 2.0}, 2: {"a": 1.0, "d": 0.0}})
    assert one.width == several.width and several.height == 2 * one.height
