"""The inverter's network: its coordinates are those of the codes, all of it learns, its file travels with the model."""

import pytest
import torch

from stylesdf.encoder import CodeSpace, Encoder
from stylesdf.mapping import rectify, unrectify
from stylesdf.pipeline import StyleSDF


@pytest.fixture
def inverter(tiny_config) -> Encoder:
    return Encoder(tiny_config.latent_size, 5)


def test_coordinates_of_codes_have_variance_one_and_give_the_codes_again(tiny_model, tiny_config):
    space = CodeSpace.measure(tiny_model.renderer_mapping, tiny_config.latent_size)
    assert space.axes.shape == (tiny_config.latent_size, tiny_config.latent_size)
    with torch.no_grad():
        w = tiny_model.mapping(torch.randn(4000, tiny_config.latent_size))
    coordinates = space.coordinates(w)
    assert coordinates.mean(dim=0).abs().max() < 0.1
    assert (coordinates.var(dim=0) - 1.0).abs().max() < 0.15
    torch.testing.assert_close(space.codes(coordinates), w, atol=1e-4, rtol=1e-3)
    lengths = space.axes.norm(dim=1)
    assert (lengths[:-1] >= lengths[1:]).all()
    again = CodeSpace.measure(tiny_model.renderer_mapping, tiny_config.latent_size)
    assert space.axes.equal(again.axes) and space.mean.equal(again.mean)


def test_rectified_codes_are_taken_back():
    codes = torch.randn(3, 7)
    torch.testing.assert_close(unrectify(rectify(codes)), codes)


def test_every_parameter_gets_a_gradient(inverter):
    coordinates, angles = inverter(torch.rand(2, 3, 80, 80))
    assert coordinates.shape == (2, 5) and angles.shape == (2, 2)
    (coordinates.square().sum() + angles.square().sum()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in inverter.parameters())


@pytest.mark.parametrize("count", [0, 17, 1.0, True])
def test_sizes_out_of_range_are_refused(count):
    with pytest.raises(ValueError, match="num_coordinates of an encoder is .*, expected an integer from 1 to 16"):
        Encoder(16, count)


def test_it_travels_with_the_model_and_is_no_part_of_it(tiny_config, inverter, tmp_path):
    model = StyleSDF(tiny_config)
    assert model.inverter is None
    model.save_pretrained(tmp_path / "without")
    assert not (tmp_path / "without" / "inverter.safetensors").exists()
    vars(model)["inverter"] = inverter
    model.save_pretrained(tmp_path / "with")
    state = torch.get_rng_state()
    loaded = StyleSDF.from_pretrained(tmp_path / "with")
    assert torch.get_rng_state().equal(state)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, value in inverter.state_dict().items():
        torch.testing.assert_close(loaded.inverter.state_dict()[name], value, atol=1e-6, rtol=1e-3)
    loaded.save_pretrained(tmp_path / "again")
    files = [(tmp_path / folder / "inverter.safetensors").read_bytes() for folder in ("with", "again")]
    assert files[0] == files[1] and len(files[0]) < 5_000_000
    assert StyleSDF.from_pretrained(tmp_path / "without").inverter is None


def test_one_of_another_model_is_refused(tiny_config, inverter, tmp_path):
    model = StyleSDF(tiny_config)
    vars(model)["inverter"] = Encoder(8, 5)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is one for codes of 8, expected 16"):
        StyleSDF.from_pretrained(tmp_path)
    (tmp_path / "inverter.safetensors").write_bytes(b"a text")
    with pytest.raises(ValueError, match="inverter.safetensors is not a network's file"):
        StyleSDF.from_pretrained(tmp_path)
