"""Directions with names, along which latents move: ``directions.safetensors`` beside a model.

``python -m train directions`` learns them from what a network reads in the model's own pictures: one moves what its
name says and leaves alone what the others say, as far as a straight line can. With ``--factors`` they are numbered:
what changes shapes most, and textures. Latents move rather than codes, since a straight line in the space of codes soon
leads away from all heads.

Shapes: B batch, D directions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.arguments import check_number
from stylesdf.config import shown

NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
MAX_DIRECTIONS = 64
MAX_AMOUNT = 10.0
FIND_STEPS, FIND_LEARNING_RATE = 200, 0.1  # with larger steps rounding errors decide what is found
FIND_PRIOR = 1e-3  # of a latent's square, beside a code's


class Directions(nn.Module):
    """Named directions in the space of latents.

    Args:
        latent_size: Of a latent, and of a renderer code.
        names: Of the directions, lower case.

    Attributes:
        config: These two by their names, as its file keeps them.
        vectors: By how much an amount of 1 moves a latent. ``(D, latent_size)``.

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
        self.register_buffer("vectors", torch.zeros(len(names), latent_size))

    @property
    def names(self) -> list[str]:
        return self.config["names"]

    def check(self, amounts: Mapping[str, float]) -> dict[str, float]:
        """Return amounts as numbers, in the order of the directions.

        Raises:
            ValueError: An unknown name, or an amount beyond ±10.
        """
        if not isinstance(amounts, Mapping):
            raise ValueError(f"amounts are {shown(amounts)}, expected a dict of names and numbers")
        for name in amounts:
            if name not in self.names:
                raise ValueError(f"there is no direction {shown(name)}, expected one of {', '.join(self.names)}")
        amounts = {name: check_number(name, amounts[name]) for name in self.names if name in amounts}
        for name, amount in amounts.items():
            if abs(amount) > MAX_AMOUNT:
                raise ValueError(f"{name} is {amount:g}, expected an amount within ±{MAX_AMOUNT:g}")
        return amounts

    @torch.no_grad()
    def move(
        self, mapping: nn.Module, w: Tensor, amounts: Mapping[str, float], latents: Tensor | None = None
    ) -> Tensor:
        """Move codes as their latents move, which keep their length; what no latent gives in a code stays.

        Args:
            mapping: Renderer mapping.
            w: Renderer codes. ``(B, latent_size)``.
            amounts: Checked.
            latents: Of these codes, ``(B, latent_size)``; None finds them.

        Returns:
            Renderer codes. ``(B, latent_size)``.
        """
        shares = w.new_tensor([amounts.get(name, 0.0) for name in self.names])
        z = find_latents(mapping, w) if latents is None else latents
        moved = F.normalize(z + shares @ self.vectors.to(w), dim=1) * z.norm(dim=1, keepdim=True)
        return w + mapping(moved) - mapping(z)


def find_latents(mapping: nn.Module, w: Tensor) -> Tensor:
    """Return latents whose codes come near to some codes, ``(B, latent_size)`` both; the same for the same codes."""
    weights = {name: parameter.detach().float() for name, parameter in mapping.named_parameters()}
    with torch.inference_mode(False), torch.enable_grad():
        target = w.detach().float().clone()
        z = torch.zeros_like(target, requires_grad=True)
        optimizer = torch.optim.Adam([z], lr=FIND_LEARNING_RATE, betas=(0.9, 0.99))
        for step in range(FIND_STEPS):
            optimizer.param_groups[0]["lr"] = FIND_LEARNING_RATE * (1.0 - step / FIND_STEPS)
            codes = torch.func.functional_call(mapping, weights, (z,))
            loss = (codes - target).square().sum() + FIND_PRIOR * z.square().sum()
            z.grad, = torch.autograd.grad(loss, [z])
            optimizer.step()
    return z.detach().to(w)
