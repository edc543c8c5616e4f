"""People: the truth is the truth, the bytes are deterministic, an interrupted folder is finished."""

import builtins
import dataclasses
import json
import math
import os
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from train.__main__ import main
from train.data.images import load_images
from train.data.people.geometry import Material, vertex_normals
from train.data.people.identity import MAX_GAZE_DEG, UNDER_HATS, sample_person
from train.data.people.mouth import mouth_colour
from train.data.people.paint import eye_colour
from train.data.people.rays import camera_rays
from train.data.people.render import BACKGROUND, MAX_RADIUS, Head, build_parts, render_head, render_rgba
from train.data.people.shape import build_shape
from train.data.people.write import PeopleConfig, are_default_people, person_of, pose_of, write_people
from train.errors import RunError

SMALL = PeopleConfig(count=4, image_size=24, seed=3)


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(sample_person(2, seed=5))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "a"
    write_people(folder, SMALL)
    return folder


def contents(folder) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def first_crossing(origin, direction, corners):
    """Möller and Trumbore: the least t > 0 where origin + t direction meets a triangle ``(F, 3, 3)``, and which."""
    a, e1, e2 = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(direction, e2)
    determinant = (e1 * p).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = origin - a
        u = (s * p).sum(1) / determinant
        q = np.cross(s, e1)
        v = (q @ direction) / determinant
        t = (e2 * q).sum(1) / determinant
    t = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf)
    return t.min(), t.argmin()


def test_a_person_depends_on_seed_and_index_only():
    assert sample_person(3, 1) == sample_person(3, 1)
    assert sample_person(3, 1) != sample_person(4, 1) != sample_person(4, 2)
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        sample_person(-1)


def test_faces_are_balanced():
    people = [sample_person(i, 9) for i in range(3000)]
    assert np.abs(np.degrees([person.gaze for person in people])).max() <= MAX_GAZE_DEG
    tones = np.histogram([person.skin_tone for person in people], 6, (0, 9))[0] / len(people)
    assert np.abs(tones - 1 / 6).max() < 0.03  # four standard deviations
    assert np.abs(np.mean([person.ancestry for person in people], axis=0) - 1 / 3).max() < 0.03
    assert abs(np.mean([person.is_child for person in people]) - 0.2) < 0.03
    assert abs(np.mean([person.expression == "grin" for person in people]) - 0.2) < 0.03


def test_open_mouths_have_teeth_and_gazes_turn_both_eyes():
    person = dataclasses.replace(sample_person(0, seed=12), expression="grin", eye_colour="blue")
    assert Material.MOUTH in {part.material for part in build_parts(person, build_shape(person))}
    calm = dataclasses.replace(person, expression="calm")
    assert Material.MOUTH not in {part.material for part in build_parts(calm, build_shape(calm))}
    teeth = mouth_colour(np.array([[0.0, 0.3, 0, 0, 0], [0.0, 0.75, 0, 0, 0]]))
    assert teeth[0].min() > 0.6 and teeth[1].max() < 0.3
    x = np.linspace(-0.4, 0.4, 81)
    for side in (-1, 1):
        across = np.stack([x, 0 * x, 0 * x + 1, 0 * x + side, 0 * x + 1.3], 1)
        darkest = [
            x[eye_colour(dataclasses.replace(person, gaze=(yaw, 0.0)), across)[0].sum(1) < 0.05].mean()
            for yaw in (-0.1, 0.1)
        ]
        assert darkest[1] - darkest[0] == pytest.approx(1.3 * 2 * math.sin(0.1), abs=0.03)


def test_shares_of_glasses_and_hats_are_those_asked_for():
    people = [sample_person(i, 9, glasses_share=0.1, hat_share=0.2) for i in range(3000)]
    glasses = sum(person.glasses != "none" for person in people) / len(people)
    hats = sum(person.has_hat for person in people) / len(people)
    assert abs(glasses - 0.1) < 0.02 and abs(hats - 0.2) < 0.025  # more than three standard deviations
    assert all(person.hair_style in UNDER_HATS for person in people if person.has_hat)
    assert not any(sample_person(i, 9, 0.0, 0.0).has_hat for i in range(100))
    assert all(sample_person(i, 9, 1.0, 1.0).has_hat for i in range(100))


def test_no_identity_raises():
    # 2,000 shapes take 4 seconds, all their parts 54 and light 350 more: here the first of each kind get parts
    seen = set()
    for index in range(2000):
        person = sample_person(index, seed=11, glasses_share=0.3, hat_share=0.3)
        shape = build_shape(person)
        assert np.isfinite(shape.skin).all() and (shape.eyes.radii > 0.1).all()
        assert shape.eyes.heights.min() > 0.12 and np.ptp(shape.eyes.heights) < 0.02  # no slits, and both alike
        kinds = {(person.hair_style, person.has_hat), person.beard, person.glasses, person.expression}
        for part in () if kinds <= seen else build_parts(person, shape):
            assert np.isfinite(part.vertices).all() and np.isfinite(part.attributes).all()
            assert len(part.faces) and part.faces.max() < len(part.vertices)
        seen |= kinds
    assert len(seen) > 35


def test_whole_heads_stay_in_the_picture_and_fill_it():
    """STYLESDF_PEOPLE=1000 renders so many, in five minutes."""
    count = int(os.environ.get("STYLESDF_PEOPLE", 12))
    config = PeopleConfig(count=count, image_size=64, seed=13)
    touches, coverage = 0, []
    for index in range(count):
        alpha = render_rgba(Head(person_of(index, config)), *pose_of(index, config), 64, supersample=1)[..., 3]
        touches += max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) > 0
        coverage.append(alpha.mean() / 255)
    assert touches <= 0.01 * count
    assert np.mean(coverage) > (0.415 if count >= 500 else 0.37)


@pytest.mark.parametrize("style", ["bald", "bun", "knot", "puffs", "pigtails", "spacebuns", "afro", "bowl", "long"])
def test_every_kind_of_part_is_lit(style):
    # buns at the back of the head have no vertex in front that faces the key light
    person = dataclasses.replace(sample_person(0, seed=12), hair_style=style, glasses="round", beard="full")
    head = Head(dataclasses.replace(person, has_hat=style in UNDER_HATS))
    assert np.isfinite(head.light).all() and head.light.min() >= 0 and head.light.max() <= 1.0001


def test_heads_fit_the_scene_and_the_picture(head):
    points = head.world_vertices[np.unique(head.faces)]
    assert np.linalg.norm(points, axis=1).max() < MAX_RADIUS + 1e-6
    for yaw, pitch in ((0.9, 0.45), (-0.9, -0.45), (0.0, 0.45), (0.9, 0.0)):
        alpha = render_rgba(head, yaw, pitch, 48, supersample=1)[..., 3]
        assert max(alpha[0].max(), alpha[-1].max(), alpha[:, 0].max(), alpha[:, -1].max()) == 0


def test_depth_and_normals_agree_with_an_independent_intersection(head):
    yaw, pitch, size, fov_deg = 0.35, -0.2, 40, 12.0
    picture = render_head(head, yaw, pitch, size, supersample=1, fov_deg=fov_deg)
    assert picture.depth.dtype == picture.normals.dtype == np.float32 and picture.rgba.dtype == np.uint8
    back = np.array([math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw)])
    right = np.cross([0.0, 1.0, 0.0], back) / np.linalg.norm(np.cross([0.0, 1.0, 0.0], back))
    up, focal = np.cross(back, right), 0.5 * size / math.tan(math.radians(fov_deg) / 2)
    corners = head.world_vertices[head.faces]
    normals = vertex_normals(head.vertices.astype(float), head.faces)
    rng, checked = np.random.default_rng(0), 0
    for row, column in rng.integers(0, size, (60, 2)):
        direction = ((column + 0.5 - size / 2) * right - (row + 0.5 - size / 2) * up) / focal - back
        t, face = first_crossing(back, direction, corners)  # a direction of unit z-depth: t is the depth
        assert picture.mask[row, column] == np.isfinite(t)
        if np.isfinite(t):
            checked += 1
            assert picture.depth[row, column] == pytest.approx(t, abs=2e-5)
            of_corners = normals[head.faces[face]]
            if (of_corners @ of_corners.T).min() > 0.9:  # smooth there, so that any corner's normal is close
                assert picture.normals[row, column] @ of_corners[0] > 0.85
    assert checked > 15


def test_the_rays_are_the_cameras_of_the_specification():
    position, directions = camera_rays(0.3, 0.15, 12.0, 4)
    directions = directions.reshape(4, 4, 3)
    assert np.linalg.norm(position) == pytest.approx(1)
    np.testing.assert_allclose(directions @ -position, 1)  # unit z-depth
    np.testing.assert_allclose(directions.mean((0, 1)), -position, atol=1e-12)  # looks at the origin
    assert (directions[0, :, 1] > directions[-1, :, 1]).all() and directions[0, 3, 0] > directions[0, 0, 0]


def test_alpha_mask_depth_and_background_agree(head):
    picture = render_head(head, -0.3, 0.1, 48, supersample=3)  # an odd number: one ray is the central one
    assert np.array_equal(picture.mask, np.isfinite(picture.depth))
    alpha = picture.rgba[..., 3]
    assert picture.mask[alpha == 255].all() and not picture.mask[alpha == 0].any()
    assert (picture.rgba[alpha == 0, :3] == np.round(np.array(BACKGROUND) * 255)).all()
    depth = picture.depth[picture.mask]
    assert depth.min() > 1 - MAX_RADIUS and depth.max() < 1 + MAX_RADIUS
    lengths = np.linalg.norm(picture.normals, axis=-1)
    np.testing.assert_allclose(lengths[picture.mask], 1, atol=1e-4)
    assert not lengths[~picture.mask].any()
    assert 0.2 < picture.mask.mean() < 0.7


def test_poses_follow_the_config():
    config = PeopleConfig(count=1, yaw_std=0.2, pitch_std=0.1)
    poses = np.array([pose_of(i, config) for i in range(2000)])
    assert np.abs(poses[:, 0]).max() < 0.6001 and np.abs(poses[:, 1]).max() < 0.3001
    np.testing.assert_allclose(poses.std(0), [0.2, 0.1], rtol=0.06)
    np.testing.assert_allclose(poses.mean(0), 0, atol=0.02)


def test_folder_round_trip(written):
    rows = [json.loads(line) for line in (written / "metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [f"images/{i:06d}.png" for i in range(4)]
    for index, row in enumerate(rows):
        assert (row["yaw"], row["pitch"]) == pytest.approx(pose_of(index, SMALL), abs=1e-6)
        assert row["hair_style"] == person_of(index, SMALL).hair_style and row["hat"] in (True, False)
        pixels = np.asarray(Image.open(written / row["file_name"]))
        assert pixels.shape == (24, 24, 4)
    assert np.array_equal(pixels, render_rgba(Head(person_of(3, SMALL)), *pose_of(3, SMALL), 24))
    assert json.loads((written / "people.json").read_text())["config"] == dataclasses.asdict(SMALL)


def test_processes_and_count_do_not_change_pictures(written, tmp_path):
    write_people(tmp_path / "b", SMALL, jobs=2)
    assert contents(tmp_path / "b") == contents(written)
    write_people(tmp_path / "c", dataclasses.replace(SMALL, count=1))
    assert contents(tmp_path / "c")["images/000000.png"] == contents(written)["images/000000.png"]


def _die(task):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_drawing(tmp_path, monkeypatch):
    monkeypatch.setattr("train.data.people.write._write_image", _die)
    with pytest.raises(RunError, match="was killed, perhaps for its memory: start the same command again"):
        write_people(tmp_path / "a", SMALL, jobs=2)


def test_an_interrupted_folder_is_finished(written, tmp_path, monkeypatch):
    folder = tmp_path / "b"
    calls = []

    def stop_at_the_third(task):
        calls.append(task)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write_image(task)

    from train.data.people import write

    write_image = write._write_image
    monkeypatch.setattr(write, "_write_image", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_people(folder, SMALL)
    assert not (folder / "metadata.jsonl").exists()
    (folder / "images/000001.png").write_bytes((folder / "images/000001.png").read_bytes()[:-30])
    (folder / "images/.000002-abc.png").write_bytes(b"half")
    write_people(folder, SMALL)
    assert [task[2] for task in calls[3:]] == [1, 2, 3]
    assert contents(folder) == contents(written)
    before = (folder / "metadata.jsonl").stat().st_mtime_ns
    write_people(folder, SMALL)  # nothing to do: what is decoded from it stays valid
    assert len(calls) == 6 and (folder / "metadata.jsonl").stat().st_mtime_ns == before
    (folder / "images/000003.png").unlink()
    write_people(folder, SMALL)
    assert contents(folder) == contents(written)


def test_another_config_and_other_folders_are_refused(written, tmp_path):
    with pytest.raises(ValueError, match="it holds people of another config"):
        write_people(written, dataclasses.replace(SMALL, hat_share=0.5))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="neither an empty folder nor one of people"):
        write_people(tmp_path, SMALL)
    for bad in ({"count": 0}, {"hat_share": 1.2}, {"seed": -1}, {"fov_deg": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            dataclasses.replace(SMALL, **bad)
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        write_people(tmp_path, SMALL, jobs=0)


def test_without_embreex_there_is_one_clear_line(tmp_path, monkeypatch, capsys):
    imported = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("embreex"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert main(["people", "--out", str(tmp_path / "a"), "--count", "1", "--size", "16"]) == 2
    message = "embreex is not installed, it traces the pictures of people: pip install embreex"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_people_are_drawn_on_the_spot(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    data = load_images("people:3", 16, 16, cache_dir=tmp_path)
    assert data.images.shape == (3, 3, 16, 16) and data.poses.shape == (3, 2) and data.thumbnails.shape[1] == 4
    for folder in [path for path in tmp_path.iterdir() if path.is_dir()]:
        shutil.rmtree(folder)
    again = load_images("people:3", 16, 16, cache_dir=tmp_path)  # drawn once more it is the same data
    assert again.identity == data.identity and np.array_equal(again.images, data.images)
    assert load_images("people:2", 16, 16, cache_dir=tmp_path).identity != data.identity
    assert are_default_people(data.names, data.options)


def test_command_line(tmp_path):
    arguments = ["--count", "1", "--size", "16", "--seed", "4", "--glasses-share", "1", "--hat-share", "1"]
    assert main(["people", "--out", str(tmp_path / "a"), *arguments]) == 0
    (row,) = map(json.loads, (tmp_path / "a" / "metadata.jsonl").read_text().splitlines())
    assert row["hat"] is True and row["glasses"] != "none"
    data = load_images(tmp_path / "a", 16, 16, cache_dir=tmp_path / "cache")
    assert data.subject == "people" and not are_default_people(data.names, data.options)
