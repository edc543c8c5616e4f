"""What a data set will be seen as, in seconds and before anyone trains.

Labels are read of all pictures, sizes and modes of up to a thousand, and up to two hundred are decoded as training
decodes them; all evenly spaced, and the text says how many there were.
"""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from stylesdf.pixels import LeftOut
from train.data.decoding import decode_square, resize_picture
from train.data.images import FOV_DEG, LEAST_PLAIN, NEAR, plain_share
from train.data.items import Item, Label, Source
from train.data.listing import shown_names, summary
from train.data.sources import find_source, is_on_hub
from train.data.toy_heads import ToyHeadsConfig, write_toy_heads

SHEET, COLUMNS, CELL = 48, 8, 128  # pictures of the contact sheet, in a row, and their height and width in pixels
OPENED, DECODED = 1000, 200
SECONDS = 8.0  # after which only the sheet's pictures are decoded
MOST_CLASSES = 20
DRAWN = {"toy-heads": SHEET, "people": 16}  # pictures that are drawn to be looked at; people take a third of a second
OWN_COLUMNS = ("file_name", "yaw", "pitch")


@dataclass
class Look:
    """What was seen of a data set.

    Attributes:
        source: The data set.
        sizes: Height and width of images and of thumbnails, pixels.
        count: Pictures.
        labels: By a column, how often it has each of its values.
        poses: Yaw and pitch in radians, of pictures that have both.
        tried: Number of pictures that were to be opened.
        opened: Width, height, format and mode of those that could be.
        decoded: Number of pictures that were decoded, useless ones among them.
        rules: By a rule that pictures were read by, how many.
        useless: By the reason, names of pictures that training will leave out.
        num_alpha: Pictures that have alpha.
        thumbnails: As training will see them. ``(r, r, 3)`` uint8 each.
        cells: The same, larger, for the contact sheet.
    """

    source: Source
    sizes: tuple[int, int]
    count: int = 0
    labels: dict[str, Counter] = field(default_factory=dict)
    poses: list[tuple[float, float]] = field(default_factory=list)
    tried: int = 0
    opened: list[tuple[int, int, str, str]] = field(default_factory=list)
    decoded: int = 0
    rules: Counter = field(default_factory=Counter)
    useless: dict[str, list[str]] = field(default_factory=dict)
    num_alpha: int = 0
    thumbnails: list[np.ndarray] = field(default_factory=list)
    cells: list[Image.Image] = field(default_factory=list)

    def text(self) -> str:
        """Return what there is to say, a line for each matter."""
        lines = [f"{self.source.name}: {summary(self.count, self.source.left_out)}"]
        lines += self.source.notes
        lines += self._sample_lines()
        lines += self._size_lines()
        lines += [f"{count} of {self.decoded} decoded: {rule}" for rule, count in sorted(self.rules.items())]
        lines += self._label_lines()
        lines += self._border_lines()
        return "\n".join(line.encode("utf-8", "backslashreplace").decode() for line in lines) + "\n"

    def _sample_lines(self) -> list[str]:
        what = "all were opened" if self.tried == self.count else f"{self.tried} were opened, evenly spaced"
        lines = [f"sample: {what}, {'all' if self.decoded == self.count else self.decoded} decoded"]
        if self.useless:
            parts = [f"{len(names)} {kind} ({shown_names(names)})" for kind, names in sorted(self.useless.items())]
            number = sum(map(len, self.useless.values()))
            lines.append(f"of no use: {number} of {self.decoded} decoded, left out by training: {'; '.join(parts)}")
        return lines

    def _size_lines(self) -> list[str]:
        if not self.opened:
            return []
        sides = np.array([min(width, height) for width, height, *_ in self.opened])
        shapes = Counter(_shape(width / height) for width, height, *_ in self.opened)
        image, thumbnail = self.sizes
        enlarged, small = ((sides < size).sum() for size in self.sizes)
        total = len(sides)
        lines = [
            f"shorter side: {sides.min()} to {sides.max()} pixels, median {int(np.median(sides))}; "
            f"{enlarged} of {total} below the image's {image} (enlarged), "
            f"{small} of {total} below the thumbnail's {thumbnail} (left out)",
            f"shapes: {_counts(shapes)}; the central square is taken",
            f"formats: {_counts(Counter(kind for *_, kind, _ in self.opened))}; "
            f"modes: {_counts(Counter(mode for *_, mode in self.opened))}",
        ]
        good = self.decoded - sum(map(len, self.useless.values()))
        if self.num_alpha:
            fate = "kept" if self.num_alpha == good else "dropped, since others have none"
            lines.append(f"alpha: {self.num_alpha} of {good} decoded have it, it is {fate}")
        return lines

    def _label_lines(self) -> list[str]:
        lines = []
        if self.poses:
            yaw, pitch = np.degrees(self.poses).T
            ranges = [
                f"{name} {angle.min():.1f} to {angle.max():.1f}, median {np.median(angle):.1f}"
                for name, angle in (("yaw", yaw), ("pitch", pitch))
            ]
            fate = "" if len(yaw) == self.count else ": not used, since the others have none"
            lines.append(f"poses: {len(yaw)} of {self.count}{fate}; {'; '.join(ranges)} degrees")
        else:
            lines.append("poses: none")
        for column, values in self.labels.items():
            kinds = {type(value) for value in values}
            if kinds <= {int, float} and (float in kinds or len(values) > MOST_CLASSES):
                numbers = np.array(list(values.elements()))
                low, middle, high = (float(value) for value in np.quantile(numbers, (0, 0.5, 1)))
                lines.append(f"label {column}: numbers from {low:g} to {high:g}, median {middle:g}")
            elif len(values) <= MOST_CLASSES:
                lines.append(f"label {column}: {_counts(values)}")
            else:
                first = next(iter(values))
                lines.append(f"label {column}: {len(values)} different values, as {str(first)[:40]!r}")
        return lines

    def _border_lines(self) -> list[str]:
        if not self.thumbnails:
            return []
        share, colour = plain_share(np.stack(self.thumbnails).transpose(0, 3, 1, 2))
        where = f"{share:.0%} of it, above and beside, within {NEAR} of 255 of the colour {tuple(map(round, colour))}"
        if share >= LEAST_PLAIN:
            return [f"borders: plain, {where}"]
        return [f"borders: not plain, {where}: a preset whose background is learned, one colour for all, does not fit"]

    def sheet(self) -> Image.Image:
        """Return the contact sheet."""
        rows = -(-len(self.cells) // COLUMNS)
        sheet = Image.new("RGB", (CELL * min(COLUMNS, len(self.cells)), CELL * rows))
        for number, cell in enumerate(self.cells):
            sheet.paste(cell, (number % COLUMNS * CELL, number // COLUMNS * CELL))
        return sheet


def look_at(
    name: str,
    image_resolution: int,
    thumbnail_resolution: int,
    *,
    fov_deg: float = FOV_DEG,
    image_column: str | None = None,
    label: Label | None = None,
    split: str = "train",
    limit: int | None = None,
) -> Look:
    """Look at what a user names, of a hub data set at its first pictures, of a drawn one at some.

    Args:
        name: And the other arguments: as of ``train.data.images.load_images``.

    Raises:
        ValueError: There is no such data, or no picture in it.
    """
    count_asked = {}

    def draw(kind: str, count: int) -> Path:
        count_asked[kind] = min(count, limit or count)
        return _draw_some(kind, min(count_asked[kind], DRAWN[kind]), image_resolution, fov_deg, Path(folder))

    options = {"image_column": image_column, "label": label, "split": split, "streaming": True}
    is_streamed = is_on_hub(name)
    with tempfile.TemporaryDirectory() as folder:
        drawn = {kind: functools.partial(draw, kind) for kind in DRAWN}
        most = min(SHEET if limit is None else limit, SHEET) if is_streamed else limit
        source = find_source(name, limit=most, drawn=drawn, **options)
        if is_streamed:
            source = replace(source, notes=(f"looked at as it is downloaded: at most its first {SHEET} pictures",))
        for kind, count in count_asked.items():
            note = f"{min(count, DRAWN[kind])} of {count} pictures were drawn to be looked at"
            source = replace(source, name=name, notes=(note,))
        return look(source, image_resolution, thumbnail_resolution)


def _draw_some(kind: str, count: int, size: int, fov_deg: float, folder: Path) -> Path:
    """Draw the first pictures of a data set that the kit draws; each depends on its number alone."""
    if kind == "people":
        from train.data.people.write import PeopleConfig, write_people

        write_people(folder / kind, PeopleConfig(count=count, image_size=size, fov_deg=fov_deg))
    else:
        config = ToyHeadsConfig(count=count, image_size=size, fov_deg=fov_deg)
        write_toy_heads(folder / kind, config, progress=False)
    return folder / kind


def look(source: Source, image_resolution: int, thumbnail_resolution: int) -> Look:
    """Look at a data set.

    Args:
        source: From ``train.data.sources.find_source``; of a stream all pictures are read.
        image_resolution: Height and width that images shall have, pixels.
        thumbnail_resolution: The same of thumbnails; smaller pictures are left out.

    Raises:
        ValueError: There is no picture, or a label cannot be meant.
    """
    seen = Look(source, (image_resolution, thumbnail_resolution))
    items = source.items() if source.count is not None else list(source.items())
    total = source.count if source.count is not None else len(items)
    on_sheet, decoded, opened = (_evenly(total, number) for number in (SHEET, DECODED, OPENED))
    start = time.monotonic()
    for number, item in enumerate(items):
        seen.count += 1
        _count_labels(seen, item)
        is_late = time.monotonic() - start > SECONDS
        if number in on_sheet or not is_late and (number in decoded or number in opened):
            _look_at(seen, item, number in on_sheet, number in on_sheet or number in decoded)
    if not seen.count:
        raise ValueError(f"no picture in {source.name}: {summary(0, source.left_out)}")
    if "folder" in seen.labels and len(seen.labels["folder"]) == 1:
        del seen.labels["folder"]
    return seen


def _evenly(total: int, number: int) -> set[int]:
    return set(range(total)) if total <= number else {i * (total - 1) // (number - 1) for i in range(number)}


def _count_labels(seen: Look, item: Item) -> None:
    pose = item.row.get("yaw"), item.row.get("pitch")
    if None not in pose:
        seen.poses.append(pose)
    folder = item.name.rpartition("/")[0].rpartition("/")[2]
    for column, value in {**item.row, "folder": folder or "none"}.items():
        if column not in OWN_COLUMNS and isinstance(value, (str, int, float)):
            seen.labels.setdefault(column, Counter())[value] += 1


def _look_at(seen: Look, item: Item, is_on_sheet: bool, is_decoded: bool) -> None:
    """Open a picture for its size and mode; decode it where asked for."""
    seen.tried += 1
    with contextlib.suppress(OSError), item.open() as file:
        data = file.read()
        item = replace(item, open=lambda: io.BytesIO(data))
    with contextlib.suppress(Exception), warnings.catch_warnings():  # decoding names what is wrong
        warnings.simplefilter("ignore")
        with Image.open(item.open()) as opened:
            seen.opened.append((*opened.size, opened.format, opened.mode))
    if not is_decoded:
        return
    seen.decoded += 1
    image_size, size = seen.sizes
    try:
        picture, rules = decode_square(item, size)
    except LeftOut as error:
        seen.useless.setdefault(error.kind, []).append(item.name)
        return
    seen.rules.update(rules)
    seen.num_alpha += picture.mode == "RGBA"
    image = resize_picture(picture, image_size, Image.Resampling.LANCZOS)
    thumbnail = resize_picture(image, size, Image.Resampling.HAMMING).convert("RGB")
    seen.thumbnails.append(np.asarray(thumbnail))
    if is_on_sheet:
        seen.cells.append(image.convert("RGB").resize((CELL, CELL), Image.Resampling.LANCZOS))


def _shape(ratio: float) -> str:
    return "square" if abs(ratio - 1) < 0.01 else "wide" if ratio > 1 else "tall"


def _counts(values: Counter) -> str:
    return ", ".join(f"{count} {value}" for value, count in values.most_common(MOST_CLASSES))
