"""What a set will be seen as: counts, reasons, sizes, labels, borders, a contact sheet; a sample where it is large."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.train.data.test_archives import shard, write_parquet, write_tar
from tests.train.files_people_bring import encode, photo
from train.__main__ import main
from train.data import look as looking
from train.data.images import LEAST_PLAIN, ImageSet, plain_share
from train.data.look import look, look_at
from train.data.sources import find_source


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def write(path, size=(300, 300), mode="RGB", colour=(200, 210, 220)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


def seen(capsys, *arguments) -> list[str]:
    assert main(["look", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_everything_is_said_of_a_folder(folder, capsys):
    for number in range(3):
        write(folder / "cat" / f"{number}.png")
    write(folder / "dog" / "wide.jpg", (400, 200))
    write(folder / "dog" / "grey.png", (300, 310), "L")
    write(folder / "low.png", (50, 60))
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "a.heic").write_bytes(b"x")
    rows = [{"file_name": f"cat/{n}.png", "yaw": 0.5 * n - 0.5, "pitch": 0.1, "age": n / 2} for n in range(3)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = seen(capsys, folder)
    assert lines[0] == f"{folder}: 7 pictures taken, 1 left out: 1 of other kinds (1 .heic)"
    text = "\n".join(lines)
    for line in (
        "sample: all were opened, all decoded",
        "of no use: 2 of 7 decoded, left out by training: 1 damaged or unknown (bad.png); 1 too small (low.png)",
        "shorter side: 50 to 300 pixels, median 300; 2 of 6 below the image's 256 (enlarged), "
        "1 of 6 below the thumbnail's 64 (left out)",
        "shapes: 3 square, 2 tall, 1 wide; the central square is taken",
        "formats: 5 PNG, 1 JPEG; modes: 5 RGB, 1 L",
        "poses: 3 of 7: not used, since the others have none; "
        "yaw -28.6 to 28.6, median 0.0; pitch 5.7 to 5.7, median 5.7 degrees",
        "label age: numbers from 0 to 1, median 0.5",
        "label folder: 3 cat, 2 none, 2 dog",
        "borders: plain, 100% of it, above and beside, within 16 of 255 of the colour (200, 210, 220)",
    ):
        assert line in text, text


def test_the_sheet_is_what_training_sees(folder, capsys, tmp_path):
    for number in range(100):
        write(folder / f"{number:03}.png", (400, 300), colour=(number, 0, 0))
    lines = seen(capsys, folder, "--out", tmp_path / "sheet.png")
    assert lines[-1] == f"{tmp_path / 'sheet.png'}: 48 pictures"
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (6 * 128, 8 * 128, 3)
    reds = sheet[64::128, 64::128, 0].flatten()
    assert reds.tolist() == [i * 99 // 47 for i in range(48)]
    assert main(["look", str(folder), "--out", str(tmp_path / "sheet.jpg")]) == 2
    assert not (tmp_path / "sheet.jpg").exists()


def test_of_a_large_set_a_sample_is_looked_at_and_that_is_said(folder, monkeypatch):
    monkeypatch.setattr(looking, "OPENED", 20)
    monkeypatch.setattr(looking, "DECODED", 10)
    monkeypatch.setattr(looking, "SHEET", 5)
    for number in range(60):
        write(folder / f"{number:03}.png", (32, 32), colour=(number, 0, 0))
    found = look(find_source(str(folder)), 32, 16)
    assert f"sample: {found.tried} were opened, evenly spaced, {found.decoded} decoded" in found.text()
    assert 20 <= found.tried <= 35 and len(found.cells) == 5 and 10 <= found.decoded <= 15 and found.count == 60
    monkeypatch.setattr(looking, "SECONDS", -1.0)  # it takes too long
    assert look(find_source(str(folder)), 32, 16).tried == 5


def test_full_frame_photos_have_no_plain_border(folder):
    for number in range(4):
        (folder / f"{number}.png").write_bytes(encode(photo(64).rotate(90 * number), "png"))
    assert "borders: not plain" in look(find_source(str(folder)), 64, 32).text()
    pictures = np.stack([np.asarray(photo(64).rotate(90 * number)).transpose(2, 0, 1) for number in range(4)])
    assert ImageSet(pictures, pictures, None).border()[0] < LEAST_PLAIN


def test_busts_that_are_cut_off_below_leave_the_border_plain():
    pictures = np.full((3, 3, 64, 64), 220, np.uint8)
    pictures[:, :, 40:, :] = 30
    share, colour = plain_share(pictures)
    assert share == 1 and colour.tolist() == [220, 220, 220]
    assert ImageSet(pictures, pictures, None).border()[0] == 1


def test_other_sources(folder, capsys):
    write_tar(folder / "a.tar", shard(0, 3))
    write_tar(folder / "b.tar.gz", shard(3, 3), "gz")
    text = "\n".join(seen(capsys, folder, "--preset", "toy"))
    assert "6 pictures taken, nothing left out" in text and "poses: 6 of 6; yaw 0.0 to 28.6" in text
    assert "label kind: 3 cat, 3 dog" in text and "label cls: 2 0, 2 1, 2 2" in text
    write_parquet(folder.parent / "a.parquet")
    assert "label kind: 3 cat, 3 dog" in "\n".join(seen(capsys, folder.parent / "a.parquet"))
    assert "1 pictures taken" in seen(capsys, folder.parent / "a.parquet", "--limit", 1)[0]
    text = "\n".join(seen(capsys, folder.parent / "a.parquet", "--label", "kind=dog"))
    assert "3 pictures taken" in text and "label kind: 3 dog" in text


def test_drawn_sets_are_looked_at_without_drawing_all(folder, monkeypatch):
    monkeypatch.setattr(looking, "DRAWN", {"toy-heads": 4, "people": 1})
    for name, count in (("toy-heads:5000", 4), ("people", 1)):
        text = look_at(name, 32, 16).text()
        assert f"{name}: {count} pictures taken" in text
        assert f"{count} of {5000 if ':' in name else 6000} pictures were drawn to be looked at" in text
        assert f"poses: {count} of {count}" in text
    assert not (folder.parent / "cache").exists()


def test_nothing_to_look_at_is_one_sentence(folder, capsys):
    (folder / "notes.txt").write_text("x")
    write(folder.parent / "low" / "a.png", (9, 9))
    for arguments, message in (
        ([folder], "no picture in .*: 0 pictures taken, 1 left out: 1 of other kinds"),
        ([folder / "absent"], "there is no folder or file"),
        ([folder, "--label", "folder"], "expected NAME=VALUE"),
        ([folder.parent / "low", "--out", folder / "a.png"], "none of the decoded pictures is of use"),
    ):
        assert main(["look", *map(str, arguments)]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("python -m train: error: ")
        with pytest.raises(ValueError, match=message):
            raise ValueError(said)


def test_names_that_are_no_text_are_printed(folder, capsysbinary):
    with open(str(folder / "a").encode() + b"\xff.png", "wb") as file:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "PNG")
        file.write(buffer.getvalue())
    assert main(["look", str(folder)]) == 0
    assert b"a\\udcff.png" in capsysbinary.readouterr().out
