"""The examples of README, docs and notebook are run as they stand, page by page, from top to bottom.

Every ``python`` block, and every ``bash`` block that begins with our own command, runs; a line
``<!-- not run: reason -->`` directly above a block excuses it.
"""

import json
import re
import shlex
import socket
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stylesdf.__main__ import main
from stylesdf.config import DEFAULT_MODEL

ROOT = Path(__file__).parents[1]
SOURCES = (ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("train/*.md"))
PAGES = sorted(path for path in SOURCES if path.is_file())
NOTEBOOK = ROOT / "docs" / "stylesdf.ipynb"
BLOCK = re.compile(r"^(<!-- not run: \S[^\n]* -->\n)?```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MADE: dict[str, set[Path]] = {}  # by command line, so far


@pytest.fixture
def desk(bundled, tmp_path, monkeypatch) -> Path:
    """A folder with the bundled model in its place, a small original checkpoint, and no way out to the network."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / DEFAULT_MODEL).symlink_to(bundled, target_is_directory=True)
    (tmp_path / "ffhq1024x1024.pt").symlink_to(ROOT / "tests" / "data" / "small.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STYLESDF_MODEL", raising=False)

    def refuse(self, address):
        raise AssertionError(f"an example connects to {address}: mark it <!-- not run: reason -->")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path


def run_python(code: str, path: Path, line: int, names: dict) -> None:
    exec(compile("\n" * line + code, str(path), "exec"), names)


def run_bash(code: str, desk: Path) -> None:
    """Run each line; what another page has run, too, is not made again but linked to."""
    for line in code.replace("\\\n", " ").splitlines():
        if line in MADE:
            for path in MADE[line]:
                (desk / path.name).symlink_to(path, target_is_directory=path.is_dir())
            continue
        before, words = set(desk.iterdir()), shlex.split(line, comments=True)
        if words[:3] == ["python", "-m", "stylesdf"]:
            words = words[2:]
        if words:
            assert words[0] == "stylesdf", f"only our own commands can be run beside each other, not {line!r}"
            assert main(words[1:]) == 0, line
            MADE[line] = set(desk.iterdir()) - before


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_of(path, desk):
    text, names = path.read_text(encoding="utf-8"), {"__name__": "__main__"}
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|bash)", text, re.MULTILINE)), "a malformed block"
    for block in blocks:
        excuse, language, code = block.groups()
        if excuse:
            continue
        if language == "python":
            run_python(code, path, text.count("\n", 0, block.start(3)), names)
        elif re.match(r"(#.*\n|\s*\n)*(python -m )?stylesdf\b", code):
            run_bash(code, desk)


# ---- the notebook


def cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_the_notebook_is_clean():
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    as_stored = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
    assert NOTEBOOK.read_text(encoding="utf-8") == as_stored


def test_the_notebook_runs(desk, monkeypatch):
    display = ModuleType("IPython.display")
    display.Image = lambda filename: Path(filename).read_bytes()
    monkeypatch.setitem(sys.modules, "IPython.display", display)  # a notebook has it, a test need not
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells()):
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            code = "\n".join("" if line.startswith(("!", "%")) else line for line in lines)
            exec(compile(code, f"cell {number}", "exec"), names)
    assert sorted(path.suffix for path in desk.iterdir() if path.is_file()) == [".glb", ".png", ".pt", ".webp"]
