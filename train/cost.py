"""What a run will cost, before it is started: steps, images, memory, hours. Estimates, with their formulas."""

from __future__ import annotations

from stylesdf.config import StyleSDFConfig
from stylesdf.model import Generator
from train.config import DecoderConfig, RendererConfig
from train.discriminators import ImageDiscriminator, PatchDiscriminator, ThumbnailDiscriminator

# multiply-adds per second, in units of 10¹², that training of such networks reaches, not what the maker prints
HARDWARE = {"two CPU cores": 0.13, "one consumer GPU (RTX 4090)": 12.0, "eight data-centre GPUs (A100)": 50.0}
# forward and backward passes of the field in a step, in units of one forward pass: the discriminator's rendering 1,
# the generator's 1, its activations again 1, their derivatives 2, the eikonal gradient 1 and its derivatives 2
FIELD_PASSES = 8.0
RECONSTRUCTION_PASSES = 4.0  # the guide's grid, forward 1 and backward 2
DISCRIMINATOR_PASSES = 10.0  # real and fake forward 2, backward 4, R1 a third of the rest, through it for the generator
DECODER_PASSES = 5.0  # fake 1, generator's forward 1 and backward 2, a share of the path length's
COPIES = 10  # weights, gradients, two moments, average; for both players


def estimate(model: StyleSDFConfig, config: RendererConfig | DecoderConfig, micro_batch: int = 0) -> dict[str, object]:
    """Estimate a run of stage 1 or 2.

    Args:
        model: Architecture.
        config: Settings of the stage.
        micro_batch: Images that are worked on at once; 0 is the whole batch.

    Returns:
        ``steps``, ``images``, ``teraflops`` (10¹² multiply-adds in all), ``memory_gb`` and ``hours`` per hardware.
    """
    generator = sum(parameter.numel() for parameter in Generator(model).parameters())
    if isinstance(config, RendererConfig):
        phases = [(p.steps, p.batch_size, p.resolution, p.num_samples) for p in config.phases if p.is_adversarial]
        judge = ThumbnailDiscriminator(config.discriminator_channels, resolution=model.render_resolution)
    else:
        phases = [(config.steps, config.batch_size, model.render_resolution, model.num_samples)]
        kind = PatchDiscriminator if config.use_patches else ImageDiscriminator
        judge = kind(model.image_resolution, config.discriminator_channels)
    weights = generator + sum(parameter.numel() for parameter in judge.parameters())
    width = model.field_width
    field = width * (3 + width * model.field_depth + 4)  # multiply-adds per point
    work, most = 0.0, 0
    for steps, batch, resolution, samples in phases:
        points = resolution**2 * samples * (0.55 if model.cull_to_ball else 1.0)
        if isinstance(config, RendererConfig):
            per_image = FIELD_PASSES * field * points + DISCRIMINATOR_PASSES * _convolutions(
                config.discriminator_channels, resolution
            )
            held = 24 * points  # colours, distances, weights and their gradients; the field's own go in chunks
        else:
            size = model.image_resolution
            if config.use_patches:
                judging = _patches(judge, size)
                channels = judge.blocks[0][0].out_channels // 4  # at a half of the size
            else:
                channels, *_ = counts = judge_channels(judge)
                judging = _convolutions(counts, size)
            drawn = 1.0 if not config.num_renderings else 1.0 / config.batch_size
            per_image = 2 * drawn * field * points + DISCRIMINATOR_PASSES * judging + DECODER_PASSES * _decoder(model)
            held = 8 * size**2 * (channels + model.decoder_channels[-1])
        work += steps * batch * per_image
        most = max(most, held * (micro_batch or batch))
    images = sum(steps * batch for steps, batch, _, _ in phases)
    if isinstance(config, RendererConfig) and config.reconstruction_weight:
        points = config.reconstruction_side**2 * model.num_samples * (0.55 if model.cull_to_ball else 1.0)
        images += config.total_steps * config.reconstruction_batch
        work += config.total_steps * config.reconstruction_batch * RECONSTRUCTION_PASSES * field * points
        most = max(most, 24 * points * (micro_batch or config.reconstruction_batch))
    memory = (4 * (COPIES * weights + most)) / 1e9
    return {
        "steps": config.total_steps,
        "images": images,
        "teraflops": round(work / 1e12, 1),
        "memory_gb": round(memory + 0.5, 1),
        "hours": {name: round(work / 1e12 / rate / 3600, 1) for name, rate in HARDWARE.items()},
    }


def judge_channels(judge: ImageDiscriminator) -> tuple[int, ...]:
    """Return the channel counts of an image discriminator, from its largest resolution down."""
    return (judge.from_rgb.weight.shape[0], *(block.conv2.weight.shape[0] for block in judge.blocks))


def _convolutions(channels: tuple[int, ...], resolution: int) -> float:
    """Multiply-adds of a residual discriminator's two 3×3 convolutions per resolution."""
    work, first = 0.0, len(channels) - 1 - (resolution.bit_length() - 2)
    for index in range(max(0, first), len(channels) - 1):
        work += 9 * channels[index] * (channels[index] + channels[index + 1] / 4) * resolution**2
        resolution //= 2
    return work


def _patches(judge: PatchDiscriminator, resolution: int) -> float:
    """Multiply-adds of a patch discriminator's 4×4 convolutions of stride 2."""
    work = 0.0
    for block in judge.blocks:
        resolution //= 2
        work += block[0].weight.numel() * resolution**2
    return work


def _decoder(model: StyleSDFConfig) -> float:
    """Multiply-adds of the decoder's 3×3 convolutions."""
    channels, size = model.decoder_channels, model.render_resolution
    work = 9.0 * model.field_width * channels[0] * size**2
    for before, after in zip(channels, channels[1:]):
        work += 9.0 * before * after * size**2 + 9.0 * after * after * (2 * size) ** 2
        size *= 2
    return work
