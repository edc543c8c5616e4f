"""The checkpoint folder: ``config.json``, ``model.safetensors`` and a card, strict both ways.

All tensors of a loaded model come from its file; whatever does not fit is an error that names it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from stylesdf.config import StyleSDFConfig

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
FLOAT_DTYPES = ("F16", "BF16", "F32", "F64")  # safetensors' names

logger = logging.getLogger(__name__)


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
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    try:
        return StyleSDFConfig.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def load_weights(model: nn.Module, path: str | Path, strict: bool = True) -> None:
    """Fill a model from a safetensors file; names, shapes and types are compared before anything is read.

    Args:
        model: Changed in place; may lie on the ``meta`` device, then it takes the tensors over.
        path: The file.
        strict: Missing and unexpected tensors are errors; otherwise warnings, and what is missing keeps its value.

    Raises:
        ValueError: The file is missing, is not a complete safetensors file, or a tensor does not fit.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    expected = model.state_dict()
    if not path.is_file():
        raise ValueError(f"{path.parent} has no {path.name}, expected a checkpoint folder")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            names = set(file.keys())
            _check_names(path, names, set(expected), strict)
            names &= set(expected)
            for name in sorted(names):
                header = file.get_slice(name)
                shape, want = tuple(header.get_shape()), tuple(expected[name].shape)
                if shape != want:
                    raise ValueError(f"tensor {name} in {path} has shape {shape}, expected {want}")
                if (dtype := header.get_dtype()) not in FLOAT_DTYPES:
                    raise ValueError(f"tensor {name} in {path} is {dtype}, expected floating point numbers")
            tensors = {name: _read_tensor(file, path, name, expected[name].dtype) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from None
    on_meta = any(tensor.is_meta for tensor in expected.values())
    model.load_state_dict(tensors, strict=strict, assign=on_meta)


def _check_names(path: Path, names: set[str], expected: set[str], strict: bool) -> None:
    for problem, found in (("missing from", sorted(expected - names)), ("unexpected in", sorted(names - expected))):
        if found and strict:
            others = f" (and {len(found) - 1} more)" if found[1:] else ""
            raise ValueError(f"tensor {found[0]} is {problem} {path}{others}")
        if found:
            logger.warning("%s %s: %s", problem, path, ", ".join(found))


def _read_tensor(file, path: Path, name: str, dtype: torch.dtype) -> Tensor:
    tensor = file.get_tensor(name).to(dtype, copy=True)  # a copy: safetensors maps the file, which may change
    if not torch.isfinite(tensor).all():
        raise ValueError(f"tensor {name} in {path} holds values that are not finite numbers")
    return tensor


def save_model(model: nn.Module, folder: str | Path, card: str | None = None) -> None:
    """Write a checkpoint folder; a file is there in full or not at all.

    Args:
        model: Has a ``config``; its tensors are stored as float32.
        folder: Created where absent; config and weights in it are replaced.
        card: Text of the model card, written only where the folder has none; None takes a template.

    Raises:
        ValueError: ``folder`` is a file, or a tensor holds values that are not finite.
    """
    from safetensors.torch import save

    folder = Path(folder)
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
        if not torch.isfinite(tensor).all():
            raise ValueError(f"tensor {name} holds values that are not finite numbers, the model is not saved")
        tensors[name] = tensor
    contents = {
        WEIGHTS_FILE: save(tensors, metadata={"format": "pt"}),
        CONFIG_FILE: (json.dumps(model.config.to_dict(), indent=2) + "\n").encode(),
    }
    if not (folder / CARD_FILE).exists():
        contents[CARD_FILE] = (model_card(model.config, folder.resolve().name) if card is None else card).encode()
    _write_files(folder, contents)


def _write_files(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files under temporary names, then rename them all; on failure leave the folder as it was."""
    is_new = not folder.exists()
    temporary = {name: folder / f".{name}.{os.getpid()}.tmp" for name in contents}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ValueError(f"cannot write to {folder}, expected a folder") from None
    try:
        for name, data in contents.items():
            temporary[name].write_bytes(data)
        for name in contents:
            os.replace(temporary[name], folder / name)
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for path in temporary.values():
                path.unlink(missing_ok=True)
        raise


def model_card(config: StyleSDFConfig, name: str, licence: str = "apache-2.0", about: str = "") -> str:
    """Write the text of a model card.

    Args:
        config: Of the model.
        name: Hub repository id or folder name, as it stands in the usage example.
        licence: The hub's identifier of the weights' licence.
        about: Markdown that goes below the summary: origin, attribution, how it was made.
    """
    size = config.render_resolution
    poses = f"{config.pose_distribution}, yaw ±{config.pose_yaw:g}, pitch ±{config.pose_pitch:g} radians"
    what = f"images at {config.image_resolution}×{config.image_resolution}" if config.has_decoder else "renderings only"
    return f"""---
library_name: stylesdf
pipeline_tag: unconditional-image-generation
license: {licence}
tags:
- 3d
- 3d-aware-gan
- gan
- mesh
- nerf
- sdf
---

# {name.split("/")[-1]}

A StyleSDF generator: a latent code and a camera give an image and, through a signed distance field, geometry.
Thumbnails at {size}×{size}, {what}; field of view {config.fov_deg:g}° (full angle),
{config.num_samples} samples per ray in a ball of radius {config.scene_radius:g}, `{config.density}` density.

```python
from stylesdf import StyleSDF

model = StyleSDF.from_pretrained("{name}")
model.generate(seeds=[3], truncation=0.7, yaw=0.3, pitch=0.1).images[0].save("head.png")
model.extract_mesh(seed=3, truncation=0.7).export("head.glb")
```

{about.strip() or "Made with the stylesdf package."}

## Limits

Images and shapes follow the data the model was trained on, with its gaps and its biases. Cameras far outside the range
seen in training ({poses}) give worse ones.

Method: Or-El et al., *StyleSDF: High-Resolution 3D-Consistent Image and Geometry Generation*, CVPR 2022,
[arXiv 2112.11427](https://arxiv.org/abs/2112.11427).
"""
