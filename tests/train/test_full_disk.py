"""What the kit writes is there in full or not at all: a full disk and a signal leave what was there before."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.test_files import content, full_disk
from tests.train import runs
from train.__main__ import main
from train.data.images import load_images
from train.data.toy_heads import ToyHeadsConfig, write_toy_heads
from train.evaluation import command
from train.run.lineage import Origin, finished_model, write_model


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder, random = tmp_path / "pictures", np.random.RandomState(0)
    folder.mkdir()
    for number in range(3):
        Image.fromarray(random.randint(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def test_a_state_that_the_disk_cannot_hold_leaves_the_ones_before(tmp_path):
    state = runs.renderer_stage().state
    first = state.save(tmp_path / "state")
    before = content(tmp_path)
    state.step = 1
    for size in (0, 1000, max(map(len, before.values())) - 1):
        with pytest.raises(OSError, match="step-00000001") as caught, full_disk(size):
            state.save(tmp_path / "state")
        assert caught.value.errno and content(tmp_path) == before and os.listdir(first.parent) == [first.name]
    assert state.save(tmp_path / "state").name == "step-00000001"


def test_a_model_that_the_disk_cannot_hold_leaves_none(tmp_path):
    stage = runs.renderer_stage()
    model, beside = finished_model(stage.generator_ema, None), tmp_path / "encoder.safetensors"
    beside.write_bytes(bytes(200_000))
    origin = Origin()
    object.__setattr__(origin, "files", {"encoder": beside})  # handed on: the last file, and the largest
    for size in (1000, 150_000):
        with pytest.raises(OSError, match="out"), full_disk(size):
            write_model(model, tmp_path / "new" / "out", stage.discriminators(), origin)
        assert os.listdir(tmp_path) == [beside.name]
    write_model(model, tmp_path / "out", stage.discriminators(), origin)
    names = ["README.md", "config.json", "discriminator_thumbnail.safetensors", beside.name, "model.safetensors"]
    assert sorted(os.listdir(tmp_path / "out")) == names and (tmp_path / "out" / beside.name).stat().st_size == 200_000


def test_decoded_pictures_that_the_disk_cannot_hold_leave_nothing(pictures, tmp_path):
    cache = tmp_path / "cache"
    for size in (100, 3000, 3 * 3 * 32 * 32 - 1):
        with pytest.raises(OSError, match=str(cache)), full_disk(size):
            load_images(pictures, 32, 16, cache_dir=cache)
        assert [path.suffix for path in (cache / "images").iterdir()] == [".lock"]
    assert len(load_images(pictures, 32, 16, cache_dir=cache)) == 3


def test_drawn_pictures_that_the_disk_cannot_hold_leave_nothing(tmp_path):
    config = ToyHeadsConfig(count=2, image_size=64)
    with pytest.raises(OSError, match="heads"), full_disk(1000):
        write_toy_heads(tmp_path / "new" / "heads", config, progress=False)
    assert os.listdir(tmp_path) == []
    name = "頭" * 83  # a name of 249 bytes
    write_toy_heads(tmp_path / name, config, progress=False)
    assert sorted(os.listdir(tmp_path / name)) == ["images", "metadata.jsonl", "toy_heads.json"]


def test_a_signal_while_pictures_are_drawn_or_decoded_leaves_nothing(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    stop = lambda *_: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    monkeypatch.setattr("train.data.decoding.decode_picture", stop)
    assert main(["renderer", "--data", str(pictures), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 143
    assert [path.suffix for path in (tmp_path / "cache" / "images").iterdir()] == [".lock"]
    monkeypatch.setattr("train.data.toy_heads.write.sample_head", stop)
    assert main(["toy-heads", "--count", "2", "--size", "64", "--out", str(tmp_path / "heads")]) == 143
    assert not (tmp_path / "heads").exists() and not list(tmp_path.glob(".*"))
    assert capsys.readouterr().err.count("python -m train: stopped") == 2


def test_a_report_that_the_disk_cannot_hold_is_one_line(tmp_path, capsys, monkeypatch):
    model = SimpleNamespace(config=runs.MODEL)
    monkeypatch.setattr(command.PretrainedGenerator, "from_pretrained", lambda *_, **options: model)
    monkeypatch.setattr(command, "evaluate", lambda *_: {"metric": "x" * 5000})
    monkeypatch.setattr(command, "markdown_table", lambda report: "table")
    with full_disk(1000):
        assert main(["evaluate", "model", "--out", str(tmp_path / "new" / "out")]) == 2
    assert capsys.readouterr().err == f"python -m train: error: {tmp_path}/new/out/metrics.json: File too large\n"
    assert os.listdir(tmp_path) == []
