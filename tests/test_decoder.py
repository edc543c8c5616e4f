import dataclasses

import pytest
import torch

from stylesdf.config import StyleSDFConfig
from stylesdf.decoder import Decoder
from stylesdf.ops import fir_upsample


def make(config, channels=(8, 8, 4)):
    config = dataclasses.replace(config, decoder_channels=channels)
    decoder = Decoder(config).eval()
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
    features = torch.randn(2, config.field_width, config.render_resolution, config.render_resolution)
    return decoder, features, torch.randn(2, config.num_ws, config.decoder_style_size)


@pytest.mark.parametrize("channels", [(8,), (8, 8), (8, 6, 4), (8, 6, 4, 2)])
def test_image_size_follows_the_channels(tiny_config, channels):
    decoder, features, ws = make(tiny_config, channels)
    size = 16 * 2 ** (len(channels) - 1)
    assert decoder(features, ws).shape == (2, 3, size, size)


def test_the_papers_layers_have_the_papers_sizes():
    with torch.device("meta"):
        decoder = Decoder(StyleSDFConfig())
    assert decoder.conv.weight.shape == (512, 256, 3, 3)
    assert [tuple(block.up_conv.weight.shape[:2]) for block in decoder.blocks] == [
        (256, 512),
        (128, 256),
        (64, 128),
        (32, 64),
    ]
    # noise: layer 0 at 64, layers 1 and 2 at 128, ...
    assert decoder.conv.noise.shape[-1] == 64
    assert [(b.up_conv.noise.shape[-1], b.conv.noise.shape[-1]) for b in decoder.blocks] == [
        (size, size) for size in (128, 256, 512, 1024)
    ]


def test_every_layer_reads_its_own_code(tiny_config):
    decoder, features, ws = make(tiny_config)
    features, ws = features[:1], ws[:1]
    read = {}
    for name, module in decoder.named_modules():
        if name.endswith("affine"):
            module.register_forward_hook(lambda _, inputs, __, name=name: read.update({name: inputs[0]}))
    decoder(features, ws)
    index = {name: next(i for i in range(6) if torch.equal(code, ws[:, i])) for name, code in read.items()}
    assert index == {
        "conv.affine": 0,
        "to_rgb.affine": 1,
        "blocks.0.up_conv.affine": 1,  # shares with the colour before it
        "blocks.0.conv.affine": 2,
        "blocks.0.to_rgb.affine": 3,
        "blocks.1.up_conv.affine": 3,
        "blocks.1.conv.affine": 4,
        "blocks.1.to_rgb.affine": 5,
    }


def test_every_code_changes_the_image_and_the_last_only_its_colour(tiny_config):
    decoder, features, ws = make(tiny_config)
    features, ws = features[:1], ws[:1]
    last_hidden = []
    decoder.blocks[-1].conv.register_forward_hook(lambda _, __, output: last_hidden.append(output))
    image = decoder(features, ws)
    for i in range(6):
        changed = ws.clone()
        changed[:, i] += 1.0
        assert not torch.allclose(decoder(features, changed), image), i
        assert torch.equal(last_hidden[-1], last_hidden[0]) == (i == 5), i


def test_colour_is_the_sum_of_upsampled_skips(tiny_config):
    # without the last block's colour, the image is the block before, upsampled
    decoder, features, ws = make(tiny_config, (8, 8))
    features, ws = features[:1], ws[:1]
    skips = []
    decoder.to_rgb.register_forward_hook(lambda _, __, output: skips.append(output))
    with torch.no_grad():
        decoder.blocks[0].to_rgb.weight.zero_()
    image = decoder(features, ws)
    torch.testing.assert_close(image, fir_upsample(skips[0]))


@pytest.mark.parametrize("noise_mode", ["const", "random"])
def test_samples_are_decoded_alike_alone_and_together(tiny_config, noise_mode):
    # on a CPU a batch is decoded one by one; elsewhere styles scale the maps of all at once
    decoder, features, ws = make(tiny_config)
    sources = lambda: [torch.Generator().manual_seed(i) for i in (5, 6)]  # noqa: E731
    alone = decoder(features, ws, noise_mode, sources())
    hidden = decoder.conv(features, ws[:, 0], noise_mode, sources())
    assert hidden.shape[0] == 2
    for i in (0, 1):
        one = decoder.conv(features[i : i + 1], ws[i : i + 1, 0], noise_mode, sources()[i : i + 1])
        torch.testing.assert_close(hidden[i : i + 1], one, atol=1e-5, rtol=1e-5)
        colour = decoder.to_rgb(hidden, ws[:, 1])[i : i + 1]
        torch.testing.assert_close(colour, decoder.to_rgb(one, ws[i : i + 1, 1]), atol=1e-5, rtol=1e-5)
        single = decoder(features[i : i + 1], ws[i : i + 1], noise_mode, sources()[i : i + 1])
        torch.testing.assert_close(alone[i : i + 1], single, atol=1e-5, rtol=1e-5)


def test_noise_modes(tiny_config):
    decoder, features, ws = make(tiny_config)
    const, none = (decoder(features, ws, mode) for mode in ("const", "none"))
    assert torch.equal(decoder(features, ws, "const"), const)
    assert torch.equal(decoder(features, ws, "none"), none)
    assert not torch.allclose(const, none)
    assert not torch.equal(decoder(features, ws, "random"), decoder(features, ws, "random"))
    with pytest.raises(ValueError, match="loud"):
        decoder(features, ws, "loud")


def test_noise_starts_silent(tiny_config):
    decoder = Decoder(tiny_config)
    features, ws = torch.randn(1, 16, 16, 16), torch.randn(1, tiny_config.num_ws, 16)
    assert torch.equal(decoder(features, ws, "const"), decoder(features, ws, "none"))


def test_styles_start_at_one(tiny_config):
    decoder = Decoder(tiny_config)
    torch.testing.assert_close(decoder.conv.affine(torch.zeros(1, 16)), torch.ones(1, 16))


def test_a_wrong_number_of_codes_is_an_internal_error(tiny_config):
    decoder, features, ws = make(tiny_config)
    with pytest.raises(AssertionError, match="expected"):
        decoder(features, ws[:, :-1])
