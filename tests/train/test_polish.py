"""Polishing: a sharper density and a solid inside, the same pictures, exact resume."""

import dataclasses
import math

import torch

from stylesdf.model import Generator
from tests.train.test_guided import model_of_a_sphere
from tests.train.test_training import interrupt_and_resume, snapshot
from train import losses
from train.config import PolishConfig
from train.run.loop import train
from train.run.options import RunOptions
from train.stages import PolishStage, polish

CONFIG = PolishConfig(steps=4, batch_size=4, beta_end=0.001, num_points=64)


def make(config: PolishConfig = CONFIG, teacher: Generator | None = None, engine=None) -> PolishStage:
    teacher = teacher or model_of_a_sphere(beta=0.004)
    model = dataclasses.replace(teacher.config, num_samples=24)
    return PolishStage(model, config, teacher, engine)


def test_the_first_step_finds_the_pictures_as_they_were(monkeypatch):
    monkeypatch.setattr(polish, "OUTLINE_SHARPNESS", 1.0)
    terms = make(dataclasses.replace(CONFIG, beta_end=1.0)).step()
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


def test_a_run_resumes_bit_for_bit(tmp_path):
    whole = make()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(make, tmp_path / "parts", whole, stop_at=3)
    assert "optimizer.0.step" in snapshot(whole)


def test_speckle_is_faint_chroma_and_neither_shading_nor_edges():
    everywhere = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    flat = torch.full((1, 3, 8, 8), 0.3)
    ramp = torch.linspace(-1, 1, 8).expand(1, 3, 8, 8)
    assert losses.speckle_loss(flat, everywhere) == 0 and losses.speckle_loss(ramp, everywhere) < 1e-10
    halves = [flat.clone(), flat.clone()]
    for half, height in zip(halves, (0.6, 1.2)):
        half[:, 0, :, 4:] += height
    low, high = (losses.speckle_loss(half, everywhere) for half in halves)
    assert 8 / 112 * 0.95 < low < high < 8 / 112  # one pair of every row's seven across, none of those down
    noise = flat + 0.02 * torch.randn(1, 3, 8, 8)
    assert losses.speckle_loss(flat + 2 * (noise - flat), everywhere) > 2 * losses.speckle_loss(noise, everywhere)
    left = everywhere.clone()
    left[..., 4:] = False
    assert losses.speckle_loss(halves[0], left) == 0
    assert losses.speckle_loss(halves[0], ~everywhere) == 0


def test_polishing_can_clean_a_mottled_coat():
    teacher = model_of_a_sphere(beta=0.002)
    with torch.no_grad():
        teacher.field.sdf_head.bias -= 0.03  # opaque
        teacher.field.rgb_head.weight *= 4.0

    def spread(weight: float) -> tuple[float, float]:
        terms = CONFIG.terms | {"speckle": weight}
        config = dataclasses.replace(CONFIG, steps=30, learning_rate=2e-3, terms=terms)
        stage = make(config, teacher)
        records = [stage.step() for _ in range(30)]
        return records[0]["speckle"], sum(record["speckle"] for record in records[-5:]) / 5

    (before, kept), (same, cleaned) = spread(1e-9), spread(20.0)
    assert before == same > 0 and cleaned < 0.6 * kept
