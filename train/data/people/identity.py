"""Who a person is: age, colours, hair style, face and expression, drawn at random from a seed.

Percent of 10,000 sampled people (seed 0, shares of glasses and hats as by default); adult is between the other two, old
is an age above 0.7:

- Age: child 19.5, adult 50.2, old 30.3.
- Gender: male 50.5, female 49.5.
- Largest share of ancestry: african 32.6, asian 33.7, caucasian 33.6.
- Skin tone: 0–1.5 16.7, 1.5–3 17.2, 3–4.5 17.1, 4.5–6 16.5, 6–7.5 16.5, 7.5–9 16.0.
- Hair style: curly 8.9, crop 7.9, long 7.9, bob 7.2, part 7.2, quiff 6.7, buzz 6.0, afro 5.9, bun 5.0, fringe_bob
  4.9, pixie 4.5, fringe_long 4.5, bald 4.0, receding 3.5, knot 3.5, pigtails 3.2, bowl 3.2, puffs 3.1, spacebuns 2.9.
- Hair colour: black 22.9, espresso 17.1, white 13.2, brown 13.0, grey 12.7, chestnut 7.0, ginger 3.1, blond 3.0,
  auburn 2.5, dark blond 2.1, platinum 1.5, teal 1.1, pink 0.8.
- Eye colour: brown 38.6, dark 30.8, green 7.9, grey 7.8, hazel 7.5, blue 7.4.
- Beard: none 81.5, stubble 5.9, short 4.0, full 3.8, moustache 2.5, goatee 2.4.
- Glasses: none 94.0, round 3.1, square 2.9.
- Hat: no 94.2, yes 5.8.
- Expression: smile 32.6, soft 23.3, grin 19.7, calm 14.4, wow 5.0, smirk 4.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

ANCESTRIES, GENDERS, AGES = ("african", "asian", "caucasian"), ("female", "male"), ("child", "young", "old")
SKIN_TONES = (
    "#f5d1bc", "#f0c6ab", "#ebbb9b", "#e2ab86", "#d89e76", "#c58a62", "#ab7150", "#8f5a3e", "#754732", "#5c3728",
)  # fmt: skip
HAIR_COLOURS = {
    "black": "#1b1718",
    "espresso": "#2e1f1a",
    "brown": "#4c2f20",
    "chestnut": "#6b3d24",
    "auburn": "#8a3f1f",
    "ginger": "#c4622a",
    "dark blond": "#94703f",
    "blond": "#d0a85c",
    "platinum": "#e9d6a6",
    "grey": "#9b9a98",
    "white": "#cfccc7",
    "pink": "#e08aa5",
    "teal": "#2f8f92",
}
DARK_HAIR = {"black": 0.45, "espresso": 0.3, "brown": 0.17, "chestnut": 0.08}
FAIR_HAIR = {
    "espresso": 0.08,
    "brown": 0.2,
    "chestnut": 0.16,
    "auburn": 0.12,
    "ginger": 0.14,
    "dark blond": 0.1,
    "blond": 0.14,
    "platinum": 0.06,
}
EYE_COLOURS = {
    "dark": "#3b2213",
    "brown": "#6d401f",
    "hazel": "#8a6a2c",
    "green": "#5d8a4a",
    "blue": "#4a86b8",
    "grey": "#7f939e",
}
CLOTH_COLOURS = (
    "#e9564b", "#f2a33a", "#f4d35e", "#4fa37a", "#3b8ea5", "#3f5e9b",
    "#8d5fa8", "#e58fa8", "#f5efe6", "#3a3d46", "#7fb7be", "#b5543c",
)  # fmt: skip
GLASSES_COLOURS = ("#1d1b1e", "#5a3422", "#a8322f", "#20416b", "#c9a24a", "#2f5d50")
LIPSTICKS = ("#c23b4b", "#b5485f", "#a0324a", "#d1665f", "#c9746e", "#8e2f3f")
BEARDS = {"stubble": 0.3, "short": 0.22, "full": 0.22, "moustache": 0.13, "goatee": 0.13}
EXPRESSIONS = {"smile": 0.32, "grin": 0.20, "soft": 0.24, "calm": 0.14, "wow": 0.05, "smirk": 0.05}
UNDER_HATS = ("buzz", "crop", "bald", "bob", "long", "pixie", "receding")  # hair styles that a hat fits over
HANGING = ("bob", "fringe_bob", "long", "fringe_long", "bowl")  # hair styles that cover the ears
CHILD_BELOW, OLD_ABOVE = 0.27, 0.7
MAX_GAZE_DEG = 8.0

_TONE_QUANTILES = (0.0, 1.67, 2.22, 2.66, 3.05, 3.41, 3.78, 4.19, 4.66, 5.22, 5.86, 6.75, 9.2)  # of what ancestry gives
_HEAD_SHAPES = ("oval", "round", "square", "rectangular", "triangular", "invertedtriangular", "diamond")
_ASYMMETRIES = ("brown-1", "brown-2", "cheek-1", "ear-1", "jaw-1", "mouth-1", "nose-1", "nose-3", "temple-1")


class _Variation(NamedTuple):
    """A pair of opposite targets, one of which gets the size of a normal draw; ``?`` stands for both sides."""

    minus: str
    plus: str
    std: float = 0.4
    mean: float = 0.0
    mean_asian: float = 0.0  # added to the mean times the share of that ancestry
    mean_old: float = 0.0  # added to the mean of the old


_VARIATIONS = (
    _Variation("head-fat-decr", "head-fat-incr", 0.35, 0.1),
    _Variation("head-scale-horiz-decr", "head-scale-horiz-incr"),
    _Variation("?-eye-trans-down", "?-eye-trans-up", 0.3, -0.15),
    _Variation("?-eye-trans-in", "?-eye-trans-out", 0.35),
    _Variation("?-eye-height2-decr", "?-eye-height2-incr", 0.3, 0.5),
    _Variation("?-eye-corner1-down", "?-eye-corner1-up"),
    _Variation("", "?-eye-epicanthus-in", 0.15, -0.1, mean_asian=0.35),
    _Variation("?-eye-bag-decr", "?-eye-bag-incr", 0.15, -0.5, mean_old=0.5),
    _Variation("?-ear-scale-decr", "?-ear-scale-incr"),
    _Variation("?-ear-wing-decr", "?-ear-wing-incr"),
    _Variation("nose-curve-convex", "nose-curve-concave", 0.4, 0.15),
    _Variation("nose-flaring-decr", "nose-flaring-incr", 0.35),
    _Variation("nose-point-down", "nose-point-up", 0.4, 0.2),
    _Variation("nose-point-width-decr", "nose-point-width-incr"),
    _Variation("nose-scale-depth-decr", "nose-scale-depth-incr"),
    _Variation("nose-scale-horiz-decr", "nose-scale-horiz-incr", 0.35),
    _Variation("nose-scale-vert-decr", "nose-scale-vert-incr", 0.4, -0.15),
    _Variation("nose-volume-decr", "nose-volume-incr", 0.4, 0.1),
    _Variation("", "nose-hump-incr", 0.25, -0.1),
    _Variation("mouth-lowerlip-volume-decr", "mouth-lowerlip-volume-incr"),
    _Variation("mouth-upperlip-volume-decr", "mouth-upperlip-volume-incr"),
    _Variation("mouth-scale-horiz-decr", "mouth-scale-horiz-incr", 0.4, 0.1),
    _Variation("mouth-trans-down", "mouth-trans-up", 0.3),
    _Variation("mouth-cupidsbow-decr", "mouth-cupidsbow-incr"),
    _Variation("chin-height-decr", "chin-height-incr", 0.35, -0.2),
    _Variation("chin-width-decr", "chin-width-incr"),
    _Variation("chin-prominent-decr", "chin-prominent-incr", 0.35),
    _Variation("", "chin-cleft-incr", 0.4, -0.3),
    _Variation("?-cheek-bones-decr", "?-cheek-bones-incr"),
    _Variation("?-cheek-volume-decr", "?-cheek-volume-incr", 0.35, 0.2),
    _Variation("forehead-scale-vert-decr", "forehead-scale-vert-incr", 0.3),
    _Variation("eyebrows-angle-down", "eyebrows-angle-up", 0.15),
    _Variation("eyebrows-trans-down", "eyebrows-trans-up", 0.3),
)


class Stream(IntEnum):
    """Independent random streams of a person, so that a draw more in one leaves the others as they are."""

    HAIR = 0
    HAIRLINE = 1
    HAT = 2
    CLOTHES = 3
    GLASSES = 4
    OUTFIT = 5
    SKIN = 6
    BROWS = 7
    LIPS = 8
    LASHES = 9


@dataclass(frozen=True)
class Person:
    """Everything that a head is built and painted from.

    Attributes:
        texture_seed: Seed of what is drawn while it is built: locks, freckles, cloth.
        gender: From 0, female, to 1, male.
        age: 0 a child, 0.5 young, 1 old.
        weight: 0 thin, 1 fat.
        ancestry: Shares of ``ANCESTRIES``; their sum is 1.
        skin_tone: Position in ``SKIN_TONES``, from 0 to 9.
        hair_style: See ``hair.py``.
        hair_colour: Of ``HAIR_COLOURS``.
        eye_colour: Of ``EYE_COLOURS``.
        beard: Of ``BEARDS``, or ``none``.
        glasses: ``round``, ``square`` or ``none``.
        has_hat: Whether a knitted cap is worn.
        expression: Of ``EXPRESSIONS``; a ``grin`` shows teeth.
        gaze: Yaw and pitch of the eyes, radians: positive towards +x, and up.
        targets: Weights of the asset's morph targets for face and expression, by name.
    """

    texture_seed: int
    gender: float
    age: float
    weight: float
    ancestry: tuple[float, float, float]
    skin_tone: float
    hair_style: str
    hair_colour: str
    eye_colour: str
    beard: str
    glasses: str
    has_hat: bool
    expression: str
    gaze: tuple[float, float]
    targets: Mapping[str, float]

    @property
    def is_child(self) -> bool:
        return self.age < CHILD_BELOW

    def random(self, stream: Stream) -> np.random.Generator:
        """Return one of the person's random streams, from its start."""
        return np.random.default_rng([stream, self.texture_seed])


def sample_person(index: int, seed: int = 0, glasses_share: float = 0.06, hat_share: float = 0.06) -> Person:
    """Draw person number ``index`` of the data set ``seed``; it depends on nothing else.

    Args:
        index: Number of the person, from 0.
        seed: Seed of the data set, from 0.
        glasses_share: Probability of glasses, in [0, 1].
        hat_share: Probability of a hat, in [0, 1]; a hat goes with hair styles of ``UNDER_HATS`` only.

    Returns:
        The person.

    Raises:
        ValueError: A number is negative.
    """
    if index < 0 or seed < 0:
        raise ValueError(f"index and seed must not be negative, got {index} and {seed}")
    rng = np.random.default_rng([seed, index])
    texture_seed = int(rng.integers(2**31))
    is_male = rng.random() < 0.5
    gender = float(np.clip(rng.normal(0.92 if is_male else 0.06, 0.08), 0, 1))
    ages = (rng.uniform(0.0, 0.16), rng.uniform(0.38, 0.68), rng.uniform(0.74, 1.0))
    age = float(rng.choice(ages, p=[0.2, 0.5, 0.3]))
    weight = float(np.clip(rng.normal(0.5, 0.18), 0, 1))
    ancestry = tuple(float(share) for share in rng.dirichlet([0.45] * 3))
    skin_tone, hair_colour, eye_colour = _sample_colours(rng, age, ancestry)
    has_hat = bool(rng.random() < hat_share)
    styles = _style_weights(is_male, age, ancestry[0])
    hair_style = _choose(rng, {name: w for name, w in styles.items() if not has_hat or name in UNDER_HATS})
    can_grow_beard = is_male and age > 0.42
    beard = _choose(rng, BEARDS) if can_grow_beard and rng.random() < 0.5 else "none"
    glasses = str(rng.choice(["round", "square"])) if rng.random() < glasses_share else "none"
    targets = _sample_face(rng, ancestry[1], age > OLD_ABOVE)
    expression = _choose(rng, EXPRESSIONS)
    targets |= _sample_expression(rng, expression)
    gaze = tuple(float(angle) for angle in rng.uniform(-1, 1, 2) * np.radians([MAX_GAZE_DEG, 0.4 * MAX_GAZE_DEG]))
    return Person(
        texture_seed=texture_seed,
        gender=gender,
        age=age,
        weight=weight,
        ancestry=ancestry,
        skin_tone=skin_tone,
        hair_style=hair_style,
        hair_colour=hair_colour,
        eye_colour=eye_colour,
        beard=beard,
        glasses=glasses,
        has_hat=has_hat,
        expression=expression,
        gaze=gaze,
        targets=targets,
    )


def _choose(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    shares = np.array(list(weights.values()), float)
    return str(rng.choice(list(weights), p=shares / shares.sum()))


def _sample_colours(rng: np.random.Generator, age: float, ancestry: tuple[float, ...]) -> tuple[float, str, str]:
    """Draw the tone of the skin and the colours of hair and eyes."""
    african, asian, caucasian = ancestry
    tone = african * rng.uniform(5.6, 9.2) + asian * rng.uniform(1.0, 4.6) + caucasian * rng.uniform(0, 3.6)
    tone = np.interp(tone, _TONE_QUANTILES, np.linspace(0, 9, len(_TONE_QUANTILES)))  # all tones are as frequent
    is_dark = african + asian > rng.random() or tone > 6
    if age > 0.72 and rng.random() < 0.85:
        hair = str(rng.choice(["grey", "white"]))
    elif rng.random() < 0.03:
        hair = str(rng.choice(["pink", "teal"]))
    else:
        hair = _choose(rng, DARK_HAIR if is_dark else FAIR_HAIR)
    colours = list(EYE_COLOURS)
    eye = str(rng.choice(colours[:2] if is_dark and rng.random() < 0.85 else colours[1:]))
    return float(tone), hair, eye


def _style_weights(is_male: bool, age: float, african: float) -> dict[str, float]:
    """Return relative frequencies of hair styles."""
    child, old = age < CHILD_BELOW, age > OLD_ABOVE
    playful = 0.25 if old else 1.0
    if is_male:
        return {
            "buzz": 1.2,
            "part": 1.7,
            "quiff": 1.5,
            "crop": 1.5,
            "curly": 1.1,
            "bald": 0.0 if child else 0.75 + 1.2 * old,
            "afro": 0.4 + 1.4 * african,
            "bowl": 0.5 + 1.2 * child,
            "knot": 0.5,
            "long": 0.25,
            "receding": 0.15 * (age > 0.5) + 3.0 * old,
        }
    return {
        "bob": 1.7,
        "fringe_bob": 1.4,
        "long": 1.6,
        "fringe_long": 1.2,
        "bun": 1.2 + 0.6 * old,
        "pixie": 1.1,
        "curly": 1.0,
        "afro": 0.2 + 1.4 * african,
        "puffs": (0.6 + 1.2 * african + 0.7 * child) * playful,
        "pigtails": (0.7 + 2.1 * child) * playful,
        "spacebuns": 1.2 * playful,
        "knot": 0.4,
    }


def _sample_face(rng: np.random.Generator, asian: float, is_old: bool) -> dict[str, float]:
    """Draw the weights of the targets for head, eyes, ears, nose, mouth, chin, cheeks and asymmetry."""
    targets: dict[str, float] = {}
    for shape in _HEAD_SHAPES:
        if rng.random() < (0.12 if shape in ("square", "rectangular") else 0.25):
            targets[f"head-{shape}"] = float(rng.uniform(0.1, 0.3 if shape in ("triangular", "diamond") else 0.5))
    for variation in _VARIATIONS:
        mean = variation.mean + variation.mean_asian * asian + variation.mean_old * is_old
        value = float(np.clip(rng.normal(mean, variation.std), -1, 1))
        name = variation.plus if value > 0 else variation.minus
        if name:
            for side in ("l", "r") if "?" in name else ("",):
                targets[name.replace("?", side)] = abs(value)
    for place in _ASYMMETRIES:
        for side in ("l", "r"):
            if rng.random() < 0.18:
                targets[f"asym-{place}-{side}"] = float(rng.uniform(0.1, 0.35))
    return targets


def _sample_expression(rng: np.random.Generator, expression: str) -> dict[str, float]:
    """Draw the weights of the targets for an expression."""
    targets: dict[str, float] = {}
    if expression == "smile":
        targets |= {"mouth-corner-puller": rng.uniform(0.9, 1.2), "mouth-angles-up": 0.6}
    elif expression == "grin":
        targets |= {"mouth-corner-puller": rng.uniform(0.75, 1.0), "mouth-angles-up": 0.5}
        targets |= {"mouth-open": rng.uniform(0.28, 0.40), "mouth-scale-horiz-incr": 0.5}
    elif expression == "soft":
        targets |= {"mouth-corner-puller": rng.uniform(0.5, 0.75), "mouth-angles-up": 0.5}
    elif expression == "smirk":
        targets |= {"asym-mouth-1-l": 0.6, "mouth-corner-puller": 0.45, "eyebrows-left-up": 0.5}
    elif expression == "wow":
        targets |= {"eyebrows-left-up": 0.6, "eyebrows-right-up": 0.6, "mouth-angles-up": 0.4}
    else:
        targets |= {"mouth-angles-up": 0.5, "mouth-corner-puller": 0.35}
    return targets
