"""Measured near the surface only, the level set is the one of the whole grid, for the square of the work.

STYLESDF_LEVEL_SETS=50 compares as many heads of the bundled model, at 128³.
"""

import os

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from stylesdf.levelset import level_set
from stylesdf.pipeline import StyleSDF

HEADS = int(os.environ.get("STYLESDF_LEVEL_SETS", 2))
RADIUS = 0.12


def norm(points):
    return np.linalg.norm(points, axis=-1)


def sphere(points):
    return norm(points) - 0.07


def two_spheres(points):
    offset = np.array([0.06, 0.0, 0.0])
    return np.minimum(norm(points - offset), norm(points + offset)) - 0.03


def torus(points):
    return np.hypot(np.hypot(points[:, 0], points[:, 1]) - 0.06, points[:, 2]) - 0.02


def plate(points):
    return (
        np.abs(points - [0.0, 0.0, 0.013]).max(axis=-1, initial=-1.0, where=[False, False, True])
        - 0.004
        + np.maximum(norm(points[:, :2]) - 0.07, 0.0)
    )


def eared_ball(points):
    ears = [norm((points - [x, 0.075, 0.0]) / [1.0, 3.0, 0.5]) - 0.012 for x in (-0.03, 0.03)]
    return np.minimum(norm(points) - 0.06, np.minimum(*ears))


def shell(points):
    return np.abs(norm(points) - 0.06) - 0.006


def dense(function, radius, resolution):
    from skimage.measure import marching_cubes

    axis = np.linspace(-radius, radius, resolution)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    values = np.concatenate([function(part) for part in np.array_split(points, 64)])
    least = 1e-4 * (axis[1] - axis[0])  # a sample that is exactly zero makes triangles without area
    values = np.where(values < 0.0, np.minimum(values, -least), np.maximum(values, least))
    volume = values.reshape((resolution,) * 3).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(volume, 0.0, gradient_direction="descent")
    return vertices * (axis[1] - axis[0]) - radius, faces


def assert_same_surface(function, radius, resolution):
    sparse, whole = level_set(function, radius, resolution), dense(function, radius, resolution)
    spacing = 2.0 * radius / (resolution - 1)
    there, back = (cKDTree(a[0]).query(b[0])[0].max() for a, b in ((sparse, whole), (whole, sparse)))
    assert max(there, back) <= 0.5 * spacing
    a, b = (trimesh.Trimesh(*surface, process=True) for surface in (sparse, whole))
    assert a.is_watertight == b.is_watertight
    assert a.body_count == b.body_count and a.euler_number == b.euler_number
    assert a.volume == pytest.approx(b.volume, rel=1e-3)


@pytest.mark.parametrize("function", [sphere, two_spheres, torus, plate, eared_ball, shell])
@pytest.mark.parametrize("resolution", [32, 57])
def test_known_shapes_are_those_of_the_whole_grid(function, resolution):
    assert_same_surface(function, RADIUS, resolution)


def test_heads_are_those_of_the_whole_grid(bundled):
    model = StyleSDF.from_pretrained(bundled)
    resolution = 128 if HEADS > 2 else 64
    for seed in range(100, 100 + HEADS):
        with torch.no_grad():
            field = model.field.condition(model.mapping(model.latents([seed]), 0.7))

        def sdf(points, field=field):
            with torch.no_grad():
                parts = torch.from_numpy(points).float().split(4096)
                values = torch.cat([field.sdf(part[None])[0] for part in parts]).numpy()
            # both see the ball alone: beyond it the network means nothing
            outside = norm(points) - model.config.scene_radius
            return np.where(outside > 0.0, np.maximum(values, outside), values)

        assert_same_surface(sdf, model.config.scene_radius * 1.02, resolution)


@pytest.mark.parametrize("function", [sphere, torus, eared_ball])
def test_work_grows_with_the_square_of_the_resolution(function):
    counts = []
    for resolution in (33, 65, 129):
        counts.append(0)

        def counted(points):
            counts[-1] += len(points)
            return function(points)

        level_set(counted, RADIUS, resolution)
    assert counts[1] < 5.0 * counts[0] and counts[2] < 5.0 * counts[1]
    assert counts[2] < 0.15 * 129**3


def test_no_point_is_measured_twice():
    seen = []
    level_set(lambda x: (seen.append(x), sphere(x))[1], RADIUS, 48)
    points = np.round(np.concatenate(seen) / RADIUS * 1e6).astype(np.int64)
    repeated = len(points) - len(np.unique(points, axis=0))
    assert repeated < 0.02 * len(points)


def test_pieces_are_not_lost_and_none_is_an_error():
    vertices, _ = level_set(two_spheres, RADIUS, 40)
    assert vertices[:, 0].min() < -0.08 and vertices[:, 0].max() > 0.08
    with pytest.raises(ValueError, match="no zero level set"):
        level_set(lambda points: norm(points) + 0.01, RADIUS, 40)
