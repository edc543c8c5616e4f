"""Loss terms by hand, on the exact field of a sphere; what is not listed is not measured, what is unknown refused."""

import dataclasses
import math
import re

import pytest
import torch

from tests.train import runs
from tests.train.test_guided import PHASE, model_of_a_sphere, stage_with
from tests.train.test_polish import CONFIG as POLISH
from tests.train.test_polish import make as polish_stage
from train.stages import RendererStage
from train.terms import (
    ANCHOR_STEPS,
    BOUNDS,
    POINT_TERMS,
    PointSamples,
    check_terms,
    point_terms,
    weighted_sum,
)

RADIUS, CENTRE_Z = 0.05, -0.01
SCENE = runs.MODEL.scene_radius


def sphere(points: torch.Tensor, radius: float = RADIUS, scale: float = 1.0, **others) -> PointSamples:
    """The signed distance of a sphere about (0, 0, CENTRE_Z), or a multiple of it, at ``(1, P, 3)``."""


    def field(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        offset = points - points.new_tensor([0.0, 0.0, CENTRE_Z])
        return scale * (offset.norm(dim=-1) - radius), scale * offset / offset.norm(dim=-1, keepdim=True)

    sdf, gradient = field(points)
    known = {"filled_depth": lambda: pytest.fail("nobody asked for depths"), "field": field}
    return PointSamples(sdf=sdf, gradient=gradient, points=points, model=runs.MODEL, **known | others)


@pytest.fixture
def points() -> torch.Tensor:
    return (torch.rand(1, 2000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1) * SCENE


def test_the_eikonal_term_is_nothing_for_a_distance_and_grows_with_its_slope(points):
    assert POINT_TERMS["eikonal"](sphere(points)).item() < 1e-12
    assert POINT_TERMS["eikonal"](sphere(points, scale=1.5)).item() == pytest.approx(0.25, rel=1e-4)


def test_the_minimal_surface_term_counts_what_is_near_the_surface():
    out = torch.tensor([[0.0, 0.0, CENTRE_Z]]) + torch.tensor([[0.0], [0.01], [0.03]]) * torch.tensor([1.0, 0.0, 0.0])
    samples = sphere((out + torch.tensor([RADIUS, 0.0, 0.0]))[None])
    expected = (1.0 + math.exp(-1.0) + math.exp(-3.0)) / 3
    assert POINT_TERMS["minimal_surface"](samples).item() == pytest.approx(expected, rel=1e-4)


def test_the_anchor_is_nothing_at_the_initial_sphere_and_fades(points):
    start = {"step": 0, "sphere": (RADIUS, CENTRE_Z)}
    assert POINT_TERMS["sphere_anchor"](sphere(points, **start)).item() < 1e-7
    for step in (0, 50, 300):
        grown = sphere(points, radius=RADIUS + 0.02, **(start | {"step": step}))
        expected = 0.02 * math.exp(-step / ANCHOR_STEPS)
        assert POINT_TERMS["sphere_anchor"](grown).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("step", [None, 10_000])
def test_there_is_no_anchor_without_a_start_and_long_after_it(points, step):
    samples = sphere(points, radius=RADIUS + 0.02, step=step, sphere=(RADIUS, CENTRE_Z))
    assert POINT_TERMS["sphere_anchor"](samples).item() == 0.0


def test_bounds_are_nothing_within_the_limits_and_a_hinge_beyond(points):
    assert POINT_TERMS["bounds"](sphere(points)).item() == 0.0
    outer, inner = (share * SCENE for share in BOUNDS)
    assert inner + 0.02 < RADIUS < outer - 0.03
    beyond, within = torch.tensor([[[0.0, 1.01 * outer, 0.0]]]), torch.tensor([[[0.0, 0.0, 0.5 * inner]]])
    large, small = sphere(beyond, radius=1.2 * SCENE), sphere(within, radius=0.1 * inner)
    assert POINT_TERMS["bounds"](large).item() == pytest.approx(0.02 - large.sdf.item(), rel=1e-5)
    assert POINT_TERMS["bounds"](small).item() == pytest.approx(small.sdf.item() + 0.01, rel=1e-5)


def test_solidity_is_nothing_for_a_solid_and_half_the_missing_depth_in_a_bubble(points):
    solid = sphere(points)
    assert POINT_TERMS["solidity"](dataclasses.replace(solid, filled_depth=lambda: (-solid.sdf).clamp(min=0))) == 0
    bubble = sphere(points[:, :1] * 0 + 0.01, filled_depth=lambda: torch.full((1, 1), 0.04))
    bubble.sdf[:] = 0.005
    assert POINT_TERMS["solidity"](bubble).item() == pytest.approx(0.005 + 0.04 / 2)


def test_symmetry_is_nothing_for_mirror_images_and_else_how_far_both_sides_differ(points):
    assert POINT_TERMS["symmetry"](sphere(points)).item() < 1e-7
    beside, axis = torch.tensor([0.01, 0.0, 0.0]), torch.tensor([[[0.03, 0.0, CENTRE_Z], [-0.06, 0.0, CENTRE_Z]]])
    aside = sphere(axis - beside)
    aside = dataclasses.replace(aside, points=axis, field=lambda at: sphere(at).field(at - beside))
    assert POINT_TERMS["symmetry"](aside).item() == pytest.approx(0.02, rel=1e-5)


def test_only_listed_terms_are_measured_and_weighed(points):
    assert point_terms(sphere(points), []) == {}
    terms = point_terms(sphere(points, scale=1.5), ["eikonal", "bounds"])
    assert terms.keys() == {"eikonal", "bounds"}
    assert weighted_sum(terms, {"eikonal": 4.0, "view": 9.0}).item() == pytest.approx(1.0, rel=1e-4)
    assert weighted_sum(terms, {}) == 0.0


@pytest.mark.parametrize("name", sorted(POINT_TERMS))
def test_every_term_pulls_on_the_field(name):
    model = model_of_a_sphere(beta=0.002)
    field = model.field.condition(torch.randn(1, model.config.latent_size, generator=torch.Generator().manual_seed(1)))
    points = (torch.rand(1, 200, 3, generator=torch.Generator().manual_seed(2)) * 2 - 1) * SCENE
    points[:, 0] = 0.05 * SCENE  # within the inner bound, where it is to be solid
    sdf, gradient = field.sdf_and_gradient(points)
    samples = PointSamples(
        sdf + 0.1, gradient, points, model.config, lambda: torch.full((1, 200), 0.03), field.sdf_and_gradient,
        step=0, sphere=(RADIUS, CENTRE_Z),
    )  # fmt: skip
    POINT_TERMS[name](samples).backward()
    assert model.field.layers[0].linear.weight.grad.abs().sum() > 0


# in the stages


@pytest.mark.parametrize("stage, make", [
    ("renderer", lambda: runs.renderer_stage(config=dataclasses.replace(runs.RENDERER, terms={"probe": 1.0}))),
    ("polish", lambda: polish_stage(dataclasses.replace(POLISH, terms={"colour": 1.0, "probe": 1.0}))),
])  # fmt: skip
def test_a_new_term_sees_the_field_wherever_it_wants(stage, make, monkeypatch):
    """A function in ``POINT_TERMS`` and a weight are all that a stage needs."""
    seen = []

    def probe(samples: PointSamples) -> torch.Tensor:
        sdf, gradient = samples.field(samples.points)
        torch.testing.assert_close(sdf, samples.sdf)
        torch.testing.assert_close(gradient, samples.gradient[:, : gradient.shape[1]])
        seen.append(samples.points.shape)
        return samples.field(0.5 * samples.points)[0].square().mean()

    monkeypatch.setitem(POINT_TERMS, "probe", probe)
    monkeypatch.setattr(f"train.stages.{stage}.TERMS", ("probe", "colour"))  # which follow from that at import
    record = make().step()
    assert record["probe"] > 0.0 and seen


def test_a_term_that_is_not_listed_is_not_in_the_record_of_stage_1_and_pulls_on_nothing():
    few = {"view": 15.0, "bounds": 1.0}
    record = stage_with(PHASE, terms=few).step()
    assert "bounds" in record and not {"eikonal", "minimal_surface", "sphere_anchor", "solidity"} & record.keys()
    # nearly no weight gives the gradients of none, which the listed weight does not
    gradients = [
        runs.gradients_of_a_step(runs.renderer_stage, config=dataclasses.replace(runs.RENDERER, terms=few | more))
        for more in ({}, {"eikonal": 1e-9}, {"eikonal": 10.0})
    ]
    (none, least, much) = (torch.cat([each.flatten() for each in parts]) for parts in gradients)
    torch.testing.assert_close(none, least, rtol=1e-4, atol=1e-6)
    assert (much - none).norm() > 0.01 * none.norm()


def test_without_terms_at_points_no_points_are_drawn():
    stage = runs.renderer_stage(config=dataclasses.replace(runs.RENDERER, terms={"view": 15.0}))
    assert "points" not in stage._draw_scenes(stage.config.phases[0])
    assert all(math.isfinite(value) for value in stage.step().values())


def test_a_pose_head_that_no_term_asks_for_learns_nothing():
    terms = {name: weight for name, weight in runs.RENDERER.terms.items() if name != "view"}
    stage = runs.renderer_stage(runs.RecordingEngine(), dataclasses.replace(runs.RENDERER, terms=terms))
    stage.step()
    names = [name for name, parameter in stage.discriminator.named_parameters() if not name.startswith("low_from_rgb")]
    assert names[-2:] == ["head.weight", "head.bias"]
    bias = next(each for each in stage.engine.gradients if each.shape == stage.discriminator.head.bias.shape)
    assert bias[0] != 0 and not bias[1:].any()


@pytest.mark.parametrize("name", ["smoothness", "speckle", "colour", "eikonal", "solidity"])
def test_any_term_of_polishing_can_be_left_out(name):
    terms = {other: weight for other, weight in POLISH.terms.items() if other != name}
    record = polish_stage(dataclasses.replace(POLISH, terms=terms)).step()
    other = polish_stage(dataclasses.replace(POLISH, terms=terms | {name: 2.0})).step()
    assert name in other and all(math.isfinite(value) for value in (record | other).values())
    if name != "colour":  # what the pictures are compared by is at hand, and recorded
        assert name not in record
    assert {key: value for key, value in other.items() if key in record} == pytest.approx(record, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", ["smoothness", "minimal_surface"])
def test_a_term_of_polishing_that_is_not_listed_pulls_on_nothing(name):
    def gradient(more: dict) -> torch.Tensor:
        config = dataclasses.replace(POLISH, terms={"eikonal": 0.1, "colour": 1.0} | more)
        gradients = runs.gradients_of_a_step(lambda engine: polish_stage(config, engine=engine))
        return torch.cat([each.flatten() for each in gradients])

    none, least, much = (gradient(more) for more in ({}, {name: 1e-9}, {name: 10.0}))
    torch.testing.assert_close(none, least, rtol=1e-4, atol=1e-6)
    assert (much - none).norm() > 0.01 * none.norm()


# what is refused


def test_unknown_names_and_weights_that_are_not_positive_are_refused():
    check_terms({"a": 1.0}, ["b", "a"])
    with pytest.raises(ValueError, match="terms names 'c', expected names among a, b"):
        check_terms({"a": 1.0, "c": 1.0}, ["b", "a"])
    for weight in (0.0, -1.0, math.nan):
        sentence = f"terms.a is {weight!r}, expected a positive weight; leave the term out instead"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            check_terms({"a": weight}, ["a"])


def test_each_stage_names_the_terms_that_it_knows():
    model, data = dataclasses.replace(runs.MODEL, decoder_channels=()), runs.tiny_data()
    for terms, sentence in (
        ({"veiw": 1.0}, "terms names 'veiw', expected names among bounds, coverage, divergence"),
        ({"colour": 1.0}, "terms names 'colour'"),
        ({"view": 0.0}, "terms.view is 0.0, expected a positive weight"),
    ):
        with pytest.raises(ValueError, match=sentence):
            RendererStage(model, dataclasses.replace(runs.RENDERER, terms=terms), data)
    for name in ("view", "sphere_anchor"):
        with pytest.raises(ValueError, match=f"terms names '{name}', expected names among bounds, colour"):
            polish_stage(dataclasses.replace(POLISH, terms={name: 1.0}))
