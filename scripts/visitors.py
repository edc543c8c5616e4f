"""Many visitors at once: does everyone get his own picture, and does the server stay as it is?

``python scripts/visitors.py`` starts the page and lets 20 clients ask it for three minutes, each for pictures of its
own seeds, now and then for a mesh or a film; it checks every answer, and prints what the server's memory and temporary
files did. With ``--dragging`` they are pages in Chromium instead, whose heads are turned all the time: does the server
notice?
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from gradio_client import Client  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from stylesdf.demo.scene import Scene  # noqa: E402
from tests.browser.serve import find_browser, running_app  # noqa: E402
from tests.live.visit import FLAGS, PATIENCE  # noqa: E402

MESH_SHARE, FILM_SHARE = 0.06, 0.02
PARTS, MINUTE = 12, 60  # how often the server's memory is told, the median of so many seconds before
ANY_SPEED = "window.slowestLiveFrame = 1e9"  # a processor plays twenty graphics cards


def visit(address: str, number: int, until: float, tally: Counter, waits: list, places: set, taken: Path) -> None:
    """Ask until the time is over; count what came back."""
    client = Client(address, verbose=False, download_files=f"{taken}/{number}")
    chance = random.Random(number)
    while time.monotonic() < until:
        seed, yaw, dice = number * 100_000 + chance.randrange(1000), chance.uniform(-40, 40), chance.random()
        start = time.monotonic()
        try:
            if dice < FILM_SHARE:
                job = client.submit(seed=seed, frames=12, api_name="/film")
            elif dice < FILM_SHARE + MESH_SHARE:
                job = client.submit(seed=seed, resolution=64, api_name="/mesh")
            else:
                job = client.submit(seed=seed, yaw=yaw, api_name="/generate")
            while not job.done():
                rank = job.status().rank
                if rank is not None:
                    places.add(rank)
                time.sleep(0.02)
            path = job.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            tally[f"failed: {str(error)[:100]}"] += 1
            continue
        waits.append(time.monotonic() - start)
        tally["answered"] += 1
        if path.endswith(".png"):
            scene = Scene.from_picture(path)
            tally["another's picture"] += scene.seed != seed or abs(scene.yaw - yaw) > 1e-9
        else:
            tally["another's file"] += f"head-{seed}" not in path
        Path(path).unlink()


class Server:
    """The running ``app.py`` that listens at an address."""

    def __init__(self, address: str) -> None:
        port = address.rpartition(":")[2].strip("/").encode()
        commands = {path.parent: path.read_bytes().split(b"\0") for path in Path("/proc").glob("[0-9]*/cmdline")}
        (self.folder,) = (
            folder for folder, command in commands.items() if port in command and command[1].endswith(b"app.py")
        )

    def memory(self) -> int:
        """Return its resident memory, bytes."""
        return int((self.folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def work(self) -> float:
        """Return the seconds that processors worked for it so far."""
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def file_sizes(folder: Path) -> list[int]:
    """Return the sizes of all files in a folder, bytes; files and folders may go meanwhile."""
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(os.stat(os.path.join(parent, name)).st_size)
    return sizes


def ask(address: str, folder: Path, options: argparse.Namespace) -> bool:
    """Let clients ask, print what became of it and return whether all of it was right."""
    tally, waits, places, server = Counter(), [], set(), Server(address)
    start = time.monotonic()
    until = start + options.seconds
    threads = [
        threading.Thread(target=visit, args=(address, i, until, tally, waits, places, folder))
        for i in range(options.clients)
    ]
    for thread in threads:
        thread.start()
    for part in range(PARTS):
        memories = []
        while time.monotonic() < start + (part + 1) * options.seconds / PARTS:
            memories.append(server.memory() / 1e6)
            time.sleep(1.0)
        level = statistics.median(memories[-MINUTE:])  # a mesh or film that is being made adds to it
        sizes = file_sizes(folder / "gradio")
        print(
            f"{time.monotonic() - start:5.0f} s: {tally['answered']:5d} answers, server {level:.0f} MB "
            f"({max(memories):.0f} at most), {len(sizes)} temporary files of {sum(sizes) / 1e6:.1f} MB",
            flush=True,
        )
    for thread in threads:
        thread.join()
    waits.sort()
    print(f"{options.clients} clients, {options.seconds:.0f} s: {dict(tally)}")
    print(
        f"waited {waits[len(waits) // 2]:.1f} s in the middle, {waits[-1]:.1f} s at most; queue places {sorted(places)}"
    )
    return tally["answered"] == sum(tally.values())


def drag(address: str, options: argparse.Namespace) -> bool:
    """Turn the heads of many open pages, print what the server had of it and return whether that was nothing."""
    requests, server = [], Server(address)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        pages = [_open(browser.new_page(), address) for _ in range(options.clients)]
        pages[-1].wait_for_timeout(30_000)  # the last one's mesh comes
        before = server.work()
        pages[-1].wait_for_timeout(1000 * options.seconds)
        still = server.work() - before
        for page in pages:
            page.on("request", lambda request: request.url.startswith("blob:") or requests.append(request.url))
            page.mouse.down()
        frames = sum(map(_frames, pages))
        before, until, step = server.work(), time.monotonic() + options.seconds, 0
        while time.monotonic() < until:
            step += 1
            for page in pages:
                page.mouse.move(*_place(page, step))
        worked = server.work() - before
        frames = sum(map(_frames, pages)) - frames
        print(
            f"{options.clients} pages, {options.seconds:.0f} s of dragging: {frames} pictures, "
            f"{len(requests)} requests; the server worked {worked:.2f} s, and {still:.2f} s in as long a time before"
        )
        browser.close()
    return frames > 0 and not requests


def _open(page: Page, address: str) -> Page:
    page.set_default_timeout(PATIENCE)
    page.add_init_script(ANY_SPEED)
    page.goto(address)
    page.wait_for_selector(".stage[data-live=ready]")
    page.mouse.move(*_place(page, 0))
    return page


def _place(page: Page, step: int) -> tuple[float, float]:
    """Return where the hand is after so many steps, pixels."""
    box = page.locator(".stage").bounding_box()
    return box["x"] + box["width"] * (0.5 + 0.02 * (step % 10)), box["y"] + box["height"] * (0.5 + 0.02 * (step % 3))


def _frames(page: Page) -> int:
    return int(page.get_attribute(".stage", "data-frames") or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--dragging", action="store_true", help="pages that are dragged, instead of clients that ask")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_app(cwd=folder, log=folder / "app.log") as (address, _):
            is_right = drag(address, options) if options.dragging else ask(address, folder, options)
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
