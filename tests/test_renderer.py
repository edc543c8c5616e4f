import dataclasses
import math

import pytest
import torch

from stylesdf import renderer as renderer_module
from stylesdf.camera import Camera, camera_rays
from stylesdf.field import Field
from stylesdf.outputs import FieldOutput
from stylesdf.renderer import VolumeRenderer

FIELDS = ("thumbnail", "features", "xyz", "depth", "background", "sdf")


def sphere(radius=0.06, rgb=(0.0, 1.0, -1.0)):
    """A field that is exactly a sphere of one colour."""

    def field(points, viewdirs):
        sdf = points.norm(dim=-1) - radius
        return FieldOutput(sdf=sdf, rgb=torch.tensor(rgb).expand(*sdf.shape, 3), features=points)

    return field


def sharp(config, beta=1e-3) -> VolumeRenderer:
    renderer = VolumeRenderer(config)
    with torch.no_grad():
        renderer.log_beta.fill_(math.log(beta))
    return renderer


@pytest.fixture(params=["tiny_config", "tiny_toy_config"])
def config(request):
    return request.getfixturevalue(request.param)


def test_shapes(config):
    out = VolumeRenderer(config)(Field(config).condition(torch.randn(2, 16)), Camera.from_angles([0.0, 0.3], 0.1))
    shapes = {name: tuple(getattr(out, name).shape) for name in FIELDS}
    assert shapes == {
        "thumbnail": (2, 3, 16, 16),
        "features": (2, 16, 16, 16),
        "xyz": (2, 3, 16, 16),
        "depth": (2, 1, 16, 16),
        "background": (2, 1, 16, 16),
        "sdf": (2, 16, 16, 8),
    }


def test_beta_starts_at_a_tenth(config):
    assert VolumeRenderer(config).beta.item() == pytest.approx(0.1)


def test_a_sphere_is_where_it_is_from_everywhere(config):
    camera = Camera.from_angles([0.0, 0.7, -2.0], [0.0, 0.3, -0.8])
    with torch.no_grad():
        out = sharp(config, 1e-4)(sphere(), camera, resolution=17, num_samples=512)
    centre = out.xyz[:, :, 8, 8]
    torch.testing.assert_close(centre, camera.cam2world[:, :, 3] * 0.06, atol=1e-3, rtol=0)
    torch.testing.assert_close(out.depth[:, 0, 8, 8], torch.full((3,), 0.94), atol=1e-3, rtol=0)
    torch.testing.assert_close(out.depth[1:], out.depth[:1].expand(2, 1, 17, 17), atol=1e-4, rtol=0)
    colour = 2 * torch.sigmoid(torch.tensor([0.0, 1.0, -1.0])) - 1
    torch.testing.assert_close(out.thumbnail[:, :, 8, 8], colour.expand(3, 3), atol=1e-3, rtol=0)
    assert (out.background[:, 0, 8, 8] < 1e-3).all() and (out.background[:, 0, 0, 0] > 0.99).all()


def test_xyz_lies_on_its_ray_at_its_depth(config):
    camera = Camera.from_angles(0.4, 0.2)
    with torch.no_grad():
        out = VolumeRenderer(config)(Field(config).condition(torch.randn(1, 16)), camera)
    rays_o, rays_d, _ = camera_rays(camera, 16, config.fov_deg)
    expected = rays_o + rays_d * out.depth.permute(0, 2, 3, 1)
    torch.testing.assert_close(out.xyz.permute(0, 2, 3, 1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("chunk_points", [1, 300, 10**9])
def test_rendering_in_chunks_changes_nothing(config, chunk_points, monkeypatch):
    monkeypatch.setattr(renderer_module, "points_per_chunk", lambda device, width: chunk_points)
    renderer, field = VolumeRenderer(config), Field(config)
    camera, w = Camera.from_angles([0.0, 0.3], [0.1, -0.1]), torch.randn(2, 16)
    options = {"offset": torch.rand(2, 16, 16), "opaque_background": False, "viewdirs": "world"}
    whole = renderer(field.condition(w), camera, **options)
    with torch.no_grad():
        chunked = renderer(field.condition(w), camera, **options)
    for name in FIELDS:
        assert getattr(whole, name).requires_grad
        assert not getattr(chunked, name).requires_grad
        torch.testing.assert_close(getattr(chunked, name), getattr(whole, name).detach(), atol=1e-5, rtol=1e-5)


def test_without_gradients_the_field_sees_few_points_at_a_time(config, monkeypatch):
    monkeypatch.setattr(renderer_module, "points_per_chunk", lambda device, width: 300)
    asked = []

    def field(points, viewdirs):
        asked.append(points.shape[1])
        return sphere()(points, viewdirs)

    with torch.no_grad():
        VolumeRenderer(config)(field, Camera.from_angles(0.0, 0.0))
    assert asked == [2 * 16 * 8] * 8  # two rows of 16 pixels with 8 samples
    VolumeRenderer(config)(field, Camera.from_angles(0.0, 0.0))
    assert asked[8:] == [16 * 16 * 8]


def test_empty_space_shows_the_learned_background(tiny_toy_config):
    renderer = sharp(tiny_toy_config)
    with torch.no_grad():
        renderer.background_rgb.copy_(torch.tensor([2.0, 0.0, -1.0]))
    out = renderer(sphere(radius=-1.0), Camera.from_angles(0.3, 0.1))
    expected = 2 * torch.sigmoid(torch.tensor([2.0, 0.0, -1.0])) - 1
    torch.testing.assert_close(out.thumbnail, expected.view(1, 3, 1, 1).expand(1, 3, 16, 16))
    torch.testing.assert_close(out.background, torch.ones(1, 1, 16, 16))
    torch.testing.assert_close(out.depth, torch.full((1, 1, 16, 16), tiny_toy_config.far))
    assert not out.features.any()


def test_the_learned_background_learns_where_it_is_seen(tiny_toy_config):
    renderer = sharp(tiny_toy_config)
    renderer(sphere(), Camera.from_angles(0.0, 0.0)).thumbnail[:, :, 0, 0].sum().backward()
    assert (renderer.background_rgb.grad > 0).all()
    renderer.zero_grad()
    renderer(sphere(), Camera.from_angles(0.0, 0.0)).thumbnail[:, :, 8, 8].sum().backward()
    assert renderer.background_rgb.grad.abs().max() < 1e-3


def test_a_volume_that_ends_lets_light_through(tiny_toy_config):
    # σ = ½/β everywhere on the surface's own level set: S segments of (far − near)/S let exp(−σ (far − near)) through
    def fog(points, viewdirs):
        shape = points.shape[:-1]
        return FieldOutput(sdf=torch.zeros(shape), rgb=torch.zeros(*shape, 3), features=torch.zeros(*shape, 1))

    out = VolumeRenderer(tiny_toy_config)(fog, Camera.from_angles(0.0, 0.0), resolution=1)
    assert out.background.item() == pytest.approx(math.exp(-0.5 / 0.1 * 0.24), rel=1e-5)


def test_the_last_sample_is_the_papers_background(tiny_config):
    renderer = sharp(tiny_config)
    empty, camera = sphere(radius=-1.0), Camera.from_angles(0.0, 0.0)
    opaque = renderer(empty, camera)
    torch.testing.assert_close(opaque.background, torch.ones(1, 1, 16, 16))
    last = tiny_config.near + 7 / 8 * (tiny_config.far - tiny_config.near)
    torch.testing.assert_close(opaque.depth, torch.full((1, 1, 16, 16), last))
    assert renderer(empty, camera, opaque_background=False).background.max() == 0


def test_offsets_move_the_samples(tiny_config):
    renderer, camera = sharp(tiny_config), Camera.from_angles(0.0, 0.0)
    offset = torch.full((1, 16, 16), 0.5)
    step = (tiny_config.far - tiny_config.near) / 8
    at, between = renderer(sphere(-1.0), camera).depth, renderer(sphere(-1.0), camera, offset=offset).depth
    torch.testing.assert_close(between - at, torch.full_like(at, step / 2), atol=1e-6, rtol=0)


def test_view_directions_are_unit_and_in_the_asked_axes(tiny_config):
    seen = []

    def field(points, viewdirs):
        seen.append(viewdirs.reshape(2, 16, 16, 8, 3)[:, :, :, 0])
        return sphere()(points, viewdirs)

    camera = Camera.from_angles([0.0, 0.5], [0.0, 0.2])
    VolumeRenderer(tiny_config)(field, camera, viewdirs="camera")
    VolumeRenderer(tiny_config)(field, camera, viewdirs="world")
    static, world = seen
    for directions in seen:
        torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2, 16, 16))
    assert torch.equal(static[0], static[1])  # wherever the camera stands
    torch.testing.assert_close(world, torch.einsum("bij,bhwj->bhwi", camera.cam2world[:, :, :3], static))
    torch.testing.assert_close(static[0], world[0])  # the frontal camera's axes are the world's


def test_unknown_axes_are_refused(tiny_config):
    with pytest.raises(ValueError, match="static"):
        VolumeRenderer(tiny_config)(sphere(), Camera.from_angles(0.0, 0.0), viewdirs="static")


@pytest.mark.parametrize("density", ["logistic", "laplace"])
def test_both_laws_render(tiny_config, density):
    out = sharp(dataclasses.replace(tiny_config, density=density))(sphere(), Camera.from_angles(0.0, 0.0))
    assert out.depth[0, 0, 8, 8].item() == pytest.approx(0.94, abs=0.03)


@pytest.mark.parametrize("distance", [math.inf, 0.5, 0.25])
def test_a_sphere_is_as_large_as_its_distance_makes_it(tiny_toy_config, distance):
    """Its outline, seen under the angle asin(r / d), has the radius r / √(1 − r²/d²) on a plane through its centre."""
    radius, renderer = 0.06, sharp(tiny_toy_config)
    plain, seen = (
        1.0 - renderer(sphere(radius), Camera.from_angles(0.5, 0.2, perspective=1 / d), 64, 96).background.mean().item()
        for d in (1.0, distance)
    )
    growth = (1 - radius**2) / (1 - radius**2 / distance**2) - 1
    assert seen / plain - 1 == pytest.approx(growth, rel=0.25)  # the density is not quite a surface


def culled(config):
    return dataclasses.replace(config, cull_to_ball=True)


@pytest.mark.parametrize("recorded", [True, False])
def test_culling_a_scene_inside_the_ball_changes_nothing(tiny_toy_config, recorded, monkeypatch):
    monkeypatch.setattr(renderer_module, "points_per_chunk", lambda device, width: 300)
    camera = Camera.from_angles([0.0, 0.7], [0.0, 0.3], fov_deg=40.0)  # whole rows of pixels miss the ball
    with torch.set_grad_enabled(recorded):
        whole, part = (sharp(c)(sphere(), camera) for c in (tiny_toy_config, culled(tiny_toy_config)))
    for name in FIELDS[:-1]:
        torch.testing.assert_close(getattr(part, name), getattr(whole, name), atol=1e-5, rtol=0)


def test_culling_asks_the_field_inside_the_ball_only(tiny_toy_config):
    asked = []

    def solid(points, viewdirs):
        asked.append(points.norm(dim=-1))
        shape = points.shape[:-1]
        return FieldOutput(sdf=torch.full(shape, -0.05), rgb=torch.zeros(*shape, 3), features=torch.ones(*shape, 1))

    out = sharp(culled(tiny_toy_config))(solid, Camera.from_angles(0.3, 0.1, fov_deg=16.0))
    assert (asked[0] < tiny_toy_config.scene_radius).all()
    # what is solid everywhere is seen as the ball, and past its rim there is nothing
    assert out.background[0, 0, 8, 8] < 1e-3 and out.background[0, 0, 0, 0] > 0.999
    torch.testing.assert_close(out.features[0, 0, 8, 8], torch.tensor(1.0), atol=1e-3, rtol=0)
    assert out.features[0, 0, 0, 0] < 1e-3
    assert (out.sdf[0, 0, 0] > 0).all()  # there, the distance to the ball


def test_culling_works_with_a_learned_field_that_sees_nothing(tiny_toy_config, monkeypatch):
    monkeypatch.setattr(renderer_module, "points_per_chunk", lambda device, width: 1)
    field = Field(tiny_toy_config).condition(torch.randn(2, 16))
    away = Camera.from_angles([0.0, 0.1], 0.0).cam2world.clone()
    away[:, :, 3] *= 5  # so far off that no sample reaches the ball
    with torch.no_grad():
        out = VolumeRenderer(culled(tiny_toy_config))(field, Camera(away))
    assert out.features.abs().max() == 0 and out.thumbnail.isfinite().all()
    torch.testing.assert_close(out.background, torch.ones(2, 1, 16, 16))
