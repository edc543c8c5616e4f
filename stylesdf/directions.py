"""Directions with names, along which codes move: ``directions.safetensors`` beside a model.

They were learned (``python -m train directions``) from what a network reads in the model's own pictures. One moves what
its name says and leaves alone what the others say, as far as a straight line can.

Shapes: B batch, D directions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn, zeros

from stylesdf.arguments import check_number
from stylesdf.config import shown
from stylesdf.mapping import rectify, unrectify

NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
MAX_DIRECTIONS = 64
MAX_AMOUNT = 10.0


class Directions(nn.Module):
    """Named directions in the space of renderer codes as they are before the mapping's last leaky ReLU.

    Args:
        latent_size: Of a renderer code.
        names: Of the directions, lower case.

    Attributes:
        config: These two by their names, as its file keeps them.
        vectors: By how much an amount of 1 moves a code. ``(D, latent_size)``.

    Raises:
        ValueError: Names that are none, too many, or twice the same.
    """

    def __init__(self, latent_size: int, names: list[str]) -> None:
        super().__init__()
        if not isinstance(names, list) or not 1 <= len(names) <= MAX_DIRECTIONS:
            raise ValueError(f"names of directions are {shown(names)}, expected a list of 1 to {MAX_DIRECTIONS}")
        for name in names:
            if not isinstance(name, str) or not NAME.fullmatch(name) or names.count(name) > 1:
                raise ValueError(f"a direction is named {shown(name)}, expected one word in lower case, each once")
        self.config = {"latent_size": latent_size, "names": names}
        self.register_buffer("vectors", zeros(len(names), latent_size))

    @property
    def names(self) -> list[str]:
        return self.config["names"]

    def check(self, amounts: Mapping[str, float]) -> dict[str, float]:
        """Return amounts as numbers, in the order of the directions.

        Raises:
            ValueError: An unknown name, or an amount beyond ±10.
        """
        for name in amounts:
            if name not in self.names:
                raise ValueError(f"there is no direction {shown(name)}, expected one of {', '.join(self.names)}")
        amounts = {name: check_number(name, amounts[name]) for name in self.names if name in amounts}
        for name, amount in amounts.items():
            if abs(amount) > MAX_AMOUNT:
                raise ValueError(f"{name} is {amount:g}, expected an amount within ±{MAX_AMOUNT:g}")
        return amounts

    def move(self, w: Tensor, amounts: Mapping[str, float]) -> Tensor:
        """Return renderer codes ``(B, latent_size)`` moved by checked amounts."""
        shares = w.new_tensor([amounts.get(name, 0.0) for name in self.names])
        return rectify(unrectify(w) + shares @ self.vectors.to(w))
