"""The flow: noise is paired with its nearest vectors, paths end where the data is."""

import pytest
import torch
from torch import nn

from train.networks import flow
from train.networks.flow import VelocityField, flow_loss, follow


class Still(nn.Module):
    """A velocity of one everywhere."""

    def forward(self, place, time):
        self.seen = place, time
        return torch.ones_like(place)


def test_noise_is_paired_with_the_vectors_that_are_nearest_to_all_of_it():
    noise = torch.tensor([[0.0, 5.0], [1.0, 0.0], [2.0, 9.0]])
    order = torch.tensor([2, 0, 1])
    time, still = torch.full((3, 1), 0.25), Still()
    loss = flow_loss(still, noise, noise[order] + 0.5, time, torch.ones(2))
    torch.testing.assert_close(loss, torch.tensor(0.25))  # (1 − 0.5)²
    torch.testing.assert_close(still.seen[0], noise + 0.125)


def test_a_channel_counts_by_its_scale():
    noise = torch.tensor([[0.0, 9.0], [1.0, 0.0]])
    vectors = torch.tensor([[0.1, 0.0], [1.1, 9.0]])
    time, still = torch.zeros(2, 1), Still()
    first = flow_loss(still, noise, vectors, time, torch.tensor([1.0, 0.0]))  # the second channel is not looked at
    second = flow_loss(still, noise, vectors, time, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(first, torch.tensor([0.1 - 1, -9.0 - 1, 0.1 - 1, 9.0 - 1]).square().mean())
    torch.testing.assert_close(second, torch.tensor([1.1 - 1, 0.0 - 1, -0.9 - 1, 0.0 - 1]).square().mean())


def test_paths_follow_a_velocity():
    torch.testing.assert_close(follow(Still(), torch.zeros(3, 2)), torch.ones(3, 2))


def test_paths_are_those_of_heuns_method(monkeypatch):
    """dx/dt = x has the solution e·x; one step of Heun's method gives 1 + 1 + 1/2."""

    class Growth(nn.Module):
        def forward(self, place, time):
            return place

    monkeypatch.setattr(flow, "PATH_STEPS", 1)
    torch.testing.assert_close(follow(Growth(), torch.tensor([[2.0]])), torch.tensor([[5.0]]))


@pytest.mark.parametrize("modes", [[[-2.0, 0.0], [2.0, 0.0]], [[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]]])
def test_it_learns_what_a_gaussian_cannot_give(monkeypatch, modes):
    monkeypatch.setattr(flow, "WIDTH", 64)
    torch.manual_seed(0)
    modes = torch.tensor(modes)
    velocity = VelocityField(2)
    optimizer = torch.optim.Adam(velocity.parameters(), 2e-3)
    for _ in range(300):
        vectors = modes[torch.randint(len(modes), (128,))] + 0.1 * torch.randn(128, 2)
        loss = flow_loss(velocity, torch.randn(128, 2), vectors, torch.rand(128, 1), torch.ones(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    near, mode = torch.cdist(follow(velocity, torch.randn(1000, 2)), modes).min(dim=1)
    assert (near < 0.5).float().mean() > 0.9  # of the modes' Gaussian 3 to 10 % are
    shares = torch.bincount(mode, minlength=len(modes)) / 1000
    assert (shares - 1 / len(modes)).abs().max() < 0.1
