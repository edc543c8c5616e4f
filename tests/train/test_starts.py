"""Several starts: the nearest to the data goes on, exactly as if it had been the only one."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from tests.train import runs
from train import starts
from train.engine import Engine
from train.evaluation.distances import frechet_distance
from train.loop import Habits, train
from train.starts import choose_start, random_features

HABITS = Habits(save_every=100, grid_every=100, log_every=1)
CONFIG = dataclasses.replace(runs.RENDERER, start_centres_z=(0.01, -0.02), start_steps=3, freeze_generator_steps=1)


def make_stage(config):
    return runs.renderer_stage(config=config)


def test_the_best_start_goes_on_as_if_it_had_been_the_only_one(tmp_path, monkeypatch):
    scores = {0.01: 2.0, -0.02: 1.0}
    monkeypatch.setattr(starts, "distance_to_data", lambda stage: scores[stage.config.sphere_centre_z])
    chosen = choose_start(CONFIG, make_stage, tmp_path / "run", Engine())
    assert chosen.sphere_centre_z == -0.02 and chosen.start_centres_z == ()
    train(make_stage(chosen), tmp_path / "run", HABITS)
    train(make_stage(chosen), tmp_path / "alone", HABITS)
    ours, alone = (tmp_path / name / "model" / "model.safetensors" for name in ("run", "alone"))
    assert ours.read_bytes() == alone.read_bytes()
    report = json.loads((tmp_path / "run" / "starts.json").read_text())
    assert report["chosen"] == 1 and [row["score"] for row in report["starts"]] == [2.0, 1.0]
    monkeypatch.setattr(starts, "distance_to_data", None)
    assert choose_start(CONFIG, make_stage, tmp_path / "run", Engine()) == chosen  # decided once


def test_a_start_is_left_where_it_was_stopped(tmp_path, monkeypatch):
    taken = []

    def watched(config):
        stage = make_stage(config)
        step = stage.step

        def step_or_die():
            if len(taken) == 4:
                taken.append(0)
                raise RuntimeError("the machine went away")
            taken.append(config.sphere_centre_z)
            return step()

        stage.step = step_or_die
        return stage

    monkeypatch.setattr(starts, "SAVE_EVERY", 1)
    with pytest.raises(RuntimeError):
        choose_start(CONFIG, watched, tmp_path, Engine())
    choose_start(CONFIG, watched, tmp_path, Engine())
    assert taken == [0.01] * 3 + [-0.02, 0] + [-0.02] * 2


def test_distance_leaves_the_state_of_randomness_alone_and_repeats():
    stage = runs.renderer_stage()
    before = torch.get_rng_state()
    first = starts.distance_to_data(stage)
    assert torch.equal(before, torch.get_rng_state()) and first == starts.distance_to_data(stage) > 0


def test_impossible_trials_are_refused(tmp_path):
    for steps in (0, 1, 1000):
        with pytest.raises(ValueError, match=f"start_steps is {steps}, expected"):
            choose_start(dataclasses.replace(CONFIG, start_steps=steps), make_stage, tmp_path, Engine())


def test_frechet_distance_of_known_gaussians():
    random = np.random.RandomState(0)
    a = random.standard_normal((200_000, 2)) * [1.0, 2.0]
    b = random.standard_normal((200_000, 2)) * [3.0, 2.0] + [5.0, 0.0]
    assert frechet_distance(a, b) == pytest.approx(25 + 4, rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    images = torch.randn(3, 3, 16, 16)
    assert random_features(images).shape == (3, 192)
    np.testing.assert_allclose(random_features(images)[1:2], random_features(images[1:2]), rtol=1e-4)
