"""The viewer's scripts outside of a browser: run by node, with numbers in and out as JSON."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "stylesdf" / "live"


def run_script(code: str, tmp_path: Path, given=None, files=("random.js", "model.js", "scene.js", "png.js")):
    """Run code behind the viewer's scripts; ``given`` is what it was given, and what it returns comes back."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here, which runs the page's scripts; on Debian: apt-get install nodejs")
    sources = [(FOLDER / name).read_text(encoding="utf-8") for name in files]
    tail = (
        "const given = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        f"(async () => {{\n{code}\n}})().then((out) => process.stdout.write(JSON.stringify(out)))"
    )
    path = tmp_path / "script.js"
    path.write_text("\n".join([*sources, tail]), encoding="utf-8")
    done = subprocess.run([node, path], input=json.dumps(given), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
