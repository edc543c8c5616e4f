"""Latents of a batch, their codes as they will be shown, truncated by as much as people will, points and cameras.

Shapes: B batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig

MEAN_LATENTS = 1024  # the centre of truncation, while the mapping learns, is the mean code of so many


def cameras_of(poses: Tensor, device: torch.device) -> Camera:
    """Return cameras on a device, of yaw and pitch on the CPU, radians ``(B, 2)``: checking them waits for no GPU."""
    return Camera.from_angles(poses[:, 0], poses[:, 1]).to(device)


def draw_latents(batch: int, size: int, least_truncation: float, random: torch.Generator | None = None) -> dict:
    """Draw Gaussian latents ``z`` ``(B, size)`` and, where the least truncation is below 1, their ``psi`` ``(B, 1)``.

    Args:
        batch: How many.
        size: Of a latent.
        least_truncation: ψ is uniform between this and 1.
        random: Where from; None is torch's own generator.
    """
    return {"z": torch.randn(batch, size, generator=random)} | draw_psi(batch, least_truncation, random)


def draw_psi(batch: int, least_truncation: float, random: torch.Generator | None = None) -> dict:
    """Draw ``psi`` ``(B, 1)`` between the least truncation and 1; where that is 1, nothing."""
    if least_truncation == 1.0:
        return {}
    return {"psi": least_truncation + (1.0 - least_truncation) * torch.rand(batch, 1, generator=random)}


def draw_points(batch: int, count: int, model: StyleSDFConfig) -> Tensor:
    """Draw random world points of the cube about the scene. ``(B, count, 3)``."""
    return (torch.rand(batch, count, 3) * 2 - 1) * model.scene_radius


def latent_codes(mapping: nn.Module, draws: dict[str, Tensor]) -> Tensor:
    """Map latents to renderer codes, truncated where ``psi`` was drawn. ``(B, latent_size)``.

    The centre is the mean code of a fixed set of latents under the mapping as it is now; no gradient flows into it.
    """
    codes = mapping(draws["z"])
    if "psi" not in draws:
        return codes
    z = torch.randn(MEAN_LATENTS, codes.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean = mapping(z.to(codes)).mean(dim=0, keepdim=True)
    return torch.lerp(mean, codes, draws["psi"])
