"""The browser of the page's tests."""

import pytest

from tests.browser.serve import open_browser

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    with open_browser(FLAGS) as browser:
        yield browser
