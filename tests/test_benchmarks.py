"""The benchmarks measure what they say; nothing here is timed."""

import dataclasses
import json

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import measure, transcription
from benchmarks.floor import decoder_floor, field_floor
from benchmarks.measure import Contest, Row
from stylesdf.camera import Camera
from stylesdf.model import Generator


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
