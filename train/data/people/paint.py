"""Colours of skin, eyes, hair, cloth and spectacles, as functions of where on the head a point belongs.

Colours are linear light in [0, 1]. Shapes: R points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from train.data.people.beard import beard_density
from train.data.people.geometry import NUM_ATTRIBUTES, Material, mix, smoothstep
from train.data.people.identity import (
    CLOTH_COLOURS,
    EYE_COLOURS,
    GLASSES_COLOURS,
    HAIR_COLOURS,
    LIPSTICKS,
    OLD_ABOVE,
    SKIN_TONES,
    Person,
    Stream,
)
from train.data.people.mouth import mouth_colour
from train.data.people.scalp import hairline_distance
from train.data.people.shape import EYE_CENTRE, EYE_RADIUS

LASH_COLOUR = np.float32([0.022, 0.015, 0.013])
_IRIS_RADIUS = 0.41  # heights of the open eye
_BROWS = {  # lift and tilt of the brows, decimetres; a positive tilt lowers their inner ends
    "smile": (0.010, 0.0),
    "grin": (0.015, 0.0),
    "soft": (0.0, 0.0),
    "calm": (-0.006, 0.008),
    "smirk": (0.0, 0.012),
    "wow": (0.03, 0.0),
}


@dataclass(frozen=True, eq=False)
class Paint:
    """How points look before light falls on them.

    Attributes:
        albedo: ``(R, 3)`` float32.
        gloss: Strength of the highlight. ``(R,)``.
        power: Its exponent: the greater the smaller. ``(R,)``.
        softness: 1 where light scatters below the surface, else 0. ``(R,)``.
        glint: Share of a painted reflection. ``(R,)``.
        is_mouth: Skin near the mouth: seen from behind, it is the mouth's inside. ``(R,)`` bool.
    """

    albedo: np.ndarray
    gloss: np.ndarray
    power: np.ndarray
    softness: np.ndarray
    glint: np.ndarray
    is_mouth: np.ndarray


@dataclass(frozen=True, eq=False)
class Outfit:
    """Colours of what is worn; the second one is that of stripes and pompom."""

    shirt: tuple[np.ndarray, np.ndarray]
    hat: tuple[np.ndarray, np.ndarray]
    glasses: np.ndarray
    is_shirt_striped: bool
    is_hat_striped: bool


def to_linear(colour: str) -> np.ndarray:
    """Turn ``#rrggbb`` in sRGB into linear light. ``(3,)`` float32."""
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def choose_outfit(person: Person) -> Outfit:
    """Draw the colours of what a person wears."""
    rng = person.random(Stream.OUTFIT)

    def two() -> tuple[np.ndarray, np.ndarray]:
        first, second = rng.choice(len(CLOTH_COLOURS), 2, replace=False)
        return to_linear(CLOTH_COLOURS[first]), to_linear(CLOTH_COLOURS[second])

    shirt = two()
    is_shirt_striped, is_hat_striped = bool(rng.random() < 0.25), bool(rng.random() < 0.4)
    return Outfit(shirt, two(), to_linear(str(rng.choice(GLASSES_COLOURS))), is_shirt_striped, is_hat_striped)


def paint_points(person: Person, materials: np.ndarray, attributes: np.ndarray) -> Paint:
    """Paint points of a head.

    Args:
        person: Whose head it is.
        materials: Numbers of ``Material``. ``(R,)``.
        attributes: See ``Material``. ``(R, 5)``.
    """
    assert attributes.shape == (len(materials), NUM_ATTRIBUTES), attributes.shape
    outfit = choose_outfit(person)
    albedo = np.zeros((len(materials), 3), np.float32)
    gloss, power, softness, glint = (np.zeros(len(materials), np.float32) for _ in range(4))
    for material in Material:
        i = np.nonzero(materials == material)[0]
        if not len(i):
            continue
        a = attributes[i]
        if material == Material.SKIN:
            albedo[i], softness[i] = skin_colour(person, a), 1
            gloss[i], power[i] = 0.06 + 0.10 * smoothstep(0.4, 0.7, a[:, 3]), 16
        elif material == Material.EYE:
            albedo[i], glint[i] = eye_colour(person, a)
            gloss[i], power[i] = 0.15, 60
        elif material == Material.LASHES:
            albedo[i] = LASH_COLOUR
        elif material == Material.MOUTH:
            albedo[i] = mouth_colour(a)
            gloss[i], power[i] = 0.08, 30
        elif material == Material.HAIR:
            albedo[i], gloss[i], power[i] = hair_colour(person, a), 0.10, 14
        elif material == Material.GLASSES:
            albedo[i], gloss[i], power[i] = outfit.glasses, 0.35, 40
        else:
            albedo[i], gloss[i], power[i] = cloth_colour(outfit, material, a[:, 0]), 0.02, 8
    is_mouth = (materials == Material.SKIN) & (attributes[:, 2] > 1.2)
    return Paint(albedo, gloss, power, softness, glint, is_mouth)


def skin_colour(person: Person, attributes: np.ndarray) -> np.ndarray:
    """Return the colour of skin, with shaved hair, beard, brows, lips and lashes. ``(R, 3)``."""
    points, lips = attributes[:, :3], attributes[:, 3]
    tones = np.array([to_linear(tone) for tone in SKIN_TONES])
    k = int(min(person.skin_tone, len(tones) - 1.001))
    tone = tones[k] + (tones[k + 1] - tones[k]) * (person.skin_tone - k)
    hair = to_linear(HAIR_COLOURS[person.hair_colour])
    colour = _complexion(person, points, tone)
    colour = _paint_scalp(colour, person, points, hair)
    if person.beard != "none":
        colour = _paint_beard(colour, person, points, beard_density(person, points, lips), hair)
    brow = _brow_colour(person, hair)
    colour = _paint_brows(colour, person, points, brow)
    colour = _paint_lips(colour, person, lips, tone)
    return _paint_lids(colour, points, tone)


def _complexion(person: Person, points: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """Return the tone with flushed cheeks, nose and ears, a soft shade on the lids, lines of age, and freckles."""
    rng = person.random(Stream.SKIN)
    x, y, z = points.T
    ax = np.abs(x)
    is_dark = person.skin_tone >= 4.5
    colour = np.tile(tone, (len(points), 1)).astype(np.float32)

    def spot(at_x: float, at_y: float, wide: float, high: float) -> np.ndarray:
        return np.exp(-(((ax - at_x) / wide) ** 2) - (((y - at_y) / high) ** 2)) * (z > 0.7)

    flush = rng.uniform(0.3, 0.8)
    blush = flush * 0.8 * spot(0.43, 6.98, 0.19, 0.15) + 0.35 * flush * spot(0, 6.97, 0.13, 0.1)
    blush = blush + 0.35 * smoothstep(0.74, 0.82, ax) + 0.15 * spot(0, 6.32, 0.18, 0.1)
    rosy = tone * ([1.12, 0.74, 0.68] if is_dark else [1.05, 0.64, 0.60])
    colour = mix(colour, rosy, np.clip(blush, 0, 1) * 0.85)
    colour = mix(colour, tone * [0.88, 0.76, 0.72], 0.5 * spot(0.31, 7.32, 0.20, 0.10))
    if person.age > OLD_ABOVE:
        colour = mix(colour, tone * [0.80, 0.62, 0.56], 0.7 * _age_lines(ax, y) * (z > 0.8))
    if person.skin_tone < 4.05 and rng.random() < 0.10:
        count = int(rng.integers(20, 45))
        freckles = np.column_stack([rng.normal(0, 0.28, count), rng.normal(6.99, 0.08, count)])
        distance, nearest = cKDTree(freckles).query(np.column_stack([x, y]))
        size = rng.uniform(0.014, 0.022, count)[nearest]
        colour = mix(colour, tone * [0.80, 0.58, 0.48], 0.38 * smoothstep(1.5, 0.4, distance / size) * (z > 1.0))
    return colour


def _age_lines(ax: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how much points lie on the soft lines of an old face: beside nose and mouth, and on the forehead."""
    t = np.clip((6.93 - y) / 0.33, 0, 1)  # from the nose's wing down to the mouth's corner
    fold = 0.155 + 0.17 * t**0.8
    lines = np.exp(-(((ax - fold) / 0.022) ** 2)) * smoothstep(6.97, 6.90, y) * smoothstep(6.56, 6.66, y)
    for height in (7.74, 7.83):
        at = height - 0.10 * (ax / 0.45) ** 2
        lines = lines + 0.6 * np.exp(-(((y - at) / 0.016) ** 2)) * smoothstep(0.42, 0.25, ax)
    corner = np.exp(-(((y - 7.27) / 0.035) ** 2)) * smoothstep(0.49, 0.52, ax) * smoothstep(0.62, 0.55, ax)
    return np.clip(lines + 0.5 * corner, 0, 1)


def _paint_scalp(colour: np.ndarray, person: Person, points: np.ndarray, hair: np.ndarray) -> np.ndarray:
    """Colour the skin under hair, so that none shines through, or a young bald head where it is shaved."""
    x, y, _ = points.T
    inside = hairline_distance(points, person)
    off_ear = np.clip(smoothstep(0.72, 0.70, np.abs(x)) + smoothstep(7.4, 7.5, y), 0, 1)
    if person.hair_style == "buzz":
        return mix(colour, hair * 0.9 + 0.1 * colour, smoothstep(-0.03, 0.30, inside) * 0.85 * off_ear)
    if person.hair_style != "bald":
        return mix(colour, hair * 0.9, smoothstep(-0.07, 0.09, inside) * 0.95 * off_ear)
    if person.age < 0.75:
        return mix(colour, (colour + hair) / 2, smoothstep(-0.02, 0.15, inside) * 0.18)
    return colour


def _paint_beard(
    colour: np.ndarray, person: Person, points: np.ndarray, density: np.ndarray, hair: np.ndarray
) -> np.ndarray:
    x, y, z = points.T
    if person.beard == "stubble":
        return mix(colour, 0.5 * hair + 0.2 * colour, 0.42 * density)
    fibre = 0.97 + 0.07 * np.sin(44 * np.arctan2(x, z - 0.6) + 3 * np.sin(6 * y))
    share = 0.94 * smoothstep(0.10, 0.75, density)
    return mix(colour, hair * 1.1 * fibre[:, None] + 0.004, share)


def _brow_colour(person: Person, hair: np.ndarray) -> np.ndarray:
    if person.hair_colour in ("pink", "teal"):
        return to_linear("#3b2a24")
    if person.hair_colour in ("blond", "platinum", "ginger", "dark blond"):
        return mix(hair * 0.7, to_linear("#6b4526"), np.array(0.45))
    return hair * (0.75 if person.hair_colour in ("white", "grey") else 0.45)


def _paint_brows(colour: np.ndarray, person: Person, points: np.ndarray, brow: np.ndarray) -> np.ndarray:
    """Paint eyebrows: soft relaxed arcs, highest outside of their middle, lifted and tilted by the expression."""
    x, y, z = points.T
    ax = np.abs(x)
    length, lift, slope, thickness = person.random(Stream.BROWS).uniform(-1, 1, 4)
    rise, tilt = _BROWS[person.expression]
    u = (ax - 0.12) / (0.46 + 0.03 * length)  # 0 at the inner end, 1 at the outer
    peak = 0.55
    fall = np.where(u < peak, 0.022 * (1 - u / peak) ** 2, 0.085 * ((u - peak) / (1 - peak)) ** 2)
    arc = 7.528 + 0.012 * lift + rise - fall + (0.014 * slope + tilt - 0.016) * (u - 0.5)
    profile = np.interp(u, [0, 0.2, 0.5, 0.8, 1], [0.80, 1.0, 1.0, 0.75, 0.40])
    thick = 0.034 + 0.006 * thickness + 0.009 * person.gender - 0.004 * person.is_child
    inside = smoothstep(1.35, 0.65, np.abs(y - arc) / (thick * profile))
    inside = inside * smoothstep(-0.07, 0.07, u) * smoothstep(1.06, 0.92, u) * (z > 0.8)
    return mix(colour, brow, 0.9 * inside)


def _paint_lips(colour: np.ndarray, person: Person, lips: np.ndarray, tone: np.ndarray) -> np.ndarray:
    rng = person.random(Stream.LIPS)
    is_male = person.gender > 0.5
    depth = person.skin_tone / 9
    natural = tone * mix(np.float32([0.80, 0.40, 0.40]), np.float32([0.95, 0.52, 0.55]), np.array(depth))
    natural = natural + np.float32([0.04, 0.004, 0.012]) * (0.5 + depth)
    lip = natural
    if not (is_male or rng.random() < 0.5 or person.is_child):
        lip = to_linear(str(rng.choice(LIPSTICKS)))
    share = smoothstep(0.22, 0.66, lips) * (0.62 if is_male else 0.9)
    return mix(colour, mix(lip, natural, np.array(0.25)), share)


def _paint_lids(colour: np.ndarray, points: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """Darken the edges of the lids, the upper more than the lower."""
    x, y, z = points.T
    distance = np.linalg.norm(np.column_stack([np.abs(x), y, z]) - EYE_CENTRE, axis=1) / EYE_RADIUS
    line = smoothstep(1.13, 1.05, distance) * (z > 1.2)
    upper = smoothstep(7.27, 7.30, y)
    colour = mix(colour, tone * [0.30, 0.20, 0.18], 0.85 * line * upper)
    return mix(colour, tone * [0.72, 0.46, 0.42], 0.6 * line * (1 - upper))


def eye_colour(person: Person, attributes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the colour of eyes, ``(R, 3)``, and the share of a reflection. ``(R,)``.

    Lengths are heights of the open eye.
    """
    x, y, z, side, radius = attributes.T
    yaw, pitch = person.gaze
    dx = x - radius * np.sin(yaw - 0.05 * side)
    dy = y - radius * np.sin(pitch) - 0.04
    distance = np.where(z > 0, np.hypot(dx, dy), 9.0)
    u = distance / (_IRIS_RADIUS + 0.015 * person.is_child)
    iris = to_linear(EYE_COLOURS[person.eye_colour]) * 1.15 + np.float32(0.01)
    colour = np.tile(to_linear("#f0ece8"), (len(x), 1))
    colour = mix(colour, to_linear("#e8c6bc"), 0.30 * smoothstep(0.55, 0.95, np.abs(x) / radius))
    lit = iris * (0.85 + 0.9 * smoothstep(0.12, -0.30, dy))[:, None]
    colour = mix(colour, lit, smoothstep(1.08, 0.94, u))
    colour = mix(colour, iris * 0.22, 0.9 * smoothstep(0.74, 0.95, u) * smoothstep(1.10, 0.97, u))
    colour = mix(colour, np.float32([0.005, 0.005, 0.007]), smoothstep(0.56, 0.47, u))
    colour = colour * (1 - 0.30 * smoothstep(0.10, 0.55, y))[:, None]  # the upper lid's soft shadow
    glint = smoothstep(0.115, 0.070, np.hypot(dx + 0.14, dy - 0.15)) * (z > 0)
    return colour, glint


def hair_colour(person: Person, attributes: np.ndarray) -> np.ndarray:
    """Return the colour of hair: lighter and darker locks with soft, darker creases. ``(R, 3)``."""
    tone, lock = attributes[:, 0], attributes[:, 1]
    base = to_linear(HAIR_COLOURS[person.hair_colour])
    light = base * [1.5, 1.42, 1.32] + np.float32([0.025, 0.021, 0.019])
    colour = mix(np.tile(base, (len(attributes), 1)), light, np.clip(0.35 + 0.5 * tone, 0, 1) * 0.8)
    crease = np.float32([0.80, 0.79, 0.79] if person.hair_colour in ("grey", "white") else [0.72, 0.62, 0.55])
    return colour * mix(crease, np.float32([1.06, 1.06, 1.06]), lock)


def cloth_colour(outfit: Outfit, material: Material, first: np.ndarray) -> np.ndarray:
    """Return the colour of shirt, collar, cap or pompom by their first attribute. ``(R, 3)``."""
    if material == Material.COLLAR:
        return np.where(first[:, None] > 0.5, outfit.shirt[1], outfit.shirt[0])
    if material == Material.SHIRT:
        is_band = (np.sin((first - 5.80) * 26) > 0) & outfit.is_shirt_striped
        return np.where(is_band[:, None], outfit.shirt[1], outfit.shirt[0])
    is_band = (first > 0.34) & (np.sin(first * 17) > 0.2) & outfit.is_hat_striped
    return np.where((is_band | (material == Material.POMPOM))[:, None], outfit.hat[1], outfit.hat[0])
