"""With a small model: the Mesh tab bakes a texture, the Edit tab changes heads by names."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from stylesdf.demo.tabs.explore import FIRST_SEED
from tests.browser.serve import running_app, small_model
from tests.browser.test_page import Visit, wait_for_colours
from tests.gltf import picture_of, read_glb

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("textured")
    with running_app("--model", str(small_model(folder / "model")), cwd=folder, log=folder / "app.log") as (address, _):
        yield address


def test_the_texture_is_in_the_viewer_and_in_the_files(chromium, address, tmp_path):
    visit = Visit(chromium, address)
    page = visit.page
    visit.open("Mesh")
    page.wait_for_selector("#mesh-info :text('Coarse surface')")
    page.wait_for_selector("#viewer canvas")
    coarse = wait_for_colours(page)
    assert page.is_disabled("#download-mesh")
    visit.open("View")
    page.click("#snap-right")
    visit.wait_for(yaw=40)
    visit.open("Mesh")
    coarse = wait_for_colours(page, unlike=coarse)  # its camera follows
    visit.choose("#resolution", "64")
    visit.choose("#max-faces", "2,000")
    page.check("#texture-mesh input")
    page.click("#make-mesh")
    page.wait_for_selector(f"#mesh-info :text('Seed {FIRST_SEED}')")
    text = page.inner_text("#mesh-info")
    assert "closed surface" in text and "texture of 1,024 × 1,024 texels" in text and "one ZIP" in text
    wait_for_colours(page, unlike=coarse)
    page.screenshot(path=tmp_path / "textured.png")
    box = page.locator("#viewer canvas").bounding_box()
    page.mouse.move(box["x"] + 150, box["y"] + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 230, box["y"] + 150, steps=5)
    page.mouse.up()
    page.wait_for_timeout(800)
    page.click("#render-here")
    page.wait_for_function("!document.querySelector('.stage').dataset.drawn.includes('yaw=40')")

    path = tmp_path / "head.glb"
    download = visit.download("#download-mesh")
    assert download.suggested_filename == f"head-{FIRST_SEED}.glb"
    download.save_as(path)
    _, arrays = read_glb(path)
    assert set(arrays) == {"POSITION", "NORMAL", "TEXCOORD_0", "indices"}
    assert len(arrays["indices"]) <= 3 * 2000 and np.ptp(arrays["TEXCOORD_0"], axis=0).min() > 0.5
    picture = Image.open(io.BytesIO(picture_of(path)))
    assert picture.size == (1024, 1024) and len(picture.getcolors(1024**2)) > 100
    shown = "fetch(document.querySelector('#viewer a[href$=\".glb\"]').href).then((answer) => answer.text())"
    assert '"TEXCOORD_0"' in page.evaluate(shown)  # the viewer has a file with it, too

    visit.choose("#format", "OBJ")
    download = visit.download("#download-mesh", ".zip")
    assert download.suggested_filename == f"head-{FIRST_SEED}.zip"
    with zipfile.ZipFile(download.path()) as archive:
        names = archive.namelist()
        assert names == [f"head-{FIRST_SEED}{end}" for end in (".mtl", ".obj", "_texture.png")]
        assert f"mtllib {names[0]}" in archive.read(names[1]).decode() and names[2] in archive.read(names[0]).decode()
        assert Image.open(archive.open(names[2])).tobytes() == picture.tobytes()
    visit.choose("#format", "PLY")
    download = visit.download("#download-mesh", ".ply")
    assert download.suggested_filename == f"head-{FIRST_SEED}.ply"
    header = download.path().read_bytes().partition(b"end_header")[0]
    assert b"property uchar red" in header and b'"texture_size"' not in header
    assert visit.complaints == []

    visit.open("Mix")  # another's colours: the texture that is shown is no longer this head's
    page.fill("#texture input, #texture textarea", "5")
    visit.wait_for(texture=5)
    visit.open("Mesh")
    page.wait_for_selector("#mesh-info :text('Coarse surface')")
    page.wait_for_selector("#download-mesh[disabled]")
    visit.set_seed(FIRST_SEED + 1)
    page.wait_for_selector("#mesh-info :text('Coarse surface')")
    visit.context.close()
    assert visit.complaints == []


def test_edits_change_the_head_and_are_in_its_link(chromium, address):
    visit = Visit(chromium, address)
    page, alone = visit.page, visit.picture()
    visit.open("Edit")
    page.fill("#edit-0 input[type=number]", "1.5")
    page.keyboard.press("Enter")
    visit.wait_for(edit="age=1.5")
    assert visit.picture() != alone
    assert page.locator("#edits input[type=range]:visible").count() == 2  # as many as the model has directions
    again = Visit(chromium, address, f"?seed={FIRST_SEED}&edit=age%3D1.5%2Csmile%3D-1")
    assert again.drawn()["edit"] == "age=1.5,smile=-1"
    again.open("Edit")
    again.page.wait_for_selector("#edit-0 input[type=number]")
    again.page.wait_for_function("document.querySelector('#edit-0 input[type=number]').value === '1.5'")
    again.page.click("#no-edits")
    again.wait_for(edit=None)
    assert again.picture() == alone
    again.page.wait_for_function("document.querySelector('#edit-0 input[type=number]').value === '0'")
    for each in (visit, again):
        each.context.close()
        assert each.complaints == []


def test_it_is_said_how_far_a_view_is_known(chromium, address):
    visit = Visit(chromium, address)
    visit.open("View")
    for yaw, words in ((20, "yaw 20°"), (40, "seldom seen in training"), (60, "a guess: not seen in training")):
        visit.page.fill("#yaw input[type=number]", str(yaw))
        visit.wait_for(yaw=yaw)
        text = visit.page.inner_text(".stage-pose")
        assert words in text and ("training" in words) == ("training" in text)
    visit.context.close()


def test_a_head_of_ones_own(chromium, address, tmp_path):
    visit = Visit(chromium, address)
    page = visit.page
    visit.open("Your picture")
    (tmp_path / "no.png").write_text("no picture")
    page.set_input_files("#your-picture input[type=file]", tmp_path / "no.png")
    page.wait_for_selector("text=This picture cannot be used: no.png cannot be read as a picture")
    assert page.is_disabled("#find")
    (tmp_path / "a.png").write_bytes(visit.picture())
    page.set_input_files("#your-picture input[type=file]", tmp_path / "a.png")
    page.wait_for_selector("#looked-at img")
    page.wait_for_selector("#find-info :text('Finding the head takes')")
    square = page.get_attribute("#looked-at img", "src")
    page.check("#is-photo input")
    page.wait_for_selector("text=no faces are found")  # among balls
    page.uncheck("#is-photo input")
    page.wait_for_selector("#find:not([disabled])")
    page.fill("#cut-turn input[type=number]", "10")
    page.keyboard.press("Enter")
    page.wait_for_function("old => document.querySelector('#looked-at img').src !== old", arg=square)
    page.click("#find:not([disabled])")
    page.wait_for_selector("#find-info :text('Found in')")
    page.wait_for_function("document.querySelector('.stage').dataset.drawn.includes('head=')")
    assert visit.drawn()["seed"] == str(FIRST_SEED)
    assert visit.download("#download-head").suggested_filename == "head-yours.safetensors"
    page.click("#dice")
    page.wait_for_function("!document.querySelector('.stage').dataset.drawn.includes('head=')")
    visit.context.close()
    assert visit.complaints == []


def test_edits_that_the_model_does_not_know_are_one_sentence(chromium, address):
    visit = Visit(chromium, address, "?edit=beard%3D1")
    visit.page.wait_for_selector("text=there is no direction 'beard', expected one of age, smile")
    visit.context.close()
