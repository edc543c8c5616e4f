"""Where pictures come from: a folder, archives, tables, a data set of the hub, or a data set drawn on the spot.

A source yields its pictures one at a time, still encoded, each with a name to report it by and what is known of it.
"""

from __future__ import annotations

import difflib
import glob
import itertools
import logging
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from stylesdf.pixels import what_it_is_instead
from train.data.archives import PACKED, open_tar, open_zip
from train.data.hub import open_hub
from train.data.items import Item, Label, Source, choose, drawn_as, one_line, rows_of_listing
from train.data.labels import key_of
from train.data.listing import ARCHIVE, ARCHIVES, OTHER_SPLIT, Listing, is_hidden, list_folder
from train.data.tables import open_parquet

log = logging.getLogger(__name__)

DRAWN_COUNTS = {"toy-heads": 8000, "people": 6000}  # data sets drawn on the spot: pictures where none are asked for
HUB_ID = r"[\w.-]+/[\w.-]+(@[\w./-]+)?"
MOST_FILES = 100_000  # that a pattern may stand for
# beginnings of files that hold pictures which nothing here takes out
OTHER_ARCHIVES = {
    b"PK": "a zip that is cut off or damaged: download it once more",
    b"Rar!": "a RAR archive: unpack it, or pack it as zip or tar",
    b"7z\xbc\xaf": "a 7z archive: unpack it, or pack it as zip or tar",
    b"\x28\xb5\x2f\xfd": "packed by Zstandard: unpack it with unzstd",
    b"ARROW1": "an Arrow file: write it as Parquet with datasets' to_parquet",
}


def find_source(
    name: str,
    *,
    image_column: str | None = None,
    label: Label | None = None,
    split: str = "train",
    streaming: bool = False,
    limit: int | None = None,
    drawn: Mapping[str, Callable[[int], Path]] | None = None,
) -> Source:
    """Find out what a name means: an existing folder or file, a drawn data set, else a data set of the hub.

    Files are zips, tars and Parquet, told by what they hold; several of them are one data set: a folder in which only
    such files lie, or a pattern with ``*``, ``?``, ``[…]``, ``{000..012}`` or ``{a,b}``.

    Args:
        name: As a user types it; a hub id may end in ``@revision``, a drawn data set in ``:COUNT``.
        image_column: Of a table; None takes its only image column. In a tar, the ending of one of several pictures of
            the same name.
        label: (column, value): only these pictures. In a folder, zip or tar the column is one of its metadata, or
            ``folder`` for the name of the folder a picture lies in; class names of a table stand for their numbers.
        split: Of a hub data set; in a folder of archives, those whose names have it, where any has.
        streaming: Read a hub data set while it is downloaded, and keep nothing of the download.
        limit: Only the first so many pictures.
        drawn: By names of ``DRAWN_COUNTS``, what draws so many pictures and returns their folder; only called where
            the name says so.

    Raises:
        ValueError: There is no such thing, column, split or label.
    """
    check_limit(limit)
    path = _expanded(name)
    kind, colon, count = name.partition(":")
    is_drawn = kind in (drawn or {}) and (count.isdecimal() or not colon)
    if path.is_dir():
        source = _folder(path, label, image_column, split)
    elif path.is_file():
        source = _archive(path, label, image_column)
    elif is_drawn:
        source = _drawn(drawn[kind](int(count or DRAWN_COUNTS[kind])), label)
    elif re.search(r"[*?\[{]", name):
        files = _matching(name)
        source = _joined(name, {str(file): file for file in files}, label, image_column)
    else:
        refuse_missing(name)
        if "@" not in name:
            log.info("there is no folder or file %r here: asking the hub for a data set of that name", name)
        source = open_hub(name, image_column, label, split, streaming)
    if limit is None:
        return source
    count = None if source.count is None else min(source.count, limit)
    identity = source.identity | {"limit": limit}
    return replace(source, identity=identity, items=lambda: itertools.islice(source.items(), limit), count=count)


def check_limit(limit: int | None) -> None:
    """Refuse a number of pictures that is none, before any is looked for or drawn.

    Raises:
        ValueError: It is less than 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}, expected at least 1 picture")


def is_on_hub(name: str) -> bool:
    """Whether a name, which may have been read already, means a data set of the hub."""
    return re.fullmatch(HUB_ID, name) is not None and not name.startswith((".", "~")) and not _expanded(name).exists()


def hub_ids(name: str | None) -> tuple[str, ...]:
    """Return the id of a data set of the hub as a model card lists it; nothing for any other name."""
    return (name.partition("@")[0],) if name is not None and is_on_hub(name) else ()


def source_name(name: str) -> str:
    """Return how a model card names pictures: a path without the folders above it."""
    return name if is_on_hub(name) else _expanded(name).resolve().name


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~NOBODY
        return Path(name)


def refuse_missing(name: str) -> None:
    """Refuse a name that is no path here and cannot be, or is hardly meant as, a data set of the hub.

    ``USER/NAME@REVISION`` is always the hub's; ``USER/NAME`` is a path where USER is a folder here, or NAME ends as an
    archive does.

    Raises:
        ValueError: There is no such thing.
    """
    kinds = " or ".join(f"{kind}:COUNT" for kind in DRAWN_COUNTS)
    known = f"is no folder, zip, hub id (USER/NAME), tar, Parquet file or {kinds}"
    is_id = re.fullmatch(HUB_ID, name) and not name.startswith((".", "~"))
    path = _expanded(name)
    is_path = path.is_absolute() or name.startswith((".", "~")) or "/" in name
    is_local = is_path and (not is_id or path.parent.is_dir() or name.lower().endswith(ARCHIVES))
    if is_id and ("@" in name or not is_local):
        return
    if not is_local:
        raise ValueError(f"no such data: {name!r} {known}{_meant(path)}")
    hub = f"; for the hub's data set of that name write {name}@main" if is_id else ", a hub id is USER/NAME"
    raise ValueError(f"there is no folder or file {name!r}: it {known}{_meant(path)}{hub}")


def _meant(path: Path) -> str:
    """Return the question for a name that lies there and is almost the same; empty where none is."""
    try:
        names = os.listdir(path.parent)
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(path.name, [name for name in names if not is_hidden(name)], 1)
    return f"; is {str(path.parent / close[0])!r} meant?" if close else ""


def _matching(pattern: str) -> list[Path]:
    """Return the files that a pattern stands for, in the order of their names.

    Raises:
        ValueError: There are none or too many of them, one is missing, or one is no file.
    """
    files: dict[str, None] = {}
    names = list(itertools.islice(_without_braces(str(_expanded(pattern))), MOST_FILES + 1))
    for name in names:
        found = sorted(glob.glob(name)) if re.search(r"[*?\[]", name) else [name]
        files |= dict.fromkeys(found)
    if not files or len(names) > MOST_FILES or len(files) > MOST_FILES:
        expected = "no file" if not files else f"more than {MOST_FILES} files"
        raise ValueError(f"{expected} match {pattern!r}, expected zips, tars or Parquet files")
    for name in files:
        if not os.path.isfile(name):
            what = "is a folder" if os.path.isdir(name) else "is not there"
            raise ValueError(f"{name}, which {pattern!r} stands for, {what}, expected a zip, tar or Parquet file")
    return [Path(name) for name in files]


def _without_braces(pattern: str) -> Iterator[str]:
    """Yield what ``{000..012}`` and ``{a,b}`` in a pattern stand for."""
    match = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if match is None:
        yield pattern
        return
    first, last, words = match.groups()
    width = len(first) if first and first.startswith("0") else 0
    for word in words.split(",") if words is not None else (f"{n:0{width}}" for n in range(int(first), int(last) + 1)):
        for rest in _without_braces(pattern[match.end() :]):
            yield pattern[: match.start()] + word + rest


def _archive(path: Path, label: Label | None, image_column: str | None = None, is_part: bool = False) -> Source:
    """Return the pictures of a zip, tar or Parquet file.

    Raises:
        ValueError: It is none, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from None
    is_packed = head.startswith(tuple(PACKED))
    if head.startswith(b"PAR1"):
        return open_parquet(path, label, image_column, is_part)
    if head[257:262] == b"ustar" or is_packed or path.name.lower().endswith(".tar") and not what_it_is_instead(head):
        return open_tar(path, label, image_column, is_part)
    if zipfile.is_zipfile(path):
        return open_zip(path, label, is_part)
    others = (what for start, what in OTHER_ARCHIVES.items() if head.startswith(start))
    what = next(others, "") or what_it_is_instead(head)
    raise ValueError(f"{path} is a file but no zip of pictures{f', but {what}' if what else ', tar or Parquet file'}")


def _joined(name: str, files: Mapping[str, Path], label: Label | None, image_column: str | None) -> Source:
    """Return the pictures of several archives, one after the other.

    Args:
        name: For people.
        files: By what their pictures' names begin with; a single one's begin with nothing.
        label: Only these pictures.
        image_column: As of ``find_source``.

    Raises:
        ValueError: One of them cannot be read, or none has the label.
    """
    is_part = len(files) > 1
    parts = {prefix: _archive(path, label, image_column, is_part) for prefix, path in files.items()}
    if not is_part:
        return replace(next(iter(parts.values())), name=name)
    if label is not None and not any(part.count for part in parts.values()):
        raise ValueError(f"no picture in {name} has {label[0]}={label[1]}")

    def items() -> Iterator[Item]:
        for prefix, part in parts.items():
            for item in part.items():
                yield replace(item, name=f"{prefix}/{item.name}")

    left_out: dict[str, list[str]] = {}
    for prefix, part in parts.items():
        for kind, names in part.left_out.items():
            left_out.setdefault(kind, []).extend(f"{prefix}/{name}" for name in names)
    return Source(
        name=name,
        identity={"parts": [part.identity for part in parts.values()]},
        items=items,
        left_out=left_out,
        notes=tuple(note for part in parts.values() for note in part.notes),
        count=sum(part.count for part in parts.values()),
    )


def _archives_of(folder: Path, listing: Listing, label: Label | None, image_column: str | None, split: str) -> Source:
    """Return the pictures of a folder in which nothing but archives lies."""
    names = listing.left_out[ARCHIVE]
    of_split = [name for name in names if split in re.split("[^a-z0-9]+", name.lower())]
    if not of_split and split != "train":
        raise ValueError(f"no archive in {folder} has the split {split!r} in its name, as {', '.join(names[:8])}")
    taken = of_split or names
    source = _joined(str(folder), {name: folder / name for name in taken}, label, image_column)
    left_out = {kind: list(found) for kind, found in listing.left_out.items() if kind != ARCHIVE}
    if len(taken) < len(names):
        left_out[OTHER_SPLIT] = [name for name in names if name not in taken]
    for kind, found in source.left_out.items():
        left_out[kind] = [*left_out.get(kind, []), *found]
    unread = tuple(f"{folder / name} is not read, since it lies beside archives" for name in listing.metadata)
    return replace(source, left_out=left_out, notes=(*unread, *source.notes))


def _drawn(folder: Path, label: Label | None) -> Source:
    """Return a data set that was drawn on the spot; drawn once more it is the same, whatever the times of its files."""
    return replace(_folder(folder, label), identity={"drawn": folder.name, "label": label})


def _folder(folder: Path, label: Label | None, image_column: str | None = None, split: str = "train") -> Source:
    listing = list_folder(folder)
    if ARCHIVE in listing.left_out and not listing.pictures:
        return _archives_of(folder, listing, label, image_column, split)
    stats = [os.stat(path) for path in listing.pictures.values()]
    rows, notes = rows_of_listing(listing, str(folder), lambda path: Path(path).read_bytes())
    chosen = choose(listing, rows, label, str(folder))
    times = {name: os.stat(path).st_mtime_ns for name, path in listing.metadata.items()}
    own = times.pop("metadata.jsonl", None)
    identity = {
        "folder": str(folder.resolve()),
        "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in zip(listing.pictures, stats)],
        "metadata": own if rows else None,
        "label": label,
    }
    if times:
        identity["labels"] = times

    def items() -> Iterator[Item]:
        for name, path in chosen.items():
            yield Item(name, lambda path=path: open(path, "rb"), rows.get(key_of(name), {}))

    drawn = drawn_as([path.name for path in folder.glob("*.json")], lambda name: (folder / name).read_bytes())
    return Source(str(folder), identity, items, *drawn, listing.left_out, notes, len(chosen))
