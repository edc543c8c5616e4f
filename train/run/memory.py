"""How many numbers a run holds at once, beside the pictures, which are mapped from files."""

from __future__ import annotations

from stylesdf.config import StyleSDFConfig
from stylesdf.encoder import RESOLUTION
from train.config import (
    CHUNK_POINTS,
    CODE_AXES,
    CODE_PATHS,
    GUIDE_SIDE,
    HEADS_PER_STEP,
    KEPT_NUMBERS,
    NUM_SURFACE_POINTS,
    PICTURES_PER_STEP,
    VIEWS_OF_HEAD,
    DecoderConfig,
    EncoderConfig,
    PolishConfig,
    PriorConfig,
    RendererConfig,
    Settings,
)
from train.networks.encoder import ENCODED_AT_ONCE
from train.run.counting import (
    decoded_share,
    generator_weights,
    guided_share,
    image_discriminator,
    inverter,
    kept_numbers,
    patch_discriminator,
    picture_encoder,
    points_on_rays,
    synthesis,
    thumbnail_discriminator,
)

COPIES = 5  # of a weight: gradient, two moments, average
MAPS = 4.0  # numbers kept for each of a layer's results on the way back
FORWARD = 0.5  # of the numbers that a network's layers return, where none is kept for the way back
OF_SAMPLE = 24  # numbers of a sample of a ray
OF_POINT = 2.3  # activations of a random point, whose gradient is differentiated, in those of a sample
HEAP = 1.3  # of a field's activations, in blocks of many sizes, what they take in the heap


def numbers_held(model: StyleSDFConfig, config: Settings, micro_batch: int) -> float:
    """Return the most numbers that one process holds; four bytes each.

    Args:
        model: Architecture.
        config: Settings of the stage.
        micro_batch: Images that are worked on at once; 0 is the whole batch.
    """
    if isinstance(config, RendererConfig):
        return _renderer_numbers(model, config, micro_batch)
    if isinstance(config, DecoderConfig):
        return _decoder_numbers(model, config, micro_batch)
    weights, latent = generator_weights(model, isinstance(config, EncoderConfig)), model.latent_size
    if isinstance(config, PriorConfig):
        encoder = picture_encoder(model)
        encoding = ENCODED_AT_ONCE * (3 * model.image_resolution**2 + FORWARD * encoder.numbers)
        return 5 * weights + encoder.weights + CODE_PATHS * (latent + min(CODE_AXES, latent)) + encoding
    if isinstance(config, PolishConfig):
        batch, samples = micro_batch or config.batch_size, model.render_resolution**2 * model.num_samples
        points = guided_share(model, config.beta_end, GUIDE_SIDE) * samples
        at_points = 3 * (config.num_points + 2 * NUM_SURFACE_POINTS)
        return 7 * weights + batch * (HEAP * kept_numbers(model, points + at_points) + OF_SAMPLE * samples)
    network, drawn = inverter(model), config.steps * HEADS_PER_STEP * VIEWS_OF_HEAD * RESOLUTION**2
    return weights + COPIES * network.weights + drawn + PICTURES_PER_STEP * network.numbers


def _renderer_numbers(model: StyleSDFConfig, config: RendererConfig, micro_batch: int) -> float:
    weights, most = COPIES * generator_weights(model), 0.0
    encoder = None if config.is_adversarial else picture_encoder(model)
    if encoder:
        weights += COPIES * encoder.weights
    else:
        weights += (COPIES - 1) * thumbnail_discriminator(model, config, model.render_resolution).weights
    for phase in config.phases:
        batch, points = micro_batch or phase.batch_size, points_on_rays(model, config, phase)
        field = HEAP * kept_numbers(model, points * batch)
        if not phase.surface_guided and field > HEAP * KEPT_NUMBERS:
            field = MAPS * kept_numbers(model, CHUNK_POINTS)
        held = field + batch * OF_SAMPLE * phase.resolution**2 * phase.num_samples
        held += batch * OF_POINT * kept_numbers(model, config.num_points)
        if encoder:
            held += batch * (encoder.numbers + 3 * model.image_resolution**2)
        else:
            held += batch * MAPS * thumbnail_discriminator(model, config, phase.resolution).numbers
        most = max(most, held)
    return weights + most


def _decoder_numbers(model: StyleSDFConfig, config: DecoderConfig, micro_batch: int) -> float:
    batch, pixels = micro_batch or config.batch_size, model.image_resolution**2
    map_size = model.render_resolution**2
    held = MAPS * synthesis(model).numbers
    weights = (COPIES + 1) * generator_weights(model, has_decoder=True)
    if config.is_adversarial:
        judge = image_discriminator(model, config)
        held = max(held, 2 * MAPS * judge.numbers, held + judge.numbers)
        weights += (COPIES - 1) * judge.weights
    maps, images = (0.5 * model.field_width + 3) * map_size, 0.5 * 3 * pixels  # of a rendering that is kept
    pool = config.num_renderings * (maps + images * (not config.is_adversarial))
    if config.pair_weight:
        judge = patch_discriminator(model)
        held = max(held, decoded_share(model) * held + MAPS * judge.numbers)
        weights += (COPIES - 1) * judge.weights + picture_encoder(model).weights
    return weights + batch * held + pool
