"""Subjects: heads that are drawn with their truth, again and again the same."""

import zipfile

import pytest
import torch
from PIL import Image

from train.data.images import load_images
from train.data.people.identity import sample_person
from train.data.people.render import BACKGROUND
from train.evaluation.subjects import HAIR_STYLES, PEOPLE, SUBJECTS


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_views_of_a_head_stand_together(subject):
    poses = torch.tensor([[[0.0, 0.0], [0.5, 0.1]], [[-0.3, 0.0], [0.3, 0.0]]])
    shares = []
    drawn = subject.draw(range(7, 9), 3, poses, shares.append)
    assert drawn.pictures.shape == (4, 3, 64, 64) and drawn.depth.shape == (4, 64, 64)
    assert drawn.pictures.abs().max() <= 1.0 and 0.9 < drawn.depth[~drawn.depth.isnan()].mean() < 1.0
    background = torch.tensor(subject.background) * 2 - 1
    assert (drawn.pictures[:, :, 0, 0] - background).abs().max() < 0.01
    assert [each.name for each in subject.attributes] == list(drawn.classes) and shares[-1] == 1.0
    for attribute in subject.attributes:
        numbers = drawn.classes[attribute.name]
        assert numbers[0] == numbers[1] and numbers[2] == numbers[3] and numbers.max() < len(attribute.classes)
    alone = subject.draw([8], 3, poses[1:])
    assert torch.equal(alone.pictures, drawn.pictures[2:])


def test_counted_people_are_the_drawn_ones():
    counts = PEOPLE.count_classes(400, 11)
    people = [sample_person(number, 11) for number in range(400)]
    assert {person.hair_style for person in people} <= set(HAIR_STYLES)
    assert counts["hair_style"].sum() == 400 and len(counts["hair_style"]) == len(HAIR_STYLES)
    assert counts["hat"].tolist() == [400 - sum(p.has_hat for p in people), sum(p.has_hat for p in people)]
    assert counts["skin_tone"][0] == sum(person.skin_tone < 1.8 for person in people)
    assert counts["age"][0] == sum(person.is_child for person in people)
    assert counts["beard"][0] == sum(person.beard == "none" for person in people)


def test_rare_attributes_are_frequent_in_the_train_split():
    keywords = PEOPLE.draw_to_learn.keywords
    people = [sample_person(number, 11, **keywords) for number in range(400)]
    assert sum(person.glasses != "none" for person in people) > 60 > 0.1 * 400 > PEOPLE.count_classes(400, 11)["hat"][1]
    assert PEOPLE.background == BACKGROUND


@pytest.mark.parametrize(
    "name, text, subject",
    [
        ("toy_heads", '{"kind": "toy_heads"}', "toy-heads"),
        ("people", '{"kind": "people"}', "people"),
        ("cats", '{"kind": "cats"}', ""),
        ("people", '{"kind": "toy_heads"}', ""),
        ("people", "[]", ""),  # files of that name that somebody else wrote
        ("people", "no JSON", ""),
    ],
)
def test_a_folder_says_what_it_was_drawn_as(tmp_path, monkeypatch, name, text, subject):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(folder / "images" / "0.png")
    (folder / f"{name}.json").write_text(text)
    assert load_images(folder, 16, 16).subject == subject
    assert load_images(folder, 16, 16, limit=1).subject == subject
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in folder.rglob("*.*"):
            archive.write(path, path.relative_to(folder))
    assert load_images(tmp_path / "data.zip", 16, 16).subject == subject
