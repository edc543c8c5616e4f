import pytest
import torch

from stylesdf.fast import decoder as fast_module
from stylesdf.fast.decoder import condition_decoder, decode
from tests.test_decoder import make


@pytest.mark.parametrize("band_elements", [1, 300, 10**9])
@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_bands_of_modulated_weights_give_what_training_sees(tiny_config, band_elements, noise_mode, monkeypatch):
    monkeypatch.setattr(fast_module, "BAND_ELEMENTS", band_elements)
    decoder, features, ws = make(tiny_config, (8, 6, 4))
    with torch.no_grad():
        for parameter in decoder.parameters():  # biases too
            parameter.add_(0.1 * torch.randn_like(parameter))
    recorded = decoder(features, ws, noise_mode)
    with torch.no_grad():
        plain = decode(decoder, features, ws, noise_mode)
    assert recorded.requires_grad and not plain.requires_grad
    torch.testing.assert_close(plain, recorded.detach(), atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_a_batch_mate_does_not_change_a_byte(tiny_config):
    decoder, features, ws = make(tiny_config)
    together = decode(decoder, features, ws)
    assert torch.equal(together[1:], decode(decoder, features[1:], ws[1:]))
    assert torch.equal(together[:1], condition_decoder(decoder, ws[:1])(features[:1]))


@torch.no_grad()
def test_generators_draw_the_noise_of_their_own_image(tiny_config):
    decoder, features, ws = make(tiny_config)
    sources = lambda *seeds: [torch.Generator().manual_seed(seed) for seed in seeds]  # noqa: E731
    together = decode(decoder, features, ws, "random", sources(1, 2))
    assert torch.equal(together[1:], decode(decoder, features[1:], ws[1:], "random", sources(2)))
    assert not torch.equal(together[:1], decode(decoder, features[:1], ws[:1], "random", sources(2)))


@torch.no_grad()
def test_half_the_bits_are_enough_for_a_picture(tiny_config):
    decoder, features, ws = make(tiny_config)
    exact = condition_decoder(decoder, ws[:1])
    fast = exact.to(torch.bfloat16)
    image, quick = exact(features[:1]), fast(features[:1])
    assert quick.dtype == torch.float32 and not torch.equal(image, quick)
    assert (image - quick).square().mean().sqrt() < 1e-2 * image.std()
    assert exact.to(torch.float32) is exact
