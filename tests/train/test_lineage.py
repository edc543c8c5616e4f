"""A run hands on what it does not train: decoder, discriminators and encoder go with its model again."""

import dataclasses
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stylesdf.checkpoint import DISCRIMINATOR_FILES, load_config, save_model
from tests.train import runs
from train.build import build_stage
from train.config import PolishConfig, PriorConfig
from train.networks.encoder import PictureEncoder
from train.pretrained import PretrainedGenerator
from train.run.engine import Engine
from train.run.export import export
from train.run.lineage import Origin, finished_model, weights_hash
from train.run.loop import train
from train.run.options import RunOptions

OPTIONS = RunOptions(save_every=0, log_every=0, grid_every=0)
POLISH = PolishConfig(steps=1, batch_size=2, num_points=8)
ALL_FILES = {*DISCRIMINATOR_FILES.values()}


def start(folder: Path, settings, out: Path, model=runs.MODEL) -> Path:
    """Do a run that starts from a model, as the command line and a recipe do; return its model's folder."""
    initial, data = PretrainedGenerator.from_pretrained(folder), runs.tiny_data()
    stage = build_stage(model, settings, data, Engine(), initial)
    return train(stage, out, OPTIONS, Origin(data, initial))


def tensors(folder: Path, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    return load_file(folder / file)


def part(folder: Path, *names: str) -> dict[str, torch.Tensor]:
    """Tensors of some parts of a model, but the means, which follow from the others."""
    return {name: tensor for name, tensor in tensors(folder).items() if name.split(".")[0] in names}


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys() and a
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A finished model with its decoder, both discriminators and the encoder."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("whole") / "model"
    stage = runs.decoder_stage()
    extras = {
        "image": stage.discriminator,
        "thumbnail": runs.renderer_stage().discriminator,
        "encoder": PictureEncoder(runs.MODEL.latent_size, runs.MODEL.image_resolution),
    }
    model = finished_model(stage.generator_ema, None)
    save_model(model, folder, discriminators=extras)
    return folder


@pytest.mark.parametrize(
    "settings", [runs.RENDERER, PriorConfig(flow_steps=1, steps=1), POLISH], ids=["renderer", "prior", "polish"]
)
def test_a_run_without_a_decoder_hands_on_that_of_its_model(settings, whole, tmp_path):
    model = start(whole, settings, tmp_path / "run")
    assert load_config(model) == runs.MODEL
    assert_same(part(model, "decoder", "decoder_mapping"), part(whole, "decoder", "decoder_mapping"))
    ours, theirs = (part(folder, "field", "renderer_mapping") for folder in (model, whole))
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)  # and it has trained
    assert {path.name for path in model.iterdir()} >= ALL_FILES
    trained = {"renderer": {"discriminator_thumbnail.safetensors"}}.get(settings.__class__.__name__[:8].lower(), set())
    for name in ALL_FILES - trained:
        assert_same(tensors(model, name), tensors(whole, name))
    for name in trained:
        assert any(not torch.equal(tensor, tensors(whole, name)[key]) for key, tensor in tensors(model, name).items())


def test_the_means_are_those_of_the_new_renderer_under_the_old_decoder(whole, tmp_path):
    folder = start(whole, POLISH, tmp_path / "run")
    model = PretrainedGenerator.from_pretrained(folder)
    before = {name: getattr(model, name).clone() for name in ("w_avg", "ws_avg")}
    model.update_means()
    for name, value in before.items():
        assert torch.equal(value, getattr(model, name)), name


def test_the_decoder_stage_goes_on_with_what_was_handed_on(whole, tmp_path):
    """From a model with a decoder, through polishing, into stage 2 again: nothing begins anew."""
    polished = start(whole, POLISH, tmp_path / "polished")
    initial, data = PretrainedGenerator.from_pretrained(polished), runs.tiny_data()
    stage = build_stage(runs.MODEL, runs.DECODER, data, Engine(), initial)
    for name in ("decoder", "decoder_mapping"):
        for key, tensor in getattr(initial, name).state_dict().items():
            assert torch.equal(getattr(stage.generator, name).state_dict()[key], tensor), key
    for key, tensor in tensors(whole, "discriminator_image.safetensors").items():
        assert torch.equal(stage.discriminator.state_dict()[key], tensor), key
    still = dataclasses.replace(runs.DECODER, steps=0)
    decoded = start(polished, still, tmp_path / "decoded")
    assert (decoded / "model.safetensors").read_bytes() == (polished / "model.safetensors").read_bytes()
    for name in ALL_FILES:
        assert (decoded / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_renderer_that_takes_no_step_changes_no_byte(whole, tmp_path):
    phases = tuple(dataclasses.replace(phase, steps=0) for phase in runs.RENDERER.phases)
    model = start(whole, dataclasses.replace(runs.RENDERER, phases=phases), tmp_path / "run")
    for name in ("model.safetensors", *ALL_FILES):
        assert (model / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_model_without_extras_hands_on_nothing(tmp_path):
    torch.manual_seed(0)
    config = dataclasses.replace(runs.MODEL, decoder_channels=())
    save_model(PretrainedGenerator(config), tmp_path / "model")
    model = start(tmp_path / "model", POLISH, tmp_path / "run")
    assert not load_config(model).has_decoder
    assert {path.name for path in model.iterdir()} == {"config.json", "model.safetensors", "README.md"}


def test_a_decoder_of_other_feature_maps_is_left_behind_and_that_is_said(whole, tmp_path, caplog):
    config = dataclasses.replace(runs.MODEL, render_resolution=8)
    with caplog.at_level(logging.WARNING):
        model = start(whole, POLISH, tmp_path / "run", config)
    assert "the initial model's decoder does not fit another render_resolution, it is not handed on" in caplog.text
    assert not load_config(model).has_decoder


def test_a_renderer_of_another_size_is_one_sentence(whole, tmp_path):
    wider = dataclasses.replace(runs.MODEL, field_width=32)
    with pytest.raises(ValueError, match=r"field\.layers\.0\S* of the model to start from is \(16\S+ expected \(32"):
        start(whole, POLISH, tmp_path / "run", wider)


def test_the_hash_is_of_the_tensors_alone(whole, tmp_path):
    model = PretrainedGenerator.from_pretrained(whole)
    model.save_pretrained(tmp_path / "shards", max_shard_size=8000)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert weights_hash(PretrainedGenerator.from_pretrained(tmp_path / "shards")) == weights_hash(model)
    with torch.no_grad():
        model.field.sdf_head.bias += 1e-6
    assert weights_hash(PretrainedGenerator.from_pretrained(whole)) != weights_hash(model)


def test_a_new_model_draws_no_random_numbers(whole):
    state = torch.get_rng_state()
    finished_model(PretrainedGenerator.from_pretrained(whole), None)
    assert torch.equal(state, torch.get_rng_state())


def test_an_export_hands_on_the_same(whole, tmp_path):
    model = start(whole, POLISH, tmp_path / "run")
    folder, step = export(tmp_path / "run", tmp_path / "exported")
    assert step == 1
    for path in model.iterdir():
        if path.name != "README.md":
            assert path.read_bytes() == (folder / path.name).read_bytes(), path.name
    with torch.no_grad():
        changed = PretrainedGenerator.from_pretrained(whole)
        changed.field.sdf_head.bias += 1.0
    other = tmp_path / "other"
    save_model(changed, other)
    stage = build_stage(runs.MODEL, POLISH, None, Engine(), changed_model(other))
    train(stage, tmp_path / "second", OPTIONS, Origin(None, changed_model(other)))
    save_model(PretrainedGenerator.from_pretrained(whole), other)
    with pytest.raises(ValueError, match="started from .*other, which has other weights now"):
        export(tmp_path / "second", tmp_path / "never")
    for path in other.iterdir():
        path.unlink()
    other.rmdir()
    with pytest.raises(ValueError, match="started from .*other, which is needed to go with it"):
        export(tmp_path / "second", tmp_path / "never")
    assert not (tmp_path / "never").exists()


def changed_model(folder: Path) -> PretrainedGenerator:
    return PretrainedGenerator.from_pretrained(folder)
