"""Decoded pictures on disk: two forms with the same batches, the same bytes however they came about, or none at all."""

import dataclasses
import errno
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.train import runs
from tests.train.data.test_archives import write_tar
from tests.train.files_people_bring import encode
from train.__main__ import main
from train.build import needs_full_size
from train.config import PolishConfig, PriorConfig
from train.data import decoding, images, storage
from train.data.images import describe_images, load_images
from train.data.packed import PackedImages
from train.data.sources import find_source
from train.data.storage import choose_storage
from train.errors import RunError
from train.presets import PRESETS
from train.recipes import RECIPES

COUNT, LEFT_OUT = 21, 7


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures of noise, one of which is damaged."""
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "AT_ONCE", 3)
    random, found = np.random.RandomState(0), tmp_path / "pictures"
    found.mkdir()
    for number in range(COUNT):
        picture = Image.fromarray(random.randint(0, 256, (40, 36, 3 + number % 2), dtype=np.uint8))
        data = encode(picture, "png")
        (found / f"{number:02}.png").write_bytes(data[:200] if number == LEFT_OUT else data)
    return found


@pytest.fixture
def packed(monkeypatch):
    monkeypatch.setattr(storage, "MOST_RAW", 0)


def bytes_below(cache: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def file_names(cache: Path) -> list[str]:
    return sorted(name.rpartition("/")[2] for name in bytes_below(cache))


def loaded(folder: Path, cache: Path) -> dict[str, bytes]:
    """Return the files that decoding leaves."""
    load_images(folder, 32, 16, cache_dir=cache)
    return bytes_below(cache)


# Two forms


def test_compressed_pictures_give_the_same_batches(folder, tmp_path, monkeypatch):
    raw = load_images(folder, 32, 16, cache_dir=tmp_path / "raw")
    monkeypatch.setattr(storage, "MOST_RAW", 0)
    packed = load_images(folder, 32, 16, cache_dir=tmp_path / "packed")
    assert file_names(tmp_path / "raw") == ["facts.json", "images.bin", "thumbnails.bin"]
    assert file_names(tmp_path / "packed") == ["ends.npy", "facts.json", "images.packed", "thumbnails.bin"]
    assert isinstance(packed.images, PackedImages) and packed.identity == raw.identity
    assert packed.images.shape == raw.images.shape == (COUNT - 1, 3, 32, 32)
    assert packed.images.nbytes == raw.images.nbytes and len(packed) == len(raw) == COUNT - 1
    np.testing.assert_array_equal(packed.images, raw.images)
    np.testing.assert_array_equal(packed.thumbnails, raw.thumbnails)
    for key in (3, -1, slice(4, 9), (slice(4, 9), slice(3)), (np.array([5, 0, 5]), slice(None), 16, 16), (2, 1)):
        np.testing.assert_array_equal(packed.images[key], raw.images[key])
    index = torch.tensor([19, 0, 4, 0])
    packed.prefetch(index[:2])
    assert packed.image_batch(index).equal(raw.image_batch(index))
    with pytest.raises(IndexError):
        packed.image_batch(torch.tensor([COUNT]))


def test_a_stage_sees_no_difference(folder, packed, monkeypatch):
    data = load_images(folder, 32, 16)
    raw = dataclasses.replace(data, images=np.array(data.images))
    engines = []
    for each in (data, raw):
        monkeypatch.setattr(runs, "tiny_data", lambda each=each: each)
        engines.append(runs.RecordingEngine(micro_batch=4))
        runs.decoder_stage(engines[-1]).step()
    assert len(engines[0].gradients) == len(engines[1].gradients) > 0
    assert all(torch.equal(a, b) for a, b in zip(engines[0].gradients, engines[1].gradients))


def test_pictures_that_are_announced_are_decoded_once(folder, packed, monkeypatch):
    data, decoded = load_images(folder, 32, 16), []
    decode = PackedImages._decode
    monkeypatch.setattr(PackedImages, "_decode", lambda self, n: decoded.append(n) or decode(self, n))
    data.prefetch(torch.tensor([2, 5, 2]))
    for _ in range(2):  # as a step that penalises asks twice
        data.image_batch(torch.tensor([5, 2]))
    assert sorted(decoded) == [2, 5]
    data.image_batch(torch.tensor([6, 2]))
    assert sorted(decoded) == [2, 5, 6]


def test_a_damaged_cache_is_named(folder, packed):
    data = load_images(folder, 32, 16)
    with open(data.images.path, "r+b") as file:
        file.write(bytes(20))
    with pytest.raises(RunError, match="picture 0 in .*images.packed is damaged, remove its folder"):
        data.image_batch(torch.tensor([0]))


def test_thumbnails_alone_are_kept_where_no_stage_looks_at_more(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    small = load_images(folder, 32, 16, full_size=False)
    assert small.images is None and file_names(cache) == ["facts.json", "thumbnails.bin"]
    full = load_images(folder, 32, 16)
    np.testing.assert_array_equal(small.thumbnails, full.thumbnails)
    assert small.identity == full.identity and len(small) == len(full) == COUNT - 1
    shutil.rmtree(next(cache.glob("images/*-thumbnails")))
    monkeypatch.setattr(images, "decode_all", None)
    assert load_images(folder, 32, 16, full_size=False).images is not None  # those beside images will do


def test_stages_say_whether_they_look_at_full_size():
    needed = {name: {needs_full_size(config) for config in kinds.values()} for name, kinds in PRESETS.items()}
    assert needed.pop("renderer") == needed.pop("polish") == {False}
    assert needed.pop("decoder") == needed.pop("prior") == {True}
    shown = RECIPES["people"]["small"].runs[0].settings
    assert needs_full_size(shown) and needs_full_size(PriorConfig()) and not needs_full_size(PolishConfig())
    with_decoder, without = (SimpleNamespace(config=SimpleNamespace(has_decoder=is_on)) for is_on in (True, False))
    renderer = PRESETS["renderer"]["ffhq"]
    assert needs_full_size(renderer, with_decoder) and not needs_full_size(renderer, without)


def test_one_rule_chooses_and_says_its_size():
    assert choose_storage(70_000, 1024, 64, False).num_bytes == 70_000 * 4 * 64 * 64
    assert str(choose_storage(6000, 256, 64)) == "6,000 pictures, kept raw at 256×256, 1.28 GB"
    assert str(choose_storage(70_000, 1024, 64)).startswith("70,000 pictures, kept losslessly compressed at 1024×1024")
    assert choose_storage(None, 256, 64).form == "packed" and choose_storage(None, 256, 64).num_bytes is None
    most = int(20e9 / (3 * 1024**2))
    assert [choose_storage(count, 1024, 64).form for count in (most, most + 1)] == ["raw", "packed"]


def test_a_cache_of_before_is_found(folder, tmp_path, monkeypatch):
    """As earlier versions wrote it: the same key, three files."""
    for number in range(COUNT):
        (folder / f"{number:02}.png").write_bytes((folder / "00.png").read_bytes())
    (folder / "people.json").write_text('{"kind": "people", "config": {"fov_deg": 12.0}}')
    key = {"format": 1, "sizes": [32, 16], "source": find_source(str(folder)).identity}
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
    old = tmp_path / "cache" / "images" / name
    old.mkdir(parents=True)
    pixels = np.random.RandomState(0).randint(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    (old / "images.bin").write_bytes(pixels.tobytes())
    (old / "thumbnails.bin").write_bytes(bytes(2 * 4 * 16 * 16))
    facts = {"sizes": [32, 16], "names": ["a", "b"], "has_alpha": True, "poses": None, "skipped": []}
    (old / "facts.json").write_text(json.dumps(facts))
    monkeypatch.setattr(images, "decode_all", None)
    for full_size in (True, False):
        data = load_images(folder, 32, 16, full_size=full_size)
        assert data.subject == "people" and data.identity == name
        np.testing.assert_array_equal(data.images, pixels)


# The same bytes


@pytest.mark.parametrize("form", ["raw", "packed"])
def test_the_number_of_processes_changes_no_byte(form, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "MOST_RAW", 0 if form == "packed" else 20e9)
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    files["metadata.jsonl"] = "\n".join(
        json.dumps({"file_name": name, "yaw": 0.01 * number, "pitch": 0.0}) for number, name in enumerate(files)
    ).encode()
    write_tar(folder / "a.tar.gz", files, "gz")  # whose members can only be read one after the other
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    alone = loaded(folder / "a.tar.gz", tmp_path / "one")
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(decoding, "FEWEST_SHARED", 4)
    asked = []
    begin = decoding.in_order
    monkeypatch.setattr(decoding, "in_order", lambda *rest: asked.append(1) or begin(*rest))
    assert loaded(folder / "a.tar.gz", tmp_path / "two") == alone and asked
    monkeypatch.setattr(decoding, "AT_ONCE", 8)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert loaded(folder / "a.tar.gz", tmp_path / "other") == alone


def _decode_slowly(folder: Path, cache: Path) -> None:
    decode = decoding.decode_square
    decoding.decode_square = lambda *item: time.sleep(0.01) or decode(*item)
    load_images(folder, 32, 16, cache_dir=cache)


def test_after_kills_the_next_one_goes_on_to_the_same_bytes(folder, packed, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    expected, cache, random = loaded(folder, tmp_path / "undisturbed"), tmp_path / "cache", np.random.default_rng(0)
    for kill in range(1, 6):  # after so many groups of seven
        process = multiprocessing.get_context("fork").Process(target=_decode_slowly, args=(folder, cache))
        process.start()
        until = time.monotonic() + 60
        while time.monotonic() < until and _complete(cache) < kill:
            time.sleep(0.002)
        time.sleep(float(random.uniform(0, 0.02)))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert _complete(cache) >= kill
    first, groups = [], decoding._groups
    monkeypatch.setattr(decoding, "_groups", lambda source, place: first.append(place) or groups(source, place))
    assert loaded(folder, cache) == expected
    assert first[0] >= 15  # what was complete is not decoded anew


def _complete(cache: Path) -> int:
    journals = list(cache.glob("images/.partial-*/journal.jsonl"))
    return max(journals[0].read_bytes().count(b"\n") - 1, 0) if journals else 0


@pytest.mark.parametrize("damage", ["cut", "other", "half"])
def test_what_a_kill_left_damaged_is_not_gone_on_with(damage, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    expected, cache = loaded(folder, tmp_path / "undisturbed"), tmp_path / "cache"
    decode, seen = decoding.decode_group, []

    def stop(*arguments, **options):
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return decode(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decoding, "decode_group", stop)
        load_images(folder, 32, 16, cache_dir=cache)
    (partial,) = cache.glob("images/.partial-*")
    assert _complete(cache) == 3
    if damage == "cut":
        os.truncate(partial / "images.bin", 100)
    elif damage == "other":
        lines = (partial / "journal.jsonl").read_text().splitlines(True)
        (partial / "journal.jsonl").write_text('{"form": "packed"}\n' + "".join(lines[1:]))
    else:
        with open(partial / "journal.jsonl", "a") as journal, open(partial / "images.bin", "ab") as file:
            journal.write('{"items": 3, "na')
            file.write(b"half")
    assert loaded(folder, cache) == expected


def test_a_process_that_is_killed_leaves_what_is_complete(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(decoding, "FEWEST_SHARED", 4)
    read = decoding._read

    def killer(item):
        return dataclasses.replace(read(item), open=_Killer()) if item.name == "19.png" else read(item)

    with monkeypatch.context() as patch, pytest.raises(RunError, match="was killed, perhaps for its memory"):
        patch.setattr(decoding, "_read", killer)
        load_images(folder, 32, 16)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert len(load_images(folder, 32, 16)) == COUNT - 1 and file_names(tmp_path / "cache")[0] == "facts.json"


class _Killer:
    def __call__(self):
        os.kill(os.getpid(), signal.SIGKILL)


# The disk


@pytest.mark.parametrize("name", ["thumbnails.bin", "images.packed", "journal.jsonl"])
def test_a_full_disk_leaves_nothing(name, folder, packed, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    written = []

    def opened(path, mode="r", *rest, **options):
        file = open(path, mode, *rest, **options)
        if Path(path).name == name and "a" in mode:
            write = file.write

            def full(data):
                written.append(len(data))
                if len(written) == 4:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return write(data)

            return _Writer(file, full)
        return file

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as caught:
        patch.setattr(decoding, "open", opened, raising=False)
        load_images(folder, 32, 16)
    assert len(written) == 4 and caught.value.filename.startswith(str(tmp_path / "cache"))
    assert [path.suffix for path in (tmp_path / "cache" / "images").iterdir()] == [".lock"]
    assert len(load_images(folder, 32, 16)) == COUNT - 1


class _Writer:
    """A file whose ``write`` is another function."""

    def __init__(self, file, write):
        self.file, self.write, self.flush = file, write, file.flush

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def test_space_is_looked_at_first(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1234))
    needed = COUNT * (3 * 32 * 32 + 4 * 16 * 16)
    message = f"need {needed:,} bytes, but 1,234 are free for {tmp_path}/cache/images: .*STYLESDF_CACHE"
    with pytest.raises(ValueError, match=message):
        load_images(folder, 32, 16)
    assert [path.suffix for path in (tmp_path / "cache" / "images").iterdir()] == [".lock"]


def test_what_is_decoded_is_said_before(folder, caplog, tmp_path):
    with caplog.at_level(logging.INFO):
        load_images(folder, 32, 16)
    said = f"decoding {folder}: 21 pictures, kept raw at 32×32, 8.6e-05 GB, in {tmp_path}/cache/images"
    assert said in caplog.text


# The dry run


def test_a_dry_run_says_how_pictures_are_kept_and_decodes_none(folder, tmp_path, capsys):
    out, cache = ["--out", str(tmp_path / "out"), "--dry-run"], tmp_path / "cache"
    for data, stage, expected in (
        (str(folder), ["renderer"], "21 pictures, kept only their thumbnails of 64×64, 0.000344 GB, in"),
        ("people:100000", ["decoder", "--preset", "ffhq", "--init-from", "x"], "100,000 pictures, kept losslessly"),
        ("you/heads@main", ["renderer", "--preset", "ffhq"], "an unknown number of pictures, kept only their thumb"),
    ):
        assert main([*stage, "--data", data, *out]) == 0
        assert json.loads(capsys.readouterr().out)["data"].startswith(expected)
    assert main(["run", "people", *out]) == 0
    assert "on people:6000: 6,000 pictures, kept raw at 256×256, 1.28 GB, in" in capsys.readouterr().out
    assert not cache.exists() and not (tmp_path / "out").exists()
    load_images(folder, 32, 16)
    assert "decoded already" in describe_images(str(folder), 32, 16, True, None)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["renderer", "--data", "absent"], "no such data: 'absent'"),
        (["renderer", "--data", "FOLDER/absent"], "there is no folder or file"),
        (["renderer", "--data", "FOLDER", "--label", "kind=cat"], "has no column 'kind' to filter by"),
        (["renderer", "--data", "EMPTY"], "no picture in"),
        (["run", "ffhq", "--data", "absent"], "no such data: 'absent'"),
        (["renderer", "--data", "FOLDER", "--set", "game.augment=colour"], "augment names 'colour'"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(arguments, message, folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {"FOLDER": str(folder), "EMPTY": str(tmp_path / "empty")}
    for name, place in places.items():
        arguments = [word.replace(name, place) for word in arguments]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    assert message in capsys.readouterr().err
