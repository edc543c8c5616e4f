"""The page as a server: its start, its endpoints and how it meets bad input."""

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip("gradio")

import app  # noqa: E402
from stylesdf import StyleSDF  # noqa: E402
from stylesdf.demo.models import ModelShelf  # noqa: E402
from stylesdf.demo.scene import Scene  # noqa: E402
from stylesdf.demo.studio import Studio  # noqa: E402
from tests.browser.serve import small_model  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("app") / "model")


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):
    client_module = pytest.importorskip("gradio_client")
    shelf = ModelShelf(app.ROOT, is_public=True)
    shelf.load_default(str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        page = app.build(Studio(shelf))
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, server_name="127.0.0.1")
        try:
            yield client_module.Client(address, verbose=False, download_files=str(tmp_path_factory.mktemp("taken")))
        finally:
            page.close()


def test_the_endpoints_are_named_and_typed(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/generate", "/view", "/mix", "/mesh", "/film"}
    for endpoint in endpoints.values():
        assert endpoint["description"]
        kinds = {parameter["parameter_name"]: parameter["type"].get("type") for parameter in endpoint["parameters"]}
        assert kinds["seed"] == "integer" and kinds["truncation"] == "number"


def test_pictures_are_those_of_python(client, folder):
    path = client.predict(api_name="/generate", seed=2, truncation=0.5, yaw=10, pitch=5)
    expected = StyleSDF.from_pretrained(folder).generate([2], 0.5, np.deg2rad(10), np.deg2rad(5)).images[0]
    assert Image.open(path).tobytes() == expected.tobytes()
    assert Scene.from_picture(path).seed == 2
    path = client.predict(api_name="/view", seed=2, roll=90, fov=20, mode="normals", quality="fast")
    assert Scene.from_picture(path).mode == "normals"
    path = client.predict(api_name="/mix", seed=2, texture_seed=4, morph_seed=7, morph_share=0.25)
    assert Scene.from_picture(path).morph_share == 0.25


def test_the_bundled_models_are_offered(client, bundled):
    for folder in (bundled, bundled.parent / "toy-heads"):
        picture = Image.open(client.predict(api_name="/generate", seed=2, model=folder.name))
        expected = StyleSDF.from_pretrained(folder).generate([2]).images[0]
        assert picture.tobytes() == expected.tobytes()


def test_meshes_and_films(client):
    data = Path(client.predict(api_name="/mesh", seed=2, resolution=64)).read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    assert json.loads(data[20 : 20 + length])["asset"]["extras"]["seed"] == 2
    path = client.predict(api_name="/mesh", seed=2, resolution=64, max_faces=1000, file_format="STL")
    assert path.endswith("head-2.stl")
    path = client.predict(api_name="/film", seed=2, kind="morph", frames=4, morph_seeds="5, 6")
    assert path.endswith(".mp4") and b"ftyp" in Path(path).read_bytes()[:16]


def test_the_readme_s_script_runs(client, capsys, tmp_path, monkeypatch):
    text = (app.ROOT / "README.md").read_text()
    (script,) = re.findall(r"```python\n(from gradio_client.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(script.replace("http://127.0.0.1:7860", client.src), {})
    assert [Path(path).suffix for path in capsys.readouterr().out.split()[-5:]] == [".png"] * 3 + [".ply", ".mp4"]


@pytest.mark.parametrize(
    "endpoint, arguments, words",
    [
        ("generate", {"seed": -1}, "seed is -1"),
        ("generate", {"seed": 2**32}, "seed is 4294967296"),
        ("generate", {"seed": "three"}, "seed is 'three'"),
        ("generate", {"seed": None}, "seed is None"),
        ("generate", {"seed": 0, "truncation": 3}, "truncation is 3"),
        ("generate", {"seed": 0, "truncation": "nan"}, "truncation is 'nan'"),
        ("generate", {"seed": 0, "yaw": 1e300}, "yaw is 1e"),
        ("generate", {"seed": 0, "pitch": [1]}, r"pitch is \[1\]"),
        ("generate", {"seed": 0, "model": "/etc"}, "neither a folder that can be opened here"),
        ("generate", {"seed": 0, "model": "x" * 5000}, "expected a name of 1 to 300 characters"),
        ("generate", {"seed": 0, "model": 7}, "model is '7'"),
        ("view", {"seed": 0, "fov": 0}, "fov is 0"),
        ("view", {"seed": 0, "mode": None}, "mode is None"),
        ("mix", {"seed": 0, "texture_seed": 0.5}, "texture_seed is 0.5"),
        ("mesh", {"seed": 0, "resolution": 100_000}, "resolution is 100000"),
        ("mesh", {"seed": 0, "file_format": "EXE"}, "file_format is 'EXE'"),
        ("film", {"seed": 0, "frames": 10**9}, "frames are 1000000000"),
        ("film", {"seed": 0, "kind": "morph", "morph_seeds": "a"}, "seeds are 'a'"),
        ("film", {"seed": 0, "kind": "morph", "morph_seeds": 5}, "seeds are '5'"),
    ],
)
def test_bad_input_is_told_and_the_server_lives(client, endpoint, arguments, words):
    with pytest.raises(Exception, match=words):
        client.predict(api_name=f"/{endpoint}", **arguments)
    assert client.predict(api_name="/generate", seed=1)


def test_a_bad_model_ends_the_program_with_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        app.main(["--model", "/nowhere"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("app.py: error: '/nowhere' is neither")


def test_presets_are_read():
    offered = list(app.presets("FFHQ = owner/ffhq , AFHQ=owner/afhq@v1").items())
    assert offered[0] == ("People", app.DEFAULT_MODEL) and ("Toy heads", "checkpoints/toy-heads") in offered
    assert offered[-2:] == [("FFHQ", "owner/ffhq"), ("AFHQ", "owner/afhq@v1")]
    with pytest.raises(ValueError, match="STYLESDF_PRESETS holds 'nonsense'"):
        app.presets("nonsense")
