"""Training steps as a reader of the specification would write them down: one graph over all points, autograd for every
derivative, weights modulated per sample and grouped convolutions, low-pass filters over zero-stuffed maps.

Parameters are read from our networks, so that both compute the same function. Shapes: B batch, P points.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stylesdf.camera import Camera, camera_rays
from stylesdf.config import StyleSDFConfig
from stylesdf.model import Generator

PATH_LENGTH_EVERY, PATH_LENGTH_DECAY = 4, 0.01  # StyleGAN2's


def film_sine(layer, hidden: Tensor, w: Tensor) -> Tensor:
    gamma = 15 * layer.frequency(w) + 30
    phase = 0.25 * layer.phase(w)
    return torch.sin(gamma[:, None] * layer.linear(hidden) + phase[:, None])


def field_sdf(model: Generator, points: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    config = model.config
    hidden = 2 * points / (config.far - config.near)
    for layer in model.field.layers:
        hidden = film_sine(layer, hidden, w)
    return model.field.sdf_head(hidden).squeeze(-1), hidden


def render(model: Generator, w: Tensor, pose: Tensor, offset: Tensor, resolution: int, samples: int, training=True):
    """Volume rendering; thumbnail, features, signed distances that are shown, those of the field, and their points."""
    config, batch = model.config, w.shape[0]
    rays_o, rays_d, camera_d = camera_rays(Camera.from_angles(pose[:, 0], pose[:, 1]), resolution, config.fov_deg)
    step = (config.far - config.near) / samples
    depth = config.near + (torch.arange(samples, device=offset.device) + offset[..., None]) * step
    points = rays_o[:, :, :, None] + rays_d[:, :, :, None] * depth[..., None]
    flat = points.reshape(batch, -1, 3).detach().requires_grad_(True)
    sdf, hidden = field_sdf(model, flat, w)
    if config.view_directions:
        directions = rays_d if training else camera_d.expand_as(rays_d)
        directions = directions / directions.norm(dim=-1, keepdim=True)
        directions = directions[:, :, :, None].expand(points.shape).reshape(batch, -1, 3)
        hidden = torch.cat([hidden, directions], dim=-1)
    features = film_sine(model.field.view_layer, hidden, w)
    rgb = torch.sigmoid(model.field.rgb_head(features))
    shape = (batch, resolution, resolution, samples)
    beta = model.renderer.beta
    sigma = (torch.sigmoid(-sdf / beta) / beta).reshape(shape)
    is_learned = config.background == "learned"
    length = rays_d.norm(dim=-1, keepdim=True)
    steps = depth[..., 1:] - depth[..., :-1]
    last = steps[..., -1:] if is_learned else torch.full_like(steps[..., -1:], 1e10)
    delta = torch.cat([steps, last], dim=-1) * length
    if config.cull_to_ball:
        sigma = sigma * (points.norm(dim=-1) < config.scene_radius)
    alpha = 1 - torch.exp(-sigma * delta)
    light = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], dim=-1), dim=-1)
    weights = alpha * light[..., :-1]
    if not training and not is_learned:
        weights = torch.cat([weights[..., :-1], 1 - weights[..., :-1].sum(dim=-1, keepdim=True)], dim=-1)
    colour = (weights[..., None] * rgb.reshape(*shape, 3)).sum(dim=3)
    features = (weights[..., None] * features.reshape(*shape, -1)).sum(dim=3)  # rendered with the colour, always
    if is_learned:
        colour = colour + (1 - weights.sum(dim=-1, keepdim=True)) * torch.sigmoid(model.renderer.background_rgb)
    if config.cull_to_ball:  # outside of the ball the distance is that to the ball
        outside = points.norm(dim=-1) - config.scene_radius
        shown = torch.where(outside < 0, sdf.reshape(shape), outside)
    else:
        shown = sdf.reshape(shape)
    return (2 * colour - 1).permute(0, 3, 1, 2), features.permute(0, 3, 1, 2), shown, sdf, flat


def renderer_step(stage, generator, discriminator, optimizers, scenes, real, scenes_g) -> None:
    """One step of stage 1 in the paper's form: D on fresh renderings, G on fresh ones."""
    config, weights, (phase, _) = stage.config, stage.config.terms, stage.config.phase_at(stage.state.step)
    generator_optimizer, discriminator_optimizer = optimizers
    size, samples = phase.resolution, phase.num_samples
    images, _ = stage._real(phase, real, slice(None))
    with torch.no_grad():
        w = generator.renderer_mapping(scenes["z"])
        fake = render(generator, w, scenes["pose"], scenes["offset"], size, samples)[0]
    images.requires_grad_(True)
    real_logit, _ = discriminator(images)
    fake_logit, pose = discriminator(fake)
    (gradient,) = torch.autograd.grad(real_logit.sum(), images, create_graph=True)
    loss = F.softplus(-real_logit).mean() + F.softplus(fake_logit).mean()
    loss = loss + weights["view"] * F.smooth_l1_loss(pose, scenes["pose"])
    loss = loss + phase.r1_gamma / 2 * gradient.square().sum(dim=(1, 2, 3)).mean()
    discriminator_optimizer.zero_grad()
    loss.backward()
    discriminator_optimizer.step()

    discriminator.requires_grad_(False)
    w = generator.renderer_mapping(scenes_g["z"])
    thumbnail, _, shown, sdf, points = render(generator, w, scenes_g["pose"], scenes_g["offset"], size, samples)
    logit, pose = discriminator(thumbnail)
    loss = F.softplus(-logit).mean() + weights["view"] * F.smooth_l1_loss(pose, scenes_g["pose"])
    loss = loss + weights["minimal_surface"] * torch.exp(-100 * shown.abs()).mean()
    if config.num_points:
        points = scenes_g["points"].requires_grad_(True)
        sdf, _ = field_sdf(generator, points, w)
    (gradient,) = torch.autograd.grad(sdf.sum(), points, create_graph=True)
    loss = loss + weights["eikonal"] * (gradient.norm(dim=-1) - 1).square().mean()
    generator_optimizer.zero_grad()
    loss.backward()
    generator_optimizer.step()
    discriminator.requires_grad_(True)


def fir_kernel(gain: float) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64 * gain


def filtered(x: Tensor, up: int, down: int, pad: tuple[int, int], gain: float) -> Tensor:
    """Zero-stuff, pad, convolve with the 4×4 kernel, keep every ``down``-th."""
    batch, channels, height, width = x.shape
    if up > 1:
        stuffed = x.new_zeros(batch, channels, height, up, width, up)
        stuffed[:, :, :, 0, :, 0] = x
        x = stuffed.reshape(batch, channels, height * up, width * up)
    x = F.pad(x, (*pad, *pad))
    kernel = fir_kernel(gain).to(x)[None, None].expand(channels, 1, 4, 4)
    return F.conv2d(x, kernel, groups=channels)[:, :, ::down, ::down]


def modulated(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, up: bool) -> Tensor:
    batch, in_size, height, width = x.shape
    out_size, _, kernel, _ = weight.shape
    weights = weight[None] / math.sqrt(in_size * kernel * kernel) * style[:, None, :, None, None]
    if demodulate:
        weights = weights * torch.rsqrt(weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, batch * in_size, height, width)
    if up:
        weights = weights.transpose(1, 2).reshape(batch * in_size, out_size, kernel, kernel)
        x = F.conv_transpose2d(x, weights, stride=2, groups=batch)
        x = x.reshape(batch, out_size, *x.shape[2:])
        return filtered(x, 1, 1, (1, 1), 4.0)
    weights = weights.reshape(batch * out_size, in_size, kernel, kernel)
    x = F.conv2d(x, weights, padding=kernel // 2, groups=batch)
    return x.reshape(batch, out_size, *x.shape[2:])


def decode(decoder, features: Tensor, ws: Tensor, noises: list[Tensor]) -> Tensor:
    noises = iter(noises)

    def styled(layer, x, code):
        x = modulated(x, layer.weight, layer.affine(code), True, layer.up)
        x = x + layer.noise_strength * next(noises)
        return F.leaky_relu(x + layer.bias[None, :, None, None], 0.2) * math.sqrt(2)

    def colour(layer, x, code):
        return modulated(x, layer.weight, layer.affine(code), False, False) + layer.bias[None, :, None, None]

    x = styled(decoder.conv, features, ws[:, 0])
    rgb = colour(decoder.to_rgb, x, ws[:, 1])
    for k, block in enumerate(decoder.blocks, start=1):
        x = styled(block.up_conv, x, ws[:, 2 * k - 1])
        x = styled(block.conv, x, ws[:, 2 * k])
        rgb = filtered(rgb, 2, 1, (2, 1), 4.0) + colour(block.to_rgb, x, ws[:, 2 * k + 1])
    return rgb


def logits_of(discriminator, x: Tensor) -> Tensor:
    def convolved(layer, x):
        kernel = layer.weight.shape[-1]
        weight = layer.weight * layer.scale
        if layer.down:
            pad = ((kernel + 2) // 2, (kernel + 1) // 2)
            x = F.conv2d(filtered(x, 1, 1, pad, 1.0), weight, stride=2)
        else:
            x = F.conv2d(x, weight, padding=kernel // 2)
        return x if layer.bias is None else F.leaky_relu(x + layer.bias[None, :, None, None], 0.2) * math.sqrt(2)

    x = convolved(discriminator.from_rgb, x)
    for block in discriminator.blocks:
        x = (convolved(block.conv2, convolved(block.conv1, x)) + convolved(block.skip, x)) / math.sqrt(2)
    batch = x.shape[0]
    group = math.gcd(batch, 4)
    std = (x.reshape(batch // group, group, *x.shape[1:]).var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    std = std.repeat_interleave(group)[:, None, None, None].expand(batch, 1, *x.shape[2:])
    x = convolved(discriminator.final_conv, torch.cat([x, std], dim=1)).flatten(1)
    first = discriminator.linear1
    x = F.linear(x, first.weight * first.weight_scale) + first.bias * first.bias_scale
    return discriminator.linear2(F.leaky_relu(x, 0.2) * math.sqrt(2))


def noises_of(decoder, batch: int, generators: list[torch.Generator]) -> list[Tensor]:
    """The random noise of our decoder, in its order."""
    layers = [decoder.conv] + [layer for block in decoder.blocks for layer in (block.up_conv, block.conv)]
    sizes = [(1, *layer.noise.shape[2:]) for layer in layers]
    return [torch.stack([torch.randn(size, generator=g, device=g.device) for g in generators]) for size in sizes]


def decoder_step(stage, generator, discriminator, optimizers, scenes, real, scenes_g, scenes_p) -> None:
    """One step of stage 2 with both penalties where they are due: D, R1, G, path length."""
    config, everything = stage.config, slice(None)
    generator_optimizer, discriminator_optimizer = optimizers

    def rendered(draws):
        with torch.no_grad():
            w = generator.renderer_mapping(draws["z"])
            model: StyleSDFConfig = generator.config
            size, samples = model.render_resolution, model.num_samples
            offset = w.new_zeros(len(w), size, size)
            features = render(generator, w, draws["pose"], offset, size, samples, False)[1]
        ws = generator.decoder_mapping(w)[:, None].expand(-1, model.num_ws, -1)
        noise = [torch.Generator(w.device).manual_seed(seed) for seed in draws["noise_seed"].tolist()]
        return features, ws, noise

    def image_of(features, ws, noise):
        return decode(generator.decoder, features, ws, noises_of(generator.decoder, len(ws), noise))

    with torch.no_grad():
        fake = image_of(*rendered(scenes))
    images = stage._real(real, everything)
    loss = F.softplus(-logits_of(discriminator, images)).mean() + F.softplus(logits_of(discriminator, fake)).mean()
    discriminator_optimizer.zero_grad()
    loss.backward()
    discriminator_optimizer.step()
    if stage.state.step % config.game.r1_every == 0:
        images = images.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(logits_of(discriminator, images).sum(), images, create_graph=True)
        discriminator_optimizer.zero_grad()
        (config.r1_gamma / 2 * config.game.r1_every * gradient.square().sum(dim=(1, 2, 3)).mean()).backward()
        discriminator_optimizer.step()

    discriminator.requires_grad_(False)
    image = image_of(*rendered(scenes_g))
    loss = F.softplus(-logits_of(discriminator, image)).mean()
    generator_optimizer.zero_grad()
    loss.backward()
    generator_optimizer.step()
    if scenes_p is not None:
        features, ws, noise = rendered(scenes_p)
        image = image_of(features, ws, noise)
        noise = torch.stack([torch.randn(image.shape[1:], generator=g, device=g.device) for g in noise])
        noise = noise / math.sqrt(image.shape[2] * image.shape[3])
        (gradient,) = torch.autograd.grad((image * noise).sum(), ws, create_graph=True)
        lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        mean = PATH_LENGTH_DECAY * lengths.mean().detach()  # from a running mean of 0
        penalty = (lengths - mean).square().mean()
        generator_optimizer.zero_grad()
        (config.path_length_weight * PATH_LENGTH_EVERY * penalty).backward()
        generator_optimizer.step()
    discriminator.requires_grad_(True)
