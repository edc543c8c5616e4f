"""What a run will cost, before it is started: steps, images, memory, hours. Estimates, with their formulas."""

from __future__ import annotations

from stylesdf.config import StyleSDFConfig
from stylesdf.encoder import RESOLUTION, Encoder
from stylesdf.model import Generator
from train.config import (
    CODE_AXES,
    CODE_PATHS,
    CODES_PER_STEP,
    HEADS_PER_STEP,
    PICTURES_PER_STEP,
    VIEWS_OF_HEAD,
    DecoderConfig,
    EncoderConfig,
    PolishConfig,
    PriorConfig,
    RendererConfig,
    Settings,
)
from train.networks.discriminators import ImageDiscriminator, ThumbnailDiscriminator
from train.networks.flow import PATH_STEPS, VelocityField

# multiply-adds per second, in units of 10¹², that training of such networks reaches, not what the maker prints
HARDWARE = {"two CPU cores": 0.13, "one consumer GPU (RTX 4090)": 12.0, "eight data-centre GPUs (A100)": 50.0}
# forward and backward passes of the field in a step, in units of one forward pass: the discriminator's rendering 1,
# the generator's 1, its activations again 1, their derivatives 2, the eikonal gradient 1 and its derivatives 2
FIELD_PASSES = 8.0
RECONSTRUCTION_PASSES = 4.0  # the guide's grid, forward 1 and backward 2
DISCRIMINATOR_PASSES = 10.0  # real and fake forward 2, backward 4, R1 a third of the rest, through it for the generator
DECODER_PASSES = 5.0  # fake 1, generator's forward 1 and backward 2, a share of the path length's
POLISH_PASSES = 7.0  # the teacher's forward with twice as many samples, the student's forward and backward, its guide
GUIDE_POINTS, GUIDED_SHARE = 20_000, 0.2  # of a guide's grid; of a view's samples, where its rays ask the field
ENCODER_WORK = 4e7  # multiply-adds of the encoder for a picture
SINE = 80  # multiply-adds that a sine costs as much as, on a CPU
COPIES = 10  # weights, gradients, two moments, average; for both players


def estimate(model: StyleSDFConfig, config: Settings, micro_batch: int = 0) -> dict[str, object]:
    """Estimate a run.

    Args:
        model: Architecture.
        config: Settings of the stage; their kind says which one.
        micro_batch: Images that are worked on at once; 0 is the whole batch.

    Returns:
        ``steps``, ``images``, ``teraflops`` (10¹² multiply-adds in all), ``memory_gb`` and ``hours`` per hardware.
    """
    parameters = sum(parameter.numel() for parameter in Generator(model).parameters())
    parts = {
        RendererConfig: _renderer, PriorConfig: _prior, PolishConfig: _polish, DecoderConfig: _decoder_stage,
        EncoderConfig: _encoder,
    }  # fmt: skip
    images, work, held, discriminator = parts[type(config)](model, config, micro_batch)
    weights = parameters + discriminator
    memory = (4 * (COPIES * weights + held)) / 1e9
    return {
        "steps": config.total_steps,
        "images": images,
        "teraflops": round(work / 1e12, 1),
        "memory_gb": round(memory + 0.5, 1),
        "hours": {name: round(work / 1e12 / rate / 3600, 2) for name, rate in HARDWARE.items()},
    }


# Each returns the images of a run, its multiply-adds, the numbers held at once, and the weights beside the generator's.


def _renderer(model: StyleSDFConfig, config: RendererConfig, micro_batch: int) -> tuple[int, float, float, int]:
    shows_again = "reconstruction" in config.terms
    images, work, held = 0, 0.0, 0.0
    for phase in config.phases:
        points = _points(model, phase.resolution, phase.num_samples)
        per_image = 0.0
        if phase.is_adversarial:
            per_image += FIELD_PASSES * _field(model) * points
            per_image += DISCRIMINATOR_PASSES * _convolutions(config.discriminator_channels, phase.resolution)
        if shows_again:
            per_image += RECONSTRUCTION_PASSES * _field(model) * points
        images += phase.steps * phase.batch_size * (phase.is_adversarial + shows_again)
        work += phase.steps * phase.batch_size * per_image
        held = max(held, 24 * points * (micro_batch or phase.batch_size))  # the field's own activations go in chunks
    if not config.is_adversarial:
        return images, work, held, 0
    discriminator = ThumbnailDiscriminator(config.discriminator_channels, resolution=model.render_resolution)
    return images, work, held, sum(parameter.numel() for parameter in discriminator.parameters())


def _prior(model: StyleSDFConfig, config: PriorConfig, micro_batch: int) -> tuple[int, float, float, int]:
    flow = sum(parameter.numel() for parameter in VelocityField(min(CODE_AXES, model.latent_size)).parameters())
    learnt = config.flow_steps * flow + config.steps * 3 * model.latent_size**2  # forwards and twice that back
    return 0, 3 * CODES_PER_STEP * learnt + 2 * PATH_STEPS * CODE_PATHS * flow, 0.0, 0


def _polish(model: StyleSDFConfig, config: PolishConfig, micro_batch: int) -> tuple[int, float, float, int]:
    points = _points(model, model.render_resolution, model.num_samples)
    work = config.steps * config.batch_size * POLISH_PASSES * _field(model) * points
    return 0, work, 24 * points * (micro_batch or config.batch_size), 0


def _decoder_stage(model: StyleSDFConfig, config: DecoderConfig, micro_batch: int) -> tuple[int, float, float, int]:
    size = model.image_resolution
    drawn = 1.0 / config.batch_size if config.num_renderings else 1.0
    per_image = 2 * drawn * _field(model) * _points(model, model.render_resolution, model.num_samples)
    per_image += DECODER_PASSES * _decoder(model)
    work, channels, weights = config.batch_size * config.steps * per_image, 0, 0
    if config.is_adversarial:
        discriminator = ImageDiscriminator(size, config.discriminator_channels)
        channels, *_ = counts = channels_of(discriminator)
        adversarial = config.batch_size * (config.steps - config.field_steps)
        work += adversarial * DISCRIMINATOR_PASSES * _convolutions(counts, size)
        weights = sum(parameter.numel() for parameter in discriminator.parameters())
    held = 8 * size**2 * (channels + model.decoder_channels[-1]) * (micro_batch or config.batch_size)
    return config.steps * config.batch_size, work, held, weights


def _encoder(model: StyleSDFConfig, config: EncoderConfig, micro_batch: int) -> tuple[int, float, float, int]:
    view = GUIDED_SHARE * _points(model, model.render_resolution, model.num_samples)
    per_head = _field(model) * (GUIDE_POINTS + VIEWS_OF_HEAD * view)
    if model.has_decoder:
        per_head += VIEWS_OF_HEAD * _decoder(model)
    work = config.steps * (HEADS_PER_STEP * per_head + 3 * PICTURES_PER_STEP * ENCODER_WORK)
    held = config.steps * HEADS_PER_STEP * VIEWS_OF_HEAD * RESOLUTION**2  # four bytes each
    weights = sum(parameter.numel() for parameter in Encoder(model.latent_size, 1).parameters())
    return 0, work, held, weights


def _points(model: StyleSDFConfig, resolution: int, num_samples: int) -> float:
    return resolution**2 * num_samples * (0.55 if model.cull_to_ball else 1.0)


def _field(model: StyleSDFConfig) -> float:
    """Multiply-adds per point, sines among them."""
    width, depth = model.field_width, model.field_depth
    return width * (3 + width * depth + 4) + SINE * width * (depth + 1)


def channels_of(discriminator: ImageDiscriminator) -> tuple[int, ...]:
    """Return the channel counts of an image discriminator, from its largest resolution down."""
    return (discriminator.from_rgb.weight.shape[0], *(block.conv2.weight.shape[0] for block in discriminator.blocks))


def _convolutions(channels: tuple[int, ...], resolution: int) -> float:
    """Multiply-adds of a residual discriminator's two 3×3 convolutions per resolution."""
    work, first = 0.0, len(channels) - 1 - (resolution.bit_length() - 2)
    for index in range(max(0, first), len(channels) - 1):
        work += 9 * channels[index] * (channels[index] + channels[index + 1] / 4) * resolution**2
        resolution //= 2
    return work


def _decoder(model: StyleSDFConfig) -> float:
    """Multiply-adds of the decoder's 3×3 convolutions."""
    channels, size = model.decoder_channels, model.render_resolution
    work = 9.0 * model.field_width * channels[0] * size**2
    for before, after in zip(channels, channels[1:]):
        work += 9.0 * before * after * size**2 + 9.0 * after * after * (2 * size) ** 2
        size *= 2
    return work
