"""Write requirements.lock: the packages of demo and tests, and all that these need, by version and hash.

python -m pip install uv
python scripts/lock.py            keeps what the file holds where it still fits the two files of requirements
python scripts/lock.py --upgrade  takes the newest of what those leave open
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
SOURCES = ("requirements.txt", "requirements-dev.txt")
OLDEST_PYTHON = "3.10"
HEADER = r"""
# Demo and tests with all that they need, by version and hash, for Linux, macOS and Windows and Python 3.10 or newer.
# Made by `python scripts/lock.py` of requirements.txt and requirements-dev.txt. Install it:
#
#   python -m pip install --require-hashes -r requirements.lock
#
# The hashes are those of the Python Package Index. Its torch for Linux is the build with CUDA, whose libraries are
# listed too, some gigabytes; for macOS and Windows it is the build without. A build of torch from elsewhere has other
# hashes: install it first, and pip leaves it as it is; on Linux leave CUDA's libraries out as well:
#
#   sed -E '/^(cuda|nvidia|triton)/,/[^\\]$/d' requirements.lock > without-cuda.lock
#
# For other systems and Pythons than Linux with Python 3.11 it was resolved, but not installed and tested.
"""


def main() -> None:
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--generate-hashes", "--no-annotate"]
    command += ["--no-header", "--no-config", "--quiet", "--python-version", OLDEST_PYTHON]
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / LOCK.name
        if LOCK.is_file():
            shutil.copy(LOCK, locked)
        subprocess.run([*command, "--output-file", locked, *sys.argv[1:], *SOURCES], cwd=ROOT, check=True)
        text = locked.read_text(encoding="utf-8")
    LOCK.write_text(HEADER.lstrip() + "\n" + text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
