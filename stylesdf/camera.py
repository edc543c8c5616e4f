"""Cameras on the unit sphere, their rays, pose priors and trajectories (paper section 3.1).

Shapes: B batch, H W image, N poses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stylesdf.arguments import check_number
from stylesdf.config import MAX_FOV_DEG, shown

Angles = float | Sequence[float] | Tensor
PATHS = ("ellipse", "sweep", "spiral")
MAX_PERSPECTIVE = 4.0  # an eye at 0.25, outside of the scene balls of all presets
SPIRAL_SWINGS = 3  # to both sides, in one round of the spiral; odd, so that up and down are mirror images


@dataclass(frozen=True)
class Camera:
    """A batch of cameras.

    Attributes:
        cam2world: Columns right, up, back, origin in world axes; the camera looks along −back. ``(B, 3, 4)``.
        fov_deg: Full field of view in degrees; None stands for the model's own.
        perspective: From 0 to 4. The eye stands 1/perspective from what lies at unit depth, which keeps its size; 0 is
            orthographic.
        places: Where rays go through the picture, to the right and downwards of its middle, in shares of its width,
            ``(B, H, W, 2)``; None is through the pixels' centres.
    """

    cam2world: Tensor
    fov_deg: float | None = None
    perspective: float = 1.0
    places: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.cam2world.shape)
        if len(shape) != 3 or shape[1:] not in ((3, 4), (4, 4)):
            raise ValueError(f"cam2world has shape {shape}, expected (B, 3, 4) or (B, 4, 4)")
        if self.fov_deg is not None and not 0.0 < check_number("fov_deg", self.fov_deg) < MAX_FOV_DEG:
            raise ValueError(f"fov_deg is {self.fov_deg}, expected degrees between 0 and {MAX_FOV_DEG:g}")
        if not 0.0 <= check_number("perspective", self.perspective) <= MAX_PERSPECTIVE:
            raise ValueError(f"perspective is {self.perspective}, expected a number from 0 to {MAX_PERSPECTIVE:g}")
        object.__setattr__(self, "cam2world", self.cam2world[:, :3])

    @classmethod
    def from_angles(
        cls, yaw: Angles, pitch: Angles, fov_deg: float | None = None, roll: Angles = 0.0, perspective: float = 1.0
    ) -> Camera:
        """Place cameras on the unit sphere, looking at the origin.

        Args:
            yaw: Radians, 0 is frontal, positive moves the camera to +x. A float, a sequence or a tensor ``(B,)``.
            pitch: Radians, positive moves the camera to +y; strictly between −π/2 and π/2.
            fov_deg: Full field of view in degrees; None takes the model's.
            roll: Radians, positive turns the camera counter-clockwise, as seen by itself.
            perspective: From 0 to 4.

        Returns:
            As many cameras as there are angles.

        Raises:
            ValueError: Angles that are not finite, a pitch at or over a pole, or batch sizes that do not fit.
        """
        yaw, pitch, roll = (_angles(name, value) for name, value in (("yaw", yaw), ("pitch", pitch), ("roll", roll)))
        dtype = torch.promote_types(torch.promote_types(yaw.dtype, pitch.dtype), roll.dtype)
        try:
            yaw, pitch, roll = torch.broadcast_tensors(*(angles.to(yaw.device, dtype) for angles in (yaw, pitch, roll)))
        except RuntimeError:
            counts = f"{len(yaw)} of yaw, {len(pitch)} of pitch, {len(roll)} of roll"
            raise ValueError(f"angles are {counts}, expected as many of each, or one") from None
        if (at_pole := pitch.abs() >= math.pi / 2).any():
            raise ValueError(f"pitch is {pitch[at_pole][0].item():.4g}, expected radians between -π/2 and π/2")
        # back = (cos pitch · sin yaw, sin pitch, cos pitch · cos yaw); position = back
        back = torch.stack([pitch.cos() * yaw.sin(), pitch.sin(), pitch.cos() * yaw.cos()], dim=-1)
        # right = normalise((0, 1, 0) × back) = (cos yaw, 0, −sin yaw); up = back × right
        right = torch.stack([yaw.cos(), torch.zeros_like(yaw), -yaw.sin()], dim=-1)
        up = torch.linalg.cross(back, right)
        cos, sin = roll.cos()[:, None], roll.sin()[:, None]
        right, up = cos * right + sin * up, cos * up - sin * right
        return cls(torch.stack([right, up, back, back], dim=-1), fov_deg, perspective)

    @property
    def batch_size(self) -> int:
        return self.cam2world.shape[0]

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None = None) -> Camera:
        """Return the same cameras elsewhere.

        Args:
            device: Where they go; None leaves them.
            dtype: Floating point type; None leaves it.
        """
        places = None if self.places is None else self.places.to(device=device, dtype=dtype)
        return replace(self, cam2world=self.cam2world.to(device=device, dtype=dtype), places=places)

    def split(self) -> list[Camera]:
        """Return B single cameras."""
        places = [None] * self.batch_size if self.places is None else self.places.split(1)
        return [replace(self, cam2world=pose, places=own) for pose, own in zip(self.cam2world.split(1), places)]

    def expand(self, batch_size: int) -> Camera:
        """Repeat a single camera, or check that there are ``batch_size`` of them.

        Args:
            batch_size: How many cameras are wanted.

        Raises:
            ValueError: There are more than one and not ``batch_size`` cameras.
        """
        if self.batch_size not in (1, batch_size):
            raise ValueError(f"{self.batch_size} cameras for {batch_size} latents, expected 1 or {batch_size}")
        return replace(self, cam2world=self.cam2world.expand(batch_size, 3, 4))


def _angles(name: str, value) -> Tensor:
    try:
        angles = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} is {shown(value)}, expected radians: a number, several of them or a tensor") from None
    if angles.dtype != torch.float64:
        angles = angles.to(torch.float32)
    angles = angles.reshape(-1)
    if not torch.isfinite(angles).all():
        raise ValueError(f"{name} is {angles.tolist()}, expected finite radians")
    return angles


def focal_length(fov_deg: float) -> float:
    """Return the focal length in units of the image size, 0.5 / tan(fov / 2)."""
    return 0.5 / math.tan(math.radians(fov_deg) / 2)


def camera_rays(camera: Camera, resolution: int, fov_deg: float) -> tuple[Tensor, Tensor, Tensor]:
    """Cast one ray through every pixel's centre, or where the camera says.

    Args:
        camera: Cameras.
        resolution: Height and width of the image in pixels.
        fov_deg: Full field of view in degrees where the camera states none.

    Returns:
        rays_o: Origins in the world. ``(B, H, W, 3)``.
        rays_d: Directions in the world with unit z-depth (not unit length). ``(B, H, W, 3)``.
        camera_d: The same directions in camera axes. ``(1, H, W, 3)``, or of each camera where each has its own.
    """
    cam2world = camera.cam2world
    focal = focal_length(camera.fov_deg if camera.fov_deg is not None else fov_deg)
    if camera.places is not None:
        columns, rows = camera.places.unbind(dim=-1)
    else:
        centres = (torch.arange(resolution, device=cam2world.device, dtype=cam2world.dtype) + 0.5) / resolution - 0.5
        rows, columns = torch.meshgrid(centres, centres, indexing="ij")
        rows, columns = rows[None], columns[None]
    # direction = ((i − R/2) / f, −(j − R/2) / f, −1), here in units of the image size
    camera_d = torch.stack([columns / focal, -rows / focal, -torch.ones_like(rows)], dim=-1)
    rays_d = torch.einsum("bij,bhwj->bhwi", cam2world[:, :, :3], camera_d.expand(len(cam2world), -1, -1, -1))
    rays_o = cam2world[:, None, None, :, 3].expand_as(rays_d)
    if camera.perspective != 1.0:  # through the same places at unit depth
        moved = (1.0 - camera.perspective) * (rays_d + cam2world[:, None, None, :, 2])
        rays_o, rays_d = rays_o + moved, rays_d - moved
        camera_d = camera_d * camera_d.new_tensor([camera.perspective, camera.perspective, 1.0])
    return rays_o, rays_d, camera_d


def project(camera: Camera, points: Tensor, fov_deg: float, size: int) -> tuple[Tensor, Tensor]:
    """Find where points are in a picture: the reverse of ``camera_rays``.

    Args:
        camera: One camera.
        points: World points in front of it. ``(..., 3)``.
        fov_deg: Full field of view in degrees where the camera states none.
        size: Height and width of the picture in pixels.

    Returns:
        x to the right and y downwards from the upper left corner, pixels, ``(..., 2)``; z-depth, ``(...)``.
    """
    pose = camera.cam2world[0].to(points)
    in_camera = (points - pose[:, 3]) @ pose[:, :3]  # right, up, back
    depth = -in_camera[..., 2]
    focal = focal_length(camera.fov_deg if camera.fov_deg is not None else fov_deg)
    # a ray through x at unit depth is at x (1 + perspective (depth − 1)) there
    widening = 1.0 + camera.perspective * (depth - 1.0)
    return (0.5 + focal * in_camera[..., :2] * points.new_tensor([1.0, -1.0]) / widening[..., None]) * size, depth


def sample_poses(
    num_poses: int, yaw: float, pitch: float, distribution: str = "gaussian", generator: torch.Generator | None = None
) -> Tensor:
    """Draw camera angles from the pose prior (paper section 4).

    Args:
        num_poses: How many.
        yaw: Standard deviation (gaussian) or half range (uniform), radians.
        pitch: The same for pitch.
        distribution: ``"gaussian"`` or ``"uniform"``.
        generator: CPU source of randomness.

    Returns:
        Yaw and pitch in radians. ``(N, 2)``.
    """
    spread = torch.tensor([yaw, pitch])
    if distribution == "gaussian":
        return torch.randn(num_poses, 2, generator=generator) * spread
    if distribution == "uniform":
        return (torch.rand(num_poses, 2, generator=generator) * 2 - 1) * spread
    raise ValueError(f"unknown pose distribution {distribution!r}, expected gaussian or uniform")


def orbit_angles(
    num_frames: int, yaw_range: float = 0.5, pitch_range: float = 0.25, path: str = "ellipse"
) -> list[tuple[float, float]]:
    """Return (yaw, pitch) in radians along one closed path around the frontal view, for a film that loops.

    Args:
        num_frames: Poses, evenly spaced in time; the one after the last would be the first.
        yaw_range: Largest yaw.
        pitch_range: Largest pitch.
        path: ``"ellipse"`` goes once around the frontal view. ``"sweep"`` turns to and fro at pitch 0. ``"spiral"``
            swings three times to both sides while the camera rises from below, and mirrored on its way back.

    Raises:
        ValueError: An unknown path.
    """
    if path not in PATHS:
        raise ValueError(f"path is {path!r}, expected one of {', '.join(PATHS)}")
    phases = [2 * math.pi * frame / num_frames for frame in range(num_frames)]
    if path == "sweep":
        return [(yaw_range * math.sin(phase), 0.0) for phase in phases]
    if path == "spiral":
        return [(yaw_range * math.sin(SPIRAL_SWINGS * phase), -pitch_range * math.cos(phase)) for phase in phases]
    return [(yaw_range * math.sin(phase), pitch_range * math.cos(phase)) for phase in phases]
