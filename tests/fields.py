"""The gradient of a known signed distance that stands in for a field's."""

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_of(sdf: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Return the gradient of a signed distance at points ``(..., 3)``, in whatever mode torch is."""
    with torch.inference_mode(False), torch.enable_grad():
        points = points.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(sdf(points).sum(), points)
    return gradient
