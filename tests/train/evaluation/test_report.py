"""Reports and the command: complete, repeatable, and clear about what is missing."""

import argparse
import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from stylesdf.model import Generator
from stylesdf.pipeline import StyleSDF
from train.__main__ import main
from train.data.images import ImageSet
from train.evaluation.command import add_arguments, run
from train.evaluation.registry import METRICS
from train.evaluation.report import compare, default_metrics, evaluate, markdown_table
from train.evaluation.subjects import SUBJECTS, TOY_HEADS
from train.evaluation.views import Context, Options


@pytest.fixture
def checkpoint(tmp_path, tiny_toy_config):
    folder = tmp_path / "model"
    StyleSDF(tiny_toy_config).save_pretrained(folder)
    return folder


@pytest.fixture
def untrained(monkeypatch):
    recipe = {**TOY_HEADS.recipe, "heads": 10, "held_out": 4, "epochs": 1, "batch": 5}
    monkeypatch.setitem(SUBJECTS, "toy-heads", dataclasses.replace(TOY_HEADS, recipe=recipe))


def black(subject: str) -> ImageSet:
    return ImageSet(
        images=np.zeros((5, 3, 32, 32), np.uint8),
        thumbnails=np.zeros((5, 3, 16, 16), np.uint8),
        poses=torch.eye(5, 2) / 10,
        subject=subject,
    )


def photos() -> ImageSet:
    """Pictures that were not drawn here: without poses and without a plain background."""
    noise = np.random.RandomState(0).randint(0, 256, (5, 3, 32, 32), np.uint8)
    return ImageSet(images=noise, thumbnails=noise, poses=None, name="data/photos")


@pytest.mark.parametrize(
    "asked, has_decoder, evaluated",
    [
        ("image", True, "image"),
        ("thumbnail", True, "thumbnail"),
        ("image", False, "thumbnail"),
    ],
)
def test_the_report_says_which_pictures_were_evaluated(tiny_config, asked, has_decoder, evaluated):
    config = tiny_config if has_decoder else dataclasses.replace(tiny_config, decoder_channels=())
    report = evaluate(Generator(config).eval(), metrics=["variety"], num_seeds=2, options=Options(pictures=asked))
    assert report["pictures"] == evaluated and report["inception"] is None and report["networks"] == {}
    assert f"pictures: the {evaluated}." in markdown_table(report)


def test_the_hash_is_of_the_weights_that_were_measured(checkpoint, tmp_path, monkeypatch):
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = folder / "model.safetensors"
    expected = hashlib.sha256(weights.read_bytes()).hexdigest()

    def measure(*arguments):
        weights.write_bytes(b"the next model, saved by a run")
        return {"count": 2}

    monkeypatch.setitem(METRICS, "variety", dataclasses.replace(METRICS["variety"], measure=measure))
    report = evaluate(StyleSDF.from_pretrained(folder), None, ["variety"], num_seeds=2)
    assert report["model"]["sha256"] == expected


def test_a_checkpoint_in_shards_and_a_file_can_be_measured(checkpoint, tmp_path):
    model = StyleSDF.from_pretrained(checkpoint)
    model.save_pretrained(tmp_path, max_shard_size=8000)
    report = evaluate(StyleSDF.from_pretrained(tmp_path), None, ["variety"], num_seeds=2)
    assert report["model"]["sha256"] is None
    file = checkpoint / "model.safetensors"
    report = evaluate(StyleSDF.from_pretrained(file), None, ["variety"], num_seeds=2)
    assert report["model"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_report_is_complete_and_repeatable(checkpoint, tmp_path, untrained, monkeypatch):
    monkeypatch.setattr("train.evaluation.consistency.DEPTH_RAYS", 24)
    model = StyleSDF.from_pretrained(checkpoint)
    data, options, seen = black("toy-heads"), Options(reader=tmp_path / "r"), []
    report = evaluate(
        model, data, num_seeds=2, truncation=0.7, progress=lambda *args: seen.append(args), options=options
    )
    assert list(report["metrics"]) == [
        *("surface", "silhouette", "relief", "smoothness", "depth-consistency", "reprojection", "variety"),
        *("appearance", "speckle", "copies", "classifier", "pose", "shares", "reader-frechet", "reader-kid", "recall"),
    ]
    assert len(report["model"]["sha256"]) == 64
    assert all(result["count"] == 2 for result in report["metrics"].values())
    assert report["metrics"]["pose"]["data_count"] == 5
    assert {name for name, _ in seen} >= {"pose", "surface", "silhouette"}
    text = json.dumps(report, allow_nan=False)
    again = evaluate(model, data, num_seeds=2, truncation=0.7, options=options)
    assert json.dumps(again) == text
    table = markdown_table(json.loads(text))
    for metric in map(METRICS.get, report["metrics"]):
        for quantity in metric.rows(TOY_HEADS):
            assert f"| {metric.name} | {quantity.text} | " in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert widths == {6}


def test_without_data_and_subject_the_general_metrics_are_measured(tiny_model, monkeypatch):
    for name, each in METRICS.items():
        monkeypatch.setitem(METRICS, name, dataclasses.replace(each, measure=lambda *arguments: {"count": 2}))
    without = set(evaluate(tiny_model, num_seeds=2)["metrics"])
    assert without == {"surface", "silhouette", "relief", "smoothness", "depth-consistency", "reprojection", "variety"}
    plain, toys = (set(evaluate(tiny_model, black(name), num_seeds=2)["metrics"]) for name in ("", "toy-heads"))
    assert plain - without == {"copies", "classifier", "appearance", "speckle"}
    assert toys - plain == {"pose", "shares", "reader-frechet", "reader-kid", "recall"}


def test_a_metric_has_its_own_number_of_seeds_unless_told_otherwise(tiny_model, monkeypatch):
    seen = {}
    for name in ("variety", "surface"):
        each = dataclasses.replace(
            METRICS[name],
            quantities=(),
            num_seeds=700 if name == "surface" else 500,
            measure=lambda model, seeds, *rest, name=name: seen.setdefault(name, []).append(seeds) or {"count": 2},
        )
        monkeypatch.setitem(METRICS, name, each)
    report = evaluate(tiny_model, metrics=["variety", "surface"], repeats=2)
    assert seen == {"variety": [range(500), range(500, 1000)], "surface": [range(700), range(700, 1400)]}
    assert report["seeds"] == "0-999" and report["other_seeds"] == {"surface": "0-1399"}
    assert "seeds 0-999 (surface: 0-1399) in 2 rounds" in markdown_table(report)
    seen.clear()
    assert not evaluate(tiny_model, metrics=["variety", "surface"], num_seeds=3)["other_seeds"]
    assert seen == {"variety": [range(3)], "surface": [range(3)]}


def test_what_a_metric_needs_is_said_in_one_sentence(tiny_model):
    for data, name, words in (
        (None, "copies", "the metric copies compares with the data"),
        (None, "appearance", "the metric appearance needs pictures on one plain background"),
        (None, "pose", "the metric pose is only for toy heads or drawn people, expected their data"),
        (photos(), "appearance", "the metric appearance needs pictures on one plain background, which those of data/p"),
        (photos(), "pose", "the metric pose is only for toy heads or drawn people, and data/photos was not drawn as"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            evaluate(tiny_model, data, [name], num_seeds=2)
        fitting = str(caught.value).partition("; metrics that fit: ")[2].split(", ")
        assert set(default_metrics(Context(data))) <= set(fitting) <= set(METRICS) and name not in fitting
        assert ("fid" in fitting) == (data is not None)


def test_depth_maps_take_fewer_seeds_and_the_report_says_so(tiny_model, monkeypatch):
    for name in ("surface", "variety", "depth-consistency"):
        counting = dataclasses.replace(METRICS[name], measure=lambda model, seeds, *rest: {"count": len(seeds)})
        monkeypatch.setitem(METRICS, name, counting)
    report = evaluate(tiny_model, metrics=["depth-consistency", "surface", "variety"])
    assert report["seeds"] == "0-499" and report["other_seeds"] == {"depth-consistency": "0-99"}
    assert [result["count"] for result in report["metrics"].values()] == [100, 500, 500]


def test_rounds_have_a_spread(tiny_model, tmp_path):
    report = evaluate(tiny_model, metrics=["variety"], num_seeds=2, repeats=3)
    alone = [
        METRICS["variety"].measure(tiny_model, range(first, first + 2), 1.0, Context())["distance"]
        for first in (0, 2, 4)
    ]
    assert report["seeds"] == "0-5"
    assert report["metrics"]["variety"]["distance"] == pytest.approx(np.mean(alone))
    assert report["spread"]["variety"]["distance"] == pytest.approx(np.std(alone, ddof=1))
    assert "±" in markdown_table(report) and "in 3 rounds" in markdown_table(report)


def test_a_number_that_one_round_alone_has_has_no_spread(tiny_model, monkeypatch):
    def measure(model, seeds, *rest):
        return {"count": 2, "nearest": 0.5, "distance": 0.5 if seeds[0] == 0 else None}

    monkeypatch.setitem(METRICS, "variety", dataclasses.replace(METRICS["variety"], measure=measure))
    report = evaluate(tiny_model, metrics=["variety"], num_seeds=2, repeats=3)
    assert report["metrics"]["variety"]["distance"] == 0.5 and report["spread"]["variety"]["distance"] is None
    assert "0.500 ± –" in markdown_table(json.loads(json.dumps(report, allow_nan=False)))


def test_a_sweep_writes_a_report_for_each_truncation(checkpoint, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = [
        str(checkpoint),
        "--out",
        str(tmp_path),
        "--num-seeds",
        "2",
        "--metrics",
        "variety",
        "--truncation",
        "0",
        "1",
    ]
    assert run(parser.parse_args(words), {}) == 0
    none, full = (json.loads((tmp_path / f"metrics-{psi}.json").read_text()) for psi in (0, 1))
    assert none["metrics"]["variety"]["distance"] < 1e-6 < full["metrics"]["variety"]["distance"]


def test_every_metric_says_what_it_is():
    for metric in METRICS.values():
        rows = metric.rows(TOY_HEADS)
        assert len(metric.measure.__doc__.strip()) > 40 and rows
        assert all(quantity.text and quantity.better for quantity in rows)


def test_the_command_writes_both_files(checkpoint, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    out = tmp_path / "out"
    args = parser.parse_args(
        [str(checkpoint), "--out", str(out), "--num-seeds", "2", "--metrics", "surface", "variety"]
    )
    assert run(args, {}) == 0
    assert capsys.readouterr().out == (out / "metrics.md").read_text(encoding="utf-8")
    assert list(json.loads((out / "metrics.json").read_text())["metrics"]) == ["surface", "variety"]


def test_the_command_reads_pictures_as_training_does(checkpoint, monkeypatch, tmp_path, capsys):
    seen = {}

    def load(name, *sizes, **options):
        seen.update(options, name=name)
        raise ValueError("enough")

    monkeypatch.setattr("train.evaluation.command.load_images", load)
    how = ["--image-column", "photo", "--split", "test", "--limit", "3", "--label", "kind=cat"]
    assert main(["evaluate", str(checkpoint), "--data", "x", *how, "--cache-dir", str(tmp_path)]) == 2
    asked = {"name": "x", "image_column": "photo", "split": "test", "limit": 3, "label": ("kind", "cat")}
    assert asked.items() <= seen.items() and seen["cache_dir"] == tmp_path and "streaming" not in seen


@pytest.mark.parametrize(
    "options, word",
    [
        ({"metrics": ["beauty"]}, "beauty"),
        ({"num_seeds": 1}, "num_seeds"),
        ({"truncation": 2.0}, "2.0"),
        ({"repeats": 0}, "repeats"),
    ],
)
def test_bad_arguments_raise(tiny_model, options, word):
    with pytest.raises(ValueError, match=word):
        evaluate(tiny_model, **options)


def test_what_a_report_lacks_is_empty_in_its_own_column():
    surface = {"closed": 0.99, "pieces": 1.0, "absent": 0.0}
    reports = {0.7: {"subject": None, "metrics": {"surface": surface}}, 1.0: {"subject": None, "metrics": {}}}
    rows = compare(reports, ["surface", "pose"]).splitlines()
    assert rows[2].startswith("| level set is one closed surface | 99.0 % |  |") and len(rows) == 5
