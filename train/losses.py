"""Every loss of the two stages, as pure functions (paper sections 3.3 and 3.4). Unweighted unless a weight is named.

Shapes: B batch, H W image, P points, L decoder codes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def d_logistic_loss(real_logits: Tensor, fake_logits: Tensor, relativistic: bool = False) -> Tensor:
    """Return mean softplus(−D(real)) + mean softplus(D(fake)).

    The relativistic form pairs each real image with a fake one: mean softplus(−(D(real) − D(fake))) (arXiv 2501.05441).
    """
    if relativistic:
        return F.softplus(fake_logits - real_logits).mean()
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def g_nonsaturating_loss(fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
    """Return mean softplus(−D(fake)); with real logits the relativistic form, mean softplus(−(D(fake) − D(real)))."""
    return F.softplus(-fake_logits if real_logits is None else real_logits - fake_logits).mean()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Return mean ‖∇D‖², to be weighted γ/2: R1 on real images (arXiv 1801.04406), R2 on fake ones.

    Images ``(B, C, H, W)``, or codes ``(B, C)``, require a gradient.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1).mean()


def view_loss(predicted: Tensor, pose: Tensor) -> Tensor:
    """Return the smooth-L1 distance of predicted and true (yaw, pitch), radians. ``(B, 2)`` each (paper eq. 8)."""
    return F.smooth_l1_loss(predicted, pose)


def eikonal_loss(gradient: Tensor) -> Tensor:
    """Return mean (‖∇ₓ sdf‖ − 1)² (paper eq. 9). ``(..., 3)``."""
    return (gradient.norm(dim=-1) - 1.0).square().mean()


def minimal_surface_loss(sdf: Tensor) -> Tensor:
    """Return mean exp(−100·|sdf|), which keeps spurious surfaces away (paper eq. 10)."""
    return torch.exp(-100.0 * sdf.abs()).mean()


def scene_bounds_loss(sdf: Tensor, points: Tensor, outer_radius: float, inner_radius: float) -> Tensor:
    """Hinge that keeps the level set between two spheres.

    sdf > 0.02 outside ``outer_radius`` and < −0.01 within ``inner_radius``, world units. It ends the two ways in which
    a young field loses its surface: everything solid, and everything empty.

    Args:
        sdf: Signed distance. ``(B, P)``.
        points: World points. ``(B, P, 3)``.
        outer_radius: Nothing is solid farther from the origin.
        inner_radius: Nothing is empty nearer to the origin.
    """
    distance = points.norm(dim=-1)
    outside = F.relu(0.02 - sdf) * (distance > outer_radius)
    inside = F.relu(sdf + 0.01) * (distance < inner_radius)
    return (outside + inside).mean()


def solidity_loss(sdf: Tensor, depth: Tensor) -> Tensor:
    """Hinge that makes the inside solid: mean over images of the mean of max(sdf + depth / 2, 0) over points inside.

    A signed distance is −depth there; half of it is asked for, so that what is roughly right is left alone. It ends
    cavities, which nothing else sees.

    Args:
        sdf: Signed distance. ``(B, P)``.
        depth: Distance to the outside, cavities filled; 0 outside. ``(B, P)``.
    """
    inside = depth > 0
    return ((F.relu(sdf + 0.5 * depth) * inside).sum(dim=1) / inside.sum(dim=1).clamp(min=1)).mean()


def speckle_loss(images: Tensor, is_judged: Tensor) -> Tensor:
    """Mean over neighbouring pixels of d² / (d² + 0.06²), d the distance of their chroma (Geman and McClure).

    Faint blotches of colour are drawn together; a step much larger than 0.06 costs 1 whatever its height, so edges
    of a pattern stay. Chroma is the colour less the mean of its channels, so shading does not count.

    Args:
        images: In [−1, 1]. ``(B, 3, H, W)``.
        is_judged: Where; a pair counts where both pixels do. ``(B, 1, H, W)``, bool.
    """
    chroma = images - images.mean(dim=1, keepdim=True)
    cost, count = images.new_zeros(()), images.new_zeros(())
    for axis in (2, 3):
        size = images.shape[axis] - 1
        squared = (chroma.narrow(axis, 1, size) - chroma.narrow(axis, 0, size)).square().sum(dim=1, keepdim=True)
        counts = is_judged.narrow(axis, 1, size) & is_judged.narrow(axis, 0, size)
        cost, count = cost + (squared / (squared + 0.06**2) * counts).sum(), count + counts.sum()
    return cost / count.clamp(min=1)


def path_lengths(image: Tensor, ws: Tensor, noise: Tensor, differentiable: bool = True) -> Tensor:
    """Length of the image's response to the codes, per sample (arXiv 1912.04958, section 3.2).

    Args:
        image: Decoded from ``ws``. ``(B, 3, H, W)``.
        ws: Codes, part of the image's graph. ``(B, L, C)``.
        noise: Standard normal. ``(B, 3, H, W)``.
        differentiable: Keep the graph.

    Returns:
        √(mean over layers of ‖∂(image · noise / √(H·W))/∂ws‖²), ``(B,)``.
    """
    projection = (image * noise).sum() / math.sqrt(image.shape[2] * image.shape[3])
    (gradient,) = torch.autograd.grad(projection, ws, create_graph=differentiable)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def path_length_penalty(lengths: Tensor, running_mean: Tensor) -> Tensor:
    """Return mean (length − running mean)²; the mean has already taken in these lengths, and is a constant."""
    return (lengths - running_mean.detach()).square().mean()


def coverage_loss(coverage: Tensor, alpha: Tensor) -> Tensor:
    """Mean distance between what a field covers and what a picture shows of its subject; outlines do not count.

    Before a background of one colour a field may hide what it has too much by painting it in that colour.

    Args:
        coverage: Of rays, in [0, 1]. ``(B, 1, H, W)``.
        alpha: Of the pixels they go through, in [0, 1]. ``(B, 1, H, W)``.
    """
    is_plain = (alpha - 0.5).abs() > 0.45
    return ((coverage - alpha).abs() * is_plain).mean()


def l1_with_differences(images: Tensor, targets: Tensor) -> Tensor:
    """Compare images with targets in [−1, 1]: L1 of their pixels, and twice that of differences between neighbours.

    The L1 of pixels alone allows an edge to be blurred, which the differences do not.

    Args:
        images: ``(B, C, H, W)``.
        targets: The same.

    Returns:
        The mean over all values, ``()``.
    """
    off = images - targets
    differences = off.diff(dim=3).abs().mean() + off.diff(dim=2).abs().mean()
    return off.abs().mean() + 2.0 * differences
