"""The folder of a run: one run at a time, its log and its sample grids."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from stylesdf.files import replacing
from train.run.engine import Engine

LOCK_FILE = ".lock"
LOG_FILE = "log.jsonl"
GRIDS = "grids"  # STEP.png each, eight digits


@contextlib.contextmanager
def sole_run(out: Path, engine: Engine) -> Iterator[None]:
    """Hold a run's folder, in the main process; the system lets go of it when the process ends, however it ends.

    Raises:
        ValueError: Another run holds it.
    """
    if not engine.is_main:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ValueError(f"another run is under way in {out}: wait for its end, or choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def newest_grid(out: Path) -> Path | None:
    """Return the newest sample grid of a run; None where it has drawn none."""
    return max((out / GRIDS).glob("[0-9]*.png"), default=None)


def append_record(out: Path, record: dict) -> None:
    """Add a line to the log."""
    with open(out / LOG_FILE, "a", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")


def read_records(out: Path, step: int, rewrite: bool) -> list[dict]:
    """Return what was logged up to a step; forget what a killed run logged after its last saved state."""
    path = out / LOG_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [record for record in map(_record, lines) if record is not None and record["step"] <= step]
    if rewrite and len(kept) < len(lines):
        with replacing(path) as partial:
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    return kept


def _record(line: str) -> dict | None:
    """Return a line of the log; None of one that is half written."""
    try:
        return json.loads(line)
    except ValueError:
        return None
