"""From encoded pictures to what is kept of them on disk: by several processes, in order, resumable.

The process that asks reads the encoded pictures and writes what the others make of them, so that the files' bytes do
not depend on their number. A journal beside the files has a line for each group of pictures that is complete: where a
process was killed, the next one cuts the files there and goes on.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from stylesdf.pixels import DAMAGED, TOO_SMALL, LeftOut, decode_picture
from train.data.items import Item, Source
from train.data.listing import summary
from train.data.packed import ENDS_FILE, PICTURES_FILE, pack_picture
from train.data.processes import in_order
from train.data.storage import PACKED, RAW, THUMBNAILS, Storage

log = logging.getLogger(__name__)
AT_ONCE = 8  # pictures of a group: what a process gets at once, and what a kill costs each of them at most
FEWEST_SHARED = 128  # pictures from which on it pays to start processes
SECONDS_UNSEEN = 2  # before progress is shown
RAW_FILE, THUMBNAILS_FILE, FACTS_FILE, JOURNAL = "images.bin", "thumbnails.bin", "facts.json", "journal.jsonl"
PICTURES_FILES = {THUMBNAILS: None, RAW: RAW_FILE, PACKED: PICTURES_FILE}  # of full size, by the form of a storage


def decode_all(source: Source, folder: Path, storage: Storage) -> None:
    """Decode all pictures of a source into a new folder, or go on where a process was killed.

    What is complete stays where the command is stopped; where it cannot be finished, as on a full disk, nothing does.

    Args:
        source: Pictures.
        folder: To be made, beside the hidden one of pictures that are under way.
        storage: What is written.

    Raises:
        ValueError: No picture can be used, or the disk cannot hold them.
        RunError: A stream breaks off, or a process was killed.
    """
    partial = folder.with_name(f".partial-{folder.name}")
    try:
        done = _complete_groups(partial, storage)
        written = sum(path.stat().st_size for path in partial.iterdir() if path.name != JOURNAL)
        storage.check_space(source.name, folder.parent, written)
        if source.count != 0:
            log.info("decoding %s: %s, in %s", source.name, storage, folder.parent)
        _write_groups(source, partial, storage, done)
        facts = _facts(source, storage, done)
        if storage.form == PACKED:
            np.save(partial / ENDS_FILE, np.cumsum([length for group in done for length in group["lengths"]]))
        (partial / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
        (partial / JOURNAL).unlink()
        os.replace(partial, folder)
    except BaseException as error:
        if isinstance(error, (OSError, ValueError)) or not _journal(partial)[1:]:
            shutil.rmtree(partial, ignore_errors=True)
        else:
            log.warning("what is decoded stays in %s: the same command goes on from there", partial)
        if isinstance(error, OSError) and error.errno is not None and _is_below(error.filename, partial):
            error.filename = str(folder)
        raise


def _is_below(name: str | None, folder: Path) -> bool:
    return name is None or str(name).startswith(str(folder))


def _journal(partial: Path) -> list[dict]:
    """Return the lines of a journal that are whole: what is written, then every complete group."""
    try:
        lines = (partial / JOURNAL).read_bytes().split(b"\n")[:-1]  # the last one is empty, or half written
        return [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []


def _complete_groups(partial: Path, storage: Storage) -> list[dict]:
    """Return the groups that are complete in a folder, cut off what comes after them; where all is, empty it."""
    head, *groups = _journal(partial) or [None]
    sizes = {THUMBNAILS_FILE: storage.thumbnail_bytes * sum(len(group["names"]) for group in groups)}
    if storage.form != THUMBNAILS:
        sizes[PICTURES_FILES[storage.form]] = sum(sum(group["lengths"]) for group in groups)
    are_there = all((partial / name).is_file() and (partial / name).stat().st_size >= sizes[name] for name in sizes)
    if head == storage.settings() and are_there:
        for name, size in sizes.items():
            os.truncate(partial / name, size)
    else:
        head, groups = storage.settings(), []
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        for name in sizes:
            (partial / name).touch()
    (partial / JOURNAL).write_text("".join(f"{json.dumps(line)}\n" for line in (head, *groups)), encoding="utf-8")
    return groups


def _write_groups(source: Source, partial: Path, storage: Storage, done: list[dict]) -> None:
    """Decode what is left of a source, and append it to the files, the journal and the complete groups."""
    first = sum(group["items"] for group in done)
    name = PICTURES_FILES[storage.form]
    with contextlib.ExitStack() as stack:
        thumbnails, journal = (stack.enter_context(open(partial / n, "ab")) for n in (THUMBNAILS_FILE, JOURNAL))
        images = stack.enter_context(open(partial / name, "ab")) if name else None
        progress = {"unit": "image", "desc": "decoding", "delay": SECONDS_UNSEEN}
        bar = stack.enter_context(tqdm(total=source.count, initial=first, **progress))
        left = None if source.count is None else source.count - first
        decoded = stack.enter_context(contextlib.closing(_decoded(_groups(source, first), storage, left)))
        for group, image_bytes, thumbnail_bytes in decoded:
            thumbnails.write(thumbnail_bytes)
            if images is not None:
                images.write(image_bytes)
                images.flush()
            thumbnails.flush()
            journal.write(json.dumps(group).encode() + b"\n")
            journal.flush()
            done.append(group)
            bar.update(group["items"])


def _groups(source: Source, first: int) -> Iterator[list[Item]]:
    """Yield groups of pictures from one on, read into memory; one that cannot be read says so when it is opened."""
    items = map(_read, itertools.islice(source.items(), first, None))
    while group := list(itertools.islice(items, AT_ONCE)):
        yield group


class _Read:
    """A picture's file in memory, which goes to other processes, or the error that came instead."""

    def __init__(self, data: bytes, error: str = "") -> None:
        self.data, self.error = data, error

    def __call__(self) -> io.BytesIO:
        if self.error:
            raise OSError(self.error)
        return io.BytesIO(self.data)


def _read(item: Item) -> Item:
    """Read a picture; of what is known of it only its pose goes on."""
    row = {name: item.row.get(name) for name in ("yaw", "pitch")}
    try:
        with item.open() as file:
            return replace(item, open=_Read(file.read()), row=row)
    except OSError as error:
        return replace(item, open=_Read(b"", str(error)), row=row)


Decoded = tuple[dict, bytes, bytes]  # a group's line of the journal, its pictures, its thumbnails


def _decoded(groups: Iterator[list[Item]], storage: Storage, left: int | None) -> Iterator[Decoded]:
    """Decode groups in their order, in other processes where there are cores for them and more than a few pictures.

    Args:
        groups: What to decode.
        storage: Into what.
        left: How many pictures; None where that is not known.
    """
    jobs, decode = os.cpu_count() or 1, partial(decode_group, storage=storage)
    are_few = jobs == 1 or (left is not None and left < FEWEST_SHARED)
    here = None if are_few else FEWEST_SHARED // AT_ONCE if left is None else 0
    yield from map(decode, itertools.islice(groups, here))
    ahead = list(itertools.islice(groups, 1))
    if ahead:
        yield from in_order(decode, itertools.chain(ahead, groups), jobs)


def decode_group(items: list[Item], storage: Storage) -> Decoded:
    """Decode some pictures."""
    group = {"items": len(items), "names": [], "poses": [], "lengths": [], "skipped": [], "kinds": [], "rules": {}}
    images, thumbnails = [], []
    group["has_alpha"] = True
    for item in items:
        try:
            picture, notes = decode_square(item, storage.thumbnail_resolution)
        except LeftOut as error:
            group["skipped"].append([item.name, str(error)])
            group["kinds"].append(error.kind)
            continue
        image = resize_picture(picture, storage.image_resolution, Image.Resampling.LANCZOS)
        thumbnail = resize_picture(image, storage.thumbnail_resolution, Image.Resampling.HAMMING)
        group["has_alpha"] = group["has_alpha"] and image.mode == "RGBA"
        thumbnails.append(np.asarray(thumbnail.convert("RGBA")).transpose(2, 0, 1).tobytes())
        if storage.form == RAW:
            images.append(np.asarray(image.convert("RGB")).transpose(2, 0, 1).tobytes())
        elif storage.form == PACKED:
            images.append(pack_picture(image.convert("RGB")))
        group["names"].append(item.name)
        group["poses"].append([item.row.get("yaw"), item.row.get("pitch")])
        for note in sorted(notes):
            group["rules"].setdefault(note, [0, item.name])[0] += 1
    group["lengths"] = [len(image) for image in images]
    return group, b"".join(images), b"".join(thumbnails)


def _facts(source: Source, storage: Storage, groups: list[dict]) -> dict:
    """Return what is said of the pictures of all groups.

    Raises:
        ValueError: There is none.
    """
    names, poses, skipped, kinds = (
        [each for group in groups for each in group[key]] for key in ("names", "poses", "skipped", "kinds")
    )
    rules: dict[str, list] = {}
    for note, (count, name) in (found for group in groups for found in group["rules"].items()):
        rules.setdefault(note, [0, name])[0] += count
    if not names:
        reasons = f", the first because: {skipped[0][1]}" if skipped else ""
        others = f"; {summary(0, source.left_out)}" if source.left_out else ""
        raise ValueError(f"no usable image in {source.name}: {len(skipped)} found, none of use{reasons}{others}")
    posed = sum(None not in pose for pose in poses)
    return {
        "sizes": [storage.image_resolution, storage.thumbnail_resolution],
        "names": names,
        "has_alpha": all(group["has_alpha"] for group in groups),
        "poses": poses if posed == len(poses) else None,
        "posed": posed,
        "skipped": skipped,
        "kinds": kinds,
        "rules": rules,
    }


def decode_square(item: Item, smallest: int) -> tuple[Image.Image, set[str]]:
    """Return the upright central square of a picture, RGB or RGBA, and by which rules it was read."""
    try:
        with item.open() as file:
            data = file.read()
    except OSError as error:
        raise LeftOut(" ".join(str(error).split())[:200], DAMAGED) from None
    picture, notes = decode_picture(data, item.name)
    side = min(picture.size)
    if side < smallest:
        raise LeftOut(f"{picture.width}×{picture.height} pixels, smaller than the thumbnail's {smallest}", TOO_SMALL)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side)), notes


def resize_picture(picture: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    """Resize colours and alpha apart: together, Pillow would turn the colours of transparent pixels black."""
    resized = picture.convert("RGB").resize((size, size), resampling)
    if picture.mode == "RGBA":
        resized.putalpha(picture.getchannel("A").resize((size, size), resampling))
    return resized
