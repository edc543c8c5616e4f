"""What a GPU adds: the same numbers, the quick path's quality, a training step. Skipped where there is no CUDA."""

import dataclasses
import math

import pytest
import torch

from stylesdf import Camera, StyleSDF, StyleSDFConfig
from stylesdf.shot import Shot
from tests.test_pipeline import CONFIG, make_model
from tests.test_reference import DATA, build, load_arrays
from tests.train import runs
from train.run.engine import Engine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


class CudaEngine(Engine):
    """On the GPU, whatever device the process's first accelerator has."""

    device = torch.device("cuda")


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Convolutions in float32: of itself torch rounds their inputs to TF32 on a GPU."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.fixture
def toy() -> StyleSDF:
    return make_model(dataclasses.replace(CONFIG, background="learned", cull_to_ball=True)).to("cuda")


@torch.no_grad()
@pytest.mark.parametrize("psi", [1.0, 0.6])
def test_reference_vectors(psi):
    small = load_arrays("small.npz")
    state = dict(torch.load(DATA / "small.pt", weights_only=True)["g_ema"])
    model = build(state, StyleSDFConfig(num_samples=12), small).to("cuda")
    out = model(small["z"], Camera.from_angles(*small["yaw_pitch"].T), psi=psi)
    for name, want in (("thumbnail", "thumbnail"), ("xyz", "points"), ("background", "background"), ("image", "image")):
        have = getattr(out, name)
        assert have.device.type == "cuda"
        torch.testing.assert_close(have.cpu(), small[f"psi{psi}_{want}"], atol=1e-3, rtol=1e-3)


def test_a_seed_is_the_same_latent_and_head_as_on_the_cpu(toy):
    there = toy.latents([3, 7]).cpu()
    picture, elsewhere = toy.generate(seeds=[3]), toy.to("cpu").generate(seeds=[3])
    assert torch.equal(there, toy.latents([3, 7]))
    for name in ("depth", "background"):
        assert abs(getattr(picture, name) - getattr(elsewhere, name)).max() < 1e-3


@torch.no_grad()
def test_fast_views_look_like_exact_ones(toy):
    head = toy.head(3)
    fast, exact = (head.view(Shot(0.2, 0.1, quality=quality)) for quality in ("fast", "best"))
    for image, reference in (
        (fast.rendering.thumbnail, exact.rendering.thumbnail),
        (head.fast_decoder(exact.rendering.features), head.decoder(exact.rendering.features)),
    ):
        contrast = reference.max() - reference.min()
        assert 20.0 * math.log10(contrast / (image - reference).square().mean().sqrt()) > 30.0  # dB
    assert fast.image.size == exact.image.size and fast.normals.any()
    assert head.mesh(32).is_watertight


@pytest.mark.parametrize("make_stage", runs.STAGES)
def test_training_steps_are_finite(make_stage):
    stage = make_stage(CudaEngine())
    stage.prepare()
    for _ in range(2):  # with both penalties, and without
        record = stage.step()
        assert all(math.isfinite(value) for value in record.values()), record
    parameters = list(stage.generator.parameters())
    assert all(parameter.is_cuda and parameter.isfinite().all() for parameter in parameters)
