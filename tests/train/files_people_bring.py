"""Picture files as people bring them, for tests: every format that Pillow writes, profiles, damage."""

import io
import struct
import warnings

import numpy as np
from PIL import Image

# what Pillow writes and reads again, with options
WRITTEN = {
    "png": ("PNG", {}),
    "apng": ("PNG", {"frames": 2}),
    "jpg": ("JPEG", {}),
    "progressive.jpg": ("JPEG", {"progressive": True}),
    "gif": ("GIF", {}),
    "two.gif": ("GIF", {"frames": 2}),
    "webp": ("WEBP", {}),
    "two.webp": ("WEBP", {"frames": 2}),
    "lossless.webp": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "dib": ("DIB", {}),
    "tif": ("TIFF", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate.tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "jpeg.tif": ("TIFF", {"compression": "jpeg"}),
    "two.tif": ("TIFF", {"frames": 2}),
    "avif": ("AVIF", {}),
    "ppm": ("PPM", {}),
    "tga": ("TGA", {}),
    "rle.tga": ("TGA", {"compression": "tga_rle"}),
    "jp2": ("JPEG2000", {}),
    "qoi": ("QOI", {}),
    "mpo": ("MPO", {"frames": 2}),
    "dds": ("DDS", {}),
    "ico": ("ICO", {}),
    "icns": ("ICNS", {}),
    "im": ("IM", {}),
    "pcx": ("PCX", {}),
    "sgi": ("SGI", {}),
}
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def encode(picture: Image.Image, ending: str) -> bytes:
    kind, options = WRITTEN[ending]
    options = dict(options)
    frames = options.pop("frames", 1)
    if frames > 1:
        options |= {"save_all": True, "append_images": [picture.rotate(90 * turn) for turn in range(1, frames)]}
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(size: int = 40) -> Image.Image:
    """Return a picture whose pixels differ, so that damage has something to damage."""
    rows, columns = np.mgrid[:size, :size] * 255 // (size - 1)
    return Image.fromarray(np.stack([rows, columns, (rows * columns) % 256], axis=-1).astype(np.uint8))


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return data with some bytes changed, or cut off, or with a piece missing, doubled or of zeros."""
    changed = bytearray(data)
    start = int(rng.integers(len(data)))
    length = int(rng.integers(1, 40))
    match rng.integers(6):
        case 0 | 1:
            for place in rng.integers(len(data), size=rng.integers(1, 5)):
                changed[place] = rng.integers(256)
        case 2:  # headers lie in front
            changed[int(rng.integers(min(len(data), 200)))] = rng.integers(256)
        case 3:
            del changed[start:]
        case 4:
            changed[start : start + length] = b"" if rng.integers(2) else bytes(length)
        case 5:
            changed[start:start] = changed[start : start + length]
    return bytes(changed)


def to_file(array: np.ndarray, kind: str = "TIFF", **options) -> bytes:
    """Return a picture of numbers of the array's type, 8, 16 or 32 bits or floats."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def matrix_profile(name: str, gamma: float, colours=ADOBE_RGB) -> bytes:
    """Return an ICC profile of three primaries in the connection space and one gamma; of one grey without primaries."""

    def xyz(values) -> bytes:
        return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    curve = padded(b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)))
    title = name.encode()
    tags = {
        b"desc": padded(b"desc" + bytes(4) + struct.pack(">I", len(title) + 1) + title + bytes(79)),
        b"cprt": padded(b"text" + bytes(4) + b"none\0"),
        b"wtpt": xyz((0.9642, 1, 0.8249)),
    }
    if colours is None:
        tags[b"kTRC"] = curve
    else:
        for letter, colour in zip((b"r", b"g", b"b"), colours):
            tags |= {letter + b"XYZ": xyz(colour), letter + b"TRC": curve}
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for key, data in tags.items():
        table += key + struct.pack(">II", start + len(body), len(data))
        body += data
    space = b"GRAY" if colours is None else b"RGB "
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2020, 1, 1, 0, 0, 0, b"acsp")
    head += bytes(28) + xyz((0.9642, 1, 0.8249))[8:]
    return head.ljust(128, b"\0") + table + body
