"""Edits of any model, without data or labels: the latents that change its heads most, shape and texture apart.

What a small move of a latent does to the seen surface and to the colours on it are two quadratic forms, JᵀJ of the
field's Jacobian J, whose mean over heads says which directions matter (Wang and Ponce, arXiv 2101.06006; for a linear
layer these are the closed-form factors of SeFa, arXiv 2007.06600). A factor of shape is long in the first form and
short in the second, one of texture the reverse: generalised eigenvectors.

Shapes: P points, L latent_size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.directions import Directions
from stylesdf.model import Generator
from train.poses import draw_poses

KINDS = ("shape", "texture")
MOST_FACTORS = 8  # of each kind
NUM_HEADS = 64  # the forms are means over
NUM_PROBES = 16  # random products with a Jacobian, of each head and kind
MOST_POINTS = 1024  # of a head
LEAST_SLOPE = 0.5  # of the field, that a distance is divided by
APART = 10.0  # the larger, the less it counts that the other kind stays as it is
EFFECT = 1.2  # of an amount of 1: that of one standard deviation of all latents, first order
MOST_TURN = 0.25  # of a latent by an amount of 1, radians


@dataclass(frozen=True)
class Form:
    """What small moves of a latent change in one kind.

    Attributes:
        square: vᵀ square v is the share that a unit direction v has of all square changes; its trace is 1. ``(L, L)``.
        mean: v · mean is above 0 where heads get larger, or lighter, along v. ``(L,)``.
    """

    square: Tensor
    mean: Tensor


def find_factors(
    model: Generator, count: int, seed: int = 0, report: Callable[[str, float], None] = lambda part, share: None
) -> tuple[Directions, dict]:
    """Find the directions that change a model's shapes most, and its textures.

    Args:
        model: In evaluation mode.
        count: Of each kind, from 1 to 8.
        seed: Of heads and probes.
        report: Called with what is being done, and the share of it that is done, in [0, 1].

    Returns:
        Directions ``shape_1`` … and ``texture_1`` …, those first that change most; an amount above 0 makes heads larger
        or lighter. And a report fit for JSON: by name the share that a direction has of all changes of ``shape`` and of
        ``texture``.

    Raises:
        ValueError: A wrong count, or heads that have no surface.
    """
    if not 1 <= count <= MOST_FACTORS:
        raise ValueError(f"{count} factors of each kind, expected 1 to {MOST_FACTORS}")
    size = model.config.latent_size
    forms = dict(zip(KINDS, _forms(model, torch.Generator().manual_seed(seed), report)))
    directions = Directions(size, [f"{kind}_{number}" for kind in KINDS for number in range(1, count + 1)])
    rows = [leading_directions(forms[kind], forms[other], count) for kind, other in zip(KINDS, reversed(KINDS))]
    directions.vectors.copy_(torch.cat(rows))
    units = F.normalize(directions.vectors, dim=1)
    summary = {
        name: {kind: round((unit @ form.square @ unit).item(), 3) for kind, form in forms.items()}
        for name, unit in zip(directions.names, units)
    }
    return directions, summary


def leading_directions(own: Form, other: Form, count: int) -> Tensor:
    """Return the directions of one kind, as long as an amount of 1 moves a latent. ``(count, L)``."""
    size = len(own.mean)
    root = torch.linalg.cholesky(other.square + APART / size * torch.eye(size))
    within = torch.linalg.solve_triangular(root, own.square, upper=False)
    within = torch.linalg.solve_triangular(root, within.t(), upper=False)
    vectors = torch.linalg.solve_triangular(root.t(), torch.linalg.eigh(within).eigenvectors.flip(1), upper=True)
    units = F.normalize(vectors.t()[:count], dim=1)
    units = units * torch.where(units @ own.mean < 0, -1.0, 1.0)[:, None]
    changes = torch.einsum("kl,lm,km->k", units, own.square, units).clamp(min=1e-12).sqrt()
    return units * (EFFECT / changes).clamp(max=MOST_TURN * size**0.5)[:, None]


def _forms(model: Generator, random: torch.Generator, report: Callable[[str, float], None]) -> tuple[Form, Form]:
    """Return the forms of shape and texture."""
    size = model.config.latent_size
    squares, means = torch.zeros(len(KINDS), size, size), torch.zeros(len(KINDS), size)
    for number in range(NUM_HEADS):
        z = torch.randn(1, size, generator=random).to(model.w_avg).requires_grad_()
        changes = _seen_changes(model, z, random)
        for kind, change in enumerate(changes):
            probes = torch.randn(NUM_PROBES, len(change), generator=random).to(change) / len(change) ** 0.5
            mean, *rows = (
                torch.autograd.grad(change @ probe, z, retain_graph=True)[0][0].float().cpu()
                for probe in (torch.full_like(change, 1.0 / len(change)), *probes)
            )
            rows = torch.stack(rows)
            squares[kind] += rows.t() @ rows
            means[kind] += mean
        report("factors", (number + 1) / NUM_HEADS)
    return tuple(Form(square / square.trace(), mean) for square, mean in zip(squares, means))


def _seen_changes(model: Generator, z: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return numbers whose derivatives say how a head's seen surface moves outwards, and how its colours change.

    Args:
        model: Whose head.
        z: Its latent. ``(1, L)``.
        random: Chooses camera and points.

    Returns:
        ``(P,)`` in world units and ``(3 P,)``.
    """
    config = model.config
    pose = draw_poses(1, config, random)[0]
    field = model.field.condition(model.mapping(z))
    with torch.no_grad():
        seen = model.render(field, Camera.from_angles(*pose.tolist()))
    points = seen.xyz[0].flatten(1).t()[seen.background[0].flatten() < 0.5]
    if not len(points):
        raise ValueError("the model's heads have no surface that could be seen, which factors need")
    points = points[torch.randperm(len(points), generator=random)[:MOST_POINTS]][None]
    axis = points.new_tensor([0.0, 0.0, -1.0]).expand_as(points)  # of the camera, whose axes the colour sees
    out, gradient = field.with_gradient(points, axis)
    slopes = gradient.detach().norm(dim=-1).clamp(min=LEAST_SLOPE)
    return (-out.sdf / slopes)[0], torch.sigmoid(out.rgb).flatten()


def captions(summary: dict) -> dict[str, str]:
    """Return what is written beside each factor's pictures: its shares of all changes."""
    return {
        name: f"{shares['shape']:.0%} of shape\n{shares['texture']:.0%} of texture" for name, shares in summary.items()
    }


def table(summary: dict) -> str:
    """Return a report of factors as a Markdown table."""
    lines = ["| factor | of changes of shape | of texture |", "|---|---|---|"]
    for name, shares in summary.items():
        lines.append(f"| {name} | {shares['shape']:.0%} | {shares['texture']:.0%} |")
    return "\n".join(lines) + "\n"
