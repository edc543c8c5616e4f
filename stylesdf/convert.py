"""Original checkpoints to ours: a rename table, dropped tensors with their reasons, nothing silent.

The table is written out for a config, so it is total (what it does not name is an error) and injective.
"""

from __future__ import annotations

import dataclasses
import logging
import pickletools
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stylesdf.card import CardFacts, model_card
from stylesdf.checkpoint import DISCRIMINATOR_FILES, file_hash, save_model, tensor_name
from stylesdf.config import PRESETS, StyleSDFConfig, shown
from stylesdf.model import Generator
from stylesdf.ops import FIR_TAPS

PRESET_NAMES = ("ffhq", "afhq")
OVERRIDES = ("fov_deg", "scene_radius", "num_samples", "density", "pose_distribution", "pose_yaw", "pose_pitch")
NOISE_SEED = 0
RELEASED = {
    "1ab9522157e537351fcf4faed9c92abb": "ffhq1024x1024.pt",
    "91eeaab2da5c0d2134c04bb56ac5aeb6": "afhq512x512.pt",
    "fe62f26032ccc8f04e1101b07bcd7462": "ffhq_vol_renderer.pt",
    "cb3beb6cd3c43d9119356400165e7f26": "afhq_vol_renderer.pt",
}
MAX_INDEX = 63  # of a numbered layer: more than any config allows
MAX_FILE_BYTES = 1 << 32
MAX_RECORDS = 20_000  # tensors of a file; the released ones have about 1,000
MAX_UNFOLDED_BYTES = 1 << 29  # a tensor may repeat one stored number; the paper's model has 0.1 GB
MAX_STRUCTURE_BYTES = 1 << 22  # of the part that says how tensors are arranged

SAFE_GLOBAL = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch (\w+Storage|device|Size|\w?float\d*)"
)

# Tensors of one layer, original name → ours
LINEAR = {"weight": "weight", "bias": "bias"}
FILM_SINE = {
    "weight": "linear.weight",
    "bias": "linear.bias",
    "gamma.weight": "frequency.weight",
    "gamma.bias": "frequency.bias",
    "beta.weight": "phase.weight",
    "beta.bias": "phase.bias",
}
MODULATION = {"conv.weight": "weight", "conv.modulation.weight": "affine.weight", "conv.modulation.bias": "affine.bias"}
STYLED_CONV = {**MODULATION, "noise.weight": "noise_strength", "activate.bias": "bias"}
TO_RGB = {**MODULATION, "bias": "bias"}
THUMBNAIL_CONV = {"conv.conv.weight": "weight", "activation.bias": "bias"}

UNUSED_BIAS = "a bias that is never used"
FIR_KERNEL = "a constant low-pass kernel"
SPARE_NOISE = "noise of a layer that the model does not have"

logger = logging.getLogger(__name__)


def generator_names(config: StyleSDFConfig) -> dict[str, str]:
    """Return the rename table of a generator: original tensor name → ours, one to one."""
    table = {"renderer.sigmoid_beta": "renderer.log_beta"}

    def layer(original: str, ours: str, tensors: dict[str, str]) -> None:
        table.update({f"{original}.{a}": f"{ours}.{b}" for a, b in tensors.items()})

    for i in range(3):
        layer(f"style.{i}", f"renderer_mapping.layers.{i}", LINEAR)
    for i in range(config.field_depth):
        layer(f"renderer.network.pts_linears.{i}", f"field.layers.{i}", FILM_SINE)
    layer("renderer.network.views_linears", "field.view_layer", FILM_SINE)
    layer("renderer.network.sigma_linear", "field.sdf_head", LINEAR)
    layer("renderer.network.rgb_linear", "field.rgb_head", LINEAR)
    if config.has_decoder:
        for i in range(config.decoder_mapping_layers):
            layer(f"decoder.style.{i + 1}", f"decoder_mapping.layers.{i}", LINEAR)
        layer("decoder.conv1", "decoder.conv", STYLED_CONV)
        layer("decoder.to_rgb1", "decoder.to_rgb", TO_RGB)
        table["decoder.noises.noise_0"] = "decoder.conv.noise"
        for k in range(len(config.decoder_channels) - 1):
            for i, conv in ((2 * k, "up_conv"), (2 * k + 1, "conv")):
                layer(f"decoder.convs.{i}", f"decoder.blocks.{k}.{conv}", STYLED_CONV)
                table[f"decoder.noises.noise_{i + 1}"] = f"decoder.blocks.{k}.{conv}.noise"
            layer(f"decoder.to_rgbs.{k}", f"decoder.blocks.{k}.to_rgb", TO_RGB)
    return table


def drop_reason(name: str, config: StyleSDFConfig) -> str | None:
    """Say why an original generator tensor has no place in our model; None where there is no reason to drop it."""
    num_convs = 2 * len(config.decoder_channels) - 2  # negative in a renderer-only model
    if re.fullmatch(r"decoder\.(convs\.\d+\.conv\.blur|to_rgbs\.\d+\.upsample)\.kernel", name):
        return FIR_KERNEL
    if name == "decoder.conv1.bias" or _index(r"decoder\.convs\.(\d+)\.bias", name) < num_convs:
        return UNUSED_BIAS
    if num_convs < _index(r"decoder\.noises\.noise_(\d+)", name) <= MAX_INDEX:
        return SPARE_NOISE
    return None


def read_config(state: Mapping[str, Tensor], base: StyleSDFConfig) -> StyleSDFConfig:
    """Read widths, depths and channel counts from an original generator's tensors.

    Args:
        state: Original names and tensors.
        base: What the tensors do not tell: field of view, radius, samples, density, poses.

    Raises:
        ValueError: A tensor that tells a size is missing, or a size is out of range.
    """
    sizes = {
        "latent_size": _size(state, "style.0.weight", 0),
        "field_width": _size(state, "renderer.network.views_linears.weight", 0),
        "field_depth": _count(state, "renderer.network.pts_linears", FILM_SINE),
        "view_directions": True,
        "background": "last_sample",
        "decoder_channels": (),
    }
    if any(name.startswith("decoder.") for name in state):
        num_convs = _count(state, "decoder.convs", STYLED_CONV)
        convs = ["decoder.conv1"] + [f"decoder.convs.{i}" for i in range(0, num_convs, 2)]
        sizes["decoder_style_size"] = _size(state, "decoder.style.1.weight", 0)
        sizes["decoder_mapping_layers"] = _count(state, "decoder.style", LINEAR) - 1  # the first is number 1
        sizes["decoder_channels"] = tuple(_size(state, f"{conv}.conv.weight", 1) for conv in convs)
    return dataclasses.replace(base, **sizes)


def rename_generator(state: Mapping[str, Tensor], config: StyleSDFConfig) -> dict[str, Tensor]:
    """Turn an original generator's tensors into ours, all but the means.

    Args:
        state: Original names and tensors; noise of the right size, see ``fit_noises``.
        config: From ``read_config``.

    Returns:
        Our names and tensors, float32, new memory; β as its logarithm.

    Raises:
        ValueError: A tensor is unknown, missing, of the wrong shape or not finite, or β is not positive.
    """
    table = generator_names(config)
    for name in state:
        if name not in table and drop_reason(name, config) is None:
            raise ValueError(f"tensor {tensor_name(name)} of the original checkpoint is unknown")
    shapes = _our_shapes(config)
    renamed = {}
    for original, ours in table.items():
        tensor = _checked(state, original, _original_shape(ours, shapes[ours]))
        if ours == "renderer.log_beta":
            if not tensor.item() > 0:
                raise ValueError(f"tensor {original} is {tensor.item():g}, expected a positive β")
            tensor = tensor.log()
        renamed[ours] = tensor.reshape(shapes[ours])
    return renamed


def fit_noises(state: Mapping[str, Tensor], config: StyleSDFConfig) -> tuple[dict[str, Tensor], list[str]]:
    """Replace noise buffers whose size does not fit the model by new ones from a fixed seed.

    Returns:
        The tensors under their original names, and the names of those replaced.
    """
    state, replaced, shapes = dict(state), [], _our_shapes(config)
    for original, ours in generator_names(config).items():
        tensor = state.get(original)
        if ours.endswith(".noise") and isinstance(tensor, Tensor) and tensor.shape != shapes[ours]:
            source = torch.Generator().manual_seed(NOISE_SEED + len(replaced))
            state[original] = torch.randn(shapes[ours], generator=source)
            replaced.append(original)
    return state, replaced


def rename_discriminator(state: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Turn an original discriminator's tensors into those of ``train.networks.discriminators``.

    Args:
        state: Original names and tensors.
        kind: ``"thumbnail"`` (stage 1) or ``"image"`` (stage 2).

    Raises:
        ValueError: A tensor is unknown, missing, of the wrong shape or not finite.
    """
    layers = _thumbnail_discriminator(state) if kind == "thumbnail" else _image_discriminator(state)
    for name in state:
        if name not in layers and not re.fullmatch(r"convs\.\d+\.(conv2|skip)\.0\.kernel", name):
            raise ValueError(f"tensor {tensor_name(name)} of the original {kind} discriminator is unknown")
    return {ours: _checked(state, original, shape) for original, (ours, shape) in layers.items()}


def _thumbnail_discriminator(state: Mapping[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Original name → our name and shape. A CoordConv has two input channels more."""
    before = _size(state, "convs.0.conv.weight", 0)
    table = {
        "convs.0.conv.weight": ("from_rgb.weight", (before, 3, 1, 1)),
        "convs.0.activation.bias": ("from_rgb.bias", (before,)),
    }
    for i in range(1, _count(state, "convs", {f"conv1.{name}": "" for name in THUMBNAIL_CONV})):
        width = _size(state, f"convs.{i}.conv1.conv.conv.weight", 0)
        for conv, in_size in (("conv1", before), ("conv2", width)):
            block, ours = f"convs.{i}.{conv}", f"blocks.{i - 1}.{conv}"
            table[f"{block}.conv.conv.weight"] = (f"{ours}.weight", (width, in_size + 2, 3, 3))
            table[f"{block}.activation.bias"] = (f"{ours}.bias", (width,))
        if width != before:
            table[f"convs.{i}.skip.conv.weight"] = (f"blocks.{i - 1}.skip.weight", (width, before, 1, 1))
            table[f"convs.{i}.skip.conv.bias"] = (f"blocks.{i - 1}.skip.bias", (width,))
        before = width
    table["final_conv.conv.weight"] = ("head.weight", (3, before, 2, 2))
    table["final_conv.conv.bias"] = ("head.bias", (3,))
    return table


def _image_discriminator(state: Mapping[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Original name → our name and shape. The last convolution sees one channel more, the standard deviation."""
    before = _size(state, "convs.0.0.weight", 0)
    table = {
        "convs.0.0.weight": ("from_rgb.weight", (before, 3, 1, 1)),
        "convs.0.1.bias": ("from_rgb.bias", (before,)),
    }
    tensors = ("conv1.0.weight", "conv1.1.bias", "conv2.1.weight", "conv2.2.bias", "skip.1.weight")
    for i in range(1, _count(state, "convs", dict.fromkeys(tensors))):
        width = _size(state, f"convs.{i}.conv2.1.weight", 0)
        shapes = ((before, before, 3, 3), (before,), (width, before, 3, 3), (width,), (width, before, 1, 1))
        for name, shape in zip(tensors, shapes):
            conv, _, kind = name.split(".")
            table[f"convs.{i}.{name}"] = (f"blocks.{i - 1}.{conv}.{kind}", shape)
        before = width
    final, hidden = _size(state, "final_conv.0.weight", 0), _size(state, "final_linear.0.weight", 0)
    table["final_conv.0.weight"] = ("final_conv.weight", (final, before + 1, 3, 3))
    table["final_conv.1.bias"] = ("final_conv.bias", (final,))
    table["final_linear.0.weight"] = ("linear1.weight", (hidden, final * 16))  # 4×4 pixels
    table["final_linear.0.bias"] = ("linear1.bias", (hidden,))
    table["final_linear.1.weight"] = ("linear2.weight", (1, hidden))
    table["final_linear.1.bias"] = ("linear2.bias", (1,))
    return table


def convert_checkpoint(
    src: str | Path,
    dst_folder: str | Path,
    preset: str = "ffhq",
    overrides: Mapping | None = None,
    with_discriminators: bool = False,
) -> StyleSDFConfig:
    """Convert an original ``.pt`` file to a checkpoint folder. The averaged generator ``g_ema`` is taken.

    Args:
        src: The file; only plain tensors are read from it, code in it is never run.
        dst_folder: Must not exist, or be empty; it appears in full or not at all.
        preset: ``"ffhq"`` or ``"afhq"``: what the file does not hold.
        overrides: Config values that go over the preset's, of ``OVERRIDES``; None values are skipped.
        with_discriminators: Also write the discriminator, ``discriminator_thumbnail.safetensors`` of a stage-1 file,
            ``discriminator_image.safetensors`` of a full one.

    Returns:
        The config of the converted model.

    Raises:
        ValueError: The file cannot be read safely, does not hold what is needed, or holds what is unknown; an option
            is out of range; or ``dst_folder`` is in use.
    """
    src, dst_folder = Path(src), Path(dst_folder)
    if preset not in PRESET_NAMES:
        raise ValueError(f"preset is {preset!r}, expected one of {', '.join(PRESET_NAMES)}")
    overrides = {name: value for name, value in (overrides or {}).items() if value is not None}
    for name in overrides:
        if name not in OVERRIDES:
            raise ValueError(f"{name} cannot be set, expected one of {', '.join(OVERRIDES)}")
    base = dataclasses.replace(PRESETS[preset], **overrides)
    if dst_folder.exists() and not (dst_folder.is_dir() and not any(dst_folder.iterdir())):
        raise ValueError(f"{dst_folder} exists already, expected a new or an empty folder")

    checkpoint = load_original(src)
    state = _part(checkpoint, "g_ema", src)
    config = read_config(state, base)
    state, new_noises = fit_noises(state, config)
    tensors = rename_generator(state, config)
    dropped = {name: reason for name in state if (reason := drop_reason(name, config)) and name not in tensors}
    _warn(state, new_noises, dropped)
    discriminator = None
    if with_discriminators:
        kind = "image" if config.has_decoder else "thumbnail"
        discriminator = kind, rename_discriminator(_part(checkpoint, "d", src), kind)

    with torch.device("meta"):
        model = Generator(config)
    means = {name: torch.zeros(tensor.shape) for name, tensor in model.state_dict().items() if name not in tensors}
    model.load_state_dict({**tensors, **means}, assign=True)
    model.update_means()
    about = _about(src, preset, overrides, config, new_noises, dropped)
    card = model_card(config, dst_folder.name, CardFacts(licence="cc-by-nc-sa-4.0", about=about))
    _write(model, card, discriminator, dst_folder)
    return config


def load_original(path: Path) -> dict:
    """Read an original file; anything but plain tensors is refused and never run.

    Raises:
        ValueError: The file is missing, cut short, not a torch file, or not a dictionary of plain tensors; or what it
            unfolds to is larger than itself.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        _check_archive(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can raise nearly anything
        logger.debug("%s: %s", path, error)
        raise ValueError(
            f"{path} is not a complete torch file of plain tensors (torch 1.6 or later), so it is not loaded"
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, expected a dictionary with 'g_ema'")
    return checkpoint


def _check_archive(path: Path) -> None:
    """Refuse a zip file that unfolds to more than its size, or is laid out so that readers could see different ones.

    Raises:
        ValueError: So it is.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{size:,} bytes, expected at most {MAX_FILE_BYTES:,}")
    with open(path, "rb") as file:
        file.seek(max(size - 22, 0))
        end = file.read(22)  # the end record, without a comment behind it
    num_records = int.from_bytes(end[10:12], "little")
    if len(end) < 22 or end[:4] != b"PK\5\6" or end[20:] != b"\0\0" or not 0 < num_records <= MAX_RECORDS:
        raise ValueError("not a zip file as torch writes it")
    if int.from_bytes(end[12:16], "little") > 256 * MAX_RECORDS:
        raise ValueError("the zip file's directory is too large")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if len(records) != num_records or len({record.filename for record in records}) != num_records:
            raise ValueError("the zip file's directory contradicts itself")
        if any(record.compress_type or record.file_size != record.compress_size for record in records):
            raise ValueError("the zip file is compressed, torch's are not")
        if sum(record.file_size for record in records) > size:
            raise ValueError("the zip file's records overlap")
        for record in records:
            if record.filename.endswith(".pkl"):
                if record.file_size > MAX_STRUCTURE_BYTES:
                    raise ValueError(f"a structure of {record.file_size:,} bytes")
                _check_structure(archive.read(record))


def _check_structure(program: bytes) -> None:
    """Refuse a pickle that calls anything but what builds tensors, or uses a tuple twice; it is read, not run.

    Tuples within tuples, each used twice, would take for ever to hash. ``weights_only`` is the second guard.

    Raises:
        ValueError: So it is.
    """
    memo_of_tuples, previous = set(), ""
    for code, value, _ in pickletools.genops(program):
        if code.name == "GLOBAL" and not SAFE_GLOBAL.fullmatch(value):
            raise ValueError(f"it names {shown(value)}")
        if code.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "DUP"):
            raise ValueError(f"it has the instruction {code.name}")
        if code.name.endswith("PUT") and previous.startswith("TUPLE"):
            memo_of_tuples.add(int(value))
        elif code.name == "MEMOIZE" or code.name.endswith("GET") and int(value) in memo_of_tuples:
            raise ValueError("it uses a tuple twice")
        previous = code.name


def _part(checkpoint: dict, key: str, src: Path) -> dict[str, Tensor]:
    part = checkpoint.get(key)
    if not isinstance(part, Mapping):
        found = ", ".join(map(shown, list(checkpoint)[:8])) or "nothing"
        raise ValueError(f"{src} has no dictionary of tensors {key!r}, it holds {found}")
    for name, tensor in part.items():
        is_plain = isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided
        if not is_plain or tensor.device.type != "cpu":
            raise ValueError(f"{src} holds {shown(name)} in {key!r}, which is not a plain tensor")
    size = sum(tensor.numel() * tensor.element_size() for tensor in part.values())
    if size > max(src.stat().st_size, MAX_UNFOLDED_BYTES):
        raise ValueError(f"{src} holds tensors in {key!r} that unfold to {size:,} bytes, more than the file has")
    return dict(part)


def _index(pattern: str, name: str) -> float:
    match = re.fullmatch(pattern, name)
    return int(match[1]) if match and len(match[1]) < 4 else float("inf")


def _count(state: Mapping[str, Tensor], prefix: str, tensors: Mapping[str, str | None]) -> int:
    """Return one more than the highest number of a layer; a gap is found later, as a missing tensor."""
    pattern = rf"{re.escape(prefix)}\.(\d+)\.({'|'.join(map(re.escape, tensors))})"
    numbers = [_index(pattern, name) for name in state if isinstance(name, str)]
    return max((number for number in numbers if number <= MAX_INDEX), default=-1) + 1


def _size(state: Mapping[str, Tensor], name: str, dim: int) -> int:
    """Return one dimension of a weight, whose shape is checked in full later."""
    tensor = state.get(name)
    if not isinstance(tensor, Tensor):
        raise ValueError(f"tensor {name} is missing from the original checkpoint")
    if tensor.dim() <= dim or not 1 <= tensor.shape[dim] <= 4096:
        raise ValueError(f"tensor {name} has shape {tuple(tensor.shape)}, expected 1 to 4096 in dimension {dim}")
    return tensor.shape[dim]


def _checked(state: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = state.get(name)
    if not isinstance(tensor, Tensor):
        raise ValueError(f"tensor {name} is missing from the original checkpoint")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"tensor {name} has shape {tuple(tensor.shape)}, expected {shape}")
    if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
        raise ValueError(f"tensor {name} holds values that are not finite floating point numbers")
    return tensor.detach().to(torch.float32, copy=True).contiguous()


def _our_shapes(config: StyleSDFConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in Generator(config).state_dict().items()}


def _original_shape(name: str, shape: torch.Size) -> tuple[int, ...]:
    """Return the shape that one of our tensors has in an original file."""
    if name.startswith("decoder.") and name.endswith(".weight") and len(shape) == 4:
        return (1, *shape)
    if name.endswith("to_rgb.bias"):
        return (1, *shape, 1, 1)
    return tuple(shape) or (1,)


def _warn(state: Mapping[str, Tensor], new_noises: list[str], dropped: dict[str, str]) -> None:
    if new_noises:
        logger.warning(
            "noise of a size that does not fit the model, replaced from a fixed seed: %s", ", ".join(new_noises)
        )
    spare = [name for name, reason in dropped.items() if reason == SPARE_NOISE]
    if spare:
        logger.warning("%s, dropped: %s", SPARE_NOISE, ", ".join(spare))
    taps = torch.tensor(FIR_TAPS)
    for name in (name for name, reason in dropped.items() if reason == FIR_KERNEL):
        kernel = state[name].float()
        if kernel.shape != (4, 4) or not torch.allclose(kernel / kernel.sum(), torch.outer(taps, taps) / 64):
            logger.warning("%s is not the low-pass kernel [1, 3, 3, 1] of this package: images will differ", name)


def _about(
    src: Path,
    preset: str,
    overrides: dict,
    config: StyleSDFConfig,
    new_noises: list[str],
    dropped: dict[str, str],
) -> str:
    md5 = file_hash(src, "md5")
    release = f"the released file `{RELEASED[md5]}`" if md5 in RELEASED else "none of the files released by the authors"
    reasons = [f"{list(dropped.values()).count(reason)} × {reason}" for reason in dict.fromkeys(dropped.values())]
    given = ", ".join(f"{name} = {value!r}" for name, value in overrides.items()) or "none"
    return f"""## Origin and licence

Converted from a checkpoint of the original StyleSDF implementation by Roy Or-El, Xuan Luo, Mengyi Shan, Eli Shechtman,
Jeong Joon Park and Ira Kemelmacher-Shlizerman, the authors of the paper. Their checkpoints are offered under
**CC BY-NC-SA 4.0** (https://creativecommons.org/licenses/by-nc-sa/4.0/), and these converted weights inherit that
licence: attribution, non-commercial use only, the same licence for what is derived. Changes: tensors renamed, mean
codes computed and stored, as below.

| | |
|---|---|
| source file | `{src.name}`, {src.stat().st_size:,} bytes, tensors `g_ema` |
| md5 | `{md5}`: {release} |
| preset | {preset}; overrides: {given} |
| kind | {"full model" if config.has_decoder else "renderer only (stage 1)"} |
| means | of 10,000 codes, seed 0 |
| noise replaced, seed {NOISE_SEED} | {", ".join(new_noises) or "none"} |
| dropped | {"; ".join(reasons) or "nothing"} |
"""


def _write(model: Generator, card: str, discriminator: tuple[str, dict] | None, dst_folder: Path) -> None:
    """Write everything beside the destination, then rename the folder."""
    from safetensors.torch import save_file

    try:
        dst_folder.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"cannot write to {dst_folder}, expected a folder in a folder") from None
    partial = Path(tempfile.mkdtemp(dir=dst_folder.parent, prefix=f".{dst_folder.name}."))
    try:
        folder = partial / dst_folder.name  # made with the usual permissions, those of a temporary folder are private
        save_model(model, folder, card)
        if discriminator is not None:
            kind, tensors = discriminator
            save_file(tensors, folder / DISCRIMINATOR_FILES[kind], metadata={"format": "pt"})
        folder.replace(dst_folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
