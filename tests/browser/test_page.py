"""The page in a real browser: what a visitor sees, clicks and takes home."""

import io
import os

import pytest
from PIL import Image

from stylesdf import StyleSDF
from tests.browser.serve import BUNDLED, find_browser, running_app, small_model

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
# Without a graphics card Babylon tries WebGPU, says so, and draws with WebGL; test_mesh looks at what it drew.
HARMLESS = ("WebGPU",)
PATIENCE = 60_000  # milliseconds, for a slow machine


@pytest.fixture(scope="module")
def chromium():
    path = find_browser()
    if path is None and os.environ.get("CI", "").lower() not in ("true", "1"):
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    assert path is not None, "CI must test the page, but there is no Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The folder of the model, and the address of a server that offers it."""
    folder = tmp_path_factory.mktemp("page")
    if (BUNDLED / "model.safetensors").is_file():
        model, arguments = BUNDLED, ()
    else:
        model = small_model(folder / "model")
        arguments = ("--model", str(model))
    with running_app(*arguments, cwd=folder, log=folder / "app.log") as (address, seconds):
        print(f"app.py answered after {seconds:.1f} s")
        yield model, address


class Visit:
    """One open page and what its console said."""

    def __init__(self, browser, address, width=1280, height=900, **options):
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints = []
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda answer: answer.status >= 400 and self.complaints.append(answer.url))
        self.page.goto(address)
        self.page.wait_for_selector("#picture img")

    def _listen(self, message):
        if message.type == "error" and not any(text in message.text for text in HARMLESS):
            self.complaints.append(message.text)

    def picture(self) -> str:
        return self.page.get_attribute("#picture img", "src")

    def pixels(self) -> bytes:
        answer = self.context.request.get(self.picture())
        return Image.open(io.BytesIO(answer.body())).convert("RGB").tobytes()

    def wait_for_another(self, old: str) -> None:
        self.page.wait_for_function("old => document.querySelector('#picture img')?.src !== old", arg=old)

    def seed(self) -> int:
        return int(self.page.input_value("#seed input"))

    def set_seed(self, seed: int) -> None:
        old = self.picture()
        self.page.fill("#seed input", str(seed))
        self.wait_for_another(old)


@pytest.fixture
def visit(chromium, served, tmp_path):
    visit = Visit(chromium, served[1])
    yield visit
    visit.page.screenshot(path=tmp_path / "desktop.png", full_page=True)
    visit.context.close()
    assert visit.complaints == []


def test_it_opens_with_a_picture_and_follows_the_controls(visit):
    page = visit.page
    for name in ("thumbnail", "depth", "normals"):
        page.wait_for_selector(f"#{name} img")
    page.wait_for_selector("#slice .main-svg")
    page.wait_for_selector("#ray .main-svg")
    before = visit.pixels()
    visit.set_seed(7)
    after = visit.pixels()
    assert before != after
    assert page.input_value("#seed-slider input[type=range]") == "7"

    for slider, value in (("#yaw", "30"), ("#pitch", "-12"), ("#truncation", "1")):
        old = visit.picture()
        page.fill(f"{slider} input[type=number]", value)
        page.keyboard.press("Enter")
        visit.wait_for_another(old)
        before, after = after, visit.pixels()
        assert before != after, slider

    old = visit.picture()
    page.focus("#seed-slider input[type=range]")
    page.keyboard.press("ArrowRight")
    visit.wait_for_another(old)
    assert visit.seed() == 8

    old = visit.picture()
    page.click("#dice")
    visit.wait_for_another(old)
    assert 0 <= visit.seed() <= 9999


def test_the_download_is_the_picture_that_python_makes(visit, served):
    visit.set_seed(11)
    visit.page.wait_for_timeout(300)
    with visit.page.expect_download() as download:
        visit.page.click("#download-png")
    image = Image.open(download.value.path())
    assert download.value.suggested_filename == "head-11.png"
    assert (image.format, image.text["seed"], image.text["truncation"]) == ("PNG", "11", "0.7")
    expected = StyleSDF.from_pretrained(served[0]).generate([11], truncation=0.7).images[0]
    assert image.tobytes() == expected.tobytes()


def test_a_click_in_the_gallery_picks_a_head(visit):
    page = visit.page
    page.wait_for_selector("#gallery img")
    assert page.locator("#gallery .thumbnail-item").count() == 12
    old = visit.picture()
    page.click("#gallery .thumbnail-item >> nth=4")
    visit.wait_for_another(old)
    assert visit.seed() == 4
    page.click("#next-page")
    page.wait_for_selector("#gallery :text('seed 12')")
    old = visit.picture()
    page.click("#gallery .thumbnail-item >> nth=1")
    visit.wait_for_another(old)
    assert visit.seed() == 13


def test_the_mesh_is_drawn_and_can_be_taken_home(visit):
    page = visit.page
    assert page.is_disabled("#download-mesh")
    page.click("#make-mesh")
    page.wait_for_selector("#mesh-info :text('triangles')")
    page.wait_for_selector("#viewer canvas")
    colours = 0
    for _ in range(60):  # the viewer loads its engine, then the file
        page.wait_for_timeout(500)
        canvas = Image.open(io.BytesIO(page.locator("#viewer canvas").screenshot())).convert("RGB")
        middle = canvas.crop((canvas.width // 4, canvas.height // 4, canvas.width * 3 // 4, canvas.height * 3 // 4))
        background = canvas.getpixel((canvas.width // 2, canvas.height - 8))
        counts = middle.getcolors(middle.width * middle.height)
        colours = sum(
            max(abs(a - b) for a, b in zip(colour, background)) > 24 and count > 0 for count, colour in counts
        )
        if colours > 200:
            break
    assert colours > 200, "the canvas stays empty"
    page.wait_for_selector("#download-mesh:not([disabled])")
    with page.expect_download() as download:
        page.click("#download-mesh")
    assert download.value.suggested_filename == f"head-{visit.seed()}.glb"
    assert download.value.path().read_bytes()[:4] == b"glTF"

    visit.set_seed(5)  # another head: its mesh is not made yet
    page.wait_for_selector("#download-mesh[disabled]")
    page.wait_for_selector("#mesh-info :text('Make mesh')")


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(visit):
    page = visit.page
    page.fill("#model input, #model textarea", "no/such/model")
    page.click("#load-model")
    page.wait_for_selector("text=neither a folder")
    visit.set_seed(3)


def test_it_fits_a_phone(chromium, served, tmp_path):
    visit = Visit(chromium, served[1], 390, 844, is_mobile=True, has_touch=True)
    page = visit.page
    page.wait_for_selector("#gallery img")
    page.wait_for_selector("#slice .main-svg")
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    visit.context.close()
    assert visit.complaints == []
