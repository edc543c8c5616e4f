"""Light that is fixed to the head: openness and shadow baked into vertices, and the shading of painted points.

Everything but the highlights' and rims' dependence on the view is the same from all sides. Directions point towards
the lights. Shapes: V vertices, R points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from train.data.people.geometry import Material, Part, fibonacci_sphere, mix, smoothstep, unit
from train.data.people.paint import Paint
from train.data.people.rays import Scene

KEY, FILL = unit([-0.55, 0.62, 0.62]), unit([0.85, 0.1, 0.55])
RIM_LEFT, RIM_RIGHT = unit([-0.85, 0.35, -0.45]), unit([0.8, 0.45, -0.5])
FRONT = unit([0, 0.12, 1])

_SKY = fibonacci_sphere(64).astype(np.float32)
_SKY_DISTANCE = 1.6  # decimetres: what is farther away blocks nothing
_KEY_LIGHTS = KEY + 0.31 * fibonacci_sphere(14).astype(np.float32)  # a large source has soft shadows
_KEY_LIGHTS /= np.linalg.norm(_KEY_LIGHTS, axis=1, keepdims=True)
_BEHIND, _BACK = (0.85, 0.9), -0.3  # what vertices at the back of the head get, and the depth where they begin


def bake_light(scene: Scene, parts: Sequence[Part], normals: Sequence[np.ndarray]) -> np.ndarray:
    """Trace how much of sky and key light the vertices see.

    Args:
        scene: All parts.
        parts: Of one head, canonical space.
        normals: Of each part's vertices. ``(V, 3)``.

    Returns:
        Openness to the sky, and share of the key light, both in [0, 1]. ``(V of all parts, 2)`` float32.
    """
    return np.concatenate([_bake_part(scene, part, normal) for part, normal in zip(parts, normals)])


def _bake_part(scene: Scene, part: Part, normals: np.ndarray) -> np.ndarray:
    """Bake one part, at every second vertex of a grid, or before subdivision."""
    if part.material == Material.GLASSES:
        return np.full((len(part.vertices), 2), 0.85, np.float32)
    if part.refinement is not None:
        count = part.refinement.shape[1]
        return part.refinement @ _see_light(scene, part.vertices[:count], normals[:count])
    if part.material in (Material.MOUTH, Material.LASHES):
        return np.full((len(part.vertices), 2), 0.8, np.float32)
    if part.grid is None:
        return _see_light(scene, part.vertices, normals)
    coarse = (a.reshape(*part.grid, 3)[::2, ::2].reshape(-1, 3) for a in (part.vertices, normals))
    light = _enlarge(_see_light(scene, *coarse), part.grid)
    return 0.55 + 0.45 * light if part.material == Material.EYE else light


def _enlarge(light: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Smooth the light of every second vertex of a grid, and interpolate it to all of them."""
    rows, columns = grid
    light = light.reshape(rows // 2, columns // 2, 2)
    light = gaussian_filter(light, (0.7, 0.7, 0), mode=("nearest", "wrap", "nearest"))
    light = np.concatenate([light, light[:, :1]], axis=1)  # the ring closes
    y, x = np.meshgrid(np.arange(rows) / 2, np.arange(columns) / 2, indexing="ij")
    at = [np.minimum(y, rows // 2 - 1), x]
    return np.stack([map_coordinates(light[..., c], at, order=1).ravel() for c in range(2)], axis=1)


def _see_light(scene: Scene, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return the cosine-weighted share of the sky, and the share of the key light, that vertices see. ``(V, 2)``."""
    in_front = vertices[:, 2] > _BACK
    i, k = np.nonzero((normals @ _SKY.T > 0.05) & in_front[:, None])
    blocked = scene.are_blocked(vertices[i] + normals[i] * 0.012, _SKY[k], _SKY_DISTANCE)
    cosine = (normals[i] * _SKY[k]).sum(1)
    total = np.bincount(i, cosine, len(vertices)) + 1e-6
    openness = np.bincount(i, cosine * ~blocked, len(vertices)) / total
    i = np.nonzero((normals @ KEY > -0.35) & in_front)[0]
    origins = np.repeat(vertices[i] + normals[i] * 0.02, len(_KEY_LIGHTS), axis=0)
    blocked = scene.are_blocked(origins, np.tile(_KEY_LIGHTS, (len(i), 1)), 4.0)
    key = np.ones(len(vertices))
    key[i] = 1 - blocked.reshape(len(i), len(_KEY_LIGHTS)).mean(1)
    share = smoothstep(_BACK, _BACK + 0.4, vertices[:, 2])
    return mix(np.float32(_BEHIND), np.column_stack([openness, key]), share).astype(np.float32)


def shade(paint: Paint, normals: np.ndarray, light: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Light painted points.

    Args:
        paint: Of the points.
        normals: Unit vectors. ``(R, 3)``.
        light: See ``bake_light``. ``(R, 2)``.
        view: Unit vectors towards the camera. ``(R, 3)``.

    Returns:
        Linear light, from 0 to about 2. ``(R, 3)``.
    """
    openness, key = light[:, 0], light[:, 1]
    soft = paint.softness[:, None]
    wrap = soft * np.float32([0.32, 0.16, 0.11]) + 0.06  # how far light reaches round, red farthest
    diffuse = np.clip(((normals @ KEY)[:, None] + wrap) / (1 + wrap), 0, 1)
    shadow = key[:, None] ** (1 - 0.35 * soft * np.float32([1, 0.3, 0.1]))
    up = 0.5 + 0.5 * normals[:, 1:2]
    ambient = (np.float32([0.50, 0.50, 0.54]) * up + np.float32([0.42, 0.36, 0.33]) * (1 - up)) * 0.84
    bounce = openness[:, None] ** (1.25 - 0.45 * soft * np.float32([1, 0.2, 0.0]))
    fill = np.clip((normals @ FILL)[:, None] * 0.75 + 0.25, 0, 1)
    received = 1.45 * np.float32([1.0, 0.95, 0.89]) * diffuse * shadow + ambient * bounce
    received = received + 0.42 * np.float32([0.86, 0.93, 1.0]) * fill * bounce
    out = paint.albedo * received
    for direction, strength in ((KEY, 1.0), (FILL, 0.25)):
        half = (direction + FRONT) / np.linalg.norm(direction + FRONT)
        highlight = np.clip(normals @ half, 0, 1) ** np.maximum(paint.power, 1)
        out += (paint.gloss * highlight * strength * (0.3 + 0.7 * key) * openness)[:, None]
    facing = (normals * view).sum(1)
    out[(facing < -0.2) & paint.is_mouth] *= np.float32([0.10, 0.05, 0.05])
    behind = np.clip(normals @ RIM_LEFT + 0.1, 0, 1) * 0.55 + np.clip(normals @ RIM_RIGHT + 0.1, 0, 1) * 0.4
    rim = (1 - np.clip(facing, 0, 1)) ** 3 * behind
    out += (rim * openness)[:, None] * (0.25 * np.float32([1.0, 0.97, 0.95]) + 0.9 * paint.albedo)
    return mix(out, np.float32([1.5, 1.5, 1.5]), paint.glint)


def tone_map(colours: np.ndarray) -> np.ndarray:
    """Compress linear light to sRGB in [0, 1]."""
    x = np.maximum(colours, 0) * 0.92
    x = x * (1 + x / 6.0) / (1 + 0.42 * x)
    return np.where(x < 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055).clip(0, 1)
