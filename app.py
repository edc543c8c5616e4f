"""The demo page, started by its file as a Space does: ``python app.py`` is ``python -m stylesdf demo``."""

import os
import sys

if os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401 - it must come before torch
from stylesdf.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
