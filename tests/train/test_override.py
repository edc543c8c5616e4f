"""Settings as they are written on the command line: what they reach, and the sentence where they are wrong."""

import pytest

from train.config import DecoderConfig
from train.override import override, show
from train.presets import PRESETS

TOY = PRESETS["renderer"]["toy"]


@pytest.mark.parametrize("stage", PRESETS)
@pytest.mark.parametrize("preset", ["ffhq", "afhq", "toy"])
def test_every_preset_can_be_overridden(stage, preset):
    config = PRESETS[stage][preset]
    assert override(config, []) == config
    assert override(config, ["seed=7"]).seed == 7 != config.seed


def test_each_type_is_read_as_it_is_annotated():
    config = override(TOY, ["sphere_steps=5", "beta_end=2e-3", "use_alpha=True", "discriminator_channels=1,2"])
    assert (config.sphere_steps, config.beta_end, config.use_alpha) == (5, 0.002, True)
    assert config.discriminator_channels == (1, 2)
    assert override(config, ["use_alpha=false"]).use_alpha is False


def test_none_is_for_what_may_be_none():
    assert override(TOY, ["sphere_radius=none"]).sphere_radius is None
    assert override(DecoderConfig(discriminator_channels=(8,)), ["discriminator_channels=none"]) == DecoderConfig()
    with pytest.raises(ValueError, match="setting seed is 'none', expected a value like 0"):
        override(TOY, ["seed=none"])


def test_a_dot_reaches_into_the_game_and_leaves_the_rest_of_it():
    config = override(TOY, ["game.r1_every=2", "game.augment=color,cutout", "game.learning_rate=0.1"])
    assert (config.game.r1_every, config.game.augment, config.game.learning_rate) == (2, ("color", "cutout"), 0.1)
    assert config.game.ema_decay == TOY.game.ema_decay and config.phases == TOY.phases
    for empty in ("", show(())):
        assert override(config, [f"game.augment={empty}"]).game.augment == ()


def test_a_number_reaches_into_one_of_the_phases():
    config = override(TOY, ["phases.1.steps=5", "phases.2.surface_guided=false"])
    assert config.phases[1].steps == 5 and config.phases[0] == TOY.phases[0]
    assert TOY.phases[2].surface_guided and not config.phases[2].surface_guided


def test_terms_are_weighed_added_and_taken_away():
    config = override(TOY, ["terms.bounds=3", "terms.solidity=0.5", "terms.sphere_anchor=none"])
    assert config.terms == {"view": 15.0, "eikonal": 0.7, "minimal_surface": 0.05, "bounds": 3.0, "solidity": 0.5}
    assert TOY.terms["sphere_anchor"] == 20.0  # the preset is as it was


def test_the_last_of_two_counts():
    assert override(TOY, ["seed=1", "seed=2", "terms.view=none", "terms.view=4"]).terms["view"] == 4.0


@pytest.mark.parametrize("order", [1, -1])
def test_settings_that_go_together_come_in_any_order(order):
    assignments = ["draws_field=true", "num_renderings=8", "game.r1_every=2", "batch_size=4", "game.ema_decay=0.5"]
    config = override(DecoderConfig(), assignments[::order])
    assert (config.draws_field, config.num_renderings, config.batch_size) == (True, 8, 4)
    assert (config.game.r1_every, config.game.ema_decay) == (2, 0.5)


@pytest.mark.parametrize(
    "assignment, sentence",
    [
        ("seed", "setting 'seed' is not of the form name=value"),
        ("sede=7", "unknown setting 'sede', expected one of phases, game, terms"),
        ("game.sede=7", "unknown setting 'game.sede', expected one of learning_rate, matrix_learning_rate"),
        ("phases.0.sede=7", "unknown setting 'phases.0.sede', expected one of resolution, steps"),
        ("game=7", "unknown setting 'game', game has parts: name one"),
        ("seed.parts=7", "unknown setting 'seed.parts', seed has no parts"),
        ("game.r1_every.parts=7", "unknown setting 'game.r1_every.parts', r1_every has no parts"),
        ("phases=7", "unknown setting 'phases', phases are phases.0.NAME to phases.2.NAME"),
        ("phases.9.steps=5", "unknown setting 'phases.9.steps', phases are phases.0.NAME to phases.2.NAME"),
        ("phases.-1.steps=5", "unknown setting 'phases.-1.steps', phases are phases.0.NAME to phases.2.NAME"),
        ("phases.².steps=5", "unknown setting 'phases.².steps', phases are phases.0.NAME to phases.2.NAME"),
        ("phases.0=5", "unknown setting 'phases.0', phases are phases.0.NAME to phases.2.NAME"),
        ("terms=5", "unknown setting 'terms', expected terms.NAME of one term"),
        ("terms.view.weight=5", "unknown setting 'terms.view.weight', expected terms.NAME of one term"),
        ("terms.veiw=none", "terms.veiw is not there to be taken away, expected one of view, eikonal"),
        ("seed=x", "setting seed is 'x', expected a value like 0"),
        ("sphere_steps=1.5", "setting sphere_steps is '1.5', expected a value like 600"),
        ("use_alpha=yes", "setting use_alpha is 'yes', expected a value like false"),
        ("terms.view=heavy", "setting terms.view is 'heavy', expected a value like 1"),
        ("discriminator_channels=8,x", "setting discriminator_channels is '8,x', expected a value like 24,40,64"),
        ("game.learning_rate=-1", "learning_rate of the game is -1, expected a number from 0.0 to 1.0"),
        ("game.learning_rate=nan", "learning_rate of the game is nan, expected a number from 0.0 to 1.0"),
        ("game.r1_every=0", "r1_every of the game is 0, expected an integer from 1 to 1,000,000"),
        ("game.ema_decay=2", "ema_decay of the game is 2, expected a number from 0.0 to 1.0"),
        ("game.augment_probability=5", "augment_probability of the game is 5, expected a number from 0.0 to 1.0"),
        ("least_truncation=3", "least_truncation is 3, expected a number from 0.0 to 1.0"),
        ("phases.0.steps=-5", "steps of a phase is -5, expected an integer from 0 to 1,000,000,000"),
        ("phases.0.fade_steps=-1", "fade_steps of a phase is -1, expected an integer from 0"),
        ("phases.0.num_samples=0", "num_samples of a phase is 0, expected an integer from 2 to 1,024"),
        ("phases.0.resolution=2", "resolution of a phase is 2, expected an integer from 4 to 512"),
        ("phases.0.resolution=20", "resolution of a phase is 20, expected a power of two"),
        ("sphere_steps=-3", "sphere_steps is -3, expected an integer from 0"),
        ("num_points=-4", "num_points is -4, expected an integer from 0 to 1,000,000"),
        ("beta_start=0", "beta_start is 0, expected a number from 1e-06 to 1.0"),
        ("beta_end=-1", "beta_end is -1, expected a number from 0.0 to 1.0"),
        ("game.augment=blur", "augment names 'blur', expected operations among color, translation, cutout"),
    ],
)
def test_what_is_wrong_is_one_sentence(assignment, sentence):
    with pytest.raises(ValueError, match=sentence):
        override(TOY, [assignment])


@pytest.mark.parametrize("stage", PRESETS)
def test_no_stage_takes_fewer_steps_than_none(stage):
    name = "phases.0.steps" if stage == "renderer" else "steps"
    with pytest.raises(ValueError, match="^steps.* is -1, expected an integer from 0 to 1,000,000,000$"):
        override(PRESETS[stage]["toy"], [f"{name}=-1"])
