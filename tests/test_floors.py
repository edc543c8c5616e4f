"""The house: a module imports only from floors below it, and `import stylesdf` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "stylesdf.config": 0,
    "stylesdf.fast": 0,
    "stylesdf.fast.allocator": 0,
    "stylesdf.fast.convolution": 0.3,
    "stylesdf.fast.processor": 0,
    "stylesdf.fast.sine": 0.3,
    "stylesdf.files": 0,
    "stylesdf.levelset": 0,
    "stylesdf.arguments": 0.5,
    "stylesdf.camera": 0.7,
    "stylesdf.pictures": 0.5,
    "stylesdf.pixels": 0.5,
    "stylesdf.ops": 0.5,
    "stylesdf.outputs": 0,
    "stylesdf.raster": 0,
    "stylesdf.terminal": 0,
    "stylesdf.torch_state": 0,
    "stylesdf.words": 0,
    "stylesdf.version": 0,
    "stylesdf.volume": 0,
    "stylesdf.card": 1,
    "stylesdf.decoder": 1,
    "stylesdf.directions": 1.5,
    "stylesdf.encoder": 1.5,
    "stylesdf.field": 1,
    "stylesdf.film": 1,
    "stylesdf.mapping": 1,
    "stylesdf.renderer": 1,
    "stylesdf.shot": 1.5,
    "stylesdf.slice": 1.5,
    "stylesdf.fast.decoder": 1.5,
    "stylesdf.fast.field": 1.5,
    "stylesdf.fast.surface": 1.5,
    "stylesdf.antialias": 2,
    "stylesdf.checkpoint": 2,
    "stylesdf.model": 2,
    "stylesdf.torchfile": 2,
    "stylesdf.convert": 3,
    "stylesdf.export": 3,
    "stylesdf.fit": 3,
    "stylesdf.hub": 3,
    "stylesdf.repository": 2.5,
    "stylesdf.live": 3,
    "stylesdf.live.export": 3,
    "stylesdf.mesh": 3,
    "stylesdf.meshfile": 1,
    "stylesdf.head": 3.5,
    "stylesdf.edit": 3.7,
    "stylesdf.inversion": 3.7,
    "stylesdf.photo": 3.6,
    "stylesdf.texture": 3.7,
    "stylesdf.pipeline": 4,
    "stylesdf": 4,
    "stylesdf.__main__": 4.8,
    "app": 5,
}
# the face and the command line are doors: they may open onto floor 4 and the page
DOORS = {"stylesdf": {"stylesdf.pipeline"}, "stylesdf.__main__": {"stylesdf.demo.start"}}
# whole trees that stand on one floor and arrange themselves
TREES = {"train": 5, "stylesdf.commands": 4.5, "stylesdf.demo": 5}
HIGHEST_BELOW = {"train": 3}
# the kit's own floors: its folders and files, from the ground up
TRAIN_FLOORS = (
    {"augment", "errors", "losses", "override", "poses", "pretrained"},
    {"bounds", "data"},
    {"config", "networks", "terms"},
    {"evaluation"},
    {"directions", "factors", "recipes", "run"},
    {"game", "listing", "presets"},
    {"arguments", "stages"},
    {"build"},
    {"recipe"},
    {"__main__"},
)
OURS = ("stylesdf", "train", "app", "tests", "scripts")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(module: str) -> str | None:
    return next((tree for tree in TREES if module == tree or module.startswith(tree + ".")), None)


def floor_of(module: str) -> int | None:
    return TREES.get(tree_of(module), FLOORS.get(module))


def imports(source: str, module: str, is_package: bool = False) -> set[str]:
    """Names of our own modules that ``source`` imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join(package + ([node.module] if node.module else []))
            # "from stylesdf import mesh" is the module mesh, "from stylesdf import Camera" is the face
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(base if floor_of(inner) is None else inner)
    return {name for name in found if name.split(".")[0] in OURS}


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    wrong = []
    for target in sorted(imports(source, module, is_package)):
        if target in DOORS.get(module, ()) or (tree_of(module) and tree_of(target) == tree_of(module)):
            continue
        floor = floor_of(target)
        own = floor_of(module)
        if floor is None or floor >= min(own, HIGHEST_BELOW.get(tree_of(module), own) + 0.5):
            wrong.append(f"{module} (floor {floor_of(module)}) imports {target} (floor {floor})")
    return wrong


def sources() -> list[Path]:
    paths = [*ROOT.glob("stylesdf/**/*.py"), *ROOT.glob("train/**/*.py"), *ROOT.glob("app.py")]
    return sorted(path for path in paths if "__pycache__" not in path.parts)


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_go_down(path):
    module = module_name(path)
    assert floor_of(module) is not None, f"{module} has no floor: enter it in FLOORS, see the house rules"
    assert violations(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


def train_violations(source: str, module: str) -> list[str]:
    """Return the imports with which one of the kit's folders or files reaches up, or aside, to another."""
    floors = {room: floor for floor, rooms in enumerate(TRAIN_FLOORS) for room in rooms}
    room, wrong = module.split(".")[1], []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        base = getattr(node, "module", None)
        for name in names if base is None else [f"{base}.{name}" for name in names]:
            parts = name.split(".")
            if parts[0] == "train" and parts[1] != room and floors[parts[1]] >= floors[room]:
                wrong.append(f"{module} (floor {floors[room]}) imports {name} (floor {floors[parts[1]]})")
    return wrong


@pytest.mark.parametrize("path", sorted(ROOT.glob("train/**/*.py")), ids=module_name)
def test_imports_of_the_kit_go_down(path):
    module = module_name(path)
    if module != "train":
        assert train_violations(path.read_text(encoding="utf-8"), module) == []


@pytest.mark.parametrize(
    "source, module",
    [
        ("from train.stages.prior import PriorStage", "train.run.cost"),
        ("from train import recipe", "train.build"),
        ("import train.game", "train.config"),
        ("def f():\n    from train.run.engine import Engine", "train.evaluation.report"),
    ],
)
def test_an_import_upwards_within_the_kit_is_seen(source, module):
    assert train_violations(source, module)


@pytest.mark.parametrize(
    "source, module",
    [
        ("from stylesdf.model import Generator", "stylesdf.ops"),
        ("def f():\n    import stylesdf.mapping", "stylesdf.field"),
        ("from stylesdf import mesh", "stylesdf.model"),
        ("from . import mesh", "stylesdf.model"),
        ("from .pipeline import StyleSDF", "stylesdf.hub"),
        ("from stylesdf import StyleSDF", "stylesdf.mesh"),
        ("from stylesdf import StyleSDF", "train.run.loop"),
        ("from stylesdf.pipeline import StyleSDF", "train.run.loop"),
        ("import train.losses", "stylesdf.pipeline"),
        ("import app", "train.run.loop"),
        ("from stylesdf.nowhere import thing", "stylesdf.pipeline"),
    ],
)
def test_an_import_upwards_is_seen(source, module):
    assert violations(source, module)


@pytest.mark.parametrize(
    "source, module",
    [
        ("from stylesdf.ops import SLOPE", "stylesdf.field"),
        ("from stylesdf import mesh as meshes", "stylesdf.pipeline"),
        ("from stylesdf import StyleSDF", "stylesdf.__main__"),
        ("from stylesdf import StyleSDF", "app"),
        ("import torch\nfrom train.losses import r1\nfrom stylesdf.hub import save", "train.run.loop"),
    ],
)
def test_an_import_downwards_is_fine(source, module):
    assert violations(source, module) == []


def test_importing_the_package_is_light():
    heavy = ["gradio", "plotly", "trimesh", "skimage", "huggingface_hub"]
    code = f"import sys, stylesdf; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def test_loading_a_model_is_light(published_model, tmp_path):
    published_model.save_pretrained(tmp_path)
    heavy = ["torch._dynamo", "sympy", "trimesh", "skimage", "huggingface_hub"]  # torch's compiler takes seconds
    code = f"import sys, stylesdf; stylesdf.StyleSDF.from_pretrained({str(tmp_path)!r}); "
    code += f"print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def test_every_file_says_what_it_is():
    vague = {"utils.py", "util.py", "math.py", "misc.py", "helpers.py", "common.py"}
    assert [str(path) for path in sources() if path.name in vague] == []
