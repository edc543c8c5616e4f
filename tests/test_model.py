import dataclasses

import pytest
import torch

from stylesdf.camera import Camera, camera_rays
from stylesdf.model import Generator
from stylesdf.volume import sample_depths

OUTPUTS = ("image", "thumbnail", "features", "xyz", "depth", "background")


@pytest.fixture
def z():
    return torch.randn(2, 16)


@pytest.fixture
def camera():
    return Camera.from_angles([0.2, -0.1], [0.1, 0.0])


@pytest.fixture
def model(tiny_model):
    """With means, and with noise that is heard."""
    tiny_model.update_means(200)
    with torch.no_grad():
        for name, parameter in tiny_model.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
    return tiny_model


def close(a, b, atol=2e-5):
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=atol, rtol=1e-5, msg=name)


@torch.no_grad()
def test_shapes(model, z, camera):
    out = model(z, camera)
    assert out.image.shape == (2, 3, 32, 32) and out.thumbnail.shape == (2, 3, 16, 16)
    assert out.features.shape == (2, 16, 16, 16) and out.xyz.shape == (2, 3, 16, 16)
    assert out.depth.shape == out.background.shape == (2, 1, 16, 16)


@torch.no_grad()
def test_psi_one_is_the_identity(model, z):
    w = model.mapping(z)
    assert torch.equal(w, model.renderer_mapping(z))
    assert torch.equal(model.decoder_codes(w), model.decoder_mapping(w)[:, None].expand(2, 4, 16))


@torch.no_grad()
def test_psi_zero_is_one_head(model, z):
    out = model(z, Camera.from_angles(0.2, 0.1), psi=0.0)
    assert torch.equal(model.mapping(z, psi=0.0), model.w_avg.expand(2, 16))
    for name in OUTPUTS:
        torch.testing.assert_close(getattr(out, name)[0], getattr(out, name)[1], atol=1e-6, rtol=0)


@torch.no_grad()
def test_truncation_acts_in_both_spaces(model, z):
    w = model.mapping(z, psi=0.6)
    torch.testing.assert_close(w, 0.4 * model.w_avg + 0.6 * model.renderer_mapping(z))
    # the decoder maps the truncated w, then truncates again
    expected = 0.4 * model.ws_avg + 0.6 * model.decoder_mapping(w)
    for layer in range(4):
        torch.testing.assert_close(model.decoder_codes(w, psi=0.6)[:, layer], expected)


@torch.no_grad()
def test_means_are_means_over_untruncated_codes(model):
    z = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    w = model.renderer_mapping(z)
    torch.testing.assert_close(model.w_avg, w.mean(dim=0, keepdim=True))
    torch.testing.assert_close(model.ws_avg, model.decoder_mapping(w).mean(dim=0, keepdim=True))
    before = model.w_avg.clone()
    torch.manual_seed(5)
    model.update_means(200)
    assert torch.equal(model.w_avg, before)  # whatever the global state of randomness
    model.update_means(200, seed=1)
    assert not torch.equal(model.w_avg, before)


@pytest.mark.parametrize(
    "kind, cull_to_ball", [("tiny_config", False), ("tiny_toy_config", False), ("tiny_toy_config", True)]
)
@pytest.mark.parametrize("opaque_background", [True, False])
def test_every_parameter_gets_a_gradient(kind, opaque_background, cull_to_ball, z, camera, request):
    model = Generator(dataclasses.replace(request.getfixturevalue(kind), cull_to_ball=cull_to_ball))
    w = model.mapping(z)
    rendering = model.render(w, camera, opaque_background=opaque_background, offset=torch.rand(2, 16, 16))
    image = model.synthesis(rendering.features, model.decoder_codes(w))
    (image.square().mean() + rendering.thumbnail.square().mean()).backward()
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all() or not parameter.grad.any()
    ]
    assert silent == []


@torch.no_grad()
def test_a_batch_of_two_is_two_singles(model, z, camera):
    both = model(z, camera, psi=0.7)
    for i in range(2):
        single = model(z[i : i + 1], Camera(camera.cam2world[i : i + 1]), psi=0.7)
        for name in OUTPUTS:
            torch.testing.assert_close(getattr(both, name)[i], getattr(single, name)[0], atol=2e-5, rtol=1e-5)


@torch.no_grad()
def test_one_camera_serves_all_latents(model, z):
    one = Camera.from_angles(0.2, 0.1)
    close(model(z, one), model(z, Camera.from_angles([0.2, 0.2], [0.1, 0.1])))


@torch.no_grad()
def test_a_field_conditioned_once_renders_the_same(model, z, camera):
    w = model.mapping(z)
    direct, once = model.render(w, camera), model.render(model.field.condition(w), camera)
    assert torch.equal(direct.thumbnail, once.thumbnail)


@torch.no_grad()
def test_the_cameras_own_field_of_view_counts(model, z):
    default = model(z, Camera.from_angles(0.2, 0.1))
    close(model(z, Camera.from_angles(0.2, 0.1, fov_deg=model.config.fov_deg)), default)
    assert not torch.allclose(model(z, Camera.from_angles(0.2, 0.1, fov_deg=20.0)).xyz, default.xyz)


def test_an_outer_no_grad_is_honoured(model, z, camera):
    with torch.no_grad():
        quiet = model(z, camera)
    recorded = model(z, camera)
    for name in OUTPUTS:
        assert not getattr(quiet, name).requires_grad and getattr(recorded, name).requires_grad
    close(quiet, recorded)


@torch.no_grad()
def test_mixing_takes_the_late_codes_of_the_second_latent(model, z, camera):
    mix_z, num_ws = torch.randn(2, 16), model.config.num_ws
    first, second = (model.decoder_codes(model.mapping(x)) for x in (z, mix_z))
    for inject_index in range(1, num_ws + 1):
        ws = model.decoder_codes(model.mapping(z), mix_w=model.mapping(mix_z), inject_index=inject_index)
        assert torch.equal(ws[:, :inject_index], first[:, :inject_index])
        assert torch.equal(ws[:, inject_index:], second[:, inject_index:])
    plain, mixed = model(z, camera), model(z, camera, mix_z=mix_z, inject_index=1)
    assert torch.equal(plain.thumbnail, mixed.thumbnail)  # the shape stays with the first
    assert not torch.allclose(plain.image, mixed.image)
    close(model(z, camera, mix_z=z, inject_index=2), plain)
    close(model(z, camera, mix_z=mix_z, inject_index=num_ws), plain)


@pytest.mark.parametrize("inject_index", [None, 0, -1, 5, 1.5, True])
def test_mixing_needs_a_layer(model, z, camera, inject_index):
    with pytest.raises(ValueError, match="inject_index"):
        model(z, camera, mix_z=z, inject_index=inject_index)


def test_mixing_needs_as_many_latents(model, z, camera):
    with pytest.raises(ValueError, match="1 latents to mix with 2"):
        model(z, camera, mix_z=z[:1], inject_index=1)


@torch.no_grad()
@pytest.mark.parametrize(
    "num_codes, points_shape, expected",
    [
        (1, (7, 3), (7,)),
        (1, (1, 7, 3), (1, 7)),
        (1, (4, 5, 6, 3), (4, 5, 6)),
        (2, (7, 3), (2, 7)),
        (2, (2, 7, 3), (2, 7)),
        (2, (2, 4, 7, 3), (2, 4, 7)),
    ],
)
def test_sdf_shapes(model, num_codes, points_shape, expected):
    points, w = torch.rand(points_shape) * 0.1, model.mapping(torch.randn(num_codes, 16))
    sdf = model.sdf(points, w)
    assert sdf.shape == expected
    # point by point, code by code
    for code in range(num_codes):
        own = points if num_codes == 1 or points.dim() == 2 else points[code]
        got = sdf if num_codes == 1 else sdf[code]
        expected_sdf = model.sdf(own.reshape(-1, 3), w[code : code + 1])
        torch.testing.assert_close(got.reshape(-1), expected_sdf, atol=1e-5, rtol=0)


@torch.no_grad()
def test_sdf_is_what_is_rendered(model, z, camera):
    w = model.mapping(z)
    rays_o, rays_d, _ = camera_rays(camera, 16, model.config.fov_deg)
    depth = sample_depths(model.config.near, model.config.far, 8, rays_d)
    points = rays_o[..., None, :] + rays_d[..., None, :] * depth[..., None]
    torch.testing.assert_close(model.sdf(points, w), model.render(w, camera).sdf, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "points_shape, w_shape",
    [((3,), (1, 16)), ((7, 2), (1, 16)), ((3, 7, 3), (2, 16)), ((7, 3), (16,)), ((7, 3), (1, 8))],
)
def test_sdf_of_shapes_that_do_not_fit(model, points_shape, w_shape):
    with pytest.raises(ValueError, match="expected"):
        model.sdf(torch.zeros(points_shape), torch.zeros(w_shape))


@pytest.mark.parametrize("shape", [(16,), (2, 15), (2, 1, 16)])
def test_latents_of_a_wrong_shape(model, shape):
    with pytest.raises(ValueError, match="z has shape"):
        model.mapping(torch.zeros(shape))


@pytest.mark.parametrize("psi", [-0.1, 1.1, float("nan"), "0.5", None])
def test_psi_out_of_range(model, z, camera, psi):
    with pytest.raises(ValueError, match="psi"):
        model(z, camera, psi=psi)


def test_cameras_that_do_not_fit(model, z):
    with pytest.raises(ValueError, match="3 cameras for 2 latents"):
        model(z, Camera.from_angles([0.0, 0.1, 0.2], 0.0))


def test_unknown_noise(model, z, camera):
    with pytest.raises(ValueError, match="noise_mode"):
        model(z, camera, noise_mode="loud")


@torch.no_grad()
def test_a_renderer_only_model(tiny_config, z, camera):
    model = Generator(dataclasses.replace(tiny_config, decoder_channels=())).eval()
    model.update_means(100)
    out = model(z, camera, psi=0.5)
    assert out.image is None and out.thumbnail.shape == (2, 3, 16, 16)
    assert not any(name.startswith(("decoder", "ws_avg")) for name in model.state_dict())
    for call in (lambda: model.decoder_codes(z), lambda: model.synthesis(out.features, z)):
        with pytest.raises(ValueError, match="renderer-only"):
            call()


@torch.no_grad()
def test_a_state_dict_carries_everything(model, tiny_config, z, camera):
    other = Generator(tiny_config).eval()
    other.load_state_dict(model.state_dict())
    close(other(z, camera, psi=0.7), model(z, camera, psi=0.7), atol=0)
