"""The field's way back, written out, against torch's own record of it."""

import dataclasses

import pytest
import torch

from stylesdf.model import Generator
from tests.train import runs
from train.stages.chunked import ChunkedField

BATCH, POINTS = 3, 50


def gradients(generator: Generator, weights: tuple, by_code: bool | None) -> dict[str, torch.Tensor]:
    """Gradients of a random projection of distances and colours, of the codes and all parameters of the field."""
    torch.manual_seed(1)
    codes = torch.randn(BATCH, generator.config.latent_size).requires_grad_()
    points, towards = (torch.rand(BATCH, POINTS, 3) * 0.2 - 0.1 for _ in range(2))
    field = generator.field.condition(codes)
    chunked = field if by_code is None else ChunkedField(field, by_code=by_code)
    out = chunked(points, towards)
    of_sdf, of_rgb = torch.randn(BATCH, POINTS), torch.randn(BATCH, POINTS, 3)
    terms = zip(weights, ((out.sdf * of_sdf).sum(), (out.rgb * of_rgb).sum()))
    sum(weight * term for weight, term in terms if weight).backward()
    if by_code is not None:
        chunked.backward()
    named = {"codes": codes, **dict(generator.field.named_parameters())}
    result = {name: tensor.grad for name, tensor in named.items() if tensor.grad is not None}
    generator.zero_grad()
    return result


@pytest.mark.parametrize("view_directions", [False, True])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("by_code", [False, True])
@pytest.mark.parametrize("kept_numbers", [2**30, 0])
def test_the_way_back_is_torchs(view_directions, weights, by_code, kept_numbers, monkeypatch):
    for name in ("KEPT_NUMBERS", "KEPT_NUMBERS_GPU"):
        monkeypatch.setattr(f"train.stages.chunked.{name}", kept_numbers)
    monkeypatch.setattr("train.stages.chunked.CHUNK_POINTS", 16)
    torch.manual_seed(0)
    config = dataclasses.replace(runs.MODEL, view_directions=view_directions)
    generator = Generator(config).double()
    monkeypatch.setattr(torch, "rand", in_double(torch.rand))
    monkeypatch.setattr(torch, "randn", in_double(torch.randn))
    expected, found = (gradients(generator, weights, way) for way in (None, by_code))
    assert expected.keys() <= found.keys() and len(expected) > 4
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=name)


def in_double(function):
    return lambda *args, **options: function(*args, **options, dtype=torch.float64)


def test_a_field_that_does_not_learn_gets_no_gradients_but_its_codes_do():
    torch.manual_seed(0)
    generator = Generator(runs.MODEL).requires_grad_(False)
    assert list(gradients(generator, (1.0, 1.0), True)) == ["codes"]
