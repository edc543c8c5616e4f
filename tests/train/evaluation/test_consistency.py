"""Views of known scenes: a ball agrees with itself, shapes that change with the camera do not."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig
from stylesdf.outputs import RenderOutput
from train.evaluation import consistency
from train.evaluation.consistency import mean_distance, project, surface_points, visible_from
from train.evaluation.registry import METRICS
from train.evaluation.views import Context
from train.pretrained import PretrainedGenerator

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"
CONFIG = StyleSDFConfig(decoder_channels=(), render_resolution=32, latent_size=4)


class Heads(nn.Module):
    """Renders a ball exactly; ``wobble`` moves it towards the camera by another amount for each view."""

    def __init__(self, wobble=0.0, is_flat=False):
        super().__init__()
        self.config, self.wobble, self.is_flat = CONFIG, wobble, is_flat
        self.register_buffer("w_avg", torch.zeros(4))
        self.views = 0

    def mapping(self, z, psi):
        return z

    def render(self, w, camera, resolution, num_samples, with_features):
        axis = (torch.arange(resolution) + 0.5) / resolution * 2 - 1
        rows, columns = torch.meshgrid(-axis, axis, indexing="ij")
        half = math.tan(math.radians(CONFIG.fov_deg) / 2)
        direction = torch.stack([columns * half, rows * half, -torch.ones_like(rows)], dim=-1)
        rotation, origin = camera.cam2world[0, :, :3], camera.cam2world[0, :, 3]
        rays = direction @ rotation.T
        a, b, c = rays.square().sum(-1), 2 * (rays @ origin), origin @ origin - 0.06**2
        root = b.square() - 4 * a * c
        depth = (-b - root.clamp(min=0).sqrt()) / (2 * a)
        if self.is_flat:
            depth = torch.ones_like(depth)  # a picture painted on the plane before each camera
        self.views += 1
        depth = depth - self.wobble * (self.views % 2)
        points = origin + rays * depth[..., None]
        colours = points / 0.12
        return RenderOutput(
            thumbnail=colours.permute(2, 0, 1)[None], features=None, xyz=points.permute(2, 0, 1)[None],
            depth=depth[None, None], background=(root <= 0).float()[None, None], sdf=None,
        )  # fmt: skip


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.setattr(consistency, "render_near_surface", lambda model, *given, **more: model.render(*given, **more))
    return lambda name, model: METRICS[name].measure(model, range(6), 1.0, Context())


def test_a_ball_agrees_with_itself(measure):
    assert measure("depth-consistency", Heads())["distance"] < 0.3  # what is left is the grid of rays
    assert measure("reprojection", Heads())["error"] < 0.02


def test_what_changes_with_the_camera_is_measured(measure):
    moved = measure("depth-consistency", Heads(wobble=0.01))["distance"]
    assert 2.0 < moved < 0.01 / (0.24 / 128) + 1
    assert measure("depth-consistency", Heads(is_flat=True))["distance"] > 1.0
    flat = measure("reprojection", Heads(is_flat=True))
    assert flat["error"] > 3 * measure("reprojection", Heads())["error"]


def test_an_empty_scene_is_not_compared(measure):
    model = Heads()
    model.render = lambda *arguments, **options: _without(Heads.render(model, *arguments, **options))
    assert measure("depth-consistency", model)["distance"] is None
    assert measure("depth-consistency", model)["compared"] == 0


def _without(seen):
    return type(seen)(**{**seen.__dict__, "background": torch.ones_like(seen.background)})


def test_projection_and_occlusion():
    camera = Camera.from_angles(0.0, 0.0)
    half = math.tan(math.radians(6.0))
    place, depth = project(torch.tensor([[0.0, 0.0, 0.0], [half, half, 0.0]]), camera, 12.0)
    np.testing.assert_allclose(place.numpy(), [[0.0, 0.0], [1.0, -1.0]], atol=1e-5)
    np.testing.assert_allclose(depth.numpy(), [1.0, 1.0])
    wall = torch.full((8, 8), 0.98)
    points = torch.tensor([[0.0, 0.0, 0.015], [0.0, 0.0, -0.05]])
    assert visible_from(points, camera, 12.0, wall, torch.ones(8, 8), 0.01).tolist() == [True, False]
    assert not visible_from(points, camera, 12.0, wall, torch.zeros(8, 8), 0.01).any()


def test_distances_by_hand():
    a = np.array([[0.0, 0, 0], [1.0, 0, 0]])
    assert mean_distance(a, a + [0, 0.5, 0]) == pytest.approx(0.5)
    assert mean_distance(a, a[:1]) == pytest.approx(0.5)
    plane = torch.stack(
        [*torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij"), torch.zeros(4, 4)], dim=-1
    )
    is_solid = torch.ones(4, 4, dtype=torch.bool)
    is_solid[:, 3] = False
    dense = surface_points(plane, is_solid)
    assert len(dense) == (3 * consistency.REFINED + 1) * (2 * consistency.REFINED + 1)
    assert dense[:, 1].max() == 2.0  # nothing beyond what is solid


def test_the_real_renderer_gives_points_depth_coverage_and_colours(tiny_model):
    w = tiny_model.mapping(torch.zeros(1, tiny_model.config.latent_size))
    seen = consistency.lift(tiny_model, w, Camera.from_angles(0.1, 0.0), 16, 8)
    assert [tuple(part.shape) for part in seen] == [(16, 16, 3), (16, 16), (16, 16), (3, 16, 16)]


@pytest.mark.parametrize("name", ["people", "toy-heads"])
def test_samples_that_are_left_out_change_nothing(name):
    model = PretrainedGenerator.from_pretrained(CHECKPOINTS / name).eval()
    w, camera = model.mapping(torch.randn(1, model.config.latent_size), 0.7), Camera.from_angles(0.3, 0.1)
    options = {"resolution": 32, "num_samples": 128, "with_features": False}
    with torch.no_grad():
        whole, near = model.render(w, camera, **options), consistency.render_near_surface(model, w, camera, **options)
    assert (whole.background - near.background).abs().max() < 0.01
    seen = whole.background < consistency.MAX_BACKGROUND
    assert (whole.depth - near.depth)[seen].abs().max() < 0.1 * (model.config.far - model.config.near) / 128
