"""Original checkpoints to ours: a rename table, dropped tensors with their reasons, nothing silent.

The table is written out for a config, so it is total (what it does not name is an error) and injective.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from stylesdf.card import CardFacts, model_card
from stylesdf.checkpoint import DISCRIMINATOR_FILES, file_hash, save_model, tensor_name
from stylesdf.config import PRESETS, StyleSDFConfig, shown
from stylesdf.files import replacing_folder
from stylesdf.model import Generator
from stylesdf.ops import fir_taps
from stylesdf.torchfile import Inert, Stored, TorchFile, what_it_is_instead

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
MAX_UNFOLDED_BYTES = 1 << 29  # a tensor may repeat one stored number; the paper's model has 0.1 GB
PARTS = ("g_ema", "g", "d")  # generator, averaged and of the last step; discriminator
WHOLE_OBJECT = "it asks for {} to be called, and nothing in a file is: if that is a model, save {}.state_dict() instead"
WRAPPERS = ("module", "_orig_mod")  # parts of names: DataParallel and torch.compile put them around modules

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
    """Convert an original ``.pt`` file to a checkpoint folder.

    The averaged generator ``g_ema`` is taken, or ``g`` where it is absent, or the file's own tensors where it has no
    parts. Their names may hold ``module`` and ``_orig_mod`` anywhere, their numbers may be of half precision or of a
    GPU; what else lies beside them is left out.

    Args:
        src: A file of any torch since 1.0, or safetensors with the same names. Only plain tensors are read from it,
            nothing in it is run.
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

    original = Original(src)
    key, state = original.part("g_ema", "g", "")
    if key == "g":
        logger.warning("%s has no averaged generator 'g_ema', the one of the last step, 'g', is taken", src)
    config = read_config(state, base)
    state, new_noises = fit_noises(state, config)
    tensors = rename_generator(state, config)
    dropped = {name: reason for name in state if (reason := drop_reason(name, config))}
    _warn(state, new_noises, dropped)
    discriminator = None
    if with_discriminators:
        kind = "image" if config.has_decoder else "thumbnail"
        discriminator = kind, rename_discriminator(original.part("d")[1], kind)

    with torch.device("meta"):
        model = Generator(config)
    means = {name: torch.zeros(tensor.shape) for name, tensor in model.state_dict().items() if name not in tensors}
    model.load_state_dict({**tensors, **means}, assign=True)
    model.update_means()
    about = _about(src, key, preset, overrides, config, new_noises, dropped)
    card = model_card(config, dst_folder.name, CardFacts(licence="cc-by-nc-sa-4.0", about=about))
    _write(model, card, discriminator, dst_folder)
    return config


class Original:
    """What an original file holds; nothing in it is run.

    Attributes:
        path: The file.
        parts: By ``PARTS``, names and what they name; under ``""`` tensors that lie in the file by themselves.
        holds: Names of everything at the file's top.
    """

    def __init__(self, path: Path) -> None:
        """Read how a file is arranged.

        Raises:
            ValueError: The file is missing, cut short, neither a torch nor a safetensors file, or has no dictionary;
                or what it unfolds to is larger than itself.
        """
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        self.path = path
        with _readable(path):
            contents, self._read, called = _open_safetensors(path) or _open_torch(path)
            if isinstance(contents, Inert):
                raise ValueError(WHOLE_OBJECT.format(contents.name, "model"))
        if not isinstance(contents, dict):
            kind = "Tensor" if isinstance(contents, Stored) else type(contents).__name__
            raise ValueError(f"{path} holds a {kind}, expected a dictionary with 'g_ema'")
        self.holds = list(contents)
        self.parts = _parts(contents)
        if called:
            names = ", ".join(map(shown, called[:8])) + (", …" if len(called) > 8 else "")
            logger.warning("%s holds more than tensors, which is left out and not run: %s", path, names)

    def part(self, *keys: str) -> tuple[str, dict[str, Tensor]]:
        """Return the first of some parts that is there, and its tensors without the names of ``WRAPPERS``.

        Raises:
            ValueError: None is there, or it holds something else than plain tensors.
        """
        key = next((key for key in keys if isinstance(self.parts.get(key), dict) and self.parts[key]), keys[0])
        part = self.parts.get(key)
        if isinstance(part, Inert):
            raise ValueError(f"{self.path} holds no plain tensors in {key!r}: {WHOLE_OBJECT.format(part.name, key)}")
        if not isinstance(part, dict):
            found = ", ".join(map(shown, self.holds[:8])) or "nothing"
            raise ValueError(f"{self.path} has no dictionary of tensors {key!r}, it holds {found}")
        named = {}
        for name, tensor in part.items():
            if not isinstance(name, str) or not isinstance(tensor, (Tensor, Stored)):
                what = f"asks for {shown(tensor.name)}" if isinstance(tensor, Inert) else "is not a plain tensor"
                raise ValueError(f"{self.path} holds {shown(name)} in {key!r}, which {what}, expected plain tensors")
            if (short := unwrapped(name)) in named:
                raise ValueError(f"{self.path} holds two tensors {tensor_name(short)} in {key!r}")
            named[short] = tensor
        size = sum(tensor.num_bytes if isinstance(tensor, Stored) else tensor.nbytes for tensor in named.values())
        if size > max(self.path.stat().st_size, MAX_UNFOLDED_BYTES):
            text = f"tensors in {key!r} that unfold to {size:,} bytes, more than the file has"
            raise ValueError(f"{self.path} holds {text}")
        with _readable(self.path):
            return key, self._read(named)


def unwrapped(name: str) -> str:
    """Return a tensor's name without what DataParallel and ``torch.compile`` put into it, at any place."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever a broken file raises into one sentence."""
    try:
        yield
    except Exception as error:  # a broken file can raise nearly anything
        logger.debug("%s: %s", path, error)
        reason = " ".join(str(error).split())[:300] if type(error) is ValueError else "it is cut off or damaged"
        message = f"{path} is not a complete torch file of plain tensors, so it is not loaded: {reason}"
        raise ValueError(message) from error


def _open_torch(path: Path) -> tuple[object, Callable, list[str]]:
    file = TorchFile(path)
    return file.contents, file.read, file.called


def _open_safetensors(path: Path) -> tuple[dict, Callable, list[str]] | None:
    """Return the tensors of a safetensors file; None where it is no such file."""
    with open(path, "rb") as file:
        head = file.read(1024)
    if what := what_it_is_instead(head):
        raise ValueError(what)
    if path.suffix != ".safetensors" and head[5:9] != b"\0\0\0{":  # behind the length of the header
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path), dict, []
    except SafetensorError as error:
        raise ValueError(f"it is no complete safetensors file: {error}") from None


def _parts(contents: dict) -> dict[str, object]:
    """Return the parts of a file by ``PARTS``, also where names say which part a tensor belongs to."""
    parts: dict[str, object] = {}
    for name, value in contents.items():
        if not isinstance(value, (Tensor, Stored)):
            parts[name] = value
            continue
        first, _, rest = unwrapped(name).partition(".") if isinstance(name, str) else ("", "", "")
        key = first if first in PARTS and isinstance(parts.get(first, {}), dict) else ""
        parts.setdefault(key, {})[rest if key else name] = value
    return parts


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
    taps = fir_taps(torch.zeros(()))
    for name in (name for name, reason in dropped.items() if reason == FIR_KERNEL):
        kernel = state[name].float()
        if kernel.shape != (4, 4) or not torch.allclose(kernel / kernel.sum(), torch.outer(taps, taps)):
            logger.warning("%s is not the low-pass kernel [1, 3, 3, 1] of this package: images will differ", name)


def _about(
    src: Path,
    key: str,
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
| source file | `{src.name}`, {src.stat().st_size:,} bytes, {f"tensors `{key}`" if key else "its own tensors"} |
| md5 | `{md5}`: {release} |
| preset | {preset}; overrides: {given} |
| kind | {"full model" if config.has_decoder else "renderer only (stage 1)"} |
| means | of 10,000 codes, seed 0 |
| noise replaced, seed {NOISE_SEED} | {", ".join(new_noises) or "none"} |
| dropped | {"; ".join(reasons) or "nothing"} |
"""


def _write(model: Generator, card: str, discriminator: tuple[str, dict] | None, dst_folder: Path) -> None:
    """Write a new folder in full or not at all."""
    from safetensors.torch import save

    try:
        with replacing_folder(dst_folder) as folder:
            save_model(model, folder, card)
            if discriminator is not None:
                kind, tensors = discriminator
                (folder / DISCRIMINATOR_FILES[kind]).write_bytes(save(tensors, metadata={"format": "pt"}))
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"cannot write to {dst_folder}, expected a folder in a folder") from None
