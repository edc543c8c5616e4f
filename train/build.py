"""A stage from its settings and the folder it starts from: what both the command line and a recipe begin with.

What a run leaves beside its model (discriminators, encoder) goes on with the run that starts from it.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from stylesdf.config import StyleSDFConfig
from stylesdf.hub import find_discriminator, load_discriminator
from train.config import DecoderConfig, EncoderConfig, PolishConfig, PriorConfig, RendererConfig, Settings
from train.data.images import ImageSet
from train.networks.encoder import PictureEncoder, load_encoder
from train.pretrained import DECODER_FIELDS, PretrainedGenerator
from train.run.engine import Engine
from train.stages import DecoderStage, EncoderStage, PolishStage, PriorStage, RendererStage, polish, renderer
from train.terms import check_terms

log = logging.getLogger(__name__)


def needs_full_size(settings: Settings, measured: PretrainedGenerator | None = None) -> bool:
    """Return whether a run looks at the data's pictures in their full size, not at thumbnails alone.

    Args:
        settings: Of the stage.
        measured: The model it starts from, where it is measured meanwhile: with a decoder its images are.
    """
    if isinstance(settings, RendererConfig) and "reconstruction" in settings.terms:
        return True
    has_decoder = measured is not None and measured.config.has_decoder
    return has_decoder or isinstance(settings, PriorConfig | DecoderConfig)


def build_stage(
    model_config: StyleSDFConfig,
    settings: Settings,
    data: ImageSet | None,
    engine: Engine,
    initial: PretrainedGenerator | None = None,
):
    """Return a stage that is ready to be trained.

    Args:
        model_config: Architecture, with its decoder.
        settings: Of the stage; their kind says which one.
        data: Pictures; None where the stage needs none.
        engine: Where it runs.
        initial: The model it goes on with, its decoder where the run trains one of the same architecture, and its
            encoder and discriminators; None starts from nothing.

    Raises:
        ValueError: No encoder where one is needed, or settings, data and models that do not go together.
    """
    data = None if data is None else data.on(engine.device)
    if isinstance(settings, EncoderConfig):
        return EncoderStage(settings, initial, engine, data, None if data is None else _encoder_beside(initial))
    renderer_config = dataclasses.replace(model_config, decoder_channels=())
    if isinstance(settings, PriorConfig):
        return PriorStage(renderer_config, settings, data, initial, _needed_encoder(initial), engine)
    if isinstance(settings, PolishConfig):
        return PolishStage(renderer_config, settings, initial, engine)
    if isinstance(settings, RendererConfig):
        stage = RendererStage(renderer_config, settings, data, engine, initial)
    else:
        encoder = _needed_encoder(initial) if settings.pair_weight else None
        stage = DecoderStage(model_config, settings, data, initial, engine, encoder)
    if initial is not None:
        _take_discriminators(stage, initial.name_or_path)
    return stage


def check_settings(settings: Settings, model: StyleSDFConfig) -> None:
    """Refuse settings that the stage or the model's architecture does not know, before there is a stage.

    Raises:
        ValueError: An unknown term, a weight that is not positive, or a phase larger than the thumbnail.
    """
    known = {RendererConfig: renderer.TERMS, PolishConfig: polish.TERMS}.get(type(settings))
    if known is not None:
        check_terms(settings.terms, known)
    if isinstance(settings, RendererConfig) and settings.is_adversarial:
        renderer.check_resolutions(settings, model)


def with_decoder(config: StyleSDFConfig, fallback: StyleSDFConfig) -> StyleSDFConfig:
    """Return a config as it is, or with the decoder of another one where it has none."""
    if config.has_decoder:
        return config
    return dataclasses.replace(config, **{name: getattr(fallback, name) for name in DECODER_FIELDS})


def _encoder_beside(initial: PretrainedGenerator) -> PictureEncoder | None:
    path = find_discriminator("encoder", initial.name_or_path)
    return None if path is None else load_encoder(path, initial.config.latent_size)


def _needed_encoder(initial: PretrainedGenerator) -> PictureEncoder:
    encoder = _encoder_beside(initial)
    if encoder is None:
        raise ValueError(f"{initial.name_or_path} has no encoder beside it, train it with terms.reconstruction first")
    return encoder


def _take_discriminators(stage, source: str | Path) -> None:
    """Go on with the discriminators beside a model; one that was built otherwise is left out, and that is said."""
    for name, discriminator in stage.discriminators().items():
        try:
            load_discriminator(discriminator, name, source)
        except ValueError as error:
            log.warning("a new %s discriminator learns, as %s", name, error)
