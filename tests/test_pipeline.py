"""What people call: seeds in, pictures, films, meshes and slices out."""

import dataclasses
import json
import math
import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import stylesdf
from stylesdf import Camera, Shot, StyleSDF, StyleSDFConfig, pipeline
from stylesdf import head as head_module
from stylesdf.arguments import MAX_SEED, check_seed, check_seeds, check_truncation, parse_seed, parse_seeds
from stylesdf.field import sphere_initialize
from stylesdf.film import write_video
from stylesdf.head import has_bfloat16
from stylesdf.pictures import to_pil
from tests.tiny import TINY

CONFIG = dataclasses.replace(TINY, num_samples=12)


def make_model(config: StyleSDFConfig) -> StyleSDF:
    """A model whose field is roughly a sphere, with sharp density and visible noise."""
    torch.manual_seed(0)
    model = StyleSDF(config).eval()
    codes = lambda: model.renderer_mapping(torch.randn(4, config.latent_size))  # noqa: E731
    sphere_initialize(model.field, 150, codes, learning_rate=4e-3, points_per_code=128)
    with torch.no_grad():
        model.renderer.log_beta.fill_(math.log(0.003))
        if config.has_decoder:
            model.decoder.conv.noise_strength.fill_(0.5)
    model.update_means(500)
    return model


@pytest.fixture(scope="module")
def model() -> StyleSDF:
    return make_model(CONFIG)


@pytest.fixture(scope="module")
def toy() -> StyleSDF:
    """The bundled models' kind of background, without a decoder."""
    return make_model(dataclasses.replace(CONFIG, background="learned", view_directions=False, decoder_channels=()))


def pixels(picture: Image.Image) -> bytes:
    return picture.tobytes()


# ---- seeds


def test_a_seed_gives_the_same_latent_in_any_company(model):
    together = model.latents([3, 7, 3])
    assert together.shape == (3, 16)
    assert torch.equal(together[0], together[2])
    assert torch.equal(together[1:2], model.latents(7))
    assert torch.equal(together[0], torch.randn(16, generator=torch.Generator("cpu").manual_seed(3)))


def test_latents_do_not_touch_the_global_generator(model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model.generate([1], truncation=0.5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("seed", [0, MAX_SEED, np.int64(4), np.uint32(4)])
def test_a_seed_is_an_integer_of_32_bits(seed):
    assert check_seed(seed) == int(seed) and type(check_seed(seed)) is int


@pytest.mark.parametrize(
    "seed", [-1, MAX_SEED + 1, True, False, np.True_, torch.tensor(True), 1.0, "3", None, math.nan, [3]]
)
def test_anything_else_is_not_a_seed(seed, model):
    with pytest.raises(ValueError, match=re.escape(f"seed is {seed!r}, expected an integer from 0 to 4294967295")):
        check_seed(seed)
    with pytest.raises(ValueError, match="seed is"):
        model.extract_mesh(seed)


def test_seeds_come_alone_or_in_any_iterable():
    assert check_seeds(3) == [3]
    assert check_seeds(range(2)) == check_seeds(np.arange(2)) == check_seeds(torch.arange(2)) == [0, 1]
    assert check_seeds(torch.tensor(3)) == check_seeds(np.array(3)) == [3] and check_seeds([]) == []
    with pytest.raises(ValueError, match="'0-3'"):
        check_seeds("0-3")


@pytest.mark.parametrize(
    "text, seeds",
    [("0-3,7", [0, 1, 2, 3, 7]), ("5", [5]), (" 3 , 1 - 2 ", [3, 1, 2]), ("3, 8 2-3,", [3, 8, 2, 3]), ("4-4", [4])],
)
def test_seeds_are_read_from_text(text, seeds):
    assert parse_seeds(text) == seeds
    assert parse_seed("4294967295") == MAX_SEED


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "expected integers"),
        ("-1", "expected integers"),
        (" , ", "expected integers"),
        ("3;4", "expected integers"),
        (5, "seeds are 5, expected integers"),
        ("1-", "expected integers"),
        ("1-2-3", "expected integers"),
        ("1.5", "expected integers"),
        ("٣", "expected integers"),
        ("9" * 5000, "expected integers"),
        ("3-1", "runs backwards, expected 1-3"),
        ("4294967296", "seed is 4294967296"),
        ("0-10000", "more than 10000"),
        ("0-9998,1,2", "more than 10000"),
        ("0-4294967295", "more than 10000"),
    ],
)
def test_a_text_without_seeds_is_an_error(text, message):
    with pytest.raises(ValueError, match=message) as told:
        parse_seeds(text)
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1_0", "4294967296", "9" * 5000, "0-3"])
def test_a_text_that_is_no_seed_is_an_error(text):
    with pytest.raises(ValueError, match="seed is .*, expected an integer from 0 to 4294967295"):
        parse_seed(text)


# ---- pictures


@pytest.mark.parametrize("which", ["model", "toy"])
def test_bytes_are_the_same_alone_in_company_and_in_any_order(which, request):
    model = request.getfixturevalue(which)
    views = {"truncation": 0.8, "yaw": 0.3, "pitch": -0.1}
    batch = model.generate([3, 7, 11], **views)
    turned = model.generate([11, 3], **views)
    for seed, one in ((3, turned), (11, turned), (7, model.generate([7], **views))):
        here, there = batch.seeds.index(seed), one.seeds.index(seed)
        for name in ("images", "thumbnails"):
            assert pixels(getattr(batch, name)[here]) == pixels(getattr(one, name)[there])
        for name in ("depth", "normals", "background"):
            assert getattr(batch, name)[here].tobytes() == getattr(one, name)[there].tobytes()
    assert pixels(batch.images[0]) != pixels(batch.images[1])


def test_a_result_has_the_stated_shapes(model):
    result = model.generate((3, 7), truncation=0.6)
    assert [image.size for image in result.images] == [(32, 32)] * 2
    assert [image.mode for image in result.images + result.thumbnails] == ["RGB"] * 4
    assert [image.size for image in result.thumbnails] == [(16, 16)] * 2
    assert result.depth.shape == result.background.shape == (2, 16, 16)
    assert result.normals.shape == (2, 16, 16, 3)
    assert {result.depth.dtype, result.normals.dtype, result.background.dtype} == {np.dtype(np.float32)}
    assert (result.seeds, result.truncation) == ((3, 7), 0.6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.seeds = ()


def test_people_and_machines_see_the_same(model):
    result = model.generate([3], truncation=0.7, yaw=0.2, pitch=0.1)
    with torch.no_grad():
        out = model(model.latents([3]), Camera.from_angles(0.2, 0.1), psi=0.7)
    assert pixels(result.images[0]) == pixels(to_pil(out.image))
    assert pixels(result.thumbnails[0]) == pixels(to_pil(out.thumbnail))
    assert np.array_equal(result.depth[0], out.depth[0, 0].numpy())
    assert np.array_equal(result.background[0], out.background[0, 0].numpy())


@pytest.mark.parametrize("which", ["model", "toy"])
def test_normals_are_unit_in_world_axes_and_zero_on_the_background(which, request):
    model = request.getfixturevalue(which)
    result = model.generate([3], yaw=0.5)
    length = np.linalg.norm(result.normals, axis=-1)
    background = result.background > 0.5
    assert background.any() and not background.all()
    assert (length[background] == 0).all()
    assert np.allclose(length[~background], 1.0, atol=1e-5)
    with torch.no_grad():
        w = model.mapping(model.latents(3), 0.7)
        xyz = model.render(w, Camera.from_angles(0.5, 0.0)).xyz[0].permute(1, 2, 0)[~background[0]]
        step = 1e-3 * torch.from_numpy(result.normals[~background])
        slope = (model.sdf(xyz + step, w) - model.sdf(xyz - step, w)) / 2e-3
        across = (model.sdf(xyz + step.roll(1, -1), w) - model.sdf(xyz - step.roll(1, -1), w)) / 2e-3
    assert (slope > 0).all() and (slope >= across - 1e-2).all()  # outwards, and the steepest way
    assert 0.88 <= result.depth.min() < 1.0 < result.depth.max() <= 1.12 + 1e-5


def test_angles_are_one_for_all_or_one_per_seed(model):
    both = model.generate([3, 3], yaw=[0.3, -0.3], pitch=torch.tensor([0.1, 0.0]))
    assert pixels(both.images[0]) == pixels(model.generate(3, yaw=0.3, pitch=torch.tensor(0.1).item()).images[0])
    assert pixels(both.images[0]) != pixels(both.images[1])
    with pytest.raises(ValueError, match="yaw has 3 values for 2 seeds"):
        model.generate([1, 2], yaw=[0, 0, 0])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"truncation": 1.5}, "truncation is 1.5, expected a number from 0 to 1"),
        ({"truncation": math.nan}, "truncation is nan"),
        ({"truncation": "0.7"}, "truncation is '0.7'"),
        ({"truncation": True}, "truncation is True"),
        ({"yaw": math.nan}, "yaw is nan, expected a finite number"),
        ({"yaw": "left"}, "yaw is 'left'"),
        ({"yaw": None}, "yaw is None"),
        ({"pitch": math.inf}, "pitch is inf"),
        ({"pitch": 1.6}, "pitch is 1.6, expected radians between"),
        ({"fov_deg": 0.0}, "fov_deg is 0.0"),
        ({"fov_deg": "12"}, "fov_deg is '12', expected a finite number"),
        ({"fov_deg": True}, "fov_deg is True"),
        ({"noise_mode": "loud"}, "noise_mode is 'loud', expected one of"),
        ({"texture_seed": -3}, "seed is -3"),
        ({"seeds": [1, 2.5]}, "seed is 2.5"),
    ],
)
def test_bad_arguments_are_named(model, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        model.generate(**{"seeds": [1], **options})


def test_truncation_reaches_from_the_mean_head_to_the_full_one(model):
    assert check_truncation(np.float32(1)) == 1.0
    mean = model.generate([1, 2], truncation=0)
    assert pixels(mean.images[0]) == pixels(mean.images[1])
    full = model.generate([1], truncation=1)
    with torch.no_grad():
        assert pixels(full.images[0]) == pixels(to_pil(model(model.latents(1), Camera.from_angles(0, 0)).image))


def test_a_texture_seed_changes_the_picture_but_not_the_shape(model, toy):
    plain, own, other = (model.generate([3], texture_seed=seed) for seed in (None, 3, 9))
    assert pixels(plain.images[0]) == pixels(own.images[0]) != pixels(other.images[0])
    assert np.array_equal(plain.depth, other.depth)
    with torch.no_grad():
        z, mix_z = model.latents([3, 9]).split(1)
        mixed = model(z, Camera.from_angles(0, 0), psi=0.7, mix_z=mix_z, inject_index=1)
    assert pixels(other.images[0]) == pixels(to_pil(mixed.image))
    with pytest.raises(ValueError, match="renderer-only"):
        toy.generate([3], texture_seed=9)


def test_noise_modes_differ(model):
    const, none, random = (
        pixels(model.generate([3], noise_mode=mode).images[0]) for mode in ("const", "none", "random")
    )
    assert len({const, none, random}) == 3


def test_in_a_renderer_only_model_the_thumbnails_stand_in(toy):
    result = toy.generate([3])
    assert pixels(result.images[0]) == pixels(result.thumbnails[0])
    assert result.images[0].size == (16, 16)
    assert next(toy.render_orbit(3, num_frames=2)).size == (16, 16)


def test_the_thumbnail_is_the_one_of_generate(model):
    expected = model.generate([3], 0.6, 0.3, 0.1, fov_deg=14.0).thumbnails[0]
    head = model.head(3, 0.6)
    assert pixels(head.thumbnail(Shot(0.3, 0.1, fov_deg=14.0))) == pixels(expected)
    assert pixels(head.thumbnail(Shot(0.3, 0.1))) != pixels(expected)


def test_nothing_records_gradients_and_inference_mode_is_fine(model):
    expected = model.generate([3])
    with torch.inference_mode():
        result = model.generate([3])
        mesh = model.extract_mesh(3, resolution=32)
    assert result.normals.tobytes() == expected.normals.tobytes()
    assert len(mesh.vertices) == len(model.extract_mesh(3, resolution=32).vertices)
    assert all(parameter.grad is None for parameter in model.decoder.parameters())


def test_pictures_are_rounded_and_clipped():
    values = torch.tensor([-3.0, -1.0, 0.0, 1.0, 7.0, 1 / 255]).repeat(3, 1)[:, None]
    assert np.asarray(to_pil(values))[0, :, 0].tolist() == [0, 0, 128, 255, 255, 128]


# ---- heads and views


@pytest.mark.parametrize(
    "dtype, quality, least_psnr",
    [
        (torch.bfloat16, "fast", 30.0), (torch.bfloat16, "best", 30.0), (torch.float16, "best", 45.0),
        (torch.float64, "best", 60.0),
    ],
)  # fmt: skip
def test_other_types_draw_nearly_the_same(bundled, dtype, quality, least_psnr):
    shot = Shot(0.2, quality=quality)
    plain, other = (StyleSDF.from_pretrained(bundled, dtype=each).head(3) for each in (None, dtype))
    assert other.w.dtype == dtype
    for one, same in zip(plain.orbit(2, shot=shot), other.orbit(2, shot=shot)):
        difference = np.asarray(one.image, float) - np.asarray(same.image, float)
        assert 20 * math.log10(255 / np.sqrt((difference**2).mean())) > least_psnr


@pytest.mark.parametrize("which", ["model", "toy"])
@pytest.mark.parametrize("quality", ["exact", "fast", "best"])
def test_a_view_of_a_head_is_what_generate_gives(which, quality, request):
    model = request.getfixturevalue(which)
    view = model.head(3, 0.6).view(Shot(0.3, 0.1, quality=quality))
    result = model.generate([3], 0.6, 0.3, 0.1, quality=quality)
    assert pixels(view.image) == pixels(result.images[0])
    assert pixels(view.thumbnail) == pixels(result.thumbnails[0])
    assert pixels(view.thumbnail) == pixels(model.head(3, 0.6).thumbnail(Shot(0.3, 0.1, quality=quality)))
    for name in ("depth", "normals", "background"):
        assert np.array_equal(getattr(view, name), getattr(result, name)[0])


def test_a_head_is_computed_once_for_all_views(model, monkeypatch):
    head = model.head(3)
    expected = pixels(model.generate([3], yaw=0.2).images[0])
    monkeypatch.delattr(type(model.field), "condition")
    monkeypatch.delattr(pipeline, "condition_decoder")
    assert pixels(head.view(Shot(0.2)).image) == expected
    with pytest.raises(dataclasses.FrozenInstanceError):
        head.origin = {}


def test_qualities_differ_and_are_checked(model):
    head = model.head(3)
    exact, fast, best = (head.view(Shot(quality=quality)) for quality in ("exact", "fast", "best"))
    assert best.rendering.sdf.shape[-1] > fast.rendering.sdf.shape[-1] >= exact.rendering.sdf.shape[-1]
    assert len({pixels(view.image) for view in (exact, fast, best)}) == 3
    with torch.no_grad():
        finer = to_pil(head.decoder(head.renderer(head.field, Shot().camera, num_samples=48).features))
    difference = np.asarray(fast.image, dtype=float) - np.asarray(finer, dtype=float)
    assert np.sqrt(np.square(difference).mean()) < 4
    for call in (lambda: Shot(quality="good"), lambda: model.generate(3, quality="good")):
        with pytest.raises(ValueError, match="quality is 'good', expected one of exact, fast, best"):
            call()


def test_a_rolled_view_is_the_same_head_on_its_side(model):
    upright, rolled = (model.head(3).view(Shot(0.3, roll=angle)) for angle in (0.0, math.pi / 2))
    assert np.allclose(np.rot90(rolled.depth), upright.depth, atol=1e-4) or np.allclose(
        np.rot90(rolled.depth, -1), upright.depth, atol=1e-4
    )
    assert not np.allclose(rolled.depth, upright.depth, atol=1e-4)
    for options, message in (({"roll": math.nan}, "roll is nan"), ({"pitch": 1.6}, "pitch"), ({"yaw": "0"}, "yaw")):
        with pytest.raises(ValueError, match=message):
            Shot(**options)


def test_light_moves_on_the_surface_alone(model):
    head, side = model.head(3), (math.pi / 2, 0.0)
    plain, lit, other = (head.view(Shot(0.2, light=light)) for light in (None, side, (-math.pi / 2, 0.0)))
    before, left, right = (np.asarray(view.image, dtype=float).mean(axis=-1) for view in (plain, lit, other))
    columns = np.arange(before.shape[1]) - before.shape[1] / 2
    # the head's left (+x) lies on the right of a picture from the front
    assert ((left - right) * columns).sum() > 0 and np.abs(left - right).max() > 5
    empty = np.asarray(Image.fromarray(plain.background).resize(before.shape[::-1])) > 0.99
    assert empty.any() and (left == before)[empty].all()
    assert pixels(plain.thumbnail) == pixels(lit.thumbnail) and lit.shot.light == side
    for light, message in (((1.0,), "light is (1.0,), expected two angles"), ((0.0, math.nan), "light[1] is nan"),
                           ("ab", "light is 'ab'")):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(message)):
            Shot(light=light)


def test_a_texture_seed_belongs_to_the_head(model, toy):
    view = model.head(3, texture_seed=9).view()
    assert pixels(view.image) == pixels(model.generate([3], texture_seed=9).images[0])
    with pytest.raises(ValueError, match="renderer-only"):
        toy.head(3, texture_seed=9)


def test_a_blend_runs_from_one_head_to_the_other(model, toy):
    for heads in (model, toy):
        first, second = heads.head(3), heads.head(7)
        start, middle, end = (pixels(heads.blend(first, second, share).view().image) for share in (0.0, 0.5, 1.0))
        assert start == pixels(first.view().image) and end == pixels(second.view().image)
        assert len({start, middle, end}) == 3
    with pytest.raises(ValueError, match="share is nan"):
        model.blend(first, second, math.nan)


def test_a_head_can_be_made_of_codes(model, toy):
    with torch.inference_mode():
        w = model.mapping(model.latents(3), 0.7)
        ws = model.decoder_codes(w, 0.7)
        view = model.head_from_codes(w, ws).view()
    assert pixels(view.image) == pixels(model.generate(3).images[0])
    assert view.normals.any() and view.head.origin["seed"] is None
    own = model.head_from_codes(w).view().image
    assert own.size == (32, 32) and pixels(own) != pixels(view.image)  # its decoder codes are not truncated
    for arguments, message in (((w[0],), "w has shape"), ((w, ws[:, 1:]), "ws has shape")):
        with pytest.raises(ValueError, match=message):
            model.head_from_codes(*arguments)
    with pytest.raises(ValueError, match="expected None"):
        toy.head_from_codes(w, ws)


INDUCTOR = pytest.mark.skipif(
    "STYLESDF_COMPILE" not in os.environ or not shutil.which("g++"),
    reason="compiles for minutes: STYLESDF_COMPILE=1 python -m pytest tests/test_pipeline.py -k compiled",
)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=INDUCTOR)])
def test_compiled_views_are_the_same_and_heads_share_what_is_compiled(backend, monkeypatch):
    monkeypatch.setattr(head_module, "has_bfloat16", lambda device: False)  # one number format, one compilation
    model = make_model(dataclasses.replace(CONFIG, background="learned", view_directions=False, cull_to_ball=True))
    num_graphs = set()
    for seed in (1, 2):
        plain = model.head(seed)
        compiled = plain.compiled(backend)
        for quality in ("exact", "fast"):
            ours, eager = (each.view(Shot(0.2, 0.1, quality=quality)) for each in (compiled, plain))
            for name in ("thumbnail", "features", "depth", "background"):
                torch.testing.assert_close(
                    getattr(ours.rendering, name), getattr(eager.rendering, name), atol=1e-4, rtol=0
                )
            difference = np.asarray(ours.image, dtype=int) - np.asarray(eager.image, dtype=int)
            assert abs(difference).max() <= 1
            np.testing.assert_allclose(ours.normals, eager.normals, atol=1e-2)
        num_graphs.add(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert len(num_graphs) == 1 and num_graphs != {0}


def test_bfloat16_is_asked_of_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert has_bfloat16(torch.device("cpu"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True}, raising=False)
    assert not has_bfloat16(torch.device("cpu"))
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bfloat16(torch.device("cpu"))
    for is_quick in (True, False):  # older GPUs emulate it, slowly
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, quick=is_quick: quick)
        assert has_bfloat16(torch.device("cuda")) == is_quick


# ---- films


def test_an_orbit_is_lazy_closed_and_made_of_the_same_pictures(model, monkeypatch):
    folded = []
    condition = model.field.condition
    monkeypatch.setattr(model.field, "condition", lambda w: folded.append(w) or condition(w))
    frames = model.render_orbit(3, truncation=0.6, num_frames=4)
    assert iter(frames) is frames
    frames = list(frames)
    assert len(frames) == 4 and len(folded) == 1  # the field is conditioned once per head
    for frame, (yaw, pitch) in zip(frames, [(0, 0.25), (0.5, 0), (0, -0.25), (-0.5, 0)], strict=True):
        expected = np.asarray(model.generate([3], truncation=0.6, yaw=yaw, pitch=pitch).images[0], dtype=int)
        assert np.abs(np.asarray(frame) - expected).max() <= 1  # the angles differ by rounding


def test_a_frame_leaves_gradients_on_for_the_caller(model):
    frames = model.render_orbit(3, num_frames=2)
    next(frames)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_frames": 2.5}, "num_frames is 2.5"),
        ({"num_frames": 10**6}, "num_frames is 1000000"),
        ({"truncation": 2}, "truncation is 2"),
        ({"seed": -1}, "seed is -1"),
        ({"path": "circle"}, "path is 'circle', expected one of ellipse, sweep, spiral"),
    ],
)
def test_an_orbit_checks_its_arguments_at_once(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.render_orbit(**{"seed": 3, **options})


def test_an_orbit_of_a_head_computes_nothing_twice(model, monkeypatch):
    head = model.head(3, 0.6)
    expected = [pixels(frame) for frame in model.render_orbit(3, 0.6, 2, path="sweep")]
    monkeypatch.delattr(type(model.field), "condition")
    monkeypatch.delattr(pipeline, "condition_decoder")
    views = list(head.orbit(2, "sweep"))
    assert [pixels(view.image) for view in views] == expected
    assert all(view.head is head for view in views) and views[0].depth.shape == (16, 16)


def test_an_orbit_goes_around_its_shot():
    for ranges, message in (((0.5, 1.6), "pitch is 1.6"), ((math.nan,), "yaw_range is nan")):
        with pytest.raises(ValueError, match=message):
            Shot().round(2, "ellipse", *ranges)
    shot = Shot(0.2, -0.1, 0.3, fov_deg=14.0, quality="fast", noise_mode="none")
    shots = shot.round(4, "ellipse", 0.4, 0.2)
    assert [(each.yaw, each.pitch) for each in shots] == [
        pytest.approx(angles) for angles in [(0.2, 0.1), (0.6, -0.1), (0.2, -0.3), (-0.2, -0.1)]
    ]
    assert {dataclasses.replace(each, yaw=0.2, pitch=-0.1) for each in shots} == {shot}
    assert shot.round(2, None) == [shot, shot]


@pytest.mark.parametrize("which", ["model", "toy"])
def test_a_morph_passes_every_head_and_closes(which, request):
    model = request.getfixturevalue(which)
    heads = [model.head(seed) for seed in (3, 7, 11)]
    views = model.morph(iter(heads), num_frames=6, shot=Shot(0.2, quality="fast"))
    assert iter(views) is views
    views = list(views)
    assert [view.head.origin["share"] for view in views] == [0.0, 0.5] * 3
    assert [[parent["seed"] for parent in view.head.origin["parents"]] for view in views] == [
        [3, 7], [3, 7], [7, 11], [7, 11], [11, 3], [11, 3]
    ]  # fmt: skip
    for each, view in zip(heads, views[::2], strict=True):
        assert pixels(view.image) == pixels(each.view(Shot(0.2, quality="fast")).image)
    assert len({pixels(view.thumbnail) for view in views}) == 6


def test_a_morph_starts_and_ends_every_leg_slowly(model):
    heads = [model.head(seed) for seed in (3, 7)]
    shares = [view.head.origin["share"] for view in model.morph(heads, num_frames=16)][:8] + [1.0]
    steps = np.diff(shares)
    assert steps == pytest.approx(steps[::-1]) and (np.diff(steps[:4]) > 0).all()


def test_a_morph_can_move_the_camera_meanwhile(model):
    heads = [model.head(seed) for seed in (3, 7)]
    views = model.morph(heads, 4, "ellipse", 0.4, 0.2, Shot(0.1, -0.1))
    for view, (yaw, pitch) in zip(views, [(0.1, 0.1), (0.5, -0.1), (0.1, -0.3), (-0.3, -0.1)], strict=True):
        expected = np.asarray(view.head.view(Shot(yaw, pitch)).image, dtype=int)
        assert np.abs(np.asarray(view.image) - expected).max() <= 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"heads": []}, "heads are 0, expected at least two"),
        ({"seeds": [3]}, "heads are 1"),
        ({"heads": [3, 7]}, r"heads\[0\] is not a head of this model"),
        ({"seeds": [3, 7, 11], "num_frames": 2}, "num_frames is 2, expected an integer from 3"),
        ({"num_frames": True}, "num_frames is True"),
        ({"shot": Shot(pitch=1.5), "path": "ellipse"}, "pitch is 1.75"),
        ({"pitch_range": None, "path": "sweep"}, "pitch_range is None"),
        ({"path": "circle"}, "path is 'circle'"),
    ],
)
def test_a_morph_checks_its_arguments_at_once(model, options, message):
    heads = [model.head(seed) for seed in options.pop("seeds", (3, 7))]
    with pytest.raises(ValueError, match=message):
        model.morph(**{"heads": heads, **options})


def test_a_morph_of_another_model_is_refused(model, toy):
    with pytest.raises(ValueError, match=r"heads\[1\] is not a head of this model"):
        model.morph([model.head(3), toy.head(3)])


@pytest.mark.parametrize("ending", [".mp4", ".gif", ".webp"])
def test_films_hold_their_frames(ending, tmp_path):
    import imageio.v3 as iio

    frames = [Image.fromarray(np.full((32, 32, 3), level, dtype=np.uint8)) for level in (0, 120, 250)]
    path = tmp_path / f"film{ending}"
    write_video(iter(frames), path, fps=10)
    levels = [frame[..., :3].mean() for frame in iio.imiter(path)]
    assert levels == pytest.approx([0, 120, 250], abs=6)
    if ending != ".mp4":
        with Image.open(path) as film:
            assert (film.n_frames, film.info["loop"], film.size) == (3, 0, (32, 32))
            film.load()
            assert film.info["duration"] == 100
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("fps, milliseconds", [(30, [30, 40, 30]), (40, [20, 30, 30]), (100, [20, 20, 20])])
def test_a_gif_takes_the_right_time(fps, milliseconds, tmp_path):
    write_video((Image.new("RGB", (16, 16), (9 * i, 0, 0)) for i in range(12)), tmp_path / "film.gif", fps)
    with Image.open(tmp_path / "film.gif") as film:
        durations = [film.seek(i) or film.info["duration"] for i in range(film.n_frames)]
    assert len(durations) == 12 and durations[:3] == milliseconds
    assert sum(durations) == pytest.approx(12_000 / min(fps, 50), abs=5)


def test_a_film_that_fails_leaves_nothing(tmp_path):
    def frames():
        yield Image.new("RGB", (16, 16))
        raise RuntimeError

    for ending in (".mp4", ".gif", ".webp"):
        with pytest.raises(RuntimeError):
            write_video(frames(), tmp_path / "new" / f"film{ending}")
    with pytest.raises(ValueError, match="no frames"):
        write_video([], tmp_path / "film.mp4")
    with pytest.raises(ValueError, match=r"'film.avi', expected an ending of .mp4, .gif, .webp"):
        write_video(frames(), tmp_path / "film.avi")
    for fps in (0, 0.05, 101):
        with pytest.raises(ValueError, match=f"fps is {fps}.*, expected frames per second from 0.1 to 100"):
            write_video(frames(), tmp_path / "film.mp4", fps=fps)
    assert list(tmp_path.iterdir()) == []


# ---- geometry


def test_a_mesh_knows_where_it_comes_from(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    loaded = StyleSDF.from_pretrained(tmp_path / "model")
    seen = []
    mesh = loaded.extract_mesh(np.int64(3), truncation=0.5, resolution=32, progress=seen.append)
    assert mesh.metadata == {
        "seed": 3,
        "truncation": 0.5,
        "model": "model",
        "commit": "",
        "version": stylesdf.__version__,
        "resolution": 32,
        "scene_radius": 0.12,
        "pieces_dropped": mesh.metadata["pieces_dropped"],
    }
    json.dumps(mesh.metadata)
    assert seen[-1] == 1.0
    points = torch.tensor(np.asarray(mesh.vertices), dtype=torch.float32)
    with torch.no_grad():
        assert loaded.sdf(points, loaded.mapping(loaded.latents(3), 0.5)).abs().max() < 0.005
    with pytest.raises(ValueError, match="resolution is 16"):
        loaded.extract_mesh(3, resolution=16)


def test_results_of_a_head_tell_where_it_comes_from(model):
    first, second = model.head(3, 0.5), model.head(np.int64(7), np.float32(1), texture_seed=np.int64(9))
    common = {"model": "unnamed", "commit": "", "version": stylesdf.__version__}
    origins = {"seed": 3, "truncation": 0.5}, {"seed": 7, "truncation": 1.0, "texture_seed": 9}
    assert first.provenance == {**origins[0], **common} and second.provenance == {**origins[1], **common}
    blend = model.blend(first, second, 0.25)
    assert blend.provenance == {"parents": list(origins), "share": 0.25, **common}
    grandchild = model.blend(blend, first, 0.5).provenance
    assert grandchild["parents"][0] == {"parents": list(origins), "share": 0.25}
    assert model.head_from_codes(first.w, first.ws).provenance["seed"] is None
    mesh = blend.mesh(32)
    assert json.loads(json.dumps(mesh.metadata))["parents"] == list(origins) and "seed" not in mesh.metadata
    json.dumps(grandchild), json.dumps(second.provenance)


@pytest.mark.parametrize("which", ["model", "toy"])
def test_a_head_can_be_kept_in_a_file(which, request, tmp_path):
    model = request.getfixturevalue(which)
    head = model.blend(model.head(3), model.head(7), 0.25)
    head.save(tmp_path / "mine.safetensors")
    again = model.load_head(tmp_path / "mine.safetensors")
    assert again.provenance == head.provenance
    assert pixels(again.view(Shot(0.3)).image) == pixels(head.view(Shot(0.3)).image)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_a_head_of_many_generations_can_be_kept(model, tmp_path):
    mean = first = model.head(3)
    for i in range(30):
        mean = model.blend(mean, first, 1 / (i + 2))
    mean.save(tmp_path / "mean.safetensors")
    assert model.load_head(tmp_path / "mean.safetensors").provenance == mean.provenance
    assert json.dumps(mean.provenance).count("parents") == 8 and "left out" in json.dumps(mean.provenance)
    wordy = dataclasses.replace(first, origin={"edits": [{"amounts": {"age": 1.0}, "part": "both"}] * 30_000})
    with pytest.raises(ValueError, match="take .* bytes, over 1,048,576"):
        wordy.save(tmp_path / "wordy.safetensors")
    assert not (tmp_path / "wordy.safetensors").exists()


def test_what_is_not_a_head_is_refused(model, toy, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "head.safetensors"
    for content in (b"", b"hello", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="head.safetensors is not a head that was saved"):
            model.load_head(path)
    codes, about = {"w": torch.zeros(1, 16)}, {"stylesdf_head": "{}"}
    for tensors, metadata in (
        (codes, None),
        (codes, {"stylesdf_head": "["}),
        (codes, {"stylesdf_head": "[" * 10_000}),
        ({"v": torch.zeros(1, 16)}, about),
        ({"w": torch.full((1, 16), torch.nan)}, about),
        (codes, {"stylesdf_head": '{"edits": 5}'}),
    ):
        save_file(tensors, path, metadata)
        with pytest.raises(ValueError, match="is not a head that was saved"):
            model.load_head(path)
    toy.head(3).save(path)
    assert model.load_head(path).ws is not None  # a renderer-only model's: the decoder's codes follow from it
    model.head(3).save(path)
    with pytest.raises(ValueError, match="head of another model: ws has shape"):
        toy.load_head(path)
    with pytest.raises(ValueError, match="none.safetensors is not a file"):
        model.load_head(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"expected an ending of .safetensors"):
        model.load_head(tmp_path / "head.pt")


@pytest.mark.parametrize("which", ["model", "toy"])
def test_a_slice_shows_the_plane_of_the_camera(which, request):
    model = request.getfixturevalue(which)
    yaw, pitch = 0.4, 0.2
    cut = model.head(3, 0.6).slice(yaw, pitch, resolution=17)
    assert cut.sdf.shape == (17, 17)
    assert cut.horizontal[[0, 8, -1]] == pytest.approx([-0.12, 0, 0.12], abs=1e-7)
    with torch.no_grad():
        w = model.mapping(model.latents(3), 0.6)
        h, v = cut.horizontal[12], cut.vertical[3]
        point = torch.tensor([[h * math.sin(yaw), v, h * math.cos(yaw)]], dtype=torch.float32)
        assert cut.sdf[3, 12] == pytest.approx(model.sdf(point, w).item(), abs=1e-5)  # rows are vertical
        h, v = cut.ray_points[5]
        point = torch.tensor([[h * math.sin(yaw), v, h * math.cos(yaw)]], dtype=torch.float32)
        assert cut.ray_sdf[5] == pytest.approx(model.sdf(point, w).item(), abs=1e-5)
    assert cut.camera_position == pytest.approx((math.cos(pitch), math.sin(pitch)))
    # the samples run from the camera's side through the scene's centre, one depth step apart
    away = np.linalg.norm(cut.ray_points - cut.camera_position, axis=1)
    assert np.allclose(away, cut.ray_depth, atol=1e-6)
    assert cut.ray_depth[0] == pytest.approx(0.88)
    assert cut.ray_depth.shape == cut.ray_sdf.shape == cut.ray_density.shape == cut.ray_weights.shape == (12,)
    assert cut.beta == pytest.approx(0.003)
    assert (cut.ray_weights >= -1e-6).all() and cut.ray_weights.sum() <= 1 + 1e-5


@pytest.mark.parametrize("which", ["model", "toy"])
def test_the_ray_of_a_slice_is_the_one_that_is_rendered(which, request):
    model = request.getfixturevalue(which)
    cut = model.head(3).slice(0.3, 0.1)
    with torch.no_grad():  # four pixels around the centre of a picture with a tiny field of view
        code = model.mapping(model.latents(3), 0.7)
        rendering = model.render(code, Camera.from_angles(0.3, 0.1, fov_deg=0.001))
    assert np.allclose(cut.ray_sdf, rendering.sdf[0, 8, 8], atol=1e-4)
    behind = 1 - cut.ray_weights.sum() if model.config.background == "learned" else 0.0
    depth = cut.ray_weights @ cut.ray_depth + behind * model.config.far
    assert depth == pytest.approx(rendering.depth[0, 0, 8, 8].item(), abs=1e-4)


def test_a_slice_checks_its_arguments(model):
    for options, message in (
        ({"resolution": 4}, "resolution is 4"),
        ({"resolution": 32.0}, "resolution is 32.0"),
        ({"yaw": math.inf}, "yaw is inf"),
        ({"pitch": 2.0}, "pitch is 2"),
    ):
        with pytest.raises(ValueError, match=message):
            model.head(3).slice(**options)


def test_the_face_has_about_five_names():
    assert set(stylesdf.__all__) == {"Camera", "Shot", "StyleSDF", "StyleSDFConfig", "__version__", "preset"}
    assert all(hasattr(stylesdf, name) for name in stylesdf.__all__)
