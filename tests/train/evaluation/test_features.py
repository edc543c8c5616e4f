"""Feature networks and how pictures are prepared for them."""

import pytest
import torch

from train.evaluation.features import RESIZE_FILTERS, FeatureNetwork, resize_bytes, to_bytes


def test_bytes_are_rounded():
    assert to_bytes(torch.tensor([-1.0, 0.0, 0.998, 1.0])).tolist() == [0, 128, 255, 255]


@pytest.mark.parametrize("shape, dtype", [((1, 3, 8, 8), torch.float32), ((3, 8, 8), torch.uint8)])
def test_only_8_bit_pictures_are_taken(shape, dtype):
    with pytest.raises(ValueError, match=r"expected uint8 \(N, 3, H, W\)"):
        FeatureNetwork("none", lambda pictures: pictures)(torch.zeros(shape, dtype=dtype))


def test_pictures_are_resized_without_aliases():
    ramp = torch.arange(256, dtype=torch.uint8).repeat(3, 256, 1)[None]  # (1, 3, 256, 256)
    assert torch.equal(resize_bytes(ramp, 256, "lanczos"), ramp)
    large = ramp.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(resize_bytes(large, 256, "box"), ramp)
    # stripes finer than the new pixels become grey: the filters widen as they shrink
    stripes = (torch.arange(512) % 2 * 255).to(torch.uint8).repeat(1, 3, 512, 1)
    for name in RESIZE_FILTERS:
        middle = resize_bytes(stripes, 256, name)[..., 8:-8].float()
        assert middle.shape[1:3] == (3, 256) and (middle - 127.5).abs().max() < 3
