"""What the page knows of controls that change one after the other."""

import json
import time
from types import SimpleNamespace

import pytest

from stylesdf.demo.page import GOAL_SECONDS, Page, Unreadable, slider
from stylesdf.demo.scene import Scene

MODEL = SimpleNamespace(config=SimpleNamespace(fov_deg=12.0))


@pytest.fixture
def page() -> Page:
    return Page(SimpleNamespace(models=SimpleNamespace(get=lambda name: MODEL), model=lambda scene: MODEL))


def goal_in(seconds: float, **controls) -> str:
    return json.dumps({"until": time.time() + seconds, **controls})


def test_controls_are_on_their_way_until_all_are_there(page):
    before, scene = Scene("people"), Scene("people", 7, yaw=20.0, pitch=5.0)
    goal, *there = page.settings(scene, before)
    _, *here = page.settings(before, before)
    names = list(Scene.__dataclass_fields__)
    halfway = [there[i] if name in ("seed", "yaw") else here[i] for i, name in enumerate(names)]
    assert page.is_on_the_way(goal, here) and page.is_on_the_way(goal, halfway)
    assert not page.is_on_the_way(goal, there)
    assert page.settings(scene, scene)[0] == "" and not page.is_on_the_way("", here)


@pytest.mark.parametrize("name, value", [("seed", None), ("yaw", None), ("morph_seed", "ab"), ("texture_seed", "-")])
def test_what_is_no_number_yet_is_being_typed(page, name, value):
    _, *here = page.settings(Scene("people", 3), Scene("people", 3))
    assert not page.is_typing(here) and page.scene(here) == Scene("people", 3)
    here[list(Scene.__dataclass_fields__).index(name)] = value
    assert page.is_typing(here)
    with pytest.raises(Unreadable, match=name):
        page.scene(here)


def test_a_slider_may_be_empty():
    made = slider(0, 1, 0.5)
    assert made.preprocess(None) is None and made.preprocess(0.25) == 0.25


def test_a_goal_may_speak_of_some_controls_and_holds_for_seconds(page):
    _, *here = page.settings(Scene("people"), Scene("people"))
    assert page.is_on_the_way(goal_in(GOAL_SECONDS, yaw=20.0, fov=12), here)
    assert not page.is_on_the_way(goal_in(GOAL_SECONDS, fov=12, pitch=0), here)  # all there
    assert not page.is_on_the_way(goal_in(-0.1, yaw=20.0), here)  # over
    assert not page.is_on_the_way(goal_in(3600.0, yaw=20.0), here)  # of a clock that is an hour ahead


@pytest.mark.parametrize("goal", ["x", "[]", "7", "{}", '{"until": "soon"}', "[" * 100_000])
def test_a_goal_of_another_kind_is_one_sentence(page, goal):
    _, *here = page.settings(Scene("people"), Scene("people"))
    with pytest.raises(ValueError, match="expected a JSON object with until"):
        page.is_on_the_way(goal, here)
