"""The model goes to a hub, and back: while it trains, at the end, and over a network that fails."""

import dataclasses
import logging

import pytest
import torch
from huggingface_hub import HfApi

from stylesdf import StyleSDF
from stylesdf.card import CardFacts
from stylesdf.checkpoint import load_config, save_model
from stylesdf.hub import load_discriminator
from tests.loopback_hub import Fault, Repo
from tests.train import runs
from train.__main__ import main
from train.config import PriorConfig, images_shown
from train.errors import RunError
from train.networks.encoder import PictureEncoder
from train.pretrained import PretrainedGenerator
from train.run.lineage import Origin, finished_model
from train.run.loop import train
from train.run.options import RunOptions
from train.run.publish import Publisher

REPO = "someone/heads"
OPTIONS = RunOptions(save_every=100, grid_every=100, log_every=1)
FACTS = CardFacts(
    licence="cc-by-4.0", datasets=("someone/pictures",), metrics={"fid": 3.5}, metrics_dataset="pictures"
)
ORIGIN = Origin(facts=FACTS)


@pytest.fixture
def config():
    phases = tuple(dataclasses.replace(phase, steps=2, batch_size=4) for phase in runs.RENDERER.phases)
    return dataclasses.replace(runs.RENDERER, phases=phases)


def test_model_samples_and_card_arrive_and_load(hub, config, tmp_path):
    stage = runs.renderer_stage(config=config)
    train(stage, tmp_path, OPTIONS, ORIGIN, publisher=Publisher(REPO))
    files = hub.repos[REPO].files()
    assert files["samples.png"] == (tmp_path / "grids" / "00000004.png").read_bytes()
    card = files["README.md"].decode()
    licence_and_data = "license: cc-by-4.0", "datasets: [someone/pictures]"
    for text in (*licence_and_data, "type: fid", "value: 3.5", "samples.png", "| steps | 4 |"):
        assert text in card, text
    model = StyleSDF.from_pretrained(REPO)
    assert model.generate(seeds=[0]).thumbnails
    assert files["model.safetensors"] == (tmp_path / "model" / "model.safetensors").read_bytes()
    load_discriminator(runs.renderer_stage(config=config).discriminator, "thumbnail", REPO)


def test_a_run_that_draws_no_grids_pushes_none(hub, config, tmp_path):
    options = dataclasses.replace(OPTIONS, grid_every=0)
    train(runs.renderer_stage(config=config), tmp_path, options, publisher=Publisher(REPO))
    files = hub.repos[REPO].files()
    assert "samples.png" not in files and b"samples.png" not in files["README.md"]


def test_pushes_go_on_in_the_background_while_it_trains(hub, config, tmp_path):
    out = tmp_path / "run"
    pushing = Publisher(REPO, every_images=4)
    offered = []
    stage = runs.renderer_stage(config=config)
    original = pushing.offer

    def offer(*arguments):
        original(*arguments)
        offered.append(stage.state.step)
        pushing._thread and pushing._thread.join()

    pushing.offer = offer
    train(stage, out, OPTIONS, publisher=pushing)
    assert offered == [1, 2, 3]
    titles = [title for title in hub.repos[REPO].titles if title.startswith("Train to step")]
    assert titles == ["Train to step 2", "Train to step 3", "Train to step 4"]


def test_an_edited_card_stays_and_ours_is_renewed(hub, config, tmp_path):
    train(runs.renderer_stage(config=config), tmp_path, OPTIONS, ORIGIN, publisher=Publisher(REPO))
    first = hub.repos[REPO].files()["README.md"]
    mit = Origin(facts=CardFacts(licence="mit"))
    assert Publisher(REPO).finish(runs.renderer_stage(config=config), tmp_path, mit)
    second = hub.repos[REPO].files()["README.md"]
    assert second != first and b"license: mit" in second
    edited = second + b"\nMy own words.\n"
    hub.repos[REPO].commit({**hub.repos[REPO].files(), "README.md": edited})
    assert Publisher(REPO).finish(runs.renderer_stage(config=config), tmp_path, ORIGIN)
    assert hub.repos[REPO].files()["README.md"] == edited


def test_a_card_that_did_not_arrive_is_renewed_by_the_next_push(hub, config, tmp_path, monkeypatch):
    stage, pushing, commit, failed = runs.renderer_stage(config=config), Publisher(REPO), HfApi.create_commit, []

    def fail_once(api, *arguments, commit_message, **options):
        if commit_message == "Samples of step 1" and not failed:
            failed.append(commit_message)
            raise OSError("cut off")
        return commit(api, *arguments, commit_message=commit_message, **options)

    assert pushing.finish(stage, tmp_path, ORIGIN)
    stage.step()
    monkeypatch.setattr(HfApi, "create_commit", fail_once)
    assert pushing.finish(stage, tmp_path, ORIGIN) and failed
    assert b"| steps | 1 |" in hub.repos[REPO].files()["README.md"]


@pytest.mark.parametrize("name", ["not an id", "name", "you/name@main", ""])
def test_a_name_that_no_repository_can_have_is_refused_at_once(name, tmp_path, capsys):
    with pytest.raises(ValueError, match="the repository to push to is .*, expected USER/NAME"):
        Publisher(name)
    command = ["renderer", "--data", "toy-heads:9", "--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*command, "--push-to-hub", name]) == 2 and "expected USER/NAME" in capsys.readouterr().err


def test_a_failing_network_stops_no_step_and_is_told_at_the_end(hub, config, tmp_path, caplog):
    hub.faults.append(Fault(r".*", method="POST", status=500, times=10_000))
    stage = runs.renderer_stage(config=config)
    with caplog.at_level(logging.WARNING), pytest.raises(RunError, match=f"is finished, but did not reach {REPO}"):
        train(stage, tmp_path, OPTIONS, ORIGIN, publisher=Publisher(REPO, every_images=4))
    assert stage.state.step == 4 and (tmp_path / "model" / "model.safetensors").exists()
    assert f"push to {REPO} failed (3 of 3)" in caplog.text
    assert not hub.repos.get(REPO, Repo()).commits.get("main")


def test_images_are_counted_over_phases(config):
    first, second = config.phases
    phases = dataclasses.replace(first, steps=3, batch_size=4), dataclasses.replace(second, steps=5, batch_size=2)
    config = dataclasses.replace(config, phases=phases)
    assert [images_shown(config, steps) for steps in (0, 2, 5, 100)] == [0, 2 * 4, 3 * 4 + 2 * 2, 3 * 4 + 5 * 2]
    assert images_shown(runs.DECODER, 2) == 2 * runs.DECODER.batch_size
    assert images_shown(dataclasses.replace(runs.KEEPING, draws_field=True), 2) == 0  # it looks at none of them
    assert images_shown(PriorConfig(), 9) == 0


def test_what_is_handed_on_goes_to_the_hub_too(hub, config, tmp_path):
    """A renderer that was tuned from a model with a decoder is published with that decoder and its discriminator."""
    whole, other = tmp_path / "whole", runs.decoder_stage()
    encoder = PictureEncoder(runs.MODEL.latent_size, 32)
    extras = other.discriminators() | {"encoder": encoder}
    save_model(finished_model(other.generator_ema, None), whole, discriminators=extras)
    origin = Origin(runs.tiny_data(), PretrainedGenerator.from_pretrained(whole))
    train(runs.renderer_stage(config=config), tmp_path / "run", OPTIONS, origin, publisher=Publisher(REPO))
    files = hub.repos[REPO].files()
    assert load_config(tmp_path / "run" / "model").has_decoder
    for name in ("config.json", "model.safetensors", "discriminator_thumbnail.safetensors"):
        assert files[name] == (tmp_path / "run" / "model" / name).read_bytes(), name
    for name in ("discriminator_image.safetensors", "encoder.safetensors"):
        assert files[name] == (whole / name).read_bytes() == (tmp_path / "run" / "model" / name).read_bytes()
    assert Origin(None, PretrainedGenerator.from_pretrained(REPO)).files.keys() == {"thumbnail", "image", "encoder"}
    assert StyleSDF.from_pretrained(REPO).generate(seeds=[0]).images


def test_what_a_model_of_the_hub_hands_on_is_that_of_its_commit(hub, config, tmp_path):
    other = runs.decoder_stage()
    model = finished_model(other.generator_ema, None)
    commit = model.push_to_hub(REPO, discriminators=other.discriminators()).oid
    initial = PretrainedGenerator.from_pretrained(REPO)
    before = hub.repos[REPO].files()["discriminator_image.safetensors"]
    torch.nn.init.zeros_(other.discriminator.linear2.weight)
    model.push_to_hub(REPO, discriminators=other.discriminators())
    assert hub.repos[REPO].files()["discriminator_image.safetensors"] != before
    origin = Origin(None, initial)
    assert origin.describe()["initial"]["name"] == f"{REPO}@{commit}"
    assert origin.files["image"].read_bytes() == before
