"""Differentiable augmentation for small data sets: what the discriminator sees, real or generated, is varied.

The operations are DiffAugment's (arXiv 2006.10738); the probability may be adapted as in ADA (arXiv 2006.06676).
Shapes: B batch, C channels (colour first, then perhaps alpha), H W image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATIONS = ("color", "translation", "cutout")
NUMBERS = 10  # uniform numbers that one image's augmentation takes
MAX_SHIFT = 1 / 8  # of the image size
CUTOUT_SIZE = 1 / 2


def augment(images: Tensor, numbers: Tensor, operations: tuple[str, ...], probability: float | Tensor = 1.0) -> Tensor:
    """Vary each image by its own numbers; differentiable twice.

    Args:
        images: In [−1, 1]. ``(B, C, H, W)``.
        numbers: Uniform in [0, 1). ``(B, 10)``.
        operations: Among ``"color"``, ``"translation"``, ``"cutout"``.
        probability: Of each operation, per image, in [0, 1].
    """
    gate = (numbers < probability)[:, :, None, None]  # only columns 0, 4 and 7 are read
    value = numbers[:, :, None, None]
    if "color" in operations:
        images = torch.where(gate[:, 0:1], _vary_colour(images, value[:, 1:2], value[:, 2:3], value[:, 3:4]), images)
    if "translation" in operations:
        images = torch.where(gate[:, 4:5], _translate(images, numbers[:, 5], numbers[:, 6]), images)
    if "cutout" in operations:
        images = torch.where(gate[:, 7:8], _cut_out(images, numbers[:, 8], numbers[:, 9]), images)
    return images


def adapt_probability(probability: Tensor, mean_sign: Tensor, target: float, step_size: float) -> Tensor:
    """Return ADA's next probability: up while the discriminator knows the real images too well, else down.

    Args:
        probability: Now, in [0, 1]. ``()``.
        mean_sign: Mean of sign(D(real)), in [−1, 1]. ``()``.
        target: Where the mean sign is to stay; 0.6 in the paper.
        step_size: How far it may move.
    """
    return (probability + torch.sign(mean_sign - target) * step_size).clamp(0.0, 1.0)


def _vary_colour(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    colour, rest = images[:, :3], images[:, 3:]
    colour = colour + (brightness - 0.5)
    grey = colour.mean(dim=1, keepdim=True)
    colour = (colour - grey) * (2.0 * saturation) + grey
    mean = colour.mean(dim=(1, 2, 3), keepdim=True)
    colour = (colour - mean) * (contrast + 0.5) + mean
    return torch.cat([colour, rest], dim=1)


def _translate(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Shift by whole pixels, the gap grey."""
    batch, _, height, width = images.shape
    pad_y, pad_x = max(1, int(height * MAX_SHIFT)), max(1, int(width * MAX_SHIFT))
    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y)).permute(0, 2, 3, 1)  # (B, H', W', C)
    rows = (down * (2 * pad_y + 1)).long()[:, None] + torch.arange(height, device=images.device)  # (B, H)
    columns = (across * (2 * pad_x + 1)).long()[:, None] + torch.arange(width, device=images.device)  # (B, W)
    index = torch.arange(batch, device=images.device)[:, None, None]
    return padded[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Turn a square grey."""
    _, _, height, width = images.shape
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    far_down = (rows[None] + 0.5 - down[:, None] * height).abs() > height * CUTOUT_SIZE / 2  # (B, H)
    far_across = (columns[None] + 0.5 - across[:, None] * width).abs() > width * CUTOUT_SIZE / 2  # (B, W)
    return images * (far_down[:, None, :, None] | far_across[:, None, None, :])
