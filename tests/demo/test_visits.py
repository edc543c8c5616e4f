"""Visitors' files, what is kept for them, and how long things take."""

import gc
import types
from pathlib import Path

import pytest
from PIL import Image

from stylesdf.demo import visits
from stylesdf.demo.pace import Pace, in_words
from stylesdf.demo.recent import Recent
from stylesdf.demo.visits import MAX_API_FILES, MAX_FILES, MAX_VIEWS, MAX_VISITORS, PictureFiles, VisitorFiles


def test_visitors_have_folders_of_their_own_which_go_with_them(tmp_path):
    files = VisitorFiles(lambda: tmp_path)
    ours, theirs = Path(files.new("we", "a.png")), Path(files.new("they", "a.png"))
    for path in (ours, theirs):
        path.write_text("x")
    assert ours.parents[1] != theirs.parents[1] and "we" not in str(ours.relative_to(tmp_path))
    files.forget("we")
    assert not ours.exists() and theirs.exists()


@pytest.mark.parametrize("visitor, limit", [("we", MAX_FILES), (None, MAX_API_FILES)])
def test_a_visitor_keeps_his_latest_files_only(tmp_path, visitor, limit):
    files = VisitorFiles(lambda: tmp_path)
    paths = [Path(files.new(visitor, f"{i}.png")) for i in range(limit + 3)]
    assert [path.parent.exists() for path in paths] == [False] * 3 + [True] * limit


def test_views_take_the_place_of_views_only(tmp_path):
    files = VisitorFiles(lambda: tmp_path)
    film = Path(files.new("we", "a.mp4"))
    views = [Path(files.new("we", f"{i}.png", is_view=True)) for i in range(MAX_FILES + 3)]
    assert film.parent.exists() and sum(path.parent.exists() for path in views) == MAX_VIEWS
    files.forget("we")
    assert not film.parent.exists() and not views[-1].parent.exists()


def test_what_is_held_stays_while_files_come_and_go(tmp_path):
    files = VisitorFiles(lambda: tmp_path)
    held = files.held("we", "a.png")
    held.write_text("x")
    for i in range(MAX_FILES + 3):
        files.new("we", f"{i}.png")
    assert files.held("we", "a.png") == held and held.read_text() == "x"
    assert not files.held("they", "a.png").exists()
    files.forget("we")
    assert not held.exists() and not files.held("we", "a.png").exists()


def test_visitors_who_made_nothing_for_longest_are_forgotten(tmp_path):
    files = VisitorFiles(lambda: tmp_path)
    program, idle, busy = (Path(files.new(visitor, "a.png")) for visitor in (None, "idle", "busy"))
    for i in range(MAX_VISITORS - 2):
        if i == MAX_VISITORS // 2:
            files.new("busy", "b.png")
        files.new(str(i), "a.png")
    assert program.parent.exists() and busy.parent.exists() and not idle.parent.exists()
    assert len(list(tmp_path.iterdir())) == MAX_VISITORS


def test_the_pace_is_of_what_was_measured():
    pace, model = Pace(), types.SimpleNamespace
    assert pace.estimate(model, "mesh", 64**2) is None
    pace.add(model, "mesh", 100.0, 2.0)
    assert pace.estimate(model, "mesh", 200.0) == pytest.approx(4.0)
    pace.add(model, "mesh", 100.0, 4.0)
    assert 4.0 < pace.estimate(model, "mesh", 200.0) < 8.0
    assert pace.estimate(types.ModuleType, "mesh", 200.0) is None
    with pytest.raises(ZeroDivisionError), pace.measuring(model, "film", 1.0):
        raise ZeroDivisionError
    assert pace.estimate(model, "film", 1.0) is None


def test_durations_in_words():
    words = [in_words(seconds) for seconds in (None, 0.2, 12.4, 600.0)]
    assert words == ["a while", "less than a second", "about 12 s", "about 10 min"]


def test_what_nobody_asks_for_goes_first():
    kept, made = Recent(), []

    def get(key):
        return kept.get(key, lambda: made.append(key) or key.upper(), 2)

    assert [get(key) for key in "abacab"] == list("ABACAB")
    assert made == list("abcb") and len(kept) == 2  # b had to go for c


def test_what_is_dropped_is_made_again():
    kept, made = Recent(), []
    for key in (("a", 1), ("a", 2), ("b", 1)):
        kept.get(key, lambda: None, 3)
    kept.drop({"a"})
    for key in (("a", 1), ("b", 1)):
        kept.get(key, lambda key=key: made.append(key), 3)
    assert made == [("a", 1)]


def test_a_model_can_go_before_its_pace_does():
    pace = Pace()
    pace.add(types.SimpleNamespace, "mesh", 1.0, 1.0)
    model = types.ModuleType("model")
    pace.add(model, "mesh", 1.0, 1.0)
    del model
    gc.collect()
    assert len(pace._seconds) == 1


def test_a_picture_is_written_once(tmp_path, monkeypatch):
    files, red = PictureFiles(lambda: tmp_path), Image.new("RGB", (4, 4), "red")
    path = Path(files.path(red))
    assert Image.open(path).tobytes() == red.tobytes()
    before = path.stat()
    assert files.path(red.copy()) == str(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files.path(Image.new("RGB", (4, 4), "blue")) != str(path)
    path.unlink()  # the folder is swept now and then
    assert files.path(red) == str(path) and path.is_file()
    monkeypatch.setattr(visits, "MAX_PICTURES", 1)
    files.path(Image.new("RGB", (2, 8), "red"))
    assert [found.is_file() for found in (tmp_path / "pictures").iterdir()] == [True]
