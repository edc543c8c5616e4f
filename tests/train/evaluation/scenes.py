"""Known shapes in place of a field, to be measured."""

import torch
import torch.nn.functional as F
from torch import nn

from stylesdf.outputs import FieldOutput
from tests.fields import gradient_of
from train.evaluation import views

RADIUS = 0.06


def ball(points):
    return points.norm(dim=-1) - RADIUS


def mask(points):
    """The back half of a hollow ball: an empty bowl towards the frontal camera."""
    shell = (points.norm(dim=-1) - RADIUS).abs() - 0.01
    return torch.maximum(shell, points[..., 2] + 0.01)


def plate(points):
    """A disc of the ball's width that faces the frontal camera."""
    return torch.maximum(points[..., :2].norm(dim=-1) - RADIUS, points[..., 2].abs() - 0.003)


def two_balls(points):
    offset = torch.tensor([0.05, 0.0, 0.0])
    return torch.minimum((points - offset).norm(dim=-1), (points + offset).norm(dim=-1)) - 0.03


def spilling(points):
    """A ball that reaches out of the scene."""
    return (points - torch.tensor([0.08, 0.0, 0.0])).norm(dim=-1) - RADIUS


def nothing(points):
    return torch.full(points.shape[:-1], 0.1)


class Scene(nn.Module):
    """Stands in for the field: one shape for all codes, one colour for each."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def condition(self, w):
        return ConditionedScene(self.shape, w)


class ConditionedScene:
    def __init__(self, shape, w):
        self.sdf = shape
        self.batch_size = w.shape[0]
        self.view_layer = (w,)  # whose device and type points take
        self.rgb = w[:, None, :3]

    def __call__(self, points, viewdirs):
        rgb = self.rgb.expand(*points.shape[:2], 3)
        return FieldOutput(sdf=self.sdf(points), rgb=rgb, features=rgb)

    def surface(self, points):
        return F.normalize(gradient_of(self.sdf, points), dim=-1), self.rgb.expand_as(points)


def show(monkeypatch, pictures):
    """Let every model show given pictures, one after the other. ``(N, 3, R, R)``"""
    left = iter(pictures[:, None])
    monkeypatch.setattr(views, "draw_full", lambda *arguments: (next(left), None))
