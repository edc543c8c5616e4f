"""ONNX and torch.export: the graph gives what the model gives."""

import dataclasses
import json
import math
import sys

import onnx
import onnxruntime
import pytest
import torch

from stylesdf import Camera, StyleSDF
from stylesdf.__main__ import main
from stylesdf.export import SingleView, export_onnx
from stylesdf.model import Generator
from stylesdf.outputs import FieldOutput
from stylesdf.renderer import VolumeRenderer

POSES = ((0.0, 0.0, 1.0), (0.4, -0.2, 0.7), (-0.3, 0.15, 0.0))  # yaw, pitch, psi
KINDS = ("last sample", "renderer only", "culled")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(params=KINDS)
def model(request, tiny_config, tiny_toy_config) -> StyleSDF:
    """Two kinds of model and one without a decoder, with means and with noise that is heard."""
    config = {
        "last sample": tiny_config,
        "culled": dataclasses.replace(tiny_toy_config, cull_to_ball=True, fov_deg=20.0),
        "renderer only": dataclasses.replace(tiny_config, decoder_channels=(), density="laplace"),
    }[request.param]
    model = StyleSDF(config).eval()
    model.update_means(100)
    with torch.no_grad():
        model.renderer.log_beta.fill_(math.log(0.01))
        for name, parameter in model.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
    return model


def inputs_of(model: Generator, seed: int, yaw: float, pitch: float, psi: float):
    z = torch.randn(1, model.config.latent_size, generator=torch.Generator().manual_seed(seed))
    return z, Camera.from_angles(yaw, pitch).cam2world, torch.tensor(psi)


@torch.no_grad()
def expected(model: Generator, inputs, fov_deg=None) -> dict[str, torch.Tensor]:
    z, cam2world, psi = inputs
    out = model(z, Camera(cam2world, fov_deg), psi.item())
    found = {"image": out.image, "thumbnail": out.thumbnail, "depth": out.depth}
    return {name: value for name, value in found.items() if value is not None}


def largest_difference(model: Generator, path, fov_deg=None) -> float:
    """Largest difference of any output between onnxruntime and the model, over some latents, views and truncations."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for seed, pose in enumerate(POSES):
        inputs = inputs_of(model, seed, *pose)
        got = session.run(None, {name: x.numpy() for name, x in zip(("z", "cam2world", "psi"), inputs)})
        want = expected(model, inputs, fov_deg)
        assert [output.name for output in session.get_outputs()] == list(want)
        for value, reference in zip(got, want.values()):
            assert value.shape == reference.shape
            differences.append((torch.from_numpy(value) - reference).abs().max().item())
    return max(differences)


def test_torch_export_gives_the_same(model):
    program = torch.export.export(SingleView(model), inputs_of(model, 9, 0.0, 0.0, 0.5))
    for seed, pose in enumerate(POSES):
        inputs = inputs_of(model, seed, *pose)
        with torch.no_grad():
            got = program.module()(*inputs)
        for value, reference in zip(got, expected(model, inputs).values(), strict=True):
            torch.testing.assert_close(value, reference, atol=2e-5, rtol=1e-5)


def test_an_exported_ball_is_as_solid_as_the_culled_one(tiny_toy_config):
    config = dataclasses.replace(tiny_toy_config, cull_to_ball=True, fov_deg=16.0)

    class Solid(torch.nn.Module):  # negative far beyond the ball
        def __init__(self):
            super().__init__()
            self.renderer = VolumeRenderer(config)

        def forward(self, cam2world):
            def field(points, viewdirs):
                return FieldOutput(sdf=points.norm(dim=-1) - 5.0, rgb=points * 9.0, features=points)

            out = self.renderer(field, Camera(cam2world))
            return out.thumbnail, out.features, out.depth, out.background, out.xyz, out.sdf

    camera = Camera.from_angles(0.3, 0.1).cam2world
    with torch.no_grad():
        got = torch.export.export(Solid(), (camera,), strict=False).module()(camera)
        for value, reference in zip(got, Solid()(camera)):
            torch.testing.assert_close(value, reference, atol=1e-6, rtol=0)


@pytest.mark.parametrize("model", KINDS[:2], indirect=True)  # the bundled model is a culled one
def test_onnx_gives_the_same(model, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.card = "---\nlicense: cc-by-nc-sa-4.0\n---\n"
    export_onnx(model, tmp_path / "new" / "model.onnx")
    assert largest_difference(model, tmp_path / "new" / "model.onnx") <= 1e-4
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.onnx"]  # one file, weights and all
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())

    stored = onnx.load(tmp_path / "new" / "model.onnx")
    onnx.checker.check_model(stored, full_check=True)
    facts = {entry.key: entry.value for entry in stored.metadata_props}
    assert facts["card"] == model.card
    assert json.loads(facts["config"]) == model.config.to_dict()
    assert b"site-packages" not in stored.SerializeToString()  # nothing about this machine


def test_onnx_of_the_bundled_model(bundled, tmp_path, capsys):
    path = tmp_path / "model.onnx"
    assert main(["export", "--model", str(bundled), "--fov-deg", "14", "--out", str(path), "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{path}: {path.stat().st_size:,} bytes\n" and captured.err == ""
    assert largest_difference(StyleSDF.from_pretrained(bundled), path, fov_deg=14.0) <= 1e-3


def test_bad_requests(tiny_config, tmp_path, monkeypatch, capsys):
    model = StyleSDF(tiny_config)
    with pytest.raises(ValueError, match="expected an ending of .onnx"):
        export_onnx(model, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="fov_deg is 500"):
        export_onnx(model, tmp_path / "model.onnx", fov_deg=500)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install .\[export\]"):
        export_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
