"""Which files are taken: every picture once, and one line for the rest; names that are missing are refused at once."""

import json
import logging
import os
import socket
import zipfile

import pytest

from tests.train.files_people_bring import encode, photo
from train.data.images import load_images
from train.data.listing import list_folder, list_zip, summary
from train.data.sources import find_source, refuse_missing


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def write(path, ending="png"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(photo(), ending))


def test_every_ending_that_pillow_reads_is_taken_and_the_rest_counted(folder, caplog):
    endings = {"jfif": "jpg", "avif": "avif", "ppm": "ppm", "pnm": "ppm", "tga": "tga", "jp2": "jp2", "webp": "webp"}
    endings |= {"bmp": "bmp", "tif": "tif", "TIFF": "tif", "JPG": "jpg", "apng": "apng", "qoi": "qoi", "dib": "dib"}
    for ending, kind in endings.items():
        write(folder / f"of_{ending}.{ending}", kind)
    for name in ("a.heic", "b.heic", "notes.txt", "README"):
        (folder / name).write_bytes(b"x")
    assert len(load_images(folder, 32, 16)) == len(endings)
    assert caplog.text.count("pictures taken") == 1
    line = f"{len(endings)} pictures taken, 4 left out: 4 of other kinds (2 .heic, 1 no ending, 1 .txt)"
    assert line in caplog.text


def test_hidden_files_are_not_trained_on(folder, caplog):
    write(folder / "a.png")
    for name in (".ipynb_checkpoints/a.png", "__MACOSX/._a.png", "._a.png", "cat/.thumbs/b.png", "@eaDir/c.png"):
        write(folder / name)
    with zipfile.ZipFile(folder.parent / "a.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    for source in (folder, folder.parent / "a.zip"):
        caplog.clear()
        assert len(load_images(source, 32, 16)) == 1
        assert "1 pictures taken, 5 left out: 5 hidden (._a.png, .ipynb_checkpoints, @eaDir, …)" in caplog.text


def test_a_folder_within_a_hidden_one_is_taken(folder):
    write(folder / ".cache" / "set" / "a.png")
    assert list(list_folder(folder / ".cache" / "set").pictures) == ["a.png"]


def test_linked_folders_are_followed_without_loops_and_nothing_is_taken_twice(folder):
    write(folder / "own" / "a.png")
    write(folder.parent / "elsewhere" / "b.png")
    write(folder.parent / "elsewhere" / "deep" / "c.png")
    (folder / "linked").symlink_to(folder.parent / "elsewhere")
    (folder.parent / "elsewhere" / "loop").symlink_to(folder)
    (folder / "again").symlink_to(folder / "own")
    (folder / "aaa.png").symlink_to(folder / "own" / "a.png")
    (folder / "file.png").symlink_to(folder.parent / "elsewhere" / "b.png")
    (folder / "nothing.png").symlink_to(folder / "absent.png")
    (folder / "itself").symlink_to(folder / "itself")
    write(folder.parent / "blobs" / "0123")
    (folder / "blob.png").symlink_to(folder.parent / "blobs" / "0123")  # as the hub's cache has them
    found = list_folder(folder)
    assert list(found.pictures) == ["blob.png", "linked/b.png", "linked/deep/c.png", "own/a.png"]
    assert found.left_out["there twice"] == ["aaa.png", "again", "file.png", "linked/loop"]
    assert found.left_out["links to nothing"] == ["itself", "nothing.png"]
    assert len(load_images(folder, 32, 16)) == 4


def test_two_members_of_one_name_and_windows_names_of_a_zip(tmp_path):
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as archive:
        for name in ("a.png", "a.png", "./c.png", "sub\\b.png"):
            archive.writestr(name, encode(photo(), "png"))
    with zipfile.ZipFile(path) as archive:
        found = list_zip(archive)
    assert list(found.pictures) == ["a.png", "c.png", "sub/b.png"]
    assert found.left_out == {"there twice": ["a.png"]}


def test_nothing_left_out_is_said_too(folder, caplog):
    write(folder / "a.png")
    with caplog.at_level(logging.INFO):
        load_images(folder, 32, 16)
    assert "1 pictures taken, nothing left out" in caplog.text
    assert summary(0, {"hidden": [".a", ".b"]}) == "0 pictures taken, 2 left out: 2 hidden (.a, .b)"


def test_a_folder_of_other_files_says_what_is_there(folder):
    (folder / "a.heic").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"0 found, none of use; 0 pictures taken, 1 left out: .*1 \.heic"):
        load_images(folder, 32, 16)


def test_a_folder_without_permission_is_named(folder):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    write(folder / "a.png")
    (folder / "closed").mkdir(mode=0)
    assert list_folder(folder).left_out == {"folders that cannot be read": ["closed"]}


@pytest.mark.parametrize(
    "name, word",
    [
        ("data/cats", "is 'data/cat' meant"),
        ("data/cats/", "is 'data/cat' meant"),
        ("./cats", "a hub id is USER/NAME"),
        ("../somewhere/cats", "a hub id is USER/NAME"),
        ("/nowhere/cats", "a hub id is USER/NAME"),
        ("~/no-such-folder-of-mine", "a hub id is USER/NAME"),
        ("data/cats/a/b", "a hub id is USER/NAME"),
        ("elsewhere/cats.zip", "elsewhere/cats.zip@main"),
    ],
)
def test_a_mistyped_folder_is_refused_without_asking_the_hub(name, word, folder, monkeypatch):
    (folder / "data" / "cat").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(socket, "socket", None)
    with pytest.raises(ValueError) as caught:
        find_source(name)
    assert f"there is no folder or file {name!r}" in str(caught.value) and word in str(caught.value)
    assert "USER/NAME" in str(caught.value)


def test_what_may_be_a_data_set_of_the_hub_is_let_through(folder, monkeypatch):
    (folder / "data").mkdir()
    monkeypatch.chdir(folder)
    for name in ("you/cats", "you/cats@v1", "data/cats@main"):
        refuse_missing(name)
    with pytest.raises(ValueError, match="write data/cats@main"):
        refuse_missing("data/cats")


def test_a_file_that_is_no_zip_is_named(folder):
    (folder / "a.zip").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="no zip of pictures, but a Git LFS pointer"):
        find_source(str(folder / "a.zip"))


def test_keys_of_the_cache_stay_for_plain_folders(folder):
    write(folder / "b-c" / "1.png")
    write(folder / "b" / "1.png")
    row = {"file_name": "b/1.png", "yaw": 0.1, "pitch": 0}
    (folder / "metadata.jsonl").write_text(json.dumps(row))
    identity = find_source(str(folder)).identity
    assert set(identity) == {"folder", "files", "metadata", "label"}
    assert [name for name, *_ in identity["files"]] == ["b/1.png", "b-c/1.png"]  # as paths are sorted
    assert identity["metadata"] == (folder / "metadata.jsonl").stat().st_mtime_ns
