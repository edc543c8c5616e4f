"""The geometry: known numbers for the arithmetic, known shapes, good and bad, for the metrics."""

import math

import numpy as np
import pytest
import torch

from stylesdf.mesh import extract_mesh
from tests.train.evaluation.scenes import RADIUS, ball, mask, nothing, plate, spilling, two_balls
from train.evaluation.geometry import bends, bulge, relief
from train.evaluation.registry import METRICS
from train.evaluation.views import Context, Options


@pytest.fixture
def context():
    return Context(options=Options(subject="toy-heads"))


def test_relief_and_bulge_by_hand():
    depth = torch.full((30, 30), math.nan)
    assert relief(depth) is None and bulge(depth) is None
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(30.0), indexing="ij")
    ring = torch.maximum((rows - 14.5).abs(), (columns - 14.5).abs())  # a square of rings of equal depth
    inside = ring < 10
    hill = torch.where(inside, ring, torch.nan)
    assert relief(hill) == pytest.approx(9.5 - 0.5 - 1.0)  # 4 and 12 of 400 pixels lie at 0.5 and 1.5: 2 % are 8
    # distance to the outline is 10.5 - ring; the quantile 1/3 of it is at ring 8.5, the quantile 2/3 at 5.5
    assert bulge(hill) == pytest.approx(8.5 - 4.5, abs=1.0)
    assert bulge(-hill) == pytest.approx(-bulge(hill))


def test_a_ball_is_a_good_head(scene, context):
    model, seeds = scene(ball), range(3)
    found = {name: METRICS[name].measure(model, seeds, 1.0, context) for name in ("surface", "silhouette", "relief")}
    assert found["surface"] == {"count": 3, "closed": 1.0, "pieces": 1.0, "absent": 0.0}
    assert found["silhouette"]["iou"] > 0.95
    assert found["relief"]["convex"] == 1.0 and found["relief"]["hollow"] == 0.0
    assert found["relief"]["relief"] == pytest.approx(0.0409, abs=2e-4)  # of the exact ball on these 32×32 rays
    assert found["relief"]["reference_convex"] == 1.0 and found["relief"]["reference_relief"] > 0.04


def test_without_a_subject_there_is_no_reference(scene):
    for name in ("relief", "smoothness"):
        found = METRICS[name].measure(scene(ball), range(2), 1.0, Context())
        assert found["count"] == 2 and not [key for key in found if key.startswith("reference")]


def test_a_hollow_mask_is_seen(scene, context):
    found = METRICS["relief"].measure(scene(mask), range(2), 1.0, context)
    assert found["convex"] == 0.0 and found["hollow"] == 1.0 and found["bulge"] < -0.01
    assert METRICS["surface"].measure(scene(mask), range(1), 1.0, context)["closed"] == 1.0


def test_a_flat_head_is_seen(scene, context):
    flat, round_ = scene(plate), scene(ball)
    found = METRICS["relief"].measure(flat, range(2), 1.0, context)
    assert found["with_surface"] == 1.0 and found["relief"] < 0.1 * found["reference_relief"]
    assert abs(found["bulge"]) < 0.1 * found["reference_bulge"]
    bend = METRICS["smoothness"].measure(flat, range(2), 1.0, context)["bend"]
    assert bend < 0.5 < METRICS["smoothness"].measure(round_, range(2), 1.0, context)["bend"]


@pytest.mark.parametrize(
    "shape, expected",
    [
        (two_balls, {"closed": 0.0, "pieces": 2.0, "absent": 0.0}),
        (spilling, {"closed": 0.0, "pieces": 1.0, "absent": 0.0}),
        (nothing, {"closed": 0.0, "pieces": 0.0, "absent": 1.0}),
    ],
)
def test_bad_surfaces_are_seen(scene, context, shape, expected):
    found = METRICS["surface"].measure(scene(shape), range(1), 1.0, context)
    assert found == {"count": 1, **expected}


def test_a_cloud_and_an_empty_scene_have_bad_silhouettes(scene, context):
    assert METRICS["silhouette"].measure(scene(ball, beta=0.02), range(1), 1.0, context)["iou"] < 0.8
    assert METRICS["silhouette"].measure(scene(nothing), range(1), 1.0, context)["iou"] == 0.0
    empty = METRICS["relief"].measure(scene(nothing), range(1), 1.0, context)
    assert (empty["relief"], empty["convex"], empty["with_surface"]) == (0.0, 0.0, 0.0)


def test_the_tiny_models_mesh_is_the_scenes(scene):
    vertices = extract_mesh(scene(ball), torch.zeros(1, 16), 32).vertices
    assert np.allclose(np.linalg.norm(vertices, axis=1), RADIUS, atol=1e-3)


def test_a_ball_bends_evenly_and_a_rough_one_does_not():
    rows, columns = torch.meshgrid(torch.linspace(-0.1, 0.1, 64), torch.linspace(-0.1, 0.1, 64), indexing="ij")
    inside = 0.06**2 - rows**2 - columns**2
    depth = torch.where(inside > 0, 1.0 - inside.clamp(min=0).sqrt(), torch.nan)
    angles = bends(depth, 0.2)
    assert math.degrees(0.2 / 64 / 0.06) * 0.8 < angles.median() < math.degrees(0.2 / 64 / 0.06) * 2.5
    rough = depth + 0.004 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    assert bends(rough, 0.2).median() > 4 * angles.median()


def test_smooth_scenes_are_smoother_than_heads(scene, context):
    result = METRICS["smoothness"].measure(scene(ball), range(4), 1.0, context)
    assert result["bend"] < 20 and result["reference_rough"] > result["rough"]
