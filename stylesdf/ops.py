"""Small operations shared by networks: FIR resampling, biased leaky ReLU, equalised layers, modulated convolution.

Shapes: B batch, H W image, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
FIR_TAPS = (1.0, 3.0, 3.0, 1.0)
IMAGES = 16  # from this batch size on, torch gives 1×1 convolutions to oneDNN


def assert_shape(tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    """Assert a shape; None stands for any size."""
    assert tensor.dim() == len(shape) and all(want in (None, have) for want, have in zip(shape, tensor.shape)), (
        f"shape {tuple(tensor.shape)}, expected {shape}"
    )


def affine(x: Tensor, matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return x M + o for every sample of the batch.

    On a CPU the product is asked for as a 1×1 convolution, 16 images at a time: torch then calls oneDNN, whose kernels
    took 2.0 ns per output of 256×256 where its own choice for matrices, MKL, took 4.3 ns (AMD EPYC with AVX-512, one
    thread). Small matrices gain without gradients only.

    Args:
        x: ``(B, P, in)``.
        matrix: ``(B, in, out)``.
        offset: ``(B, 1, out)``; None is zero.

    Returns:
        ``(B, P, out)``, contiguous.
    """
    points, in_size = x.shape[1:]
    is_known = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
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


def pixel_norm(x: Tensor) -> Tensor:
    """Scale each row to unit mean square: x · rsqrt(mean x² + 1e−8). ``(B, C)``."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def biased_leaky_relu(x: Tensor, bias: Tensor) -> Tensor:
    """Return leaky_relu(x + bias, 0.2) · √2, bias per channel (dimension 1). ``(B, C, ...)``."""
    x = x + bias.view(1, -1, *[1] * (x.dim() - 2))
    # the positive factor commutes with leaky ReLU, so it is applied where it is cheapest: in place when nothing records
    x = F.leaky_relu(x, SLOPE) if x.requires_grad else F.leaky_relu_(x, SLOPE)
    return x * math.sqrt(2.0) if x.requires_grad else x.mul_(math.sqrt(2.0))


def fir_filter(x: Tensor, pad: int, gain: float = 1.0, stride: int = 1, bias: Tensor | None = None) -> Tensor:
    """Convolve every channel with the separable [1, 3, 3, 1] low-pass, normalised to ``gain``.

    Args:
        x: ``(B, C, H, W)``.
        pad: Zeros on every side.
        gain: Sum of the filter.
        stride: 2 keeps every second row and column.
        bias: Added to each channel. ``(C,)``.

    Returns:
        ``(B, C, H + 2 pad − 3, W + 2 pad − 3)``, or half of that, rounded up.
    """
    channels = x.shape[1]
    taps = torch.tensor(FIR_TAPS, device=x.device, dtype=x.dtype) / sum(FIR_TAPS) * math.sqrt(gain)
    kernel = (taps[:, None] * taps).expand(channels, 1, 4, 4)
    return convolve(x, kernel, bias, stride=stride, padding=pad, groups=channels)


def fir_upsample(x: Tensor) -> Tensor:
    """Double height and width with the [1, 3, 3, 1] low-pass (FIR × 4, padding (2, 1)). ``(B, C, H, W)``.

    The zero-stuffed form multiplies mostly by zero; here each output phase reads its two inputs directly:
    even outputs are (x[i−1] + 3 x[i]) / 4, odd ones (3 x[i] + x[i+1]) / 4.
    """
    return _upsample_rows(_upsample_rows(x).transpose(2, 3)).transpose(2, 3)


def _upsample_rows(x: Tensor) -> Tensor:
    padded = F.pad(x, (0, 0, 1, 1))
    centre = x * 0.75
    phases = torch.stack([centre + padded[:, :, :-2] * 0.25, centre + padded[:, :, 2:] * 0.25], dim=3)
    return phases.reshape(x.shape[0], x.shape[1], 2 * x.shape[2], x.shape[3])  # (B, C, H, 2, W) -> (B, C, 2H, W)


class EqualizedLinear(nn.Module):
    """Linear layer with run-time weight scaling: y = x (W · m/√in)ᵀ + b · m, W stored as N(0, 1)/m.

    Args:
        in_size: Input channels.
        out_size: Output channels.
        bias_init: Initial value of the bias in use.
        lr_multiplier: m, the learning rate relative to other layers.
    """

    def __init__(self, in_size: int, out_size: int, bias_init: float = 0.0, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_size, in_size) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_size,), bias_init / lr_multiplier))
        self.weight_scale = lr_multiplier / math.sqrt(in_size)
        self.bias_scale = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight_scale, self.bias * self.bias_scale)


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


def modulate(weight: Tensor, style: Tensor, demodulate: bool = True) -> Tensor:
    """Return the weights that one sample's modulated convolution comes down to; see ``modulated_conv2d``.

    Args:
        weight: ``(out, in, k, k)``, stored as N(0, 1), scaled here by 1/√(in·k²).
        style: Factor per input channel. ``(in,)``.
        demodulate: Normalise each output channel by rsqrt(Σ w² + 1e−8).
    """
    weight = weight * (style / math.sqrt(weight[0].numel()))[:, None, None]
    return weight * torch.rsqrt(weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8) if demodulate else weight


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    bias: Tensor | None = None,
    demodulate: bool = True,
    up: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """StyleGAN2's modulated convolution (arXiv 1912.04958, section 2.2).

    One sample's style goes into the weights, so that no other pass over the maps is needed. For a batch, scaling the
    input by the style and the output by the demodulation is the same sum, and leaves one convolution for all.

    Args:
        x: ``(B, in, H, W)``.
        weight: ``(out, in, k, k)``, stored as N(0, 1), scaled here by 1/√(in·k²).
        style: Factor per input channel. ``(B, in)``.
        bias: Added to each channel. ``(out,)``.
        demodulate: Normalise each output channel by rsqrt(Σ w² + 1e−8).
        up: Double height and width: transposed convolution of stride 2, then the low-pass with gain 4.
        gain: Factor of the result, bias included.

    Returns:
        ``(B, out, H, W)``, or twice that size.
    """
    out_size, in_size, kernel, _ = weight.shape
    assert_shape(style, (x.shape[0], in_size))
    bias = None if bias is None else bias * gain
    if x.shape[0] == 1:
        return _convolve_or_double(x, modulate(weight, style[0], demodulate) * gain, bias, up)
    scale = gain if demodulate else gain / math.sqrt(in_size * kernel * kernel)
    x = _convolve_or_double(x * style[:, :, None, None], weight * scale, None, up)
    if demodulate:
        # Σ over inputs and taps of (w · s)² = s² · Σ_taps w²; 1/√(in·k²) stands before both sums
        norm = F.linear(style.square(), weight.square().sum(dim=(2, 3)))  # (B, out)
        x = x * torch.rsqrt(norm + 1e-8 * in_size * kernel * kernel)[:, :, None, None]
    return x if bias is None else x + bias.view(1, -1, 1, 1)


def _convolve_or_double(x: Tensor, weight: Tensor, bias: Tensor | None, up: bool) -> Tensor:
    if not up:
        return convolve(x, weight, bias, padding=weight.shape[-1] // 2)
    x = convolve(x, weight.transpose(0, 1), stride=2, transposed=True)
    return fir_filter(x, pad=1, gain=4.0, bias=bias)
