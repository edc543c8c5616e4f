"""The page as a server: its start, its endpoints and how it meets bad input."""

import json
import re
import secrets
import socket
import struct
import time
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

gr = pytest.importorskip("gradio")
httpx = pytest.importorskip("httpx")

from gradio.utils import get_upload_folder  # noqa: E402

from stylesdf import StyleSDF  # noqa: E402
from stylesdf.__main__ import main  # noqa: E402
from stylesdf.checkpoint import bundled_root  # noqa: E402
from stylesdf.config import DEFAULT_MODEL  # noqa: E402
from stylesdf.demo import layout, models, start  # noqa: E402
from stylesdf.demo.models import ModelShelf  # noqa: E402
from stylesdf.demo.scene import MAX_PICTURE_BYTES, Scene  # noqa: E402
from stylesdf.demo.studio import Studio  # noqa: E402
from stylesdf.demo.tabs.explore import FIRST_SEED  # noqa: E402
from tests.browser.serve import ROOT, small_model  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("app") / "model")


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    """The page as it is served."""
    shelf = ModelShelf(bundled_root(), is_public=True)
    shelf.load_default(str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        page = layout.build(Studio(shelf))
        options = layout.server_options()
        page.launch(prevent_thread_lock=True, quiet=True, server_name=start.THIS_MACHINE, **options)
        try:
            yield page
        finally:
            page.close()


@pytest.fixture(scope="module")
def client(page, tmp_path_factory):
    client_module = pytest.importorskip("gradio_client")
    return client_module.Client(page.local_url, verbose=False, download_files=str(tmp_path_factory.mktemp("taken")))


def ask(page, handler: str, data: list, link: str = "") -> tuple[list[str], dict]:
    """Call a handler as the browser does: return what the toasts say, and the last answer."""
    (number,) = [number for number, function in page.fns.items() if getattr(function.fn, "__name__", "") == handler]
    address, session = f"{page.local_url}gradio_api/queue", secrets.token_hex(8)
    body = {"data": data, "fn_index": number, "session_hash": session}
    assert httpx.post(f"{address}/join{link}", json=body, timeout=60).status_code == 200
    said = []
    with httpx.stream("GET", f"{address}/data", params={"session_hash": session}, timeout=60) as answer:
        for line in answer.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if message.get("msg") == "log":
                said.append(message["log"])
            if message.get("msg") == "process_completed":
                output = message["output"]
                return said + ([output["error"]] if "error" in output else []), output
    raise AssertionError("no answer")


def test_the_endpoints_are_named_and_typed(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/generate", "/view", "/mix", "/mesh", "/film"}
    for endpoint in endpoints.values():
        assert endpoint["description"]
        kinds = {parameter["parameter_name"]: parameter["type"].get("type") for parameter in endpoint["parameters"]}
        assert kinds["seed"] == "integer" and kinds["truncation"] == "number"
        assert [value["python_type"]["type"] for value in endpoint["returns"]] == ["filepath"]


def test_pictures_are_those_of_python(client, folder):
    path = client.predict(api_name="/generate", seed=2, truncation=0.5, yaw=10, pitch=5)
    expected = StyleSDF.from_pretrained(folder).generate([2], 0.5, np.deg2rad(10), np.deg2rad(5)).images[0]
    assert Image.open(path).tobytes() == expected.tobytes()
    assert Scene.from_picture(path).seed == 2
    path = client.predict(api_name="/view", seed=2, roll=90, fov=20, mode="normals", quality="fast", perspective=0)
    scene = Scene.from_picture(path)
    assert (scene.mode, scene.perspective) == ("normals", 0.0)
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


def test_the_documented_script_runs(client, capsys, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")
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
        ("generate", {"seed": 1.5}, "seed is 1.5"),
        ("generate", {"seed": True}, "seed is True"),
        ("generate", {"seed": list(range(10_000))}, r"seed is \[0, 1, 2"),
        ("generate", {"seed": {"path": "/etc/passwd"}}, "seed is {'path': '/etc/passwd'}"),
        ("generate", {"seed": "<img src=x>"}, "seed is '&lt;img src=x&gt;'"),
        ("generate", {"seed": 0, "truncation": 3}, "truncation is 3"),
        ("generate", {"seed": 0, "truncation": "nan"}, "truncation is 'nan'"),
        ("generate", {"seed": 0, "yaw": 1e300}, "yaw is 1e"),
        ("generate", {"seed": 0, "pitch": [1]}, r"pitch is \[1\]"),
        ("generate", {"seed": 0, "model": "/etc"}, "neither a folder that can be opened here"),
        ("generate", {"seed": 0, "model": "x" * 5000}, "expected a name of 1 to 300 characters"),
        ("generate", {"seed": 0, "model": 7}, "model is 7"),
        ("generate", {"seed": 0, "model": "x" * 300}, "neither a folder that can be opened here"),
        ("generate", {"seed": 0, "model": "owner/name"}, "the model 'owner/name' is not loaded here"),
        ("generate", {"seed": 0, "model": "a\u202eb"}, "expected a name of 1 to 300 characters"),
        ("generate", {"seed": 0, "model": "../checkpoints"}, "neither a folder that can be opened here"),
        ("view", {"seed": 0, "roll": 181}, "roll is 181"),
        ("view", {"seed": 0, "quality": ["exact"]}, r"quality is \['exact'\]"),
        ("view", {"seed": 0, "fov": 0}, "fov is 0"),
        ("view", {"seed": 0, "mode": None}, "mode is None"),
        ("mix", {"seed": 0, "texture_seed": 0.5}, "texture_seed is 0.5"),
        ("mix", {"seed": 0, "morph_seed": -1}, "morph_seed is -1"),
        ("mix", {"seed": 0, "morph_share": "half"}, "morph_share is 'half'"),
        ("mesh", {"seed": 0, "smoothing": -1}, "smoothing is -1"),
        ("mesh", {"seed": 0, "max_faces": 1}, "max_faces is 1"),
        ("mesh", {"seed": 0, "resolution": 100_000}, "resolution is 100000"),
        ("mesh", {"seed": 0, "file_format": "EXE"}, "file_format is 'EXE'"),
        ("film", {"seed": 0, "frames": 10**9}, "frames is 1000000000"),
        ("film", {"seed": 0, "frames": "many"}, "frames is 'many'"),
        ("film", {"seed": 0, "kind": "zoom"}, "kind is 'zoom'"),
        ("film", {"seed": 0, "kind": "morph", "morph_seeds": "1 2 3 4 5 6 7 8 9"}, "there are 9 seeds to morph to"),
        ("film", {"seed": 0, "kind": "morph", "morph_seeds": "a"}, "seeds are 'a'"),
        ("film", {"seed": 0, "kind": "morph", "morph_seeds": 5}, "seeds are 5"),
    ],
)
def test_bad_input_is_told(client, endpoint, arguments, words):
    with pytest.raises(Exception, match=words):
        client.predict(api_name=f"/{endpoint}", **arguments)


HOSTILE = "<img src=//evil.example/x.png><input type=password>"


@pytest.mark.parametrize(
    "link, words",
    [
        ({"seed": HOSTILE}, "The link cannot be followed: seed of the link is '&lt;img src"),
        ({"model": HOSTILE}, "The link cannot be followed: '&lt;img src"),
        ({"mode": HOSTILE}, "The link cannot be followed: mode is '&lt;img src"),
        ({"psi": "7"}, "The link cannot be followed: truncation is 7.0"),
        ({"model": "nobody/nothing", "seed": "77"}, "The model nobody/nothing is loaded now"),
    ],
)
def test_the_page_opens_with_any_link_and_says_what_is_wrong(page, link, words):
    said, output = ask(page, "open_link", [], "?" + urlencode(link))
    assert len(said) == 1 and said[0].startswith(words) and "<" not in said[0]
    assert f"seed={FIRST_SEED}" in json.dumps(output["data"])  # the head that greets
    assert ("nobody/nothing" in json.dumps(output["data"][-1])) == (link.get("model") == "nobody/nothing")


def test_what_is_dropped_is_followed_or_told(page, client, tmp_path):
    def drop(path) -> tuple[list[str], dict]:
        with open(path, "rb") as file:
            (taken,) = httpx.post(f"{client.src}gradio_api/upload", files={"files": (path.name, file)}).json()
        return ask(page, "restore", [{"path": taken, "meta": {"_type": "gradio.FileData"}}, ""])

    wrong = tmp_path / ("x" * 240 + ".png")
    wrong.write_bytes(b"no picture")
    sentence = "This picture cannot be followed: the file is no PNG, expected one saved from this page"
    assert drop(wrong)[0] == [sentence]
    info = PngInfo()
    info.add_text("stylesdf", json.dumps({"model": "owner/name", "seed": 3}))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    said, output = drop(tmp_path / "a.png")
    assert said[0].startswith("The model owner/name is loaded now")
    wish = output["data"][-2]
    assert wish.endswith(" model=owner/name&seed=3")  # its change loads the model, beside the pictures
    taken = Path(client.predict(api_name="/generate", seed=6, yaw=12))
    said, output = drop(taken)
    goal = json.loads(output["data"][0])
    assert said == [] and (goal["seed"], goal["yaw"]) == (6, 12)


def test_the_server_lives_after_all_that(client):
    assert client.predict(api_name="/generate", seed=1)


def test_a_film_that_nobody_waits_for_stops(client, monkeypatch):
    drawn, frame = [], Studio._frame

    def slowly(*arguments):
        drawn.append(time.monotonic())
        time.sleep(0.05)
        return frame(*arguments)

    monkeypatch.setattr(Studio, "_frame", slowly)
    address = f"{client.src.rstrip('/')}/gradio_api/call/film"
    event = httpx.post(address, json={"data": [2, 0.7, "sweep", 120, False, "", ""]}).json()["event_id"]
    with httpx.stream("GET", f"{address}/{event}", timeout=60) as answer:
        next(answer.iter_lines())
    while time.monotonic() - drawn[-1] < 1.5:
        time.sleep(0.1)
    assert len(drawn) < 100


def test_uploads_are_bounded_and_leave_nothing_when_they_break_off(client):
    address = f"{client.src.rstrip('/')}/gradio_api/upload"
    for size in (MAX_PICTURE_BYTES + 1, 20_000_000):  # of a file, of a request
        assert httpx.post(address, files={"files": ("a.png", b"0" * size)}, timeout=60).status_code == 413
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port)) as line:
        head = f"POST {url.path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        body = '--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + "0" * 200_000
        line.sendall(f"{head}Content-Length: 900000\r\n\r\n{body}".encode())
        time.sleep(0.3)
    time.sleep(0.3)
    assert [path.name for path in Path(get_upload_folder()).iterdir() if path.is_file()] == []


def test_a_bad_model_ends_the_program_with_one_line(capsys):
    assert main(["demo", "--model", "/nowhere"]) == 2
    assert capsys.readouterr().err.startswith("stylesdf: error: '/nowhere' is neither")


def test_programs_load_models_where_the_owner_lets_them(folder):
    shelf = ModelShelf(bundled_root(), is_public=True)
    shelf.load_default(str(folder))
    for may_load in (False, True):
        functions = layout.build(Studio(shelf), may_load=may_load).fns.values()
        names = {function.api_name for function in functions if function.api_visibility == "public"}
        assert names == {"generate", "view", "mix", "mesh", "film", *(["load"] if may_load else [])}


def test_it_is_public_wherever_others_can_reach_it():
    assert not any(map(start.is_reachable, ("127.0.0.1", "127.1.2.3", "localhost", "::1")))
    assert all(map(start.is_reachable, ("0.0.0.0", "::", "192.168.0.7", "10.0.0.1", "heads.example")))


@pytest.mark.parametrize(
    "arguments, environment, is_public",
    [
        ([], {}, False),
        (["--host", "0.0.0.0"], {}, True),
        (["--share"], {}, True),
        (["--public"], {}, True),
        ([], {"GRADIO_SERVER_NAME": "0.0.0.0"}, True),
        ([], {"SPACE_ID": "owner/heads"}, True),
    ],
)
def test_a_public_page_shows_no_folders(monkeypatch, arguments, environment, is_public):
    shelves = []

    def shelf(root, public):
        shelves.append(public)
        raise ValueError("far enough")

    monkeypatch.setattr(models, "ModelShelf", shelf)
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["demo", *arguments]) == 2
    assert shelves == [is_public]


@pytest.mark.parametrize(
    "missing, words",
    [
        ("gradio", 'the page needs gradio: pip install "stylesdf[app]"\n'),
        ("mcp", '--mcp needs one more package: pip install "gradio[mcp]=='),
    ],
)
def test_a_package_that_is_missing_is_named(monkeypatch, capsys, missing, words):
    monkeypatch.setattr(start, "find_spec", lambda name: None if name == missing else True)
    assert main(["demo", "--mcp"]) == 2
    assert capsys.readouterr().err.startswith(f"stylesdf: error: {words}")


def test_presets_are_read():
    offered = list(start.presets("FFHQ = owner/ffhq , AFHQ=owner/afhq@v1").items())
    assert offered[0] == ("People", DEFAULT_MODEL) and ("Toy heads", "checkpoints/toy-heads") in offered
    assert offered[-2:] == [("FFHQ", "owner/ffhq"), ("AFHQ", "owner/afhq@v1")]
    with pytest.raises(ValueError, match="STYLESDF_PRESETS holds 'nonsense'"):
        start.presets("nonsense")
