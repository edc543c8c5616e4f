"""ZeroGPU, with a stand-in for its package."""

import sys
import types

import torch

from stylesdf.demo import zero


def handler():
    yield 1


def test_elsewhere_nothing_changes(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    model = torch.nn.Linear(1, 1)
    assert zero.on_gpu(handler) is handler and zero.on_device(model) is model


def test_handlers_are_decorated_there(monkeypatch):
    asked = {}

    def gpu(duration):
        asked["duration"] = duration
        return lambda function: ("decorated", function)

    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=gpu))
    assert zero.on_gpu(handler) == ("decorated", handler)
    assert asked == {"duration": zero.SECONDS}


def test_models_are_copied_to_the_gpu_there(monkeypatch):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    moves = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: moves.append(device) or self)
    model = torch.nn.Linear(1, 1)
    copied = zero.on_device(model)
    assert copied is not model and moves == ["cuda"]
