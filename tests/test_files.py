"""Files are there in full or not at all, whatever the disk or the name does, and are named for what they are."""

import contextlib
import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from stylesdf import StyleSDF
from stylesdf.checkpoint import save_model
from stylesdf.demo.studio import Look
from stylesdf.files import replacing, replacing_folder, sent_instead, text_instead
from stylesdf.film import VIDEO_ENDINGS, write_video
from stylesdf.meshfile import MESH_ENDINGS, export_mesh
from tests.tiny import TINY


@contextlib.contextmanager
def full_disk(size: int):
    """Let no file grow beyond some bytes: a write is cut there and the next one fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def frames() -> list[Image.Image]:
    random = np.random.RandomState(0)
    return [Image.fromarray(random.randint(0, 256, (48, 48, 3), dtype=np.uint8)) for _ in range(4)]


@pytest.fixture(scope="module")
def model() -> StyleSDF:
    torch.manual_seed(0)
    return StyleSDF(TINY)


@pytest.fixture(scope="module")
def writers(model):
    """What writes, by the ending of what is written."""
    ball = trimesh.creation.icosphere(subdivisions=3)
    found = {ending: lambda path: write_video(frames(), path, 10) for ending in VIDEO_ENDINGS}
    found |= {ending: lambda path: export_mesh(ball, path) for ending in MESH_ENDINGS}
    found[".png"] = lambda path: Look(None, model, frames()[0], {"scene": "x"}).save(str(path))
    found[".model"] = lambda path: save_model(model, path)
    return found


KINDS = [*VIDEO_ENDINGS, *MESH_ENDINGS, ".png", ".model"]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_leaves_what_was_there_and_nothing_else(writers, kind, tmp_path):
    whole = tmp_path / "whole" / f"a{kind}"
    writers[kind](whole)
    before = content(whole.parent)
    size = max(map(len, before.values()))
    for share in (0.0, 0.4, 0.97, 1.0 - 1.0 / size):
        for path in (whole, tmp_path / "new" / "folder" / f"b{kind}"):
            with pytest.raises(OSError) as caught, full_disk(int(size * share)):
                writers[kind](path)
            assert path.name in str(caught.value) and caught.value.errno
            assert content(tmp_path) == {f"whole/{name}": data for name, data in before.items()}
            assert os.listdir(tmp_path) == ["whole"]


def test_a_film_that_ffmpeg_cannot_write_is_an_error_that_says_why(tmp_path, monkeypatch):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="ffmpeg stopped with: Error opening output") as caught:
        monkeypatch.setattr("stylesdf.film.replacing", lambda path: contextlib.nullcontext(tmp_path / "taken"))
        write_video(frames() * 20, tmp_path / "a.mp4")
    assert caught.value.errno == errno.EIO


def test_frames_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a frame has size \(20, 20\), expected that of the first, \(48, 48\)"):
        write_video([*frames(), Image.new("RGB", (20, 20))], tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


NAMES = {
    "250 bytes": "n" * 250,
    "255 bytes": "n" * 255,
    "CJK of 249 bytes": "頭" * 83,
    "spaces": " a head  of mine ",
    "a leading dash": "-head",
    "two leading dashes": "--out",
    "a protocol": "http:head",
    "a pattern of numbers": "%04d",
    "quotes and a line": "it's \"one\"\nline",
    "no UTF-8": os.fsdecode(b"h\xe9ad"),
    "hidden": ".head",
    "many dots": "a.b." + "c" * 100,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("kind", [".mp4", ".gif", ".glb", ".png", ".model"])
def test_every_name_that_a_file_can_have_will_do(writers, kind, name, tmp_path, monkeypatch):
    ending = "" if kind == ".model" else kind
    stem = os.fsdecode(os.fsencode(name)[: 255 - len(ending)]) if len(os.fsencode(name)) == 255 else name
    path = Path(f"{stem}{ending}")
    if len(os.fsencode(path.name)) > 255:
        path = Path(f"{os.fsencode(name)[: 250 - len(ending)].decode(errors='ignore')}{ending}")
    monkeypatch.chdir(tmp_path)
    writers[kind](path)
    assert os.listdir() == [path.name] and (path.is_dir() or path.stat().st_size > 100)


def test_a_failed_write_leaves_the_old_file_and_no_new_folder(tmp_path):
    old, new = tmp_path / "old.txt", tmp_path / "a" / "b" / "new.txt"
    old.write_text("old")
    for path in (old, new):
        with pytest.raises(RuntimeError), replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]
    assert old.read_text() == "old"


def test_a_folder_is_there_in_full_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing_folder(tmp_path / "new" / "a") as partial:
        (partial / "half").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    for turn in ("killed", "whole"):
        with contextlib.suppress(SystemExit), replacing_folder(tmp_path / "a") as partial:
            (partial / turn).write_text(turn)
            if turn == "killed":
                partial.rename(tmp_path / "kept")  # as if nobody had been there to remove it
                raise SystemExit
        if turn == "killed":
            (tmp_path / "kept").rename(partial)
    assert {path.name for path in tmp_path.rglob("*")} == {"a", "whole"}
    with pytest.raises(OSError) as caught, replacing_folder(tmp_path / "a") as partial:
        (partial / "other").write_text("other")
    assert caught.value.filename == str(tmp_path / "a") and (tmp_path / "a" / "whole").exists()


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "a.txt"):
        open(tmp_path / "missing")
    assert caught.value.filename == str(tmp_path / "missing")


# ---- what a file is

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
SENT = {
    "pointer": (LFS, "a Git LFS pointer in place of the file: run `git lfs pull`"),
    "pointer of Windows": (LFS.replace(b"\n", b"\r\n"), "a Git LFS pointer"),
    "page": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page in place of the file"),
    "page with a mark": (b"\xef\xbb\xbf\r\n <HTML>", "an HTML page"),
    "page with a comment": (b"<!-- login --><html lang='de'>", "an HTML page"),
    "page in UTF-16": ("<html><title>Sign in".encode("utf-16"), "an HTML page"),
    "part of a page": (b"<script>location = '/login'</script>", "an HTML page"),
    "XHTML": (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">', "an HTML page"),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML text"),
    "XML without a head": (b"<Error><Code>AccessDenied</Code></Error>", "an XML text"),
}
TEXTS = {
    "nothing": (b"", "an empty file"),
    "JSON": (b'\n{"error": "Repository not found"}', "a JSON text in place of the file"),
    "words": (b"Entry not found", "a text in place of the file: 'Entry not found'"),
    "cut within a letter": (("é" * 600).encode()[:1023], "a text"),
}
NUMBERS = [b"\x89PNG\r\n\x1a\n", b"\0" * 40, b"\x80\4\x95abc", b"\xff\xfe\x00", b"\xff" * 9, b"abc\0def"]


@pytest.mark.parametrize("head, what", [*SENT.values(), *TEXTS.values()], ids=[*SENT, *TEXTS])
def test_texts_in_place_of_files_are_named(head, what):
    assert text_instead(head).startswith(what) and "\n" not in text_instead(head)
    assert bool(sent_instead(head)) == (head in [data for data, _ in SENT.values()])


@pytest.mark.parametrize("head", NUMBERS)
def test_numbers_are_no_text(head):
    assert text_instead(head) == sent_instead(head) == ""
