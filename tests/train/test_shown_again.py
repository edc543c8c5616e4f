"""Stage 2 shows the data's pictures again: which, from which codes and cameras, and what is compared with them."""

import copy
import dataclasses

import pytest
import torch

from stylesdf.camera import Camera
from stylesdf.model import Generator
from tests.train import runs
from tests.train.test_training import interrupt_and_resume, snapshot
from train.__main__ import main
from train.networks.encoder import PictureEncoder, expected_code
from train.run.loop import train
from train.run.options import RunOptions
from train.stages import DecoderStage


def make(game: dict | None = None, **settings) -> DecoderStage:
    config = dataclasses.replace(runs.with_game(runs.SHOWING, **(game or {})), **settings)
    return runs.decoder_stage(config=config)


FAST = {"adam_beta1": 0.9, "learning_rate": 0.01}


def test_a_picture_is_shown_from_its_own_code_and_pose():
    data = runs.tiny_data()
    encoder = PictureEncoder(runs.MODEL.latent_size, runs.MODEL.image_resolution)
    config = dataclasses.replace(runs.SHOWING, shown_share=1.0)
    stage = DecoderStage(runs.MODEL, config, data, Generator(runs.MODEL), encoder=encoder)
    pool = stage._renderings
    pool.advance_to(6)
    pool._scene = None  # what is shown is looked up, not drawn again
    assert min(pool.pictures) >= 0 and len(set(pool.pictures.tolist())) > 2
    for slot, index in enumerate(pool.pictures.tolist()):
        with torch.no_grad():
            mean, log_std = encoder(data.image_batch(torch.tensor([index])), data.poses[index : index + 1])
            code = expected_code(mean, log_std.exp())
            rendering = stage.generator.render(code, Camera.from_angles(*data.poses[index].tolist()))
        torch.testing.assert_close(pool.w[slot : slot + 1], code)
        torch.testing.assert_close(pool.features[slot].float(), rendering.features[0], atol=1e-3, rtol=0)
        assert pool.targets(torch.tensor([slot])).equal(data.image_batch(torch.tensor([index])))


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_so_many_renderings_show_a_picture_and_the_others_are_gaussian(share):
    pool = make(shown_share=share)._renderings
    pictures = [pool._scene(number)[2] for number in range(400)]
    shown = [picture for picture in pictures if picture >= 0]
    assert abs(len(shown) / 400 - share) < 0.07
    assert set(shown) == set(range(10))
    codes = torch.cat([pool._scene(number)[0] for number, picture in enumerate(pictures) if picture < 0])
    assert len(codes.unique(dim=0)) == len(codes)


def test_without_it_the_pool_is_as_it_was():
    torch.manual_seed(5)
    plain = DecoderStage(
        runs.MODEL, dataclasses.replace(runs.DECODER, num_renderings=4), runs.tiny_data(), Generator(runs.MODEL)
    )
    record = plain.step()
    assert "reconstruction" not in record and "field_l1" not in record
    assert plain._renderings._scene(3)[2] == -1


def test_the_first_steps_draw_the_pictures_without_a_discriminator():
    stage = make(FAST, shown_share=1.0, field_steps=60, steps=60)
    assert stage.discriminator is None and stage.discriminators() == {}
    records = [stage.step() for _ in range(60)]
    assert "d_loss" not in records[0]
    assert records[-1]["field_l1"] < 0.85 * records[0]["field_l1"]
    assert make(steps=0, field_steps=0).discriminators().keys() == {"image"}  # of no steps: it is handed on


def test_without_a_pool_the_first_of_every_batch_show_pictures():
    stage = make(num_renderings=0, field_steps=2)
    draws = stage._draw_scenes(4)
    assert (draws["picture"] >= 0).tolist() == [True, True, False, False]
    w, features, _ = stage._render(draws, slice(0, 4))
    known = stage._shown.codes[draws["picture"][:2]]
    torch.testing.assert_close(w[:2], known)
    camera = Camera.from_angles(*stage.data.poses[draws["picture"][1]].tolist())
    torch.testing.assert_close(features[1:2], stage.generator.render(known[1:], camera).features.detach())
    before = copy.deepcopy(stage.generator.decoder.state_dict())
    record = stage.step()
    assert record["reconstruction"] > 0 and record["thumbnail_l1"] > 0
    assert any(not value.equal(before[name]) for name, value in stage.generator.decoder.state_dict().items())


def test_without_a_pool_the_first_steps_need_no_discriminator():
    stage = make(FAST, num_renderings=0, field_steps=60, steps=61)
    before = copy.deepcopy(stage.discriminator.state_dict())
    records = [stage.step() for _ in range(60)]
    for name in ("reconstruction", "thumbnail_l1"):
        assert sum(r[name] for r in records[-5:]) < 0.8 * sum(r[name] for r in records[:5])
    assert all(value.equal(before[name]) for name, value in stage.discriminator.state_dict().items())
    assert "d_loss" in stage.step()


def test_a_run_resumes_bit_for_bit(tmp_path):
    whole = make()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(make, tmp_path / "parts", whole, stop_at=3)


def test_what_is_missing_is_named(tmp_path, capsys):
    with pytest.raises(ValueError, match="num_renderings and shown_share are 0"):
        make(num_renderings=0, shown_share=0.0, field_steps=2)
    with pytest.raises(ValueError, match="no encoder"):
        DecoderStage(runs.MODEL, runs.SHOWING, runs.tiny_data(), Generator(runs.MODEL))
    with pytest.raises(ValueError, match="shown_share is 1.5, expected a number in \\[0, 1\\]"):
        make(shown_share=1.5)
    assert main(
        ["decoder", "--data", "toy-heads:4", "--init-from", "checkpoints/toy-heads", "--out", str(tmp_path / "run")]
        + ["--set", "shown_share=0.5"]
    ) == 2  # fmt: skip
    assert "checkpoints/toy-heads has no encoder beside it" in capsys.readouterr().err


def test_a_frozen_decoder_stays_while_the_discriminator_learns_at_its_own_rate():
    stage = make({"freeze_generator_steps": 1, "discriminator_learning_rate": 0.5})
    rate = stage.game.discriminator_optimizer.param_groups[0]["initial_lr"]
    assert rate == pytest.approx(0.5 * 2 / 3)  # lazy: r1_every is 2
    assert stage.game.generator_optimizer.param_groups[0]["initial_lr"] < 0.01
    before = snapshot(stage)
    record = stage.step()
    after = snapshot(stage)
    moved = {name.split(".")[0] for name, value in after.items() if name in before and not value.equal(before[name])}
    assert "discriminator" in moved and not moved & {"generator", "generator_ema"}
    assert "g_loss" not in record and "path_length" not in record
    record = stage.step()
    assert "g_loss" in record
    assert not snapshot(stage)["generator.decoder.conv.weight"].equal(before["generator.decoder.conv.weight"])
