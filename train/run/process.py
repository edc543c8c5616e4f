"""How a process that trains uses memory and processors, which nothing that it computes shows."""

from __future__ import annotations

import torch

from stylesdf.fast.allocator import keep_large_blocks


def prepare_process() -> None:
    """Keep large blocks of memory, and take numbers below 1e-38 for 0, before torch has started its threads.

    Processors compute with such numbers many times as slowly, and the light of a sharp surface falls off so fast that a
    step is full of them. Threads take the setting over from the one that starts them. It has no effect where a
    processor does not know it.
    """
    keep_large_blocks()
    torch.set_flush_denormal(True)
