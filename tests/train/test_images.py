"""Folders of pictures: what is read, how it is resized, and what is said of the rest."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

from train.data.images import load_images


def write(path, size=(40, 32), colour=(255, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_folder_is_cropped_resized_and_cached(tmp_path):
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "2.jpg", colour=(0, 0, 255))
    data = load_images(tmp_path, 32, 16)
    assert data.images.shape == (2, 3, 32, 32) and data.thumbnails.shape == (2, 3, 16, 16)
    assert data.poses is None
    batch = data.thumbnail_batch(torch.tensor([1]), 8, 3)
    torch.testing.assert_close(batch[0, :, 4, 4], torch.tensor([1.0, -1.0, -1.0]))
    (tmp_path / "2.jpg").unlink()
    assert len(load_images(tmp_path, 32, 16)) == 2  # from the cache


def test_colours_under_transparent_pixels_survive(tmp_path):
    rgba = np.full((64, 64, 4), (204, 219, 237, 0), dtype=np.uint8)
    rgba[16:48, 16:48] = (10, 20, 30, 255)
    Image.fromarray(rgba).save(tmp_path / "1.png")
    data = load_images(tmp_path, 32, 16)
    np.testing.assert_array_equal(data.thumbnails[0, :, 0, 0], [204, 219, 237, 0])
    torch.testing.assert_close(data.border_colour(), torch.tensor([204, 219, 237]) / 255)


def test_poses_come_from_metadata(tmp_path):
    write(tmp_path / "images" / "0.png")
    write(tmp_path / "images" / "1.png")
    rows = [{"file_name": f"images/{i}.png", "yaw": 0.1 * i, "pitch": -0.2} for i in range(2)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    torch.testing.assert_close(load_images(tmp_path, 32, 16).poses, torch.tensor([[0.0, -0.2], [0.1, -0.2]]))


def test_unusable_pictures_are_named_and_left_out(tmp_path, caplog):
    write(tmp_path / "good.png")
    write(tmp_path / "tiny.png", size=(1, 1))
    (tmp_path / "text.png").write_text("not a picture")
    with caplog.at_level(logging.WARNING):
        data = load_images(tmp_path, 32, 16)
    assert len(data) == 1
    assert "tiny.png" in caplog.text and "text.png" in caplog.text


def test_nothing_to_read_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        load_images(tmp_path / "absent", 32, 16)
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match="no usable image"):
        load_images(tmp_path, 32, 16)
