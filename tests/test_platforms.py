"""Other systems: text is UTF-8 whatever the locale says, and a terminal of another code page shows everything."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [*ROOT.glob("stylesdf/**/*.py"), *ROOT.glob("train/**/*.py"), ROOT / "app.py"]
NO_TEXT = ("Image.open", "gzip.open", "tarfile.open", "os.open", "item.open")  # without a mode


def opens_text_without_encoding(call: ast.Call) -> bool:
    """Whether a call reads or writes text as the locale has it."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name not in ("open", "read_text", "write_text") or any(word.arg == "encoding" for word in call.keywords):
        return False
    texts = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    modes = [text for text in texts if re.fullmatch("[rwax][bt+]{0,2}", text)]
    return "b" not in modes[0] if modes else ast.unparse(call.func) not in NO_TEXT


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_is_read_and_written_in_one_encoding(path):
    """Where the locale is not UTF-8, ``°`` in a file would end the program."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [f"{call.lineno}: {ast.unparse(call)}" for call in calls if opens_text_without_encoding(call)] == []


def test_a_missing_encoding_is_seen():
    for code in ("open(a)", "open(a, 'w')", "p.open('a')", "p.read_text()", "p.write_text(x)", "gzip.open(a, 'rt')"):
        assert opens_text_without_encoding(ast.parse(code).body[0].value), code
    for code in ("open(a, 'rb')", "p.open(mode='r+b')", "open(a, encoding='utf-8')", "gzip.open(a)", "Image.open(a)"):
        assert not opens_text_without_encoding(ast.parse(code).body[0].value), code


SPEAK = """
import sys
from {package}.__main__ import main
for arguments in {commands}:
    try:
        print(main(arguments))
    except SystemExit as end:
        print(end.code)
"""
COMMANDS = {
    "stylesdf": [["--help"], ["demo", "--help"], ["info", "--help"], ["info", "頭→/名"], ["mesh", "--seed", "頭"]],
    "train": [["--help"], ["run", "--help"], ["settings"], ["export", "頭→"], ["頭"]],
}


@pytest.mark.parametrize("package", COMMANDS)
def test_a_terminal_of_code_page_1252_shows_help_and_errors(package):
    code = SPEAK.format(package=package, commands=ascii(COMMANDS[package]))
    env = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "STYLESDF_MODEL": "頭→/名"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, timeout=120)
    out, err = done.stdout.decode("cp1252"), done.stderr.decode("cp1252")
    assert done.returncode == 0 and "Traceback" not in err, err
    assert [line for line in out.splitlines() if line.isdigit()] == ["0", "0", "0", "2", "2"]
    assert "usage:" in out and "\\u982d" in err
    assert package == "train" or "default: \\u982d\\u2192/\\u540d" in out
