"""Training steps of both stages beside a plain transcription of their equations, at equal gradients."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator

from benchmarks import transcription_training as transcription
from benchmarks.allocation import glibc_defaults
from benchmarks.images import DEVICE
from benchmarks.measure import Contest, Row
from stylesdf.config import preset
from stylesdf.model import Generator
from train.config import Phase
from train.data.images import ImageSet
from train.presets import PRESETS
from train.run.engine import Engine
from train.stages import DecoderStage, RendererStage
from train.stages.decoder import PATH_LENGTH_EVERY, Scenes

NUM_PICTURES = 8


def engine() -> Engine:
    return Engine(Accelerator(cpu=DEVICE == "cpu"))


def drawn_on(device: torch.device, draws: list[dict | None]) -> list[dict | None]:
    """Return what a step draws where it is computed; numbers of pictures stay."""
    return [
        each and {name: value if name == "index" else value.to(device) for name, value in each.items()}
        for each in draws
    ]


def noise_pictures(image: int, thumbnail: int) -> ImageSet:
    random = np.random.RandomState(0)
    return ImageSet(
        images=random.randint(0, 256, (NUM_PICTURES, 3, image, image), dtype=np.uint8),
        thumbnails=random.randint(0, 256, (NUM_PICTURES, 3, thumbnail, thumbnail), dtype=np.uint8),
        poses=None,
    )


def renderer_stage(preset_name: str, batch_size: int):
    """Stage 1 in the paper's form: fresh renderings for each player, R1 every step; the preset's number of points.

    Returns:
        The stage, what a step draws, and our step.
    """
    model, theirs = dataclasses.replace(preset(preset_name), decoder_channels=()), PRESETS["renderer"][preset_name]
    phase = dataclasses.replace(Phase(), num_samples=theirs.phases[-1].num_samples, batch_size=batch_size)
    config = dataclasses.replace(
        PRESETS["renderer"]["ffhq"],
        phases=(phase,),
        discriminator_channels=theirs.discriminator_channels,
        num_points=theirs.num_points,
    )
    stage = RendererStage(model, config, noise_pictures(model.render_resolution, model.render_resolution), engine())
    draws = [stage._draw_scenes(phase), stage._draw_real(phase), stage._draw_scenes(phase)]

    def ours() -> None:
        stage._discriminator_step(phase, 1.0, draws[0], draws[1], None)
        stage._generator_gradients(phase, 1.0, draws[2], draws[1], None)
        stage.game.step_generator()

    return stage, draws, ours


def decoder_stage(preset_name: str, batch_size: int, step: int):
    """Stage 2 with fresh renderings; at step 0 both penalties are due, at step 1 neither.

    Returns:
        The stage, what a step draws, and our step.
    """
    model = preset(preset_name)
    config = dataclasses.replace(
        PRESETS["decoder"]["ffhq"],
        batch_size=batch_size,
        mixing_probability=0.0,
        discriminator_channels=PRESETS["decoder"][preset_name].discriminator_channels,
    )
    torch.manual_seed(0)
    data = noise_pictures(model.image_resolution, model.render_resolution)
    stage = DecoderStage(model, config, data, Generator(model), engine())
    stage.state.step = step
    draws = [stage._draw_scenes(batch_size), stage._draw_real(batch_size), stage._draw_scenes(batch_size)]
    draws.append(stage._draw_scenes(batch_size // 2) if step % PATH_LENGTH_EVERY == 0 else None)

    def ours() -> None:
        stage._draw_scenes = lambda batch: draws[3]  # of the path length's step
        stage._draw_real = lambda batch: draws[1]
        stage.path_length_mean.zero_()
        stage._discriminator_step(Scenes(draws[0]))
        stage._generator_step(Scenes(draws[2]))
        if draws[3] is not None:
            stage._path_length_step()

    return stage, draws, ours


def contest(build: Callable[[], tuple], plain_step: Callable, check_in_double: bool) -> Contest:
    """Set our step and the plain one against each other; the note says how far their gradients are apart.

    In float32, activations near zero fall on either side of the leaky ReLU's kink, which second derivatives see; small
    models are therefore compared in float64, where nothing but rounding is left. Full size would not fit into memory.
    """

    def note() -> str:
        torch.set_default_dtype(torch.float64 if check_in_double else torch.float32)
        try:
            return _compare(*build(), plain_step, 1e-8 if check_in_double else 1e-2)
        finally:
            torch.set_default_dtype(torch.float32)

    stage, draws, ours = build()
    generator, discriminator = _copies(stage)

    def adam(network, like):
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, lr=like.param_groups[0]["lr"], betas=like.defaults["betas"])

    game = stage.game
    optimizers = adam(generator, game.generator_optimizer), adam(discriminator, game.discriminator_optimizer)

    def plain() -> None:
        with glibc_defaults():
            plain_step(stage, generator, discriminator, optimizers, *drawn_on(stage.device, draws))

    return Contest({"ours": ours, "transcription": plain}, note)


def _copies(stage) -> tuple:
    return copy.deepcopy(stage.generator), copy.deepcopy(stage.discriminator)


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


def _compare(stage, draws, ours, plain_step, allowed: float) -> str:
    """Take both gradients once, from the same weights, and state by how much they differ.

    Raises:
        AssertionError: By more than is allowed in some optimizer step: length of the difference over the gradient's.
    """
    generator, discriminator = _copies(stage)
    recorders = [_Recorder(stage.generator.parameters()), _Recorder(stage.discriminator.parameters())]
    stage.game.generator_optimizer, stage.game.discriminator_optimizer = recorders
    ours()
    plain = [_Recorder(generator.parameters()), _Recorder(discriminator.parameters())]
    plain_step(stage, generator, discriminator, plain, *drawn_on(stage.device, draws))
    worst = 0.0
    for mine, theirs in zip(recorders, plain):
        assert len(mine.gradients) == len(theirs.gradients) > 0
        for a, b in zip(mine.gradients, theirs.gradients):
            worst = max(worst, float((a - b).norm() / b.norm()))
    assert worst <= allowed, f"gradients differ by {worst:.2g} of their length"
    kind = str(torch.get_default_dtype()).removeprefix("torch.")
    return f"the gradients differ by {worst:.1e} of their length, compared in {kind}"


def prepare_renderer(preset_name: str, batch_size: int) -> Contest:
    return contest(partial(renderer_stage, preset_name, batch_size), transcription.renderer_step, preset_name == "toy")


def prepare_decoder(preset_name: str, batch_size: int, step: int) -> Contest:
    return contest(
        partial(decoder_stage, preset_name, batch_size, step), transcription.decoder_step, preset_name == "toy"
    )


def _rows() -> list[Row]:
    rows = []
    for name, size, batch in (("ffhq", "1024×1024", 2), ("toy", "256×256", 4)):
        both = ("ours", "transcription")
        rows.append(
            Row(
                f"train-renderer-{name}",
                f"stage-1 step, {name} size, 64×64 rays, batch {batch}, float32",
                partial(prepare_renderer, name, batch),
                rounds=3,
                memory=both,
            )
        )
        for step, text in ((1, "without penalties"), (0, "with R1 and path length")):
            rows.append(
                Row(
                    f"train-decoder-{name}-{'plain' if step else 'penalties'}",
                    f"stage-2 step {text}, {name} size, {size}, batch {batch}, float32",
                    partial(prepare_decoder, name, batch, step),
                    rounds=3,
                    memory=both,
                )
            )
    return rows


ROWS = _rows()
