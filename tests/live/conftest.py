"""A page that is quick to draw."""

import pytest

from stylesdf import StyleSDF
from stylesdf.live.export import export_live
from tests.browser.serve import small_model


@pytest.fixture(scope="package")
def small(tmp_path_factory):
    """A page of coloured balls."""
    folder = tmp_path_factory.mktemp("small")
    export_live(StyleSDF.from_pretrained(small_model(folder / "model")), folder / "heads.html")
    return folder / "heads.html"
