"""Estimates count what is built and done; ``python -m benchmarks.estimates`` sets them beside what is measured."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from benchmarks.estimates import parts_of, random_pictures, start_of
from stylesdf.config import preset
from stylesdf.model import Generator
from tests.train.test_recipes import SIZED, miniature
from train.__main__ import main
from train.build import build_stage
from train.config import (
    STEPS_PER_RENDERING,
    DecoderConfig,
    EncoderConfig,
    PolishConfig,
    PriorConfig,
    RendererConfig,
)
from train.presets import PRESETS
from train.recipes import RECIPES
from train.recipes.drawn import DECODED, MODEL, POLISHED, SHOWN
from train.run import counting
from train.run.cost import CORE, HARDWARE, PROCESSES, estimate, tasks_of
from train.run.engine import Engine
from train.stages.chunked import ChunkedField

FIRST = {name: next(iter(sizes)) for name, sizes in RECIPES.items()}  # of each recipe, the size it has by default
CPU = "two CPU cores"
RUNS = [
    (name, index)
    for name, size in SIZED
    if size == FIRST[name]
    for index in range(1 if name == "toy_heads" else len(RECIPES[name][size].runs))  # its others are those of people
]


def built(name: str, index: int, folder):
    """A stage of a recipe in miniature, with its model, settings and start."""
    recipe = miniature(RECIPES[name][FIRST[name]])
    run = recipe.runs[index]
    initial = start_of(recipe.model, run, folder)
    data = random_pictures(recipe.model)
    stage = build_stage(recipe.model, run.settings, data, Engine(), None if run.start is None else initial)
    return recipe.model, run, stage, initial


@pytest.mark.parametrize("name, index", RUNS)
def test_the_networks_of_a_run_and_all_that_it_does_are_counted(name, index, tmp_path):
    model, run, stage, initial = built(name, index, tmp_path)
    has_decoder = isinstance(run.settings, DecoderConfig | EncoderConfig)
    assert counting.generator_weights(model, has_decoder) == weights(stage.generator)
    if isinstance(run.settings, RendererConfig) and stage.discriminator is not None:
        counted = counting.thumbnail_discriminator(model, run.settings, run.settings.phases[-1].resolution)
        assert counted.weights == weights(stage.discriminator)
    if isinstance(run.settings, RendererConfig) and stage.reconstruction is not None:
        assert counting.picture_encoder(model).weights == weights(stage.reconstruction.encoder)
    if isinstance(run.settings, DecoderConfig) and stage.discriminator is not None:
        assert counting.image_discriminator(model, run.settings).weights == weights(stage.discriminator)
    if isinstance(run.settings, DecoderConfig) and stage.pairs is not None:
        assert counting.patch_discriminator(model).weights == weights(stage.pairs.discriminator)
    if isinstance(run.settings, EncoderConfig):
        assert counting.inverter(model).weights == weights(stage.encoder)
    done = {part.partition("×")[0] for part, _ in parts_of(stage, initial)}
    assert done == {task.name for task in tasks_of(model, run.settings)}


def weights(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_layers_are_counted_as_they_are_called():
    conv = counting.counted(lambda: torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 16, 16))
    assert conv.numbers == 8 * 8 * 8 and conv.weights == 3 * 8 * 9 + 8
    assert conv.work == 9 * 3 * 8 * 8 * 8 + counting.ACTIVATION * conv.numbers
    linear = counting.counted(lambda: torch.nn.Linear(5, 7), (5,))
    assert linear.work == 35 + counting.ACTIVATION * 7
    decoder, size = counting.synthesis(MODEL), MODEL.render_resolution
    channels = MODEL.decoder_channels
    work = 9 * MODEL.field_width * channels[0] * size**2
    for before, after in zip(channels, channels[1:]):  # a transposed convolution does as much as its input is large
        work += 9 * before * after * size**2 + 9 * after * after * (2 * size) ** 2
        size *= 2
    assert work < decoder.work - counting.ACTIVATION * decoder.numbers < 1.05 * work  # with colours


def test_a_field_keeps_as_many_numbers_as_its_stage_thinks():
    field = ChunkedField(Generator(MODEL).field.condition(torch.zeros(1, MODEL.latent_size)))
    channels = sum(leaf.shape[-1] for leaf in field._leaves[0])
    assert counting.kept_numbers(MODEL, 1) == channels


def test_what_each_process_does_by_itself_is_not_halved():
    prior = PriorConfig()
    tasks = tasks_of(MODEL, prior)
    assert {task.name for task in tasks if task.repeated == task.work} == {"flow step", "grid view"}
    work = sum(task.count * ((task.work - task.repeated) / PROCESSES + task.repeated) for task in tasks)
    assert estimate(MODEL, prior)["hours"][CPU] == pytest.approx(work / CORE / 1e12 / 3600, abs=0.01)
    shown = estimate(MODEL, SHOWN)
    assert shown["hours"][CPU] > 1.02 * shown["teraflops"] / HARDWARE[CPU] / 3600  # grids, updates
    assert HARDWARE[CPU] == PROCESSES * CORE


def test_a_pool_of_renderings_takes_memory_and_is_filled_by_all_processes_together():
    many = dataclasses.replace(DECODED, num_renderings=DECODED.num_renderings + 1000)
    maps = 1000 * (2 * MODEL.field_width + 12) * MODEL.render_resolution**2 / 1e9  # GB
    pictures = 1000 * 2 * 3 * MODEL.image_resolution**2 / 1e9
    more = estimate(MODEL, many)["memory_gb"] - estimate(MODEL, DECODED)["memory_gb"]
    assert more == pytest.approx(maps + pictures, abs=0.02)
    (filled,) = [task for task in tasks_of(MODEL, DECODED) if task.name == "rendering"]
    assert filled.count == DECODED.num_renderings + DECODED.steps / STEPS_PER_RENDERING
    assert filled.repeated == 0.0


def test_spheres_guides_and_penalties_are_work():
    def work(settings) -> float:
        return sum(task.count * task.work for task in tasks_of(preset("toy"), settings))

    toy, judged = PRESETS["renderer"]["toy"], PRESETS["decoder"]["toy"]
    assert work(toy) > work(dataclasses.replace(toy, sphere_steps=0))
    every_step = dataclasses.replace(toy.game, r1_every=1)
    assert work(dataclasses.replace(toy, game=every_step)) > work(toy)
    assert work(dataclasses.replace(judged, game=dataclasses.replace(judged.game, r1_every=1))) > work(judged)
    assert work(dataclasses.replace(judged, path_length_weight=2.0)) > work(judged)
    guided = toy.phases[-1]
    everywhere = dataclasses.replace(toy, phases=(*toy.phases[:-1], dataclasses.replace(guided, surface_guided=False)))
    assert work(everywhere) > work(toy)
    without = {name: weight for name, weight in POLISHED.terms.items() if name != "solidity"}
    assert work(POLISHED) > work(dataclasses.replace(POLISHED, terms=without))
    sharper = counting.guided_share(MODEL, 0.0004)
    assert 0.0 < sharper < counting.guided_share(MODEL, 0.0016) <= counting.CULLED


@pytest.mark.parametrize(
    "model, settings",
    [
        (MODEL, SHOWN),
        (MODEL, POLISHED),
        (MODEL, DECODED),
        (preset("ffhq"), PRESETS["renderer"]["ffhq"]),
        (preset("ffhq"), PRESETS["decoder"]["ffhq"]),
    ],
)
def test_micro_batches_take_less_memory(model, settings):
    small, large, whole = (estimate(model, settings, size)["memory_gb"] for size in (1, 2, 0))
    assert small < large < whole


@pytest.mark.parametrize("kind", [PriorConfig, PolishConfig, EncoderConfig, DecoderConfig, RendererConfig])
def test_a_run_of_the_paper_s_model_has_an_estimate(kind):
    settings = kind()
    cost = estimate(preset("ffhq"), settings)
    assert cost["steps"] == settings.total_steps and cost["memory_gb"] > 0.15
    assert cost["hours"].keys() == HARDWARE.keys() and cost["hours"][CPU] > 0


def test_a_dry_run_has_the_architecture_of_the_model_that_it_starts_from(tmp_path, capsys):
    people = Path(__file__).parents[2] / "checkpoints" / "people"
    command = ["encoder", "--init-from", str(people), "--out", str(tmp_path / "out"), "--dry-run"]
    assert main(command) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["model"]["field_width"] == MODEL.field_width and about["model"]["latent_size"] == MODEL.latent_size
    assert about["cost"]["hours"] == estimate(MODEL, EncoderConfig())["hours"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data", "absent"], "no such data: 'absent'"),
        (["--data", "people:3", "--set", 'game.augment=("colour",)'], "augment names"),
        (["--data", "people:3", "--set", "terms.foo=1"], "terms names 'foo'"),
        (["--data", "people:3", "--set", "terms.eikonal=-1"], "terms.eikonal is -1"),
        (["--data", "people:3", "--set", "discriminator_channels=8,8"], "channel counts reach down from"),
        (["--data", "people:3", "--grid-every", "-1"], "grid_every is -1"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(arguments, message, tmp_path, capsys):
    command = ["renderer", "--preset", "toy", *arguments, "--out", str(tmp_path / "out"), "--dry-run"]
    assert main(command) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
