"""The link that a visitor copies."""

import pytest

pytest.importorskip("gradio")

from stylesdf.demo.tabs.sharing import TO_ADDRESS  # noqa: E402
from tests.live.node import run_script  # noqa: E402


@pytest.mark.parametrize(
    "address, stays",
    [
        ("https://o-h.hf.space/?__theme=dark&__sign=SECRET&seed=4", "?model=people&seed=3&__theme=dark&__sign=SECRET"),
        ("https://o-h.hf.space/?__sign=SECRET#here", "?model=people&seed=3&__sign=SECRET#here"),
        ("http://user:SECRET@127.0.0.1:7860/heads/", "?model=people&seed=3"),
    ],
)
def test_a_link_carries_the_scene_and_no_token(tmp_path, address, stays):
    code = f"""
        const kept = []
        const history = {{ replaceState: (state, title, url) => kept.push(String(url)) }}
        globalThis.window = {{ location: {{ href: given }}, history }}
        return [({TO_ADDRESS})('model=people&seed=3'), kept[0]]
    """
    link, kept = run_script(code, tmp_path, address, files=())
    assert link.endswith("?model=people&seed=3") and "SECRET" not in link and "__" not in link
    assert kept.endswith(stays)  # the address bar keeps what Gradio needs when the page is loaded again
