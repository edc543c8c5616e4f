"""Settings from the command line: ``name=value``, where ``phases.0.steps`` and ``terms.view`` reach inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


def override(config, assignments: list[str]):
    """Return a config with ``name=value`` texts applied, all at once: settings that go together come in any order.

    A dot reaches into a config of its own, into a tuple of them by number, and into weights by name; a weight of
    ``none`` takes its term away.

    Raises:
        ValueError: An unknown name, a value of another type than the one it replaces, or one that the config refuses.
    """
    changes = []
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"setting {assignment!r} is not of the form name=value")
        changes.append((name.split("."), name, text))
    return _replace(config, changes)


Change = tuple[list[str], str, str]  # path from a config on, whole name, text


def _replace(config, changes: list[Change]):
    fields = {field.name: field.type for field in dataclasses.fields(config)}
    of_field: dict[str, list[Change]] = {}
    for (head, *rest), name, text in changes:
        if head not in fields:
            raise ValueError(f"unknown setting {name!r}, expected one of {', '.join(fields)}")
        of_field.setdefault(head, []).append((rest, name, text))
    new = {head: _changed(getattr(config, head), head, fields[head], some) for head, some in of_field.items()}
    return dataclasses.replace(config, **new)


def _changed(value, head: str, annotation: str, changes: list[Change]):
    """Return what becomes of a field."""
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return _replace_some(value, head, changes)
    is_config = dataclasses.is_dataclass(value)
    for rest, name, text in changes:
        if isinstance(value, Mapping):
            value = _reweigh(value, rest, name, text)
        elif bool(rest) != is_config:
            raise ValueError(f"unknown setting {name!r}, {head} {'has no parts' if rest else 'has parts: name one'}")
        elif not is_config:
            value = _parse(name, annotation, value, text)
    return _replace(value, changes) if is_config else value


def _replace_some(values: tuple, head: str, changes: list[Change]) -> tuple:
    of_value: dict[int, list[Change]] = {}
    for rest, name, text in changes:
        if len(rest) < 2 or not rest[0].isdecimal() or int(rest[0]) >= len(values):
            raise ValueError(f"unknown setting {name!r}, {head} are {head}.0.NAME to {head}.{len(values) - 1}.NAME")
        of_value.setdefault(int(rest[0]), []).append((rest[1:], name, text))
    return tuple(_replace(value, of_value.get(index, [])) for index, value in enumerate(values))


def _reweigh(weights: Mapping[str, float], rest: list[str], name: str, text: str) -> dict[str, float]:
    if len(rest) != 1:
        raise ValueError(f"unknown setting {name!r}, expected {name.split('.')[0]}.NAME of one term")
    if text.lower() == "none":
        if rest[0] not in weights:
            raise ValueError(f"{name} is not there to be taken away, expected one of {', '.join(weights)}")
        return {term: weight for term, weight in weights.items() if term != rest[0]}
    return {**weights, rest[0]: _parse(name, "float", 1.0, text)}


def _parse(name: str, annotation: str, old, text: str):
    """Read a value of an annotated type; ``none`` is None where that is allowed, else it or no text an empty tuple."""
    kind, _, optional = annotation.partition(" | ")
    readers = {"bool": {"true": True, "false": False}.__getitem__, "int": int, "float": float, "str": str}
    try:
        if optional and text.lower() == "none":
            return None
        if kind.startswith("tuple["):
            read = readers[kind[len("tuple[") : -len(", ...]")]]
            return () if text.lower() == "none" else tuple(read(item) for item in text.split(",") if item)
        return readers[kind](text.lower() if kind == "bool" else text)
    except (ValueError, KeyError):
        raise ValueError(f"setting {name} is {text!r}, expected a value like {show(old)}") from None


def show(value: object) -> str:
    """Return a value as ``--set`` takes it."""
    if isinstance(value, Mapping):
        return " ".join(f"{name}={show(each)}" for name, each in value.items()) or "none"
    if isinstance(value, (tuple, list)):
        return ",".join(map(show, value)) or "none"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
