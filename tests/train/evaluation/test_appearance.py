"""Pictures without a network: differences, sizes and colours by hand, and that odd pictures are seen."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tiny import TINY, Model
from tests.train.evaluation.scenes import ball, show
from train.data.toy_heads import BACKGROUND
from train.evaluation.appearance import heads_in, variety_of
from train.evaluation.registry import METRICS
from train.evaluation.subjects import TOY_HEADS
from train.evaluation.views import Context, Options, Views

TOYS = Options(subject="toy-heads")


def test_variety_by_hand():
    black, white = -torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert variety_of(torch.cat([black, white])) == (pytest.approx(1.0), pytest.approx(1.0))
    # pairs: 0, 1, 1; nearest: 0, 0, 1
    assert variety_of(torch.cat([black, black, white])) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert variety_of(black) == (0.0, 0.0)


def test_variety_falls_with_truncation(scene):
    context = Context(options=TOYS)
    full = METRICS["variety"].measure(scene(ball), range(8), 1.0, context)
    assert full["distance"] > 0 and full["reference_distance"] > 0.05
    mean_head = METRICS["variety"].measure(scene(ball), range(8), 0.0, context)
    assert mean_head["distance"] == pytest.approx(0.0, abs=1e-3)
    assert "reference_distance" not in METRICS["variety"].measure(scene(ball), range(2), 1.0, Context())


def discs(diameters, colours, background=BACKGROUND):
    """Round heads of one colour each, in [−1, 1]."""
    rows, columns = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    inside = [(rows.square() + columns.square()).sqrt() < diameter / 2 for diameter in diameters]
    colours, background = torch.tensor(colours)[:, :, None, None], torch.tensor(background)[:, None, None]
    return torch.where(torch.stack(inside)[:, None], colours, background) * 2 - 1


def test_sizes_and_colours_of_heads_by_hand():
    areas, colours = heads_in(discs([32.0, 40.0], [[0.2, 0.4, 0.6], [0.5, 0.3, 0.1]]), torch.tensor(BACKGROUND))
    assert areas.tolist() == pytest.approx([math.pi * 16**2 / 64**2, math.pi * 20**2 / 64**2], rel=0.02)
    assert torch.allclose(colours.float(), torch.tensor([[0.2, 0.4, 0.6], [0.5, 0.3, 0.1]]), atol=1e-6)
    areas, colours = heads_in(discs([0.0], [[0.0, 0.0, 0.0]]), torch.tensor(BACKGROUND))
    assert areas.tolist() == [0.0] and colours.isfinite().all()


@pytest.fixture
def appearance(scene):
    """Measures given pictures as if a model had drawn them."""

    def measure(pictures, context=None):
        context = context or Context(options=TOYS)
        context.views = lambda *arguments: Views(pictures, None, None)
        return METRICS["appearance"].measure(scene(ball), range(len(pictures)), 1.0, context)

    return measure


def heads(count):
    """Other heads than the reference's."""
    return TOY_HEADS.draw(range(count), 11, torch.zeros(count, 1, 2)).pictures


def test_drawn_heads_appear_as_the_data(appearance):
    found = appearance(heads(24))
    assert found["degenerate"] == found["reference_degenerate"] == 0.0
    assert found["area"] == pytest.approx(found["reference_area"], rel=0.05)
    assert found["colour_shift"] < 0.06
    for name in ("area_spread", "colour_spread"):
        assert 0.5 < found[name] / found[f"reference_{name}"] < 2.0


def test_one_head_for_all_and_a_tint_are_seen(appearance):
    drawn = heads(24)
    same = appearance(drawn[:1].expand(24, -1, -1, -1))
    assert same["area_spread"] == pytest.approx(0.0, abs=1e-9) and same["colour_spread"] == pytest.approx(0.0, abs=1e-9)
    background = torch.tensor(BACKGROUND)[:, None, None] * 2 - 1
    is_head = ((drawn - background).abs() > 0.02).any(dim=1, keepdim=True)
    red = torch.where(is_head, drawn + torch.tensor([0.5, 0.0, 0.0])[:, None, None], drawn).clamp(-1, 1)
    assert appearance(red)["colour_shift"] > appearance(drawn)["colour_shift"] + 0.05


def test_what_is_no_head_is_degenerate(appearance):
    grey, kinds = [0.5, 0.5, 0.5], [40.0, 40.0, 4.0, 0.0, 90.0]
    found = appearance(discs(kinds, [grey] * 5))
    assert found["degenerate"] == pytest.approx(3 / 5)
    assert found["area"] == pytest.approx(math.pi * 20**2 / 64**2, rel=0.02)
    black = appearance(discs([40.0] * 3, [grey] * 3, background=(0.0, 0.0, 0.0)))  # another background than the data's
    assert black["degenerate"] == 1.0
    assert [black[name] for name in ("area", "area_spread", "colour_shift", "colour_spread")] == [None] * 4
    assert appearance(torch.rand(3, 3, 64, 64) * 2 - 1)["degenerate"] == 1.0


def test_data_of_no_named_subject_is_its_own_reference(appearance, toy_heads, caplog):
    data = dataclasses.replace(toy_heads, subject="")
    background = Context(data).background
    assert torch.allclose(background, torch.tensor(BACKGROUND), atol=0.01)
    found = appearance(heads(24), Context(data))
    assert found["degenerate"] == 0.0 and found["area"] == pytest.approx(found["reference_area"], rel=0.1)
    photos = np.random.RandomState(0).randint(0, 256, (20, 3, 64, 64), np.uint8)
    assert Context(dataclasses.replace(data, thumbnails=photos)).background is None and not caplog.records
    photos[:, :, 0] = 200  # a plain top row alone is no plain background
    assert Context(dataclasses.replace(data, thumbnails=photos)).background is None


def test_blotches_of_colour_are_speckle_and_shading_is_not(monkeypatch, toy_heads):
    def speckle(pictures):
        show(monkeypatch, pictures)
        return METRICS["speckle"].measure(Model(TINY), range(len(pictures)), 1.0, Context(toy_heads))

    unseen = toy_heads.image_batch(torch.arange(160))[80:110]
    blotches = F.interpolate(0.1 * torch.randn(30, 3, 32, 32), scale_factor=2)
    clean, darker = (speckle(each) for each in (unseen, unseen * 0.99))
    blotched = speckle((unseen + blotches).clamp(-1, 1))["speckle"]
    grey = speckle((unseen + blotches[:, :1]).clamp(-1, 1))["speckle"]
    reference = clean["reference_speckle"]
    assert 0.5 * reference < clean["speckle"] < 2.0 * reference
    assert darker["speckle"] == pytest.approx(clean["speckle"], rel=0.2)
    assert blotched > 3.0 * reference > 1.5 * grey
    assert speckle(torch.full((4, 3, 64, 64), 2.0))["speckle"] is not None
