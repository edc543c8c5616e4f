"""Stage 1 on surface-guided renderings, the solid inside, and stage 2 that starts from the field's own pictures."""

import copy
import dataclasses
import functools
import math

import pytest
import torch

from stylesdf.camera import Camera
from stylesdf.fast.surface import GRID, SurfaceGuide
from stylesdf.field import sphere_initialize
from stylesdf.model import Generator
from tests.train import runs
from tests.train.test_training import DECODER, PLAIN, interrupt_and_resume, snapshot
from train import losses
from train.config import Phase
from train.run.loop import train
from train.run.options import RunOptions
from train.stages import DecoderStage, RendererStage
from train.stages.inside import filled_depth

PHASE = Phase(resolution=16, steps=4, batch_size=4, num_samples=24, surface_guided=True)


@functools.cache
def trained_sphere(dtype: torch.dtype) -> tuple[Generator, torch.Tensor]:
    """A model and the state of the random numbers behind it; it takes a second, and is built once for each dtype."""
    torch.manual_seed(4)
    model = Generator(dataclasses.replace(runs.MODEL, decoder_channels=()))
    codes = lambda: model.renderer_mapping(torch.randn(4, model.config.latent_size))  # noqa: E731
    sphere_initialize(model.field, 300, codes, learning_rate=1e-3, points_per_code=256)
    return model, torch.get_rng_state()


def model_of_a_sphere(beta: float) -> Generator:
    model, random_state = trained_sphere(torch.get_default_dtype())
    torch.set_rng_state(random_state)
    model = copy.deepcopy(model)  # without gradients
    with torch.no_grad():
        model.renderer.log_beta.fill_(math.log(beta))
    return model


def stage_with(phase: Phase, beta: float = 0.002, **settings) -> RendererStage:
    config = dataclasses.replace(runs.with_game(runs.RENDERER, **PLAIN), phases=(phase,), **settings)
    model = model_of_a_sphere(beta)
    return RendererStage(model.config, config, runs.tiny_data(), initial=model)


def gradient_through(phase: Phase) -> tuple[torch.Tensor, int]:
    """The gradient of a random projection of the thumbnails, and how many points the field was asked for."""
    stage = stage_with(phase)
    torch.manual_seed(1)
    scenes = stage._draw_scenes(phase)
    rendering, field = stage._render(phase, scenes, slice(0, 4))
    asked = sum(chunk.sdf.shape[1] for chunk in field._chunks)
    (rendering.thumbnail * torch.randn(rendering.thumbnail.shape)).sum().backward()
    field.backward()
    parameters = [*stage.generator.field.parameters(), stage.generator.renderer.log_beta]
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]), asked


def test_guided_gradients_are_those_of_all_samples_with_fewer_of_them():
    guided, asked = gradient_through(PHASE)
    plain, asked_plain = gradient_through(dataclasses.replace(PHASE, surface_guided=False))
    assert 0.05 * asked_plain < asked < 0.4 * asked_plain  # there is a surface, and not everywhere
    assert (guided - plain).norm() < 0.02 * plain.norm()


def test_guided_steps_move_every_parameter_and_measure_every_term():
    stage = stage_with(PHASE, terms=runs.RENDERER.terms | {"solidity": 1.0})
    before = snapshot(stage)
    record = stage.step()
    assert {"minimal_surface", "eikonal", "solidity", "g_loss"} <= record.keys()
    assert all(math.isfinite(value) for value in record.values())
    for name, _ in stage.generator.named_parameters():
        assert not torch.equal(before[f"generator.{name}"], stage.generator.state_dict()[name]), name


def test_guided_phases_need_points_of_their_own():
    with pytest.raises(ValueError, match="num_points is 0"):
        stage_with(PHASE, num_points=0)


def test_a_run_that_starts_from_a_model_is_not_pulled_back_to_the_sphere():
    assert stage_with(PHASE).step()["sphere_anchor"] == 0.0
    assert runs.renderer_stage().step()["sphere_anchor"] > 0.0


class Ball:
    """A ball of radius 0.06, optionally with a bubble in the middle."""

    def __init__(self, bubble: float) -> None:
        self.bubble = bubble
        self.view_layer = (torch.zeros(1, 3, 3), torch.zeros(1, 1, 3))

    def sdf(self, points):
        distance = points.norm(dim=-1)
        return torch.maximum(distance - 0.06, self.bubble - distance)


@pytest.mark.parametrize("side", [GRID, 24])
@pytest.mark.parametrize("bubble", [-1.0, 0.02])
def test_depth_inside_of_a_ball_does_not_see_its_bubble(bubble, side):
    guide = SurfaceGuide.measure(Ball(bubble), runs.MODEL, side)
    points = torch.tensor([[0.0, 0.0, 0.0], [0.03, 0.0, 0.0], [0.0, -0.059, 0.0], [0.0, 0.0, 0.09]])
    spacing = 2.0 * runs.MODEL.scene_radius / (side - 1)
    depth = filled_depth(guide, points)
    expected = torch.tensor([0.06, 0.03, 0.0, 0.0])
    assert ((depth - expected).abs() < 2.0 * spacing).all()
    assert (depth <= torch.tensor([0.06, 0.03, 0.01, 0.0]) + 1e-6).all()  # never deeper than it is


def test_solidity_is_lost_in_a_bubble_only():
    depth = torch.tensor([[0.04, 0.02, 0.0, 0.0]])
    assert losses.solidity_loss(torch.tensor([[-0.04, -0.02, 0.01, 0.05]]), depth) == 0
    bubble = losses.solidity_loss(torch.tensor([[0.01, -0.02, 0.01, 0.05]]), depth)
    torch.testing.assert_close(bubble, torch.tensor((0.01 + 0.02) / 2))
    assert losses.solidity_loss(torch.ones(1, 4), torch.zeros(1, 4)) == 0


def test_a_blurred_edge_is_farther_than_its_pixels_are():
    target = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).expand(1, 3, 4, 6)
    assert losses.l1_with_differences(target, target) == 0
    # as far in its pixels, but where they differ from their neighbours it is right
    brighter = losses.l1_with_differences(target + 0.125, target)
    blurred = losses.l1_with_differences(torch.tensor([0.0, 0.0, 0.375, 0.625, 1.0, 1.0]).expand(1, 3, 4, 6), target)
    torch.testing.assert_close(brighter, torch.tensor(0.125))
    torch.testing.assert_close(blurred, torch.tensor(0.125 + 2.0 * 1.5 / 5))
    sides = torch.eye(4).expand(1, 3, 4, 4)
    torch.testing.assert_close(losses.l1_with_differences(sides, 0 * sides), torch.tensor(0.25 + 2.0 * (0.5 + 0.5)))


def field_drawing_stage() -> DecoderStage:
    config = dataclasses.replace(DECODER, num_renderings=4, steps=4, draws_field=True)
    torch.manual_seed(5)
    return DecoderStage(runs.MODEL, config, runs.tiny_data(), Generator(runs.MODEL))


def test_the_decoder_draws_what_the_field_shows_without_a_discriminator():
    stage = field_drawing_stage()
    before = {name: value.clone() for name, value in stage.generator.state_dict().items()}
    assert stage.discriminator is None and stage.discriminators() == {}
    assert "field_l1" in stage.step()
    changed = {name for name, value in stage.generator.state_dict().items() if not torch.equal(value, before[name])}
    assert "decoder.conv.weight" in changed and "field.sdf_head.weight" not in changed


def test_field_pictures_are_those_of_the_entries_own_scenes():
    stage = field_drawing_stage()
    pool = stage._renderings
    for step in (0, 3):
        pool.advance_to(step, with_images=True)
        images = pool.targets(torch.tensor([0, 3, 1]))
        scene = pool._scene(step + (0 - step) % 4)
        camera = Camera.from_angles(scene.pose[:, 0], scene.pose[:, 1])
        with torch.no_grad():
            plain = stage.generator.render(scene.w, camera, resolution=32, num_samples=64)
        assert images.shape == (3, 3, 32, 32)
        assert (images[0] - plain.thumbnail[0]).abs().mean() < 0.02


def test_a_run_that_draws_the_field_resumes_bit_for_bit(tmp_path):
    whole = field_drawing_stage()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(field_drawing_stage, tmp_path / "parts", whole, stop_at=2)


def test_field_pictures_need_a_pool():
    with pytest.raises(ValueError, match="num_renderings is 0"):
        dataclasses.replace(DECODER, draws_field=True)


def test_the_decoder_comes_to_resemble_the_field():
    config = runs.with_game(runs.KEEPING, adam_beta1=0.9, learning_rate=0.01)
    stage = runs.decoder_stage(config=dataclasses.replace(config, draws_field=True, steps=60))
    records = [stage.step() for _ in range(60)]
    assert records[-1]["field_l1"] < 0.7 * records[0]["field_l1"]


def test_eight_of_the_renderings_are_exchanged_at_every_32nd_step():
    stage = runs.decoder_stage(config=dataclasses.replace(runs.KEEPING, num_renderings=10))
    seen = []
    for step in (0, 31, 32, 64):
        stage.state.step = step
        stage.step()
        seen.append(stage._renderings.w.clone())
    changed = [(after != before).any(dim=1).sum().item() for before, after in zip(seen, seen[1:])]
    assert changed == [0, 8, 8]


def test_a_frozen_decoder_stays_while_the_discriminator_learns_at_its_own_rate():
    config = runs.with_game(runs.KEEPING, freeze_generator_steps=1, discriminator_learning_rate=0.5)
    stage = runs.decoder_stage(config=config)
    rate = stage.game.discriminator_optimizer.param_groups[0]["initial_lr"]
    assert rate == pytest.approx(0.5 * 2 / 3)  # lazy: r1_every is 2
    assert stage.game.generator_optimizer.param_groups[0]["initial_lr"] < 0.01
    before = snapshot(stage)
    record = stage.step()
    after = snapshot(stage)
    moved = {name.split(".")[0] for name, value in after.items() if name in before and not value.equal(before[name])}
    assert "discriminator" in moved and not moved & {"generator", "generator_ema"}
    assert "g_loss" not in record and "path_length" not in record
    record = stage.step()
    assert "g_loss" in record
    assert not snapshot(stage)["generator.decoder.conv.weight"].equal(before["generator.decoder.conv.weight"])
