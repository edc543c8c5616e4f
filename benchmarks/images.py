"""Images and thumbnails: a new seed, a further view, exact and fast, at full size and of the bundled models."""

from __future__ import annotations

import itertools
import math
from functools import cache, partial
from pathlib import Path

import torch

from benchmarks import floor, transcription
from benchmarks.measure import Contest, Row
from stylesdf.camera import Camera, camera_rays
from stylesdf.config import StyleSDFConfig, preset
from stylesdf.fit import psnr
from stylesdf.pictures import to_pil
from stylesdf.pipeline import StyleSDF
from stylesdf.shot import Shot
from stylesdf.volume import sample_depths

TRUNCATION = 0.7
SEED = 3
CHECKPOINTS = Path(__file__).parents[1] / "checkpoints"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
REFERENCE_SAMPLES = 96


@cache
def model(name: str) -> StyleSDF:
    """Return a bundled model, or for ``ffhq`` one of full size with random weights that has a surface to be found."""
    if name != "ffhq":
        return StyleSDF.from_pretrained(CHECKPOINTS / name).eval().to(DEVICE)
    return random_model(preset("ffhq"))


def random_model(config: StyleSDFConfig) -> StyleSDF:
    """Return a model with random weights that has a surface to be found."""
    torch.manual_seed(0)
    model = StyleSDF(config).eval()
    model.update_means(1000)
    make_sphere(model)
    return model.to(DEVICE)


@torch.no_grad()
def make_sphere(model: StyleSDF, radius: float = 0.07, beta: float = 0.003) -> None:
    """Turn random weights into roughly a sphere of sharp density, without changing what anything costs.

    The first layer's frequencies and the codes' influence are scaled down, so that the last layer varies smoothly; then
    the sdf head is the least-squares solution for the sphere. ``beta`` is where published models end.
    """
    field = model.field
    field.layers[0].linear.weight.mul_(0.05)
    for layer in (*field.layers, field.view_layer):
        layer.frequency.weight.mul_(0.02)
        layer.phase.weight.mul_(0.02)
    hidden = []
    hook = field.sdf_head.register_forward_hook(lambda _, inputs, output: hidden.append(inputs[0].flatten(0, 1)))
    points = (torch.rand(16, 2048, 3) * 2.0 - 1.0) * 0.15
    field.condition(model.mapping(model.latents(range(16)), TRUNCATION)).sdf(points)
    hook.remove()
    features = torch.cat([hidden[0], torch.ones(len(hidden[0]), 1)], dim=1).double()
    target = (points.norm(dim=-1) - radius).flatten().double()
    ridge = 1e-8 * len(features) * torch.eye(features.shape[1]).double()
    solution = torch.linalg.solve(features.t() @ features + ridge, features.t() @ target).float()
    field.sdf_head.weight.copy_(solution[None, :-1])
    field.sdf_head.bias.copy_(solution[-1:])
    model.renderer.log_beta.fill_(math.log(beta))
    for name, parameter in model.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.05)


def image_contest(name: str, quality: str, reuse: bool) -> Contest:
    """Compare an image of R×R as a picture: of a new seed, or a further view of a known one."""
    ours, angles = model(name), itertools.cycle((0.3, -0.2, 0.1))
    seeds = itertools.count(SEED)
    head = ours.head(SEED, TRUNCATION)
    if quality == "fast":
        head.guide, head.fast_decoder  # noqa: B018, made at the first view

    def run() -> object:
        seen = head if reuse else ours.head(next(seeds), TRUNCATION)
        return seen.view(Shot(next(angles), quality=quality)).image

    return Contest(
        {"ours": run, "transcription": partial(transcribed, name, False), "floor": full_floor(name)},
        partial(note, name, quality),
    )


def thumbnail_contest(name: str, quality: str) -> Contest:
    """Compare the thumbnail of a known head, as while somebody drags."""
    ours, angles = model(name), itertools.cycle((0.3, -0.2, 0.1))
    head = ours.head(SEED, TRUNCATION)
    if quality == "fast":
        head.guide  # noqa: B018
    return Contest(
        {
            "ours": lambda: head.thumbnail(Shot(next(angles), quality=quality)),
            "transcription": partial(transcribed, name, True),
            "floor": floor.field_floor(ours.config, num_evaluations(name), DEVICE),
        }
    )


@torch.no_grad()
def transcribed(name: str, thumbnail: bool) -> object:
    """Do what a reader of the specification would do."""
    ours = model(name)
    z, camera = ours.latents(SEED), Camera.from_angles(0.3, 0.0).to(DEVICE)
    if thumbnail:
        return to_pil(transcription.render(ours, ours.mapping(z, TRUNCATION), camera)[0])
    return to_pil(transcription.image(ours, z, camera, TRUNCATION))


def full_floor(name: str):
    """Return the floor of rendering and decoding one image."""
    config = model(name).config
    parts = floor.field_floor(config, num_evaluations(name), DEVICE), floor.decoder_floor(config, DEVICE)
    return lambda: [part() for part in parts]


@torch.no_grad()
def num_evaluations(name: str) -> int:
    """Return how many samples of one thumbnail the field is asked for: all, or those in the scene ball."""
    config = model(name).config
    rays_o, rays_d, _ = camera_rays(Camera.from_angles(0.3, 0.0), config.render_resolution, config.fov_deg)
    depth = sample_depths(config.near, config.far, config.num_samples, rays_d).view(-1, 1)
    distance = (rays_o[..., None, :] + rays_d[..., None, :] * depth).norm(dim=-1)
    return int((distance < config.scene_radius).sum()) if config.cull_to_ball else distance.numel()


@torch.no_grad()
def note(name: str, quality: str) -> str:
    """Say how far our result is from the transcription, or a fast one from an exact one with many samples."""
    ours = model(name)
    head = ours.head(SEED, TRUNCATION)
    view = head.view(Shot(0.3, quality=quality))
    rendering = view.rendering
    if quality == "exact":
        camera = Camera.from_angles(0.3, 0.0).to(DEVICE)
        image = head.decoder(rendering.features)
        expected = transcription.image(ours, ours.latents(SEED), camera, TRUNCATION)
        return f"largest deviation from the transcription {(image - expected).abs().max().item():.1e}"
    camera = Camera.from_angles(0.3, 0.0).to(DEVICE)
    reference = ours.render(head.field, camera, num_samples=REFERENCE_SAMPLES)
    images = head.fast_decoder(rendering.features), head.decoder(reference.features)
    off = (rendering.depth - reference.depth).abs()
    spacing = (ours.config.far - ours.config.near) / ours.config.num_samples
    return (
        f"against {REFERENCE_SAMPLES} samples, exact: image {psnr(*images):.1f} dB, thumbnail "
        f"{psnr(rendering.thumbnail, reference.thumbnail):.1f} dB, depth off by {off.mean() / spacing:.3f} sample "
        f"spacings ({off.max() / spacing:.2f} at most); decoder in {head.fast_decoder.convs[0].weight.dtype}, "
        f"{psnr(images[0], head.decoder(rendering.features)):.1f} dB against float32"
    )


def _rows() -> list[Row]:
    rows = []
    sizes = {
        "ffhq": "full size (1024×1024), random weights",
        "people": "bundled people (256×256)",
        "toy-heads": "bundled toy heads (256×256)",
    }
    for name, size in sizes.items():
        for quality in ("exact", "fast"):
            suffix = f"{quality}-{name}"
            what = f"{size}, float32{' field, bfloat16 decoder where it is quicker' if quality == 'fast' else ''}"
            prepare = partial(image_contest, name, quality)
            rows.append(Row(f"image-{suffix}", f"new seed, {what}", partial(prepare, False)))
            rows.append(Row(f"view-{suffix}", f"further view, {what}", partial(prepare, True)))
            rows.append(Row(f"thumbnail-{suffix}", f"thumbnail of a known seed, {what}",
                            partial(thumbnail_contest, name, quality)))  # fmt: skip
    return rows


ROWS = _rows()
