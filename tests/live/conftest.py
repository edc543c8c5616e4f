"""The browser, and a page that is quick to draw."""

import pytest

from stylesdf import StyleSDF
from stylesdf.live.export import export_live
from tests.browser.serve import open_browser, small_model
from tests.live.visit import FLAGS


@pytest.fixture(scope="module")
def chromium():
    with open_browser(FLAGS) as browser:
        yield browser


@pytest.fixture(scope="package")
def small(tmp_path_factory):
    """A page of coloured balls."""
    folder = tmp_path_factory.mktemp("small")
    export_live(StyleSDF.from_pretrained(small_model(folder / "model")), folder / "heads.html", version="0.1.0")
    return folder / "heads.html"
