"""The game of two players, by hand: rates, penalties, augmentation that adapts, the average."""

import dataclasses
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.train import runs
from train.augment import NUMBERS, augment
from train.config import GameConfig
from train.game import ADA_IMAGES, ADA_SHARE, Game, adam, linear_decay, scale_learning_rates, update_average
from train.run.engine import Engine
from train.run.state import newest_intact


def game_of(lazy: tuple[int, int] = (0, 0), discriminator: nn.Module | None = None, **settings) -> Game:
    groups = [{"params": [nn.Parameter(torch.zeros(2))], "lr": rate} for rate in (0.1, 0.3)]
    return Game(GameConfig(**settings), Engine(), groups, [], discriminator, lazy)


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


# learning rates


def test_linear_decay_goes_from_one_to_what_is_left():
    assert [linear_decay(progress, 0.2) for progress in (0.0, 0.25, 1.0)] == pytest.approx([1.0, 0.8, 0.2])
    assert linear_decay(0.7, 1.0) == 1.0


def test_rates_are_multiples_of_those_that_the_optimizer_was_built_with():
    optimizer = adam([nn.Parameter(torch.zeros(1))], 0.1)
    for scale in (0.5, 2.0):  # not one on top of the other
        scale_learning_rates(optimizer, scale)
        assert rates(optimizer) == pytest.approx([0.1 * scale])


@pytest.mark.parametrize("both_fall", [True, False])
def test_the_rates_of_a_step(both_fall):
    game = game_of(discriminator=nn.Linear(3, 1), discriminator_learning_rate=0.5, final_learning_rate=0.2)
    game.set_learning_rates(0.5, scale=2.0, both_fall=both_fall)
    assert rates(game.generator_optimizer) == pytest.approx([0.1 * 2 * 0.6, 0.3 * 2 * 0.6])
    assert rates(game.discriminator_optimizer) == pytest.approx([0.5 * 2 * (0.6 if both_fall else 1.0)])
    game_of().set_learning_rates(0.5)  # without a discriminator


def test_adam_makes_up_for_penalties_in_steps_of_their_own():
    """Rate and betas of n steps out of n + 1, so that n + 1 of them do what n did (StyleGAN2, appendix B)."""
    settings = {"adam_beta1": 0.5, "adam_beta2": 0.99, "discriminator_learning_rate": 0.1}
    game = game_of((4, 16), nn.Linear(3, 1), **settings)
    for optimizer, every in ((game.generator_optimizer, 4), (game.discriminator_optimizer, 16)):
        ratio = every / (every + 1)
        assert rates(optimizer)[0] == optimizer.param_groups[0]["initial_lr"] == pytest.approx(0.1 * ratio)
        assert optimizer.param_groups[0]["betas"] == pytest.approx((0.5**ratio, 0.99**ratio))
    plain = game_of(discriminator=nn.Linear(3, 1), **settings)
    for optimizer in plain.optimizers.values():
        assert rates(optimizer)[0] == 0.1 and optimizer.param_groups[0]["betas"] == (0.5, 0.99)


def test_adam_is_fused_on_a_gpu_alone(monkeypatch):
    on_cpu = adam([nn.Parameter(torch.zeros(1))], 0.1), *game_of(discriminator=nn.Linear(3, 1)).optimizers.values()
    assert [group["fused"] for optimizer in on_cpu for group in optimizer.param_groups] == [None] * 4
    monkeypatch.setattr(nn.Parameter, "is_cuda", True)
    on_gpu = adam([nn.Parameter(torch.zeros(1))], 0.1), *game_of(discriminator=nn.Linear(3, 1)).optimizers.values()
    assert [group["fused"] for optimizer in on_gpu for group in optimizer.param_groups] == [True] * 4


def test_a_game_without_a_discriminator_has_one_optimizer():
    assert game_of().optimizers.keys() == {"generator_optimizer"}
    both = game_of(discriminator=nn.Linear(3, 1)).optimizers
    assert both.keys() == {"generator_optimizer", "discriminator_optimizer"}


def test_matrices_without_a_gradient_are_left_alone():
    matrix, kernel, rest = (nn.Parameter(torch.ones(size)) for size in ((2, 3), (4, 2, 3, 3), (2,)))
    config = GameConfig(learning_rate=0.1, matrix_learning_rate=0.1)
    game = Game(config, Engine(), [{"params": [matrix, kernel, rest], "lr": 0.1}], [matrix, kernel], None)
    (kernel.square().sum() + rest.sum()).backward()
    game.step_generator()
    assert (matrix == 1.0).all() and (kernel != 1.0).all() and (rest == 0.9).all()
    assert kernel.grad is None and rest.grad is None


# losses and penalties


def test_the_losses_of_both_players():
    real, fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [1.0]])
    plain, paired = game_of(), game_of(use_relativistic_loss=True)
    terms = plain.discriminator_terms(real, fake)
    torch.testing.assert_close(terms["d_loss"], F.softplus(-real).mean() + F.softplus(fake).mean())
    assert (terms["d_real"].item(), terms["d_fake"].item(), terms["d_real_sign"].item()) == (0.5, 0.75, 0.0)
    torch.testing.assert_close(plain.generator_loss(fake, real), F.softplus(-fake).mean())
    torch.testing.assert_close(paired.discriminator_terms(real, fake)["d_loss"], F.softplus(fake - real).mean())
    torch.testing.assert_close(paired.generator_loss(fake, real), F.softplus(real - fake).mean())


def test_the_penalty_is_half_gamma_times_the_squared_gradient_for_all_steps_it_stands_for():
    weight = torch.tensor([1.0, -2.0, 3.0])
    real = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 2.0]], requires_grad=True)
    fake = torch.zeros(2, 3, requires_grad=True)
    terms: dict = {}
    # D = (x · a)² / 2 has the gradient (x · a) a
    penalty = game_of(r1_every=4).penalty(6.0, terms, r1=((real @ weight).square()[:, None] / 2, real))
    along = (real @ weight).tolist()
    expected = sum(value**2 * 14.0 for value in along) / 2
    assert terms.keys() == {"r1"} and terms["r1"].item() == pytest.approx(expected)
    assert penalty.item() == pytest.approx(6.0 / 2 * 4 * expected)
    judged = {"r1": ((real @ weight)[:, None], real), "r2": (2 * (fake @ weight)[:, None], fake)}
    penalty = game_of().penalty(6.0, terms, **judged)
    assert terms["r1"].item() == pytest.approx(14.0) and terms["r2"].item() == pytest.approx(4 * 14.0)
    assert penalty.item() == pytest.approx(3.0 * 5 * 14.0)


def test_a_penalty_comes_every_so_many_steps_and_freezing_ends():
    game = game_of(r1_every=3, freeze_generator_steps=2)
    assert [step for step in range(8) if game.is_penalised(step)] == [0, 3, 6]
    assert [step for step in range(8) if game.is_frozen(step)] == [0, 1]


@pytest.mark.parametrize("make, config", [(runs.renderer_stage, runs.RENDERER), (runs.decoder_stage, runs.DECODER)])
@pytest.mark.parametrize("is_relativistic", [False, True])
def test_generated_pictures_are_penalised_only_where_pairs_are_judged(make, config, is_relativistic):
    config = runs.with_game(config, use_relativistic_loss=is_relativistic, ada_target=0.0)
    stage = make(config=config)
    first, second = stage.step(), stage.step()
    assert "r1" in first and ("r2" in first) == is_relativistic
    assert "r1" not in second and "r2" not in second


@pytest.mark.parametrize("make, config", [(runs.renderer_stage, runs.RENDERER), (runs.decoder_stage, runs.DECODER)])
def test_what_is_penalised_is_not_yet_augmented(make, config, monkeypatch):
    stage = make(config=runs.with_game(config, use_relativistic_loss=True, ada_target=0.0))
    varied, penalised, augmented, penalty = [], [], stage.game.augmented, stage.game.penalty

    def penalty_of(gamma, terms, **judged):
        penalised.extend(images for _, images in judged.values())
        return penalty(gamma, terms, **judged)

    monkeypatch.setattr(stage.game, "augmented", lambda images, *how: varied.append(images) or augmented(images, *how))
    monkeypatch.setattr(stage.game, "penalty", penalty_of)
    stage.step()
    assert len(penalised) == 2 and all(any(images is each for each in varied) for images in penalised)


# augmentation


def test_nothing_is_drawn_or_varied_without_operations():
    game, images = game_of(), torch.rand(2, 3, 8, 8)
    assert game.draw_augmentation(2) == {} and game.augmented(images, {}, slice(0, 2)) is images


def test_a_part_is_varied_by_its_own_numbers():
    game, images = game_of(augment=("color",), augment_probability=1.0), torch.rand(4, 3, 8, 8)
    draws = game.draw_augmentation(4)
    assert draws["augmentation"].shape == (4, NUMBERS)
    expected = augment(images, draws["augmentation"], ("color",))
    torch.testing.assert_close(game.augmented(images[1:3], draws, slice(1, 3)), expected[1:3])


@pytest.mark.parametrize("sign, direction", [(0.9, 1.0), (0.1, -1.0)])
def test_ada_moves_the_probability_and_records_it(sign, direction):
    game = game_of(augment=("color",), augment_probability=0.5, ada_target=0.6)
    record = {"d_real_sign": torch.tensor(sign)}
    game.adapt(record, ADA_IMAGES // 10, total_steps=10**6)
    assert record["augment_probability"].item() == pytest.approx(0.5 + direction * 0.1)
    assert game.augment_probability == record["augment_probability"]


def test_ada_may_get_from_nothing_to_always_within_a_share_of_a_short_run():
    """A run of 50,000 pictures was over before 500,000 had been seen."""
    game = game_of(augment=("color",), augment_probability=0.0, ada_target=0.6)
    for _ in range(round(ADA_SHARE * 100)):
        game.adapt({"d_real_sign": torch.ones(())}, 8, total_steps=100)
    assert game.augment_probability.item() == pytest.approx(1.0)


def test_without_ada_the_probability_stays():
    game, record = game_of(augment=("color",), augment_probability=0.5), {"d_real_sign": torch.ones(())}
    game.adapt(record, ADA_IMAGES, total_steps=1)
    assert game.augment_probability.item() == 0.5 and record.keys() == {"d_real_sign"}


@pytest.mark.parametrize("make", [runs.renderer_stage, runs.decoder_stage])
def test_a_run_saves_the_probability_that_ada_moves(make, monkeypatch, tmp_path):
    monkeypatch.setattr("train.game.ADA_IMAGES", 100)
    monkeypatch.setattr("train.game.ADA_SHARE", 100)
    stage, resumed = make(), make()
    record = stage.step()
    assert abs(record["augment_probability"] - 0.5) == pytest.approx(8 / 100)
    stage.state.save(tmp_path)
    resumed.state.load(newest_intact(tmp_path))
    assert resumed.game.augment_probability.item() == record["augment_probability"]


def test_ada_beside_the_relativistic_loss_is_refused():
    with pytest.raises(ValueError, match="ada_target is 0.6 beside use_relativistic_loss, expected 0"):
        GameConfig(augment=("color",), ada_target=0.6, use_relativistic_loss=True)
    with pytest.raises(ValueError, match="beside use_relativistic_loss"):
        dataclasses.replace(GameConfig(augment=("color",), use_relativistic_loss=True), ada_target=0.1)


@pytest.mark.parametrize("name, value", [("ada_target", 0.6), ("augment_probability", 0.5)])
def test_what_needs_operations_is_refused_without(name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}, but augment is none, expected some of color, trans"):
        GameConfig(**{name: value})
    assert getattr(GameConfig(augment=("color",), **{name: value}), name) == value


def test_unknown_operations_are_refused():
    with pytest.raises(ValueError, match="augment names 'blur', expected operations among color"):
        GameConfig(augment=("color", "blur"))


# the average


@pytest.mark.parametrize(
    "step, decay, expected",
    [(0, 0.99, 1 / 10), (5, 0.99, 6 / 15), (10**6, 0.99, 0.99), (0, 0.05, 0.05), (80, 0.9, 0.9)],
)
def test_the_average_forgets_its_start_and_then_moves_by_one_minus_decay(step, decay, expected):
    average, model = nn.BatchNorm1d(3), nn.BatchNorm1d(3)  # it has buffers too
    nn.init.constant_(average.weight, 2.0)
    nn.init.constant_(model.weight, 12.0)
    model.running_mean.fill_(7.0)
    for update in (partial(update_average, decay=decay), game_of(ema_decay=decay).update_average):
        moved = nn.BatchNorm1d(3)
        moved.load_state_dict(average.state_dict())
        update(moved, model, step=step)
        torch.testing.assert_close(moved.weight.detach(), torch.full((3,), 12.0 - 10.0 * expected))
        assert moved.running_mean.equal(model.running_mean)


def test_no_gradient_flows_into_the_average():
    average, model = nn.Linear(2, 1), nn.Linear(2, 1)
    update_average(average, model, 0.5, 100)
    assert average.weight.is_leaf and average.weight.grad_fn is None
    assert math.isfinite(average.weight.sum().item())
