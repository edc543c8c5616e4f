"""Pictures of people with their truth: colour, coverage, depth and normals from a camera on the unit sphere.

World axes are head axes: +x to the right of a frontal picture, +y up, the face looks along +z. A head lies inside
``MAX_RADIUS`` of the origin. Shapes: V vertices and F triangles of all parts, H W picture, R rays.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from train.data.people.beard import grow_beard
from train.data.people.clothes import build_clothes, build_glasses
from train.data.people.geometry import Material, Part, sphere_grid, vertex_normals
from train.data.people.hair import build_shell
from train.data.people.hats import build_hat
from train.data.people.identity import Person, Stream
from train.data.people.lids import build_lashes
from train.data.people.light import bake_light, shade, tone_map
from train.data.people.mouth import build_mouth
from train.data.people.paint import paint_points
from train.data.people.rays import Scene, camera_axes, camera_rays
from train.data.people.scalp import measure_scalp, shell_part, tuck_under
from train.data.people.shape import Shape, build_shape, load_asset
from train.data.people.tufts import build_tufts

BACKGROUND = (204 / 255, 219 / 255, 237 / 255)
MAX_RADIUS = 0.110  # world units: no head reaches farther from the origin
MAX_YAW, MAX_PITCH, FOV_DEG = 0.9, 0.45, 12.0  # cameras up to these angles (radians) see all of a head

_CENTRE, _SCALE = np.array([0.0, 7.28, 0.46]), 0.0650  # canonical → world; heads that would not fit are scaled down


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with its truth.

    Attributes:
        rgba: Antialiased colour, already over ``BACKGROUND``, and coverage. ``(H, W, 4)`` uint8.
        depth: z-depth of the surface under the pixel's centre, world units; NaN in the background. ``(H, W)`` float32.
        normals: Outward unit normals there, world axes; zero in the background. ``(H, W, 3)`` float32.
        mask: Whether a surface is there. ``(H, W)`` bool.
    """

    rgba: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    mask: np.ndarray


def build_parts(person: Person, shape: Shape) -> list[Part]:
    """Return all meshes of a head, canonical space."""
    asset = load_asset()
    skin = grow_beard(person, shape)
    parts = [
        Part.build(Material.SKIN, skin, asset.fine_faces, asset.canonical, asset.lips, refinement=asset.refinement)
    ]
    directions, faces = sphere_grid(40, 28)
    eyes = shape.eyes
    for centre, radii, middle, height in zip(eyes.centres, eyes.radii, eyes.middles, eyes.heights):
        ball = centre + directions * radii
        seen = (ball - [centre[0], middle, centre[2]]) / height
        side, width = (np.full(len(ball), value) for value in (np.sign(centre[0]), radii[0] / height))
        parts.append(Part.build(Material.EYE, ball, faces, seen, side, width, grid=(28, 40)))
    parts += build_lashes(person, shape.vertices, asset.lash_points)
    if person.expression == "grin":
        parts.append(build_mouth(shape))
    parts += _build_hair_and_hat(person, shape)
    parts += build_clothes(person, shape)
    if person.glasses != "none":
        parts += build_glasses(person, shape)
    return parts


def _build_hair_and_hat(person: Person, shape: Shape) -> list[Part]:
    scalp = measure_scalp(person, shape)
    rng = person.random(Stream.HAIR)
    shell = build_shell(person, scalp, rng)
    parts = []
    if person.has_hat:
        hat = build_hat(person, scalp, shell)
        parts += hat.parts
        if shell is not None:
            shell = tuck_under(shell, hat.radius, hat.height)
    if shell is not None:
        parts += [shell_part(shell), *build_tufts(person, shell, rng)]
    return parts


@functools.cache
def _frustum_planes() -> np.ndarray:
    """Return the sides of all frustums that a head must not leave: points ``p`` with ``planes @ p < 1``. ``(P, 3)``.

    A point p is in the picture of a camera at the position b if |p · right| and |p · up| are less than t (1 − p · b),
    t the tangent of half the field of view: where p · (± right + t b) / t < 1, and the same for up.
    """
    t = 0.967 * math.tan(math.radians(FOV_DEG) / 2)  # the outermost of 64 pixels stay free
    planes = []
    for yaw in np.linspace(-MAX_YAW, MAX_YAW, 7):
        for pitch in np.linspace(-MAX_PITCH, MAX_PITCH, 5):
            right, up, back = camera_axes(yaw, pitch)
            planes += [(side * axis + t * back) / t for axis in (right, up) for side in (1, -1)]
    return np.array(planes)


def fitting_scale(points: np.ndarray) -> float:
    """Return how many world units a canonical unit may be, so that a head fits the scene and its pictures.

    Args:
        points: Of the head, canonical units from the origin of the world. ``(N, 3)``.

    Returns:
        The scale, at most the usual one.
    """
    radius = np.linalg.norm(points, axis=1).max()
    return float(min(_SCALE, MAX_RADIUS / radius, 1 / (points @ _frustum_planes().T).max()))


class Head:
    """All meshes of a person as one, lit, ready to be rendered from any side.

    Args:
        person: Who it is.

    Attributes:
        person: The same.
        vertices: Canonical space. ``(V, 3)`` float32.
        faces: ``(F, 3)`` int32.
        normals: Of the vertices. ``(V, 3)`` float32.
        materials: Of the triangles, numbers of ``Material``. ``(F,)``.
        attributes: Of the vertices, see ``Material``. ``(V, 5)`` float32.
        light: Of the vertices, see ``bake_light``. ``(V, 2)`` float32.
        scale: World units per canonical unit.
        scene: The triangles, for rays in canonical space.

    Raises:
        ValueError: embreex is not installed.
    """

    def __init__(self, person: Person):
        parts = build_parts(person, build_shape(person))
        starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
        normals = [vertex_normals(part.vertices, part.faces) for part in parts]
        self.person = person
        self.vertices = np.concatenate([part.vertices for part in parts])
        self.faces = np.concatenate([part.faces + start for part, start in zip(parts, starts)]).astype(np.int32)
        self.normals = np.concatenate(normals)
        self.materials = np.concatenate([np.full(len(part.faces), part.material) for part in parts])
        self.attributes = np.concatenate([part.attributes for part in parts])
        is_used = np.zeros(len(self.vertices), bool)
        is_used[self.faces] = True
        self.scale = fitting_scale(self.vertices[is_used] - _CENTRE)
        self.scene = Scene(self.vertices, self.faces)
        self.light = bake_light(self.scene, parts, normals)

    @property
    def world_vertices(self) -> np.ndarray:
        """The vertices in world units. ``(V, 3)``."""
        return (self.vertices - _CENTRE) * self.scale


def render_head(
    head: Head, yaw: float, pitch: float, size: int, supersample: int = 2, fov_deg: float = FOV_DEG
) -> Picture:
    """Render a head with its truth.

    Args:
        head: What to render.
        yaw: Radians; +yaw moves the camera to +x.
        pitch: Radians; +pitch moves the camera to +y.
        size: Height and width in pixels.
        supersample: Rays per pixel and axis for colour and coverage.
        fov_deg: Full field of view in degrees.

    Returns:
        Colour, coverage, and the truth under the pixels' centres.

    Raises:
        ValueError: A size is not positive.
    """
    rgba = render_rgba(head, yaw, pitch, size, supersample, fov_deg)
    hits = _trace(head, yaw, pitch, size, fov_deg)
    depth = np.full(size * size, np.nan, np.float32)
    normals = np.zeros((size * size, 3), np.float32)
    depth[hits.rays] = hits.depth
    normals[hits.rays] = hits.interpolate(head.normals, is_direction=True)
    depth = depth.reshape(size, size)
    return Picture(rgba, depth, normals.reshape(size, size, 3), np.isfinite(depth))


def render_rgba(
    head: Head, yaw: float, pitch: float, size: int, supersample: int = 2, fov_deg: float = FOV_DEG
) -> np.ndarray:
    """Render colour over ``BACKGROUND`` and coverage; see ``render_head``. ``(H, W, 4)`` uint8."""
    if size < 1 or supersample < 1:
        raise ValueError(f"size and supersample must be positive, got {size} and {supersample}")
    total = size * supersample
    hits = _trace(head, yaw, pitch, total, fov_deg)
    paint = paint_points(head.person, head.materials[hits.faces], hits.interpolate(head.attributes))
    normals, light = hits.interpolate(head.normals, is_direction=True), hits.interpolate(head.light)
    view = -hits.directions / np.linalg.norm(hits.directions, axis=1, keepdims=True)
    image = np.zeros((total * total, 4), np.float32)
    image[:, :3] = BACKGROUND
    image[hits.rays, :3] = tone_map(shade(paint, normals, light, view))
    image[hits.rays, 3] = 1
    image = image.reshape(size, supersample, size, supersample, 4).mean((1, 3))
    return (image * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class _Hits:
    """Rays that meet a head: their numbers, triangles, corners, weights of the corners, z-depth and directions."""

    rays: np.ndarray
    faces: np.ndarray
    corners: np.ndarray  # (R, 3)
    weights: np.ndarray  # (R, 3)
    depth: np.ndarray
    directions: np.ndarray  # (R, 3)

    def interpolate(self, values: np.ndarray, is_direction: bool = False) -> np.ndarray:
        """Interpolate what is known at the vertices; directions are scaled to length 1."""
        out = np.einsum("nk,nkc->nc", self.weights, values[self.corners])
        return out / (np.linalg.norm(out, axis=1, keepdims=True) + 1e-9) if is_direction else out


def _trace(head: Head, yaw: float, pitch: float, size: int, fov_deg: float) -> _Hits:
    """Meet a head with the central rays of ``size`` × ``size`` pixels."""
    position, directions = camera_rays(yaw, pitch, fov_deg, size)
    directions = directions.astype(np.float32)
    origins = np.tile((position / head.scale + _CENTRE).astype(np.float32), (len(directions), 1))
    face, u, v, distance = head.scene.first_hits(origins, directions)
    rays = np.nonzero(face >= 0)[0]
    face, u, v = face[rays], u[rays], v[rays]
    weights = np.stack([1 - u - v, u, v], 1)
    # directions have unit z-depth, so distances along them are z-depths in canonical units
    return _Hits(rays, face, head.faces[face], weights, distance[rays] * head.scale, directions[rays])
