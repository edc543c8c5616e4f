"""A generator from a folder or the hub, to start a stage from."""

from __future__ import annotations

from stylesdf.hub import HubMixin
from stylesdf.model import Generator

RENDERER_PARTS = ("renderer_mapping", "field", "renderer")


class PretrainedGenerator(HubMixin, Generator):
    """A generator with ``from_pretrained``, without the pipeline for people."""


def copy_renderer(source: Generator, target: Generator) -> None:
    """Copy mapping, field and renderer.

    Raises:
        RuntimeError: The two have other sizes.
    """
    for part in RENDERER_PARTS:
        getattr(target, part).load_state_dict(getattr(source, part).state_dict())
