"""The training kit's command line, from pictures to a model, on a tiny scale."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stylesdf import config as presets
from stylesdf.checkpoint import load_config
from train.__main__ import COMMANDS, main
from train.presets import PRESETS
from train.run.cost import estimate


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))


ROOT = Path(__file__).parents[2]
TOY = str(ROOT / "checkpoints" / "toy-heads")
RENDERER = ["renderer", "--preset", "toy", "--device", "cpu", "--set"]
RENDERER += ["sphere_steps=2", "num_points=8", "game.freeze_generator_steps=0"] + [
    f"phases.{phase}.{setting}" for phase in range(3) for setting in ("steps=1", "batch_size=2", "num_samples=2")
]
DECODER = ["decoder", "--preset", "toy", "--device", "cpu", "--set", "steps=1", "batch_size=2", "num_renderings=2"]


def test_two_stages_from_nothing_to_a_model(tmp_path, caplog):
    data = tmp_path / "data"
    assert main(["toy-heads", "--out", str(data), "--count", "3", "--size", "64"]) == 0
    out = ["--grid-every", "0", "--data", str(data), "--out"]
    assert main([*RENDERER, *out, str(tmp_path / "renderer")]) == 0
    first = tmp_path / "renderer" / "model"
    assert not load_config(first).has_decoder
    assert main([*DECODER, "--init-from", str(first), *out, str(tmp_path / "decoder")]) == 0
    second = tmp_path / "decoder" / "model"
    config = load_config(second)
    assert config.has_decoder and config.image_resolution == 256
    assert len((tmp_path / "renderer" / "log.jsonl").read_text().splitlines()) == 1  # the last step
    name = "discriminator_thumbnail.safetensors"
    assert (second / name).read_bytes() == (first / name).read_bytes()

    # fine-tuning takes over every weight, but no discriminator of another size, which is said
    assert "a new thumbnail discriminator learns" not in caplog.text
    still = [*RENDERER, *(f"phases.{phase}.steps=0" for phase in range(3)), "discriminator_channels=8,8,8,8,8,8"]
    assert main([*still, "--init-from", str(second), *out, str(tmp_path / "again")]) == 0
    assert "a new thumbnail discriminator learns, as tensor" in caplog.text
    name = "model.safetensors"
    assert (tmp_path / "again" / "model" / name).read_bytes() == (second / name).read_bytes()


def test_dry_run_prints_all_settings(capsys, tmp_path):
    command = ["renderer", "--preset", "afhq", "--data", "people:3", "--out", str(tmp_path / "out"), "--dry-run"]
    assert main(command) == 0
    settings = json.loads(capsys.readouterr().out)
    assert settings["training"]["terms"]["view"] == 15.0 and settings["model"]["pose_yaw"] == 0.15
    assert settings["cost"]["steps"] == 200_000 and settings["cost"]["images"] == 4_800_000
    assert 10 < settings["cost"]["hours"]["one consumer GPU (RTX 4090)"] < 1000
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("preset", ["ffhq", "afhq", "photos", "toy"])
def test_cost_grows_with_the_work_and_micro_batches_save_memory(preset):
    model, stage = presets.preset(preset), PRESETS["renderer"][preset]
    first, last = stage.phases[0], stage.phases[-1]
    more = dataclasses.replace(stage, phases=(*stage.phases, last))
    assert estimate(model, more)["teraflops"] > estimate(model, stage)["teraflops"]
    assert estimate(model, more)["images"] - estimate(model, stage)["images"] == last.steps * last.batch_size
    assert estimate(model, stage, micro_batch=1)["memory_gb"] < estimate(model, stage)["memory_gb"]
    assert first.steps > 0 and estimate(model, PRESETS["decoder"][preset])["memory_gb"] > 0


def test_a_tracker_gets_the_terms(tmp_path):
    out = tmp_path / "run"
    command = [*RENDERER, "phases.1.steps=0", "phases.2.steps=0", "--data", "toy-heads:3", "--out", str(out)]
    assert main([*command, "--log-every", "1", "--grid-every", "0", "--tracker", "tensorboard"]) == 0
    (events,) = out.rglob("events.out.tfevents.*")
    assert b"eikonal" in events.read_bytes()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["renderer", "--data", "absent"], "no such data: 'absent'"),
        (["renderer", "--data", ".", "--label", "cat"], "label is 'cat', expected NAME=VALUE"),
        (["renderer", "--data", "toy-heads:3", "--label", "species=cow"], "no picture in"),
        (["renderer", "--data", "toy-heads:3", "--tracker", "trackio"], "the tracker trackio is not installed"),
        (["renderer", "--data", "toy-heads:3", "--device", "tpu"], "device is 'tpu', expected auto or cpu"),
        (["renderer", "--data", "toy-heads:3", "--micro-batch", "-1"], "micro_batch is -1"),
        (["renderer", "--data", "toy-heads:3", "--micro-batch", "-1", "--dry-run"], "micro_batch is -1"),
        (["renderer", "--data", ".", "--set", "sede=1"], "unknown setting 'sede'"),
        (["decoder", "--data", ".", "--init-from", "no/such/folder"], "no/such/folder"),
        (["toy-heads", "--count", "0"], "count must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if "image/s" not in line]
    assert len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "command, goes_on",
    [
        (["evaluate", TOY, "--data", "absent", "--out", "out"], False),
        (["directions", TOY], False),
        (["renderer", "--data", "absent", "--out", "out"], True),
        (["run", "people", "--out", "out"], True),
        (["people", "--out", "out"], True),
    ],
)
def test_only_a_command_that_saves_says_that_it_goes_on(command, goes_on, monkeypatch, capsys):
    def stop(args):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setitem(COMMANDS, command[0], stop)
    assert main(command) == 128 + signal.SIGTERM
    said = "; the same command goes on from the last saved state" if goes_on else ""
    assert capsys.readouterr().err == f"python -m train: stopped{said}\n"


@pytest.fixture
def card_of(tmp_path):
    """Do a run of one step, or more of them, and return the card of its model."""
    drawn, mine = tmp_path / "drawn", tmp_path / "mine"
    assert main(["toy-heads", "--out", str(drawn), "--count", "3", "--size", "64"]) == 0
    shutil.copytree(drawn, mine, ignore=shutil.ignore_patterns("*.json*"))
    tiny = ["field_width=16", "field_depth=2", "latent_size=8", "num_samples=4", "decoder_channels=8,8"]
    still = [*RENDERER, *(f"phases.{phase}.steps=0" for phase in range(2)), "discriminator_channels=8,8,8,8,8,8"]

    def card_of(name: str, data: str, *more: str, steps: int = 1) -> str:
        command = [*still, f"phases.2.steps={steps}", "--grid-every", "0", "--data", str(tmp_path / data), *more]
        model_set = [] if "--init-from" in more else ["--model-set", *tiny]
        assert main([*command, *model_set, "--out", str(tmp_path / name)]) == 0
        return (tmp_path / name / "model" / "README.md").read_text(encoding="utf-8")

    return card_of


def test_a_card_says_the_licence_that_is_chosen_and_apache_only_of_drawn_pictures(card_of, tmp_path):
    card = card_of("first", "drawn")
    assert "\nlicense: apache-2.0\n" in card and "| stage | renderer |" in card and "| steps | 1 |" in card
    assert "Trained with `python -m train renderer` (preset `toy`) on 3 pictures of `drawn`.\n" in card
    assert "\nlicense: other\n" in card_of("second", "mine")
    chosen = ["--licence", "cc-by-nc-4.0", "--snapshot-every", "1"]
    assert "\nlicense: cc-by-nc-4.0\n" in card_of("third", "mine", *chosen)
    assert main(["export", str(tmp_path / "third"), "--out", str(tmp_path / "exported")]) == 0
    for folder in (tmp_path / "exported", tmp_path / "third" / "snapshots" / "step-00000001"):
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "\nlicense: cc-by-nc-4.0\n" in card and "3 pictures of `mine`" in card and "| steps | 1 |" in card


def test_the_card_of_a_tuned_model_names_the_model_before_and_keeps_only_its_licence(card_of, tmp_path):
    before = tmp_path / "before" / "model"
    card = card_of("before", "mine", "--licence", "cc-by-nc-4.0")
    (before / "README.md").write_text(f"{card}\nNobody depicted exists.\n", encoding="utf-8")
    start = ["--init-from", str(before)]
    card = card_of("tuned", "drawn", *start)
    assert "\nlicense: cc-by-nc-4.0\n" in card and "3 pictures of `drawn`, starting from `before/model`." in card
    assert "Nobody" not in card and "`mine`" not in card
    assert main(["export", str(tmp_path / "tuned"), "--out", str(tmp_path / "exported")]) == 0
    exported = (tmp_path / "exported" / "README.md").read_text(encoding="utf-8")
    assert exported == card.replace("# model\n", "# exported\n").replace('("model")', '("exported")')
    assert "\nlicense: mit\n" in card_of("other", "drawn", *start, "--licence", "mit")
    assert "\nlicense: apache-2.0\n" in card_of("free", "drawn")
    start = ["--init-from", str(tmp_path / "free" / "model")]
    assert "\nlicense: apache-2.0\n" in card_of("free again", "drawn", *start)
    assert "\nlicense: other\n" in card_of("of photos", "mine", *start)  # not the pictures' licence


def test_steps_are_counted_again_in_the_card_of_a_run_that_goes_on_unless_somebody_edited_it(card_of, tmp_path):
    card = card_of("run", "mine")
    assert card_of("run", "mine", steps=2) == card.replace("| steps | 1 |", "| steps | 2 |") != card
    edited = card + "\nMy own words.\n"
    (tmp_path / "run" / "model" / "README.md").write_text(edited, encoding="utf-8")
    assert card_of("run", "mine", steps=3) == edited


def test_numbers_below_the_normal_ones_are_zero_in_all_threads_of_a_command():
    program = """
import torch
from train.__main__ import main
torch.set_num_threads(2)
assert main(["settings", "prior"]) == 0
smallest = torch.full((1 << 20,), 1e-37)
assert (smallest * 1e-3).eq(0.0).all() or not torch.set_flush_denormal(True)  # where a processor knows it
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
