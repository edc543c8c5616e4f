"""Pictures as people bring them: damaged ones are named, numbers and colours are what their files mean."""

import io
import logging
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from stylesdf.pixels import DAMAGED, LeftOut, decode_picture
from tests.train.files_people_bring import WRITTEN, encode, matrix_profile, mutated, photo, to_file
from train.data.images import load_images

MUTATIONS = 25  # of every format
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = matrix_profile("Adobe RGB (1998)", 563 / 256)
LINEAR_GREY = matrix_profile("Grey, gamma 1", 1.0, colours=None)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))


def colour_of(data: bytes) -> tuple:
    picture, _ = decode_picture(data, "a")
    return picture.getpixel((0, 0))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", WRITTEN)
def test_damage_of_any_kind_is_a_picture_left_out(ending):
    rng = np.random.default_rng(sorted(WRITTEN).index(ending))
    whole = encode(photo(), ending)
    assert min(decode_picture(whole, ending)[0].size) >= 32
    for _ in range(MUTATIONS):
        try:
            picture, _ = decode_picture(mutated(whole, rng), ending)
            assert picture.mode in ("RGB", "RGBA")
        except LeftOut as error:
            assert str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "error",
    [
        *(IndexError("list index out of range"), KeyError(3), AttributeError("no tag"), OverflowError("too large")),
        *(TypeError("none"), AssertionError(), struct.error("unpack"), zipfile.BadZipFile("bad"), MemoryError()),
        *(RuntimeError("decoder"), RecursionError("deep"), NotImplementedError("way"), zlib.error("stream")),
        Image.DecompressionBombError("large"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_decoder_raises_is_a_reason(error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(LeftOut) as caught:
        decode_picture(b"any", "a.png")
    assert caught.value.kind == DAMAGED and str(caught.value)


@pytest.mark.filterwarnings("ignore")
def test_no_changed_byte_of_a_film_is_an_error(caplog):
    gif, left_out = encode(photo(16), "two.gif"), 0
    for place in range(len(gif)):
        changed = bytearray(gif)
        changed[place] ^= 0xFF
        try:
            decode_picture(bytes(changed), "two.gif")
        except LeftOut:
            left_out += 1
    assert left_out > 10


@pytest.mark.filterwarnings("ignore")
def test_a_wrong_checksum_leaves_the_rest(tmp_path, caplog):
    png = encode(photo(), "png")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("good.png", png)
        archive.writestr("wrong.bmp", encode(photo(), "bmp"))
        archive.writestr("packed.bmp", encode(photo(), "bmp"), zipfile.ZIP_DEFLATED)
    data = bytearray((tmp_path / "some.zip").read_bytes())
    data[data.index(b"wrong.bmp") + 500] ^= 1  # stored: its checksum is wrong now
    start = data.index(b"packed.bmp")
    data[start + 60 : start + 90] = bytes(30)  # deflated: its stream is broken
    (tmp_path / "some.zip").write_bytes(data)
    assert len(load_images(tmp_path / "some.zip", 32, 16)) == 1
    assert "1 pictures taken, 2 left out: 2 damaged or unknown (packed.bmp, wrong.bmp)" in caplog.text
    for name in ("wrong.bmp", "packed.bmp"):
        assert f"left out {name}: cannot be unpacked" in caplog.text


@pytest.mark.filterwarnings("ignore")
def test_damaged_zips_are_read_or_one_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for ending in ("png", "jpg", "gif", "bmp"):
            archive.writestr(f"a.{ending}", encode(photo(), ending))
        archive.writestr("metadata.jsonl", '{"file_name": "a.png", "yaw": 0.1, "pitch": 0}')
    whole, rng = (tmp_path / "whole.zip").read_bytes(), np.random.default_rng(0)
    for number in range(60):
        path = tmp_path / f"{number}.zip"
        path.write_bytes(mutated(whole, rng))
        try:
            assert len(load_images(path, 32, 16)) <= 4
        except ValueError as error:
            assert f"{number}.zip" in str(error)


@pytest.mark.parametrize(
    "data, grey",
    [
        (to_file(np.full((40, 40), 0.5, np.float32)), 128),
        (to_file(np.ones((40, 40), np.float32)), 255),
        (to_file(np.full((40, 40), 0.25, np.float32), "PPM"), 64),
        (to_file(np.full((40, 40), 100.4, np.float32)), 100),
        (to_file(np.full((40, 40), 257 * 80, np.float32)), 80),
        (to_file(np.full((40, 40), 257 * 80, np.uint16)), 80),
        (to_file(np.full((40, 40), 257 * 80, np.uint16), "PNG"), 80),
        (to_file(np.full((40, 40), 257 * 80, np.uint16), "PPM"), 80),
        (to_file(np.full((40, 40), 257 * 80, np.uint16), "JPEG2000"), 80),
        (to_file(np.full((40, 40), 257 * 80, np.int32)), 80),
        (to_file(np.full((40, 40), 2**31 - 1, np.int32)), 255),
        (to_file(np.zeros((40, 40), np.uint16)), 0),
        (to_file(np.full((40, 40), 257 * 80, np.uint16), tiffinfo={262: 0}), 175),  # white is zero
    ],
)
def test_ranges_of_numbers(data, grey):
    picture, rules = decode_picture(data, "a")
    assert picture.mode == "RGB" and set(picture.getpixel((3, 3))) == {grey}
    assert len(rules) == 1


@pytest.mark.parametrize(
    "array",
    [
        *(np.full((40, 40), value, np.float32) for value in (3.0, 1000.0, -0.5, 1e9, np.nan, np.inf)),
        *(np.full((40, 40), value, np.int32) for value in (-5, 200, 1_000_000)),
        np.full((40, 40), 255, np.uint16),  # 8 bits stored as 16
        np.full((40, 40), 4095, np.uint16),  # 12 bits
    ],
)
def test_a_range_that_cannot_be_decided_is_refused(array):
    with pytest.raises(LeftOut, match="which number is white cannot be told|NaN or infinite"):
        decode_picture(to_file(array), "a")


def test_rules_are_said_once(tmp_path, caplog):
    for number in range(3):
        (tmp_path / f"{number}.tif").write_bytes(to_file(np.full((40, 40), 0.5, np.float32)))
    (tmp_path / "3.tif").write_bytes(to_file(np.full((40, 40), 3.0, np.float32)))
    with caplog.at_level(logging.INFO):
        data = load_images(tmp_path, 32, 16)
    assert len(data) == 3 and (np.array(data.images) == 128).all()
    assert caplog.text.count("floats in 0…1 are multiplied by 255") == 1
    assert "3 pictures taken, 1 left out: 1 range not decided (3.tif)" in caplog.text


def test_colours_are_what_their_profile_means():
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100})):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), (60, 170, 60)).save(buffer, kind, icc_profile=ADOBE, **options)
        np.testing.assert_allclose(colour_of(buffer.getvalue()), (0, 172, 44), atol=2)
    see_through = Image.new("RGBA", (64, 64), (60, 170, 60, 77))
    np.testing.assert_allclose(colour_of(to_file(np.asarray(see_through), "PNG", icc_profile=ADOBE)), (0, 172, 44, 77))
    grey = np.full((64, 64), 55, np.uint8)  # of linear light, 55/255 = 0.2157 is 0.502 in sRGB
    np.testing.assert_allclose(colour_of(to_file(grey, "PNG", icc_profile=LINEAR_GREY)), (128, 128, 128), atol=1)
    sixteen = np.full((64, 64), 55 * 257, np.uint16)
    np.testing.assert_allclose(colour_of(to_file(sixteen, "PNG", icc_profile=LINEAR_GREY)), (128, 128, 128), atol=1)


@pytest.mark.parametrize(
    "profile, word",
    [(SRGB, ""), (b"rubbish" * 30, "cannot be read"), (LINEAR_GREY, "GRAY colours")],
    ids=["sRGB", "rubbish", "grey"],  # not the bytes, which hold the time
)
def test_a_profile_of_srgb_or_of_no_use_changes_nothing(profile, word):
    plain = decode_picture(encode(photo(), "png"), "a")[0]
    picture, rules = decode_picture(to_file(np.asarray(photo()), "PNG", icc_profile=profile), "a")
    assert picture.tobytes() == plain.tobytes()
    assert word in "".join(rules) and bool(word) == bool(rules)


@pytest.mark.parametrize(
    "data, name",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page"),
        (b"\xef\xbb\xbf\r\n <HTML>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML text"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b'{"error": "Repository not found"}', "a JSON text in place of the file, as servers send it with an error"),
        (b"<html><head><title>Sign in".decode().encode("utf-16"), "an HTML page"),
        (b"Entry not found", "a text in place of the file: 'Entry not found'"),
        (b"", "an empty file"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "a HEIC picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n", "EPS holds no pixels"),
    ],
)
def test_what_is_no_picture_is_named(data, name, tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "b.png").write_bytes(encode(photo(), "png"))
    assert len(load_images(tmp_path, 32, 16)) == 1
    assert f"left out a.png: {name}" in caplog.text
