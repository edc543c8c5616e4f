"""Tiny runs of the stages, and a program that takes steps of some and writes down the gradients.

``python -m tests.train.runs OUT STAGE ...``, also under ``accelerate launch`` and ``torchrun``: two steps of each.
"""

import dataclasses
import math
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from stylesdf.config import preset
from stylesdf.model import Generator
from tests.tiny import TINY
from train.config import DecoderConfig, GameConfig, Phase, RendererConfig
from train.data.images import ImageSet
from train.networks import discriminators
from train.networks.encoder import PictureEncoder
from train.run.engine import Engine
from train.stages import DecoderStage, RendererStage


def with_game(config, **settings):
    """Return a stage's settings with others for its game."""
    return dataclasses.replace(config, game=dataclasses.replace(config.game, **settings))


MODEL = dataclasses.replace(
    TINY, background="learned", view_directions=False, cull_to_ball=True, scene_radius=preset("toy").scene_radius
)
RENDERER = RendererConfig(
    phases=(
        Phase(resolution=8, steps=3, batch_size=8, num_samples=4, r1_gamma=1.0),
        Phase(resolution=16, steps=3, batch_size=8, num_samples=6, r1_gamma=1.0, fade_steps=2),
    ),
    game=GameConfig(r1_every=2, augment=("color", "translation", "cutout"), augment_probability=0.5, ada_target=0.6),
    terms={"view": 15.0, "eikonal": 0.1, "minimal_surface": 0.05, "sphere_anchor": 1.0, "bounds": 1.0},
    sphere_steps=5,
    num_points=16,
    use_alpha=True,
    use_pose_labels=True,
    use_minibatch_std=True,
    discriminator_channels=(4, 4, 8, 8),
)
RECONSTRUCTING = dataclasses.replace(
    with_game(RENDERER, matrix_learning_rate=1e-3),
    terms={name: weight for name, weight in RENDERER.terms.items() if name != "view"}
    | {"reconstruction": 1.0, "divergence": 1e-4, "leak": 0.1},
)
DECODER = DecoderConfig(
    steps=6,
    batch_size=8,
    game=dataclasses.replace(
        DecoderConfig().game,
        r1_every=2, augment=("color", "translation", "cutout"), augment_probability=0.5, ada_target=0.6,
    ),
    thumbnail_weight=1.0,
    discriminator_channels=(4, 4, 8, 8),
)  # fmt: skip
KEEPING = dataclasses.replace(
    with_game(DECODER, use_relativistic_loss=True, ada_target=0.0),
    num_renderings=6,
    mixing_probability=0.0,
)
PAIRED = dataclasses.replace(
    with_game(
        KEEPING, matrix_learning_rate=1e-3, use_relativistic_loss=False, augment=(), augment_probability=1.0
    ),
    pair_weight=5.0,
    path_length_weight=0.0,
    steps=4,
)


def tiny_data(count: int = 10) -> ImageSet:
    random = np.random.RandomState(0)
    return ImageSet(
        images=random.randint(0, 256, (count, 4, 32, 32), dtype=np.uint8),
        thumbnails=random.randint(0, 256, (count, 4, 16, 16), dtype=np.uint8),
        poses=torch.from_numpy(random.randn(count, 2).astype(np.float32) * 0.2),
    )


def renderer_stage(engine: Engine | None = None, config: RendererConfig = RENDERER) -> RendererStage:
    return RendererStage(dataclasses.replace(MODEL, decoder_channels=()), config, tiny_data(), engine)


def reconstructing_stage(engine: Engine | None = None) -> RendererStage:
    return renderer_stage(engine, RECONSTRUCTING)


def decoder_stage(engine: Engine | None = None, config: DecoderConfig = DECODER) -> DecoderStage:
    torch.manual_seed(5)
    renderer, encoder = Generator(MODEL), PictureEncoder(MODEL.latent_size, 32)
    torch.nn.init.constant_(renderer.decoder.conv.noise_strength, 0.5)  # so that noise matters
    return DecoderStage(MODEL, config, tiny_data(), renderer, engine, encoder)


def keeping_stage(engine: Engine | None = None) -> DecoderStage:
    return decoder_stage(engine, KEEPING)


def pairs_stage(engine: Engine | None = None) -> DecoderStage:
    """Draws the data's own pictures from their codes."""
    stage = decoder_stage(engine, PAIRED)
    torch.nn.init.ones_(stage.pairs.discriminator.layers[-1].bias)  # at 0 its gradients of real and fake cancel out
    return stage


def uneven_stage(engine: Engine | None = None) -> RendererStage:
    """Three pictures in a step, of which two processes take one and two."""
    phases = tuple(dataclasses.replace(phase, batch_size=3) for phase in RENDERER.phases)
    return renderer_stage(engine, dataclasses.replace(RENDERER, phases=phases, use_minibatch_std=False))


# where no discriminator compares pictures, so that a batch can be shared as one likes


def ungrouped_renderer_stage(engine: Engine | None = None) -> RendererStage:
    return renderer_stage(engine, dataclasses.replace(RENDERER, use_minibatch_std=False))


def ungrouped_decoder_stage(engine: Engine | None = None) -> DecoderStage:
    return _ungrouped(decoder_stage(engine))


def field_stage(engine: Engine | None = None) -> DecoderStage:
    """Learns from a pool of renderings and their images, which the processes share out."""
    return decoder_stage(engine, dataclasses.replace(KEEPING, num_renderings=7, steps=2, draws_field=True))


def full_renderer_stage(engine: Engine | None = None) -> RendererStage:
    """The paper's size with two pictures in a step, after a short sphere initialisation."""
    phases = (dataclasses.replace(Phase(), steps=2, batch_size=2),)
    config = dataclasses.replace(RendererConfig(), phases=phases, sphere_steps=2)
    stage = RendererStage(dataclasses.replace(preset("ffhq"), decoder_channels=()), config, full_data(), engine)
    stage.prepare()
    return stage


def full_decoder_stage(engine: Engine | None = None) -> DecoderStage:
    """The paper's size with two pictures in a step; half of them, for path lengths, is fewer than two processes."""
    config = dataclasses.replace(DecoderConfig(), steps=2, batch_size=2, path_length_weight=0.0)
    torch.manual_seed(5)
    renderer = Generator(preset("ffhq"))
    return _ungrouped(DecoderStage(renderer.config, config, full_data(), renderer, engine))


def full_data() -> ImageSet:
    """Four pictures of noise at the paper's size."""
    random = np.random.RandomState(0)
    images, thumbnails = (random.randint(0, 256, (4, 3, size, size), dtype=np.uint8) for size in (1024, 64))
    return ImageSet(images=images, thumbnails=thumbnails, poses=None)


def _ungrouped(stage: DecoderStage) -> DecoderStage:
    discriminators.minibatch_std = partial(discriminators.minibatch_std, group_size=1)  # of this process
    return stage


STAGES = [renderer_stage, reconstructing_stage, decoder_stage, keeping_stage]


class RecordingEngine(Engine):
    """Keeps the gradients of each optimizer step."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.gradients: list[torch.Tensor] = []

    def sum_gradients(self, optimizer) -> None:
        super().sum_gradients(optimizer)
        self.gradients += [
            parameter.grad.clone()
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]


def gradients_of_a_step(make_stage, micro_batch: int = 0, **options) -> list[torch.Tensor]:
    engine = RecordingEngine(micro_batch=micro_batch)
    make_stage(engine, **options).step()
    return engine.gradients


if __name__ == "__main__":
    torch.set_num_threads(1)
    out, *names = sys.argv[1:]
    for make_stage in [globals()[name] for name in names]:
        engine = RecordingEngine(micro_batch=int(make_stage in (full_renderer_stage, full_decoder_stage)))
        stage = make_stage(engine)
        for _ in range(2):
            record = stage.step()
            assert all(math.isfinite(value) for value in record.values()), record
        if engine.is_main:
            named = {str(index): gradient for index, gradient in enumerate(engine.gradients)}
            save_file(named, f"{out}/{make_stage.__name__}-{engine.accelerator.num_processes}.safetensors")
    engine.accelerator.end_training()
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]  # of threads; Linux only
    assert not [name for name in names if "gloo" in name], names
