"""What every source of pictures gives: pictures that are still encoded, each with a name and what is known of it."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from train.data.labels import METADATA_FILES, LabelError, key_of, rows_of
from train.data.listing import Listing

DRAWN_KINDS = {"toy_heads": "toy-heads", "people": "people"}  # as KIND.json of a drawn data set names its kind: subject
Label = tuple[str, str]


@dataclass(frozen=True)
class Item:
    """One encoded picture.

    Attributes:
        name: To report it by.
        open: Returns its file.
        row: What is known of it, ``yaw`` and ``pitch`` in radians among it where poses are known.
    """

    name: str
    open: Callable[[], io.BufferedIOBase]
    row: dict


@dataclass(frozen=True)
class Source:
    """Pictures that have not been decoded yet.

    Attributes:
        name: For people.
        identity: JSON-able; another content has another one.
        items: Starts from the first picture at every call. A stream that breaks off is a RunError.
        subject: What a drawn data set shows, a value of ``DRAWN_KINDS``; empty for any other.
        fov_deg: Field of view at which it was drawn, degrees; None for any other.
        options: It was drawn with, as its KIND.json tells them; empty for any other.
        left_out: By the reason, names of files that are not among the items.
        notes: What else people should know, a line each.
        count: Pictures, where it is known before they are read.
    """

    name: str
    identity: dict
    items: Callable[[], Iterator[Item]]
    subject: str = ""
    fov_deg: float | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    left_out: Mapping[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    count: int | None = None


def drawn_as(names: Collection[str], read: Callable[[str], bytes]) -> tuple[str, float | None, dict]:
    """Return subject, field of view and options of a drawn data set: it has a file KIND.json whose ``kind`` is KIND.

    Args:
        names: Of its files.
        read: Function from a name to the file's bytes.

    Returns:
        Empty, None and empty for any other data; the field of view, degrees, is None where that file does not tell it.
    """
    for kind, subject in DRAWN_KINDS.items():
        if f"{kind}.json" not in names:
            continue
        try:
            about = json.loads(read(f"{kind}.json"))
        except (ValueError, OSError):  # a file of that name that somebody else wrote
            continue
        if isinstance(about, dict) and about.get("kind") == kind:
            config = about.get("config")
            options = config if isinstance(config, dict) else {}
            fov_deg = options.get("fov_deg")
            return subject, float(fov_deg) if isinstance(fov_deg, (int, float)) else None, options
    return "", None, {}


def rows_of_listing(
    listing: Listing, source: str, read: Callable[[str], bytes]
) -> tuple[dict[str, dict], tuple[str, ...]]:
    """Return what is known of pictures, by ``key_of`` their names, and what there is to say of it."""
    rows: dict[str, dict] = {}
    notes = []
    for folder in sorted({posixpath.dirname(name) for name in listing.metadata}):
        there = [name for name in METADATA_FILES if posixpath.join(folder, name) in listing.metadata]
        file = posixpath.join(source, folder, there[0])
        try:
            data = read(listing.metadata[posixpath.join(folder, there[0])])
        except OSError as error:
            raise LabelError(f"cannot read {file}: {one_line(error)}") from None
        found = rows_of(data, file, folder)
        pictures = {key_of(name) for name in listing.pictures}
        absent = [key for key in found if key not in pictures]
        if absent:
            notes.append(f"{file} knows {len(absent)} of {len(found)} pictures that are not there ({absent[0]} …)")
        notes += [f"{posixpath.join(folder, name)} is not read, since {there[0]} is there" for name in there[1:]]
        rows |= found
    return rows, tuple(notes)


def choose(
    listing: Listing, rows: dict[str, dict], label: Label | None, source: str, is_part: bool = False
) -> dict[str, str]:
    """Return the pictures of a label, by their names.

    Args:
        listing: All pictures.
        rows: What is known of them.
        label: (column, value); None is all pictures.
        source: For errors.
        is_part: There are other parts of the data, so that it need not be here.

    Raises:
        ValueError: There is no such column, or no picture with that value.
    """
    if label is None:
        return listing.pictures
    column, value = label
    columns = sorted({key for row in rows.values() for key in row} | {"folder"})
    if column not in columns and not is_part:
        raise ValueError(f"{source} has no column {column!r} to filter by, expected one of {', '.join(columns)}")

    def value_of(name: str) -> str:
        return Path(name).parent.name if column == "folder" else str(rows.get(key_of(name), {}).get(column, ""))

    chosen = {name: place for name, place in listing.pictures.items() if value_of(name) == value}
    if not chosen and not is_part:
        seen = sorted({value_of(name) for name in listing.pictures})
        raise ValueError(f"no picture in {source} has {column}={value}, expected one of {', '.join(seen[:20])}")
    return chosen


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
