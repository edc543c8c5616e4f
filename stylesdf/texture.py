"""The texture of a mesh, baked from pictures of its head.

Shapes: V vertices, F faces, T texels, R image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from stylesdf.arguments import check_integer
from stylesdf.camera import Camera, focal_length, project
from stylesdf.config import StyleSDFConfig
from stylesdf.head import Head
from stylesdf.mesh import surface_attributes
from stylesdf.meshfile import ROUGHNESS
from stylesdf.raster import rasterize
from stylesdf.shot import Shot
from stylesdf.torch_state import ordinary_torch

if TYPE_CHECKING:
    import trimesh

MIN_TEXTURE, MAX_TEXTURE = 64, 2048
UNWRAPPED_AT_SIZE = 100.0  # the thresholds of xatlas are absolute: in world units a head falls into hundreds of charts
CHART_PADDING = 3  # texels around a chart
# where the pictures are taken from, in half widths of the yaw and the pitch that the model was trained with
VIEWS = ((0, 0), (-0.5, 0), (0.5, 0), (-1, 0), (1, 0), (-0.6, 0.8), (0.6, 0.8), (-0.6, -0.8), (0.6, -0.8))
# a picture counts from so many pixels of the feature map away from a rim on, where the decoder mixes in what is behind
RIM, CLEAR_OF_RIM = 0.75, 2.5
RIM_JUMP = 6.0  # of depth from pixel to pixel, in pixels: a slope of more than 80°
GRAZING = 0.2  # cosine between normal and view from which a picture counts
SEEN_WELL = 0.3  # from here on, of at most 1, the field's own colour has no share


@ordinary_torch()
def bake_texture(
    head: Head, mesh: trimesh.Trimesh, size: int = 1024, progress: Callable[[float], None] | None = None
) -> trimesh.Trimesh:
    """Give a mesh of a head a texture from full-resolution pictures of that head.

    Nine pictures, spread over the angles that the model was trained with, are projected onto the surface. A texel takes
    the mean of them, each weighted by how well it sees the texel: unhidden, from the front rather than along the
    surface, and away from silhouettes, where a picture holds background. A texel that no picture sees well takes the
    field's own colour, as a vertex does. Light stays in the colours. Texels outside of all charts repeat the nearest
    one inside.

    Args:
        head: Whose mesh it is.
        mesh: Of ``Head.mesh``, smoothed or simplified or not; it is left as it is.
        size: Height and width of the texture in texels, from 64 to 2048.
        progress: Called with the share that is done, in [0, 1], now and then.

    Returns:
        The mesh with texture coordinates, its vertices doubled along the charts' borders, and a material that is not
        metallic. ``metadata`` is that of the old one and ``texture_size``.

    Raises:
        ValueError: A size out of range, or xatlas is not installed.
    """
    size = check_integer("size", size, MIN_TEXTURE, MAX_TEXTURE)
    report = progress if progress is not None else lambda share: None
    vertices, faces, uv = unwrap(mesh, size)
    report(0.3)
    pixel, face, shares = rasterize((uv * [1, -1] + [0, 1])[faces] * size, np.zeros(faces.shape), size)
    corners = vertices[faces[face]]  # (T, 3)
    points = np.einsum("tc,tcx->tx", shares, np.asarray(mesh.vertices)[corners])
    normals = np.einsum("tc,tcx->tx", shares, mesh.vertex_normals[corners])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    colours, seen = _from_pictures(head, mesh, points, normals, lambda share: report(0.35 + 0.5 * share))
    own = np.clip(seen / SEEN_WELL, 0.0, 1.0)
    own = 1.0 - own * own * (3.0 - 2.0 * own)  # smoothstep
    unseen = own > 0.0
    _, field_colours = surface_attributes(head.field, points[unseen])
    colours[unseen] += own[unseen, None] * (field_colours[:, :3] - colours[unseen])
    picture = _filled(pixel, colours, size)
    report(1.0)
    return _textured(mesh, vertices, faces, uv, picture)


def shots(config: StyleSDFConfig) -> list[Shot]:
    """Return the shots that a texture is baked from."""
    yaw, pitch = config.known_angles
    yaw, pitch = min(yaw, math.pi), min(pitch, 1.4)
    return [Shot(aside * yaw, up * pitch) for aside, up in VIEWS]


def unwrap(mesh: trimesh.Trimesh, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a surface into charts and lay them into the unit square.

    Args:
        mesh: The surface.
        size: Height and width of the texture in texels, for the space between charts.

    Returns:
        The mesh's vertex that each new one is, ``(V,)``; faces of the new ones, in the mesh's order, ``(F, 3)``; their
        texture coordinates from the lower left, in [0, 1], ``(V, 2)``.

    Raises:
        ValueError: xatlas is not installed.
    """
    try:
        import xatlas
    except ImportError:
        raise ValueError("xatlas is not installed, it unwraps a mesh for its texture: pip install xatlas") from None
    atlas, charts, packing = xatlas.Atlas(), xatlas.ChartOptions(), xatlas.PackOptions()
    points = np.asarray(mesh.vertices) * (UNWRAPPED_AT_SIZE / mesh.extents.max())
    atlas.add_mesh(np.ascontiguousarray(points, np.float32), np.ascontiguousarray(mesh.faces, np.uint32))
    packing.resolution, packing.padding = size, CHART_PADDING
    atlas.generate(charts, packing)
    vertices, faces, uv = atlas[0]
    return vertices.astype(np.int64), faces.astype(np.int64), uv.astype(float)


def _from_pictures(
    head: Head, mesh: trimesh.Trimesh, points: np.ndarray, normals: np.ndarray, report: Callable[[float], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours that pictures give points of the surface, ``(T, 3)`` in [0, 255], and how well the best of
    them sees each, ``(T,)`` in [0, 1]."""
    colours, total, seen = np.zeros(points.shape), np.zeros(len(points)), np.zeros(len(points))
    for done, shot in enumerate(shots(head.config), start=1):
        colour, quality = _from_picture(head, mesh, shot, points, normals)
        colours += quality[:, None] * colour
        total += quality
        seen = np.maximum(seen, quality)
        report(done / len(VIEWS))
    return colours / np.maximum(total, 1e-30)[:, None], seen


def _from_picture(
    head: Head, mesh: trimesh.Trimesh, shot: Shot, points: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same of one picture."""
    view, config = head.view(shot), head.config
    picture = torch.from_numpy(np.asarray(view.image, np.float32).transpose(2, 0, 1).copy())
    size = picture.shape[-1]
    background = F.interpolate(torch.from_numpy(view.background)[None, None], (size, size), mode="bilinear")[0, 0]
    focal = focal_length(config.fov_deg)
    nearest = _depth_map(mesh, shot.camera, config.fov_deg, size)
    clear = _distance_to_rim(nearest, focal, background.numpy() > 0.5) * (config.render_resolution / size)
    places, depth = (part.numpy() for part in project(shot.camera, torch.from_numpy(points), config.fov_deg, size))
    grid = torch.from_numpy(np.float32(places * (2.0 / size) - 1.0))[None, None]  # (1, 1, T, 2)
    maps = torch.from_numpy(np.stack([np.where(np.isinf(nearest), 0.0, nearest), clear]).astype(np.float32))
    options = {"padding_mode": "border", "align_corners": False}
    colour = F.grid_sample(picture[None], grid, mode="bicubic", **options)[0, :, 0].clamp(0.0, 255.0)
    front, clear = F.grid_sample(maps[None], grid, mode="bilinear", **options)[0, :, 0].double().numpy()
    is_seen = (depth - front) * focal * size < RIM_JUMP
    is_seen &= (np.abs(places - 0.5 * size) < 0.5 * size).all(axis=1)
    to_camera = shot.camera.cam2world[0, :, 3].double().numpy() - points
    cosine = np.einsum("tx,tx->t", normals, to_camera) / np.linalg.norm(to_camera, axis=1)
    facing = np.clip((cosine - GRAZING) / (1.0 - GRAZING), 0.0, 1.0)
    return colour.T.double().numpy(), is_seen * facing * np.clip((clear - RIM) / (CLEAR_OF_RIM - RIM), 0.0, 1.0)


def _depth_map(mesh: trimesh.Trimesh, camera: Camera, fov_deg: float, size: int) -> np.ndarray:
    """Return the z-depth of a mesh from a camera, infinite where it is not, ``(R, R)``."""
    vertices = torch.from_numpy(np.array(mesh.vertices))
    places, depth = (part.numpy() for part in project(camera, vertices, fov_deg, size))
    faces = np.asarray(mesh.faces)
    pixel, face, shares = rasterize(places[faces], depth[faces], size)
    nearest = np.full(size * size, np.inf)
    nearest[pixel] = (shares * depth[faces[face]]).sum(axis=1)
    return nearest.reshape(size, size)


def _distance_to_rim(nearest: np.ndarray, focal: float, background: np.ndarray) -> np.ndarray:
    """Return how far each pixel is from a silhouette: where there is background, or depth jumps. Pixels, ``(R, R)``.

    Args:
        nearest: z-depth of the mesh, infinite where it is not. ``(R, R)``.
        focal: Focal length in units of the picture's size.
        background: Where the volume rendering sees none of the head. Bool, ``(R, R)``.
    """
    from scipy.ndimage import distance_transform_edt

    is_rim = background | np.isinf(nearest)
    depth = np.where(is_rim, 0.0, nearest) * focal * nearest.shape[0]  # in pixels
    down, aside = np.abs(np.diff(depth, axis=0)) > RIM_JUMP, np.abs(np.diff(depth, axis=1)) > RIM_JUMP
    is_rim[1:] |= down
    is_rim[:-1] |= down
    is_rim[:, 1:] |= aside
    is_rim[:, :-1] |= aside
    return distance_transform_edt(~is_rim) if is_rim.any() else np.full(is_rim.shape, np.inf)


def _filled(pixel: np.ndarray, colours: np.ndarray, size: int) -> np.ndarray:
    """Return a picture of some pixels, the others repeating the nearest of them, ``(size, size, 3)`` uint8."""
    from scipy.ndimage import distance_transform_edt

    picture, is_empty = np.zeros((size * size, 3), np.uint8), np.ones(size * size, bool)
    picture[pixel] = np.rint(np.clip(colours, 0.0, 255.0))
    is_empty[pixel] = False
    rows, columns = distance_transform_edt(
        is_empty.reshape(size, size), return_distances=False, return_indices=True
    )
    return picture.reshape(size, size, 3)[rows, columns]


def _textured(
    mesh: trimesh.Trimesh, vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, picture: np.ndarray
) -> trimesh.Trimesh:
    import trimesh
    from PIL import Image
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    material = PBRMaterial(
        name="surface",
        baseColorTexture=Image.fromarray(picture),
        metallicFactor=0.0,
        roughnessFactor=ROUGHNESS,
        doubleSided=True,
    )
    return trimesh.Trimesh(
        np.asarray(mesh.vertices)[vertices],
        faces,
        vertex_normals=mesh.vertex_normals[vertices],
        visual=TextureVisuals(uv=uv, material=material),
        metadata={**mesh.metadata, "texture_size": len(picture)},
        process=False,
    )
