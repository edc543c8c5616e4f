"""What the process has set in PyTorch changes no head; numbers of other libraries pass as seeds and sizes."""

import contextlib
import threading

import numpy as np
import pytest
import torch

from stylesdf import StyleSDF
from stylesdf.shot import Shot
from stylesdf.torch_state import ordinary_torch
from tests.browser.serve import small_model


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


STATES = {
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "another default device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("state") / "model", steps=60)


def heads(folder) -> dict:
    """Something of every kind that a model makes, as bytes."""
    model = StyleSDF.from_pretrained(folder)
    made = model.generate([3, 7], 0.7, yaw=0.3, pitch=[0.1, 0.2], texture_seed=5)
    first, second = model.head(3), model.head(7)
    fast = model.blend(first, second, 0.3).view(Shot(0.3, quality="fast"))
    mesh = model.extract_mesh(3, resolution=32)
    cut = first.slice(0.2, resolution=8)
    (frame, _), (morphed, *_) = model.render_orbit(3, num_frames=2), model.morph([first, second], 2, shot=Shot(0.1))
    pictures = [*made.images, *made.thumbnails, fast.image, first.thumbnail(Shot(0.2)), frame, morphed.image]
    arrays = [made.depth, made.normals, made.background, fast.normals, mesh.vertices, mesh.visual.vertex_colors]
    arrays += [cut.sdf, cut.ray_points, cut.ray_density, model.latents([3]).numpy()]
    assert model.dtype == torch.float32
    return {i: thing.tobytes() for i, thing in enumerate(pictures + arrays)}


@pytest.fixture(scope="module")
def expected(folder):
    return heads(folder)


@pytest.mark.parametrize("state", STATES)
def test_the_state_of_the_process_changes_no_head(folder, expected, state):
    with STATES[state]():
        made = heads(folder)
    assert [i for i in expected if made[i] != expected[i]] == []


def test_the_state_of_the_process_is_left_as_it_was():
    inside, go = threading.Event(), threading.Event()

    def stay():
        with ordinary_torch():
            inside.set()
            go.wait(30)

    with default_dtype(torch.float64):
        other = threading.Thread(target=stay)
        other.start()
        inside.wait(30)
        with ordinary_torch():
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float32  # another thread is still within
        go.set()
        other.join()
        assert torch.get_default_dtype() == torch.float64
        with pytest.raises(ZeroDivisionError), ordinary_torch():
            raise ZeroDivisionError
        assert torch.get_default_dtype() == torch.float64


@pytest.mark.parametrize("number", [np.int64, np.uint8, np.array, torch.tensor], ids=lambda number: number.__name__)
def test_numbers_of_other_libraries_are_seeds_and_sizes(folder, number):
    model = StyleSDF.from_pretrained(folder)
    seed, size = number(3), number(32)
    result = model.generate(seed, number(1))
    assert result.seeds == (3,) and type(result.seeds[0]) is int and result.truncation == 1.0
    assert model.head(seed, texture_seed=number(5)).origin["texture_seed"] == 5
    assert model.extract_mesh(seed, resolution=size).metadata["resolution"] == 32
    assert model.head(seed).slice(resolution=size).sdf.shape == (32, 32)
    assert len(list(model.head(seed).orbit(number(2)))) == 2


def test_a_batch_of_nobody_is_an_empty_batch(folder):
    model = StyleSDF.from_pretrained(folder)
    for nobody in ([], np.array([], int), torch.tensor([], dtype=torch.long), range(0)):
        result = model.generate(nobody, yaw=0.3)
        assert result.images == result.thumbnails == [] and result.seeds == ()
        assert (result.depth.shape, result.normals.shape) == ((0, 32, 32), (0, 32, 32, 3))
        assert result.depth.dtype == result.normals.dtype == np.float32
        assert model.latents(nobody).shape == (0, 16)
