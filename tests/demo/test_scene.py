"""A scene goes into a link, a picture's metadata and code, and comes back the same."""

import dataclasses
import json
import math
from urllib.parse import parse_qsl

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stylesdf import StyleSDF
from stylesdf.demo.scene import METADATA_KEY, MODES, Scene
from tests.browser.serve import small_model

PLAIN = Scene("toy", 3)
RICH = Scene(
    "owner/name@v1", 2**32 - 1, 0.35, texture_seed=5, morph_seed=0, morph_share=0.25, yaw=-12.5, pitch=8, roll=3,
    fov=14, perspective=0.25, around=70, above=-10, mode="normals", quality="best", edits="age=1.5,smile=-2",
)  # fmt: skip


@pytest.mark.parametrize("scene", [PLAIN, RICH])
def test_links_bring_it_back(scene):
    assert Scene.from_query(dict(parse_qsl(scene.query())), Scene("another", 77)) == dataclasses.replace(scene)
    assert Scene.from_query({}, scene) == scene


def test_edits_of_nothing_are_none():
    assert dataclasses.replace(PLAIN, edits=" age = 1.50, smile=0 ").edits == "age=1.5"
    assert dataclasses.replace(PLAIN, edits="smile=1,age=2") == dataclasses.replace(PLAIN, edits="age=2,smile=1")
    assert dataclasses.replace(PLAIN, edits="").title == "head-3"
    assert dataclasses.replace(PLAIN, edits="age=1").title == "head-3-edited"


def test_a_link_says_what_is_not_usual_only():
    assert PLAIN.query() == "model=toy&seed=3"
    assert Scene("toy", 3, yaw=20).query() == Scene("toy", 3, yaw=20.0).query() == "model=toy&seed=3&yaw=20"


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"truncation": 1.1}, "truncation is 1.1"),
        ({"truncation": math.nan}, "truncation is nan"),
        ({"texture_seed": "x"}, "texture_seed is 'x', expected an integer"),
        ({"morph_seed": 2**32}, "morph_seed is 4294967296"),
        ({"morph_share": 2}, "morph_share is 2, expected a number from 0 to 1"),
        ({"yaw": 91}, "yaw is 91, expected degrees from -90 to 90"),
        ({"pitch": math.nan}, "pitch is nan"),
        ({"roll": math.inf}, "roll is inf"),
        ({"roll": True}, "roll is True"),
        ({"fov": 1}, "fov is 1, expected degrees from 4 to 40"),
        ({"perspective": 5}, "perspective is 5, expected a number from 0 to 4"),
        ({"around": 181}, "around is 181, expected degrees from -180 to 180"),
        ({"above": "high"}, "above is 'high', expected degrees from -90 to 90"),
        ({"mode": "x-ray"}, "mode is 'x-ray', expected one of image"),
        ({"quality": "good"}, "quality is 'good'"),
        ({"edits": 7}, "edits are 7, expected a text"),
        ({"edits": "age"}, "edits are 'age', expected names with amounts, each once, as in age=1.5,hat=1"),
        ({"edits": "age=1,age=2"}, "edits are 'age=1,age=2', expected names with amounts, each once"),
        ({"edits": "age=nan"}, "edits are 'age=nan'"),
        ({"edits": "a=1," * 99}, "expected a text of at most 300 characters"),
        ({"model": ""}, "model is ''"),
        ({"model": "m" * 1000}, "expected a name of 1 to 300 characters"),
    ],
)
def test_values_beyond_their_range_are_told(changes, words):
    with pytest.raises(ValueError, match="(?s)" + words.replace("(", r"\(")):
        dataclasses.replace(PLAIN, **changes)


@pytest.mark.parametrize(
    "query, words",
    [({"seed": "many"}, "seed of the link"), ({"yaw": "1" * 999}, "characters"), ({"psi": "7"}, "truncation")],
)
def test_bad_links_are_told(query, words):
    with pytest.raises(ValueError, match=words):
        Scene.from_query(query, PLAIN)


def save(path, texts):
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    return path


def test_pictures_bring_it_back(tmp_path):
    texts = RICH.metadata({"commit": "abc"})
    assert texts["commit"] == "abc"
    assert Scene.from_picture(save(tmp_path / "a.png", texts)) == RICH


@pytest.mark.parametrize(
    "texts, words",
    [
        ({}, "says nothing of its seed"),
        ({METADATA_KEY: "not json"}, "cannot be read"),
        ({METADATA_KEY: "[1]"}, "cannot be read"),
        ({METADATA_KEY: "{}"}, "model is None"),
        ({METADATA_KEY: json.dumps({"model": "m", "seed": "3"})}, "seed is '3'"),
        ({METADATA_KEY: json.dumps({"model": "m", "yaw": "left"})}, "yaw is 'left'"),
    ],
)
def test_foreign_pictures_are_told(tmp_path, texts, words):
    with pytest.raises(ValueError, match=words):
        Scene.from_picture(save(tmp_path / "a.png", texts))


def test_the_code_quotes_what_it_holds():
    code = Scene('a"; import os #', 3).python()
    assert 'from_pretrained("a\\"; import os #")' in code
    compile(code, "code", "exec")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("scene") / "model", steps=5)


@pytest.mark.parametrize("mode", MODES)
def test_the_code_makes_the_picture(folder, tmp_path, monkeypatch, mode):
    from stylesdf.demo.heads import HeadCache
    from stylesdf.demo.pictures import picture

    scene = dataclasses.replace(RICH, model=str(folder), mode=mode, quality="exact")
    monkeypatch.chdir(tmp_path)
    exec(scene.python(), {})
    drawn = picture(HeadCache().view(StyleSDF.from_pretrained(folder), scene), mode)
    np.testing.assert_array_equal(np.asarray(Image.open(f"{scene.title}.png")), np.asarray(drawn))
    assert "math" not in Scene(str(folder), 3).python() and "blend" not in Scene(str(folder), 3).python()


def test_the_code_of_a_found_head_makes_the_picture(folder, tmp_path, monkeypatch):
    from stylesdf.demo.heads import HeadCache

    model, heads = StyleSDF.from_pretrained(folder), HeadCache()
    found = model.head(9)
    name = heads.found.add(None, model, found)
    scene = Scene(str(folder), 3, head=name, texture_seed=5, truncation=0.7123456789, yaw=12.3456789)
    monkeypatch.chdir(tmp_path)
    found.save("head-yours.safetensors")
    exec(scene.python(), {})
    drawn = heads.view(model, scene).image
    np.testing.assert_array_equal(np.asarray(Image.open(f"{scene.title}.png")), np.asarray(drawn))
    plain = heads.view(model, dataclasses.replace(scene, texture_seed=None)).image
    assert np.asarray(plain).tobytes() != np.asarray(drawn).tobytes()
