"""The field of some codes through ``torch.compile``.

Shapes: P points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from stylesdf.field import ConditionedField
from stylesdf.outputs import FieldOutput


@dataclass(frozen=True)
class CompiledField(ConditionedField):
    """The same through ``torch.compile`` where nothing is recorded; one compilation serves all codes of a model."""

    backend: str = "inductor"

    def __call__(self, points: Tensor, viewdirs: Tensor) -> FieldOutput:
        if torch.is_grad_enabled():
            return super().__call__(points, viewdirs)
        sdf, rgb, features = _compiled_evaluation(self.backend)(self, points, viewdirs)
        return FieldOutput(sdf=sdf, rgb=rgb, features=features)


@cache
def _compiled_evaluation(backend: str) -> Callable:
    return torch.compile(_evaluate, dynamic=True, backend=backend)  # the number of points differs from view to view


def _evaluate(field: ConditionedField, points: Tensor, viewdirs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    out = ConditionedField.__call__(field, points, viewdirs)
    return out.sdf, out.rgb, out.features
