"""Data sets of the hub through the real ``datasets`` library, from a hub on the loopback interface.

Both libraries read their environment when they are imported, so everything runs in processes of their own; one process
does several loads, since importing takes seconds.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.loopback_hub import Fault, LoopbackHub

ROOT = Path(__file__).parents[2]
RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 255]
TABLE, FILES, CSV, DEGREES = "you/animals", "you/pictures", "you/csv", "you/degrees"

# what is asked for, one after the other; waiting is cut short and counted
PRELUDE = """
import json, sys, time
asked, sleep = [], time.sleep
def short_sleep(seconds):
    asked.append(seconds)
    sleep(min(seconds, 0.01))
time.sleep = short_sleep
answers = []
"""
LOADS = """
from train.data.images import load_images
from train.data.look import look_at
for source, options in json.loads(sys.argv[1]):
    try:
        if options.pop("look", False):
            answers.append(look_at(source, 32, 16, **options).text())
            continue
        data = load_images(source, 32, 16, **options)
        answer = {"centres": data.images[:, :, 16, 16].tolist()}
        answer["poses"] = None if data.poses is None else data.poses.tolist()
    except (ValueError, RuntimeError) as error:
        answer = {"error": str(error)}
    answers.append({**answer, "waited": sum(asked)})
    asked.clear()
print("ANSWERS", json.dumps(answers))
"""
COMMANDS = """
from train.__main__ import main
for arguments in json.loads(sys.argv[1]):
    answers.append(main(arguments))
    print("NEXT", file=sys.stderr)
print("ANSWERS", json.dumps(answers))
"""


def png(colour) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), tuple(colour)).save(buffer, "PNG")
    return buffer.getvalue()


def table(colours) -> bytes:
    """Return Parquet with two image columns, class labels and text."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "mask": datasets.Image(),
            "animal": datasets.ClassLabel(names=["cat", "dog"]),
            "note": datasets.Value("string"),
        }
    )
    cells = [{"bytes": png(colour), "path": None} for colour in colours]
    notes = ["x", "y", "z"][: len(cells)]
    animals = [0, 1, 0][: len(cells)]
    rows = {"photo": cells, "mask": cells[::-1], "animal": animals, "note": notes}
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture
def hub():
    """Two data sets: a table in two files, and picture files beside their metadata."""
    with LoopbackHub() as hub:
        repo = hub.create(f"datasets/{TABLE}")
        repo.tags["v1"] = repo.commit({"data/train-00000-of-00001.parquet": table([GREEN])})
        parts = [table([RED, GREEN, BLUE]), table([BLUE])]
        repo.commit({f"data/train-0000{number}-of-00002.parquet": part for number, part in enumerate(parts)})
        rows = [
            {"file_name": "a.png", "yaw": 0.5, "pitch": 0.25, "kind": "cat"},
            {"file_name": "b.png", "yaw": -0.5, "pitch": 0.0, "kind": "dog"},
        ]
        metadata = "\n".join(map(json.dumps, rows)).encode()
        files = {"train/a.png": png(RED), "train/b.png": png(BLUE), "train/metadata.jsonl": metadata}
        hub.create(f"datasets/{FILES}").commit(files)
        for name, yaw in ((CSV, "0.5"), (DEGREES, "-45")):
            metadata = f"file_name,yaw,pitch\na.png,{yaw},0.25\n".encode()
            hub.create(f"datasets/{name}").commit({"train/a.png": png(RED), "train/metadata.csv": metadata})
        yield hub


@pytest.fixture
def run(hub, tmp_path):
    """Run a program against the hub; returns its answers and what it said to the terminal."""

    def run(program: str, tasks: list) -> tuple[list, str]:
        environment = {
            **os.environ,
            **hub.environment(tmp_path / "home"),
            "STYLESDF_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-c", PRELUDE + program, json.dumps(tasks)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        (answers,) = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")]
        return json.loads(answers.removeprefix("ANSWERS ")), done.stderr

    return run


def test_data_sets_are_looked_at_and_read_mapped_and_streamed(hub, run, tmp_path):
    photo, expected = {"image_column": "photo"}, []
    loads = [[TABLE, {**photo, "limit": 3, "look": True}]]  # first, while nothing is downloaded
    for streaming in (False, True):
        how = {"streaming": streaming, "cache_dir": str(tmp_path / f"decoded-{streaming}")}
        for source, options, centres, poses in (
            (TABLE, photo, [RED, GREEN, BLUE, BLUE], None),
            (TABLE, {"image_column": "mask", "limit": 1}, [BLUE], None),
            (TABLE, {**photo, "label": ["animal", "cat"]}, [RED, BLUE, BLUE], None),
            (TABLE, {**photo, "label": ["animal", "1"]}, [GREEN], None),
            (TABLE, {**photo, "label": ["note", "z"]}, [BLUE], None),
            (f"{TABLE}@v1", photo, [GREEN], None),
            (FILES, {}, [RED, BLUE], [[0.5, 0.25], [-0.5, 0.0]]),
            (FILES, {"label": ["kind", "dog"]}, [BLUE], [[-0.5, 0.0]]),
            (CSV, {}, [RED], [[0.5, 0.25]]),
        ):
            loads.append([source, {**options, **how}])
            expected.append({"centres": centres, "poses": poses, "waited": 0})
    refused = {"cache_dir": str(tmp_path / "refused")}
    loads += [[DEGREES, {"streaming": streaming, **refused}] for streaming in (False, True)]
    (text, *answers), _ = run(LOADS, loads)
    for line in ("3 pictures taken", "looked at as it is downloaded", "label note: 1 x, 1 y, 1 z", "formats: 3 PNG"):
        assert line in text, text
    for load, answer, wanted in zip(loads[1:], answers, expected):
        assert answer == wanted, load
    assert hub.asked("GET", ".*/train-00001-of-00002.parquet")
    for answer in answers[len(expected) :]:
        assert answer["error"].startswith("you/degrees, row 0: yaw is -45")
        assert "expected radians from −π to π; as degrees it would be -0.7854 radians" in answer["error"]
    assert not (tmp_path / "cache").exists()  # a look keeps nothing


def test_a_branch_that_moves_on_is_decoded_anew(hub, run, tmp_path):
    loads = [
        [TABLE, {"image_column": "photo", "streaming": streaming, "cache_dir": str(tmp_path / f"decoded-{streaming}")}]
        for streaming in (False, True)
    ]
    before, _ = run(LOADS, loads)
    hub.repos[f"datasets/{TABLE}"].commit({"data/train-00000-of-00001.parquet": table([BLUE, GREEN])})
    after, _ = run(LOADS, loads)
    assert [answer["centres"] for answer in before] == [[RED, GREEN, BLUE, BLUE]] * 2
    assert [answer["centres"] for answer in after] == [[BLUE, GREEN]] * 2


def test_wrong_names_are_one_line_and_status_2(hub, run, tmp_path):
    broken = hub.create("datasets/you/broken")
    broken.commit({"data/train-00000-of-00001.parquet": b"PAR1 no table PAR1"})
    hub.create("datasets/you/empty")
    cases = [
        (["you/nothing"], "'you/nothing'", "doesn't exist on the Hub or cannot be accessed"),
        ([f"{TABLE}@nowhere"], "Revision 'nowhere' doesn't exist"),
        ([TABLE, "--split", "test"], "split 'test'", "['train']"),
        ([TABLE, "--split", "test", "--streaming"], "split 'test'", "['train']"),
        ([TABLE], "has 2 image columns; name one with --image-column, among photo (Image), mask (Image), animal"),
        ([TABLE, "--image-column", "note"], "no image column 'note', its columns are photo (Image)"),
        ([TABLE, "--image-column", "photo", "--label", "animal=fox"], "never 'fox', expected one of cat, dog"),
        ([TABLE, "--image-column", "photo", "--label", "breed=fox", "--streaming"], "no column 'breed' to filter by"),
        ([TABLE, "--image-column", "photo", "--label", "note=w"], "no usable image in you/animals"),
        (["you/broken"], "cannot load the data set 'you/broken'"),
        (["you/broken", "--streaming"], "cannot load the data set 'you/broken'"),
        (["you/empty"], "cannot load the data set 'you/empty'"),
    ]
    out = tmp_path / "out"
    commands = [["renderer", "--device", "cpu", "--out", str(out), "--data", *arguments] for arguments, *_ in cases]
    statuses, said = run(COMMANDS, commands)
    assert statuses == [2] * len(cases)
    for (arguments, *texts), lines in zip(cases, said.split("NEXT\n")):
        asked = f"INFO train.data.sources: there is no folder or file {arguments[0]!r} here: asking the hub"
        assert lines.startswith(asked) or "@" in arguments[0], lines  # at once, before it takes its time
        lines = [line for line in lines.splitlines() if line and "examples/s]" not in line and asked not in line]
        assert len(lines) == 1 or "you/broken" in arguments, lines  # of a broken file the libraries have their say too
        assert lines[-1].startswith("python -m train: error: ") and all(text in lines[-1] for text in texts), lines
    assert not out.exists()


def test_a_server_that_is_down_is_one_sentence_soon_unless_it_is_not_needed(hub, run, tmp_path):
    load = [[TABLE, {"image_column": "photo"}]]
    run(LOADS, load)
    hub.stop()
    elsewhere = str(tmp_path / "elsewhere")
    loads = [
        *load,  # known and decoded
        [TABLE, {"image_column": "photo", "cache_dir": elsewhere}],  # known
        [FILES, {}],
        [FILES, {"streaming": True}],
    ]
    (decoded, known, *unknown), _ = run(LOADS, loads)
    assert decoded["centres"] == known["centres"] == [RED, GREEN, BLUE, BLUE]
    for answer in unknown:
        assert "cannot load the data set 'you/pictures' from the hub" in answer["error"]
        assert answer["waited"] < 60
    assert decoded["waited"] < 60


def test_a_stream_that_breaks_off_is_no_smaller_data_set(hub, run):
    hub.faults += [Fault(path, status=503, times=10_000) for path in (".*00001-of-00002.parquet", ".*b.png")]
    loads = [[TABLE, {"streaming": True, "image_column": "photo"}], [FILES, {"streaming": True}]]
    messages = ("cannot read the data set 'you/animals' to its end", "cannot read hf://datasets/you/pictures@")
    for answer, message in zip(run(LOADS, loads)[0], messages, strict=True):
        assert message in answer["error"] and answer["waited"] < 600
    hub.faults.clear()
    answers, _ = run(LOADS, loads)
    assert [answer["centres"][-1] for answer in answers] == [BLUE, BLUE]
