"""Triangles in a square picture: which of them each pixel shows, and where in it.

Shapes: F triangles, N pixels.
"""

from __future__ import annotations

import numpy as np

CHUNK = 1 << 20  # pairs of a pixel and a triangle that are looked at together
TOLERANCE = 1e-9  # of barycentric coordinates, so that no pixel falls between two neighbours


def rasterize(corners: np.ndarray, depth: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the nearest triangle at the centre of each pixel.

    Args:
        corners: In pixels, x to the right and y downwards from the upper left corner of the picture. ``(F, 3, 2)``.
        depth: Of the corners; it is taken to be straight between them. ``(F, 3)``.
        size: Height and width of the picture in pixels.

    Returns:
        Pixels that show a triangle, ``row · size + column``, ascending, ``(N,)``; their triangles, ``(N,)``; the shares
        of the three corners, which sum to one, ``(N, 3)``.
    """
    edge_a, edge_b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = edge_a[:, 0] * edge_b[:, 1] - edge_a[:, 1] * edge_b[:, 0]
    # the box of pixels whose centres lie within each triangle's extent
    first = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, size).astype(np.int64)
    last = np.clip(np.floor(corners.max(axis=1) - 0.5), -1, size - 1).astype(np.int64)
    width, height = np.maximum(last - first + 1, 0).T
    counts = np.where(area == 0.0, 0, width * height)
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(CHUNK, ends[-1] if len(ends) else 0, CHUNK))
    fragments = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)))]
    for block in np.split(np.arange(len(corners)), cuts):
        index = np.repeat(block, counts[block])
        nth = np.arange(len(index)) - np.repeat(np.cumsum(counts[block]) - counts[block], counts[block])
        pixel = first[index] + np.stack([nth % width[index], nth // width[index]], axis=1)
        offset = pixel + 0.5 - corners[index, 0]
        # barycentric coordinates from signed areas
        b = (offset[:, 0] * edge_b[index, 1] - offset[:, 1] * edge_b[index, 0]) / area[index]
        c = (edge_a[index, 0] * offset[:, 1] - edge_a[index, 1] * offset[:, 0]) / area[index]
        shares = np.stack([1.0 - b - c, b, c], axis=1)
        hit = shares.min(axis=1) >= -TOLERANCE
        fragments.append((pixel[hit] @ (1, size), index[hit], shares[hit]))
    pixel, index, shares = (np.concatenate(column) for column in zip(*fragments))
    from_back = np.argsort(-(shares * depth[index]).sum(axis=1), kind="stable")
    nearest = np.full(size * size, -1)
    nearest[pixel[from_back]] = from_back  # the last one written, the nearest, stays
    nearest = nearest[nearest >= 0]
    return pixel[nearest], index[nearest], shares[nearest]
