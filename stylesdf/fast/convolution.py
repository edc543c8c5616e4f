"""Matrix products and convolutions by the kernels that are quickest on a CPU, and with cheap second derivatives.

Shapes: B batch, P points, C channels, H W image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.fast.processor import IS_INTEL

IMAGES = 16  # from this batch size on, torch gives 1×1 convolutions to oneDNN


def affine(x: Tensor, matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return x M + o for every sample of the batch.

    On a CPU that is not Intel's the product is asked for as a 1×1 convolution, 16 images at a time: torch then calls
    oneDNN, whose kernels took 2.0 ns per output of 256×256 where its own choice for matrices, MKL, took 4.3 ns (AMD
    EPYC with AVX-512, one thread). On an Intel Xeon MKL takes 0.8 of the time. Small matrices gain without gradients
    only.

    Args:
        x: ``(B, P, in)``.
        matrix: ``(B, in, out)``.
        offset: ``(B, 1, out)``; None is zero.

    Returns:
        ``(B, P, out)``, contiguous.
    """
    points, in_size = x.shape[1:]
    is_known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and not IS_INTEL
    is_large = points >= 16 * IMAGES and (not torch.is_grad_enabled() or min(matrix.shape[1:]) >= 128)
    if not is_known or not is_large or torch.compiler.is_exporting():
        return _plain_affine(x, matrix, offset)
    if x.shape[0] > 1:
        offsets = [None] * len(x) if offset is None else offset.split(1)
        return torch.cat([affine(*sample) for sample in zip(x.split(1), matrix.split(1), offsets)])
    whole = points - points % IMAGES
    images = x[0, :whole].reshape(IMAGES, 1, -1, in_size).permute(0, 3, 1, 2)  # (16, in, 1, P/16), channels last
    out = F.conv2d(images, matrix[0].t()[:, :, None, None], None if offset is None else offset.flatten())
    out = out.permute(0, 2, 3, 1).reshape(1, whole, -1)
    return out if whole == points else torch.cat([out, _plain_affine(x[:, whole:], matrix, offset)], dim=1)


def _plain_affine(x: Tensor, matrix: Tensor, offset: Tensor | None) -> Tensor:
    return torch.bmm(x, matrix) if offset is None else torch.baddbmm(offset, x, matrix)


def image_layout(x: Tensor) -> Tensor:
    """Return the same maps with their channels last in memory on a CPU, where convolutions then take about half."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == "cpu" else x


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    transposed: bool = False,
    groups: int = 1,
) -> Tensor:
    """Do what ``F.conv2d`` does, or ``F.conv_transpose2d``, with cheap second derivatives.

    torch differentiates a convolution's gradients by transposed and dilated convolutions that no library is quick at.
    They are again this convolution, its input gradient and its weight gradient, of other arguments.
    """
    kind = (stride, padding, transposed, groups)
    if not torch.is_grad_enabled() or torch.compiler.is_exporting():
        return _convolution(x, weight, bias, kind)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = (None if tensor is None else tensor.to(dtype) for tensor in (x, weight, bias))
    return _Convolution.apply(x, weight, bias, kind)


def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, kind: tuple) -> Tensor:
    stride, padding, transposed, groups = kind
    function = F.conv_transpose2d if transposed else F.conv2d
    return function(x, weight, bias, stride=stride, padding=padding, groups=groups)


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, kind: tuple, mask: list[bool]) -> tuple:
    stride, padding, transposed, groups = kind
    options = [stride, stride], [padding, padding], [1, 1], transposed, [0, 0], groups
    return torch.ops.aten.convolution_backward(gradient, x, weight, None, *options, mask)


class _Convolution(torch.autograd.Function):
    """y = x ∗ w + b."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, kind: tuple) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kind = kind
        return _convolution(x, weight, bias, kind)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return (
            _InputGradient.apply(gradient, x.detach(), weight, ctx.kind) if wants_x else None,
            _WeightGradient.apply(gradient, x, weight.detach(), ctx.kind) if wants_weight else None,
            gradient.sum(dim=(0, 2, 3)) if wants_bias else None,
            None,
        )


class _InputGradient(torch.autograd.Function):
    """∂⟨g, x ∗ w⟩/∂x, linear in g and w; of x the shape counts."""

    @staticmethod
    def forward(ctx, gradient: Tensor, x: Tensor, weight: Tensor, kind: tuple) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.kind = kind
        return _convolution_backward(gradient, x, weight, kind, [True, False, False])[0]

    @staticmethod
    def backward(ctx, towards: Tensor) -> tuple:
        gradient, weight = ctx.saved_tensors
        wants_gradient, _, wants_weight, _ = ctx.needs_input_grad
        return (
            _Convolution.apply(towards, weight, None, ctx.kind) if wants_gradient else None,
            None,
            _WeightGradient.apply(gradient, towards, weight.detach(), ctx.kind) if wants_weight else None,
            None,
        )


class _WeightGradient(torch.autograd.Function):
    """∂⟨g, x ∗ w⟩/∂w, linear in g and x; of w the shape counts."""

    @staticmethod
    def forward(ctx, gradient: Tensor, x: Tensor, weight: Tensor, kind: tuple) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.kind = kind
        return _convolution_backward(gradient, x, weight, kind, [False, True, False])[1]

    @staticmethod
    def backward(ctx, towards: Tensor) -> tuple:
        gradient, x = ctx.saved_tensors
        wants_gradient, wants_x, _, _ = ctx.needs_input_grad
        return (
            _Convolution.apply(x, towards, None, ctx.kind) if wants_gradient else None,
            _InputGradient.apply(gradient, x.detach(), towards, ctx.kind) if wants_x else None,
            None,
            None,
        )
