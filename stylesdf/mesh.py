"""The surface of the signed distance field as a coloured triangle mesh.

Shapes: P points, V vertices, F faces, G grid samples per side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.arguments import check_integer
from stylesdf.config import StyleSDFConfig
from stylesdf.field import ConditionedField
from stylesdf.levelset import level_set
from stylesdf.model import Generator
from stylesdf.renderer import points_per_chunk

if TYPE_CHECKING:
    import trimesh

MIN_RESOLUTION, MAX_RESOLUTION = 32, 512
KEEP = ("largest", "all")
MAX_SMOOTHING = 100
MIN_FACES = 1000  # with fewer, a head with a hole through it can tear
MAX_FACES = 10**9
TAUBIN_SHRINK, TAUBIN_GROW = 0.5, 0.525  # 0 < 1/shrink − 1/grow < 0.1, as Taubin (1995) asks, keeps the volume
# The simplification's tolerance is absolute and rises from pass to pass, the faster the higher the aggression. At this
# size it starts low, so that flat parts go first; in world units it would start above every error there is.
SIMPLIFIED_AT_SIZE = 20.0
AGGRESSIONS = (5, 6, 7, 8, 9)


def extract_mesh(model: Generator, w: Tensor, resolution: int = 128, **options) -> trimesh.Trimesh:
    """Extract the zero level set of a code's field; see ``mesh_of_field``.

    Args:
        model: Whose field it is.
        w: Renderer code of one head, ``(1, latent_size)``.
        resolution: Grid samples per side, from 32 to 512.
        **options: Of ``mesh_of_field``.

    Raises:
        ValueError: An argument out of range, or a field whose sign is the same all over the ball.
    """
    if w.dim() != 2 or w.shape[0] != 1:
        raise ValueError(f"w has shape {tuple(w.shape)}, expected the code of one head, (1, latent_size)")
    with torch.no_grad():
        field = model.field.condition(w)
    return mesh_of_field(field, model.config, resolution, **options)


@torch.no_grad()
def mesh_of_field(
    field: ConditionedField,
    config: StyleSDFConfig,
    resolution: int = 128,
    keep: str = "largest",
    progress: Callable[[float], None] | None = None,
) -> trimesh.Trimesh:
    """Extract the zero level set of one head's field.

    Marching cubes (Lewiner's) on a grid that is aligned with the world and holds the scene ball. The field is measured
    near the surface only, and the result is the one of the whole grid (``stylesdf.levelset``). The field means
    something inside the ball only, so the surface ends where it leaves the ball: it is cut open along the sphere,
    never closed by a cap or by the walls of the grid. A head within the ball is one closed surface.

    Vertices are in world units whatever the grid. Normals are the field's gradient. Colours are the field's own, as
    seen by an eye that looks along the inward normal.

    Args:
        field: Of one code.
        config: Of the model.
        resolution: Grid samples per side, from 32 to 512; time and memory grow with its square.
        keep: ``"largest"`` keeps the connected piece with the largest area, since small floating ones are mostly
            noise; ``"all"`` keeps every piece.
        progress: Called with the share that is done, in [0, 1], now and then.

    Returns:
        A mesh with outward vertex normals and vertex colours (RGBA, 8 bits); ``metadata`` holds ``resolution``,
        ``scene_radius`` and ``pieces_dropped``.

    Raises:
        ValueError: An argument out of range, or a field whose sign is the same all over the ball.
    """
    resolution = check_integer("resolution", resolution, MIN_RESOLUTION, MAX_RESOLUTION)
    if keep not in KEEP:
        raise ValueError(f"keep is {keep!r}, expected one of {', '.join(KEEP)}")
    import trimesh

    report = progress if progress is not None else lambda share: None
    radius = config.scene_radius

    def sdf(points: np.ndarray) -> np.ndarray:
        return torch.cat([field.sdf(part)[0] for part in _in_parts(field, points)]).float().cpu().numpy()

    vertices, faces = level_set(sdf, radius, resolution, lambda share: report(0.8 * share))
    report(0.8)
    vertices, faces = cut_open(vertices, faces, np.linalg.norm(vertices, axis=1) - radius)
    vertices, faces, pieces_dropped = _keep_pieces(vertices, faces, keep)
    normals, colours = surface_attributes(field, vertices)
    mesh = trimesh.Trimesh(
        vertices=vertices,
        faces=faces,
        vertex_normals=normals,
        vertex_colors=colours,
        metadata={"resolution": resolution, "scene_radius": radius, "pieces_dropped": pieces_dropped},
        process=False,
    )
    report(1.0)
    return mesh


@torch.no_grad()
def field_normals(field: ConditionedField, points: Tensor) -> Tensor:
    """Return the unit gradient of the signed distance, which points outwards.

    Args:
        field: The field of one code.
        points: World points. ``(P, 3)``.

    Returns:
        Unit normals in world axes, ``(P, 3)``; zero where the gradient vanishes.
    """
    chunks = points.split(points_per_chunk(points.device))
    return torch.cat([F.normalize(field.sdf_and_gradient(chunk[None])[1][0], dim=-1) for chunk in chunks])


def cut_open(vertices: np.ndarray, faces: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut away the part of a surface where a function is positive, without closing the hole.

    Triangles that the cut crosses are split where the function, linear along their edges, is zero; neighbours share
    the new vertices.

    Args:
        vertices: ``(V, 3)``.
        faces: ``(F, 3)``.
        outside: The function at the vertices, positive where the surface goes. ``(V,)``.

    Returns:
        Vertices and faces of what remains, with the same winding.
    """
    inside = outside <= 0.0
    num_inside = inside[faces].sum(axis=1)
    whole = faces[num_inside == 3]

    def turned(crossed: np.ndarray, single_is_inside: bool) -> np.ndarray:
        # turn each triangle until the vertex that is alone on its side comes first
        single = np.argmax(inside[crossed] == single_is_inside, axis=1)
        return np.take_along_axis(crossed, (single[:, None] + np.arange(3)) % 3, axis=1)

    corners = turned(faces[num_inside == 1], True)  # a inside; b, c outside
    quads = turned(faces[num_inside == 2], False)  # a outside; b, c inside
    # edges as (inside, outside), so that both neighbours of an edge find the same new vertex
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [0, 2]], quads[:, [1, 0]], quads[:, [2, 0]]])
    edges, which = np.unique(edges, axis=0, return_inverse=True)
    which = which.reshape(-1) + len(vertices)
    near, far = outside[edges[:, 0]], outside[edges[:, 1]]
    share = (near / (near - far))[:, None]
    new = vertices[edges[:, 0]] * (1.0 - share) + vertices[edges[:, 1]] * share
    ab, ac, ba, ca = np.split(which, np.cumsum([len(corners), len(corners), len(quads)]))
    faces = np.concatenate(
        [
            whole,
            np.stack([corners[:, 0], ab, ac], axis=1),
            np.stack([ba, quads[:, 1], quads[:, 2]], axis=1),
            np.stack([ba, quads[:, 2], ca], axis=1),
        ]
    )
    return _without_unused(np.concatenate([vertices, new]), faces)


def refine_mesh(mesh: trimesh.Trimesh, smoothing: int = 0, max_faces: int | None = None) -> trimesh.Trimesh:
    """Smooth a mesh, then simplify it; without either, return a copy.

    Taubin's smoothing takes the steps of the grid away and nearly keeps the volume. Simplification collapses the edges
    that change the surface least (quadric error); a closed mesh stays closed. Colours stay with their vertices, and
    vertices of a simplified mesh take colour and normal from the nearest one; a smoothed mesh has normals of its own.

    Args:
        mesh: Is left as it is.
        smoothing: Rounds, from 0 to 100; each is one step of shrinking and one of growing.
        max_faces: Triangles at most, from 1000 to a billion; None keeps all.

    Returns:
        The new mesh. Its ``metadata`` is that of the old one, and where something was done ``smoothing``,
        ``max_faces`` and ``faces_before``.

    Raises:
        ValueError: An argument out of range, or a closed mesh that cannot have so few triangles without tearing.
    """
    smoothing = check_integer("smoothing", smoothing, 0, MAX_SMOOTHING)
    if max_faces is not None:
        max_faces = check_integer("max_faces", max_faces, MIN_FACES, MAX_FACES)
    from trimesh.smoothing import filter_taubin

    refined = mesh.copy(include_cache=True)  # with the field's normals
    if smoothing:
        filter_taubin(refined, TAUBIN_SHRINK, TAUBIN_GROW, iterations=2 * smoothing)
        refined.metadata["smoothing"] = smoothing
    if max_faces is not None and len(mesh.faces) > max_faces:
        refined = _simplified(refined, max_faces)
        refined.metadata.update(max_faces=max_faces, faces_before=len(mesh.faces))
    return refined


def _keep_pieces(vertices: np.ndarray, faces: np.ndarray, keep: str) -> tuple[np.ndarray, np.ndarray, int]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if keep == "all":
        return vertices, faces, 0
    links = (np.ones(2 * len(faces), dtype=bool), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()))
    num_pieces, labels = connected_components(coo_matrix(links, shape=(len(vertices),) * 2), directed=False)
    if num_pieces == 1:
        return vertices, faces, 0
    labels = labels[faces[:, 0]]
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    largest = np.argmax(np.bincount(labels, weights=area))
    return *_without_unused(vertices, faces[labels == largest]), int(num_pieces) - 1


def _simplified(mesh: trimesh.Trimesh, max_faces: int) -> trimesh.Trimesh:
    import trimesh
    from fast_simplification import simplify
    from scipy.spatial import cKDTree

    scale = SIMPLIFIED_AT_SIZE / mesh.extents.max()
    points, triangles = np.asarray(mesh.vertices) * scale, np.asarray(mesh.faces)
    for aggression in AGGRESSIONS:  # the most careful one that gets there
        vertices, faces = simplify(points, triangles, target_count=max_faces, agg=aggression)
        simple = trimesh.Trimesh(vertices / scale, faces, process=False)
        if len(faces) <= max_faces and (simple.is_watertight or not mesh.is_watertight):
            break
    else:
        raise ValueError(f"max_faces is {max_faces}, too few for this mesh to stay in one piece, expected more")
    nearest = cKDTree(mesh.vertices).query(simple.vertices)[1]
    return trimesh.Trimesh(
        simple.vertices,
        faces,
        vertex_normals=mesh.vertex_normals[nearest],
        vertex_colors=mesh.visual.vertex_colors[nearest] if mesh.visual.kind == "vertex" else None,
        metadata=mesh.metadata,
        process=False,
    )


def _without_unused(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]


def surface_attributes(field: ConditionedField, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return normals and colours of a field at points of its surface.

    Args:
        field: Of one code.
        vertices: World points. ``(V, 3)``.

    Returns:
        Outward unit normals, ``(V, 3)`` float64, and colours, ``(V, 4)`` uint8.
    """
    normals, colours = [np.zeros((0, 3))], [np.zeros((0, 4), np.uint8)]
    for part in _in_parts(field, vertices):
        outwards, rgb = field.surface(part)
        normals.append(outwards[0].double().cpu().numpy())
        rgb = torch.sigmoid(rgb[0].float()) * 255.0
        colours.append(F.pad(rgb, (0, 1), value=255.0).round().to(torch.uint8).cpu().numpy())
    return np.concatenate(normals), np.concatenate(colours)


def _in_parts(field: ConditionedField, points: np.ndarray) -> Iterator[Tensor]:
    """Cut world points ``(P, 3)`` into parts ``(1, n, 3)`` that suit the device, of the field's type."""
    like = field.view_layer[0]
    for part in torch.from_numpy(points).to(like).split(points_per_chunk(like.device)):
        yield part[None]
