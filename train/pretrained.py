"""A generator from a folder or the hub, to start a stage from."""

from __future__ import annotations

from stylesdf.hub import HubMixin
from stylesdf.model import Generator

RENDERER_PARTS = ("renderer_mapping", "field", "renderer")
DECODER_PARTS = ("decoder_mapping", "decoder")
DECODER_FIELDS = ("decoder_style_size", "decoder_mapping_layers", "decoder_channels")


class PretrainedGenerator(HubMixin, Generator):
    """A generator with ``from_pretrained``, without the pipeline for people."""


def copy_renderer(source: Generator, target: Generator) -> None:
    """Copy mapping, field and renderer.

    Raises:
        ValueError: The two have other sizes.
    """
    _copy(RENDERER_PARTS, source, target)


def copy_decoder(source: Generator, target: Generator) -> None:
    """Copy the decoder and its mapping.

    Raises:
        ValueError: The source has no decoder, or another one, or one that reads other feature maps or codes.
    """
    if not source.config.has_decoder:
        raise ValueError("the model whose decoder is to be taken has none")
    for name in ("latent_size", "field_width", "render_resolution", *DECODER_FIELDS):
        theirs, ours = getattr(source.config, name), getattr(target.config, name)
        if theirs != ours:
            raise ValueError(f"the decoder to be taken comes from a model of {name} {theirs}, expected {ours}")
    _copy(DECODER_PARTS, source, target)


def _copy(parts: tuple[str, ...], source: Generator, target: Generator) -> None:
    for part in parts:
        theirs, ours = (
            {name: tuple(tensor.shape) for name, tensor in getattr(model, part).state_dict().items()}
            for model in (source, target)
        )
        for name in sorted(theirs.keys() | ours.keys()):
            if theirs.get(name) != ours.get(name):
                found, expected = (shapes.get(name, "absent") for shapes in (theirs, ours))
                raise ValueError(f"{part}.{name} of the model to start from is {found}, expected {expected}")
        getattr(target, part).load_state_dict(getattr(source, part).state_dict())
