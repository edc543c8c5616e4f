"""StyleGAN2 synthesis from the renderer's feature map (paper section 3.2; StyleGAN2: arXiv 1912.04958).

Shapes: B batch, C channels, R image, L codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig
from stylesdf.fast.convolution import image_layout
from stylesdf.ops import SLOPE, EqualizedLinear, assert_shape, fir_upsample, modulated_conv2d

NOISE_MODES = ("const", "random", "none")


class StyledConv(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU; doubles the size when ``up``."""

    def __init__(self, in_size: int, out_size: int, style_size: int, resolution: int, up: bool = False) -> None:
        super().__init__()
        self.up = up
        self.affine = EqualizedLinear(style_size, in_size, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_size, in_size, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_size))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))

    def forward(self, x: Tensor, code: Tensor, noise_mode: str = "const", generators=None) -> Tensor:
        gain = math.sqrt(2.0)  # of the leaky ReLU; a positive factor commutes with it
        x = modulated_conv2d(x, self.weight, self.affine(code), self.bias, up=self.up, gain=gain)
        if noise_mode == "const":
            x = x + self.noise_strength * gain * self.noise
        elif noise_mode == "random":
            x = x + self.noise_strength * gain * standard_normal(x[:, :1], generators)
        return F.leaky_relu(x, SLOPE)


def standard_normal(like: Tensor, generators: Sequence[torch.Generator] | None = None) -> Tensor:
    """Draw a tensor like the given one, ``(B, ...)``, each sample from a generator of its own where there are such."""
    if generators is None:
        return torch.randn_like(like)
    draws = [torch.randn(like.shape[1:], generator=generator, device=generator.device) for generator in generators]
    return torch.stack(draws).to(like)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution to colour, without demodulation."""

    def __init__(self, in_size: int, style_size: int) -> None:
        super().__init__()
        self.affine = EqualizedLinear(style_size, in_size, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_size, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return modulated_conv2d(x, self.weight, self.affine(code), self.bias, demodulate=False)


class SynthesisBlock(nn.Module):
    """One doubling: up-convolution, convolution, colour added to the upsampled colour so far."""

    def __init__(self, in_size: int, out_size: int, style_size: int, resolution: int) -> None:
        super().__init__()
        self.up_conv = StyledConv(in_size, out_size, style_size, resolution, up=True)
        self.conv = StyledConv(out_size, out_size, style_size, resolution)
        self.to_rgb = ToRGB(out_size, style_size)

    def forward(self, x: Tensor, rgb: Tensor, codes: Tensor, noise_mode: str, generators=None) -> tuple[Tensor, Tensor]:
        x = self.up_conv(x, codes[:, 0], noise_mode, generators)
        x = self.conv(x, codes[:, 1], noise_mode, generators)
        return x, fir_upsample(rgb) + self.to_rgb(x, codes[:, 2])


def check_noise_mode(noise_mode: str) -> None:
    """Refuse a noise that there is not.

    Raises:
        ValueError: It is none of ``NOISE_MODES``.
    """
    if noise_mode not in NOISE_MODES:
        raise ValueError(f"noise_mode is {noise_mode!r}, expected one of {', '.join(NOISE_MODES)}")


class Decoder(nn.Module):
    """Feature map and codes to image."""

    def __init__(self, config: StyleSDFConfig) -> None:
        super().__init__()
        style, channels, resolution = config.decoder_style_size, config.decoder_channels, config.render_resolution
        self.conv = StyledConv(config.field_width, channels[0], style, resolution)
        self.to_rgb = ToRGB(channels[0], style)
        self.blocks = nn.ModuleList(
            SynthesisBlock(channels[k - 1], channels[k], style, resolution * 2**k) for k in range(1, len(channels))
        )

    def forward(
        self,
        features: Tensor,
        ws: Tensor,
        noise_mode: str = "const",
        generators: Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            features: The renderer's feature map. ``(B, C, H, W)``.
            ws: One code per layer. ``(B, L, decoder_style_size)``. The first goes to the first convolution, the
                second to its colour; block k takes 2k−1, 2k and 2k+1, so a block's colour shares its code with
                the next up-convolution.
            noise_mode: ``"const"`` (the stored noise), ``"random"`` or ``"none"``.
            generators: One source of random noise per sample; None is the global one.

        Returns:
            Image, about [−1, 1]. ``(B, 3, R, R)``.
        """
        check_noise_mode(noise_mode)
        assert_shape(ws, (features.shape[0], 2 * len(self.blocks) + 2, None))
        x = self.conv(image_layout(features), ws[:, 0], noise_mode, generators)
        rgb = self.to_rgb(x, ws[:, 1])
        for k, block in enumerate(self.blocks, start=1):
            x, rgb = block(x, rgb, ws[:, 2 * k - 1 : 2 * k + 2], noise_mode, generators)
        return rgb
