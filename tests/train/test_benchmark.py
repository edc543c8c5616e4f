"""The benchmark of training steps compares like with like: equal gradients, and a difference is noticed."""

import dataclasses
from functools import partial

import pytest
import torch

from benchmarks import training, transcription_training
from stylesdf.config import preset
from stylesdf.ops import fir_upsample
from train import losses
from train.config import Phase
from train.presets import PRESETS


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The toy preset, narrower and with an eighth of the resolution, at which the equations are the same."""
    small = {"render_resolution": 8, "field_width": 32, "decoder_channels": (24, 16, 8)}
    monkeypatch.setattr(training, "preset", lambda name: dataclasses.replace(preset(name), **small))
    monkeypatch.setattr(training, "Phase", partial(Phase, resolution=8))
    for stage, channels in (("renderer", (24, 40, 64)), ("decoder", (8, 16, 32, 64))):
        settings = dataclasses.replace(PRESETS[stage]["toy"], discriminator_channels=channels)
        monkeypatch.setitem(PRESETS[stage], "toy", settings)


def test_both_stages_have_the_gradients_of_the_plain_equations():
    for contest in (training.prepare_renderer("toy", 2), training.prepare_decoder("toy", 2, step=0)):
        assert set(contest.contestants) == {"ours", "transcription"}
        assert contest.note().startswith("the gradients differ by ")


def test_a_wrong_gradient_is_noticed(monkeypatch):
    eikonal = losses.eikonal_loss
    monkeypatch.setattr("train.stages.renderer.losses.eikonal_loss", lambda gradient: 1.1 * eikonal(gradient))
    with pytest.raises(AssertionError, match="gradients differ by"):
        training.prepare_renderer("toy", 2).note()


def test_zero_stuffing_is_the_same_filter():
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(transcription_training.filtered(x, 2, 1, (2, 1), 4.0), fir_upsample(x))
