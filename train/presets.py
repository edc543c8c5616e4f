"""Presets of the stages for your own data: ``ffhq`` and ``afhq`` are the paper's, ``photos`` and ``toy`` are small.

``photos`` is for full frames, ``toy`` for heads before a plain background.
"""

from __future__ import annotations

from train.config import EncoderConfig, PolishConfig, PriorConfig, Settings
from train.recipes import small
from train.recipes.afhq import AFHQ
from train.recipes.ffhq import FFHQ
from train.recipes.photos import PHOTOS

NAMES = ("ffhq", "afhq", "photos", "toy")


def _stage(name: str, toy: Settings) -> dict[str, Settings]:
    """Return a stage's settings by preset."""
    runs = {recipe.name: {run.name: run.settings for run in recipe.runs} for recipe in (FFHQ, AFHQ, PHOTOS)}
    return {recipe: settings[name] for recipe, settings in runs.items()} | {"toy": toy}


PRESETS = {
    "renderer": _stage("renderer", small.RENDERER),
    "prior": dict.fromkeys(NAMES, PriorConfig()),
    "polish": dict.fromkeys(NAMES, PolishConfig()),
    "encoder": dict.fromkeys(NAMES, EncoderConfig()),
    "decoder": _stage("decoder", small.DECODER),
}
