"""Metrics: known numbers for the arithmetic, known shapes for the geometry, and that bad models look bad."""

import argparse
import dataclasses
import hashlib
import json
import math
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from stylesdf.camera import Camera
from stylesdf.mesh import extract_mesh, field_normals
from stylesdf.model import Generator
from stylesdf.outputs import FieldOutput
from stylesdf.pipeline import StyleSDF
from train import metrics, reader
from train.data.images import ImageSet
from train.data.toy_heads import BACKGROUND, SPECIES
from train.evaluate import add_arguments, evaluate, markdown_table, run
from train.metrics import METRICS, Context, bulge, correlation, latent, level_set_depth, r_squared, relief, variety_of

RADIUS = 0.06


def ball(points):
    return points.norm(dim=-1) - RADIUS


def mask(points):
    """The back half of a hollow ball: an empty bowl towards the frontal camera."""
    shell = (points.norm(dim=-1) - RADIUS).abs() - 0.01
    return torch.maximum(shell, points[..., 2] + 0.01)


def plate(points):
    """A disc of the ball's width that faces the frontal camera."""
    return torch.maximum(points[..., :2].norm(dim=-1) - RADIUS, points[..., 2].abs() - 0.003)


def two_balls(points):
    offset = torch.tensor([0.05, 0.0, 0.0])
    return torch.minimum((points - offset).norm(dim=-1), (points + offset).norm(dim=-1)) - 0.03


def spilling(points):
    """A ball that reaches out of the scene."""
    return (points - torch.tensor([0.08, 0.0, 0.0])).norm(dim=-1) - RADIUS


def nothing(points):
    return torch.full(points.shape[:-1], 0.1)


class Scene(nn.Module):
    """Stands in for the field: one shape for all codes, one colour for each."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def condition(self, w):
        return ConditionedScene(self.shape, w)


class ConditionedScene:
    def __init__(self, shape, w):
        self.sdf = shape
        self.batch_size = w.shape[0]
        self.rgb = w[:, None, :3]

    def __call__(self, points, viewdirs):
        rgb = self.rgb.expand(*points.shape[:2], 3)
        return FieldOutput(sdf=self.sdf(points), rgb=rgb, features=rgb)

    def surface(self, points):
        return field_normals(self, points[0])[None], self.rgb.expand_as(points)


@pytest.fixture
def scene(tiny_toy_config):
    def build(shape, beta=0.0002) -> Generator:
        config = dataclasses.replace(tiny_toy_config, decoder_channels=(), render_resolution=32, num_samples=128)
        model = Generator(config).eval()
        model.field = Scene(shape)
        with torch.no_grad():
            model.renderer.log_beta.fill_(math.log(beta))
        return model

    return build


class Guess:
    """A reader that answers the poses it was told to."""

    def __init__(self, answer):
        self.answer = answer

    def read(self, pictures):
        assert pictures.shape[1:] == (3, 64, 64)
        return self.answer(len(pictures)), torch.arange(len(pictures)) % len(SPECIES)


@pytest.fixture
def context():
    context = Context()
    context.reader = Guess(lambda count: reader.uniform_poses(count, metrics.YAW_RANGE, metrics.PITCH_RANGE))
    return context


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


def test_relief_and_bulge_by_hand():
    depth = torch.full((30, 30), math.nan)
    assert relief(depth) is None and bulge(depth) is None
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(30.0), indexing="ij")
    ring = torch.maximum((rows - 14.5).abs(), (columns - 14.5).abs())  # a square of rings of equal depth
    inside = ring < 10
    hill = torch.where(inside, ring, torch.nan)
    assert relief(hill) == pytest.approx(9.5 - 0.5 - 1.0)  # 4 and 12 of 400 pixels lie at 0.5 and 1.5: 2 % are 8
    # distance to the outline is 10.5 - ring; the quantile 1/3 of it is at ring 8.5, the quantile 2/3 at 5.5
    assert bulge(hill) == pytest.approx(8.5 - 4.5, abs=1.0)
    assert bulge(-hill) == pytest.approx(-bulge(hill))


def test_variety_by_hand():
    black, white = -torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert variety_of(torch.cat([black, white])) == (pytest.approx(1.0), pytest.approx(1.0))
    # pairs: 0, 1, 1; nearest: 0, 0, 1
    assert variety_of(torch.cat([black, black, white])) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert variety_of(black) == (0.0, 0.0)


def test_poses_fill_the_range_evenly():
    poses = reader.uniform_poses(400, 0.5, 0.25)
    assert torch.equal(poses, reader.uniform_poses(400, 0.5, 0.25))
    counts = np.histogram2d(*poses.numpy().T, bins=4, range=[[-0.5, 0.5], [-0.25, 0.25]])[0]
    assert counts.sum() == 400 and counts.min() >= 20 and counts.max() <= 30  # 25 each


def test_latents_are_those_of_the_pipeline(tiny_config):
    model = StyleSDF(tiny_config)
    assert torch.equal(torch.cat([latent(model, seed) for seed in (0, 7)]), model.latents([0, 7]))


def test_a_ball_is_a_good_head(scene, context):
    model, seeds = scene(ball), range(3)
    found = {name: METRICS[name].measure(model, seeds, 1.0, context) for name in ("surface", "silhouette", "relief")}
    assert found["surface"] == {"count": 3, "closed": 1.0, "pieces": 1.0, "absent": 0.0}
    assert found["silhouette"]["iou"] > 0.95
    assert found["relief"]["convex"] == 1.0 and found["relief"]["hollow"] == 0.0
    assert found["relief"]["relief"] == pytest.approx(0.0409, abs=2e-4)  # of the exact ball on these 32×32 rays
    assert found["relief"]["reference_convex"] == 1.0 and found["relief"]["reference_relief"] > 0.04


def test_the_level_set_lies_where_it_is(scene):
    depth = level_set_depth(scene(ball), torch.zeros(1, 16), Camera.from_angles(0.4, -0.2))[0]
    centre = depth[15:17, 15:17]
    # the rays beside the centre pass 0.0033 / √2 off the axis
    assert torch.allclose(centre, torch.full((2, 2), 1.0 - RADIUS), atol=2e-4)
    covered = (~depth.isnan()).double().mean().item() * (2 * math.tan(math.radians(6.0))) ** 2
    assert covered == pytest.approx(math.pi * RADIUS**2, rel=0.05)


def test_a_hollow_mask_is_seen(scene, context):
    found = METRICS["relief"].measure(scene(mask), range(2), 1.0, context)
    assert found["convex"] == 0.0 and found["hollow"] == 1.0 and found["bulge"] < -0.01
    assert METRICS["surface"].measure(scene(mask), range(1), 1.0, context)["closed"] == 1.0


def test_a_flat_head_is_seen(scene, context):
    flat, round_ = scene(plate), scene(ball)
    found = METRICS["relief"].measure(flat, range(2), 1.0, context)
    assert found["with_surface"] == 1.0 and found["relief"] < 0.1 * found["reference_relief"]
    assert abs(found["bulge"]) < 0.1 * found["reference_bulge"]
    bend = METRICS["smoothness"].measure(flat, range(2), 1.0, context)["bend"]
    assert bend < 0.5 < METRICS["smoothness"].measure(round_, range(2), 1.0, context)["bend"]


@pytest.mark.parametrize(
    "shape, expected",
    [
        (two_balls, {"closed": 0.0, "pieces": 2.0, "absent": 0.0}),
        (spilling, {"closed": 0.0, "pieces": 1.0, "absent": 0.0}),
        (nothing, {"closed": 0.0, "pieces": 0.0, "absent": 1.0}),
    ],
)
def test_bad_surfaces_are_seen(scene, context, shape, expected):
    found = METRICS["surface"].measure(scene(shape), range(1), 1.0, context)
    assert found == {"count": 1, **expected}


def test_a_cloud_and_an_empty_scene_have_bad_silhouettes(scene, context):
    assert METRICS["silhouette"].measure(scene(ball, beta=0.02), range(1), 1.0, context)["iou"] < 0.8
    assert METRICS["silhouette"].measure(scene(nothing), range(1), 1.0, context)["iou"] == 0.0
    empty = METRICS["relief"].measure(scene(nothing), range(1), 1.0, context)
    assert (empty["relief"], empty["convex"], empty["with_surface"]) == (0.0, 0.0, 0.0)


def test_pose_metric_sees_the_wrong_way(scene, context):
    model, seeds = scene(ball), range(6)
    right = METRICS["pose"].measure(model, seeds, 1.0, context)
    assert right["yaw_r2"] == right["pitch_r2"] == 1.0 and right["yaw_error_deg"] == 0.0
    assert "data_count" not in right
    follow = context.reader.answer
    context.reader = Guess(lambda count: follow(count) * torch.tensor([-1.0, 1.0]))
    wrong = METRICS["pose"].measure(model, seeds, 1.0, context)
    assert wrong["yaw_correlation"] == pytest.approx(-1.0) and wrong["yaw_r2"] < -2 and wrong["pitch_r2"] == 1.0


def test_species_and_variety(scene, context):
    found = METRICS["species"].measure(scene(ball), range(8), 1.0, context)
    assert [found[name] for name in SPECIES] == [0.25] * 4 and found["distance"] == 0.0
    context.reader.read = lambda pictures: (None, torch.zeros(len(pictures), dtype=torch.int64))
    assert METRICS["species"].measure(scene(ball), range(8), 1.0, context)["distance"] == 0.75
    full = METRICS["variety"].measure(scene(ball), range(8), 1.0, context)
    assert full["distance"] > 0 and full["reference_distance"] > 0.05
    mean_head = METRICS["variety"].measure(scene(ball), range(8), 0.0, context)
    assert mean_head["distance"] == pytest.approx(0.0, abs=1e-3)


def discs(diameters, colours, background=BACKGROUND):
    """Round heads of one colour each, in [−1, 1]."""
    rows, columns = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    inside = [(rows.square() + columns.square()).sqrt() < diameter / 2 for diameter in diameters]
    colours, background = torch.tensor(colours)[:, :, None, None], torch.tensor(background)[:, None, None]
    return torch.where(torch.stack(inside)[:, None], colours, background) * 2 - 1


def test_sizes_and_colours_of_heads_by_hand():
    areas, colours = metrics.heads_in(discs([32.0, 40.0], [[0.2, 0.4, 0.6], [0.5, 0.3, 0.1]]))
    assert areas.tolist() == pytest.approx([math.pi * 16**2 / 64**2, math.pi * 20**2 / 64**2], rel=0.02)
    assert torch.allclose(colours.float(), torch.tensor([[0.2, 0.4, 0.6], [0.5, 0.3, 0.1]]), atol=1e-6)
    areas, colours = metrics.heads_in(discs([0.0], [[0.0, 0.0, 0.0]]))
    assert areas.tolist() == [0.0] and colours.isfinite().all()


@pytest.fixture
def appearance(scene, context):
    """Measures given pictures as if a model had drawn them."""

    def measure(pictures):
        context.views = lambda *arguments: metrics.Views(pictures, None, None)
        return METRICS["appearance"].measure(scene(ball), range(len(pictures)), 1.0, context)

    return measure


def test_drawn_heads_appear_as_the_data(appearance):
    front = torch.zeros(24)
    found = appearance(reader.draw_heads(11, front, front)[0])  # other heads than the reference's
    assert found["degenerate"] == found["reference_degenerate"] == 0.0
    assert found["area"] == pytest.approx(found["reference_area"], rel=0.05)
    assert found["colour_shift"] < 0.06
    for name in ("area_spread", "colour_spread"):
        assert 0.5 < found[name] / found[f"reference_{name}"] < 2.0


def test_one_head_for_all_and_a_tint_are_seen(appearance):
    front = torch.zeros(24)
    heads = reader.draw_heads(11, front, front)[0]
    same = appearance(heads[:1].expand(24, -1, -1, -1))
    assert same["area_spread"] == pytest.approx(0.0, abs=1e-9) and same["colour_spread"] == pytest.approx(0.0, abs=1e-9)
    background = torch.tensor(BACKGROUND)[:, None, None] * 2 - 1
    is_head = ((heads - background).abs() > 0.02).any(dim=1, keepdim=True)
    red = torch.where(is_head, heads + torch.tensor([0.5, 0.0, 0.0])[:, None, None], heads).clamp(-1, 1)
    assert appearance(red)["colour_shift"] > appearance(heads)["colour_shift"] + 0.05


def test_what_is_no_head_is_degenerate(appearance):
    grey, kinds = [0.5, 0.5, 0.5], [40.0, 40.0, 4.0, 0.0, 90.0]
    found = appearance(discs(kinds, [grey] * 5))
    assert found["degenerate"] == pytest.approx(3 / 5)
    assert found["area"] == pytest.approx(math.pi * 20**2 / 64**2, rel=0.02)
    black = appearance(discs([40.0] * 3, [grey] * 3, background=(0.0, 0.0, 0.0)))  # another background than the data's
    assert black["degenerate"] == 1.0
    assert [black[name] for name in ("area", "area_spread", "colour_shift", "colour_spread")] == [None] * 4
    assert appearance(torch.rand(3, 3, 64, 64) * 2 - 1)["degenerate"] == 1.0


def test_thumbnails_can_be_judged_alone(tiny_model):
    w, camera = tiny_model.mapping(latent(tiny_model, 0)), Camera.from_angles(0.2, 0.1)
    image, alpha = metrics.draw_full(tiny_model, w, camera, 1.0)
    thumbnail, same = metrics.draw_full(tiny_model, w, camera, 1.0, "thumbnail")
    assert image.shape == (1, 3, 32, 32) and thumbnail.shape == (1, 3, 16, 16) and torch.equal(alpha, same)
    with torch.no_grad():
        expected = tiny_model.render(w, camera).thumbnail.clamp(-1, 1)
        next(tiny_model.decoder.parameters()).add_(1.0)
    assert torch.equal(thumbnail, expected)
    views = Context(pictures="thumbnail").views(tiny_model, range(2), 1.0).pictures
    assert not torch.equal(views, Context().views(tiny_model, range(2), 1.0).pictures)
    assert torch.equal(
        views[:1],
        metrics.draw(
            tiny_model, tiny_model.mapping(latent(tiny_model, 0)), Camera.from_angles(0.0, 0.0), 1.0, "thumbnail"
        )[0],
    )


@pytest.mark.parametrize(
    "asked, has_decoder, judged",
    [
        ("image", True, "image"),
        ("thumbnail", True, "thumbnail"),
        ("image", False, "thumbnail"),
    ],
)
def test_the_report_says_which_pictures_were_judged(tiny_config, asked, has_decoder, judged):
    config = tiny_config if has_decoder else dataclasses.replace(tiny_config, decoder_channels=())
    report = evaluate(Generator(config).eval(), metrics=["variety"], num_seeds=2, pictures=asked)
    assert report["pictures"] == judged and report["inception"] is None
    assert f"pictures: the {judged}." in markdown_table(report)


def test_the_decoders_image_is_what_is_judged(tiny_model):
    w = tiny_model.mapping(latent(tiny_model, 0))
    before, alpha = metrics.draw(tiny_model, w, Camera.from_angles(0.0, 0.0), 1.0)
    assert before.shape == (1, 3, 64, 64) and alpha.shape == (1, 16, 16)
    with torch.no_grad():
        next(tiny_model.decoder.parameters()).add_(1.0)
    assert not torch.equal(before, metrics.draw(tiny_model, w, Camera.from_angles(0.0, 0.0), 1.0)[0])


def test_the_reader_is_trained_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "RECIPE", {**reader.RECIPE, "pictures": 20, "epochs": 2, "batch": 10})
    path, shares = tmp_path / "deep" / "reader.safetensors", []
    first = reader.load_reader(path, shares.append)
    assert shares[-1] == 1.0 and shares == sorted(shares)
    written = path.read_bytes()
    second = reader.load_reader(path, lambda share: pytest.fail("trained again"))
    pictures = torch.rand(3, 3, 64, 64) * 2 - 1
    assert torch.equal(first.read(pictures)[0], second.read(pictures)[0])
    monkeypatch.setattr(reader, "RECIPE", {**reader.RECIPE, "rate": 1e-4})
    reader.load_reader(path)
    assert path.read_bytes() != written


def test_the_reader_learns():
    student = reader.train_reader(pictures=100, epochs=10, batch=10)
    poses = reader.uniform_poses(25, reader.MAX_YAW, reader.MAX_PITCH)
    pictures, depth, species = reader.draw_heads(3, poses[:, 0], poses[:, 1])
    assert pictures.shape == (25, 3, 64, 64) and depth.shape == (25, 64, 64) and species.max() <= 3
    assert r_squared(poses[:, 0], student.read(pictures)[0][:, 0]) > 0.4


@pytest.fixture
def checkpoint(tmp_path, tiny_toy_config):
    folder = tmp_path / "model"
    StyleSDF(tiny_toy_config).save_pretrained(folder)
    return folder


@pytest.fixture
def untrained_reader(monkeypatch):
    monkeypatch.setattr(reader, "RECIPE", {**reader.RECIPE, "pictures": 10, "epochs": 1, "batch": 5})


def test_the_hash_is_of_the_weights_that_were_measured(checkpoint, tmp_path, monkeypatch):
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = folder / "model.safetensors"
    expected = hashlib.sha256(weights.read_bytes()).hexdigest()

    def measure(*arguments):
        weights.write_bytes(b"the next model, saved by a run")
        return {"count": 2}

    monkeypatch.setitem(METRICS, "variety", dataclasses.replace(METRICS["variety"], measure=measure))
    report = evaluate(StyleSDF.from_pretrained(folder), None, ["variety"], num_seeds=2, reader_path=tmp_path / "r")
    assert report["model"]["sha256"] == expected


def test_a_report_is_complete_and_repeatable(checkpoint, tmp_path, untrained_reader, monkeypatch):
    monkeypatch.setattr("train.consistency.DEPTH_RAYS", 24)
    model = StyleSDF.from_pretrained(checkpoint)
    data = ImageSet(
        images=np.zeros((5, 3, 32, 32), np.uint8),
        thumbnails=np.zeros((5, 3, 16, 16), np.uint8),
        poses=torch.eye(5, 2) / 10,
    )
    seen = []
    report = evaluate(
        model, data, num_seeds=2, truncation=0.7, progress=lambda *args: seen.append(args), reader_path=tmp_path / "r"
    )
    assert list(report["metrics"]) == [name for name, metric in METRICS.items() if not metric.needs_inception]
    assert len(report["model"]["sha256"]) == 64
    assert all(result["count"] == 2 for result in report["metrics"].values())
    assert report["metrics"]["pose"]["data_count"] == 5
    assert {name for name, _ in seen} >= {"pose", "surface", "silhouette"}
    text = json.dumps(report, allow_nan=False)
    again = evaluate(model, data, num_seeds=2, truncation=0.7, reader_path=tmp_path / "r")
    assert json.dumps(again) == text
    table = markdown_table(json.loads(text))
    for metric in map(METRICS.get, report["metrics"]):
        for quantity in metric.quantities:
            assert f"| {metric.name} | {quantity.text} | " in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert widths == {6}


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
    assert run(parser.parse_args(words)) == 0
    none, full = (json.loads((tmp_path / f"metrics-{psi}.json").read_text()) for psi in (0, 1))
    assert none["metrics"]["variety"]["distance"] < 1e-6 < full["metrics"]["variety"]["distance"]


def test_every_metric_says_what_it_is():
    for metric in METRICS.values():
        assert len(metric.measure.__doc__.strip()) > 40 and metric.quantities
        assert all(quantity.text and quantity.better for quantity in metric.quantities)


def test_the_shipped_reader_is_of_the_recipe():
    loaded = reader.load_reader(metrics.READER_PATH, lambda share: pytest.fail("trained anew"))
    pictures, _, species = reader.draw_heads(5, torch.zeros(20), torch.zeros(20))
    poses, read = loaded.read(pictures)
    assert (read == species).double().mean() >= 0.9 and poses.abs().mean() < math.radians(2)


def test_the_command_writes_both_files(checkpoint, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    out = tmp_path / "out"
    args = parser.parse_args(
        [str(checkpoint), "--out", str(out), "--num-seeds", "2", "--metrics", "surface", "variety"]
    )
    assert run(args) == 0
    assert capsys.readouterr().out == (out / "metrics.md").read_text(encoding="utf-8")
    assert list(json.loads((out / "metrics.json").read_text())["metrics"]) == ["surface", "variety"]


@pytest.mark.parametrize(
    "options, word",
    [
        ({"metrics": ["beauty"]}, "beauty"),
        ({"num_seeds": 1}, "num_seeds"),
        ({"truncation": 2.0}, "2.0"),
        ({"pictures": "mesh"}, "pictures is 'mesh'"),
    ],
)
def test_bad_arguments_raise(tiny_model, options, word):
    with pytest.raises(ValueError, match=word):
        evaluate(tiny_model, **options)


def test_the_tiny_models_mesh_is_the_scenes(scene):
    vertices = extract_mesh(scene(ball), torch.zeros(1, 16), 32).vertices
    assert np.allclose(np.linalg.norm(vertices, axis=1), RADIUS, atol=1e-3)


def test_a_ball_bends_evenly_and_a_rough_one_does_not():
    rows, columns = torch.meshgrid(torch.linspace(-0.1, 0.1, 64), torch.linspace(-0.1, 0.1, 64), indexing="ij")
    inside = 0.06**2 - rows**2 - columns**2
    depth = torch.where(inside > 0, 1.0 - inside.clamp(min=0).sqrt(), torch.nan)
    angles = metrics.bends(depth, 0.2)
    assert math.degrees(0.2 / 64 / 0.06) * 0.8 < angles.median() < math.degrees(0.2 / 64 / 0.06) * 2.5
    rough = depth + 0.004 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    assert metrics.bends(rough, 0.2).median() > 4 * angles.median()


def test_smooth_scenes_are_smoother_than_heads(scene, context):
    result = METRICS["smoothness"].measure(scene(ball), range(4), 1.0, context)
    assert result["bend"] < 20 and result["reference_rough"] > result["rough"]
