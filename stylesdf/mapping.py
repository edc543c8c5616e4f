"""The two mapping networks and truncation (paper section 3.2). Shapes: B batch, L decoder layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig
from stylesdf.ops import SLOPE, EqualizedLinear, biased_leaky_relu, pixel_norm

NUM_LAYERS = 3  # of the renderer's mapping


class RendererMapping(nn.Module):
    """z → w: three linear layers with leaky ReLU, no normalisation. ``(B, latent_size)`` to the same."""

    def __init__(self, config: StyleSDFConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(config.latent_size, config.latent_size) for _ in range(NUM_LAYERS))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, a=SLOPE, mode="fan_in", nonlinearity="leaky_relu")

    def forward(self, z: Tensor) -> Tensor:
        for layer in self.layers:
            z = F.leaky_relu(layer(z), SLOPE)
        return z


class DecoderMapping(nn.Module):
    """w → decoder code: pixel norm, then equalised layers at a hundredth of the learning rate.

    ``(B, latent_size)`` to ``(B, decoder_style_size)``.
    """

    def __init__(self, config: StyleSDFConfig) -> None:
        super().__init__()
        sizes = [config.latent_size] + [config.decoder_style_size] * config.decoder_mapping_layers
        self.layers = nn.ModuleList(EqualizedLinear(a, b, lr_multiplier=0.01) for a, b in zip(sizes, sizes[1:]))

    def forward(self, w: Tensor) -> Tensor:
        code = pixel_norm(w)
        for layer in self.layers:
            code = F.linear(code, layer.weight * layer.weight_scale)
            code = biased_leaky_relu(code, layer.bias * layer.bias_scale)
        return code


def rectify(codes: Tensor) -> Tensor:
    """Return what the renderer mapping's last leaky ReLU makes of codes ``(B, latent_size)``."""
    return F.leaky_relu(codes, SLOPE)


def unrectify(codes: Tensor) -> Tensor:
    """Return what ``rectify`` makes renderer codes of, ``(B, latent_size)``."""
    return torch.where(codes < 0, codes / SLOPE, codes)


def truncate(code: Tensor, mean: Tensor, psi: float) -> Tensor:
    """Pull codes towards their mean: lerp(mean, code, psi); psi 1 returns the code itself."""
    return code if psi == 1.0 else torch.lerp(mean.to(code).expand_as(code), code, psi)
