"""Recipes: each is whole, costs what it says, and its chain of runs holds together from nothing to a card."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from stylesdf.checkpoint import file_hash, load_config
from tests.train import runs
from train import directions, factors
from train import recipe as runner
from train.__main__ import main
from train.config import PolishConfig
from train.recipes import RECIPES, Recipe, Run
from train.recipes.card import recipe_card
from train.run.cost import estimate
from train.run.engine import Engine
from train.run.options import RunOptions
from train.run.state import newest_intact

SIZED = [(name, size) for name, sizes in RECIPES.items() for size in sizes]
LONGEST = 6  # runs


def miniature(recipe: Recipe) -> Recipe:
    """The whole chain at two steps a run and small sizes."""
    model = dataclasses.replace(
        recipe.model, field_width=16, field_depth=2, latent_size=8, num_samples=4, render_resolution=16,
        decoder_style_size=16, decoder_channels=(8, 8),
    )  # fmt: skip

    def small(settings):
        changes = {"steps": 2, "batch_size": 2, "sphere_steps": 2, "num_points": 8, "num_renderings": 4}
        changes |= {"flow_steps": 2, "discriminator_channels": (8, 8, 8, 8)}
        if hasattr(settings, "phases"):
            tiny = {"steps": 1, "batch_size": 2, "resolution": 16, "fade_steps": 0}
            changes["phases"] = tuple(dataclasses.replace(phase, **tiny) for phase in settings.phases)
        names = {field.name for field in dataclasses.fields(settings)}
        return dataclasses.replace(settings, **{name: value for name, value in changes.items() if name in names})

    chain = [dataclasses.replace(run, settings=small(run.settings)) for run in recipe.runs]
    return dataclasses.replace(recipe, model=model, runs=tuple(chain))


@pytest.mark.parametrize("name, size", SIZED)
def test_a_dry_run_prints_every_run_with_its_hours(name, size, tmp_path, capsys):
    assert main(["run", name, "--size", size, "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    recipe = RECIPES[name][size]
    assert len(recipe.runs) <= LONGEST
    assert [line.split()[0] for line in lines[2:]] == [run.name for run in recipe.runs] + ["all"]
    assert all(" h" in line for line in lines[2:]) and not (tmp_path / "out").exists()
    most, at_once = (80, 8) if recipe.data is None else (16, 0)  # GB; images at once, of a batch that GPUs share
    assert all(estimate(recipe.model, run.settings, at_once)["memory_gb"] < most for run in recipe.runs)


@pytest.mark.parametrize("name, size", SIZED)
def test_the_chain_runs_in_miniature_and_again_does_nothing(name, size, tmp_path, monkeypatch):
    recipe, data, done = miniature(RECIPES[name][size]), runs.tiny_data(), []
    monkeypatch.setattr(runner, "evaluate", lambda *arguments, truncation: REPORT | {"truncation": truncation})
    monkeypatch.setattr(runner, "has_measures", lambda data: name == "people")
    kinds = {"learn_directions": (directions, "named"), "find_factors": (factors, "numbered")}
    written = []

    def write_directions(folder, model, found, summary, captions) -> None:
        written.append((folder, found))
        about = {"model": {"sha256": file_hash(folder / "model.safetensors", "sha256")}}
        (folder / "directions.json").write_text(json.dumps(about | summary))

    for function, (module, kind) in kinds.items():
        monkeypatch.setattr(module, function, lambda model, given, kind=kind: (kind, {}))
        monkeypatch.setattr(module, "captions", lambda summary: {})
    monkeypatch.setattr(directions, "write_directions", write_directions)

    def start_run(run: Run) -> None:
        done.append(run.name)
        is_last = run is recipe.runs[-1]  # whose grid goes with the model
        options = RunOptions(grid_every=2 if is_last else 0, log_every=20 if is_last else 0)
        runner.execute(recipe, run, tmp_path, data, Engine(), options)

    folder = runner.run_recipe(recipe, tmp_path, start_run, lambda: data)
    assert done == [run.name for run in recipe.runs]
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "README.md", "grid.png", "seeds.png", "metrics.json"} < names
    assert {name for name in names if name.endswith("-log.jsonl")} == {f"{recipe.runs[-1].name}-log.jsonl"}
    assert load_config(folder) == recipe.model
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"python -m train run {recipe.name}" in card and "| yaw: mean error | 0.9° | 0.9° | 0.5° |" in card
    assert len(card.splitlines()) < 90 and "](grid.png)" in card and "directions.png" not in card
    has_encoder = {(tmp_path / run.name / "model" / "encoder.safetensors").is_file() for run in recipe.runs}
    assert has_encoder == {any("reconstruction" in getattr(run.settings, "terms", ()) for run in recipe.runs)}
    for place in (folder, *(tmp_path / run.name / "model" for run in recipe.runs)):
        assert "\nlicense: other\n" in (place / "README.md").read_text(encoding="utf-8"), place
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    runner.run_recipe(recipe, tmp_path, start_run, lambda: data)
    assert len(done) == len(recipe.runs)
    assert written == [(folder, "named" if name == "people" else "numbered")]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["people", "toy_heads"])
def test_the_card_of_a_recipe_says_of_other_pictures_nothing_that_is_true_of_its_own(name, tmp_path):
    own = RECIPES[name]["small"]
    other = dataclasses.replace(own, data=str(tmp_path))
    reports = dict.fromkeys((0.7, 1.0), REPORT)
    card = recipe_card(own, own.model, reports, "apache-2.0", {"grid.png", "directions.png"})
    assert own.about in card and own.limits in card
    assert f"from_pretrained(\"checkpoints/{name.replace('_', '-')}\")" in card
    assert "\nlicense: apache-2.0\n" in card and "](grid.png)" in card and "](directions.png)" in card
    card = recipe_card(other, own.model, reports, "other")
    assert own.about not in card and own.limits not in card and f"Learned from `{tmp_path.name}` with" in card
    assert f"python -m train run {name} --out runs/{name} --data {tmp_path.name}\n" in card
    assert "\nlicense: other\n" in card and f"from_pretrained(\"{name}\")" in card
    assert "grid.png" not in card and "directions.png" not in card
    again = recipe_card(own.with_seed(5), own.model, reports, "apache-2.0")
    assert f"python -m train run {name} --seed 5 --out runs/{name}\n" in again
    assert f"from_pretrained(\"{name}\")" in again
    some = dataclasses.replace(other, reading={"image_column": "photo", "label": "label=cat"})
    card = recipe_card(some, own.model, reports, "other")
    assert f" --data {tmp_path.name} --image-column photo --label label=cat\n" in card


def test_a_recipe_s_licence_is_the_one_that_is_chosen_else_that_of_its_pictures(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(runner, "run_recipe", lambda recipe, *arguments: made.append(recipe))
    command = ["run", "photos", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(command) == main([*command, "--licence", "cc0-1.0"]) == 0
    drawn = dataclasses.replace(runs.tiny_data(), subject="people")
    licences = [runner._licence(recipe, data) for recipe in made for data in (drawn, runs.tiny_data())]
    assert licences == ["apache-2.0", "other", "cc0-1.0", "cc0-1.0"]


def test_a_model_that_cannot_be_edited_is_finished_too(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(runner, "NUM_FACTORS", 9)
    runner._add_directions(tmp_path, None, runs.tiny_data())
    assert "the model gets no edits: 9 factors of each kind" in caplog.text and not list(tmp_path.iterdir())


@pytest.mark.parametrize("weights", ("weights.pth", None))
def test_a_report_that_lacks_the_distance_by_mobilenet_says_why(weights, monkeypatch, caplog):
    monkeypatch.setattr(runner, "find_weights", lambda: weights)
    is_measured = "mobilenet-frechet" in runner._metrics(runs.tiny_data())
    assert is_measured == (weights is not None)
    assert ("mobilenet-frechet is left out of the report" in caplog.text) == (weights is None)


REPORT = {
    "subject": "people",
    "metrics": {
        "pose": {
            "yaw_r2": 0.99, "pitch_r2": 0.98, "yaw_error_deg": 0.9, "pitch_error_deg": 0.8, "reference_yaw_r2": 1.0,
            "reference_pitch_r2": 1.0, "reference_yaw_error_deg": 0.5, "reference_pitch_error_deg": 0.5,
        }
    },
}  # fmt: skip


def test_a_recipe_s_pictures_are_drawn_as_its_model_sees(tmp_path):
    recipe = dataclasses.replace(miniature(RECIPES["toy_heads"]["small"]), data="toy-heads:2")
    data = runner.load_data(recipe, cache_dir=tmp_path)
    assert data.name == str(tmp_path / "toy-heads-2-32-9") and data.subject == "toy-heads"
    # what does not depend on what is shown is that of people, so that what is learned about one helps the other
    ours, theirs = (RECIPES[name]["small"].runs for name in ("toy_heads", "people"))
    assert ours[1:] == theirs[1:]
    radius = theirs[0].settings.sphere_radius
    assert dataclasses.replace(ours[0].settings, sphere_radius=radius) == theirs[0].settings


def test_a_run_that_was_stopped_goes_on_and_the_finished_ones_are_left(tmp_path):
    recipe, data = miniature(RECIPES["people"]["small"]), runs.tiny_data()
    first, second = recipe.runs[:2]
    with pytest.raises(ValueError, match="starts from 'shown', which is not finished"):
        runner.execute(recipe, second, tmp_path, data, Engine(), RunOptions())
    runner.execute(recipe, first, tmp_path, data, Engine(), RunOptions())
    weights = (tmp_path / first.name / "model" / "model.safetensors").read_bytes()
    done = []
    with pytest.raises(KeyboardInterrupt):
        runner.run_recipe(recipe, tmp_path, lambda run: (done.append(run.name), interrupt()), lambda: data)
    assert done == [second.name]
    assert (tmp_path / first.name / "model" / "model.safetensors").read_bytes() == weights


def test_a_run_that_was_finished_as_another_is_refused(tmp_path):
    recipe, data = miniature(RECIPES["people"]["small"]), runs.tiny_data()
    first, second = recipe.runs[:2]
    for run in (first, second):
        runner.execute(recipe, run, tmp_path, data, Engine(), RunOptions())
        runner.check_run(recipe, run, tmp_path, data)
    other = dataclasses.replace(first, settings=dataclasses.replace(first.settings, beta_start=0.5))
    with pytest.raises(ValueError, match="shown was finished as another run: beta_start was 0.015 and is 0.5; move it"):
        runner.run_recipe(dataclasses.replace(recipe, runs=(other, second)), tmp_path, interrupt, lambda: data)
    weights = tmp_path / first.name / "model" / "model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"w_avg": tensors["w_avg"] + 1.0}, weights)
    with pytest.raises(ValueError, match=r"prior was finished as another run: initial was .*shown.model \(sha256 "):
        runner.run_recipe(recipe, tmp_path, interrupt, lambda: data)
    (tmp_path / second.name / "settings.json").unlink()
    runner.check_run(recipe, second, tmp_path, data)  # nothing is known about it


def test_a_run_that_was_finished_with_other_pictures_or_another_architecture_is_refused(tmp_path):
    recipe = miniature(RECIPES["people"]["small"])
    shown, _, polished = recipe.runs[:3]
    polished = dataclasses.replace(polished, start=shown.name)
    recipe = dataclasses.replace(recipe, runs=(shown, polished))
    data = dataclasses.replace(runs.tiny_data(), name="heads", identity="a" * 24)
    other = dataclasses.replace(data, name="cats", identity="b" * 24)
    for run in recipe.runs:
        runner.execute(recipe, run, tmp_path, data, Engine(), RunOptions())
        runner.check_run(recipe, run, tmp_path, dataclasses.replace(data, name="a/path/to/heads"))
    message = r"shown was finished as another run: data was heads \(identity a{12}\) and is cats \(identity b{12}\)"
    with pytest.raises(ValueError, match=message):
        runner.run_recipe(recipe, tmp_path, interrupt, lambda: other)
    runner.check_run(recipe, polished, tmp_path, other)  # it takes no pictures
    card = (tmp_path / polished.name / "model" / "README.md").read_text(encoding="utf-8")
    assert "(run `polished`), starting from `shown/model`." in card
    wider = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, num_samples=5))
    with pytest.raises(ValueError, match=r"shown was finished as another run: model\.num_samples was 4 and is 5; move"):
        runner.run_recipe(wider, tmp_path, interrupt, lambda: data)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_seed_is_added_to_every_run():
    recipe = RECIPES["people"]["small"]
    assert recipe.with_seed(0) == recipe
    large = RECIPES["people"]["large"].with_seed(2)
    assert large.command == "python -m train run people --size large --seed 2"
    assert RECIPES["ffhq"]["large"].command == "python -m train run ffhq"  # it has no other
    assert [run.settings.seed for run in recipe.with_seed(3).runs] == [run.settings.seed + 3 for run in recipe.runs]


def test_runs_start_from_earlier_ones_and_have_names_of_their_own():
    recipe = RECIPES["people"]["small"]
    with pytest.raises(ValueError, match="starts from 'later', which no earlier run is"):
        dataclasses.replace(recipe, runs=(Run("one", PolishConfig(), "later"),))
    with pytest.raises(ValueError, match="two runs named 'one'"):
        dataclasses.replace(recipe, runs=(Run("one", PolishConfig()), Run("one", PolishConfig())))


def test_bad_input_is_one_line_and_status_2(tmp_path, capsys):
    assert main(["run", "people", "--out", str(tmp_path / "out"), "--only", "absent"]) == 2
    assert "run is 'absent', expected one of shown, prior, polished" in capsys.readouterr().err
    assert main(["run", "ffhq", "--out", str(tmp_path / "out")]) == 2
    assert "ffhq draws no pictures of its own, expected --data" in capsys.readouterr().err
    assert main(["run", "ffhq", "--size", "small", "--data", ".", "--out", str(tmp_path / "out")]) == 2
    assert "size is 'small', but ffhq has only large" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--seed", "4294967296"], "seed is 4294967296, expected an integer from 0 to 4,294,967,295"),
        (["--seed", "-1"], "seed is -1, expected an integer from 0 to 4,294,967,295"),
        (["--processes", "-3"], "processes is -3, expected at least 1"),
        (["--processes", "0"], "processes is 0, expected at least 1"),
        (["--only", "absent"], "run is 'absent', expected one of shown, prior, polished"),
        (["--save-every", "-1"], "save_every is -1"),
    ],
)
def test_arguments_are_refused_before_the_first_run_and_in_a_dry_run(
    arguments, message, more, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(runner, "run_recipe", lambda *arguments: interrupt())
    assert main(["run", "people", "--out", str(tmp_path / "out"), *arguments, *more]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_several_processes_do_a_run_and_errors_are_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLESDF_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RuntimeError, match="ended with status 1"):
        runner.in_processes(["run", "people", "--out", str(tmp_path / "out"), "--only", "absent"], 2)
    assert not (tmp_path / "out").exists()


def test_a_state_is_cut_into_files_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr("train.run.state.MAX_FILE_BYTES", 4000)
    stage = runs.renderer_stage()
    stage.step()
    folder = stage.state.save(tmp_path)
    files = sorted(folder.glob("state-*.safetensors"))
    assert len(files) > 3
    other = runs.renderer_stage()
    other.state.load(newest_intact(tmp_path))
    same = dict(other.state._named_tensors())
    assert all(torch.equal(tensor, same[name]) for name, tensor in stage.state._named_tensors())
    assert json.loads((folder / "state.json").read_text())["step"] == 1
