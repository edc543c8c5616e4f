"""Where pictures come from: a folder, a zip, a data set of the Hugging Face hub, or a data set drawn on the spot.

A source yields its pictures one at a time, still encoded, each with a name to report it by and what is known of it.
"""

from __future__ import annotations

import difflib
import io
import json
import logging
import os
import posixpath
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from train.data.labels import METADATA_FILES, LabelError, check_pose, key_of, rows_of
from train.data.listing import Listing, is_hidden, list_folder, list_zip
from train.data.pixels import what_it_is_instead
from train.errors import RunError

log = logging.getLogger(__name__)

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".parquet")
LARGEST_MEMBER = 2**30  # bytes of one picture in a zip
DRAWN_COUNTS = {"toy-heads": 8000, "people": 6000}  # data sets drawn on the spot: pictures where none are asked for
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
        left_out: By the reason, names of files that are not among the items.
        notes: What else people should know, a line each.
    """

    name: str
    identity: dict
    items: Callable[[], Iterator[Item]]
    subject: str = ""
    left_out: Mapping[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
    """Find out what a name means: an existing folder or zip, a drawn data set, else a data set of the hub.

    Args:
        name: As a user types it; a hub id may end in ``@revision``, a drawn data set in ``:COUNT``.
        image_column: Of a hub data set; None takes its only image column.
        label: (column, value): only these pictures. In a folder or zip the column is one of its metadata, or
            ``folder`` for the name of the folder a picture lies in; class names of a hub data set stand for their
            numbers.
        split: Of a hub data set.
        streaming: Read a hub data set while it is downloaded, and keep nothing of the download.
        limit: Only the first so many pictures.
        drawn: By names of ``DRAWN_COUNTS``, what draws so many pictures and returns their folder; only called where
            the name says so.

    Raises:
        ValueError: There is no such thing, column, split or label.
    """
    path = _expanded(name)
    kind, colon, count = name.partition(":")
    is_drawn = kind in (drawn or {}) and (count.isdecimal() or not colon)
    if path.is_dir():
        source = _folder(path, label)
    elif path.is_file():
        source = _zip(path, label)
    elif is_drawn:
        source = _folder(drawn[kind](int(count or DRAWN_COUNTS[kind])), label)
    else:
        refuse_missing(name)
        if "@" not in name:
            log.info("there is no folder or file %r here: asking the hub for a data set of that name", name)
        source = _hub(name, image_column, label, split, streaming)
    if limit is None:
        return source
    if limit < 1:
        raise ValueError(f"limit is {limit}, expected at least 1 picture")

    def first() -> Iterator[Item]:
        for count, item in enumerate(source.items()):
            if count == limit:
                return
            yield item

    return replace(source, identity=source.identity | {"limit": limit}, items=first)


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
    known = f"is no folder, zip, hub id (USER/NAME) or {kinds}"
    is_id = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) and not name.startswith((".", "~"))
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


def _folder(folder: Path, label: Label | None) -> Source:
    listing = list_folder(folder)
    stats = [os.stat(path) for path in listing.pictures.values()]
    rows, notes = _rows(listing, str(folder), lambda path: Path(path).read_bytes())
    chosen = _choose(listing, rows, label, str(folder))
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

    subject = _subject([path.name for path in folder.glob("*.json")], lambda name: (folder / name).read_bytes())
    return Source(str(folder), identity, items, subject, listing.left_out, notes)


def _subject(names: Collection[str], read: Callable[[str], bytes]) -> str:
    """Return what a data set was drawn as: it has a file KIND.json whose ``kind`` is KIND; empty for any other.

    Args:
        names: Of its files.
        read: Function from a name to the file's bytes.
    """
    for kind, subject in DRAWN_KINDS.items():
        if f"{kind}.json" not in names:
            continue
        try:
            about = json.loads(read(f"{kind}.json"))
        except (ValueError, OSError):  # a file of that name that somebody else wrote
            continue
        if isinstance(about, dict) and about.get("kind") == kind:
            return subject
    return ""


def _zip(path: Path, label: Label | None) -> Source:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is a file but no zip of pictures{_what_it_is(path)}")
    try:
        with zipfile.ZipFile(path) as archive:
            listing = list_zip(archive)
            rows, notes = _rows(listing, str(path), lambda member: _read_member(archive, member))
            subject = _subject(archive.namelist(), lambda member: _read_member(archive, member))
    except LabelError:
        raise
    except Exception as error:  # zipfile raises several kinds for a damaged table of contents
        raise ValueError(f"{path} is a damaged zip: {_one_line(error)}") from None
    chosen = _choose(listing, rows, label, str(path))
    stat = path.stat()
    identity = {"zip": str(path.resolve()), "size": stat.st_size, "time": stat.st_mtime_ns, "label": label}

    def items() -> Iterator[Item]:
        with zipfile.ZipFile(path) as archive:
            for name, member in chosen.items():
                yield Item(name, lambda member=member: io.BytesIO(_read_member(archive, member)), rows.get(name, {}))

    return Source(str(path), identity, items, subject, listing.left_out, notes)


def _read_member(archive: zipfile.ZipFile, member: str) -> bytes:
    """Return a member's bytes; OSError whatever is wrong with it."""
    try:
        size = archive.getinfo(member).file_size
        if size > LARGEST_MEMBER:
            raise OSError(f"{size / 2**30:.1f} GiB in a zip, expected at most {LARGEST_MEMBER / 2**30:.0f}")
        return archive.read(member)
    except Exception as error:  # a wrong checksum, a broken stream, a password, an unknown way of packing
        raise OSError(f"cannot be unpacked: {_one_line(error)}") from None


def _what_it_is(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            what = what_it_is_instead(file.read(1024))
    except OSError as error:
        what = f"it cannot be read: {_one_line(error)}"
    return f", but {what}" if what else ""


def _rows(listing: Listing, source: str, read: Callable[[str], bytes]) -> tuple[dict[str, dict], tuple[str, ...]]:
    """Return what is known of pictures, by ``key_of`` their names, and what there is to say of it."""
    rows: dict[str, dict] = {}
    notes = []
    for folder in sorted({posixpath.dirname(name) for name in listing.metadata}):
        there = [name for name in METADATA_FILES if posixpath.join(folder, name) in listing.metadata]
        file = posixpath.join(source, folder, there[0])
        try:
            data = read(listing.metadata[posixpath.join(folder, there[0])])
        except OSError as error:
            raise LabelError(f"cannot read {file}: {_one_line(error)}") from None
        found = rows_of(data, file, folder)
        pictures = {key_of(name) for name in listing.pictures}
        absent = [key for key in found if key not in pictures]
        if absent:
            notes.append(f"{file} knows {len(absent)} of {len(found)} pictures that are not there ({absent[0]} …)")
        notes += [f"{posixpath.join(folder, name)} is not read, since {there[0]} is there" for name in there[1:]]
        rows |= found
    return rows, tuple(notes)


def _choose(listing: Listing, rows: dict[str, dict], label: Label | None, source: str) -> dict[str, str]:
    """Return the pictures of a label, by their names."""
    if label is None:
        return listing.pictures
    column, value = label
    columns = sorted({key for row in rows.values() for key in row} | {"folder"})
    if column not in columns:
        raise ValueError(f"{source} has no column {column!r} to filter by, expected one of {', '.join(columns)}")

    def value_of(name: str) -> str:
        return Path(name).parent.name if column == "folder" else str(rows.get(key_of(name), {}).get(column, ""))

    chosen = {name: place for name, place in listing.pictures.items() if value_of(name) == value}
    if not chosen:
        seen = sorted({value_of(name) for name in listing.pictures})
        raise ValueError(f"no picture in {source} has {column}={value}, expected one of {', '.join(seen[:20])}")
    return chosen


def _hub(name: str, image_column: str | None, label: Label | None, split: str, streaming: bool) -> Source:
    import datasets

    repo_id, _, revision = name.partition("@")
    try:
        builder = datasets.load_dataset_builder(repo_id, revision=revision or None)
        if not streaming:
            builder.download_and_prepare()
        data = builder.as_streaming_dataset(split) if streaming else builder.as_dataset(split)
        features = data.features or data.take(1).features or {}
    except Exception as error:  # no such data set, revision or split, a broken file, whatever the network does
        message = f"cannot load the data set {name!r} from the hub, split {split!r}: {_one_line(error)}"
        raise ValueError(message) from None
    columns = ", ".join(f"{key} ({type(value).__name__})" for key, value in features.items())
    images = [key for key, value in features.items() if isinstance(value, datasets.Image)]
    if image_column is None:
        if len(images) != 1:
            raise ValueError(f"{name} has {len(images)} image columns; name one with --image-column, among {columns}")
        image_column = images[0]
    if image_column not in images:
        raise ValueError(f"{name} has no image column {image_column!r}, its columns are {columns}")
    # a corrupt picture must not stop the rest
    data = data.decode(False) if streaming else data.cast_column(image_column, datasets.Image(decode=False))
    wanted = _wanted(name, features, label)
    if wanted is not None:
        data = data.filter(wanted, input_columns=[label[0]])
    # the builder's hash is the commit's: a branch that moved on is another data set, streamed or not
    identity = {"hub": repo_id, "commit": builder.hash, "split": split, "column": image_column, "label": label}

    def items() -> Iterator[Item]:
        try:
            for number, row in enumerate(data):
                image = row.pop(image_column) or {}
                where = image.get("path") or f"row {number}"
                row = check_pose(row, f"{name}, row {number}")
                yield Item(where, lambda image=image: _open_cell(image), row)
        except LabelError:
            raise
        except Exception as error:  # whatever the network does to a stream
            raise RunError(f"cannot read the data set {name!r} to its end: {_one_line(error)}") from None

    return Source(name, identity, items)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _open_cell(image: dict) -> io.BufferedIOBase:
    if image.get("bytes") is not None:
        return io.BytesIO(image["bytes"])
    path = image.get("path")
    if not path:
        raise OSError("there is no picture in this row")
    if "://" not in path:
        return open(path, "rb")
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:
            return io.BytesIO(file.read())
    except Exception as error:  # a network that fails must not pass for a broken picture, which would be left out
        raise RunError(f"cannot read {path}: {_one_line(error)}") from None


def _wanted(name: str, features, label: Label | None) -> Callable[[object], bool] | None:
    import datasets

    if label is None:
        return None
    column, value = label
    if column not in features:
        raise ValueError(f"{name} has no column {column!r} to filter by, expected one of {', '.join(features)}")
    feature = features[column]
    if not isinstance(feature, datasets.ClassLabel):
        return lambda cell: str(cell) == value
    if value in feature.names:
        number = feature.str2int(value)
    elif value.isdigit() and int(value) < feature.num_classes:
        number = int(value)
    else:
        raise ValueError(f"{column} of {name} is never {value!r}, expected one of {', '.join(feature.names)}")
    return lambda cell: cell == number
