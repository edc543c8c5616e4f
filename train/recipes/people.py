"""Models like the one that opens the page: stylised heads of people, whom the project draws (``train/data/people``).

Poses and masks of the drawings are used; the paper uses neither. ``train/recipes/drawn.py`` says how it learns.
"""

from __future__ import annotations

import dataclasses

from train.config import Phase
from train.recipes.base import Recipe
from train.recipes.drawn import DECODED, DETAILED, MODEL, SHOWN, chain

ABOUT = """Stylised heads of people, as an animated film draws them. Nobody depicted exists. The pictures it learned
from are drawn by `train/data/people` from the head of MakeHuman's base mesh and its morph targets (CC0 1.0), one person
and one view each, with hair, eyes, clothes, colours and light of the project's own."""

LIMITS = """Poses and masks of the drawn pictures were used in training, which the paper does not do. The light is part
of the colours. Beyond ±30° of yaw and ±15° of pitch little was seen, the backs of heads hardly ever."""

SMALL = Recipe(name="people", data="people:6000", model=MODEL, runs=chain(), about=ABOUT, limits=LIMITS)

# on a GPU: a wider field and decoder, more rays of more pictures in every step
LARGE = dataclasses.replace(
    SMALL,
    size="large",
    model=dataclasses.replace(MODEL, field_width=128, decoder_style_size=128, decoder_channels=(128, 64, 32)),
    runs=chain(
        dataclasses.replace(
            SHOWN,
            phases=(
                Phase(resolution=32, steps=2000, batch_size=64, num_samples=16),
                Phase(resolution=32, steps=18000, batch_size=64, num_samples=24),
            ),
        ),
        dataclasses.replace(DECODED, steps=3000, batch_size=32),
        dataclasses.replace(DETAILED, batch_size=32),
    ),
)
