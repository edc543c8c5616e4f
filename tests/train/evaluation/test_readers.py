"""Readers: trained once and kept, calibrated, and what is known of them."""

import dataclasses
import math

import pytest
import torch

from train.evaluation import readers
from train.evaluation.readers import Reader, calibrate, load_reader, train_reader
from train.evaluation.readings import r_squared
from train.evaluation.references import uniform_poses
from train.evaluation.subjects import SUBJECTS, TOY_HEADS, Attribute, Drawn
from train.networks.pose_reader import MAX_PITCH, MAX_YAW

KINDS = (Attribute("kind", "kind", ("one", "two", "three")),)


def small(**recipe):
    return dataclasses.replace(TOY_HEADS, recipe={**TOY_HEADS.recipe, "held_out": 10, "counted": 40, **recipe})


def test_the_reader_is_trained_once_and_kept(tmp_path, monkeypatch):
    subject = small(heads=10, views=2, epochs=2, batch=10, is_residual=True, is_mirrored=True, is_half=True)
    path, shares = tmp_path / "deep" / "reader.safetensors", []
    first = load_reader(subject, path, shares.append)
    assert shares[-1] == pytest.approx(1.0) and shares == sorted(shares)
    written = path.read_bytes()
    second = load_reader(subject, path, lambda share: pytest.fail("trained again"))
    pictures = torch.rand(3, 3, 64, 64) * 2 - 1
    assert torch.equal(first.angles(pictures), second.angles(pictures))
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert first.confusion.species.sum() == 5 and first.drawn.species.tolist() == [10] * 4
    assert len(written) < 2e6
    shipped = small(heads=10, views=2, epochs=2, batch=10)
    with pytest.raises(ValueError, match="reader.safetensors is no reader of toy-heads, or one of another recipe"):
        load_reader(shipped, path)
    assert path.read_bytes() == written
    load_reader(dataclasses.replace(shipped, reader_path=path))
    assert path.read_bytes() != written


def test_a_mirrored_head_looks_the_other_way():
    pictures = torch.arange(40.0).view(40, 1, 1, 1) + torch.arange(4.0)
    poses = torch.rand(40, 2) - 0.5
    seen, turned = readers._mirrored(pictures, poses, torch.Generator().manual_seed(0))
    is_mirrored = seen[:, 0, 0, 0] > seen[:, 0, 0, 3]
    assert 10 < is_mirrored.sum() < 30 and torch.equal(seen.sort(dim=3).values, pictures)
    assert torch.equal(turned[:, 1], poses[:, 1])
    assert torch.equal(turned[:, 0], torch.where(is_mirrored, -poses[:, 0], poses[:, 0]))
    reader = Reader(KINDS, is_mirrored=True).eval()
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    there, back = reader.angles(pictures), reader.angles(pictures.flip(3))
    torch.testing.assert_close(there, back * torch.tensor([-1.0, 1.0]))


def test_the_reader_learns_poses_and_classes():
    reader = train_reader(small(heads=60, views=1, epochs=10, batch=10))
    poses = uniform_poses(25, MAX_YAW, MAX_PITCH)
    drawn = TOY_HEADS.draw(range(25), 3, poses[:, None])
    assert r_squared(poses[:, 0], reader.angles(drawn.pictures)[:, 0]) > 0.4
    assert (reader.classes(drawn.pictures)["species"] == drawn.classes["species"]).double().mean() > 0.4


class Tilted(Reader):
    """Reads noisy logits of three kinds off the first pixels, and takes the second kind for too frequent."""

    def __init__(self):
        super().__init__(KINDS)
        with torch.no_grad():
            self.heads["kind"].weight.copy_(torch.eye(3, 128))
            self.heads["kind"].bias.copy_(torch.tensor([0.0, 1.5, 0.0]))

    def features(self, pictures):
        return pictures.flatten(1)[:, :128]


def noisy(count, seed):
    random = torch.Generator().manual_seed(seed)
    kind = torch.multinomial(torch.tensor([0.85, 0.10, 0.05]), count, replacement=True, generator=random)
    pictures = torch.randn(count, 3, 64, 64, generator=random)
    pictures[torch.arange(count), 0, 0, kind] += 3.0
    return Drawn(pictures, pictures[:, 0], {"kind": kind})


def test_calibrated_shares_are_the_true_ones():
    reader, drawn, others = Tilted(), noisy(1000, 1), noisy(2000, 2)

    def error(drawn):
        read, true = (torch.bincount(kinds, minlength=3).double() / len(kinds) for kinds in
                      (reader.classes(drawn.pictures)["kind"], drawn.classes["kind"]))  # fmt: skip
        return (read - true).abs().max()

    assert error(others) > 0.1
    calibrate(reader, drawn)
    assert error(drawn) < 0.005 and error(others) < 0.02


def test_expected_shares_by_hand():
    reader = Reader(KINDS)
    reader.confusion.kind.copy_(torch.tensor([[8, 2, 0], [0, 5, 5], [0, 0, 0]]))
    reader.drawn.kind.copy_(torch.tensor([500, 300, 200]))
    assert reader.accuracy("kind") == pytest.approx(13 / 20)
    # a kind that was not held out counts as read rightly
    assert reader.expected_shares("kind").tolist() == pytest.approx([0.4, 0.1 + 0.15, 0.15 + 0.2])


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_the_shipped_reader_is_of_the_recipe(subject):
    if not subject.reader_path.is_file():
        pytest.skip("it is not there yet")
    assert subject.reader_path.stat().st_size < 2e6
    reader = load_reader(subject, report=lambda share: pytest.fail("trained anew"))
    drawn = subject.draw(range(12), 5, torch.zeros(12, 1, 2))
    assert reader.angles(drawn.pictures).abs().mean() < math.radians(2)
    for name, read in reader.classes(drawn.pictures).items():
        assert (read == drawn.classes[name]).double().mean() >= reader.accuracy(name) - 0.3
        assert reader.accuracy(name) > 0.7
