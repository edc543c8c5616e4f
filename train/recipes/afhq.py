"""The paper's model of animals (AFHQ): a stronger gradient penalty in stage 2 and a narrower pose prior than FFHQ's."""

from __future__ import annotations

from stylesdf.config import preset
from train.config import DecoderConfig, RendererConfig
from train.recipes.base import Recipe, Run
from train.recipes.ffhq import LIMITS

AFHQ = Recipe(
    name="afhq",
    data=None,
    model=preset("afhq"),
    runs=(Run("renderer", RendererConfig()), Run("decoder", DecoderConfig(r1_gamma=50.0), "renderer")),
    about="A model of the kind that the paper trained on photos of animals.",
    limits=LIMITS,
)
