"""The Inception network as a file, what refuses to be one, and features of the data that are kept."""

import dataclasses
import os
import sys
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from torch import nn

from train.data.images import ImageSet
from train.evaluation import inception
from train.evaluation.features import FeatureNetwork, resize_bytes
from train.evaluation.inception import data_features, load_inception

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class StandIn(nn.Module):
    """As the shared file of the network is called, with means of areas for features."""

    def __init__(self, rows: int = 32):
        super().__init__()
        self.rows = rows

    def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        means = nn.functional.adaptive_avg_pool2d(pictures.float().mean(dim=1), (self.rows, 64)).flatten(1)
        return means if return_features else means[:, :8]


class WithoutFeatures(nn.Module):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.float().flatten(1)


def script(module, path):
    torch.jit.script(module).save(path)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return script(StandIn(), tmp_path_factory.mktemp("network") / "network.pt")


@pytest.fixture
def pictures():
    return torch.randint(0, 256, (3, 3, 40, 40), dtype=torch.uint8)


def test_a_torchscript_file_is_the_network(network, pictures):
    found = load_inception(network)
    features = found(pictures)
    assert features.shape == (3, 2048) and features.dtype == torch.float32
    assert torch.equal(features, StandIn()(pictures, return_features=True))
    assert found.identity.startswith("TorchScript, sha256 ") and str(network) not in found.identity


def test_the_network_is_known_by_its_weights(network, tmp_path):
    other = tmp_path / "copy.pt"
    other.write_bytes(network.read_bytes())
    assert load_inception(other).identity == load_inception(network).identity


def _state_dict(path):
    torch.save({"weight": torch.ones(1)}, path)
    return path


def _text(path):
    path.write_text("not a network")
    return path


@pytest.mark.parametrize(
    "write, message",
    [
        (_text, "is not TorchScript"),
        (_state_dict, "is not TorchScript"),
        (lambda path: path, "there is no file"),
        (lambda path: path.parent, "there is no file"),
        (lambda path: script(StandIn(rows=2), path), r"has features \(2, 128\) of 2 pictures, expected \(2, 2048\)"),
        (lambda path: script(WithoutFeatures(), path), "does not take pictures with return_features=True"),
    ],
)
def test_another_file_gets_one_sentence(tmp_path, write, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_inception(write(tmp_path / "network.pt"))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_without_the_library_it_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ValueError, match="pip install torch-fidelity, or .* --inception FILE"):
        load_inception()


def _library(monkeypatch, constructor):
    library = type(sys)("torch_fidelity.feature_extractor_inceptionv3")
    library.URL_INCEPTION_V3, library.FeatureExtractorInceptionV3 = "https://example.org/weights-1.pth", constructor
    monkeypatch.setitem(sys.modules, "torch_fidelity", type(sys)("torch_fidelity"))
    monkeypatch.setitem(sys.modules, library.__name__, library)


def test_the_library_is_asked_for_features_and_may_not_unpickle(monkeypatch, tmp_path, pictures):
    class Extractor(StandIn):
        def __init__(self, name, features_list):
            super().__init__()
            assert features_list == ["2048"]
            torch.save(FeatureNetwork, tmp_path / "harmful.pth")  # anything but tensors
            # as the library asks for its download; torch refuses, so nothing is unpickled
            with pytest.raises(Exception, match="[Ww]eights"):
                torch.load(tmp_path / "harmful.pth", weights_only=False)

        def forward(self, pictures):
            return (super().forward(pictures, True),)

    _library(monkeypatch, Extractor)
    found = load_inception()
    assert found.identity == "torch-fidelity, weights-1"
    assert torch.equal(found(pictures), StandIn()(pictures, True))
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ  # the switch is back where it was


@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError("no route to host"), "no route to host"),
        (UnpicklingError("weights only\nload failed"), "what was downloaded are not its weights"),
        (RuntimeError("Missing key"), "what was downloaded are not its weights"),
    ],
)
def test_a_failed_download_says_what_to_do(monkeypatch, error, reason):
    def fail(name, features_list):
        raise error

    _library(monkeypatch, fail)
    with pytest.raises(ValueError, match=f"could not be fetched .*{reason}.* --inception FILE") as caught:
        load_inception()
    assert "\n" not in str(caught.value)


@pytest.fixture
def data(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    random = np.random.RandomState(0)
    return ImageSet(
        images=random.randint(0, 256, (7, 3, 32, 32), np.uint8),
        thumbnails=random.randint(0, 256, (7, 4, 16, 16), np.uint8),
        poses=None,
        identity="seven",
    )


class Counting:
    def __init__(self):
        self.seen = 0

    def __call__(self, pictures):
        self.seen += len(pictures)
        return StandIn()(pictures, True)


def test_features_of_the_data_are_computed_once(data, tmp_path, monkeypatch):
    monkeypatch.setattr(inception, "CHUNK", 3)
    counting, shares = Counting(), []
    network = FeatureNetwork("one", counting)
    first = data_features(data, "image", network, "bicubic", shares.append)
    assert first.shape == (7, 2048) and counting.seen == 7 and shares == [3, 6, 7]
    whole = resize_bytes(torch.from_numpy(data.images), 256, "bicubic")
    assert np.array_equal(first, StandIn()(whole, True).numpy())
    again = data_features(data, "image", network, "bicubic", shares.append)
    assert np.array_equal(first, again) and counting.seen == 7 and shares[-1] == 7
    assert [path.suffix for path in (tmp_path / "cache" / "inception").iterdir()] == [".safetensors"]


def test_what_is_kept_belongs_to_one_data_set_filter_network_and_kind(data):
    counting = Counting()
    one, other = FeatureNetwork("one", counting), FeatureNetwork("other", counting)
    asked = [
        (data, "image", one, "bicubic"),
        (dataclasses.replace(data, identity="others"), "image", one, "bicubic"),
        (data, "thumbnail", one, "bicubic"),
        (data, "image", other, "bicubic"),
        (data, "image", one, "box"),
    ]
    for times, arguments in enumerate(asked, 1):
        data_features(*arguments)
        assert counting.seen == 7 * times
    nameless = dataclasses.replace(data, identity="")
    for times in (6, 7):
        data_features(nameless, "image", one, "bicubic")
        assert counting.seen == 7 * times


def test_an_interrupted_computation_leaves_nothing(data, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(inception.safetensors.numpy, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        data_features(data, "image", FeatureNetwork("one", Counting()), "box")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
