"""The prior: the mapping comes to draw the data's codes, nothing else learns, exact resume."""

import dataclasses

import pytest
import torch

from stylesdf.mapping import unrectify
from stylesdf.model import Generator
from tests.train import runs
from tests.train.test_training import interrupt_and_resume, snapshot
from train.__main__ import main
from train.config import PriorConfig
from train.networks.encoder import PictureEncoder, encode
from train.run.loop import train
from train.run.options import RunOptions
from train.stages import PriorStage, prior
from train.stages.prior import covariance_root

MODEL = dataclasses.replace(runs.MODEL, decoder_channels=())
CONFIG = PriorConfig(steps=4)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(prior, "CODES_PER_STEP", 64)


def make(config: PriorConfig = CONFIG, data=None) -> PriorStage:
    torch.manual_seed(3)
    encoder = PictureEncoder(MODEL.latent_size, MODEL.image_resolution)
    return PriorStage(MODEL, config, data or runs.tiny_data(), Generator(MODEL), encoder)


def test_the_root_of_a_covariance():
    torch.manual_seed(0)
    values = torch.randn(5000, 3) @ torch.tensor([[2.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.1]])
    values -= values.mean(dim=0)
    root = covariance_root(values)
    torch.testing.assert_close(root, root.t())
    torch.testing.assert_close(root @ root, torch.cov(values.t()))
    few = covariance_root(values[:2])  # of fewer values than channels
    torch.testing.assert_close(few @ few, values[:2].t() @ values[:2], atol=1e-4, rtol=1e-4)


def test_the_mapping_comes_to_draw_the_codes_of_the_data():
    stage = make(dataclasses.replace(CONFIG, steps=600))
    codes = unrectify(encode(stage.encoder, stage.data)[0])
    torch.testing.assert_close(stage.mean, codes.mean(dim=0))
    torch.testing.assert_close((stage.root.t() @ stage.root).diag(), codes.var(dim=0), atol=1e-5, rtol=1e-3)
    z = torch.randn(500, MODEL.latent_size)
    with torch.no_grad():
        before = stage.distance(z)
    for _ in range(600):
        stage.step()
    with torch.no_grad():
        assert stage.distance(z) < 0.1 * before
        drawn = unrectify(stage.generator_ema.renderer_mapping(z))
    assert ((drawn - stage.mean - z @ stage.root) / stage.noise).square().mean() < 0.12 * before


def test_only_the_mapping_learns():
    stage = make()
    before = snapshot(stage)
    stage.step()
    moved = {name for name, value in snapshot(stage).items() if name in before and not value.equal(before[name])}
    parts = {".".join(name.split(".")[:2]) for name in moved if name.startswith("generator")}
    assert parts == {"generator.renderer_mapping", "generator_ema.renderer_mapping"}


def test_a_run_resumes_bit_for_bit(tmp_path):
    whole = make()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(make, tmp_path / "parts", whole, stop_at=3)


def test_poses_are_needed():
    with pytest.raises(ValueError, match="no yaw and pitch"):
        make(data=dataclasses.replace(runs.tiny_data(), poses=None))


def test_from_pictures_shown_again_to_a_prior(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    common = ["--preset", "toy", "--device", "cpu", "--data", "toy-heads:4", "--out"]
    settings = ["sphere_steps=2", "num_points=8", "game.freeze_generator_steps=1"]
    settings += ["phases.0.steps=2", "phases.0.batch_size=2", "phases.0.num_samples=2"]
    settings += ["phases.1.steps=0", "phases.2.steps=0", "use_alpha=true"]
    plain, shown, drawn = (str(tmp_path / name) for name in ("plain", "shown", "drawn"))
    assert main(["renderer", *common, plain, "--set", *settings]) == 0
    assert main(["prior", *common, drawn, "--init-from", f"{plain}/model", "--set", "steps=1"]) == 2
    assert "no encoder beside it" in capsys.readouterr().err
    assert main(["renderer", *common, shown, "--set", *settings, "terms.reconstruction=1"]) == 0
    assert (tmp_path / "shown" / "model" / "encoder.safetensors").is_file()
    assert main(["prior", *common, drawn, "--init-from", f"{shown}/model", "--set", "steps=1"]) == 0
    assert (tmp_path / "drawn" / "model" / "model.safetensors").is_file()
