"""Photos: faces are found, cut as the model's heads are, without their background."""

import numpy as np
import pytest
import torch
from PIL import Image

from stylesdf import StyleSDF, fit
from stylesdf.inversion import as_tensor, background_colour, read_pictures
from stylesdf.photo import cut_photo, find_faces


@pytest.fixture(scope="module")
def people(bundled):
    return StyleSDF.from_pretrained(bundled)


@pytest.fixture(scope="module")
def head(people):
    """A picture of a head, and where it is not background."""
    view = people.head(0, 0.7).view()
    solid = Image.fromarray(np.uint8(255 * (view.background < 0.5))).resize(view.image.size, Image.Resampling.BICUBIC)
    return view.image, solid


@pytest.fixture(scope="module")
def photo(head):
    """That head at half its size, left of the middle of a wide picture, in front of stripes."""
    picture, solid = (part.resize((128, 128), Image.Resampling.LANCZOS) for part in head)
    rows = np.arange(200)[:, None, None] // 12 % 2
    stripes = np.broadcast_to(np.where(rows, (60, 110, 60), (90, 150, 80)), (200, 400, 3))
    scene = Image.fromarray(stripes.astype(np.uint8))
    scene.paste(picture, (60, 40), solid)
    return scene


def test_the_face_is_where_it_was_pasted(head, photo):
    ((x, y, side),), ((across, down, size),) = find_faces(photo), find_faces(head[0])
    assert (x - 60, y - 40) == pytest.approx((across / 2, down / 2), abs=8)
    assert side == pytest.approx(size / 2, rel=0.2)
    ((mirrored, *rest),) = find_faces(photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert mirrored == pytest.approx(400 - x, abs=1e-6) and rest == pytest.approx([y, side])


@pytest.mark.parametrize("size", [(32, 32), (400, 32), (4096, 32), (33, 200)])
def test_there_is_no_face_in_a_strip(size):
    assert find_faces(Image.new("RGB", size, "gray")) == []


def test_what_is_cut_is_the_head_alone(people, head, photo):
    square = cut_photo(photo, people.photo_frame, 256)
    assert square.size == (256, 256) and square.mode == "RGBA"
    found, true = np.asarray(square.getchannel("A")) > 127, np.asarray(head[1]) > 127
    # another head than the mean one may lie a little aside and be larger
    assert (found & true).sum() / (found | true).sum() > 0.7
    seen = read_pictures(people, photo, photo=True)[0]
    assert (np.asarray(seen)[:8, :8] == background_colour(people)).all()


def test_a_head_that_is_cut_out_stays_so(people, photo, head):
    transparent = head[0].convert("RGBA")
    transparent.putalpha(head[1])
    square = cut_photo(transparent, people.photo_frame, 256)
    alpha, true = (np.asarray(each, int) for each in (square.getchannel("A"), head[1]))
    # its face is made as large as the mean head's, which this one's need not be
    ((_, _, after),), ((_, _, before),) = find_faces(square.convert("RGB")), find_faces(head[0])
    assert abs((alpha > 127).sum() / (true > 127).sum() / (after / before) ** 2 - 1.0) < 0.15


@pytest.mark.parametrize("count, found", [(0, "no face is found"), (4, "4 faces are found")])
def test_not_one_face_is_a_sentence(people, head, tmp_path, count, found):
    sheet = Image.new("RGB", (512, 512), (40, 90, 40))
    for number in range(count):
        sheet.paste(head[0], (256 * (number % 2), 256 * (number // 2)))
    sheet.save(tmp_path / "party.png")
    with pytest.raises(ValueError, match=f"{found} in party.png, expected one, upright, that looks ahead"):
        people.invert(tmp_path / "party.png", photo=True)


def test_a_model_without_faces_is_a_sentence(tiny_toy_config, photo):
    with pytest.raises(ValueError, match="in the pictures of this model no faces are found"):
        StyleSDF(tiny_toy_config).eval().invert(photo, photo=True)


def test_a_likeness_stays_among_the_models_own_heads(people, photo, monkeypatch):
    monkeypatch.setattr(fit, "MIDDLE", fit.Phase(3, 16, 0.018, (0.06, 0.01), False, 1.0))
    monkeypatch.setattr(fit, "FINE", fit.Phase(3, None, 0.0, (0.06, 0.004), True, 1.0))
    pictures = [as_tensor(each) for each in read_pictures(people, photo, photo=True)]
    free, bound = (fit.fit_pictures(people, pictures, people.inverter, likeness=likeness) for likeness in (False, True))
    with torch.no_grad():
        assert (bound.ws - people.decoder_codes(bound.w)).abs().max() == 0.0
        assert (free.ws - people.decoder_codes(free.w)).abs().max() > 0.01
    found = people.invert(photo, photo=True)
    assert torch.equal(found.head.w, bound.w) and found.head.origin["pictures"] == 1
