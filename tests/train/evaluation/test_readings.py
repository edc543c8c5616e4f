"""Metrics of a subject, by readers that return given poses and classes."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from stylesdf.pipeline import StyleSDF
from tests.tiny import TINY, Model
from tests.train.evaluation.scenes import ball, show
from train.__main__ import main
from train.evaluation import readings
from train.evaluation.readers import Reader
from train.evaluation.readings import correlation, r_squared
from train.evaluation.references import uniform_poses
from train.evaluation.registry import METRICS
from train.evaluation.report import default_metrics, evaluate, markdown_table
from train.evaluation.subjects import SUBJECTS, TOY_HEADS
from train.evaluation.views import Context, Options

SPECIES = TOY_HEADS.attributes[0].classes


class FixedReader:
    """A reader that returns given poses and classes."""

    def __init__(self, poses=None, classes=None):
        self.poses, self.numbers = poses, classes

    def angles(self, pictures):
        assert pictures.shape[1:] == (3, 64, 64)
        return self.poses(len(pictures))

    def classes(self, pictures):
        return {"species": self.numbers(len(pictures))}

    def expected_shares(self, name):
        return torch.full((4,), 0.25, dtype=torch.float64)

    def accuracy(self, name):
        return 0.875


@pytest.fixture
def context():
    return Context(options=Options(subject="toy-heads"))


def test_r_squared_and_correlation_by_hand():
    true = torch.tensor([1.0, 2.0, 3.0])
    assert r_squared(true, true) == 1.0
    assert r_squared(true, torch.tensor([1.0, 2.0, 4.0])) == pytest.approx(0.5)  # 1 - 1 / 2
    assert r_squared(true, torch.full((3,), 2.0)) == 0.0
    assert r_squared(true, true.flip(0)) == pytest.approx(-3.0)  # 1 - 8 / 2
    assert correlation(true, 5 - 2 * true) == pytest.approx(-1.0)
    assert correlation(true, torch.tensor([0.0, 1.0, 0.0])) == pytest.approx(0.0)
    assert correlation(true, torch.ones(3)) == 0.0
    assert r_squared(torch.ones(3), true) == 0.0


def test_pose_metric_sees_the_wrong_way(scene, context):
    model, seeds = scene(ball), range(6)

    context.reader = FixedReader(uniform_poses)
    right = METRICS["pose"].measure(model, seeds, 1.0, context)
    assert right["yaw_r2"] == right["pitch_r2"] == 1.0 and right["yaw_error_deg"] == 0.0
    assert "data_count" not in right
    context.reader = FixedReader(lambda count: uniform_poses(count) * torch.tensor([-1.0, 1.0]))
    wrong = METRICS["pose"].measure(model, seeds, 1.0, context)
    assert wrong["yaw_correlation"] == pytest.approx(-1.0) and wrong["yaw_r2"] < -2 and wrong["pitch_r2"] == 1.0


def test_shares_by_hand(scene, context):
    context.reader = FixedReader(classes=lambda count: torch.arange(count) % 4)
    found = METRICS["shares"].measure(scene(ball), range(8), 1.0, context)
    assert [found[f"species: {name}"] for name in SPECIES] == [0.25] * 4 and found["species"] == 0.0
    assert found["species_accuracy"] == 0.875 and 0.1 < found["reference_species"] < 0.4
    context.reader = FixedReader(classes=lambda count: torch.zeros(count, dtype=torch.int64))
    assert METRICS["shares"].measure(scene(ball), range(8), 1.0, context)["species"] == 0.75


def test_the_reference_of_shares_is_a_sample_of_the_data():
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    # the mean of |binomial(n, p) / n − p| is about √(2 p (1 − p) / (π n))
    expected = sum(math.sqrt(2 * p * (1 - p) / (math.pi * 400)) for p in shares.tolist()) / 2
    assert readings.sampled_variation(shares, 400) == pytest.approx(expected, rel=0.05)
    assert readings.sampled_variation(shares, 100) == pytest.approx(2 * expected, rel=0.1)


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_table_names_each_attribute_of_the_subject(name):
    subject = SUBJECTS[name]
    rows = METRICS["shares"].rows(subject)
    assert [row.text for row in rows] == [f"TV {attribute.text}" for attribute in subject.attributes]


def test_noise_is_far_and_the_data_is_near(monkeypatch, toy_heads):
    context = Context(toy_heads)
    context.reader = Reader(TOY_HEADS.attributes).eval()

    def measure(pictures):
        show(monkeypatch, pictures)
        model = Model(TINY)  # another one each time, so that nothing of the last is kept
        names = ("reader-frechet", "reader-kid", "recall")
        return {name: METRICS[name].measure(model, range(len(pictures)), 1.0, context) for name in names}

    heads, noise = measure(toy_heads.image_batch(torch.arange(160))[80:]), measure(torch.rand(80, 3, 64, 64) * 2 - 1)
    for name in ("reader-frechet", "reader-kid"):
        assert heads[name]["distance"] < 3 * abs(heads[name]["reference_distance"]) + 1 < noise[name]["distance"] + 1
        assert heads[name]["reference_distance"] == noise[name]["reference_distance"]
    assert heads["recall"]["recall"] > 0.7 > 0.1 > noise["recall"]["precision"]


@pytest.mark.parametrize("name", ["pose", "shares", "reader-frechet", "reader-kid", "recall"])
def test_a_metric_of_a_subject_is_refused_for_other_data(toy_heads, name):
    assert "subject" in METRICS[name].needs
    other = dataclasses.replace(toy_heads, subject="", name="some/folder")
    words = f"the metric {name} is only for toy heads or drawn people, and some/folder was not drawn as either"
    with pytest.raises(ValueError, match=words) as caught:
        evaluate(Model(TINY), other, [name], num_seeds=2)
    fitting = str(caught.value).partition("; metrics that fit: ")[2].split(", ")
    assert {"fid", *default_metrics(Context(other))} <= set(fitting) and "\n" not in str(caught.value)
    assert not {"pose", "shares", "reader-frechet", "reader-kid", "recall"} & set(fitting)


def test_the_command_refuses_metrics_of_a_subject_for_photos(tmp_path, capsys):
    model, folder = tmp_path / "model", tmp_path / "photos"
    StyleSDF(TINY).save_pretrained(model)
    folder.mkdir()
    for number in range(5):
        noise = np.random.RandomState(number).randint(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    (folder / "people.json").write_text('{"images": []}')  # annotations that somebody else wrote
    words = ["evaluate", str(model), "--data", str(folder), "--num-seeds", "2", "--metrics", "reader-frechet"]
    for options, reason in (
        ([], f"the metric reader-frechet is only for toy heads or drawn people, and {folder} was not drawn as either"),
        (["--subject", "toy-heads"], f"subject is 'toy-heads', but {folder} has the background ("),
    ):
        assert main([*words, *options]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert reason in line


def test_the_table_is_headed_by_the_subject(toy_heads):
    for subject, title in (("toy-heads", "toy heads"), ("", "reference")):
        report = evaluate(Model(TINY), dataclasses.replace(toy_heads, subject=subject), ["variety"], num_seeds=2)
        assert report["subject"] == (subject or None)
        assert f"| metric | | model | {title} | better |" in markdown_table(json.loads(json.dumps(report)))
