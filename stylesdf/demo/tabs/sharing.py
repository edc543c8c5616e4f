"""Link and reproduce: a link that brings this view back, the code that makes it, a picture that remembers it."""

from __future__ import annotations

import gradio as gr

from stylesdf.demo.page import AT_ONCE, PRIVATE, Page, speaking
from stylesdf.demo.scene import Scene

# The address bar follows, so that reloading and bookmarking keep what is seen; inside of a Space's frame too.
TO_ADDRESS = """(query) => {
  const url = new URL(window.location.href)
  const others = [...url.searchParams].filter(([name]) => name.startsWith('__')) // Gradio's own
  url.search = [query, new URLSearchParams(others)].filter(String).join('&')
  window.history.replaceState(null, '', url)
  return url.href
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
    dropped = gr.File(label="Drop a PNG of this page", file_types=[".png"], elem_id="drop", height=110)
    gr.Markdown(TEXT, elem_classes="small")

    def restore(path: str | None, query: str):
        if path is None:
            return [gr.skip()] * len(page.setters)
        with speaking("This picture cannot be followed"):
            scene = Scene.from_picture(path)
            try:
                page.studio.models.get(scene.model)
            except (OSError, MemoryError) as error:
                raise ValueError(f"its model {scene.model!r} cannot be loaded: {str(error).splitlines()[0]}") from error
        return page.settings(scene, page.read(query))

    page.query.change(None, page.query, link, js=TO_ADDRESS, **PRIVATE)
    dropped.upload(restore, [dropped, page.query], page.setters, **AT_ONCE)
    return code
