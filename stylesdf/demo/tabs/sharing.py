"""Link and reproduce: a link that brings this view back, the code that makes it, a picture that remembers it."""

from __future__ import annotations

import gradio as gr

from stylesdf.demo.models import NotLoaded
from stylesdf.demo.page import PRIVATE, QUICK, Page, speaking
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
    "Every PNG of this page carries its scene: drop one here, and it is back. The link and the code make the same "
    "picture, byte for byte, on the same kind of machine."
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

    def restore(picture: bytes | None, query: str):
        stay = [gr.skip()] * len(page.setters)
        if picture is None:
            return [*stay, gr.skip()]
        with speaking("This picture cannot be followed", OSError, MemoryError):
            scene = Scene.from_picture(picture)
            try:
                page.studio.model(scene)
            except NotLoaded:
                return [*stay, page.wish_for(scene)]
            return [*page.settings(scene, page.read(query)), gr.skip()]

    page.query.change(None, page.query, link, js=TO_ADDRESS, **PRIVATE)
    outputs = [*page.setters, page.wish]
    dropped.upload(restore, [dropped, page.query], outputs, show_progress="hidden", **QUICK)
    return code
