"""Sine and cosine by numpy are torch's, on whatever is asked for."""

import numpy as np
import pytest
import torch

from stylesdf.fast import sine as fast

FUNCTIONS = [(fast.sine, torch.sin), (fast.cosine, torch.cos)]
BY_NUMPY = {fast.sine: np.sin, fast.cosine: np.cos}


@pytest.mark.parametrize("ours, of_torch", FUNCTIONS)
@pytest.mark.parametrize("threads, intel", [(1, False), (2, False), (1, True)])
def test_they_are_as_exact_as_torchs(ours, of_torch, threads, intel, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(fast, "IS_INTEL", intel)
    x = torch.cat([torch.linspace(-300.0, 300.0, 100_001), torch.tensor([0.0, -0.0, 1e-30, 1e6])])
    before, truth = x.clone(), of_torch(x.double())
    expected = torch.from_numpy(BY_NUMPY[ours](x.numpy())) if threads == 1 and not intel else of_torch(x)
    assert ours(x).equal(expected) and not of_torch(x).equal(torch.from_numpy(BY_NUMPY[ours](x.numpy())))
    assert (ours(x) - truth).abs().max() < 2e-7 and torch.equal(x, before)
    assert ours(x, out=x) is x and (x - truth).abs().max() < 2e-7


@pytest.mark.parametrize("ours, of_torch", FUNCTIONS)
def test_other_types_and_layouts_are_left_to_torch(ours, of_torch):
    for x in (torch.randn(5, dtype=torch.float64), torch.randn(5).bfloat16(), torch.randn(4, 6).t(), torch.empty(0)):
        torch.testing.assert_close(ours(x), of_torch(x))
    learned = torch.randn(3, requires_grad=True)
    assert not ours(learned).requires_grad
