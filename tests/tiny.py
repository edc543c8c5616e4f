"""A model small enough for every test."""

from stylesdf.config import StyleSDFConfig
from stylesdf.hub import HubMixin
from stylesdf.model import Generator

# the paper's kind of model: view directions, the last sample is the background; image 32×32
TINY = StyleSDFConfig(
    latent_size=16,
    field_width=16,
    field_depth=2,
    render_resolution=16,
    num_samples=8,
    decoder_style_size=16,
    decoder_mapping_layers=2,
    decoder_channels=(8, 8),
)


class Model(HubMixin, Generator):
    """The model as it is published, without the methods for people."""
