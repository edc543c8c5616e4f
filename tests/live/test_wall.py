"""The wall of heads: a plane of the latent space, and hands and keys on it in a real browser."""

import math

import numpy as np
import pytest

from tests.live.node import run_script
from tests.live.visit import Visit

TILES, MIDDLE = 25, 312
RING = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]


def test_the_wall_is_linear_between_the_middle_and_its_rim(tmp_path):
    places = [(x, y) for x in np.linspace(-1, 1, 17) for y in np.linspace(-1, 1, 17)]
    code = "return given.map((place) => headAt(4294967290, place))"
    heads = run_script(code, tmp_path, places, files=("random.js", "model.js", "scene.js", "wall.js"))
    for (x, y), head in zip(places, heads):
        assert 0 <= head["psi"] <= 1 and 0 <= head["share"] <= 1
        weights = np.zeros(8)  # of the eight seeds' differences from the mean code
        for name, share in (("seed", 1 - head["share"]), ("to", head["share"])):
            weights[(head[name] - 4294967290) % 2**32] += head["psi"] * share
        np.testing.assert_allclose(weights @ np.array(RING), (x, y), atol=2e-3)
        assert weights.max() <= 1 and np.count_nonzero(weights) <= 2
    rim = run_script(code, tmp_path, RING, files=("random.js", "model.js", "scene.js", "wall.js"))
    assert [(head["seed"] - 4294967290) % 2**32 for head in rim] == list(range(8))
    assert all((head["psi"], head["share"]) == (1, 0) for head in rim)


def place_of(visit, tile: int) -> tuple[float, float]:
    """Where a tile is on the screen."""
    box = visit.page.locator("#wall canvas").bounding_box()
    size = box["width"] / TILES
    return box["x"] + (tile % TILES + 0.5) * size, box["y"] + (tile // TILES + 0.5) * size


@pytest.mark.browser
def test_hands_and_keys_on_the_wall(chromium, small, tmp_path):
    visit = Visit(chromium, small, "#wall=8&mode=normals&edit=age=1")
    page = visit.page
    visit.until("liveHeads.wall.missing?.length < 620")
    page.screenshot(path=tmp_path / "wall.png")
    alpha = "document.querySelector('#wall canvas').getContext('2d').getImageData(800, 800, 1, 1).data[3]"
    assert page.evaluate(alpha) == 255  # the head in the middle is there
    assert "age=1" in page.evaluate("liveHeads.wall.kind")  # with another edit all are drawn again
    assert page.is_disabled("#save") and page.get_attribute("#wall-button", "aria-pressed") == "true"

    x, y = place_of(visit, MIDDLE)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -100)
    page.mouse.wheel(0, -100)
    visit.until("liveHeads.wall.across < 24")
    assert place_of(visit, MIDDLE) == pytest.approx((x, y), abs=1)  # it zooms around the pointer
    page.mouse.down()
    page.mouse.move(x - 60, y + 40, steps=3)
    page.mouse.up()
    assert page.evaluate("liveHeads.wall.isOpen")  # it was moved, nothing was clicked
    assert place_of(visit, MIDDLE) == pytest.approx((x - 60, y + 40), abs=3)
    visit.until("location.hash.includes('wall=8,0.')")
    link = page.evaluate("location.hash")

    tile = MIDDLE + 3 - 2 * TILES  # 3 to the right, 2 up
    page.mouse.click(*place_of(visit, tile))
    assert not page.evaluate("liveHeads.wall.isOpen")
    scene = visit.scene()
    assert (scene["seed"], scene["to"], scene["psi"]) == (8, 9, 0.25) and math.isclose(scene["share"], 0.667)
    assert scene["edit"] == "age=1"
    visit.until("!document.getElementById('wall')")
    assert not page.is_disabled("#save")

    page.click("#wall-button")  # the same wall again, although another seed is seen now
    assert page.evaluate("liveHeads.wall.first") == 8
    page.focus("#wall")
    for key in ("ArrowRight", "Space", "ArrowUp", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    visit.until("liveHeads.scene.share > 0.7 && liveHeads.path")
    visit.until("!document.getElementById('wall')")  # although every frame has another head
    page.click("#next")  # another head is another way
    assert page.evaluate("[liveHeads.path, liveHeads.isPlaying]") == [None, False]
    visit.until("!location.hash.includes('wall=')")  # the address is written once nothing moves
    page.evaluate("fragment => { location.hash = fragment }", link)
    visit.until("liveHeads.wall.isOpen && liveHeads.wall.across < 24")
    page.focus("#wall")
    page.keyboard.press("Escape")
    assert not page.evaluate("liveHeads.wall.isOpen")
    visit.close()


@pytest.mark.browser
def test_fingers_on_the_wall(chromium, small, tmp_path):
    visit = Visit(chromium, small, "#wall", 390, 844, is_mobile=True, has_touch=True)
    visit.until("liveHeads.wall.missing?.length < 620")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    visit.page.screenshot(path=tmp_path / "phone.png")
    session, (x, y) = visit.context.new_cdp_session(visit.page), place_of(visit, MIDDLE)

    def touch(kind, *points):
        points = [{"x": x + across, "y": y + down, "id": i} for i, (across, down) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (-30, 0), (30, 0))
    touch("touchMove", (-60, 0), (60, 0))
    touch("touchMove", (-90, 0), (90, 0))
    touch("touchEnd")
    visit.until("liveHeads.wall.across < 20 && liveHeads.wall.isOpen")
    start, end = ((place[0] - x, place[1] - y) for place in (place_of(visit, MIDDLE), place_of(visit, MIDDLE + 2)))
    touch("touchStart", start)
    visit.page.wait_for_timeout(700)  # held: from here to another
    touch("touchMove", end)
    touch("touchEnd")
    visit.until("liveHeads.path && liveHeads.scene.psi > 0.05")
    assert not visit.page.evaluate("liveHeads.wall.isOpen")
    visit.close()
