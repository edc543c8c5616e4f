"""Cartoon heads of cats, dogs, bears and foxes, which the project draws (``train/data/toy_heads``).

Poses and masks of the drawings are used; the paper uses neither. ``train/recipes/drawn.py`` says how it learns.
"""

from __future__ import annotations

import dataclasses

from train.recipes.base import Recipe
from train.recipes.drawn import MODEL, SHOWN, chain

# heads fill the frame at 9°; at 8° it would cut ears or chin off a third of them
TOY_HEADS = Recipe(
    name="toy_heads",
    data="toy-heads:6000",
    model=dataclasses.replace(MODEL, latent_size=128, fov_deg=9.0, scene_radius=0.105),
    runs=chain(dataclasses.replace(SHOWN, sphere_radius=0.06)),
    about="""Cartoon heads of cats, dogs, bears and foxes. The pictures it learned from are drawn by
`train/data/toy_heads`, one animal and one view each.""",
    limits="""Poses and masks of the drawn pictures were used in training, which the paper does not do. The light is
part of the colours. Beyond ±30° of yaw and ±15° of pitch little was seen, the backs of heads hardly ever. It says
nothing about real animals.""",
)
