"""Hugging Face's ZeroGPU, where a Space has it: a GPU for the length of one call.

Pictures and meshes are quicker on the Space's processor than a GPU is fetched; films are not.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

import torch

SECONDS = 60  # that one call may hold the GPU


def is_here() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def on_gpu(function: Callable) -> Callable:
    """Decorate a handler, also a generator, to run with a GPU; elsewhere return it as it is."""
    if not is_here():
        return function
    import spaces

    return spaces.GPU(duration=SECONDS)(function)


def on_device(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model for work within ``on_gpu``: a copy on the GPU; elsewhere itself."""
    return copy.deepcopy(model).to("cuda") if is_here() and torch.cuda.is_available() else model
