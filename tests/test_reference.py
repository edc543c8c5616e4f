"""The reference vectors: outputs of the original implementation for random weights (``tests/data``).

``small``: a whole model whose weights are stored. ``seeded_1024``: the full size, whose weights are drawn from seeds.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stylesdf.camera import Camera, camera_rays, focal_length
from stylesdf.checkpoint import load_weights
from stylesdf.config import PRESETS, StyleSDFConfig
from stylesdf.convert import fit_noises, read_config, rename_discriminator, rename_generator
from stylesdf.model import Generator
from stylesdf.volume import sample_depths
from train.losses import (
    d_logistic_loss,
    eikonal_loss,
    g_nonsaturating_loss,
    minimal_surface_loss,
    path_lengths,
    view_loss,
)
from train.networks.discriminators import ImageDiscriminator, ThumbnailDiscriminator

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-4  # thumbnails, sdf, xyz
IMAGE_TOLERANCE = 2e-3  # full-size images, whose values reach ±5


def load_arrays(name: str) -> dict[str, torch.Tensor]:
    with np.load(DATA / name) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def build(state: dict, base: StyleSDFConfig, arrays: dict) -> Generator:
    """Build a model from an original generator's tensors; the reference means go to the buffers."""
    model = Generator(read_config(state, base))
    state, replaced = fit_noises(state, model.config)
    assert not replaced
    tensors = rename_generator(state, model.config)
    means = {"w_avg": arrays["w_mean_renderer"], "ws_avg": arrays["w_mean_decoder"]}
    model.load_state_dict({**tensors, **{name: mean for name, mean in means.items() if hasattr(model, name)}})
    return model.eval()


def assert_near(have: torch.Tensor, want: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert have.shape == want.shape
    assert (have - want).abs().max().item() <= tolerance


@pytest.fixture(scope="module")
def small() -> dict[str, torch.Tensor]:
    return load_arrays("small.npz")


@pytest.fixture(scope="module")
def small_state() -> dict[str, torch.Tensor]:
    return dict(torch.load(DATA / "small.pt", weights_only=True)["g_ema"])


@pytest.fixture(scope="module")
def model(small, small_state) -> Generator:
    return build(small_state, StyleSDFConfig(num_samples=12), small)


@pytest.fixture(scope="module")
def camera(small) -> Camera:
    return Camera.from_angles(*small["yaw_pitch"].T)


def test_camera_and_its_constants(small, model, camera):
    assert_near(camera.cam2world, small["cam2world"], 1e-6)
    assert_near(torch.full((3, 1, 1), 64 * focal_length(model.config.fov_deg)), small["focal"], 1e-3)
    assert_near(torch.full((3, 1, 1), model.config.near), small["near"], 1e-6)
    assert_near(torch.full((3, 1, 1), model.config.far), small["far"], 1e-6)


def test_codes(small, model):
    with torch.no_grad():
        w = model.mapping(small["z"])
        assert_near(w, small["w_renderer"])
        assert_near(model.decoder_codes(w)[:, 0], small["w_decoder"])


@pytest.mark.parametrize("psi", [1.0, 0.6])
def test_inference(psi, small, model, camera):
    with torch.no_grad():
        out = model(small["z"], camera, psi=psi)
        rendering = model.render(model.mapping(small["z"], psi), camera)
    assert_near(out.thumbnail, small[f"psi{psi}_thumbnail"])
    assert_near(out.xyz, small[f"psi{psi}_points"])
    assert_near(out.background, small[f"psi{psi}_background"])
    assert_near(rendering.sdf[:, 32], small[f"psi{psi}_sdf_row32"])
    assert_near(out.image, small[f"psi{psi}_image"], IMAGE_TOLERANCE)
    if psi == 1.0:
        assert_near(out.features[:, :, 28:36, 28:36], small["features_center"])


def test_style_mixing(small, model, camera):
    with torch.no_grad():
        image = model(small["z"], camera, mix_z=small["z_mix"], inject_index=2).image
    assert_near(image, small["mixed_inject2_image"], IMAGE_TOLERANCE)


def test_training_mode(small, model, camera):
    options = {"viewdirs": "world", "opaque_background": False}
    with torch.no_grad():
        w = model.mapping(small["z"])
        plain = model.render(w, camera, **options).thumbnail
        jittered = model.render(w, camera, offset=small["jitter"], **options).thumbnail
    assert_near(plain, small["train_mode_thumbnail"])
    assert_near(jittered, small["train_mode_jittered_thumbnail"])


def test_training_mode_is_the_same_while_gradients_are_recorded(small, model, camera):
    options = {"viewdirs": "world", "opaque_background": False, "offset": small["jitter"]}
    out = model.render(model.mapping(small["z"]), camera, **options)
    assert out.thumbnail.requires_grad
    assert_near(out.thumbnail.detach(), small["train_mode_jittered_thumbnail"])


def test_field(small, model):
    with torch.no_grad():
        field = model.field.condition(model.mapping(small["z"][:1]))
        out = field(small["field_points"][None], small["field_viewdirs"][None])
        sdf = model.sdf(small["field_points"], model.mapping(small["z"][:1]))
    assert_near(out.rgb[0], small["field_rgb_logits"])
    assert_near(out.sdf[0, :, None], small["field_sdf"])
    assert_near(sdf[:, None], small["field_sdf"])


def test_geometry_losses(small, model, camera):
    with torch.no_grad():
        w = model.mapping(small["z"])
        sdf = model.render(w, camera).sdf
        rays_o, rays_d, _ = camera_rays(camera, model.config.render_resolution, model.config.fov_deg)
        depth = sample_depths(model.config.near, model.config.far, model.config.num_samples, rays_d)
        points = (rays_o[..., None, :] + rays_d[..., None, :] * depth[..., None]).reshape(3, -1, 3)
    assert_near(minimal_surface_loss(sdf), small["minimal_surface_loss"])
    _, gradient = model.field.condition(w).sdf_and_gradient(points)
    assert_near(eikonal_loss(gradient).detach(), small["eikonal_loss"])


def test_path_lengths(small, model, camera):
    with torch.no_grad():
        w = model.mapping(small["z"])
        features = model.render(w, camera).features
    ws = model.decoder_codes(w).detach().requires_grad_(True)
    image = model.synthesis(features, ws)
    noise = np.random.RandomState(17).standard_normal(image.shape)
    lengths = path_lengths(image, ws, torch.from_numpy(noise).float()).detach()
    assert_near(lengths / small["path_lengths"], torch.ones(3))


def test_closed_form_losses(small):
    assert_near(d_logistic_loss(small["d_real"], small["d_fake"]), small["d_logistic_loss"], 1e-6)
    assert_near(g_nonsaturating_loss(small["d_fake"]), small["g_nonsaturating_loss"], 1e-6)
    predicted, pose = torch.tensor([[0.1, 0.2], [1.5, -0.3]]), torch.tensor([[0.0, 0.1], [0.2, 0.1]])
    assert_near(view_loss(predicted, pose), small["view_loss"], 1e-6)


def test_stage_1_file_gives_the_same_thumbnails(small, camera):
    state = dict(torch.load(DATA / "small_vol_renderer.pt", weights_only=True)["g_ema"])
    renderer_only = build(state, StyleSDFConfig(num_samples=12), small)
    assert not renderer_only.config.has_decoder
    with torch.no_grad():
        out = renderer_only(small["z"], camera, psi=0.6)
    assert out.image is None
    assert_near(out.thumbnail, small["psi0.6_thumbnail"])
    assert_near(out.xyz, small["psi0.6_points"])


# Full size


@pytest.fixture(scope="module")
def seeded() -> dict[str, torch.Tensor]:
    return load_arrays("seeded_1024.npz")


def seeded_state(part: str) -> dict[str, torch.Tensor]:
    spec = json.loads((DATA / "seeded_1024.json").read_text())
    base = spec["seed"] + {"generator": 0, "volume_discriminator": 10_000, "image_discriminator": 20_000}[part]
    state = {}
    for tensor in spec[part]:
        values = np.random.RandomState(base + tensor["index"]).standard_normal(tensor["shape"])
        state[tensor["name"]] = torch.from_numpy((tensor["mean"] + tensor["std"] * values).astype(np.float32))
    return state


def test_full_size_generator(seeded):
    state = seeded_state("generator")
    model = build(state, PRESETS["ffhq"], seeded)
    assert model.config == PRESETS["ffhq"]
    with torch.no_grad():
        w = model.mapping(seeded["z"], psi=0.7)
        rendering = model.render(w, Camera.from_angles(*seeded["yaw_pitch"].T))
        image = model.synthesis(rendering.features, model.decoder_codes(w, psi=0.7))
    assert_near(rendering.thumbnail, seeded["psi0.7_thumbnail"])
    assert_near(rendering.xyz, seeded["psi0.7_points"])
    assert_near(rendering.background, seeded["psi0.7_background"])
    assert_near(rendering.sdf[:, 32], seeded["psi0.7_sdf_row32"])
    assert image.shape == (1, 3, 1024, 1024)
    assert_near(image[:, :, ::16, ::16], seeded["psi0.7_image_stride16"], IMAGE_TOLERANCE)
    # the crop begins at the centre
    assert_near(image[:, :, 512:544, 512:544], seeded["psi0.7_image_crop32"], IMAGE_TOLERANCE)
    mean_std = torch.stack([image.mean(dim=(0, 2, 3)), image.std(dim=(0, 2, 3))])
    assert_near(mean_std, seeded["psi0.7_image_mean_std"], IMAGE_TOLERANCE)


def test_thumbnail_discriminator(seeded):
    discriminator = ThumbnailDiscriminator()
    discriminator.load_state_dict(rename_discriminator(seeded_state("volume_discriminator"), "thumbnail"))
    with torch.no_grad():
        logit, pose = discriminator(seeded["volume_discriminator_input"])
    assert_near(logit, seeded["volume_discriminator_logit"], 1e-6)
    assert_near(pose, seeded["volume_discriminator_viewpoint"], 1e-6)


def test_image_discriminator(seeded):
    discriminator = ImageDiscriminator(resolution=256)
    discriminator.load_state_dict(rename_discriminator(seeded_state("image_discriminator"), "image"))
    images = torch.nn.functional.interpolate(seeded["volume_discriminator_input"], scale_factor=4, mode="nearest")
    with torch.no_grad():
        logit = discriminator(images)
    assert_near(logit, seeded["image_discriminator_logit_nearest_upsampled"], IMAGE_TOLERANCE)


def test_converted_folder_gives_the_reference_image(tmp_path, small, camera):
    from stylesdf.convert import convert_checkpoint

    config = convert_checkpoint(DATA / "small.pt", tmp_path / "small", "ffhq", {"num_samples": 12})
    model = Generator(config)
    load_weights(model, tmp_path / "small" / "model.safetensors")
    model.w_avg.copy_(small["w_mean_renderer"])
    model.ws_avg.copy_(small["w_mean_decoder"])
    with torch.no_grad():
        out = model(small["z"], camera, psi=0.6)
    assert_near(out.image, small["psi0.6_image"], IMAGE_TOLERANCE)
