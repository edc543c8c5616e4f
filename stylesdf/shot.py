"""How a head is looked at: camera, quality and noise as one value, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stylesdf.arguments import check_num_frames, check_number
from stylesdf.camera import Camera, orbit_angles
from stylesdf.config import shown
from stylesdf.decoder import check_noise_mode
from stylesdf.torch_state import ordinary_torch

QUALITIES = ("exact", "fast", "best")


@dataclass(frozen=True)
class Shot:
    """A camera on the unit sphere that looks at the origin, and how its picture is made.

    Attributes:
        yaw: Radians, 0 is frontal; positive moves the camera to +x.
        pitch: Radians, strictly between −π/2 and π/2; positive moves the camera to +y.
        roll: Radians; positive turns the camera counter-clockwise, as seen by itself.
        fov_deg: Full field of view in degrees, between 0 and 120; None is the model's.
        quality: ``"exact"`` renders as trained. ``"fast"`` spends samples near the surface only, where a coarse grid,
            measured once per head, says it can be, and decodes in bfloat16 where the processor has it; a model whose
            density is too soft to have a surface is rendered as trained. ``"best"`` takes more rays than pixels, near
            the surface too, so that films flicker less, and decodes in float32.
        noise_mode: The decoder's noise: ``"const"`` (the stored one), ``"random"`` (drawn anew every time) or
            ``"none"``.
        light: Where the picture's light comes from, angles around and above the head in radians: (0, 0) is the front,
            (π/2, 0) its left (+x). The picture is multiplied by what that changes on the surface, without shadows that
            one part casts on another. None leaves the light as the model draws it, which counts as (−0.57, 0.58).
        perspective: From 0 to 4. The eye stands 1/perspective from the origin, where sizes stay (a dolly zoom); 0 is
            orthographic.

    Raises:
        ValueError: A value out of its range.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    fov_deg: float | None = None
    quality: str = "exact"
    noise_mode: str = "const"
    light: tuple[float, float] | None = None
    perspective: float = 1.0

    def __post_init__(self) -> None:
        for name in ("yaw", "pitch", "roll", "perspective"):
            object.__setattr__(self, name, check_number(name, getattr(self, name)))
        if self.fov_deg is not None:
            object.__setattr__(self, "fov_deg", check_number("fov_deg", self.fov_deg))
        if self.quality not in QUALITIES:
            raise ValueError(f"quality is {self.quality!r}, expected one of {', '.join(QUALITIES)}")
        check_noise_mode(self.noise_mode)
        if self.light is not None:
            if not isinstance(self.light, (tuple, list)) or len(self.light) != 2:
                raise ValueError(f"light is {shown(self.light)}, expected two angles in radians, or None")
            angles = tuple(check_number(f"light[{i}]", angle) for i, angle in enumerate(self.light))
            object.__setattr__(self, "light", angles)
        self.camera  # noqa: B018 - it refuses a pitch, a field of view and a perspective that are out of range

    @property
    @ordinary_torch()
    def camera(self) -> Camera:
        """The camera, on the CPU."""
        return Camera.from_angles(self.yaw, self.pitch, self.fov_deg, self.roll, self.perspective)

    def round(
        self, num_frames: int, path: str | None = "ellipse", yaw_range: float = 0.5, pitch_range: float = 0.25
    ) -> list[Shot]:
        """Return the shots of a closed path around this one.

        Args:
            num_frames: How many.
            path: ``"ellipse"`` goes once around this shot. ``"sweep"`` turns to and fro at its pitch. ``"spiral"``
                swings three times to both sides while the camera rises from below, and mirrored on its way back. None
                stays.
            yaw_range: Largest yaw from here, radians.
            pitch_range: Largest pitch from here, radians.

        Raises:
            ValueError: An argument out of range, or a path that leaves the pitches that there are.
        """
        num_frames = check_num_frames(num_frames)
        if path is None:
            return [self] * num_frames
        ranges = check_number("yaw_range", yaw_range), check_number("pitch_range", pitch_range)
        return [
            replace(self, yaw=self.yaw + aside, pitch=self.pitch + up)
            for aside, up in orbit_angles(num_frames, *ranges, path)
        ]
