"""What goes wrong in such runs, noticed from the logged terms (what they mean and what helps: train/README.md).

Each check is a function of a window of records, oldest first, that returns one sentence or None.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

WINDOW = 25  # records
BETA_CONVERGED = 0.003  # where the paper's models end, world units
Record = dict[str, float]


def one_signed(window: Sequence[Record]) -> str | None:
    """The signed distance has one sign: everything is empty or everything is solid. Healthy is 3–12 % inside."""
    inside = _column(window, "inside")
    if inside and max(inside) < 1e-4:
        return (
            "nothing is solid any more (share of samples inside: 0): "
            "lower terms.minimal_surface or game.learning_rate, or raise terms.sphere_anchor"
        )
    if inside and min(inside) > 0.8:
        return (
            f"everything is solid (share of samples inside: {inside[-1]:.2f}): "
            "set terms.bounds=10, or lower game.learning_rate"
        )
    return None


def stalled_beta(window: Sequence[Record]) -> str | None:
    """β no longer falls although it is far from where published models end; needs records over a tenth of the run."""
    beta = _column(window, "beta")
    if beta and window[0].get("progress", 0.0) > 0.2 and beta[-1] > BETA_CONVERGED and beta[-1] > 0.98 * beta[0]:
        return (
            f"beta stalls at {beta[-1]:.4g} (published models end below {BETA_CONVERGED:g}): "
            "raise r1_gamma, lower terms.minimal_surface, or set beta_end"
        )
    return None


def collapsed_variety(window: Sequence[Record]) -> str | None:
    """The pictures of a batch are nearly the same."""
    variety = _column(window, "variety")
    if variety and max(variety) < 0.02:
        return (
            f"the pictures of a batch hardly differ (deviation {variety[-1]:.3f} in [-1, 1]): "
            "export an earlier state and start from it with game.use_relativistic_loss=true or a higher r1_gamma"
        )
    return None


def overwhelmed_generator(window: Sequence[Record]) -> str | None:
    """The discriminator is always right and the generator gets no useful gradient."""
    d_loss, g_loss = _column(window, "d_loss"), _column(window, "g_loss")
    if d_loss and g_loss and max(d_loss) < 0.05 and min(g_loss) > 5.0:
        return (
            f"the discriminator is always right (its loss {d_loss[-1]:.3f}, the generator's {g_loss[-1]:.1f}): "
            "raise r1_gamma, lower game.discriminator_learning_rate, or augment a small data set"
        )
    return None


CHECKS: dict[str, Callable[[Sequence[Record]], str | None]] = {
    "one-signed": one_signed,
    "stalled-beta": stalled_beta,
    "collapsed-variety": collapsed_variety,
    "overwhelmed-generator": overwhelmed_generator,
}


class Alarms:
    """Watch a run: every logged record goes in, and a sentence comes out when something has gone wrong.

    Args:
        total_steps: Of the run.
        log_every: Steps between records; 0 where there are none.
    """

    def __init__(self, total_steps: int, log_every: int) -> None:
        self._total = max(total_steps, 1)
        self._window: deque[Record] = deque(maxlen=WINDOW)
        self._long: deque[Record] = deque(maxlen=max(WINDOW, self._total // (10 * max(log_every, 1))))
        self._raised: set[str] = set()

    def update(self, step: int, record: Record) -> dict[str, str]:
        """Take a record in; return new alarms by name. One that goes on is not said again until it has gone away."""
        record = {**record, "progress": step / self._total}
        self._window.append(record)
        self._long.append(record)
        new = {}
        for name, check in CHECKS.items():
            window = self._long if check is stalled_beta else self._window
            sentence = check(window) if len(window) == window.maxlen else None
            if sentence is None:
                self._raised.discard(name)
            elif name not in self._raised:
                self._raised.add(name)
                new[name] = sentence
        return new


def _column(window: Sequence[Record], name: str) -> list[float]:
    """A term over the window; nothing where a record lacks it (the generator is frozen, say)."""
    values = [record[name] for record in window if name in record]
    return values if len(values) == len(window) else []
