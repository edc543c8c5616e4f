"""Checkpoint folders and the hub: strict both ways, atomic, and a whole push and pull over a loopback server."""

import dataclasses
import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stylesdf.card import CardFacts, model_card
from stylesdf.checkpoint import load_config, load_weights, save_model
from stylesdf.encoder import Encoder
from stylesdf.model import Generator
from tests.loopback_hub import LoopbackHub
from tests.tiny import Model

ROOT = Path(__file__).parents[1]


@pytest.fixture
def model(published_model) -> Model:
    return published_model


@pytest.fixture
def folder(model, tmp_path) -> Path:
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_refused(name_or_path, match: str, **options) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        Model.from_pretrained(name_or_path, **options)
    assert "\n" not in str(caught.value)


# Round trip


@pytest.mark.parametrize("name", ["checkpoints/people", "owner/name", "owner/name@main"])
def test_files_name_a_model_as_it_was_given(tiny_model, name):
    model = Model(tiny_model.config)
    assert model.public_name == "unnamed"
    model.name_or_path = name
    assert model.public_name == name


def test_files_do_not_name_the_way_to_a_folder(tiny_model, tmp_path):
    model = Model(tiny_model.config)
    for folder, name in (("checkpoints/mine", "checkpoints/mine"), ("checkpoints", "checkpoints"), ("a/b", "b")):
        model.name_or_path = str(tmp_path / folder)
        assert model.public_name == name


def test_round_trip_is_exact(model, folder, tmp_path):
    assert names(folder) == ["README.md", "config.json", "model.safetensors"]
    loaded = Model.from_pretrained(folder)
    assert loaded.config == model.config
    assert not loaded.training
    assert (loaded.name_or_path, loaded.commit_hash) == (str(folder), None)
    assert loaded.public_name == "model"  # no folder of this machine
    state = model.state_dict()
    assert {name: tensor.shape for name, tensor in loaded.state_dict().items()} == {
        name: tensor.shape for name, tensor in state.items()
    }
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    assert all(not tensor.is_meta for tensor in loaded.state_dict().values())
    loaded.save_pretrained(tmp_path / "again")
    for name in names(folder):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("max_shard_size", [None, "20KB"])
def test_what_was_learned_of_other_weights_is_removed(model, folder, max_shard_size):
    vars(model)["inverter"] = Encoder(model.config.latent_size, 3)
    save_model(model, folder, max_shard_size=max_shard_size, discriminators={"encoder": torch.nn.Linear(3, 2)})
    (folder / "directions.json").write_text("{}")
    (folder / "directions.png").touch()
    learned = {"directions.json", "directions.png", "inverter.safetensors"}
    model.inverter = None
    model.save_pretrained(folder, max_shard_size=max_shard_size)  # the same weights
    assert learned <= set(names(folder))
    model.w_avg += 1.0
    model.save_pretrained(folder, variant="fp16")  # beside them
    assert learned <= set(names(folder))
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    assert not learned & set(names(folder)) and "encoder.safetensors" in names(folder)
    assert Model.from_pretrained(folder).inverter is None


def test_loaded_model_can_be_trained(folder):
    loaded = Model.from_pretrained(folder)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in loaded.parameters())
    assert set(dict(loaded.named_buffers())) >= {"w_avg", "ws_avg", "decoder.conv.noise"}


@pytest.mark.parametrize("device", ["foo", "cuda:99", torch.device("cuda", 99), 3.5])
def test_a_device_that_is_not_there_is_refused(folder, device):
    assert_refused(folder, f"^device {str(device)!r} is not there, expected cpu, cuda, cuda:1", device=device)


def test_loading_does_not_touch_the_random_state(folder):
    before = torch.random.get_rng_state()
    Model.from_pretrained(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_loaded_tensors_do_not_change_with_the_file(folder):
    loaded = Model.from_pretrained(folder)
    w_avg = loaded.w_avg.clone()
    (folder / "model.safetensors").write_bytes(bytes((folder / "model.safetensors").stat().st_size))
    assert torch.equal(loaded.w_avg, w_avg)


def test_file_is_float32_contiguous_and_marked(model, tmp_path):
    model.double()
    model.w_avg = torch.arange(32.0, dtype=torch.float64)[::2][None]
    model.save_pretrained(tmp_path / "model")
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F32"}
        assert torch.equal(file.get_tensor("w_avg"), model.w_avg.float())
    assert model.dtype == torch.float64  # the model itself is left alone


def test_dtype_and_device(folder):
    loaded = Model.from_pretrained(folder, dtype=torch.float64, device="cpu")
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float64}
    assert_refused(folder, "torch.int64", dtype=torch.int64)
    assert_refused(folder, "float16", dtype="float16")


def test_load_weights_into_a_model_keeps_its_parameters(model, folder, tiny_config):
    other = Generator(tiny_config)
    parameter = other.field.sdf_head.weight
    load_weights(other, folder / "model.safetensors")
    assert other.field.sdf_head.weight is parameter
    assert torch.equal(parameter, model.field.sdf_head.weight)


def test_renderer_only_model(tiny_config, tmp_path):
    model = Model(dataclasses.replace(tiny_config, decoder_channels=()))
    model.save_pretrained(tmp_path / "model")
    assert not Model.from_pretrained(tmp_path / "model").config.has_decoder


# What does not fit


def change(folder: Path, **changes) -> None:
    """Rewrite the weights; None removes a tensor. Dots in names are written as two underscores."""
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        tensors[name.replace("__", ".")] = tensor
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"w_avg": None}, "tensor w_avg is missing from"),
        ({"field__sdf_head__bias": None, "w_avg": None}, r"tensor field.sdf_head.bias is missing.*and 1 more"),
        ({"extra": torch.zeros(1)}, "tensor extra is unexpected in"),
        ({"field__sdf_head__weight": torch.zeros(1, 17)}, r"field.sdf_head.weight.*\(1, 17\), expected \(1, 16\)"),
        ({"field__sdf_head__weight": torch.zeros(16)}, r"field.sdf_head.weight.*\(16,\), expected \(1, 16\)"),
        ({"w_avg": torch.zeros(1, 16, dtype=torch.int64)}, "w_avg.*I64"),
        ({"w_avg": torch.zeros(1, 16, dtype=torch.bool)}, "w_avg.*BOOL"),
        ({"w_avg": torch.full((1, 16), float("nan"))}, "w_avg.*not finite"),
        ({"w_avg": torch.full((1, 16), float("inf"))}, "w_avg.*not finite"),
        ({"w_avg": torch.full((1, 16), 1e300, dtype=torch.float64)}, "w_avg.*not finite"),
    ],
)
def test_weights_that_do_not_fit(changes, match, folder):
    change(folder, **changes)
    assert_refused(folder, match)


def test_failed_load_leaves_a_model_as_it_was(model, folder, tiny_config):
    change(folder, w_avg=torch.full((1, 16), float("nan")))
    other = Generator(tiny_config)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match="not finite"):
        load_weights(other, folder / "model.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_not_strict_warns_and_still_refuses_wrong_shapes(model, folder, caplog):
    change(folder, w_avg=None, extra=torch.zeros(1))
    with caplog.at_level(logging.WARNING):
        loaded = Model.from_pretrained(folder, strict=False)
    assert "w_avg" in caplog.text and "extra" in caplog.text
    assert torch.equal(loaded.field.sdf_head.weight, model.field.sdf_head.weight)
    change(folder, field__sdf_head__weight=torch.zeros(2, 16))
    assert_refused(folder, "field.sdf_head.weight", strict=False)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_cut_weights(share, folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: int(len(whole) * share)])
    assert_refused(folder, "model.safetensors is not a complete safetensors file")


@pytest.mark.parametrize("content", [b"\x80\x02}q\x00.", b"PK\x03\x04", b"\xff" * 64, b"\0" * 64])
def test_weights_of_another_kind(content, folder):
    (folder / "model.safetensors").write_bytes(content)
    assert_refused(folder, "model.safetensors is not a complete safetensors file")


def test_missing_files(folder):
    (folder / "model.safetensors").unlink()
    assert_refused(folder, "has no model.safetensors")
    (folder / "config.json").unlink()
    assert_refused(folder, "has no config.json")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", b"model: 3", b'{"format": 1,}', b"[" * 100_000, b'{"format": ' + b"1" * 5000 + b"}"],
)
def test_config_that_is_not_json(text, folder):
    (folder / "config.json").write_bytes(text)
    assert_refused(folder, "config.json is not JSON")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"extra": 1}, "unknown config key 'extra'"),
        ({"format": 2}, "newer"),
        ({"format": "1"}, "format"),
        ({"format": None}, "format"),
        ({"field_width": "16"}, "field_width"),
        ({"field_width": 16.0}, "field_width"),
        ({"field_width": True}, "field_width"),
        ({"field_width": 10**9}, "field_width"),
        ({"field_depth": -1}, "field_depth"),
        ({"decoder_channels": 8}, "decoder_channels"),
        ({"decoder_channels": [8] * 40}, "decoder_channels"),
        ({"fov_deg": float("nan")}, "fov_deg"),
        ({"fov_deg": None}, "fov_deg"),
        ({"scene_radius": 1e-320}, "scene_radius"),
        ({"render_resolution": 512, "num_samples": 1024, "decoder_channels": []}, "makes 268435456 samples"),
        ({"density": ["logistic"]}, "density"),
        ({"view_directions": 1}, "view_directions"),
        ({"render_resolution": 17}, "render_resolution"),
        # a config that is fine, of another model
        ({"field_width": 4096, "latent_size": 4096, "field_depth": 64}, "model.safetensors"),
    ],
)
def test_config_that_does_not_fit(changes, match, folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, **changes}))
    assert_refused(folder, match)


@pytest.mark.parametrize("values", [[], 3, None, "x"])
def test_config_that_is_not_an_object(values, folder):
    (folder / "config.json").write_text(json.dumps(values))
    assert_refused(folder, "config.json: a config is a JSON object")


@pytest.mark.parametrize(
    "name",
    ["", "no/such/folder/x", "nowhere", "./nowhere", "../a", "/no/such", "a b/c", "a/b@", Path("a/b"), "x" * 5000],
)
def test_neither_folder_nor_repository(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(name, "neither a folder nor a hub repository id")


@pytest.mark.parametrize("name", [None, 3, ["a"]])
def test_what_names_no_model_is_refused(name):
    with pytest.raises(ValueError, match="the model is .*, expected a folder, a file or a hub repository id"):
        Model.from_pretrained(name)


def test_a_file_beside_its_config(model, folder):
    (folder / "model.safetensors").rename(folder / "step 12.safetensors")
    loaded = Model.from_pretrained(folder / "step 12.safetensors")
    assert torch.equal(loaded.w_avg, model.w_avg) and loaded.card == (folder / "README.md").read_text()
    assert_refused(folder / "step 12.safetensors", "is a file, expected a folder", subfolder="a")
    assert_refused(folder / "step 12.safetensors", "is a file, expected a folder", variant="fp16")
    assert_refused(folder / "README.md", "is a file, expected a checkpoint folder, a .safetensors file")
    (folder / "config.json").unlink()
    assert_refused(folder / "step 12.safetensors", "has no config.json")


def test_subfolder(model, folder):
    model.save_pretrained(folder / "a" / "b")
    (folder / "model.safetensors").unlink()
    assert torch.equal(Model.from_pretrained(folder, subfolder="a/b").w_avg, model.w_avg)
    assert_refused(folder, "has no config.json", subfolder="a")


@pytest.mark.parametrize("path", ["..", "../model", "a/../../model", "/etc", "a//b", "a\\b", "", ".hidden", "a\0b", 3])
def test_names_do_not_lead_out(path, folder):
    (folder / "a").mkdir()
    assert_refused(folder / "a", "subfolder is", subfolder=path)
    assert_refused(folder, "variant is", variant=path)


@pytest.mark.parametrize("revision", ["../../x", "a/../b", "/etc/passwd", "..", "a b", "a\\b", "-x", ""])
def test_revisions_do_not_lead_out(revision, tmp_path, monkeypatch):
    assert_refused("someone/heads", "revision is", revision=revision)


# Variants and shards


@pytest.mark.parametrize("variant", ["fp16", "bf16"])
def test_variant_lies_beside_the_weights(variant, model, folder):
    model.save_pretrained(folder, variant=variant)
    assert names(folder) == ["README.md", "config.json", f"model.{variant}.safetensors", "model.safetensors"]
    small, full = (folder / name for name in (f"model.{variant}.safetensors", "model.safetensors"))
    assert small.stat().st_size < 0.6 * full.stat().st_size
    loaded = Model.from_pretrained(folder, variant=variant)
    assert loaded.dtype == torch.float32
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-2, atol=1e-3)
    assert torch.equal(Model.from_pretrained(folder).w_avg, model.w_avg)


def test_variant_that_cannot_be(model, folder):
    assert_refused(folder, "has no model.fp16.safetensors", variant="fp16")
    with pytest.raises(ValueError, match="variant is 'fp8', expected 'fp16' or 'bf16'"):
        model.save_pretrained(folder, variant="fp8")
    with torch.no_grad():
        model.w_avg += 1e6
    with pytest.raises(ValueError, match="w_avg holds values that are not finite"):
        model.save_pretrained(folder, variant="fp16")


@pytest.fixture
def sharded(model, folder) -> Path:
    model.save_pretrained(folder, max_shard_size="20KB")
    return folder


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards(variant, model, folder):
    index = "model.safetensors.index.json" if variant is None else "model.safetensors.index.fp16.json"
    model.save_pretrained(folder, variant=variant, max_shard_size=10_000)
    shards = [path for path in folder.glob("model*-of-*.safetensors")]
    assert len(shards) > 1 and (folder / index).is_file()
    assert all(path.stat().st_size < 14_000 for path in shards)
    assert (folder / "model.safetensors").exists() == (variant is not None)  # stale weights are gone
    loaded = Model.from_pretrained(folder, variant=variant)
    assert torch.allclose(loaded.w_avg, model.w_avg, atol=1e-3)
    model.save_pretrained(folder, variant=variant)
    assert not list(folder.glob("model*-of-*.safetensors")) and not (folder / index).exists()
    Model.from_pretrained(folder, variant=variant)


def test_small_weights_are_not_cut(model, folder):
    model.save_pretrained(folder, max_shard_size="5GB")
    assert names(folder) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "x.bin", "", ".x.safetensors"]
)
def test_shards_lie_beside_the_index(name, sharded):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["w_avg"] = name
    path.write_text(json.dumps(index))
    assert_refused(sharded, "expected .safetensors files beside it")


def test_shards_that_do_not_fit(sharded):
    path = sharded / "model.safetensors.index.json"
    whole = path.read_text()
    first = sorted(sharded.glob("model-00001*"))[0]
    for text, match in [
        (whole.replace('"w_avg"', '"w_mean"'), "do not agree on tensor w_"),
        ('{"weight_map": {}}', "has no weight_map"),
        ("[]", "has no weight_map"),
        ("[" * 100_000, "is not JSON"),
        ('{"weight_map": {"a": "a.safetensors", "a": "b.safetensors"}}', "twice"),
        ('{"weight_map": {"a": 3}}', "names 3"),
        (" " * (1 << 20) + "{}", "too many"),
    ]:
        path.write_text(text)
        assert_refused(sharded, match)
    path.write_text(whole)
    content = first.read_bytes()
    first.write_bytes(content[:-1])
    assert_refused(sharded, "00001.*is not a complete safetensors file")
    first.unlink()
    assert_refused(sharded, "has no model-00001")


def test_links_do_not_lead_out(sharded, tmp_path):
    shard = sorted(sharded.glob("model-00001*"))[0]
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    assert_refused(sharded, "is a link that leads out of its folder")
    shard.unlink()
    (tmp_path / "elsewhere").rename(sharded / "inside")
    shard.symlink_to("inside")
    Model.from_pretrained(sharded)
    (tmp_path / "secret").write_text("mine")
    (sharded / "README.md").unlink()
    (sharded / "README.md").symlink_to(tmp_path / "secret")
    assert_refused(sharded, "README.md is a link that leads out")


# Bounds


def test_large_files_are_refused_before_they_are_read(folder):
    for name, size in (("README.md", 2 << 20), ("config.json", 1 << 40)):
        content = (folder / name).read_bytes()
        with open(folder / name, "r+b") as file:
            file.truncate(size)  # a hole: it takes no space
        assert_refused(folder, f"{name} has more than")
        (folder / name).write_bytes(content)
    header = (1 << 30).to_bytes(8, "little")
    with open(folder / "model.safetensors", "wb") as file:
        file.write(header)
        file.truncate(1 << 40)
    assert_refused(folder, "is not a complete safetensors file: its header has 1,073,741,824 bytes")


def test_a_model_too_large_for_any_file(folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "field_width": 4096, "field_depth": 64}))
    assert_refused(folder, "a model of this config has .* bytes")


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{}{}",
        b"[" * 50_000,
        b'{"w_avg": []}',
        b'{"w_avg": {"dtype": "F32", "shape": 3, "data_offsets": [0, 0]}}',
        b'{"w_avg": {"dtype": "F32"}}',
        b'{"w_avg": {}, "w_avg": {}}',
    ],
)
def test_damaged_headers(header, folder):
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert_refused(folder, "is not a complete safetensors file")


def test_keys_that_stand_there_twice(folder):
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"format": 1', '"format": 1, "format": 1'))
    assert_refused(folder, "config.json is not JSON: a key stands there twice")


def test_names_from_a_file_cannot_fill_the_screen(folder):
    change(folder, **{"evil\n" + "x" * 5000: torch.zeros(1)})
    with pytest.raises(ValueError, match="unexpected in") as caught:
        Model.from_pretrained(folder)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_not_strict_is_never_random(folder, tiny_config, caplog):
    change(folder, field__sdf_head__weight=None)
    first, second = (Model.from_pretrained(folder, strict=False) for _ in range(2))
    assert torch.equal(first.field.sdf_head.weight, second.field.sdf_head.weight)
    assert "field.sdf_head.weight" in caplog.text
    before = torch.random.get_rng_state()
    Model.from_pretrained(folder, strict=False)
    assert torch.equal(torch.random.get_rng_state(), before)
    save_file({"w_avg": torch.zeros(1, 16)}, folder / "model.safetensors")
    assert_refused(folder, "less than half of the model", strict=False)


def test_two_revisions_at_once():
    assert_refused("a/b@v1", "revision", revision="v2")


def test_a_folder_goes_before_a_repository(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    loaded = Model.from_pretrained(f"{folder.parent.name}/model")
    assert loaded.commit_hash is None


# Saving


def test_card_is_written_only_where_there_is_none(model, tmp_path):
    model.save_pretrained(tmp_path / "a")
    card = (tmp_path / "a" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: stylesdf\npipeline_tag: unconditional-image-generation\nlicense: ")
    assert 'StyleSDF.from_pretrained("a")' in card
    (tmp_path / "a" / "README.md").write_text("mine")
    model.save_pretrained(tmp_path / "a", card="other")
    assert (tmp_path / "a" / "README.md").read_text() == "mine"
    model.save_pretrained(tmp_path / "b", card="given")
    assert (tmp_path / "b" / "README.md").read_text() == "given"


def test_card_travels_with_the_model(model, tmp_path):
    facts = CardFacts(licence="cc-by-nc-sa-4.0", about="Inherits its licence.")
    card = model_card(model.config, "someone/cats", facts)
    model.save_pretrained(tmp_path / "a", card=card)
    Model.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert (tmp_path / "b" / "README.md").read_text() == card


def test_saving_again_replaces_weights_and_config(model, folder):
    with torch.no_grad():
        model.w_avg += 1
    model.save_pretrained(folder)
    assert torch.equal(Model.from_pretrained(folder).w_avg, model.w_avg)
    assert names(folder) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize("broken", ["write", "replace"])
def test_failure_while_saving_leaves_nothing_new(broken, model, folder, tmp_path, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == (2 if broken == "write" else 1):
            if broken == "write":
                original(arguments[0], arguments[1][:100])
            raise OSError(errno.ENOSPC, "no space left")
        return original(*arguments)

    if broken == "write":
        original = Path.write_bytes
        monkeypatch.setattr(Path, "write_bytes", fail)
    else:
        original = os.replace
        monkeypatch.setattr(os, "replace", fail)
    with torch.no_grad():
        model.w_avg += 1
    for target in (folder, tmp_path / "new"):
        calls.clear()
        with pytest.raises(OSError, match="no space left"):
            model.save_pretrained(target)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_values_that_are_not_finite_are_not_saved(model, tmp_path):
    with torch.no_grad():
        model.field.sdf_head.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="field.sdf_head.weight"):
        model.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way(model, tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(ValueError, match="cannot write to"):
            model.save_pretrained(path)


def test_save_model_takes_any_module_with_a_config(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "model")
    assert load_config(tmp_path / "model") == tiny_model.config


# The hub. Clients run in processes of their own: the hub's client reads its environment when it is imported.

CLIENT = """
import json, sys
import torch
from huggingface_hub import errors
from stylesdf.hub import HubMixin
from stylesdf.model import Generator

torch.set_num_threads(1)

class Model(HubMixin, Generator):
    pass

def outcome(call, *arguments, **options):
    try:
        return call(*arguments, **options)
    except Exception as error:
        return type(error).__name__

folder, other, empty_repo = sys.argv[1:4]
say = {}
model = Model.from_pretrained(folder)
first = model.push_to_hub("someone/heads", private=True)
say["first"] = first.oid
pulled = Model.from_pretrained("someone/heads")
say["commit_hash"], say["name"] = pulled.commit_hash, pulled.name_or_path
say["equal"] = all(torch.equal(a, b) for a, b in zip(pulled.state_dict().values(), model.state_dict().values()))
say["card"] = pulled.card == model.card.replace('from_pretrained("model")', 'from_pretrained("someone/heads")')

again = pulled.push_to_hub("someone/heads")
say["again"] = again.oid

changed = Model.from_pretrained(other)
changed.card = "another card"
say["second"] = changed.push_to_hub("someone/heads", commit_message="Train on").oid
say["latest"] = bool((Model.from_pretrained("someone/heads").w_avg == changed.w_avg).all())
old = Model.from_pretrained("someone/heads", revision=first.oid)
say["old"] = [old.commit_hash, bool((old.w_avg == model.w_avg).all())]
say["old_at"] = Model.from_pretrained(f"someone/heads@{first.oid}").commit_hash
say["cached"] = Model.from_pretrained("someone/heads", local_files_only=True).commit_hash
say["branch"] = model.push_to_hub("someone/heads", revision="trial").oid
say["branch_pulled"] = Model.from_pretrained("someone/heads@trial").commit_hash
say["errors"] = [
    outcome(Model.from_pretrained, "someone/nothing"),
    outcome(Model.from_pretrained, "someone/heads", revision="nowhere"),
    outcome(Model.from_pretrained, "someone/nothing", local_files_only=True),
    outcome(Model.from_pretrained, empty_repo),
    outcome(model.push_to_hub, "not a name"),
]
say["no_card"] = Model.from_pretrained("someone/no-card").card
print(json.dumps(say))
"""


def test_push_and_pull(model, folder, tmp_path):
    with torch.no_grad():
        model.w_avg += 1
    model.save_pretrained(tmp_path / "other")
    with LoopbackHub() as hub:
        hub.create("someone/empty")
        plain = hub.create("someone/no-card")
        plain.commit({name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")})
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, str(folder), str(tmp_path / "other"), "someone/empty"],
            cwd=ROOT,
            env={**os.environ, **hub.environment(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert client.returncode == 0, client.stderr
        say = json.loads(client.stdout.splitlines()[-1])
        repo = hub.repos["someone/heads"]

    assert repo.private
    assert say["commit_hash"] == say["first"] and say["name"] == "someone/heads"
    assert say["equal"] and say["card"]
    pushed = repo.files(say["first"])
    for name in ("config.json", "model.safetensors"):
        assert pushed[name] == (folder / name).read_bytes()
    assert say["again"] == say["first"]  # nothing changed: no commit
    assert say["second"] != say["first"] and say["latest"]
    assert repo.files()["README.md"] == pushed["README.md"]  # the card of the repository stays
    assert say["old"] == [say["first"], True] and say["old_at"] == say["first"]
    assert say["cached"] == say["second"]
    assert repo.branches == {"main": say["second"], "trial": say["branch"]}
    assert say["branch_pulled"] == say["branch"]
    assert say["errors"] == [
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "LocalEntryNotFoundError",
        "RemoteEntryNotFoundError",
        "HFValidationError",
    ]
    assert say["no_card"] is None
