"""Pictures in Parquet files on disk, as data sets of the hub are stored, through ``pyarrow``.

The image column holds the bytes of picture files, or structures of ``bytes`` and ``path``. Other columns of numbers and
texts are what is known of the pictures; class labels go by their names. Pictures are read one by one.
"""

from __future__ import annotations

import bisect
import io
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from train.data.archives import LEAST_UNPACKED, MOST_UNPACKED
from train.data.items import Item, Label, Source, one_line
from train.data.labels import check_pose
from train.data.listing import LARGEST_MEMBER
from train.errors import RunError

ROWS_AT_ONCE = 4096  # of everything but pictures
LARGEST_TEXT = 1000  # characters of a text that is known of a picture


@dataclass
class _Table:
    """One file.

    Attributes:
        path: The file, which is only open while it is read.
        counts: Rows of each of its groups.
        image: Column of pictures.
        has_paths: Whether it holds structures with a path.
        columns: Others, of numbers and texts.
        classes: By a column of class numbers their names.
    """

    path: Path
    counts: list[int]
    image: str
    has_paths: bool
    columns: list[str]
    classes: dict[str, list[str]] = field(default_factory=dict)

    def _opened(self):
        from pyarrow import parquet

        return parquet.ParquetFile(self.path)

    def rows(self) -> Iterator[dict]:
        """Yield what is known of every picture, with the path in ``image`` where there is one."""
        columns = [*self.columns, *([f"{self.image}.path"] if self.has_paths else [])]
        if not columns:
            yield from ({} for _ in range(sum(self.counts)))
            return
        try:
            for batch in self._opened().iter_batches(ROWS_AT_ONCE, columns=columns):
                for row in batch.to_pylist():
                    for column, names in self.classes.items():
                        if type(row[column]) is int and 0 <= row[column] < len(names):
                            row[column] = names[row[column]]
                    yield row
        except Exception as error:  # pyarrow raises several kinds for a broken page
            raise RunError(f"cannot read {self.path} to its end: {one_line(error)}") from None

    def pictures(self) -> Callable[[int], bytes]:
        """Return a function from a row's number to its picture, which is fast for rows that follow each other."""
        file = self._opened()
        starts = [0, *itertools.accumulate(self.counts)]
        current, there, batches = -1, 0, iter(())

        def read(number: int) -> bytes:
            nonlocal current, there, batches
            group = bisect.bisect_right(starts, number) - 1
            if group != current or there > number:
                batches = file.iter_batches(1, row_groups=[group], columns=[self.image])
                current, there = group, starts[group]
            try:
                for _ in range(there, number):
                    next(batches)
                cell = next(batches).column(0)[0].as_py()
                there = number + 1
            except Exception as error:  # a broken page
                current = -1
                raise OSError(f"cannot be read: {one_line(error)}") from None
            data = cell.get("bytes") if isinstance(cell, dict) else cell
            if data is None:
                path = cell.get("path") if isinstance(cell, dict) else None
                where = f" but only the path {path[-80:]!r}" if path else ""
                raise OSError(f"there is no picture in this row{where}")
            if len(data) > LARGEST_MEMBER:
                raise OSError(f"{len(data) / 2**30:.1f} GiB, expected at most {LARGEST_MEMBER / 2**30:.0f}")
            return data

        return read


def open_parquet(path: Path, label: Label | None, image_column: str | None = None, is_part: bool = False) -> Source:
    """Return the pictures of a Parquet file in the order of its rows.

    Args:
        path: The file.
        label: Only these pictures; class names stand for their numbers.
        image_column: None takes the only one that can be meant.
        is_part: There are other files, which may have the label where this one has it not.

    Raises:
        ValueError: ``pyarrow`` is not installed, the file is damaged or unpacks to far too much, or it has no such
            column or label.
    """
    try:
        table = _open(path, image_column)
    except ImportError:
        raise ValueError(f"{path} is a Parquet file, to read it install pyarrow: pip install datasets") from None
    chosen = _chosen(table, label, is_part)
    stat = path.stat()
    identity = {"parquet": str(path.resolve()), "size": stat.st_size, "time": stat.st_mtime_ns, "label": label}
    identity["column"] = table.image

    def items() -> Iterator[Item]:
        read = table.pictures()
        for number, row in enumerate(table.rows()):
            if chosen is None or number in chosen:
                image = row.pop(table.image, None) or {}
                row = {key: cell[:LARGEST_TEXT] if isinstance(cell, str) else cell for key, cell in row.items()}
                row = check_pose(row, f"{path}, row {number}")
                yield Item(image.get("path") or f"row {number}", lambda number=number: io.BytesIO(read(number)), row)

    count = sum(table.counts) if chosen is None else len(chosen)
    return Source(str(path), identity, items, count=count)


def _open(path: Path, image_column: str | None) -> _Table:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} is a damaged Parquet file: {one_line(error)}") from None
    unpacked = sum(group.total_byte_size for group in groups)
    if unpacked > max(LEAST_UNPACKED, MOST_UNPACKED * path.stat().st_size):
        raise ValueError(f"{path} unpacks to {unpacked:,} bytes, as a bomb does: unpack it by other means")
    features = _features(schema)
    kinds = pyarrow.types
    images, columns, has_paths = [], [], []
    for column in schema:
        inner = {column.type.field(n).name: column.type.field(n).type for n in range(column.type.num_fields)}
        if kinds.is_struct(column.type) and "bytes" in inner:
            images.append(column.name)
            has_paths += [column.name] if "path" in inner else []
        elif kinds.is_binary(column.type) or kinds.is_large_binary(column.type):
            images.append(column.name)
        elif kinds.is_string(column.type) or kinds.is_large_string(column.type) or kinds.is_dictionary(column.type):
            columns.append(column.name)
        elif kinds.is_integer(column.type) or kinds.is_floating(column.type) or kinds.is_boolean(column.type):
            columns.append(column.name)
    stated = [name for name in images if features.get(name, {}).get("_type") == "Image"]
    image = _image_column(path, image_column, stated or images, [f"{column.name} ({column.type})" for column in schema])
    names = {name: about.get("names") for name, about in features.items() if about.get("_type") == "ClassLabel"}
    classes = {name: found for name, found in names.items() if name in columns and isinstance(found, list)}
    return _Table(path, [group.num_rows for group in groups], image, image in has_paths, columns, classes)


def _features(schema) -> dict[str, dict]:
    """Return what ``datasets`` wrote of the columns; empty where another program wrote the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: about for name, about in features.items() if isinstance(about, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _image_column(path: Path, wanted: str | None, images: list[str], columns: list[str]) -> str:
    among = ", ".join(columns)[:500]
    if wanted is None:
        if len(images) != 1:
            raise ValueError(f"{path} has {len(images)} image columns; name one with --image-column, among {among}")
        return images[0]
    if wanted not in images:
        raise ValueError(f"{path} has no image column {wanted!r}, its columns are {among}")
    return wanted


def _chosen(table: _Table, label: Label | None, is_part: bool) -> set[int] | None:
    """Return the numbers of the rows with a label; None is all."""
    if label is None:
        return None
    column, value = label
    if column not in table.columns:
        if is_part:
            return set()
        known = ", ".join(table.columns) or "none"
        raise ValueError(f"{table.path} has no column {column!r} to filter by, expected one of {known}")
    names = table.classes.get(column, [])
    value = names[int(value)] if value.isdecimal() and int(value) < len(names) and value not in names else value
    only = _Table(table.path, table.counts, table.image, False, [column], table.classes)
    chosen, seen = set(), set()
    for number, row in enumerate(only.rows()):
        if str(row[column]) == value:
            chosen.add(number)
        elif len(seen) < 20:
            seen.add(str(row[column])[:80])
    if not chosen and not is_part:
        raise ValueError(f"no picture in {table.path} has {column}={value}, expected one of {', '.join(sorted(seen))}")
    return chosen
