"""Matrix products of the field, by whichever library is fast on them.

On a CPU torch multiplies float32 matrices with MKL, whose kernels reach less than half of the arithmetic of an AMD
processor: 103 GF/s where oneDNN reaches 249 on one core of an EPYC (AVX-512), 4096 rows of 256×256. Torch gives
convolutions to oneDNN, so a product is asked for as a 1×1 convolution. Elsewhere it is an ordinary product.
Shapes: B batch, P points.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGES = 16  # a product's rows are dealt out to as many images: from 16 on, torch hands 1×1 convolutions to oneDNN
FEWEST_ROWS = 256  # below, the ordinary product is as fast


def affine(x: Tensor, matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return x M + o, for every sample of the batch with a matrix of its own; differentiable twice.

    Args:
        x: ``(B, P, in)``.
        matrix: ``(B, in, out)``.
        offset: ``(B, 1, out)``; None is zero.

    Returns:
        ``(B, P, out)``, contiguous.
    """
    is_ordinary = x.device.type != "cpu" or x.dtype != torch.float32 or x.shape[1] < FEWEST_ROWS
    if is_ordinary or torch.compiler.is_exporting() or torch.compiler.is_compiling():
        return torch.bmm(x, matrix) if offset is None else torch.baddbmm(offset, x, matrix)
    return _Affine.apply(x, matrix, offset)


class _Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, matrix: Tensor, offset: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, matrix)
        ctx.has_offset = offset is not None
        offsets = [None] * len(x) if offset is None else offset.squeeze(1)
        return _stack([_product(*sample) for sample in zip(x, matrix, offsets)])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, matrix = ctx.saved_tensors
        to_x = affine(gradient, matrix.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        to_matrix, to_offset = None, None
        if ctx.needs_input_grad[1]:
            to_matrix = _stack([_weight_gradient(*sample) for sample in zip(x, gradient)])
        if ctx.has_offset and ctx.needs_input_grad[2]:
            to_offset = gradient.sum(dim=1, keepdim=True)
        return to_x, to_matrix, to_offset


def _stack(tensors: list[Tensor]) -> Tensor:
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)


def _product(x: Tensor, matrix: Tensor, offset: Tensor | None) -> Tensor:
    """Return x M + o, ``(P, in)`` by ``(in, out)``."""
    whole = x.shape[0] - x.shape[0] % IMAGES
    result = F.conv2d(_as_images(x[:whole]), matrix.t()[:, :, None, None], offset)  # channels last, as the input
    result = result.permute(0, 2, 3, 1).reshape(whole, -1)
    if whole == x.shape[0]:
        return result
    rest = x[whole:] @ matrix
    return torch.cat([result, rest if offset is None else rest + offset])


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return xᵀ g, ``(in, out)``, of ``(P, in)`` and ``(P, out)``."""
    whole = x.shape[0] - x.shape[0] % IMAGES
    unread = x.new_empty(gradient.shape[1], x.shape[1], 1, 1)
    _, result, _ = torch.ops.aten.convolution_backward(
        _as_images(gradient[:whole]),
        _as_images(x[:whole]),
        unread,
        None,
        (1, 1),
        (0, 0),
        (1, 1),
        False,
        (0, 0),
        1,
        (False, True, False),
    )
    result = result[:, :, 0, 0].t()
    return result if whole == x.shape[0] else result + x[whole:].t() @ gradient[whole:]


def _as_images(x: Tensor) -> Tensor:
    return x.reshape(IMAGES, 1, -1, x.shape[1]).permute(0, 3, 1, 2)  # (16, C, 1, P/16), channels last
