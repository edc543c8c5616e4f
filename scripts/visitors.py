"""Many visitors at once: does everyone get his own picture, and does the server stay as it is?

``python scripts/visitors.py`` starts the page and lets 20 clients ask it for three minutes, each for pictures of its
own seeds, now and then for a mesh or a film; it checks every answer, and prints what the server's memory and temporary
files did.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from gradio_client import Client  # noqa: E402

from stylesdf.demo.scene import Scene  # noqa: E402
from tests.browser.serve import running_app  # noqa: E402

MESH_SHARE, FILM_SHARE = 0.06, 0.02


def visit(address: str, number: int, until: float, tally: Counter, waits: list, places: set, taken: str) -> None:
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


def server_memory(address: str) -> int:
    """Return the resident memory of the ``app.py`` that listens there, in bytes."""
    port = address.rpartition(":")[2].strip("/").encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            if port in command and any(part.endswith(b"app.py") for part in command):
                return int((folder / "statm").read_text().split()[1]) * 4096
        except (OSError, IndexError):
            continue
    raise RuntimeError(f"no process serves {address}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=180.0)
    options = parser.parse_args()
    tally, waits, places = Counter(), [], set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_app(cwd=folder, log=folder / "app.log") as (address, _):
            until = time.monotonic() + options.seconds
            threads = [
                threading.Thread(target=visit, args=(address, i, until, tally, waits, places, name))
                for i in range(options.clients)
            ]
            for thread in threads:
                thread.start()
            while time.monotonic() < until:
                files = [path for path in (folder / "gradio").rglob("*") if path.is_file()]
                size = sum(path.stat().st_size for path in files if path.exists())
                memory = server_memory(address)
                print(
                    f"{options.seconds - (until - time.monotonic()):5.0f} s: {tally['answered']:5d} answers, server "
                    f"{memory / 1e6:.0f} MB, {len(files)} temporary files of {size / 1e6:.1f} MB",
                    flush=True,
                )
                time.sleep(options.seconds / 12)
            for thread in threads:
                thread.join()
    waits.sort()
    print(f"{options.clients} clients, {options.seconds:.0f} s: {dict(tally)}")
    print(
        f"waited {waits[len(waits) // 2]:.1f} s in the middle, {waits[-1]:.1f} s at most; queue places {sorted(places)}"
    )
    if tally["answered"] != sum(tally.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
