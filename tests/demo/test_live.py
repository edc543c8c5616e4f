"""Models as files for browsers that draw them, and the viewer's script."""

import dataclasses
import gc
import json
import math
from pathlib import Path

import numpy as np
import pytest

from stylesdf import StyleSDF
from stylesdf.demo.live import LiveFiles
from stylesdf.live.export import pack


def test_a_model_is_one_file_that_goes_with_it(tiny_toy_config, tmp_path):
    files, model = LiveFiles(lambda: str(tmp_path)), StyleSDF(tiny_toy_config).eval()
    model.update_means(100)
    path = Path(files.path(model))
    content, (header, data) = path.read_bytes(), pack(model)
    start = 4 + int.from_bytes(content[:4], "little")
    written = json.loads(content[4:start])
    assert header["decoder"] and written["decoder"] is None and written["slope"] == header["slope"]
    assert [tensor["name"] for tensor in written["tensors"]][-2:] == ["rgb.weight", "rgb.bias"]
    numbers = np.frombuffer(content[start:], np.float16)
    assert numbers.size == sum(math.prod(tensor["shape"]) for tensor in written["tensors"])
    np.testing.assert_allclose(numbers[-3:], model.field.rgb_head.bias.detach().numpy(), atol=1e-3)
    assert data.startswith(content[start:])
    written = path.stat().st_mtime_ns
    assert files.path(model) == str(path) and path.stat().st_mtime_ns == written
    path.unlink()
    assert files.path(model) == str(path) and path.read_bytes() == content
    again = StyleSDF(tiny_toy_config).eval()
    again.load_state_dict(model.state_dict())
    assert files.path(again) == str(path)
    del model
    gc.collect()
    assert path.read_bytes() == content
    del again
    gc.collect()
    assert list(tmp_path.rglob("*.bin")) == []


def test_a_model_that_is_too_large_has_none(tiny_toy_config, tmp_path):
    model = StyleSDF(dataclasses.replace(tiny_toy_config, field_width=132))
    with pytest.raises(ValueError, match="field_width is 132"):
        LiveFiles(lambda: str(tmp_path)).path(model)
    assert list(tmp_path.iterdir()) == []
