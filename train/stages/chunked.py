"""The field in training: its gradients are carried back in chunks, whose activations fit the cache.

On a GPU, where many small chunks would wait for their launch, a chunk holds points of all codes.

Shapes: B batch, P points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig
from stylesdf.fast.surface import SurfaceGuide, render_guided_batch
from stylesdf.field import ConditionedField
from stylesdf.model import Generator
from stylesdf.outputs import FieldOutput, RenderOutput
from train.config import CHUNK_POINTS, GUIDE_SIDE, KEPT_NUMBERS
from train.losses import eikonal_loss
from train.stages.sweep import Sweep

CHUNK_POINTS_GPU = 2**20  # of all codes together
KEPT_NUMBERS_GPU = 2**32


class ChunkedField:
    """A conditioned field whose outputs are leaves: ``backward`` takes the gradients that arrived there further.

    Points go in chunks, forth and back. Where all activations together are large they are computed again on the way
    back, so that memory does not grow with the number of samples. The eikonal loss at the samples is added on the way
    back, where the activations are at hand. Without gradients it is the field itself.

    Args:
        field: Whose matrices depend on the networks' parameters.
        eikonal_weight: Of the mean (‖∇ₓ sdf‖ − 1)² over all points it is called with; 0 leaves it out.
        by_code: Whether a chunk holds points of one code; None: on a CPU.

    Attributes:
        eikonal: That mean, after ``backward``.
    """

    def __init__(self, field: ConditionedField, eikonal_weight: float = 0.0, by_code: bool | None = None) -> None:
        self._field = field
        self._matrices = [tensor for layer in (*field.layers, field.view_layer) for tensor in layer]
        self._by_code = self._matrices[0].device.type == "cpu" if by_code is None else by_code
        # fields of some codes each, whose matrices are leaves: chunks' gradients add up there
        self._codes_each = 1 if self._by_code else field.batch_size
        parts = [matrix.split(self._codes_each) for matrix in self._matrices]
        self._leaves = [
            [part.detach().requires_grad_(part.requires_grad) for part in matrices] for matrices in zip(*parts)
        ]
        self._fields = [_with_matrices(field, leaves) for leaves in self._leaves]
        self._eikonal_weight = eikonal_weight
        self._chunks: list[Sweep | _Recorded] = []
        self._guides: dict[int, list[SurfaceGuide]] = {}
        self.eikonal = torch.zeros((), device=self._matrices[0].device)

    @property
    def batch_size(self) -> int:
        return self._field.batch_size

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signed distance ``(B, P)`` and its gradient ``(B, P, 3)``; not chunked."""
        both = [field.sdf_and_gradient(own) for field, own in zip(self._fields, points.split(self._codes_each))]
        return torch.cat([sdf for sdf, _ in both]), torch.cat([gradient for _, gradient in both])

    def __call__(self, points: Tensor, viewdirs: Tensor) -> FieldOutput:
        """Evaluate signed distance and colour; features are left out where gradients are wanted."""
        if not torch.is_grad_enabled():
            return self._field(points, viewdirs)
        self._num_points = points.shape[0] * points.shape[1]
        channels = sum(leaf.shape[-1] for leaf in self._leaves[0])
        keep = self._num_points * channels <= (KEPT_NUMBERS if self._by_code else KEPT_NUMBERS_GPU)
        pairs = zip(points.split(self._codes_each), viewdirs.split(self._codes_each))
        outs = [self._evaluate_chunks(field, *pair, keep) for field, pair in zip(self._fields, pairs)]
        return FieldOutput(
            sdf=torch.cat([out.sdf for out in outs]), rgb=torch.cat([out.rgb for out in outs]), features=None
        )

    @torch.no_grad()
    def guides(self, config: StyleSDFConfig, side: int = GUIDE_SIDE) -> list[SurfaceGuide]:
        """Return a grid of each code's signed distance with so many samples per side, measured at the first call."""
        if side not in self._guides:
            fields = map(self._of_one, range(self.batch_size))
            self._guides[side] = [SurfaceGuide.measure(field, config, side) for field in fields]
        return self._guides[side]

    def of_code(self, index: int) -> Callable[[Tensor, Tensor], FieldOutput]:
        """Return the field of one code, for points ``(1, P, 3)`` of its own; the eikonal loss must be left out."""
        assert not self._eikonal_weight
        return partial(self._evaluate_chunks, self._of_one(index))

    def _of_one(self, index: int) -> ConditionedField:
        if self._codes_each == 1:
            return self._fields[index]
        return _with_matrices(self._field, [leaf[index : index + 1] for leaf in self._leaves[0]])

    def _evaluate_chunks(self, field: ConditionedField, points: Tensor, viewdirs: Tensor, keep=True) -> FieldOutput:
        if not torch.is_grad_enabled():
            return field(points, viewdirs)
        size = CHUNK_POINTS if self._by_code else max(1, CHUNK_POINTS_GPU // len(points))
        pairs = zip(points.split(size, dim=1), viewdirs.split(size, dim=1))
        chunks = [self._forward(field, keep, *pair) for pair in pairs]
        self._chunks += chunks
        sdf, rgb = (torch.cat([getattr(chunk, name) for chunk in chunks], dim=1) for name in ("sdf", "rgb"))
        return FieldOutput(sdf=sdf, rgb=rgb, features=None)

    def _forward(self, field: ConditionedField, keep: bool, points: Tensor, viewdirs: Tensor) -> Sweep | _Recorded:
        if not self._eikonal_weight:
            return Sweep(field, points, viewdirs, keep)
        share = points.shape[0] * points.shape[1] / self._num_points
        return _Recorded(field, points, viewdirs, keep, share, self._eikonal_weight)

    def backward(self) -> None:
        """Carry the gradients at the outputs, and the eikonal loss's, back into the networks' parameters."""
        eikonal = []
        while self._chunks:
            eikonal.append(self._chunks.pop().backward())
        if self._eikonal_weight:
            self.eikonal = torch.stack(eikonal).sum()
        gradients = [torch.cat([_gradient(leaf) for leaf in leaves]) for leaves in zip(*self._leaves)]
        torch.autograd.backward(self._matrices, gradients)


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _with_matrices(field: ConditionedField, matrices: list[Tensor]) -> ConditionedField:
    """Return a field with other matrices: layer by layer and the view layer's, each with its offset."""
    *layers, view_layer = zip(matrices[::2], matrices[1::2])
    return replace(field, layers=layers, view_layer=view_layer)


class _Recorded:
    """As ``Sweep``, by torch's own record, which knows second derivatives: for the eikonal loss at the points.

    Args:
        share: Of all points, that these are.
        weight: Of the eikonal loss.
    """

    def __init__(
        self, field: ConditionedField, points: Tensor, viewdirs: Tensor, keep: bool, share: float, weight: float
    ) -> None:
        self._inputs, self._share, self._weight = (field, points, viewdirs), share, weight
        if keep:
            self._kept = out, _ = self._evaluate()
        else:
            self._kept = None
            with torch.no_grad():
                out = field(points, viewdirs)
        self.sdf, self.rgb = out.sdf.detach().requires_grad_(), out.rgb.detach().requires_grad_()

    def _evaluate(self) -> tuple[FieldOutput, Tensor]:
        field, points, viewdirs = self._inputs
        out, gradient = field.with_gradient(points, viewdirs)
        return out, eikonal_loss(gradient) * self._share

    def backward(self) -> Tensor:
        """Carry the gradients further; return the eikonal loss of these points, in shares of all."""
        out, loss = self._kept or self._evaluate()
        arrived = [(out.sdf, self.sdf.grad), (out.rgb, self.rgb.grad), (loss, torch.full_like(loss, self._weight))]
        torch.autograd.backward(*zip(*(pair for pair in arrived if pair[1] is not None)))
        return loss.detach()


def render_field(
    generator: Generator,
    field: ChunkedField,
    camera: Camera,
    offset: Tensor | None,
    resolution: int,
    num_samples: int,
    surface_guided: bool,
) -> RenderOutput:
    """Render fields as training sees them: world view directions, no opaque background, no feature map.

    Args:
        generator: Whose renderer it is.
        field: Of B codes.
        camera: B cameras.
        offset: Of each ray's samples, in [0, 1), ``(B, H, W)``; None is 0.
        resolution: Height and width in pixels.
        num_samples: Samples per ray.
        surface_guided: Ask the field only where a coarse grid of it says that light can be taken or given. Without
            effect on a GPU, where all samples of all codes are asked for at once.
    """
    options = {"resolution": resolution, "num_samples": num_samples, "viewdirs": "world", "with_features": False}
    if not surface_guided or camera.cam2world.device.type != "cpu":
        return generator.render(field, camera, offset=offset, opaque_background=False, **options)
    fields = [field.of_code(index) for index in range(field.batch_size)]
    return render_guided_batch(generator.renderer, fields, field.guides(generator.config), camera, offset, **options)
