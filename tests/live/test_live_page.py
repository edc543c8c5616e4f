"""An exported page in a real browser, opened from disk: the surface is PyTorch's, and hands, keys and links work."""

import dataclasses
import io
import math
import time

import numpy as np
import pytest
import torch
from PIL import Image

from stylesdf import Camera, StyleSDF
from stylesdf.camera import camera_rays
from stylesdf.demo.scene import Scene
from stylesdf.live.export import export_live
from tests.browser.serve import BUNDLED
from tests.live.surface import find_surface
from tests.live.visit import MEASURE, Visit

pytestmark = pytest.mark.browser

SIZE = 64


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """The bundled model and its page."""
    if not (BUNDLED / "model.safetensors").is_file():
        pytest.skip("the bundled model is not there yet")
    path = tmp_path_factory.mktemp("people") / "heads.html"
    model = StyleSDF.from_pretrained(BUNDLED)
    export_live(model, path)
    return model, path


@pytest.fixture(scope="module")
def still(chromium, people):
    """An open page of the bundled model, which draws what it is asked for alone."""
    visit = Visit(chromium, people[1])
    visit.freeze()
    yield visit
    visit.close()


@pytest.fixture
def visit(chromium, small, tmp_path):
    visit = Visit(chromium, small)
    yield visit
    visit.page.screenshot(path=tmp_path / "page.png")
    visit.close()


# ---- the surface


@pytest.mark.parametrize(
    "guide, seed, psi, yaw, pitch, change",
    [(24, 5, 1, -70, -15, {}), (48, 2, 0.7, 0, 0, {"to": 6, "share": 0.4, "texture": 1}),
     (48, 3, 0.7, 20, 5, {"perspective": 0}), (48, 5, 0.7, -20, 5, {"perspective": 4})],
)
def test_the_surface_is_that_of_pytorch(still, people, guide, seed, psi, yaw, pitch, change):
    model, _ = people
    scene = {"seed": seed, "psi": psi, "yaw": yaw, "pitch": pitch, **change}
    maps = still.page.evaluate(MEASURE, [scene, SIZE, guide])
    places, normals, colours = (torch.tensor(values).view(SIZE, SIZE, 4) for values in maps)
    with torch.no_grad():
        codes = {name: model.mapping(model.latents([number]), psi) for name, number in scene.items()
                 if name in ("seed", "to", "texture")}  # fmt: skip
        w = torch.lerp(codes["seed"], codes["to"], change["share"]) if "to" in codes else codes["seed"]
        field = model.field.condition(w)
        if "texture" in codes:
            field = dataclasses.replace(field, view_layer=model.field.view_layer.fold(codes["texture"]))
    lens = {"perspective": change.get("perspective", 1.0)}
    camera = Camera.from_angles(math.radians(yaw), math.radians(pitch), **lens)
    expected = find_surface(model, field, camera, SIZE)
    hit = places[..., 3] > 0.0
    both = hit & expected["hit"]
    iou = (both.sum() / (hit | expected["hit"]).sum()).item()
    depth = (places[..., 0] - expected["depth"]).abs()[both]
    cosine = (torch.nn.functional.normalize(normals[..., :3], dim=-1) * expected["normals"]).sum(dim=-1)[both]
    angle = torch.rad2deg(cosine.clamp(-1.0, 1.0).acos())
    # past a rim the two may see different surfaces: how often is bounded, and colours are compared on the same one
    error = (colours[..., :3] / 255.0 - expected["rgb"])[both][depth <= 1e-3]
    psnr = -10.0 * error.square().mean().log10().item()
    same = len(error) / both.sum().item()
    evaluations = places[..., 2].mean().item()
    print(f"IoU {iou:.4f}; depth median {depth.median():.2g}, 99 % {depth.quantile(0.99):.2g}; normals median "
          f"{angle.median():.2g}, 95 % {angle.quantile(0.95):.2g} degrees; colour {psnr:.1f} dB on {same:.2%}; "
          f"{evaluations:.2f} evaluations a pixel")  # fmt: skip
    assert iou >= 0.995
    assert depth.median() <= 1e-4 and same >= 0.99
    assert angle.median() <= 0.2 and angle.quantile(0.95) <= 1.5
    assert psnr >= 50.0
    assert evaluations <= 1.5


def test_the_cut_shows_the_distance_inside(still, people):
    model, _ = people
    scene = {"seed": 3, "cut": "side", "cutAt": 0.1, "yaw": 60}
    places = torch.tensor(still.page.evaluate(MEASURE, [scene, 64, 32])[0]).view(64, 64, 4)
    on_plane = places[..., 3] == 2.0
    assert 0.1 < on_plane.float().mean() < 0.6
    origins, along, _ = camera_rays(Camera.from_angles(math.radians(60), 0.0), 64, model.config.fov_deg)
    points = (origins + along * places[None, ..., :1])[0][on_plane]
    assert (points[:, 0] - 0.1 * model.config.scene_radius).abs().max() <= 1e-5
    with torch.no_grad():
        sdf = model.field.condition(model.mapping(model.latents([3]), 0.7)).sdf(points[None])[0]
    torch.testing.assert_close(places[on_plane][:, 1], sdf, atol=2e-4, rtol=0)
    assert sdf.max() <= 2e-4


def test_it_draws_soon_after_it_was_opened(chromium, people):
    visit = Visit(chromium, people[1], "#seed=5")
    print(f"{time.monotonic() - visit.start:.2f} s from opening to the first head")
    pixels = visit.page.evaluate(
        """() => { liveHeads.shade(); const canvas = document.createElement('canvas'); canvas.width = canvas.height = 16
          const pen = canvas.getContext('2d'); pen.drawImage(liveHeads.renderer.canvas, 0, 0, 16, 16)
          return Array.from(pen.getImageData(0, 0, 16, 16).data) }"""
    )
    image = np.array(pixels).reshape(16, 16, 4)
    assert np.abs(image[8, 8, :3] - image[0, 0, :3]).max() > 30
    visit.close()


def test_frames_beside_a_scene_that_only_clears(still):
    times = still.page.evaluate(
        """([scene, sizes]) => {
          const { model, renderer, header } = liveHeads, { gl } = renderer, view = viewOf(scene, header)
          renderer.setHead(model.head(scene), 32)
          const best = (draw) => Math.min(...[1, 2, 3].map(() => {
            const start = performance.now()
            draw()
            gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4)) // waits
            return performance.now() - start
          }))
          return sizes.map((size) => {
            const drawn = best(() => {
              renderer.begin(size, view, false)
              renderer.advance(size)
              renderer.shade('image', scene)
            })
            return [drawn, best(() => { renderer.onCanvas(size); gl.clear(gl.COLOR_BUFFER_BIT) })]
          })
        }""",
        [still.scene(), [64, 128]],
    )
    for size, (drawn, cleared) in zip((64, 128), times):
        print(f"{size} × {size}: {drawn:.0f} ms a frame, {cleared:.1f} ms for one that only clears")
    assert times[0][1] < times[0][0] < times[1][0] < 10 * times[0][0]


# ---- hands, keys, links


def test_it_gets_sharp_and_says_so(visit):
    visit.page.wait_for_selector("canvas[data-drawn='#seed=0']")
    assert visit.page.evaluate("[liveHeads.renderer.canvas.width, liveHeads.decoder.size]") == [64, 64]
    visit.page.click("text=Depth")
    visit.page.wait_for_selector("canvas[data-drawn='#seed=0&mode=depth']")
    assert visit.page.evaluate("liveHeads.renderer.canvas.width") > 64


def test_the_hand_turns_zooms_and_lets_go(visit):
    page, (x, y) = visit.page, visit.hand()
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 9):
        page.mouse.move(x - 8 * step, y + 4 * step)
        page.wait_for_timeout(16)
    page.mouse.up()
    assert visit.scene()["yaw"] > 5 and visit.scene()["pitch"] > 3
    visit.until("liveHeads.spin.yaw === 0")  # it comes to rest
    page.mouse.wheel(0, -100)
    visit.wait_for("scene.fov < 12")
    page.mouse.dblclick(x, y)
    visit.wait_for("scene.yaw === 0 && scene.pitch === 0 && scene.fov === 12")


def test_it_turns_on_after_the_hand_let_go(visit):
    """With events of one moment, as a slow machine's pauses would end the swing."""
    throw = """() => {
      const canvas = liveHeads.renderer.canvas, send = (kind, x) => canvas.dispatchEvent(
        new PointerEvent(kind, { pointerId: 1, clientX: x, clientY: 50, button: 0, bubbles: true }))
      canvas.setPointerCapture = () => {}
      send('pointerdown', 100)
      for (let x = 100; x >= 60; x -= 10) send('pointermove', x)
      send('pointerup', 60)
      return liveHeads.scene.yaw
    }"""
    yaw = visit.page.evaluate(throw)
    assert yaw > 0
    visit.wait_for(f"scene.yaw > {yaw} + 2")
    visit.until("liveHeads.spin.yaw === 0")


def test_keys_do_everything(visit):
    page = visit.page
    page.focus("canvas")
    for key, condition in (
        ("ArrowRight", "scene.yaw === 5"), ("ArrowUp", "scene.pitch === 5"), ("+", "scene.fov < 12"),
        ("Home", "scene.yaw === 0 && scene.fov === 12"), ("PageDown", "scene.seed === 1"),
        ("2", "scene.mode === 'normals'"), ("4", "scene.mode === 'shape'"), ("PageUp", "scene.seed === 0"),
    ):  # fmt: skip
        page.keyboard.press(key)
        visit.wait_for(condition)
    page.keyboard.press("Space")
    visit.wait_for("scene.yaw > 3")
    page.keyboard.press("Space")
    assert page.get_attribute("#turn", "aria-pressed") == "false"


def test_controls_change_the_scene(visit):
    page = visit.page
    page.fill("#seed", "41")
    page.click("#next")
    page.click("text=Clay")
    page.fill("#psi", "0.5")
    page.fill("#around", "60")
    page.select_option("#cut", "top")
    page.fill("#cutAt", "0.25")
    page.fill("#texture", "9")
    assert page.is_disabled("#share")
    page.fill("#to", "7")
    assert visit.scene()["share"] == 0.5
    visit.wait_for("scene.seed === 42 && scene.psi === 0.5 && scene.mode === 'shape' && scene.around === 60")
    visit.wait_for("scene.cut === 'top' && scene.cutAt === 0.25 && scene.texture === 9 && scene.to === 7")
    page.click("#play")
    visit.wait_for("scene.share > 0.6")
    page.click("#play")
    page.fill("#to", "")
    visit.wait_for("scene.to === null")
    visit.until("location.hash.includes('cut=top')")
    page.fill("#seed", "-3")  # no seed: the old one stays
    page.focus("#psi")
    assert visit.scene()["seed"] == 42 and page.input_value("#seed") == "42"
    page.click("#random")
    visit.wait_for("scene.seed !== 42")


def test_a_morph_is_seen(visit):
    """Although every frame has another head, each is drawn before the next one comes."""
    visit.page.evaluate(
        """() => { const { renderer } = liveHeads, shade = renderer.shade; window.shares = new Set()
          renderer.shade = (...options) => { shares.add(liveHeads.scene.share); shade.apply(renderer, options) } }"""
    )
    visit.page.fill("#to", "3")
    visit.page.click("#play")
    visit.until("shares.size > 4")


@pytest.mark.parametrize("mode", ["Clay", "Picture"])
def test_shift_moves_the_light(visit, mode):
    page, (x, y) = visit.page, visit.hand()
    page.click(f"text={mode}")
    page.keyboard.down("Shift")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y - 20)
    page.mouse.up()
    page.keyboard.up("Shift")
    visit.wait_for("scene.around > -33 && scene.above > 33 && scene.yaw === 0")
    visit.until("liveHeads.isSharp && liveHeads.hasNormals")
    assert "light=(math.radians(" in page.inner_text("#code")


def test_two_fingers_zoom(chromium, small):
    visit = Visit(chromium, small, width=390, height=844, is_mobile=True, has_touch=True)
    x, y = visit.hand()
    session = visit.context.new_cdp_session(visit.page)
    for kind, apart in (("touchStart", 30), ("touchMove", 60), ("touchMove", 90)):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    visit.wait_for("scene.fov < 6 && scene.yaw === 0")
    visit.close()


def test_the_fragment_restores_the_view(chromium, small):
    fragment = "#seed=21&psi=0.9&texture=4&to=5&share=0.3&yaw=-25.5&pitch=8&fov=10&mode=normals&cut=front&cutAt=0.2"
    visit = Visit(chromium, small, fragment, width=500)
    visit.page.wait_for_selector(f"canvas[data-drawn='{fragment}']")
    scene = visit.scene()
    assert (scene["seed"], scene["texture"], scene["yaw"], scene["mode"]) == (21, 4, -25.5, "normals")
    picture = visit.page.evaluate(MEASURE, [scene, 32, 24])
    visit.page.evaluate("location.hash = '#seed=4&psi=2&mode=<b>'")
    visit.wait_for("scene.seed === 4 && scene.psi === 1 && scene.yaw === 0")
    assert visit.page.inner_text("#status") == 'The link\'s mode is "<b>", which this page cannot read.'
    visit.close()
    again = Visit(chromium, small, fragment)
    again.freeze()
    assert again.page.evaluate(MEASURE, [again.scene(), 32, 24]) == picture
    again.close()


def test_pictures_and_code_go_home(visit, tmp_path):
    page = visit.page
    page.fill("#seed", "21")
    page.click("text=Depth")
    page.focus("canvas")
    page.keyboard.press("ArrowLeft")
    visit.until("liveHeads.isSharp")
    with page.expect_download() as download:
        page.click("#save")
    path = tmp_path / "picture.png"
    download.value.save_as(path)
    assert download.value.suggested_filename == "head-21.png"
    assert Scene.from_picture(path) == Scene("model", 21, yaw=-5.0, mode="depth")
    image = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")).astype(int)
    assert image.shape[0] == image.shape[1] >= 64
    middle = image.shape[0] // 2
    assert np.abs(image[middle, middle] - image[0, 0]).max() > 30
    code = page.inner_text("#code")
    assert "model.head(21, truncation=0.7)" in code and "yaw=math.radians(-5)" in code


def test_sliders_edit_the_head(visit):
    page = visit.page
    assert page.locator("#edits input").count() == 2  # as many as the model has directions
    page.fill("#edit-age", "1.5")
    page.fill("#edit-smile", "-0.5")
    page.wait_for_selector("canvas[data-drawn='#seed=0&edit=age=1.5,smile=-0.5']")
    assert page.inner_text("label[for=edit-age]").split() == ["age", "1.5"]
    assert 'head = model.edit(head, {"age": 1.5, "smile": -0.5})' in page.inner_text("#code")
    page.fill("#edit-smile", "0")
    visit.wait_for("scene.edit === 'age=1.5'")
    page.evaluate("location.hash = '#seed=4&edit=smile%3D2,beard%3D1'")
    visit.wait_for("scene.seed === 4 && scene.edit === ''")
    assert "The link's edit is \"smile=2,beard=1\"" in page.inner_text("#status")
    page.fill("#to", "7")
    page.click("#play")
    page.evaluate("location.hash = '#seed=4&edit=smile%3D2'")  # nobody to go to
    visit.wait_for("scene.edit === 'smile=2'")
    assert not page.evaluate("liveHeads.isPlaying")
    assert page.input_value("#edit-age") == "0" and page.input_value("#edit-smile") == "2"
    page.click("#wall-button")  # of heads that are edited too
    page.focus("#wall")
    page.keyboard.press("Enter")
    visit.wait_for("scene.psi === 0 && scene.edit === 'smile=2'")


def test_a_lost_card_comes_back(visit):
    page = visit.page
    page.evaluate("window.extension = liveHeads.renderer.gl.getExtension('WEBGL_lose_context')")
    page.evaluate("extension.loseContext()")
    visit.until("document.getElementById('status').textContent.includes('comes back')")
    page.evaluate("extension.restoreContext()")
    visit.until("document.getElementById('status').textContent === ''")
    page.fill("#seed", "2")
    page.wait_for_selector("canvas[data-drawn='#seed=2']")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(chromium, small, tmp_path, scheme):
    visit = Visit(chromium, small, "#mode=shape&cut=top&to=3", 360, 740, is_mobile=True, color_scheme=scheme)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    visit.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
    visit.close()


def test_everything_has_a_name(visit):
    nameless = visit.page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas, pre')].filter((node) =>
          !node.ariaLabel && !node.innerText?.trim() && !node.labels?.length).map((node) => node.outerHTML)"""
    )
    assert nameless == []


# ---- what can be missing


def test_a_file_that_is_cut_short_says_so(chromium, small, tmp_path):
    text = small.read_text(encoding="utf-8")
    start = text.index('id="weights"')
    for name, part in (("ends", text[: start + 500]), ("lacks", text.replace(text[start + 100 : start + 500], ""))):
        path = tmp_path / f"{name}.html"
        path.write_text(part, encoding="utf-8")
        page = chromium.new_page()
        page.goto(f"file://{path}")
        page.wait_for_timeout(200)
        assert {"ends": "the file is not complete", "lacks": "it is damaged"}[name] in page.inner_text("#status")
        page.close()


@pytest.mark.parametrize(
    "missing, sentence",
    [
        ("HTMLCanvasElement.prototype.getContext = () => null", "This browser has no WebGL 2"),
        ("WebGL2RenderingContext.prototype.getExtension = () => null", "cannot draw into floating point numbers"),
    ],
)
def test_a_browser_that_cannot_draw_is_told(chromium, small, missing, sentence):
    page = chromium.new_page()
    page.add_init_script(missing)
    page.goto(f"file://{small}")
    assert sentence in page.inner_text("#status")
    page.close()
