"""The generator as a reader of the specification would write it down, line by line, with nothing clever.

It shares the weights of a model of ours. Section numbers are the specification's; shapes: B batch, P points of all
rays, H W image, S samples.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera, camera_rays
from stylesdf.model import Generator


def field(model: Generator, points: Tensor, directions: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Section 3: sdf ``(B, P, 1)``, rgb ``(B, P, 3)`` and features ``(B, P, C)``; FiLM is applied point by point."""

    def sine(layer, hidden: Tensor) -> Tensor:
        frequency = 15.0 * F.linear(w, layer.frequency.weight, layer.frequency.bias)[:, None] + 30.0
        phase = 0.25 * F.linear(w, layer.phase.weight, layer.phase.bias)[:, None]
        return torch.sin(frequency * F.linear(hidden, layer.linear.weight, layer.linear.bias) + phase)

    config = model.config
    hidden = points * 2.0 / (config.far - config.near)
    for layer in model.field.layers:
        hidden = sine(layer, hidden)
    sdf = F.linear(hidden, model.field.sdf_head.weight, model.field.sdf_head.bias)
    seen = torch.cat([hidden, directions], dim=-1) if config.view_directions else hidden
    features = sine(model.field.view_layer, seen)
    return sdf, F.linear(features, model.field.rgb_head.weight, model.field.rgb_head.bias), features


def render(model: Generator, w: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Sections 2 and 4: thumbnail ``(B, 3, H, W)`` and feature map ``(B, C, H, W)`` at inference."""
    config, num_samples = model.config, model.config.num_samples
    rays_o, rays_d, camera_d = camera_rays(camera, config.render_resolution, config.fov_deg)
    steps = torch.arange(num_samples, device=w.device, dtype=w.dtype)
    depth = config.near + steps * (config.far - config.near) / num_samples
    points = rays_o[..., None, :] + rays_d[..., None, :] * depth[:, None]  # (B, H, W, S, 3)
    unit = (camera_d / camera_d.norm(dim=-1, keepdim=True))[..., None, :].expand_as(points)
    batch, height, width = points.shape[:3]
    sdf, rgb, features = field(model, points.reshape(batch, -1, 3), unit.reshape(batch, -1, 3), w)
    sdf = sdf.view(batch, height, width, num_samples)
    rgb = torch.sigmoid(rgb).view(batch, height, width, num_samples, 3)
    features = features.view(batch, height, width, num_samples, -1)
    learned = config.background == "learned"
    last = (depth[1] - depth[0]).item() if learned else 1e10
    deltas = torch.cat([depth[1:] - depth[:-1], depth.new_tensor([last])]) * rays_d.norm(dim=-1, keepdim=True)
    beta = model.renderer.beta
    density = torch.sigmoid(-sdf / beta) / beta
    if config.cull_to_ball:
        density = density * (points.norm(dim=-1) < config.scene_radius)
    alpha = 1.0 - torch.exp(-density * deltas)
    light = torch.cat([torch.ones_like(alpha[..., :1]), 1.0 - alpha + 1e-10], dim=-1)
    weights = alpha * torch.cumprod(light, dim=-1)[..., :-1]
    if not learned:
        weights[..., -1] = 1.0 - weights[..., :-1].sum(dim=-1)
    colour = (weights[..., None] * rgb).sum(dim=-2)
    if learned:
        colour = colour + (1.0 - weights.sum(dim=-1, keepdim=True)) * torch.sigmoid(model.renderer.background_rgb)
    feature_map = (weights[..., None] * features).sum(dim=-2)
    return (2.0 * colour - 1.0).permute(0, 3, 1, 2), feature_map.permute(0, 3, 1, 2)


def fir(x: Tensor, pad: tuple[int, int], up: int = 1) -> Tensor:
    """Section 6: zeros between the pixels where it enlarges, then [1, 3, 3, 1] ⊗ [1, 3, 3, 1] / 64 · 4."""
    batch, channels, height, width = x.shape
    if up == 2:
        stuffed = x.new_zeros(batch, channels, height, 2, width, 2)
        stuffed[:, :, :, 0, :, 0] = x
        x = stuffed.view(batch, channels, 2 * height, 2 * width)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device, dtype=x.dtype)
    kernel = (taps[:, None] * taps / 64 * 4).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(x, (*pad, *pad)), kernel, groups=channels)


def modulated(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool = True, up: bool = False) -> Tensor:
    """Section 6: each sample has its own weights, one group of a grouped convolution each."""
    batch, in_size, height, width = x.shape
    out_size, _, kernel, _ = weight.shape
    weight = weight[None] / math.sqrt(in_size * kernel**2) * style[:, None, :, None, None]
    if demodulate:
        weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, batch * in_size, height, width)
    if up:
        weight = weight.transpose(1, 2).reshape(batch * in_size, out_size, kernel, kernel)
        x = F.conv_transpose2d(x, weight, stride=2, groups=batch)
        return fir(x.view(batch, out_size, *x.shape[2:]), (1, 1))
    weight = weight.reshape(batch * out_size, in_size, kernel, kernel)
    x = F.conv2d(x, weight, padding=kernel // 2, groups=batch)
    return x.view(batch, out_size, *x.shape[2:])


def synthesis(model: Generator, features: Tensor, ws: Tensor) -> Tensor:
    """Section 6: the image ``(B, 3, R, R)`` with the stored noise."""

    def styled(layer, x: Tensor, code: Tensor) -> Tensor:
        x = modulated(x, layer.weight, layer.affine(code), up=layer.up)
        x = x + layer.noise_strength * layer.noise
        return F.leaky_relu(x + layer.bias[None, :, None, None], 0.2) * math.sqrt(2.0)

    def colour(layer, x: Tensor, code: Tensor) -> Tensor:
        return modulated(x, layer.weight, layer.affine(code), demodulate=False) + layer.bias[None, :, None, None]

    decoder = model.decoder
    x = styled(decoder.conv, features, ws[:, 0])
    rgb = colour(decoder.to_rgb, x, ws[:, 1])
    for k, block in enumerate(decoder.blocks, start=1):
        x = styled(block.up_conv, x, ws[:, 2 * k - 1])
        x = styled(block.conv, x, ws[:, 2 * k])
        rgb = fir(rgb, (2, 1), up=2) + colour(block.to_rgb, x, ws[:, 2 * k + 1])
    return rgb


def image(model: Generator, z: Tensor, camera: Camera, psi: float) -> Tensor:
    """Sections 4 to 6: from the latent to the image, or to the thumbnail of a renderer-only model."""
    w = model.mapping(z, psi)
    thumbnail, features = render(model, w, camera)
    return synthesis(model, features, model.decoder_codes(w, psi)) if model.config.has_decoder else thumbnail
