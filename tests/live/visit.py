"""An exported page in a real browser: how it is opened, and what its graphics card computed."""

import time

PATIENCE = 180_000  # milliseconds, for a processor that plays graphics card

# Both draw one scene and return numbers, rows from the top; the page itself must stand still meanwhile, see `freeze`.
# Of the surface at a size: depth, distance, evaluations and kind of every pixel; normals; colours.
MEASURE = """([change, size, guide]) => {
  const { model, renderer, header } = liveHeads, { gl } = renderer, scene = { ...firstScene(header), ...change }
  renderer.setHead(model.head(scene), guide)
  renderer.begin(size, viewOf(scene, header), true)
  renderer.advance(size)
  const { frame, normalFrame } = renderer.targets[0]
  const pixels = (buffer, attachment, kind, values) => {
    gl.bindFramebuffer(gl.FRAMEBUFFER, buffer)
    gl.readBuffer(attachment)
    gl.readPixels(0, 0, size, size, gl.RGBA, kind, values)
    const row = (_, at) => Array.from(values.slice(4 * size * at, 4 * size * (at + 1)))
    return Array.from({ length: size }, row).reverse()
  }
  return [
    pixels(frame, gl.COLOR_ATTACHMENT0, gl.FLOAT, new Float32Array(4 * size * size)),
    pixels(normalFrame, gl.COLOR_ATTACHMENT0, gl.FLOAT, new Float32Array(4 * size * size)),
    pixels(frame, gl.COLOR_ATTACHMENT1, gl.UNSIGNED_BYTE, new Uint8Array(4 * size * size)),
  ]
}"""
# The decoder's picture; and, in no order, evaluations of the distance and of the colour and share of the light of every
# ray of its features.
DECODE = """([change, guide]) => {
  const { model, renderer, decoder, header } = liveHeads, { gl } = renderer, { size, resolution } = decoder
  const scene = { ...firstScene(header), ...change }, view = viewOf(scene, header)
  renderer.setHead(model.head(scene), guide)
  renderer.begin(decoder.resolution, view, needsNormals(scene))
  renderer.advance(decoder.resolution)
  decoder.setHead(model.decoderHead(scene))
  for (const _ of decoder.passes(view)) ; // each step draws
  decoder.show(scene)
  const bytes = new Uint8Array(4 * size * size), rays = new Float32Array(4 * resolution ** 2)
  gl.readPixels(0, 0, size, size, gl.RGBA, gl.UNSIGNED_BYTE, bytes)
  decoder.volume(view, resolution, true).next()
  gl.readPixels(2, 2, resolution, resolution, gl.RGBA, gl.FLOAT, rays)
  const rows = Array.from({ length: size }, (_, row) => Array.from(bytes.slice(4 * size * row, 4 * size * (row + 1))))
  return [rows.reverse(), Array.from(rays)]
}"""


class Visit:
    """One open page, what its console said, and what it asked for."""

    def __init__(self, browser, path, fragment="", width=900, height=300, **options):
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints, self.requests = [], []
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.start = time.monotonic()
        self.page.goto(f"file://{path}{fragment}")
        self.until("window.liveHeads?.cost || window.liveHeads?.wall.isOpen")

    def scene(self) -> dict:
        return self.page.evaluate("liveHeads.scene")

    def until(self, expression: str) -> None:
        """Wait until something is true; Playwright's own way to wait needs ``eval``, which the page forbids."""
        start = time.monotonic()
        while not self.page.evaluate(expression):
            has_failed, told = self.page.evaluate("[window.liveHeads?.hasFailed, byId('status').textContent]")
            assert not has_failed, f"the page gave up: {told}"
            assert time.monotonic() - start < PATIENCE / 1000, f"{expression} stays false; {told} {self.scene()}"
            self.page.wait_for_timeout(50)

    def wait_for(self, condition: str) -> None:
        """Wait until something is true of the page's ``scene``."""
        self.until(f"(() => {{ const scene = liveHeads.scene; return {condition} }})()")

    def freeze(self) -> None:
        """Let the page draw nothing by itself."""
        self.page.evaluate("liveHeads.isLost = true")
        self.until("!liveHeads.isWaiting")

    def hand(self) -> tuple[float, float]:
        box = self.page.locator("canvas").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith(("file:", "blob:"))] == []
        assert sum(url.startswith("file:") for url in self.requests) == 1
