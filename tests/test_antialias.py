"""Quality "best": more rays than pixels, and films that flicker less."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scripts.flicker import flicker, sharpness
from stylesdf import Shot, StyleSDF
from stylesdf.antialias import KEPT, SOLID, blend_with_last, sharpen
from stylesdf.config import DEFAULT_MODEL
from stylesdf.fast.surface import render_guided
from stylesdf.shot import QUALITIES


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
    # rays count by how near they are to the middle of the pixel, up to a pixel's width away
    distance = ((torch.arange(64)[:, None] + 0.5) / 64 - (torch.arange(96) + 0.5) / 96).abs() * 64
    shares = (1.0 - distance).clamp(min=0.0)
    shares /= shares.sum(dim=1, keepdim=True)
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
    head, shots = people.head(0, 0.7), Shot().round(60)[:4]
    rounds = {quality: itertools.islice(head.orbit(60, shot=Shot(quality=quality)), 4) for quality in QUALITIES}
    films = {quality: [np.asarray(view.image, float) for view in views] for quality, views in rounds.items()}
    levels = flicker(head, shots, films)
    assert levels["best"] < 0.65 * levels["exact"]
    assert sharpness(films["best"][-1]) == pytest.approx(sharpness(films["exact"][-1]), rel=0.15)


@torch.no_grad()
def test_a_picture_keeps_some_of_the_last_where_both_see_the_same_surface(people):
    head, shots = people.head(0, 0.7), [Shot(0.1 * i, perspective=0.5, fov_deg=13.0) for i in range(2)]
    last, seen = (head.view(shot).rendering for shot in shots)
    stripes = [last.xyz.new_zeros(1, 3, 64, 64), last.xyz.new_zeros(1, 3, 64, 64)]
    for stripe, rendering in zip(stripes, (last, seen)):  # a pattern painted on the surface
        stripe[:] = (60.0 * rendering.xyz[:, :2].sum(dim=1, keepdim=True)).sin()
    blended = blend_with_last(stripes[1] + 0.5, seen, stripes[0], last, shots[0].camera, head.config.fov_deg)
    added = (blended - stripes[1])[0].mean(dim=0)
    is_kept = (added - 0.5).abs() > 1e-6
    assert 0.2 < is_kept.float().mean() < 0.6 and not is_kept[seen.background[0, 0] > SOLID].any()
    # the last picture lacks the half, and says the same of the pattern
    assert (added[is_kept] - 0.5 * (1.0 - KEPT)).abs().mean() < 0.01
    away = Shot(math.pi).camera  # sees nothing of this side
    behind = head.view(Shot(math.pi)).rendering
    torch.testing.assert_close(blend_with_last(stripes[1], seen, stripes[0], behind, away, 12.0), stripes[1])
