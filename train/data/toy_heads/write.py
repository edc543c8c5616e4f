"""Writes the data set as an ordinary image folder, in two processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image

from stylesdf.files import replacing_folder
from train.data.processes import in_order
from train.data.toy_heads.head import SPECIES
from train.data.toy_heads.rays import Scene, View
from train.data.toy_heads.render import BACKGROUND, render_color
from train.data.toy_heads.sample import sample_head
from train.poses import pose_of

FORMAT = 1
IMAGES_PER_TASK = 32


@dataclass(frozen=True)
class ToyHeadsConfig:
    """What is in a toy-heads folder; the same config gives the same bytes.

    Args:
        count: Number of images, each of another animal.
        image_size: Height and width in pixels.
        seed: Seed of animals and cameras.
        yaw_std: Standard deviation of the camera's yaw, radians; draws are clipped at three of them.
        pitch_std: The same for the pitch.
        fov_deg: Full field of view in degrees.
        supersample: Rays per pixel and axis for antialiasing.
    """

    count: int = 8000
    image_size: int = 128
    seed: int = 0
    yaw_std: float = 0.3
    pitch_std: float = 0.15
    fov_deg: float = 12.0
    supersample: int = 2

    def __post_init__(self) -> None:
        for name in ("count", "image_size", "supersample"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "yaw_std", "pitch_std"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.fov_deg < 180:
            raise ValueError(f"fov_deg must lie between 0 and 180, got {self.fov_deg}")


def write_toy_heads(folder: str | Path, config: ToyHeadsConfig, progress: bool = True) -> None:
    """Write the data set as an ordinary image folder.

    ``images/000000.png`` ... are 8-bit RGBA: colour already over ``BACKGROUND`` everywhere, alpha the coverage.
    ``metadata.jsonl`` has one line per image: file_name, yaw, pitch (radians), species and the attributes of the head.
    ``toy_heads.json`` holds the config. The folder appears under its name only when it is complete.

    Two worker processes are spawned for more than a handful of images, so a script that calls this needs the usual
    ``if __name__ == "__main__"``.

    Args:
        folder: Where to write; must not exist, or be empty.
        config: What to write; the same config gives the same bytes.
        progress: Show a progress bar.

    Raises:
        ValueError: If the folder exists and is not empty.
        RunError: A process was killed.
    """
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"will not overwrite {folder}: it exists and is not an empty folder")
    with replacing_folder(folder) as partial:
        (partial / "images").mkdir()
        starts = range(0, config.count, IMAGES_PER_TASK)
        tasks = [(str(partial), config, k, min(k + IMAGES_PER_TASK, config.count)) for k in starts]
        with open(partial / "metadata.jsonl", "w", encoding="utf-8", newline="\n") as file:
            # starting processes for fewer tasks would take longer
            with closing(in_order(_write_images, tasks, 2 if len(tasks) > 2 else 1)) as batches:
                for lines in _with_progress(batches, config.count, progress):
                    file.writelines(line + "\n" for line in lines)
        about = dict(format=FORMAT, kind="toy_heads", background=BACKGROUND, species=SPECIES, config=asdict(config))
        (partial / "toy_heads.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small tensors are faster on one thread, and the bytes do not depend on the machine's cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _write_images(task: tuple[str, ToyHeadsConfig, int, int]) -> list[str]:
    """Write images ``start`` to ``stop`` and return their lines of metadata."""
    folder, config, start, stop = task
    lines = []
    with _one_thread():
        for index in range(start, stop):
            head, (yaw, pitch) = sample_head(index, config.seed), pose_of(index, config)
            view = View.from_angles(yaw, pitch, config.image_size, config.fov_deg)
            rgb, alpha = render_color(Scene.of(head), view, config.supersample)
            pixels = (torch.cat([rgb, alpha[..., None]], dim=-1) * 255).round_().to(torch.uint8).numpy()
            name = f"images/{index:06d}.png"
            Image.fromarray(pixels).save(Path(folder) / name, compress_level=1)
            record = dict(file_name=name, yaw=round(yaw, 6), pitch=round(pitch, 6), species=head.species)
            lines.append(json.dumps(record | head.attributes))
    return lines


def _with_progress(batches: Iterator[list[str]], count: int, progress: bool) -> Iterator[list[str]]:
    from tqdm import tqdm

    with tqdm(total=count, unit="image", desc="toy heads", disable=not progress) as bar:
        for lines in batches:
            yield lines
            bar.update(len(lines))
