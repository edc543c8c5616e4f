"""A damaged state is never gone on from: the one before it is, and that is said."""

import dataclasses
import json
import logging
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tests.train import runs
from train.run.loop import train
from train.run.options import RunOptions
from train.run.state import HASHES_FILE, _allocate_moments, find_damage, newest_intact, saved_steps

OPTIONS = RunOptions(save_every=1, keep=3, log_every=1, grid_every=0)


def finished(out: Path):
    stage = runs.decoder_stage()
    train(stage, out, OPTIONS)
    return stage


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("run") / "run"
    finished(out)
    return out


@pytest.fixture
def out(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "out"))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def set_step(step: int):
    def change(state: Path) -> None:
        values = json.loads((state / "state.json").read_text())
        (state / "state.json").write_text(json.dumps(values | {"step": step}))

    return change


DAMAGES = {
    "a flipped byte of a tensor": (
        lambda state: flip_a_byte(state / "state-0.safetensors"),
        "state-0.safetensors differs from its SHA-256",
    ),
    "a half-written file": (
        lambda state: (state / "state-0.safetensors").write_bytes(b"{"),
        "state-0.safetensors differs from its SHA-256",
    ),
    "a wrong step": (set_step(5), "state.json differs from its SHA-256"),
    "a negative step": (set_step(-1), "state.json differs from its SHA-256"),
    "an empty file": (lambda state: (state / "state.json").write_text(""), "state.json differs from its SHA-256"),
    "a missing file": (lambda state: (state / "state-0.safetensors").unlink(), "state-0.safetensors is missing"),
    "a file too many": (lambda state: (state / "more").write_text(""), f"more is not in {HASHES_FILE}"),
    "no hashes": (lambda state: (state / HASHES_FILE).unlink(), f"{HASHES_FILE} is missing"),
    "no readable hashes": (
        lambda state: (state / HASHES_FILE).write_bytes(b"\xff"),
        f"{HASHES_FILE} or state.json is not readable",
    ),
}


def test_an_intact_state_has_no_damage_and_its_hashes_are_those_of_sha256sum(out):
    states = saved_steps(out / "state")
    assert [state.name for state in states] == ["step-00000004", "step-00000005", "step-00000006"]
    assert [find_damage(state) for state in states] == [None] * 3
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", HASHES_FILE], cwd=states[-1], check=True)


@pytest.mark.parametrize("damage, said", DAMAGES.values(), ids=DAMAGES.keys())
def test_the_state_before_a_damaged_one_is_gone_on_from(damage, said, out, run, caplog):
    damage(out / "state" / "step-00000006")
    with caplog.at_level(logging.WARNING):
        stage = finished(out)
    (line,) = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert line == f"step-00000006 is damaged ({said}): going on from step-00000005 instead"
    whole = runs.decoder_stage()
    whole.state.load(newest_intact(run / "state"))
    assert stage.state.step == 6
    theirs = dict(whole.state._named_tensors())
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in stage.state._named_tensors())
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()] == list(range(1, 7))
    # the damaged one is kept under another name, and the new one of its step is intact
    assert (out / "state" / "damaged-step-00000006").is_dir()
    assert [find_damage(state) for state in saved_steps(out / "state")] == [None] * 3


def test_damaged_states_do_not_crowd_out_the_intact_one(out):
    """Pruning counts states that can be gone on from: the newest one that is kept is intact at every step."""
    for name in ("step-00000005", "step-00000006"):
        flip_a_byte(out / "state" / name / "state-0.safetensors")
    stage = runs.decoder_stage()
    step = stage.step

    def step_and_look():
        assert newest_intact(out / "state").name == f"step-{stage.state.step:08d}"
        return step()

    stage.step = step_and_look
    train(stage, out, dataclasses.replace(OPTIONS, keep=1))


def test_no_intact_state_is_one_sentence(out):
    for state in saved_steps(out / "state"):
        flip_a_byte(state / "state-0.safetensors")
    names = ", ".join(rf"step-0000000{step} is damaged \([^)]*\)" for step in (6, 5, 4))
    with pytest.raises(ValueError, match=f"has no intact state, {names}: remove the folder to begin anew"):
        finished(out)


@pytest.mark.parametrize("name", ["step-abc", "step-9", "step-00000009.bak"])
def test_a_folder_of_another_name_is_left_alone_and_named(name, out, caplog):
    (out / "state" / name).mkdir()
    with caplog.at_level(logging.WARNING):
        finished(out)
    assert f"{name} is not a state, it is left alone" in caplog.text
    assert (out / "state" / name).is_dir() and len(saved_steps(out / "state")) == 3


def test_an_empty_folder_in_the_place_of_a_later_state_is_damaged(out, caplog):
    (out / "state" / "step-00000099").mkdir()
    with caplog.at_level(logging.WARNING):
        finished(out)
    assert f"step-00000099 is damaged ({HASHES_FILE} is missing): going on from step-00000006 instead" in caplog.text


def test_a_state_of_another_step_is_damaged(out):
    (out / "state" / "step-00000006").rename(out / "state" / "step-00000007")
    assert find_damage(out / "state" / "step-00000007") == "state.json says step 6"


@pytest.mark.parametrize("text", ["", "{", "[]", None])
def test_damaged_settings_are_written_anew_from_the_state(text, out, run, caplog):
    settings = out / "settings.json"
    settings.unlink() if text is None else settings.write_text(text)
    with caplog.at_level(logging.WARNING):
        finished(out)
    assert "settings.json is missing or damaged, it is written anew from step-00000006" in caplog.text
    assert settings.read_text() == (run / "settings.json").read_text()


def test_damaged_settings_without_a_state_are_refused(out):
    shutil.rmtree(out / "state")
    (out / "settings.json").write_text("")
    with pytest.raises(ValueError, match="settings.json is damaged, and there is no state to go on from"):
        finished(out)


def test_a_state_of_other_networks_does_not_fit(out):
    with pytest.raises(ValueError, match="does not fit this run; was it started with other settings"):
        runs.renderer_stage().state.load(newest_intact(out / "state"))


@pytest.mark.parametrize("fused_before", [True, None])
@pytest.mark.parametrize("fused_after", [True, None])
@pytest.mark.parametrize("make", [runs.reconstructing_stage, runs.decoder_stage])
def test_a_run_goes_on_with_fused_adam_as_if_it_had_never_stopped(make, fused_before, fused_after, tmp_path):
    """As on a GPU; a state that was saved elsewhere is taken too, and counts on."""

    def stage_of(fused):
        stage = make()
        for optimizer in stage.state.optimizers.values():
            for group in optimizer.param_groups:
                group["fused"] = fused
        return stage

    whole, resumed = stage_of(fused_before), stage_of(fused_after)
    for _ in range(2):
        whole.step()
    whole.state.save(tmp_path)
    for optimizer in whole.state.optimizers.values():
        for group in optimizer.param_groups:
            group["fused"] = fused_after
    whole.step()
    resumed.state.load(newest_intact(tmp_path))
    resumed.step()
    theirs = dict(whole.state._named_tensors())
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in resumed.state._named_tensors())
    counts = {float(tensor) for name, tensor in theirs.items() if re.fullmatch(r"\w*optimizer\.\d+\.step", name)}
    assert max(counts) >= 3


def test_fused_steps_are_counted_where_the_parameters_are():
    for fused, device in ((True, "meta"), (None, "cpu")):
        parameter = torch.nn.Parameter(torch.zeros(3, device="meta"))
        optimizer = torch.optim.Adam([parameter], foreach=False)
        optimizer.param_groups[0]["fused"] = fused
        _allocate_moments(optimizer, {"started": [0]})
        state = optimizer.state[parameter]
        assert (state["step"].device.type, state["exp_avg"].device.type) == (device, "meta")
