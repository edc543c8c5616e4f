import math

import pytest
import torch

from stylesdf.config import StyleSDFConfig
from stylesdf.mapping import DecoderMapping, RendererMapping, truncate


def test_renderer_mapping_written_out(tiny_config):
    mapping, z = RendererMapping(tiny_config), torch.randn(3, 16)
    expected = z
    for layer in mapping.layers:
        expected = expected @ layer.weight.t() + layer.bias
        expected = torch.where(expected > 0, expected, 0.2 * expected)
    assert len(mapping.layers) == 3
    torch.testing.assert_close(mapping(z), expected)


def test_renderer_mapping_does_not_normalise_z(tiny_config):
    mapping, z = RendererMapping(tiny_config), torch.randn(1, 16)
    assert not torch.allclose(mapping(z), mapping(2 * z))


def test_renderer_mapping_starts_as_stated():
    for layer in RendererMapping(StyleSDFConfig()).layers:
        # Kaiming-normal with slope 0.2: std = √(2 / (1.04 · 256))
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 1.04 / 256), rel=0.02)
        assert layer.bias.abs().max() <= 1 / 16


def test_decoder_mapping_written_out(tiny_config):
    mapping, w = DecoderMapping(tiny_config), torch.randn(3, 16)
    expected = w * torch.rsqrt(w.square().mean(dim=1, keepdim=True) + 1e-8)
    for layer in mapping.layers:
        torch.nn.init.normal_(layer.bias, std=100)  # in use × 0.01
        expected = expected @ layer.weight.t() * (0.01 / math.sqrt(16)) + layer.bias * 0.01
        expected = torch.where(expected > 0, expected, 0.2 * expected) * math.sqrt(2)
    assert len(mapping.layers) == 2
    torch.testing.assert_close(mapping(w), expected)


def test_decoder_mapping_reads_the_direction_of_w_only(tiny_config):
    mapping, w = DecoderMapping(tiny_config), torch.randn(2, 16)
    torch.testing.assert_close(mapping(w), mapping(5 * w))


def test_truncation_is_a_lerp_from_the_mean():
    code, mean = torch.tensor([[1.0, 2.0], [3.0, -4.0]]), torch.tensor([[1.0, 0.0]])
    assert torch.equal(truncate(code, mean, 1.0), code)
    assert torch.equal(truncate(code, mean, 0.0), mean.expand(2, 2))
    torch.testing.assert_close(truncate(code, mean, 0.25), torch.tensor([[1.0, 0.5], [1.5, -1.0]]))
