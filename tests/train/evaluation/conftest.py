"""Models of known shapes, and a cache that is no user's."""

import dataclasses
import math
import os

import pytest
import torch

from stylesdf.model import Generator
from tests.train.evaluation.scenes import Scene
from train.data.images import load_images


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLESDF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def toy_heads(tmp_path_factory):
    """160 toy heads, images and thumbnails of 64×64, drawn by the first of several processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "toy-heads"
    return load_images("toy-heads:160", 64, 64, cache_dir=folder)


@pytest.fixture
def scene(tiny_toy_config):
    def build(shape, beta=0.0002) -> Generator:
        config = dataclasses.replace(tiny_toy_config, decoder_channels=(), render_resolution=32, num_samples=128)
        model = Generator(config).eval()
        model.field = Scene(shape)
        with torch.no_grad():
            model.renderer.log_beta.fill_(math.log(beta))
        return model

    return build
