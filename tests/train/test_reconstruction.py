"""Showing the data's pictures again: rays through the pixels' centres, what learns, and that it learns."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stylesdf.camera import Camera, camera_rays
from stylesdf.checkpoint import save_model
from stylesdf.config import preset
from stylesdf.mapping import rectify, unrectify
from stylesdf.model import Generator
from tests.train import runs
from train.data.images import ImageSet
from train.data.toy_heads import render_heads, sample_head
from train.evaluation.readings import r_squared
from train.losses import coverage_loss
from train.networks.encoder import PictureEncoder, divergence, expected_code, load_encoder, powers
from train.run.grid import sample_grid
from train.stages import RendererStage, reconstruction
from train.stages.reconstruction import choose_pixels, places_of, take_pixels


def test_rays_go_through_the_pixels_they_are_compared_with():
    camera = Camera.from_angles(torch.tensor([0.3, -0.1]), torch.tensor([-0.2, 0.1]))
    origins, directions, camera_axes = camera_rays(camera, 32, 12.0)
    pixels = torch.randint(32 * 32, (2, 5, 4))
    few = camera_rays(dataclasses.replace(camera, places=places_of(pixels, 32)), 5, 12.0)
    for given, all_rays in zip(few, (origins, directions, camera_axes.expand_as(directions))):
        torch.testing.assert_close(given.permute(0, 3, 1, 2), take_pixels(all_rays.permute(0, 3, 1, 2), pixels))


def test_half_of_the_rays_go_where_a_picture_is_detailed():
    pictures = torch.zeros(2, 3, 64, 64)
    pictures[0, :, 8:20, 40:52] = torch.rand(3, 12, 12).round() * 2 - 1
    pixels = choose_pixels(pictures, torch.rand(2, 400))
    rows, columns = pixels // 64, pixels % 64
    is_near = ((rows - 13.5).abs() < 10) & ((columns - 45.5).abs() < 10)
    share = is_near.float().mean(dim=1)
    assert 0.5 < share[0] < 0.6  # half of them, and what falls there by chance
    assert share[1] < 0.2 and len(pixels[1].unique()) > 350  # a plain picture: anywhere
    distance = (rows // 2 - 15.5).square() + (columns // 2 - 15.5).square()  # of blocks
    assert (distance.diff(dim=1) >= 0).all()
    assert len((rows[1] % 2 * 2 + columns[1] % 2).bincount()) == 4  # every pixel of a block


def test_a_picture_s_pixels_do_not_depend_on_its_batch():
    pictures, random = torch.rand(3, 3, 32, 32), torch.rand(3, 50)
    together = choose_pixels(pictures, random)
    assert torch.equal(together[1:2], choose_pixels(pictures[1:2], random[1:2]))


def test_divergence_is_that_of_the_closed_form():
    assert divergence(torch.zeros(3, 5), torch.zeros(3, 5)).item() == 0.0
    mean, std = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.3, 2.0]])
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, std), normal(0.0, 1.0)).sum()
    torch.testing.assert_close(divergence(mean, std.log()), expected)


@pytest.mark.parametrize("resolution", [8, 16, 64, 128])
def test_the_encoder_reads_pictures_of_any_size(resolution):
    mean, log_std = PictureEncoder(7, resolution)(torch.rand(2, 3, 2 * resolution, 2 * resolution), torch.rand(2, 2))
    assert mean.shape == log_std.shape == (2, 7)


def test_an_encoder_s_file_says_how_it_is_built(tmp_path):
    encoder = PictureEncoder(7, 16)
    save_model(Generator(runs.MODEL), tmp_path, discriminators={"encoder": encoder})
    path = tmp_path / "encoder.safetensors"
    read = load_encoder(path, 7)
    assert read.config == {"latent_size": 7, "resolution": 16}
    assert all(torch.equal(tensor, encoder.state_dict()[name]) for name, tensor in read.state_dict().items())
    with pytest.raises(ValueError, match="is one for codes of 7, expected 8"):
        load_encoder(path, 8)
    for config, sentence in (
        ({"resolution": 16}, "expected latent_size and resolution"),
        ({"latent_size": 7, "resolution": 17}, "resolution of an encoder is 17, expected one of 8, 16"),
        (None, "says None"),
    ):
        save_file(encoder.state_dict(), path, metadata={} if config is None else {"config": json.dumps(config)})
        with pytest.raises(ValueError, match=sentence):
            load_encoder(path, 7)
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is not a network's file"):
        load_encoder(path, 7)


def test_reconstruction_needs_poses_and_points_and_no_discriminator():
    model = dataclasses.replace(runs.MODEL, decoder_channels=())
    data = runs.tiny_data()
    config = dataclasses.replace(runs.RECONSTRUCTING, use_pose_labels=False)
    with pytest.raises(ValueError, match="no yaw and pitch"):
        RendererStage(model, config, dataclasses.replace(data, poses=None))
    with pytest.raises(ValueError, match="num_points is 0"):
        RendererStage(model, dataclasses.replace(config, num_points=0), data)
    with pytest.raises(ValueError, match="reconstruction beside view"):
        RendererStage(model, dataclasses.replace(config, terms=config.terms | {"view": 15.0}), data)
    with pytest.raises(ValueError, match="freeze_generator_steps is on"):
        RendererStage(model, runs.with_game(config, freeze_generator_steps=2), data)
    with pytest.raises(ValueError, match="terms has divergence, but no reconstruction"):
        RendererStage(model, dataclasses.replace(config, terms=runs.RENDERER.terms | {"divergence": 1.0}), data)


def test_coverage_is_compared_where_the_alpha_is_plain():
    alpha = torch.tensor([0.0, 0.04, 0.5, 1.0]).view(1, 1, 1, 4)
    coverage = torch.tensor([0.5, 0.04, 0.0, 0.8]).view(1, 1, 1, 4)
    torch.testing.assert_close(coverage_loss(coverage, alpha), torch.tensor((0.5 + 0.0 + 0.2) / 4))


def test_coverage_needs_pictures_with_alpha():
    data = runs.tiny_data()
    opaque = dataclasses.replace(data, thumbnails=data.thumbnails[:, :3])
    terms = runs.RECONSTRUCTING.terms | {"coverage": 1.0}
    config = dataclasses.replace(runs.RECONSTRUCTING, terms=terms, use_alpha=False)
    with pytest.raises(ValueError, match="terms has coverage, but the pictures have no alpha"):
        RendererStage(dataclasses.replace(runs.MODEL, decoder_channels=()), config, opaque)


def test_a_field_does_not_hide_in_the_background_s_colour(heads):
    """Pictures of nothing but background, of heads that cover half of them: only coverage tells where they are."""
    plain = np.full_like(heads.images, 200)
    alpha = np.zeros((4, 1, 16, 16), np.uint8)
    alpha[:, :, 4:12, 4:12] = 255
    thumbnails = np.concatenate([plain[:, :, ::2, ::2], alpha], axis=1)
    stage = reconstructing_stage(dataclasses.replace(heads, images=plain, thumbnails=thumbnails), {"coverage": 5.0})
    stage.prepare()
    distances = [stage.step()["coverage"] for _ in range(60)]
    assert sum(distances[-10:]) < 0.6 * sum(distances[:10])


@pytest.fixture(scope="module")
def heads() -> ImageSet:
    """Four toy heads, 32 pixels wide."""
    angles = torch.tensor([-0.3, 0.1, 0.3, 0.0])
    drawn = render_heads([sample_head(index, 0) for index in range(4)], angles, angles / 2, 32, supersample=2)
    images = (drawn.rgb.permute(0, 3, 1, 2) * 255).round().to(torch.uint8).numpy()
    thumbnails = images.astype(np.float32).reshape(4, 3, 16, 2, 16, 2).mean(axis=(3, 5)).astype(np.uint8)
    return ImageSet(images, thumbnails, torch.stack([angles, angles / 2], dim=1))


def reconstructing_stage(data: ImageSet, more: dict | None = None, **game) -> RendererStage:
    config = preset("toy")
    model = dataclasses.replace(
        config, render_resolution=16, field_width=32, field_depth=2, latent_size=8, decoder_channels=()
    )
    phase = dataclasses.replace(
        runs.RENDERER.phases[1], steps=1000, batch_size=4, num_samples=32, surface_guided=True
    )
    config = dataclasses.replace(
        runs.with_game(runs.RENDERER, learning_rate=1e-3, **game), phases=(phase,), sphere_steps=150,
        sphere_learning_rate=1e-3, sphere_radius=0.055, beta_start=0.004, use_alpha=False,
        terms={"eikonal": 0.1, "minimal_surface": 0.05, "bounds": 1.0, "reconstruction": 10.0, "divergence": 1e-4}
        | (more or {}),
    )  # fmt: skip
    return RendererStage(model, config, data)


def test_the_pictures_are_shown_again(heads):
    stage = reconstructing_stage(heads, adam_beta1=0.9, adam_beta2=0.99)
    stage.prepare()
    distances = [stage.step()["reconstruction"] for _ in range(120)]
    assert stage.discriminator is None and stage.discriminators().keys() == {"encoder"}
    first, last = (sum(part) / 10 for part in (distances[:10], distances[-10:]))
    assert last < 0.6 * first


def test_what_poses_explain_is_subtracted_from_what_is_read():
    torch.manual_seed(0)
    encoder, poses = PictureEncoder(6, 16), torch.randn(400, 2) * torch.tensor([0.3, 0.15])
    pictures, bases = torch.rand(400, 3, 16, 16), powers(poses)
    read, _ = encoder(pictures, poses)
    assert encoder.explained(poses).eq(0.0).all()
    wanted, own = bases @ torch.randn(10, 6), torch.randn(400, 6)
    encoder.regression.copy_(encoder.products(wanted + own, poses))
    explained = encoder.explained(poses)
    assert r_squared(wanted - wanted.mean(dim=0), explained) > 0.9
    torch.testing.assert_close(explained.mean(dim=0), torch.zeros(6), atol=1e-4, rtol=0)
    mean, _ = encoder(pictures, poses)
    torch.testing.assert_close(mean, read - explained)
    torch.testing.assert_close(encoder.products(mean, poses)[:, 10:], bases.T @ read / 400)  # of what the network read


def test_the_regression_on_poses_is_fitted_before_the_first_step(heads):
    stage = reconstructing_stage(heads, {"leak": 0.3})
    encoder = stage.reconstruction.encoder
    with torch.no_grad():
        read, _ = encoder(heads.image_batch(torch.arange(4)), heads.poses)
    stage.prepare()
    bases = powers(heads.poses)
    fitted = bases.T @ torch.cat([bases, read], dim=1) / 4
    torch.testing.assert_close(encoder.regression, fitted)
    stage.step()  # and follows
    assert encoder.regression[0, 0] == 1.0 and not torch.allclose(encoder.regression, fitted)


def test_the_encoder_learns_to_tell_less_of_the_pose(monkeypatch):
    """Its means come to differ the other way than a regression that stays as it is."""
    monkeypatch.setattr(reconstruction, "NEW_SHARE", 0.0)

    def agreement(weight: float) -> float:
        torch.manual_seed(0)
        stage = reconstructing_stage(runs.tiny_data(100), {"leak": weight})
        encoder, poses = stage.reconstruction.encoder, stage.data.poses
        encoder.regression.copy_(encoder.products(powers(poses) @ torch.randn(10, 8), poses))
        for _ in range(60):
            stage.step()
        with torch.no_grad():
            mean, _ = encoder(stage.data.image_batch(torch.arange(100)), poses)
            explained = encoder.explained(poses)
        return ((mean + explained) * explained).sum(dim=1).mean().item()

    assert abs(agreement(1e-9)) < 1.0 and agreement(3.0) < -5.0


def test_without_the_term_codes_are_left_as_they_are_read(heads):
    stage = reconstructing_stage(heads)
    stage.prepare()
    stage.step()
    assert stage.reconstruction.encoder.regression.eq(0.0).all()


@pytest.mark.parametrize("psi", [0.0, 0.5, 1.0])
def test_codes_are_truncated_from_their_mean(heads, monkeypatch, psi):
    shown = []

    def condition(codes):
        shown.append(codes.detach())
        return conditioned(codes)

    monkeypatch.setattr(reconstruction, "draw_psi", lambda batch, least: {"psi": torch.full((batch, 1), psi)})
    monkeypatch.setattr(reconstruction, "rectify", lambda codes: 0.0 * codes + 3.0)
    stage = reconstructing_stage(heads)
    stage.prepare()
    centre = stage.reconstruction.encoder.centre.clone()
    assert centre.shape == (1, 8) and centre.ne(0.0).all()
    conditioned = stage.generator.field.condition
    monkeypatch.setattr(stage.generator.field, "condition", condition)
    stage.step()
    torch.testing.assert_close(shown[0], torch.lerp(centre, torch.tensor(3.0), psi).expand_as(shown[0]))
    torch.testing.assert_close(stage.reconstruction.encoder.centre, torch.lerp(centre, torch.tensor(3.0), 0.03))


def test_a_code_before_the_leaky_relu_and_behind_it():
    torch.manual_seed(0)
    mean, std = torch.randn(4, 6), torch.rand(4, 6) + 0.05
    torch.testing.assert_close(unrectify(rectify(mean)), mean)
    drawn = rectify(mean + std * torch.randn(50_000, 4, 6)).mean(dim=0)
    torch.testing.assert_close(expected_code(mean, std), drawn, atol=0.02, rtol=0)
    assert (rectify(mean) - drawn).abs().max() > 0.1


def test_grids_show_the_datas_own_pictures_while_the_mapping_has_not_learned():
    model = dataclasses.replace(runs.MODEL, decoder_channels=())
    stage = runs.reconstructing_stage()
    options = stage.grid_options()
    assert options["resolution"] == model.render_resolution and options["codes"].shape == (8, model.latent_size)
    data, encoder = stage.data, stage.reconstruction.encoder
    mean, log_std = encoder(data.image_batch(torch.tensor([3])), data.poses[3:4])
    torch.testing.assert_close(options["codes"][3:4], expected_code(mean, log_std.exp()))
    plain = sample_grid(stage.generator_ema, **(options | {"codes": None}))
    assert sample_grid(stage.generator_ema, **options).tobytes() != plain.tobytes()
    assert "codes" not in runs.renderer_stage().grid_options()
