"""The page's handlers, called directly and through its API."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip("gradio")

import app  # noqa: E402
from stylesdf import StyleSDF  # noqa: E402
from stylesdf.demo import pictures  # noqa: E402
from stylesdf.demo.models import MAX_MODELS, ModelShelf  # noqa: E402
from tests.browser.serve import small_model  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("app") / "model")


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="module")
def name(folder):
    """The page's model, loaded as at the start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "MODELS", ModelShelf(app.ROOT))
        app.MODELS.load_default(str(folder))
        yield app.MODELS.default


def test_generate_makes_the_same_pixels_as_python(name, folder):
    picture, download, thumbnail, depth, normals = app.generate(name, 3, 0.7, 20, -10)
    expected = StyleSDF.from_pretrained(folder).generate([3], 0.7, np.deg2rad(20), np.deg2rad(-10))
    image = Image.open(picture)
    assert picture == download and Path(picture).name == "head-3.png"
    assert image.tobytes() == expected.images[0].tobytes()
    assert (image.text["seed"], image.text["truncation"]) == ("3", "0.7")
    assert (image.text["yaw_deg"], image.text["pitch_deg"], image.text["model"]) == ("20", "-10", name)
    assert thumbnail.tobytes() == expected.thumbnails[0].tobytes()
    assert depth.size == normals.size == (pictures.SIZE, pictures.SIZE)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((-1,), "seed is -1"),
        ((2**32,), "seed is 4294967296"),
        ((None,), "seed is None"),
        ((0, 3.0), "truncation is 3.0"),
        ((0, float("nan")), "truncation is nan"),
        ((0, 0.7, 90), "yaw is 90, expected degrees from -45 to 45"),
        ((0, 0.7, 0, float("nan")), "pitch is nan"),
        ((0, 0.7, 0, None), "pitch is None"),
    ],
)
def test_bad_input_is_told(name, arguments, words):
    with pytest.raises(gr.Error) as caught:
        app.generate(name, *arguments)
    assert words in caught.value.message


def test_an_empty_seed_keeps_the_picture(name):
    assert all(update == gr.skip() for update in app.follow(name, None, 0.7, 0, 0))
    assert all(update == gr.skip() for update in app.cut_open(name, None, 0.7, 0, 0))


def test_gallery(name):
    tiles, first = app.gallery(name, 5, 0.5)
    assert first == 5 and [caption for _, caption in tiles] == [f"seed {seed}" for seed in range(5, 17)]
    assert tiles[0][0].tobytes() == Image.open(app.generate(name, 5, 0.5)[0]).tobytes()
    tiles, first = app.gallery(name, app.MAX_SEED, 0.5)
    assert first + len(tiles) - 1 == app.MAX_SEED
    with pytest.raises(gr.Error):
        app.gallery(name, -1, 0.5)


def test_mesh_in_every_format(name):
    path, about, made = app.make_mesh(name, 3, 0.7, 64)
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    assert json.loads(data[20 : 20 + length])["asset"]["extras"]["seed"] == 3
    assert "Seed 3" in about and "triangles" in about and "closed" in about
    for file_format in app.FORMATS:
        button = app.save_mesh(made, file_format)
        assert button.interactive and Path(button.value["path"] if isinstance(button.value, dict) else button.value)
        assert str(button.value).find(f"head-3.{file_format.lower()}") > 0
    assert app.save_mesh(None, "GLB").interactive is False
    assert app.forget_mesh()[2] is None
    with pytest.raises(gr.Error, match="format"):
        app.save_mesh(made, "EXE")


@pytest.mark.parametrize("resolution", [4096, 63, "128", None])
def test_mesh_sizes_are_limited(name, resolution):
    with pytest.raises(gr.Error) as caught:
        app.make_mesh(name, 3, 0.7, resolution)
    assert "expected one of 64" in caught.value.message


def test_film(name):
    film = Image.open(app.film(name, 3, 0.7, 24))
    assert (film.format, film.n_frames) == ("WEBP", 24)
    with pytest.raises(gr.Error):
        app.film(name, 3, 0.7, 10_000)


def test_pictures_show_what_is_near_and_where_the_surface_is(name):
    depth = np.linspace(0.9, 1.1, 64 * 64, dtype=np.float32).reshape(64, 64)
    levels = np.asarray(pictures.depth_picture(depth, np.zeros_like(depth))).astype(float).mean(axis=(1, 2))
    assert levels[0] > levels[128] > levels[-1]
    empty = np.asarray(pictures.depth_picture(depth, np.ones_like(depth)))
    assert (empty == pictures.PAPER).all()

    section, ray = app.cut_open(name, 3, 0.7, 20, 10)
    _, surface, _, samples = section.data
    assert (surface.contours.start, surface.contours.end) == (0, 0)
    assert len(samples.x) == 12 and len(ray.data[0].x) == 12
    assert len(section.to_json()) < 300_000
    # the heaviest sample of the ray lies by the surface
    heaviest = samples.customdata[np.argmax(np.array(samples.customdata)[:, 2])]
    assert abs(heaviest[0]) < 0.03


def test_a_model_that_cannot_be_loaded_leaves_the_others(name, folder, monkeypatch):
    for text in ("", "no/such/model", "/nowhere", "checkpoints/nothing", str(folder.parent)):
        with pytest.raises(gr.Error):
            app.load_model(text)

    def unreachable(*arguments, **options):
        raise OSError("the hub is far away\nand more")

    with monkeypatch.context() as patch:
        patch.setattr(StyleSDF, "from_pretrained", unreachable)
        with pytest.raises(gr.Error, match="the hub is far away The page"):
            app.load_model("owner/name@main")
    assert app.load_model(str(folder))[0] == name
    assert app.generate(name, 1)


def test_shelf_keeps_the_default_and_few_others(folder, tmp_path, monkeypatch):
    for letter in "abcd":
        (tmp_path / letter).symlink_to(folder)
    shelf = ModelShelf(tmp_path)
    default = shelf.load_default(str(folder))
    first = shelf.load(str(tmp_path / "a"))
    for letter in "bcd":
        shelf.load(str(tmp_path / letter))
    assert shelf.get(shelf.default) is default
    assert len(shelf._models) == MAX_MODELS
    assert shelf.get(str(tmp_path / "a")) is not first  # had to go, and came back


def test_a_public_shelf_opens_bundled_folders_only(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "checkpoints" / "small")
    shelf = ModelShelf(tmp_path, is_public=True)
    default = shelf.load_default(str(folder))  # whoever starts the page may
    assert shelf.get(shelf.default) is default
    assert shelf.load(shelf.default)
    for text in ("small", "checkpoints/small"):
        assert shelf.load(text).name_or_path == "checkpoints/small"
    for text in (str(tmp_path), "checkpoints/../checkpoints", "..", "."):
        with pytest.raises(ValueError, match="bundled models: small"):
            shelf.load(text)


def test_a_bad_model_ends_the_program_with_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        app.main(["--model", "/nowhere"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("app.py: error: '/nowhere' is neither")


def test_api(name):
    client_module = pytest.importorskip("gradio_client")
    page = app.build()
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, server_name="127.0.0.1")
    try:
        client = client_module.Client(address, verbose=False)
        endpoints = client.view_api(return_format="dict")["named_endpoints"]
        assert set(endpoints) == {"/generate", "/gallery", "/mesh", "/film"}
        for arguments, words in (
            ({"seed": -1}, "-1"),
            ({"seed": 2**32}, "4294967296"),
            ({"seed": 0, "truncation": 3}, "3"),
            ({"seed": 0, "yaw": 90}, "90"),
        ):
            with pytest.raises(Exception, match=words):
                client.predict(api_name="/generate", **arguments)
        with pytest.raises(Exception, match="1000"):
            client.predict(api_name="/mesh", seed=0, resolution=1000)
        picture, *_ = client.predict(api_name="/generate", seed=2, truncation=0.5, yaw=10, pitch=5)
        assert Image.open(picture).tobytes() == Image.open(app.generate(name, 2, 0.5, 10, 5)[0]).tobytes()
        path, about = client.predict(api_name="/mesh", seed=2, truncation=0.5, resolution=64)
        assert path.endswith(".glb") and "triangles" in about
        assert len(client.predict(api_name="/gallery", first_seed=1, truncation=0.5)) == 12
    finally:
        page.close()
