"""Measures: what of a person can be said in a number, for edits with names (``train/directions.py``).

Weight and the sizes of eyes and nose are not among them: a small network reads them no better than by chance.
"""

from __future__ import annotations

from collections.abc import Callable

from train.data.people.identity import HAIR_COLOURS, Person

HAIR_LENGTHS = {
    "bald": 0.0, "receding": 0.1, "buzz": 0.1, "crop": 0.2, "part": 0.3, "quiff": 0.3, "pixie": 0.35, "knot": 0.4,
    "bun": 0.4, "curly": 0.45, "afro": 0.5, "bowl": 0.5, "puffs": 0.5, "spacebuns": 0.5, "bob": 0.7, "fringe_bob": 0.7,
    "pigtails": 0.8, "long": 1.0, "fringe_long": 1.0,
}  # fmt: skip
BEARD_AMOUNTS = {"none": 0.0, "stubble": 0.3, "moustache": 0.4, "goatee": 0.5, "short": 0.7, "full": 1.0}
SMILES = {"calm": 0.0, "wow": 0.1, "smirk": 0.3, "soft": 0.5, "smile": 0.8, "grin": 1.0}


def _lightness(colour: str) -> float:
    """Return the mean of a colour's three channels, in [0, 1]."""
    return sum(bytes.fromhex(colour[1:])) / (3 * 255)


def _redness(colour: str) -> float:
    """Return by how much red exceeds blue in a colour, in [−1, 1]."""
    red, _, blue = bytes.fromhex(colour[1:])
    return (red - blue) / 255


def _width(person: Person) -> float:
    """Return how much wider a head is than most, in [−1, 1]."""
    return person.targets.get("head-scale-horiz-incr", 0.0) - person.targets.get("head-scale-horiz-decr", 0.0)


MEASURES: dict[str, Callable[[Person], float]] = {
    "age": lambda person: person.age,
    "masculine": lambda person: person.gender,
    "skin_tone": lambda person: person.skin_tone,
    "hair_length": lambda person: HAIR_LENGTHS[person.hair_style],
    "hair_lightness": lambda person: _lightness(HAIR_COLOURS[person.hair_colour]),
    "beard": lambda person: BEARD_AMOUNTS[person.beard],
    "glasses": lambda person: float(person.glasses != "none"),
    "hat": lambda person: float(person.has_hat),
    "smile": lambda person: SMILES[person.expression],
    "face_width": _width,
}
HELD: dict[str, Callable[[Person], float]] = {  # that no edit is made of, and that edits leave alone
    "hair_redness": lambda person: _redness(HAIR_COLOURS[person.hair_colour]),
    "tied_hair": lambda person: float(person.hair_style in ("knot", "bun", "puffs", "spacebuns", "pigtails")),
    "curly_hair": lambda person: float(person.hair_style in ("curly", "afro", "puffs")),
    "fringe": lambda person: float(person.hair_style in ("bowl", "fringe_bob", "fringe_long")),
}
# units of what most people lack: half of what there can be; whoever has none cannot have less
RARE = {"beard": 0.5, "glasses": 0.5, "hat": 0.5}
