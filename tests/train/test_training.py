"""Both stages on a tiny model: they learn what they should, resume bit for bit, and refuse what does not fit."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from stylesdf.checkpoint import load_config, load_weights
from stylesdf.model import Generator
from tests.train import runs
from train.data.images import ImageSet
from train.networks.discriminators import ThumbnailDiscriminator, minibatch_std
from train.presets import PRESETS
from train.pretrained import copy_decoder
from train.run.engine import Engine
from train.run.loop import train
from train.run.options import RunOptions
from train.run.state import saved_steps
from train.stages import DecoderStage, RendererStage

PLAIN = {"augment": (), "augment_probability": 1.0, "ada_target": 0.0}
RENDERER = dataclasses.replace(
    runs.with_game(runs.RENDERER, **PLAIN),
    phases=tuple(dataclasses.replace(phase, batch_size=4) for phase in runs.RENDERER.phases),
)
DECODER = dataclasses.replace(runs.with_game(runs.DECODER, **PLAIN), steps=5, batch_size=4)


@pytest.fixture
def data() -> ImageSet:
    return runs.tiny_data()


@pytest.fixture
def renderer_config(tiny_toy_config):
    return dataclasses.replace(tiny_toy_config, decoder_channels=(), cull_to_ball=True)


def snapshot(stage) -> dict:
    return {name: tensor.clone() for name, tensor in stage.state._named_tensors()}


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_renderer_stage_moves_every_parameter_of_both_players(renderer_config, data):
    stage = RendererStage(renderer_config, RENDERER, data)
    stage.prepare()
    before = snapshot(stage)
    for _ in range(stage.config.total_steps):
        record = stage.step()
    assert all(np.isfinite(value) for value in record.values())
    assert {"d_loss", "g_loss", "d_view", "view", "eikonal", "minimal_surface", "beta", "inside"} <= record.keys()
    after = snapshot(stage)
    for name, _ in stage.generator.named_parameters():
        assert not torch.equal(before[f"generator.{name}"], after[f"generator.{name}"]), name
    for name, _ in stage.discriminator.named_parameters():
        assert not torch.equal(before[f"discriminator.{name}"], after[f"discriminator.{name}"]), name


def test_matrices_inside_the_field_are_learned_by_muon_and_all_else_by_adam(renderer_config, data):
    """Muon's steps have no singular value far above the others, which Adam's have; each of Adam's first is its rate."""
    config, rate = runs.with_game(RENDERER, matrix_learning_rate=0.01), RENDERER.game.learning_rate
    stage = RendererStage(renderer_config, config, data)
    stage.prepare()
    before = snapshot(stage)
    stage.step()
    after = snapshot(stage)
    for name, parameter in stage.generator.field.named_parameters():
        moved = after[f"generator.field.{name}"] - before[f"generator.field.{name}"]
        if parameter.ndim == 2 and "head" not in name and name != "layers.0.linear.weight":
            sizes = torch.linalg.svdvals(moved) / (0.01 * 0.2 * max(moved.shape) ** 0.5)
            assert 0.9 < sizes[0] < 1.2 and (sizes[-1] > 0.5 or "linear" not in name), name
        else:
            assert moved.abs().max().item() == pytest.approx(rate, rel=0.01), name


def test_kernels_of_the_decoder_are_learned_by_muon_too(tiny_toy_config, data):
    config = runs.with_game(dataclasses.replace(DECODER, path_length_weight=0.0), matrix_learning_rate=0.01)
    stage = DecoderStage(tiny_toy_config, config, data, Generator(tiny_toy_config))
    before = snapshot(stage)
    stage.step()
    after = snapshot(stage)
    kernels = {name: each for name, each in stage.generator.decoder.named_parameters() if each.shape[2:] == (3, 3)}
    assert len(kernels) == 1 + 2 * (len(tiny_toy_config.decoder_channels) - 1)
    for name in kernels:
        moved = (after[f"generator.decoder.{name}"] - before[f"generator.decoder.{name}"]).flatten(1)
        sizes = torch.linalg.svdvals(moved) / (0.01 * 0.2 * max(moved.shape) ** 0.5)
        assert 0.5 < sizes[-1] and sizes[0] < 1.2, name
    colours = "generator.decoder.to_rgb.weight"
    assert (after[colours] - before[colours]).abs().max().item() == pytest.approx(config.game.learning_rate, rel=0.01)


def test_decoder_stage_leaves_the_renderer_alone(tiny_toy_config, data):
    stage = DecoderStage(tiny_toy_config, DECODER, data, Generator(tiny_toy_config))
    before = snapshot(stage)
    records = [stage.step() for _ in range(4)]
    assert "path_length" in records[0] and "path_length" not in records[1]
    assert "r1" in records[0] and "r1" not in records[1]
    after = snapshot(stage)
    for name, _ in stage.generator.named_parameters():
        frozen = name.split(".")[0] in ("renderer_mapping", "field", "renderer")
        assert torch.equal(before[f"generator.{name}"], after[f"generator.{name}"]) == frozen, name


def test_a_decoder_that_does_not_fit_is_refused(tiny_toy_config, renderer_config):
    target = Generator(tiny_toy_config)
    with pytest.raises(ValueError, match="has none"):
        copy_decoder(Generator(renderer_config), target)
    other = Generator(dataclasses.replace(tiny_toy_config, latent_size=2 * tiny_toy_config.latent_size))
    with pytest.raises(
        ValueError, match=f"latent_size {other.config.latent_size}, expected {tiny_toy_config.latent_size}"
    ):
        copy_decoder(other, target)
    other = Generator(dataclasses.replace(tiny_toy_config, decoder_style_size=2 * tiny_toy_config.decoder_style_size))
    with pytest.raises(ValueError, match="model of decoder_style_size"):
        copy_decoder(other, target)


@pytest.mark.parametrize("mixing_probability", [0.0, 1.0])
def test_the_thumbnail_is_compared_only_with_pictures_in_its_own_style(tiny_toy_config, data, mixing_probability):
    config = dataclasses.replace(DECODER, mixing_probability=mixing_probability)
    stage = DecoderStage(tiny_toy_config, config, data, Generator(tiny_toy_config))
    assert ("thumbnail_l1" in stage.step()) == (mixing_probability == 0.0)


def test_beta_stays_below_its_falling_bound(renderer_config, data, monkeypatch):
    monkeypatch.setattr("train.stages.renderer.SCALAR_LEARNING_RATE", 0.0)
    config = dataclasses.replace(RENDERER, beta_start=0.1, beta_end=0.001)
    stage = RendererStage(renderer_config, config, data)
    betas = [stage.step()["beta"] for _ in range(config.total_steps)]
    np.testing.assert_allclose(betas, [0.1 * 0.01 ** ((step + 1) / 6) for step in range(6)], rtol=1e-5)


@pytest.mark.parametrize("micro_batch, expected", [(0, 1), (2, 4)])
def test_both_players_see_one_rendering_where_a_batch_is_a_single_part(
    renderer_config, data, monkeypatch, micro_batch, expected
):
    stage = RendererStage(renderer_config, RENDERER, data, Engine(micro_batch=micro_batch))
    calls = []
    render = stage._render
    monkeypatch.setattr(stage, "_render", lambda *arguments: calls.append(1) or render(*arguments))
    stage.step()
    assert len(calls) == expected  # two parts are rendered for each player


@pytest.mark.parametrize("pool", [0, 3])
def test_decoder_run_resumes_bit_for_bit(tiny_toy_config, data, tmp_path, pool):
    config = dataclasses.replace(DECODER, num_renderings=pool)
    renderer = Generator(tiny_toy_config)

    def new_stage():
        return DecoderStage(tiny_toy_config, config, data, renderer)

    whole = new_stage()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(new_stage, tmp_path / "parts", whole, stop_at=3)


def test_renderer_run_resumes_bit_for_bit(renderer_config, data, tmp_path):
    def new_stage():
        return RendererStage(renderer_config, RENDERER, data)

    whole = new_stage()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=3, log_every=1))
    interrupt_and_resume(new_stage, tmp_path / "parts", whole, stop_at=4)


def interrupt_and_resume(new_stage, out, whole, stop_at):
    broken = new_stage()
    step = broken.step

    def step_or_die():
        if broken.state.step == stop_at:
            raise RuntimeError("the machine went away")
        return step()

    broken.step = step_or_die
    with pytest.raises(RuntimeError):
        train(broken, out, RunOptions(save_every=2, grid_every=100, log_every=1))
    resumed = new_stage()
    train(resumed, out, RunOptions(save_every=2, grid_every=100, log_every=1))
    assert_same(snapshot(whole), snapshot(resumed))
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, whole.config.total_steps + 1))
    assert len(saved_steps(out / "state")) == 2
    assert (out / "model" / "model.safetensors").read_bytes() == (
        out.parent / "whole" / "model" / "model.safetensors"
    ).read_bytes()


def test_run_writes_a_loadable_model_with_means(renderer_config, data, tmp_path):
    stage = RendererStage(renderer_config, RENDERER, data)
    folder = train(stage, tmp_path, RunOptions(save_every=100, grid_every=100))
    model = Generator(load_config(folder))
    load_weights(model, folder / "model.safetensors")
    assert model.config == renderer_config
    assert model.w_avg.abs().sum() > 0
    assert list((tmp_path / "grids").iterdir())


def test_a_run_of_one_picture_a_step_reaches_its_end(renderer_config, data, tmp_path):
    phases = tuple(dataclasses.replace(phase, batch_size=1) for phase in RENDERER.phases)
    stage = RendererStage(renderer_config, dataclasses.replace(RENDERER, phases=phases), data)
    train(stage, tmp_path, RunOptions(grid_every=100, log_every=1))
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(records) == stage.config.total_steps and not any("variety" in record for record in records)


def test_other_settings_in_the_same_folder_are_refused(renderer_config, data, tmp_path):
    train(RendererStage(renderer_config, RENDERER, data), tmp_path)
    other = RendererStage(renderer_config, dataclasses.replace(RENDERER, terms=RENDERER.terms | {"view": 1.0}), data)
    with pytest.raises(ValueError, match="other settings"):
        train(other, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_state(renderer_config, data, tmp_path):
    stage = RendererStage(renderer_config, RENDERER, data)
    step = stage.step
    stage.step = lambda: step() | ({"g_loss": float("nan")} if stage.state.step == 3 else {})
    with pytest.raises(FloatingPointError, match="g_loss is nan at step 3"):
        train(stage, tmp_path, RunOptions(save_every=1, grid_every=100))
    assert [folder.name for folder in saved_steps(tmp_path / "state")] == ["step-00000001", "step-00000002"]


def test_data_without_alpha_or_poses_is_refused_where_they_are_needed(renderer_config, data):
    with pytest.raises(ValueError, match="alpha"):
        RendererStage(renderer_config, RENDERER, dataclasses.replace(data, thumbnails=data.thumbnails[:, :3]))
    with pytest.raises(ValueError, match="yaw and pitch"):
        RendererStage(renderer_config, RENDERER, dataclasses.replace(data, poses=None))


def test_a_learned_background_of_pictures_without_a_plain_one_is_warned_of(caplog):
    runs.renderer_stage()  # of noise
    assert "of the borders have one colour, a learned background is only one" in caplog.text


def test_a_phase_has_no_larger_thumbnails_than_the_model(renderer_config, data):
    phases = (dataclasses.replace(RENDERER.phases[0], resolution=32),)
    with pytest.raises(ValueError, match="^resolution of a phase is 32, expected at most the thumbnail's 16$"):
        RendererStage(renderer_config, dataclasses.replace(RENDERER, phases=phases), data)


def test_minibatch_std_is_the_mean_deviation_of_the_group():
    x = torch.zeros(4, 1, 2, 2)
    x[2:] = 2.0
    feature = minibatch_std(x)[:, 1]
    torch.testing.assert_close(feature, torch.ones(4, 2, 2))
    assert minibatch_std(torch.randn(3, 5, 2, 2)).shape == (3, 6, 2, 2)


def test_fade_blends_two_input_layers():
    discriminator = ThumbnailDiscriminator((4, 4, 4, 4), resolution=16, low_resolutions=(8,))
    x = torch.randn(2, 3, 16, 16)
    low = discriminator(torch.nn.functional.avg_pool2d(x, 2))[0]
    torch.testing.assert_close(discriminator(x, fade=0.0)[0], low)
    assert not torch.allclose(discriminator(x, fade=1.0)[0], low)


def test_a_phase_is_found_by_its_step():
    config = PRESETS["renderer"]["toy"]
    first, second, third = config.phases
    assert config.phase_at(0) == (first, 0)
    assert config.phase_at(first.steps) == (second, 0)
    assert config.phase_at(first.steps + second.steps - 1) == (second, second.steps - 1)
    assert config.phase_at(config.total_steps) == (third, third.steps)


def test_paper_constants_are_the_defaults():
    renderer, decoder = PRESETS["renderer"]["ffhq"], PRESETS["decoder"]["ffhq"]
    assert renderer.terms == {"view": 15.0, "eikonal": 0.1, "minimal_surface": 0.05}
    assert (renderer.game.learning_rate, renderer.game.discriminator_learning_rate) == (2e-5, 2e-4)
    assert (renderer.phases[0].r1_gamma, renderer.game.r1_every, renderer.sphere_steps) == (10.0, 1, 10_000)
    assert (decoder.game.learning_rate, decoder.game.r1_every, decoder.path_length_weight) == (2e-3, 16, 2.0)
    assert PRESETS["decoder"]["afhq"].r1_gamma == 50.0
    for game in (renderer.game, decoder.game):
        assert not (game.use_relativistic_loss or game.augment or game.freeze_generator_steps)
        assert game.final_learning_rate == 1.0
    assert not (renderer.use_alpha or renderer.use_pose_labels or renderer.num_points or decoder.thumbnail_weight)
