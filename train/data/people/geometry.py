"""Triangle meshes and scalar fields in plain numpy: normals, subdivision, spheres, tubes and steps.

Lengths are decimetres of the canonical head (see ``shape.py``) wherever a function does not say otherwise.
Shapes: V vertices, F triangles, Q quads, E edges, N points, D coordinates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import scipy.sparse as sparse

NUM_ATTRIBUTES = 5
FARTHEST = 2.6  # from an origin in a shape: no ray is inside from here on


class Material(IntEnum):
    """What a part consists of. The attributes of its vertices, column by column, are what the painter needs to know.

    SKIN: canonical x, y, z; share of the lips, 0…1.
    EYE: offset x, y, z from the middle between the lids, in heights of the open eye; side, −1 or 1; half its width.
    HAIR: tone, −1 dark … 1 light; lock, 0 in a crease … 1 on top.
    SHIRT: height y.
    BEANIE: height over the brim.
    MOUTH: position between the corners, −1…1; between the lips, 0 at the upper … 1 at the lower.
    COLLAR: 1 where it has the shirt's second colour, else 0.
    POMPOM, GLASSES, LASHES: none.
    """

    SKIN = 0
    EYE = 1
    HAIR = 2
    SHIRT = 3
    COLLAR = 4
    BEANIE = 5
    POMPOM = 6
    GLASSES = 7
    MOUTH = 8
    LASHES = 9


@dataclass(frozen=True, eq=False)
class Part:
    """One mesh of a head.

    Attributes:
        material: What it consists of.
        vertices: ``(V, 3)`` float32.
        faces: Counter-clockwise from outside. ``(F, 3)``.
        attributes: See ``Material``; columns that a material does not have are zero. ``(V, 5)`` float32.
        grid: Rows and columns, both even, where the vertices are a grid whose columns close to a ring: light is then
            baked for every second one.
        refinement: Where the mesh was subdivided: the weights of the V vertices over the first C of them, ``(V, C)``;
            light is then baked for those only.
    """

    material: Material
    vertices: np.ndarray
    faces: np.ndarray
    attributes: np.ndarray
    grid: tuple[int, int] | None = None
    refinement: sparse.csr_matrix | None = None

    @classmethod
    def build(cls, material: Material, vertices: np.ndarray, faces: np.ndarray, *columns: np.ndarray, **hints) -> Part:
        """Make a part from columns of attributes, ``(V,)`` or ``(V, K)``; hints are ``grid`` and ``refinement``."""
        attributes = np.zeros((len(vertices), NUM_ATTRIBUTES), np.float32)
        if columns:
            given = np.column_stack(columns)
            attributes[:, : given.shape[1]] = given
        return cls(material, np.asarray(vertices, np.float32), faces, attributes, **hints)


def triangles(quads: np.ndarray) -> np.ndarray:
    """Split quads ``(Q, 4)`` into triangles. ``(2 Q, 3)``."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return unit normals, weighted by area; zero at vertices of no triangle. ``(V, 3)``."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    of_face = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for axis in range(3):
        total[:, axis] = sum(np.bincount(faces[:, i], of_face[:, axis], len(vertices)) for i in range(3))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-20)


def subdivide(quads: np.ndarray, count: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Take one step of Catmull and Clark's subdivision; the border, and vertices of no quad, stay where they are.

    Args:
        quads: ``(Q, 4)``.
        count: Number of vertices, V.

    Returns:
        Weights of the new vertices over the old, ``(V + E + Q, V)``: old vertices first, then one per edge, then one
        per quad; and the new quads, ``(4 Q, 4)``.
    """
    edges = np.sort(np.stack([quads, np.roll(quads, -1, 1)], -1).reshape(-1, 2), 1)
    edges, of_quad = np.unique(edges, axis=0, return_inverse=True)
    of_quad = of_quad.reshape(-1, 4)
    num_quads, num_edges = len(quads), len(edges)
    rows = np.repeat(np.arange(num_quads), 4)

    def matrix(value: float, row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
        return sparse.csr_matrix((np.full(row.size, value), (row, column)), shape)

    face = matrix(0.25, rows, quads.ravel(), (num_quads, count))
    edge_rows = np.repeat(np.arange(num_edges), 2)
    middle = matrix(0.5, edge_rows, edges.ravel(), (num_edges, count))
    edge_face = matrix(1.0, of_quad.ravel(), rows, (num_edges, num_quads))
    faces_of_edge = np.bincount(of_quad.ravel(), minlength=num_edges)
    inner = (faces_of_edge == 2).astype(float)
    edge = sparse.diags(inner) @ (0.5 * middle + 0.25 * edge_face @ face) + sparse.diags(1 - inner) @ middle
    border = np.zeros(count)
    border[edges[faces_of_edge != 2].ravel()] = 1.0
    border[np.bincount(quads.ravel(), minlength=count) == 0] = 1.0
    vertex_face = matrix(1.0, quads.ravel(), rows, (count, num_quads))
    vertex_edge = matrix(1.0, edges.ravel(), edge_rows, (count, num_edges))
    n = np.maximum(np.asarray(vertex_face.sum(1)).ravel(), 1)
    m = np.maximum(np.bincount(edges.ravel(), minlength=count), 1)
    # (mean of the faces' points + 2 × mean of the edges' middles + (n − 3) × the vertex) / n
    moved = sparse.diags(1 / n**2) @ vertex_face @ face + sparse.diags(2 / n / m) @ vertex_edge @ middle
    moved = moved + sparse.diags((n - 3) / n)
    point = sparse.diags(border) + sparse.diags(1 - border) @ moved
    e, f = count + of_quad, count + num_edges + np.arange(num_quads)
    new = np.stack([np.stack([quads[:, i], e[:, i], f, e[:, i - 1]], 1) for i in range(4)], 1).reshape(-1, 4)
    return sparse.vstack([point, edge, face]).tocsr(), new


def unit(vector) -> np.ndarray:
    """Scale a vector to length 1. ``(3,)`` float32."""
    vector = np.asarray(vector, float)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def sphere_grid(around: int, along: int, axis: str = "z") -> tuple[np.ndarray, np.ndarray]:
    """Lay a grid of meridians and parallels on the unit sphere.

    Args:
        around: Points of a ring.
        along: Rings from pole to pole.
        axis: Through the poles, ``z`` or ``y``.

    Returns:
        Unit directions, ring after ring, ``(along × around, 3)`` float32, and triangles.
    """
    a, b = np.meshgrid(np.arange(around) / around * 2 * np.pi, np.linspace(1e-3, np.pi - 1e-3, along))
    directions = np.stack([np.sin(b) * np.cos(a), np.sin(b) * np.sin(a), np.cos(b)], -1).reshape(-1, 3)
    if axis == "y":
        directions = directions[:, [1, 2, 0]]
    i, j = np.meshgrid(np.arange(around), np.arange(along - 1))

    def at(x, y):
        return (y * around + x % around).ravel()

    quads = np.stack([at(i, j), at(i, j + 1), at(i + 1, j + 1), at(i + 1, j)], 1)
    return directions.astype(np.float32), triangles(quads)


def fibonacci_sphere(count: int) -> np.ndarray:
    """Spread unit directions evenly over the sphere. ``(count, 3)``."""
    i = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    return np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], 1)


def tube(
    path: np.ndarray, radius: np.ndarray | float, around: int = 14, closed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a tube along points; its ends are open.

    Args:
        path: ``(N, 3)``.
        radius: Of the tube; a number, or one for each of its vertices, ``(N, around)``.
        around: Points of a ring.
        closed: Join the last point to the first.

    Returns:
        Vertices ``(N × around, 3)`` float32 and triangles.
    """
    path = np.asarray(path, float)
    tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    up = np.array([0.13, 0.31, 0.94]) if abs(tangent[:, 2]).mean() < 0.8 else np.array([0.2, 0.95, 0.1])
    u = np.cross(tangent, up)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    w = np.cross(tangent, u)
    a = np.arange(around) / around * 2 * np.pi
    ring = np.cos(a)[None, :, None] * u[:, None] + np.sin(a)[None, :, None] * w[:, None]
    vertices = path[:, None] + np.broadcast_to(radius, (len(path), around))[..., None] * ring
    i, j = np.meshgrid(np.arange(around), np.arange(len(path) if closed else len(path) - 1))

    def at(x, y):
        return ((y % len(path)) * around + x % around).ravel()

    quads = np.stack([at(i, j), at(i + 1, j), at(i + 1, j + 1), at(i, j + 1)], 1)
    return vertices.reshape(-1, 3).astype(np.float32), triangles(quads)


def bumps(directions: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return soft bumps round points of the unit sphere: 1 on top, 0 in the creases between them. ``(N,)`` float32.

    Args:
        directions: Unit vectors. ``(N, 3)``.
        centres: Unit vectors, spread about evenly. ``(K, 3)``.
    """
    sharpness = np.float32(0.9 * len(centres))  # about 12 over the squared angle between neighbours
    near = np.exp(sharpness * (np.float32(directions) @ np.float32(centres).T - 1)).sum(1)
    return np.clip(1 + 0.95 * np.log(near + 1e-9), 0, 1)


def exit_radius(inside: Callable[[np.ndarray], np.ndarray], origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return how far rays run until they leave an implicit shape, by bisection to ``FARTHEST`` / 8192.

    Args:
        inside: Maps points ``(N, 3)`` to numbers, positive inside. ``(N,)``.
        origin: A point inside. ``(3,)``.
        directions: ``(N, 3)``.

    Returns:
        Distances. ``(N,)``.
    """
    low, high = np.zeros(len(directions)), np.full(len(directions), FARTHEST)
    for _ in range(13):
        middle = 0.5 * (low + high)
        is_inside = inside(origin + middle[:, None] * directions) > 0
        low, high = np.where(is_inside, middle, low), np.where(is_inside, high, middle)
    return 0.5 * (low + high)


def smoothstep(start, end, x) -> np.ndarray:
    """Rise from 0 at ``start`` to 1 at ``end``, level at both; it falls where ``start`` is the greater one."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def round_edge(x: np.ndarray) -> np.ndarray:
    """Rise from 0 at 0 to 1 at 1 as a quarter of a circle does, steep at first."""
    x = np.clip(x, 0, 1)
    return np.sqrt(np.maximum(1 - (1 - x) ** 2, 0))


def mix(a, b, share) -> np.ndarray:
    """Go from colours ``a`` to ``b``, ``(..., 3)`` each, by a share ``(...)``."""
    return a + (b - a) * share[..., None]
