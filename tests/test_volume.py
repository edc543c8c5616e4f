import math

import pytest
import torch

from stylesdf.volume import (
    LAST_DELTA,
    composite_weights,
    density_from_sdf,
    integrate,
    sample_depths,
    segment_lengths,
)

LAWS = ("logistic", "laplace")
BETAS = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
LIKE = torch.zeros(())


def ray(*values) -> torch.Tensor:
    """One ray as ``(1, 1, 1, S)``."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_depths_by_hand():
    torch.testing.assert_close(sample_depths(0.8, 1.2, 4, LIKE), ray(0.8, 0.9, 1.0, 1.1))
    offset = torch.tensor([[[0.0, 0.5]]])
    expected = torch.stack([ray(0.8, 0.9, 1.0, 1.1), ray(0.85, 0.95, 1.05, 1.15)], dim=2).view(1, 1, 2, 4)
    torch.testing.assert_close(sample_depths(0.8, 1.2, 4, LIKE, offset), expected)


def test_segments_are_world_lengths_and_the_last_is_endless():
    # ‖(1, 2, −2)‖ = 3: a step in depth of 0.1 is 0.3 long
    deltas = segment_lengths(ray(0.8, 0.9, 1.1), torch.tensor([1.0, 2.0, -2.0]).view(1, 1, 1, 3))
    torch.testing.assert_close(deltas, ray(0.3, 0.6, 3 * LAST_DELTA))


def test_weights_by_hand():
    # σ δ = ln 2 lets half of the light through: 1/2, 1/4, 1/8, and the endless segment takes the rest
    weights = composite_weights(ray(math.log(2), 2 * math.log(2), math.log(2), 1.0), ray(1, 0.5, 1, LAST_DELTA))
    torch.testing.assert_close(weights, ray(0.5, 0.25, 0.125, 0.125))


def test_a_spike_takes_everything():
    density = torch.eye(6).view(1, 1, 6, 6) * 1e6
    weights = composite_weights(density, torch.full((1, 1, 6, 6), 0.01))
    torch.testing.assert_close(weights, torch.eye(6).view(1, 1, 6, 6), atol=1e-6, rtol=0)


def test_nothing_in_the_way_leaves_nothing_or_the_background():
    deltas = torch.full((1, 1, 1, 4), 0.01)
    assert torch.equal(composite_weights(torch.zeros(1, 1, 1, 4), deltas), ray(0, 0, 0, 0))
    assert torch.equal(composite_weights(torch.zeros(1, 1, 1, 4), deltas, opaque_background=True), ray(0, 0, 0, 1))


def test_weights_are_shares():
    density = torch.rand(2, 8, 8, 24) * torch.logspace(-3, 4, 24)
    deltas = torch.rand(2, 8, 8, 24) * 0.02
    weights = composite_weights(density, deltas)
    assert weights.min() >= 0 and weights.max() <= 1
    assert weights.sum(dim=-1).max() <= 1 + 1e-5
    opaque = composite_weights(density, deltas, opaque_background=True)
    torch.testing.assert_close(opaque.sum(dim=-1), torch.ones(2, 8, 8))
    assert torch.equal(opaque[..., :-1], weights[..., :-1])
    assert opaque.min() >= -1e-5


def test_weights_do_not_depend_on_how_a_segment_is_cut():
    density, deltas = ray(3.0, 7.0), ray(0.1, 0.2)
    whole = composite_weights(density, deltas)
    halves = composite_weights(density.repeat_interleave(2, -1), deltas.repeat_interleave(2, -1) / 2)
    torch.testing.assert_close(halves.view(1, 1, 1, 2, 2).sum(dim=-1), whole)


def test_integrate_by_hand():
    weights = ray(0.5, 0.25)
    values = torch.tensor([[1.0, 0.0, 4.0], [2.0, 8.0, -4.0]]).view(1, 1, 1, 2, 3)
    assert integrate(weights, values).flatten().tolist() == [1.0, 2.0, 1.0]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("beta", BETAS)
def test_gradients_are_finite_for_every_sharpness(law, beta):
    sdf = torch.cat([torch.linspace(0.3, -0.3, 24), torch.zeros(24), torch.full((24,), 0.2), torch.full((24,), -0.2)])
    sdf = sdf.view(1, 2, 2, 24).requires_grad_()
    beta = torch.tensor(beta, requires_grad=True)
    depth = sample_depths(0.88, 1.12, 24, LIKE).expand(1, 2, 2, 24)
    density = density_from_sdf(sdf, beta, law)
    assert density.isfinite().all() and (density >= 0).all() and (density <= 1.0001 / beta).all()
    for opaque in (False, True):
        weights = composite_weights(density, segment_lengths(depth, torch.ones(1, 2, 2, 3)), opaque)
        loss = (weights * depth).sum() + weights.square().sum()
        for gradient in torch.autograd.grad(loss, (sdf, beta), retain_graph=True):
            assert gradient.isfinite().all()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("beta", BETAS)
def test_density_on_the_surface(law, beta):
    # both laws: half of 1/β on the surface, 1/β deep inside, 0 far outside
    sdf = torch.tensor([0.0, -100 * beta, 100 * beta], dtype=torch.float64)
    expected = torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64) / beta
    density = density_from_sdf(sdf, torch.tensor(beta, dtype=torch.float64), law)
    torch.testing.assert_close(density, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    "law, expected",
    [
        # σ β at sdf = ±β: 1/(1 + e), 1/(1 + 1/e); ½/e, 1 − ½/e
        ("logistic", (1 / (1 + math.e), 1 / (1 + 1 / math.e))),
        ("laplace", (0.5 / math.e, 1 - 0.5 / math.e)),
    ],
)
def test_density_one_beta_away(law, expected):
    beta = torch.tensor(0.02)
    density = density_from_sdf(torch.tensor([0.02, -0.02]), beta, law) * beta
    torch.testing.assert_close(density, torch.tensor(expected))


@pytest.mark.parametrize("law, slope", [("logistic", 0.25), ("laplace", 0.5)])
def test_density_is_smooth_across_the_surface(law, slope):
    # dσ/dsdf = −slope/β² on the surface itself and on both sides of it
    beta = 0.1
    sdf = torch.tensor([-1e-6, 0.0, 1e-6], dtype=torch.float64, requires_grad=True)
    density = density_from_sdf(sdf, torch.tensor(beta, dtype=torch.float64), law)
    torch.testing.assert_close(density, torch.full_like(density, 0.5 / beta), atol=1e-3, rtol=0)
    (gradient,) = torch.autograd.grad(density.sum(), sdf)
    torch.testing.assert_close(gradient, torch.full_like(gradient, -slope / beta**2), rtol=1e-4, atol=0)


@pytest.mark.parametrize("law", LAWS)
def test_density_gradient_matches_differences(law):
    sdf = torch.tensor([-0.3, -0.05, 0.04, 0.2], dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, b: density_from_sdf(s, b, law), (sdf, beta))


def test_unknown_law():
    with pytest.raises(ValueError, match="gaussian"):
        density_from_sdf(torch.zeros(1), torch.tensor(0.1), "gaussian")


@pytest.mark.parametrize("law", LAWS)
def test_depth_of_a_sphere_converges(law):
    # rays parallel to −z from z = 1 meet a sphere of radius 0.06 at depth 1 − √(0.06² − x²)
    x = torch.linspace(-0.05, 0.05, 11, dtype=torch.float64)
    truth = 1 - (0.06**2 - x.square()).sqrt()
    errors = []
    for num_samples in (24, 96, 384):
        depth = sample_depths(0.88, 1.12, num_samples, x).expand(1, 1, 11, num_samples)
        sdf = (x[:, None].square() + (1 - depth).square()).sqrt() - 0.06
        deltas = segment_lengths(depth, torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64).expand(1, 1, 11, 3))
        # the surface is resolved when it is about as thin as the steps
        density = density_from_sdf(sdf, torch.tensor(0.02 / num_samples, dtype=torch.float64), law)
        weights = composite_weights(density, deltas, opaque_background=True)
        errors.append(((weights * depth).sum(dim=-1) - truth).abs().max().item())
        assert errors[-1] < 1.5 * 0.24 / num_samples
    assert errors[1] < errors[0] / 2 and errors[2] < errors[1] / 2
