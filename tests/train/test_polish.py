"""Polishing: a sharper density and a solid inside, the same pictures, exact resume."""

import dataclasses
import math

import torch

from stylesdf.model import Generator
from tests.train import runs
from tests.train.test_guided import model_of_a_sphere
from tests.train.test_training import interrupt_and_resume, snapshot
from train.config import PolishConfig
from train.loop import Habits, train
from train.stages import PolishStage

CONFIG = PolishConfig(steps=4, batch_size=4, beta_end=0.001, num_points=64, num_surface_points=32)


def make(config: PolishConfig = CONFIG, teacher: Generator | None = None, engine=None) -> PolishStage:
    teacher = teacher or model_of_a_sphere(beta=0.004)
    model = dataclasses.replace(teacher.config, num_samples=24)
    return PolishStage(model, config, teacher, engine)


def test_the_first_step_finds_the_pictures_as_they_were():
    terms = make(dataclasses.replace(CONFIG, beta_end=1.0, outline_sharpness=1.0)).step()
    assert terms["colour"] < 0.01 and terms["coverage"] < 0.01


def test_the_sharpness_falls_to_its_end_by_the_middle_and_never_rises():
    stage = make()
    betas = [stage.step()["beta"] for _ in range(4)]
    torch.testing.assert_close(torch.tensor(betas), torch.tensor([0.004, 0.002, 0.001, 0.001]), rtol=1e-4, atol=0)
    assert make(dataclasses.replace(CONFIG, beta_end=0.1)).step()["beta"] <= 0.004 * (1 + 1e-6)


def test_only_the_field_learns():
    stage = make()
    before = {name: value.clone() for name, value in stage.generator.state_dict().items()}
    for _ in range(3):
        assert all(math.isfinite(value) for value in stage.step().values())
    for name, value in stage.generator.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith(("field.", "renderer.log_beta")), name
    for name, value in stage.teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_micro_batches_do_not_change_the_gradient():
    whole, parts = (runs.gradients_of_a_step(lambda engine: make(engine=engine), micro_batch) for micro_batch in (0, 1))
    assert len(whole) == len(parts) > 0
    for a, b in zip(whole, parts):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)


def test_a_run_resumes_bit_for_bit(tmp_path):
    whole = make()
    train(whole, tmp_path / "whole", Habits(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(make, tmp_path / "parts", whole, stop_at=3)
    assert "optimizer.0.step" in snapshot(whole)
