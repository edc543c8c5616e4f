"""Loss terms of a field at points: each is a function of what was sampled there, listed by its name.

A run lists terms with their weights; one that is not listed is not measured. To add a loss: write its function
here, put it into ``POINT_TERMS``, list it in a recipe, test it.

Shapes: B batch, P points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from stylesdf.config import StyleSDFConfig
from train import losses

ANCHOR_STEPS = 100.0  # in which the pull towards the initial sphere falls to a third
BOUNDS = 0.94, 0.1  # radii between which the level set is held, as shares of the scene radius


@dataclass
class PointSamples:
    """A field at random points of the scene.

    Attributes:
        sdf: Signed distance, world units. ``(B, P)``.
        gradient: Its gradient, ``(B, P, 3)``; while polishing also at points near the surface, which come after these.
        points: World points. ``(B, P, 3)``.
        model: Architecture.
        filled_depth: Function that returns how deep the points lie in the head with its cavities filled. ``(B, P)``.
        field: Function of other world points ``(B, P, 3)`` that returns signed distance and gradient there, as above.
        step: Of the run; None where it did not start from a sphere.
        sphere: Radius and centre z of the initial sphere, world units.
    """

    sdf: Tensor
    gradient: Tensor
    points: Tensor
    model: StyleSDFConfig
    filled_depth: Callable[[], Tensor]
    field: Callable[[Tensor], tuple[Tensor, Tensor]]
    step: int | None = None
    sphere: tuple[float, float] = (0.0, 0.0)


def eikonal(samples: PointSamples) -> Tensor:
    """Mean (‖∇ sdf‖ − 1)² (paper section 3.3)."""
    return losses.eikonal_loss(samples.gradient)


def minimal_surface(samples: PointSamples) -> Tensor:
    """Mean exp(−100 · |sdf|): less surface (paper section 3.3)."""
    return losses.minimal_surface_loss(samples.sdf)


def sphere_anchor(samples: PointSamples) -> Tensor:
    """Mean distance from the initial sphere's field, fading as exp(−step / 100); 0 where there was no such sphere."""
    if samples.step is None or samples.step > 10 * ANCHOR_STEPS:
        return samples.sdf.new_zeros(())
    radius, centre_z = samples.sphere
    centre = samples.points.new_tensor([0.0, 0.0, centre_z])
    distance = (samples.sdf - ((samples.points - centre).norm(dim=-1) - radius)).abs().mean()
    return math.exp(-samples.step / ANCHOR_STEPS) * distance


def bounds(samples: PointSamples) -> Tensor:
    """Hinge that keeps the level set between two spheres."""
    outer, inner = (share * samples.model.scene_radius for share in BOUNDS)
    return losses.scene_bounds_loss(samples.sdf, samples.points, outer, inner)


def solidity(samples: PointSamples) -> Tensor:
    """Hinge that makes the inside solid. When to use: meshes have cavities inside."""
    return losses.solidity_loss(samples.sdf, samples.filled_depth())


def symmetry(samples: PointSamples) -> Tensor:
    """Mean |sdf(x, y, z) − sdf(−x, y, z)|. When to use: poses are unknown, and left and right are alike."""
    mirrored = samples.points * samples.points.new_tensor([-1.0, 1.0, 1.0])
    return (samples.sdf - samples.field(mirrored)[0]).abs().mean()


POINT_TERMS: dict[str, Callable[[PointSamples], Tensor]] = {
    term.__name__: term for term in (eikonal, minimal_surface, sphere_anchor, bounds, solidity, symmetry)
}


def check_terms(listed: Mapping[str, float], known: Iterable[str]) -> None:
    """Refuse terms that a stage does not know.

    Raises:
        ValueError: An unknown name, or a weight that is not positive.
    """
    known = sorted(known)
    for name, weight in listed.items():
        if name not in known:
            raise ValueError(f"terms names {name!r}, expected names among {', '.join(known)}")
        if not weight > 0.0:
            raise ValueError(f"terms.{name} is {weight!r}, expected a positive weight; leave the term out instead")


def point_terms(samples: PointSamples, names: Iterable[str]) -> dict[str, Tensor]:
    """Measure the terms with these names."""
    return {name: POINT_TERMS[name](samples) for name in names}


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor | float:
    """Return Σ weight · term over those that have a weight."""
    return sum((weights[name] * value for name, value in terms.items() if name in weights), start=0.0)

