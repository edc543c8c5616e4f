"""What the page makes, without the page."""

import base64
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylesdf import StyleSDF
from stylesdf import pictures as paintings
from stylesdf.demo import pictures
from stylesdf.demo.models import ModelShelf
from stylesdf.demo.scene import MODES, Scene
from stylesdf.demo.studio import MAX_MESHES, Studio
from tests.browser.serve import small_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("studio") / "model")


@pytest.fixture(scope="module")
def studio(folder):
    shelf = ModelShelf(folder.parent)
    shelf.load_default(str(folder))
    return Studio(shelf)


@pytest.fixture(scope="module")
def scene(studio):
    return Scene(studio.models.default, 3)


def test_a_look_is_what_python_makes_and_says_so(studio, scene, folder, tmp_path):
    turned = dataclasses.replace(scene, yaw=20, pitch=-10)
    look = studio.look(turned)
    expected = StyleSDF.from_pretrained(folder).generate([3], 0.7, np.deg2rad(20), np.deg2rad(-10))
    image = Image.open(look.save(str(tmp_path / "a.png")))
    assert image.tobytes() == expected.images[0].tobytes()
    assert (image.text["seed"], image.text["truncation"], image.text["yaw_deg"]) == ("3", "0.7", "20.0")
    assert Scene.from_picture(tmp_path / "a.png") == turned == look.scene


def test_a_restored_scene_gives_the_same_file(studio, scene, tmp_path):
    turned = dataclasses.replace(
        scene, texture_seed=8, morph_seed=5, morph_share=0.3, yaw=7, mode="shape", edits="smile=1"
    )
    first = studio.look(turned).save(str(tmp_path / "a.png"))
    again = studio.look(Scene.from_picture(first)).save(str(tmp_path / "b.png"))
    assert Path(first).read_bytes() == Path(again).read_bytes()


def test_edits_come_last_and_are_the_models(studio, scene):
    model = studio.model(scene)
    mixed = dataclasses.replace(scene, morph_seed=5, morph_share=0.3)
    blend = model.blend(model.head(3), model.head(5), 0.3)
    edited = studio.heads.head(model, dataclasses.replace(mixed, edits="smile=1,age=-0.5"))
    assert edited.w.equal(model.edit(blend, {"smile": 1.0, "age": -0.5}).w)
    assert studio.heads.head(model, mixed).w.equal(blend.w)
    with pytest.raises(ValueError, match="there is no direction 'beard', expected one of age, smile"):
        studio.look(dataclasses.replace(scene, edits="beard=1"))


def test_a_tile_shows_whom_the_scene_shows(studio, scene):
    model, edited = studio.model(scene), dataclasses.replace(scene, edits="smile=2")
    assert studio.tile(scene).tobytes() == model.generate([3], 0.7).images[0].tobytes()
    assert studio.tile(edited).tobytes() == studio.look(edited).picture.tobytes() != studio.tile(scene).tobytes()
    mixed = dataclasses.replace(scene, morph_seed=5, morph_share=0.5, texture_seed=4, edits="smile=1")
    assert mixed.caption == "seed 3 to 5 with 4, edited" and scene.caption == "seed 3"


def test_every_mode_looks_different(studio, scene):
    seen = {studio.look(dataclasses.replace(scene, mode=mode)).picture.resize((64, 64)).tobytes() for mode in MODES}
    assert len(seen) == len(MODES)
    left, right = studio.compare(scene, ("image", "shape"))
    assert left.size == right.size


def test_quick_pictures_are_pictures_and_stale_fields_are_left_alone(studio, scene):
    answer = studio.quick({**dataclasses.asdict(scene), "yaw": 12.0, "camera": "x"})
    kind, data = answer["picture"].split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (32, 32)
    with pytest.raises(ValueError, match="yaw is 400"):
        studio.quick({**dataclasses.asdict(scene), "yaw": 400})
    with studio._quick:  # somebody else's takes too long
        studio_patience = pytest.MonkeyPatch()
        studio_patience.setattr("stylesdf.demo.studio.QUICK_PATIENCE", 0.01)
        assert studio.quick(dataclasses.asdict(scene)) == {}
        studio_patience.undo()


def test_heads_are_kept(studio, scene, monkeypatch):
    studio.look(scene)
    monkeypatch.setattr(StyleSDF, "head", lambda *arguments: pytest.fail("made anew"))
    studio.look(dataclasses.replace(scene, yaw=30))


def test_meshes_of_mixes_and_in_other_forms(studio, scene):
    plain = studio.mesh(scene, 64)
    assert plain is studio.mesh(dataclasses.replace(scene, yaw=40), 64)  # kept, whatever the camera
    assert plain.metadata["seed"] == 3
    morphed = studio.mesh(dataclasses.replace(scene, morph_seed=9, morph_share=0.5), 64)
    assert [parent["seed"] for parent in morphed.metadata["parents"]] == [3, 9]
    few = studio.mesh(scene, 96, smoothing=3, max_faces=1000)
    assert len(few.faces) <= 1000 and few.is_watertight
    for seed in range(MAX_MESHES + 1):
        studio.mesh(dataclasses.replace(scene, seed=seed), 64)
    assert len(studio._meshes) == MAX_MESHES


def test_a_mesh_with_a_texture_is_kept_beside_the_one_without(studio, scene):
    shares = []
    textured = studio.mesh(scene, 64, 0, 2000, texture=True, progress=shares.append)
    plain = studio.mesh(scene, 64, 0, 2000)
    assert (textured.visual.kind, plain.visual.kind) == ("texture", "vertex")
    assert len(textured.faces) == len(plain.faces) <= 2000 and textured.metadata["texture_size"] == 1024
    assert shares == sorted(shares) and shares[-1] == 1.0 and 0.0 <= shares[0]
    assert textured is studio.mesh(dataclasses.replace(scene, yaw=40), 64, 0, 2000, texture=True)
    dressed = dataclasses.replace(scene, texture_seed=8)
    assert studio.mesh(dressed, 64, 0, 2000) is plain  # another's colours are the texture's matter
    other = studio.mesh(dressed, 64, 0, 2000, texture=True)
    pictures = [np.asarray(mesh.visual.material.baseColorTexture, int) for mesh in (textured, other)]
    assert np.abs(pictures[0] - pictures[1]).max() > 8


def test_the_time_of_a_texture_is_known_before_the_first_and_better_after_it(folder):
    shelf = ModelShelf(folder.parent)
    shelf.load_default(str(folder))
    studio = Studio(shelf)
    scene = Scene(shelf.default, 3)
    model = studio.model(scene)
    assert studio.seconds_to_mesh(model, 64, 2000) is None
    studio.calibrate()
    surface = studio.seconds_to_mesh(model, 64)
    guessed = [studio.seconds_to_mesh(model, 64, faces) for faces in (2000, 20_000)]
    assert surface < guessed[0] < guessed[1]
    assert studio.pace.estimate(model, "texture", 1.0) is None
    studio.mesh(scene, 64, 0, 2000, texture=True)
    baking = studio.pace.estimate(model, "texture", 1.0)
    known = studio.seconds_to_mesh(model, 64, 2000) - studio.pace.estimate(model, "mesh", 64**2)
    assert known == pytest.approx(1.1 * baking)


def test_an_edited_head_is_not_given_the_mesh_of_the_other(studio, scene):
    studio.mesh(scene, 64)
    edited = studio.mesh(dataclasses.replace(scene, edits="age=1"), 64)
    assert edited.metadata["edits"] == [{"amounts": {"age": 1.0}, "part": "both"}]


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((4096,), "resolution is 4096, expected one of 64"),
        (("128",), "resolution is '128'"),
        ((64, 99), "smoothing is 99"),
        ((64, 1.5), "smoothing is 1.5"),
        ((64, 0, 10), "max_faces is 10, expected an integer from 1000"),
        ((64, 0, None, True), "max_faces is None, expected at most 20,000 with a texture"),
        ((64, 0, 20_001, True), "max_faces is 20001, expected at most 20,000 with a texture"),
    ],
)
def test_meshes_have_limits(studio, scene, arguments, words):
    with pytest.raises(ValueError, match=words):
        studio.mesh(scene, *arguments)


@pytest.mark.parametrize("kind", ["ellipse", "sweep", "spiral"])
def test_films_go_round(studio, scene, kind):
    frames = list(studio.film(scene, kind, 4, with_shape=True))
    assert len({frame.tobytes() for frame in frames}) >= 3
    assert frames[0].size == (2 * 64, 64)


def test_a_morph_starts_with_the_scene_and_meets_the_others(studio, scene):
    turned = dataclasses.replace(scene, yaw=15)
    frames = list(studio.film(turned, "morph", 6, morph_seeds=[8, 9]))
    best = dataclasses.replace(turned, quality="best")  # as films of exact scenes are
    alone = [studio.look(dataclasses.replace(best, seed=seed)).picture for seed in (3, 8, 9)]
    for frame, picture in zip(frames[::2], alone):
        assert np.abs(np.asarray(frame, int) - np.asarray(picture, int)).max() <= 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("zoom", 4), "kind is 'zoom'"),
        (("sweep", 1), "frames is 1, expected an integer from 2 to 120"),
        (("sweep", 10_000), "frames is 10000"),
        (("morph", 4), "there are 0 seeds to morph to"),
        (("morph", 20, False, range(9)), "there are 9 seeds"),
        (("morph", 4, False, [-1]), "seed is -1"),
    ],
)
def test_films_have_limits_and_say_so_at_once(studio, scene, arguments, words):
    with pytest.raises(ValueError, match=words):
        studio.film(scene, *arguments)


def test_the_inside(studio, scene):
    turned = dataclasses.replace(scene, yaw=20, pitch=10)
    cut = studio.inside(turned)
    section, ray = pictures.slice_figure(cut), pictures.ray_figure(cut)
    _, surface, _, samples = section.data
    assert (surface.contours.start, surface.contours.end) == (0, 0)
    assert len(samples.x) == 12 and len(ray.data[0].x) == 12
    assert len(section.to_json()) < 300_000
    heaviest = samples.customdata[np.argmax(np.array(samples.customdata)[:, 2])]
    assert abs(heaviest[0]) < 0.03  # it lies by the surface

    prior = pictures.prior_figure(studio.model(scene).config, 20, 10)
    assert (prior.data[-1].x[0], prior.data[-1].y[0]) == (20, 10)
    assert max(prior.data[0].x) == pytest.approx(3 * np.degrees(0.3), rel=1e-3)

    points, here, share = studio.plane(dataclasses.replace(scene, truncation=1.0))
    np.testing.assert_allclose(here, points[3], atol=1e-5)  # seed 3 is among them
    assert 0.0 < share <= 1.0 and len(pictures.plane_figure(points, here, share).data[0].x) == len(points)


def test_pictures_show_what_is_near_and_where_the_surface_is():
    depth = np.linspace(0.9, 1.1, 64 * 64, dtype=np.float32).reshape(64, 64)
    levels = np.asarray(paintings.depth_picture(depth, np.zeros_like(depth))).astype(float).mean(axis=(1, 2))
    assert levels[0] > levels[128] > levels[-1]
    empty = np.asarray(paintings.depth_picture(depth, np.ones_like(depth)))
    assert (empty == paintings.PAPER).all()
    lit, shade = (np.asarray(paintings.shape_picture(np.full((8, 8, 3), normal), np.zeros((8, 8)))).mean()
                  for normal in (paintings.KEY_LIGHT, -paintings.KEY_LIGHT))  # fmt: skip
    assert lit > 1.5 * shade


def test_calibration_makes_estimates(studio, scene):
    studio.calibrate()
    model = studio.model(scene)
    assert studio.pace.estimate(model, "image", 10) > 0 and studio.pace.estimate(model, "mesh", 128**2) > 0
