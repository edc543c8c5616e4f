"""The generator: the order in which mapping, rendering and synthesis happen. No maths here.

Shapes: B batch, P points, L decoder codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stylesdf.arguments import check_integer, check_number
from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig
from stylesdf.decoder import Decoder
from stylesdf.fast.decoder import decode
from stylesdf.field import ConditionedField, Field
from stylesdf.mapping import DecoderMapping, RendererMapping, truncate
from stylesdf.outputs import RenderOutput, StyleSDFOutput
from stylesdf.renderer import VolumeRenderer


class Generator(nn.Module):
    """z and a camera to thumbnail, image and geometry (paper figure 2).

    Args:
        config: Sizes and scene.

    Attributes:
        w_avg: Mean renderer code, the centre of truncation. ``(1, latent_size)``.
        ws_avg: Mean decoder code. ``(1, decoder_style_size)``; absent in a renderer-only model.
    """

    def __init__(self, config: StyleSDFConfig) -> None:
        super().__init__()
        self.config = config
        self.renderer_mapping = RendererMapping(config)
        self.field = Field(config)
        self.renderer = VolumeRenderer(config)
        self.register_buffer("w_avg", torch.zeros(1, config.latent_size))
        if config.has_decoder:
            self.decoder_mapping = DecoderMapping(config)
            self.decoder = Decoder(config)
            self.register_buffer("ws_avg", torch.zeros(1, config.decoder_style_size))

    @property
    def device(self) -> torch.device:
        return self.w_avg.device

    @property
    def dtype(self) -> torch.dtype:
        return self.w_avg.dtype

    def mapping(self, z: Tensor, psi: float = 1.0) -> Tensor:
        """Map latents to renderer codes, truncated.

        Args:
            z: Gaussian latents. ``(B, latent_size)``.
            psi: Truncation in [0, 1]; 1 is none, 0 the mean head.

        Returns:
            w, ``(B, latent_size)``.

        Raises:
            ValueError: A wrong shape or psi.
        """
        if z.dim() != 2 or z.shape[1] != self.config.latent_size:
            raise ValueError(f"z has shape {tuple(z.shape)}, expected (B, {self.config.latent_size})")
        _check_psi(psi)
        return truncate(self.renderer_mapping(z.to(self.w_avg)), self.w_avg, psi)

    def decoder_codes(
        self, w: Tensor, psi: float = 1.0, mix_w: Tensor | None = None, inject_index: int | None = None
    ) -> Tensor:
        """Map renderer codes to decoder codes, one per layer.

        Args:
            w: Truncated renderer codes. ``(B, latent_size)``.
            psi: Truncation in the decoder's space, in [0, 1].
            mix_w: Renderer codes of a second latent, whose style the later layers take. ``(B, latent_size)``.
            inject_index: First layer with the second style, from 1 to L; needed with ``mix_w``.

        Returns:
            ws, ``(B, L, decoder_style_size)``.

        Raises:
            ValueError: A wrong psi or inject_index, or a renderer-only model.
        """
        if not self.config.has_decoder:
            raise ValueError("this is a renderer-only model, it has no decoder codes")
        _check_psi(psi)
        if mix_w is not None:
            num_ws = self.config.num_ws
            inject_index = check_integer("inject_index", inject_index, 1, num_ws)
            if mix_w.shape != w.shape:
                raise ValueError(f"{mix_w.shape[0]} latents to mix with {w.shape[0]}, expected as many")
        return self._decoder_codes(w, psi, mix_w, inject_index)

    def _decoder_codes(self, w: Tensor, psi: float, mix_w: Tensor | None, inject_index: int | None) -> Tensor:
        """Do what ``decoder_codes`` does with arguments that have been checked."""
        num_ws = self.config.num_ws
        ws = truncate(self.decoder_mapping(w), self.ws_avg, psi)[:, None].repeat(1, num_ws, 1)
        if mix_w is None:
            return ws
        mix = truncate(self.decoder_mapping(mix_w), self.ws_avg, psi)[:, None]
        return torch.cat([ws[:, :inject_index], mix.expand(-1, num_ws - inject_index, -1)], dim=1)

    def render(self, w: Tensor | ConditionedField, camera: Camera, **options: Any) -> RenderOutput:
        """Volume-render the field of some codes.

        Args:
            w: Renderer codes ``(B, latent_size)``, or the field already conditioned on them: with one identity and
                many views, ``model.field.condition(w)`` is computed once.
            camera: One camera, or one per code.
            **options: ``resolution``, ``num_samples``, ``offset``, ``viewdirs``, ``opaque_background``,
                ``with_features`` of ``VolumeRenderer.forward``.
        """
        field = self.field.condition(w) if isinstance(w, Tensor) else w
        batch_size = field.batch_size
        return self.renderer(field, camera.to(self.device, self.dtype).expand(batch_size), **options)

    def synthesis(
        self,
        features: Tensor,
        ws: Tensor,
        noise_mode: str = "const",
        generators: Sequence[torch.Generator] | None = None,
    ) -> Tensor:
        """Decode a feature map to an image.

        Args:
            features: Of ``render``. ``(B, C, H, W)``.
            ws: Of ``decoder_codes``. ``(B, L, decoder_style_size)``.
            noise_mode: ``"const"`` (the stored noise), ``"random"`` or ``"none"``.
            generators: One ``torch.Generator`` of random noise per sample; None is the global one.

        Returns:
            Image, about [−1, 1]. ``(B, 3, R, R)``.

        Raises:
            ValueError: A renderer-only model, or an unknown ``noise_mode``.
        """
        if not self.config.has_decoder:
            raise ValueError("this is a renderer-only model, it has no decoder")
        return decode(self.decoder, features, ws, noise_mode, generators)

    def sdf(self, points: Tensor, w: Tensor) -> Tensor:
        """Evaluate the signed distance field.

        Args:
            points: World points, ``(P, 3)`` for all codes or ``(B, ..., P, 3)``, one set per code.
            w: Renderer codes. ``(B, latent_size)``.

        Returns:
            Signed distance in world units, negative inside, of the points' shape without its last axis; one code
            and ``(P, 3)`` points give ``(P,)``, B codes ``(B, P)``.

        Raises:
            ValueError: Shapes that do not fit.
        """
        if points.shape[-1:] != (3,) or points.dim() < 2:
            raise ValueError(f"points have shape {tuple(points.shape)}, expected (..., P, 3)")
        if w.dim() != 2 or w.shape[1] != self.config.latent_size:
            raise ValueError(f"w has shape {tuple(w.shape)}, expected (B, {self.config.latent_size})")
        batch = w.shape[0]
        points = points.to(self.w_avg)
        if batch == 1:
            return self.field.condition(w).sdf(points.reshape(1, -1, 3)).view(points.shape[:-1])
        if points.dim() == 2:
            points = points.expand(batch, *points.shape)
        if points.shape[0] != batch:
            shape = tuple(points.shape)
            raise ValueError(f"points have shape {shape} for {batch} codes, expected ({batch}, ..., P, 3)")
        return self.field.condition(w).sdf(points.reshape(batch, -1, 3)).view(points.shape[:-1])

    def forward(
        self,
        z: Tensor,
        camera: Camera,
        psi: float = 1.0,
        noise_mode: str = "const",
        mix_z: Tensor | None = None,
        inject_index: int | None = None,
    ) -> StyleSDFOutput:
        """Generate.

        Args:
            z: Gaussian latents. ``(B, latent_size)``.
            camera: One camera, or one per latent.
            psi: Truncation in [0, 1]; 1 is none.
            noise_mode: ``"const"``, ``"random"`` or ``"none"``, the decoder's noise.
            mix_z: Latents whose style the decoder takes from layer ``inject_index`` on; shape stays with ``z``.
            inject_index: From 1 to the number of decoder codes.

        Raises:
            ValueError: An argument of the wrong shape or out of range.
        """
        w = self.mapping(z, psi)
        rendering = self.render(w, camera)
        image = None
        if self.config.has_decoder:
            mix_w = None if mix_z is None else self.mapping(mix_z, psi)
            image = self.synthesis(rendering.features, self.decoder_codes(w, psi, mix_w, inject_index), noise_mode)
        return StyleSDFOutput(
            image=image,
            thumbnail=rendering.thumbnail,
            features=rendering.features,
            xyz=rendering.xyz,
            depth=rendering.depth,
            background=rendering.background,
        )

    @torch.no_grad()
    def update_means(self, num_draws: int = 10_000, seed: int = 0) -> None:
        """Set ``w_avg`` and ``ws_avg`` to the mean codes, the centre of truncation.

        Args:
            num_draws: Number of latents (paper: 10,000).
            seed: Of the latents, whatever the global state of randomness.
        """
        z = torch.randn(num_draws, self.config.latent_size, generator=torch.Generator().manual_seed(seed))
        w = self.renderer_mapping(z.to(self.w_avg))
        self.w_avg.copy_(w.mean(dim=0, keepdim=True))
        if self.config.has_decoder:
            self.ws_avg.copy_(self.decoder_mapping(w).mean(dim=0, keepdim=True))


def _check_psi(psi: float) -> None:
    if not 0.0 <= check_number("psi", psi) <= 1.0:
        raise ValueError(f"psi is {psi!r}, expected truncation in [0, 1]")
