"""What keeps the kit small: few settings, each in use; short files and functions; what is said, said once."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from train.config import (
    DecoderConfig,
    EncoderConfig,
    GameConfig,
    Phase,
    PolishConfig,
    PriorConfig,
    RendererConfig,
)
from train.presets import PRESETS
from train.recipes import RECIPES

KIT = Path(__file__).parents[2] / "train"
FILES = sorted(KIT.rglob("*.py"))
SETTINGS = (Phase, GameConfig, RendererConfig, PriorConfig, PolishConfig, DecoderConfig, EncoderConfig)
MOST_SETTINGS, MOST_OF_ONE = 70, 20
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60


def names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def test_settings_are_few():
    counts = {kind.__name__: len(names(kind)) for kind in SETTINGS}
    assert sum(counts.values()) <= MOST_SETTINGS, counts
    assert max(counts.values()) <= MOST_OF_ONE, counts


def changed(config, default) -> set[tuple[str, str]]:
    """Fields, with the name of their class, in which settings are not what they are by default."""
    found = set()
    for name in names(type(config)):
        value, usual = getattr(config, name), getattr(default, name)
        if value == usual:
            continue
        found.add((type(config).__name__, name))
        if dataclasses.is_dataclass(value):
            found |= changed(value, usual)
        elif isinstance(value, tuple) and dataclasses.is_dataclass(value[0]):
            for each in value:
                found |= changed(each, type(each)())
    return found


def in_use() -> set[tuple[str, str]]:
    recipes = [run.settings for sizes in RECIPES.values() for recipe in sizes.values() for run in recipe.runs]
    presets = [config for stage in PRESETS.values() for config in stage.values()]
    return set().union(*(changed(config, type(config)()) for config in recipes + presets))


def test_what_is_changed_is_found():
    config = dataclasses.replace(RendererConfig(), phases=(Phase(steps=1),), game=GameConfig(r1_every=4))
    fields = {f"{kind}.{name}" for kind, name in changed(config, RendererConfig())}
    assert fields == {"RendererConfig.phases", "Phase.steps", "RendererConfig.game", "GameConfig.r1_every"}
    assert changed(DecoderConfig(), DecoderConfig()) == set()


def named_in_the_readme(kind: type, name: str) -> bool:
    """Whether backticks name it as ``--set`` takes it, with or without a value; code blocks do not count."""
    prose = re.sub(r"```.*?```", "", (KIT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    place = {Phase: r"phases\.\w+\.", GameConfig: r"game\."}.get(kind, "")
    words = " ".join(re.findall(r"`([^`\n]+)`", prose)).split()
    return any(re.fullmatch(rf"{place}{name}(=\S+|\.\S+)?", word) for word in words)


def test_every_setting_is_set_by_a_recipe_or_a_preset_or_named_in_the_readme():
    used = in_use()
    unused = [(kind, name) for kind in SETTINGS for name in names(kind) if (kind.__name__, name) not in used]
    missing = [f"{kind.__name__}.{name}" for kind, name in unused if not named_in_the_readme(kind, name)]
    assert not missing, f"set by no recipe and no preset, and not named in train/README.md: {', '.join(missing)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(KIT)))
def test_files_and_functions_are_short(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {length} lines"


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path.name, node


def test_the_average_has_one_ramp_and_ada_one_caller():
    ramp = re.compile(r"\(?1 \+ ([\w.]+)\)? / \(?10 \+ \1\)?")
    ramps = [name for name, node in nodes() if isinstance(node, ast.BinOp) and ramp.fullmatch(ast.unparse(node))]
    assert ramps == ["game.py"]
    lerps = [name for name, node in nodes() if isinstance(node, ast.Attribute) and node.attr == "lerp_"]
    assert lerps == ["game.py", "decoder.py", "reconstruction.py"]  # the average; path lengths; what codes are
    calls = [node for node in nodes() if isinstance(node[1], ast.Call)]
    called = [(name, ast.unparse(call.func).split(".")[-1]) for name, call in calls]
    assert [name for name, function in called if function == "adapt_probability"] == ["game.py"]
    assert [name for name, function in called if function == "gradient_penalty"] == ["game.py"]
