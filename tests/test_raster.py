"""Triangles in a picture."""

import numpy as np
import pytest

from stylesdf import raster
from stylesdf.raster import rasterize


def brute_force(corners, depth, size):
    shown = {}
    for pixel in range(size * size):
        centre = np.array([pixel % size, pixel // size]) + 0.5
        for face, (a, b, c) in enumerate(corners):
            try:
                shares = np.linalg.solve([*np.stack([a, b, c], axis=1), np.ones(3)], [*centre, 1.0])
            except np.linalg.LinAlgError:
                continue
            if shares.min() >= 0 and (pixel not in shown or shares @ depth[face] < shown[pixel][0]):
                shown[pixel] = shares @ depth[face], face, shares
    return shown


@pytest.mark.parametrize("chunk", [1 << 20, 7])
def test_each_pixel_shows_the_nearest_triangle(chunk, monkeypatch):
    monkeypatch.setattr(raster, "CHUNK", chunk)
    random = np.random.default_rng(0)
    corners, depth = random.uniform(-4, 16, (30, 3, 2)), random.uniform(1, 2, (30, 3))
    corners[3, 2] = corners[3, 1]  # a triangle without area
    expected = brute_force(corners, depth, 12)
    pixel, face, shares = rasterize(corners, depth, 12)
    assert pixel.tolist() == sorted(expected) and len(pixel) > 50
    assert face.tolist() == [expected[each][1] for each in pixel]
    assert np.allclose(shares, [expected[each][2] for each in pixel])


def test_no_pixel_falls_between_neighbours_and_nothing_gives_nothing():
    square = np.array([[[0, 0], [8, 0], [0, 8]], [[8, 0], [8, 8], [0, 8]]], float)  # the border runs through centres
    assert len(rasterize(square, np.zeros((2, 3)), 8)[0]) == 64
    assert [len(part) for part in rasterize(np.zeros((0, 3, 2)), np.zeros((0, 3)), 8)] == [0, 0, 0]
    assert len(rasterize(square + 100.0, np.zeros((2, 3)), 8)[0]) == 0
