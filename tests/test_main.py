"""The command line, called as a function and as a program."""

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import stylesdf
from stylesdf import Shot, StyleSDF, fit
from stylesdf.__main__ import main
from stylesdf.checkpoint import default_model
from stylesdf.config import DEFAULT_MODEL
from stylesdf.mesh import refine_mesh
from stylesdf.texture import bake_texture
from tests.test_files import full_disk
from tests.tiny import TINY

ROOT = Path(__file__).parents[1]
ORIGINAL = ROOT / "tests" / "data" / "small.pt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    model = StyleSDF(TINY)
    with torch.no_grad():  # the origin of the mean head lies on the surface
        model.field.layers[0].linear.weight *= 0.2
        model.update_means(100)
        model.field.sdf_head.bias -= model.sdf(torch.zeros(1, 3), model.w_avg)
    path = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(path)
    return path


@pytest.fixture
def out(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(capsys, *argv) -> str:
    """Run a command that must fail: status 2, one line of error, nothing else; returns the line."""
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.startswith("stylesdf: error: ") and captured.err.endswith("\n")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


def program(*argv, **options) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    command = [sys.executable, "-m", "stylesdf", *map(str, argv)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, **options)


# ---- success


def test_generate_writes_the_pictures_of_the_python_interface(folder, out, capsys):
    argv = ["generate", "--model", str(folder), "--seeds", "3,12345", "--truncation", "0.6", "--yaw", "-0.3"]
    assert main([*argv, "--pitch", "0.1", "--out", "new/pictures", "--device", "cpu"]) == 0
    names = ["seed0003.png", "seed12345.png"]
    assert sorted(os.listdir("new/pictures")) == names
    assert capsys.readouterr().out.split() == [os.path.join("new", "pictures", name) for name in names]
    expected = StyleSDF.from_pretrained(folder).generate([3, 12345], truncation=0.6, yaw=-0.3, pitch=0.1)
    for name, seed, image in zip(names, (3, 12345), expected.images, strict=True):
        with Image.open(Path("new/pictures", name)) as picture:
            assert picture.tobytes() == image.tobytes()
            about = picture.text
        assert about["seed"] == str(seed) and about["model"] == folder.name
        assert (about["truncation"], about["yaw"], about["pitch"]) == ("0.6", "-0.3", "0.1")
        assert (about["quality"], about["noise_mode"]) == ("exact", "const")


def test_generate_can_save_everything(folder, out):
    main(["generate", "--model", str(folder), "--seeds", "3", "--save-all", "--texture-seed", "4", "--out", "p"])
    expected = StyleSDF.from_pretrained(folder).generate([3], texture_seed=4)
    kinds = {"": "RGB", "_thumbnail": "RGB", "_normals": "RGB", "_depth": "I;16"}
    pictures = {kind: Image.open(f"p/seed0003{kind}.png") for kind in kinds}
    assert {kind: picture.mode for kind, picture in pictures.items()} == kinds
    assert len(os.listdir("p")) == 4
    assert pictures[""].text["texture_seed"] == "4"
    assert pictures[""].tobytes() == expected.images[0].tobytes()
    assert pictures["_thumbnail"].tobytes() == expected.thumbnails[0].tobytes()
    about = pictures["_depth"].text
    near, far = float(about["depth_at_0"]), float(about["depth_at_65535"])
    depth = near + np.asarray(pictures["_depth"], dtype=float) / 65535 * (far - near)
    assert np.abs(depth - expected.depth[0]).max() < 4e-6
    normals = np.asarray(pictures["_normals"], dtype=float) / 127.5 - 1
    assert np.abs(normals - expected.normals[0]).max() < 0.005


def test_the_same_command_writes_the_same_bytes(folder, out):
    for name in ("a", "b"):
        assert main(["generate", "--model", str(folder), "--seeds", "3", "--out", name]) == 0
        assert main(["mesh", "--model", str(folder), "--seed", "3", "--resolution", "32", "--out", f"{name}.glb"]) == 0
        assert main(["video", "--model", str(folder), "--seed", "3", "--frames", "3", "--out", f"{name}.webp"]) == 0
    assert Path("a/seed0003.png").read_bytes() == Path("b/seed0003.png").read_bytes()
    assert Path("a.glb").read_bytes() == Path("b.glb").read_bytes()
    assert Path("a.webp").read_bytes() == Path("b.webp").read_bytes()


def test_mesh_writes_the_mesh_of_the_python_interface(folder, out, capsys):
    argv = ["mesh", "--model", str(folder), "--seed", "3", "--truncation", "0", "--resolution", "32"]
    assert main([*argv, "--keep", "all", "--out", "new/head.ply"]) == 0
    expected = StyleSDF.from_pretrained(folder).extract_mesh(3, 0.0, 32, keep="all")
    assert np.allclose(trimesh.load("new/head.ply").bounds, expected.bounds, atol=1e-6)
    assert f"{len(expected.faces)} triangles" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_video_writes_a_film(folder, out, ending):
    argv = ["video", "--model", str(folder), "--seed", "3", "--frames", "3", "--fps", "10", "--yaw-range", "0.2"]
    assert main([*argv, "--out", f"orbit.{ending}"]) == 0
    assert os.listdir() == [f"orbit.{ending}"]
    assert Path(f"orbit.{ending}").stat().st_size > 200


@pytest.mark.parametrize("path", ["sweep", "spiral"])
def test_video_follows_the_path(folder, out, monkeypatch, path):
    written = []
    monkeypatch.setattr("stylesdf.commands.video.write_video", lambda frames, *to: written.append((list(frames), *to)))
    argv = ["video", "--model", str(folder), "--seed", "3", "--frames", "3", "--path", path, "--quality", "best"]
    assert main([*argv, "--yaw-range", "0.2", "--texture-seed", "4", "--out", "orbit.gif"]) == 0
    model = StyleSDF.from_pretrained(folder)
    expected = model.head(3, texture_seed=4).orbit(3, path, 0.2, shot=Shot(quality="best"))
    ((frames, to, fps),) = written
    assert [frame.tobytes() for frame in frames] == [view.image.tobytes() for view in expected]
    assert (to, fps) == (Path("orbit.gif"), 30.0)


def test_morph_films_the_way_between_seeds(folder, out, monkeypatch, capsys):
    written = []
    monkeypatch.setattr("stylesdf.commands.morph.write_video", lambda frames, *to: written.append((list(frames), *to)))
    argv = ["morph", "--model", str(folder), "--seeds", "3,7", "--truncation", "0.6", "--frames", "4", "--yaw", "0.2"]
    more = ["--pitch", "0.1", "--path", "sweep", "--yaw-range", "0.3", "--quality", "best", "--texture-seed", "4"]
    assert main([*argv, *more, "--fps", "10", "--out", "morph.webp"]) == 0
    model = StyleSDF.from_pretrained(folder)
    heads = [model.head(seed, 0.6, 4) for seed in (3, 7)]
    expected = model.morph(heads, 4, "sweep", 0.3, shot=Shot(0.2, 0.1, quality="best"))
    ((frames, to, fps),) = written
    assert [frame.tobytes() for frame in frames] == [view.image.tobytes() for view in expected]
    assert (to, fps) == (Path("morph.webp"), 10.0)
    assert capsys.readouterr().out == "morph.webp\n"


def test_morph_writes_a_film(folder, out):
    argv = ["morph", "--model", str(folder), "--seeds", "3,7", "--frames", "4", "--quality", "fast"]
    assert main([*argv, "--out", "new/morph.gif"]) == 0
    with Image.open("new/morph.gif") as film:
        assert film.n_frames == 4


def test_quality_reaches_the_pictures(folder, out):
    main(["generate", "--model", str(folder), "--seeds", "3", "--quality", "best", "--out", "p"])
    with Image.open("p/seed0003.png") as picture:
        expected = StyleSDF.from_pretrained(folder).generate([3], quality="best").images[0]
        assert picture.tobytes() == expected.tobytes() and picture.text["quality"] == "best"


def test_the_light_reaches_the_pictures(folder, out):
    main(["generate", "--model", str(folder), "--seeds", "3", "--light-deg=-80,10", "--out", "p"])
    with Image.open("p/seed0003.png") as picture:
        light = math.radians(-80), math.radians(10)
        expected = StyleSDF.from_pretrained(folder).head(3).view(Shot(light=light)).image
        assert picture.tobytes() == expected.tobytes() and picture.text["light"] == str(light)


def test_the_lens_reaches_the_pictures(folder, out):
    lens = ["--perspective", "0.25", "--fov-deg", "14"]
    main(["generate", "--model", str(folder), "--seeds", "3", *lens, "--out", "p"])
    with Image.open("p/seed0003.png") as picture:
        expected = StyleSDF.from_pretrained(folder).head(3).view(Shot(fov_deg=14, perspective=0.25)).image
        assert picture.tobytes() == expected.tobytes()
        assert (picture.text["perspective"], picture.text["fov_deg"]) == ("0.25", "14.0")


def test_mesh_can_be_smoothed_and_thinned_out(folder, out, capsys):
    argv = ["mesh", "--model", str(folder), "--seed", "3", "--truncation", "0", "--resolution", "48"]
    assert main([*argv, "--smoothing", "3", "--max-faces", "1000", "--out", "head.ply"]) == 0
    mesh = StyleSDF.from_pretrained(folder).extract_mesh(3, 0.0, 48)
    expected = refine_mesh(mesh, 3, 1000)
    assert len(expected.faces) <= 1000 < len(mesh.faces)
    assert np.allclose(trimesh.load("head.ply", process=False).vertices, expected.vertices, atol=1e-6)
    assert f"{len(expected.faces)} triangles" in capsys.readouterr().out
    assert b'"max_faces": 1000' in Path("head.ply").read_bytes()


def test_mesh_can_have_a_texture(folder, out, capsys):
    argv = ["mesh", "--model", str(folder), "--seed", "3", "--truncation", "0", "--resolution", "32"]
    assert main([*argv, "--max-faces", "1000", "--texture", "64", "--out", "new/head.glb"]) == 0
    head = StyleSDF.from_pretrained(folder).head(3, 0.0)
    expected = bake_texture(head, refine_mesh(head.mesh(32), max_faces=1000), 64).visual.material.baseColorTexture
    material = trimesh.load("new/head.glb", force="mesh", process=False).visual.material
    assert np.array_equal(np.asarray(material.baseColorTexture), np.asarray(expected)) and expected.size == (64, 64)
    assert "triangles" in capsys.readouterr().out and os.listdir("new") == ["head.glb"]


def test_a_head_from_its_picture_goes_where_a_seed_does(folder, out, monkeypatch, capsys):
    for name in ("COARSE", "MIDDLE", "FINE"):
        monkeypatch.setattr(fit, name, dataclasses.replace(getattr(fit, name), steps=2))
    model = ["--model", str(folder)]
    assert main(["generate", *model, "--seeds", "3", "--truncation", "1", "--out", "."]) == 0
    capsys.readouterr()
    assert main(["invert", *model, "seed0003.png", "--out", "new/mine", "--mirror"]) == 0
    captured = capsys.readouterr()
    assert "it takes about" in captured.err
    lines = captured.out.splitlines()
    assert lines[0].startswith("seed0003.png: yaw ") and lines[0].endswith(" dB")
    assert lines[1:] == ["new/mine.safetensors", "new/mine.png"]
    sheet, picture = Image.open("new/mine.png"), Image.open("seed0003.png")
    assert sheet.size == (64, 32) and np.array_equal(np.asarray(sheet)[:, :32], np.asarray(picture))
    assert sheet.text["pictures"] == "1" and sheet.text["seed"] == "None"
    head = ["--head", "new/mine.safetensors"]
    assert main(["generate", *model, *head, "--out", "pictures"]) == 0
    loaded = StyleSDF.from_pretrained(folder).load_head("new/mine.safetensors")
    assert np.array_equal(np.asarray(Image.open("pictures/mine.png")), np.asarray(loaded.view().image))
    assert main(["mesh", *model, *head, "--resolution", "32", "--out", "mine.glb"]) == 0
    assert main(["video", *model, *head, "--frames", "2", "--out", "mine.gif"]) == 0
    capsys.readouterr()
    assert "argument --head: not allowed with" in fails(capsys, "mesh", "--seed", "3", *head, "--out", "a.glb")
    text = fails(capsys, "video", *model, *head, "--texture-seed", "4", "--out", "a.gif")
    assert "--texture-seed is 4, but --head has a texture of its own" in text
    text = fails(capsys, "generate", *model, *head, "--truncation", "0.2", "--out", "a")
    assert "--truncation is 0.2, but --head is taken as it was saved" in text


def test_what_cannot_be_inverted_is_one_line(folder, out, capsys):
    Path("notes.txt").write_text("no picture")
    for name, message in (("notes.txt", "cannot be read as a picture"), ("absent.png", "is not a file")):
        assert message in fails(capsys, "invert", "--model", folder, name, "--out", "mine")
    Image.new("RGB", (64, 64)).save("nobody.png")
    command = ("invert", "--model", str(folder), "--photo", "nobody.png", "--out", "mine")
    assert "in the pictures of this model no faces are found" in fails(capsys, *command)
    assert sorted(os.listdir(".")) == ["nobody.png", "notes.txt"]


def test_convert_passes_the_overrides_on(out, capsys):
    argv = ["convert", str(ORIGINAL), "converted", "--preset", "afhq", "--fov-deg", "14", "--num-samples", "12"]
    more = ["--scene-radius", "0.13", "--density", "laplace", "--pose-yaw-std", "0.2", "--pose-pitch-std", "0.1"]
    assert main([*argv, *more]) == 0
    config = json.loads(Path("converted/config.json").read_text())
    names = ("fov_deg", "num_samples", "scene_radius", "density", "pose_yaw", "pose_pitch")
    assert tuple(config[name] for name in names) == (14.0, 12, 0.13, "laplace", 0.2, 0.1)
    assert capsys.readouterr().out == "converted\n"
    assert main(["info", "converted"]) == 0
    assert "cc-by-nc-sa-4.0" in capsys.readouterr().out


def test_info_tells_the_facts(folder, capsys):
    assert main(["info", str(folder)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line]
    facts = {words[0]: words[-1] for words in lines}
    model = StyleSDF.from_pretrained(folder)
    assert facts["model"] == str(folder)
    assert (facts["image"], facts["thumbnail"], facts["licence"]) == ("32x32", "16x16", "apache-2.0")
    assert facts["beta"].startswith("0.1 ")
    assert facts["total"] == f"{sum(parameter.numel() for parameter in model.parameters()):,}"
    assert facts["field_depth"] == "2"


def test_the_model_of_the_environment_is_the_default(folder, out, monkeypatch, capsys):
    monkeypatch.setenv("STYLESDF_MODEL", str(folder))
    assert default_model() == str(folder)
    assert main(["info"]) == 0
    monkeypatch.delenv("STYLESDF_MODEL")
    assert default_model().endswith(DEFAULT_MODEL)


def test_help_shows_units_defaults_and_examples(capsys):
    for command, words in (
        (["--help"], ["examples:", "radians", "demo", "generate", "convert"]),
        (["demo", "--help"], ["127.0.0.1", "checkpoints/people", "--mcp", "--public", "example:"]),
        (["generate", "--help"], ["radians", "default: 0.7", "degrees", "example:", "0-3,7"]),
        (["invert", "--help"], ["NAME.safetensors", "symmetric", "example:"]),
        (["morph", "--help"], ["two or more", "default: 60", "radians", "exact,fast,best", "example:"]),
        (
            ["mesh", "--help"],
            ["from 32 to 512", "0 to 100", "1000 or", "default: 128", ".glb, .obj, .ply, .stl"],
        ),
        (["video", "--help"], ["default: 60", "frames per second", ".mp4, .gif, .webp"]),
        (["convert", "--help"], ["--pose-yaw-std", "--with-discriminators", "SRC", "DST"]),
        (["--version"], [stylesdf.__version__]),
    ):
        with pytest.raises(SystemExit) as stop:
            main(command)
        assert stop.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert [word for word in words if word not in text] == []


# ---- bad input


@pytest.mark.parametrize(
    "options, message",
    [
        (["--yaw", "abc"], "'abc' is not a finite number of radians"),
        (["--yaw", "nan"], "'nan' is not a finite number of radians"),
        (["--yaw", "-inf"], "--yaw"),
        (["--pitch", "1.6"], "'1.6' is not a number of radians between"),
        (["--seeds", "-1"], "'-1', expected integers from 0"),
        (["--seeds", "4294967296"], "seed is 4294967296"),
        (["--seeds", "0-99999999"], "more than 10000"),
        (["--seeds", ""], "expected integers"),
        (["--truncation", "3"], "truncation is 3.0, expected a number from 0 to 1"),
        (["--fov-deg", "0"], "'0' is not a number of degrees"),
        (["--perspective", "-1"], "'-1' is not a number from 0 to 4"),
        (["--noise-mode", "loud"], "invalid choice: 'loud'"),
        (["--device", "gpu"], "device 'gpu' is not there"),
        (["--device", "cuda:99"], "device 'cuda:99' is not there"),
        (["--texture-seed", "x"], "seed is 'x', expected an integer"),
        (["--yaw", "-1e-05x"], "'-1e-05x' is not a finite number of radians"),
        (["--truncation", "-1e-05"], "truncation is -1e-05, expected a number from 0 to 1"),
        (["--fov-deg", "-.5"], "'-.5' is not a number of degrees"),
        (["--seeds", "-seeds"], "'-seeds', expected integers"),
        (["--model", "/no/such/folder"], "'/no/such/folder' is neither a folder nor"),
        (["--model", "checkpoints/nothing"], "there is no model folder checkpoints/nothing"),
        (["--model", "not a model"], "'not a model' is neither a folder nor"),
        (["--model", "-model"], "'-model' is neither a folder nor"),
        (["--model", "."], "has no config.json"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_bad_input_to_generate_is_one_line(folder, out, capsys, options, message):
    argv = ["generate", "--model", folder, "--seeds", "3", "--out", "new/pictures", *options]
    assert message in fails(capsys, *argv)
    assert os.listdir() == []


@pytest.mark.parametrize(
    "argv, message",
    [
        (["mesh", "--seed", "-1", "--out", "a.glb"], "seed is '-1'"),
        (["mesh", "--seed", "3", "--resolution", "100000", "--out", "a.glb"], "'100000' is not an integer from 32"),
        (["mesh", "--seed", "3", "--resolution", "64.5", "--out", "a.glb"], "'64.5' is not an integer"),
        (["mesh", "--seed", "3", "--out", "a.fbx"], "'a.fbx', expected an ending of .glb, .obj, .ply, .stl"),
        (["mesh", "--seed", "3", "--out", "a"], "expected an ending"),
        (["mesh", "--seed", "3"], "the following arguments are required: --out"),
        (["video", "--seed", "3", "--out", "a.avi"], "'a.avi', expected an ending of .mp4, .gif, .webp"),
        (["video", "--seed", "3", "--frames", "0", "--out", "a.mp4"], "'0' is not an integer from 1"),
        (["video", "--seed", "3", "--fps", "nan", "--out", "a.mp4"], "'nan' is not a number of frames"),
        (["video", "--seed", "1e3", "--out", "a.mp4"], "seed is '1e3', expected an integer"),
        (["video", "--seed", "3", "--path", "circle", "--out", "a.mp4"], "invalid choice: 'circle'"),
        (["video", "--seed", "3", "--quality", "good", "--out", "a.mp4"], "invalid choice: 'good'"),
        (["morph", "--seeds", "3", "--out", "a.mp4"], "'3' is one seed, expected two or more"),
        (["morph", "--seeds", "3-x", "--out", "a.mp4"], "expected integers from 0"),
        (
            ["morph", "--seeds", "3,7,9", "--frames", "2", "--out", "a.mp4"],
            "num_frames is 2, expected an integer from 3",
        ),
        (["morph", "--seeds", "3,7", "--pitch", "1.5", "--path", "ellipse", "--out", "a.mp4"], "pitch is 1.75"),
        (["morph", "--seeds", "3,7", "--out", "a.avi"], "'a.avi', expected an ending of .mp4"),
        (["mesh", "--seed", "3", "--smoothing", "101", "--out", "a.glb"], "'101' is not an integer from 0 to 100"),
        (["mesh", "--seed", "3", "--max-faces", "10", "--out", "a.glb"], "'10' is not an integer from 1000"),
        (["export", "--out", "a.pt"], "'a.pt', expected an ending of .onnx"),
        (["export", "--fov-deg", "500", "--out", "a.onnx"], "'500' is not a number of degrees"),
        (["convert", "none.pt", "new", "--preset", "ffhq"], "there is no file none.pt"),
        (["convert", ORIGINAL, "new", "--preset", "cats"], "invalid choice: 'cats'"),
        (["convert", ORIGINAL, "new", "--preset", "ffhq", "--fov-deg", "500"], "fov_deg is 500.0"),
        (["convert", __file__, "new", "--preset", "ffhq"], "test_main.py"),
        (["mesh", "--seed", "3", "--texture", "32", "--out", "a.glb"], "'32' is not an integer from 64 to 2048"),
        (["mesh", "--seed", "3", "--texture", "64", "--out", "a.ply"], "'a.ply', expected an ending of .glb, .obj"),
        (["mesh", "--seed", "3", "--size", "0", "--out", "a.stl"], "'0' is not a number of millimetres above 0"),
        (["mesh", "--seed", "3", "--size", "-1e-05", "--out", "a.stl"], "'-1e-05' is not a number of millimetres"),
        (["mesh", "--seed", "3", "--up", "x", "--out", "a.stl"], "invalid choice: 'x'"),
        (["video", "--seed", "3", "--light-deg", "80", "--out", "a.gif"], "'80' is not two angles in degrees"),
        (["info", "/no/such/folder"], "'/no/such/folder' is neither a folder nor"),
        (["paint"], "invalid choice: 'paint'"),
        ([], "required"),
    ],
)
def test_bad_input_to_the_others_is_one_line(folder, out, capsys, monkeypatch, argv, message):
    monkeypatch.setenv("STYLESDF_MODEL", str(folder))
    assert message in fails(capsys, *argv)
    assert os.listdir() == []


def test_an_output_that_cannot_be_written_is_one_line(folder, out, capsys, monkeypatch):
    monkeypatch.setenv("STYLESDF_MODEL", str(folder))
    Path("file").write_text("mine")
    Path("head.glb").mkdir()
    for argv in (
        ["generate", "--seeds", "3", "--out", "file"],
        ["generate", "--seeds", "3", "--out", "file/deeper/still"],
        ["mesh", "--seed", "3", "--resolution", "32", "--out", "file/head.glb"],
        ["mesh", "--seed", "3", "--resolution", "32", "--out", "head.glb"],
        ["video", "--seed", "3", "--frames", "2", "--out", "file/orbit.gif"],
        ["export", "--out", "file/model.onnx"],
        ["convert", ORIGINAL, "file/converted", "--preset", "ffhq"],
    ):
        assert "cannot write to" in fails(capsys, *argv)
    assert sorted(os.listdir()) == ["file", "head.glb"]
    assert Path("file").read_text() == "mine"


def test_a_field_without_a_surface_is_one_line(folder, out, capsys):
    model = StyleSDF.from_pretrained(folder)
    with torch.no_grad():
        model.field.sdf_head.weight.zero_()
        model.field.sdf_head.bias.fill_(0.5)
    model.save_pretrained("flat")
    line = fails(capsys, "mesh", "--model", "flat", "--seed", "3", "--resolution", "32", "--out", "new/head.glb")
    assert "no zero level set" in line
    assert os.listdir() == ["flat"]


def test_a_failure_half_way_leaves_no_new_folder(folder, out, capsys, monkeypatch):
    make = StyleSDF.head

    def full_disk(self, seed, *options):
        if seed == 5:
            raise OSError(28, "No space left on device", "seed0005.png")
        return make(self, seed, *options)

    monkeypatch.setattr(StyleSDF, "head", full_disk)
    assert main(["generate", "--model", str(folder), "--seeds", "3,5", "--out", "new/pictures"]) == 2
    assert capsys.readouterr().err == "stylesdf: error: seed0005.png: No space left on device\n"
    assert os.listdir() == []


def test_a_failure_leaves_what_somebody_else_has_put_there(folder, out, capsys, monkeypatch):
    make = StyleSDF.head

    def failing(self, seed, *options):
        if seed == 5:
            Path("new/mine.txt").write_text("mine")
            raise OSError(28, "No space left on device", "seed0005.png")
        return make(self, seed, *options)

    monkeypatch.setattr(StyleSDF, "head", failing)
    assert main(["generate", "--model", str(folder), "--seeds", "3,5", "--out", "new/pictures"]) == 2
    assert [str(path) for path in Path().rglob("*")] == ["new", os.path.join("new", "mine.txt")]


def test_an_interruption_is_quiet(folder, out, capsys, monkeypatch):
    def interrupted(self, *args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(StyleSDF, "head", interrupted)
    assert main(["video", "--model", str(folder), "--seed", "3", "--out", "new/orbit.mp4"]) == 130
    assert capsys.readouterr().err == "stylesdf: interrupted\n"
    assert os.listdir() == []


@pytest.mark.parametrize("number, status", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_a_signal_leaves_the_old_film_and_nothing_else(folder, out, capsys, monkeypatch, number, status, ending):
    Path(f"orbit.{ending}").write_text("old")
    drawn = []

    def stopped(frames, *_):
        for frame in frames:
            drawn.append(frame)
            if len(drawn) == 3:
                os.kill(os.getpid(), getattr(signal, number))
            yield frame

    monkeypatch.setattr("stylesdf.commands.video.progress", stopped)
    before = signal.getsignal(getattr(signal, number))
    argv = ["video", "--model", str(folder), "--seed", "3", "--frames", "50", "--out", f"orbit.{ending}"]
    assert main(argv) == status and len(drawn) == 3
    assert capsys.readouterr().err == "stylesdf: interrupted\n"
    assert os.listdir() == [f"orbit.{ending}"] and Path(f"orbit.{ending}").read_text() == "old"
    assert signal.getsignal(getattr(signal, number)) == before


def test_a_film_that_the_disk_cannot_hold_is_one_line(folder, out, capsys):
    argv = ["video", "--model", folder, "--seed", "3", "--frames", "9", "--out", "new/orbit.mp4"]
    with full_disk(2000):
        assert "new/orbit.mp4: ffmpeg stopped with: " in fails(capsys, *argv)
    argv = ["generate", "--model", folder, "--seeds", "3", "--out", "new"]
    with full_disk(1000):
        assert "new/seed0003.png: File too large" in fails(capsys, *argv)
    assert os.listdir() == []


def test_a_mesh_for_a_slicer_has_its_size_and_stands(folder, out, capsys):
    argv = ["mesh", "--model", str(folder), "--seed", "3", "--truncation", "0", "--resolution", "32"]
    assert main([*argv, "--out", "head.stl"]) == 0
    assert "slicers read its 0." in capsys.readouterr().out
    assert main([*argv, "--size", "150", "--up", "z", "--out", "large.stl"]) == 0
    assert "slicers" not in capsys.readouterr().out
    plain, large = (trimesh.load(name) for name in ("head.stl", "large.stl"))
    assert large.extents.max() == pytest.approx(150, rel=1e-5)
    assert np.allclose(large.extents, plain.extents[[0, 2, 1]] * 150 / plain.extents.max(), rtol=1e-4)


@pytest.mark.parametrize("name", ["-head", "--seed", "頭" * 80, " a head "])
def test_names_that_begin_with_a_dash_or_are_long_are_names(folder, out, capsys, name):
    argv = ["mesh", "--model", str(folder), "--seed", "3", "--resolution", "32"]
    given = [f"--out={name}.glb"] if name.startswith("--") else ["--out", f"{name}.glb"]
    assert main([*argv, *given]) == 0
    assert os.listdir() == [f"{name}.glb"] and capsys.readouterr().out.startswith(f"{name}.glb: ")


def test_a_mistyped_model_is_refused_at_once_with_what_is_meant(folder, out, capsys):
    for name, meant in (("models/tiney", "'models/tiny'"), ("./models/tinny", "'models/tiny'")):
        (out / "models" / "tiny").mkdir(parents=True, exist_ok=True)
        line = fails(capsys, "info", name)
        assert f"is {meant} meant?" in line
    assert "for the hub's model of that name write models/tiney@main" in fails(capsys, "info", "models/tiney")


# ---- as a program


def test_the_program_answers_with_its_status(folder, out):
    done = program("generate", "--model", folder, "--seeds", "3", "--out", "p", cwd=out)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{Path('p/seed0003.png')}\n", "")
    bad = program("mesh", "--model", out / "missing", "--seed", "3", "--out", "a.glb", cwd=out)
    assert (bad.returncode, bad.stdout) == (2, "")
    what = f"'{out / 'missing'}' is neither a folder nor a hub repository id (name/name)"
    assert bad.stderr == f"stylesdf: error: {what}\n"


def test_a_program_that_is_ended_says_so_in_one_line_and_leaves_nothing(folder, out):
    command = [sys.executable, "-m", "stylesdf", "video", "--model", folder, "--seed", "3", "--frames", "9999"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, "--out", "new/a.mp4"], stderr=subprocess.PIPE, text=True, env=env)
    while not list(out.glob("new/.*.mp4")):
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    assert process.communicate(timeout=60)[1] == "stylesdf: interrupted\n" and process.returncode == 143
    assert os.listdir() == []


def test_a_hub_that_does_not_answer_is_one_line(out):
    env = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(out / "hub"), "HF_HUB_OFFLINE": "1"}
    bad = program("info", "nobody/nothing", cwd=out, env=env)
    assert bad.returncode == 2
    first, second = bad.stderr.splitlines()  # what it is about to try comes at once
    assert first == "stylesdf: there is no folder nobody/nothing here: asking the hub for the model of that name"
    assert second.startswith("stylesdf: error: no model folder nobody/nothing, and the hub gives none: ")
