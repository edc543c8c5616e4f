"""Every setting is listed with its default, the recipes' values and the first sentence of its docstring."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from train.__main__ import main
from train.config import STAGE_OF
from train.listing import attribute_texts, first_sentence, settings_of, settings_text
from train.override import show
from train.recipes import RECIPES


@dataclass(frozen=True)
class Inner:
    """Inside.

    Attributes:
        rate: How fast. It is
            a number.
        size, other_size: Two of
            them (arXiv 1706.08500). When to use: never.
    """

    rate: float = 0.5
    size: int = 3
    other_size: int | None = None


@dataclass(frozen=True)
class Outer:
    """Outside.

    Attributes:
        name: Of it.
        one: Inside.
        several: Inside.
        weights: By name.

    Raises:
        ValueError: Never: not a setting.
    """

    name: str = "a"
    one: Inner = Inner(rate=2.0)
    several: tuple[Inner, ...] = (Inner(size=5), Inner())
    weights: Mapping[str, float] = field(default_factory=lambda: {"a": 1.0, "b": 2e-5})


def test_settings_inside_settings_are_listed_with_their_defaults_and_first_sentences():
    listed = {setting.name: (setting.default, setting.text) for setting in settings_of(Outer())}
    assert listed == {
        "name": ("a", "Of it."),
        "one.rate": ("2", "How fast."),
        "one.size": ("3", "Two of them (arXiv 1706.08500)."),
        "one.other_size": ("none", "Two of them (arXiv 1706.08500)."),
        "several.N.rate": ("0.5", "How fast."),
        "several.N.size": ("5", "Two of them (arXiv 1706.08500)."),
        "several.N.other_size": ("none", "Two of them (arXiv 1706.08500)."),
        "weights": ("a=1 b=2e-05", "By name."),
    }
    assert "ValueError" not in attribute_texts(Outer)


def test_values_are_shown_as_they_are_set():
    values = {True: "true", None: "none", (1, 2): "1,2", (): "none", "text": "text", 1e-3: "0.001"}
    assert [show(value) for value in values] == list(values.values())
    assert first_sentence("One. Two.") == "One." and first_sentence("No end") == "No end"


@pytest.mark.parametrize("config, stage", STAGE_OF.items())
def test_every_field_of_every_stage_is_listed_and_has_a_sentence(config, stage, capsys):
    assert main(["settings", stage]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{stage}\n") and max(map(len, text.splitlines())) <= 120
    tops = {setting.name.split(".")[0] for setting in settings_of(config())}
    assert tops == {each.name for each in dataclasses.fields(config)}
    for setting in settings_of(config()):
        assert f"  {setting.name} = " in text
        assert setting.text.endswith((".", ":")), setting.name


def test_all_stages_are_listed_with_what_the_recipes_set(capsys):
    assert main(["settings"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if line and not line.startswith(" ")] == list(STAGE_OF.values())
    recipe = RECIPES["people"]["small"]
    run = next(run for run in recipe.runs if run.stage == "polish")
    (line,) = [line for line in settings_text("polish").splitlines() if line.startswith("  least_truncation = ")]
    assert line.startswith(f"  least_truncation = 1  ({run.settings.least_truncation:g} in people small/{run.name}")
