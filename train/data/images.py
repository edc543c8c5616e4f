"""Pictures for training: any source, decoded once into files of the two sizes, which are mapped into memory.

Shapes: N images, H W pixels, C channels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from train.data.decoding import FACTS_FILE, RAW_FILE, THUMBNAILS_FILE, decode_all
from train.data.listing import summary
from train.data.packed import PICTURES_FILE, PackedImages
from train.data.sources import DRAWN_COUNTS, Label, Source, check_limit, find_source, is_on_hub, refuse_missing
from train.data.storage import MOST_RAW, THUMBNAILS, Storage, choose_storage
from train.data.toy_heads import ToyHeadsConfig, write_toy_heads

log = logging.getLogger(__name__)
FORMAT = 2  # of the cache; 1: profiles and the range of floats were not looked at
FORMAT_OF_DRAWN = 1  # data sets drawn by the kit are read as ever
FOV_DEG = 12.0  # degrees, full field of view of what is drawn on the spot unless a model has another
NEAR, LEAST_PLAIN = 16, 0.9  # of 255; the share of pixels near one colour from which on borders are plain
THUMBNAILS_END = "-thumbnails"  # of the name of a folder without images
SHARE_OF_GPU = 0.25  # of the free memory there, that pictures may take


@dataclass(frozen=True)
class ImageSet:
    """Decoded pictures; what lies on disk is mapped from there, so that processes share it.

    Batches are on ``device``; 8-bit pixels go there, and become numbers in [−1, 1] there.

    Attributes:
        images: Lanczos-resized, 8 bits. ``(N, 3, R, R)`` uint8. None where only thumbnails were asked for.
        thumbnails: Resized from the images with a Hamming filter; a fourth channel is alpha, where every picture has
            one. ``(N, C, r, r)`` uint8.
        poses: True (yaw, pitch) in radians, or None where the data has none. ``(N, 2)``.
        name: Of the source, for people.
        identity: Of the decoded pictures, for what is kept about them; other pictures or sizes have another one.
            Empty: nothing is to be kept.
        subject: What a drawn data set shows, ``toy-heads`` or ``people``; empty for any other data.
        options: That a drawn data set was drawn with, by their names; empty for any other data.
        names: Of the pictures in their source.
        device: Where batches are.
    """

    images: np.ndarray | PackedImages | Tensor | None
    thumbnails: np.ndarray | Tensor
    poses: Tensor | None
    name: str = ""
    identity: str = ""
    subject: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    device: torch.device = torch.device("cpu")

    def __len__(self) -> int:
        return len(self.thumbnails)

    def on(self, device: torch.device) -> ImageSet:
        """Return the same pictures with batches on a device; on a GPU what fills little of its memory goes there."""
        if device.type != "cuda":
            return self
        room = SHARE_OF_GPU * torch.cuda.mem_get_info(device)[0]
        moved = {}
        for name in ("thumbnails", "images"):
            array = getattr(self, name)
            if array is not None and array.nbytes <= room:
                room -= array.nbytes
                moved[name] = torch.from_numpy(np.array(array)).to(device)
        return replace(self, device=device, **moved)

    def border(self) -> tuple[float, Tensor]:
        """Return which share of borders has one colour, as ``plain_share``, and that colour, in [0, 1], ``(3,)``."""
        first = self._choose(self.thumbnails, torch.arange(min(len(self), 2000)))[:, :3].cpu().numpy()
        share, colour = plain_share(first)
        return share, torch.from_numpy(colour / 255).float()

    def thumbnail_batch(self, indices: Tensor, resolution: int, channels: int) -> Tensor:
        """Return thumbnails in [−1, 1], averaged down to ``resolution``. ``(B, channels, resolution, resolution)``."""
        batch = to_signed(self._choose(self.thumbnails, indices)[:, :channels])
        return torch.nn.functional.adaptive_avg_pool2d(batch, resolution)

    def alpha_batch(self, indices: Tensor) -> Tensor:
        """Return the thumbnails' alpha, bilinearly enlarged to the images' size, in [0, 1]. ``(B, 1, R, R)``."""
        alpha = self._choose(self.thumbnails, indices)[:, 3:].to(torch.get_default_dtype()) / 255
        return torch.nn.functional.interpolate(alpha, size=self.images.shape[-1], mode="bilinear")

    def image_batch(self, indices: Tensor) -> Tensor:
        """Return images in [−1, 1]. ``(B, 3, R, R)``."""
        return to_signed(self._choose(self.images, indices)[:, :3])

    def prefetch(self, indices: Tensor) -> None:
        """Say which images will be asked for next: compressed ones are decoded meanwhile, others need nothing."""
        if isinstance(self.images, PackedImages):
            self.images.prefetch(indices.tolist())

    def _choose(self, array: np.ndarray | PackedImages | Tensor, indices: Tensor) -> Tensor:
        """Return some pictures, 8 bits, on the device."""
        if isinstance(array, Tensor):
            return array[indices.to(array.device)]
        return to_device(torch.from_numpy(array[indices.numpy()]), self.device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of any shape from the CPU; a copy to a GPU does not wait for it."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def plain_share(pictures: np.ndarray) -> tuple[float, np.ndarray]:
    """Return which share of pictures' borders has one colour, and that colour, the median of their top rows.

    The border is the top row and the upper halves of the outer columns: busts are cut off by the rest.

    Args:
        pictures: 8 bits. ``(N, 3, H, W)``.

    Returns:
        In [0, 1], the share within ``NEAR`` of 255; the colour, 0 to 255. ``(3,)``.
    """
    colour = np.median(pictures[:, :, 0, :], axis=(0, 2))
    upper = pictures[:, :, : pictures.shape[2] // 2]
    border = np.concatenate([upper[:, :, 0, :], upper[:, :, 1:, 0], upper[:, :, 1:, -1]], axis=2)
    is_near = (np.abs(border - colour[:, None]) <= NEAR).all(axis=1)
    return float(is_near.mean()), colour


def to_signed(pixels: Tensor) -> Tensor:
    """Map 0…255 to [−1, 1]."""
    return pixels.to(torch.get_default_dtype()).div_(127.5).sub_(1.0)


def parse_label(text: str | None) -> Label | None:
    """Read ``NAME=VALUE``.

    Raises:
        ValueError: It is something else.
    """
    if text is None:
        return None
    column, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"label is {text!r}, expected NAME=VALUE")
    return column, value


def default_cache_dir() -> Path:
    """Return where decoded pictures are kept: ``$STYLESDF_CACHE``, else ``stylesdf`` in the user's cache folder."""
    chosen = os.environ.get("STYLESDF_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stylesdf"


def load_images(
    source: str | Path,
    image_resolution: int,
    thumbnail_resolution: int,
    *,
    fov_deg: float | None = None,
    image_column: str | None = None,
    label: Label | None = None,
    split: str = "train",
    streaming: bool = False,
    limit: int | None = None,
    cache_dir: str | Path | None = None,
    full_size: bool = True,
) -> ImageSet:
    """Decode a source of pictures, or find it decoded already.

    A picture is turned upright (EXIF), cropped to its central square and Lanczos-resized to R; the thumbnail is
    resized from that with a Hamming filter. Every picture becomes 8-bit sRGB, by its profile and by the rules of
    ``stylesdf.pixels.decode_picture``, which the log says; of an animated one the first frame is taken; alpha is
    kept when every picture has it, and dropped otherwise. A picture that cannot be read, or whose shorter side is
    smaller than the thumbnail, is named in the log and left out; one line counts all.

    Images are kept raw or losslessly compressed (``train/data/storage.py``), which changes no batch. All cores decode,
    in processes that are spawned where there are more than a few pictures: a script needs the usual
    ``if __name__ == "__main__"``. After a kill the next process goes on; of several one decodes, the others wait.

    Args:
        source: A folder, searched with its subfolders; a zip, tar or Parquet file, or a pattern or folder of several;
            ``toy-heads``, ``people`` or these with ``:COUNT``, drawn on the spot; or a data set id of the Hugging Face
            hub, ``USER/NAME`` or ``USER/NAME@REVISION``. A file ``metadata.jsonl`` or ``metadata.csv`` with
            ``file_name``, ``yaw`` and ``pitch`` (radians) or EG3D's ``dataset.json`` in a folder, zip or tar, or
            columns of these names, give poses.
        image_resolution: R in pixels.
        thumbnail_resolution: r in pixels.
        fov_deg: Full field of view of the model that is to learn from them, degrees: it is that of pictures that are
            drawn on the spot, and those that were drawn at another one are refused. None is any, 12 on the spot.
        image_column: Of a table with several; in a tar, the ending of one of several pictures of a name.
        label: (column, value): only these pictures.
        split: Of a hub data set.
        streaming: Read a hub data set while it is downloaded.
        limit: Only the first so many.
        cache_dir: Where decoded pictures are kept; None is ``default_cache_dir()``.
        full_size: Whether images are needed; else there may be thumbnails alone.

    Raises:
        ValueError: There is no such source, column, split or label, or no picture in it can be used.
        ValueError: The pictures do not fit on the disk, or were drawn at another field of view.
        RunError: A stream breaks off.
    """
    root = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    sizes = image_resolution, thumbnail_resolution
    options = {"image_column": image_column, "label": label, "split": split, "streaming": streaming, "limit": limit}
    found = _find(str(source), root, image_resolution, fov_deg, options)
    storage = choose_storage(found.count, *sizes, full_size)
    folder = _folder_of(found, root, storage)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # released by the system when its holder is killed
        if not folder.exists():
            decode_all(found, folder, storage)
    return _open(folder, found)


def _folder_of(source: Source, root: Path, storage: Storage) -> Path:
    """Return where decoded pictures are, or will be; thumbnails alone are also found beside their images."""
    drawing = FORMAT_OF_DRAWN if source.subject else FORMAT
    sizes = [storage.image_resolution, storage.thumbnail_resolution]
    key = {"format": drawing, "sizes": sizes, "source": source.identity}
    folder = root / "images" / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    if storage.form != THUMBNAILS or folder.exists():
        return folder
    return folder.with_name(folder.name + THUMBNAILS_END)


def describe_images(
    source: str, image_resolution: int, thumbnail_resolution: int, full_size: bool, cache_dir: Path | None, **options
) -> str:
    """Say in a line how ``load_images`` would keep pictures, without drawing, downloading or decoding any.

    Args:
        source: And the other arguments: as of ``load_images``.

    Raises:
        ValueError: There is no such source, column, split or label, or no picture in it; the hub is not asked.
    """
    root = cache_dir or default_cache_dir()
    sizes, limit = (image_resolution, thumbnail_resolution, full_size), options.get("limit")
    check_limit(limit)
    kind, colon, number = source.partition(":")
    if kind in DRAWN_COUNTS and (number.isdecimal() or not colon) and not Path(source).exists():
        count = int(number or DRAWN_COUNTS[kind])
        if count < 1:
            raise ValueError(f"{source} draws no picture, expected at least 1")
        return f"{choose_storage(min(count, limit or count), *sizes)}, in {root / 'images'}"
    if is_on_hub(source):
        refuse_missing(source)
        raw = f"; fewer than {MOST_RAW / 1e9:g} GB are kept raw" if full_size else ""
        return f"{choose_storage(limit, *sizes)}, in {root / 'images'}{raw}"
    found = find_source(source, **options)
    if not found.count:
        raise ValueError(f"no picture in {found.name}: {summary(0, found.left_out)}")
    storage = choose_storage(found.count, *sizes)
    folder = _folder_of(found, root, storage)
    return f"{storage}, {'decoded already, in' if folder.exists() else 'in'} {folder.parent}"


def _find(name: str, root: Path, size: int, fov_deg: float | None, options: dict) -> Source:
    """Find a source, or draw it on the spot; refuse one that was drawn at another field of view."""
    drawn = {
        "toy-heads": lambda count: _draw_toy_heads(root, count, size, fov_deg or FOV_DEG),
        "people": lambda count: _draw_people(root, count, size, fov_deg or FOV_DEG),
    }
    found = find_source(name, drawn=drawn, **options)
    if fov_deg is not None and found.fov_deg not in (None, fov_deg):
        raise ValueError(
            f"{found.name} was drawn at a field of view of {found.fov_deg:g}°, expected the model's {fov_deg:g}°"
        )
    return found


def _draw_toy_heads(root: Path, count: int, size: int, fov_deg: float) -> Path:
    folder = root / _drawn_name("toy-heads", count, size, fov_deg)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            write_toy_heads(folder, ToyHeadsConfig(count=count, image_size=size, fov_deg=fov_deg))
    return folder


def _draw_people(root: Path, count: int, size: int, fov_deg: float) -> Path:
    from train.data.people.write import PeopleConfig, write_people

    folder = root / _drawn_name("people", count, size, fov_deg)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        config = PeopleConfig(count=count, image_size=size, fov_deg=fov_deg)
        write_people(folder, config, jobs=os.cpu_count() or 1)
    return folder


def _drawn_name(kind: str, count: int, size: int, fov_deg: float) -> str:
    return f"{kind}-{count}-{size}" + ("" if fov_deg == FOV_DEG else f"-{fov_deg:g}")


def _open(folder: Path, source: Source) -> ImageSet:
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    _tell(facts, source)
    count, size, small = len(facts["names"]), *facts["sizes"]
    images = None
    if (folder / PICTURES_FILE).exists():
        images = PackedImages(folder, size)
    elif (folder / RAW_FILE).exists():
        images = np.memmap(folder / RAW_FILE, np.uint8, "r", shape=(count, 3, size, size))
    thumbnails = np.memmap(folder / THUMBNAILS_FILE, np.uint8, "r", shape=(count, 4, small, small))
    return ImageSet(
        images=images,
        thumbnails=thumbnails[:, : 4 if facts["has_alpha"] else 3],
        poses=None if facts["poses"] is None else torch.tensor(facts["poses"], dtype=torch.float32),
        name=source.name,
        identity=folder.name.removesuffix(THUMBNAILS_END),
        subject=source.subject,
        options=source.options,
        names=tuple(facts["names"]),
    )


def _tell(facts: dict, source: Source) -> None:
    """Say what a data set is seen as: what was left out and why, by which rules pictures were read, their poses."""
    for skipped, reason in facts["skipped"]:
        log.warning("left out %s: %s", skipped, reason)
    for note in source.notes:
        log.warning("%s", note)
    for note, (count, first) in facts.get("rules", {}).items():
        log.info("%d pictures (%s …): %s", count, first, note)
    left_out = dict(source.left_out)
    for (skipped, _), kind in zip(facts["skipped"], facts.get("kinds", [])):
        left_out[kind] = [*left_out.get(kind, []), skipped]
    level = logging.WARNING if left_out else logging.INFO
    log.log(level, "%s: %s", source.name, summary(len(facts["names"]), left_out))
    if facts["poses"] is not None:
        yaw, pitch = np.degrees(facts["poses"]).T
        angles = (yaw.min(), yaw.max(), pitch.min(), pitch.max())
        log.info("poses of all pictures: yaw %.1f to %.1f, pitch %.1f to %.1f degrees", *angles)
    elif facts.get("posed"):
        message = "%d of %d pictures have a pose and the others none: poses are not used"
        log.warning(message, facts["posed"], len(facts["names"]))
