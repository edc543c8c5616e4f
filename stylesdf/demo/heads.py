"""Heads that visitors look at, kept so that turning one costs its rendering only."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace

from stylesdf.demo.recent import Recent
from stylesdf.demo.scene import Scene
from stylesdf.head import Head, View
from stylesdf.pipeline import StyleSDF

MAX_BYTES = 400_000_000
MAX_HEADS = 64


class HeadCache:
    """The heads that were looked at last, of all models."""

    def __init__(self) -> None:
        self._heads = Recent()

    def head(self, model: StyleSDF, scene: Scene) -> Head:
        """Return whom a scene shows.

        Args:
            model: The scene's model.
            scene: What is seen; its camera does not matter.

        Raises:
            ValueError: A texture seed for a model without decoder.
        """
        head = self._one(model, scene.seed, scene)
        if scene.morph_seed is None or not scene.morph_share:
            return head
        key = (scene.seed, scene.truncation, scene.texture_seed, scene.morph_seed, scene.morph_share)
        other = self._one(model, scene.morph_seed, scene)
        return self._kept(model, key, lambda: model.blend(head, other, scene.morph_share))

    def view(self, model: StyleSDF, scene: Scene, quality: str | None = None) -> View:
        """Look at a scene; ``quality`` replaces its own."""
        return self.head(model, scene).view(replace(scene.shot, quality=quality or scene.quality))

    def _one(self, model: StyleSDF, seed: int, scene: Scene) -> Head:
        key = (seed, scene.truncation, scene.texture_seed)
        return self._kept(model, key, lambda: model.head(seed, scene.truncation, scene.texture_seed))

    def _kept(self, model: StyleSDF, key: tuple, make: Callable[[], Head]) -> Head:
        size = 2 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        # the reference is weak, so that a model can go before its heads do
        return self._heads.get((weakref.ref(model), *key), make, max(2, min(MAX_HEADS, MAX_BYTES // size)))
