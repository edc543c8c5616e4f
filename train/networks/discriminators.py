"""The discriminators: of thumbnails, whose pose it estimates, of images (paper section 3.3), and of patches.

Shapes: B batch, H W image, C channels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.fast.convolution import convolve, image_layout
from stylesdf.ops import SLOPE, EqualizedLinear, biased_leaky_relu, fir_filter

GROUP_SIZE = 4  # images of a batch whose deviation a discriminator sees


def minibatch_std(x: Tensor, group_size: int = GROUP_SIZE) -> Tensor:
    """Append the mean standard deviation within groups as one channel: ``(B, C, H, W)`` to ``(B, C + 1, H, W)``.

    Neighbours form a group, so a batch that is worked on in parts of whole groups gives the same.
    """
    batch, channels, height, width = x.shape
    group = math.gcd(batch, group_size)
    groups = x.view(batch // group, group, channels, height, width)
    std = torch.sqrt(groups.var(dim=1, unbiased=False) + 1e-8)  # (B / group, C, H, W)
    feature = std.mean(dim=(1, 2, 3)).repeat_interleave(group)  # (B,)
    return torch.cat([x, feature.view(batch, 1, 1, 1).expand(batch, 1, height, width)], dim=1)


def with_coordinates(x: Tensor) -> Tensor:
    """Append row and column coordinates, each linear from −1 to 1: ``(B, C, H, W)`` to ``(B, C + 2, H, W)``."""
    batch, _, height, width = x.shape
    rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype).view(1, 1, height, 1)
    columns = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype).view(1, 1, 1, width)
    return torch.cat([x, rows.expand(batch, 1, height, width), columns.expand(batch, 1, height, width)], dim=1)


class ResidualCoordBlock(nn.Module):
    """Two 3×3 convolutions that see coordinates, and a 2×2 average pool; halves height and width."""

    def __init__(self, in_size: int, out_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_size + 2, out_size, 3, padding=1)
        self.conv2 = nn.Conv2d(out_size + 2, out_size, 3, padding=1)
        self.skip = nn.Conv2d(in_size, out_size, 1) if in_size != out_size else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv1(with_coordinates(x)), SLOPE)
        y = F.leaky_relu(self.conv2(with_coordinates(y)), SLOPE)
        return (F.avg_pool2d(y, 2) + self.skip(F.avg_pool2d(x, 2))) / math.sqrt(2)


class ThumbnailDiscriminator(nn.Module):
    """Real or rendered, and from where: the discriminator of stage 1.

    Args:
        channels: At the full resolution, half of it, ... down to 2×2.
        in_channels: 3, or 4 where the alpha is judged too.
        resolution: Height and width of the largest input, ``2 ** len(channels)`` pixels.
        low_resolutions: Smaller inputs that are judged during progressive training.
        use_minibatch_std: Append the minibatch standard deviation before the head.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (128, 256, 400, 400, 400, 400),
        in_channels: int = 3,
        resolution: int = 64,
        low_resolutions: tuple[int, ...] = (),
        use_minibatch_std: bool = False,
    ) -> None:
        super().__init__()
        if resolution != 2 ** len(channels):
            raise ValueError(f"{len(channels)} channel counts reach down from {2 ** len(channels)}, not {resolution}")
        self.resolution = resolution
        self.use_minibatch_std = use_minibatch_std
        self.from_rgb = nn.Conv2d(in_channels, channels[0], 1)
        self.low_from_rgb = nn.ModuleDict(
            {str(size): nn.Conv2d(in_channels, channels[self._first_block(size)], 1) for size in low_resolutions}
        )
        self.blocks = nn.ModuleList(ResidualCoordBlock(a, b) for a, b in zip(channels, channels[1:]))
        self.head = nn.Conv2d(channels[-1] + use_minibatch_std, 3, 2)

    def _first_block(self, size: int) -> int:
        return int(math.log2(self.resolution // size))

    def _enter(self, x: Tensor) -> Tensor:
        conv = self.from_rgb if x.shape[-1] == self.resolution else self.low_from_rgb[str(x.shape[-1])]
        return F.leaky_relu(conv(x), SLOPE)

    def forward(self, x: Tensor, fade: float = 1.0) -> tuple[Tensor, Tensor]:
        """Judge.

        Args:
            x: Thumbnails in [−1, 1]. ``(B, in_channels, H, W)``.
            fade: Below 1, the share of this resolution's own input layer; the rest comes from the next lower one.

        Returns:
            logit ``(B, 1)`` and pose (yaw, pitch in radians) ``(B, 2)``.
        """
        first = self._first_block(x.shape[-1])
        hidden = self.blocks[first](self._enter(x))
        if fade < 1.0:
            hidden = torch.lerp(self._enter(F.avg_pool2d(x, 2)), hidden, fade)
        for block in self.blocks[first + 1 :]:
            hidden = block(hidden)
        if self.use_minibatch_std:
            hidden = minibatch_std(hidden)
        out = self.head(hidden).flatten(1)  # (B, 3)
        return out[:, :1], out[:, 1:]


class EqualizedConv2d(nn.Module):
    """Convolution with run-time weight scaling, bias, and leaky ReLU × √2; low-pass and stride 2 where ``down``."""

    def __init__(self, in_size: int, out_size: int, kernel: int, down: bool = False, activate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_size, in_size, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_size)) if activate else None
        self.scale = 1.0 / math.sqrt(in_size * kernel * kernel)
        self.down = down

    def forward(self, x: Tensor) -> Tensor:
        kernel, is_active = self.weight.shape[-1], self.bias is not None
        gain = math.sqrt(2.0) if is_active else 1.0  # of the leaky ReLU; a positive factor commutes with it
        weight, bias = self.weight * (self.scale * gain), self.bias * gain if is_active else None
        if not self.down:
            x = convolve(x, weight, bias, padding=kernel // 2)
        elif kernel == 1:  # stride 2 commutes with it: what it would not read is not filtered
            x = convolve(fir_filter(x, pad=1, stride=2), weight, bias)
        else:  # the low-pass keeps H + 1 rows, of which stride 2 leaves H / 2
            x = convolve(fir_filter(x, pad=2), weight, bias, stride=2)
        return F.leaky_relu(x, SLOPE) if is_active else x


class ResidualDownBlock(nn.Module):
    """StyleGAN2's residual discriminator block; halves height and width."""

    def __init__(self, in_size: int, out_size: int) -> None:
        super().__init__()
        self.conv1 = EqualizedConv2d(in_size, in_size, 3)
        self.conv2 = EqualizedConv2d(in_size, out_size, 3, down=True)
        self.skip = EqualizedConv2d(in_size, out_size, 1, down=True, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / math.sqrt(2)


class ImageDiscriminator(nn.Module):
    """Real or generated: the discriminator of stage 2 (StyleGAN2's, arXiv 1912.04958).

    Args:
        resolution: Height and width of the image.
        channels: At the full resolution, half of it, ... down to 4×4; None takes min(512, 32768 / R).
    """

    def __init__(self, resolution: int = 1024, channels: tuple[int, ...] | None = None) -> None:
        super().__init__()
        if channels is None:
            channels = tuple(min(512, 32768 // (resolution >> i)) for i in range(int(math.log2(resolution)) - 1))
        if resolution != 4 << (len(channels) - 1):
            raise ValueError(
                f"{len(channels)} channel counts reach down from {4 << (len(channels) - 1)}, not {resolution}"
            )
        self.from_rgb = EqualizedConv2d(3, channels[0], 1)
        self.blocks = nn.ModuleList(ResidualDownBlock(a, b) for a, b in zip(channels, channels[1:]))
        self.final_conv = EqualizedConv2d(channels[-1] + 1, channels[-1], 3)
        self.linear1 = EqualizedLinear(channels[-1] * 16, channels[-1])
        self.linear2 = EqualizedLinear(channels[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Judge images in [−1, 1], ``(B, 3, R, R)``; return logits ``(B, 1)``."""
        x = self.from_rgb(image_layout(x))
        for block in self.blocks:
            x = block(x)
        x = self.final_conv(minibatch_std(x)).flatten(1)
        x = F.linear(x, self.linear1.weight * self.linear1.weight_scale)
        return self.linear2(biased_leaky_relu(x, self.linear1.bias))


class PatchDiscriminator(nn.Module):
    """The data's or decoded, patch by patch, given the thumbnail that it was drawn from (arXiv 1611.07004)."""

    CHANNELS = (32, 64, 128)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in zip((6, *self.CHANNELS), self.CHANNELS):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        last = self.CHANNELS[-1]
        self.layers = nn.Sequential(
            *layers, nn.Conv2d(last, last, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(last, 1, 3, padding=1)
        )

    def forward(self, image: Tensor, thumbnail: Tensor) -> Tensor:
        """Judge images beside thumbnails enlarged to their size, both in [−1, 1], ``(B, 3, H, W)``.

        Returns:
            Logits, one for every eight pixels in each direction, ``(B, 1, H / 8, W / 8)``.
        """
        return self.layers(torch.cat([image, thumbnail], dim=1))
