"""Truncation in training: every stage sees its latents as they will be shown."""

from functools import partial

import torch

from stylesdf.config import StyleSDFConfig
from stylesdf.mapping import RendererMapping
from stylesdf.model import Generator
from train.stages.latents import draw_latents, latent_codes
from train.stages.pool import RenderingPool, new_scene


def mapping() -> RendererMapping:
    torch.manual_seed(0)
    return RendererMapping(StyleSDFConfig(latent_size=16))


def test_without_truncation_codes_are_the_mappings():
    draws = draw_latents(5, 16, 1.0)
    assert set(draws) == {"z"}
    assert torch.equal(latent_codes(mapping(), draws), mapping()(draws["z"]))


def test_truncation_is_drawn_between_the_least_and_one():
    psi = draw_latents(4000, 2, 0.6)["psi"]
    assert psi.shape == (4000, 1)
    assert 0.6 <= psi.min() < 0.61 and 0.99 < psi.max() <= 1.0
    assert abs(psi.mean() - 0.8) < 0.01


def test_codes_are_drawn_towards_the_mean_code_that_a_published_model_is_truncated_to():
    generator = Generator(StyleSDFConfig(latent_size=16, field_width=16, field_depth=2, decoder_channels=()))
    generator.update_means()
    z = torch.randn(300, 16)
    psi = torch.rand(300, 1)
    ours = latent_codes(generator.renderer_mapping, {"z": z, "psi": psi})
    shown = torch.cat([generator.mapping(each[None], float(number)) for each, number in zip(z, psi)])
    spread = generator.mapping(z).std()
    assert (ours - shown).abs().max() < 0.1 * spread  # both centres are means of finitely many codes


def test_gradient_flows_through_the_code_and_not_through_the_centre():
    network = mapping()
    draws = {"z": torch.randn(3, 16), "psi": torch.full((3, 1), 0.25)}
    whole = torch.autograd.grad(network(draws["z"]).sum(), list(network.parameters()))
    quarter = torch.autograd.grad(latent_codes(network, draws).sum(), list(network.parameters()))
    for a, b in zip(whole, quarter):
        torch.testing.assert_close(b, a / 4)


def test_renderings_that_are_kept_are_truncated():
    torch.manual_seed(0)
    config = StyleSDFConfig(latent_size=16, field_width=16, field_depth=2, render_resolution=4, num_samples=4)
    generator = Generator(config)
    scenes = (partial(new_scene, generator, least) for least in (1.0, 0.5))
    plain, truncated = (RenderingPool(generator, 3, draw_scene, seed=0) for draw_scene in scenes)
    for pool in (plain, truncated):
        pool.advance_to(0)
    centre = latent_codes(generator.renderer_mapping, {"z": torch.zeros(1, 16), "psi": torch.zeros(1, 1)}).detach()
    for number in range(3):
        before, after = plain.w[number] - centre[0], truncated.w[number] - centre[0]
        share = float(after @ before / (before @ before))
        assert 0.5 <= share < 1.0
        torch.testing.assert_close(after, share * before, rtol=1e-4, atol=1e-5)
