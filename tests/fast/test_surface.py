"""Surface-guided rendering against the plain one."""

import dataclasses
import math

import pytest
import torch

from stylesdf.camera import Camera
from stylesdf.fast.surface import GRID, SurfaceGuide, num_guided_samples, render_guided
from stylesdf.field import sphere_initialize
from stylesdf.model import Generator
from stylesdf.outputs import FieldOutput
from stylesdf.shot import Shot

FIELDS = ("thumbnail", "features", "xyz", "depth", "background")
CAMERA = Camera.from_angles(0.4, 0.2)


@torch.enable_grad()
def make(config, beta=0.003) -> Generator:
    """A model whose field is roughly a sphere."""
    model = Generator(config).eval()
    codes = lambda: model.renderer_mapping(torch.randn(4, config.latent_size))  # noqa: E731
    sphere_initialize(model.field, 150, codes, learning_rate=4e-3, points_per_code=128)
    with torch.no_grad():
        model.renderer.log_beta.fill_(math.log(beta))
    return model


@pytest.fixture(params=["last sample", "learned", "culled"])
def config(request, tiny_config, tiny_toy_config):
    return {
        "last sample": dataclasses.replace(tiny_config, num_samples=24),
        "learned": dataclasses.replace(tiny_toy_config, num_samples=24),
        "culled": dataclasses.replace(tiny_toy_config, num_samples=24, cull_to_ball=True),
    }[request.param]


def rendered(model, camera=CAMERA, counter=None, **options):
    """The guided rendering, and the plain one with as many samples."""
    field = model.field.condition(model.mapping(torch.randn(1, 16)))
    guide = SurfaceGuide.measure(field, model.config)

    def counting(points, viewdirs):
        if counter is not None:
            counter.append(points.shape[1])
        return field(points, viewdirs)

    guided = render_guided(model.renderer, counting, guide, camera, **options)
    return guided, model.render(field, camera, num_samples=guided.sdf.shape[-1])


@torch.no_grad()
def test_it_is_the_plain_rendering_with_fewer_evaluations(config):
    model = make(config)
    asked = []
    guided, plain = rendered(model, counter=asked)
    assert sum(asked) < 0.4 * plain.sdf.numel()
    for name in FIELDS:
        have, want = getattr(guided, name), getattr(plain, name)
        assert have.shape == want.shape
        assert (have - want).square().mean().sqrt() < 3e-3, name
    assert (guided.depth - plain.depth).abs().max() < (config.far - config.near) / config.num_samples / 2


@torch.no_grad()
def test_without_a_surface_to_be_guided_by_it_is_the_plain_rendering(config):
    model = make(config, beta=0.1)
    guided, plain = rendered(model)
    assert guided.sdf.shape[-1] == config.num_samples
    for name in FIELDS:
        torch.testing.assert_close(getattr(guided, name), getattr(plain, name), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_it_is_deterministic(config):
    model = make(config)
    field = model.field.condition(torch.randn(1, 16))
    first, second = (
        render_guided(model.renderer, field, SurfaceGuide.measure(field, config), CAMERA) for _ in range(2)
    )
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in (*FIELDS, "sdf"))


@torch.no_grad()
def test_a_wide_view_sees_what_lies_beyond_the_grid(tiny_config):
    model = make(dataclasses.replace(tiny_config, num_samples=24))
    guided, plain = rendered(model, camera=Camera.from_angles(0.4, 0.2, fov_deg=40.0))
    assert (guided.thumbnail - plain.thumbnail).square().mean().sqrt() < 3e-3


@torch.no_grad()
@pytest.mark.parametrize("perspective", [0.0, 4.0])
def test_any_perspective_is_guided_alike(config, perspective):
    model = make(config)
    guided, plain = rendered(model, camera=Camera.from_angles(0.4, 0.2, perspective=perspective))
    assert (guided.thumbnail - plain.thumbnail).square().mean().sqrt() < 3e-3


@torch.no_grad()
def test_features_are_left_out_when_nobody_asks(config):
    model = make(config)
    field = model.field.condition(torch.randn(1, 16))
    guide = SurfaceGuide.measure(field, config)
    with_them, without = (
        render_guided(model.renderer, field, guide, CAMERA, with_features=asked) for asked in (True, False)
    )
    assert without.features is None
    assert torch.equal(without.thumbnail, with_them.thumbnail)


@torch.no_grad()
def test_empty_space_needs_no_evaluation(tiny_toy_config):
    config = dataclasses.replace(tiny_toy_config, cull_to_ball=True)
    model = Generator(config)
    model.renderer.log_beta.fill_(math.log(0.003))
    guide = SurfaceGuide(torch.full((8,), 0.1), config.scene_radius, 0.01)

    def nothing(points, viewdirs):
        assert points.shape[1] == 0
        return FieldOutput(sdf=points[..., 0], rgb=points, features=points)

    out = render_guided(model.renderer, nothing, guide, CAMERA)
    expected = 2 * torch.sigmoid(model.renderer.background_rgb) - 1
    torch.testing.assert_close(out.thumbnail, expected.view(1, 3, 1, 1).expand(1, 3, 16, 16))
    torch.testing.assert_close(out.background, torch.ones(1, 1, 16, 16))


class Sphere:
    """A field that is exactly a sphere, with what a guide asks of a conditioned field."""

    view_layer = (torch.zeros(1, 1, 1), None)

    def sdf(self, points):
        return points.norm(dim=-1) - 0.06

    def __call__(self, points, viewdirs):
        return FieldOutput(sdf=self.sdf(points), rgb=torch.zeros_like(points), features=points)


@pytest.mark.parametrize("side", [GRID, 24])
@pytest.mark.parametrize("cull", [False, True])
def test_the_guide_holds_the_field_within_its_error(tiny_toy_config, cull, side):
    config = dataclasses.replace(tiny_toy_config, cull_to_ball=cull)
    guide = SurfaceGuide.measure(Sphere(), config, side)
    points = torch.randn(1000, 3)
    points = points / points.norm(dim=-1, keepdim=True) * 0.06 + 0.02 * (torch.rand(1000, 3) - 0.5)
    off = (guide.look_up(points) - Sphere().sdf(points)).abs()
    spacing = 2 * guide.extent / (side - 1)
    assert off.quantile(0.99) < guide.error < 0.5 * (GRID / side) * spacing
    assert guide.extent == config.scene_radius if cull else guide.extent > config.scene_radius
    assert (guide.look_up(torch.tensor([[guide.extent * 1.01, 0.0, 0.0]])) == 0).all()  # anything is possible there


def test_samples_follow_the_sharpness(tiny_config):
    config = dataclasses.replace(tiny_config, num_samples=24)
    assert num_guided_samples(config, 0.1) == 24
    assert num_guided_samples(config, 0.003) == math.ceil(0.24 / 2.75 / 0.003) == 30
    assert num_guided_samples(config, 1e-6) == 48
    assert num_guided_samples(dataclasses.replace(config, num_samples=64), 1e-6) == 64


def test_the_bundled_model_at_forty_decibels(bundled):
    from stylesdf import StyleSDF

    model = StyleSDF.from_pretrained(bundled).eval()
    for seed, yaw in ((3, 0.3), (7, -0.2)):
        head = model.head(seed)
        guided = head.view(Shot(yaw, quality="fast")).rendering
        with torch.no_grad():
            reference = model.render(head.field, Camera.from_angles(yaw, 0.0), num_samples=96)
            images = head.fast_decoder(guided.features), head.decoder(reference.features)
        error = (images[0] - images[1]).square().mean().item()
        assert 10 * math.log10(4 / error) > 40
        spacing = (model.config.far - model.config.near) / model.config.num_samples
        assert (guided.depth - reference.depth).abs().max() < spacing / 2
