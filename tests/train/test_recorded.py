"""Three steps of every run of the recipes and presets, in miniature, give the numbers that were recorded once.

A change of ``recorded.json`` is a change of what training does, and has to be wanted; ``python -m
tests.train.test_recorded`` writes it anew. It was first written when the stages had just come to share one game, whose
states after three steps were bit for bit those of the code before.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stylesdf.model import Generator
from tests.train import runs
from train.networks.encoder import PictureEncoder
from train.presets import PRESETS
from train.pretrained import PretrainedGenerator
from train.recipes.people import LARGE, SMALL
from train.recipes.toy_heads import TOY_HEADS
from train.run.loop import SHOWN
from train.stages import DecoderStage, EncoderStage, PolishStage, PriorStage, RendererStage

RECORDED = Path(__file__).parent / "recorded.json"
STEPS = 3
RENDERER_MODEL = dataclasses.replace(runs.MODEL, decoder_channels=())


def initial() -> Generator:
    torch.manual_seed(5)
    generator = Generator(runs.MODEL)
    torch.nn.init.constant_(generator.decoder.conv.noise_strength, 0.5)
    return generator


def encoder(seed: int = 3) -> PictureEncoder:
    torch.manual_seed(seed)
    return PictureEncoder(runs.MODEL.latent_size, runs.MODEL.image_resolution)


def renderer(config) -> RendererStage:
    sizes = (8, 16) if len(config.phases) > 1 else (16,)
    phases = tuple(
        dataclasses.replace(phase, resolution=size, batch_size=4, num_samples=4, steps=2)
        for phase, size in zip(config.phases, sizes)
    )
    game = dataclasses.replace(config.game, freeze_generator_steps=min(config.game.freeze_generator_steps, 1))
    config = dataclasses.replace(
        config, phases=phases, discriminator_channels=(4, 4, 8, 8), sphere_steps=4, game=game
    )
    stage = RendererStage(RENDERER_MODEL, config, runs.tiny_data())
    if stage.reconstruction is not None:  # its weights do not depend on what else was built
        stage.reconstruction.encoder.load_state_dict(encoder(77).state_dict())
    return stage


def prior(config) -> PriorStage:
    return PriorStage(RENDERER_MODEL, config, runs.tiny_data(), initial(), encoder())


def polish(config) -> PolishStage:
    return PolishStage(RENDERER_MODEL, dataclasses.replace(config, batch_size=2, num_points=40), initial())


def decoder(config) -> DecoderStage:
    config = dataclasses.replace(
        config, batch_size=4, discriminator_channels=(4, 4, 8, 8), num_renderings=min(6, config.num_renderings),
        steps=STEPS if config.draws_field or config.pair_weight else 2 * STEPS,
    )  # fmt: skip
    return DecoderStage(runs.MODEL, config, runs.tiny_data(), initial(), encoder=encoder())


def inverter(config) -> EncoderStage:
    torch.manual_seed(5)
    return EncoderStage(config, PretrainedGenerator(runs.MODEL).eval())


BUILDERS = {"renderer": renderer, "prior": prior, "polish": polish, "decoder": decoder, "encoder": inverter}
OF_RECIPES = {"small": SMALL, "large": LARGE, "toy_heads": TOY_HEADS}
SETTINGS = {
    f"{name}-{run.name}": (run.stage, run.settings) for name, recipe in OF_RECIPES.items() for run in recipe.runs
}
SETTINGS |= {
    f"{stage}-{name}": (stage, PRESETS[stage][name])
    for stage in ("renderer", "decoder")
    for name in ("ffhq", "afhq", "toy", "photos")
}
CASES: dict[str, tuple[Callable, object]] = {}
for title, (stage, settings) in SETTINGS.items():
    if (BUILDERS[stage], settings) not in CASES.values():  # several recipes share some
        CASES[title] = BUILDERS[stage], settings
RELATIVISTIC = {"use_relativistic_loss": True, "augment": ("color",)}
CASES["renderer-relativistic"] = (
    renderer,
    dataclasses.replace(
        PRESETS["renderer"]["toy"],
        game=dataclasses.replace(PRESETS["renderer"]["toy"].game, **RELATIVISTIC),
        terms=PRESETS["renderer"]["toy"].terms | {"solidity": 3.0},
        least_truncation=0.7,
        use_alpha=True,
        use_pose_labels=True,
    ),
)
CASES["decoder-relativistic"] = (
    decoder,
    dataclasses.replace(
        PRESETS["decoder"]["toy"], game=dataclasses.replace(PRESETS["decoder"]["toy"].game, **RELATIVISTIC)
    ),
)


def steps_of(name: str) -> dict[str, float]:
    """Return the last step's terms, and for each network the norm of what it moved by and its projection."""
    build, config = CASES[name]
    stage = build(config)
    torch.manual_seed(12)
    stage.prepare()
    before = {key: _parameters(module) for key, module in stage.state.modules.items()}
    torch.manual_seed(13)
    for _ in range(STEPS):
        record = stage.step()
    for key, module in stage.state.modules.items():
        moved = _parameters(module) - before[key]
        direction = torch.randn(len(moved), dtype=torch.double, generator=torch.Generator().manual_seed(0))
        record |= {f"{key} moved by": moved.norm().item(), f"{key} moved along": (moved @ direction).item()}
    return record


def _parameters(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).double()


@pytest.mark.parametrize("name", CASES)
def test_three_steps_are_those_that_were_recorded(name):
    """Also on processors of another kind: what a movement has in one direction is held against all of it."""
    recorded, found = json.loads(RECORDED.read_text())[name], steps_of(name)
    directed = {key: found.pop(key) for key in list(found) if key.endswith("moved along")}
    assert found == pytest.approx({key: recorded.pop(key) for key in found}, rel=1e-3, abs=1e-6)
    for key, along in directed.items():
        moved = found[key.replace("along", "by")]
        assert along == pytest.approx(recorded.pop(key), abs=2e-3 * moved + 1e-6), key
    assert not recorded


@pytest.mark.parametrize("name", CASES)
def test_a_bar_shows_some_term_of_every_stage(name):
    assert set(SHOWN) & json.loads(RECORDED.read_text())[name].keys()


if __name__ == "__main__":
    RECORDED.write_text(json.dumps({name: steps_of(name) for name in CASES}, indent=1) + "\n")
