"""The settings that define a model: everything its ``config.json`` holds, and the presets."""

from __future__ import annotations

import dataclasses
import math
import reprlib
from dataclasses import dataclass

FORMAT = 1
MAX_FOV_DEG = 120.0
DENSITIES = ("logistic", "laplace")
BACKGROUNDS = ("last_sample", "learned")
POSE_DISTRIBUTIONS = ("gaussian", "uniform")
GAUSSIAN_WIDTH = 1.75  # standard deviations of angles that training saw often: ±30° for a yaw of 0.3
DEFAULT_MODEL = "checkpoints/people"  # in a clone: what page and command line open with
MAX_SAMPLES = 2**24  # of one thumbnail: 512×512 rays with 64 samples


def shown(value: object) -> str:
    """Return a value from outside as it stands in an error message: quoted, short, on one line."""
    try:
        return " ".join(_SHORT.repr(value).split())
    except ValueError:  # Python writes out no integer of more than some thousand digits
        return f"an {type(value).__name__} of too many digits"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


@dataclass(frozen=True)
class StyleSDFConfig:
    """Architecture and scene of one model. Defaults are the paper's FFHQ model at 1024×1024.

    Attributes:
        latent_size: Length of ``z`` and of the renderer code ``w``.
        field_width: Channels of every layer of the field, and of the feature map.
        field_depth: Number of FiLM-SIREN layers before the sdf head.
        view_directions: Whether the colour branch sees the viewing direction.
        render_resolution: Height and width of the thumbnail and the feature map, a power of two.
        num_samples: Samples per ray.
        fov_deg: Full field of view in degrees.
        scene_radius: Radius of the ball that holds the scene, world units; depth runs over 1 ± this.
        density: ``"logistic"`` or ``"laplace"``, the law from signed distance to density.
        background: ``"last_sample"``: the last sample of a ray stands for all behind it (the paper).
            ``"learned"``: one colour of its own lies behind the volume.
        cull_to_ball: Evaluate the field only inside the scene ball; all else is empty. Up to half the work less.
        decoder_style_size: Length of a decoder code.
        decoder_mapping_layers: Number of layers of the decoder mapping.
        decoder_channels: Channels at the render resolution, twice that, ...; one entry per doubling plus one.
            Empty: a renderer-only model.
        pose_distribution: ``"gaussian"`` or ``"uniform"``, the camera prior the model was trained with.
        pose_yaw: Standard deviation (gaussian) or half range (uniform) of yaw, radians.
        pose_pitch: The same for pitch.
    """

    latent_size: int = 256
    field_width: int = 256
    field_depth: int = 8
    view_directions: bool = True
    render_resolution: int = 64
    num_samples: int = 24
    fov_deg: float = 12.0
    scene_radius: float = 0.12
    density: str = "logistic"
    background: str = "last_sample"
    cull_to_ball: bool = False
    decoder_style_size: int = 512
    decoder_mapping_layers: int = 5
    decoder_channels: tuple[int, ...] = (512, 256, 128, 64, 32)
    pose_distribution: str = "gaussian"
    pose_yaw: float = 0.3
    pose_pitch: float = 0.15

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder_channels", _positive_ints("decoder_channels", self.decoder_channels))
        for name, lowest, highest in _INT_RANGES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
                raise ValueError(f"{name} is {shown(value)}, expected an integer from {lowest} to {highest}")
        for name, lowest, highest in _FLOAT_RANGES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest < value < highest:
                raise ValueError(f"{name} is {shown(value)}, expected a number between {lowest} and {highest}")
            object.__setattr__(self, name, float(value))
        for name in ("view_directions", "cull_to_ball"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {shown(getattr(self, name))}, expected true or false")
        for name, choices in _CHOICES:
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {shown(getattr(self, name))}, expected one of {', '.join(choices)}")
        if self.cull_to_ball and self.background != "learned":
            raise ValueError(f"cull_to_ball needs a learned background, this one is {self.background!r}")
        if self.render_resolution & (self.render_resolution - 1):
            raise ValueError(f"render_resolution is {self.render_resolution}, expected a power of two")
        if (num_samples := self.render_resolution**2 * self.num_samples) > MAX_SAMPLES:
            raise ValueError(
                f"render_resolution {self.render_resolution} with num_samples {self.num_samples} makes {num_samples} "
                f"samples, expected at most {MAX_SAMPLES}"
            )
        if self.decoder_channels and self.image_resolution > 1024:
            raise ValueError(
                f"decoder_channels has {len(self.decoder_channels)} entries, which makes {self.image_resolution} "
                "pixels; expected an image of at most 1024"
            )

    @property
    def has_decoder(self) -> bool:
        return bool(self.decoder_channels)

    @property
    def image_resolution(self) -> int:
        """Height and width of the image; that of the thumbnail in a renderer-only model."""
        return self.render_resolution * 2 ** max(len(self.decoder_channels) - 1, 0)

    @property
    def num_ws(self) -> int:
        """Number of decoder codes: two, and two more for every doubling; 0 in a renderer-only model."""
        return 2 * len(self.decoder_channels)

    @property
    def near(self) -> float:
        return 1.0 - self.scene_radius

    @property
    def far(self) -> float:
        return 1.0 + self.scene_radius

    @property
    def known_angles(self) -> tuple[float, float]:
        """Yaw and pitch up to which training saw heads often, radians: of a Gaussian, 92 % of the views each."""
        width = GAUSSIAN_WIDTH if self.pose_distribution == "gaussian" else 1.0
        return width * self.pose_yaw, width * self.pose_pitch

    def to_dict(self) -> dict:
        """Return a JSON-able dictionary; ``from_dict`` restores an equal config."""
        return {"format": FORMAT, **dataclasses.asdict(self), "decoder_channels": list(self.decoder_channels)}

    @classmethod
    def from_dict(cls, values: dict) -> StyleSDFConfig:
        """Build a config from ``to_dict``'s result.

        Args:
            values: What a ``config.json`` holds.

        Raises:
            ValueError: An unknown key, a value out of range, or a format number newer than this package knows.
        """
        if not isinstance(values, dict):
            raise ValueError(f"a config is a JSON object, this one is {type(values).__name__}")
        values = dict(values)
        version = values.pop("format", None)
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise ValueError(f"config key 'format' is {shown(version)}, expected {FORMAT}")
        if version > FORMAT:
            raise ValueError(
                f"config format {shown(version)} is newer than this package knows ({FORMAT}); upgrade stylesdf"
            )
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"unknown config key {shown(unknown[0])}")
        return cls(**values)


_INT_RANGES = (
    ("latent_size", 1, 4096),
    ("field_width", 1, 4096),
    ("field_depth", 1, 64),
    ("render_resolution", 4, 512),
    ("num_samples", 2, 1024),
    ("decoder_style_size", 1, 4096),
    ("decoder_mapping_layers", 1, 64),
)
_FLOAT_RANGES = (
    ("fov_deg", 0.01, MAX_FOV_DEG),
    ("scene_radius", 1e-4, 1.0),
    ("pose_yaw", 0.0, math.pi),
    ("pose_pitch", 0.0, math.pi / 2),
)
_CHOICES = (("density", DENSITIES), ("background", BACKGROUNDS), ("pose_distribution", POSE_DISTRIBUTIONS))


def _positive_ints(name: str, values) -> tuple[int, ...]:
    if not isinstance(values, (list, tuple)) or not all(type(value) is int and 1 <= value <= 4096 for value in values):
        raise ValueError(f"{name} is {shown(values)}, expected a list of integers from 1 to 4096")
    return tuple(values)


# The toy heads: small enough to train and to run on two CPU cores.
_TOY = StyleSDFConfig(
    latent_size=64,
    field_width=64,
    field_depth=4,
    view_directions=False,
    num_samples=32,
    scene_radius=0.105,
    background="learned",
    cull_to_ball=True,
    decoder_style_size=64,
    decoder_mapping_layers=2,
    decoder_channels=(64, 32, 16),
)
PRESETS = {
    # The paper's models; see section 4 of the paper for sizes and pose priors.
    "ffhq": StyleSDFConfig(),
    "afhq": StyleSDFConfig(decoder_channels=(512, 256, 128, 64), pose_yaw=0.15, pose_pitch=0.15),
    "toy": _TOY,
    # As small, for full frames: what lies behind the head is rendered too.
    "photos": dataclasses.replace(
        _TOY, latent_size=128, num_samples=24, scene_radius=0.12, background="last_sample", cull_to_ball=False
    ),
}


def preset(name: str) -> StyleSDFConfig:
    """Return a preset by name.

    Args:
        name: ``"ffhq"``, ``"afhq"`` (the paper's models), ``"toy"`` (the bundled toy heads) or ``"photos"`` (small,
            for full frames).

    Raises:
        ValueError: There is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
