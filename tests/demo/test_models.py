"""The shelf of models behind the page."""

import shutil

import pytest

from stylesdf.card import CardFacts, model_card
from stylesdf.config import StyleSDFConfig
from stylesdf.demo.models import MAX_MODELS, ModelShelf, licence_of, pinned
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

        def model_info(self, repo_id, revision, files_metadata):
            assert (repo_id, revision, files_metadata) == ("owner/name", "v2", True)
            sizes = {"config.json": 400, "model.safetensors": 2_500_000, "discriminator.safetensors": 9_000_000}
            files = [type("File", (), {"rfilename": name, "size": size}) for name, size in sizes.items()]
            return type("Info", (), {"siblings": files, "card_data": {"license": "mit"}})

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    assert (
        ModelShelf(tmp_path, is_public=True)
        .look_up("owner/name@v2")
        .startswith("`owner/name@v2`: 2.5 MB, licence mit.")
    )


def test_the_licence_is_the_front_matter_s():
    card = model_card(StyleSDFConfig(), "m", CardFacts(licence="cc-by-nc-sa-4.0"))
    assert licence_of(card) == "cc-by-nc-sa-4.0"
    assert licence_of(None) is None and licence_of("# A title\nlicense: fake") is None
