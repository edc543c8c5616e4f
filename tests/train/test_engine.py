"""Neither micro-batches nor processes nor the way a gradient is computed change a gradient."""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
import types
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from tests.train import runs
from tests.train.test_polish import CONFIG as POLISH
from tests.train.test_polish import make as polish_stage
from train import losses
from train.__main__ import _engine
from train.networks.discriminators import minibatch_std
from train.run.engine import Engine, Means, fetch
from train.stages import chunked

ROOT = Path(__file__).parents[2]


def assert_near(one: list, other: list) -> None:
    assert len(one) == len(other) > 10
    for a, b in zip(one, other):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(a.abs().max()) + 1e-12)


@pytest.mark.parametrize("make_stage", runs.STAGES)
def test_micro_batches_do_not_change_the_gradient(make_stage):
    whole = runs.gradients_of_a_step(make_stage)
    assert any(gradient.abs().max() > 1e-4 for gradient in whole)
    assert_near(whole, runs.gradients_of_a_step(make_stage, micro_batch=4))


def test_micro_batches_of_another_size_change_nothing_but_the_deviation_within_groups():
    config = dataclasses.replace(runs.RENDERER, use_minibatch_std=False)
    whole = runs.gradients_of_a_step(runs.renderer_stage, config=config)
    assert_near(whole, runs.gradients_of_a_step(runs.renderer_stage, 3, config=config))


def test_the_documented_line_starts_several_processes_without_a_gpu(tmp_path):
    """And the line that looks right, ``--cpu``, starts one and says so."""
    settings = "sphere_steps=2 num_points=8 game.freeze_generator_steps=0 phases.1.steps=0 phases.2.steps=0".split()
    settings += ["phases.0.steps=1", "phases.0.batch_size=8", "phases.0.num_samples=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "STYLESDF_CACHE": str(tmp_path / "cache")}
    records, said = {}, {}
    for how in ("--cpu", "--multi_gpu"):
        launch = ["-m", "accelerate.commands.launch", how, "--num_processes", "2", "--main_process_port", "0"]
        task = ["-m", "train", "renderer", "--device", "cpu", "--data", "toy-heads:4", "--out", str(tmp_path / how)]
        command = [sys.executable, *launch, *task, "--set", *settings]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        (line,) = (tmp_path / how / "log.jsonl").read_text().splitlines()  # of the first process only
        records[how], said[how] = json.loads(line), "add --multi_gpu for several" in done.stderr
        assert (tmp_path / how / "model" / "model.safetensors").exists()
    assert said == {"--cpu": True, "--multi_gpu": False}
    one, two = records.values()
    for name in ("d_loss", "g_loss", "r1", "eikonal"):
        assert two[name] == pytest.approx(one[name], rel=1e-4), name


def test_processes_wait_for_the_first_one_while_it_measures(monkeypatch, tmp_path):
    asked = {}

    def accelerator(**options):
        asked.update(options)
        return Accelerator(cpu=True)

    monkeypatch.setattr("accelerate.Accelerator", accelerator)
    _engine(argparse.Namespace(device="cpu", tracker=None, mixed_precision="no", out=tmp_path, micro_batch=0))
    (handler,) = asked["kwargs_handlers"]
    assert handler.to_kwargs() == {"timeout": timedelta(days=1)}


@pytest.mark.parametrize("num_points", [0, 16])
@pytest.mark.parametrize("by_code", [True, False])
@pytest.mark.parametrize("is_kept", [True, False])
def test_chunked_gradients_are_those_of_the_plain_equations(monkeypatch, num_points, is_kept, by_code):
    """The generator's gradient from one graph through the renderer, with the eikonal term by double backward."""
    for name in ("KEPT_NUMBERS", "KEPT_NUMBERS_GPU"):
        monkeypatch.setattr(chunked, name, 2**40 if is_kept else 0)
    monkeypatch.setattr(chunked, "CHUNK_POINTS", 64)
    monkeypatch.setattr(chunked, "CHUNK_POINTS_GPU", 128)
    monkeypatch.setattr("train.stages.renderer.ChunkedField", partial(chunked.ChunkedField, by_code=by_code))
    terms = {"view": 15.0, "eikonal": 3.0, "minimal_surface": 0.05}
    config = dataclasses.replace(runs.RENDERER, num_points=num_points, terms=terms)
    ours = runs.gradients_of_a_step(runs.renderer_stage, config=config)

    class Plain:
        """One graph; the gradient of the sdf by autograd."""

        def __init__(self, field, eikonal_weight):
            self.field, self.batch_size, self.weight, self.loss = field, field.batch_size, eikonal_weight, None

        def sdf_and_gradient(self, points):
            points = points.detach().requires_grad_(True)
            sdf = self.field.sdf(points)
            return sdf, torch.autograd.grad(sdf.sum(), points, create_graph=True)[0]

        def __call__(self, points, viewdirs):
            if self.weight:
                with torch.enable_grad():
                    self.loss = self.weight * losses.eikonal_loss(self.sdf_and_gradient(points)[1])
            return dataclasses.replace(self.field(points, viewdirs), features=None)

        def backward(self):
            if self.loss is not None:
                self.loss.backward()

        eikonal = torch.zeros(())

    # one backward pass may not free what the other needs: keep the graph of the folded matrices
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: backward(self, retain_graph=True))
    monkeypatch.setattr("train.stages.renderer.ChunkedField", Plain)
    assert_near(runs.gradients_of_a_step(runs.renderer_stage, config=config), ours)


# a part of one picture, of which there is no deviation to measure


class CuttingEngine(runs.RecordingEngine):
    """Cuts every batch behind its first picture, or behind its third."""

    def __init__(self, cut: int) -> None:
        super().__init__()
        self.cut = cut

    def parts(self, batch_size: int) -> list[slice]:
        cut = min(self.cut, batch_size)
        return [part for part in (slice(0, cut), slice(cut, batch_size)) if part.start < part.stop]


def renderer_of(config, batch_size: int):
    phases = tuple(dataclasses.replace(phase, batch_size=batch_size) for phase in config.phases)
    return partial(runs.renderer_stage, config=dataclasses.replace(config, phases=phases))


def decoder_of(config, batch_size: int, **settings):
    return partial(runs.decoder_stage, config=dataclasses.replace(config, batch_size=batch_size, **settings))


def polish_of(batch_size: int):
    return lambda engine: polish_stage(dataclasses.replace(POLISH, batch_size=batch_size), engine=engine)


SMALL_BATCHES = {
    "renderer": partial(renderer_of, runs.RENDERER),
    "reconstructing": partial(renderer_of, runs.RECONSTRUCTING),
    "decoder": partial(decoder_of, runs.DECODER),
    "keeping": partial(decoder_of, runs.KEEPING),
    "pair steps": partial(decoder_of, runs.PAIRED),
    "field steps": partial(decoder_of, runs.KEEPING, draws_field=True),
    "polish": polish_of,
}
KEPT_IN_SINGLE = {"keeping", "pair steps", "field steps"}  # their renderings and pictures are float32


@pytest.fixture
def without_groups(monkeypatch):
    """No discriminator sees how pictures deviate from each other."""
    monkeypatch.setattr("train.networks.discriminators.minibatch_std", partial(minibatch_std, group_size=1))


@pytest.fixture
def in_double():
    """Sums that cancel are hardly rounded, whatever order a processor adds in."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("stage", SMALL_BATCHES)
@pytest.mark.parametrize("cut", [1, 3])
def test_a_part_of_one_picture_changes_no_gradient_and_no_record(stage, cut, without_groups, request):
    if stage not in KEPT_IN_SINGLE:
        request.getfixturevalue("in_double")
    whole, parts = CuttingEngine(4), CuttingEngine(cut)
    record, other = (SMALL_BATCHES[stage](4)(engine).step() for engine in (whole, parts))
    assert all(math.isfinite(value) for value in other.values()), other
    assert_near(whole.gradients, parts.gradients)
    assert record.keys() == other.keys()
    for name in record.keys() - {"variety"}:  # that is of a part's pictures from each other
        assert other[name] == pytest.approx(record[name], rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("stage", SMALL_BATCHES)
@pytest.mark.parametrize("micro_batch, batch_size", [(1, 4), (0, 1)])
def test_pictures_one_by_one_have_no_variety_and_are_finite(stage, micro_batch, batch_size):
    engine = runs.RecordingEngine(micro_batch=micro_batch)
    trained = SMALL_BATCHES[stage](batch_size)(engine)
    for _ in range(2):
        record = trained.step()
        assert "variety" not in record
        assert all(math.isfinite(value) for value in record.values()), record
    assert all(gradient.isfinite().all() for gradient in engine.gradients)


def test_variety_is_the_mean_over_the_parts_that_have_one():
    images = torch.randn(6, 3, 4, 4)
    means = Means(Engine(micro_batch=3), 6)
    for part in (slice(0, 1), slice(1, 3), slice(3, 6)):
        means.add_variety(images[part], (part.stop - part.start) / 6)
    expected = (2 * images[1:3].std(dim=0).mean() + 3 * images[3:].std(dim=0).mean()) / 5
    assert fetch(means.result())["variety"] == pytest.approx(expected.item())
    alone = Means(Engine(micro_batch=1), 6)
    alone.add_variety(images[:1], 1.0)
    assert fetch(alone.result()) == {}


def test_more_processes_than_images_are_refused():
    engine = Engine()
    assert engine.parts(5) == [slice(0, 5)]
    assert Engine(micro_batch=2).parts(5) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    with pytest.raises(ValueError, match="batch of 0"):
        engine.parts(0)
    with pytest.raises(ValueError, match="micro_batch is -1"):
        Engine(micro_batch=-1)


@pytest.mark.parametrize("precision, rounds_products", [("no", False), ("bf16", True)])
def test_convolutions_are_never_rounded_to_tf32_and_products_with_bf16_alone(precision, rounds_products, monkeypatch):
    for part in (torch.backends.cudnn, torch.backends.cuda.matmul):
        monkeypatch.setattr(part, "allow_tf32", not rounds_products)
    Engine(types.SimpleNamespace(mixed_precision=precision))
    assert torch.backends.cuda.matmul.allow_tf32 == rounds_products
    assert not torch.backends.cudnn.allow_tf32
