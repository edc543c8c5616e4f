"""Conversion: total, injective, nothing silent, nothing executed, nothing half-written."""

import argparse
import copy
import datetime
import hashlib
import json
import logging
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from stylesdf import convert
from stylesdf.checkpoint import load_config, load_weights
from stylesdf.config import PRESETS, StyleSDFConfig
from stylesdf.convert import convert_checkpoint, drop_reason, generator_names, rename_discriminator, rename_generator
from stylesdf.model import Generator
from train.networks.discriminators import ImageDiscriminator, ThumbnailDiscriminator

DATA = Path(__file__).parent / "data"
OVERRIDES = {"num_samples": 12}


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return dict(torch.load(DATA / "small.pt", weights_only=True)["g_ema"])


def full_size(part: str) -> dict[str, torch.Tensor]:
    """Names and shapes of a full-size network, without the memory."""
    tensors = json.loads((DATA / "seeded_1024.json").read_text())[part]
    return {tensor["name"]: torch.zeros(()).expand(tensor["shape"]) for tensor in tensors}


def save(path: Path, state: dict, **others) -> Path:
    torch.save({"g_ema": state, **others}, path)
    return path


def assert_refused(src: Path, dst: Path, match: str, **options) -> None:
    """One sentence that names the trouble, and nothing left behind."""
    before = sorted(dst.parent.iterdir())
    with pytest.raises(ValueError, match=match) as caught:
        convert_checkpoint(src, dst, **options)
    assert "\n" not in str(caught.value)
    assert sorted(dst.parent.iterdir()) == before


def test_full_file(tmp_path, state):
    config = convert_checkpoint(DATA / "small.pt", tmp_path / "model", "ffhq", OVERRIDES)
    assert config == StyleSDFConfig(
        latent_size=32,
        field_width=32,
        field_depth=3,
        num_samples=12,
        decoder_style_size=64,
        decoder_mapping_layers=5,
        decoder_channels=(16, 8),
    )
    assert load_config(tmp_path / "model") == config
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    assert set(tensors) == set(Generator(config).state_dict())
    assert torch.equal(tensors["renderer.log_beta"].exp(), state["renderer.sigmoid_beta"].squeeze())
    assert torch.equal(tensors["decoder.blocks.0.up_conv.weight"], state["decoder.convs.0.conv.weight"][0])
    assert torch.equal(tensors["decoder.blocks.0.conv.noise"], state["decoder.noises.noise_2"])


def test_means_are_those_of_ten_thousand_draws(tmp_path):
    config = convert_checkpoint(DATA / "small.pt", tmp_path / "model", "ffhq", OVERRIDES)
    model = Generator(config)
    load_weights(model, tmp_path / "model" / "model.safetensors")
    w_avg, ws_avg = model.w_avg.clone(), model.ws_avg.clone()
    model.update_means(num_draws=10_000, seed=0)
    torch.testing.assert_close(model.w_avg, w_avg)
    torch.testing.assert_close(model.ws_avg, ws_avg)
    model.update_means(num_draws=10_000, seed=1)
    assert 0 < (model.w_avg - w_avg).abs().max() < 0.1


def test_conversion_is_deterministic(tmp_path):
    for name in ("a", "b"):
        convert_checkpoint(DATA / "small.pt", tmp_path / name / "model", "ffhq", OVERRIDES)
    for file in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "a/model" / file).read_bytes() == (tmp_path / "b/model" / file).read_bytes()


def test_stage_1_file_gives_a_renderer_only_model(tmp_path):
    src = DATA / "small_vol_renderer.pt"
    config = convert_checkpoint(src, tmp_path / "model", "afhq", {"fov_deg": 14, **OVERRIDES})
    assert not config.has_decoder
    assert (config.pose_yaw, config.fov_deg) == (0.15, 14.0)
    load_weights(Generator(config), tmp_path / "model" / "model.safetensors")
    assert "renderer only" in (tmp_path / "model" / "README.md").read_text()


def test_card_states_licence_source_and_settings(tmp_path):
    convert_checkpoint(DATA / "small.pt", tmp_path / "model", "ffhq", OVERRIDES)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "license: cc-by-nc-sa-4.0" in card
    assert "inherit" in card and "Or-El" in card
    assert hashlib.md5((DATA / "small.pt").read_bytes()).hexdigest() in card
    assert "none of the files released" in card
    assert "num_samples = 12" in card


def test_card_recognises_a_released_file(tmp_path, monkeypatch):
    md5 = hashlib.md5((DATA / "small.pt").read_bytes()).hexdigest()
    monkeypatch.setitem(convert.RELEASED, md5, "ffhq1024x1024.pt")
    convert_checkpoint(DATA / "small.pt", tmp_path / "model", "ffhq", OVERRIDES)
    assert "the released file `ffhq1024x1024.pt`" in (tmp_path / "model" / "README.md").read_text()


# The table


@pytest.mark.parametrize("name", ["ffhq", "afhq"])
def test_table_is_injective_and_covers_the_model(name):
    config = PRESETS[name]
    table = generator_names(config)
    with torch.device("meta"):
        ours = set(Generator(config).state_dict()) - {"w_avg", "ws_avg"}
    assert sorted(table.values()) == sorted(ours)


def test_table_is_total_on_the_original_names(state):
    names = {
        "small": (StyleSDFConfig(field_depth=3, decoder_channels=(16, 8)), set(state)),
        "full size": (PRESETS["ffhq"], set(full_size("generator"))),
    }
    for config, originals in names.values():
        table = generator_names(config)
        reasons = {name: drop_reason(name, config) for name in originals - set(table)}
        assert all(reasons.values())
        assert not any(drop_reason(name, config) for name in table)
        assert set(table) <= originals


@pytest.mark.parametrize("kind", ["thumbnail", "image"])
def test_discriminator_tables(kind):
    originals = full_size("volume_discriminator" if kind == "thumbnail" else "image_discriminator")
    with torch.device("meta"):
        discriminator = ThumbnailDiscriminator() if kind == "thumbnail" else ImageDiscriminator(resolution=256)
    renamed = rename_discriminator(originals, kind)
    assert len(renamed) == len(originals)
    assert {name: tensor.shape for name, tensor in renamed.items()} == {
        name: tensor.shape for name, tensor in discriminator.state_dict().items()
    }
    with pytest.raises(ValueError, match=r"convs\.7\.extra"):
        rename_discriminator({**originals, "convs.7.extra": torch.zeros(1)}, kind)
    for name in list(originals)[::9]:
        with pytest.raises(ValueError, match=r"missing|unknown"):
            rename_discriminator({key: value for key, value in originals.items() if key != name}, kind)


# What does not fit


def test_every_missing_tensor_is_named(state):
    config = convert.read_config(state, PRESETS["ffhq"])
    for name in generator_names(config):
        rest = {key: value for key, value in state.items() if key != name}
        with pytest.raises(ValueError, match=f"tensor {name} is missing"):
            rename_generator(rest, convert.read_config(rest, PRESETS["ffhq"]))


def test_every_wrong_shape_is_named(state):
    config = convert.read_config(state, PRESETS["ffhq"])
    for name in generator_names(config):
        changed = {**state, name: torch.zeros(*state[name].shape, 2)}
        with pytest.raises(ValueError, match=f"tensor {name} has shape"):
            rename_generator(changed, config)


@pytest.mark.parametrize(
    "name",
    ["decoder.extra", "style.3.weight", "renderer.network.pts_linears.7.foo", "decoder.convs.99.conv.foo", "optim"],
)
def test_unknown_tensor(name, tmp_path, state):
    assert_refused(save(tmp_path / "x.pt", {**state, name: torch.zeros(1)}), tmp_path / "out", name)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("renderer.sigmoid_beta", torch.tensor([0.0]), "positive"),
        ("renderer.sigmoid_beta", torch.tensor([-0.1]), "positive"),
        ("renderer.sigmoid_beta", torch.tensor([float("nan")]), "finite"),
        ("style.0.bias", torch.full((32,), float("inf")), "finite"),
        ("style.0.bias", torch.zeros(32, dtype=torch.int64), "floating"),
        ("style.0.bias", [1.0, 2.0], "not a plain tensor"),
        ("style.0.weight", torch.zeros(()), "style.0.weight has shape"),
        ("decoder.convs.0.conv.weight", torch.zeros(1, 5000, 16, 3, 3), "decoder.convs.0.conv.weight"),
    ],
)
def test_bad_values(name, value, match, tmp_path, state):
    assert_refused(save(tmp_path / "x.pt", {**state, name: value}), tmp_path / "out", match)


def test_noise_that_does_not_fit_is_replaced_with_a_warning(tmp_path, state, caplog):
    state["decoder.noises.noise_1"] = torch.zeros(1, 1, 8, 8)
    src = save(tmp_path / "x.pt", state)
    with caplog.at_level(logging.WARNING):
        convert_checkpoint(src, tmp_path / "a", "ffhq", OVERRIDES)
        convert_checkpoint(src, tmp_path / "b", "ffhq", OVERRIDES)
    assert "decoder.noises.noise_1" in caplog.text and "noise_2" not in caplog.text
    a, b = (load_file(tmp_path / name / "model.safetensors")["decoder.blocks.0.up_conv.noise"] for name in "ab")
    assert a.shape == (1, 1, 128, 128) and 0.9 < a.std() < 1.1
    assert torch.equal(a, b)
    assert "decoder.noises.noise_1" in (tmp_path / "a" / "README.md").read_text()


def test_spare_noise_and_foreign_kernels_are_dropped_with_a_warning(tmp_path, state, caplog):
    state["decoder.noises.noise_3"] = torch.zeros(1, 1, 256, 256)
    state["decoder.convs.0.conv.blur.kernel"] = torch.ones(4, 4)
    with caplog.at_level(logging.WARNING):
        convert_checkpoint(save(tmp_path / "x.pt", state), tmp_path / "out", "ffhq", OVERRIDES)
    assert "decoder.noises.noise_3" in caplog.text
    assert "decoder.convs.0.conv.blur.kernel is not the low-pass" in caplog.text


def test_no_warning_for_a_clean_file(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        convert_checkpoint(DATA / "small.pt", tmp_path / "out", "ffhq", OVERRIDES)
    assert not caplog.records


def test_file_without_a_generator_names_what_is_there(tmp_path, state):
    torch.save({"model": state, "d": {}}, tmp_path / "x.pt")
    assert_refused(tmp_path / "x.pt", tmp_path / "out", "no dictionary of tensors 'g_ema', it holds 'model', 'd'")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {}])
def test_other_torch_files(content, tmp_path):
    torch.save(content, tmp_path / "x.pt")
    assert_refused(tmp_path / "x.pt", tmp_path / "out", "g_ema")


class Payload:
    """Creates a file when it is unpickled by a careless loader."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_not_run(legacy, tmp_path, state):
    (tmp_path / "in").mkdir()
    trap = tmp_path / "in" / "trapped"
    src = tmp_path / "in" / "x.pt"
    if legacy:
        src.write_bytes(pickle.dumps({"g_ema": Payload(trap)}, protocol=2))
    else:
        torch.save({"g_ema": {**state, "x": Payload(trap)}}, src)
    assert_refused(src, tmp_path / "out", "plain tensors")
    assert not trap.exists()
    pickle.loads(pickle.dumps(Payload(trap))).close()
    assert trap.exists()  # the payload does work


def rewritten(path: Path, records=None, change=None, compression=zipfile.ZIP_STORED) -> Path:
    """Write ``small.pt`` again, with other records and whatever ``change`` does to the open archive."""
    with zipfile.ZipFile(DATA / "small.pt") as source:
        contents = {name: source.read(name) for name in source.namelist()} | (records or {})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        if change:
            change(archive)
    return path


STRUCTURE = "official_small/data.pkl"


def test_a_file_written_again_is_fine(tmp_path):
    convert_checkpoint(rewritten(tmp_path / "x.pt"), tmp_path / "out", "ffhq", OVERRIDES)


def overlap(archive: zipfile.ZipFile) -> None:
    """Many names for the same bytes: the file unfolds to more than it holds."""
    largest = max(archive.filelist, key=lambda record: record.file_size)
    for i in range(50):
        again = copy.copy(largest)
        again.filename = again.orig_filename = f"official_small/data/x{i}"
        archive.filelist.append(again)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": zipfile.ZIP_DEFLATED},
        {"compression": zipfile.ZIP_DEFLATED, "records": {"official_small/data/0": bytes(1 << 26)}},
        {"change": overlap},
        {"change": lambda archive: setattr(archive, "comment", b"PK\5\6")},
        {"change": lambda archive: archive.filelist.append(archive.filelist[0])},
        {"records": {STRUCTURE: b"\x80\x02" + b"(" * (5 << 20)}},
        {"records": {f"official_small/{i}": b"" for i in range(20_001)}},
    ],
    ids=["deflated", "bomb", "overlap", "comment", "same name", "long structure", "many records"],
)
def test_files_that_unfold(options, tmp_path):
    assert_refused(rewritten(tmp_path / "x.pt", **options), tmp_path / "out", "x.pt is not a complete torch file")


def test_bytes_behind_the_end_or_before_the_start(tmp_path):
    whole = (DATA / "small.pt").read_bytes()
    for content in (whole + b"x", b"x" + whole, whole + whole[-22:]):
        (tmp_path / "x.pt").write_bytes(content)
        assert_refused(tmp_path / "x.pt", tmp_path / "out", "x.pt is not a complete torch file")


def doubling(depth: int) -> bytes:
    """A pickle of a dictionary whose key is a pair of the same pair of the same pair ...: for ever to hash."""
    pairs = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(depth))
    return b"\x80\x02K\x01K\x02\x86q\x00" + pairs + b"}h%cK\x01s." % depth


@pytest.mark.parametrize(
    "structure",
    [
        doubling(60),
        pickle.dumps(bytearray(8), protocol=2),
        b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",  # of 2**44 bytes
        b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00x\x85R.",
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"",
        b"\x80\x02" + b"]" * 100_000,
    ],
)
def test_structures_that_are_not_run(structure, tmp_path):
    src = rewritten(tmp_path / "x.pt", {STRUCTURE: structure})
    assert_refused(src, tmp_path / "out", "x.pt is not a complete torch file of plain tensors")


def test_tensors_that_unfold(tmp_path, state):
    src = save(tmp_path / "x.pt", {**state, "x": torch.zeros(1).expand(1 << 40)})
    assert_refused(src, tmp_path / "out", "'g_ema' that unfold to 4,398,")


def test_names_from_a_file_cannot_fill_the_screen(tmp_path, state):
    src = save(tmp_path / "x.pt", {**state, "evil\n" * 1000: torch.zeros(1)})
    with pytest.raises(ValueError, match="unknown") as caught:
        convert_checkpoint(src, tmp_path / "out")
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)
    torch.save({("a" * 10_000,) * 3: 1, "b\n": 2}, tmp_path / "y.pt")
    with pytest.raises(ValueError, match="it holds ") as caught:
        convert_checkpoint(tmp_path / "y.pt", tmp_path / "out")
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_cut_file(share, tmp_path):
    whole = (DATA / "small.pt").read_bytes()
    (tmp_path / "x.pt").write_bytes(whole[: int(len(whole) * share)])
    assert_refused(tmp_path / "x.pt", tmp_path / "out", "x.pt is not a complete torch file")


@pytest.mark.parametrize("content", [b"hello", b"PK\x03\x04 not a zip", b"\x80\x02.", bytes(range(256))])
def test_files_that_are_not_torch_files(content, tmp_path):
    (tmp_path / "x.pt").write_bytes(content)
    assert_refused(tmp_path / "x.pt", tmp_path / "out", "x.pt is not a complete torch file")


# Files as people have them


def wrapped(state: dict, before: str, inside: str = "") -> dict:
    """Return tensors whose names have a wrapper in front, and one behind their first part."""
    return {f"{before}{name.replace('.', '.' + inside, 1)}": tensor for name, tensor in state.items()}


def on_cuda(path: Path) -> None:
    """Change the device of all tensors, as a file of a GPU has it."""
    with zipfile.ZipFile(path) as archive:
        contents = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0"))


ADAM = {"state": {0: {"step": 3, "exp_avg": torch.ones(7)}}, "param_groups": [{"lr": 1e-3, "betas": (0, 0.9)}]}
OLD = {"_use_new_zipfile_serialization": False}
BESIDE = {
    "args": argparse.Namespace(size=64, path=Path("runs")),
    "mean_path_length": np.float64(0.5),
    "scalars": [np.float32(1), np.arange(3)],
    "seen": {1, 2},
    "when": datetime.datetime(2022, 1, 1),
}


@pytest.mark.parametrize(
    "make, options",
    [
        (lambda state: {"g_ema": wrapped(state, "module.")}, {}),
        (lambda state: {"g_ema": wrapped(state, "_orig_mod.")}, {}),
        (lambda state: {"g_ema": wrapped(state, "module._orig_mod.")}, {}),
        (lambda state: {"g_ema": wrapped(state, "_orig_mod.module.", "_orig_mod.")}, {}),
        (lambda state: {"g_ema": wrapped(state, "", "module.")}, {}),
        (lambda state: {"g": state}, {}),
        (lambda state: {"g": wrapped(state, "module."), "d": {}, "g_optim": ADAM}, {}),
        (lambda state: state, {}),
        (lambda state: wrapped(state, "module."), {}),
        (lambda state: wrapped(state, "g_ema."), {}),
        (lambda state: {"g_ema": OrderedDict(state), **BESIDE}, {}),
        (lambda state: {"g_ema": state, **BESIDE}, {"pickle_protocol": 4}),
        (lambda state: {"g_ema": state, "g_optim": ADAM, "d_optim": ADAM}, {}),
        (lambda state: {"g_ema": {name: nn.Parameter(tensor) for name, tensor in state.items()}}, {}),
        (lambda state: {"g_ema": {name: tensor.double() for name, tensor in state.items()}}, {}),
        (lambda state: {"g_ema": state}, OLD),
        (lambda state: {"g": wrapped(state, "module."), "g_optim": ADAM, **BESIDE}, OLD),
    ],
)
def test_files_as_people_have_them(make, options, tmp_path, state):
    torch.save(make(state), tmp_path / "x.pt", **options)
    convert_checkpoint(tmp_path / "x.pt", tmp_path / "out", "ffhq", OVERRIDES)
    assert_same_model(tmp_path / "out", state)
    if not options:
        on_cuda(tmp_path / "x.pt")
        convert_checkpoint(tmp_path / "x.pt", tmp_path / "cuda", "ffhq", OVERRIDES)
        assert_same_model(tmp_path / "cuda", state)


def assert_same_model(folder: Path, state: dict) -> None:
    config = convert.read_config(state, PRESETS["ffhq"])
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in rename_generator(state, config).items():
        assert torch.equal(tensors[name], tensor), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ending", ["pt", "old.pt", "safetensors"])
def test_half_precision(dtype, ending, tmp_path, state):
    half = {name: tensor.to(dtype) for name, tensor in state.items()}
    src = tmp_path / f"x.{ending}"
    if ending == "safetensors":
        save_file({f"g_ema.{name}": tensor for name, tensor in half.items()}, src)
    else:
        torch.save({"g_ema": half}, src, **OLD if ending == "old.pt" else {})
    convert_checkpoint(src, tmp_path / "out", "ffhq", OVERRIDES)
    assert_same_model(tmp_path / "out", {name: tensor.float() for name, tensor in half.items()})


@pytest.mark.parametrize("prefix", ["", "g_ema.", "module.", "g.module.", "_orig_mod.g_ema."])
def test_safetensors(prefix, tmp_path, state):
    save_file({f"{prefix}{name}": tensor for name, tensor in state.items()}, tmp_path / "x.safetensors")
    convert_checkpoint(tmp_path / "x.safetensors", tmp_path / "out", "ffhq", OVERRIDES)
    assert_same_model(tmp_path / "out", state)
    whole = (tmp_path / "x.safetensors").read_bytes()
    for share in (0.001, 0.5, 0.99):
        (tmp_path / "x.safetensors").write_bytes(whole[: int(len(whole) * share)])
        assert_refused(tmp_path / "x.safetensors", tmp_path / "cut", "x.safetensors is not a complete torch file")


def test_what_is_taken_and_left_out_is_said(tmp_path, state, caplog):
    torch.save({"g": state, **BESIDE}, tmp_path / "x.pt")
    convert_checkpoint(tmp_path / "x.pt", tmp_path / "out", "ffhq", OVERRIDES)
    assert "no averaged generator 'g_ema', the one of the last step, 'g', is taken" in caplog.text
    assert "left out and not run" in caplog.text and "'argparse.Namespace'" in caplog.text
    assert "tensors `g`" in (tmp_path / "out" / "README.md").read_text()


def test_names_that_meet_without_their_wrappers(tmp_path, state):
    state["module.style.0.bias"] = state["style.0.bias"] + 1
    assert_refused(save(tmp_path / "x.pt", state), tmp_path / "out", "two tensors style.0.bias in 'g_ema'")


class Command:
    """Runs a shell's command when it is unpickled by a careless loader."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("options", [{}, {"pickle_protocol": 4}, OLD], ids=["zip", "protocol 4", "old"])
def test_commands_in_a_file_are_not_run(options, tmp_path, state, caplog):
    trap = tmp_path / "trapped"
    hostile = Command(f"touch {trap}")
    torch.save({"g_ema": state, "args": hostile}, tmp_path / "beside.pt", **options)
    convert_checkpoint(tmp_path / "beside.pt", tmp_path / "beside", "ffhq", OVERRIDES)
    assert "left out and not run" in caplog.text and f"'{os.system.__module__}.system'" in caplog.text
    torch.save({"g_ema": {**state, "style.0.bias": hostile}}, tmp_path / "within.pt", **options)
    assert_refused(tmp_path / "within.pt", tmp_path / "out", "'style.0.bias' in 'g_ema', which asks for")
    torch.save({"g_ema": hostile}, tmp_path / "instead.pt", **options)
    assert_refused(tmp_path / "instead.pt", tmp_path / "out", "no plain tensors in 'g_ema': it asks for posix.system")
    torch.save(hostile, tmp_path / "whole.pt", **options)
    assert_refused(tmp_path / "whole.pt", tmp_path / "out", "asks for posix.system to be called, and nothing")
    assert not trap.exists()
    function, arguments = hostile.__reduce__()
    function(*arguments)  # as a careless loader would
    assert trap.exists()


def test_whole_models_are_refused_with_the_way_out(tmp_path):
    way_out = r"Sequential to be called.*save g_ema.state_dict\(\) instead"
    for options in ({}, OLD):
        torch.save({"g_ema": nn.Sequential(nn.Linear(2, 2))}, tmp_path / "x.pt", **options)
        assert_refused(tmp_path / "x.pt", tmp_path / "out", way_out)


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(DATA / "small.pt", "storages")


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(DATA / "small.pt", "models/ffhq.pt")


def scripted(path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "make, way_out",
    [
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "run `git lfs pull`"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><title>Virus scan warning"), "an HTML page in place"),
        (lambda path: path.write_bytes(b""), "it is an empty file"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(9)), "unpack it first"),
        (tarred, "save it again with torch 1.0 to 2.5"),
        (zipped, "a zip with 'models/ffhq.pt' in it: unpack that first"),
        (scripted, r"a TorchScript program: save the state_dict\(\) of its model instead"),
        (lambda path: path.write_bytes(pickle.dumps({"g_ema": {}})), "save the tensors again with torch.save"),
    ],
)
def test_other_files_are_refused_with_the_way_out(make, way_out, tmp_path):
    make(tmp_path / "x.pt")
    assert_refused(tmp_path / "x.pt", tmp_path / "out", f"not a complete torch file of plain tensors.*{way_out}")


def test_damaged_files_of_old_torch(tmp_path, state):
    torch.save({"g_ema": {"style.0.weight": state["style.0.weight"]}}, tmp_path / "x.pt", **OLD)
    whole = (tmp_path / "x.pt").read_bytes()
    for end in [*range(0, len(whole), 97), len(whole) - 1]:
        (tmp_path / "x.pt").write_bytes(whole[:end])
        assert_refused(tmp_path / "x.pt", tmp_path / "out", "x.pt is not a complete torch file")
    (tmp_path / "x.pt").write_bytes(whole + b"x")
    assert_refused(tmp_path / "x.pt", tmp_path / "out", "its storages are not all that it has")


def test_missing_file_and_folder(tmp_path):
    assert_refused(tmp_path / "none.pt", tmp_path / "out", "no file")
    assert_refused(tmp_path, tmp_path / "out", "no file")


# Options and the destination


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"preset": "cats"}, "'cats'"),
        ({"preset": "toy"}, "'toy'"),
        ({"overrides": {"field_width": 3}}, "field_width"),
        ({"overrides": {"fov_deg": 0.0}}, "fov_deg"),
        ({"overrides": {"density": "gauss"}}, "density"),
        ({"overrides": {"num_samples": 1}}, "num_samples"),
        ({"with_discriminators": True}, "'d'"),
    ],
)
def test_bad_options(options, match, tmp_path):
    assert_refused(DATA / "small.pt", tmp_path / "out", match, **options)


def test_overrides_of_none_are_the_presets(tmp_path):
    config = convert_checkpoint(DATA / "small.pt", tmp_path / "out", "ffhq", {"fov_deg": None, "density": "laplace"})
    assert (config.fov_deg, config.density, config.num_samples) == (12.0, "laplace", 24)


def test_destination_in_use_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    assert_refused(DATA / "small.pt", tmp_path / "out", "exists already")
    assert_refused(DATA / "small.pt", tmp_path / "out" / "mine.txt", "exists already")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_empty_destination_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    convert_checkpoint(DATA / "small.pt", tmp_path / "out", "ffhq", OVERRIDES)
    assert (tmp_path / "out" / "config.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def fail(model, folder, card):
        (folder / "config.json").write_text("{")
        raise OSError("no space left")

    monkeypatch.setattr(convert, "save_model", fail)
    with pytest.raises(OSError, match="no space left"):
        convert_checkpoint(DATA / "small.pt", tmp_path / "out", "ffhq", OVERRIDES)
    assert not list(tmp_path.iterdir())


# Discriminators


def test_discriminators_are_written_beside_the_model(tmp_path, state):
    small_renderer = dict(torch.load(DATA / "small_vol_renderer.pt", weights_only=True)["g_ema"])
    cases = {
        "thumbnail": (small_renderer, full_size("volume_discriminator"), ThumbnailDiscriminator()),
        "image": (state, full_size("image_discriminator"), ImageDiscriminator(resolution=256)),
    }
    for kind, (generator, originals, discriminator) in cases.items():
        src = save(tmp_path / f"{kind}.pt", generator, d=originals)
        convert_checkpoint(src, tmp_path / kind, "ffhq", OVERRIDES, with_discriminators=True)
        discriminator.load_state_dict(load_file(tmp_path / kind / f"discriminator_{kind}.safetensors"))
        convert_checkpoint(src, tmp_path / f"{kind}-without", "ffhq", OVERRIDES)
        assert not list((tmp_path / f"{kind}-without").glob("discriminator*"))
