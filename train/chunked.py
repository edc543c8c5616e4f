"""The field in training: its gradients are carried back in chunks, whose activations fit the cache.

Shapes: B batch, P points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from stylesdf.camera import Camera
from stylesdf.config import StyleSDFConfig
from stylesdf.field import ConditionedField
from stylesdf.model import Generator
from stylesdf.outputs import FieldOutput, RenderOutput
from stylesdf.surface import SurfaceGuide, render_guided_batch
from train.config import Phase
from train.losses import eikonal_loss

CHUNK_POINTS = 4096
CHUNK_POINTS_GPU = 2**16
KEPT_NUMBERS = 2**28  # activations of fewer numbers than this are kept for the way back instead of computed again


class ChunkedField:
    """A conditioned field whose outputs are leaves: ``backward`` takes the gradients that arrived there further.

    Each code's points go in chunks, forth and back. Where all activations together are large they are computed again
    on the way back, so that memory does not grow with the number of samples. The eikonal loss at the samples is added
    on the way back, where the activations are at hand. Without gradients it is the field itself.

    Args:
        field: Whose matrices depend on the networks' parameters.
        eikonal_weight: Of the mean (‖∇ₓ sdf‖ − 1)² over all points it is called with; 0 leaves it out.

    Attributes:
        eikonal: That mean, after ``backward``.
    """

    def __init__(self, field: ConditionedField, eikonal_weight: float = 0.0) -> None:
        self._field = field
        self._matrices = [tensor for layer in (*field.layers, field.view_layer) for tensor in layer]
        # one field per code, whose matrices are leaves: chunks' gradients add up there
        self._leaves = [
            [matrix[index : index + 1].detach().requires_grad_(matrix.requires_grad) for matrix in self._matrices]
            for index in range(field.batch_size)
        ]
        pairs = [list(zip(leaves[::2], leaves[1::2])) for leaves in self._leaves]
        self._fields = [replace(field, layers=layers[:-1], view_layer=layers[-1]) for layers in pairs]
        self._eikonal_weight = eikonal_weight
        self._chunks: list[_Chunk] = []
        self._guides: list[SurfaceGuide] | None = None
        self.eikonal = torch.zeros((), device=self._matrices[0].device)

    @property
    def batch_size(self) -> int:
        return self._field.batch_size

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signed distance ``(B, P)`` and its gradient ``(B, P, 3)``; not chunked."""
        both = [field.sdf_and_gradient(own[None]) for field, own in zip(self._fields, points)]
        return torch.cat([sdf for sdf, _ in both]), torch.cat([gradient for _, gradient in both])

    def __call__(self, points: Tensor, viewdirs: Tensor) -> FieldOutput:
        """Evaluate signed distance and colour; features are left out where gradients are wanted."""
        if not torch.is_grad_enabled():
            return self._field(points, viewdirs)
        self._num_points = points.shape[0] * points.shape[1]
        keep = self._num_points * sum(leaf.shape[-1] for leaf in self._leaves[0]) <= KEPT_NUMBERS
        outs = [self._evaluate_code(*own, keep) for own in zip(self._fields, points.split(1), viewdirs.split(1))]
        return FieldOutput(
            sdf=torch.cat([out.sdf for out in outs]), rgb=torch.cat([out.rgb for out in outs]), features=None
        )

    @torch.no_grad()
    def guides(self, config: StyleSDFConfig) -> list[SurfaceGuide]:
        """Return a coarse grid of each code's signed distance, measured at the first call."""
        if self._guides is None:
            self._guides = [SurfaceGuide.measure(field, config) for field in self._fields]
        return self._guides

    def of_code(self, index: int) -> Callable[[Tensor, Tensor], FieldOutput]:
        """Return the field of one code, for points ``(1, P, 3)`` of its own; the eikonal loss must be left out."""
        assert not self._eikonal_weight
        return partial(self._evaluate_code, self._fields[index])

    def _evaluate_code(self, field: ConditionedField, points: Tensor, viewdirs: Tensor, keep=True) -> FieldOutput:
        if not torch.is_grad_enabled():
            return field(points, viewdirs)
        size = CHUNK_POINTS if points.device.type == "cpu" else CHUNK_POINTS_GPU
        pairs = zip(points.split(size, dim=1), viewdirs.split(size, dim=1))
        chunks = [self._forward(field, keep, *pair) for pair in pairs]
        self._chunks += chunks
        sdf, rgb = (torch.cat([getattr(chunk, name) for chunk in chunks], dim=1) for name in ("sdf", "rgb"))
        return FieldOutput(sdf=sdf, rgb=rgb, features=None)

    def _forward(self, field: ConditionedField, keep: bool, points: Tensor, viewdirs: Tensor) -> _Chunk:
        if keep:
            out, loss = self._evaluate(field, points, viewdirs)
        else:
            with torch.no_grad():
                out, loss = field(points, viewdirs), None
        sdf, rgb = out.sdf.detach().requires_grad_(), out.rgb.detach().requires_grad_()
        return _Chunk(field, points, viewdirs, sdf, rgb, (out, loss) if keep else None)

    def _evaluate(self, field: ConditionedField, points: Tensor, viewdirs: Tensor) -> tuple[FieldOutput, Tensor | None]:
        if not self._eikonal_weight:
            return field(points, viewdirs), None
        out, gradient = field.with_gradient(points, viewdirs)
        return out, eikonal_loss(gradient) * (points.shape[1] / self._num_points)

    def backward(self) -> None:
        """Carry the gradients at the outputs, and the eikonal loss's, back into the networks' parameters."""
        eikonal = []
        while self._chunks:
            chunk = self._chunks.pop()
            out, loss = chunk.kept or self._evaluate(chunk.field, chunk.points, chunk.viewdirs)
            roots, gradients = [out.sdf, out.rgb], [chunk.sdf.grad, chunk.rgb.grad]
            if loss is not None:
                roots.append(loss)
                gradients.append(torch.full_like(loss, self._eikonal_weight))
                eikonal.append(loss.detach())
            torch.autograd.backward(roots, gradients)
        if eikonal:
            self.eikonal = torch.stack(eikonal).sum()
        arrived = [torch.cat([leaf.grad for leaf in leaves]) for leaves in zip(*self._leaves)]
        torch.autograd.backward(self._matrices, arrived)


@dataclass
class _Chunk:
    """Some points of one code, what came out there, and the graph to it where that is kept."""

    field: ConditionedField
    points: Tensor
    viewdirs: Tensor
    sdf: Tensor
    rgb: Tensor
    kept: tuple | None


def render_phase(
    generator: Generator, field: ChunkedField, camera: Camera, offset: Tensor, phase: Phase
) -> RenderOutput:
    """Render fields as a phase of stage 1 says, in training mode: world view directions, no opaque background.

    Args:
        generator: Whose renderer it is.
        field: Of B codes.
        camera: B cameras.
        offset: Of each ray's samples, in [0, 1). ``(B, H, W)``.
        phase: Its resolution, samples per ray, and whether the field is asked only where a coarse grid of it says that
            light can be taken or given.
    """
    options = {"resolution": phase.resolution, "num_samples": phase.num_samples, "viewdirs": "world"}
    options["with_features"] = False
    if not phase.surface_guided:
        return generator.render(field, camera, offset=offset, opaque_background=False, **options)
    fields = [field.of_code(index) for index in range(field.batch_size)]
    guides = field.guides(generator.config)
    return render_guided_batch(generator.renderer, fields, guides, camera, offset, **options)
