"""A model as one web page that draws its heads by itself: seeds, truncation, mixes and views, in JavaScript and GLSL.

The page holds the whole generator: it shows the surface with the field's own colour while it moves, and the decoder's
picture when it rests. A decoder that is too large for a page stays out of it. It opens from disk, without a server and
without a network.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig
from stylesdf.field import ConditionedField
from stylesdf.files import check_ending, replacing
from stylesdf.model import Generator
from stylesdf.ops import EqualizedLinear
from stylesdf.pictures import PAPER
from stylesdf.renderer import points_per_chunk
from stylesdf.version import __version__

HTML_ENDINGS = (".html", ".htm")
WEIGHTS = ("float16", "float32")
MAX_WIDTH, MAX_DEPTH, MAX_LATENT = 128, 6, 512  # more is too slow for a page
MIN_LATENT = 16  # torch draws fewer random numbers in another way
MAX_CHANNELS, MAX_IMAGE = 128, 512  # of a decoder in a page
MAX_NUMBERS = 1_080_000  # of a page with a decoder: 3 MB in float16
SILENT = 1e-4  # noise that changes activations by less is left out
SCRIPTS = ("random.js", "model.js", "scene.js", "png.js", "renderer.js", "decoder.js", "wall.js", "viewer.js")
SHADERS = (
    "field.glsl", "guide.glsl", "trace.glsl", "normals.glsl", "light.glsl", "shade.glsl", "volume.glsl",
    "maps.glsl", "convolve.glsl", "spread.glsl", "smooth.glsl", "colour.glsl", "show.glsl",
)  # fmt: skip
FOLDER = Path(__file__).parent

PROBED_HEADS, PROBED_POINTS, PROBED_GRID = 8, 20_000, 32
NEAR = 0.1  # in scene radii: how far from the surface the probes reach


@dataclasses.dataclass(frozen=True)
class FieldBounds:
    """What the page's rays may rely on, measured over a few heads.

    Attributes:
        slope: Length of the distance's gradient near the surface, 99.9 % quantile.
        guide_error: Error of trilinear interpolation near the surface over the squared grid spacing, 99.9 % quantile.
    """

    slope: float
    guide_error: float


def export_live(
    model: Generator,
    path: str | os.PathLike,
    weights: str = "float16",
    fov_deg: float | None = None,
) -> None:
    """Write a web page that draws the heads of a model.

    Args:
        model: Stays as it is.
        path: Ends in .html. A missing folder is made; the file appears only once it is complete.
        weights: ``"float16"`` (distances off by at most 1e-4 in the bundled models) or ``"float32"``, twice the size.
        fov_deg: Full field of view that the page opens with, degrees; None takes the model's.

    Raises:
        ValueError: Another ending, unknown weights, a field of view out of range, or a model that a page cannot draw.
    """
    path = check_ending(path, HTML_ENDINGS)
    text = page(*pack(model, weights, fov_deg))
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_model(model: Generator) -> None:
    """Refuse a model that the page cannot draw.

    Raises:
        ValueError: Its colour depends on the view, or it is too large.
    """
    config = model.config
    if config.view_directions:
        raise ValueError("this model's colour depends on the viewing direction, which a live page cannot draw")
    for name, most in (("field_width", MAX_WIDTH), ("field_depth", MAX_DEPTH), ("latent_size", MAX_LATENT)):
        if getattr(config, name) > most:
            raise ValueError(f"{name} is {getattr(config, name)}, expected at most {most} for a live page")
    if config.latent_size < MIN_LATENT:
        raise ValueError(f"latent_size is {config.latent_size}, expected at least {MIN_LATENT} for a live page")


def pack(model: Generator, weights: str = "float16", fov_deg: float | None = None) -> tuple[dict, bytes]:
    """Return what the page's scripts read: a header fit for JSON, and all tensors as little-endian bytes.

    Args:
        model: Stays as it is.
        weights: See ``export_live``.
        fov_deg: See ``export_live``.

    Raises:
        ValueError: Unknown weights, a field of view out of range, or a model that a page cannot draw.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights are {weights!r}, expected one of {', '.join(WEIGHTS)}")
    Camera.from_angles(0.0, 0.0, fov_deg)  # checks the field of view
    check_model(model)
    config = model.config
    width = -(-config.field_width // 4) * 4
    tensors = _tensors(model, width)
    directions = getattr(model, "directions", None)
    if directions is not None:
        tensors["directions"] = directions.vectors
    decoder, plain = None, ""
    if config.has_decoder:
        decoder, more = _pack_decoder(model)
        plain = _why_plain(config, sum(tensor.numel() for tensor in (tensors | more).values()))
        decoder, tensors = (None, tensors) if plain else (decoder, tensors | more)
    tensors = {name: tensor.detach().float().cpu() for name, tensor in tensors.items()}
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise ValueError("the model has weights that are not finite")
    kind = np.dtype("<f2" if weights == "float16" else "<f4")
    if weights == "float16" and max(tensor.abs().max() for tensor in tensors.values()) > np.finfo(np.float16).max:
        raise ValueError("the model has weights beyond float16, expected weights='float32'")
    bounds = measure_bounds(model)
    learned = config.background == "learned"
    background = torch.sigmoid(model.renderer.background_rgb.detach()).tolist() if learned else (PAPER / 255).tolist()
    header = {
        "name": getattr(model, "public_name", "unnamed"),
        "commit": getattr(model, "commit_hash", None) or "",
        "version": __version__,
        "dtype": weights,
        "tensors": [{"name": name, "shape": list(tensor.shape)} for name, tensor in tensors.items()],
        "latent_size": config.latent_size,
        "mapping_layers": len(model.renderer_mapping.layers),
        "field_width": width,
        "field_depth": config.field_depth,
        "point_scale": model.field.point_scale,
        "scene_radius": config.scene_radius,
        "model_fov_deg": config.fov_deg,
        "fov_deg": config.fov_deg if fov_deg is None else float(fov_deg),
        "background": [round(value, 6) for value in background],
        "slope": bounds.slope,
        "guide_error": bounds.guide_error,
        "directions": [] if directions is None else directions.names,
        "decoder": decoder,
        "plain": plain,
    }
    return header, b"".join(tensor.numpy().astype(kind).tobytes() for tensor in tensors.values())


def page(header: dict, data: bytes) -> str:
    """Put the viewer's files, a header and the weights of ``pack`` together into one page."""
    names = ("viewer.html", "viewer.css", *SCRIPTS, *SHADERS)
    files = {name: (FOLDER / name).read_text(encoding="utf-8") for name in names}
    shaders = [f'<script type="x-shader" id="{Path(name).stem}">\n{files[name]}</script>' for name in SHADERS]
    scripts = [f"<script>\n{files[name]}</script>" for name in SCRIPTS]
    # a model's name could hold markup; no such text may end the script element
    text = json.dumps(header, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    parts = {
        "version": header["version"],
        "viewer.css": files["viewer.css"],
        "shaders": "\n".join(shaders),
        "scripts": "\n".join(scripts),
        "header": text,
        "weights": base64.b64encode(data).decode(),
    }
    return re.sub(r"\{\{([a-z.]+)\}\}", lambda found: parts[found[1]], files["viewer.html"])


@torch.no_grad()
def measure_bounds(model: Generator) -> FieldBounds:
    """Measure slope and guide error over a few untruncated heads, always the same ones."""
    radius, generator = model.config.scene_radius, torch.Generator().manual_seed(0)
    z = torch.randn(PROBED_HEADS, model.config.latent_size, generator=generator)
    slopes, errors = [], []
    for w in model.mapping(z).split(1):
        field = model.field.condition(w)
        points = (torch.rand(PROBED_POINTS, 3, generator=generator) * 2.0 - 1.0) * radius
        points = points[points.norm(dim=-1) < radius].to(w)
        sdf, gradient = (values[0] for values in _in_parts(field.sdf_and_gradient, points))
        near = sdf.abs() < NEAR * radius
        if near.any():
            slopes.append(gradient[near].norm(dim=-1))
            errors.append((_interpolate(field, points[near], radius) - sdf[near]).abs())
    if not slopes:  # nothing to see
        return FieldBounds(1.0, 1.0)
    spacing = 2.0 * radius / (PROBED_GRID - 1)
    slope, error = (torch.cat(values).double().quantile(0.999).item() for values in (slopes, errors))
    return FieldBounds(round(max(slope, 0.5), 4), round(error / spacing**2, 4))


def _interpolate(field: ConditionedField, points: Tensor, radius: float) -> Tensor:
    """Distances at world points ``(P, 3)`` from a grid of the field, ``(P,)``."""
    axis = torch.linspace(-radius, radius, PROBED_GRID).to(points)
    (grid,) = _in_parts(lambda part: (field.sdf(part),), torch.cartesian_prod(axis, axis, axis))
    volume = grid.view(1, 1, PROBED_GRID, PROBED_GRID, PROBED_GRID)
    places = (points / radius).flip(-1).view(1, -1, 1, 1, 3)  # grid_sample wants x last in memory
    return F.grid_sample(volume, places, align_corners=True).flatten()


def _in_parts(function, points: Tensor) -> list[Tensor]:
    """Call a function of points ``(1, P, 3)`` part by part; returns its results for all points."""
    parts = [function(part[None]) for part in points.split(points_per_chunk(points.device))]
    return [torch.cat(values, dim=1) for values in zip(*parts)]


def _tensors(model: Generator, width: int) -> dict[str, Tensor]:
    """Name the page's tensors; channels are padded with zeros to ``width``, which changes nothing: sin 0 = 0."""
    field, missing = model.field, width - model.config.field_width
    tensors = {"w_avg": model.w_avg[0]}
    for i, layer in enumerate(model.renderer_mapping.layers):
        tensors |= {f"mapping.{i}.weight": layer.weight, f"mapping.{i}.bias": layer.bias}
    for i, layer in enumerate((*field.layers, field.view_layer)):
        inputs = missing if i else 0
        tensors |= {
            f"field.{i}.weight": F.pad(layer.linear.weight, (0, inputs, 0, missing)),
            f"field.{i}.bias": F.pad(layer.linear.bias, (0, missing)),
        }
        for name in ("frequency", "phase"):
            head = getattr(layer, name)
            tensors[f"field.{i}.{name}.weight"] = F.pad(head.weight, (0, 0, 0, missing))
            tensors[f"field.{i}.{name}.bias"] = F.pad(head.bias, (0, missing))
    for name, head in (("sdf", field.sdf_head), ("rgb", field.rgb_head)):
        tensors |= {f"{name}.weight": F.pad(head.weight, (0, missing)), f"{name}.bias": head.bias}
    return tensors


def _why_plain(config: StyleSDFConfig, numbers: int) -> str:
    """Say why a page of so many numbers has to do without the decoder; empty where it has not."""
    for name, value, most in (
        ("channels", max(config.decoder_channels), MAX_CHANNELS),
        ("pixels a side", config.image_resolution, MAX_IMAGE),
        ("numbers together with the field", numbers, MAX_NUMBERS),
    ):
        if value > most:
            return f"its decoder has {value} {name}, and a page takes at most {most}"
    return ""


def _pack_decoder(model: Generator) -> tuple[dict, dict[str, Tensor]]:
    """Return what the page must know of the decoder, and its tensors; constant factors go into the weights."""
    config, decoder = model.config, model.decoder
    tensors = {"ws_avg": model.ws_avg[0]}
    for i, layer in enumerate(model.decoder_mapping.layers):
        tensors |= _linear(f"decoder_mapping.{i}", layer)
    convs = [("conv", decoder.conv), ("colour", decoder.to_rgb)]
    for block in decoder.blocks:
        convs += [("up", block.up_conv), ("conv", block.conv), ("colour", block.to_rgb)]
    layers, size = [], config.render_resolution
    for n, (kind, conv) in enumerate(convs):
        size *= 2 if kind == "up" else 1
        outputs, inputs = conv.weight.shape[:2]
        tensors |= _linear(f"decoder.{n}.affine", conv.affine)
        fan_in = conv.weight[0].numel()
        tensors |= {f"decoder.{n}.weight": conv.weight / math.sqrt(fan_in), f"decoder.{n}.bias": conv.bias}
        strength = 0.0
        if kind != "colour" and (conv.noise_strength * conv.noise).abs().max() > SILENT:
            strength = conv.noise_strength.item()
            tensors[f"decoder.{n}.noise"] = conv.noise[0, 0]
        layers.append({"kind": kind, "inputs": inputs, "outputs": outputs, "size": size, "strength": strength})
    header = {
        "layers": layers,
        "size": size,
        "resolution": config.render_resolution,
        "samples": config.num_samples,
        "beta": model.renderer.beta.item(),
        "is_laplace": config.density == "laplace",
        "is_culled": config.cull_to_ball,
        "is_opaque": config.background == "last_sample",
        "mapping_layers": len(model.decoder_mapping.layers),
    }
    return header, tensors


def _linear(name: str, layer: EqualizedLinear) -> dict[str, Tensor]:
    """Name the numbers that an equalised layer multiplies with and adds."""
    return {f"{name}.weight": layer.weight * layer.weight_scale, f"{name}.bias": layer.bias * layer.bias_scale}
