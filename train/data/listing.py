"""Which files of a folder or an archive are pictures to train on, and why the others are not."""

from __future__ import annotations

import os
import posixpath
import re
import stat
import zipfile
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from train.data.labels import METADATA_FILES, key_of

ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".avif", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".qoi"),
)
OWN_FILES = (*METADATA_FILES, "toy_heads.json", "people.json")  # nothing is left out where these lie
HIDDEN = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")  # besides what starts with a dot
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".parquet")
HIDDEN_KIND, TWICE, OTHER_ENDING, BROKEN_LINK, CLOSED = (
    *("hidden", "there twice", "of other kinds", "links to nothing", "folders that cannot be read"),
)
ARCHIVE, OUTSIDE, LINK, DEVICE, ENCRYPTED, BOMB, OVERSIZED, OTHER_COLUMN, OTHER_SPLIT = (
    *("archives among pictures or in an archive", "with absolute names or '..'", "links", "devices", "encrypted"),
    *("that unpack to over 200 times their size", "of over 1 GiB", "other pictures of one name", "of other splits"),
)
LARGEST_MEMBER = 2**30  # bytes of one picture in an archive
MOST_UNPACKED, LEAST_UNPACKED = 200, 2**24  # a larger member may unpack to so many times its size
SHOWN = 3


@dataclass
class Listing:
    """Files of a data set.

    Attributes:
        pictures: By a picture's name, with slashes: the path or the member it is read from; sorted by names.
        metadata: The same for files that may know something of pictures.
        left_out: By the reason, names.
    """

    pictures: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, kind: str, name: str) -> None:
        self.left_out.setdefault(kind, []).append(name)

    def take(self, name: str, place: str) -> None:
        """Sort a file in by its name."""
        base = posixpath.basename(name)
        if base in METADATA_FILES:
            self.metadata[name] = place
        elif base.lower().endswith(ENDINGS):
            self.pictures[name] = place
        elif base not in OWN_FILES:
            self.leave_out(ARCHIVE if base.lower().endswith(ARCHIVES) else OTHER_ENDING, name)

    def take_members(self, members: Iterable[tuple[str, object]]) -> Listing:
        """Sort in the members of an archive; of two with one name the last counts, as for every reader of archives."""
        places: dict[str, object] = {}
        for name, place in members:
            if name in places:
                self.leave_out(TWICE, name)
            places[name] = place
        for name, place in places.items():
            self.take(name, place)
        return self.sort()

    def leave_out_hidden(self, name: str) -> bool:
        """Leave out a member that is hidden, or the folder that hides it; returns whether it is."""
        parts = name.split("/")
        first = next((n for n, part in enumerate(parts, 1) if is_hidden(part) and part not in (".", "..")), 0)
        if first:
            self.leave_out(HIDDEN_KIND, "/".join(parts[:first]))
        return bool(first)

    def sort(self) -> Listing:
        self.pictures = dict(sorted(self.pictures.items(), key=lambda item: item[0].split("/")))
        if HIDDEN_KIND in self.left_out:
            self.left_out[HIDDEN_KIND] = list(set(self.left_out[HIDDEN_KIND]))
        self.left_out = {kind: sorted(names) for kind, names in sorted(self.left_out.items())}
        return self


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in HIDDEN


def list_folder(folder: Path) -> Listing:
    """Search a folder with its subfolders, linked ones too; every file is found once, if it can be not by a link."""
    listing = Listing()
    seen_folders, seen_files = {os.path.realpath(folder)}, set()
    linked_files: list[tuple[str, str]] = []
    linked = deque([("", os.path.realpath(folder))])
    while linked:
        start = linked.popleft()
        if start[0] and start[1] in seen_folders:
            listing.leave_out(TWICE, start[0])
            continue
        pending = [start]
        while pending:
            prefix, real = pending.pop()
            seen_folders.add(real)
            for name, entry in _entries(prefix, real, listing):
                path = os.path.join(real, entry.name)
                if os.path.isdir(path):
                    if entry.is_symlink():
                        linked.append((name, os.path.realpath(path)))
                    elif path not in seen_folders:  # a folder around this one leads to it again
                        pending.append((name, path))
                elif entry.is_symlink():
                    linked_files.append((name, os.path.realpath(path)))
                elif os.path.isfile(path):
                    seen_files.add(path)
                    listing.take(name, os.path.join(folder, name))
    for name, real in sorted(linked_files):
        if not os.path.isfile(real):
            listing.leave_out(BROKEN_LINK, name)
        elif real in seen_files and name.lower().endswith(ENDINGS):
            listing.leave_out(TWICE, name)
        else:
            seen_files.add(real)
            listing.take(name, os.path.join(folder, name))
    return listing.sort()


def _entries(prefix: str, real: str, listing: Listing) -> Iterator[tuple[str, os.DirEntry]]:
    """Yield what lies in a folder by names in the data set, without what is hidden."""
    try:
        with os.scandir(real) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        listing.leave_out(CLOSED, prefix or real)
        return
    for entry in entries:
        name = posixpath.join(prefix, entry.name)
        if is_hidden(entry.name):
            listing.leave_out(HIDDEN_KIND, name)
        else:
            yield name, entry


def list_zip(archive: zipfile.ZipFile) -> Listing:
    """List the members of a zip."""
    listing, members = Listing(), []
    for info in archive.infolist():
        name = key_of(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if listing.leave_out_hidden(name) or info.filename.endswith(("/", "\\")):
            continue
        if is_outside(info.filename):
            listing.leave_out(OUTSIDE, info.filename)
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            listing.leave_out(LINK if kind == stat.S_IFLNK else DEVICE, name)
        elif info.flag_bits & 1:
            listing.leave_out(ENCRYPTED, name)
        elif info.file_size > LARGEST_MEMBER:
            listing.leave_out(OVERSIZED, name)
        elif info.file_size > max(LEAST_UNPACKED, MOST_UNPACKED * info.compress_size):
            listing.leave_out(BOMB, name)
        else:
            members.append((name, info.filename))
    return listing.take_members(members)


def is_outside(name: str) -> bool:
    """Whether a member's name is a place outside of its archive."""
    name = name.replace("\\", "/")
    return name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:/", name) is not None


def split_ending(name: str) -> tuple[str, str]:
    """Return a name up to the first dot of its last part, by which WebDataset groups, and the rest in lower case."""
    folder, base = posixpath.split(name)
    key, _, ending = base.partition(".")
    return posixpath.join(folder, key), ending.lower()


def shown_names(names: Sequence[str]) -> str:
    """Return the first of some names."""
    return ", ".join(name[-80:] for name in names[:SHOWN]) + (", …" if len(names) > SHOWN else "")


def summary(taken: int, left_out: dict[str, Collection[str]]) -> str:
    """Say in one line how many pictures were taken, and what was left out and why: counts, and the first names."""
    if not left_out:
        return f"{taken} pictures taken, nothing left out"
    parts = []
    for kind, names in left_out.items():
        names = list(names)
        if kind == OTHER_ENDING:
            endings = Counter(posixpath.splitext(name)[1].lower() or "no ending" for name in names)
            found = [f"{count} {ending}" for ending, count in endings.most_common(SHOWN + 2)]
            shown = ", ".join(found) + (", …" if len(endings) > SHOWN + 2 else "")
        else:
            shown = shown_names(names)
        parts.append(f"{len(names)} {kind} ({shown})")
    return f"{taken} pictures taken, {sum(map(len, left_out.values()))} left out: {'; '.join(parts)}"
