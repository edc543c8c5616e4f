"""The benchmarks measure what they say; nothing here is timed."""

import dataclasses
import json
import sys

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import cuda, cuda_training, images, measure, transcription
from benchmarks.arithmetic import Arithmetic, recorded
from benchmarks.floor import decoder_floor, field_floor
from benchmarks.measure import Contest, Row
from stylesdf.camera import Camera
from stylesdf.config import preset
from stylesdf.model import Generator
from train.recipes import RECIPES
from train.stages import chunked


@torch.no_grad()
@pytest.mark.parametrize("kind", ["last sample", "culled"])
def test_the_transcription_is_the_model(kind, tiny_config, tiny_toy_config):
    config = tiny_config if kind == "last sample" else dataclasses.replace(tiny_toy_config, cull_to_ball=True)
    model = Generator(config).eval()
    model.update_means(100)
    for name, parameter in model.named_parameters():
        if "noise_strength" in name or name.endswith("bias"):
            parameter.add_(0.1 * torch.randn_like(parameter))
    z, camera = torch.randn(2, 16), Camera.from_angles([0.3, -0.2], 0.1)
    out = model(z, camera, psi=0.7)
    thumbnail, features = transcription.render(model, model.mapping(z, 0.7), camera)
    torch.testing.assert_close(thumbnail, out.thumbnail, atol=1e-5, rtol=0)
    torch.testing.assert_close(features, out.features, atol=1e-5, rtol=0)
    torch.testing.assert_close(transcription.image(model, z, camera, 0.7), out.image, atol=1e-4, rtol=1e-4)


def test_the_floor_does_all_products_sines_and_convolutions(tiny_config, monkeypatch):
    multiplied, convolved = [], []
    mm, sine = torch.mm, []
    monkeypatch.setattr(torch, "mm", lambda a, b, out: multiplied.append(a.shape[0] * b.numel()) or mm(a, b, out=out))
    monkeypatch.setattr(torch.Tensor, "sin_", lambda x: sine.append(x.numel()) or x)
    # the first of the two libraries, without a race between them
    monkeypatch.setattr("benchmarks.floor._faster", lambda candidates: candidates[0])
    field_floor(tiny_config, 5000)()
    assert sum(multiplied) == 5000 * (3 * 16 + 2 * 16 * 16 + 16 * 4)
    assert sum(sine) == 5000 * 3 * 16
    monkeypatch.setattr("benchmarks.floor._fastest", lambda *sizes, **options: lambda: convolved.append(sizes[1:4]))
    decoder_floor(tiny_config)()
    assert convolved == [(16, 8, 16), (8, 3, 16), (8, 8, 16), (8, 8, 32), (8, 3, 32)]


def counting_row(name="row", log=None) -> Row:
    log = [] if log is None else log
    return Row(
        name,
        "counts",
        lambda: Contest({"ours": lambda: log.append("o"), "floor": lambda: log.append("f")}, lambda: "checked"),
    )


def test_contestants_take_turns_after_one_run_that_does_not_count():
    log = []
    result = measure.measure(counting_row(log=log), rounds=2, memory=False)
    assert "".join(log) == "of" * 3
    assert set(result.seconds) == {"ours", "floor"} and set(result.ratios) == {"floor"}
    assert result.note == "checked" and result.peak_mib == {}


def test_ratios_are_taken_within_a_round(monkeypatch):
    clock = iter([1.0, 2.0, 10.0, 40.0, 3.0, 6.0])  # the second round on a machine that was busy
    monkeypatch.setattr(measure, "seconds", lambda run: next(clock))
    result = measure.measure(counting_row(), rounds=3, memory=False)
    assert result.ratios["floor"] == 0.5
    assert result.seconds == {"ours": 3.0, "floor": 6.0}


def test_peak_memory_is_of_the_run_alone():
    row = Row("row", "allocates", lambda: Contest({"ours": lambda: torch.ones(2**25)}))  # 128 MiB
    kept = torch.ones(2**24)
    assert 120 < measure.peak_mib(row, "ours") < 160
    assert kept.sum() > 0


def test_every_row_has_its_own_name(monkeypatch):
    names = [row.name for row in measure.all_rows()]
    assert len(set(names)) == len(names) > 8 and "image-exact-ffhq" in names
    from benchmarks import images

    monkeypatch.setattr(images, "ROWS", images.ROWS + images.ROWS[:1])
    with pytest.raises(ValueError, match="two benchmarks are named"):
        measure.all_rows()


def test_the_command_prints_and_writes(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "all_rows", lambda: [counting_row("one"), counting_row("two")])
    monkeypatch.setattr(command, "keep_large_blocks", lambda: None)
    assert command.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == ["one", "counts", "two", "counts"]
    path = tmp_path / "figures.json"
    assert command.main(["t*", "--rounds", "2", "--no-memory", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "two " in printed and "one " not in printed and "×" in printed and "checked" in printed
    assert [row["name"] for row in json.loads(path.read_text())["rows"]] == ["two"]
    for arguments in (["three"], ["one", "--rounds", "0"], ["one", "--threads", "-1"]):
        with pytest.raises(SystemExit) as stop:
            command.main(arguments)
        assert stop.value.code == 2


def test_the_arithmetic_of_a_step_is_its_products_and_convolutions():
    x, weight, filters = torch.randn(2, 4, 8, 8), torch.randn(6, 4, 3, 3, requires_grad=True), torch.ones(6, 1, 3, 3)
    found = Arithmetic()
    with recorded(found):
        maps = torch.nn.functional.conv2d(x, weight, padding=1)
        maps = torch.nn.functional.conv2d(maps, filters, padding=1, groups=6)  # a low-pass filter does not count
        (maps.flatten(1).sin() @ torch.ones(6 * 64, 5)).sum().backward()
    convolution, product = 2 * 2 * 6 * 4 * 9 * 64, 2 * 2 * 6 * 64 * 5
    assert found.flops == 2 * convolution + 2 * product  # forward, and the gradients of weight and maps
    assert sum(found.operations.values()) == 4 and found.floor_seconds(0.0) > 0


def tiny_steps(recipe: str, stage: int) -> cuda_training.Steps:
    return list(cuda_training.stages(True, [recipe]))[stage - 1][2](0)


def test_what_the_field_computes_twice_counts_once(monkeypatch):
    flops = []
    for kept in (chunked.KEPT_NUMBERS, 0):
        monkeypatch.setattr(chunked, "KEPT_NUMBERS", kept)
        flops.append(tiny_steps("ffhq", 1).arithmetic_seconds(0.0)[1])
    assert flops[0] == flops[1] > 0


def test_measured_steps_leave_the_weights_and_meet_every_penalty():
    steps = tiny_steps("ffhq", 2)
    assert list(steps.kinds.values()) == [1, 12, 3] and steps.mean({0: 16.0, 1: 4.0, 4: 0.0}) == 4.0
    before = [parameter.clone() for parameter in steps.stage.generator.parameters()]
    first, again = steps.gradients(), steps.gradients()
    assert all(map(torch.equal, before, steps.stage.generator.parameters()))
    # without penalties one step of each player; R1 and path length have steps of their own
    assert [len(first[f"{name}_optimizer"]) for name in ("generator", "discriminator")] == [5, 4]
    assert all(cuda_training.difference(again[name], first[name]) == 0 for name in first)
    steps.enter(cuda_training.PRECISIONS["bf16, channels last"])
    assert steps.stage.discriminator.blocks[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert 0 < cuda_training.difference(steps.gradients()["generator_optimizer"], first["generator_optimizer"]) < 0.3


def test_a_row_that_does_not_fit_says_so_and_the_others_go_on(monkeypatch, capsys):
    turn = cuda_training._turn

    def short_of_memory(steps, precision, *others):
        if precision == cuda_training.TF32:
            steps.stage.generator.requires_grad_(False)  # as in the middle of a step
            raise torch.OutOfMemoryError("of the test")
        turn(steps, precision, *others)

    monkeypatch.setattr(cuda_training, "_turn", short_of_memory)
    assert cuda.main(["training", "people", "--tiny", "--rounds", "1"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(table) == 2 * 6 and sum("out of memory" in line for line in table) == 2
    row = [line for line in table if line.startswith("| bf16 |")][1].split("|")
    assert float(row[2]) > 0 and row[5].strip().endswith("%") and float(row[8]) > 0


def test_micro_batches_are_as_large_as_memory_lets_them_be(monkeypatch):
    def turn(steps, *_):
        tried.append(steps.size)
        if steps.size != 8:
            raise torch.OutOfMemoryError("of the test")

    tried = []
    monkeypatch.setattr(cuda_training, "_turn", turn)
    steps, size = cuda_training.built_to_fit(32, Sized)
    assert size == steps.size == 8 and tried == [0, 16, 8]


class Sized:
    kinds = {0: 1}

    def __init__(self, size: int) -> None:
        self.size = size

    def recover(self) -> None:
        pass


def test_inference_is_measured_and_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(cuda, "tasks", lambda ours, tiny: [("work", 8, lambda: None), ("more", 1, missing)])

    def missing():
        raise ModuleNotFoundError("No module named 'trimesh'", name="trimesh")

    assert cuda.main(["inference", "--tiny", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    assert "| work |" in out and "| more | needs trimesh |" in out
    monkeypatch.undo()
    model = images.random_model(cuda_training.tiny_model(preset("ffhq")))
    names = [(name, run()) for name, _, run in cuda.tasks(model, True) if "comp" not in name]
    assert len(names) == 5 and names[1][1].image.shape[0] == 8 and len(names[-1][1].faces) > 100


SAVES = """
import os, signal, sys, time
path, end = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
while os.path.getsize(path) < end:
    with open(path, "a") as file:
        file.write(".")
    time.sleep(0.05)
"""


def test_training_in_pieces_goes_on_until_it_is_finished_or_the_time_is_over(tmp_path):
    path = tmp_path / "steps"
    path.touch()
    command = [sys.executable, "-c", SAVES, str(path)]
    assert cuda.run_in_pieces([*command, "1000000"], total=0.6, piece=0.4) == 143
    assert cuda.run_in_pieces([*command, str(path.stat().st_size + 3)], total=60, piece=30) == 0
    assert cuda.run_in_pieces([sys.executable, "-c", "raise SystemExit(2)"], total=60, piece=30) == 2


def test_people_says_how_far_it_has_come(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cuda, "run_in_pieces", lambda command, total, piece: called.append((command, total)) or 143)
    called = []
    arguments = ["people", "--tiny", "--minutes", "2", "--out", str(tmp_path), "--mixed-precision", "bf16"]
    (tmp_path / "shown" / "state" / "step-00000200").mkdir(parents=True)
    assert cuda.main(arguments) == 0
    assert called[0][0][-2:] == ["--mixed-precision", "bf16"] and called[0][1] == 120
    out = capsys.readouterr().out
    steps = RECIPES["people"]["small"].runs[0].settings.total_steps
    assert f"| shown | 200 | {steps} |" in out and "| prior | 0 |" in out and "the same command goes on" in out
    (tmp_path / "model").mkdir()
    for name in ("metrics.json", "metrics-1.json"):
        (tmp_path / "model" / name).write_text(json.dumps({"metrics": {"surface": {"closed": 0.998}}}))
    monkeypatch.setattr(cuda, "run_in_pieces", lambda *_: 0)
    assert cuda.main(arguments) == 0 and "| surface.closed | 0.998 | 0.998 |" in capsys.readouterr().out


def test_without_a_gpu_one_sentence_says_so(monkeypatch, capsys):
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    assert cuda.main(["training"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "no CUDA GPU" in captured.err
    with pytest.raises(SystemExit) as stop:
        cuda.main(["training", "cats", "--tiny"])
    assert stop.value.code == 2 and "expected one of ffhq, people" in capsys.readouterr().err
