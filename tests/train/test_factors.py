"""Factors: the algebra that keeps shape and texture apart, derivatives against exact ones, and the command."""

import json

import pytest
import torch

from stylesdf import StyleSDF
from stylesdf.camera import Camera
from stylesdf.model import Generator
from tests.train import runs
from train import factors
from train.__main__ import main
from train.factors import Form

SIZE = runs.MODEL.latent_size


@pytest.fixture
def model() -> Generator:
    torch.manual_seed(0)
    return Generator(runs.MODEL).eval()


def form(*shares: float) -> Form:
    """Changes along the first axes alone, of which negative ones make things smaller."""
    square = torch.zeros(SIZE, SIZE)
    square.diagonal()[: len(shares)] = torch.tensor(shares)
    return Form(square, torch.full((SIZE,), -1.0))


def test_a_factor_changes_its_own_kind_much_and_the_other_little():
    own, other = form(0.4, 0.35, 0.25), form(0.9, 0.0, 0.0, 0.1)
    found = factors.leading_directions(own, other, 2)
    units = found / found.norm(dim=1, keepdim=True)
    torch.testing.assert_close(units, -torch.eye(SIZE)[[1, 2]], atol=1e-5, rtol=0)  # not the first, shared one
    longest = factors.MOST_TURN * SIZE**0.5
    expected = [min(factors.EFFECT / share**0.5, longest) for share in (0.35, 0.25)]
    assert found.norm(dim=1).tolist() == pytest.approx(expected, rel=1e-4)


def test_forms_are_those_of_the_exact_derivatives(model, monkeypatch):
    monkeypatch.setattr(factors, "NUM_HEADS", 1)
    monkeypatch.setattr(factors, "NUM_PROBES", 1500)
    monkeypatch.setattr(factors, "MOST_POINTS", 20)
    found = factors._forms(model, torch.Generator().manual_seed(3), lambda part, share: None)
    random = torch.Generator().manual_seed(3)
    z = torch.randn(1, SIZE, generator=random).requires_grad_()
    for number, (change, square) in enumerate(zip(factors._seen_changes(model, z, random), found)):
        rows = torch.stack([torch.autograd.grad(one, z, retain_graph=True)[0][0] for one in change])
        exact = rows.t() @ rows
        assert len(change) == (20, 60)[number]
        error = (square.square - exact / exact.trace()).norm() / (exact / exact.trace()).norm()
        assert error < 0.1
        torch.testing.assert_close(square.mean, rows.mean(dim=0), atol=1e-5, rtol=1e-3)


def test_an_outward_move_is_positive(model, monkeypatch):
    """Where a field is lower by 0.001, its surface lies further out by that over the slope."""
    z = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    seen = model.render(model.mapping(z.detach()), Camera.from_angles(0.0, 0.0))
    monkeypatch.setattr(model, "render", lambda field, camera: seen)
    before, _ = factors._seen_changes(model, z, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.field.sdf_head.bias -= 1e-3
    after, _ = factors._seen_changes(model, z, torch.Generator().manual_seed(0))
    assert (after - before).min() > 0 and (after - before).max() <= 1e-3 / factors.LEAST_SLOPE + 1e-6


def test_factors_are_the_same_again_and_numbered(model, monkeypatch):
    monkeypatch.setattr(factors, "NUM_HEADS", 3)
    shares = []
    found, summary = factors.find_factors(model, 2, 7, lambda part, share: shares.append((part, share)))
    assert found.names == list(summary) == ["shape_1", "shape_2", "texture_1", "texture_2"]
    assert found.vectors.isfinite().all() and found.vectors.norm(dim=1).min() > 0
    assert shares == [("factors", pytest.approx(number / 3)) for number in (1, 2, 3)]
    assert found.vectors.equal(factors.find_factors(model, 2, 7)[0].vectors)
    assert not found.vectors.equal(factors.find_factors(model, 2, 8)[0].vectors)
    assert len(factors.table(summary).splitlines()) == 2 + 4


def test_heads_without_a_surface_and_wrong_counts_are_refused(model):
    with torch.no_grad():
        model.field.sdf_head.bias += 10.0
    with pytest.raises(ValueError, match="heads have no surface that could be seen"):
        factors.find_factors(model, 2)
    for count in (-1, 0, 9):
        with pytest.raises(ValueError, match=f"{count} factors of each kind, expected 1 to 8"):
            factors.find_factors(model, count)


def test_the_command_writes_them_beside_the_model(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(factors, "NUM_HEADS", 2)
    torch.manual_seed(0)
    model = StyleSDF(runs.MODEL).eval()
    model.save_pretrained(tmp_path)
    assert main(["directions", str(tmp_path), "--factors", "1"]) == 0
    assert "| texture_1 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "directions.json").read_text())["shape_1"].keys() == {"shape", "texture"}
    loaded = StyleSDF.from_pretrained(tmp_path)
    assert loaded.directions.names == ["shape_1", "texture_1"]
    head = loaded.head(0)
    assert not loaded.edit(head, {"shape_1": 1.0}).w.equal(head.w)
    assert main(["directions", str(tmp_path), "--factors", "0"]) == 2
    assert "0 factors of each kind, expected 1 to 8" in capsys.readouterr().err
