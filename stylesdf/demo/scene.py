"""What is seen on the page, as one value: it goes into links, into pictures' metadata and into Python code."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlencode

from stylesdf.arguments import MAX_SEED, check_integer, check_seed, check_truncation, parse_edits
from stylesdf.camera import MAX_PERSPECTIVE
from stylesdf.config import shown
from stylesdf.shot import QUALITIES, Shot

MAX_YAW, MAX_PITCH, MAX_ROLL = 90.0, 60.0, 180.0  # degrees
MIN_FOV, MAX_FOV = 4.0, 40.0  # degrees
MAX_AROUND, MAX_ABOVE = 180.0, 90.0  # degrees
AROUND, ABOVE = -33.0, 33.0  # where the light is that models draw, about
MODES = ("image", "thumbnail", "depth", "normals", "shape")
MAX_TEXT = 300  # characters of a model's name, and of a number in a link
HEAD_NAME = re.compile("[0-9a-f]{32}")
METADATA_KEY = "stylesdf"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PICTURE_BYTES = 8_000_000  # of a picture that is read
MAX_PICTURE_SIDE = 4096  # pixels
MAX_HEADER_BYTES = 100_000  # of what stands before the pixels
MAX_SCENE_BYTES = 20_000  # of the scene's text in there
DIGITS = ".10g"  # of a number in a link and in code

IMPORTS = "from stylesdf import Shot, StyleSDF"  # of the code that makes a picture again
# fields that a link calls by a shorter name
SHORT = {"truncation": "psi", "texture_seed": "texture", "morph_seed": "to", "morph_share": "share", "edits": "edit"}


@dataclass(frozen=True)
class Scene:
    """A head from one side.

    Attributes:
        model: Name of the model, as typed on the page.
        seed: Whose head.
        truncation: In [0, 1].
        texture_seed: Whose colours the decoder's later layers take; None: its own.
        morph_seed: Another head, blended in; None: nobody.
        morph_share: Of that one, in [0, 1].
        yaw: Degrees, from −90 to 90; positive moves the camera to the head's left (+x).
        pitch: Degrees, from −60 to 60; positive moves the camera up.
        roll: Degrees, from −180 to 180, counter-clockwise as seen by the camera.
        fov: Full field of view in degrees, from 4 to 40; None is the model's own.
        perspective: See ``Shot``, from 0 (orthographic) to 4.
        around: Where the light of picture and shape is around the head, degrees from −180 to 180; 0 is the front.
        above: The same above it, from −90 to 90.
        mode: What is shown, one of ``MODES``.
        quality: One of ``stylesdf.shot.QUALITIES``.
        head: Instead of the seed a head that was found in a picture, by its name in ``FoundHeads``; None: the seed's.
        edits: What the model's directions change about the head, as in ``age=1.5,hat=1``.

    Raises:
        ValueError: A value out of its range; the sentence names it.
    """

    model: str
    seed: int = 0
    truncation: float = 0.7
    texture_seed: int | None = None
    morph_seed: int | None = None
    morph_share: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    fov: float | None = None
    perspective: float = 1.0
    around: float = AROUND
    above: float = ABOVE
    mode: str = "image"
    quality: str = "exact"
    head: str | None = None
    edits: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.model, str) and 0 < len(self.model) <= MAX_TEXT and self.model.isprintable()):
            raise ValueError(f"model is {shown(self.model)}, expected a name of 1 to {MAX_TEXT} characters in print")
        check_seed(self.seed)
        if self.head is not None and not (isinstance(self.head, str) and HEAD_NAME.fullmatch(self.head)):
            raise ValueError(f"head is {shown(self.head)}, expected 32 hexadecimal digits, or nothing")
        check_truncation(self.truncation)
        for name in ("texture_seed", "morph_seed"):
            seed = getattr(self, name)
            if seed is not None:
                check_integer(name, seed, 0, MAX_SEED)
        if not isinstance(self.edits, str) or len(self.edits) > MAX_TEXT:
            raise ValueError(f"edits are {shown(self.edits)}, expected a text of at most {MAX_TEXT} characters")
        edits = [f"{name}={amount:g}" for name, amount in sorted(parse_edits(self.edits).items()) if amount]
        object.__setattr__(self, "edits", ",".join(edits))  # in any order they are one head
        _check("morph_share", self.morph_share, 0.0, 1.0)
        _check("yaw", self.yaw, -MAX_YAW, MAX_YAW, " degrees")
        _check("pitch", self.pitch, -MAX_PITCH, MAX_PITCH, " degrees")
        _check("roll", self.roll, -MAX_ROLL, MAX_ROLL, " degrees")
        if self.fov is not None:
            _check("fov", self.fov, MIN_FOV, MAX_FOV, " degrees")
        _check("perspective", self.perspective, 0.0, MAX_PERSPECTIVE)
        _check("around", self.around, -MAX_AROUND, MAX_AROUND, " degrees")
        _check("above", self.above, -MAX_ABOVE, MAX_ABOVE, " degrees")
        for field in dataclasses.fields(self):  # 20 and 20.0 are one value: the same link, the same bytes
            value = getattr(self, field.name)
            if field.type.startswith("float") and value is not None:
                object.__setattr__(self, field.name, float(value))
        for name, known in (("mode", MODES), ("quality", QUALITIES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {shown(getattr(self, name))}, expected one of {', '.join(known)}")

    @property
    def person(self) -> int | str:
        """Who is seen: the seed, or the name of a head that was found."""
        return self.seed if self.head is None else self.head

    @property
    def identity(self) -> tuple:
        """All that decides which head of the model is seen."""
        mixed = self.texture_seed, self.morph_seed, self.morph_share
        return (self.person, self.truncation, *mixed, self.edits)

    @property
    def surface(self) -> tuple:
        """All that decides its surface."""
        return dataclasses.replace(self, texture_seed=None).identity

    @property
    def shot(self) -> Shot:
        """The camera and the quality; its angles are radians."""
        angles = {name: math.radians(getattr(self, name)) for name in ("yaw", "pitch", "roll")}
        lens = {"fov_deg": self.fov, "perspective": self.perspective}
        return Shot(**angles, **lens, quality=self.quality, light=self.light)

    @property
    def light(self) -> tuple[float, float] | None:
        """Where the light is, radians; None where the model draws it."""
        is_moved = (self.around, self.above) != (AROUND, ABOVE)
        return (math.radians(self.around), math.radians(self.above)) if is_moved else None

    @property
    def caption(self) -> str:
        """Whom a picture shows: ``seed 3``, ``your picture``, or more of these with what was done."""
        text = f"seed {self.seed}" if self.head is None else "your picture"
        if self.morph_seed is not None and self.morph_share:
            text += f" to {self.morph_seed}"
        if self.texture_seed is not None:
            text += f" with {self.texture_seed}"
        return text + ", edited" * bool(self.edits)

    def plain(self, seed: int, truncation: float | None = None) -> Scene:
        """Return the scene of a seed of the same model, and of the same truncation if no other is given."""
        return Scene(self.model, seed, self.truncation if truncation is None else truncation)

    @property
    def title(self) -> str:
        """Name of files: ``head-3``, ``head-3-textured-5``, ``head-3-to-8-40``, ``head-3-edited``, ``head-yours``."""
        title = f"head-{self.seed}" if self.head is None else "head-yours"
        if self.texture_seed is not None:
            title += f"-textured-{self.texture_seed}"
        if self.morph_seed is not None and self.morph_share:
            title += f"-to-{self.morph_seed}-{round(100 * self.morph_share)}"
        if self.edits:
            title += "-edited"
        return title

    def changes(self) -> dict:
        """Return the fields that are not at their defaults, and the seed."""
        fields = dataclasses.fields(self)[1:]
        differing = {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}
        return {"model": self.model, "seed": self.seed, **differing}

    def query(self) -> str:
        """Write the scene as the query string of a link, without the question mark."""
        fields = {SHORT.get(name, name): value for name, value in self.changes().items()}
        texts = {name: f"{value:{DIGITS}}" if isinstance(value, float) else value for name, value in fields.items()}
        return urlencode(texts, safe="/@")

    @classmethod
    def from_query(cls, query: Mapping[str, str], default: Scene) -> Scene:
        """Read a scene from a link; what it does not say is as in ``default``, what is not the page's is left alone.

        Raises:
            ValueError: A value that cannot be read, or is out of its range.
        """
        values = {}
        for field in dataclasses.fields(cls):
            text = query.get(SHORT.get(field.name, field.name))
            if text is not None:
                values[field.name] = _read(field.name, field.type, text)
        return dataclasses.replace(default, **values)

    def metadata(self, provenance: Mapping[str, object]) -> dict[str, str]:
        """Return text fields for a picture's file: the scene for machines, and its parts for people."""
        return {METADATA_KEY: json.dumps(self.changes()), **{key: str(value) for key, value in provenance.items()}}

    @classmethod
    def from_picture(cls, picture: str | os.PathLike | bytes) -> Scene:
        """Read the scene that a picture of the page carries, from the PNG's header: its pixels are not decoded.

        Args:
            picture: A file, or its content.

        Raises:
            ValueError: Not a PNG, one that is too large, or one that did not come from here.
        """
        try:
            with io.BytesIO(picture) if isinstance(picture, bytes) else open(picture, "rb") as file:
                text = _scene_text(file)
        except OSError as error:
            raise ValueError(f"the file cannot be read ({type(error).__name__})") from error
        try:
            values = json.loads(text)
            known = {field.name for field in dataclasses.fields(cls)}
            fields = {name: value for name, value in values.items() if name in known}
        except (ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"the picture's {METADATA_KEY} field cannot be read, expected JSON of a scene") from error
        return cls(**{"model": None, **fields})

    def python(self) -> str:
        """Write the Python code that makes exactly this picture."""
        name, at, revision = self.model.partition("@")
        load = json.dumps(name, ensure_ascii=False) + (f", revision={json.dumps(revision)}" if at else "")
        lines = ["import math", IMPORTS, "", f"model = StyleSDF.from_pretrained({load})"]
        texture = "" if self.texture_seed is None else f", texture_seed={self.texture_seed}"
        if self.head is None:
            lines.append(f"head = model.head({self.seed}, truncation={self.truncation:{DIGITS}}{texture})")
        else:
            lines.append('head = model.load_head("head-yours.safetensors")')
            if self.texture_seed is not None:
                lines.append(f"other = model.head({self.seed}, truncation={self.truncation:{DIGITS}}{texture})")
                lines.append("ws = torch.cat([head.ws[:, :1], other.ws[:, 1:]], dim=1)")
                lines.append("head = model.head_from_codes(head.w, ws)")
        if self.morph_seed is not None and self.morph_share:
            lines.append(f"other = model.head({self.morph_seed}, truncation={self.truncation:{DIGITS}}{texture})")
            lines.append(f"head = model.blend(head, other, {self.morph_share:{DIGITS}})")
        if self.edits:
            lines.append(f"head = model.edit(head, {json.dumps(parse_edits(self.edits))})")
        turns = [f"{axis}=math.radians({getattr(self, axis):{DIGITS}})" for axis in ("yaw", "pitch", "roll")
                 if getattr(self, axis)]  # fmt: skip
        turns += [f"fov_deg={self.fov:{DIGITS}}"] if self.fov is not None else []
        turns += [f"perspective={self.perspective:{DIGITS}}"] if self.perspective != 1.0 else []
        turns += [f'quality="{self.quality}"'] if self.quality != "exact" else []
        light = f"light=(math.radians({self.around:{DIGITS}}), math.radians({self.above:{DIGITS}}))"
        turns += [light] if self.light is not None else []
        lines.append(f"view = head.view(Shot({', '.join(turns)}))" if turns else "view = head.view()")
        if self.mode in ("image", "thumbnail"):
            lines.append(f'view.{self.mode}.save("{self.title}.png")')
        else:
            lines.insert(lines.index(IMPORTS) + 1, "from stylesdf.demo.pictures import picture")
            lines.append(f'picture(view, "{self.mode}").save("{self.title}.png")')
        if not turns:
            lines[lines.index(IMPORTS)] = "from stylesdf import StyleSDF"
        if not any("math." in line for line in lines):
            del lines[0]
        if any("torch." in line for line in lines):
            lines.insert(lines.index(""), "import torch")
        return "\n".join(lines)


def _scene_text(file: BinaryIO) -> str:
    """Return what stands under ``METADATA_KEY`` in a PNG's header, as the page writes it: before the pixels, plain."""
    if (size := file.seek(0, os.SEEK_END)) > MAX_PICTURE_BYTES:
        raise ValueError(f"the file has {size:,} bytes, expected at most {MAX_PICTURE_BYTES:,}")
    file.seek(0)
    if file.read(len(PNG_SIGNATURE)) != PNG_SIGNATURE:
        raise ValueError("the file is no PNG, expected one saved from this page")
    length, kind, header = _read_chunk(file, 13)
    if kind != b"IHDR" or length != 13:
        raise ValueError("the PNG is damaged, it does not begin with its size")
    width, height = (int.from_bytes(header[i : i + 4], "big") for i in (0, 4))
    if not (0 < width <= MAX_PICTURE_SIDE and 0 < height <= MAX_PICTURE_SIDE):
        limit = f"{MAX_PICTURE_SIDE}×{MAX_PICTURE_SIDE}"
        raise ValueError(f"the picture has {width}×{height} pixels, expected at most {limit}")
    key = METADATA_KEY.encode() + b"\0"
    while file.tell() < MAX_HEADER_BYTES:
        length, kind, content = _read_chunk(file, MAX_SCENE_BYTES)
        if kind == b"tEXt" and content.startswith(key):
            if length > MAX_SCENE_BYTES:
                raise ValueError(f"the picture's text has {length:,} bytes, expected at most {MAX_SCENE_BYTES:,}")
            return content[len(key) :].decode("latin-1")
        if kind in (b"IDAT", b"IEND"):
            break
    raise ValueError("the picture says nothing of its seed, expected a PNG saved from this page")


def _read_chunk(file: BinaryIO, max_bytes: int) -> tuple[int, bytes, bytes]:
    """Return a PNG chunk's length, kind and content; of a longer one, whose sum is not checked, the beginning."""
    head = file.read(8)
    length, kind = int.from_bytes(head[:4], "big"), head[4:]
    content = file.read(min(length, max_bytes))
    if len(head) < 8 or len(content) < min(length, max_bytes):
        raise ValueError("the PNG is damaged, it ends too early")
    if kind in (b"IDAT", b"IEND"):
        return length, kind, b""
    if length > max_bytes:
        file.seek(length - max_bytes + 4, os.SEEK_CUR)
    elif file.read(4) != zlib.crc32(kind + content).to_bytes(4, "big"):
        raise ValueError("the PNG is damaged, a check sum does not fit")
    return length, kind, content


def _check(name: str, value, low: float, high: float, unit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name} is {shown(value)}, expected{unit or ' a number'} from {low:g} to {high:g}")


def _read(name: str, kind: str, text: str):
    if len(text) > MAX_TEXT:
        raise ValueError(f"{name} of the link has {len(text)} characters, expected at most {MAX_TEXT}")
    read = {"int": int, "float": float, "str": str}[kind.partition(" ")[0]]
    try:
        return read(text)
    except ValueError:
        raise ValueError(f"{name} of the link is {shown(text)}, expected a number") from None
