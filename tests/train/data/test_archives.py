"""Archives and tables as people bring them: one reader, nothing unpacked to disk, what is odd is left out, counted."""

import io
import json
import os
import struct
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from tests.train.files_people_bring import encode, mutated, photo
from train.__main__ import main
from train.data import archives, tables
from train.data.images import load_images
from train.data.sources import find_source

PNG = encode(photo(), "png")
PACKINGS = {"tar": "", "tar.gz": "gz", "tgz": "gz", "tar.bz2": "bz2", "tar.xz": "xz"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def write_tar(path, files: dict, packing: str = "") -> None:
    """Write a tar of names and bytes, or of names and attributes of members without content."""
    with tarfile.open(path, f"w:{packing}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                for attribute, value in content.items():
                    setattr(info, attribute, value)
                archive.addfile(info)


def shard(first: int, count: int = 2) -> dict:
    """Return members of one of WebDataset's shards."""
    files = {}
    for number in range(first, first + count):
        files[f"{number:04}.png"] = PNG
        about = {"yaw": 0.1 * number, "pitch": 0.0, "kind": ("cat", "dog")[number % 2], "boxes": [[1, 2]]}
        files[f"{number:04}.json"] = json.dumps(about).encode()
        files[f"{number:04}.cls"] = b"%d\n" % (number % 3)
    return files


def yaws(source, **options) -> list[float]:
    poses = load_images(source, 32, 16, **options).poses
    return [round(yaw, 3) for yaw in poses[:, 0].tolist()]


def files_below(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# One reader


@pytest.mark.parametrize("ending", PACKINGS)
def test_a_tar_is_read_as_a_folder_is(ending, folder):
    rows = [{"file_name": f"a/{n}.png", "yaw": 0.1 * n, "pitch": -0.2, "kind": f"k{n}"} for n in range(3)]
    files = {f"./a/{n}.png": PNG for n in range(3)} | {"notes.md": b"x", ".hidden/a.png": PNG}
    files["metadata.jsonl"] = "\n".join(map(json.dumps, rows)).encode()
    write_tar(folder / f"set.{ending}", files, PACKINGS[ending])
    source = find_source(str(folder / f"set.{ending}"))
    assert source.count == 3 and source.left_out == {"hidden": [".hidden"], "of other kinds": ["notes.md"]}
    assert yaws(folder / f"set.{ending}") == [0.0, 0.1, 0.2]
    assert yaws(folder / f"set.{ending}", label=("kind", "k2")) == [0.2]
    assert len(load_images(folder / f"set.{ending}", 32, 16, label=("folder", "a"), limit=2)) == 2
    assert files_below(folder) == [f"set.{ending}"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ("train-{000..001}.tar", [0.0, 0.1, 0.2, 0.3]),
        ("train-{000,001}.tar", [0.0, 0.1, 0.2, 0.3]),
        ("train-*.tar*", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        ("train-00[12].*", [0.2, 0.3, 0.4, 0.5]),
        ("train-00?.tar", [0.0, 0.1, 0.2, 0.3]),
        ("train-001.tar", [0.2, 0.3]),
    ],
)
def test_shards_of_webdataset(name, expected, folder):
    for number in range(2):
        write_tar(folder / f"train-{number:03}.tar", shard(2 * number))
    write_tar(folder / "train-002.tar.gz", shard(4), "gz")
    (folder / "README.md").write_text("about")
    data = os.path.join(folder, name)
    assert yaws(data) == expected
    assert yaws(data, label=("kind", "cat")) == expected[::2]
    assert yaws(data, label=("cls", "2")) == [yaw for yaw in expected if yaw in (0.2, 0.5)]
    source = find_source(data)
    assert source.count == len(expected)
    assert source.left_out.get("of other kinds", []) == ([] if name else ["README.md"])
    with pytest.raises(ValueError, match="has kind=fox"):
        find_source(data, label=("kind", "fox"))


def test_several_pictures_of_one_name_need_a_column(folder):
    files = shard(0) | {f"000{n}.seg.png": encode(photo().rotate(90), "png") for n in range(2)}
    write_tar(folder / "a.tar", files)
    with pytest.raises(ValueError, match="2 pictures of 0000, png, seg.png: name one with --image-column"):
        find_source(str(folder / "a.tar"))
    source = find_source(str(folder / "a.tar"), image_column="png")
    assert [item.name for item in source.items()] == ["0000.png", "0001.png"]
    assert source.left_out == {"other pictures of one name": ["0000.seg.png", "0001.seg.png"]}
    with pytest.raises(ValueError, match="no pictures that end in .jpg, expected one of png, seg.png"):
        find_source(str(folder / "a.tar"), image_column="jpg")


def test_labels_of_a_tar_are_checked(folder):
    for content, message in ((b'{"yaw": -45, "pitch": 0}', "0000.json: yaw is -45, expected"), (b"{", "is no JSON")):
        write_tar(folder / "a.tar", {"0000.png": PNG, "0000.json": content})
        with pytest.raises(ValueError, match=message):
            find_source(str(folder / "a.tar"))


def test_archives_in_a_folder_are_read_unless_pictures_lie_beside_them(folder, caplog):
    with zipfile.ZipFile(folder / "cats.zip", "w") as archive:
        archive.writestr("a.png", PNG)
        archive.writestr("inner.zip", b"PK")
    assert len(load_images(folder, 32, 16)) == 1
    assert "1 archives among pictures or in an archive (inner.zip)" in caplog.text
    write_tar(folder / "sub.tar", {"b.png": PNG})
    assert [item.name for item in find_source(str(folder)).items()] == ["cats.zip/a.png", "sub.tar/b.png"]
    (folder / "a.png").write_bytes(PNG)  # as where somebody has unpacked it
    source = find_source(str(folder))
    assert [item.name for item in source.items()] == ["a.png"]
    assert source.left_out == {"archives among pictures or in an archive": ["cats.zip", "sub.tar"]}


def test_a_split_is_in_the_names(folder):
    for name in ("train-0.tar", "train-1.tar", "test-0.tar"):
        write_tar(folder / name, {"a.png": PNG})
    assert find_source(str(folder)).count == 2
    assert find_source(str(folder)).left_out == {"of other splits": ["test-0.tar"]}
    assert find_source(str(folder), split="test").count == 1
    with pytest.raises(ValueError, match="no archive in .* has the split 'val' in its name"):
        find_source(str(folder), split="val")


@pytest.mark.parametrize(
    "name, message",
    [
        ("train-{000..003}.tar", "train-001.tar, which .* stands for, is not there"),
        ("*.zip", "no file match"),
        ("*", "is a folder, expected a zip, tar or Parquet file"),
        ("{0..999999}.tar", "more than 100000 files"),
    ],
)
def test_patterns_that_stand_for_nothing(name, message, folder):
    write_tar(folder / "train-000.tar", shard(0))
    (folder / "sub").mkdir()
    with pytest.raises(ValueError, match=message):
        find_source(os.path.join(folder, name))


# What is odd


ODD = {
    "good.png": PNG,
    "/absolute.png": PNG,
    "../up.png": PNG,
    "a/../../up.png": PNG,
    "C:\\users\\w.png": PNG,
    "soft.png": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard.png": {"type": tarfile.LNKTYPE, "linkname": "good.png"},
    "device.png": {"type": tarfile.CHRTYPE},
    "pipe.png": {"type": tarfile.FIFOTYPE},
}


@pytest.mark.parametrize("packing", ["", "gz"])
def test_odd_members_of_a_tar_are_left_out_and_counted(packing, folder, caplog):
    write_tar(folder / "odd.tar", ODD, packing)
    assert len(load_images(folder / "odd.tar", 32, 16)) == 1
    assert "1 pictures taken, 8 left out: 2 devices (device.png, pipe.png); 2 links (hard.png, soft.png)" in caplog.text
    assert "4 with absolute names or '..' (../up.png, /absolute.png, C:" in caplog.text
    assert files_below(folder) == ["odd.tar"] and not (folder.parent / "up.png").exists()


def test_odd_members_of_a_zip_are_left_out_and_counted(folder, caplog):
    link = zipfile.ZipInfo("soft.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(folder / "odd.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("good.png", "/absolute.png", "../up.png", "a/../../up.png", "C:\\users\\w.png", "locked.png"):
            archive.writestr(name, PNG)
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bomb.png", bytes(2**24 + 1))
        archive.writestr("metadata.jsonl", "{}" + " " * 2**24 + "\n")
    data = bytearray((folder / "odd.zip").read_bytes())
    place = data.rindex(b"locked.png") - 46  # its entry in the directory
    data[place + 8] |= 1
    (folder / "odd.zip").write_bytes(data)
    assert len(load_images(folder / "odd.zip", 32, 16)) == 1
    for text in (
        "1 pictures taken, 8 left out: 1 encrypted (locked.png); 1 links (soft.png); 2 that unpack to over 200 times",
        "4 with absolute names or '..' (../up.png, /absolute.png, C:",
    ):
        assert text in caplog.text
    assert files_below(folder) == ["odd.zip"]


def test_a_packed_bomb_is_refused_by_name(folder, monkeypatch):
    monkeypatch.setattr(archives, "LEAST_UNPACKED", 2**20)
    write_tar(folder / "bomb.tar.gz", {"good.png": PNG, "a.png": bytes(2**23)}, "gz")
    with pytest.raises(ValueError, match=r"bomb.tar.gz unpacks to more than [\d,]+ bytes, as a bomb does"):
        find_source(str(folder / "bomb.tar.gz"))


def test_headers_that_fill_the_memory_are_refused(folder):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**40
    (folder / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ValueError, match="a header of 1,099,511,627,776 bytes"):
        find_source(str(folder / "a.tar"))
    info.type = tarfile.GNUTYPE_SPARSE
    (folder / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(ValueError, match="a sparse member: pack it again without --sparse"):
        find_source(str(folder / "a.tar"))


@pytest.mark.parametrize("packing", ["", "gz", "xz"])
def test_an_archive_that_is_cut_off_is_no_smaller_data_set(packing, folder, caplog):
    write_tar(folder / "whole.tar", {f"{n}.png": PNG for n in range(4)}, packing)
    whole = (folder / "whole.tar").read_bytes()
    for share in (0.05, 0.3, 0.5):
        (folder / "cut.tar").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match="cut.tar is cut off or damaged after|cut.tar is a file but no zip"):
            find_source(str(folder / "cut.tar"))
    if not packing:
        size = 512 + -(-len(PNG) // 512) * 512
        (folder / "cut.tar").write_bytes(whole[: 2 * size])
        assert len(load_images(folder / "cut.tar", 32, 16)) == 2
        assert "has no mark at its end: it may be cut off after 2 files" in caplog.text


@pytest.mark.filterwarnings("ignore")
def test_damaged_archives_are_read_or_one_sentence(folder):
    rng = np.random.default_rng(0)
    write_tar(folder / "a.tar", shard(0))
    write_tar(folder / "b.tgz", shard(0), "gz")
    write_parquet(folder / "c.parquet")
    wholes = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    for number in range(40):
        for path, whole in wholes.items():
            damaged = folder.parent / f"{number}{path.suffix}"
            damaged.write_bytes(mutated(whole, rng))
            try:
                assert len(load_images(damaged, 32, 16)) <= 6
            except (ValueError, RuntimeError) as error:
                assert damaged.name in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "start, message",
    [
        (b"Rar!\x1a\x07\0", "but a RAR archive: unpack it, or pack it as zip or tar"),
        (b"7z\xbc\xaf\x27\x1c", "but a 7z archive"),
        (b"\x28\xb5\x2f\xfd", "but packed by Zstandard"),
        (b"ARROW1\0\0", "but an Arrow file: write it as Parquet"),
        (b"PK\3\4", "but a zip that is cut off or damaged"),
        (b"<!doctype html>", "but an HTML page"),
        (b"\0" * 20, "no zip of pictures, tar or Parquet file"),
    ],
)
def test_files_of_other_kinds_are_named(start, message, folder):
    (folder / "a.bin").write_bytes(start + (b" " if start.isascii() and b"<" in start else b"\0") * 40)
    with pytest.raises(ValueError, match=message):
        find_source(str(folder / "a.bin"))


# Tables


def write_parquet(path, count: int = 6, **columns) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    image = [{"bytes": PNG, "path": f"{n}.png"} for n in range(count)]
    yaw = [0.1 * n for n in range(count)]
    kinds = [("cat", "dog")[n % 2] for n in range(count)]
    table = {"image": image, "yaw": yaw, "pitch": [0.0] * count, "kind": kinds} | columns
    parquet.write_table(pyarrow.table(table), path, row_group_size=4)


def test_parquet_on_disk(folder):
    write_parquet(folder / "train-0.parquet")
    write_parquet(folder / "train-1.parquet", 2)
    expected = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.0, 0.1]
    assert yaws(folder) == yaws(os.path.join(folder, "*.parquet")) == expected
    assert yaws(folder, label=("kind", "dog")) == [0.1, 0.3, 0.5, 0.1]
    assert yaws(folder / "train-0.parquet", limit=5) == expected[:5]
    with pytest.raises(ValueError, match="no picture in .* has kind=fox, expected one of cat, dog"):
        find_source(str(folder / "train-0.parquet"), label=("kind", "fox"))
    with pytest.raises(ValueError, match="no column 'breed' to filter by, expected one of yaw, pitch, kind"):
        find_source(str(folder / "train-0.parquet"), label=("breed", "fox"))
    with pytest.raises(ValueError, match="row 2: yaw is -45.0, expected radians"):
        write_parquet(folder / "train-0.parquet", yaw=[0.0, 0.0, -45.0, 0.0, 0.0, 0.0])
        load_images(folder / "train-0.parquet", 32, 16)
    assert files_below(folder) == ["train-0.parquet", "train-1.parquet"]


def test_pictures_of_a_table_are_bytes(folder, caplog):
    write_parquet(folder / "raw.parquet", image=[PNG] * 6)
    assert len(load_images(folder / "raw.parquet", 32, 16)) == 6
    cells = [{"bytes": PNG, "path": None}, None, {"bytes": None, "path": "/etc/passwd"}, {"bytes": b"x", "path": "d"}]
    write_parquet(folder / "odd.parquet", 4, image=cells)
    assert len(load_images(folder / "odd.parquet", 32, 16)) == 1
    for text in ("left out row 1: there is no picture in this row", "but only the path '/etc/passwd'", "left out d:"):
        assert text in caplog.text
    write_parquet(folder / "two.parquet", mask=[PNG] * 6)
    with pytest.raises(ValueError, match="2 image columns; name one with --image-column, among image"):
        find_source(str(folder / "two.parquet"))
    assert find_source(str(folder / "two.parquet"), image_column="mask").count == 6
    with pytest.raises(ValueError, match="no image column 'kind', its columns are image"):
        find_source(str(folder / "two.parquet"), image_column="kind")


def test_class_names_of_a_table_stand_for_their_numbers(folder):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"photo": datasets.Image(), "animal": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"photo": [{"bytes": PNG, "path": None}] * 3, "animal": [0, 1, 0]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "a.parquet")
    for value, count in (("cat", 2), ("dog", 1), ("1", 1)):
        assert find_source(str(folder / "a.parquet"), label=("animal", value)).count == count
    assert [item.row["animal"] for item in find_source(str(folder / "a.parquet")).items()] == ["cat", "dog", "cat"]


def test_rows_are_read_in_any_order(folder):
    write_parquet(folder / "a.parquet", image=[PNG + bytes([n]) for n in range(6)])
    opens = [item.open for item in find_source(str(folder / "a.parquet")).items()]
    assert [opens[n]().read()[-1] for n in (5, 0, 3, 4, 4, 1, 2)] == [5, 0, 3, 4, 4, 1, 2]


def test_a_recipe_reads_the_column_that_it_is_told(folder, capsys):
    write_parquet(folder / "two.parquet", photo=[{"bytes": PNG, "path": None}] * 6)
    command = ["run", "photos", "--data", str(folder / "two.parquet"), "--out", str(folder / "out"), "--dry-run"]
    assert main(command) == 2 and "name one with --image-column" in capsys.readouterr().err
    assert main([*command, "--image-column", "photo", "--limit", "4"]) == 0 and "4 pictures" in capsys.readouterr().out


def test_what_reads_parquet_is_named_where_it_is_missing(folder, monkeypatch):
    write_parquet(folder / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match="is a Parquet file, to read it install pyarrow: pip install datasets"):
        find_source(str(folder / "a.parquet"))


def test_a_table_that_unpacks_to_far_too_much_is_refused(folder, monkeypatch):
    monkeypatch.setattr(tables, "LEAST_UNPACKED", 0)
    monkeypatch.setattr(tables, "MOST_UNPACKED", 2)
    write_parquet(folder / "a.parquet", image=[bytes(50_000) + struct.pack("i", n) for n in range(6)])
    with pytest.raises(ValueError, match="a.parquet unpacks to .* bytes, as a bomb does"):
        find_source(str(folder / "a.parquet"))


def test_the_cache_knows_when_an_archive_changes(folder):
    write_tar(folder / "a.tar", shard(0))
    first = load_images(folder / "a.tar", 32, 16)
    assert torch.equal(first.poses, load_images(folder / "a.tar", 32, 16).poses)
    write_tar(folder / "a.tar", shard(0, 3))
    assert len(load_images(folder / "a.tar", 32, 16)) == 3
