"""The paper's model of faces (FFHQ, 70,000 photos): stage 1, then stage 2, with the paper's settings."""

from __future__ import annotations

from stylesdf.config import preset
from train.config import DecoderConfig, RendererConfig
from train.recipes.base import Recipe, Run

LIMITS = "The settings are the paper's; this recipe was not run to the end here."

FFHQ = Recipe(
    name="ffhq",
    data=None,
    model=preset("ffhq"),
    runs=(Run("renderer", RendererConfig()), Run("decoder", DecoderConfig(), "renderer")),
    about="A model of the kind that the paper trained on photos of faces.",
    limits=LIMITS,
)
