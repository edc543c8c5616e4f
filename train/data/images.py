"""Pictures for training: a folder of images, decoded once into arrays of the two sizes.

Shapes: N images, H W pixels, C channels.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

log = logging.getLogger(__name__)
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class ImageSet:
    """Decoded pictures.

    Attributes:
        images: Lanczos-resized, 8 bits. ``(N, C, R, R)`` uint8.
        thumbnails: Resized from the images with a Hamming filter. ``(N, C, r, r)`` uint8.
        poses: True (yaw, pitch) in radians, or None where the data has none. ``(N, 2)``.
    """

    images: np.ndarray
    thumbnails: np.ndarray
    poses: Tensor | None

    def __len__(self) -> int:
        return len(self.images)

    def border_colour(self) -> Tensor:
        """Return the median colour of the pictures' top row, in [0, 1]. ``(3,)``."""
        return torch.from_numpy(np.median(self.thumbnails[:2000, :3, 0, :], axis=(0, 2)) / 255).float()

    def thumbnail_batch(self, indices: Tensor, resolution: int, channels: int) -> Tensor:
        """Return thumbnails in [−1, 1], averaged down to ``resolution``. ``(B, channels, resolution, resolution)``."""
        batch = to_signed(self.thumbnails[indices.numpy()][:, :channels])
        return torch.nn.functional.adaptive_avg_pool2d(batch, resolution)

    def image_batch(self, indices: Tensor) -> Tensor:
        """Return images in [−1, 1]. ``(B, 3, R, R)``."""
        return to_signed(self.images[indices.numpy()][:, :3])


def to_signed(pixels: np.ndarray) -> Tensor:
    """Map 0…255 to [−1, 1]."""
    return torch.from_numpy(pixels).float().div_(127.5).sub_(1.0)


def load_folder(folder: str | Path, image_resolution: int, thumbnail_resolution: int) -> ImageSet:
    """Decode a folder of pictures, with ``metadata.jsonl`` where there is one; the result is cached beside them.

    Pictures are cropped to the central square and Lanczos-resized; alpha is kept when every picture has it.
    A picture that cannot be read, or is smaller than the thumbnail, is named in the log and left out.

    Args:
        folder: Searched with its subfolders.
        image_resolution: R in pixels.
        thumbnail_resolution: r in pixels.

    Raises:
        ValueError: There is no such folder, or no picture in it can be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"no such folder of images: {folder}")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    cache = folder / f".cache-{image_resolution}-{thumbnail_resolution}"
    if not (cache / "names.json").exists():
        _write_cache(paths, folder, cache, image_resolution, thumbnail_resolution)
    names = json.loads((cache / "names.json").read_text())
    metadata = {}
    if (folder / "metadata.jsonl").exists():
        lines = (folder / "metadata.jsonl").read_text().splitlines()
        metadata = {row["file_name"]: row for row in map(json.loads, lines)}
    poses = None
    if names and all("yaw" in metadata.get(name, {}) and "pitch" in metadata[name] for name in names):
        poses = torch.tensor([[metadata[name]["yaw"], metadata[name]["pitch"]] for name in names], dtype=torch.float32)
    return ImageSet(
        images=np.load(cache / "images.npy", mmap_mode="r"),
        thumbnails=np.load(cache / "thumbnails.npy"),
        poses=poses,
    )


def _write_cache(
    paths: list[Path], folder: Path, cache: Path, image_resolution: int, thumbnail_resolution: int
) -> None:
    names, images, thumbnails = [], [], []
    for path in paths:
        try:
            with Image.open(path) as opened:
                picture = opened.convert("RGBA" if opened.mode in ("RGBA", "LA", "PA") else "RGB")
        except (UnidentifiedImageError, OSError) as error:
            log.warning("left out %s: %s", path.name, error)
            continue
        if min(picture.size) < thumbnail_resolution:
            log.warning("left out %s: %d×%d pixels, smaller than the thumbnail", path.name, *picture.size)
            continue
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
        image = _resize(picture, image_resolution, Image.Resampling.LANCZOS)
        thumbnail = _resize(image, thumbnail_resolution, Image.Resampling.HAMMING)
        names.append(path.relative_to(folder).as_posix())
        images.append(np.asarray(image))
        thumbnails.append(np.asarray(thumbnail))
    if not names:
        raise ValueError(f"no usable image in {folder}: found {len(paths)} files ending in {', '.join(ENDINGS)}")
    channels = min(image.shape[2] for image in images)
    cache.mkdir(exist_ok=True)
    for name, arrays in (("images", images), ("thumbnails", thumbnails)):
        stacked = np.stack([array[..., :channels] for array in arrays])
        np.save(cache / f"{name}.npy", np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)))
    (cache / "names.json").write_text(json.dumps(names))


def _resize(picture: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    """Resize colours and alpha apart: together, Pillow would turn the colours of transparent pixels black."""
    resized = picture.convert("RGB").resize((size, size), resampling)
    if picture.mode == "RGBA":
        resized.putalpha(picture.getchannel("A").resize((size, size), resampling))
    return resized
