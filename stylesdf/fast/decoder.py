"""The decoder of one image's codes, for inference: weights modulated, channels last, the maps made in bands of rows.

Shapes: B batch, C channels, H W maps, R image, L codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.decoder import Decoder, StyledConv, ToRGB, check_noise_mode, standard_normal
from stylesdf.fast.convolution import affine
from stylesdf.ops import SLOPE, assert_shape, fir_taps, modulate

BAND_ELEMENTS = 2**21  # of a layer's output at a time on a CPU: what the next operation reads is still in the cache
HALO = 2  # rows of zeros above and below the maps between blocks, for the filters that reach over their edges


def decode(
    decoder: Decoder,
    features: Tensor,
    ws: Tensor,
    noise_mode: str = "const",
    generators: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """Do what ``Decoder.forward`` does; on a CPU image by image, so that styles go into the weights.

    Args:
        decoder: Of a model.
        features: The renderer's feature map. ``(B, C, H, W)``.
        ws: One code per layer. ``(B, L, decoder_style_size)``.
        noise_mode: ``"const"``, ``"random"`` or ``"none"``.
        generators: One source of random noise per image; None is the global one.

    Returns:
        Image, about [−1, 1]. ``(B, 3, R, R)``.

    Raises:
        ValueError: An unknown ``noise_mode``.
    """
    if features.device.type != "cpu" or torch.compiler.is_exporting():
        return decoder(features, ws, noise_mode, generators)
    check_noise_mode(noise_mode)
    sources = [None] * len(ws) if generators is None else generators
    images = zip(features.split(1), ws.split(1), sources)
    if torch.is_grad_enabled():
        return torch.cat([decoder(x, code, noise_mode, source and [source]) for x, code, source in images])
    return torch.cat([condition_decoder(decoder, code)(x, noise_mode, source) for x, code, source in images])


def condition_decoder(decoder: Decoder, ws: Tensor) -> ConditionedDecoder:
    """Fix the codes of one image.

    Args:
        decoder: Of a model.
        ws: One code per layer. ``(1, L, decoder_style_size)``.
    """
    assert_shape(ws, (1, 2 * len(decoder.blocks) + 2, None))
    convs, colours = [_condition_conv(decoder.conv, ws[:, 0])], [_condition_colour(decoder.to_rgb, ws[:, 1])]
    for k, block in enumerate(decoder.blocks, start=1):
        convs += [_condition_conv(block.up_conv, ws[:, 2 * k - 1]), _condition_conv(block.conv, ws[:, 2 * k])]
        colours.append(_condition_colour(block.to_rgb, ws[:, 2 * k + 1]))
    taps = fir_taps(ws)
    return ConditionedDecoder(convs, colours, taps[:, None] * taps * 4.0)


def _condition_conv(conv: StyledConv, code: Tensor) -> ConditionedConv:
    gain = math.sqrt(2.0)  # of the leaky ReLU; a positive factor commutes with it, so the weights take it
    weight = modulate(conv.weight, conv.affine(code)[0]) * gain
    return ConditionedConv(
        weight=(weight.transpose(0, 1) if conv.up else weight).contiguous(memory_format=torch.channels_last),
        bias=conv.bias * gain,
        noise=conv.noise,
        noise_strength=conv.noise_strength.item() * gain,
    )


def _condition_colour(to_rgb: ToRGB, code: Tensor) -> tuple[Tensor, Tensor]:
    """Return matrix ``(in, 3)`` and offset ``(3,)``."""
    return modulate(to_rgb.weight, to_rgb.affine(code)[0], demodulate=False)[:, :, 0, 0].t(), to_rgb.bias


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


@dataclass(frozen=True)
class ConditionedDecoder:
    """The decoder of one image's codes; ``condition_decoder`` makes one.

    A band of rows goes through a whole block while it is in the cache; the rows next to it are computed twice.

    Attributes:
        convs: First convolution, then up-convolution and convolution of each block.
        colours: Matrix ``(in, 3)`` and offset ``(3,)`` after the first convolution and after each block.
        low_pass: The filter after an up-convolution, normalised to 4. ``(4, 4)``.
    """

    convs: list[ConditionedConv]
    colours: list[tuple[Tensor, Tensor]]
    low_pass: Tensor

    def to(self, dtype: torch.dtype) -> ConditionedDecoder:
        """Return the same with convolutions in another number format. Colours add up in float32."""
        if dtype == self.convs[0].weight.dtype:
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
        """Decode one feature map, ``(1, C, H, W)``, to ``(1, 3, R, R)``; see ``decode``."""
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
