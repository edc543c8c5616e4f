"""Convolutions against explicit loops."""

import math

import numpy as np
import pytest
import torch

from stylesdf.ops import (
    EqualizedLinear,
    assert_shape,
    biased_leaky_relu,
    fir_filter,
    fir_upsample,
    modulated_conv2d,
    pixel_norm,
)

FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def correlate(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Slide a kernel without padding (the FIR kernel is symmetric)."""
    height, width = plane.shape[0] - kernel.shape[0] + 1, plane.shape[1] - kernel.shape[1] + 1
    out = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            out[row, column] = (plane[row : row + kernel.shape[0], column : column + kernel.shape[1]] * kernel).sum()
    return out


def loop_conv(x: np.ndarray, weight: np.ndarray, up: bool) -> np.ndarray:
    """Convolve one sample ``(in, H, W)`` with its own weights ``(out, in, k, k)``, element by element."""
    out_size, in_size, kernel, _ = weight.shape
    _, height, width = x.shape
    if not up:
        padded = np.pad(x, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2))
        return np.stack([sum(correlate(padded[i], weight[o, i]) for i in range(in_size)) for o in range(out_size)])
    # transposed, stride 2: every input pixel stamps the kernel
    stamped = np.zeros((out_size, 2 * height + 1, 2 * width + 1))
    for row in range(height):
        for column in range(width):
            stamp = np.tensordot(weight, x[:, row, column], axes=(1, 0))
            stamped[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += stamp
    return np.stack([correlate(np.pad(plane, 1), FIR * 4) for plane in stamped])


@pytest.mark.parametrize("stride", [1, 2])
def test_fir_filter_is_the_two_dimensional_kernel(stride):
    x = torch.randn(2, 3, 6, 5)
    expected = [[correlate(np.pad(plane, 2), FIR * 4) for plane in sample] for sample in x.double().numpy()]
    expected = torch.tensor(np.array(expected)).float()[:, :, ::stride, ::stride]
    torch.testing.assert_close(fir_filter(x, pad=2, gain=4.0, stride=stride), expected)


def test_upsampling_is_zero_stuffing_then_the_low_pass():
    x = torch.randn(2, 3, 5, 4)
    expected = np.zeros((2, 3, 10, 8))
    for sample in range(2):
        for channel in range(3):
            stuffed = np.zeros((10, 8))
            stuffed[::2, ::2] = x[sample, channel].numpy()
            expected[sample, channel] = correlate(np.pad(stuffed, (2, 1)), FIR * 4)
    torch.testing.assert_close(fir_upsample(x), torch.tensor(expected).float())


def test_upsampling_keeps_a_constant_away_from_the_border():
    out = fir_upsample(torch.full((1, 1, 6, 6), 3.0))
    torch.testing.assert_close(out[:, :, 1:-1, 1:-1], torch.full((1, 1, 10, 10), 3.0))


@pytest.mark.parametrize("count", [1, 2])  # one sample's style goes into the weights
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("up, kernel", [(False, 3), (False, 1), (True, 3)])
def test_modulated_convolution_is_a_convolution_with_each_samples_own_weights(up, kernel, demodulate, count):
    x, weight, style = torch.randn(count, 3, 4, 5), torch.randn(6, 3, kernel, kernel), torch.randn(count, 3) + 1
    expected = []
    for sample in range(count):
        own = weight.double().numpy() / math.sqrt(3 * kernel**2) * style[sample].double().numpy()[None, :, None, None]
        if demodulate:
            own = own / np.sqrt((own**2).sum(axis=(1, 2, 3), keepdims=True) + 1e-8)
        expected.append(loop_conv(x[sample].double().numpy(), own, up))
    out = modulated_conv2d(x, weight, style, demodulate=demodulate, up=up)
    expected = torch.tensor(np.array(expected)).float()
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    bias = torch.randn(6)
    out = modulated_conv2d(x, weight, style, bias, demodulate=demodulate, up=up, gain=3.0)
    torch.testing.assert_close(out, 3.0 * (expected + bias.view(6, 1, 1)), atol=1e-4, rtol=1e-5)


def test_demodulation_takes_the_styles_size_away():
    x, weight, style = torch.randn(2, 3, 4, 4), torch.randn(6, 3, 3, 3), torch.rand(2, 3) + 1
    once, twice = (modulated_conv2d(x, weight, style * factor) for factor in (1, 7))
    torch.testing.assert_close(once, twice)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5)])
def test_biased_leaky_relu_by_hand(shape):
    x, bias = torch.randn(shape), torch.tensor([0.5, -0.5, 0.0])
    shifted = x + bias.view(1, 3, *[1] * (len(shape) - 2))
    expected = torch.where(shifted > 0, shifted, 0.2 * shifted) * math.sqrt(2)
    torch.testing.assert_close(biased_leaky_relu(x, bias), expected)


@pytest.mark.parametrize("recorded", [False, True])
def test_biased_leaky_relu_leaves_its_arguments_alone(recorded):
    x, bias = torch.randn(2, 3, 4, 4), torch.zeros(3)
    before = x.clone()
    out = biased_leaky_relu(x.requires_grad_(recorded), bias)
    assert torch.equal(x, before) and torch.equal(bias, torch.zeros(3))
    assert out.requires_grad == recorded
    assert torch.equal(out.detach(), biased_leaky_relu(before, bias))


def test_pixel_norm_gives_rows_of_unit_mean_square():
    x = torch.randn(4, 16) * torch.tensor([1e-2, 1.0, 10.0, 1e3])[:, None]
    torch.testing.assert_close(pixel_norm(x).square().mean(dim=1), torch.ones(4), atol=1e-3, rtol=0)
    assert torch.equal(pixel_norm(torch.zeros(1, 16)), torch.zeros(1, 16))


def test_equalised_linear_by_hand():
    layer = EqualizedLinear(4, 2, bias_init=1.0, lr_multiplier=0.01)
    x = torch.randn(3, 4)
    expected = x @ layer.weight.t() * 0.01 / 2 + layer.bias * 0.01
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.bias * 0.01, torch.ones(2))  # bias_init is the bias in use


def test_equalised_linear_stores_its_weights_over_the_multiplier():
    weight = EqualizedLinear(64, 256, lr_multiplier=0.01).weight
    assert weight.std().item() == pytest.approx(100, rel=0.05)


def test_assert_shape():
    assert_shape(torch.zeros(2, 3), (2, None))
    for wrong in ((3, None), (2,), (2, 3, None)):
        with pytest.raises(AssertionError, match="expected"):
            assert_shape(torch.zeros(2, 3), wrong)
