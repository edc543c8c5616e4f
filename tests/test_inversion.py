"""A head from its picture: it comes nearer, the same each time; the model stays; bad pictures are one sentence each."""

import dataclasses
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylesdf import fit
from stylesdf.camera import Camera
from stylesdf.encoder import CodeSpace, Encoder
from stylesdf.fit import psnr, softened
from stylesdf.inversion import as_tensor, background_colour, cut, open_picture, read_pictures
from stylesdf.pipeline import StyleSDF
from stylesdf.shot import Shot


@pytest.fixture(autouse=True)
def short(monkeypatch):
    for name in ("COARSE", "MIDDLE", "FINE"):
        monkeypatch.setattr(fit, name, dataclasses.replace(getattr(fit, name), steps=3))
    monkeypatch.setattr(fit, "NUM_STARTS", 4)


@pytest.fixture
def model(tiny_toy_config) -> StyleSDF:
    model = StyleSDF(tiny_toy_config).eval()
    model.update_means(100)
    return model


@pytest.fixture
def picture(model) -> Image.Image:
    return model.head(3, 1.0).view(Shot(yaw=0.1)).image


def inverter_of(model: StyleSDF) -> Encoder:
    space = CodeSpace.measure(model.renderer_mapping, model.config.latent_size)
    inverter = Encoder(model.config.latent_size, len(space.axes))
    inverter.set_space(space)
    return inverter


@pytest.mark.parametrize("has_inverter", [False, True])
def test_it_comes_nearer_the_same_every_time(model, picture, has_inverter):
    vars(model)["inverter"] = inverter_of(model) if has_inverter else None
    steps = []
    found = model.invert(picture, on_step=steps.append)
    start = model.invert(picture, refine=False)
    assert found.psnr[0] > start.psnr[0]
    assert len(steps) == (6 if has_inverter else 9)
    assert [step.share for step in steps] == sorted(step.share for step in steps) and steps[-1].share == 1.0
    assert steps[-1].image.size == picture.size and steps[-1].psnr > steps[0].psnr - 3.0
    assert [seen.tobytes() for seen in found.pictures] == [picture.convert("RGB").tobytes()]
    again = model.invert([picture])
    assert again.head.w.equal(found.head.w) and again.head.ws.equal(found.head.ws) and again.shots == found.shots
    drawn = as_tensor(found.head.view(found.shots[0]).image)
    assert psnr(drawn, as_tensor(picture)) == pytest.approx(found.psnr[0], abs=0.1)


def test_the_model_stays_as_it_is(model, picture):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    model.invert(picture)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert torch.get_rng_state().equal(state) and torch.is_grad_enabled()


def test_the_head_is_one_like_any_other_and_keeps_nothing_of_the_picture(model, picture, tmp_path):
    head = model.invert([picture, picture]).head
    assert head.origin == {"seed": None, "truncation": None, "pictures": 2}
    head.save(tmp_path / "mine.safetensors")
    assert (tmp_path / "mine.safetensors").stat().st_size < 4000
    loaded = model.load_head(tmp_path / "mine.safetensors")
    assert loaded.w.equal(head.w) and loaded.ws.equal(head.ws) and loaded.origin == head.origin
    assert json.loads(json.dumps(loaded.provenance)) == loaded.provenance
    assert model.blend(head, model.head(0), 0.5).thumbnail().size == (16, 16)


def test_several_pictures_share_a_head_and_have_shots_of_their_own(model):
    head = model.head(3, 1.0)
    pictures = [head.view(Shot(yaw=yaw)).image for yaw in (0.3, -0.3)]
    found = model.invert(pictures, mirror=True)
    assert len(found.shots) == len(found.psnr) == 2 and found.shots[0] != found.shots[1]


def test_a_mirrored_picture_is_a_view_from_the_other_side(model, picture):
    """The loss with it is that of a second picture, flipped, whose yaw is the opposite one."""
    space, target = inverter_of(model).space(model.w_avg), as_tensor(picture)
    coordinates, angles = torch.randn(1, len(space.axes)), torch.tensor([[0.2, 0.1], [-0.2, 0.1]])

    @torch.no_grad()
    def loss(picture: torch.Tensor, own: torch.Tensor, mirror: bool) -> torch.Tensor:
        search = fit._Search(model, space, [picture], coordinates, own, mirror, False)
        return search._loss(model.renderer, 0, None, True)[0] - fit.PRIOR_WEIGHT * coordinates.square().mean()

    with_it, plain, other = loss(target, angles[:1], True), loss(target, angles[:1], False), target.flip(3)
    torch.testing.assert_close(with_it, plain + fit.MIRROR_WEIGHT * loss(other, angles[1:], False))


def test_it_stops_where_it_is_told_to(model, picture):
    steps = []

    def stop(step) -> bool:
        steps.append(step)
        return len(steps) < 2

    found = model.invert(picture, on_step=stop)
    assert len(steps) == 2 and found.head.view(found.shots[0]).image.size == picture.size

    def fail(step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.invert(picture, on_step=fail)


def test_a_model_without_a_decoder(tiny_toy_config, picture):
    model = StyleSDF(dataclasses.replace(tiny_toy_config, decoder_channels=())).eval()
    found = model.invert(picture)
    assert found.head.ws is None and found.head.view(found.shots[0]).image.size == (16, 16)


def test_a_density_is_softened_in_a_copy(model):
    beta = model.renderer.beta.item()
    assert softened(model.renderer, 0.0).beta.item() == beta
    with torch.no_grad():
        model.renderer.log_beta.fill_(-9.0)
    soft = softened(model.renderer, 0.1)
    assert soft.beta.item() == pytest.approx(0.1 * model.config.scene_radius)
    assert model.renderer.log_beta.item() == -9.0
    field = model.field.condition(model.w_avg)
    with torch.no_grad():
        assert torch.isfinite(soft(field, Camera.from_angles(0.0, 0.0)).thumbnail).all()


def png_of_size(width: int, height: int) -> bytes:
    """The beginning of a PNG that says it is so large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("notes.png", b"these are no pixels", "notes.png cannot be read as a picture: .*a text"),
        ("huge.png", png_of_size(20_000, 20_000), "huge.png cannot be read as a picture: .*400000000 pixels"),
        ("empty.jpg", b"", "empty.jpg cannot be read as a picture: an empty file"),
        ("cut.png", png_of_size(64, 64), "cut.png cannot be read as a picture"),
    ],
)
def test_what_is_no_picture_is_one_sentence(model, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        model.invert(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_other_input_is_one_sentence(model, tmp_path):
    with pytest.raises(ValueError, match="is not a file, expected a picture"):
        model.invert(tmp_path)
    with pytest.raises(ValueError, match="picture 1 has 31×90 pixels, expected at least 32 in each direction"):
        model.invert([Image.new("RGB", (40, 40)), Image.new("RGB", (31, 90))])
    with pytest.raises(ValueError, match="there are 0 pictures, expected from 1 to 16"):
        model.invert([])
    with pytest.raises(ValueError, match="picture 0 is of type int, expected a file or a PIL image"):
        model.invert(3)


def test_a_square_is_cut_around_a_head():
    picture = Image.new("RGB", (300, 200), "white")
    picture.paste("red", (50, 0, 70, 20))  # the corner of the central square
    picture.paste("blue", (200, 100, 250, 200))

    def colours(*places, **options):
        square = cut(picture, **options)
        assert square.mode == "RGBA" and square.width == square.height
        return [square.getpixel((round(x * (square.width - 1)), round(y * (square.width - 1)))) for x, y in places]

    red, blue, white, clear = (255, 0, 0, 255), (0, 0, 255, 255), (255, 255, 255, 255), (0, 0, 0, 0)
    corners = [(0.03, 0.03), (0.97, 0.03), (0.97, 0.97), (0.03, 0.97)]
    assert cut(picture).size == (200, 200) and cut(picture, zoom=2.0).size == (100, 100)
    assert colours(*corners) == [red, white, blue, white]
    assert colours(*corners, turn=90.0) == [white, red, white, blue]  # clockwise
    assert colours(*corners, zoom=4.0, right=0.375, down=0.25) == [blue] * 4
    assert colours((0.03, 0.03), (0.5, 0.03), (0.5, 0.5), zoom=0.5) == [clear, clear, white]
    assert colours((0.03, 0.03), right=-1.0) == [clear]


def test_pictures_of_any_kind_become_the_model_s(model, tmp_path):
    red = Image.new("RGB", (60, 40), (255, 0, 0))
    red.convert("CMYK").save(tmp_path / "cmyk.jpg")
    red.save(tmp_path / "two.gif", save_all=True, append_images=[Image.new("RGB", (60, 40))])
    for path in (tmp_path / "cmyk.jpg", tmp_path / "two.gif"):
        (read,) = read_pictures(model, path)
        assert read.size == (32, 32) and read.getpixel((16, 16))[0] > 200 > 60 > read.getpixel((16, 16))[1]
    clear = Image.new("RGBA", (50, 50), (255, 0, 0, 0))
    (read,) = read_pictures(model, clear)
    assert read.getpixel((5, 5)) == background_colour(model)
    cut = Image.new("RGBA", (90, 90), (0, 0, 0, 0))
    cut.paste((*background_colour(model), 255), (20, 20, 70, 70))  # what is hidden around it is black
    (read,) = read_pictures(model, cut)
    assert read.getcolors() == [(32 * 32, background_colour(model))]
    wide = Image.new("RGB", (90, 30 + 20), (0, 0, 255))
    wide.paste((0, 255, 0), (20, 0, 70, 50))
    (read,) = read_pictures(model, wide)
    assert read.getpixel((0, 0)) == read.getpixel((31, 31)) == (0, 255, 0)


def turned(folder: Path) -> Path:
    tags = Image.Exif()
    tags[0x0112] = 6  # shown turned clockwise
    Image.radial_gradient("L").crop((0, 60, 200, 160)).convert("RGB").save(folder / "turned.jpg", exif=tags)
    return folder / "turned.jpg"


def in_16_bits(folder: Path) -> Path:
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    Image.fromarray(values.astype(np.uint16)).save(folder / "deep.png")
    return folder / "deep.png"


def in_floats(folder: Path) -> Path:
    Image.fromarray(np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)).save(folder / "float.tiff")
    return folder / "float.tiff"


@pytest.mark.parametrize("write", [turned, in_16_bits, in_floats])
def test_a_pil_image_is_read_as_its_file(write, tmp_path):
    path = write(tmp_path)
    from_file, from_pillow, copied = open_picture(path), open_picture(Image.open(path)), Image.open(path).copy()
    assert from_file.size == ((100, 200) if write == turned else (64, 64))
    assert from_file.convert("L").getextrema()[1] > 200 > 50 > from_file.convert("L").getextrema()[0]
    assert np.array_equal(from_file, from_pillow) and np.array_equal(from_file, open_picture(copied))


def test_a_pil_image_that_cannot_be_read_is_one_sentence(tmp_path):
    path = turned(tmp_path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match="^picture 3 cannot be read as a picture: image file is truncated"):
        open_picture(Image.open(path), 3)
    dark = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) // 40)
    with pytest.raises(ValueError, match="^picture 0 cannot be read as a picture: 16-bit integers from 0 to 102"):
        open_picture(dark)
