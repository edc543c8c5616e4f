"""The recipes: one file each, by name and size."""

from train.recipes import people
from train.recipes.afhq import AFHQ
from train.recipes.base import Recipe, Run
from train.recipes.ffhq import FFHQ
from train.recipes.photos import PHOTOS
from train.recipes.toy_heads import TOY_HEADS

RECIPES: dict[str, dict[str, Recipe]] = {
    "people": {"small": people.SMALL, "large": people.LARGE},
    "toy_heads": {"small": TOY_HEADS},
    "photos": {"small": PHOTOS},
    "ffhq": {"large": FFHQ},
    "afhq": {"large": AFHQ},
}

__all__ = ["RECIPES", "Recipe", "Run"]
