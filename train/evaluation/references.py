"""Drawn heads to compare results with, from the front and turned; kept on disk where drawing them takes minutes.

Shapes: N heads.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from stylesdf.files import replacing
from train.data.images import default_cache_dir, to_signed
from train.evaluation.features import to_bytes
from train.evaluation.subjects import REFERENCE_SEED, Subject

YAW_RANGE, PITCH_RANGE = math.radians(30.0), math.radians(15.0)
BLOCK = 25  # heads in a file


@dataclass(frozen=True, eq=False)
class References:
    """Heads of a seed that no reader and no data set uses.

    Attributes:
        front: Pictures from the front, in [−1, 1]. ``(N, 3, 64, 64)``.
        depth: z-depth of these views, world units; NaN in the background. ``(N, 64, 64)``.
        turned: Pictures of the same heads at ``uniform_poses`` over ±30° of yaw and ±15° of pitch. As ``front``.
    """

    front: Tensor
    depth: Tensor
    turned: Tensor


def uniform_poses(count: int, yaw_range: float = YAW_RANGE, pitch_range: float = PITCH_RANGE) -> Tensor:
    """Return (yaw, pitch) that fill ±range evenly, the same at every call. ``(N, 2)``.

    The additive recurrence of the plastic number, x_i = frac(i / φ₂), y_i = frac(i / φ₂²): of low discrepancy in two
    dimensions. Fewer are the first of more.
    """
    plastic = 1.324717957244746
    steps = torch.tensor([1.0 / plastic, 1.0 / plastic**2], dtype=torch.float64)
    unit = (0.5 + torch.arange(count, dtype=torch.float64)[:, None] * steps) % 1.0
    return ((unit * 2.0 - 1.0) * torch.tensor([yaw_range, pitch_range], dtype=torch.float64)).float()


def draw_references(
    subject: Subject, count: int, fov_deg: float, report: Callable[[float], None] = lambda share: None
) -> References:
    """Draw the first so many reference heads of a subject, or load what an earlier evaluation has kept.

    Args:
        subject: Whose heads; they are kept where it has ``sources``, and drawn anew when these change.
        count: N.
        fov_deg: Full field of view, degrees.
        report: Called with the share that is done, in [0, 1].
    """
    turns = uniform_poses(math.ceil(count / BLOCK) * BLOCK)
    rows = []
    for start in range(0, count, BLOCK):
        size = BLOCK if subject.sources else min(BLOCK, count - start)
        path = _path(subject, start, fov_deg)
        if path is not None and path.is_file():
            row = safetensors.torch.load_file(path)
        else:
            row = _draw(subject, start, turns[start : start + size], fov_deg)
            if path is not None:
                with replacing(path) as temporary:
                    temporary.write_bytes(safetensors.torch.save(row))
        rows.append(row)
        report(min(start + BLOCK, count) / count)
    columns = {name: torch.cat([row[name] for row in rows])[:count] for name in rows[0]}
    return References(**{name: _signed(column) for name, column in columns.items()})


def _draw(subject: Subject, start: int, turns: Tensor, fov_deg: float) -> dict[str, Tensor]:
    poses = torch.stack([torch.zeros_like(turns), turns], dim=1)
    numbers = range(start, start + len(turns))
    drawn = subject.draw(numbers, REFERENCE_SEED, poses, lambda share: None, fov_deg)
    pictures = drawn.pictures.unflatten(0, (len(turns), 2))
    if subject.draws_bytes:
        pictures = to_bytes(pictures)
    front, turned = pictures.unbind(dim=1)
    row = {"front": front, "depth": drawn.depth[::2], "turned": turned}
    return {name: value.contiguous() for name, value in row.items()}


def _signed(column: Tensor) -> Tensor:
    return to_signed(column) if column.dtype == torch.uint8 else column


def _path(subject: Subject, start: int, fov_deg: float) -> Path | None:
    """Return where a block is kept; None where the subject's heads are not kept."""
    if not subject.sources:
        return None
    key = [REFERENCE_SEED, YAW_RANGE, PITCH_RANGE, BLOCK, *([] if fov_deg == subject.fov_deg else [fov_deg])]
    digest = hashlib.sha256(json.dumps(key).encode())
    for source in subject.sources:
        digest.update(source.read_bytes())
    folder = default_cache_dir() / "references" / f"{subject.name}-{digest.hexdigest()[:24]}"
    return folder / f"{start:05d}.safetensors"
