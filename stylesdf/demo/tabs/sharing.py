"""Link and reproduce: a link that brings this view back, the code that makes it, a picture that remembers it."""

from __future__ import annotations

import base64

import gradio as gr

from stylesdf.demo.models import NotLoaded
from stylesdf.demo.page import PRIVATE, QUICK, Page, sentence, speaking, warn
from stylesdf.demo.scene import Scene

# The address bar follows, so that reloading and bookmarking keep what is seen; inside of a Space's frame too. It keeps
# Gradio's own parameters; the link does not, for one of them lets its bearer into a private Space.
TO_ADDRESS = """(query) => {
  const url = new URL(window.location.href)
  const others = [...url.searchParams].filter(([name]) => name.startsWith('__')) // Gradio's own
  url.search = [query, new URLSearchParams(others)].filter(String).join('&')
  window.history.replaceState(null, '', url)
  return `${url.origin}${url.pathname}?${query}`
}"""
TEXT = (
    "Every PNG of this page carries its scene: drop one anywhere on the page, and it is back. The link and the code "
    "make the same picture, byte for byte, on the same kind of machine."
)


def build(page: Page) -> gr.Code:
    """Arrange the tab.

    Returns:
        Where the code of the scene goes.
    """
    link = gr.Textbox(label="Link to this view", interactive=False, buttons=["copy"], elem_id="link")
    code = gr.Code(language="python", label="The code that makes it", interactive=False, elem_id="code")
    dropped = gr.File(
        label="Drop a PNG of this page", file_types=[".png"], type="binary", elem_id="drop", height=110
    )  # fmt: skip
    gr.Markdown(TEXT, elem_classes="small")

    def restore(picture: bytes, query: str):
        """Go where a picture was made; then the field is ready for another."""
        stay = [gr.skip()] * len(page.setters)
        try:
            scene = Scene.from_picture(picture)
            page.studio.model(scene)
        except NotLoaded:
            return [*stay, page.wish_for(scene), None]
        except (ValueError, OSError, MemoryError) as error:
            warn(f"This picture cannot be followed: {sentence(error)}")
            return [*stay, gr.skip(), None]
        return [*page.settings(scene, page.read(query)), gr.skip(), None]

    def restore_dropped(value: dict, query: str):
        _, _, text = str((value or {}).get("dropped")).partition("base64,")
        with speaking():
            picture = base64.b64decode(text)
        return restore(picture, query)[:-1]

    page.query.change(None, page.query, link, js=TO_ADDRESS, **PRIVATE)
    outputs = [*page.setters, page.wish, dropped]
    dropped.upload(restore, [dropped, page.query], outputs, show_progress="hidden", **QUICK)
    page.stage.upload(restore_dropped, [page.stage, page.query], outputs[:-1], show_progress="hidden", **QUICK)
    return code
