"""Edits with names: codes move along directions, what a head is made of says so, the file travels with the model."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from stylesdf import StyleSDF
from stylesdf.directions import Directions, find_latents


@pytest.fixture
def model(tiny_config) -> StyleSDF:
    torch.manual_seed(3)
    model = StyleSDF(tiny_config).eval().requires_grad_(False)
    directions = Directions(tiny_config.latent_size, ["age", "smile"])
    directions.vectors.copy_(torch.randn(2, tiny_config.latent_size))
    vars(model)["directions"] = directions
    return model


def test_a_code_moves_by_the_amount_and_the_origin_says_so(model):
    head = model.head(3)
    edited = model.edit(head, {"smile": -2, "age": 0.5})
    z, vectors = find_latents(model.renderer_mapping, head.w), model.directions.vectors
    there = z + 0.5 * vectors[0] - 2.0 * vectors[1]
    there = there * (z.norm() / there.norm())  # on the sphere where latents are
    moved = model.renderer_mapping(there) - model.renderer_mapping(z)
    torch.testing.assert_close(edited.w - head.w, moved, atol=1e-5, rtol=1e-5)
    moved = edited.ws - head.ws
    torch.testing.assert_close(moved, model.decoder_codes(edited.w) - model.decoder_codes(head.w), atol=1e-5, rtol=1e-5)
    assert edited.origin == {
        "seed": 3, "truncation": 0.7, "edits": [{"amounts": {"age": 0.5, "smile": -2.0}, "part": "both"}]
    }  # fmt: skip
    torch.testing.assert_close(model.edit(head, {}).w, head.w)
    assert len(model.edit(edited, {"smile": 2, "age": -0.5}).origin["edits"]) == 2


def test_a_model_in_half_precision_is_edited_like_the_other(model):
    head = model.head(3)
    edited = model.edit(head, {"age": 1}).w
    half = StyleSDF(model.config).eval()
    half.load_state_dict(model.state_dict())
    vars(half)["directions"] = model.directions
    half.to(torch.bfloat16)
    again = half.edit(half.head(3), {"age": 1}).w
    assert again.dtype == torch.bfloat16 and (again.float() - edited).norm() < 0.5 * (head.w - edited).norm()


def test_latents_are_found_for_codes_and_the_same_every_time(model):
    z = model.latents([3, 4, 5])
    w = model.renderer_mapping(z)
    found = find_latents(model.renderer_mapping, w)
    assert not found.requires_grad and all(p.grad is None for p in model.parameters())
    distance = (model.renderer_mapping(found) - w).norm() / w.norm()
    assert distance < 0.05 and found.equal(find_latents(model.renderer_mapping, w))
    alone = find_latents(model.renderer_mapping, w[:1])
    torch.testing.assert_close(alone, found[:1], atol=1e-3, rtol=1e-3)
    with torch.inference_mode():
        torch.testing.assert_close(find_latents(model.renderer_mapping, w + 0.0), found)


def test_parts_move_the_field_or_the_decoder(model):
    head = model.head(3, texture_seed=4)
    shape, texture = (model.edit(head, {"age": 1}, part=part) for part in ("shape", "texture"))
    both = model.edit(head, {"age": 1})
    assert shape.ws.equal(head.ws) and not shape.w.equal(head.w)
    assert texture.w.equal(head.w) and not texture.ws.equal(head.ws)
    assert both.w.equal(shape.w) and both.ws.equal(texture.ws)
    # the texture of another seed is kept, moved
    torch.testing.assert_close(both.ws - head.ws, model.decoder_codes(both.w) - model.decoder_codes(head.w))


@pytest.mark.parametrize(
    ("amounts", "part", "sentence"),
    [
        ({"beard": 1}, "both", "there is no direction 'beard', expected one of age, smile"),
        ({"age": 11}, "both", "age is 11, expected an amount within ±10"),
        (["age"], "both", "amounts are \\['age'\\], expected a dict of names and numbers"),
        (None, "both", "amounts are None, expected a dict"),
        ({"age": "1"}, "both", "age is '1', expected a finite number"),
        ({"age": float("nan")}, "both", "age is nan, expected a finite number"),
        ({"age": 1}, "colour", "part is 'colour', expected one of both, shape, texture"),
    ],
)
def test_what_cannot_be_is_refused(model, amounts, part, sentence):
    with pytest.raises(ValueError, match=sentence):
        model.edit(model.head(3), amounts, part)


def test_a_head_of_another_model_is_refused(model, tiny_config):
    other = StyleSDF(dataclasses.replace(tiny_config, latent_size=8)).eval()
    with pytest.raises(ValueError, match="is not a head of this model"):
        model.edit(other.head(3), {"age": 1})


def test_a_model_without_directions_says_so(tiny_config):
    model = StyleSDF(tiny_config).eval()
    with pytest.raises(ValueError, match="the model has no directions.safetensors beside it"):
        model.edit(model.head(3), {"age": 1})


def test_directions_travel_with_the_model(model, tmp_path):
    model.save_pretrained(tmp_path / "first")
    loaded = StyleSDF.from_pretrained(tmp_path / "first")
    assert loaded.directions.names == ["age", "smile"] and loaded.directions.vectors.equal(model.directions.vectors)
    loaded.save_pretrained(tmp_path / "second")
    files = [(tmp_path / folder / "directions.safetensors").read_bytes() for folder in ("first", "second")]
    assert files[0] == files[1]
    assert not [name for name in loaded.state_dict() if "directions" in name]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"latent_size": 8, "names": ["age", "smile"]}, "is one for codes of 8, expected 16"),
        ({"latent_size": 16, "names": ["age", "age"]}, "a direction is named 'age', expected one word in lower case"),
        ({"latent_size": 16, "names": ["<b>"]}, "a direction is named '<b>', expected one word"),
        ({"latent_size": 16, "names": "age"}, "names of directions are 'age', expected a list of 1 to 64"),
        ({"latent_size": 16, "names": ["age"]}, "vectors"),
        ({"latent_size": 16}, "expected latent_size and names"),
    ],
)
def test_a_file_of_another_kind_is_refused(model, tmp_path, config, sentence):
    model.save_pretrained(tmp_path)
    vectors = {"vectors": torch.zeros(2, 16)}
    save_file(vectors, tmp_path / "directions.safetensors", metadata={"config": json.dumps(config)})
    with pytest.raises(ValueError, match=sentence):
        StyleSDF.from_pretrained(tmp_path)


def test_an_edited_head_is_saved_with_its_edits(model, tmp_path):
    edited = model.edit(model.head(3), {"age": 1.5})
    edited.save(tmp_path / "mine.safetensors")
    assert model.load_head(tmp_path / "mine.safetensors").origin == edited.origin
