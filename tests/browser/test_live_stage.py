"""The page turns heads in the visitor's browser, or on the server where the browser cannot."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from stylesdf.demo.scene import Scene
from tests.browser.serve import running_app, small_model
from tests.browser.test_page import PATIENCE, Visit

pytestmark = pytest.mark.browser
ANY_SPEED = "window.slowestLiveFrame = 1e9"  # a software rasteriser is slow, which is another test's matter
QUIET = 1.0  # seconds without a request until the page counts as settled


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    with running_app("--model", str(small_model(folder / "model")), cwd=folder, log=folder / "app.log") as (address, _):
        yield address


class Turning(Visit):
    """A visit that counts requests to servers; blobs are the page's own."""

    def __init__(self, browser, address, script="", query="", **options):
        self.requests, self.script = [], script
        super().__init__(browser, address, query, prepare=self.listen, **options)

    def listen(self, page):
        page.set_default_timeout(3 * PATIENCE)  # a processor plays graphics card
        page.on("request", lambda request: request.url.startswith("blob:") or self.requests.append(request.url))
        page.add_init_script(self.script)

    def wait_for_live(self, state):
        self.page.wait_for_selector(f".stage[data-live={state}]")
        count, since = len(self.requests), time.monotonic()
        while time.monotonic() - since < QUIET:
            self.page.wait_for_timeout(100)
            if len(self.requests) != count:
                count, since = len(self.requests), time.monotonic()

    def drag(self, frames=3):
        """Press, and move until so many frames came; the pointer stays down. Returns what was asked for meanwhile."""
        (x, y), asked, before = self.hand(), len(self.requests), self.frames()
        self.page.mouse.down()
        for step in range(400):
            self.page.mouse.move(x - 40 - 10 * (step % 5), y + 5 * (step % 3))
            self.page.wait_for_timeout(30)
            if self.frames() >= before + frames:
                break
        self.page.mouse.move(x - 100, y + 50)
        self.page.wait_for_selector(".stage[aria-busy=false]")
        return self.requests[asked:]

    def frames(self) -> int:
        return int(self.page.get_attribute(".stage", "data-frames") or 0)

    def shown(self) -> np.ndarray:
        """The stage without its rim and the line that says the pose, coarse enough for the server's few pixels."""
        image = Image.open(io.BytesIO(self.page.locator(".stage").screenshot())).convert("RGB")
        part = image.crop((20, 20, image.width - 20, image.height - 60))
        return np.asarray(part.resize((20, 20), Image.Resampling.BOX)).astype(float)

    def is_live(self) -> bool:
        return self.page.evaluate("document.querySelector('.stage').classList.contains('is-live')")


def test_dragging_asks_for_nothing_and_the_picture_after_it_is_the_server_s(chromium, address, tmp_path):
    visit = Turning(chromium, address, ANY_SPEED, "?psi=0.1&mode=shape&around=80&edit=age%3D1.5")
    visit.open("Mesh")
    visit.page.wait_for_selector("#viewer canvas")  # the mesh beside it is there, too
    since = time.monotonic()
    while not any(".glb" in url for url in visit.requests):
        assert time.monotonic() - since < 120, "the mesh was never asked for"
        visit.page.wait_for_timeout(100)
    visit.wait_for_live("ready")
    assert not visit.is_live()
    before = visit.shown()
    assert visit.drag() == []
    assert visit.is_live()
    turning = visit.shown()
    visit.page.screenshot(path=tmp_path / "dragging.png")
    visit.page.mouse.up()
    visit.page.wait_for_function("document.querySelector('.stage').dataset.drawn.includes('yaw=')")
    visit.page.wait_for_selector(".stage:not(.is-live)")
    after = visit.shown()
    error, way = np.abs(after - turning).mean(), np.abs(after - before).mean()
    print(f"the browser's picture differs from the server's by {error:.2f} of 255, that from the first by {way:.2f}")
    assert error <= 0.8 * way  # the server has 32 x 32 pixels and 12 samples a ray for a rugged ball
    drawn, path = visit.drawn(), tmp_path / "taken.png"
    visit.wait_for_live("ready")
    visit.download("#download-png").save_as(path)
    assert path.read_bytes() == visit.picture()
    scene = Scene.from_picture(path)
    assert (scene.yaw, scene.pitch, scene.mode) == (float(drawn["yaw"]), float(drawn["pitch"]), "shape")
    assert (scene.edits, scene.around) == ("age=1.5", 80.0)
    again = Visit(chromium, visit.page.url)
    assert again.picture() == visit.picture()
    again.context.close()
    visit.context.close()
    assert visit.complaints == []


def test_keys_and_the_wheel_turn_it_too_and_the_weights_are_fetched_once(chromium, address):
    visit = Turning(chromium, address, ANY_SPEED)
    visit.wait_for_live("ready")
    visit.page.focus(".stage")
    visit.page.keyboard.press("ArrowRight")
    visit.wait_for(yaw=5)
    visit.hand()
    visit.page.mouse.wheel(0, -100)
    visit.page.wait_for_function("document.querySelector('.stage').dataset.drawn.includes('fov=')")
    assert visit.frames() >= 2
    weights = next(i for i, url in enumerate(visit.requests) if url.endswith(".bin"))
    assert not any("component_server" in url for url in visit.requests[weights:])
    assert len([url for url in visit.requests if url.endswith(".bin")]) == 1
    visit.page.reload()
    visit.page.wait_for_selector(".stage[data-live=ready]")
    sizes = visit.page.evaluate(
        """() => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('.bin'))
          .map(({ transferSize }) => transferSize)"""
    )
    assert sizes == [0]  # out of the browser's cache
    visit.context.close()


@pytest.mark.parametrize(
    "script, state",
    [
        ("window.slowestLiveFrame = 0", "slow"),
        ("const get = HTMLCanvasElement.prototype.getContext; HTMLCanvasElement.prototype.getContext = "
         "function (kind, ...rest) { return kind === 'webgl2' ? null : get.call(this, kind, ...rest) }", "absent"),
    ],
    ids=["slow", "absent"],
)  # fmt: skip
def test_the_server_turns_it_where_the_browser_cannot(chromium, address, script, state):
    visit = Turning(chromium, address, script)
    visit.wait_for_live(state)
    asked = visit.drag()
    assert any("component_server" in url for url in asked)
    assert not visit.is_live()
    visit.page.mouse.up()
    visit.page.wait_for_function("document.querySelector('.stage').dataset.drawn.includes('yaw=')")
    visit.context.close()


def test_a_lost_card_leaves_the_server_until_it_comes_back(chromium, address):
    visit = Turning(chromium, address, ANY_SPEED)
    visit.wait_for_live("ready")
    visit.page.evaluate(
        """() => { window.card = document.querySelector('.stage-live').getContext('webgl2')
          .getExtension('WEBGL_lose_context'); card.loseContext() }"""
    )
    visit.page.wait_for_timeout(300)
    assert any("component_server" in url for url in visit.drag())
    visit.page.mouse.up()
    visit.page.wait_for_function("document.querySelector('.stage').dataset.drawn.includes('yaw=')")
    visit.page.evaluate("card.restoreContext()")
    visit.wait_for_live("ready")
    assert not any("component_server" in url for url in visit.drag())
    visit.page.mouse.up()
    visit.context.close()
