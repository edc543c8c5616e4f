"""How decoded pictures are kept on disk: which are written, in which form, in how many bytes, and whether these fit.

Thumbnails are raw. Pictures of full size are written only where a stage looks at them: raw while they are few, which is
the fastest to read, else losslessly compressed, to be decoded whenever a batch asks for them. Batches are the same.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

MOST_RAW = 20e9  # bytes of pictures of full size that are kept raw
PACKED_SHARE = 0.45  # of the raw bytes, that compressed photos take
THUMBNAILS, RAW, PACKED = "thumbnails", "raw", "packed"


@dataclass(frozen=True)
class Storage:
    """What is kept of a data set.

    Attributes:
        form: Of pictures of full size: ``raw``, ``packed``, or none besides ``thumbnails``.
        count: Pictures at most; None where that is not known.
        image_resolution: R in pixels.
        thumbnail_resolution: r in pixels.
    """

    form: str
    count: int | None
    image_resolution: int
    thumbnail_resolution: int

    @property
    def picture_bytes(self) -> int:
        """Bytes of one raw picture of full size."""
        return 3 * self.image_resolution**2

    @property
    def thumbnail_bytes(self) -> int:
        """Bytes of one thumbnail with alpha."""
        return 4 * self.thumbnail_resolution**2

    @property
    def num_bytes(self) -> int | None:
        """Bytes on disk, estimated where pictures are compressed; None where the number of pictures is not known."""
        share = {THUMBNAILS: 0.0, RAW: 1.0, PACKED: PACKED_SHARE}[self.form]
        return None if self.count is None else int(self.count * (self.thumbnail_bytes + share * self.picture_bytes))

    def settings(self) -> dict:
        """Return what the bytes of a picture follow from, JSON-able."""
        return {name: value for name, value in asdict(self).items() if name != "count"}

    def __str__(self) -> str:
        small, size = f"{self.thumbnail_resolution}×{self.thumbnail_resolution}", f"{self.image_resolution}"
        count = "an unknown number of" if self.count is None else f"{self.count:,}"
        kept = {
            THUMBNAILS: f"only their thumbnails of {small}",
            RAW: f"raw at {size}×{size}",
            PACKED: f"losslessly compressed at {size}×{size}",
        }[self.form]
        about = "" if self.num_bytes is None else f", {'about ' * (self.form == PACKED)}{self.num_bytes / 1e9:.3g} GB"
        return f"{count} pictures, kept {kept}{about}"

    def check_space(self, name: str, folder: Path, written: int = 0) -> None:
        """Refuse a disk that cannot hold the pictures.

        Args:
            name: Of the data.
            folder: On that disk.
            written: Bytes that are there already.

        Raises:
            ValueError: It cannot.
        """
        needed, free = (self.num_bytes or 0) - written, shutil.disk_usage(folder).free
        if needed > free:
            raise ValueError(
                f"decoded pictures of {name} need {needed:,} bytes, but {free:,} are free for {folder}: name a folder "
                "on another disk with --cache-dir or STYLESDF_CACHE"
            )


def choose_storage(
    count: int | None, image_resolution: int, thumbnail_resolution: int, full_size: bool = True
) -> Storage:
    """Return how so many pictures are to be kept.

    Args:
        count: None where it is not known: there may be any number, so they are compressed.
        image_resolution: R in pixels.
        thumbnail_resolution: r in pixels.
        full_size: Whether a stage looks at pictures of full size.
    """
    are_few = count is not None and count * 3 * image_resolution**2 <= MOST_RAW
    form = THUMBNAILS if not full_size else RAW if are_few else PACKED
    return Storage(form, count, image_resolution, thumbnail_resolution)
