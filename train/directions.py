"""Edits with names: directions among a model's latents along which a measure of its pictures changes, and no other.

Three networks, which begin as the reader of people, learn to read the measures (``train/data/people/measures.py``) off
drawn pictures; what each is tested on it has not seen. Two read heads of the model: least squares gives the mean latent
of heads that differ in one measure alone. Directions that a linear reader is most sensitive to (InterFaceGAN, arXiv
2005.09635) are others: they lead away from all heads. They are then combined until each moves its own measure by 1 and
no other. The third network, which had no part in that, measures what the edits do.

A network that cannot tell ages apart says that all are near the mean. So what it says of a change is divided by its
gain: by how much it says that unseen drawn people differ who differ by 1.

Shapes: N heads or pictures, D directions, R readings: measures, those that are held, yaw and pitch.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.checkpoint import COMPANION_FILES, REPORT_FILES, WEIGHTS_FILE, checkpoint_contents, file_hash
from stylesdf.directions import Directions, find_latents
from stylesdf.files import replacing
from stylesdf.model import Generator
from stylesdf.pictures import to_pil
from train.data.images import ImageSet
from train.data.people.measures import MEASURES, RARE
from train.evaluation.measures import READ, SIZE, MeasureReader, learn_measures, measures_of, room_of
from train.evaluation.views import draw_full, latent
from train.networks.pose_reader import check_poses

log = logging.getLogger(__name__)
REPORT_FILE, STRIPS_FILE = REPORT_FILES
POSE = ("yaw", "pitch")  # read in degrees
NUM_READERS = 3  # of which the last measures what the others found
LEAST_GAIN = 0.1
HELD_OUT = 10  # every so many pictures one is kept for testing
FRONT = Camera.from_angles(0.0, 0.0)
NUM_HEADS = 1200  # that least squares is done on
NUM_EDITED = 48  # heads that are edited for the lengths, and as many others for the report
ROUNDS = 3  # of corrections that make each direction move its own reading by 1 and no other
DAMPING = 0.3  # of each
MOST_LONGER = 3.0  # than the mean latent says, that a direction becomes
LEAST_R2 = 0.3  # of a measure in unseen drawn pictures; what is read worse has no direction
LEAST_MOVED = 0.3  # per amount, of a measure; what moves less has no direction
SHOWN_SEED, SHOWN_PSI = 10, 0.7  # of the head in the pictures
AMOUNTS = (-2.0, -1.0, 1.0, 2.0)  # of the report
Report = Callable[[str, float], None]


def learn_directions(
    model: Generator, data: ImageSet, seed: int = 0, report: Report = lambda part, share: None
) -> tuple[Directions, dict]:
    """Find the directions of a model of people.

    Args:
        model: Whose heads are read; in evaluation mode.
        data: Drawn people.
        seed: Of networks and heads.
        report: Called with what is being done, and the share of it that is done, in [0, 1].

    Returns:
        Directions, and a report fit for JSON: by name ``r2`` of the third network on unseen drawn pictures, ``slope``
        per amount from −2 to 2, of what most people lack from 0 to 2, and what it would be ``at_most`` if drawn people
        went as far as there are any; whether the mean ``is_monotonic`` there; ``leakage``, the largest change of
        another measure per amount; ``pose_deg``, the mean turn at an amount of 1; and the whole ``matrix`` of changes.

    Raises:
        ValueError: The data is of no use, see ``measures_of``; or no direction works.
    """
    check_poses(data)
    truth = measures_of(data)
    numbers = torch.arange(len(data))
    learned = [
        learn_measures(data, truth, numbers % HELD_OUT != number, seed + number,
                       lambda share, n=number: report("readers", (n + share) / NUM_READERS))
        for number in range(NUM_READERS)
    ]  # fmt: skip
    names = [name for name in READ if min(scores[name] for _, scores in learned) >= LEAST_R2]
    for name in MEASURES.keys() - set(names):
        log.info("%s is read too badly off unseen pictures to have a direction", name)
    *readers, (last, scores) = learned
    finder, judge = _Editor(model, [reader for reader, _ in readers], names), _Editor(model, [last], names)
    directions = _mean_latents(finder, range(seed, seed + NUM_HEADS), lambda share: report("heads", share))
    edited = range(seed + NUM_HEADS, seed + NUM_HEADS + NUM_EDITED)
    longest = MOST_LONGER * directions.vectors.norm(dim=1)
    for number in range(ROUNDS):
        changes = finder.changes(edited, directions, (AMOUNTS[0], AMOUNTS[-1]),
                                 lambda share, n=number: report("corrections", (n + share) / ROUNDS))  # fmt: skip
        directions = _corrected(directions, _slopes(changes, directions.names), longest)
    others = range(edited.stop, edited.stop + NUM_EDITED)
    directions = _only(directions, [name for name in names if name in MEASURES])
    changes = judge.changes(others, directions, AMOUNTS, lambda share: report("what the edits do", share))
    slopes = _slopes(changes, directions.names)
    works = [name for name, row in zip(directions.names, slopes) if row[names.index(name)] >= LEAST_MOVED]
    for name in (name for name in directions.names if name not in works):
        log.info("%s hardly moves in this model's pictures, and gets no direction", name)
    if not works:
        raise ValueError("no direction moves what it should in the model's pictures, none is written")
    rows = torch.tensor([name in works for name in directions.names])
    columns = torch.tensor([name in works for name in names] + [True] * len(POSE))
    changes = {amount: change[rows][:, columns] for amount, change in changes.items()}
    room = room_of(truth, AMOUNTS[-1])
    return _only(directions, works), _summary(works, changes, scores, room)


def _mean_latents(editor: _Editor, seeds: range, report: Callable[[float], None]) -> Directions:
    """Return by how much the mean latent of heads differs whose one reading is larger by 1 and whose others are equal.

    So a direction stays among the heads.
    """
    codes = editor.codes(seeds)
    read, latents = editor.draw(codes, report), find_latents(editor.model.renderer_mapping, codes).cpu()
    directions = Directions(latents.shape[1], [*editor.names, *POSE])
    # by singular values: the default was seen to drop columns at random where others are zero
    pair = read - read.mean(dim=0), latents - latents.mean(dim=0)
    directions.vectors.copy_(torch.linalg.lstsq(*pair, driver="gelsd").solution)
    return directions


def _only(directions: Directions, names: list[str]) -> Directions:
    """Return some of the directions."""
    some = Directions(directions.vectors.shape[1], names)
    some.vectors.copy_(directions.vectors[[directions.names.index(name) for name in names]])
    return some


def _corrected(directions: Directions, moved: Tensor, longest: Tensor) -> Directions:
    """Combine directions so that each moves its own reading by 1 and no other, as far as a damped Newton step goes.

    Args:
        directions: R of them.
        moved: By how much an amount of 1 of each moves each reading. ``(R, R)``.
        longest: That each may become. ``(R,)``.
    """
    damping = DAMPING * torch.eye(len(moved))
    shares = torch.linalg.solve(moved @ moved.t() + damping, moved.t() + damping, left=False)
    vectors = shares @ directions.vectors
    corrected = Directions(vectors.shape[1], directions.names)
    corrected.vectors.copy_(vectors * (longest / vectors.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)[:, None])
    return corrected


def _slopes(changes: Mapping[float, Tensor], names: list[str]) -> Tensor:
    """Return by how much readings change per amount of each direction, ``(D, R)``; of what is rare from 0 on."""
    lowest, highest = min(changes), max(changes)
    slopes = (changes[highest] - changes[lowest]) / (highest - lowest)
    is_rare = torch.tensor([name in RARE for name in names])
    return torch.where(is_rare[:, None], changes[highest] / highest, slopes)


class _Editor:
    """Draws heads of a model from the front, moves them, and reads what they show.

    Args:
        model: Whose heads.
        readers: Read all measures; what counts is the mean of what they say, each divided by its gains.
        names: Of the measures that are meant.
    """

    def __init__(self, model: Generator, readers: Sequence[MeasureReader], names: list[str]) -> None:
        self.model, self.readers, self.names = model, readers, names
        self.chosen = torch.tensor([name in names for name in READ])

    @torch.no_grad()
    def codes(self, seeds: range) -> Tensor:
        """Return the codes of seeds at ψ 1. ``(N, latent_size)``."""
        return torch.cat([self.model.mapping(latent(self.model, seed), 1.0) for seed in seeds])

    def changes(
        self, seeds: range, directions: Directions, amounts: tuple[float, ...], report: Callable[[float], None]
    ) -> dict[float, Tensor]:
        """Return by how much readings change in the mean along each direction, by amount. ``(D, R)`` each."""
        codes, names = self.codes(seeds), directions.names
        latents = find_latents(self.model.renderer_mapping, codes)
        before, changes, rounds = self.draw(codes, lambda share: None).mean(dim=0), {}, len(names) * len(amounts)
        for amount in amounts:
            rows = []
            for name in names:
                done = len(changes) * len(names) + len(rows)
                moved = directions.move(self.model.renderer_mapping, codes, {name: amount}, latents)
                after = self.draw(moved, lambda share, d=done: report((d + share) / rounds)).mean(dim=0)
                rows.append(after - before)
            changes[amount] = torch.stack(rows)
        return changes

    def draw(self, codes: Tensor, report: Callable[[float], None]) -> Tensor:
        """Draw codes ``(N, latent_size)`` and return what is read. ``(N, R)``."""
        pictures, read = [], []
        for number, w in enumerate(codes.split(1), start=1):
            pictures.append(F.adaptive_avg_pool2d(draw_full(self.model, w, FRONT.to(w.device), 1.0)[0], SIZE).cpu())
            report(number / len(codes))
        batch = torch.cat(pictures)
        for reader in self.readers:
            measures, angles = reader.read(batch)
            read.append(torch.cat([(measures / reader.gains.clamp(min=LEAST_GAIN))[:, self.chosen], angles], dim=1))
        return torch.stack(read).mean(dim=0)


def _summary(
    names: list[str], changes: Mapping[float, Tensor], scores: Mapping[str, float], room: Mapping[str, float]
) -> dict:
    """Say in numbers what edits do, from readings of the measures, yaw and pitch in degrees."""
    ordered, slopes = sorted(changes), _slopes(changes, names)[:, :-2]
    result = {"matrix": {"names": names, "rows": [[round(value, 3) for value in row] for row in slopes.tolist()]}}
    for number, name in enumerate(names):
        lower = [] if name in RARE else [changes[amount][number, number].item() for amount in ordered if amount < 0]
        curve = [*lower, 0.0, *(changes[amount][number, number].item() for amount in ordered if amount > 0)]
        others = [abs(value) for other, value in enumerate(slopes[number].tolist()) if other != number]
        turned = changes[1.0][number, -2:].norm().item()
        result[name] = {
            "r2": round(scores[name], 3),
            "slope": round(slopes[number, number].item(), 3),
            "at_most": round(room[name], 3),
            "is_monotonic": all(a < b for a, b in zip(curve, curve[1:])),
            "leakage": round(max(others, default=0.0), 3),
            "pose_deg": round(turned, 2),
        }
    return result


def table(summary: dict) -> str:
    """Return a report of directions as a Markdown table."""
    heads = "direction", "moved by 1", "of at most", "monotonic", "others at most", "turned at 1", "R² of reading"
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in summary["matrix"]["names"]:
        row = summary[name]
        moved, is_monotonic = f"{row['slope']:.2f} | {row['at_most']:.2f}", "yes" if row["is_monotonic"] else "no"
        cells = name, moved, is_monotonic, f"{row['leakage']:.2f}", f"{row['pose_deg']:.1f}°", f"{row['r2']:.2f}"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def captions(summary: dict) -> dict[str, str]:
    """Return what is written beside each direction's pictures: how much it moves, and what else most."""
    matrix, lines = summary["matrix"], {}
    for name, row in zip(matrix["names"], matrix["rows"]):
        leaks = {other: value for other, value in zip(matrix["names"], row) if other != name}
        most = max(leaks, key=lambda other: abs(leaks[other]), default=None)
        lines[name] = f"moves {summary[name]['slope']:.2f} of {summary[name]['at_most']:.2f}"
        lines[name] += f"\n{most} {leaks[most]:+.2f}" if most else ""
        lines[name] += f"\nturns {summary[name]['pose_deg']:.1f}°"
    return {name: text.replace("_", " ") for name, text in lines.items()}


@torch.no_grad()
def strips(model: Generator, directions: Directions, captions: Mapping[str, str]) -> Image.Image:
    """Draw one head with each direction at −2, −1, 0, 1 and 2, averaged to 128×128 pixels.

    Args:
        model: Whose head.
        directions: A row for each.
        captions: By name, what is written beside the row.
    """
    w = model.mapping(latent(model, SHOWN_SEED), SHOWN_PSI)
    amounts = (-2.0, -1.0, 0.0, 1.0, 2.0)
    sheet = Image.new("RGB", ((len(amounts) + 1) * SIZE, len(directions.names) * SIZE), "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(directions.names):
        pen.text((8, row * SIZE + 24), name.replace("_", " "), "black", ImageFont.load_default(16))
        pen.multiline_text((8, row * SIZE + 50), captions[name], "dimgray", ImageFont.load_default(12), spacing=5)
        for column, amount in enumerate(amounts, start=1):
            moved = directions.move(model.renderer_mapping, w, {name: amount})
            picture, _ = draw_full(model, moved, FRONT.to(w.device), SHOWN_PSI)
            sheet.paste(to_pil(F.adaptive_avg_pool2d(picture, SIZE)), (column * SIZE, row * SIZE))
    return sheet


def write_directions(
    folder: Path, model: Generator, directions: Directions, summary: dict, captions: Mapping[str, str]
) -> None:
    """Write a model's directions, a report of them and a picture into its folder.

    Args:
        folder: With the model's weights.
        model: The same.
        directions: Its.
        summary: The report, fit for JSON.
        captions: By name, what is written beside the pictures.
    """
    about = {"sha256": file_hash(folder / WEIGHTS_FILE, "sha256")}
    name = COMPANION_FILES["directions"]
    with replacing(folder / name) as path:
        path.write_bytes(checkpoint_contents(model, discriminators={"directions": directions})[name])
    with replacing(folder / REPORT_FILE) as path:
        path.write_text(json.dumps({"model": about, **summary}, indent=1) + "\n", encoding="utf-8")
    with replacing(folder / STRIPS_FILE) as path:
        strips(model, directions, captions).save(path, optimize=True)
