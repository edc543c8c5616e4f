import math

import pytest
import torch

from stylesdf.config import StyleSDFConfig
from stylesdf.field import Field, sphere_initialize


def written_out(field: Field, config: StyleSDFConfig, points, viewdirs, w):
    """The equations of the paper's field, layer by layer and without folding."""

    def film(layer, hidden):
        gamma = 15 * (w @ layer.frequency.weight.t() + layer.frequency.bias) + 30
        phi = 0.25 * (w @ layer.phase.weight.t() + layer.phase.bias)
        hidden = hidden @ layer.linear.weight.t() + layer.linear.bias
        return torch.sin(gamma[:, None] * hidden + phi[:, None])

    hidden = 2 * points / (config.far - config.near)
    for layer in field.layers:
        hidden = film(layer, hidden)
    sdf = hidden @ field.sdf_head.weight.t() + field.sdf_head.bias
    if config.view_directions:
        hidden = torch.cat([hidden, viewdirs], dim=-1)
    features = film(field.view_layer, hidden)
    return sdf[..., 0], features @ field.rgb_head.weight.t() + field.rgb_head.bias, features


def draw(batch_size=2, num_points=50, latent_size=16):
    points = (torch.rand(batch_size, num_points, 3) * 2 - 1) * 0.12
    viewdirs = torch.nn.functional.normalize(torch.randn(batch_size, num_points, 3), dim=-1)
    return points, viewdirs, torch.randn(batch_size, latent_size)


@pytest.mark.parametrize("kind", ["tiny_config", "tiny_toy_config"])
@pytest.mark.parametrize("recorded", [True, False])
def test_folded_field_is_the_equations(kind, recorded, request):
    config = request.getfixturevalue(kind)
    field, (points, viewdirs, w) = Field(config), draw()
    points_before = points.clone()
    with torch.set_grad_enabled(recorded):
        conditioned = field.condition(w)
        out = conditioned(points, viewdirs)
        sdf, rgb, features = written_out(field, config, points, viewdirs, w)
    torch.testing.assert_close(out.sdf, sdf, atol=2e-5, rtol=0)
    torch.testing.assert_close(out.rgb, rgb, atol=2e-5, rtol=0)
    torch.testing.assert_close(out.features, features, atol=1e-4, rtol=0)
    assert out.sdf.shape == (2, 50) and out.rgb.shape == (2, 50, 3) and out.features.shape == (2, 50, 16)
    torch.testing.assert_close(conditioned.sdf(points), out.sdf)
    assert torch.equal(points, points_before)  # what is computed in place is the field's own


def test_only_colour_sees_the_view(tiny_config):
    field, (points, viewdirs, w) = Field(tiny_config), draw()
    here, there = field.condition(w)(points, viewdirs), field.condition(w)(points, -viewdirs)
    assert torch.equal(here.sdf, there.sdf)
    assert not torch.allclose(here.rgb, there.rgb)


def test_without_view_directions_nothing_sees_the_view(tiny_toy_config):
    field, (points, viewdirs, w) = Field(tiny_toy_config), draw()
    assert torch.equal(field.condition(w)(points, viewdirs).rgb, field.condition(w)(points, -viewdirs).rgb)


def uniform(tensor, bound):
    """Within ±bound, and filling it."""
    assert tensor.abs().max() <= bound
    assert tensor.abs().max() > 0.9 * bound and tensor.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_initial_ranges():
    field = Field(StyleSDFConfig())
    uniform(field.layers[0].linear.weight, 1 / 3)
    for layer in field.layers[1:]:
        uniform(layer.linear.weight, math.sqrt(6 / 256) / 25)
        uniform(layer.linear.bias, 1 / 16)
    uniform(field.view_layer.linear.weight, math.sqrt(6 / 259) / 25)
    uniform(field.rgb_head.weight, math.sqrt(6 / 256) / 25)
    uniform(field.sdf_head.weight, math.sqrt(6 / 256) / 25)
    for layer in [*field.layers, field.view_layer]:
        for head in (layer.frequency, layer.phase):
            # a quarter of Kaiming-normal with slope 0.2
            assert head.weight.std().item() == pytest.approx(0.25 * math.sqrt(2 / 1.04 / 256), rel=0.02)
            uniform(head.bias, 1 / 16)


def test_gradient_in_world_units_matches_differences(tiny_config):
    field = Field(tiny_config).double()
    points, _, w = (t.double() for t in draw(1, 5))
    conditioned = field.condition(w)
    assert torch.autograd.gradcheck(conditioned.sdf, (points.requires_grad_(),))


def test_eikonal_loss_reaches_the_weights(tiny_config):
    field, (points, _, w) = Field(tiny_config), draw()
    points.requires_grad_()
    sdf = field.condition(w).sdf(points)
    (gradient,) = torch.autograd.grad(sdf.sum(), points, create_graph=True)
    ((gradient.norm(dim=-1) - 1) ** 2).mean().backward()
    for name, parameter in [*field.layers.named_parameters(), ("sdf_head", field.sdf_head.weight)]:
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_sphere_initialisation_makes_a_sphere(tiny_config):
    field = Field(tiny_config)
    error = sphere_initialize(
        field,
        steps=300,
        draw_codes=lambda: torch.randn(4, 16),
        learning_rate=2e-3,
        points_per_code=128,
        generator=torch.Generator().manual_seed(0),
    )
    assert error < 0.012  # a tenth of the scene's radius
    # radius (far − near)/4 = 0.06: inside negative, outside positive
    w = torch.randn(8, 16)
    sdf = field.condition(w).sdf(torch.tensor([[[0.0, 0.0, 0.0], [0.11, 0.0, 0.0], [0.0, 0.0, -0.11]]]).expand(8, 3, 3))
    assert (sdf[:, 0] < 0).all() and (sdf[:, 1:] > 0).all()


def test_sphere_initialisation_leaves_colour_alone(tiny_config):
    field = Field(tiny_config)
    before = {name: value.clone() for name, value in field.state_dict().items()}
    sphere_initialize(field, 2, lambda: torch.randn(1, 16), points_per_code=8)
    for name, value in field.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(("view_layer", "rgb_head")), name
