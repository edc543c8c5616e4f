"""The shape of a head: MakeHuman's base mesh, morphed to a person and to the proportions of animated films.

Canonical space: decimetres of the base mesh, +x to the right of a frontal picture, +y up, the face looks along +z; the
chin lies at y 6.2, the crown at 8.49. Shapes: V vertices of the base mesh, S of the subdivided skin, T targets.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from scipy.spatial import cKDTree

from train.data.people.geometry import smoothstep, subdivide, triangles
from train.data.people.identity import AGES, ANCESTRIES, GENDERS, HANGING, OLD_ABOVE, Person
from train.data.people.lids import LASH_POINTS, LID_POINTS, Eyes, measure_eyes, open_lids

EYE_CENTRE, EYE_RADIUS = np.array([0.3078, 7.2841, 1.2454]), 0.1382  # of the base mesh, at +x
SKULL = np.array([0.0, 7.55, 0.45])  # hair is a radial surface around this point
TOP, CHIN = 8.4913, 6.2  # heights that every head has

_NECK_AXIS = np.array([0.0, 0.0, 0.3])


@dataclass(frozen=True, eq=False)
class Asset:
    """The base mesh, and what follows from it once.

    Attributes:
        base: Vertices of skin and eyes. ``(V, 3)`` float32.
        target_ids: Numbers of the targets by name.
        deltas: What the targets add to the vertices. ``(T, V, 3)`` float32.
        skin_faces: Triangles of the skin of the base mesh.
        refinement: Weights of the subdivided skin's vertices over the base mesh's. ``(S, V)``.
        fine_faces: Triangles of the subdivided skin.
        canonical: The subdivided skin of the base mesh: where on the head a vertex of any person belongs. ``(S, 3)``.
        lips: Share of the lips at the subdivided skin's vertices, 0…1. ``(S,)``.
        eye_vertices: Numbers of the vertices of the eye at +x, and of that at −x.
        lid_points: Numbers of the vertices at ``LID_POINTS``, for each eye. ``(2, 4)``.
        lash_points: The same at ``LASH_POINTS``. ``(2, 10)``.
        smoothing: One step of smoothing cheeks, forehead and chin. ``(V, V)``.
        mouth_rim: Numbers of the vertices where the skin ends behind the lips.
        top, chin: Numbers of the vertices there.
        is_rim: Which vertices are the border of the neck. ``(V,)`` bool.
    """

    base: np.ndarray
    target_ids: dict[str, int]
    deltas: np.ndarray
    skin_faces: np.ndarray
    refinement: sparse.csr_matrix
    fine_faces: np.ndarray
    canonical: np.ndarray
    lips: np.ndarray
    eye_vertices: tuple[np.ndarray, np.ndarray]
    lid_points: np.ndarray
    lash_points: np.ndarray
    smoothing: sparse.csr_matrix
    mouth_rim: np.ndarray
    top: int
    chin: int
    is_rim: np.ndarray


@dataclass(frozen=True, eq=False)
class Shape:
    """A person's head without hair.

    Attributes:
        vertices: The base mesh's vertices, canonical space. ``(V, 3)`` float32.
        skin: The subdivided skin's vertices. ``(S, 3)`` float32.
        eyes: Eyeballs and the lids' opening.
    """

    vertices: np.ndarray
    skin: np.ndarray
    eyes: Eyes


@functools.cache
def load_asset() -> Asset:
    """Read ``head.npz``, once."""
    with np.load(Path(__file__).with_name("head.npz"), allow_pickle=False) as arrays:
        base, skin, eyes, lips = (arrays[name] for name in ("base", "skin", "eye", "lips"))
        names, deltas = arrays["names"].tolist(), arrays["deltas"].astype(np.float32)
    refinement, fine_quads = subdivide(skin, len(base))
    refinement = refinement.astype(np.float32)
    skin_vertices, eye_vertices = np.unique(skin), np.unique(eyes)
    edges = np.sort(np.stack([skin, np.roll(skin, -1, 1)], -1).reshape(-1, 2), 1)
    edges, faces_of_edge = np.unique(edges, axis=0, return_counts=True)
    is_rim = np.zeros(len(base), bool)
    is_rim[edges[faces_of_edge == 1].ravel()] = True

    def nearest(points: np.ndarray) -> np.ndarray:
        both = [points * [side, 1, 1] for side in (1, -1)]
        return skin_vertices[cKDTree(base[skin_vertices]).query(both)[1]]

    pairs, shape = np.concatenate([edges, edges[:, ::-1]]).T, (len(base), len(base))
    smoothing = sparse.csr_matrix((np.ones(pairs.shape[1]), pairs), shape)
    smoothing = sparse.diags(1 / np.maximum(smoothing.sum(1).A1, 1)) @ smoothing
    smoothing = sparse.eye(len(base)) + sparse.diags(0.6 * _plain_skin(base)) @ (smoothing - sparse.eye(len(base)))
    return Asset(
        base=base,
        target_ids={name: i for i, name in enumerate(names)},
        deltas=deltas,
        skin_faces=triangles(skin),
        refinement=refinement,
        fine_faces=triangles(fine_quads),
        canonical=refinement @ base,
        lips=refinement @ lips,
        eye_vertices=tuple(eye_vertices[base[eye_vertices, 0] * side > 0] for side in (1, -1)),
        lid_points=nearest(LID_POINTS),
        lash_points=nearest(LASH_POINTS),
        smoothing=smoothing.tocsr().astype(np.float32),
        mouth_rim=np.nonzero(is_rim & (base[:, 1] > 6.3) & (base[:, 2] > 1.0))[0],
        top=int(skin_vertices[np.argmax(base[skin_vertices, 1])]),
        chin=int(skin_vertices[np.argmin(np.linalg.norm(base[skin_vertices] - [0, 6.2, 1.38], axis=1))]),
        is_rim=is_rim & (base[:, 1] < 6.1),
    )


def _plain_skin(base: np.ndarray) -> np.ndarray:
    """Return where the skin of a face has no feature that smoothing would harm, 0…1. ``(V,)``."""
    x, y, z = base.T
    eye = np.linalg.norm(np.column_stack([np.abs(x), y, z]) - EYE_CENTRE, axis=1) / EYE_RADIUS
    mouth = np.sqrt((x / 0.29) ** 2 + ((y - 6.62) / 0.12) ** 2)
    nose = np.sqrt((x / 0.15) ** 2 + ((y - 6.95) / 0.20) ** 2)
    plain = smoothstep(1.3, 2.0, eye) * smoothstep(1.0, 1.4, mouth) * smoothstep(1.0, 1.5, nose)
    return plain * smoothstep(0.2, 0.6, z) * smoothstep(0.74, 0.66, np.abs(x)) * smoothstep(6.0, 6.3, y)


def macro_weights(person: Person) -> dict[str, float]:
    """Return the weights of the targets for gender, age, ancestry and weight: multilinear, as in MakeHuman."""
    ages = dict(zip(AGES, _three_steps(person.age)))
    genders = dict(zip(GENDERS, (1 - person.gender, person.gender)))
    weights = dict(zip(("minweight", "averageweight", "maxweight"), _three_steps(person.weight)))
    out = {}
    for gender, gender_share in genders.items():
        for age, age_share in ages.items():
            for ancestry, share in zip(ANCESTRIES, person.ancestry):
                out[f"{ancestry}-{gender}-{age}"] = gender_share * age_share * share
            for weight, share in weights.items():
                out[f"{gender}-{age}-{weight}"] = gender_share * age_share * share
    return out


def _three_steps(x: float) -> tuple[float, float, float]:
    """Return linear weights of 0, 0.5 and 1 at a number between."""
    return max(0, 1 - x * 2), 1 - abs(x * 2 - 1), max(0, x * 2 - 1)


def build_shape(person: Person) -> Shape:
    """Morph the base mesh into a person's head.

    Returns:
        Skin and eyes.
    """
    asset = load_asset()
    weights = {name: w for name, w in {**macro_weights(person), **person.targets}.items() if w > 1e-3}
    ids = [asset.target_ids[name] for name in weights]
    vertices = asset.base + np.tensordot(np.array(list(weights.values()), np.float32), asset.deltas[ids], 1)
    for _ in range(6 if person.age > OLD_ABOVE else 12):
        vertices = asset.smoothing @ vertices
    vertices = _align(_shorten_face(vertices, person, asset), asset)
    vertices = _reshape_features(vertices, person, asset)
    _fill_ear_canals(vertices, asset)
    if person.hair_style in HANGING:
        _flatten_ears(vertices, asset)
    _close_neck(vertices, person, asset)
    vertices = vertices.astype(np.float32)
    eyes = measure_eyes(vertices, asset.eye_vertices, asset.lid_points)
    vertices = open_lids(vertices, person, eyes, asset.lid_points).astype(np.float32)
    return Shape(
        vertices=vertices,
        skin=asset.refinement @ vertices,
        eyes=measure_eyes(vertices, asset.eye_vertices, asset.lid_points),
    )


def _eye_means(vertices: np.ndarray, asset: Asset) -> np.ndarray:
    return np.array([vertices[ids].mean(0) for ids in asset.eye_vertices])


def _shorten_face(vertices: np.ndarray, person: Person, asset: Asset) -> np.ndarray:
    """Shorten the face below the eyes and narrow the jaw, the more the less male; a child's face is short and
    round."""
    below = np.minimum(vertices[:, 1] - _eye_means(vertices, asset)[:, 1].mean(), 0)
    vertices[:, 1] -= below * (0.13 - 0.03 * person.gender + 0.05 * person.is_child)
    narrow = 0.09 if person.is_child else 0.15 - 0.07 * person.gender
    vertices[:, 0] *= 1 - narrow * smoothstep(-0.15, -0.85, below)
    return vertices


def _align(vertices: np.ndarray, asset: Asset) -> np.ndarray:
    """Scale to one height from chin to crown, and move to the canonical chin and depth of the eyes."""
    eyes, chin = _eye_means(vertices, asset), vertices[asset.chin, 1]
    scale = (TOP - CHIN) / (vertices[asset.top, 1] - chin)
    return (vertices - [0, chin, eyes[:, 2].mean()]) * scale + [0, CHIN, EYE_CENTRE[2]]


def _reshape_features(vertices: np.ndarray, person: Person, asset: Asset) -> np.ndarray:
    """Enlarge the eyes with their lids and brows, shrink the nose a little, round the cranium."""
    grow = 1.02 + 0.10 * person.is_child - 0.06 * person.gender
    move = np.zeros_like(vertices)
    for centre in _eye_means(vertices, asset):
        offset = vertices - centre
        distance = (offset**2 * [1, 1, 0.6]).sum(1, keepdims=True)
        move += grow * np.exp(-distance / (2 * 0.255**2)) * offset * [0.85, 1.25, 0.45]
    vertices = vertices + move
    offset = vertices - np.array([0, 6.98, 1.5])
    shrink = (0.28 if person.is_child else 0.14) * np.exp(-(offset**2).sum(1, keepdims=True) / (2 * 0.16**2))
    vertices = vertices - shrink * offset * [1, 1, 0.7]
    up = smoothstep(7.4, 8.4, vertices[:, 1])[:, None]
    bare = person.hair_style in ("bald", "buzz", "receding")
    return vertices + up * (vertices - SKULL) * ([0.07, -0.12, 0.0] if bare else [0.035, 0.03, 0.03])


def _fill_ear_canals(vertices: np.ndarray, asset: Asset) -> None:
    """Make the ears' canals shallow, so that they are not black, and no hair is seen in them."""
    x, y, z = asset.base.T
    near = np.exp(-((y - 7.04) ** 2 + (z - 0.565) ** 2) / (2 * 0.06**2)) * smoothstep(0.76, 0.72, np.abs(x))
    vertices[:, 0] += 0.06 * near * np.sign(x) * (np.abs(x) > 0.5)


def _flatten_ears(vertices: np.ndarray, asset: Asset) -> None:
    """Press the ears to the head, for hair that hangs over them."""
    x, y, _ = asset.base.T
    ear = smoothstep(0.70, 0.76, np.abs(x)) * (y > 6.7) * (y < 7.5)
    vertices[:, 0] -= ear * np.sign(vertices[:, 0]) * np.maximum(np.abs(vertices[:, 0]) - 0.72, 0) * 0.8


def _close_neck(vertices: np.ndarray, person: Person, asset: Asset) -> None:
    """Make the neck slimmer, and end it in a rounded base that closes at a point."""
    _, y, z = asset.base.T
    neck = smoothstep(6.45, 6.1, y) * smoothstep(1.35, 1.0, z)
    vertices[:, [0, 2]] -= (neck * (0.28 if person.is_child else 0.20))[:, None] * (vertices - _NECK_AXIS)[:, [0, 2]]
    t = np.where(asset.is_rim, 1.0, np.clip((6.02 - y) / 0.25, 0, 1))
    low = y < 6.02
    vertices[low, 1] = 6.0 - 0.08 * t[low]
    vertices[low] += (_NECK_AXIS - vertices[low]) * [1, 0, 1] * (t[low, None] ** 2)
