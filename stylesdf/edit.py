"""Edits with names: heads that differ from others by an amount of age or of a beard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from stylesdf.config import shown
from stylesdf.head import Head, check_heads
from stylesdf.torch_state import ordinary_torch

if TYPE_CHECKING:
    from stylesdf.model import Generator

PARTS = ("both", "shape", "texture")


def check_edits(model: Generator, amounts: Mapping[str, float]) -> dict[str, float]:
    """Return amounts as numbers, in the order of a model's directions.

    Raises:
        ValueError: The model has no directions, or an unknown name, or an amount beyond ±10.
    """
    if model.directions is None:
        raise ValueError("the model has no directions.safetensors beside it, which edits need")
    return model.directions.check(amounts)


class EditMixin:
    """``edit`` for a generator that makes heads of codes."""

    @ordinary_torch()
    def edit(self: Generator, head: Head, amounts: Mapping[str, float], part: str = "both") -> Head:
        """Make the head that differs from another one by what has a name.

        Args:
            head: Of this model: of a seed, a blend, a picture, or edited already.
            amounts: By how much, by the names of ``model.directions``, each within ±10 and best within ±2. 1 is a
                standard deviation among the heads of the data; of what most lack, such as glasses, half of what there
                can be; of numbered factors, what a standard deviation of all latents changes.
            part: ``"shape"`` moves the field alone, ``"texture"`` what the decoder draws on it.

        Returns:
            The head; ``origin`` says what it was made of and by which ``edits``.

        Raises:
            ValueError: The model has no directions, a head of another, or an unknown name, amount or part.
        """
        check_heads([head], self.config)
        amounts = check_edits(self, amounts)
        if part not in PARTS:
            raise ValueError(f"part is {shown(part)}, expected one of {', '.join(PARTS)}")
        if part == "texture" and head.ws is None:
            raise ValueError("part is 'texture', but a renderer-only model has no decoder to edit")
        w, ws = self.directions.move(self.renderer_mapping, head.w, amounts), head.ws
        if ws is not None and part != "shape":  # what a head has of another's texture, or of a picture, stays
            ws = ws + self.decoder_codes(w) - self.decoder_codes(head.w)
        edited = self.head_from_codes(head.w if part == "texture" else w, ws)
        edits = [*head.origin.get("edits", ()), {"amounts": amounts, "part": part}]
        return replace(edited, origin={**head.origin, "edits": edits})
