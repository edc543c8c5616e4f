"""Labels as people bring them: three kinds of files, and what is refused with file, line and value."""

import codecs
import json
import math
import zipfile

import numpy as np
import pytest
import torch

from stylesdf.camera import Camera
from tests.train.files_people_bring import encode, photo
from train.data.images import load_images
from train.data.labels import LabelError, check_pose, rows_of

INTRINSICS = [4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pictures" / "sub").mkdir(parents=True)
    (tmp_path / "pictures" / "sub" / "a.png").write_bytes(encode(photo(), "png"))
    return tmp_path / "pictures"


def line(**row) -> str:
    return json.dumps({"file_name": "sub/a.png", "yaw": 0.1, "pitch": -0.2} | row)


def eg3d(yaw: float, pitch: float, radius: float = 2.7) -> list:
    """Return one of EG3D's labels: our camera, with OpenCV's axes down and forward for up and back."""
    matrix = torch.eye(4, dtype=torch.float64)
    camera = Camera.from_angles(torch.tensor(yaw, dtype=torch.float64), torch.tensor(pitch, dtype=torch.float64))
    matrix[:3] = camera.cam2world[0]
    matrix[:3, 1:3] *= -1
    matrix[:3, 3] *= radius
    return matrix.flatten().tolist() + INTRINSICS


@pytest.mark.parametrize(
    "row, message",
    [
        ({"yaw": -45}, "yaw is -45, expected radians from −π to π; as degrees it would be -0.7854 radians"),
        ({"yaw": 3.2}, "yaw is 3.2, expected radians from −π to π"),
        ({"pitch": 30.0}, "pitch is 30.0, expected radians between −π/2 and π/2"),
        ({"pitch": math.pi / 2}, "expected radians between −π/2 and π/2"),
        ({"yaw": float("nan")}, "yaw is nan, expected a finite number of radians"),
        ({"yaw": float("inf")}, "yaw is inf, expected a finite number of radians"),
        ({"pitch": float("-inf")}, "pitch is -inf, expected a finite number of radians"),
        ({"yaw": 10**400}, "expected a finite number of radians"),
        ({"yaw": True}, "yaw is True, expected a finite number of radians"),
        ({"yaw": "0.1"}, "yaw is '0.1', expected a finite number of radians"),
        ({"yaw": [0.1]}, "expected a finite number of radians"),
    ],
)
def test_what_is_no_pose_is_refused_with_file_line_and_value(row, message, folder):
    (folder / "metadata.jsonl").write_text(line() + "\n\n" + line(file_name="sub/b.png", **row))
    with pytest.raises(ValueError) as caught:
        load_images(folder, 32, 16)
    assert str(caught.value).startswith(f"{folder}/metadata.jsonl, line 3: ") and message in str(caught.value)


@pytest.mark.parametrize("yaw, pitch", [(-math.pi, 1.57), (math.pi, -1.57), (0, 0), (-0.7853981, 0.5)])
def test_every_pose_of_a_camera_is_taken(yaw, pitch):
    assert check_pose({"yaw": yaw, "pitch": pitch}, "here") == {"yaw": yaw, "pitch": pitch}


@pytest.mark.parametrize("name", ["sub\\a.png", ".\\sub\\a.png", "./sub/a.png", "sub//a.png", "sub/./a.png"])
@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
def test_windows_forms(name, mark, folder, tmp_path):
    text = (line(file_name=name, who="\u2028é") + "\r\n").encode(mark)
    (folder / "metadata.jsonl").write_bytes(text)
    torch.testing.assert_close(load_images(folder, 32, 16).poses, torch.tensor([[0.1, -0.2]]))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(folder / "sub" / "a.png", "sub/a.png")
        archive.writestr("metadata.jsonl", text)
    torch.testing.assert_close(load_images(tmp_path / "a.zip", 32, 16).poses, torch.tensor([[0.1, -0.2]]))


def test_csv(folder):
    text = 'file_name,yaw,pitch,who\n"sub/a.png",0.1,-0.2,"x, y"\nsub/b.png,,,\n'
    for separator, mark in ((",", b""), (";", codecs.BOM_UTF8), ("\t", b"")):
        data = mark + text.replace("x, y", "x").replace(",", separator).replace("\n", "\r\n").encode()
        (folder / "metadata.csv").write_bytes(data)
        torch.testing.assert_close(load_images(folder, 32, 16).poses, torch.tensor([[0.1, -0.2]]))
    rows = rows_of(text.encode(), "metadata.csv")
    assert rows["sub/a.png"]["who"] == "x, y" and rows["sub/b.png"]["yaw"] is None
    for cell in ("nan", "inf", "True", "1_0", "0.1 rad", "-45"):
        with pytest.raises(LabelError, match="metadata.csv, line 3: yaw is .*radians"):
            rows_of(f"file_name,yaw,pitch\na.png,0,0\nb.png,{cell},0\n".encode(), "metadata.csv")
    with pytest.raises(LabelError, match="no column file_name"):
        rows_of(b"name,yaw\na,0\n", "metadata.csv")
    with pytest.raises(LabelError, match="line 2: expected 2 cells"):
        rows_of(b"file_name,yaw\na,0,5\n", "metadata.csv")


@pytest.mark.parametrize("yaw, pitch", [(0, 0), (0.4, 0), (-0.4, 0.2), (0.1, -0.3), (3.0, 0.1), (-1.8, -1.2)])
def test_cameras_of_eg3d(yaw, pitch):
    text = json.dumps({"labels": [["00000/img.png", eg3d(yaw, pitch)]]})
    row = rows_of(text.encode(), "dataset.json")["00000/img.png"]
    np.testing.assert_allclose([row["yaw"], row["pitch"]], [yaw, pitch], atol=1e-6)


def test_eg3ds_own_frontal_camera_is_ours():
    frontal = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1]  # right, down, forward; it stands at +z
    row = rows_of(json.dumps({"labels": [["a.png", frontal + INTRINSICS]]}).encode(), "dataset.json")["a.png"]
    assert (row["yaw"], row["pitch"]) == (0, 0)


def test_eg3d_in_a_folder_and_a_zip(folder, tmp_path):
    text = json.dumps({"labels": [["sub/a.png", eg3d(0.3, -0.1)]]})
    (folder / "dataset.json").write_text(text)
    torch.testing.assert_close(load_images(folder, 32, 16).poses, torch.tensor([[0.3, -0.1]]))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(folder / "sub" / "a.png", "set/sub/a.png")
        archive.writestr("set/dataset.json", text)
    torch.testing.assert_close(load_images(tmp_path / "a.zip", 32, 16).poses, torch.tensor([[0.3, -0.1]]))


def wrong(place: int, value) -> list:
    label = eg3d(0.1, 0.1)
    label[place] = value
    return label


@pytest.mark.parametrize(
    "label, message",
    [
        (eg3d(0, 0)[:16], "expected 25 finite numbers"),
        (wrong(3, math.nan), "expected 25 finite numbers"),
        (wrong(3, True), "expected 25 finite numbers"),
        (wrong(3, "1"), "expected 25 finite numbers"),
        (wrong(0, 7), "expected a rotation"),
        (wrong(15, 0), "expected 0, 0, 0, 1 at its end"),
        ([*np.eye(3, 4).flatten()[:11], 2.7, 0, 0, 0, 1, *INTRINSICS], "OpenCV's axes right, down, forward"),
    ],
)
def test_what_is_no_camera_is_refused_with_its_place(label, message):
    text = json.dumps({"labels": [["a.png", eg3d(0, 0)], ["b.png", label]]})
    with pytest.raises(LabelError, match=r"here/dataset.json, label 2 \(b.png\)") as caught:
        rows_of(text.encode(), "here/dataset.json")
    assert message in str(caught.value)


def test_classes_of_stylegan_are_a_column_and_other_json_is_nothing(folder):
    (folder / "dataset.json").write_text(json.dumps({"labels": [["sub/a.png", 3]]}))
    assert len(load_images(folder, 32, 16, label=("label", "3"))) == 1
    for text in ('{"labels": null}', "[]", '{"name": "mine"}'):
        (folder / "dataset.json").write_text(text)
        assert load_images(folder, 32, 16).poses is None


def test_rows_that_do_not_fit_are_said(folder, caplog):
    (folder / "metadata.jsonl").write_text(line(file_name="C:\\mine\\a.png"))
    (folder / "metadata.csv").write_text("file_name,yaw,pitch\nsub/a.png,0,0\n")
    assert load_images(folder, 32, 16).poses is None
    assert "metadata.jsonl knows 1 of 1 pictures that are not there" in caplog.text
    assert "metadata.csv is not read, since metadata.jsonl is there" in caplog.text
    (folder / "metadata.jsonl").write_text(line() + "\n" + line(yaw=0.3))
    with pytest.raises(LabelError, match="line 2: sub/a.png has another row before, which differs"):
        load_images(folder, 32, 16)


def test_some_poses_are_no_poses_and_that_is_said(folder, caplog):
    (folder / "b.png").write_bytes(encode(photo(), "png"))
    (folder / "metadata.jsonl").write_text(line())
    assert load_images(folder, 32, 16).poses is None
    assert "1 of 2 pictures have a pose and the others none: poses are not used" in caplog.text
