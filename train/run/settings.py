"""``settings.json``: what a run is. The same folder goes on with the same run only, or with a longer one."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from stylesdf.files import replacing
from stylesdf.version import __version__
from train.config import to_dict
from train.run.lineage import Origin
from train.run.state import read_values, step_of

log = logging.getLogger(__name__)
SETTINGS_FILE = "settings.json"
LENGTH = re.compile(r"steps|phases\.(\d+)\.steps")  # the settings that say how long a run is
ABSENT = "absent"
MOST_NAMED = 6  # differences in one message


def describe(stage, origin: Origin) -> dict:
    """Return what a run is, as its ``settings.json`` has it.

    Args:
        stage: One of ``train/stages``.
        origin: What it starts from.

    Returns:
        ``stage``, package ``version``, ``precision``, ``data`` (name and identity), ``initial`` model (name and SHA-256
        of its weights), ``card`` (what that of its model says about these), ``model`` (architecture), ``training``
        (settings of the stage), ``saved_as``: under which name the tensors of the average and of each discriminator
        are saved in the run's states, and ``built_as``: the ``config`` of those among the latter that have one.
    """
    discriminators = stage.discriminators()
    networks = {"model": stage.generator_ema, **discriminators}
    names = {kind: stage.state.name_of(module) for kind, module in networks.items()}
    values = {
        "stage": stage.name,
        "version": __version__,
        "precision": stage.engine.accelerator.mixed_precision,
        **origin.describe(),
        "model": stage.generator.config.to_dict(),
        "training": to_dict(stage.config),
        "saved_as": {kind: name for kind, name in names.items() if name is not None},
        "built_as": {kind: module.config for kind, module in discriminators.items() if hasattr(module, "config")},
    }
    return json.loads(json.dumps(values))  # tuples become lists, as in the file


def training_of(stage) -> dict[str, object]:
    """Return what the card of a stage's model says of its training: the stage, and the steps until now."""
    return {"stage": stage.name, "steps": stage.state.step}


def check_settings(current: dict, out: Path, state: Path | None) -> dict:
    """Hold a run against the settings in its folder.

    Args:
        current: Of the run that is to go on there, as ``describe`` returns them.
        out: Folder of the run.
        state: The state that it would go on from; None is none.

    Returns:
        The settings to keep: the current ones, with the version that the run was started with.

    Raises:
        ValueError: The folder holds another run; all that differs is named, with both values.
    """
    path = out / SETTINGS_FILE
    stored = _read(path)
    if stored is None and state is not None:
        stored = read_values(state)["settings"]
        log.warning("%s is missing or damaged, it is written anew from %s", path, state.name)
    if stored is None and path.exists():
        raise ValueError(f"{path} is damaged, and there is no state to go on from: choose another --out")
    if stored is None:
        return current
    differences = _differences(stored, current)
    refused = [each for each in differences if not _is_longer(each, stored, 0 if state is None else step_of(state))]
    if refused:
        raise ValueError(
            f"{out} holds a run with other settings: {_listed(refused)}; choose another --out, or the same settings"
        )
    if differences:
        log.info("training goes on for longer: %s", ", ".join(map(str, differences)))
    version = stored.get("version", ABSENT)
    if version != current["version"]:
        log.info("the run was started with version %s, this is %s", version, current["version"])
    return current | {"version": version}


def write_settings(settings: dict, out: Path) -> None:
    """Write the settings of a run, once its state has been taken, unless its folder has them."""
    path = out / SETTINGS_FILE
    stored = _read(path)
    if stored is None or _differences(stored, settings):
        with replacing(path) as partial:
            partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def check_finished(out: Path, current: dict) -> None:
    """Hold a finished run against the settings in its folder; one without them, of which nothing is known, passes.

    Args:
        out: Folder of the run.
        current: What it would be now, in parts of what ``describe`` returns; the others are not compared.

    Raises:
        ValueError: It was another run; all that differs is named, with both values.
    """
    stored = _read(out / SETTINGS_FILE)
    differences = [] if stored is None else _differences(stored, stored | json.loads(json.dumps(current)))
    if differences:
        raise ValueError(
            f"{out} was finished as another run: {_listed(differences)}; move it away, or choose another --out"
        )


def _listed(differences: list[Difference]) -> str:
    more = f" and {len(differences) - MOST_NAMED} more" if differences[MOST_NAMED:] else ""
    return ", ".join(map(str, differences[:MOST_NAMED])) + more


def _read(path: Path) -> dict | None:
    """Return the settings in a file; None where it is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return values if isinstance(values, dict) else None


@dataclass(frozen=True)
class Difference:
    """A setting that two runs do not share.

    Attributes:
        name: Of the setting, as ``--set`` takes it; those of the model start with ``model.``.
        old, new: Its values.
    """

    name: str
    old: object
    new: object

    def __str__(self) -> str:
        return f"{self.name} was {_shown(self.old)} and is {_shown(self.new)}"


def _differences(old: dict, new: dict) -> list[Difference]:
    found = [
        Difference(name, old.get(name, ABSENT), new.get(name, ABSENT))
        for name in ("stage", "precision")
        if old.get(name) != new.get(name)
    ]
    for name, key in (("data", "identity"), ("initial", "sha256")):
        ours, theirs = old.get(name) or {}, new.get(name) or {}
        if ours.get(key) != theirs.get(key):
            found.append(Difference(name, _source(ours, key), _source(theirs, key)))
    for part, prefix in (("training", ""), ("model", "model.")):
        ours, theirs = (flattened(values.get(part) or {}, prefix) for values in (old, new))
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name, ABSENT) != theirs.get(name, ABSENT):
                found.append(Difference(name, ours.get(name, ABSENT), theirs.get(name, ABSENT)))
    return found


def _source(about: dict, key: str) -> str:
    return f"{about['name'] or 'unnamed'} ({key} {about[key][:12] or 'unknown'})" if about else "none"


def flattened(values: dict | list, prefix: str = "") -> dict[str, object]:
    """Return nested settings by dotted names; a list of plain values is one value."""
    flat: dict[str, object] = {}
    for name, value in values.items() if isinstance(values, dict) else enumerate(values):
        is_nested = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
        flat |= flattened(value, f"{prefix}{name}.") if is_nested else {f"{prefix}{name}": value}
    return flat


def _is_longer(difference: Difference, stored: dict, step: int) -> bool:
    """Return whether a difference makes a run longer, and no phase that is over: their end would move.

    A phase is over where a later one has steps and the run has come to that.
    """
    match = LENGTH.fullmatch(difference.name)
    if match is None or not all(isinstance(value, int) for value in (difference.old, difference.new)):
        return False
    steps, index = [phase["steps"] for phase in stored.get("training", {}).get("phases", [])], int(match[1] or 0)
    is_over = any(steps[index + 1 :]) and sum(steps[: index + 1]) <= step
    return difference.new > difference.old and not (is_over and step > 0)


def _shown(value: object) -> str:
    return json.dumps(value) if not isinstance(value, str) else value
