"""The page in a real browser: what a visitor sees, clicks and takes home."""

import base64
import io
from urllib.parse import parse_qsl, quote

import pytest
from PIL import Image

from stylesdf import StyleSDF
from stylesdf.demo.tabs.explore import FIRST_SEED
from tests.browser.serve import BUNDLED, running_app, small_model

pytestmark = pytest.mark.browser

# Without a graphics card Babylon tries WebGPU, says so, and draws with WebGL; test_mesh looks at what it drew.
# The viewer complains when another mesh comes while it still loads one, and then shows the other.
HARMLESS = ("WebGPU", "New model is being loaded before previous model finished")
DROP_ON_THE_STAGE = """([text, name]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), dataTransfer = new DataTransfer()
  dataTransfer.items.add(new File([bytes], name))
  document.querySelector('.stage').dispatchEvent(new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true}))
}"""
PATIENCE = 60_000  # milliseconds, for a slow machine
TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter((node) => {
  const isClipped = (up) => up && (getComputedStyle(up).overflowX !== 'visible' || isClipped(up.parentElement))
  const { width, right } = node.getBoundingClientRect()
  return width && right > 391 && node.checkVisibility({ visibilityProperty: true }) && !isClipped(node.parentElement)
}).map((node) => node.outerHTML.slice(0, 150)).concat(document.documentElement.scrollWidth > 390 ? ['the page'] : [])"""
# How many texts are seen, and those whose contrast with what lies behind them is below 4.5 (WCAG 2, AA).
FAINT_TEXT = r"""() => {
  const ink = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })
  const read = (color) => {
    ink.clearRect(0, 0, 1, 1)
    ink.fillStyle = color
    ink.fillRect(0, 0, 1, 1)
    return [...ink.getImageData(0, 0, 1, 1).data].map((value) => value / 255)
  }
  const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => a * value + (1 - a) * under[i])
  const behind = (node) => {
    const color = node ? read(getComputedStyle(node).backgroundColor) : [1, 1, 1, 1]
    return color[3] === 1 ? color.slice(0, 3) : over(color, behind(node.parentElement))
  }
  const light = (color) => color.map((value) => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4)
    .reduce((sum, value, i) => sum + value * [.2126, .7152, .0722][i], 0)
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const seen = [], faint = []
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, text = walker.currentNode.data.trim()
    const isShown = node.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    if (!isShown || !node.getBoundingClientRect().width || node.closest('[disabled], script, style')) continue
    if (!/[\p{L}\p{N}]/u.test(text)) continue  // an ornament
    const style = getComputedStyle(node), back = behind(node)
    let [r, g, b, alpha] = read(node.closest('svg') ? style.fill : style.color)
    for (let up = node; up; up = up.parentElement) alpha *= Number(getComputedStyle(up).opacity)
    const [low, high] = [light(over([r, g, b, alpha], back)), light(back)].sort((a, b) => a - b)
    seen.push(text)
    if ((high + .05) / (low + .05) < 4.5) faint.push(`${text}: ${((high + .05) / (low + .05)).toFixed(2)}`)
  }
  return [seen.length, faint]
}"""


# The pictures of Gradio's slider have no words of their own: its label names both.
NAMELESS = """() => [...document.querySelectorAll('button, input, img, [role=application]')].filter((node) =>
  !node.closest('#compare') &&
  node.offsetParent && !node.ariaLabel && !node.innerText?.trim() && !node.alt && !node.title &&
  !node.labels?.length && !node.placeholder && !node.closest('label, [aria-label], [title]') &&
  !node.querySelector('[aria-label], title, img[alt]')).map((node) => node.outerHTML.slice(0, 200))"""
TABS = ("Gallery", "View", "Mesh", "Mix", "Edit", "Film", "Your picture", "Compare", "Inside", "Link", "Model")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The folder of the model, the address of a server that offers it, and what the server writes."""
    folder = tmp_path_factory.mktemp("page")
    if (BUNDLED / "model.safetensors").is_file():
        model, arguments = BUNDLED, ()
    else:
        model = small_model(folder / "model")
        arguments = ("--model", str(model))
    with running_app(*arguments, cwd=folder, log=folder / "app.log") as (address, seconds):
        print(f"app.py answered after {seconds:.1f} s")
        yield model, address, folder / "app.log"


@pytest.fixture(autouse=True)
def _what_the_server_said(served):
    """Printed after each test, so that it is there to be read where one fails."""
    start = served[2].stat().st_size
    yield
    with served[2].open() as log:
        log.seek(start)
        print(log.read())


class Visit:
    """One open page and what its console said."""

    def __init__(self, browser, address, query="", width=1280, height=1000, prepare=None, **options):
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints = []
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda answer: answer.status >= 400 and self.complaints.append(answer.url))
        if prepare:
            prepare(self.page)
        self.page.goto(address + query)
        self.page.wait_for_selector(".stage[data-drawn]")

    def _listen(self, message):
        if message.type == "error" and not any(text in message.text for text in HARMLESS):
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def drawn(self) -> dict:
        """The scene of the picture that is shown."""
        return dict(parse_qsl(self.page.get_attribute(".stage", "data-drawn")))

    def wait_for(self, **fields) -> None:
        """Wait until the picture is of a scene that says this; None: says nothing."""
        self.page.wait_for_function(
            """fields => {
              const drawn = new URLSearchParams(document.querySelector('.stage').dataset.drawn)
              return Object.entries(fields).every(([name, value]) => drawn.get(name) === value)
            }""",
            arg={name: None if value is None else str(value) for name, value in fields.items()},
        )

    def picture(self) -> bytes:
        """The PNG that is shown."""
        return base64.b64decode(self.page.get_attribute(".stage-picture", "src").partition(",")[2])

    def seed(self) -> int:
        return int(self.page.input_value("#seed input"))

    def set_seed(self, seed: int) -> None:
        self.page.fill("#seed input", str(seed))
        self.wait_for(seed=seed)

    def open(self, tab: str) -> None:
        button = self.page.locator(f"#tabs button[role=tab]:visible:text-is('{tab}')")
        if not button.count():  # a narrow screen puts it into a menu
            self.page.click("#tabs .overflow-menu > button")
            button = self.page.locator(f"#tabs .overflow-dropdown button:text-is('{tab}')")
        button.first.click()

    def choose(self, box: str, text: str) -> None:
        self.page.click(f"{box} input")
        self.page.click(f"[role=option]:text-is('{text}')")

    def download(self, button: str, ending: str = ""):
        """Take what a button gives, as soon as that has a name of this ending."""
        for _ in range(40):
            self.page.wait_for_selector(f"{button}:not([disabled])")
            with self.page.expect_download() as download:
                self.page.click(button)
            if download.value.suggested_filename.endswith(ending):
                break
            self.page.wait_for_timeout(250)
        return download.value

    def hand(self) -> tuple[float, float]:
        """Put the pointer on the middle of the picture."""
        box = self.page.locator(".stage").bounding_box()
        place = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(*place)
        return place


@pytest.fixture
def visit(chromium, served, tmp_path):
    visit = Visit(chromium, served[1])
    yield visit
    visit.page.screenshot(path=tmp_path / "desktop.png", full_page=True)
    visit.context.close()
    assert visit.complaints == []


def test_it_opens_with_a_picture_and_follows_the_controls(visit):
    page = visit.page
    pictures = {visit.picture()}
    visit.set_seed(7)
    pictures.add(visit.picture())
    visit.open("View")
    for slider, name, value in (("#yaw", "yaw", "30"), ("#pitch", "pitch", "-12"), ("#truncation", "psi", "1")):
        page.fill(f"{slider} input[type=number]", value)
        page.keyboard.press("Enter")
        visit.wait_for(**{name: value})
        pictures.add(visit.picture())
    assert len(pictures) == 5

    page.focus("#seed input")
    page.keyboard.press("ArrowUp")
    visit.wait_for(seed=8)
    page.click("#snap-profile")
    visit.wait_for(yaw=90, pitch=None)
    page.click("#snap-front")
    visit.wait_for(yaw=None)
    page.click("#dice")
    page.wait_for_function("!document.querySelector('.stage').dataset.drawn.includes('seed=8&')")
    assert 0 <= visit.seed() <= 9999


def test_the_picture_turns_under_the_pointer_and_by_keys(visit):
    page = visit.page
    x, y = visit.hand()
    page.mouse.down()
    for step in range(1, 13):
        page.mouse.move(x - 10 * step, y + 4 * step)
        page.wait_for_timeout(40)
    page.wait_for_selector(".stage[data-frames]")  # it follows before the hand rests
    assert visit.drawn().get("yaw") is None
    page.mouse.up()
    page.wait_for_function("document.querySelector('.stage').dataset.drawn.includes('yaw=')")
    drawn = visit.drawn()  # both angles at once
    assert float(drawn["yaw"]) > 10 and float(drawn["pitch"]) > 5  # the camera goes against the hand
    visit.open("View")
    assert page.input_value("#yaw input[type=number]") == drawn["yaw"]

    visit.hand()
    page.mouse.wheel(0, -200)
    page.wait_for_function("document.querySelector('.stage').dataset.drawn.includes('fov=')")
    assert float(visit.drawn()["fov"]) < 12
    visit.hand()
    page.mouse.dblclick(*visit.hand())
    visit.wait_for(yaw=None, pitch=None, fov=None)

    page.focus(".stage")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    visit.wait_for(yaw=10)
    page.keyboard.press("ArrowUp")
    visit.wait_for(yaw=10, pitch=5)
    page.keyboard.press("+")
    page.wait_for_function("document.querySelector('.stage').dataset.drawn.includes('fov=')")
    page.keyboard.press("Home")
    visit.wait_for(yaw=None, pitch=None, fov=None)


def test_modes_and_quality(visit):
    page, seen = visit.page, set()
    visit.open("View")
    for text, mode in (("Depth", "depth"), ("Normals", "normals"), ("Bare shape", "shape"), ("Thumbnail", "thumbnail")):
        page.click(f"#mode label:has-text('{text}')")
        visit.wait_for(mode=mode)
        seen.add(visit.picture())
    assert len(seen) == 4
    page.click("#quality label:has-text('best')")
    visit.wait_for(quality="best")
    page.fill("#roll input[type=number]", "45")
    page.keyboard.press("Enter")
    visit.wait_for(roll=45)
    page.fill("#perspective input[type=number]", "0")
    page.keyboard.press("Enter")
    visit.wait_for(perspective=0)
    before = visit.picture()
    page.fill("#around input[type=number]", "80")
    page.keyboard.press("Enter")
    visit.wait_for(around=80)
    page.click("#mode label:has-text('Picture')")
    visit.wait_for(mode=None, around=80)
    assert visit.picture() != before


def test_the_download_is_the_picture_that_python_makes(visit, served):
    visit.set_seed(11)
    download = visit.download("#download-png", "11.png")
    image = Image.open(download.path())
    assert download.suggested_filename == "head-11.png"
    assert (image.format, image.text["seed"], image.text["truncation"]) == ("PNG", "11", "0.7")
    expected = StyleSDF.from_pretrained(served[0]).generate([11], truncation=0.7).images[0]
    assert image.tobytes() == expected.tobytes()
    assert download.path().read_bytes() == visit.picture()


def test_links_and_dropped_pictures_bring_everything_back(chromium, visit, served, tmp_path):
    page = visit.page
    query = "?seed=21&psi=0.9&texture=4&to=5&share=0.3&yaw=-25.5&pitch=8&mode=shape"
    first = Visit(chromium, served[1], query)
    picture, link = first.picture(), first.page.url
    first.open("Mix")
    assert first.page.input_value("#texture input, #texture textarea") == "4"
    path = tmp_path / "taken.png"
    first.download("#download-png").save_as(path)
    assert path.read_bytes() == picture
    first.open("Link")
    first.page.wait_for_selector("#code :text('model.blend')")
    assert first.page.input_value("#link input, #link textarea") == link
    first.context.close()

    again = Visit(chromium, link)
    assert again.picture() == picture
    again.context.close()

    visit.open("Link")
    page.set_input_files("#drop input[type=file]", path)
    visit.wait_for(seed=21, to=5, mode="shape")
    assert visit.picture() == picture
    visit.set_seed(3)
    page.set_input_files("#drop input[type=file]", path)  # once more
    visit.wait_for(seed=21, to=5)
    visit.set_seed(4)
    file = [base64.b64encode(picture).decode(), "taken.png"]
    page.evaluate(DROP_ON_THE_STAGE, file)
    visit.wait_for(seed=21, to=5)
    page.evaluate(DROP_ON_THE_STAGE, [base64.b64encode(b"no picture").decode(), "no.png"])
    page.wait_for_selector("text=the file is no PNG, expected one saved from this page")
    text = """new DragEvent('drop', { dataTransfer: new DataTransfer(), bubbles: true, cancelable: true })"""
    assert page.evaluate(f"document.body.dispatchEvent({text})")  # the browser's own: it goes into fields
    assert first.complaints == again.complaints == []


def test_words_of_a_link_are_no_markup(chromium, served):
    hostile = "<img src=/evil.png><input type=password>"
    visit = Visit(chromium, served[1], "?seed=" + quote(hostile))
    visit.page.wait_for_selector(f"text=seed of the link is '{hostile}'")
    assert visit.page.locator("img[src*=evil], input[type=password]").count() == 0
    visit.context.close()
    assert visit.complaints == []


def test_the_gallery(visit):
    page, before = visit.page, visit.picture()
    page.click("#gallery .thumbnail-item >> nth=4")  # it is there before anybody asks
    visit.wait_for(seed=4)
    assert visit.picture() != before
    page.wait_for_selector("#gallery .thumbnail-item >> nth=11")
    page.wait_for_selector("#strip .thumbnail-item >> nth=5")
    page.click("#more-heads")
    page.wait_for_selector("#gallery .thumbnail-item >> nth=23")
    page.click("#gallery .thumbnail-item >> nth=13")
    visit.wait_for(seed=13)
    page.click("#strip .thumbnail-item >> nth=5")
    visit.wait_for(psi=1)
    page.click("#keep")
    page.wait_for_selector("#favourites .thumbnail-item")
    page.reload()
    page.wait_for_selector(".stage[data-drawn]")
    visit.complaints.clear()  # of streams that the reload cut off
    visit.set_seed(30)
    page.click("#favourites .thumbnail-item")
    visit.wait_for(seed=13, psi=1)


def test_mixes_and_morphs(visit):
    page = visit.page
    visit.open("Mix")
    alone = visit.picture()
    page.fill("#texture input, #texture textarea", "5")
    visit.wait_for(texture=5)
    assert visit.picture() != alone
    page.wait_for_selector("#parent-texture img")
    page.fill("#morph-seed input, #morph-seed textarea", "8")
    page.fill("#morph-share input[type=number]", "0.25")
    page.keyboard.press("Enter")
    visit.wait_for(to=8, share=0.25)
    page.click("#swap")
    visit.wait_for(seed=8, to=FIRST_SEED, share=0.75)
    page.fill("#texture input, #texture textarea", "five")
    page.wait_for_timeout(500)
    assert not page.locator("text=texture_seed is").count()  # more may come
    page.locator("#texture input, #texture textarea").blur()
    page.wait_for_selector("text=texture_seed is 'five'")
    page.click("#unmix")
    visit.wait_for(texture=None, to=None)
    for text in ("abc", "99999999999", "-1"):  # nobody to swap with: the page hung
        page.fill("#morph-seed input, #morph-seed textarea", text)
        page.click("#swap")
        page.wait_for_timeout(300)
        assert visit.seed() == 8 and page.input_value("#morph-seed input, #morph-seed textarea") == text


def test_a_number_counts_once_it_is_one(visit):
    visit.open("View")
    visit.page.fill("#yaw input[type=number]", "")
    visit.page.wait_for_timeout(1000)
    assert not visit.page.locator(".toast-body").count()
    visit.page.fill("#yaw input[type=number]", "20")
    visit.wait_for(yaw=20)
    visit.page.fill("#seed input", "7.6")
    visit.page.keyboard.press("Tab")
    visit.wait_for(seed=8)
    visit.page.wait_for_function("document.querySelector('#seed input').value === '8'")


def test_edits_follow_resets_and_are_kept_as_they_are_seen(chromium, served):
    visit = Visit(chromium, served[1], "?seed=7&edit=age%3D1.5")
    page, number = visit.page, "#edit-0 input[type=number]"
    visit.open("Edit")
    page.wait_for_function(f"document.querySelector('{number}')?.value === '1.5'")
    page.click("#edit-0 .reset-button")
    visit.wait_for(edit=None)
    page.fill(number, "9")
    page.keyboard.press("Tab")
    visit.wait_for(edit="age=3")
    page.click("#keep")
    visit.open("Gallery")
    page.wait_for_selector("#favourites :text('seed 7, edited')")
    plain = page.get_attribute("#gallery .thumbnail-item >> nth=7 >> img", "src")
    assert page.get_attribute("#favourites .thumbnail-item img", "src") != plain
    assert visit.drawn()["edit"] == "age=3"  # what was shown late of the reset takes nothing back
    visit.context.close()
    assert visit.complaints == []


def wait_for_colours(page, unlike=None):
    """Wait until the viewer shows something coloured, other than a picture of before."""
    for _ in range(60):  # the viewer loads its engine, then the file
        page.wait_for_timeout(500)
        canvas = Image.open(io.BytesIO(page.locator("#viewer canvas").screenshot())).convert("RGB")
        middle = canvas.crop((canvas.width // 4, canvas.height // 4, canvas.width * 3 // 4, canvas.height * 3 // 4))
        background = canvas.getpixel((8, canvas.height - 8))  # a head may reach the lower edge
        counts = middle.getcolors(middle.width * middle.height)
        colours = sum(max(abs(a - b) for a, b in zip(colour, background)) > 24 for _, colour in counts)
        if colours > 200 and (unlike is None or unlike.tobytes() != middle.tobytes()):
            return middle
    pytest.fail("the canvas stays as it is")


@pytest.mark.parametrize("text, ending, start", [("MP4", "mp4", b"ftyp"), ("GIF", "gif", b"GIF8")])
def test_films(visit, text, ending, start):
    page = visit.page
    visit.open("Film")
    page.fill("#frames input[type=number]", "6")
    page.keyboard.press("Enter")
    page.check("#film-shape input")
    visit.choose("#film-format", text)
    visit.choose("#film-kind", "Morph")
    page.fill("#film-seeds input, #film-seeds textarea", "3, 8")
    page.click("#make-film")
    download = visit.download("#download-film")
    assert download.suggested_filename == f"head-{FIRST_SEED}-morph.{ending}"
    assert start in download.path().read_bytes()[:12]
    page.wait_for_selector("#film video" if ending == "mp4" else "#film-image img")


def test_compare_and_inside(visit):
    page = visit.page
    visit.open("Compare")
    page.wait_for_selector("#compare img")
    visit.choose("#compare-right", "Depth")
    visit.open("Inside")
    for name in ("slice", "ray", "prior", "plane"):
        page.wait_for_selector(f"#{name} .main-svg")


def test_models_are_looked_up_refused_offered_and_named(visit):
    page, before = visit.page, visit.picture()
    visit.open("Model")
    page.click("#check-model")
    page.wait_for_selector("#model-info :text('MB, licence')")
    page.fill("#model input", "no/such/model")
    page.keyboard.press("Enter")
    page.click("#load-model")
    page.wait_for_selector("text=neither a folder")
    visit.choose("#model", "Toy heads")
    page.click("#load-model")
    visit.wait_for(model="checkpoints/toy-heads")
    assert visit.picture() != before
    page.reload()  # as its link says
    page.wait_for_selector(".stage[data-drawn]")
    visit.complaints.clear()  # of streams that the reload cut off
    visit.open("Model")
    page.wait_for_selector("#model-info :text('checkpoints/toy-heads')")
    assert page.input_value("#model input") == "Toy heads"


def test_what_runs_and_what_waits_can_be_stopped(visit, tmp_path):
    page = visit.page
    (tmp_path / "a.png").write_bytes(visit.picture())
    visit.open("Your picture")
    page.set_input_files("#your-picture input[type=file]", tmp_path / "a.png")
    page.wait_for_selector("#find:not([disabled])")
    visit.open("Film")
    page.fill("#frames input[type=number]", "120")
    page.click("#make-film")
    page.wait_for_selector("#film-info :text('of 120')")
    page.wait_for_selector("#film-info :text('left')")
    visit.open("Your picture")
    page.click("#find")
    page.wait_for_selector("#find-info :text('Waiting for its turn.')")
    page.click("#stop-find:not([disabled])")
    page.wait_for_selector("#find-info :text('Stopped.')")
    visit.open("Film")
    page.click("#stop-film")
    page.wait_for_timeout(1500)
    assert page.inner_text("#film-info") == "Stopped." and page.is_disabled("#stop-film")
    assert page.is_disabled("#download-film")


def test_it_fits_a_phone(chromium, served, tmp_path):
    visit = Visit(chromium, served[1], width=390, height=844, is_mobile=True, has_touch=True)
    page = visit.page
    order = ".stage, #seed, #dice, #truncation, #tabs"
    tops = page.evaluate(f"[...document.querySelectorAll('{order}')].map((node) => node.getBoundingClientRect().top)")
    assert tops == sorted(tops) and len(tops) == 5 and tops[-1] < 800  # the picture is first, the tabs are in sight
    for tab in TABS:
        visit.open(tab)
        page.wait_for_timeout(300)
        assert page.evaluate(TOO_WIDE) == [], tab
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    visit.context.close()
    assert visit.complaints == []


def test_the_first_screen_has_what_is_needed_and_little_else(visit):
    page = visit.page
    for width, height in ((1280, 800), (1920, 1080), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(300)
        for name in (".stage", "#seed", "#dice", "#truncation"):
            box = page.locator(name).bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, name
        picture, window = page.locator(".stage").bounding_box(), min(width, height)
        assert picture["width"] == picture["height"] >= 0.6 * window
        assert page.locator("#yaw:visible, #mode:visible, #quality:visible, #model:visible").count() == 0
        if width > 1000:
            gallery = page.locator("#beside").bounding_box()  # beside the picture, up to the window's edge
            assert gallery["y"] < 200 and gallery["x"] >= picture["x"] + picture["width"]
            assert width - 60 <= gallery["x"] + gallery["width"] <= width


def test_every_text_can_be_read_and_all_that_acts_has_a_name(visit):
    for tab in TABS:
        visit.open(tab)
        for is_dark in (False, True):
            visit.page.evaluate("isDark => document.body.classList.toggle('dark', isDark)", is_dark)
            for _ in range(40):  # what is being drawn is faint meanwhile
                visit.page.wait_for_timeout(250)
                count, faint = visit.page.evaluate(FAINT_TEXT)
                if faint == []:
                    break
            assert count > 15 and faint == [], (tab, is_dark)
        assert visit.page.evaluate(NAMELESS) == [], tab
