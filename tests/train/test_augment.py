"""Augmentation: bounded, by each image's own numbers, differentiable twice, and adapted towards its target."""

import pytest
import torch

from train.augment import NUMBERS, OPERATIONS, adapt_probability, augment


@pytest.fixture
def images():
    return torch.rand(4, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def numbers():
    return torch.rand(4, NUMBERS, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_changes_each_image_by_its_own_numbers(images, numbers, operation):
    numbers[:, 5] = torch.tensor([0.0, 0.3, 0.7, 0.99])  # a shift by no pixel would change nothing
    changed = augment(images, numbers, (operation,))
    assert changed.shape == images.shape
    for index in range(4):
        assert not torch.allclose(changed[index], images[index])
        alone = augment(images[index : index + 1], numbers[index : index + 1], (operation,))
        torch.testing.assert_close(alone[0], changed[index])


def test_probability_is_that_of_each_operation(images, numbers):
    assert torch.equal(augment(images, numbers, OPERATIONS, 0.0), images)
    many = images[:1].expand(2000, -1, -1, -1)
    draws = torch.rand(2000, NUMBERS, generator=torch.Generator().manual_seed(2))
    for operation in OPERATIONS:
        is_changed = (augment(many, draws, (operation,), torch.tensor(0.3)) != many).flatten(1).any(dim=1)
        assert abs(is_changed.float().mean() - 0.3) < 0.05


def test_colour_leaves_alpha_alone_and_cutout_is_a_quarter(images, numbers):
    assert torch.equal(augment(images, numbers, ("color",))[:, 3], images[:, 3])
    numbers[:, 8:] = 0.5
    hole = augment(torch.ones_like(images), numbers, ("cutout",)) == 0
    assert hole[:, :, 4:12, 4:12].all() and hole.float().mean() == 0.25


def test_translation_moves_by_whole_pixels(images, numbers):
    numbers[:, 5], numbers[:, 6] = 0.999, 0.0  # two to the left, two down
    moved = augment(images, numbers, ("translation",))
    torch.testing.assert_close(moved[:, :, 2:, :-2], images[:, :, :-2, 2:])
    assert (moved[:, :, :2] == 0).all()


def test_it_is_differentiable_twice(numbers):
    images = torch.rand(4, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    numbers = numbers.double()
    assert torch.autograd.gradgradcheck(lambda x: augment(x, numbers, OPERATIONS).square(), images, fast_mode=True)


def test_probability_follows_the_discriminators_certainty():
    p = torch.tensor(0.5)
    assert adapt_probability(p, torch.tensor(0.9), 0.6, 0.1) == pytest.approx(0.6)
    assert adapt_probability(p, torch.tensor(0.1), 0.6, 0.1) == pytest.approx(0.4)
    assert adapt_probability(torch.tensor(0.95), torch.tensor(0.9), 0.6, 0.1) == 1.0
