"""The implicit field: points, view directions and a code give signed distance, colour and features.

A FiLM-SIREN (paper section 3.1, figure 3): sine layers whose frequency and phase are set by the code.
Shapes: B batch, P points, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig
from stylesdf.fast.convolution import affine
from stylesdf.fast.sine import cosine, sine
from stylesdf.ops import SLOPE
from stylesdf.outputs import FieldOutput


class FilmSine(nn.Module):
    """One layer h ← sin(γ ⊙ (W h + b) + φ), with γ = 15 (A w + a) + 30 and φ = 0.25 (C w + c)."""

    def __init__(self, in_size: int, out_size: int, latent_size: int, first: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(in_size, out_size)
        self.frequency = nn.Linear(latent_size, out_size)
        self.phase = nn.Linear(latent_size, out_size)
        if first:
            nn.init.uniform_(self.linear.weight, -1 / 3, 1 / 3)
        else:
            siren_init_(self.linear)
        for head in (self.frequency, self.phase):
            nn.init.kaiming_normal_(head.weight, a=SLOPE, mode="fan_in", nonlinearity="leaky_relu")
            with torch.no_grad():
                head.weight.mul_(0.25)

    def fold(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Fold frequency and phase into one matrix per code: γ ⊙ (W h + b) + φ = (γ W) h + (γ b + φ).

        Returns:
            Matrix ``(B, in, out)`` and offset ``(B, 1, out)``.
        """
        frequency = 15.0 * self.frequency(w) + 30.0  # (B, out)
        phase = 0.25 * self.phase(w)
        matrix = self.linear.weight.t()[None] * frequency[:, None]  # (B, in, out)
        return matrix, (self.linear.bias * frequency + phase)[:, None]


def siren_init_(linear: nn.Linear) -> None:
    """Initialise weights uniformly in ±√(6/in)/25; biases keep PyTorch's ±√(1/in)."""
    bound = math.sqrt(6 / linear.in_features) / 25
    nn.init.uniform_(linear.weight, -bound, bound)


class Field(nn.Module):
    """The FiLM-SIREN signed distance field."""

    def __init__(self, config: StyleSDFConfig) -> None:
        super().__init__()
        width, latent = config.field_width, config.latent_size
        sizes = [3] + [width] * config.field_depth
        self.layers = nn.ModuleList(
            FilmSine(sizes[i], sizes[i + 1], latent, first=i == 0) for i in range(config.field_depth)
        )
        self.view_layer = FilmSine(width + (3 if config.view_directions else 0), width, latent)
        self.sdf_head = nn.Linear(width, 1)
        self.rgb_head = nn.Linear(width, 3)
        siren_init_(self.sdf_head)
        siren_init_(self.rgb_head)
        # x̂ = 2x / (far − near)
        self.point_scale = 2.0 / (config.far - config.near)
        self.view_directions = config.view_directions

    def condition(self, w: Tensor) -> ConditionedField:
        """Fix the code. ``w`` is ``(B, latent_size)``; the result is called with points."""
        first, first_offset = self.layers[0].fold(w)
        return ConditionedField(
            layers=[(first * self.point_scale, first_offset)] + [layer.fold(w) for layer in self.layers[1:]],
            view_layer=self.view_layer.fold(w),
            sdf_head=self.sdf_head,
            rgb_head=self.rgb_head,
            view_directions=self.view_directions,
        )


@dataclass(frozen=True)
class ConditionedField:
    """The field of one batch of codes: one matrix product and one sine per layer."""

    layers: list[tuple[Tensor, Tensor]]
    view_layer: tuple[Tensor, Tensor]
    sdf_head: nn.Linear
    rgb_head: nn.Linear
    view_directions: bool

    @property
    def batch_size(self) -> int:
        return self.view_layer[0].shape[0]

    def sdf(self, points: Tensor) -> Tensor:
        """Return the signed distance ``(B, P)`` at world points ``(B, P, 3)``."""
        return self.sdf_head(self._trunk(points)).squeeze(-1)

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signed distance ``(B, P)`` and its gradient ``(B, P, 3)`` at world points ``(B, P, 3)``.

        ∇ₓ sdf = Mᵀ₁ (cos a₁ ⊙ … Mᵀₙ (cos aₙ ⊙ sdf head)) for h ← sin(aₖ), aₖ = h Mₖ + oₖ: one backward sweep that is
        written out, so that training differentiates it once instead of differentiating a derivative.
        """
        sdf, gradient, _ = self._sweep(points)
        return sdf, gradient

    def with_gradient(self, points: Tensor, viewdirs: Tensor) -> tuple[FieldOutput, Tensor]:
        """Evaluate everything as when called, and the gradient of the signed distance as well, ``(B, P, 3)``."""
        sdf, gradient, hidden = self._sweep(points)
        rgb, features = self._colour(hidden, viewdirs)
        return FieldOutput(sdf=sdf, rgb=rgb, features=features), gradient

    def surface(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate what a mesh needs at points of the surface, world points ``(B, P, 3)``.

        Returns:
            Unit normals, the gradient's direction, zero where it vanishes, and the colour before the sigmoid as seen by
            an eye that looks along the inward normal; both ``(B, P, 3)``.
        """
        _, gradient, hidden = self._sweep(points)
        normals = F.normalize(gradient, dim=-1)
        return normals, self._colour(hidden, -normals)[0]

    def _sweep(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, slopes = points, []
        for matrix, offset in self.layers:
            hidden, slope = SineAndCosine.apply(affine(hidden, matrix, offset))
            slopes.append(slope)
        gradient = self.sdf_head.weight.expand(points.shape[0], 1, -1)  # (B, 1, C), for all points alike
        for (matrix, _), slope in zip(reversed(self.layers), reversed(slopes)):
            gradient = affine(gradient * slope, matrix.transpose(1, 2))
        return self.sdf_head(hidden).squeeze(-1), gradient, hidden

    def __call__(self, points: Tensor, viewdirs: Tensor) -> FieldOutput:
        """Evaluate everything.

        Args:
            points: World points. ``(B, P, 3)``.
            viewdirs: Unit view directions, ``(B, P, 3)``; unread by a field without view directions.
        """
        hidden = self._trunk(points)
        sdf = self.sdf_head(hidden).squeeze(-1)
        rgb, features = self._colour(hidden, viewdirs)
        return FieldOutput(sdf=sdf, rgb=rgb, features=features)

    def _colour(self, hidden: Tensor, viewdirs: Tensor) -> tuple[Tensor, Tensor]:
        before = hidden if not self.view_directions else torch.cat([hidden, viewdirs.expand(*hidden.shape[:2], 3)], -1)
        features = _sine_layer(before, *self.view_layer)
        head = self.rgb_head
        rgb = affine(features, head.weight.t().expand(self.batch_size, -1, -1), head.bias.expand(self.batch_size, 1, 3))
        return rgb, features

    def _trunk(self, points: Tensor) -> Tensor:
        hidden = points
        for layer in self.layers:
            hidden = _sine_layer(hidden, *layer)
        return hidden


class SineAndCosine(torch.autograd.Function):
    """sin x and cos x, each of which is the other's derivative: nothing is computed again on the way back."""

    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor]:
        both = sine(x), cosine(x)
        ctx.save_for_backward(*both)
        return both

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, sine_gradient: Tensor, cosine_gradient: Tensor) -> Tensor:
        sine_of_x, cosine_of_x = ctx.saved_tensors
        return sine_gradient * cosine_of_x - cosine_gradient * sine_of_x


def _sine_layer(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    x = affine(x, matrix, offset)
    return torch.sin(x) if x.requires_grad else sine(x, out=x)


def sphere_initialize(
    field: Field,
    steps: int,
    draw_codes,
    learning_rate: float = 1e-4,
    radius: float | None = None,
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
    points_per_code: int = 512,
    generator: torch.Generator | None = None,
) -> float:
    """Fit the field to a sphere before training (paper section 3.3).

    Args:
        field: Changed in place; only the field learns, codes are drawn without gradient.
        steps: Number of Adam steps (10,000 in the paper).
        draw_codes: Function without arguments that returns renderer codes ``(B, latent_size)``.
        learning_rate: Adam's.
        radius: World units; None is (far − near)/4, the paper's.
        centre: Of the sphere, world units.
        points_per_code: Points per code and step, uniform in the cube around the scene ball.
        generator: CPU source of randomness.

    Returns:
        The last mean absolute error, world units.
    """
    extent = 1.0 / field.point_scale  # (far − near) / 2
    radius = extent / 2 if radius is None else radius
    parameters = list(field.layers.parameters()) + list(field.sdf_head.parameters())
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    device = field.sdf_head.weight.device
    loss = torch.zeros(())
    for _ in range(steps):
        with torch.no_grad():
            codes = draw_codes()
        points = (torch.rand(codes.shape[0], points_per_code, 3, generator=generator) * 2 - 1).to(device) * extent
        loss = sphere_loss(field, codes, points, radius, centre)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return loss.item()


def sphere_loss(field: Field, codes: Tensor, points: Tensor, radius: float, centre=(0.0, 0.0, 0.0)) -> Tensor:
    """Return the mean |sdf − (‖x − centre‖ − radius)| over world points ``(B, P, 3)`` of codes ``(B, latent_size)``."""
    target = (points - points.new_tensor(centre)).norm(dim=-1) - radius
    return (field.condition(codes).sdf(points) - target).abs().mean()
