"""The checkpoint folder: ``config.json``, weights and a card, strict both ways.

All tensors of a loaded model come from its file; whatever does not fit is an error that names it. Files come from
strangers: sizes are compared with bounds, names and shapes with the config, before memory is taken for them.

Weights are ``model.safetensors``, or with a variant ``model.fp16.safetensors``; large ones lie in shards,
``model-00001-of-00002.safetensors`` and so on, with an index ``model.safetensors.index.json``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from stylesdf.card import model_card
from stylesdf.config import DEFAULT_MODEL, StyleSDFConfig, shown
from stylesdf.files import replacing, replacing_folder, sent_instead, text_instead

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
BUNDLED = "checkpoints"
# optional, part of a model that people use: what finds the head in a picture, and edits with names
COMPANION_FILES = {"inverter": "inverter.safetensors", "directions": "directions.safetensors"}
REPORT_FILES = ("directions.json", "directions.png")  # what the edits do, in numbers and in pictures
# optional, beside a model that shall be trained on: the discriminators of both stages, the encoder of stage 1
DISCRIMINATOR_FILES = {
    "thumbnail": "discriminator_thumbnail.safetensors",
    "image": "discriminator_image.safetensors",
    "encoder": "encoder.safetensors",
}
NETWORK_FILES = {**DISCRIMINATOR_FILES, **COMPANION_FILES}
FLOAT_DTYPES = ("F16", "BF16", "F32", "F64")  # safetensors' names
VARIANTS = {None: torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}  # what can be saved

MAX_CONFIG_BYTES = 1 << 18
MAX_HEADER_BYTES = 1 << 20  # of a weights file or an index; the paper's model has 25 kB
MAX_CARD_BYTES = 1 << 20
MAX_MODEL_BYTES = 1 << 31  # as float32; the paper's model has 0.1 GB

logger = logging.getLogger(__name__)


# Names


def bundled_root() -> Path:
    """Return the folder whose ``checkpoints/`` holds the bundled models: the installed package, or the clone."""
    package = Path(__file__).resolve().parent
    return package if (package / BUNDLED).is_dir() else package.parent


def bundled_or_given(name_or_path: str | Path) -> str | Path:
    """Return where a bundled model lies, given as ``checkpoints/NAME``; anything else, and what is here, as it is."""
    path = Path(name_or_path)
    found = bundled_root() / path
    is_bundled = path.parent == Path(BUNDLED) and not os.path.exists(path) and (found / CONFIG_FILE).is_file()
    return found if is_bundled else name_or_path


def default_model() -> str:
    """Return the model that command line and page open with: ``$STYLESDF_MODEL``, else the bundled people."""
    return os.environ.get("STYLESDF_MODEL") or DEFAULT_MODEL


def weights_file(variant: str | None = None) -> str:
    """Return the name of the weights file of a variant."""
    return WEIGHTS_FILE if variant is None else f"model.{variant}.safetensors"


def index_file(variant: str | None = None) -> str:
    """Return the name of the index of sharded weights."""
    return f"{WEIGHTS_FILE}.index{'' if variant is None else f'.{variant}'}.json"


def stale_files(
    names: Iterable[str], contents: Mapping[str, bytes], variant: str | None, sha256_of: Callable[[str], str | None]
) -> list[str]:
    """Return which files of a checkpoint no longer belong to it once ``contents`` are written.

    These are older weights of the same variant, and where the weights proper become others, whatever was learned from
    them for people: inverter, directions and the report of these. What training goes on with stays.

    Args:
        names: Of the files that are there.
        contents: Name → content, as of ``checkpoint_contents``.
        variant: Of the weights among them.
        sha256_of: Returns the hash of a weights file that is there.
    """
    stem = re.escape(weights_file(variant).removesuffix(".safetensors"))
    pattern = rf"{stem}(-\d{{5}}-of-\d{{5}})?\.safetensors"
    before, others = set(names), set(names) - set(contents)
    stale = {name for name in others if re.fullmatch(pattern, name) or name == index_file(variant)}
    learned = others & {*COMPANION_FILES.values(), *REPORT_FILES}
    if variant is None and learned:
        weights = {name: content for name, content in contents.items() if re.fullmatch(pattern, name)}
        is_same = all(
            name in before and sha256_of(name) == hashlib.sha256(content).hexdigest()
            for name, content in weights.items()
        )
        stale |= set() if is_same else learned
    return sorted(stale)


def tensor_name(name: object) -> str:
    """Return a tensor's name as it stands in an error message; one from a stranger's file may be anything."""
    is_plain = isinstance(name, str) and re.fullmatch(r"[\w.]{1,100}", name)
    return name if is_plain else shown(name)


# Reading


class ShapesOnly(TorchFunctionMode):
    """Context in which modules draw and scale no initial values, for weights that a file replaces anyway.

    On the ``meta`` device there are none, yet torch would load its compiler to scale them, which takes seconds.
    """

    def __torch_function__(self, function, types, arguments=(), options=None):
        if function in (Tensor.normal_, Tensor.uniform_, Tensor.mul_, Tensor.div):
            return arguments[0]
        return (torch.empty if function is torch.randn else function)(*arguments, **(options or {}))


def load_config(folder: str | Path) -> StyleSDFConfig:
    """Read the config of a checkpoint folder.

    Args:
        folder: A folder with a ``config.json``.

    Raises:
        ValueError: The file is missing, is not JSON, or holds an unknown key, a value out of range or a newer format.
    """
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {CONFIG_FILE}, expected a checkpoint folder")
    values = _parse_json(_read_small(path, MAX_CONFIG_BYTES), path)
    try:
        return StyleSDFConfig.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def load_card(path: str | Path) -> str | None:
    """Read a model card; None where there is none.

    Raises:
        ValueError: The file is far too large for a card.
    """
    path = Path(path)
    return _read_small(path, MAX_CARD_BYTES).decode("utf-8", errors="replace") if path.is_file() else None


def load_weights(model: nn.Module, path: str | Path, strict: bool = True) -> list[str]:
    """Fill a model from safetensors; names, shapes and types are compared before any tensor is read.

    Args:
        model: Changed in place; may lie on the ``meta`` device, then it takes the tensors over.
        path: A ``.safetensors`` file, or the ``.json`` index of a sharded one.
        strict: Missing and unexpected tensors are errors; otherwise warnings, and what is missing keeps its value.

    Returns:
        Names of the tensors that are missing; none where ``strict``.

    Raises:
        ValueError: A file is missing or is not complete, a tensor does not fit, or hardly any is there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    expected = model.state_dict()
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}, expected a checkpoint folder")
    if (size := 4 * _count(expected.values())) > MAX_MODEL_BYTES:
        raise ValueError(f"a model of this config has {size:,} bytes, {path} may have {MAX_MODEL_BYTES:,}")
    headers = _read_shard_headers(path) if path.suffix == ".json" else {path: read_header(path)}
    found = {name: tensor for header in headers.values() for name, tensor in header.items()}
    missing = _check_names(path, set(found), set(expected), strict)
    if 2 * _count(expected[name] for name in missing) > _count(expected.values()):
        raise ValueError(f"{path} holds less than half of the model's numbers, so it is not loaded")
    for name in sorted(set(found) & set(expected)):
        shape, dtype = found[name]
        if shape != tuple(expected[name].shape):
            want = tuple(expected[name].shape)
            raise ValueError(f"tensor {name} in {path} has shape {shown(shape)}, expected {want}")
        if dtype not in FLOAT_DTYPES:
            raise ValueError(f"tensor {name} in {path} is {shown(dtype)}, expected floating point numbers")
    tensors = {}
    for shard, header in headers.items():
        try:
            stored = load(_read_small(shard, 2 * MAX_MODEL_BYTES))  # not mapped: the file may be cut while it is read
            for name in set(header) & set(expected):
                tensors[name] = _finite(stored.pop(name).to(expected[name].dtype), shard, name)
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{shard} is not a complete safetensors file: {_one_line(error)}") from None
    on_meta = any(tensor.is_meta for tensor in expected.values())
    model.load_state_dict(tensors, strict=False, assign=on_meta)
    return missing


def built_as(path: str | Path, latent_size: int, names: Iterable[str]) -> dict:
    """Read how a network beside a model is built, which its file says in its header.

    Args:
        path: A ``.safetensors`` file that ``save_model`` wrote of a network with a ``config``.
        latent_size: Of the renderer codes of the model.
        names: Of what the config holds, ``latent_size`` among them.

    Raises:
        ValueError: It is no such file, or of a network for codes of another size.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("config", "null"))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a network's file: {_one_line(error)}") from None
    if not isinstance(config, dict) or config.keys() != set(names):
        expected = " and ".join(names)
        raise ValueError(f"{path} says {shown(config)} of how its network is built, expected {expected}")
    if type(config["latent_size"]) is not int or config["latent_size"] != latent_size:
        found = shown(config["latent_size"])
        raise ValueError(f"the network in {path} is one for codes of {found}, expected {latent_size}")
    return config


def shard_names(index: str | Path) -> list[str]:
    """Read which files the weights of an index lie in, all of them beside it.

    Raises:
        ValueError: The index is not one, or names anything but plain files.
    """
    return sorted(set(_read_index(Path(index)).values()))


def file_hash(path: str | Path, algorithm: str) -> str:
    """Return the hash of a file, read in pieces."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _count(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _read_small(path: Path, max_bytes: int) -> bytes:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size  # as much is set aside, however little comes
        content = file.read(min(size, max_bytes) + 1)
    if len(content) > max_bytes:
        raise ValueError(f"{path} has more than {max_bytes:,} bytes, too many for such a file")
    return content


def _parse_json(text: bytes, path: Path) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        what = sent_instead(text)
        raise ValueError(f"{path} is not JSON: {f'it is {what}' if what else _one_line(error)}") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands there twice")
    return values


def read_header(path: Path) -> dict[str, tuple[tuple, str]]:
    """Read names, shapes and types of a safetensors file; that they fit its bytes is checked by ``load_weights``.

    Raises:
        ValueError: It is something else, which is named, or is cut off.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        if what := _what_it_is(file.read(1024)):
            raise ValueError(f"{path} is not a complete safetensors file: it is {what}")
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError(f"{path} is not a complete safetensors file: it has only {size:,} bytes")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"{path} is not a complete safetensors file: its header has {length:,} bytes")
        text = file.read(length)
    try:
        tensors = _parse_json(text, path)
        tensors.pop("__metadata__", None)
        return {name: (tuple(about["shape"]), about["dtype"]) for name, about in tensors.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{path} is not a complete safetensors file: its header is damaged") from None


def _what_it_is(head: bytes) -> str:
    """Name what lies in place of weights; empty where it may be weights."""
    # a zip, or a pickle by itself, whose third byte begins no header of a size that is read
    if head.startswith(b"PK\3\4") or (head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5" and head[2:3] > b"\x10"):
        return "a pickle as torch.save writes it; `python -m stylesdf convert` turns an original .pt file into a folder"
    return text_instead(head)


def _read_shard_headers(index: Path) -> dict[Path, dict[str, tuple[tuple, str]]]:
    """Read the headers of all shards; each must hold exactly the tensors that the index says."""
    weight_map, headers = _read_index(index), {}
    for shard in sorted(set(weight_map.values())):
        if not (path := index.parent / shard).is_file():
            raise ValueError(f"{index.parent} has no {shard}, which {index.name} names")
        headers[path] = read_header(path)
        wrong = set(headers[path]) ^ {name for name in weight_map if weight_map[name] == shard}
        if wrong:
            raise ValueError(f"{path} and {index.name} do not agree on tensor {tensor_name(min(wrong))}")
    return headers


def _read_index(path: Path) -> dict[str, str]:
    values = _parse_json(_read_small(path, MAX_HEADER_BYTES), path)
    weight_map = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{path} has no weight_map, expected the index of sharded weights")
    for shard in weight_map.values():
        if not isinstance(shard, str) or not re.fullmatch(r"\w[\w.-]{0,200}\.safetensors", shard, re.ASCII):
            raise ValueError(f"{path} names {shown(shard)}, expected .safetensors files beside it")
    return weight_map


def _check_names(path: Path, names: set[str], expected: set[str], strict: bool) -> list[str]:
    missing, unexpected = sorted(expected - names), sorted(names - expected)
    for problem, found in (("missing from", missing), ("unexpected in", unexpected)):
        if found and strict:
            others = f" (and {len(found) - 1} more)" if found[1:] else ""
            raise ValueError(f"tensor {tensor_name(found[0])} is {problem} {path}{others}")
        if found:
            logger.warning("%s %s: %s", problem, path, ", ".join(map(tensor_name, found)))
    return missing


def _finite(tensor: Tensor, path: Path, name: str) -> Tensor:
    if not torch.isfinite(tensor).all():
        raise ValueError(f"tensor {name} in {path} holds values that are not finite numbers")
    return tensor


# Writing


def save_model(
    model: nn.Module,
    folder: str | Path,
    card: str | None = None,
    variant: str | None = None,
    max_shard_size: int | str | None = None,
    discriminators: Mapping[str, nn.Module] | None = None,
    beside: Iterable[Path] = (),
) -> None:
    """Write a checkpoint folder; on failure it is left as it was, or there is none.

    Args:
        model: Has a ``config``; its tensors are stored as float32, or as the variant says.
        folder: Created where absent; config and weights of the same variant in it are replaced. Inverter and directions
            of other weights are removed.
        card: Text of the model card, written only where the folder has none; None takes a template.
        variant: ``"fp16"`` or ``"bf16"`` writes half precision beside what is there; None the weights proper.
        max_shard_size: Bytes, or a text such as ``"200MB"``; larger weights are cut into shards of at most this.
        discriminators: ``"thumbnail"`` or ``"image"`` → discriminator, ``"encoder"`` → stage 1's encoder, written
            beside the model for training on, or ``"inverter"`` or ``"directions"`` instead of the model's own; each
            with its ``config``, where it has one, in the header of its file. An inverter is stored in half precision.
        beside: Files that are copied into the folder as they are.

    Raises:
        ValueError: ``folder`` is a file, an unknown variant, or a tensor holds values that are not finite.
    """
    folder = Path(folder)
    contents = checkpoint_contents(model, variant, max_shard_size, discriminators)
    contents |= {path.name: path.read_bytes() for path in beside}
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if CARD_FILE not in names:
        card = model_card(model.config, folder.resolve().name) if card is None else card
        contents[CARD_FILE] = card.encode(errors="replace")  # a folder's name may be no text
    stale = stale_files(names, contents, variant, lambda name: file_hash(folder / name, "sha256"))
    _write_files(folder, contents)
    for name in stale:
        (folder / name).unlink()


def checkpoint_contents(
    model: nn.Module,
    variant: str | None = None,
    max_shard_size: int | str | None = None,
    discriminators: Mapping[str, nn.Module] | None = None,
) -> dict[str, bytes]:
    """Return config and weights as the files of a checkpoint, name → content; the arguments are ``save_model``'s.

    Raises:
        ValueError: An unknown variant, or a tensor holds values that are not finite (in its type).
    """
    from safetensors.torch import save

    if variant not in VARIANTS:
        raise ValueError(f"variant is {shown(variant)}, expected {' or '.join(map(repr, filter(None, VARIANTS)))}")
    tensors = _stored_tensors(model, VARIANTS[variant])
    shards, index = _split(tensors, variant, max_shard_size)
    contents = {name: save(shard, metadata={"format": "pt"}) for name, shard in shards.items()}
    if index:
        contents[index_file(variant)] = _to_json(index)
    contents[CONFIG_FILE] = _to_json(model.config.to_dict())
    own = {kind: getattr(model, kind, None) for kind in COMPANION_FILES}
    networks = {kind: module for kind, module in own.items() if module is not None} | dict(discriminators or {})
    for kind, discriminator in networks.items():
        dtype = torch.float16 if kind == "inverter" else torch.float32
        tensors, config = _stored_tensors(discriminator, dtype), getattr(discriminator, "config", None)
        # one key: the order of several is by chance, and the same network is to have the same bytes
        metadata = {"format": "pt"} if config is None else {"config": json.dumps(config)}
        contents[NETWORK_FILES[kind]] = save(tensors, metadata=metadata)
    return contents


def _stored_tensors(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    tensors = {}
    for name, tensor in module.state_dict().items():
        tensor = tensor.detach().to("cpu", dtype, copy=True).contiguous()
        if not torch.isfinite(tensor).all():
            raise ValueError(f"tensor {name} holds values that are not finite numbers, the model is not saved")
        tensors[name] = tensor
    return tensors


def _split(tensors: dict[str, Tensor], variant: str | None, max_shard_size: int | str | None):
    """Return the tensors by file, and the index where there is more than one."""
    if max_shard_size is None:
        return {weights_file(variant): tensors}, None
    from huggingface_hub import split_torch_state_dict_into_shards

    pattern = weights_file(variant).replace(".safetensors", "{suffix}.safetensors")
    split = split_torch_state_dict_into_shards(tensors, filename_pattern=pattern, max_shard_size=max_shard_size)
    shards = {file: {name: tensors[name] for name in names} for file, names in split.filename_to_tensors.items()}
    return shards, {"metadata": split.metadata, "weight_map": split.tensor_to_filename} if split.is_sharded else None


def _to_json(values: dict) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()


def _write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files; on failure leave the folder as it was, or leave none."""
    try:
        if not folder.exists():
            with replacing_folder(folder) as partial:
                for name, data in contents.items():
                    (partial / name).write_bytes(data)
            return
        with contextlib.ExitStack() as stack:  # each takes its place when all are complete
            for name, data in contents.items():
                stack.enter_context(replacing(folder / name)).write_bytes(data)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"cannot write to {folder}, expected a folder") from None
