"""Volume rendering of a signed distance field, as pure functions (paper section 3.1).

Shapes: B batch, H W image, S samples, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

LAST_DELTA = 1e10  # the last segment reaches to infinity


def sample_depths(near: float, far: float, num_samples: int, like: Tensor, offset: Tensor | None = None) -> Tensor:
    """Place samples along rays.

    t_k = near + (k + u)(far − near) / S.

    Args:
        near: z-depth of the nearest sample, world units.
        far: z-depth where sampling ends.
        num_samples: S.
        like: A tensor whose device and dtype are taken.
        offset: One u in [0, 1) per ray, shared by its samples ``(B, H, W)``; None is 0.

    Returns:
        z-depth of the samples, ``(B, H, W, S)``, or ``(1, 1, 1, S)`` without offsets.
    """
    steps = torch.arange(num_samples, device=like.device, dtype=like.dtype)
    offset = torch.zeros(1, 1, 1, device=like.device, dtype=like.dtype) if offset is None else offset
    return near + (steps + offset[..., None]) * ((far - near) / num_samples)


def segment_lengths(depth: Tensor, rays_d: Tensor, endless: bool = True) -> Tensor:
    """Return the world length of the segment behind each sample.

    δ_k = (t_{k+1} − t_k) · ‖d‖.

    Args:
        depth: z-depth of the samples. ``(B, H, W, S)``.
        rays_d: Ray directions with unit z-depth. ``(B, H, W, 3)``.
        endless: The last segment is 10¹⁰ · ‖d‖ long; otherwise as long as the one before it.

    Returns:
        Lengths in world units, ``(B, H, W, S)``.
    """
    steps = depth[..., 1:] - depth[..., :-1]
    last = torch.full_like(depth[..., :1], LAST_DELTA) if endless else steps[..., -1:]
    return torch.cat([steps, last], dim=-1) * rays_d.norm(dim=-1, keepdim=True)


def density_from_sdf(sdf: Tensor, beta: Tensor, law: str = "logistic") -> Tensor:
    """Turn signed distance into volume density.

    Args:
        sdf: Signed distance, world units, negative inside. Any shape.
        beta: Sharpness, world units, positive.
        law: ``"logistic"``: sigmoid(−sdf/β)/β, the form of the released models (paper eq. 5).
            ``"laplace"``: CDF of a Laplace(0, β) at −sdf, over β, as in VolSDF (eq. 3 there).

    Returns:
        Density in 1/length, in [0, 1/β].

    Raises:
        ValueError: The law is not one of the two.
    """
    if law == "logistic":
        return torch.sigmoid(-sdf / beta) / beta
    if law == "laplace":
        # ½ exp(−s/β) outside, 1 − ½ exp(s/β) inside: ½ (exp(−max(s, 0)/β) − expm1(min(s, 0)/β)), finite on both sides.
        # max(s, 0) and s − max(s, 0) share one gradient, so that on the surface itself the slope is −½/β² too.
        outside = sdf.clamp(min=0.0)
        return 0.5 * (torch.exp(-outside / beta) - torch.expm1((sdf - outside) / beta)) / beta
    raise ValueError(f"unknown density law {law!r}, expected logistic or laplace")


def composite_weights(density: Tensor, deltas: Tensor, opaque_background: bool = False) -> Tensor:
    """Share of a pixel's colour owed to each sample along its ray.

    Alpha compositing: a sample contributes its own opacity times the light that survived every sample before it.

    Args:
        density: Volume density in 1/length, non-negative. ``(B, H, W, S)``.
        deltas: World length of the segment behind each sample, positive. ``(B, H, W, S)``.
        opaque_background: Give the last sample all remaining weight, so that weights sum to one.

    Returns:
        Weights in [0, 1], ``(B, H, W, S)``; their sum over S is at most one.
    """
    # α_k = 1 − exp(−σ_k δ_k)
    alpha = -torch.expm1(-density * deltas)
    # T_k = Π_{j<k} (1 − α_j + 1e−10)
    survival = torch.cumprod(1.0 - alpha[..., :-1] + 1e-10, dim=-1)
    transmittance = torch.cat([torch.ones_like(alpha[..., :1]), survival], dim=-1)
    weights = alpha * transmittance
    if opaque_background:
        front = weights[..., :-1]
        weights = torch.cat([front, 1.0 - front.sum(dim=-1, keepdim=True)], dim=-1)
    return weights


def integrate(weights: Tensor, values: Tensor) -> Tensor:
    """Sum values along rays, Σ_k w_k v_k: ``(B, H, W, S)`` and ``(B, H, W, S, C)`` give ``(B, H, W, C)``."""
    return torch.matmul(weights.unsqueeze(-2), values).squeeze(-2)
