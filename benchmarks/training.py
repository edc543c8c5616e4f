"""Training steps of both stages beside a plain transcription of their equations, at equal gradients."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch

from benchmarks import transcription_training as transcription
from benchmarks.measure import Contest, Row
from stylesdf.config import preset
from stylesdf.model import Generator
from train.config import DECODER_PRESETS, RENDERER_PRESETS, Phase
from train.data.images import ImageSet
from train.stages import DecoderStage, RendererStage

NUM_PICTURES = 8
ALLOWED_DEVIATION = 1e-4  # of a descent's gradient: length of the difference over its length


def noise_pictures(image: int, thumbnail: int) -> ImageSet:
    random = np.random.RandomState(0)
    return ImageSet(
        images=random.randint(0, 256, (NUM_PICTURES, 3, image, image), dtype=np.uint8),
        thumbnails=random.randint(0, 256, (NUM_PICTURES, 3, thumbnail, thumbnail), dtype=np.uint8),
        poses=None,
    )


def prepare_renderer(preset_name: str, batch_size: int) -> Contest:
    """Stage 1 in the paper's form: fresh renderings for each player, R1 every step; the preset's eikonal points."""
    model = dataclasses.replace(preset(preset_name), decoder_channels=())
    phase = RENDERER_PRESETS[preset_name].phases[-1]
    config = dataclasses.replace(
        RENDERER_PRESETS["ffhq"],
        phases=(dataclasses.replace(Phase(), num_samples=phase.num_samples, batch_size=batch_size),),
        discriminator_channels=RENDERER_PRESETS[preset_name].discriminator_channels,
        eikonal_points=RENDERER_PRESETS[preset_name].eikonal_points,
    )
    stage = RendererStage(model, config, noise_pictures(model.render_resolution, model.render_resolution))
    draws = [stage._draw_scenes(config.phases[0]), stage._draw_real(config.phases[0])]
    draws += [stage._draw_scenes(config.phases[0])]
    phase = config.phases[0]

    def ours(stage=stage) -> None:
        stage._discriminator_step(phase, 1.0, draws[0], draws[1], None)
        stage._generator_step(phase, 1.0, draws[2], draws[1], None)

    return _contest(stage, ours, transcription.renderer_step, draws)


def prepare_decoder(preset_name: str, batch_size: int, step: int) -> Contest:
    """Stage 2 with fresh renderings; at step 0 both penalties are due, at step 1 neither."""
    model = preset(preset_name)
    config = dataclasses.replace(
        DECODER_PRESETS["ffhq"],
        batch_size=batch_size,
        mixing_probability=0.0,
        discriminator_channels=DECODER_PRESETS[preset_name].discriminator_channels,
    )
    data = noise_pictures(model.image_resolution, model.render_resolution)
    stage = DecoderStage(model, config, data, Generator(model))
    stage.state.step = step
    draws = [stage._draw_scenes(batch_size), stage._draw_real(batch_size), stage._draw_scenes(batch_size)]
    draws.append(stage._draw_scenes(batch_size // 2) if step % config.path_length_every == 0 else None)

    def ours(stage=stage) -> None:
        scenes, real = [draws[0], draws[2], draws[3]], draws[1]
        drawn = iter(scenes)
        stage._draw_scenes = lambda batch: next(drawn)
        stage._draw_real = lambda batch: real
        stage.path_length_mean.zero_()
        stage._discriminator_step()
        stage._generator_step()
        if scenes[2] is not None:
            stage._path_length_step()

    return _contest(stage, ours, transcription.decoder_step, draws)


def _contest(stage, ours, plain_step, draws: list) -> Contest:
    generator, discriminator = copy.deepcopy(stage.generator), copy.deepcopy(stage.discriminator)
    generator.requires_grad_(True)
    for theirs, mine in zip(generator.parameters(), stage.generator.parameters()):
        theirs.requires_grad_(mine.requires_grad)

    def adam(network, like):
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, lr=like.param_groups[0]["lr"], betas=like.defaults["betas"])

    optimizers = adam(generator, stage.generator_optimizer), adam(discriminator, stage.discriminator_optimizer)

    def plain() -> None:
        plain_step(stage, generator, discriminator, optimizers, *draws)

    note = _compare(stage, ours, generator, discriminator, plain_step, draws)
    return Contest({"ours": ours, "transcription": plain}, note)


class _Recorder:
    """An optimiser that keeps gradients and moves nothing."""

    def __init__(self, parameters) -> None:
        self.param_groups = [{"params": list(parameters)}]
        self.gradients: list[torch.Tensor] = []

    def zero_grad(self, set_to_none: bool = True) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    def step(self) -> None:
        gradients = [p.grad.flatten() for p in self.param_groups[0]["params"] if p.grad is not None]
        self.gradients.append(torch.cat(gradients))


def _compare(stage, ours, generator, discriminator, plain_step, draws) -> str:
    """Take both gradients once, from the same weights, and state by how much they differ.

    Raises:
        AssertionError: By more than rounding.
    """
    kept = stage.generator_optimizer, stage.discriminator_optimizer
    recorders = [_Recorder(stage.generator.parameters()), _Recorder(stage.discriminator.parameters())]
    stage.generator_optimizer, stage.discriminator_optimizer = recorders
    ours()
    stage.generator_optimizer, stage.discriminator_optimizer = kept
    plain = [_Recorder(generator.parameters()), _Recorder(discriminator.parameters())]
    plain_step(stage, generator, discriminator, plain, *draws)
    worst = 0.0
    for mine, theirs in zip(recorders, plain):
        assert len(mine.gradients) == len(theirs.gradients) > 0
        for a, b in zip(mine.gradients, theirs.gradients):
            worst = max(worst, float((a - b).norm() / b.norm()))
        mine.gradients.clear()
        theirs.gradients.clear()
        theirs.zero_grad()
    assert worst <= ALLOWED_DEVIATION, f"gradients differ by {worst:.2g} of their length"
    return f"the gradients differ by {worst:.1e} of their length"


def _rows() -> list[Row]:
    rows = []
    for name, size, batch in (("ffhq", "1024×1024", 2), ("toy", "128×128", 4)):
        both = ("ours", "transcription")
        rows.append(
            Row(
                f"train-renderer-{name}",
                f"stage-1 step, {name} size, 64×64 rays, batch {batch}, float32",
                lambda name=name, batch=batch: prepare_renderer(name, batch),
                rounds=3,
                memory=both,
            )
        )
        for step, text in ((1, "without penalties"), (0, "with R1 and path length")):
            rows.append(
                Row(
                    f"train-decoder-{name}-{'plain' if step else 'penalties'}",
                    f"stage-2 step {text}, {name} size, {size}, batch {batch}, float32",
                    lambda name=name, batch=batch, step=step: prepare_decoder(name, batch, step),
                    rounds=3,
                    memory=both,
                )
            )
    return rows


ROWS = _rows()
