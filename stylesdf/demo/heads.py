"""Heads that visitors look at, kept so that turning one costs its rendering only, and those found in pictures."""

from __future__ import annotations

import secrets
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stylesdf.arguments import parse_edits
from stylesdf.demo.recent import Recent
from stylesdf.demo.scene import Scene
from stylesdf.head import Head, View
from stylesdf.pipeline import StyleSDF

MAX_BYTES = 400_000_000
MAX_HEADS = 64
MAX_FOUND = 8  # of one visitor; the oldest goes when another comes
MAX_FINDERS = 500


@dataclass(frozen=True, eq=False)
class _Found:
    """A head's codes and origin as of ``Head``, and whose model's."""

    model: weakref.ref
    w: Tensor
    ws: Tensor | None
    origin: dict


class FoundHeads:
    """Heads that were found in visitors' pictures, under names that nobody can guess, until the visitor leaves."""

    def __init__(self) -> None:
        self._found: OrderedDict[str | None, OrderedDict[str, _Found]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, visitor: str | None, model: StyleSDF, head: Head) -> str:
        """Keep a head of a model for a visitor; return its name, 32 hexadecimal digits."""
        name = secrets.token_hex(16)
        with self._lock:
            mine = self._found.setdefault(visitor, OrderedDict())
            mine[name] = _Found(weakref.ref(model), head.w, head.ws, head.origin)
            while len(mine) > MAX_FOUND:
                mine.popitem(last=False)
            while len(self._found) > MAX_FINDERS:
                self._found.popitem(last=False)
        return name

    def codes(self, model: StyleSDF, name: str) -> tuple[Tensor, Tensor | None, dict]:
        """Return w, ws and origin of a head that was kept, as of ``Head``.

        Raises:
            ValueError: It is gone, or of another model.
        """
        with self._lock:
            found = next((mine[name] for mine in self._found.values() if name in mine), None)
        if found is None:
            raise ValueError("the head of that picture is no longer here, it went with the visit; drop it again")
        if found.model() is not model:
            raise ValueError(f"that head is none of {model.name_or_path}, it was found with another model")
        return found.w, found.ws, found.origin

    def forget(self, visitor: str | None) -> set[str]:
        """Forget the heads of a visitor; return their names."""
        with self._lock:
            return set(self._found.pop(visitor, ()))


class HeadCache:
    """The heads that were looked at last, of all models.

    Attributes:
        found: Where heads of pictures are.
    """

    def __init__(self) -> None:
        self.found = FoundHeads()
        self._heads = Recent()

    def head(self, model: StyleSDF, scene: Scene) -> Head:
        """Return whom a scene shows.

        Args:
            model: The scene's model.
            scene: What is seen; its camera does not matter.

        Raises:
            ValueError: A texture seed for a model without decoder, the head of a picture that is gone, or edits that
                the model does not know.
        """
        if scene.edits:
            before, edits = replace(scene, edits=""), parse_edits(scene.edits)
            return self._kept(model, scene.identity, lambda: model.edit(self.head(model, before), edits))
        head = self._one(model, scene.seed, scene) if scene.head is None else self._found(model, scene)
        if scene.morph_seed is None or not scene.morph_share:
            return head
        other = self._one(model, scene.morph_seed, scene)
        return self._kept(model, scene.identity, lambda: model.blend(head, other, scene.morph_share))

    def view(self, model: StyleSDF, scene: Scene, quality: str | None = None) -> View:
        """Look at a scene; ``quality`` replaces its own."""
        return self.head(model, scene).view(replace(scene.shot, quality=quality or scene.quality))

    def _one(self, model: StyleSDF, seed: int, scene: Scene) -> Head:
        key = (seed, scene.truncation, scene.texture_seed)
        return self._kept(model, key, lambda: model.head(seed, scene.truncation, scene.texture_seed))

    def forget(self, visitor: str | None) -> set[str]:
        """Forget all heads that were found in a visitor's pictures; return their names."""
        names = self.found.forget(visitor)
        self._heads.drop(names)
        return names

    def _found(self, model: StyleSDF, scene: Scene) -> Head:
        w, ws, origin = self.found.codes(model, scene.head)

        def make() -> Head:
            dressed = ws
            if scene.texture_seed is not None:  # as ``StyleSDF.head`` mixes: all layers but the first
                other = model.head(scene.seed, scene.truncation, scene.texture_seed)
                dressed = torch.cat([ws[:, :1], other.ws[:, 1:]], dim=1)
            return replace(model.head_from_codes(w, dressed), origin=origin)

        return self._kept(model, (scene.head, scene.truncation, scene.texture_seed), make)

    def _kept(self, model: StyleSDF, key: tuple, make: Callable[[], Head]) -> Head:
        size = 2 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        # the reference is weak, so that a model can go before its heads do
        return self._heads.get((weakref.ref(model), *key), make, max(2, min(MAX_HEADS, MAX_BYTES // size)))
