"""Tiny runs of both stages, and a program that takes one step of each and writes down the gradients.

``python -m tests.train.runs OUT``, also under ``accelerate launch``.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from stylesdf.config import preset
from stylesdf.model import Generator
from tests.tiny import TINY
from train.config import DecoderConfig, Phase, RendererConfig
from train.data.images import ImageSet
from train.networks.encoder import PictureEncoder
from train.run.engine import Engine
from train.stages import DecoderStage, RendererStage

MODEL = dataclasses.replace(
    TINY, background="learned", view_directions=False, cull_to_ball=True, scene_radius=preset("toy").scene_radius
)
RENDERER = RendererConfig(
    phases=(
        Phase(resolution=8, steps=3, batch_size=8, num_samples=4, r1_gamma=1.0),
        Phase(resolution=16, steps=3, batch_size=8, num_samples=6, r1_gamma=1.0, fade_steps=2),
    ),
    sphere_steps=5,
    eikonal_points=16,
    sphere_anchor_weight=1.0,
    bounds_weight=1.0,
    r1_every=2,
    use_alpha=True,
    use_pose_labels=True,
    use_minibatch_std=True,
    use_r2=True,
    use_relativistic_loss=True,
    views_per_latent=2,
    augment=("color", "translation", "cutout"),
    augment_probability=0.5,
    ada_target=0.6,
    ada_images=100,
    discriminator_channels=(4, 4, 8, 8),
)
RECONSTRUCTING = dataclasses.replace(RENDERER, reconstruction_weight=1.0)
DECODER = DecoderConfig(
    steps=6,
    batch_size=8,
    r1_every=2,
    path_length_every=2,
    thumbnail_weight=1.0,
    use_r2=True,
    use_relativistic_loss=True,
    augment=("color", "translation", "cutout"),
    ada_target=0.6,
    ada_images=100,
    discriminator_channels=(4, 4, 8, 8),
)
SHOWING = dataclasses.replace(
    DECODER, num_renderings=6, shown_share=0.5, reconstruction_weight=2.0, feature_weight=3.0, mixing_probability=0.0,
)  # fmt: skip


def tiny_data() -> ImageSet:
    random = np.random.RandomState(0)
    return ImageSet(
        images=random.randint(0, 256, (10, 4, 32, 32), dtype=np.uint8),
        thumbnails=random.randint(0, 256, (10, 4, 16, 16), dtype=np.uint8),
        poses=torch.from_numpy(random.randn(10, 2).astype(np.float32) * 0.2),
    )


def renderer_stage(engine: Engine | None = None, config: RendererConfig = RENDERER) -> RendererStage:
    return RendererStage(dataclasses.replace(MODEL, decoder_channels=()), config, tiny_data(), engine)


def reconstructing_stage(engine: Engine | None = None) -> RendererStage:
    return renderer_stage(engine, RECONSTRUCTING)


def decoder_stage(engine: Engine | None = None, config: DecoderConfig = DECODER) -> DecoderStage:
    torch.manual_seed(5)
    renderer = Generator(MODEL)
    torch.nn.init.constant_(renderer.decoder.conv.noise_strength, 0.5)  # so that noise matters
    encoder = PictureEncoder(MODEL.latent_size, MODEL.image_resolution) if config.shown_share else None
    return DecoderStage(MODEL, config, tiny_data(), renderer, engine, encoder=encoder)


def showing_stage(engine: Engine | None = None) -> DecoderStage:
    return decoder_stage(engine, SHOWING)


STAGES = [renderer_stage, reconstructing_stage, decoder_stage, showing_stage]


class RecordingEngine(Engine):
    """Keeps the gradients of each descent."""

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
    for make_stage in STAGES:
        engine = RecordingEngine()
        make_stage(engine).step()
        if engine.is_main:
            named = {str(index): gradient for index, gradient in enumerate(engine.gradients)}
            save_file(named, f"{sys.argv[1]}/{make_stage.__name__}-{engine.accelerator.num_processes}.safetensors")
    engine.accelerator.end_training()
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]  # of threads; Linux only
    assert not [name for name in names if "gloo" in name], names
