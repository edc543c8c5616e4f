"""Where pictures come from: a folder, a zip, a data set of the Hugging Face hub, or a data set drawn on the spot.

A source yields its pictures one at a time, still encoded, each with a name to report it by and what is known of it.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
METADATA_FILE = "metadata.jsonl"
DRAWN_COUNTS = {"toy-heads": 8000, "people": 6000}  # data sets drawn on the spot: pictures where none are asked for
SETTINGS_FILES = {"toy_heads.json": "toy-heads", "people.json": "people"}  # of drawn data sets, and what they show
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
        items: Starts from the first picture at every call. A stream that breaks off is a RuntimeError.
        subject: What a drawn data set shows, of ``SETTINGS_FILES``; empty for any other.
    """

    name: str
    identity: dict
    items: Callable[[], Iterator[Item]]
    subject: str = ""


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
        label: (column, value): only these pictures. In a folder or zip the column is one of ``metadata.jsonl``, or
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
    path = Path(name)
    kind, colon, count = name.partition(":")
    is_drawn = kind in (drawn or {}) and (count.isdecimal() or not colon)
    if path.is_dir():
        source = _folder(path, label)
    elif path.is_file():
        source = _zip(path, label)
    elif is_drawn:
        source = _folder(drawn[kind](int(count or DRAWN_COUNTS[kind])), label)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name) and not name.startswith("."):
        source = _hub(name, image_column, label, split, streaming)
    else:
        kinds = " or ".join(f"{kind}:COUNT" for kind in DRAWN_COUNTS)
        raise ValueError(f"no such data: {name!r} is no folder, zip, hub id (USER/NAME) or {kinds}")
    if limit is None:
        return source
    if limit < 1:
        raise ValueError(f"limit is {limit}, expected at least 1 picture")

    def first() -> Iterator[Item]:
        for count, item in enumerate(source.items()):
            if count == limit:
                return
            yield item

    return Source(source.name, source.identity | {"limit": limit}, first, source.subject)


def _folder(folder: Path, label: Label | None) -> Source:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    names = [path.relative_to(folder).as_posix() for path in paths]
    stats = [path.stat() for path in paths]
    metadata = folder / METADATA_FILE
    rows = _rows(metadata.read_bytes(), metadata) if metadata.is_file() else {}
    chosen = _choose(names, rows, label, str(folder))
    identity = {
        "folder": str(folder.resolve()),
        "files": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in zip(names, stats)],
        "metadata": metadata.stat().st_mtime_ns if rows else None,
        "label": label,
    }

    def items() -> Iterator[Item]:
        for path, name in zip(paths, names):
            if name in chosen:
                yield Item(name, lambda path=path: open(path, "rb"), rows.get(name, {}))

    return Source(str(folder), identity, items, _subject(path.name for path in folder.glob("*.json")))


def _subject(names: Iterable[str]) -> str:
    """Return what a drawn data set shows by the names of its files."""
    return next((SETTINGS_FILES[name] for name in names if name in SETTINGS_FILES), "")


def _zip(path: Path, label: Label | None) -> Source:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is a file but no zip of pictures")
    with zipfile.ZipFile(path) as archive:
        names = sorted(
            name for name in archive.namelist() if name.lower().endswith(ENDINGS) and "__MACOSX/" not in name
        )
        rows = _rows(archive.read(METADATA_FILE), path) if METADATA_FILE in archive.namelist() else {}
        subject = _subject(archive.namelist())
    chosen = _choose(names, rows, label, str(path))
    stat = path.stat()
    identity = {"zip": str(path.resolve()), "size": stat.st_size, "time": stat.st_mtime_ns, "label": label}

    def items() -> Iterator[Item]:
        with zipfile.ZipFile(path) as archive:
            for name in names:
                if name in chosen:
                    yield Item(name, lambda name=name: io.BytesIO(archive.read(name)), rows.get(name, {}))

    return Source(str(path), identity, items, subject)


def _rows(text: bytes, path: Path) -> dict[str, dict]:
    try:
        rows = [json.loads(line) for line in text.decode().splitlines() if line.strip()]
        return {row["file_name"]: row for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: {METADATA_FILE} is not one JSON object with a file_name per line: {error}") from None


def _choose(names: list[str], rows: dict[str, dict], label: Label | None, source: str) -> set[str]:
    if label is None:
        return set(names)
    column, value = label
    columns = sorted({key for row in rows.values() for key in row} | {"folder"})
    if column not in columns:
        raise ValueError(f"{source} has no column {column!r} to filter by, expected one of {', '.join(columns)}")

    def value_of(name: str) -> str:
        return Path(name).parent.name if column == "folder" else str(rows.get(name, {}).get(column, ""))

    chosen = {name for name in names if value_of(name) == value}
    if not chosen:
        seen = sorted({value_of(name) for name in names})
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
                yield Item(image.get("path") or f"row {number}", lambda image=image: _open_cell(image), row)
        except Exception as error:  # whatever the network does to a stream
            raise RuntimeError(f"cannot read the data set {name!r} to its end: {_one_line(error)}") from None

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
        raise RuntimeError(f"cannot read {path}: {_one_line(error)}") from None


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
