import dataclasses
import json
import math

import pytest

from stylesdf.config import FORMAT, PRESETS, StyleSDFConfig, preset


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name):
    config = preset(name)
    assert StyleSDFConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_every_field_reaches_the_json():
    config = StyleSDFConfig()
    assert set(config.to_dict()) == {"format"} | {field.name for field in dataclasses.fields(config)}


def test_the_papers_model_has_the_papers_sizes():
    config = preset("ffhq")
    assert (config.render_resolution, config.image_resolution, config.num_ws) == (64, 1024, 10)
    assert (preset("afhq").image_resolution, preset("afhq").num_ws) == (512, 8)
    # channels at resolution R: min(512, 16384 · 2 / R)
    assert config.decoder_channels == tuple(min(512, 32768 // (64 * 2**k)) for k in range(5))
    assert (config.near, config.far) == (0.88, 1.12)


def test_a_renderer_only_model_has_no_codes():
    config = StyleSDFConfig(decoder_channels=())
    assert not config.has_decoder
    assert (config.image_resolution, config.num_ws) == (64, 0)


def test_unknown_key_is_named():
    with pytest.raises(ValueError, match="colour_space"):
        StyleSDFConfig.from_dict({"format": FORMAT, "colour_space": "srgb"})


def test_a_newer_format_asks_for_an_upgrade():
    with pytest.raises(ValueError, match=f"{FORMAT + 1}.*upgrade"):
        StyleSDFConfig.from_dict({"format": FORMAT + 1, "key_of_the_future": 1})


@pytest.mark.parametrize("version", [None, 0, -1, "1", 1.0, True])
def test_a_wild_format_is_refused(version):
    with pytest.raises(ValueError, match="format"):
        StyleSDFConfig.from_dict({"format": version})


@pytest.mark.parametrize("values", [[], None, "{}", 3])
def test_a_config_is_an_object(values):
    with pytest.raises(ValueError, match="JSON object"):
        StyleSDFConfig.from_dict(values)


@pytest.mark.parametrize(
    "name, value",
    [
        ("latent_size", 0),
        ("latent_size", -3),
        ("latent_size", 10**9),
        ("field_width", 16.0),
        ("field_width", "16"),
        ("field_depth", True),
        ("field_depth", None),
        ("render_resolution", 48),
        ("render_resolution", 2),
        ("num_samples", 1),
        ("fov_deg", 0),
        ("fov_deg", 180.0),
        ("fov_deg", math.nan),
        ("fov_deg", "12"),
        ("scene_radius", 1.0),
        ("scene_radius", -0.12),
        ("scene_radius", math.inf),
        ("density", "gaussian"),
        ("density", None),
        ("background", "white"),
        ("view_directions", 1),
        ("cull_to_ball", None),
        ("decoder_channels", 8),
        ("decoder_channels", "88"),
        ("decoder_channels", [8, 0]),
        ("decoder_channels", [8, 8.0]),
        ("decoder_channels", [[8]]),
        ("decoder_channels", [8] * 6),
        ("pose_distribution", "cauchy"),
        ("pose_yaw", 0.0),
        ("pose_pitch", 2.0),
        ("pose_pitch", False),
    ],
)
def test_a_wild_value_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        StyleSDFConfig.from_dict({"format": FORMAT, name: value})


def test_unknown_preset_lists_the_known():
    with pytest.raises(ValueError, match="ffhq, afhq"):
        preset("lsun")


def test_culling_needs_a_background_of_its_own():
    with pytest.raises(ValueError, match="cull_to_ball needs a learned background"):
        StyleSDFConfig(cull_to_ball=True)
