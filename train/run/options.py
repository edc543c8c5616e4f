"""What a run does beside its steps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """What a run does beside its steps. All of it may change when the run is continued; none of it changes a weight.

    Attributes:
        save_every: Steps between states; 0 saves only when the run ends or is stopped. None is a 400th of the run's
            steps, at least 200.
        keep: Newest states that are kept.
        log_every: Steps between lines of the log, which alarms are raised from; 0 logs nothing.
        grid_every: Steps between sample grids; 0 draws none. None is a 20th of the run's steps, at least 1000.
        stop_on_alarm: End the run, saved, at the first alarm.
        snapshot_every: Steps between models that are kept in ``snapshots/``; 0 keeps none.
        evaluate_every: Steps between evaluations; 0 evaluates nothing.
        evaluate_metrics: What is measured then, names of the registry; the first one's first number says which
            snapshot is the best.
        evaluate_seeds: Seeds that each of these metrics takes.
        profile: Steps that are profiled, after the first three of the command, into ``profile/``; 0 profiles none.

    Raises:
        ValueError: A negative number, no state to keep, fewer than 2 seeds, or an evaluation of nothing.
    """

    save_every: int | None = None
    keep: int = 2
    log_every: int = 20
    grid_every: int | None = None
    stop_on_alarm: bool = False
    snapshot_every: int = 0
    evaluate_every: int = 0
    evaluate_metrics: tuple[str, ...] = ()
    evaluate_seeds: int = 200
    profile: int = 0

    def __post_init__(self) -> None:
        for name in ("save_every", "log_every", "grid_every", "snapshot_every", "evaluate_every", "profile"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number of steps, or 0 for never")
        for name, least in (("keep", 1), ("evaluate_seeds", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if self.evaluate_every and not self.evaluate_metrics:
            raise ValueError(f"evaluate_every is {self.evaluate_every}, but evaluate_metrics names no metric")

    def for_steps(self, total_steps: int) -> RunOptions:
        """Return the options of a run of so many steps, in which no number is None."""
        usual = {"save_every": max(200, total_steps // 400), "grid_every": max(1000, total_steps // 20)}
        return dataclasses.replace(self, **{name: n for name, n in usual.items() if getattr(self, name) is None})


def is_due(step: int, every: int, is_last: bool = False) -> bool:
    """Return whether something that is done every so many steps, 0 for never, is due after a step.

    Args:
        step: Steps taken so far.
        every: Steps from one time to the next.
        is_last: Whether it is due after this step in any case.
    """
    return every > 0 and (is_last or step % every == 0)
