"""What the Mesh tab knows of a head, and its files."""

import dataclasses
import os
import re
import zipfile

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

pytest.importorskip("gradio")

from stylesdf.demo import studio as studios  # noqa: E402
from stylesdf.demo.layout import build  # noqa: E402
from stylesdf.demo.models import ModelShelf  # noqa: E402
from stylesdf.demo.scene import Scene  # noqa: E402
from stylesdf.demo.tabs import mesh as tab  # noqa: E402
from stylesdf.demo.tabs.mesh import head_of, write_zip  # noqa: E402
from tests.browser.serve import small_model  # noqa: E402

SCENE = Scene("people", 3)


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"truncation": 0.5}, {"morph_seed": 5, "morph_share": 0.5}, {"edits": "age=1"}]
)
def test_what_changes_the_surface_makes_another_head(change):
    other = dataclasses.replace(SCENE, **change)
    assert head_of(other) != head_of(SCENE) and head_of(other, True) != head_of(SCENE, True)


def test_the_camera_does_not_and_others_colours_count_with_a_texture_only():
    turned, dressed = dataclasses.replace(SCENE, yaw=20.0), dataclasses.replace(SCENE, texture_seed=8)
    assert head_of(turned) == head_of(SCENE) == head_of(dressed)
    assert head_of(turned, True) == head_of(SCENE, True) != head_of(dressed, True)


def test_an_obj_with_its_texture_is_one_zip(tmp_path):
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    picture = Image.fromarray(np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3))
    visual = TextureVisuals(uv=corners[:, :2], material=PBRMaterial(baseColorTexture=picture))
    square = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, metadata={"seed": 3}, process=False)
    paths = [tmp_path / "a" / "head-3.zip", tmp_path / "b" / "head-3.zip"]
    for path in paths:
        write_zip(square, str(path))
    assert paths[0].read_bytes() == paths[1].read_bytes() and os.listdir(tmp_path / "a") == ["head-3.zip"]
    with zipfile.ZipFile(paths[0]) as archive:
        assert archive.namelist() == ["head-3.mtl", "head-3.obj", "head-3_texture.png"]
        assert all(entry.external_attr >> 16 == 0o644 for entry in archive.infolist())  # can be read once unpacked
        archive.extractall(tmp_path)
    loaded = trimesh.load(tmp_path / "head-3.obj", force="mesh", process=False)
    assert np.array_equal(np.asarray(loaded.visual.material.image.convert("RGB")), np.asarray(picture))
    assert np.allclose(loaded.visual.uv[loaded.faces], square.visual.uv[square.faces])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The handlers of a page, by their names."""
    folder = small_model(tmp_path_factory.mktemp("tab") / "model")
    shelf = ModelShelf(folder.parent)
    shelf.load_default(str(folder))
    handlers = build(studios.Studio(shelf)).fns.values()
    return shelf, {handler.name: handler.fn for handler in handlers}


def controls(shelf: ModelShelf, **fields) -> list:
    """What the page's controls hold."""
    values = dataclasses.asdict(Scene(shelf.default, 3, **fields))
    texts = {"texture_seed": "", "morph_seed": "", "head": ""}
    return list({**values, **texts, "fov": 12.0}.values())


def test_all_triangles_are_those_that_a_texture_allows_and_the_text_says_so(page, monkeypatch):
    shelf, handlers = page
    for module in (studios, tab):
        monkeypatch.setattr(module, "TEXTURED_FACES", 2000)
    *_, (viewer, text, made, seen) = handlers["extract"](None, 64, 0, 0, True, *controls(shelf))
    assert "one closed surface" in text
    count = re.search(r": ([\d,]+) triangles, .* It had ([\d,]+) triangles; a texture allows 2,000", text)
    left, before = (int(number.replace(",", "")) for number in count.groups())
    assert left <= 2000 < before and "PLY has the vertices' colours" in text
    scene, arguments = made
    assert arguments == (64, 0, 2000, True) and seen == head_of(scene, True)
    endings = {kind: handlers["save"](made, kind, None).value["path"].rpartition(".")[2] for kind in tab.FORMATS}
    assert endings == {"GLB": "glb", "OBJ": "zip", "PLY": "ply", "STL": "stl"}
    *_, (_, _, made, _) = handlers["extract"](None, 64, 0, 10_000, True, *controls(shelf))
    assert made[1] == (64, 0, 2000, True)
    *_, (viewer, text, made, seen) = handlers["extract"](None, 64, 0, 0, False, *controls(shelf))
    assert "texture" not in text and made[1] == (64, 0, None, False) and seen == head_of(scene)
    assert handlers["save"](made, "OBJ", None).value["path"].endswith(".obj")
