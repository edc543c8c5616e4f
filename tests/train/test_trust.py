"""A run can be trusted: resumed at any step it ends the same, alone in its folder, and only as the run that it was."""

import dataclasses
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.train import runs
from tests.train.test_training import assert_same, snapshot
from train.__main__ import main
from train.errors import RunError
from train.override import override
from train.run.engine import Engine
from train.run.folder import read_records
from train.run.lineage import Origin
from train.run.loop import train
from train.run.options import RunOptions, is_due
from train.run.state import saved_steps, step_of

ROOT = Path(__file__).parents[2]
QUIET = RunOptions(save_every=1, keep=100, log_every=0, grid_every=0)


def run(make_stage, out: Path, options: RunOptions = QUIET, **settings):
    """Run a stage to its end, with some settings changed, and return it."""
    stage = make_stage(config=dataclasses.replace(make_stage().config, **settings)) if settings else make_stage()
    train(stage, out, options)
    return stage


@pytest.mark.parametrize("make_stage", runs.STAGES)
def test_a_run_that_is_resumed_at_any_step_ends_bit_for_bit_the_same(make_stage, tmp_path):
    """At every step of the cheapest stage, of the others at the first, the middle and the last."""
    whole = snapshot(run(make_stage, tmp_path / "whole"))
    states = saved_steps(tmp_path / "whole" / "state")
    assert [step_of(state) for state in states] == list(range(7))
    for state in states[:-1] if make_stage is runs.renderer_stage else (states[0], states[3], states[5]):
        out = tmp_path / state.name
        shutil.copytree(state, out / "state" / state.name)
        shutil.copy(tmp_path / "whole" / "settings.json", out)
        assert_same(whole, snapshot(run(make_stage, out)))


def test_what_a_run_does_beside_its_steps_changes_no_weight(tmp_path):
    plain = run(runs.renderer_stage, tmp_path / "plain", RunOptions(save_every=0, log_every=0, grid_every=0))
    assert [path.name for path in saved_steps(tmp_path / "plain" / "state")] == ["step-00000006"]
    assert not (tmp_path / "plain" / "log.jsonl").exists() and not (tmp_path / "plain" / "grids").exists()
    busy = RunOptions(save_every=1, log_every=1, grid_every=2, snapshot_every=2)
    assert_same(snapshot(plain), snapshot(run(runs.renderer_stage, tmp_path / "busy", busy)))
    assert len(list((tmp_path / "busy" / "grids").iterdir())) == 3


@pytest.mark.parametrize("name", ["save_every", "log_every", "grid_every", "snapshot_every", "evaluate_every"])
def test_a_negative_number_of_steps_is_refused_and_0_is_never(name):
    with pytest.raises(ValueError, match=f"{name} is -1, expected a number of steps, or 0 for never"):
        RunOptions(**{name: -1})
    RunOptions(**{name: 0})
    assert not is_due(10, 0) and not is_due(10, 0, is_last=True) and is_due(10, 5) and is_due(7, 5, is_last=True)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="keep is 0, expected at least 1"):
        RunOptions(keep=0)
    with pytest.raises(ValueError, match="evaluate_metrics names no metric"):
        RunOptions(evaluate_every=5)


# One run at a time


def test_a_second_run_in_the_same_folder_is_refused_and_the_first_goes_on(tmp_path):
    stage, said = runs.renderer_stage(), []
    step = stage.step

    def step_and_start_another():
        if not said:
            with pytest.raises(ValueError, match="another run is under way in .*: wait for its end, or") as caught:
                train(runs.renderer_stage(), tmp_path, QUIET)
            said.append(str(caught.value))
        return step()

    stage.step = step_and_start_another
    train(stage, tmp_path, QUIET)
    assert stage.state.step == 6 and len(said) == 1
    train(runs.renderer_stage(), tmp_path, QUIET)  # the folder is free again


def test_a_run_that_was_killed_leaves_its_folder_free(tmp_path):
    """The lock is the system's: it goes with the process, whatever ends it."""
    code = (
        "import os, sys; from pathlib import Path; from train.run.engine import Engine\n"
        "from train.run.folder import sole_run\n"
        "sole_run(Path(sys.argv[1]), Engine()).__enter__(); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, timeout=240)
    assert killed.returncode == -9 and (tmp_path / ".lock").exists()
    train(runs.renderer_stage(), tmp_path, QUIET)


# The same run only


def origin(name="heads", identity="a" * 24, weight=0.0) -> Origin:
    data = dataclasses.replace(runs.tiny_data(), name=name, identity=identity)
    return Origin(data, initial_model(weight))


def initial_model(weight: float):
    from train.pretrained import PretrainedGenerator

    torch.manual_seed(0)
    model = PretrainedGenerator(dataclasses.replace(runs.MODEL, decoder_channels=()))
    with torch.no_grad():
        model.field.sdf_head.bias += weight
    return model


def test_other_data_an_other_initial_model_and_another_precision_are_refused_by_name(tmp_path):
    train(runs.renderer_stage(), tmp_path, QUIET, origin())
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["data"] == {"name": "heads", "identity": "a" * 24} and settings["precision"] == "no"
    assert len(settings["initial"]["sha256"]) == 64 and settings["version"] == sys.modules["stylesdf"].__version__
    train(runs.renderer_stage(), tmp_path, QUIET, origin(name="a/path/to/heads"))  # the same pictures
    with pytest.raises(ValueError, match=r"data was heads \(identity aaaaaaaaaaaa\) and is cats \(identity bbbbbb"):
        train(runs.renderer_stage(), tmp_path, QUIET, origin("cats", "b" * 24))
    with pytest.raises(ValueError, match=r"initial was unnamed \(sha256 \w{12}\) and is unnamed \(sha256 \w{12}\)"):
        train(runs.renderer_stage(), tmp_path, QUIET, origin(weight=1.0))
    with pytest.raises(ValueError, match=r"initial was unnamed \(sha256 \w{12}\) and is none"):
        train(runs.renderer_stage(), tmp_path, QUIET, Origin(origin().data))
    stage = runs.renderer_stage()
    stage.engine.accelerator = SimpleNamespace(
        mixed_precision="bf16", num_processes=1, process_index=0, is_main_process=True, device=torch.device("cpu"),
        log_with=[], trackers=[],
    )  # fmt: skip
    with pytest.raises(ValueError, match="precision was no and is bf16"):
        train(stage, tmp_path, QUIET, origin())


def test_other_settings_are_refused_by_name_with_both_values(tmp_path):
    run(runs.decoder_stage, tmp_path)
    with pytest.raises(
        ValueError, match="other settings: horizontal_flip was true and is false, thumbnail_weight was 1.0 and is 3.0;"
    ):
        run(runs.decoder_stage, tmp_path, thumbnail_weight=3.0, horizontal_flip=False)


def test_another_version_is_a_line_in_the_log(tmp_path, monkeypatch, caplog):
    run(runs.decoder_stage, tmp_path)
    monkeypatch.setattr("train.run.settings.__version__", "9.9")
    with caplog.at_level(logging.INFO):
        run(runs.decoder_stage, tmp_path)
    version = json.loads((tmp_path / "settings.json").read_text())["version"]
    assert f"the run was started with version {version}, this is 9.9" in caplog.text and version != "9.9"


# Longer


def test_a_finished_run_goes_on_when_its_steps_are_raised(tmp_path, caplog):
    first = snapshot(run(runs.decoder_stage, tmp_path))
    with caplog.at_level(logging.INFO):
        longer = run(runs.decoder_stage, tmp_path, steps=9)
    assert "training goes on for longer: steps was 6 and is 9" in caplog.text
    assert longer.state.step == 9 and [step_of(state) for state in saved_steps(tmp_path / "state")] == list(range(10))
    assert not torch.equal(
        first["generator.decoder.conv.weight"], snapshot(longer)["generator.decoder.conv.weight"]
    )
    assert json.loads((tmp_path / "settings.json").read_text())["training"]["steps"] == 9
    with pytest.raises(ValueError, match="steps was 9 and is 6"):
        run(runs.decoder_stage, tmp_path)


def test_a_longer_run_that_is_refused_leaves_the_settings(tmp_path):
    run(runs.decoder_stage, tmp_path)
    before = (tmp_path / "settings.json").read_bytes()

    def wider_stage(config=runs.DECODER):
        stage = runs.decoder_stage(config=config)
        stage.state.modules["another"] = torch.nn.Linear(1, 1)
        return stage

    with pytest.raises(ValueError, match="does not fit this run"):
        run(wider_stage, tmp_path, steps=9)
    assert (tmp_path / "settings.json").read_bytes() == before
    assert run(runs.decoder_stage, tmp_path).state.step == 6


def test_the_log_begins_anew_where_there_is_no_state(tmp_path):
    options = dataclasses.replace(QUIET, log_every=1)
    run(runs.decoder_stage, tmp_path, options)
    shutil.rmtree(tmp_path / "state")
    run(runs.decoder_stage, tmp_path, options)
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == list(range(1, 7))


def test_half_a_line_of_the_log_is_left_out(tmp_path):
    lines = ['{"step": 1, "evaluation": {"a": 1.0}}', '{"step": 2, "evaluation": {"a": 1.0}']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    assert read_records(tmp_path, 5, rewrite=True) == [json.loads(lines[0])]
    assert (tmp_path / "log.jsonl").read_text() == lines[0] + "\n"


def test_learning_rates_follow_the_new_length(tmp_path):
    """The decay of a run that was made longer is that of the new length from there on."""
    def rates(out, steps):
        stage = runs.decoder_stage(config=dataclasses.replace(DECAYING, steps=steps))
        step, seen = stage.step, {}

        def note():
            record = step()
            seen[stage.state.step] = stage.state.optimizers["generator_optimizer"].param_groups[0]["lr"]
            return record

        stage.step = note
        train(stage, out, QUIET)
        return seen

    rates(tmp_path / "longer", 3)
    later, whole = rates(tmp_path / "longer", 6), rates(tmp_path / "whole", 6)
    assert later == {step: whole[step] for step in (4, 5, 6)}


DECAYING = override(runs.DECODER, ["game.final_learning_rate=0.1"])


def test_only_phases_that_are_not_over_can_be_made_longer(tmp_path):
    first, last = runs.RENDERER.phases
    run(runs.renderer_stage, tmp_path)
    with pytest.raises(ValueError, match=r"phases\.0\.steps was 3 and is 5"):
        run(runs.renderer_stage, tmp_path, phases=(dataclasses.replace(first, steps=5), last))
    longer = run(runs.renderer_stage, tmp_path, phases=(first, dataclasses.replace(last, steps=4)))
    assert longer.state.step == 7
    with pytest.raises(ValueError, match=r"phases\.2\.batch_size was absent and is 8"):
        run(runs.renderer_stage, tmp_path, phases=(first, dataclasses.replace(last, steps=4), last))


def test_a_last_phase_without_steps_does_not_end_the_one_before_it(tmp_path):
    first, last = (dataclasses.replace(phase, steps=steps) for phase, steps in zip(runs.RENDERER.phases, (3, 0)))
    run(runs.renderer_stage, tmp_path, phases=(first, last))
    first, last = (dataclasses.replace(phase, steps=steps) for phase, steps in zip((first, last), (4, 1)))
    assert run(runs.renderer_stage, tmp_path, phases=(first, last)).state.step == 5
    with pytest.raises(ValueError, match=r"phases\.0\.steps was 4 and is 5"):
        run(runs.renderer_stage, tmp_path, phases=(dataclasses.replace(first, steps=5), last))


# Processes


def test_processes_that_do_not_find_each_other_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    Engine()  # accelerate has looked at its surroundings, and found one process
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = ["renderer", "--data", "toy-heads:3", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "WORLD_SIZE is 2, but this process sees itself alone: start all with" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def engine_of(processes: int, micro_batch: int = 0) -> Engine:
    engine = Engine(micro_batch=micro_batch)
    engine.accelerator = SimpleNamespace(num_processes=processes, process_index=0)
    return engine


@pytest.mark.parametrize(
    "batch, processes, micro_batch", [(8, 1, 0), (8, 2, 0), (8, 1, 4), (6, 1, 0), (6, 3, 0), (2, 1, 0), (3, 3, 0)]
)
def test_shares_of_whole_groups_are_fine(batch, processes, micro_batch):
    engine_of(processes, micro_batch).check_groups(batch, 4)


@pytest.mark.parametrize("batch, processes, micro_batch, sizes", [
    (8, 4, 0, "2"), (12, 2, 0, "6"), (8, 1, 3, "2 and 3"), (8, 1, 2, "2"), (6, 2, 0, "3"), (16, 3, 0, "5 and 6"),
])  # fmt: skip
def test_shares_that_cut_a_group_are_refused(batch, processes, micro_batch, sizes):
    engine = engine_of(processes, micro_batch)
    sentence = f"batch_size is {batch}, which would be worked on in parts of {sizes} images, .* a multiple of (.+)"
    with pytest.raises(ValueError, match=sentence) as refused:
        engine.check_groups(batch, 4)
    engine.check_groups(batch, 1)
    expected, _, micro = re.search("a multiple of (.+)", str(refused.value))[1].partition(" and --micro-batch ")
    assert (micro == "a multiple of 4") == bool(micro_batch)
    for several in (1, 3):  # what is expected works
        engine_of(processes, micro_batch and 4).check_groups(several * int(expected), 4)


def test_a_run_is_refused_before_its_first_step_where_a_group_would_be_cut(tmp_path):
    for make_stage in (runs.renderer_stage, runs.decoder_stage):
        with pytest.raises(ValueError, match=r"^(phases\.0\.)?batch_size is 8, .* compares them in groups of 4"):
            train(make_stage(Engine(micro_batch=3)), tmp_path / "run", QUIET)
    assert not (tmp_path / "run").exists()
    alone = dataclasses.replace(runs.RENDERER, use_minibatch_std=False)
    train(runs.renderer_stage(Engine(micro_batch=3), config=alone), tmp_path / "run", QUIET)


def test_what_fails_in_the_main_process_ends_the_others_too():
    engine = Engine()
    with pytest.raises(ValueError, match="no"):
        engine.main_first(lambda: int("no"))
    assert engine.main_first(lambda: 3) == 3
    engine.accelerator = SimpleNamespace(num_processes=2, is_main_process=False)
    engine.any = lambda flag: True  # the main process has failed
    with pytest.raises(RunError, match="the first process could not go on"):
        engine.main_first(lambda: pytest.fail("called"))


# What is said


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), MemoryError()])
def test_errors_of_the_program_keep_their_traceback(error, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setitem(main.__globals__["COMMANDS"], "settings", fail)
    with pytest.raises(type(error)):
        main(["settings"])


@pytest.mark.parametrize("error", [RunError("stopped at step 3"), ValueError("no such data")])
def test_what_a_user_can_act_on_is_one_line_and_status_2(error, monkeypatch, capsys):
    def fail(*arguments):
        raise error

    monkeypatch.setitem(main.__globals__["COMMANDS"], "settings", fail)
    assert main(["settings"]) == 2
    assert capsys.readouterr().err == f"python -m train: error: {error}\n"


@pytest.mark.parametrize("option", ["--save-every", "--log-every", "--grid-every"])
def test_negative_steps_on_the_command_line_are_one_line(option, tmp_path, capsys):
    assert main(["renderer", "--data", "toy-heads:3", "--out", str(tmp_path / "out"), option, "-1"]) == 2
    name = option.strip("-").replace("-", "_")
    sentence = f"{name} is -1, expected a number of steps, or 0 for never"
    assert capsys.readouterr().err == f"python -m train: error: {sentence}\n"


@pytest.mark.parametrize("command", [
    ["renderer", "--data", "toy-heads:3", "--device", "cpu"], ["toy-heads", "--count", "1", "--size", "64"],
])  # fmt: skip
def test_a_path_that_cannot_be_written_is_one_line(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "file").write_text("")
    assert main([*command, "--out", str(tmp_path / "file" / "run")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line and "image/s" not in line]
    assert len(lines) == 1 and str(tmp_path / "file") in lines[0], lines


@pytest.mark.parametrize("stage, takes_data", [
    ("renderer", True), ("prior", True), ("polish", False), ("decoder", True), ("encoder", False),
])  # fmt: skip
def test_a_dry_run_of_every_stage_says_what_it_costs(stage, takes_data, tmp_path, capsys):
    data = ["--data", "people:3"] if takes_data else []
    assert main([stage, "--dry-run", "--out", str(tmp_path / "out"), "--init-from", "absent", *data]) == 0
    assert json.loads(capsys.readouterr().out)["cost"]["steps"] > 0
