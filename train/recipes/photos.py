"""A small model of photos of your own, for one GPU or a patient CPU: full frames, neither poses nor masks.

What lies behind the head is part of the field, as in the paper; augmentation that adapts (ADA) keeps the discriminator
from learning a small set by heart.
"""

from __future__ import annotations

import dataclasses

from stylesdf.config import preset
from train.config import DecoderConfig, RendererConfig
from train.recipes.base import Recipe, Run
from train.recipes.small import DECODER, RENDERER


def _for_photos(settings: RendererConfig | DecoderConfig, **changes) -> RendererConfig | DecoderConfig:
    game = dataclasses.replace(
        settings.game, augment=("color", "translation"), augment_probability=0.0, ada_target=0.6
    )
    return dataclasses.replace(settings, game=game, horizontal_flip=True, **changes)


# two processes share each batch, and the discriminator compares images in groups of four
PHASES = tuple(dataclasses.replace(phase, batch_size=max(8, phase.batch_size)) for phase in RENDERER.phases)

TERMS = RENDERER.terms | {"symmetry": 5.0}  # left and right are alike, which tells where a head looks

PHOTOS = Recipe(
    name="photos",
    data=None,
    model=preset("photos"),
    runs=(
        Run("renderer", _for_photos(RENDERER, phases=PHASES, sphere_radius=0.07, terms=TERMS)),
        Run("decoder", _for_photos(DECODER), "renderer"),
    ),
    about="A small model of one kind of thing, learned from single photos without poses and masks.",
    limits="""Shapes are as good as the photos are many and alike. Without poses the side on which the first sphere lies
decides which way heads turn: look at the normals of the grids.""",
)
