"""The training kit's command line, from pictures to a model, on a tiny scale."""

import json

import pytest

from stylesdf.checkpoint import load_config
from train.__main__ import main

RENDERER = ["renderer", "--preset", "toy", "--set", "sphere_steps=2", "eikonal_points=8"] + [
    f"phases.{phase}.{setting}" for phase in range(3) for setting in ("steps=1", "batch_size=2", "num_samples=2")
]
DECODER = ["decoder", "--preset", "toy", "--set", "steps=1", "batch_size=2", "num_renderings=2"]


def test_two_stages_from_nothing_to_a_model(tmp_path, capsys):
    data = tmp_path / "data"
    assert main(["toy-heads", "--out", str(data), "--count", "3", "--size", "64"]) == 0
    out = ["--data", str(data), "--out"]
    assert main([*RENDERER, *out, str(tmp_path / "renderer")]) == 0
    first = tmp_path / "renderer" / "model"
    assert not load_config(first).has_decoder
    assert main([*DECODER, "--init-from", str(first), *out, str(tmp_path / "decoder")]) == 0
    config = load_config(tmp_path / "decoder" / "model")
    assert config.has_decoder and config.image_resolution == 128
    assert len((tmp_path / "renderer" / "log.jsonl").read_text().splitlines()) == 1  # the last step

    # fine-tuning takes over every weight, the discriminators' too
    still = ["--set", "steps=0"]
    second = tmp_path / "decoder" / "model"
    again = [*DECODER[:3], *still, "--init-from", str(second), *out, str(tmp_path / "decoder-again")]
    assert main(again) == 0
    still = [*RENDERER, *(f"phases.{phase}.steps=0" for phase in range(3))]
    assert main([*still, "--init-from", str(second), *out, str(tmp_path / "renderer-again")]) == 0
    for run, origin in (("decoder-again", second), ("renderer-again", first)):
        for file in ("model.safetensors", *(path.name for path in origin.glob("discriminator_*"))):
            if run == "renderer-again" and file.startswith("discriminator"):
                continue  # the model of stage 2 came with the image discriminator only
            assert (tmp_path / run / "model" / file).read_bytes() == (origin / file).read_bytes(), (run, file)
    assert main([*still, "--init-from", str(first), *out, str(tmp_path / "renderer-third")]) == 0
    name = "discriminator_thumbnail.safetensors"
    assert (tmp_path / "renderer-third" / "model" / name).read_bytes() == (first / name).read_bytes()


def test_dry_run_prints_all_settings(capsys, tmp_path):
    command = ["renderer", "--preset", "afhq", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--dry-run"]
    assert main(command) == 0
    settings = json.loads(capsys.readouterr().out)
    assert settings["training"]["pose_weight"] == 15.0 and settings["model"]["pose_yaw"] == 0.15
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["renderer", "--data", "absent"], "no such folder of images: absent"),
        (["renderer", "--data", ".", "--set", "sede=1"], "unknown setting 'sede'"),
        (["decoder", "--data", ".", "--init-from", "no/such/folder"], "no/such/folder"),
        (["toy-heads", "--count", "0"], "count must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "out").exists()
