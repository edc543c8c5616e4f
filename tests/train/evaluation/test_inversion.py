"""The ruler of inversion: angles and depths by hand, and a report of a tiny model."""

import dataclasses
import itertools
import math

import pytest
import torch

from stylesdf import fit
from stylesdf.encoder import Encoder
from stylesdf.pipeline import StyleSDF
from train.evaluation import inversion
from train.evaluation.report import default_metrics, evaluate
from train.evaluation.views import Context, Options


@pytest.fixture
def model(tiny_toy_config) -> StyleSDF:
    return StyleSDF(tiny_toy_config).eval()


def test_the_angle_between_two_cameras():
    assert inversion._angle_deg(torch.tensor([0.3, 0.0]), torch.tensor([0.3, 0.0])) == 0.0
    turned = inversion._angle_deg(torch.tensor([0.3, 0.0]), torch.tensor([0.3 + math.radians(5.0), 0.0]))
    assert turned == pytest.approx(5.0, abs=1e-3)
    # a yaw near a pole moves the camera less
    high = inversion._angle_deg(torch.tensor([0.0, math.radians(60.0)]), torch.tensor([0.1, math.radians(60.0)]))
    assert high == pytest.approx(math.degrees(0.1) / 2.0, rel=1e-2)


def test_depth_is_compared_without_its_median_in_shares_of_the_radius():
    truth = torch.full((40, 40), math.nan)
    truth[10:30, 10:30] = 1.0  # as large as a disc of radius 20 / √π pixels
    radius = 20.0 / math.sqrt(math.pi) * 2.0 * math.tan(math.radians(6.0)) / 40
    found = torch.full((20, 20), math.nan)
    found[4:15, 5:15] = 1.07  # a row too many, which is not compared
    assert inversion.depth_error(found, truth, 12.0) == pytest.approx(0.0, abs=1e-6)
    found[5:15, 5:8], found[5:15, 12:15] = 1.06, 1.08  # six of ten columns are off by 0.01
    assert inversion.depth_error(found, truth, 12.0) == pytest.approx(0.01 / radius, rel=1e-3)
    elsewhere = torch.full((20, 20), math.nan)
    elsewhere[0, 0] = 1.0
    assert inversion.depth_error(elsewhere, truth, 12.0) == 1.0


def test_a_report(model, monkeypatch):
    for name in ("COARSE", "MIDDLE", "FINE"):
        monkeypatch.setattr(fit, name, dataclasses.replace(getattr(fit, name), steps=1))
    monkeypatch.setattr(fit, "NUM_STARTS", 2)
    context = Context(options=Options(subject="toy-heads"))
    assert "inversion" not in default_metrics(context)
    report = evaluate(model, None, ["inversion"], 2, options=Options(subject="toy-heads"))["metrics"]["inversion"]
    assert report["count"] == 2 and report["read_psnr"] is None and 0.0 <= report["pose_within_2_deg"] <= 1.0
    assert report["psnr"] > 3.0 and report["worst_psnr"] <= report["psnr"] and report["depth_error"] >= 0.0
    vars(model)["inverter"] = Encoder(model.config.latent_size, 4)
    report = evaluate(model, None, ["inversion"], 2, options=Options(subject="toy-heads"))["metrics"]["inversion"]
    assert report["read_psnr"] > 3.0 and report["read_seconds"] < report["seconds"] + 5.0


def test_of_several_pictures_the_first_is_the_same(model, monkeypatch):
    poses = inversion._poses(3, 4, model.config)
    assert poses[:1].equal(inversion._poses(3, 1, model.config)) and len(poses.unique(dim=0)) == 4
    for name in ("COARSE", "MIDDLE", "FINE"):
        monkeypatch.setattr(fit, name, dataclasses.replace(getattr(fit, name), steps=1))
    monkeypatch.setattr(fit, "NUM_STARTS", 2)
    for name, number in (("inversion-of-two", 2), ("inversion-of-four", 4)):
        errors = itertools.cycle([0.0] + [8.0] * (number - 1))  # of a head's pictures one camera is found
        monkeypatch.setattr(inversion, "_angle_deg", lambda found, true, errors=errors: next(errors))
        report = evaluate(model, None, [name], 2, options=Options(subject="toy-heads"))["metrics"][name]
        assert report["pose_within_2_deg"] == 1 / number  # of the pictures, not of the heads
        assert report["pose_error_deg"] == 8.0 * (number - 1) / number and report["psnr"] > 3.0


def test_it_is_only_for_what_can_be_drawn(model):
    with pytest.raises(ValueError, match="the metric inversion is only for"):
        evaluate(model, None, ["inversion"], 2)
