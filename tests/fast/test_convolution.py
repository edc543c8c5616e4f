import pytest
import torch

from stylesdf.fast import convolution, processor
from stylesdf.fast.convolution import affine, convolve


@pytest.mark.parametrize(
    "shape, kind",
    [
        ((5, 3, 3, 3), {"padding": 1}),
        ((5, 3, 3, 3), {"stride": 2}),
        ((3, 5, 3, 3), {"stride": 2, "transposed": True}),
        ((3, 1, 4, 4), {"stride": 2, "padding": 1, "groups": 3}),
    ],
)
def test_convolutions_have_the_derivatives_of_a_convolution(shape, kind):
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3 if "groups" in kind else 5, dtype=torch.float64, requires_grad=True)
    arguments = (x, weight, bias)
    assert torch.autograd.gradcheck(lambda *a: convolve(*a, **kind), arguments)
    assert torch.autograd.gradgradcheck(lambda *a: convolve(*a, **kind), arguments)
    with torch.no_grad():
        plain = convolve(*arguments, **kind)
    torch.testing.assert_close(plain, convolve(*arguments, **kind).detach())


@pytest.mark.parametrize("points", [1, 255, 256, 1000])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("width", [5, 128])
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("intel", [False, True])
def test_affine_is_a_matrix_product_whichever_kernel_computes_it(intel, recorded, width, batch, points, monkeypatch):
    monkeypatch.setattr(convolution, "IS_INTEL", intel)
    sizes = (batch, points, width), (batch, width, width + 1), (batch, 1, width + 1)
    x, matrix, offset = (torch.randn(size, requires_grad=True) for size in sizes)
    expected = torch.baddbmm(offset, x, matrix)
    with torch.set_grad_enabled(recorded):
        out, without = affine(x, matrix, offset), affine(x, matrix)
    assert out.is_contiguous() and out.requires_grad == recorded
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(without, expected - offset, atol=1e-4, rtol=1e-4)
    if recorded:
        towards = torch.randn_like(out)
        have, want = (torch.autograd.grad(result, (x, matrix, offset), towards) for result in (out, expected))
        for a, b in zip(have, want):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("intel", [False, True])
def test_only_where_the_processor_is_not_intels_a_product_is_asked_for_as_a_convolution(intel, monkeypatch):
    asked, conv2d = [], convolution.F.conv2d
    monkeypatch.setattr(convolution.F, "conv2d", lambda *arguments: asked.append(True) or conv2d(*arguments))
    monkeypatch.setattr(convolution, "IS_INTEL", intel)
    with torch.no_grad():
        affine(torch.randn(1, 1024, 8), torch.randn(1, 8, 8))
    assert bool(asked) != intel


def test_who_made_the_processor_is_read_or_asked(monkeypatch):
    def refuse(*_, **__):
        raise FileNotFoundError

    for about, expected in (("vendor_id\t: GenuineIntel\n", True), ("vendor_id\t: AuthenticAMD\n", False)):
        monkeypatch.setattr(processor.Path, "read_text", lambda *_, about=about, **__: about)
        assert processor.is_intel() == expected
    monkeypatch.setattr(processor.Path, "read_text", refuse)
    for about, expected in (("Intel64 Family 6 Model 158, GenuineIntel", True), ("arm", False)):
        monkeypatch.setattr(processor.platform, "processor", lambda about=about: about)
        assert processor.is_intel() == expected


@pytest.mark.parametrize("intel", [False, True])
def test_affine_can_be_differentiated_twice(intel, monkeypatch):
    monkeypatch.setattr(convolution, "IS_INTEL", intel)
    x, matrix = torch.randn(1, 256, 128, requires_grad=True), torch.randn(1, 128, 128, requires_grad=True)
    norms = []
    for product in (affine, torch.bmm):
        (slope,) = torch.autograd.grad(product(x, matrix).sin().sum(), x, create_graph=True)
        norms.append(torch.autograd.grad(slope.square().mean(), matrix)[0])
    torch.testing.assert_close(*norms, atol=1e-3, rtol=1e-3)
