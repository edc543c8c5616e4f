"""Toy heads: the truth is the truth, the bytes are deterministic, every head is one body inside the scene."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.measure import label

from train.data.images import load_images
from train.data.toy_heads import (
    BACKGROUND,
    MAX_RADIUS,
    SPECIES,
    Head,
    ToyHeadsConfig,
    pose_of,
    render_heads,
    sample_head,
    write_toy_heads,
)

FIELDS = ("rgb", "alpha", "depth", "normals")


def ball(center, radius, color=(1.0, 1.0, 1.0)) -> Head:
    """A head that is one ball, with a brush that paints nothing."""
    return Head(
        species="cat",
        centers=torch.tensor([center], dtype=torch.float32),
        rotations=torch.eye(3)[None],
        radii=torch.full((1, 3), float(radius)),
        colors=torch.tensor([color], dtype=torch.float32),
        brush_centers=torch.zeros(1, 3),
        brush_matrices=torch.eye(3)[None],
        brush_colors=torch.zeros(1, 3),
        brush_softness=torch.ones(1),
        brush_targets=torch.zeros(1, 1, dtype=torch.bool),
        attributes={},
    )


def surface_points(head: Head, count: int = 2000) -> torch.Tensor:
    unit = torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    local = unit[None] * head.radii[:, None]  # (P, count, 3)
    return local @ head.rotations.transpose(1, 2) + head.centers[:, None]


def head_sdf_sign(head: Head, points: torch.Tensor) -> torch.Tensor:
    """Tell which points ``(..., 3)`` lie in at least one part of a head."""
    inside = torch.zeros(points.shape[:-1], dtype=torch.bool)
    for matrix, center in zip(head.part_matrices(), head.centers, strict=True):
        inside |= ((points - center) @ matrix.T).square().sum(-1) < 1
    return inside


def position(yaw: float, pitch: float) -> torch.Tensor:
    back = (math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw))
    return torch.tensor(back)


def test_a_picture_does_not_depend_on_its_batch():
    heads = [sample_head(i, 5) for i in range(4)]
    batch = render_heads(heads, [0.1, -0.2, 0.3, 0.0], [0.0, 0.1, -0.1, 0.0], 32)
    alone = render_heads([sample_head(2, 5)], [0.3], [-0.1], 32)
    for name in FIELDS:
        assert torch.equal(getattr(batch, name)[2].nan_to_num(-1), getattr(alone, name)[0].nan_to_num(-1)), name


def test_animals_differ_and_species_are_even():
    heads = [sample_head(i, 0) for i in range(400)]
    assert len({tuple(h.radii.flatten().tolist()) for h in heads}) == len(heads)
    counts = [sum(h.species == s for h in heads) for s in SPECIES]
    assert sum(counts) == len(heads) and min(counts) > 70  # 100 expected, standard deviation 8.7
    assert sample_head(3, 0).attributes == heads[3].attributes != sample_head(3, 1).attributes


@pytest.mark.parametrize(
    "index, species, coat, base_color, num_parts, num_brushes, mean",
    [
        (0, "fox", "red", "#eb6625", 20, 25, (0.7547, 0.2556, 0.98400)),
        (4, "cat", "cream", "#ebd1b1", 19, 33, (0.7750, 0.2622, 0.97525)),
        (6, "dog", "chocolate", "#805034", 17, 19, (0.6895, 0.2876, 0.97522)),
        (7, "bear", "black", "#393936", 18, 17, (0.6743, 0.2871, 0.97420)),
    ],
)
def test_animals_are_the_recorded_ones(index, species, coat, base_color, num_parts, num_brushes, mean):
    """Other animals for the same seed would be another data set than readers and models were trained on."""
    head = sample_head(index, 3)
    assert (head.species, head.attributes["coat"], head.attributes["base_color"]) == (species, coat, base_color)
    assert (len(head.centers), len(head.brush_colors)) == (num_parts, num_brushes)
    out = render_heads([head], [0.2], [-0.1], 32)
    found = [float(each) for each in (out.rgb.mean(), out.alpha.mean(), out.depth.nanmean())]
    assert found == pytest.approx(mean, abs=2e-4)


def test_heads_fit_the_scene():
    for i in range(60):
        head = sample_head(i, 1)
        assert 11 <= len(head.radii) <= 24
        assert head.radii.min() >= 0.008
        assert surface_points(head).norm(dim=-1).max() < MAX_RADIUS
        near_center = torch.nn.functional.normalize(torch.randn(50, 3), dim=1) * 0.01
        assert head_sdf_sign(head, near_center).all()


def test_heads_are_one_body():
    axis = torch.linspace(-0.11, 0.11, 48)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    for i in range(16):
        inside = head_sdf_sign(sample_head(i, 2), grid)
        assert inside.shape == (48, 48, 48)
        assert label(inside.numpy(), connectivity=1).max() == 1


def test_depth_by_hand():
    # an even picture has no centre pixel, an odd one has: its ray runs along the axis
    depth = render_heads([ball((0, 0, 0.01), 0.05)], [0.0], [0.0], 5).depth
    assert depth[0, 2, 2] == pytest.approx(1 - 0.06, abs=1e-6)
    # off the axis: |o + t d - c| = r with o = (0, 0, 1), c = 0, d = (x, 0, -1)
    size, fov = 16, 12.0
    x = 2.5 / (0.5 * size / math.tan(math.radians(fov) / 2))
    y = -0.5 / (0.5 * size / math.tan(math.radians(fov) / 2))
    a = 1 + x * x + y * y
    expected = (1 - math.sqrt(1 - a * (1 - 0.05**2))) / a
    depth = render_heads([ball((0, 0, 0), 0.05)], [0.0], [0.0], size, fov).depth
    assert depth[0, 8, 10] == pytest.approx(expected, abs=1e-6)
    assert depth[0, 0, 0].isnan()


def test_normals_and_shading_of_a_ball():
    gray = 0.6
    out = render_heads([ball((0, 0, 0), 0.06, (gray, gray, gray))], [0.0], [0.0], 65, supersample=1)
    assert torch.allclose(out.normals[0, 32, 32], torch.tensor([0.0, 0.0, 1.0]), atol=1e-4)
    assert out.normals[0, 32, 40, 0] > 0.2 and out.normals[0, 24, 32, 1] > 0.2  # +x right, +y up
    assert out.normals[0, 0, 0].abs().sum() == 0
    hit = out.alpha[0] > 0
    assert torch.allclose(out.normals[0][hit].norm(dim=-1), torch.ones(int(hit.sum())), atol=1e-5)
    colors = out.rgb[0][hit]
    assert colors.min() == pytest.approx(0.5 * gray, abs=1e-3) and colors.max() == pytest.approx(gray, abs=1e-2)
    assert out.rgb[0, 24, 24].sum() > out.rgb[0, 40, 40].sum()  # light from the upper left


def test_light_stays_in_the_world():
    # a point of the surface seen from two cameras has one colour
    head = ball((0, 0, 0), 0.06, (0.5, 0.5, 0.5))
    front, side = render_heads([head] * 2, [0.0, 0.5], [0.0, 0.0], 65, supersample=1).rgb
    expected = front[32, 32]  # normal (0, 0, 1); from yaw 0.5 it lies at x = -0.06 sin 0.5, z-depth 1 - 0.06 cos 0.5
    focal = 0.5 * 65 / math.tan(math.radians(6))
    column = math.floor(65 / 2 - focal * 0.06 * math.sin(0.5) / (1 - 0.06 * math.cos(0.5)))
    assert torch.allclose(side[32, column], expected, atol=0.01)


def test_signs_of_yaw_and_pitch():
    nose = ball((0, 0, 0.05), 0.01)
    columns = torch.arange(33) - 16.0
    right, left, above = render_heads([nose] * 3, [0.3, -0.3, 0.0], [0.0, 0.0, 0.3], 33).alpha
    assert (right.sum(0) * columns).sum() < 0 < (left.sum(0) * columns).sum()  # camera to +x: nose to the left
    assert (above.sum(1) * columns).sum() > 0  # camera up: nose down


@pytest.mark.parametrize("species", SPECIES)
def test_depth_lies_on_the_surface(species):
    head = next(h for h in (sample_head(i, 7) for i in range(100)) if h.species == species)
    yaw, pitch, size = 0.35, -0.2, 40
    out = render_heads([head], [yaw], [pitch], size)
    back = position(yaw, pitch)
    right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), back), dim=0)
    up = torch.linalg.cross(back, right)
    at = (torch.arange(size) + 0.5 - size / 2) / (0.5 * size / math.tan(math.radians(6)))
    directions = at[None, :, None] * right - at[:, None, None] * up - back  # (H, W, 3)
    hit = out.depth[0].isfinite()
    points = back + out.depth[0][..., None] * directions
    assert not head_sdf_sign(head, (points + 5e-5 * out.normals[0])[hit]).float().mean() > 0.02  # creases may
    assert head_sdf_sign(head, (points - 5e-5 * out.normals[0])[hit]).all()
    assert not head_sdf_sign(head, (points - 1e-4 * directions)[hit]).any()  # nothing in front
    # rays that miss do miss
    depths = torch.linspace(0.88, 1.12, 200)
    along = back + depths[:, None, None] * directions[~hit]
    assert not head_sdf_sign(head, along).any()


def test_alpha_and_background_agree():
    out = render_heads([sample_head(i, 0) for i in range(4)], [0.2] * 4, [0.1] * 4, 48)
    assert out.rgb.shape == (4, 48, 48, 3) and out.alpha.shape == out.depth.shape == (4, 48, 48)
    assert out.rgb.dtype == torch.float32 and out.rgb.min() >= 0 and out.rgb.max() <= 1
    assert torch.allclose(out.rgb[out.alpha == 0], torch.tensor(BACKGROUND))
    assert out.depth[out.alpha == 1].isfinite().float().mean() > 0.999
    assert 0.15 < out.alpha.mean() < 0.6
    edge = torch.cat([out.alpha[:, 0], out.alpha[:, -1], out.alpha[:, :, 0], out.alpha[:, :, -1]])
    assert edge.max() == 0


def test_a_small_picture_is_the_large_one_averaged():
    head = sample_head(1, 0)
    coarse = render_heads([head], [0.1], [0.1], 16, supersample=4).rgb[0]
    fine = render_heads([head], [0.1], [0.1], 64, supersample=1).rgb[0]
    assert torch.allclose(coarse, fine.view(16, 4, 16, 4, 3).mean(dim=(1, 3)), atol=1e-5)


def test_poses_follow_the_config():
    config = ToyHeadsConfig(seed=3, yaw_std=0.3, pitch_std=0.15)
    poses = np.array([pose_of(i, config) for i in range(2000)])
    assert pose_of(17, config) == tuple(poses[17])
    assert poses.std(axis=0) == pytest.approx((0.3, 0.15), rel=0.06)
    assert np.abs(poses.mean(axis=0)).max() < 0.03
    assert np.abs(poses[:, 0]).max() <= 0.9 and np.abs(poses[:, 1]).max() <= 0.45


def test_folder_round_trip(tmp_path):
    config = ToyHeadsConfig(count=6, image_size=24, seed=4)
    write_toy_heads(tmp_path / "one", config, progress=False)
    (tmp_path / "two").mkdir()  # an empty folder may stand there
    write_toy_heads(tmp_path / "two", config, progress=False)
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert [str(f) for f in files] == [f"images/{i:06d}.png" for i in range(6)] + ["metadata.jsonl", "toy_heads.json"]
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]  # nothing temporary stays

    assert ToyHeadsConfig(**json.loads((tmp_path / "one/toy_heads.json").read_text())["config"]) == config
    lines = [json.loads(line) for line in (tmp_path / "one/metadata.jsonl").read_text().splitlines()]
    for i, line in enumerate(lines):
        head, (yaw, pitch) = sample_head(i, 4), pose_of(i, config)
        assert line["species"] == head.species and line["base_color"] == head.attributes["base_color"]
        assert (line["yaw"], line["pitch"]) == pytest.approx((yaw, pitch), abs=1e-6)
        out = render_heads([head], [yaw], [pitch], 24)
        image = Image.open(tmp_path / "one" / line["file_name"])
        assert image.mode == "RGBA" and image.size == (24, 24)
        pixels = torch.from_numpy(np.array(image)).float() / 255
        assert (pixels[..., :3] - out.rgb[0]).abs().max() <= 0.51 / 255
        assert (pixels[..., 3] - out.alpha[0]).abs().max() <= 0.51 / 255


def test_processes_do_not_change_bytes(tmp_path):
    config = ToyHeadsConfig(count=65, image_size=8, seed=4)  # three tasks, so two processes
    write_toy_heads(tmp_path / "many", config, progress=False)
    write_toy_heads(tmp_path / "few", dataclasses.replace(config, count=64), progress=False)
    for i in (0, 31, 32, 63):
        name = f"images/{i:06d}.png"
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "few" / name).read_bytes()
    many = (tmp_path / "many/metadata.jsonl").read_text().splitlines()
    assert many[:64] == (tmp_path / "few/metadata.jsonl").read_text().splitlines() and len(many) == 65


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="will not overwrite"):
        write_toy_heads(tmp_path, ToyHeadsConfig(count=1, image_size=8), progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_what_is_drawn_on_the_spot_is_seen_as_the_model_sees_it(tmp_path):
    usual, narrow = (
        load_images("toy-heads:2", 16, 16, fov_deg=fov_deg, cache_dir=tmp_path) for fov_deg in (None, 9.0)
    )
    wider = load_images("toy-heads:2", 16, 16, fov_deg=12.0, cache_dir=tmp_path)
    assert np.array_equal(usual.images, wider.images) and torch.equal(usual.poses, narrow.poses)
    covered, less = (images.thumbnails[:, 3].mean() for images in (narrow, usual))
    assert covered / less == pytest.approx((math.tan(math.radians(6.0)) / math.tan(math.radians(4.5))) ** 2, rel=0.1)

    folder = tmp_path / "toy-heads-2-16-9"
    assert json.loads((folder / "toy_heads.json").read_text())["config"]["fov_deg"] == 9.0
    load_images(folder, 16, 16, cache_dir=tmp_path)  # which nothing is to be trained on
    load_images(folder, 16, 16, fov_deg=9.0, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="-9 was drawn at a field of view of 9°, expected the model's 12°"):
        load_images(folder, 16, 16, fov_deg=12.0, cache_dir=tmp_path)


def test_bad_arguments():
    with pytest.raises(ValueError, match="image_size"):
        ToyHeadsConfig(image_size=0)
    with pytest.raises(ValueError, match="fov_deg"):
        ToyHeadsConfig(fov_deg=0)
    with pytest.raises(ValueError, match="as many angles"):
        render_heads([sample_head(0, 0)], [0.0, 1.0], [0.0], 8)
    with pytest.raises(ValueError, match="negative"):
        sample_head(-1, 0)
