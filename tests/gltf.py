"""Binary glTF read by the rules of glTF 2.0 alone, and what Khronos' own validator says of it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

VALIDATOR = "gltf-validator@2.0.0-dev.3.10"  # Khronos', Apache-2.0
COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
NUMBERS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
SCRIPT = """
const validator = require('gltf-validator');
const read = (path) => new Uint8Array(require('fs').readFileSync(path));
Promise.all(process.argv.slice(1).map((path) => validator.validateBytes(read(path)))).then((reports) =>
  process.stdout.write(JSON.stringify(reports.map((report) => report.issues.messages))));
"""


def chunks(path: Path) -> tuple[dict, bytes]:
    """Return the JSON and the numbers of a file, whose two chunks fill it."""
    data = path.read_bytes()
    word = lambda at: int.from_bytes(data[at : at + 4], "little")  # noqa: E731
    assert data[:4] == b"glTF" and word(4) == 2 and word(8) == len(data)
    end = 20 + word(12)
    assert data[16:20] == b"JSON" and word(12) % 4 == 0
    assert data[end + 4 : end + 8] == b"BIN\0" and word(end) % 4 == 0 and end + 8 + word(end) == len(data)
    return json.loads(data[20:end]), data[end + 8 :]


def read_glb(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the JSON, and attributes and ``indices`` of the only primitive, after a look at what glTF asks of them."""
    tree, numbers = chunks(path)
    assert tree["asset"]["version"] == "2.0"
    assert [buffer["byteLength"] for buffer in tree["buffers"]] == [len(numbers)]
    ends = [view["byteOffset"] + view["byteLength"] for view in tree["bufferViews"]]
    starts = [view["byteOffset"] for view in tree["bufferViews"]]
    assert starts == [0, *ends[:-1]] and len(numbers) - 4 < ends[-1] <= len(numbers)
    ((primitive,),) = [mesh["primitives"] for mesh in tree["meshes"]]
    places, arrays = {**primitive["attributes"], "indices": primitive["indices"]}, {}
    for name, place in places.items():
        accessor = tree["accessors"][place]
        view, dtype = tree["bufferViews"][accessor["bufferView"]], np.dtype(COMPONENTS[accessor["componentType"]])
        assert view["target"] == (34963 if name == "indices" else 34962) and "byteStride" not in view
        assert "byteOffset" not in accessor and view["byteOffset"] % dtype.itemsize == 0
        columns = NUMBERS[accessor["type"]]
        assert name == "indices" or columns * dtype.itemsize % 4 == 0  # vertices lie at multiples of four bytes
        assert accessor["count"] * columns * dtype.itemsize == view["byteLength"]
        is_normalised = accessor.get("normalized", False)
        assert is_normalised == (name == "COLOR_0" and dtype.kind != "f")
        array = np.frombuffer(numbers, dtype, accessor["count"] * columns, view["byteOffset"]).reshape(-1, columns)
        arrays[name] = array / np.iinfo(dtype).max if is_normalised else array
        for bound, value in (("min", array.min(axis=0)), ("max", array.max(axis=0))):
            assert accessor.get(bound, value.tolist()) == value.tolist()
    position = tree["accessors"][places["POSITION"]]
    assert position["type"] == "VEC3" and {"min", "max"} <= position.keys()
    assert len({len(array) for name, array in arrays.items() if name != "indices"}) == 1
    assert arrays["indices"].max() < len(arrays["POSITION"]) and len(arrays["indices"]) % 3 == 0
    assert np.abs(np.linalg.norm(arrays["NORMAL"], axis=1) - 1.0).max() < 1e-5
    colours = arrays[{"COLOR_0", "TEXCOORD_0"}.intersection(arrays).pop()]  # one of the two
    assert colours.min() >= 0.0 and colours.max() <= 1.0
    return tree, arrays


def validator_messages(paths: list[Path]) -> dict[str, list[dict]]:
    """Return errors, warnings, infos and hints of Khronos' validator by the files; skip where it cannot be had."""
    folder, node, npm = Path(sys.prefix) / "gltf-validator", shutil.which("node"), shutil.which("npm")
    if not (folder / "node_modules" / "gltf-validator").is_dir():
        install = [npm, "install", "--prefix", folder, VALIDATOR, "--ignore-scripts", "--no-audit", "--no-fund"]
        if npm is None or subprocess.run(install, capture_output=True, timeout=120).returncode:
            pytest.skip("no glTF validator: npm is not here, or cannot install it")
    done = subprocess.run([node, "-e", SCRIPT, *paths], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(zip((path.stem for path in paths), json.loads(done.stdout)))


def picture_of(path: Path) -> bytes:
    """Return the picture of the only texture, as it lies in the file."""
    tree, numbers = chunks(path)
    (material,), (texture,), (image,) = tree["materials"], tree["textures"], tree["images"]
    assert material["pbrMetallicRoughness"]["baseColorTexture"] == {"index": 0} and texture["source"] == 0
    assert 0 <= texture["sampler"] < len(tree["samplers"]) and set(image) == {"bufferView", "mimeType"}
    view = tree["bufferViews"][image["bufferView"]]
    assert set(view) == {"buffer", "byteOffset", "byteLength"} and image["mimeType"] == "image/png"
    return numbers[view["byteOffset"] :][: view["byteLength"]]
