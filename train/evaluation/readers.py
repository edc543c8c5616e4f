"""Readers: small networks that read the pose and the attributes of a subject off a picture.

A reader is trained on heads of a seed that no data set has, drawn with uniform poses, so that it knows the whole range
as well as the middle. Its confusion on held-out heads is kept in its file: shares that it reads in generated pictures
are compared with the shares that it would read in drawn ones.

Shapes: N pictures, K classes, V views of a head.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from stylesdf.checkpoint import read_header
from stylesdf.files import replacing
from train.evaluation.features import to_bytes
from train.evaluation.subjects import Attribute, Drawn, Subject
from train.networks.pose_reader import CHUNK, MAX_PITCH, MAX_YAW, PoseReader, learn, pose_loss

log = logging.getLogger(__name__)
CALIBRATION_ROUNDS = 100


class Reader(PoseReader):
    """A reader of poses that tells attributes, too.

    Args:
        attributes: What it tells.
        is_residual: As ``PoseReader`` has it.
        is_mirrored: Whether it was trained on mirrored pictures too: poses are then the mean of a picture's and its
            mirror image's, which is more accurate.

    Attributes:
        confusion: Heads of each true class (rows) that were read as each class (columns), by attribute: the test
            split, drawn from the front. ``(K, K)`` int64 each.
        drawn: Heads of each class among many that are as frequent as in the data, by attribute. ``(K,)`` int64 each.
    """

    def __init__(
        self, attributes: Sequence[Attribute], is_residual: bool = False, is_mirrored: bool = False
    ) -> None:
        super().__init__(is_residual)
        self.is_mirrored = is_mirrored
        self.heads = nn.ModuleDict({each.name: nn.Linear(128, len(each.classes)) for each in attributes})
        self.confusion, self.drawn = nn.Module(), nn.Module()
        for each in attributes:
            size = len(each.classes)
            self.confusion.register_buffer(each.name, torch.zeros(size, size, dtype=torch.int64))
            self.drawn.register_buffer(each.name, torch.ones(size, dtype=torch.int64))

    def forward(self, pictures: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Read pictures in [−1, 1], ``(N, 3, 64, 64)``: poses as shares of the range ``(N, 2)``, logits ``(N, K)``."""
        hidden = self.hidden(pictures)
        return self.pose(hidden), {name: head(hidden) for name, head in self.heads.items()}

    @torch.no_grad()
    def angles(self, pictures: Tensor) -> Tensor:
        """Return (yaw, pitch) in radians, of pictures in [−1, 1] ``(N, 3, 64, 64)``. ``(N, 2)``."""
        angles = super().angles(pictures)
        if not self.is_mirrored:
            return angles
        return (angles + super().angles(pictures.flip(3)) * angles.new_tensor([-1.0, 1.0])) / 2.0

    @torch.no_grad()
    def features(self, pictures: Tensor) -> Tensor:
        """Return what pose and attributes are read from, of pictures in [−1, 1] ``(N, 3, 64, 64)``. ``(N, 128)``."""
        return torch.cat([self.hidden(chunk) for chunk in pictures.split(CHUNK)])

    @torch.no_grad()
    def classes(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the numbers of the classes that pictures in [−1, 1] show, by attribute. ``(N,)`` each."""
        features = self.features(pictures)
        return {name: head(features).argmax(dim=1) for name, head in self.heads.items()}

    def accuracy(self, name: str) -> float:
        """Return the accuracy of an attribute on the test split."""
        confusion = self.confusion.get_buffer(name).double()
        return float(confusion.diagonal().sum() / confusion.sum().clamp(min=1.0))

    def expected_shares(self, name: str) -> Tensor:
        """Return the shares of classes that are read off drawn pictures, as frequent as in the data. ``(K,)``

        The shares among very many drawn heads times the confusion of each class; the mean of what was read on the test
        split would have the sampling error of its few heads.
        """
        confusion, drawn = self.confusion.get_buffer(name).double(), self.drawn.get_buffer(name).double()
        tested = confusion.sum(dim=1, keepdim=True)
        read_as = torch.where(tested > 0, confusion / tested.clamp(min=1.0), torch.eye(len(drawn), dtype=torch.float64))
        return drawn / drawn.sum() @ read_as


def load_reader(
    subject: Subject, path: str | Path | None = None, report: Callable[[float], None] = lambda share: None
) -> Reader:
    """Load a subject's reader from a file, or train it and write the file where there is none.

    Args:
        subject: What it reads.
        path: safetensors; None takes the one that is shipped, which is trained anew if its recipe is another.
        report: Called with the share of the training that is done, in [0, 1].

    Raises:
        ValueError: The file is something else, a reader of another recipe, or is cut off.
    """
    is_shipped = path is None
    path = subject.reader_path if is_shipped else Path(path)
    recipe = json.dumps(subject.recipe, sort_keys=True)
    if path.is_file():
        read_header(path)  # refuses what is no such file
        with safe_open(path, framework="pt") as file:
            known = (file.metadata() or {}).get("recipe")
        if known == recipe:
            reader = _make_reader(subject, subject.recipe)
            reader.load_state_dict(safetensors.torch.load_file(path))
            return reader.eval()
        if not is_shipped:
            what = f"{path} is no reader of {subject.name}, or one of another recipe"
            raise ValueError(f"{what}: expected a reader, or a new name to train one")
        log.info("%s holds a reader of another recipe: a new one is trained", path)
    state = train_reader(subject, report).state_dict()
    if subject.recipe["is_half"]:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(state, metadata={"recipe": recipe}))
    return load_reader(subject, path)


def _make_reader(subject: Subject, recipe: dict) -> Reader:
    return Reader(subject.attributes, recipe["is_residual"], recipe["is_mirrored"])


def train_reader(subject: Subject, report: Callable[[float], None] = lambda share: None, **recipe) -> Reader:
    """Draw heads and train a reader on them; ``recipe`` overrides entries of the subject's.

    The recipe: the train split, ``heads`` with ``views`` each at uniform poses; ``held_out`` heads as frequent as in
    the data, from the front, one half to calibrate the biases of the attributes and the other half the test split;
    ``counted`` heads, whose attributes give the shares of the data; whether the network ``is_residual``, half of the
    pictures ``is_mirrored``, and the file ``is_half``, of 16-bit floats;
    ``attribute_weight`` of the cross entropy of each attribute, beside the loss of the pose; ``epochs``, ``batch`` and
    ``rate`` of the training; the ``seed`` of everything.
    """
    recipe = {**subject.recipe, **recipe}
    heads, views, held_out, seed = (recipe[name] for name in ("heads", "views", "held_out", "seed"))
    random = torch.Generator().manual_seed(seed)
    poses = (torch.rand(heads, views, 2, generator=random) * 2 - 1) * torch.tensor([MAX_YAW, MAX_PITCH])
    drawing = 0.6 * heads / (heads + held_out)
    pictures, classes = _draw_to_learn(subject, seed, poses, lambda share: report(drawing * share))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = _make_reader(subject, recipe)
    poses = poses.flatten(0, 1)

    def loss(batch: Tensor, index: Tensor) -> Tensor:
        true_poses = poses[index]
        if recipe["is_mirrored"]:
            batch, true_poses = _mirrored(batch, true_poses, random)
        shares, logits = reader(batch)
        attributes = [F.cross_entropy(logits[name], true[index]) for name, true in classes.items()]
        return pose_loss(shares, true_poses) + recipe["attribute_weight"] * sum(attributes)

    learn(reader, pictures, loss, recipe, random, lambda share: report(drawing + 0.4 * share))
    numbers, front = range(heads, heads + held_out), torch.zeros(held_out, 1, 2)
    rest = drawing + 0.4
    others = subject.draw(numbers, seed, front, lambda share: report(rest + (1.0 - rest) * share))
    is_test = torch.arange(held_out) % 2 == 1
    calibrate(reader, _part(others, ~is_test))
    _test_attributes(reader, _part(others, is_test), subject, seed)
    return reader


def _mirrored(pictures: Tensor, poses: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror half of the pictures, chosen at random, and their yaw."""
    side = 1.0 - 2.0 * (torch.rand(len(pictures), generator=random) < 0.5).float()
    flipped = torch.where(side[:, None, None, None] < 0, pictures.flip(3), pictures)
    return flipped, poses * torch.stack([side, torch.ones_like(side)], dim=1)


def _draw_to_learn(subject: Subject, seed: int, poses: Tensor, report: Callable) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw a view of a head for each pose ``(N, V, 2)``; a part at a time, for depth is not kept.

    Returns:
        Pictures in [−1, 1], or of 8 bits where they are drawn so, ``(N · V, 3, 64, 64)``; numbers of classes by
        attribute, ``(N · V,)`` each.
    """
    parts = []
    for start in range(0, len(poses), CHUNK):
        stop = min(start + CHUNK, len(poses))
        drawn = subject.draw_to_learn(range(start, stop), seed, poses[start:stop], lambda share: None)
        parts.append((to_bytes(drawn.pictures) if subject.draws_bytes else drawn.pictures, drawn.classes))
        report(stop / len(poses))
    pictures, classes = zip(*parts)
    return torch.cat(pictures), {name: torch.cat([part[name] for part in classes]) for name in classes[0]}


def _part(drawn: Drawn, chosen: Tensor) -> Drawn:
    return Drawn(
        drawn.pictures[chosen], drawn.depth[chosen], {name: true[chosen] for name, true in drawn.classes.items()}
    )


@torch.no_grad()
def calibrate(reader: Reader, drawn: Drawn) -> None:
    """Shift the biases of the attributes until each class is read as often as it occurs.

    A class that is rarer in the data than in the train split would be read too often, and one that is hard to recognise
    too seldom.

    Args:
        reader: Its biases change.
        drawn: Heads as frequent as in the data.
    """
    features = reader.features(drawn.pictures)
    for name, true in drawn.classes.items():
        head = reader.heads[name]
        logits, size = head(features), head.out_features
        wanted = torch.bincount(true, minlength=size)
        best, shift = None, torch.zeros(size)
        for _ in range(CALIBRATION_ROUNDS):
            read = torch.bincount((logits + shift).argmax(dim=1), minlength=size)
            off = int((read - wanted).abs().sum())
            if best is None or off < best[0]:
                best = (off, shift)
            shift = shift + 0.3 * ((wanted + 1.0) / (read + 1.0)).log()
        head.bias += best[1]


def _test_attributes(reader: Reader, drawn: Drawn, subject: Subject, seed: int) -> None:
    """Record the reader's confusion on the test split, and how frequent classes are in the data."""
    counts = subject.count_classes(subject.recipe["counted"], seed)
    for name, read in reader.classes(drawn.pictures).items():
        size = len(counts[name])
        pairs = torch.bincount(drawn.classes[name] * size + read, minlength=size * size)
        reader.confusion.get_buffer(name).copy_(pairs.view(size, size))
        reader.drawn.get_buffer(name).copy_(counts[name])
        log.info("%s: accuracy %.1f %% on the test split", name, 100.0 * reader.accuracy(name))
