"""Draws one animal from its number and a seed."""

from __future__ import annotations

import numpy as np

from train.data.toy_heads.bear import build_bear
from train.data.toy_heads.builder import HeadBuilder
from train.data.toy_heads.cat import build_cat
from train.data.toy_heads.dog import build_dog
from train.data.toy_heads.fox import build_fox
from train.data.toy_heads.head import SPECIES, Head

BUILD = {"cat": build_cat, "dog": build_dog, "bear": build_bear, "fox": build_fox}


def sample_head(index: int, seed: int) -> Head:
    """Draw animal number ``index`` of the data set with a seed; it depends on nothing else.

    Args:
        index: Number of the animal, from 0.
        seed: Seed of the data set, from 0.

    Returns:
        The head; its species is uniform over ``SPECIES``.

    Raises:
        ValueError: A number is negative.
    """
    if index < 0 or seed < 0:
        raise ValueError(f"index and seed must not be negative, got {index} and {seed}")
    rng = np.random.default_rng([seed, index])
    species = SPECIES[rng.integers(len(SPECIES))]
    builder = HeadBuilder(rng)
    return builder.finish(species, BUILD[species](builder))
