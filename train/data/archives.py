"""Pictures in archives: zips, and tars as they are or packed by gzip, bzip2 or xz; WebDataset's shards are such tars.

Members are read into memory one by one, nothing is written anywhere. A name is only a name; what names a place outside
of the archive, is a link or a device, needs a password, or unpacks to far more than it is, is left out and counted.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from train.data.items import Item, Label, Source, choose, drawn_as, one_line, rows_of_listing
from train.data.labels import METADATA_FILES, SIDECARS, LabelError, key_of, sidecar_row
from train.data.listing import (
    DEVICE,
    LARGEST_MEMBER,
    LINK,
    OTHER_COLUMN,
    OTHER_ENDING,
    OUTSIDE,
    OVERSIZED,
    OWN_FILES,
    Listing,
    is_outside,
    list_zip,
    split_ending,
)
from train.errors import RunError

PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
MOST_UNPACKED, LEAST_UNPACKED = 200, 2**30  # a packed file may unpack to so many times its size, and always to a GiB
LARGE_PACKED = 2**30  # bytes
LARGEST_SIDECAR, LARGEST_HEADER = 2**20, 2**20
HEADERS = (b"x", b"g", b"X", b"L", b"K")  # types of members that say more of the next one: pax, long names and links


def open_zip(path: Path, label: Label | None, is_part: bool = False) -> Source:
    """Return the pictures of a zip, sorted by their names.

    Args:
        path: The file.
        label: Only these pictures.
        is_part: There are other archives, which may have the label where this one has it not.

    Raises:
        ValueError: It is damaged, knows something of pictures that cannot be meant, or has no such label.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            listing = list_zip(archive)
            rows, notes = rows_of_listing(listing, str(path), lambda member: _read_member(archive, member))
            drawn = drawn_as(archive.namelist(), lambda member: _read_member(archive, member))
    except LabelError:
        raise
    except Exception as error:  # zipfile raises several kinds for a damaged table of contents
        raise ValueError(f"{path} is a damaged zip: {one_line(error)}") from None
    chosen = choose(listing, rows, label, str(path), is_part)
    stat = path.stat()
    identity = {"zip": str(path.resolve()), "size": stat.st_size, "time": stat.st_mtime_ns, "label": label}

    def items() -> Iterator[Item]:
        with zipfile.ZipFile(path) as archive:
            for name, member in chosen.items():
                row = rows.get(key_of(name), {})
                yield Item(name, lambda member=member: io.BytesIO(_read_member(archive, member)), row)

    return Source(str(path), identity, items, *drawn, listing.left_out, notes, len(chosen))


def _read_member(archive: zipfile.ZipFile, member: str) -> bytes:
    """Return a member's bytes; OSError whatever is wrong with it."""
    try:
        return archive.read(member)
    except Exception as error:  # a wrong checksum, a broken stream, an unknown way of packing
        raise OSError(f"cannot be unpacked: {one_line(error)}") from None


def open_tar(path: Path, label: Label | None, image_column: str | None = None, is_part: bool = False) -> Source:
    """Return the pictures of a tar in the order of the archive.

    Files of one name up to the first dot belong together, as WebDataset has it: what ``NAME.json``, ``NAME.cls`` and
    ``NAME.txt`` say is known of the picture ``NAME.jpg``.

    Args:
        path: The file.
        label: Only these pictures.
        image_column: Which picture of several with one name is taken, by its ending, as ``jpg`` or ``seg.png``.
        is_part: There are other archives, which may have the label where this one has it not.

    Raises:
        ValueError: It is cut off or damaged, unpacks to far too much, knows something of pictures that cannot be meant,
            has no such label, or several pictures of one name.
    """
    remarks: list[str] = []
    listing, texts = _list_tar(path, remarks)
    rows, notes = rows_of_listing(listing, str(path), lambda name: texts[name])
    has_sidecars = _read_sidecars(path, listing, texts, rows)
    _choose_column(path, listing, image_column, has_sidecars or is_part)
    chosen = choose(listing, rows, label, str(path), is_part)
    stat = path.stat()
    identity = {"tar": str(path.resolve()), "size": stat.st_size, "time": stat.st_mtime_ns, "label": label}
    identity["column"] = image_column
    names = {place: name for name, place in chosen.items()}

    def items() -> Iterator[Item]:
        try:
            for place, _, read in _members(path):
                if place in names:
                    yield Item(names[place], lambda read=read: io.BytesIO(read()), rows.get(key_of(names[place]), {}))
        except ValueError as error:  # it was whole when it was listed
            raise RunError(str(error)) from None

    drawn = drawn_as(texts, texts.__getitem__)
    return Source(str(path), identity, items, *drawn, listing.left_out, (*remarks, *notes), len(chosen))


def _list_tar(path: Path, notes: list[str]) -> tuple[Listing, dict[str, bytes]]:
    """List the members of a tar, of two with one name the last; and read those that may know something of pictures."""
    listing, members = Listing(), []
    texts: dict[str, bytes] = {}
    for place, info, read in _members(path, notes):
        name = key_of(info.name)
        base = name.rsplit("/", 1)[-1]
        if listing.leave_out_hidden(name) or info.isdir():
            continue
        if is_outside(info.name):
            listing.leave_out(OUTSIDE, info.name)
        elif not info.isfile():
            listing.leave_out(LINK if info.issym() or info.islnk() else DEVICE, name)
        elif info.size > LARGEST_MEMBER:
            listing.leave_out(OVERSIZED, name)
        else:
            members.append((name, place))
            is_sidecar = base.lower().endswith(SIDECARS) and info.size <= LARGEST_SIDECAR
            if is_sidecar or base in (*METADATA_FILES, *OWN_FILES):
                try:
                    texts[name] = read()
                except OSError as error:
                    raise ValueError(f"{path} is cut off or damaged after {place} files: {error}") from None
    listing.take_members(members)
    listing.metadata = {name: name for name in listing.metadata}  # read already
    return listing, texts


def _read_sidecars(path: Path, listing: Listing, texts: dict[str, bytes], rows: dict[str, dict]) -> bool:
    """Add to the rows what lies beside single pictures; returns whether there is any."""
    by_key: dict[str, list[str]] = {}
    for name in listing.pictures:
        by_key.setdefault(split_ending(name)[0], []).append(name)
    found = set()
    for name in listing.left_out.get(OTHER_ENDING, []):
        key, ending = split_ending(name)
        if name in texts and f".{ending.lower()}" in SIDECARS and key in by_key:
            row = sidecar_row(texts[name], ending.lower(), f"{path}, {name}")
            for picture in by_key[key]:
                rows[key_of(picture)] = rows.get(key_of(picture), {}) | row
            found.add(name)
    if found:
        others = [name for name in listing.left_out.pop(OTHER_ENDING) if name not in found]
        listing.left_out |= {OTHER_ENDING: others} if others else {}
    return bool(found)


def _choose_column(path: Path, listing: Listing, column: str | None, is_grouped: bool) -> None:
    """Leave out the pictures of other endings than the one that is asked for.

    Raises:
        ValueError: None has it; or files are grouped by their names, some have several pictures and none was asked for.
    """
    endings = {name: split_ending(name)[1] for name in listing.pictures}
    counts = Counter(split_ending(name)[0] for name in listing.pictures)
    several = next((key for key, count in counts.items() if count > 1), None)
    if column is None and is_grouped and several is not None:
        found = sorted({ending for name, ending in endings.items() if split_ending(name)[0] == several})
        raise ValueError(
            f"{path} has {counts[several]} pictures of {several}, {', '.join(found)}: name one with --image-column"
        )
    if column is None or not listing.pictures:
        return
    others = [name for name, ending in endings.items() if ending != column]
    if len(others) == len(endings):
        found = ", ".join(sorted(set(endings.values()))[:20])
        raise ValueError(f"{path} has no pictures that end in .{column}, expected one of {found}")
    for name in others:
        del listing.pictures[name]
        listing.leave_out(OTHER_COLUMN, name)


def _members(
    path: Path, notes: list[str] | None = None
) -> Iterator[tuple[int, tarfile.TarInfo, Callable[[], bytes]]]:
    """Yield a tar's members with their numbers; what reads a member works until the next one is asked for.

    Args:
        path: The file.
        notes: To put there what people should know.

    Raises:
        ValueError: The tar is cut off, damaged, or unpacks to far too much.
    """
    place = 0
    try:
        with open(path, "rb") as file, _unpacked(file) as stream:
            mode = "r:" if stream is file else "r|"
            if mode == "r|" and notes is not None and path.stat().st_size > LARGE_PACKED:
                notes.append(f"{path} is packed and read from its start every time: a plain tar is ready sooner")
            with tarfile.open(fileobj=stream, mode=mode, tarinfo=_Info, bufsize=2**16) as tar:
                tar.has_end = True
                while (info := tar.next()) is not None:
                    tar.members = []  # else it keeps all
                    yield place, info, lambda tar=tar, info=info: _read_whole(tar, info)
                    place += 1
                if not tar.has_end and notes is not None:
                    notes.append(f"{path} has no mark at its end: it may be cut off after {place} files")
    except _Bomb as error:
        raise ValueError(f"{path} {error}") from None
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error, ValueError) as error:
        raise ValueError(f"{path} is cut off or damaged after {place} files: {one_line(error)}") from None


class _Bomb(Exception):
    pass


class _Info(tarfile.TarInfo):
    """A member's header; a broken one is an error, not the end, and none fills the memory."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except (tarfile.TruncatedHeaderError, tarfile.InvalidHeaderError) as error:
            raise tarfile.ReadError(f"what should be a header is none: {error}") from None
        except tarfile.EmptyHeaderError:
            tar.has_end = False
            raise

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:  # the entry point that may be overridden
        if self.type in HEADERS and self.size > LARGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes, expected at most {LARGEST_HEADER:,}")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse member: pack it again without --sparse")
        return super()._proc_member(tar)


class _Bounded:
    """A packed file as it is unpacked; a ``_Bomb`` where that is more than a limit."""

    def __init__(self, stream: io.BufferedIOBase, limit: int) -> None:
        self.stream, self.limit, self.total = stream, limit, 0

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.total += len(data)
        if self.total > self.limit:
            raise _Bomb(f"unpacks to more than {self.limit:,} bytes, as a bomb does: unpack it by other means")
        return data


@contextlib.contextmanager
def _unpacked(file: io.BufferedIOBase) -> Iterator[io.BufferedIOBase | _Bounded]:
    """Yield what a packed file unpacks to; itself where it is not packed."""
    head = file.read(6)
    size = file.seek(0, 2)
    file.seek(0)
    opener = next((opener for magic, opener in PACKED.items() if head.startswith(magic)), None)
    if opener is None:
        yield file
        return
    with opener(file) as stream:
        yield _Bounded(stream, max(LEAST_UNPACKED, MOST_UNPACKED * size))


def _read_whole(tar: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    try:
        return tar.extractfile(info).read()
    except Exception as error:  # a broken stream, whose kind depends on how it is packed
        raise OSError(f"cannot be unpacked: {one_line(error)}") from None
