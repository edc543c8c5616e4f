"""Directions: measures of people, the algebra that keeps the others still, and what the command refuses."""

import dataclasses
import functools
import json

import pytest
import torch
from PIL import Image

from stylesdf import StyleSDF
from stylesdf.directions import NAME, Directions
from stylesdf.model import Generator
from tests.train import runs
from train import directions
from train.__main__ import main
from train.data.images import ImageSet
from train.data.people.identity import BEARDS, EXPRESSIONS, sample_person
from train.data.people.measures import BEARD_AMOUNTS, HAIR_LENGTHS, HELD, MEASURES, RARE, SMILES
from train.data.people.write import PeopleConfig
from train.evaluation import measures
from train.evaluation.subjects import HAIR_STYLES

SIZE = runs.MODEL.latent_size


@pytest.fixture(scope="module", autouse=True)
def known_people():
    """Each person is drawn once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "sample_person", functools.cache(sample_person))
        yield


def people(count: int = measures.FEWEST_PEOPLE) -> ImageSet:
    """Pictures that nobody looks at."""
    pictures = torch.zeros(count, 3, 8, 8, dtype=torch.uint8)
    names = tuple(f"images/{number:06d}.png" for number in range(count))
    options = dataclasses.asdict(PeopleConfig(count))
    poses = torch.zeros(count, 2)
    return ImageSet(pictures.numpy(), pictures.numpy(), poses, subject="people", options=options, names=names)


def test_every_person_has_all_measures():
    assert all(NAME.fullmatch(name) for name in MEASURES) and MEASURES.keys() >= RARE.keys()
    for names, values in ((HAIR_STYLES, HAIR_LENGTHS), (("none", *BEARDS), BEARD_AMOUNTS), (EXPRESSIONS, SMILES)):
        assert set(names) == set(values) and min(values.values()) == 0.0 and max(values.values()) == 1.0
    truth = measures.measures_of(people())
    assert truth.isfinite().all()
    names = list(measures.READ)
    torch.testing.assert_close(truth.mean(dim=0), torch.zeros(len(names)), atol=1e-4, rtol=0)
    units = [name for name in names if name not in RARE]
    std = truth.std(dim=0)[torch.tensor([name in units for name in names])]
    torch.testing.assert_close(std, torch.ones(len(units)), atol=1e-4, rtol=0)
    grins = [measures.sample_person(number).expression == "grin" for number in range(len(truth))]
    assert truth[:, list(MEASURES).index("smile")].argmax().item() == grins.index(True)


def test_nobody_is_moved_beyond_what_there_is():
    truth = torch.zeros(4, len(measures.READ))
    truth[:, 0] = torch.tensor([-3.0, -1.0, 1.0, 3.0])  # two of four have room on either side
    truth[:, list(measures.READ).index("hat")] = torch.tensor([0.0, 0.0, 0.0, 2.0])
    room = measures.room_of(truth, 2.0)
    assert room["age"] == (2 + 2 + 2 + 0) / 4 / 2 and room["hat"] == 0.75 and room["smile"] == 0.0


class Known:
    """Reads numbers that are linear in the code, which its pictures hold."""

    weights = 2.0 * torch.randn(SIZE, len(measures.READ), generator=torch.Generator().manual_seed(1))
    gains = torch.ones(len(measures.READ))

    def read(self, pictures):
        return pictures[:, 0, 0, :SIZE] @ self.weights, torch.zeros(len(pictures), 2)


def model_of_codes() -> Generator:
    torch.manual_seed(0)
    model = Generator(runs.MODEL).eval()
    with torch.no_grad():
        for layer in model.renderer_mapping.layers:
            layer.weight.copy_(torch.eye(SIZE))
            layer.bias.fill_(8.0)  # so that no leaky ReLU bends: codes are latents, and 24
    return model


SCORES = {name: 0.1 if name in ("hat", "face_width", *HELD) else 0.9 for name in measures.READ}


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Few heads of a tiny model whose pictures are its codes; hats and widths are hard to read."""
    patch.setattr(directions, "learn_measures", lambda *arguments: (Known(), SCORES))
    patch.setattr(directions, "NUM_HEADS", 300)
    patch.setattr(directions, "NUM_EDITED", 24)

    def draw_code(model, w, camera, psi):
        picture = torch.zeros(1, 3, directions.SIZE, directions.SIZE)
        picture[0, 0, 0, :SIZE] = w[0]
        return picture, None

    patch.setattr(directions, "draw_full", draw_code)


@pytest.fixture(scope="module")
def learned() -> tuple:
    """Directions, and the report about them."""
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        return directions.learn_directions(model_of_codes(), people())


def test_a_direction_moves_its_measure_by_one_and_no_other(learned):
    found, summary = learned
    names = [name for name in MEASURES if name not in ("hat", "face_width")]
    assert found.names == summary["matrix"]["names"] == names
    for name in names:
        about = summary[name]
        assert about["slope"] == pytest.approx(1.0, abs=0.1) and about["leakage"] < 0.1 and about["is_monotonic"]
        assert about["r2"] == 0.9 and about["pose_deg"] == 0.0
    rows = torch.tensor(summary["matrix"]["rows"])
    torch.testing.assert_close(rows, torch.eye(len(names)), atol=0.1, rtol=0)
    assert len(directions.table(summary).splitlines()) == 2 + len(names)


def test_a_correction_leaves_each_reading_to_its_own_direction():
    random = torch.Generator().manual_seed(0)
    moved = 0.6 * torch.eye(5) + 0.1 * torch.randn(5, 5, generator=random)
    before = Directions(SIZE, ["one", "two", "three", "yaw", "pitch"])
    before.vectors.copy_(torch.randn(5, SIZE, generator=random))
    after = directions._corrected(before, moved, 10.0 * before.vectors.norm(dim=1))
    assert after.names == before.names
    shares = after.vectors @ torch.linalg.pinv(before.vectors)  # of the former ones
    moves, target = shares @ moved, torch.eye(5)
    assert (moves - target).norm() < 0.6 * (moved - target).norm()
    others = target == 0
    assert moves[others].norm() < 0.7 * moved[others].norm()
    weak = directions._corrected(before, 0.01 * torch.eye(5), before.vectors.norm(dim=1))
    assert (weak.vectors.norm(dim=1) <= before.vectors.norm(dim=1) + 1e-4).all()


def test_what_most_people_lack_is_measured_upwards():
    changes = {-2.0: torch.tensor([[-1.0], [0.0]]), 2.0: torch.tensor([[2.0], [2.0]])}
    assert directions._slopes(changes, ["age", "hat"]).tolist() == [[0.75], [1.0]]


def test_the_last_reader_measures_and_finds_nothing(learned, monkeypatch):
    """One that sees no change finds that no direction works, whatever the others say."""

    class Blind(Known):
        def read(self, pictures):
            return torch.zeros(len(pictures), len(measures.READ)), torch.zeros(len(pictures), 2)

    make_small(monkeypatch)
    readers = {0: Known(), 1: Known(), 2: Blind()}
    monkeypatch.setattr(directions, "learn_measures", lambda *arguments: (readers[arguments[3]], SCORES))
    with pytest.raises(ValueError, match="no direction moves what it should"):
        directions.learn_directions(model_of_codes(), people())
    readers = {0: Known(), 1: Known(), 2: Known()}
    found, _ = directions.learn_directions(model_of_codes(), people())
    assert found.vectors.equal(learned[0].vectors)


def test_a_change_is_divided_by_what_the_reader_makes_of_one(learned, monkeypatch):
    """A reader that says half of what is there has a gain of a half, and finds what one without fault found."""

    class Half(Known):
        gains = torch.full_like(Known.gains, 0.5)

        def read(self, pictures):
            measures, angles = super().read(pictures)
            return 0.5 * measures, angles

    make_small(monkeypatch)
    monkeypatch.setattr(directions, "learn_measures", lambda *arguments: (Half(), SCORES))
    found, summary = directions.learn_directions(model_of_codes(), people())
    assert summary["age"]["slope"] == pytest.approx(1.0, abs=0.1)
    assert (found.vectors - learned[0].vectors).norm() < 0.1 * learned[0].vectors.norm()  # else twice as long


def test_they_are_written_beside_the_model_with_a_report(learned, monkeypatch, tmp_path):
    monkeypatch.setattr(directions, "strips", lambda model, found, captions: Image.new("RGB", (4, 4)))
    model = StyleSDF(runs.MODEL).eval()
    model.save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    directions.write_directions(tmp_path, model, *learned, directions.captions(learned[1]))
    assert json.loads((tmp_path / "directions.json").read_text())["age"]["slope"] == pytest.approx(1.0, abs=0.1)
    assert (tmp_path / "model.safetensors").read_bytes() == before and (tmp_path / "directions.png").is_file()
    assert StyleSDF.from_pretrained(tmp_path).directions.vectors.equal(learned[0].vectors)


def test_strips_show_every_direction_at_five_amounts(learned):
    captions = directions.captions(learned[1])
    assert captions["age"].startswith("moves ") and captions["age"].endswith("turns 0.0°")
    picture = directions.strips(Generator(runs.MODEL).eval(), learned[0], captions)
    assert picture.size == (6 * 128, len(learned[0].names) * 128)
    assert len(picture.crop((0, 0, 128, 128)).getcolors()) > 2  # a name, and more


def test_other_data_is_refused():
    with pytest.raises(ValueError, match="directions need numbers of each picture, which cats does not have"):
        measures.measures_of(dataclasses.replace(runs.tiny_data(), name="cats"))
    with pytest.raises(ValueError, match="cannot be learned from 7 people, expected at least 2000"):
        measures.measures_of(people(7))


def test_people_who_are_not_those_drawn_by_default_are_refused():
    assert measures.has_measures(people()) and not measures.has_measures(people(7))
    data = people()
    others = {
        "seed": {"options": {**data.options, "seed": 5}},
        "shares": {"options": {**data.options, "glasses_share": 0.6}},
        "label": {"names": data.names[1:]},
        "order": {"names": data.names[::-1]},
        "unknown": {"options": {}},
    }
    for name, changes in others.items():
        other = dataclasses.replace(data, name=name, **changes)
        assert not measures.has_measures(other)
        with pytest.raises(ValueError, match=f"^{name} holds other people than those drawn by default, expected"):
            measures.measures_of(other)


def test_the_command_wants_a_folder(capsys, tmp_path):
    assert main(["directions", str(tmp_path / "absent")]) == 2
    assert "is not a folder with model.safetensors" in capsys.readouterr().err
