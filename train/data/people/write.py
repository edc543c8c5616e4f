"""The data set of people as a folder of images: one person and one view per picture."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from stylesdf.files import replacing
from train.data.people.identity import Person, sample_person
from train.data.people.rays import load_embree
from train.data.people.render import BACKGROUND, Head, render_rgba
from train.data.processes import in_order
from train.poses import pose_of

FORMAT = 1
OPTIONS_OF_PEOPLE = ("seed", "glasses_share", "hat_share")  # the others are of the pictures
CONFIG_FILE, METADATA_FILE = "people.json", "metadata.jsonl"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class PeopleConfig:
    """What is in a folder of people; the same config gives the same bytes.

    Args:
        count: Number of images, each of another person.
        image_size: Height and width in pixels.
        fov_deg: Full field of view in degrees.
        yaw_std: Standard deviation of the camera's yaw, radians; draws are clipped at three of them.
        pitch_std: The same for the pitch.
        supersample: Rays per pixel and axis for antialiasing.
        seed: Seed of people and cameras.
        glasses_share: Share of people who wear glasses, in [0, 1].
        hat_share: Share of people who wear a hat, in [0, 1].
    """

    count: int = 6000
    image_size: int = 256
    fov_deg: float = 12.0
    yaw_std: float = 0.3
    pitch_std: float = 0.15
    supersample: int = 2
    seed: int = 0
    glasses_share: float = 0.06
    hat_share: float = 0.06

    def __post_init__(self) -> None:
        for name in ("count", "image_size", "supersample"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "yaw_std", "pitch_std"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("glasses_share", "hat_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not 0 < self.fov_deg < 180:
            raise ValueError(f"fov_deg must lie between 0 and 180, got {self.fov_deg}")


def person_of(index: int, config: PeopleConfig) -> Person:
    """Draw the person in image ``index``."""
    return sample_person(index, config.seed, config.glasses_share, config.hat_share)


def are_default_people(names: Sequence[str], options: Mapping[str, object]) -> bool:
    """Return whether picture n shows ``sample_person(n)``: all people from the first on, drawn by default options.

    Args:
        names: Of the pictures in their folder.
        options: Those of ``PeopleConfig`` that they were drawn with.
    """
    are_default = all(options.get(name) == getattr(PeopleConfig, name) for name in OPTIONS_OF_PEOPLE)
    return are_default and all(name == _file_name(index) for index, name in enumerate(names))


def write_people(out: str | Path, config: PeopleConfig, jobs: int = 1) -> None:
    """Write the data set as an ordinary image folder, or go on with one that was interrupted.

    ``images/000000.png`` ... are 8-bit RGBA: colour already over ``BACKGROUND`` everywhere, alpha the coverage.
    ``metadata.jsonl`` has one line per image: file_name, yaw, pitch (radians) and who it is; it is written last, when
    all images are there. ``people.json`` holds the config. A picture depends on the config and its index only,
    whatever ``jobs`` is.

    Worker processes are spawned where ``jobs`` is more than 1, so a script that calls this needs the usual
    ``if __name__ == "__main__"``.

    Args:
        out: Folder; new, empty, or one that the same config was written to.
        config: What to write.
        jobs: Processes, each of one thread.

    Raises:
        ValueError: The folder holds something else or people of another config, ``jobs`` is not positive, or embreex
            is not installed and there is something to draw.
        RunError: A process was killed.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    out = Path(out)
    missing = [index for index in range(config.count) if not _is_complete(out / _file_name(index))]
    if missing:
        load_embree()  # before anything is written
    _claim(out, config)
    images = out / "images"
    images.mkdir(exist_ok=True)
    _remove_half_written(images)
    metadata = out / METADATA_FILE
    if not missing and metadata.exists():
        return
    with (
        tqdm(total=config.count, initial=config.count - len(missing), unit="image", desc="people") as bar,
        contextlib.closing(_write_images(out, config, missing, jobs)) as written,
    ):
        for _ in written:
            bar.update()
    _write_text(metadata, "".join(json.dumps(_record(index, config)) + "\n" for index in range(config.count)))


def _remove_half_written(images: Path) -> None:
    """Remove what a process has left that was killed."""
    for leftover in images.glob(".*.png"):
        leftover.unlink()


def _claim(out: Path, config: PeopleConfig) -> None:
    """Write the config to a new folder, or find the same one there.

    Raises:
        ValueError: There is something else.
    """
    about = dict(format=FORMAT, kind="people", background=BACKGROUND, config=asdict(config))
    about = json.loads(json.dumps(about))
    path = out / CONFIG_FILE
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"will not write to {out}: it exists and is neither an empty folder nor one of people")
        _write_text(path, json.dumps(about, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if found != about:
        before = found.get("config") if isinstance(found, dict) else found
        raise ValueError(f"will not write to {out}: it holds people of another config, {before}, not {about['config']}")


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _file_name(index: int) -> str:
    return f"images/{index:06d}.png"


def _is_complete(path: Path) -> bool:
    """Tell whether a PNG is there to its end."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(_PNG_END), os.SEEK_END)
            return file.read() == _PNG_END
    except OSError:
        return False


def _record(index: int, config: PeopleConfig) -> dict:
    """Return the line of metadata of an image."""
    person, (yaw, pitch) = person_of(index, config), pose_of(index, config)
    return dict(
        file_name=_file_name(index),
        yaw=round(yaw, 6),
        pitch=round(pitch, 6),
        age=round(person.age, 3),
        gender=round(person.gender, 3),
        skin_tone=round(person.skin_tone, 2),
        hair_style=person.hair_style,
        hair_colour=person.hair_colour,
        eye_colour=person.eye_colour,
        beard=person.beard,
        glasses=person.glasses,
        hat=person.has_hat,
        expression=person.expression,
        gaze_yaw=round(person.gaze[0], 4),
        gaze_pitch=round(person.gaze[1], 4),
    )


def _write_image(task: tuple[Path, PeopleConfig, int]) -> None:
    out, config, index = task
    head = Head(person_of(index, config))
    pixels = render_rgba(head, *pose_of(index, config), config.image_size, config.supersample, config.fov_deg)
    with replacing(out / _file_name(index)) as temporary:
        Image.fromarray(pixels).save(temporary, compress_level=3)


def _write_images(out: Path, config: PeopleConfig, indices: Sequence[int], jobs: int) -> Iterator[None]:
    """Write images and yield after each."""
    tasks = [(out, config, index) for index in indices]
    try:
        with _environment(_ONE_THREAD):
            yield from in_order(_write_image, tasks, min(jobs, len(tasks)))
    finally:
        _remove_half_written(out / "images")


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
