"""Stage 2's second game: what is decoded of the data's own codes, against a discriminator of patches."""

import dataclasses

import pytest
import torch

from stylesdf.checkpoint import save_model
from stylesdf.model import Generator
from tests.train import runs
from tests.train.test_training import interrupt_and_resume
from train.build import build_stage
from train.networks.discriminators import PatchDiscriminator
from train.pretrained import PretrainedGenerator
from train.run.engine import Engine
from train.run.loop import train
from train.run.options import RunOptions


def test_a_step_changes_the_decoder_and_its_judge_alone():
    stage = runs.pairs_stage()
    before = {name: value.clone() for name, value in stage.generator.state_dict().items()}
    judge = [parameter.clone() for parameter in stage.pairs.discriminator.parameters()]
    records = [stage.step() for _ in range(4)]
    assert ["r1" in record for record in records] == [True, False, True, False]
    assert {"d_loss", "g_loss", "pair_l1", "thumbnail_l1"} < records[0].keys()
    changed = {name for name, value in stage.generator.state_dict().items() if not torch.equal(value, before[name])}
    assert "decoder.conv.weight" in changed and not any(name.startswith(("field", "renderer")) for name in changed)
    assert all(not torch.equal(old, new) for old, new in zip(judge, stage.pairs.discriminator.parameters()))
    assert stage.discriminators() == {}  # the judge is of no use to another run


@pytest.mark.parametrize("micro_batch, have_graphs", [(0, [True]), (4, [False, False, True, True])])
def test_the_graph_of_one_part_at_most_is_kept(micro_batch, have_graphs, monkeypatch):
    stage, found = runs.pairs_stage(Engine(micro_batch=micro_batch)), []
    draw = stage.pairs._draw

    def drawn(*arguments):
        found.append(draw(*arguments))
        return found[-1]

    monkeypatch.setattr(stage.pairs, "_draw", drawn)
    stage.step()
    assert [image.requires_grad for image, _, _ in found] == have_graphs


def test_what_is_decoded_comes_to_resemble_its_picture():
    config = runs.with_game(runs.PAIRED, learning_rate=0.01, adam_beta1=0.5, final_learning_rate=0.1)
    stage = runs.decoder_stage(config=dataclasses.replace(config, steps=60, pair_weight=50.0))
    records = [stage.step() for _ in range(60)]
    assert records[-1]["pair_l1"] < 0.9 * records[0]["pair_l1"]  # the pictures are noise


@pytest.mark.parametrize("corner, top, left", [((0.0, 0.1), 0, 0), ((1.0, 0.4), 8, 3), ((0.5, 0.95), 4, 8)])
def test_a_window_is_decoded_as_it_is_in_the_whole_picture(corner, top, left):
    """The picture and the thumbnail are those of its place."""
    stage = runs.pairs_stage()
    pairs, entries = stage.pairs, torch.tensor([2, 0])
    pairs.renderings.advance_to(0, with_images=True)
    w, features, thumbnail = pairs.renderings.take(entries)
    with torch.no_grad():
        image, picture, shown = pairs._draw(entries, torch.tensor(corner))
        whole = stage.generator.synthesis(features, stage.generator.decoder_codes(w), "none")
    window = (..., slice(2 * top, 2 * top + 16), slice(2 * left, 2 * left + 16))  # 8 of 16 rays, 2 pixels a ray
    torch.testing.assert_close(image, whole[window], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(picture, pairs.renderings.targets(entries)[window])
    enlarged = torch.nn.functional.interpolate(thumbnail, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(shown, enlarged[window])


def test_pairs_are_the_data_s_own_pictures_and_one_is_exchanged_for_each_step():
    data = runs.tiny_data()
    stage = runs.decoder_stage(config=dataclasses.replace(runs.PAIRED, num_renderings=10, steps=20))
    stage.step()
    pool = stage.pairs.renderings
    pictures = data.image_batch(torch.arange(len(data))).half()
    for kept in pool.images:
        assert any(torch.equal(kept, picture) for picture in pictures)
    assert pool.next == 10
    for _ in range(8):
        stage.step()
    assert pool.next == 18


def test_a_run_with_pairs_resumes_bit_for_bit(tmp_path):
    whole = runs.pairs_stage()
    train(whole, tmp_path / "whole", RunOptions(save_every=100, grid_every=100, log_every=1))
    interrupt_and_resume(runs.pairs_stage, tmp_path / "parts", whole, stop_at=3)


def test_patches_are_judged_beside_their_thumbnail():
    torch.manual_seed(0)
    judge, image = PatchDiscriminator(), torch.randn(2, 3, 24, 16)
    logits = judge(image, torch.zeros(2, 3, 24, 16))
    assert logits.shape == (2, 1, 3, 2)
    assert not torch.equal(logits, judge(image, torch.ones(2, 3, 24, 16)))


@pytest.mark.parametrize(
    "name, value, sentence",
    [
        ("path_length_weight", 2.0, "path_length_weight is 2 beside pair_weight, whose game has none: expected 0"),
        ("mixing_probability", 0.5, "mixing_probability is 0.5 beside pair_weight, whose game has none: expected 0"),
        ("draws_field", True, "draws_field is true beside pair_weight, whose game has none: expected false"),
        ("augment", ("color",), "game.augment is color beside pair_weight, whose game has none: expected none"),
        ("use_relativistic_loss", True, "game.use_relativistic_loss is true beside .* has none: expected false"),
        ("freeze_generator_steps", 3, "game.freeze_generator_steps is 3 beside pair_weight, .*: expected 0"),
    ],
)
def test_what_the_game_of_patches_does_not_have_is_refused(name, value, sentence):
    change = dataclasses.replace if hasattr(runs.PAIRED, name) else runs.with_game
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        change(runs.PAIRED, **{name: value})
    change(dataclasses.replace(runs.PAIRED, pair_weight=0.0), **{name: value})


def test_pairs_need_a_pool_poses_and_an_encoder(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="pair_weight is on, but num_renderings is 0"):
        dataclasses.replace(runs.PAIRED, num_renderings=0)
    data = dataclasses.replace(runs.tiny_data(), poses=None)
    monkeypatch.setattr(runs, "tiny_data", lambda: data)
    with pytest.raises(ValueError, match="the data has no yaw and pitch"):
        runs.pairs_stage()
    save_model(Generator(runs.MODEL), tmp_path)
    with pytest.raises(ValueError, match="has no encoder beside it"):
        build_stage(runs.MODEL, runs.PAIRED, data, Engine(), PretrainedGenerator.from_pretrained(tmp_path))
