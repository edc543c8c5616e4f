"""The shelf of models behind the page."""

import shutil
import threading
import time

import pytest
from huggingface_hub.errors import HTTPError

from stylesdf.demo import models
from stylesdf.demo.models import MAX_LOADING, MAX_MODELS, ModelShelf, NotLoaded, pinned
from stylesdf.pipeline import StyleSDF
from tests.browser.serve import small_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("shelf") / "model", steps=5)


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


def test_a_pinned_name_finds_the_model_that_is_there(folder, tmp_path):
    shelf = ModelShelf(tmp_path)
    model = shelf.load_default(str(folder))
    assert pinned(model) == model.name_or_path
    model.name_or_path, model.commit_hash = "owner/name@main", "0123abc"
    assert pinned(model) == "owner/name@0123abc"
    assert shelf.get("owner/name@0123abc") is model


def test_what_a_model_is_can_be_asked_before_it_is_loaded(folder, tmp_path):
    shelf = ModelShelf(tmp_path)
    told = shelf.look_up(str(folder))
    assert "MB, licence apache-2.0" in told
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no config.json with a .safetensors file"):
        shelf.look_up(str(tmp_path / "empty"))


def test_a_hub_model_is_told_by_its_files(tmp_path, monkeypatch):
    class Hub:
        def __init__(self, **options):
            assert options["token"] is False  # strangers do not get what the owner's token opens

        def model_info(self, repo_id, revision, files_metadata, timeout):
            assert (repo_id, revision, files_metadata) == ("owner/name", "v2", True) and timeout <= 10
            sizes = {"config.json": 400, "model.safetensors": 2_500_000, "encoder.safetensors": 9_000_000}
            files = [type("File", (), {"rfilename": name, "size": size}) for name, size in sizes.items()]
            return type("Info", (), {"siblings": files, "card_data": {"license": "mit"}})

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert (
        ModelShelf(tmp_path, is_public=True)
        .look_up("owner/name@v2")
        .startswith("**owner/name&#64;v2**: 2.5 MB, licence mit.")
    )

    def model_info(self, *arguments, **options):
        raise HTTPError("timed out")

    Hub.model_info = model_info
    with pytest.raises(OSError, match="the connection to the hub broke: timed out"):
        ModelShelf(tmp_path, is_public=True).look_up("owner/name")


def test_folders_have_no_absolute_path_in_what_visitors_get(folder, tmp_path):
    (tmp_path / "a").mkdir()
    for place in (tmp_path / "model", tmp_path / "a" / "model"):
        place.symlink_to(folder)
    shelf = ModelShelf(tmp_path)
    names = [shelf.load(str(place)).name_or_path for place in (tmp_path / "model", tmp_path / "a" / "model")]
    assert names == ["model", "model-2"] and shelf.get("model-2") is not shelf.get("model")
    assert str(tmp_path) not in str(shelf.get("model").head(3).provenance)
    shelf._models.clear()
    assert shelf.get("model-2").name_or_path == "model-2"  # it had to go, and came back
    public = ModelShelf(tmp_path, is_public=True)
    public.load_default(str(folder))
    assert public.default == folder.name
    with pytest.raises(ValueError, match="neither a folder"):
        public.get(str(folder))


def test_nobody_waits_for_the_hub_but_who_asks_for_it(folder, tmp_path, monkeypatch):
    go, asked, load = threading.Event(), [], StyleSDF.from_pretrained

    def from_pretrained(where, token=None):
        if "/" not in where or where.startswith("/"):
            return load(where)
        asked.append((where, token))
        assert go.wait(30)
        return load(folder)

    shutil.copytree(folder, tmp_path / "checkpoints" / "small")
    shelf = ModelShelf(tmp_path, is_public=True)
    default = shelf.load_default(str(folder))
    monkeypatch.setattr(StyleSDF, "from_pretrained", from_pretrained)
    monkeypatch.setattr(models, "PATIENCE", 0.05)
    with pytest.raises(NotLoaded, match="the model 'silent/hub' is not loaded here"):
        shelf.get("silent/hub")
    assert asked == []  # only ``load`` asks the hub
    start = time.monotonic()
    for _ in range(2):  # the second joins the first
        with pytest.raises(ValueError, match="'silent/hub' is not here after 0 s; it is still being loaded"):
            shelf.load("silent/hub")
    assert shelf.get(shelf.default) is default and shelf.get("small")  # the page goes on
    for i in range(1, MAX_LOADING):
        with pytest.raises(ValueError, match="still being loaded"):
            shelf.load(f"silent/hub{i}")
    with pytest.raises(ValueError, match=f"{MAX_LOADING} models are being loaded already"):
        shelf.load("another/one")
    assert time.monotonic() - start < 5 and asked[0] == ("silent/hub", False)  # without the owner's token
    monkeypatch.setattr(models, "PATIENCE", 30)
    go.set()
    assert shelf.load("silent/hub").name_or_path == "silent/hub" and len(asked) == MAX_LOADING
    assert shelf.get("silent/hub")
    deadline = time.monotonic() + 30  # the others end by themselves
    while shelf._loading and time.monotonic() < deadline:
        time.sleep(0.01)
    assert shelf._loading == {}


def test_an_error_of_a_load_reaches_who_asked(tmp_path, monkeypatch):
    def from_pretrained(where, token=None):
        raise ValueError("/home/owner/.cache/hub/models--o--n/snapshots/0123abc/config.json: unknown key")

    monkeypatch.setattr(StyleSDF, "from_pretrained", from_pretrained)
    with pytest.raises(ValueError, match="^owner/name/config.json: unknown key$"):
        ModelShelf(tmp_path, is_public=True).load("owner/name")


def test_a_card_that_leads_elsewhere_is_refused(folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "checkpoints" / "linked")
    (place / "README.md").unlink()
    (tmp_path / "secret").write_text("---\nlicense: secret\n---\n", encoding="utf-8")
    (place / "README.md").symlink_to(tmp_path / "secret")
    shelf = ModelShelf(tmp_path, is_public=True)
    for door in (shelf.load, shelf.get, shelf.look_up):
        with pytest.raises(ValueError, match="README.md is a link that leads out of its folder") as told:
            door("linked")
        assert str(tmp_path) not in str(told.value)
