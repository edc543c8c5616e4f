"""Sine and cosine on a CPU by numpy, whose float32 functions are as exact as torch's and take less than half the time.

On an AMD EPYC with AVX-512 and one thread: 0.52 ns per number instead of 1.26. Torch divides its own among threads, so
it is left to more than ``MOST_THREADS``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MOST_THREADS = 2


def sine(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return sin x, without a gradient; ``out`` may be x itself."""
    return _computed(x, out, np.sin, torch.sin)


def cosine(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return cos x, without a gradient; ``out`` may be x itself."""
    return _computed(x, out, np.cos, torch.cos)


@torch.no_grad()
def _computed(x: Tensor, out: Tensor | None, of_numpy: np.ufunc, of_torch) -> Tensor:
    is_known = x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous() and type(x) is Tensor
    if not is_known or torch.get_num_threads() > MOST_THREADS or torch.compiler.is_compiling():
        return of_torch(x, out=out)
    out = torch.empty_like(x) if out is None else out
    of_numpy(x.detach().numpy(), out=out.numpy())
    return out
