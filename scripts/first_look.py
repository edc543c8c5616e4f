"""How soon the page shows its first head, and how often a dragged picture comes.

``python scripts/first_look.py`` starts the page, opens it in Chromium, drags for five seconds and prints what it saw.
``python scripts/first_look.py --live`` opens the live pages of the bundled models instead, each six times in a new
Chromium, and prints the medians.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import sync_playwright  # noqa: E402

from stylesdf import StyleSDF  # noqa: E402
from tests.browser.serve import find_browser, running_app  # noqa: E402
from tests.live.visit import FLAGS  # noqa: E402

SECONDS, STEP_MS, REACH = 5.0, 16, 100  # of the drag: how long, between two moves, pixels to each side
TIMES = 6
CLOCK = """const clock = setInterval(() => {
  if (!window.liveHeads?.cost) return
  window.firstHead = performance.now()
  clearInterval(clock)
}, 2)"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        folder, start = Path(name), time.monotonic()
        with running_app(cwd=folder, log=folder / "app.log") as (address, answered):
            page = browser.new_page()
            page.goto(address)
            page.wait_for_selector(".stage[data-drawn]")
            print(f"answered after {answered:.1f} s, first head after {time.monotonic() - start:.1f} s")
            page.wait_for_timeout(5000)  # the page and its mesh settle
            box = page.locator(".stage").bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            start, moves = time.monotonic(), 0
            while time.monotonic() - start < SECONDS:
                moves += 1
                page.mouse.move(x + REACH * ((moves % 40) / 20 - 1), y + 20)
                page.wait_for_timeout(STEP_MS)
            frames = int(page.get_attribute(".stage", "data-frames"))
            page.mouse.up()
            print(f"{frames / SECONDS:.1f} pictures a second while dragging")
        browser.close()


def open_live() -> None:
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        for model in ("people", "toy-heads"):
            file, seconds = Path(name) / f"{model}.html", []
            StyleSDF.from_pretrained(f"checkpoints/{model}").export_live(file)
            for _ in range(TIMES):
                with playwright.chromium.launch(executable_path=find_browser(), args=FLAGS) as browser:
                    page = browser.new_page()
                    page.add_init_script(CLOCK)
                    page.wait_for_timeout(1000)  # the browser settles
                    page.goto(file.as_uri())
                    while not (first := page.evaluate("window.firstHead || 0")):
                        page.wait_for_timeout(20)
                    seconds.append(first / 1000)
            print(f"{model}: first head {statistics.median(seconds):.2f} s after the file was opened")


if __name__ == "__main__":
    open_live() if sys.argv[1:] == ["--live"] else main()
