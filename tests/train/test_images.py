"""Sources of pictures: what is read, how it is resized, what is said of the rest, and what processes share."""

import dataclasses
import json
import logging
import multiprocessing
import os
import signal
import time
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from train.data import decoding, images, sources
from train.data.images import load_images


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("STYLESDF_CACHE", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "pictures"


def write(path, size=(40, 32), colour=(255, 0, 0), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **options)


def load(source, **options):
    return load_images(source, 32, 16, **options)


def centre(data, index):
    return data.images[index, :, 16, 16].tolist()


def test_folder_is_cropped_resized_and_cached(folder, monkeypatch):
    write(folder / "a" / "1.png")
    write(folder / "2.png", colour=(0, 0, 255))
    data = load(folder)
    assert data.images.shape == (2, 3, 32, 32) and data.thumbnails.shape == (2, 3, 16, 16)
    assert data.poses is None
    batch = data.thumbnail_batch(torch.tensor([0]), 8, 3)
    torch.testing.assert_close(batch[0, :, 4, 4], torch.tensor([-1.0, -1.0, 1.0]))
    with monkeypatch.context() as patch:
        patch.setattr(images, "decode_all", None)  # decoded once only
        assert len(load(folder)) == 2
    (folder / "2.png").unlink()
    assert len(load(folder)) == 1  # another content is another set
    assert not list(folder.glob(".*"))  # nothing is written beside the pictures


def test_colours_under_transparent_pixels_survive(folder):
    rgba = np.full((64, 64, 4), (204, 219, 237, 0), dtype=np.uint8)
    rgba[16:48, 16:48] = (10, 20, 30, 255)
    folder.mkdir()
    Image.fromarray(rgba).save(folder / "1.png")
    data = load(folder)
    np.testing.assert_array_equal(data.thumbnails[0, :, 0, 0], [204, 219, 237, 0])
    torch.testing.assert_close(data.border()[1], torch.tensor([204, 219, 237]) / 255)
    write(folder / "2.png")
    assert load(folder).thumbnails.shape == (2, 3, 16, 16)  # alpha only where every picture has it


def test_poses_come_from_metadata(folder):
    write(folder / "images" / "0.png")
    write(folder / "images" / "1.png")
    rows = [
        {"file_name": f"images/{i}.png", "yaw": 0.1 * i, "pitch": -0.2, "species": "cat dog".split()[i]} for i in (0, 1)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    torch.testing.assert_close(load(folder).poses, torch.tensor([[0.0, -0.2], [0.1, -0.2]]))
    only = load(folder, label=("species", "dog"))
    torch.testing.assert_close(only.poses, torch.tensor([[0.1, -0.2]]))
    with pytest.raises(ValueError, match="species=fox, expected one of cat, dog"):
        load(folder, label=("species", "fox"))
    with pytest.raises(ValueError, match="no column 'breed' to filter by, expected one of file_name, folder"):
        load(folder, label=("breed", "fox"))
    (folder / "metadata.jsonl").write_text("not JSON")
    with pytest.raises(ValueError, match="metadata.jsonl is not one JSON object"):
        load(folder)


def test_subfolders_are_labels(folder):
    write(folder / "cat" / "1.png")
    write(folder / "dog" / "2.png", colour=(0, 0, 255))
    assert centre(load(folder, label=("folder", "dog")), 0) == [0, 0, 255]
    assert len(load(folder, limit=1)) == 1
    with pytest.raises(ValueError, match="limit is 0"):
        load(folder, limit=0)


def test_a_limit_asks_the_source_for_no_picture_more(folder, monkeypatch):
    write(folder / "1.png")
    source, asked = sources.find_source(str(folder)), []

    def items():
        for item in source.items():
            yield item
            asked.append(item.name)  # whoever wants the next one is here first

    monkeypatch.setattr(sources, "_folder", lambda *arguments: dataclasses.replace(source, items=items))
    assert len(list(sources.find_source(str(folder), limit=1).items())) == 1 and not asked


def test_every_kind_of_picture_is_read_or_named(folder, caplog):
    write(folder / "grey.png", mode="L")
    write(folder / "palette.gif", mode="P")
    write(folder / "cmyk.jpg", mode="CMYK")
    Image.fromarray(np.full((40, 40), 65535, dtype=np.uint16)).save(folder / "sixteen.png")
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("lime", "red")]
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:], lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    upside_down = Image.new("RGB", (40, 40), "blue")
    upside_down.paste("white", (0, 0, 40, 20))
    upside_down.save(folder / "turned.png", exif=exif)
    write(folder / "tiny.png", size=(1, 1))
    write(folder / "low.png", size=(400, 15))
    (folder / "text.png").write_text("not a picture")
    write(folder / "whole.png", size=(100, 100))
    (folder / "corrupt.png").write_bytes((folder / "whole.png").read_bytes()[:150])
    (folder / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture's name either")
    with caplog.at_level(logging.WARNING):
        data = load(folder)
    facts = json.loads(next((folder.parent / "cache" / "images").glob("*/facts.json")).read_text())
    seen = dict(zip(facts["names"], range(len(data))))
    assert set(seen) == {
        *("grey.png", "palette.gif", "cmyk.jpg", "sixteen.png", "animated.webp", "turned.png", "whole.png")
    }
    assert centre(data, seen["sixteen.png"]) == [255, 255, 255]
    assert centre(data, seen["animated.webp"]) == [0, 255, 0] and "animated.webp has 2 frames" in caplog.text
    assert data.images[seen["turned.png"], :, 4, 16].tolist() == [0, 0, 255]
    assert np.ptp(data.images[seen["grey.png"], :, 16, 16]) == 0
    for name in ("tiny.png", "low.png", "text.png", "corrupt.png", "empty.png"):
        assert f"left out {name}" in caplog.text
    caplog.clear()
    load(folder)
    assert "left out tiny.png" in caplog.text  # said again where the pictures come from the cache


def test_bombs_are_left_out(folder, caplog, monkeypatch):
    write(folder / "good.png")
    write(folder / "huge.png", size=(300, 300))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert len(load(folder)) == 1 and "left out huge.png" in caplog.text


@pytest.mark.parametrize(
    "source, message",
    [
        ("absent", "'absent' is no folder, zip, hub id"),
        ("toy-heads:", "is no folder, zip, hub id"),
        ("../up/there", "is no folder, zip, hub id"),
    ],
)
def test_what_is_not_there_is_one_clear_error(source, message):
    with pytest.raises(ValueError, match=message):
        load(source)


def test_nothing_to_use_is_one_clear_error(folder, cache):
    folder.mkdir()
    with pytest.raises(ValueError, match="no usable image in .*pictures"):
        load(folder)
    (folder / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match="1 found, none of use, the first because: a text in place of the file"):
        load(folder)
    assert not [path for path in (cache / "images").iterdir() if path.suffix != ".lock"]
    with pytest.raises(ValueError, match="no zip of pictures"):
        load(folder / "text.png")


def test_zip_is_read_as_a_folder_is(folder, tmp_path):
    write(folder / "a" / "1.png")
    write(folder / "2.png", colour=(0, 0, 255))
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "2.png", "yaw": 0, "pitch": 1}\n{"file_name": "a/1.png", "yaw": 1, "pitch": 0}'
    )
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder))
        archive.writestr("__MACOSX/._1.png", b"")
    unpacked, zipped = load(folder), load(tmp_path / "pictures.zip")
    np.testing.assert_array_equal(unpacked.images, zipped.images)
    torch.testing.assert_close(unpacked.poses, zipped.poses)


def test_toy_heads_are_drawn_on_the_spot(cache):
    data = load("toy-heads:3")
    assert data.images.shape == (3, 3, 32, 32) and data.poses.shape == (3, 2) and data.thumbnails.shape[1] == 4
    assert (cache / "toy-heads-3-32").is_dir()


def test_pictures_as_tensors_give_the_same_batches(cache):
    data = load("toy-heads:4")
    copied = dataclasses.replace(
        data, images=torch.from_numpy(np.array(data.images)), thumbnails=torch.from_numpy(np.array(data.thumbnails))
    )  # as on a GPU
    index = torch.tensor([2, 0])
    assert data.on(torch.device("cpu")) is data
    assert copied.thumbnail_batch(index, 8, 4).equal(data.thumbnail_batch(index, 8, 4))
    assert copied.border()[1].equal(data.border()[1])
    assert copied.image_batch(index).equal(data.image_batch(index))


def test_a_data_set_that_cannot_be_reached_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="cannot load the data set 'nobody/nothing' from the hub"):
        load("nobody/nothing")


def _load_slowly(folder, queue):
    decode = decoding.decode_square

    def slow(item, smallest):
        time.sleep(0.05)
        return decode(item, smallest)

    decoding.decode_square = slow
    queue.put("started")
    queue.put(load(folder).images.tobytes())


def test_processes_share_one_cache_and_a_killed_one_leaves_nothing(folder, cache):
    for number in range(10):
        write(folder / f"{number}.png", colour=(25 * number, 0, 0))
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    victim = fork.Process(target=_load_slowly, args=(folder, queue))
    victim.start()
    assert queue.get(timeout=60) == "started"
    while not list((cache / "images").glob(".partial-*/*.bin")):
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    others = [fork.Process(target=_load_slowly, args=(folder, queue)) for _ in range(3)]
    for process in others:
        process.start()
    results = [result for result in (queue.get(timeout=60) for _ in range(6)) if result != "started"]
    for process in others:
        process.join()
    assert len(results) == 3 and len(set(results)) == 1
    assert results[0] == load(folder).images.tobytes()
    assert not list((cache / "images").glob(".partial-*"))
