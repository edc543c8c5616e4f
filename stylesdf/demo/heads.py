"""Heads that visitors look at, kept so that turning one costs its rendering only."""

from __future__ import annotations

from collections.abc import Callable

from stylesdf.demo.recent import Recent
from stylesdf.demo.scene import Scene
from stylesdf.pipeline import Identity, StyleSDF, View

MAX_BYTES = 400_000_000
MAX_HEADS = 64


class HeadCache:
    """The identities that were looked at last, of all models."""

    def __init__(self) -> None:
        self._heads = Recent()

    def identity(self, model: StyleSDF, scene: Scene) -> Identity:
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
        key = (model, scene.seed, scene.truncation, scene.texture_seed, scene.morph_seed, scene.morph_share)
        other = self._one(model, scene.morph_seed, scene)
        return self._kept(key, lambda: model.blend(head, other, scene.morph_share))

    def view(self, model: StyleSDF, scene: Scene, quality: str | None = None) -> View:
        """Look at a scene; ``quality`` replaces its own."""
        return model.view(self.identity(model, scene), quality=quality or scene.quality, **scene.camera)

    def _one(self, model: StyleSDF, seed: int, scene: Scene) -> Identity:
        key = (model, seed, scene.truncation, scene.texture_seed)
        return self._kept(key, lambda: model.identity(seed, scene.truncation, scene.texture_seed))

    def _kept(self, key: tuple, make: Callable[[], Identity]) -> Identity:
        size = 2 * sum(parameter.numel() * parameter.element_size() for parameter in key[0].parameters())
        return self._heads.get(key, make, max(2, min(MAX_HEADS, MAX_BYTES // size)))
