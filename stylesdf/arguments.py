"""The only reader and checker of seeds, truncations, sizes and numbers that people give."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from stylesdf.config import shown

MAX_SEED = 2**32 - 1
MAX_SEEDS = 10_000  # that one text may ask for
MAX_FRAMES = 10_000


def check_seed(seed: int) -> int:
    """Return the seed as a plain integer.

    Raises:
        ValueError: It is not an integer from 0 to 2³² − 1; booleans and floats are not integers.
    """
    return check_integer("seed", seed, 0, MAX_SEED)


def check_integer(name: str, value: int, lowest: int, highest: int) -> int:
    """Return an integer as a plain one, also of NumPy or of a tensor with one element.

    Args:
        name: What the message calls it.
        value: What was given.
        lowest: The least that is allowed.
        highest: The most.

    Raises:
        ValueError: It is not an integer in that range; booleans and floats are not integers.
    """
    try:
        number = None if _is_bool(value) else operator.index(value)
    except (TypeError, RuntimeError):
        number = None
    if number is None or not lowest <= number <= highest:
        raise ValueError(f"{name} is {shown(value)}, expected an integer from {lowest} to {highest}")
    return number


def check_seeds(seeds: int | Iterable[int]) -> list[int]:
    """Return one or several seeds as a list of plain integers.

    Raises:
        ValueError: One of them is not a seed.
    """
    is_one = isinstance(seeds, (str, bytes)) or not isinstance(seeds, Iterable) or getattr(seeds, "ndim", 1) == 0
    return [check_seed(seeds)] if is_one else [check_seed(seed) for seed in seeds]


def check_truncation(truncation: float) -> float:
    """Return the truncation as a float.

    Raises:
        ValueError: It is not a number in [0, 1].
    """
    value = check_number("truncation", truncation)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"truncation is {shown(truncation)}, expected a number from 0 to 1")
    return value


def check_num_frames(num_frames: int, lowest: int = 1) -> int:
    """Return the number of frames.

    Raises:
        ValueError: It is not an integer from ``lowest`` to 10,000.
    """
    return check_integer("num_frames", num_frames, lowest, MAX_FRAMES)


def parse_seeds(text: str) -> list[int]:
    """Read seeds from text: numbers and ranges with both ends, separated by commas or spaces, as in ``"0-3, 7"``.

    Args:
        text: The numbers, each from 0 to 2³² − 1.

    Raises:
        ValueError: Not such a text, a range that runs backwards, no seed, or more than 10,000.
    """
    joined = "-".join(piece.strip() for piece in text.split("-")) if isinstance(text, str) else ""
    seeds: list[int] = []
    for part in joined.replace(",", " ").split() or [""]:
        first, dash, last = part.partition("-")
        if not (_is_digits(first) and (_is_digits(last) if dash else True)):
            raise ValueError(f"seeds are {shown(text)}, expected integers from 0 to {MAX_SEED} and ranges as in 0-3,7")
        start = check_seed(int(first))
        stop = check_seed(int(last)) if dash else start
        if stop < start:
            raise ValueError(f"the range of seeds {part} runs backwards, expected {stop}-{start}")
        if len(seeds) + stop - start + 1 > MAX_SEEDS:
            raise ValueError(f"seeds {shown(text)} are more than {MAX_SEEDS}, expected no more")
        seeds.extend(range(start, stop + 1))
    return seeds


def parse_seed(text: str) -> int:
    """Read one seed from text.

    Raises:
        ValueError: Not an integer from 0 to 2³² − 1.
    """
    return check_seed(int(text) if _is_digits(text) else text)


def parse_edits(text: str) -> dict[str, float]:
    """Read edits from text: names with amounts, separated by commas, as in ``"age=1.5,hat=1"``.

    Args:
        text: Empty is none.

    Raises:
        ValueError: Not such a text, or a name twice.
    """
    edits: dict[str, float] = {}
    for part in text.split(",") if isinstance(text, str) and text.strip() else []:
        name, equals, amount = (piece.strip() for piece in part.partition("="))
        try:
            number = check_number(name, float(amount))
        except ValueError:
            number = None
        if not (name and equals) or number is None or name in edits:
            raise ValueError(f"edits are {shown(text)}, expected names with amounts, each once, as in age=1.5,hat=1")
        edits[name] = number
    return edits


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def check_number(name: str, value: float) -> float:
    """Return a number as a float.

    Args:
        name: What the message calls it.
        value: What was given.

    Raises:
        ValueError: It is not a finite number; booleans and texts are not numbers.
    """
    try:
        number = math.nan if isinstance(value, (str, bytes)) or _is_bool(value) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is {shown(value)}, expected a finite number")
    return number


def _is_bool(value: object) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")  # of NumPy, a tensor


def check_per_seed(name: str, value: float | Sequence[float], num_seeds: int) -> list[float]:
    """Return numbers, one per seed, where one for all or one per seed was given.

    Raises:
        ValueError: Another number of them, or one that is not a finite number.
    """
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return [check_number(name, value)] * num_seeds
    if len(value) != num_seeds:
        raise ValueError(f"{name} has {len(value)} values for {num_seeds} seeds, expected one for all or one per seed")
    return [check_number(name, item) for item in value]
