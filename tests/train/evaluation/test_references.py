"""Reference heads: evenly turned, the same for any number of them, and drawn once where that takes long."""

import dataclasses

import numpy as np
import torch

from train.evaluation import references
from train.evaluation.references import draw_references, uniform_poses
from train.evaluation.subjects import TOY_HEADS


def test_poses_fill_the_range_evenly():
    poses = uniform_poses(400, 0.5, 0.25)
    assert torch.equal(poses, uniform_poses(400, 0.5, 0.25))
    assert torch.equal(poses[:7], uniform_poses(7, 0.5, 0.25))
    counts = np.histogram2d(*poses.numpy().T, bins=4, range=[[-0.5, 0.5], [-0.25, 0.25]])[0]
    assert counts.sum() == 400 and counts.min() >= 20 and counts.max() <= 30  # 25 each


def test_references_are_the_drawn_heads():
    found = draw_references(TOY_HEADS, 4, 12.0)
    poses = torch.stack([torch.zeros(4, 2), uniform_poses(4)], dim=1)
    drawn = TOY_HEADS.draw(range(4), references.REFERENCE_SEED, poses)
    assert torch.equal(found.front, drawn.pictures[::2]) and torch.equal(found.turned, drawn.pictures[1::2])
    assert torch.equal(found.depth.nan_to_num(0), drawn.depth[::2].nan_to_num(0))


def test_what_takes_long_is_drawn_once(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(references, "BLOCK", 2)
    source, asked, shares = tmp_path / "draw.py", [], []
    source.write_text("first")

    def draw(numbers, *arguments):
        asked.extend(numbers)
        return TOY_HEADS.draw(numbers, *arguments)

    subject = dataclasses.replace(TOY_HEADS, draw=draw, draws_bytes=True, sources=(source,))
    first = draw_references(subject, 3, 12.0, shares.append)
    assert asked == [0, 1, 2, 3] and shares[-1] == 1.0 and len(first.front) == 3
    more = draw_references(subject, 5, 12.0)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert torch.equal(more.front[:3], first.front) and torch.equal(more.turned[:3], first.turned)
    assert torch.equal(more.depth[:3].nan_to_num(0), first.depth.nan_to_num(0))
    exact = draw_references(TOY_HEADS, 3, 12.0)
    assert (first.front - exact.front).abs().max() < 1 / 127  # kept with 8 bits
    narrow = draw_references(subject, 1, 9.0)
    assert asked == [0, 1, 2, 3, 4, 5, 0, 1] and not torch.equal(narrow.depth.isnan(), first.depth[:1].isnan())
    assert torch.equal(draw_references(subject, 1, 12.0).front, first.front[:1])  # both are kept
    source.write_text("second")
    draw_references(subject, 1, 12.0)
    assert asked == [0, 1, 2, 3, 4, 5, 0, 1, 0, 1]
