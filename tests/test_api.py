"""The public face: documented, typed, and described in docs/api.md."""

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import stylesdf
from stylesdf import StyleSDF

ROOT = Path(__file__).parents[1]

spec = importlib.util.spec_from_file_location("api_reference", ROOT / "scripts" / "api_reference.py")
api_reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(api_reference)
PUBLIC = api_reference.public_objects()


def documented(thing: object, section: str) -> set[str]:
    """Names in a section of a docstring."""
    found = re.search(rf"^{section}:\n((?:    .*\n|\n)*)", inspect.getdoc(thing) + "\n", re.MULTILINE)
    return set(re.findall(r"^    \*{0,2}(\w+): ", found[1], re.MULTILINE)) if found else set()


def raises_value_error(function: object) -> bool:
    """Whether ``raise ValueError`` stands in the function itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return any(isinstance(call, ast.Call) and getattr(call.func, "id", "") == "ValueError" for call in raised)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_object_is_documented(name):
    thing = PUBLIC[name]
    assert inspect.getdoc(thing), "no docstring"
    is_class = inspect.isclass(thing)
    stated = documented(thing, "Args") | documented(thing, "Attributes")
    if not is_class or hasattr(thing, "__dataclass_fields__"):
        assert [value.name for value in api_reference.parameters(thing) if value.name not in stated] == []
    if not is_class and raises_value_error(thing):
        assert "ValueError" in documented(thing, "Raises")


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_signature_is_typed(name):
    thing = PUBLIC[name]
    bare = [value.name for value in api_reference.parameters(thing) if value.annotation is value.empty]
    assert bare == []
    assert inspect.isclass(thing) or api_reference.returned(thing)


def test_the_list_of_the_public_is_complete():
    ours = {
        f"stylesdf.StyleSDF.{name}"
        for name, value in inspect.getmembers(StyleSDF, callable)
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("stylesdf.")
    }
    face = {f"stylesdf.{name}" for name in stylesdf.__all__ if not name.startswith("_")}
    assert sorted((ours | face) - set(PUBLIC)) == []


def test_the_page_is_up_to_date():
    code = f"import runpy; print(runpy.run_path({str(api_reference.__file__)!r})['write_page'](), end='')"
    page = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert page.returncode == 0, page.stderr
    committed = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    # word by word: Python versions wrap the command line's help differently
    assert page.stdout.split() == committed.split(), "run python scripts/api_reference.py"
