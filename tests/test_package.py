"""The package: what the wheel holds, that it works away from the repository, and that its pins fit its ranges."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

import stylesdf
from stylesdf.checkpoint import CARD_FILE, COMPANION_FILES, CONFIG_FILE, WEIGHTS_FILE
from stylesdf.config import DEFAULT_MODEL

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, *COMPANION_FILES.values(), CARD_FILE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def run(*command, **options) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy, so that the tree stays clean and nothing of an older build gets in."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    for name in ("stylesdf", "train", "tests", "checkpoints"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    for name in ("pyproject.toml", "LICENSE", "app.py"):
        shutil.copy(ROOT / name, source)
    readme = ROOT / "README.md"
    if not readme.is_file() and os.environ.get("CI") != "true":
        pytest.skip("README.md is not there yet")
    shutil.copy(readme, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", ".", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, cwd=source)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel) -> Path:
    """A folder that holds nothing but the installed wheel."""
    target = wheel.parent / "target"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    info = f"stylesdf-{stylesdf.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"stylesdf", info}
    assert {"stylesdf/py.typed", f"{info}/licenses/LICENSE", f"{info}/entry_points.txt"} <= set(names)
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stylesdf").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    page = [path for name in ("demo", "live") for path in (ROOT / "stylesdf" / name).iterdir() if path.is_file()]
    assert {path.relative_to(ROOT).as_posix() for path in page} <= set(names)
    models = [f"{path.parent.name}/{path.name}" for path in ROOT.glob("checkpoints/*/*") if path.name in MODEL_FILES]
    assert {"people/model.safetensors", "toy-heads/README.md"} <= set(models)
    assert {name for name in names if "/checkpoints/" in name} == {f"stylesdf/checkpoints/{name}" for name in models}
    metadata = zipfile.ZipFile(wheel).read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    extras = set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.MULTILINE))
    assert extras == {"app", "train", "fid", "export", "dev"}


def test_the_wheel_works_away_from_the_repository(installed, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    env.pop("STYLESDF_MODEL", None)
    options = {"cwd": tmp_path, "env": env}
    code = "import stylesdf; from stylesdf.demo.start import presets; print(stylesdf.__file__, *presets('').values())"
    expected = [str(installed / "stylesdf" / "__init__.py"), DEFAULT_MODEL, "checkpoints/toy-heads"]
    assert run(sys.executable, "-c", code, **options).split() == expected
    facts = run(sys.executable, installed / "bin" / "stylesdf", "info", "checkpoints/toy-heads", **options)
    assert re.match(r"model +checkpoints/toy-heads\n", facts) and "256x256" in facts
    run(sys.executable, "-m", "stylesdf", "generate", "--seeds", "3", "--out", "p", **options)
    assert os.listdir(tmp_path / "p") == ["seed0003.png"]
    assert Image.open(tmp_path / "p" / "seed0003.png").text["model"] == DEFAULT_MODEL


# ---- requirements


def read_pins(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith(("#", "-r"))]


def ranges(*extras: str) -> dict[str, Requirement]:
    lines = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    found = [Requirement(line) for line in lines]
    return {requirement.name: requirement for requirement in found if requirement.name != "stylesdf"}


@pytest.mark.parametrize(
    "file, extras", [("requirements.txt", ("app",)), ("requirements-dev.txt", ("train", "export", "dev"))]
)
def test_pins_are_exact_and_fit_the_ranges(file, extras):
    allowed, pins = ranges(*extras), read_pins(file)
    for pin in pins:
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert pin.name in allowed, f"{pin.name} is pinned in {file} and not named in pyproject.toml"
        assert allowed[pin.name].specifier.contains(exact.version), f"{pin} does not fit {allowed[pin.name]}"
    wanted = set(allowed) - (set(ranges()) if "dev" in extras else set())
    assert wanted - {pin.name for pin in pins} == set()


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_python_finds_one_pin_of_each(python):
    pins = read_pins("requirements.txt") + read_pins("requirements-dev.txt")
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    taken = [pin.name for pin in pins if pin.marker is None or pin.marker.evaluate(environment)]
    assert sorted(taken) == sorted({pin.name for pin in pins})


def test_the_lock_holds_every_pin_with_hashes_and_no_address():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text and text.startswith("# Demo and tests")
    blocks = re.findall(r"^(\S.*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(blocks) == len(re.findall(r"^[^#\s]", text, re.MULTILINE))
    locked = [Requirement(line) for line, _ in blocks]
    for python in ("3.10", "3.11", "3.12", "3.13"):
        environment = {"python_version": python, "python_full_version": f"{python}.0"}
        held = {pin.name: pin for pin in locked if pin.marker is None or pin.marker.evaluate(environment)}
        for pin in read_pins("requirements.txt") + read_pins("requirements-dev.txt"):
            if pin.marker is None or pin.marker.evaluate(environment):
                assert held[pin.name].specifier == pin.specifier, "run python scripts/lock.py"


def test_the_extras_are_there():
    extras = PROJECT["optional-dependencies"]
    assert {"app", "train", "export", "dev"} <= set(extras)
    assert Requirement(extras["dev"][0]).extras == {"app", "train", "export"}


@pytest.mark.parametrize("page, limit", [("README.md", 1300), ("train/README.md", 1500), ("train/EVALUATION.md", 900)])
def test_pages_that_everybody_reads_stay_short(page, limit):
    text = re.sub(r"\A---\n.*?\n---\n", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(text.split()) < limit, f"{page} has {len(text.split())} words, expected fewer than {limit}"
