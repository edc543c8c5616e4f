"""The zero level set of a signed distance function inside a ball, measured only near the surface.

A regular lattice fills the ball's cube. Cells halve from coarse to fine, and only those that the surface can pass stay:
the value at a cell's centre must not exceed the slope there times half of the cell's diagonal, with a margin.
Blocks of 2×2×2 lattice cells are what remains. As a check, wherever the surface leaves a block its neighbour joins, so
that a piece of surface that was found at all is whole. Marching cubes (Lewiner's) runs on the blocks alone; the result
is the one it would have on the whole lattice, for O(G²) measured points instead of G³.

Shapes: G lattice samples per side, N cells or blocks, P points, V vertices, F faces.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MARGIN = 1.25  # on the measured slope; without any, one block in forty is missed at first and joins in the check
MAX_PARENTS = 8  # cells per side at the start
CLEARANCE = 1e-4  # no vertex comes nearer to a lattice point than this share of an edge
PIECE = 1 << 16  # points between two reports of progress

CHILDREN = np.array(list(np.ndindex(2, 2, 2)))
CORNERS = np.array(list(np.ndindex(3, 3, 3)))  # lattice points of a block
AXES = np.eye(3, dtype=np.int64)


def level_set(
    function: Callable[[np.ndarray], np.ndarray],
    radius: float,
    resolution: int,
    progress: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the surface where a function is zero.

    What the function does outside of the ball has no influence on the surface inside it.

    Args:
        function: World points ``(P, 3)`` in float64 to values ``(P,)``, negative inside, about as steep as a distance.
        radius: Of the ball around the origin, world units.
        resolution: Lattice samples per side of the cube around the ball.
        progress: Called with the share that is done, in [0, 1], now and then.

    Returns:
        Vertices in world units, ``(V, 3)`` float64, and faces that wind outwards, ``(F, 3)``. The cells that the
        ball's boundary crosses are whole, so the surface ends a little outside of it.

    Raises:
        ValueError: The function's sign is the same all over the ball, or a value is not a number.
    """
    samples = _Samples(function, radius, resolution, progress if progress is not None else lambda share: None)
    blocks = _grow(samples, _refine(samples))
    values = samples.at(samples.keys(blocks[:, None] + CORNERS))  # (N, 27)
    crossed = _is_crossed(values)
    if not samples.lowest <= 0.0 <= samples.highest or not crossed.any():
        raise ValueError(
            "the field has no zero level set in the scene ball: "
            f"its values lie from {samples.lowest:.4g} to {samples.highest:.4g}"
        )
    vertices, faces = _march(samples, blocks[crossed], values[crossed])
    return vertices * samples.spacing - radius, faces


class _Samples:
    """Values of the function at lattice points, each of which is measured once.

    Lattice points are integer triples from 0; a key is such a triple as one integer.
    """

    def __init__(self, function, radius: float, resolution: int, progress: Callable[[float], None]) -> None:
        self.function, self.radius, self.resolution, self.progress = function, radius, resolution, progress
        self.spacing = 2.0 * radius / (resolution - 1)
        self.lowest, self.highest = np.inf, -np.inf  # of the values in the ball
        self._stride = resolution + 2 * MAX_PARENTS  # blocks and coarse cells may reach over the lattice's end
        self._keys, self._values = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)

    def keys(self, points: np.ndarray) -> np.ndarray:
        return (points[..., 0] * self._stride + points[..., 1]) * self._stride + points[..., 2]

    def points(self, keys: np.ndarray) -> np.ndarray:
        rest, z = np.divmod(keys, self._stride)
        return np.stack([*np.divmod(rest, self._stride), z], axis=-1)

    def measure(self, points: np.ndarray, done: float = 0.0, share: float = 0.0) -> np.ndarray:
        """Evaluate the function at lattice points ``(P, 3)``, which take ``share`` of the whole work."""
        parts = [np.empty(0, dtype=np.float32)]
        for start in range(0, len(points), PIECE):
            places = points[start : start + PIECE] * self.spacing - self.radius
            parts.append(self.function(places).astype(np.float32))
            in_ball = parts[-1][np.einsum("pi,pi->p", places, places) <= self.radius**2]
            if in_ball.size:  # minimum and maximum keep what is not a number
                self.lowest = np.minimum(self.lowest, in_ball.min())
                self.highest = np.maximum(self.highest, in_ball.max())
            self.progress(done + share * min((start + PIECE) / len(points), 1.0))
        return np.concatenate(parts)

    def add(self, points: np.ndarray, values: np.ndarray) -> None:
        """Take over what was measured at new points."""
        keys = np.concatenate([self._keys, self.keys(points)])
        order = np.argsort(keys)
        self._keys, self._values = keys[order], np.concatenate([self._values, values])[order]

    def missing(self, keys: np.ndarray) -> np.ndarray:
        """Return the points among some that have not been measured, each once. ``(P, 3)``."""
        return self.points(_without(keys, self._keys))

    def at(self, keys: np.ndarray) -> np.ndarray:
        return self._values[np.searchsorted(self._keys, keys)]

    def touch_ball(self, cells: np.ndarray, size: int) -> np.ndarray:
        """Say which cells of some size, given by their lowest corner, have a part in the ball. ``(N,)``."""
        low = cells * self.spacing - self.radius
        gap = np.maximum(np.maximum(low, -low - size * self.spacing), 0.0)  # from the origin, along each axis
        return np.einsum("ni,ni->n", gap, gap) < self.radius**2


def _refine(samples: _Samples) -> np.ndarray:
    """Return the blocks that the surface can pass, by their lowest corner, ``(N, 3)``; keep the values at centres."""
    size = 2
    while size * MAX_PARENTS < samples.resolution - 1:
        size *= 2
    cells_per_side = -(-(samples.resolution - 1) // size)
    cells = np.array(list(np.ndindex((cells_per_side,) * 3))) * size
    mean_slope, half_diagonal = None, np.sqrt(3.0) / 2.0
    while size > 2:
        cells = cells[samples.touch_ball(cells, size)]
        size //= 2
        cells = (cells[:, None] + CHILDREN * size).reshape(-1, 3)
        values = samples.measure(cells + size // 2)
        # the slope of a parent is bounded by the steepest differences between its children's centres
        family = values.reshape(-1, 2, 2, 2) / (size * samples.spacing)
        steepest = [np.abs(np.diff(family, axis=axis)).max(axis=(1, 2, 3)) for axis in (1, 2, 3)]
        slope = np.linalg.norm(steepest, axis=0)
        if mean_slope is None:
            mean_slope = np.sqrt(np.mean(np.square(slope)))
        reach = MARGIN * np.maximum(slope, mean_slope) * half_diagonal * size * samples.spacing
        possible = np.abs(values) <= np.repeat(reach, 8)
        cells, values = cells[possible], values[possible]
    inside = samples.touch_ball(cells, size)
    samples.add(cells[inside] + 1, values[inside])
    return cells[inside]


def _grow(samples: _Samples, blocks: np.ndarray) -> np.ndarray:
    """Measure all corners of the blocks, and of further ones until no surface leaves them inside of the ball."""
    fresh, all_keys, done = blocks, np.sort(samples.keys(blocks)), 0.1
    while len(fresh):
        keys = samples.keys(fresh[:, None] + CORNERS)
        points = samples.missing(keys)
        samples.add(points, samples.measure(points, done, 0.9 * (1.0 - done)))
        done += 0.9 * (1.0 - done)
        values = samples.at(keys)
        neighbours = []
        for axis in range(3):
            for side in (0, 2):
                leaves = _is_crossed(values[:, CORNERS[:, axis] == side])
                neighbours.append(fresh[leaves] + (side - 1) * 2 * AXES[axis])
        neighbours = np.concatenate(neighbours)
        neighbours = neighbours[samples.touch_ball(neighbours, 2)]
        fresh_keys = _without(samples.keys(neighbours), all_keys)
        all_keys = np.sort(np.concatenate([all_keys, fresh_keys]))
        fresh = samples.points(fresh_keys)
    return samples.points(all_keys)


def _without(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the keys that are not among the known ones, which are sorted; sorted, each once."""
    keys = np.sort(keys.ravel())  # several times as fast as numpy's sets
    keys = keys[np.diff(keys, prepend=-1) > 0]
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return keys[known[place] != keys] if len(known) else keys


def _is_crossed(values: np.ndarray) -> np.ndarray:
    """Say where values ``(N, K)`` have both signs; zero counts as positive."""
    negative = values < 0.0
    return negative.any(axis=1) & ~negative.all(axis=1)


def _march(samples: _Samples, blocks: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run marching cubes on blocks ``(N, 3)`` with values ``(N, 27)``; vertices are in lattice units."""
    from skimage.measure import marching_cubes

    # keep vertices off the lattice points: there they would be one point, of triangles without area
    least = CLEARANCE * np.abs(values).max()
    values = np.where(values < 0.0, np.minimum(values, -least), np.maximum(values, least))
    # blocks stand side by side in one volume; a mask leaves out the cells between them
    side = int(np.ceil(len(blocks) ** (1 / 3)))
    volume = np.full((side**3, 27), least, dtype=np.float32)
    volume[: len(blocks)] = values
    volume = volume.reshape(side, side, side, 3, 3, 3).transpose(0, 3, 1, 4, 2, 5).reshape((3 * side,) * 3)
    mask = np.zeros((side, 3) * 3, dtype=bool)
    mask[:, 1:, :, 1:, :, 1:] = True  # a cell is known by its upper corner here
    # "descent" winds faces so that they look towards higher values, here outwards
    vertices, faces, _, _ = marching_cubes(
        volume, level=0.0, gradient_direction="descent", method="lewiner", mask=mask.reshape(volume.shape)
    )
    # a vertex lies on the lattice edge along its one broken coordinate, or within a cell; that names it in all blocks
    nearest = np.rint(vertices)
    is_broken = np.abs(vertices - nearest) > 0.5 * CLEARANCE
    kind = np.where(is_broken.sum(axis=1) == 1, is_broken.argmax(axis=1), 3)
    lower = np.where(is_broken, np.floor(vertices), nearest).astype(np.int64)
    home = blocks[((lower[:, 0] // 3) * side + lower[:, 1] // 3) * side + lower[:, 2] // 3]
    points = home + lower % 3
    _, first, index = np.unique(4 * samples.keys(points) + kind, return_index=True, return_inverse=True)
    return (points + (vertices - lower))[first], index.reshape(-1)[faces]
