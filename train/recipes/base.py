"""What a recipe is: a model's architecture, its data, and the runs that lead to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from stylesdf.config import StyleSDFConfig
from train.config import STAGE_OF, Settings


@dataclass(frozen=True)
class Run:
    """One run of one stage.

    Attributes:
        name: Of the run's folder.
        settings: Of the stage, whose kind says which stage it is.
        start: Name of the earlier run whose model, discriminators and encoder it goes on with; None starts from
            nothing.
    """

    name: str
    settings: Settings
    start: str | None = None

    @property
    def stage(self) -> str:
        return STAGE_OF[type(self.settings)]


@dataclass(frozen=True)
class Recipe:
    """From nothing to a finished model.

    Attributes:
        name: As ``python -m train run`` takes it.
        data: As ``--data`` takes it; None has to be told.
        model: Architecture, with its decoder.
        runs: In order; the last one's model is the result.
        about: Markdown for the model card: what the model shows and where its data comes from.
        limits: Markdown for the model card: what it cannot do.
        licence: Of the model, the hub's identifier; None is apache-2.0 for pictures that the project draws, else other.
        reading: Options of its command that say which pictures it takes, by name, as ``{"label": "label=cat"}``.
        size: Name of this variant, as ``--size`` takes it; None is the default variant.
        seed: Added to every run's.

    Raises:
        ValueError: Two runs of one name, or a run that starts from none before it.
    """

    name: str
    data: str | None
    model: StyleSDFConfig
    runs: tuple[Run, ...]
    about: str
    limits: str
    licence: str | None = None
    reading: Mapping[str, object] = field(default_factory=dict)
    size: str | None = None
    seed: int = 0

    @property
    def command(self) -> str:
        """What does it, but for pictures of one's own."""
        size = "" if self.size is None else f" --size {self.size}"
        return f"python -m train run {self.name}{size}" + (f" --seed {self.seed}" if self.seed else "")

    def __post_init__(self) -> None:
        earlier: set[str] = set()
        for run in self.runs:
            if run.name in earlier:
                raise ValueError(f"recipe {self.name} has two runs named {run.name!r}")
            if run.start is not None and run.start not in earlier:
                raise ValueError(f"run {run.name!r} of {self.name} starts from {run.start!r}, which no earlier run is")
            earlier.add(run.name)

    def with_seed(self, seed: int) -> Recipe:
        """Return the same recipe with another seed in every run; 0 is the recipe as it is.

        Raises:
            ValueError: A run's seed is then not one from 0 to 2³² − 1.
        """
        runs = [
            dataclasses.replace(run, settings=dataclasses.replace(run.settings, seed=run.settings.seed + seed))
            for run in self.runs
        ]
        return dataclasses.replace(self, runs=tuple(runs), seed=self.seed + seed)
