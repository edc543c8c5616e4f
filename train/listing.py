"""Every setting of every stage: its default, what the recipes set it to, and what it is."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping

from train.config import STAGE_OF
from train.override import show
from train.recipes import RECIPES, Recipe, Run

WIDTH = 120
INDENT = 6 * " "


def settings_text(stage: str | None = None) -> str:
    """Return the settings of one stage, or of all, as text; recipes that keep a default are not named.

    Args:
        stage: Of ``STAGE_OF``; None is every one.
    """
    return "\n".join(_stage_text(name, config) for config, name in STAGE_OF.items() if stage in (None, name))


def _stage_text(stage: str, config: type) -> str:
    lines = [stage, ""]
    for setting in settings_of(config()):
        values = _recipe_values(setting.name, setting.default, config)
        shown = f"  ({'; '.join(f'{value} in {where}' for value, where in values.items())})" if values else ""
        lines += _wrapped(f"{setting.name} = {setting.default}{shown}", "  ")
        lines += _wrapped(setting.text, INDENT)
    return "\n".join(lines) + "\n"


def _wrapped(text: str, first: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=INDENT, break_on_hyphens=False)


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        name: As ``--set`` takes it, with ``N`` for the number of a phase or the like.
        default: As text.
        text: The first sentence of its entry in the docstring.
    """

    name: str
    default: str
    text: str


def settings_of(config: object, prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a dataclass and of the dataclasses inside.

    Args:
        config: With the defaults; its class's docstring describes its fields under ``Attributes:``.
        prefix: Before each name.
    """
    texts = attribute_texts(type(config))
    for field in dataclasses.fields(config):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings_of(value, f"{name}.")
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            yield from settings_of(value[0], f"{name}.N.")
        else:
            yield Setting(name, show(value), texts.get(field.name, ""))


def attribute_texts(config: type) -> dict[str, str]:
    """Return the first sentence that a docstring's section ``Attributes:`` has for each name."""
    lines = inspect.getdoc(config).splitlines()
    entries: list[tuple[list[str], list[str]]] = []
    for line in lines[lines.index("Attributes:") + 1 :]:
        if line and not line.startswith(" "):
            break
        match = re.fullmatch(r" {4}(\w+(?:, \w+)*): (.*)", line)
        if match:
            entries.append((match[1].split(", "), [match[2]]))
        elif entries and line.strip():
            entries[-1][1].append(line.strip())
    return {name: first_sentence(" ".join(text)) for names, text in entries for name in names}


def first_sentence(text: str) -> str:
    """Return a text up to its first full stop that ends a sentence."""
    return re.split(r"(?<=\.)\s+(?=[A-Z0-9])", text, maxsplit=1)[0]


def _recipe_values(name: str, default: str, config: type) -> dict[str, str]:
    """Return what the recipes set a setting to that differs from its default: value → the runs, as text."""
    runs: dict[str, list[str]] = {}
    for title, run in _runs():
        if type(run.settings) is config:
            values = dict.fromkeys(show(value) for value in _values(run.settings, name.split(".")))
            if values and list(values) != [default]:
                runs.setdefault(", ".join(values), []).append(f"{title}/{run.name}")
    return {value: ", ".join(where) for value, where in runs.items()}


def _runs() -> Iterator[tuple[str, Run]]:
    for name, sizes in RECIPES.items():
        recipes: Mapping[str, Recipe] = sizes
        for size, recipe in recipes.items():
            for run in recipe.runs:
                yield name if len(recipes) == 1 else f"{name} {size}", run


def _values(config: object, path: list[str]) -> Iterable[object]:
    if not path:
        return [config]
    if path[0] == "N":
        return [value for each in config for value in _values(each, path[1:])]
    return _values(getattr(config, path[0]), path[1:])
