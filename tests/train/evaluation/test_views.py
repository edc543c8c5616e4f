"""What metrics share: the level set where it is, the pictures that were asked for, and which subject they show."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from stylesdf.camera import Camera
from stylesdf.model import Generator
from stylesdf.pipeline import StyleSDF
from tests.train.evaluation.scenes import RADIUS, ball
from train.data.images import ImageSet
from train.data.toy_heads import BACKGROUND
from train.evaluation.subjects import SUBJECTS, TOY_HEADS
from train.evaluation.views import Context, Options, draw, draw_full, latent, level_set_depth


def test_latents_are_those_of_the_pipeline(tiny_config):
    model = StyleSDF(tiny_config)
    assert torch.equal(torch.cat([latent(model, seed) for seed in (0, 7)]), model.latents([0, 7]))


def test_the_level_set_lies_where_it_is(scene):
    depth = level_set_depth(scene(ball), torch.zeros(1, 16), Camera.from_angles(0.4, -0.2))[0]
    centre = depth[15:17, 15:17]
    # the rays beside the centre pass 0.0033 / √2 off the axis
    assert torch.allclose(centre, torch.full((2, 2), 1.0 - RADIUS), atol=2e-4)
    covered = (~depth.isnan()).double().mean().item() * (2 * math.tan(math.radians(6.0))) ** 2
    assert covered == pytest.approx(math.pi * RADIUS**2, rel=0.05)


def test_thumbnails_can_be_evaluated_alone(tiny_model):
    w, camera = tiny_model.mapping(latent(tiny_model, 0)), Camera.from_angles(0.2, 0.1)
    image, alpha = draw_full(tiny_model, w, camera, 1.0)
    thumbnail, same = draw_full(tiny_model, w, camera, 1.0, "thumbnail")
    assert image.shape == (1, 3, 32, 32) and thumbnail.shape == (1, 3, 16, 16) and torch.equal(alpha, same)
    with torch.no_grad():
        expected = tiny_model.render(w, camera).thumbnail.clamp(-1, 1)
        next(tiny_model.decoder.parameters()).add_(1.0)
    assert torch.equal(thumbnail, expected)
    views = Context(options=Options(pictures="thumbnail")).views(tiny_model, range(2), 1.0).pictures
    assert not torch.equal(views, Context().views(tiny_model, range(2), 1.0).pictures)
    assert torch.equal(
        views[:1],
        draw(
            tiny_model, tiny_model.mapping(latent(tiny_model, 0)), Camera.from_angles(0.0, 0.0), 1.0, "thumbnail"
        )[0],
    )


def test_the_decoders_image_is_what_is_evaluated(tiny_model):
    w = tiny_model.mapping(latent(tiny_model, 0))
    before, alpha = draw(tiny_model, w, Camera.from_angles(0.0, 0.0), 1.0)
    assert before.shape == (1, 3, 64, 64) and alpha.shape == (1, 16, 16)
    with torch.no_grad():
        next(tiny_model.decoder.parameters()).add_(1.0)
    assert not torch.equal(before, draw(tiny_model, w, Camera.from_angles(0.0, 0.0), 1.0)[0])


@pytest.mark.parametrize("fov_deg", [9.0, 16.0])
def test_a_reader_gets_pictures_of_any_field_of_view_in_its_own_frame(tiny_toy_config, fov_deg):
    context, poses = Context(options=Options(subject="toy-heads")), torch.tensor([[[0.3, -0.1]], [[0.0, 0.0]]])
    usual, other = (TOY_HEADS.draw(range(2), 5, poses, lambda share: None, each).pictures for each in (12.0, fov_deg))
    model = Generator(dataclasses.replace(tiny_toy_config, fov_deg=fov_deg))
    framed = context.for_reader(model, other)
    assert framed.shape == usual.shape
    # edges are softer, and the frame is a whole number of pixels
    assert (framed - usual).abs().mean() < 0.03 < 0.1 < (other - usual).abs().mean()
    assert (framed[:, :, 0] - usual[:, :, 0]).abs().max() < 1e-5  # the background
    same = Generator(dataclasses.replace(tiny_toy_config, fov_deg=12.0))
    assert torch.equal(context.for_reader(same, usual), usual)


def test_references_are_seen_as_the_model_sees(tiny_toy_config):
    context = Context(options=Options(subject="toy-heads"))
    narrow, usual = (
        context.references(Generator(dataclasses.replace(tiny_toy_config, fov_deg=fov_deg)), 1)
        for fov_deg in (9.0, 12.0)
    )
    assert (~narrow.depth.isnan()).sum() > 1.5 * (~usual.depth.isnan()).sum()


def pictures(subject: str = "", colour=BACKGROUND) -> ImageSet:
    plain = np.empty((5, 3, 16, 16), np.uint8)
    plain[:] = np.array(colour)[:, None, None] * 255
    return ImageSet(images=plain, thumbnails=plain, poses=None, name="data/plain", subject=subject)


def test_the_data_says_what_it_shows_unless_it_is_told():
    assert Context().subject is None and Context(pictures()).subject is None
    assert Context(pictures("toy-heads")).subject.title == "toy heads"
    assert Context(pictures(), Options(subject="toy-heads")).subject.name == "toy-heads"


@pytest.mark.parametrize("asked, shown", [("people", "toy-heads"), ("toy-heads", "people")])
def test_a_subject_is_refused_for_data_of_another(asked, shown):
    words = f"subject is '{asked}', but data/plain shows '{shown}': metrics of {SUBJECTS[asked].title} do not fit it"
    with pytest.raises(ValueError, match=words):
        Context(pictures(shown), Options(subject=asked))


@pytest.mark.parametrize("asked", SUBJECTS)
def test_a_subject_is_refused_for_data_on_another_background(asked):
    with pytest.raises(ValueError, match=r"data/plain has the background \(0.20, 0.30, 0.40\), expected \(0.80, 0.86"):
        Context(pictures(colour=(0.2, 0.3, 0.4)), Options(subject=asked))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"pictures": "mesh"}, "pictures is 'mesh', expected of image, thumbnail"),
        ({"resize": "nearest"}, "resize is 'nearest', expected of box"),
        ({"subject": "cats"}, "subject is 'cats', expected of toy-heads, people"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Options(**options)


def test_the_last_of_each_kind_is_kept():
    made, context = [], Context()
    for key in (1, 1, 2, 1):
        context.cached("thing", key, lambda key=key: made.append(key))
    assert made == [1, 2, 1]
