"""Heads found in visitors' pictures: kept for the visit, seen wherever seeds are."""

import copy
import json
import threading
from dataclasses import replace

import pytest
from PIL import Image

gr = pytest.importorskip("gradio")

from stylesdf.checkpoint import bundled_root  # noqa: E402
from stylesdf.demo import heads  # noqa: E402
from stylesdf.demo.models import ModelShelf  # noqa: E402
from stylesdf.demo.page import Page  # noqa: E402
from stylesdf.demo.scene import Scene  # noqa: E402
from stylesdf.demo.studio import Studio  # noqa: E402
from stylesdf.demo.visits import PictureFiles, VisitorFiles  # noqa: E402
from stylesdf.inversion import Inversion  # noqa: E402
from tests.browser.serve import small_model  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("picture") / "model")


@pytest.fixture(scope="module")
def studio(folder):
    shelf = ModelShelf(bundled_root(), is_public=False)
    shelf.load_default(str(folder))
    return Studio(shelf)


@pytest.fixture
def model(studio):
    return studio.models.get(studio.models.default)


@pytest.fixture
def found(studio, model):
    return Scene(studio.models.default, head=studio.heads.found.add("ann", model, model.head(7)))


def test_a_found_head_is_seen_where_a_seed_is(studio, model, found):
    seven, five = replace(found, head=None, seed=7), replace(found, head=None, seed=5)

    def drawn(scene):
        return studio.look(scene).picture.tobytes()

    assert drawn(found) == drawn(seven) != drawn(five)
    mixed = {"morph_seed": 3, "morph_share": 0.5}
    assert drawn(replace(found, **mixed)) == drawn(replace(seven, **mixed)) != drawn(seven)
    assert drawn(replace(found, texture_seed=3)) == drawn(replace(seven, texture_seed=3)) != drawn(seven)
    assert studio.mesh(found, 64).vertices.shape == studio.mesh(seven, 64).vertices.shape
    assert studio.mesh(found, 64).vertices.shape != studio.mesh(five, 64).vertices.shape
    frames = [list(studio.film(scene, "morph", 3, morph_seeds=[3])) for scene in (found, seven)]
    assert [a.tobytes() for a in frames[0]] == [b.tobytes() for b in frames[1]]
    assert studio.quick({"model": found.model, "head": found.head}) == studio.quick({"model": found.model, "seed": 7})


def test_a_film_on_another_device_is_of_the_found_head(studio, found, monkeypatch):
    frames = [frame.tobytes() for frame in studio.film(found, "sweep", 2)]
    monkeypatch.setattr("stylesdf.demo.studio.on_device", copy.deepcopy)
    assert [frame.tobytes() for frame in studio.film(found, "sweep", 2)] == frames


def test_its_pictures_go_with_the_visitor(studio, found, tmp_path):
    page = Page(studio, VisitorFiles(lambda: tmp_path / "visits"), PictureFiles(lambda: tmp_path / "all"))
    request = gr.Request(session_hash="ann")
    for scene in (found, replace(found, head=None)):
        for picture in studio.compare(scene, ("image", "depth")):
            assert Image.open(page.path_of(picture, scene, request)).tobytes() == picture.tobytes()
    assert len(list(tmp_path.rglob("*.png"))) == 4
    page.files.forget("ann")
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_it_has_a_name_in_links_pictures_and_code(studio, model, found, folder, tmp_path, monkeypatch):
    assert Scene.from_query({"head": found.head}, replace(found, head=None)) == found
    look = studio.look(found)
    assert replace(Scene.from_picture(look.save(str(tmp_path / "a.png"))), model=found.model) == found
    assert found.title == "head-yours"
    monkeypatch.chdir(tmp_path)
    studio.heads.head(model, found).save("head-yours.safetensors")
    exec(found.python().replace(json.dumps(found.model), json.dumps(str(folder))), {})
    assert Image.open("head-yours.png").convert("RGB").tobytes() == look.picture.tobytes()


@pytest.mark.parametrize("name", ["", "x" * 32, "a" * 31, "../" + "a" * 29, 7, "A" * 32])
def test_a_name_of_another_kind_is_one_sentence(name):
    with pytest.raises(ValueError, match="head is .*, expected 32 hexadecimal digits, or nothing"):
        Scene("people", head=name)


def test_it_goes_with_the_visit_and_with_its_model(studio, model, found):
    other = replace(found, head=studio.heads.found.add("bob", model, model.head(1)))
    with pytest.raises(ValueError, match="found with another model"):
        studio.heads.found.codes(copy.deepcopy(model), found.head)
    studio.mesh(found, 64), studio.tile(found)
    assert any(found.head in key for key in studio.heads._heads._kept)
    studio.forget("ann")
    kept = studio.heads._heads, studio._meshes, studio._tiles
    assert not any(found.head in key for part in kept for key in part._kept)
    for ask in (studio.look, studio.model, lambda scene: studio.mesh(scene, 64)):
        with pytest.raises(ValueError, match="no longer here"):
            ask(found)
    assert studio.look(other)


def test_few_are_kept_of_few(studio, model, monkeypatch):
    monkeypatch.setattr(heads, "MAX_FOUND", 2)
    monkeypatch.setattr(heads, "MAX_FINDERS", 2)
    kept, head = heads.FoundHeads(), model.head(0)
    names = {who: [kept.add(who, model, head) for _ in range(3)] for who in ("ann", "bob", "cid")}
    assert len({name for mine in names.values() for name in mine}) == 9
    for gone in (*names["ann"], names["bob"][0], names["cid"][0]):
        with pytest.raises(ValueError, match="no longer here"):
            kept.codes(model, gone)
    for name in (*names["bob"][1:], *names["cid"][1:]):
        assert kept.codes(model, name)[0].equal(head.w)


def test_finding_tells_steps_and_ends_with_what_was_found(studio, model):
    *steps, found = studio.find(model, model.head(3).view().image)
    assert isinstance(found, Inversion) and len(steps) > 10
    assert [step.share for step in steps] == sorted(step.share for step in steps)
    assert studio.seconds_to_find(model) == studio.pace.estimate(model, "find", 1.0) > 0.0


def test_a_search_that_nobody_waits_for_ends(studio, model):
    before = threading.active_count()
    search = studio.find(model, model.head(3).view().image)
    assert next(search).share < 0.5
    search.close()
    assert threading.active_count() == before


def test_what_goes_wrong_is_told_to_who_waits(studio, model):
    with pytest.raises(ValueError, match="expected at least 32"):
        list(studio.find(model, Image.new("RGB", (8, 8))))
