"""The prior: flow and mapping come to draw the data's codes, nothing else learns, exact resume."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from stylesdf.mapping import rectify, unrectify
from stylesdf.model import Generator
from tests.tiny import Model
from tests.train import runs
from tests.train.test_training import interrupt_and_resume, snapshot
from train.__main__ import main
from train.config import PriorConfig
from train.networks import flow
from train.networks.encoder import PictureEncoder
from train.run.loop import train
from train.run.options import RunOptions
from train.stages import PriorStage, prior
from train.stages.prior import principal_axes

MODEL = dataclasses.replace(runs.MODEL, decoder_channels=())
CONFIG = PriorConfig(flow_steps=2, steps=2)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(prior, "CODES_PER_STEP", 64)
    monkeypatch.setattr(prior, "CODE_PATHS", 2000)
    monkeypatch.setattr(flow, "WIDTH", 64)


def make(config: PriorConfig = CONFIG, data=None, engine=None) -> PriorStage:
    torch.manual_seed(3)
    encoder = PictureEncoder(MODEL.latent_size, MODEL.image_resolution)
    return PriorStage(MODEL, config, data or runs.tiny_data(), Generator(MODEL), encoder, engine)


def test_principal_axes():
    torch.manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(3, 3)).Q
    values = torch.randn(5000, 3) * torch.tensor([0.5, 3.0, 1.0]) @ rotation
    values -= values.mean(dim=0)
    variances, axes = principal_axes(values, 2)
    torch.testing.assert_close(variances, torch.tensor([9.0, 1.0]), atol=0.0, rtol=0.1)
    torch.testing.assert_close(axes.t() @ axes, torch.eye(2), atol=1e-5, rtol=0.0)
    torch.testing.assert_close((values @ axes).var(dim=0), variances)
    few, axes = principal_axes(values[:2] - values[:2].mean(dim=0), 3)  # of fewer values than channels
    assert few.shape == (2,) and axes.shape == (3, 2)


def test_the_flow_learns_the_codes_and_the_mapping_the_flow(monkeypatch):
    """Of two kinds of codes: their Gaussian would be widest in the middle between them."""
    torch.manual_seed(0)
    monkeypatch.setattr(prior, "CODE_AXES", 2)
    noise = torch.full((MODEL.latent_size,), 0.1)
    kind = torch.cat([torch.full((30,), -0.5), torch.full((30,), 0.5)])[:, None] * torch.ones(MODEL.latent_size)
    codes = 0.3 + kind + 0.05 * torch.randn(60, MODEL.latent_size)
    monkeypatch.setattr(prior, "encode", lambda encoder, data: (rectify(codes), noise))
    monkeypatch.setattr(prior, "LEARNING_RATE", 3e-3)
    stage = make(dataclasses.replace(CONFIG, flow_steps=400, steps=2000))
    torch.testing.assert_close(stage.codes * stage.spread, (codes - stage.mean) @ stage.axes / 0.1)

    def share_between(codes):
        return ((codes - stage.mean).mean(dim=1).abs() < 0.3).float().mean()

    for _ in range(400):
        assert stage.step().keys() == {"flow"}
    z, ends = stage.draw_paths(500)
    assert all(a.equal(b) for a, b in zip(stage.draw_paths(500), (z, ends)))
    aims = stage.codes_at(ends)
    assert share_between(aims) < 0.1  # of the Gaussian 45 % are
    with torch.no_grad():
        before = stage.distance(z, aims)
    for _ in range(2000):
        assert stage.step().keys() == {"distance"}
    with torch.no_grad():
        assert stage.distance(z, aims) < 0.1 * before
        drawn = unrectify(stage.generator_ema.renderer_mapping(z))
    assert share_between(drawn) < 0.25


def test_only_the_mapping_learns():
    stage = make()
    before = snapshot(stage)
    for _ in range(CONFIG.total_steps):
        stage.step()
    moved = {name for name, value in snapshot(stage).items() if name in before and not value.equal(before[name])}
    parts = {".".join(name.split(".")[:2]) for name in moved if name.startswith("generator")}
    assert parts == {"generator.renderer_mapping", "generator_ema.renderer_mapping"}


def test_processes_change_no_path_and_no_gradient_and_micro_batches_cut_neither(monkeypatch):
    """Each of the processes takes its share at once; their sums are what one makes alone."""
    config, calls = PriorConfig(flow_steps=0, steps=2), []
    engines = [runs.RecordingEngine() for _ in range(3)]
    for rank, engine in enumerate(engines[1:]):
        engine.micro_batch, about = 5, {"device": torch.device("cpu"), "reduce": lambda value, reduction: value}
        engine.accelerator = SimpleNamespace(num_processes=2, process_index=rank, **about)
    whole, *shares = (make(config, engine=engine) for engine in engines)
    follow = prior.follow
    monkeypatch.setattr(prior, "follow", lambda *arguments: calls.append(1) or follow(*arguments))
    (z, ends), *others = (stage.draw_paths(50) for stage in (whole, *shares))
    assert len(calls) == 3 and all(other[0].equal(z) for other in others)
    torch.testing.assert_close(others[0][1] + others[1][1], ends)
    records = []
    for stage in (whole, *shares):
        stage.paths = z, ends
        torch.manual_seed(4)
        records.append(stage.step()["distance"])
    assert records[1] + records[2] == pytest.approx(records[0], rel=1e-5)
    for a, *parts in zip(*(engine.gradients for engine in engines), strict=True):
        torch.testing.assert_close(a, sum(parts), atol=1e-6, rtol=1e-4)


def test_a_run_resumes_bit_for_bit(tmp_path):
    whole = make()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(make, tmp_path / "parts", whole, stop_at=3)


def test_poses_are_needed():
    with pytest.raises(ValueError, match="no yaw and pitch"):
        make(data=dataclasses.replace(runs.tiny_data(), poses=None))


def test_from_pictures_shown_again_to_a_prior(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    common = ["--preset", "toy", "--device", "cpu", "--grid-every", "0", "--data", "toy-heads:4", "--out"]
    settings = ["sphere_steps=2", "num_points=8", "terms.view=none", "game.freeze_generator_steps=0"]
    settings += ["phases.0.steps=2", "phases.0.batch_size=2", "phases.0.num_samples=2"]
    settings += ["phases.1.steps=0", "phases.2.steps=0", "use_alpha=true"]
    plain, shown, drawn = (str(tmp_path / name) for name in ("plain", "shown", "drawn"))
    Model(MODEL).save_pretrained(plain)
    assert main(["prior", *common, drawn, "--init-from", plain, "--set", "flow_steps=1", "steps=1"]) == 2
    assert "no encoder beside it" in capsys.readouterr().err
    assert main(["renderer", *common, shown, "--set", *settings, "terms.reconstruction=1"]) == 0
    assert (tmp_path / "shown" / "model" / "encoder.safetensors").is_file()
    assert main(["prior", *common, drawn, "--init-from", f"{shown}/model", "--set", "flow_steps=1", "steps=1"]) == 0
    assert (tmp_path / "drawn" / "model" / "model.safetensors").is_file()
