"""The registry of metrics: what each is called, what it needs and which of its numbers a table shows.

Each metric is a function of (model, seeds, truncation, context) that returns plain numbers, counts among them. Most
are general. A metric that needs a subject reads pictures with the subject's reader, or compares them with what is drawn
of the subject, and is refused for any other data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stylesdf.model import Generator
    from train.evaluation.subjects import Subject
    from train.evaluation.views import Context

NUM_SEEDS = 500
BETTER = ("higher", "lower", "nearer")
NETWORKS = ("inception", "mobilenet")  # whose weights are not part of the project
# a background is a subject's, or the one plain colour round the pictures of the data
NEEDS = ("data", "subject", "background", *NETWORKS)


@dataclass(frozen=True)
class Quantity:
    """One number of a metric's result, as the report's table shows it.

    Attributes:
        name: Its key in the result.
        text: What it is, for people.
        unit: ``"share"``, ``"degrees"``, ``"world units"`` or empty.
        better: ``"higher"``, ``"lower"``, or ``"nearer"`` to the reference.
        reference: Key of the number that the subject or the data itself reaches, or that number; None where there is
            none. A result without that key has no reference.
    """

    name: str
    text: str
    unit: str = ""
    better: str = "higher"
    reference: str | float | None = None

    def __post_init__(self) -> None:
        assert self.better in BETTER, self.better


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        name: Its name.
        quantities: What of its result the table shows; a function of the subject where that depends on it.
        measure: Function of (model, seeds, truncation, context) that returns a dictionary of numbers.
        module: Where it is defined.
        needs: Of ``NEEDS``.
        num_seeds: How many seeds it takes unless told otherwise.
        is_slow: Whether it takes many seconds a seed. One that does, or needs a network, is measured only when it is
            named.
    """

    name: str
    quantities: tuple[Quantity, ...] | Callable[[Subject], tuple[Quantity, ...]]
    measure: Callable[[Generator, Sequence[int], float, Context], dict[str, float]]
    module: str
    needs: tuple[str, ...] = ()
    num_seeds: int = NUM_SEEDS
    is_slow: bool = False

    def __post_init__(self) -> None:
        assert set(self.needs) <= set(NEEDS), self.needs

    @property
    def has_to_be_named(self) -> bool:
        return self.is_slow or not set(self.needs).isdisjoint(NETWORKS)

    def rows(self, subject: Subject | None) -> tuple[Quantity, ...]:
        """Return what the table shows of its result on a subject."""
        return self.quantities(subject) if callable(self.quantities) else self.quantities


METRICS: dict[str, Metric] = {}


def metric(
    name: str,
    *quantities: Quantity | Callable[[Subject], tuple[Quantity, ...]],
    needs: tuple[str, ...] = (),
    num_seeds: int = NUM_SEEDS,
    is_slow: bool = False,
):
    """Register the decorated function under a name; its quantities are given one by one, or as one function."""
    shown = quantities[0] if len(quantities) == 1 and callable(quantities[0]) else quantities

    def register(function):
        assert name not in METRICS, name
        METRICS[name] = Metric(name, shown, function, function.__module__, needs, num_seeds, is_slow)
        return function

    return register
