"""The state of PyTorch that heads are computed in, whatever the process around them has set."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")

_lock = threading.Lock()
_depth = 0  # of the calls in all threads that are within ``ordinary_torch``
_outer_dtype = torch.float32


@contextlib.contextmanager
def ordinary_torch() -> Iterator[None]:
    """Compute as a new process does: float32 and the CPU by default, no autocast, no inference mode, no gradients.

    Usable as a decorator. All of that is the calling thread's own except for the default dtype, which PyTorch keeps
    for the whole process: it is float32 for every thread until the last call within is over.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_float32_by_default())
        # ordinary tensors: through those of inference mode, ``fit`` could not take gradients
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if torch.get_default_device().type != "cpu":  # entered only where needed: it slows every operation down
            stack.enter_context(torch.device("cpu"))
        for device in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextlib.contextmanager
def _float32_by_default() -> Iterator[None]:
    global _depth, _outer_dtype
    with _lock:
        if _depth == 0:
            _outer_dtype = torch.get_default_dtype()
            torch.set_default_dtype(torch.float32)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                torch.set_default_dtype(_outer_dtype)
