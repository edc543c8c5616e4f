"""Rays through triangle meshes, by Embree, and the rays of a camera.

Shapes: R rays, V vertices, F triangles.
"""

from __future__ import annotations

import math

import numpy as np


def load_embree():
    """Return embreex's scene and mesh classes.

    Raises:
        ValueError: embreex is not installed.
    """
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError:
        message = "embreex is not installed, it traces the pictures of people: pip install embreex"
        raise ValueError(message) from None
    return EmbreeScene, TriangleMesh


class Scene:
    """Triangles that rays can meet.

    Args:
        vertices: ``(V, 3)``.
        faces: ``(F, 3)``.

    Raises:
        ValueError: embreex is not installed.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray):
        scene_class, mesh_class = load_embree()
        self._scene = scene_class()
        self._mesh = mesh_class(
            self._scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)
        )

    def first_hits(
        self, origins: np.ndarray, directions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the triangle that each ray meets first, and where.

        Args:
            origins: ``(R, 3)``.
            directions: Of any length. ``(R, 3)``.

        Returns:
            Numbers of triangles, −1 where a ray meets none; barycentric coordinates of the second and of the third
            corner; distance in lengths of the direction. ``(R,)`` each.
        """
        hits = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            query="INTERSECT",
            output=True,
        )
        return hits["primID"], hits["u"], hits["v"], hits["tfar"]

    def are_blocked(self, origins: np.ndarray, directions: np.ndarray, distance: float) -> np.ndarray:
        """Tell which rays meet a triangle within a distance, in lengths of the direction. ``(R,)`` bool."""
        if not len(origins):
            return np.zeros(0, bool)
        limits = np.full(len(origins), distance, np.float32)
        blocked = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            limits,
            query="OCCLUDED",
        )
        return blocked == 0


def camera_axes(yaw: float, pitch: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return right, up and back of a camera that looks at the origin; back is its position, too. ``(3,)`` each.

    Args:
        yaw: Radians; +yaw moves the camera to +x.
        pitch: Radians; +pitch moves the camera to +y.
    """
    back = np.array([math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw)])
    right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
    return right, np.cross(back, right), back


def camera_rays(yaw: float, pitch: float, fov_deg: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rays through the centres of ``size`` × ``size`` pixels of a camera on the unit sphere.

    Args:
        yaw, pitch: See ``camera_axes``.
        fov_deg: Full field of view in degrees.
        size: Height and width in pixels.

    Returns:
        Position of the camera ``(3,)``, and directions of unit z-depth, row by row from the upper left. ``(R, 3)``.
    """
    right, up, back = camera_axes(yaw, pitch)
    at = ((np.arange(size) + 0.5) / size * 2 - 1) * math.tan(math.radians(fov_deg) / 2)
    x, y = np.meshgrid(at, -at)
    return back, x.ravel()[:, None] * right + y.ravel()[:, None] * up - back
