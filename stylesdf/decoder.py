"""StyleGAN2 synthesis from the renderer's feature map (paper section 3.2; StyleGAN2: arXiv 1912.04958).

Shapes: B batch, C channels, R image, L codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig
from stylesdf.ops import (
    FIR_TAPS,
    SLOPE,
    EqualizedLinear,
    affine,
    assert_shape,
    fir_upsample,
    image_layout,
    modulate,
    modulated_conv2d,
)

NOISE_MODES = ("const", "random", "none")
BAND_ELEMENTS = 2**21  # of a layer's output at a time on a CPU: what the next operation reads is still in the cache
HALO = 2  # rows of zeros above and below the maps between blocks, for the filters that reach over their edges


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

    def condition(self, code: Tensor) -> ConditionedConv:
        """Fix the code, ``(1, style_size)``."""
        gain = math.sqrt(2.0)  # of the leaky ReLU; a positive factor commutes with it, so the weights take it
        weight = modulate(self.weight, self.affine(code)[0]) * gain
        return ConditionedConv(
            weight=(weight.transpose(0, 1) if self.up else weight).contiguous(memory_format=torch.channels_last),
            bias=self.bias * gain,
            noise=self.noise,
            noise_strength=self.noise_strength.item() * gain,
        )


@dataclass(frozen=True)
class ConditionedConv:
    """A ``StyledConv`` of one code: one convolution, one addition of noise, one leaky ReLU without gain.

    Attributes:
        weight: ``(out, in, 3, 3)``, or ``(in, out, 3, 3)`` where it doubles the size; channels last.
        bias: ``(out,)``.
        noise: What is stored, ``(1, 1, R, R)``.
        noise_strength: Its factor.
    """

    weight: Tensor
    bias: Tensor
    noise: Tensor
    noise_strength: float

    def draw(self, noise_mode: str, generator: torch.Generator | None) -> Tensor | None:
        """Return the noise of one image, before its factor, ``(1, 1, R, R)``; None for silence."""
        if noise_mode == "none" or self.noise_strength == 0.0:
            return None
        return self.noise if noise_mode == "const" else standard_normal(self.noise, generator and [generator])

    def finish(self, x: Tensor, noise: Tensor | None, rows: slice) -> Tensor:
        """Add some rows of the noise to a convolution's result and rectify, in place."""
        if noise is not None:
            x.add_(noise[:, :, rows], alpha=self.noise_strength)
        return F.leaky_relu_(x, SLOPE)


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

    def condition(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Fix the code, ``(1, style_size)``.

        Returns:
            Matrix ``(in, 3)`` and offset ``(3,)``.
        """
        return modulate(self.weight, self.affine(code)[0], demodulate=False)[:, :, 0, 0].t(), self.bias


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
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"noise_mode is {noise_mode!r}, expected one of {', '.join(NOISE_MODES)}")
        assert_shape(ws, (features.shape[0], 2 * len(self.blocks) + 2, None))
        if features.device.type == "cpu" and not torch.compiler.is_exporting():
            if not torch.is_grad_enabled():
                sources = [None] * len(ws) if generators is None else generators
                samples = zip(features.split(1), ws.split(1), sources)
                return torch.cat([self.condition(code)(x, noise_mode, source) for x, code, source in samples])
            if len(ws) > 1:  # one by one, styles go into weights
                sources = [None] * len(ws) if generators is None else [[generator] for generator in generators]
                samples = zip(features.split(1), ws.split(1), sources)
                return torch.cat([self(x, code, noise_mode, source) for x, code, source in samples])
        x = self.conv(image_layout(features), ws[:, 0], noise_mode, generators)
        rgb = self.to_rgb(x, ws[:, 1])
        for k, block in enumerate(self.blocks, start=1):
            x, rgb = block(x, rgb, ws[:, 2 * k - 1 : 2 * k + 2], noise_mode, generators)
        return rgb

    def condition(self, ws: Tensor, dtype: torch.dtype | None = None) -> ConditionedDecoder:
        """Fix the codes of one image.

        Args:
            ws: One code per layer. ``(1, L, decoder_style_size)``.
            dtype: Of the convolutions; None keeps the model's.
        """
        assert_shape(ws, (1, 2 * len(self.blocks) + 2, None))
        convs, colours = [self.conv.condition(ws[:, 0])], [self.to_rgb.condition(ws[:, 1])]
        for k, block in enumerate(self.blocks, start=1):
            convs += [block.up_conv.condition(ws[:, 2 * k - 1]), block.conv.condition(ws[:, 2 * k])]
            colours.append(block.to_rgb.condition(ws[:, 2 * k + 1]))
        taps = ws.new_tensor(FIR_TAPS)
        return ConditionedDecoder(convs, colours, taps[:, None] * taps / 16).to(dtype)


@dataclass(frozen=True)
class ConditionedDecoder:
    """The decoder of one image's codes, for inference: weights modulated, channels last, the maps made in bands.

    A band of rows goes through a whole block while it is in the cache; the rows next to it are computed twice.

    Attributes:
        convs: First convolution, then up-convolution and convolution of each block.
        colours: Matrix ``(in, 3)`` and offset ``(3,)`` after the first convolution and after each block.
        low_pass: The filter after an up-convolution, normalised to 4. ``(4, 4)``.
    """

    convs: list[ConditionedConv]
    colours: list[tuple[Tensor, Tensor]]
    low_pass: Tensor

    def to(self, dtype: torch.dtype | None) -> ConditionedDecoder:
        """Return the same with convolutions in another number format; None keeps it. Colours add up in float32."""
        if dtype in (None, self.convs[0].weight.dtype):
            return self
        convs = [
            ConditionedConv(conv.weight.to(dtype), conv.bias.to(dtype), conv.noise.to(dtype), conv.noise_strength)
            for conv in self.convs
        ]
        colours = [(matrix.to(dtype), offset.to(dtype)) for matrix, offset in self.colours]
        return replace(self, convs=convs, colours=colours, low_pass=self.low_pass.to(dtype))

    def compiled(self, backend: str = "inductor") -> CompiledDecoder:
        """Return the same through ``torch.compile`` with that backend."""
        return CompiledDecoder(**{**vars(self), "backend": backend})

    def __call__(self, features: Tensor, noise_mode: str = "const", generator: torch.Generator | None = None) -> Tensor:
        """Decode one feature map, ``(1, C, H, W)``, to ``(1, 3, R, R)``; see ``Decoder.forward``."""
        return self._decode(features, [conv.draw(noise_mode, generator) for conv in self.convs])

    def _decode(self, features: Tensor, noises: list[Tensor | None]) -> Tensor:
        first = self.convs[0]
        x = features.to(first.weight.dtype).contiguous(memory_format=torch.channels_last)
        x = first.finish(F.conv2d(x, first.weight, first.bias, padding=1), noises[0], slice(None))
        rgb = self._colour(0, x)
        x = F.pad(x, (0, 0, HALO, HALO))
        for k in range(1, len(self.colours)):
            rgb = _upsample(rgb)
            x = self._block(k, x, rgb, noises[2 * k - 1 : 2 * k + 1])
        return rgb.permute(2, 0, 1)[None]

    def _block(self, k: int, x: Tensor, rgb: Tensor, noises: list[Tensor | None]) -> Tensor | None:
        """Run block k and add its colour to what was upsampled, ``(2H, 2W, 3)``, in place.

        Returns:
            ``(1, out, 2H + 2·HALO, 2W)`` of the input's ``(1, in, H + 2·HALO, W)``; None after the last block.
        """
        up, conv = self.convs[2 * k - 1 : 2 * k + 1]
        channels, size = conv.weight.shape[0], rgb.shape[0]
        fir = self.low_pass.expand(up.weight.shape[1], 1, 4, 4)
        out, shape = None, (1, channels, size + 2 * HALO, size)
        if k < len(self.colours) - 1:
            out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
            out[:, :, :HALO].zero_()
            out[:, :, -HALO:].zero_()
        rows = size if x.device.type != "cpu" else max(2, BAND_ELEMENTS // (size * channels) // 2 * 2)
        for top in range(0, size, rows):
            bottom = min(top + rows, size)
            # rows top − 1 … bottom + 1 of the up-convolution
            hidden = x[:, :, top // 2 : bottom // 2 + 2 * HALO]
            hidden = F.conv_transpose2d(hidden, up.weight, stride=2, padding=(2, 0))
            hidden = F.conv2d(hidden, fir, up.bias, padding=(0, 1), groups=fir.shape[0])
            first, last = max(top - 1, 0), min(bottom + 1, size)
            up.finish(hidden[:, :, first - top + 1 : last - top + 1], noises[0], slice(first, last))
            for edge, outside in ((0, top == 0), (-1, bottom == size)):
                if outside:
                    hidden[:, :, edge].zero_()
            hidden = F.conv2d(hidden, conv.weight, conv.bias, padding=(0, 1))
            hidden = conv.finish(hidden, noises[1], slice(top, bottom))
            rgb[top:bottom] += self._colour(k, hidden)
            if out is not None:
                out[:, :, HALO + top : HALO + bottom] = hidden
        return out

    def _colour(self, k: int, x: Tensor) -> Tensor:
        matrix, offset = self.colours[k]
        pixels = x.permute(0, 2, 3, 1).reshape(1, -1, x.shape[1])
        colour = affine(pixels, matrix[None], offset.view(1, 1, 3)).view(*x.shape[2:], 3)  # (H, W, 3)
        return colour.to(torch.promote_types(colour.dtype, torch.float32))


@dataclass(frozen=True)
class CompiledDecoder(ConditionedDecoder):
    """The same through ``torch.compile``, but for the drawing of noise; one compilation serves all codes of a model.

    On a GPU there is one band per block, and noise, bias and leaky ReLU become one pass. On a CPU the bands are
    unrolled: it compiles longer, and gains little.
    """

    backend: str = "inductor"

    def _decode(self, features: Tensor, noises: list[Tensor | None]) -> Tensor:
        return _compiled_decoding(self.backend)(self, features, noises)


@cache
def _compiled_decoding(backend: str) -> Callable:
    return torch.compile(ConditionedDecoder._decode, dynamic=False, backend=backend)


def _upsample(rgb: Tensor) -> Tensor:
    """Do what ``fir_upsample`` does, on ``(H, W, 3)``."""
    for axis in (0, 1):
        before = torch.cat([torch.zeros_like(rgb.narrow(axis, 0, 1)), rgb.narrow(axis, 0, rgb.shape[axis] - 1)], axis)
        after = torch.cat([rgb.narrow(axis, 1, rgb.shape[axis] - 1), torch.zeros_like(rgb.narrow(axis, 0, 1))], axis)
        centre = rgb * 0.75
        phases = torch.stack([centre.add(before, alpha=0.25), centre.add(after, alpha=0.25)], dim=axis + 1)
        rgb = phases.flatten(axis, axis + 1)
    return rgb
