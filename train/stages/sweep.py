"""The field at some points, forth and back, with every step of the way back written out.

It takes two thirds of the time of torch's own record: what is no longer needed is overwritten while it is in the cache.

Shapes: B batch, P points, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.fast.sine import cosine, sine
from stylesdf.field import ConditionedField


class Sweep:
    """Signed distance and colour at some points, whose gradients ``backward`` carries on.

    Args:
        field: Of B codes. Its matrices and offsets are leaves.
        points: World points. ``(B, P, 3)``.
        viewdirs: Unit view directions, ``(B, P, 3)``; unread by a field without view directions.
        keep: Keep what the way back needs; otherwise it is computed again.

    Attributes:
        sdf: Signed distance, a leaf. ``(B, P)``.
        rgb: Colour before the sigmoid, a leaf. ``(B, P, 3)``.
    """

    def __init__(self, field: ConditionedField, points: Tensor, viewdirs: Tensor, keep: bool = True) -> None:
        self._field, self._points, self._viewdirs = field, points, viewdirs
        path = self._forward()
        trunk, features = path[-2][2], path[-1][2]
        self.sdf = _head(field.sdf_head, trunk).squeeze(-1).requires_grad_()
        self.rgb = _head(field.rgb_head, features).requires_grad_()
        self._path = path if keep else None

    @torch.no_grad()
    def _forward(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return what goes into each layer, its angle, and the angle's sine."""
        field, hidden, path = self._field, self._points, []
        for matrix, offset in (*field.layers, field.view_layer):
            if len(path) == len(field.layers) and field.view_directions:
                hidden = torch.cat([hidden, self._viewdirs.expand(*hidden.shape[:2], 3)], dim=-1)
            angle = torch.baddbmm(offset, hidden, matrix)
            path.append((hidden, angle, sine(angle)))
            hidden = path[-1][2]
        return path

    @torch.no_grad()
    def backward(self) -> None:
        """Add the gradients that arrived at ``sdf`` and ``rgb`` to those of matrices, offsets and heads."""
        field, of_sdf, of_rgb = self._field, self.sdf.grad, self.rgb.grad
        layers, path = [*field.layers, field.view_layer], self._path or self._forward()
        gradient = None
        if of_rgb is not None:
            gradient = _back_through_head(field.rgb_head, path[-1][2], of_rgb)
            gradient = _back_through_layer(*layers[-1], *path[-1][:2], gradient)[..., : path[-2][2].shape[-1]]
        if of_sdf is not None:
            from_head = _back_through_head(field.sdf_head, path[-2][2], of_sdf[..., None])
            gradient = from_head if gradient is None else from_head.add_(gradient)
        if gradient is None:
            return
        for number in reversed(range(len(field.layers))):
            gradient = _back_through_layer(*layers[number], *path[number][:2], gradient, wants_input=number > 0)
        self._path = None


@torch.no_grad()
def _head(head: nn.Linear, hidden: Tensor) -> Tensor:
    return F.linear(hidden, head.weight, head.bias)


def _back_through_head(head: nn.Linear, hidden: Tensor, gradient: Tensor) -> Tensor:
    """Add the gradients of a head's parameters; return the gradient of what goes into it."""
    if head.weight.requires_grad:
        flat = gradient.flatten(0, 1)
        _add(head.weight, flat.t() @ hidden.flatten(0, 1))
        _add(head.bias, flat.sum(dim=0))
    return gradient @ head.weight


def _back_through_layer(
    matrix: Tensor, offset: Tensor, hidden: Tensor, angle: Tensor, gradient: Tensor, wants_input: bool = True
) -> Tensor | None:
    """Add the gradients of a layer's matrix and offset; return that of what goes into it. The angle is lost."""
    gradient = cosine(angle, out=angle).mul_(gradient)
    if matrix.requires_grad:
        _add(matrix, torch.bmm(hidden.transpose(1, 2), gradient))
        _add(offset, gradient.sum(dim=1, keepdim=True))
    return torch.bmm(gradient, matrix.transpose(1, 2)) if wants_input else None


def _add(leaf: Tensor, gradient: Tensor) -> None:
    if leaf.grad is None:
        leaf.grad = gradient
    else:
        leaf.grad += gradient
