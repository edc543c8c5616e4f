"""Subjects: what the drawn data sets show, and how to draw more of it than any data set has.

A subject is what metrics of it need: attributes with their classes, a background, and new heads from any side with
depth and attributes. Its reader is trained on some of these heads, and results are compared with others.

Shapes: N heads, V views of each, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from train.data import toy_heads
from train.data.images import to_signed
from train.data.people import identity
from train.networks.pose_reader import POSE_RECIPE, RESOLUTION

DATA = Path(__file__).parents[1] / "data"
REFERENCE_SEED = 20_240_602  # of the heads that results are compared with; no reader and no data set uses it
FOV_DEG = 12.0  # degrees, of what readers were trained on
Report = Callable[[float], None]


@dataclass(frozen=True)
class Attribute:
    """What a reader estimates of a head beside its pose.

    Attributes:
        name: Its key in a report.
        text: Its name for people.
        classes: Their names.
    """

    name: str
    text: str
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Views of heads, those of one head after each other.

    Attributes:
        pictures: In [−1, 1]. ``(N · V, 3, 64, 64)``, or of the size that was asked for.
        depth: z-depth with NaN in the background, world units. ``(N · V, 64, 64)``, or the same.
        classes: Numbers of the class that each picture's head has, by attribute. ``(N · V,)`` each.
    """

    pictures: Tensor
    depth: Tensor
    classes: dict[str, Tensor]


@dataclass(frozen=True)
class Subject:
    """What a data set shows.

    Attributes:
        name: As ``--subject`` takes it, and as a data set says of itself.
        title: For tables.
        background: Colour behind its heads, in [0, 1].
        fov_deg: Full field of view at which its reader was trained, degrees.
        attributes: What its reader reads beside the pose.
        reader_path: Where its reader is shipped.
        recipe: How its reader is trained, as ``train.evaluation.readers`` says.
        draw: Function of numbers of heads, their seed, poses in radians ``(N, V, 2)``, a report, the full field of view
            in degrees and the pictures' size in pixels, that returns ``Drawn``; attributes are as frequent as in the
            data.
        draw_to_learn: The same, where rare attributes may be more frequent.
        count_classes: Function of a number of heads and their seed that counts the heads of each class by attribute,
            without drawing them. ``(K,)`` each.
        draws_bytes: Whether its pictures are of 8 bits, and are kept so.
        sources: Files that make its heads what they are, where these take so long to draw that they are kept.
    """

    name: str
    title: str
    background: tuple[float, float, float]
    fov_deg: float
    attributes: tuple[Attribute, ...]
    reader_path: Path
    recipe: dict
    draw: Callable[..., Drawn]
    draw_to_learn: Callable[[Sequence[int], int, Tensor, Report, float], Drawn]
    count_classes: Callable[[int, int], dict[str, Tensor]]
    draws_bytes: bool = False
    sources: tuple[Path, ...] = ()


def _draw_toy_heads(
    numbers: Sequence[int],
    seed: int,
    poses: Tensor,
    report: Report = lambda share: None,
    fov_deg: float = FOV_DEG,
    resolution: int = RESOLUTION,
) -> Drawn:
    views, size = poses.shape[1], 100
    pictures, depths, species = [], [], []
    for start in range(0, len(numbers), size):
        chosen = [toy_heads.sample_head(number, seed) for number in numbers[start : start + size]]
        heads = [head for head in chosen for _ in range(views)]
        yaw, pitch = poses[start : start + size].flatten(0, 1).unbind(dim=1)
        drawn = toy_heads.render_heads(heads, yaw, pitch, resolution, fov_deg)
        pictures.append(drawn.rgb.permute(0, 3, 1, 2) * 2.0 - 1.0)
        depths.append(drawn.depth)
        species += [toy_heads.SPECIES.index(head.species) for head in heads]
        report((start + len(chosen)) / len(numbers))
    return Drawn(torch.cat(pictures), torch.cat(depths), {"species": torch.tensor(species)})


def _count_toy_heads(count: int, seed: int) -> dict[str, Tensor]:
    return {"species": torch.full((len(toy_heads.SPECIES),), count // len(toy_heads.SPECIES))}  # uniform


HAIR_STYLES = (
    "buzz", "part", "quiff", "crop", "curly", "bald", "afro", "bowl", "knot", "long", "receding", "bob", "fringe_bob",
    "fringe_long", "bun", "pixie", "puffs", "pigtails", "spacebuns",
)  # fmt: skip
SKIN_TONES = ("lightest", "light", "medium", "dark", "darkest")  # fifths of the range of tones
RARE_SHARE = 0.2  # of glasses and of hats in a reader's train split
PEOPLE_ATTRIBUTES = (
    Attribute("hair_style", "hair style", HAIR_STYLES),
    Attribute("beard", "beard", ("none", *identity.BEARDS)),
    Attribute("glasses", "glasses", ("none", "round", "square")),
    Attribute("hat", "hat", ("no", "yes")),
    Attribute("skin_tone", "skin tone", SKIN_TONES),
    Attribute("age", "age", identity.AGES),
)


def _classes_of(person: identity.Person) -> tuple[int, ...]:
    """Return the number of a person's class by ``PEOPLE_ATTRIBUTES``."""
    tone = int(person.skin_tone / (len(identity.SKIN_TONES) - 1) * len(SKIN_TONES))
    age = 0 if person.is_child else 2 if person.age > identity.OLD_ABOVE else 1
    named = (person.hair_style, person.beard, person.glasses)
    numbers = [each.classes.index(value) for each, value in zip(PEOPLE_ATTRIBUTES, named)]
    return *numbers, int(person.has_hat), min(tone, len(SKIN_TONES) - 1), age


def _by_attribute(rows: Sequence[tuple[int, ...]]) -> dict[str, Tensor]:
    return {each.name: torch.tensor(column) for each, column in zip(PEOPLE_ATTRIBUTES, zip(*rows))}


def _draw_people(
    numbers: Sequence[int],
    seed: int,
    poses: Tensor,
    report: Report = lambda share: None,
    fov_deg: float = FOV_DEG,
    resolution: int = RESOLUTION,
    **shares: float,
) -> Drawn:
    from train.data.people import render

    pictures, depths, rows = [], [], []
    for count, (number, views) in enumerate(zip(numbers, poses.tolist()), start=1):
        person = identity.sample_person(number, seed, **shares)
        head = render.Head(person)
        for yaw, pitch in views:
            picture = render.render_head(head, yaw, pitch, resolution, 2, fov_deg)
            pictures.append(torch.from_numpy(picture.rgba[..., :3].transpose(2, 0, 1).copy()))
            depths.append(torch.from_numpy(picture.depth))
            rows.append(_classes_of(person))
        report(count / len(numbers))
    return Drawn(to_signed(torch.stack(pictures)), torch.stack(depths), _by_attribute(rows))


def _count_people(count: int, seed: int) -> dict[str, Tensor]:
    numbers = _by_attribute([_classes_of(identity.sample_person(number, seed)) for number in range(count)])
    return {each.name: torch.bincount(numbers[each.name], minlength=len(each.classes)) for each in PEOPLE_ATTRIBUTES}


TOY_HEADS = Subject(
    name="toy-heads",
    title="toy heads",
    background=toy_heads.BACKGROUND,
    fov_deg=FOV_DEG,
    attributes=(Attribute("species", "species", toy_heads.SPECIES),),
    reader_path=DATA / "toy-reader.safetensors",
    recipe={
        "version": 2,
        "seed": 20_240_601,
        "heads": 4000,
        "views": 1,
        "held_out": 1000,
        "counted": 10_000,
        "is_residual": False,
        "is_mirrored": False,
        "attribute_weight": 0.1,
        "is_half": False,
        **POSE_RECIPE,
    },
    draw=_draw_toy_heads,
    draw_to_learn=_draw_toy_heads,
    count_classes=_count_toy_heads,
)
PEOPLE = Subject(
    name="people",
    title="drawn people",
    background=(204 / 255, 219 / 255, 237 / 255),
    fov_deg=FOV_DEG,
    attributes=PEOPLE_ATTRIBUTES,
    reader_path=DATA / "people" / "reader.safetensors",
    recipe={
        "version": 1,
        "seed": 20_240_603,
        "heads": 3000,
        "views": 6,
        "held_out": 1000,
        "counted": 20_000,
        "is_residual": True,
        "is_mirrored": True,
        "attribute_weight": 0.04,
        "is_half": True,
        "epochs": 8,
        "batch": 50,
        "rate": 3e-3,
    },
    draw=_draw_people,
    draw_to_learn=partial(_draw_people, glasses_share=RARE_SHARE, hat_share=RARE_SHARE),
    count_classes=_count_people,
    draws_bytes=True,
    sources=tuple(sorted(path for path in (DATA / "people").iterdir() if path.suffix in (".py", ".npz"))),
)
SUBJECTS = {subject.name: subject for subject in (TOY_HEADS, PEOPLE)}
