"""The arithmetic of a training step: its matrix products and convolutions, recorded and then done again, each alone.

Low-pass filters, which are convolutions of each channel by itself, do not count, nor do sines and whatever else passes
over memory. What the field computes twice to save memory (``train/stages/chunked.py``) counts once.
"""

from __future__ import annotations

import contextlib
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.measure import seconds
from train.stages.chunked import ChunkedField

LEAST_SECONDS = 0.005  # that an operation is repeated for, three times over
MOST_REPEATS = 100
LAYOUTS = (None, torch.contiguous_format, torch.channels_last)  # None: as recorded
GROUPS = {torch.ops.aten.convolution: 8, torch.ops.aten.convolution_backward: 9}  # place among the arguments


@dataclass(frozen=True)
class Buffer:
    """A tensor as an operation was given it, without its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def make(self, layout: torch.memory_format | None) -> torch.Tensor:
        """Return random numbers of this shape; maps lie in memory as the layout says, None is as recorded."""
        size = 1 + sum((count - 1) * step for count, step in zip(self.shape, self.stride))
        values = torch.randn(size, device=self.device).to(self.dtype).as_strided(self.shape, self.stride)
        return values if layout is None or values.dim() != 4 else values.contiguous(memory_format=layout)


@dataclass(frozen=True)
class Operation:
    """A matrix product or a convolution, with all that its time depends on."""

    function: Callable
    arguments: tuple
    options: tuple[tuple[str, object], ...]

    @property
    def layouts(self) -> tuple[torch.memory_format | None, ...]:
        """In which it can be done; a matrix product has one."""
        has_maps = any(isinstance(each, Buffer) and len(each.shape) == 4 for each in self.arguments)
        return LAYOUTS if has_maps else LAYOUTS[:1]

    def made(self, layout: torch.memory_format | None) -> Callable[[], object]:
        """Return a function that does it on random numbers."""
        arguments = [_restored(value, layout) for value in self.arguments]
        return partial(self.function, *arguments, **dict(self.options))


def _described(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return Buffer(tuple(value.shape), value.stride(), value.dtype, value.device)
    return tuple(map(_described, value)) if isinstance(value, (list, tuple)) else value


def _restored(value: object, layout: torch.memory_format | None) -> object:
    return value.make(layout) if isinstance(value, Buffer) else list(value) if isinstance(value, tuple) else value


@dataclass
class Arithmetic:
    """What a step multiplies.

    Attributes:
        operations: With how often each is done.
        flops: Floating-point operations of all, two for a multiply-add.
    """

    operations: Counter[Operation] = field(default_factory=Counter)
    flops: int = 0

    @torch.no_grad()
    def floor_seconds(self, least_seconds: float = LEAST_SECONDS) -> float:
        """Return the seconds that all take one after the other, each alone and in the fastest layout of its maps."""
        return sum(count * _fastest(each, least_seconds) for each, count in self.operations.items())


def _fastest(operation: Operation, least_seconds: float) -> float:
    return min(_seconds_alone(operation.made(layout), least_seconds) for layout in operation.layouts)


def _seconds_alone(run: Callable[[], object], least_seconds: float) -> float:
    run()
    seconds(run)  # the device is idle after it
    repeats = min(MOST_REPEATS, 1 + int(least_seconds / seconds(run)))

    def repeated() -> None:
        for _ in range(repeats):
            run()

    return statistics.median(seconds(repeated) for _ in range(3)) / repeats


class _Recorder(TorchDispatchMode):
    def __init__(self, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.arithmetic = arithmetic
        self.is_paused = False

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        packet = function.overloadpacket
        if not self.is_paused and packet in flop_registry and not self._filters(packet, args):
            options = tuple((name, _described(value)) for name, value in kwargs.items())
            self.arithmetic.operations[Operation(function, _described(args), options)] += 1
            self.arithmetic.flops += flop_registry[packet](*args, **kwargs, out_val=result)
        return result

    @staticmethod
    def _filters(packet: object, args: tuple) -> bool:
        return packet in GROUPS and args[GROUPS[packet]] > 1


@contextlib.contextmanager
def recorded(into: Arithmetic) -> Iterator[None]:
    """Add what is multiplied meanwhile to ``into``."""
    recorder, forward = _Recorder(into), ChunkedField._forward

    def forward_that_counts_once(chunked: ChunkedField, points_field, keep: bool, *inputs):
        recorder.is_paused = not keep  # it comes again on the way back
        try:
            return forward(chunked, points_field, keep, *inputs)
        finally:
            recorder.is_paused = False

    with mock.patch.object(ChunkedField, "_forward", forward_that_counts_once), recorder:
        yield
