"""The recipes of the bundled models: one file each, by name and size."""

from train.recipes import people
from train.recipes.base import Recipe, Run

RECIPES: dict[str, dict[str, Recipe]] = {
    "people": {"small": people.SMALL, "large": people.LARGE},
}

__all__ = ["RECIPES", "Recipe", "Run"]
