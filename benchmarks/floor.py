"""The floor: the matrix products, convolutions and sines of the specification alone, with their buffers reused.

No modulation, noise, bias, activation, filter or compositing: whoever computes the same sums has at least this to do.
On a CPU, matrix products come in chunks that stay in the cache, by the faster of two libraries, and each convolution in
the faster of two layouts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.measure import seconds
from stylesdf.config import StyleSDFConfig
from stylesdf.fast.convolution import affine

CHUNK = 4096  # points whose activations stay in the cache
CHUNK_GPU = 2**18


def field_floor(config: StyleSDFConfig, num_points: int, device: str = "cpu") -> Callable[[], None]:
    """Return a function that does the products and sines of that many evaluations with colour."""
    size = CHUNK if device == "cpu" else min(CHUNK_GPU, num_points)
    width = config.field_width
    points, buffers = torch.randn(size, 3, device=device), [torch.empty(size, width, device=device) for _ in range(2)]
    first = torch.randn(3, width, device=device)
    others = [torch.randn(width, width, device=device) for _ in range(config.field_depth)]  # with the colour layer
    heads = torch.randn(width, 4, device=device)
    out = torch.empty(size, 4, device=device)
    whole, rest = divmod(num_points, size)

    def multiplied(here: torch.Tensor, matrix: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        return torch.mm(here, matrix, out=there)

    def convolved(here: torch.Tensor, matrix: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        return affine(here[None], matrix[None])[0]  # has a buffer of its own

    def evaluate(count: int, product: Callable) -> None:
        here, there = (buffer[:count] for buffer in buffers)
        torch.mm(points[:count], first, out=here)
        here.sin_()
        for matrix in others:
            here, there = product(here, matrix, there).sin_(), here
        torch.mm(here, heads, out=out[:count])

    @torch.no_grad()
    def run(product: Callable) -> None:
        for _ in range(whole):
            evaluate(size, product)
        if rest:
            evaluate(rest, product)

    return _faster([partial(run, multiplied), partial(run, convolved)])


def decoder_floor(config: StyleSDFConfig, device: str = "cpu") -> Callable[[], None]:
    """Return a function that does the 3×3 and the 1×1 convolutions of one image."""
    channels, size = config.decoder_channels, config.render_resolution
    layers = [_fastest(F.conv2d, config.field_width, channels[0], size, device, padding=1)]
    layers.append(_fastest(F.conv2d, channels[0], 3, size, device, kernel=1))
    for before, after in zip(channels, channels[1:]):
        layers.append(_fastest(F.conv_transpose2d, before, after, size, device, stride=2))
        size *= 2
        layers.append(_fastest(F.conv2d, after, after, size, device, padding=1))
        layers.append(_fastest(F.conv2d, after, 3, size, device, kernel=1))

    def run() -> None:
        for layer in layers:
            layer()

    return torch.no_grad()(run)


def _fastest(
    convolution: Callable, in_size: int, out_size: int, resolution: int, device: str, kernel: int = 3, **options
) -> Callable[[], object]:
    shape = (in_size, out_size) if convolution is F.conv_transpose2d else (out_size, in_size)
    x = torch.randn(1, in_size, resolution, resolution, device=device)
    weight = torch.randn(*shape, kernel, kernel, device=device)
    candidates = []
    for layout in (torch.contiguous_format, torch.channels_last):
        arguments = x.to(memory_format=layout), weight.to(memory_format=layout)
        candidates.append(torch.no_grad()(lambda arguments=arguments: convolution(*arguments, **options)))
    return _faster(candidates)


def _faster(candidates: list[Callable[[], object]]) -> Callable[[], object]:
    """Return the fastest of some functions that do the same."""
    for run in candidates:
        run()
    return min(candidates, key=lambda run: min(seconds(run) for _ in range(3)))
