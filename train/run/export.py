"""A model from any saved state of a run, whether it is finished or not."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from stylesdf.card import CardFacts
from stylesdf.checkpoint import NETWORK_FILES
from stylesdf.config import StyleSDFConfig
from stylesdf.model import Generator
from train.pretrained import PretrainedGenerator
from train.run.card import run_facts
from train.run.lineage import Origin, finished_model, weights_hash, write_model
from train.run.state import find_damage, newest_intact, read_tensors, read_values, saved_steps, step_of


def export(run: Path, out: Path | None = None, step: int | None = None) -> tuple[Path, int]:
    """Write the model of a saved state as the run itself does at its end.

    Args:
        run: Folder of the run.
        out: Folder for the model; None is the run's ``model``.
        step: Of the state; None takes the newest intact one.

    Returns:
        The folder of the model and the step.

    Raises:
        ValueError: There is no such state, it is damaged, or what the run started from and hands on is not there.
    """
    state, folder = _find(run, step), run / "model" if out is None else out
    settings = read_values(state)["settings"]
    initial = _initial(run, settings["initial"])
    names = settings["saved_as"]
    average = Generator(StyleSDFConfig.from_dict(settings["model"]))
    average.load_state_dict(read_tensors(state, names["model"]))
    if initial is not None and weights_hash(average) == settings["initial"]["sha256"]:
        average = initial  # the run has trained nothing of it: its directions go with it again
    trained = {
        kind: _Tensors(read_tensors(state, name), settings.get("built_as", {}).get(kind))
        for kind, name in names.items()
        if kind in NETWORK_FILES
    }
    stage = settings["stage"]
    # earlier versions kept nothing about the card
    facts = CardFacts(**settings["card"]) if "card" in settings else run_facts(f"stage `{stage}`", initial=initial)
    training = {"stage": stage, "steps": step_of(state)}
    write_model(finished_model(average, initial), folder, trained, Origin(initial=initial, facts=facts), training)
    return folder, step_of(state)


def _find(run: Path, step: int | None) -> Path:
    states = {step_of(state): state for state in saved_steps(run / "state")}
    if not states:
        raise ValueError(f"{run} has no saved state, expected the folder of a run")
    if step is None:
        return newest_intact(run / "state")
    if step not in states:
        raise ValueError(f"step is {step}, expected one of {', '.join(map(str, states))}, of which there are states")
    problem = find_damage(states[step])
    if problem is not None:
        raise ValueError(f"{states[step]} is damaged ({problem}), expected an intact state")
    return states[step]


def _initial(run: Path, about: dict | None) -> PretrainedGenerator | None:
    """Return the model that a run started from, by what its settings say about it."""
    if about is None or not about["name"]:
        return None
    try:
        initial = PretrainedGenerator.from_pretrained(about["name"])
    except (ValueError, OSError) as error:
        raise ValueError(f"{run} started from {about['name']}, which is needed to go with it: {error}") from None
    if weights_hash(initial) != about["sha256"]:
        raise ValueError(f"{run} started from {about['name']}, which has other weights now, so it cannot go with it")
    return initial


class _Tensors(nn.Module):
    """Tensors by name and how their network is built, as a network that is to be saved."""

    def __init__(self, tensors: dict, config: dict | None) -> None:
        super().__init__()
        self._tensors, self.config = tensors, config

    def state_dict(self, *arguments, **options) -> dict:
        return self._tensors
