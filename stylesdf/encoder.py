"""From a picture to code and pose of the head that it shows: where ``StyleSDF.invert`` starts.

A convolutional network that is trained on the model's own renderings (``python -m train encoder``), in recipes of drawn
pictures on the data's too. Its file lies beside the model, ``inverter.safetensors``. Stage 1's encoder in
``train/networks/encoder.py`` is another one, which is told the pose.

Shapes: B batch, H W picture, K coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.mapping import rectify, unrectify

RESOLUTION = 64  # pixels in each direction that pictures are averaged to
CHANNELS = (32, 64, 128, 192)
WIDTH = 352  # between the last map and the result
MOST_COORDINATES = 64
NUM_DRAWS = 10_000  # codes that the axes are measured on


@dataclass(frozen=True, eq=False)
class CodeSpace:
    """Coordinates of renderer codes in which those of Gaussian latents have mean 0 and variance 1.

    They are the principal components of the codes as they are before the mapping's last leaky ReLU, where a prior that
    was learned by least squares is Gaussian.

    Attributes:
        mean: Of these codes. ``(latent_size,)``.
        axes: Principal axes times their standard deviations, the longest first. ``(K, latent_size)``.
    """

    mean: Tensor
    axes: Tensor

    @classmethod
    @torch.no_grad()
    def measure(cls, mapping: nn.Module, latent_size: int) -> CodeSpace:
        """Measure the space of a mapping's codes; the same mapping gives the same space.

        Args:
            mapping: Renderer mapping.
            latent_size: Of its latents and codes.
        """
        weight = next(mapping.parameters())
        z = torch.randn(NUM_DRAWS, latent_size, generator=torch.Generator().manual_seed(0))
        codes = unrectify(mapping(z.to(weight))).double()
        mean = codes.mean(dim=0)
        variances, axes = torch.linalg.eigh(torch.cov((codes - mean).t()).view(latent_size, latent_size))
        scaled = (axes * variances.clamp(min=0.0).sqrt()).t().flip(0)[:MOST_COORDINATES]
        # an axis has no sign of its own: its largest entry is positive
        signs = scaled.gather(1, scaled.abs().argmax(dim=1, keepdim=True)).sign()
        return cls(mean.to(weight), (scaled * torch.where(signs == 0, 1.0, signs)).to(weight))

    def codes(self, coordinates: Tensor) -> Tensor:
        """Return the renderer codes ``(B, latent_size)`` with some coordinates ``(B, K)``."""
        return rectify(self.mean + coordinates @ self.axes)

    def coordinates(self, w: Tensor) -> Tensor:
        """Return the coordinates ``(B, K)`` of renderer codes ``(B, latent_size)``; what no axis spans is left out."""
        squares = self.axes.square().sum(dim=1)
        return (unrectify(w) - self.mean) @ self.axes.t() / squares.clamp(min=1e-12)


class Encoder(nn.Module):
    """Picture to coordinates and pose.

    Args:
        latent_size: Of a renderer code.
        num_coordinates: K, at most the size of a code.

    Attributes:
        config: These two by their names, as its file keeps them.
        mean, axes: Of its ``CodeSpace``.

    Raises:
        ValueError: A size out of range.
    """

    def __init__(self, latent_size: int, num_coordinates: int) -> None:
        if type(num_coordinates) is not int or not 1 <= num_coordinates <= latent_size:
            expected = f"an integer from 1 to {latent_size}"
            raise ValueError(f"num_coordinates of an encoder is {num_coordinates!r}, expected {expected}")
        super().__init__()
        self.config = {"latent_size": latent_size, "num_coordinates": num_coordinates}
        layers: list[nn.Module] = []
        for a, b in zip((3, *CHANNELS), CHANNELS):
            layers += [nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(8, b), nn.LeakyReLU(0.2)]
            if a > 3:  # a second look at every size but the largest, which would cost as much as all others
                layers += [nn.Conv2d(b, b, 3, padding=1), nn.GroupNorm(8, b), nn.LeakyReLU(0.2)]
        side = RESOLUTION >> len(CHANNELS)
        layers += [nn.Flatten(), nn.Linear(CHANNELS[-1] * side * side, WIDTH), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(WIDTH, num_coordinates + 2)
        self.register_buffer("mean", torch.zeros(latent_size))
        self.register_buffer("axes", torch.zeros(num_coordinates, latent_size))

    def space(self, like: Tensor) -> CodeSpace:
        """Return what its coordinates mean, on a tensor's device and of its type."""
        return CodeSpace(self.mean.to(like), self.axes.to(like))

    def set_space(self, space: CodeSpace) -> None:
        """Take over the coordinates of a ``CodeSpace`` of the same sizes."""
        self.mean.copy_(space.mean)
        self.axes.copy_(space.axes)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Read pictures in [−1, 1], ``(B, 3, H, W)``.

        Returns:
            Coordinates ``(B, K)``, and yaw and pitch in radians ``(B, 2)``.
        """
        out = self.head(self.trunk(F.adaptive_avg_pool2d(pictures, RESOLUTION)))
        return out[:, :-2], out[:, -2:]
