"""Settings from the command line: ``name=value``, where ``phases.0.steps`` and ``terms.view`` reach inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


def override(config, assignments: list[str]):
    """Return a config with ``name=value`` texts applied.

    A dot reaches into a config of its own, into a tuple of them by number, and into weights by name; a weight of
    ``none`` takes its term away.

    Raises:
        ValueError: An unknown name, or a value of another type than the one it replaces.
    """
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"setting {assignment!r} is not of the form name=value")
        config = _replace(config, name.split("."), name, text)
    return config


def _replace(config, path: list[str], name: str, text: str):
    head, rest = path[0], path[1:]
    fields = {field.name: field.type for field in dataclasses.fields(config)}
    if head not in fields:
        raise ValueError(f"unknown setting {name!r}, expected one of {', '.join(fields)}")
    value = getattr(config, head)
    if isinstance(value, Mapping):
        new = _reweigh(value, rest, name, text)
    elif dataclasses.is_dataclass(value) and rest:
        new = _replace(value, rest, name, text)
    elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        new = _replace_one(value, head, rest, name, text)
    elif rest or dataclasses.is_dataclass(value):
        raise ValueError(f"unknown setting {name!r}, {head} {'has no parts' if rest else 'has parts: name one'}")
    else:
        new = _parse(name, fields[head], value, text)
    return dataclasses.replace(config, **{head: new})


def _replace_one(values: tuple, head: str, rest: list[str], name: str, text: str) -> tuple:
    if len(rest) < 2 or not rest[0].isdecimal() or int(rest[0]) >= len(values):
        raise ValueError(f"unknown setting {name!r}, {head} are {head}.0.NAME to {head}.{len(values) - 1}.NAME")
    index = int(rest[0])
    return (*values[:index], _replace(values[index], rest[1:], name, text), *values[index + 1 :])


def _reweigh(weights: Mapping[str, float], rest: list[str], name: str, text: str) -> dict[str, float]:
    if len(rest) != 1:
        raise ValueError(f"unknown setting {name!r}, expected {name.split('.')[0]}.NAME of one term")
    if text.lower() == "none":
        if rest[0] not in weights:
            raise ValueError(f"{name} is not there to be taken away, expected one of {', '.join(weights)}")
        return {term: weight for term, weight in weights.items() if term != rest[0]}
    return {**weights, rest[0]: _parse(name, "float", 1.0, text)}


def _parse(name: str, annotation: str, old, text: str):
    """Read a value of an annotated type; an empty text is an empty tuple, ``none`` is None where that is allowed."""
    kind, _, optional = annotation.partition(" | ")
    readers = {"bool": {"true": True, "false": False}.__getitem__, "int": int, "float": float, "str": str}
    try:
        if optional and text.lower() == "none":
            return None
        if kind.startswith("tuple["):
            read = readers[kind[len("tuple[") : -len(", ...]")]]
            return tuple(read(item) for item in text.split(",") if item)
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
    if value is dataclasses.MISSING:
        return "required"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
