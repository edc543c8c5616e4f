"""Quality "best": more rays than pixels, and films that flicker less."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scripts.flicker import flicker, sharpness
from stylesdf import Shot, StyleSDF
from stylesdf.antialias import sharpen
from stylesdf.config import DEFAULT_MODEL
from stylesdf.fast.surface import render_guided


@pytest.fixture(scope="module")
def people():
    return StyleSDF.from_pretrained(DEFAULT_MODEL)


@torch.no_grad()
def test_pixels_are_means_of_more_rays(people):
    head, shot = people.head(3), Shot(0.2, 0.1, quality="best")
    best, exact = (head.view(replace(shot, quality=quality)).rendering for quality in ("best", "exact"))
    for name in ("thumbnail", "depth", "background", "xyz"):
        one, other = getattr(best, name), getattr(exact, name)
        assert one.shape == other.shape
        assert F.avg_pool2d(one - other, 4).abs().mean() < 0.02 * (other.max() - other.min())
    fine = render_guided(head.renderer, head.field, head.guide, shot.camera, 96, 64)
    # three rays make two pixels: the first one is of the first ray and half of the second
    shares = torch.zeros(64, 96)
    for i in range(0, 64, 2):
        first = 3 * i // 2
        shares[i, first : first + 2] = shares[i + 1, first + 1 : first + 3] = 0.5
    torch.testing.assert_close(best.thumbnail, shares @ fine.thumbnail @ shares.T, atol=1e-5, rtol=1e-5)
    assert best.sdf.shape == (1, 64, 64, 64)
    assert head.thumbnail(shot).size == (64, 64)


def test_sharpening_leaves_what_is_flat_and_its_mean():
    flat = torch.full((1, 2, 8, 8), 0.3)
    torch.testing.assert_close(sharpen(flat, 0.5), flat)
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1.0
    sharp = sharpen(dot, 0.5)
    assert sharp.sum().item() == pytest.approx(1.0)
    assert sharp[0, 0, 4, 4].item() == pytest.approx(1.0 + 0.5 * (1.0 - 0.25))
    assert sharp[0, 0, 4, 3].item() == pytest.approx(-0.5 / 8)


def test_a_turning_head_flickers_less_and_is_as_sharp(people):
    head, shots = people.head(0, 0.7), Shot().round(60)[:3]
    films = {
        quality: [np.asarray(head.view(replace(shot, quality=quality)).image, float) for shot in shots]
        for quality in ("exact", "best")
    }
    levels = flicker(head, shots, films)
    assert levels["best"] < 0.75 * levels["exact"]
    assert sharpness(films["best"][0]) == pytest.approx(sharpness(films["exact"][0]), rel=0.15)
