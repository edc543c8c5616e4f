"""Small operations shared by networks: FIR resampling, biased leaky ReLU, equalised layers, modulated convolution.

Shapes: B batch, H W image, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.fast.convolution import convolve

SLOPE = 0.2


def assert_shape(tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    """Assert a shape; None stands for any size."""
    assert tensor.dim() == len(shape) and all(want in (None, have) for want, have in zip(shape, tensor.shape)), (
        f"shape {tuple(tensor.shape)}, expected {shape}"
    )


def pixel_norm(x: Tensor) -> Tensor:
    """Scale each row to unit mean square: x · rsqrt(mean x² + 1e−8). ``(B, C)``."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def biased_leaky_relu(x: Tensor, bias: Tensor) -> Tensor:
    """Return leaky_relu(x + bias, 0.2) · √2, bias per channel (dimension 1). ``(B, C, ...)``."""
    x = x + bias.view(1, -1, *[1] * (x.dim() - 2))
    # the positive factor commutes with leaky ReLU, so it is applied where it is cheapest: in place when nothing records
    x = F.leaky_relu(x, SLOPE) if x.requires_grad else F.leaky_relu_(x, SLOPE)
    return x * math.sqrt(2.0) if x.requires_grad else x.mul_(math.sqrt(2.0))


def fir_taps(like: Tensor) -> Tensor:
    """Return the low-pass [1, 3, 3, 1] / 8, ``(4,)``, made where a tensor is: a copy from the host waits for a GPU."""
    taps = like.new_full((4,), 0.125)
    taps[1:3] = 0.375
    return taps


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
    taps = fir_taps(x) * math.sqrt(gain)
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
    _, in_size, kernel, _ = weight.shape
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
