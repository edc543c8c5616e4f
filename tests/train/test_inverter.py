"""The encoder's stage: it learns from the model's own drawings, leaves the model alone, and resumes bit for bit."""

import json
from types import SimpleNamespace

import pytest
import torch

from stylesdf.directions import Directions
from stylesdf.encoder import CodeSpace
from stylesdf.pipeline import StyleSDF
from tests.train import runs
from tests.train.test_training import interrupt_and_resume, snapshot
from train.__main__ import main
from train.config import VIEWS_OF_HEAD, EncoderConfig
from train.networks.encoder import PictureEncoder, expected_code
from train.pretrained import PretrainedGenerator
from train.run.lineage import weights_hash
from train.run.loop import train
from train.run.options import RunOptions
from train.stages import EncoderStage, encoder
from train.stages.encoder import Drawings, vary


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(encoder, "PICTURES_PER_STEP", 4)
    monkeypatch.setattr(encoder, "FIRST_HEADS", 2)


def finished() -> PretrainedGenerator:
    torch.manual_seed(5)
    model = PretrainedGenerator(runs.MODEL).eval()
    model.update_means(100)
    return model


def make(steps: int = 4) -> EncoderStage:
    return EncoderStage(EncoderConfig(steps=steps), finished())


def test_only_the_encoder_learns_and_all_of_it():
    stage = make()
    before = snapshot(stage)
    for _ in range(3):
        record = stage.step()
    assert record.keys() == {"code", "yaw_error_deg", "pitch_error_deg"}
    moved = {name for name, value in snapshot(stage).items() if name in before and not value.equal(before[name])}
    learned = {f"{name}.{key}" for name in ("encoder", "average") for key, _ in stage.encoder.named_parameters()}
    assert {name for name in moved if not name.startswith("random")} == learned


def test_a_run_resumes_bit_for_bit(tmp_path):
    whole = make()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(make, tmp_path / "parts", whole, stop_at=3)


def test_drawings_show_what_their_facts_say():
    model = finished()
    space = CodeSpace.measure(model.renderer_mapping, model.config.latent_size)
    drawings = Drawings(model, space, 0, make().engine)
    drawings.draw_up_to(3)
    pictures, coordinates, poses = drawings.take(torch.arange(3 * VIEWS_OF_HEAD))
    assert pictures.shape == (6, 4, 64, 64) and pictures[:, :3].min() < 0 and 0 <= pictures[:, 3].min()
    assert coordinates[0].equal(coordinates[1]) and not coordinates[0].equal(coordinates[2])
    assert not poses[0].equal(poses[1])
    fewer = Drawings(model, space, 0, make().engine)
    fewer.draw_up_to(1)
    assert fewer.take(torch.arange(2))[0].equal(pictures[:2])


def test_every_second_head_is_the_data_s_where_its_code_is_known():
    model, data, picture_encoder = finished(), runs.tiny_data(), PictureEncoder(runs.MODEL.latent_size, 16)
    stage = EncoderStage(EncoderConfig(steps=4), model, data=data, picture_encoder=picture_encoder)
    stage.drawings.draw_up_to(4)
    pictures, coordinates, poses = stage.drawings.take(torch.arange(4 * VIEWS_OF_HEAD))
    own = Drawings(model, stage.drawings.space, 0, stage.engine)
    own.draw_up_to(3)
    for head in (0, 2):
        views = torch.arange(VIEWS_OF_HEAD) + head * VIEWS_OF_HEAD
        assert all(ours[views].equal(theirs) for ours, theirs in zip((pictures, coordinates, poses), own.take(views)))
    shown = torch.nn.functional.adaptive_avg_pool2d(data.image_batch(torch.arange(len(data))), 64)
    alpha = torch.nn.functional.adaptive_avg_pool2d(data.alpha_batch(torch.arange(len(data))), 64)
    mean, log_std = picture_encoder(data.image_batch(torch.arange(len(data))), data.poses)
    codes = expected_code(mean, log_std.exp()).detach()
    for view in (2, 3, 6, 7):
        index = (data.poses - poses[view]).norm(dim=1).argmin()
        torch.testing.assert_close(pictures[view, :3], shown[index], atol=0.01, rtol=0)
        torch.testing.assert_close(pictures[view, 3:], 1 - alpha[index], atol=0.01, rtol=0)
        torch.testing.assert_close(coordinates[view], stage.drawings.space.coordinates(codes[index : index + 1])[0])
    assert not any(key.startswith("picture_encoder") for key in snapshot(stage))
    assert stage.step()["code"] > 0


def test_processes_draw_in_turn_and_each_has_all():
    model = finished()
    space = CodeSpace.measure(model.renderer_mapping, model.config.latent_size)
    shares = []
    for index in range(2):
        accelerator = SimpleNamespace(num_processes=2, process_index=index)
        engine = SimpleNamespace(accelerator=accelerator, device=torch.device("cpu"), total=lambda values: values)
        shares.append(Drawings(model, space, 0, engine))
        shares[-1].draw_up_to(3)
    alone = Drawings(model, space, 0, make().engine)
    alone.draw_up_to(3)
    index = torch.arange(3 * VIEWS_OF_HEAD)
    for number, whole in enumerate(alone._pictures):
        assert (shares[0]._pictures[number] + shares[1]._pictures[number]).equal(whole)
    for whole, first, second in zip(alone.take(index)[1:], shares[0].take(index)[1:], shares[1].take(index)[1:]):
        assert (first + second).equal(whole)


def test_pictures_are_varied_each_by_its_own_numbers():
    pictures = torch.rand(3, 4, 64, 64)
    numbers = torch.rand(3, 16)
    numbers[:, 13] = torch.tensor([0.1, 0.9, 0.1])
    varied = vary(pictures, numbers)
    assert varied[1].equal(pictures[1, :3]) and not varied[0].allclose(pictures[0, :3])
    assert vary(pictures[2:], numbers[2:])[0].allclose(varied[2], atol=1e-5)
    still = torch.full((1, 16), 0.5)  # the middle of every range: a blur by a quarter, and nothing else
    still[:, 3] = 0.9
    flat = torch.full((1, 4, 64, 64), 0.3)
    torch.testing.assert_close(vary(flat, still), flat[:, :3])


def test_the_command_writes_the_inverter_beside_the_same_model(tmp_path, capsys):
    model = finished()
    vars(model)["directions"] = Directions(model.config.latent_size, ["age"])
    model.save_pretrained(tmp_path / "model")
    arguments = ["encoder", "--init-from", str(tmp_path / "model"), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*arguments, "--snapshot-every", "2", "--set", "steps=2"]) == 0
    written = StyleSDF.from_pretrained(tmp_path / "run" / "model")
    assert weights_hash(written) == weights_hash(StyleSDF.from_pretrained(tmp_path / "model"))
    assert written.inverter.axes.abs().sum() > 0
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "exported")]) == 0
    for folder in (tmp_path / "exported", tmp_path / "run" / "snapshots" / "step-00000002"):
        other = StyleSDF.from_pretrained(folder)
        inverter = other.inverter.state_dict()
        assert all(value.equal(inverter[name]) for name, value in written.inverter.state_dict().items())
        assert weights_hash(other) == weights_hash(written) and other.directions.names == ["age"]
    # another run from there changes the model, which the inverter does not know then
    polish = ["polish", "--init-from", str(tmp_path / "run" / "model"), "--out", str(tmp_path / "polished")]
    assert main([*polish, "--device", "cpu", "--set", "steps=1", "batch_size=1", "num_points=8"]) == 0
    assert StyleSDF.from_pretrained(tmp_path / "polished" / "model").inverter is None
    capsys.readouterr()
    assert main([*arguments, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["cost"]["hours"]["two CPU cores"] < 1.0
