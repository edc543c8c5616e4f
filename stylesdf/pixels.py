"""From an encoded picture to 8-bit sRGB: what it is, which number is white, which colours its profile means.

Shapes: H W pixels.
"""

from __future__ import annotations

import io
import logging
import re
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms, ImageOps

from stylesdf.files import sent_instead, text_instead

log = logging.getLogger(__name__)
DAMAGED, TOO_SMALL, OTHER_FILE, UNDECIDED = "damaged or unknown", "too small", "no picture", "range not decided"
NO_WHITE = "which number is white cannot be told; save it with 8 bits"
LARGEST_OF_16 = 65535
DARK = 16  # a picture whose largest number is below a sixteenth of its type's counts as one of another range
SAME_COLOURS = 2  # of 255: a profile that changes no colour by more is sRGB, and is not applied
NO_GRID = ("EPS", "PDF", "WMF", "MPEG")  # drawings and films; Ghostscript would be started for the first
# by the colours of a profile: what it is applied to, and the modes of pictures that are brought there
MODES_OF_PROFILES = {
    "RGB": ("RGB", ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "L", "LA", "La", "1", "YCbCr")),
    "GRAY": ("L", ("L", "LA", "La", "1")),
    "CMYK": ("CMYK", ("CMYK",)),
}


class LeftOut(ValueError):
    """A picture is not used.

    Attributes:
        kind: To count it by.
    """

    def __init__(self, reason: str, kind: str) -> None:
        super().__init__(reason)
        self.kind = kind


def decode_picture(data: bytes, name: str) -> tuple[Image.Image, set[str]]:
    """Return a picture upright, 8-bit sRGB or the same with alpha, and by which rules it was read.

    Integers are scaled so that their type's largest number is white, 32-bit integers up to 65535 as if they had 16
    bits. Floats up to 1 are scaled by 255, those up to 255 are taken as they are, those up to 65535 divided by 257.
    What lies between, or below a sixteenth of its range, is refused: nobody can tell a dark picture from one of another
    range. Colours are converted from the embedded ICC profile to sRGB.

    Args:
        data: The encoded picture.
        name: To name it by in the log.

    Raises:
        LeftOut: It is no picture, is damaged, or its range cannot be decided.
    """
    what = what_it_is_instead(data)
    if what:
        raise LeftOut(what, OTHER_FILE)
    try:
        return _decode(data, name)
    except LeftOut:
        raise
    except Exception as error:  # decoders raise whatever their parsing stumbles on
        raise LeftOut(text_instead(data) or _reason(error), DAMAGED) from None


def convert_picture(opened: Image.Image) -> tuple[Image.Image, set[str]]:
    """Return what ``decode_picture`` does, of a picture that Pillow has opened or that was made in memory.

    Raises:
        LeftOut: It is damaged, or its range cannot be decided.
    """
    try:
        return _convert(opened)
    except LeftOut:
        raise
    except Exception as error:  # its file is read only now
        raise LeftOut(_reason(error), DAMAGED) from None


def _decode(data: bytes, name: str) -> tuple[Image.Image, set[str]]:
    with Image.open(io.BytesIO(data)) as opened:
        if opened.format not in NO_GRID and getattr(opened, "n_frames", 1) > 1:
            log.warning("%s has %d frames, the first is taken", name, opened.n_frames)
        return _convert(opened)


def _convert(opened: Image.Image) -> tuple[Image.Image, set[str]]:
    if opened.format in NO_GRID:
        raise LeftOut(f"{opened.format} holds no pixels", OTHER_FILE)
    notes: set[str] = set()
    profile = opened.info.get("icc_profile")
    numbers = _Numbers(opened)
    picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I") or picture.mode == "F":
        picture, note = numbers.to_bytes(picture)
        notes.add(note)
    has_alpha = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    converted = picture.convert("RGBA" if has_alpha else "RGB")
    numbers.check_16_bit_colours(converted)
    if profile:
        converted, note = _from_profile(converted, picture, profile)
        notes |= {note} if note else set()
    return converted, notes


class _Numbers:
    """What a picture says of its numbers; read before they are, since a turned copy forgets it."""

    def __init__(self, opened: Image.Image) -> None:
        tags = getattr(opened, "tag_v2", {})
        tile = getattr(opened, "tile", None)  # none of a picture in memory, whose file was read before
        arguments = tile[0][3] if tile else ""
        raw = arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else ""
        self.is_16_bit_colour = opened.mode in ("RGB", "RGBA", "RGBX", "LA") and ";16" in raw
        self.is_signed = raw.startswith("I") and raw.endswith("S")
        self.is_stated = opened.format == "PPM"  # whose header states the largest number
        is_32 = opened.mode == "I" and "16" not in raw and opened.format not in ("PNG", "PPM", "JPEG2000")
        bits = tags.get(258, 32 if is_32 else 16)
        self.bits = int(bits[0] if isinstance(bits, tuple) else bits)
        self.is_white_zero = tags.get(262) == 0  # Pillow turns 8 bits round, and no others

    def to_bytes(self, picture: Image.Image) -> tuple[Image.Image, str]:
        """Return a picture of integers or floats as one of 8 bits, and by which rule."""
        values = np.asarray(picture)
        scaled, note = self._from_floats(values) if picture.mode == "F" else self._from_integers(values)
        pixels = scaled.clip(0, 255).astype(np.uint8)
        return Image.fromarray(255 - pixels if self.is_white_zero else pixels), note

    def _from_integers(self, values: np.ndarray) -> tuple[np.ndarray, str]:
        values = values.astype(np.int64)
        kind = f"{self.bits}-bit integers"
        if self.bits == 32 and not self.is_signed:
            values &= 0xFFFFFFFF
        low, high = int(values.min()), int(values.max())
        largest = 2 ** (self.bits - self.is_signed) - 1
        if self.bits == 32 and high <= LARGEST_OF_16:
            kind, largest = "32-bit integers up to 65535", LARGEST_OF_16
        if low < 0 or not self.is_stated and 0 < high <= largest / DARK:
            expected = f"0 to {largest} with more than {largest // DARK} in it"
            raise LeftOut(f"{kind} from {low} to {high}, expected {expected}: {NO_WHITE}", UNDECIDED)
        return values / (largest / 255), f"{kind} are divided by {largest / 255:.10g}"

    @staticmethod
    def _from_floats(values: np.ndarray) -> tuple[np.ndarray, str]:
        if not np.isfinite(values).all():
            raise LeftOut("floats that are NaN or infinite", UNDECIDED)
        values = values.astype(np.float64)
        low, high = float(values.min()), float(values.max())
        if low >= -0.001 and high <= 1.001:
            return values * 255 + 0.5, "floats in 0…1 are multiplied by 255"
        if low >= -0.5 and 255 / DARK < high <= 255.5:
            return values + 0.5, "floats in 0…255 are taken as they are"
        if low >= -0.5 and LARGEST_OF_16 / DARK < high <= LARGEST_OF_16 + 0.5:
            return values / 257 + 0.5, "floats in 0…65535 are divided by 257"
        message = f"floats from {low:.4g} to {high:.4g}, expected 0…1, 0…255 or 0…65535: {NO_WHITE}"
        raise LeftOut(message, UNDECIDED)

    def check_16_bit_colours(self, picture: Image.Image) -> None:
        """Refuse colours that use a sixteenth of their 16 bits: Pillow has dropped the lower eight by now."""
        if self.is_16_bit_colour and not self.is_stated:
            high = max(band[1] for band in picture.convert("RGB").getextrema())
            if high < 256 // DARK:
                raise LeftOut(f"16-bit colours below 4096 of 65535: {NO_WHITE}", UNDECIDED)


def _from_profile(converted: Image.Image, picture: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """Return a picture's colours as sRGB, its alpha kept, and what was done; no word of a profile that is sRGB.

    Args:
        converted: RGB or RGBA, as if there were no profile.
        picture: The same in the file's own colours.
        profile: ICC profile.
    """
    name, transform = _transform(profile, picture.mode)
    if transform is None:
        return converted, name
    source = transform.input_mode
    coloured = picture if picture.mode == source else (converted if source == "RGB" else picture).convert(source)
    rgb = ImageCms.applyTransform(coloured, transform)
    if converted.mode == "RGBA":
        rgb.putalpha(converted.getchannel("A"))
    return rgb, f"colours are converted from the profile {name!r} to sRGB"


@lru_cache(maxsize=4)  # whole profiles are kept
def _transform(data: bytes, mode: str) -> tuple[str, object]:
    """Return a profile's name and its transform to sRGB; of a profile that is not applied the reason and None."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        name = " ".join((profile.profile.profile_description or "without a name").split())
        source, modes = MODES_OF_PROFILES.get(space, ("", ()))
        if mode not in modes:
            return f"a profile of {space} colours on a picture of {mode} is not applied", None
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            source,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except Exception:  # littlecms and Pillow raise several kinds; without it the picture is what it was before profiles
        return "a profile that cannot be read is not applied", None
    if source != "CMYK":
        probe = _probe(source)
        changed = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int) - np.asarray(probe.convert("RGB"))
        if abs(changed).max() <= SAME_COLOURS:
            return "", None
    return name, transform


def _probe(mode: str) -> Image.Image:
    """Return a picture of many colours, or of all greys."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.arange(0, 256, 15)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    return Image.fromarray(grid.astype(np.uint8))


def what_it_is_instead(data: bytes) -> str:
    """Name a file that is known to be no picture; empty where it may be one."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data or head.startswith(b"{"):
        return text_instead(data)
    if head.startswith((b"<svg", b"<?xml")) and b"<svg" in head:
        return "an SVG drawing"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftyphevc"):
        return "a HEIC picture, which Pillow does not read: save it as JPEG or PNG"
    return sent_instead(data)


def _reason(error: Exception) -> str:
    """Return an error as one line, without addresses in memory."""
    text = " ".join(re.sub(r"<_io\.\w+ object at 0x\w+>", "", str(error)).split())[:200]
    return text if isinstance(error, (OSError, ValueError)) and text else f"{type(error).__name__}: {text}".strip(": ")
