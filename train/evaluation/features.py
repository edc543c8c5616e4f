"""Feature networks, by which sets of pictures are compared, and how pictures are prepared for them.

Shapes: N pictures, C features, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

RESIZE_FILTERS = ("box", "bilinear", "hamming", "bicubic", "lanczos")  # Pillow's, which widen when they shrink
CHUNK = 50


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """A network as a function of 8-bit pictures.

    Attributes:
        identity: Of its weights, for the report and for what is kept.
        network: From pictures ``(N, 3, H, W)`` uint8 to features ``(N, C)``, on its device.
        device: Where it computes.
    """

    identity: str
    network: Callable[[Tensor], Tensor]
    device: str | torch.device = "cpu"

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Return features of 8-bit pictures ``(N, 3, H, W)``, on the CPU. ``(N, C)`` float32."""
        if pictures.dtype != torch.uint8 or pictures.dim() != 4 or pictures.shape[1] != 3:
            raise ValueError(f"pictures are {pictures.dtype} {tuple(pictures.shape)}, expected uint8 (N, 3, H, W)")
        return torch.cat([self.network(chunk.to(self.device)).float().cpu() for chunk in pictures.split(CHUNK)])


def to_bytes(pictures: Tensor) -> Tensor:
    """Round pictures in [−1, 1] to 8 bits."""
    return ((pictures + 1.0) * 127.5).round().to(torch.uint8)


def resize_bytes(pictures: Tensor, size: int, resize: str) -> Tensor:
    """Resize 8-bit pictures ``(N, 3, H, W)`` to ``size``² pixels with one of ``RESIZE_FILTERS``; uint8."""
    resampling = Image.Resampling[resize.upper()]
    images = [Image.fromarray(picture) for picture in pictures.permute(0, 2, 3, 1).contiguous().numpy()]
    resized = np.stack([np.asarray(image.resize((size, size), resampling)) for image in images])
    return torch.from_numpy(resized).permute(0, 3, 1, 2).contiguous()
