"""Sine and cosine by numpy where its float32 functions, which are as exact, take less time than torch's.

On an AMD EPYC with AVX-512: 0.52 ns per number instead of 1.26. On an Intel Xeon torch's take half of numpy's time.
Torch divides its own among threads, which are quicker together from two on, so numpy's are taken where there is one, as
in training, whose processes share the cores.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stylesdf.fast.processor import IS_INTEL


def sine(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return sin x of any shape, without a gradient; ``out`` may be x itself."""
    return _computed(x, out, np.sin, torch.sin)


def cosine(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return cos x of any shape, without a gradient; ``out`` may be x itself."""
    return _computed(x, out, np.cos, torch.cos)


@torch.no_grad()
def _computed(x: Tensor, out: Tensor | None, of_numpy: np.ufunc, of_torch) -> Tensor:
    is_known = x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous() and type(x) is Tensor
    if not is_known or IS_INTEL or torch.get_num_threads() > 1 or torch.compiler.is_compiling():
        return of_torch(x, out=out)
    out = torch.empty_like(x) if out is None else out
    of_numpy(x.detach().numpy(), out=out.numpy())
    return out
