"""The field in training: its gradients are carried back in chunks, whose activations fit the cache.

Shapes: B batch, P points.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from stylesdf.field import ConditionedField
from stylesdf.outputs import FieldOutput
from train.losses import eikonal_loss

CHUNK_POINTS = 4096  # of all codes together
KEPT_NUMBERS = 2**25  # activations of fewer numbers than this are kept for the way back instead of computed again


class ChunkedField:
    """A conditioned field whose outputs are leaves: ``backward`` takes the gradients that arrived there further.

    What a chunk needs on the way back is computed again, chunk by chunk, unless all of it is small; memory does not
    grow with the number of samples. The eikonal loss at the samples is added on the way back, where the activations
    are at hand. Without gradients it is the field itself.

    Args:
        field: Whose matrices depend on the networks' parameters.
        eikonal_weight: Of the mean (‖∇ₓ sdf‖ − 1)² over all points it is called with; 0 leaves it out.

    Attributes:
        eikonal: That mean, after ``backward``.
    """

    def __init__(self, field: ConditionedField, eikonal_weight: float = 0.0) -> None:
        matrices = [tensor for layer in (*field.layers, field.view_layer) for tensor in layer]
        self._matrices = matrices
        self._leaves = [matrix.detach().requires_grad_(matrix.requires_grad) for matrix in matrices]
        pairs = list(zip(self._leaves[::2], self._leaves[1::2]))
        self._field = replace(field, layers=pairs[:-1], view_layer=pairs[-1])
        self._eikonal_weight = eikonal_weight
        self._chunks: list[tuple] = []
        self.eikonal = torch.zeros(())

    @property
    def batch_size(self) -> int:
        return self._field.batch_size

    def sdf_and_gradient(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signed distance ``(B, P)`` and its gradient ``(B, P, 3)``; not chunked."""
        return self._field.sdf_and_gradient(points)

    def __call__(self, points: Tensor, viewdirs: Tensor) -> FieldOutput:
        """Evaluate signed distance and colour; features are left out where gradients are wanted."""
        if not torch.is_grad_enabled():
            return self._field(points, viewdirs)
        size = max(1, CHUNK_POINTS // points.shape[0])
        numbers = points.shape[0] * points.shape[1] * self._leaves[0].shape[-1] * len(self._leaves)
        keep = numbers <= KEPT_NUMBERS
        if keep:
            size = points.shape[1]
        for chunk in zip(points.split(size, dim=1), viewdirs.split(size, dim=1)):
            if keep:
                out, loss = self._evaluate(*chunk, points.shape[1])
            else:
                with torch.no_grad():
                    out, loss = self._field(*chunk), None
            sdf, rgb = out.sdf.detach(), out.rgb.detach()
            self._chunks.append((chunk, (out, loss) if keep else None, sdf.requires_grad_(), rgb.requires_grad_()))
        return FieldOutput(
            sdf=torch.cat([chunk[2] for chunk in self._chunks], dim=1),
            rgb=torch.cat([chunk[3] for chunk in self._chunks], dim=1),
            features=None,
        )

    def _evaluate(self, points: Tensor, viewdirs: Tensor, num_points: int) -> tuple[FieldOutput, Tensor | None]:
        if not self._eikonal_weight:
            return self._field(points, viewdirs), None
        out, gradient = self._field.with_gradient(points, viewdirs)
        return out, eikonal_loss(gradient) * (points.shape[1] / num_points)

    def backward(self) -> None:
        """Carry the gradients at the outputs, and the eikonal loss's, back into the networks' parameters."""
        num_points = sum(sdf.shape[1] for _, _, sdf, _ in self._chunks)
        eikonal = []
        for chunk, kept, sdf, rgb in self._chunks:
            out, loss = kept or self._evaluate(*chunk, num_points)
            roots, gradients = [out.sdf, out.rgb], [sdf.grad, rgb.grad]
            if loss is not None:
                roots.append(loss)
                gradients.append(torch.full_like(loss, self._eikonal_weight))
                eikonal.append(loss.detach())
            torch.autograd.backward(roots, gradients)
        self._chunks = []
        if eikonal:
            self.eikonal = torch.stack(eikonal).sum()
        arrived = [(matrix, leaf.grad) for matrix, leaf in zip(self._matrices, self._leaves) if leaf.grad is not None]
        torch.autograd.backward(*zip(*arrived))
