"""A model small enough for every test, and the same randomness in each of them."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from stylesdf.config import DEFAULT_MODEL, StyleSDFConfig
from stylesdf.model import Generator
from tests.tiny import TINY, Model

ROOT = Path(__file__).parents[1]
torch.set_num_threads(1)  # two threads that wait for each other on a busy machine are ten times slower
# shells ignore the first for what they start in the background, nohup the second; Windows has no second
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        signal.signal(getattr(signal, name), handler)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def tiny_config() -> StyleSDFConfig:
    """The paper's kind of model: view directions, the last sample is the background. Image 32×32."""
    return TINY


@pytest.fixture
def tiny_toy_config(tiny_config) -> StyleSDFConfig:
    """The bundled models' kind: no view directions, a background colour that is learned."""
    return dataclasses.replace(tiny_config, view_directions=False, background="learned")


@pytest.fixture
def tiny_model(tiny_config) -> Generator:
    return Generator(tiny_config).eval()


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The folder of the model that everything opens with; only a tree in which it is being trained may lack it."""
    folder = ROOT / DEFAULT_MODEL
    if not folder.is_dir() and os.environ.get("CI") != "true":
        pytest.skip(f"{DEFAULT_MODEL} is not there yet")
    return folder


@pytest.fixture(scope="module")
def chromium():
    """A running browser."""
    from tests.browser.serve import open_browser

    with open_browser() as browser:
        yield browser


@pytest.fixture
def published_model(tiny_config) -> Model:
    """A model with its means, that can be saved and pushed."""
    model = Model(tiny_config)
    model.update_means(100)
    return model


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on the loopback interface that the real client talks to, its waits cut short."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    from tests.loopback_hub import TOKEN, LoopbackHub

    with LoopbackHub() as hub:
        for name, value in {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "home" / "hub"),
            "HF_TOKEN_PATH": str(tmp_path / "home" / "token"),
            "HF_STORED_TOKENS_PATH": str(tmp_path / "home" / "tokens"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_PROGRESS_BARS": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        hub.waited, sleep = [], time.sleep  # seconds that the client would wait between its tries

        def short_sleep(seconds):
            hub.waited.append(seconds)
            sleep(min(seconds, 0.02))

        monkeypatch.setattr(time, "sleep", short_sleep)
        close_session()
        yield hub
    close_session()
