"""How much work a network and a field are, and how many numbers they hold: built without memory, layers counted.

Work is in multiply-adds, and what is none, such as a sine, in as many as take its time on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig
from stylesdf.encoder import MOST_COORDINATES, RESOLUTION, Encoder
from stylesdf.fast.surface import ERROR, GRID, HIDDEN, REACH
from stylesdf.model import Generator
from train.config import GUIDE_SIDE, PAIR_MARGIN, PAIR_WINDOW, DecoderConfig, Phase, RendererConfig
from train.networks.discriminators import ImageDiscriminator, PatchDiscriminator, ThumbnailDiscriminator
from train.networks.encoder import ENCODER_RESOLUTION, PictureEncoder

# work in multiply-adds
SINE = 105  # with what is written and read again around it
ACTIVATION = 65  # a number of a layer's result: bias, noise, low-pass, leaky ReLU
# shares
CULLED = 0.6  # samples in the scene's ball
CHOSEN = 1.3  # times as many samples are evaluated of rays that go where a picture is detailed
MEASURED = 0.66  # of a guide's grid
COVERED = 1.15  # rays that meet the surface, times the slant at which they do
FALLEN = 0.8  # share of beta_end in phases that are guided; people came to 0.6, a run with an adversary to 1


@dataclass(frozen=True)
class Counted:
    """A network: multiply-adds of a forward pass for one input, numbers that its layers return, and weights."""

    work: float
    numbers: float
    weights: int


def counted(build: Callable[[], nn.Module], *shapes: tuple[int, ...]) -> Counted:
    """Build a network without memory, call it with inputs of some shapes, and count."""
    with torch.device("meta"):
        network, inputs = build(), [torch.zeros(1, *shape) for shape in shapes]
    total = [0.0, 0.0]

    def count(module: nn.Module, _, result: Tensor) -> None:
        weight = getattr(module, "weight", None)
        if weight is not None and weight.dim() > 1:
            places = result[0, 0].numel() if weight.dim() == 4 else 1
            total[0] += weight.numel() * places / (4 if getattr(module, "up", False) else 1)
        total[1] += result.numel()

    for module in network.modules():
        if not list(module.children()) or hasattr(module, "weight"):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(*inputs)
    return Counted(total[0] + ACTIVATION * total[1], total[1], weights_of(network))


def weights_of(network: nn.Module) -> int:
    """Return how many weights a network has."""
    return sum(parameter.numel() for parameter in network.parameters())


# Networks as the stages build them.


def generator_weights(model: StyleSDFConfig, has_decoder: bool = False) -> int:
    """Weights of a generator; of a renderer alone, as all stages but the decoder's build it."""
    with torch.device("meta"):
        return weights_of(Generator(model if has_decoder else replace(model, decoder_channels=())))


def synthesis(model: StyleSDFConfig) -> Counted:
    """Count the decoder."""
    size = model.render_resolution
    shapes = (model.field_width, size, size), (model.num_ws, model.decoder_style_size)
    return counted(lambda: Generator(model).decoder, *shapes)


def thumbnail_discriminator(model: StyleSDFConfig, config: RendererConfig, resolution: int) -> Counted:
    """Count the discriminator of stage 1 as it is used at a resolution."""
    full, channels = model.render_resolution, 4 if config.use_alpha else 3
    lower = tuple(sorted({phase.resolution for phase in config.phases} - {full}))
    options = {"low_resolutions": lower, "use_minibatch_std": config.use_minibatch_std}
    shape = channels, resolution, resolution
    return counted(lambda: ThumbnailDiscriminator(config.discriminator_channels, channels, full, **options), shape)


def image_discriminator(model: StyleSDFConfig, config: DecoderConfig) -> Counted:
    """Count the discriminator of stage 2."""
    size = model.image_resolution
    return counted(lambda: ImageDiscriminator(size, config.discriminator_channels), (3, size, size))


def patch_discriminator(model: StyleSDFConfig) -> Counted:
    """Count the discriminator of patches, which sees a window of the image."""
    size = window_size(model)
    return counted(PatchDiscriminator, (3, size, size), (3, size, size))


def window_size(model: StyleSDFConfig) -> int:
    """Return the height and width in pixels of what is judged of an image beside its picture."""
    return round(PAIR_WINDOW * model.render_resolution) * (model.image_resolution // model.render_resolution)


def decoded_share(model: StyleSDFConfig) -> float:
    """Return the share of an image that is decoded for that."""
    return (PAIR_WINDOW + 2 * PAIR_MARGIN / model.render_resolution) ** 2


def picture_encoder(model: StyleSDFConfig) -> Counted:
    """Count the encoder that reads codes in stage 1."""
    size = min(ENCODER_RESOLUTION, model.image_resolution)
    return counted(lambda: PictureEncoder(model.latent_size, size), (3, size, size), (2,))


def inverter(model: StyleSDFConfig) -> Counted:
    """Count the network that finds heads in pictures."""
    size = min(MOST_COORDINATES, model.latent_size)
    return counted(lambda: Encoder(model.latent_size, size), (3, RESOLUTION, RESOLUTION))


# Work of the field, per point, per sample and per rendering.


def distance_work(model: StyleSDFConfig) -> float:
    """A signed distance."""
    width, depth = model.field_width, model.field_depth
    return width * (3 + width * (depth - 1) + 1) + SINE * width * depth


def value_work(model: StyleSDFConfig) -> float:
    """Signed distance and colour."""
    return distance_work(model) + model.field_width * (model.field_width + 3) + SINE * model.field_width


def guide_work(model: StyleSDFConfig, side: int = GRID) -> float:
    """The distances of a guide's grid."""
    return MEASURED * side**3 * distance_work(model)


def guided_share(model: StyleSDFConfig, beta: float, side: int = GRID) -> float:
    """Return the share of a view's samples where a guide cannot tell what is there (``stylesdf/fast/surface.py``).

    They lie within REACH β and the guide's error before the surface, and HIDDEN β and that error behind it.

    Args:
        model: Architecture.
        beta: Sharpness, world units.
        side: Samples per side of the guide's grid.
    """
    spacing = 2.0 * model.scene_radius / (side - 1)
    thickness = (REACH + HIDDEN) * beta + 2.0 * ERROR * GRID / side * spacing
    return min(CULLED, COVERED * thickness / (2.0 * model.scene_radius))


def guided_beta(config: RendererConfig) -> float:
    """Return the sharpness in phases that are guided, world units: by then it has fallen below its bound."""
    return FALLEN * (config.beta_end or config.beta_start)


def share_inside(model: StyleSDFConfig) -> float:
    """Share of a view's samples at which the field is evaluated, without a guide."""
    return CULLED if model.cull_to_ball else 1.0


def points_on_rays(model: StyleSDFConfig, config: RendererConfig, phase: Phase) -> float:
    """Points of an image that a phase evaluates with gradients; rays are chosen in pictures that are shown again."""
    samples = phase.resolution**2 * phase.num_samples
    share = guided_share(model, guided_beta(config), GUIDE_SIDE) if phase.surface_guided else share_inside(model)
    return samples * share * (1.0 if config.is_adversarial else CHOSEN)


def kept_numbers(model: StyleSDFConfig, points: float) -> float:
    """Activations of points that are kept for the way back."""
    return 2 * model.field_width * (model.field_depth + 1) * points
