"""What the page's tests share: a small model, a browser to find, and ``app.py`` as a running server."""

import contextlib
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch

from stylesdf import StyleSDF, StyleSDFConfig
from stylesdf.config import DEFAULT_MODEL
from stylesdf.directions import Directions
from stylesdf.field import sphere_initialize

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / DEFAULT_MODEL
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


def small_model(folder: Path, steps: int = 150) -> Path:
    """Save a model whose heads are coloured balls, with a surface that a mesh can be made of, and two directions."""
    config = StyleSDFConfig(
        latent_size=16, field_width=32, field_depth=2, view_directions=False, render_resolution=32, num_samples=12,
        background="learned", decoder_style_size=16, decoder_mapping_layers=2, decoder_channels=(16, 12),
    )  # fmt: skip
    torch.manual_seed(0)
    model = StyleSDF(config).eval()
    codes = torch.Generator().manual_seed(0)
    sphere_initialize(
        model.field, steps, lambda: model.renderer_mapping(torch.randn(4, config.latent_size, generator=codes)),
        learning_rate=2e-3, radius=0.07, generator=codes,
    )  # fmt: skip
    with torch.no_grad():
        model.renderer.log_beta.fill_(math.log(0.002))
        model.renderer.background_rgb.copy_(torch.tensor([1.4, 1.8, 2.6]))
        model.field.rgb_head.weight.mul_(20.0)
    model.update_means(500)
    directions = Directions(config.latent_size, ["age", "smile"])
    directions.vectors.copy_(0.3 * torch.randn(2, config.latent_size, generator=codes))
    vars(model)["directions"] = directions
    model.save_pretrained(folder)
    return folder


def find_browser() -> str | None:
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


@contextlib.contextmanager
def open_browser():
    """Yield a running browser; skip the test where there is none, unless this is CI."""
    path = find_browser()
    if path is None and os.environ.get("CI", "").lower() not in ("true", "1"):
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    assert path is not None, "CI must test pages, but there is no Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_app(*arguments: str, cwd: Path, log: Path, patience: float = 180.0):
    """Start ``python app.py`` from another folder; yield its address and the seconds until it answered."""
    port = free_port()
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "GRADIO_TEMP_DIR": str(cwd / "gradio")}
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), *arguments]
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            address, start = f"http://127.0.0.1:{port}", time.monotonic()
            while True:
                assert server.poll() is None, f"app.py ended:\n{log.read_text()}"
                assert time.monotonic() - start < patience, f"app.py does not answer:\n{log.read_text()}"
                with contextlib.suppress(OSError), urllib.request.urlopen(address + "/config", timeout=5):
                    break
                time.sleep(0.2)
            yield address, time.monotonic() - start
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
