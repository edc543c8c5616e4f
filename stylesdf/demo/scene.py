"""What is seen on the page, as one value: it goes into links, into pictures' metadata and into Python code."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from PIL import Image

from stylesdf.pipeline import MAX_SEED, QUALITIES, check_seed, check_truncation

MAX_YAW, MAX_PITCH, MAX_ROLL = 90.0, 60.0, 180.0  # degrees
MIN_FOV, MAX_FOV = 4.0, 40.0  # degrees
MODES = ("image", "thumbnail", "depth", "normals", "shape")
MAX_TEXT = 300  # characters of a model's name, and of a number in a link
METADATA_KEY = "stylesdf"

# Fields that a link calls by a shorter name.
SHORT = {"truncation": "psi", "texture_seed": "texture", "morph_seed": "to", "morph_share": "share"}


@dataclass(frozen=True)
class Scene:
    """A head from one side.

    Attributes:
        model: Name of the model, as typed on the page.
        seed: The identity.
        truncation: In [0, 1].
        texture_seed: Whose colours the decoder's later layers take; None: its own.
        morph_seed: Another identity, blended in; None: nobody.
        morph_share: Of that one, in [0, 1].
        yaw: Degrees, from −90 to 90; positive moves the camera to the head's left (+x).
        pitch: Degrees, from −60 to 60; positive moves the camera up.
        roll: Degrees, from −180 to 180, counter-clockwise as seen by the camera.
        fov: Full field of view in degrees, from 4 to 40; None is the model's own.
        mode: What is shown, one of ``MODES``.
        quality: One of ``stylesdf.pipeline.QUALITIES``.

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
    mode: str = "image"
    quality: str = "exact"

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not 0 < len(self.model) <= MAX_TEXT:
            raise ValueError(f"model is {str(self.model)[:40]!r}, expected a name of 1 to {MAX_TEXT} characters")
        check_seed(self.seed)
        check_truncation(self.truncation)
        for name in ("texture_seed", "morph_seed"):
            seed = getattr(self, name)
            if seed is not None and not _is_seed(seed):
                raise ValueError(f"{name} is {seed!r}, expected an integer from 0 to {MAX_SEED}, or nothing")
        _check("morph_share", self.morph_share, 0.0, 1.0)
        _check("yaw", self.yaw, -MAX_YAW, MAX_YAW, " degrees")
        _check("pitch", self.pitch, -MAX_PITCH, MAX_PITCH, " degrees")
        _check("roll", self.roll, -MAX_ROLL, MAX_ROLL, " degrees")
        if self.fov is not None:
            _check("fov", self.fov, MIN_FOV, MAX_FOV, " degrees")
        for field in dataclasses.fields(self):  # 20 and 20.0 are one value: the same link, the same bytes
            value = getattr(self, field.name)
            if field.type.startswith("float") and value is not None:
                object.__setattr__(self, field.name, float(value))
        for name, known in (("mode", MODES), ("quality", QUALITIES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {', '.join(known)}")

    @property
    def camera(self) -> dict:
        """The camera as ``StyleSDF.view`` takes it: angles in radians, the field of view in degrees."""
        angles = {name: math.radians(getattr(self, name)) for name in ("yaw", "pitch", "roll")}
        return {**angles, "fov_deg": self.fov}

    @property
    def title(self) -> str:
        """A name for files: ``head-3``, ``head-3-textured-5``, ``head-3-to-8-40``."""
        title = f"head-{self.seed}"
        if self.texture_seed is not None:
            title += f"-textured-{self.texture_seed}"
        if self.morph_seed is not None and self.morph_share:
            title += f"-to-{self.morph_seed}-{round(100 * self.morph_share)}"
        return title

    def changes(self) -> dict:
        """Return the fields that are not at their defaults, and the seed."""
        fields = dataclasses.fields(self)[1:]
        differing = {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}
        return {"model": self.model, "seed": self.seed, **differing}

    def query(self) -> str:
        """Write the scene as the query string of a link, without the question mark."""
        texts = {name: f"{value:.10g}" if isinstance(value, float) else value for name, value in self.changes().items()}
        return urlencode({SHORT.get(name, name): text for name, text in texts.items()}, safe="/@")

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
    def from_picture(cls, path: str | os.PathLike) -> Scene:
        """Read the scene that a picture of the page carries.

        Raises:
            ValueError: Not a picture, or one that did not come from here.
        """
        try:
            with Image.open(path) as image:
                texts = getattr(image, "text", {})
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"the file cannot be read as a picture ({type(error).__name__})") from error
        try:
            values = json.loads(texts[METADATA_KEY])
            known = {field.name for field in dataclasses.fields(cls)}
            return cls(**{name: value for name, value in values.items() if name in known})
        except KeyError:
            raise ValueError("the picture says nothing of its seed, expected a PNG saved from this page") from None
        except (TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"the picture's {METADATA_KEY!r} field cannot be read ({error})") from error

    def python(self) -> str:
        """Write the Python code that makes exactly this picture."""
        name, at, revision = self.model.partition("@")
        load = f'"{name}"' + (f', revision="{revision}"' if at else "")
        lines = ["import math", "from stylesdf import StyleSDF", "", f"model = StyleSDF.from_pretrained({load})"]
        texture = "" if self.texture_seed is None else f", texture_seed={self.texture_seed}"
        lines.append(f"head = model.identity({self.seed}, truncation={self.truncation:g}{texture})")
        if self.morph_seed is not None and self.morph_share:
            lines.append(f"other = model.identity({self.morph_seed}, truncation={self.truncation:g}{texture})")
            lines.append(f"head = model.blend(head, other, {self.morph_share:g})")
        turns = [f"{axis}=math.radians({getattr(self, axis):g})" for axis in ("yaw", "pitch", "roll")
                 if getattr(self, axis)]  # fmt: skip
        turns += [f"fov_deg={self.fov:g}"] if self.fov is not None else []
        turns += [f'quality="{self.quality}"'] if self.quality != "exact" else []
        lines.append(f"view = model.view({', '.join(['head', *turns])})")
        if self.mode in ("image", "thumbnail"):
            lines.append(f'view.{self.mode}.save("{self.title}.png")')
        else:
            lines.insert(lines.index("from stylesdf import StyleSDF") + 1, "from stylesdf.demo.pictures import picture")
            lines.append(f'picture(view, "{self.mode}").save("{self.title}.png")')
        if not any("math." in line for line in lines):
            del lines[0]
        return "\n".join(lines)


def _is_seed(value) -> bool:
    try:
        check_seed(value)
    except ValueError:
        return False
    return True


def _check(name: str, value, low: float, high: float, unit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}, expected{unit or ' a number'} from {low:g} to {high:g}")


def _read(name: str, kind: str, text: str):
    if len(text) > MAX_TEXT:
        raise ValueError(f"{name} of the link has {len(text)} characters, expected at most {MAX_TEXT}")
    read = {"int": int, "float": float, "str": str}[kind.partition(" ")[0]]
    try:
        return read(text)
    except ValueError:
        raise ValueError(f"{name} of the link is {text[:40]!r}, expected a number") from None
