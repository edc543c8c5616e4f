"""Textures baked from pictures that are known exactly."""

import dataclasses
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from stylesdf import texture
from stylesdf.camera import Camera, camera_rays, focal_length
from stylesdf.config import StyleSDFConfig
from stylesdf.mesh import mesh_of_field
from stylesdf.meshfile import TEXTURE_ENDINGS, export_mesh
from stylesdf.raster import rasterize
from stylesdf.texture import bake_texture
from tests.gltf import picture_of, read_glb, validator_messages
from tests.test_mesh import KnownField, sphere

RADIUS = 0.07
CONFIG = StyleSDFConfig(render_resolution=64, decoder_channels=(8, 8), pose_yaw=0.3, pose_pitch=0.15)
BLUE = (0, 0, 255)  # the pictures' background
OWN = (0, 255, 0)  # what the field says


def painted(points: np.ndarray) -> np.ndarray:
    """The colours of the surface in the pictures: smooth, without green and blue."""
    red = 150 + 80 * np.sin(60 * points[..., 0]) * np.cos(60 * points[..., 1])
    return np.stack([red, 0 * red, 0 * red], axis=-1)


class PaintedBall:
    """A head whose pictures are those of a painted ball, traced exactly, with a seam of background at its rim."""

    config = CONFIG
    field = KnownField(sphere(RADIUS), lambda points, viewdirs: torch.tensor([-30.0, 30.0, -30.0]).expand_as(points))

    def view(self, shot):
        def trace(size):
            origins, directions, _ = camera_rays(shot.camera, size, CONFIG.fov_deg)
            origins, directions = origins[0].double().numpy(), directions[0].double().numpy()
            a, b = (directions**2).sum(-1), (origins * directions).sum(-1)
            under = b**2 - a * ((origins**2).sum(-1) - RADIUS**2)
            points = origins + directions * ((-b - np.sqrt(np.maximum(under, 0))) / a)[..., None]
            return points, under <= 0, under < 2e-4

        points, _, is_rim = trace(CONFIG.image_resolution)
        image = np.where(is_rim[..., None], BLUE, painted(points))
        background = trace(CONFIG.render_resolution)[1].astype(np.float32)
        return SimpleNamespace(image=Image.fromarray(np.rint(image).astype(np.uint8)), background=background)


@pytest.fixture(scope="module")
def ball() -> trimesh.Trimesh:
    mesh = mesh_of_field(PaintedBall.field, SimpleNamespace(scene_radius=0.12), 32)
    mesh.metadata["seed"] = 3
    return mesh


@pytest.fixture(scope="module")
def baked(ball) -> trimesh.Trimesh:
    return bake_texture(PaintedBall(), ball, 256)


def texels(mesh) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a mesh that its texels stand for, and their colours."""
    picture = np.asarray(mesh.visual.material.baseColorTexture)
    corners = (mesh.visual.uv * [1, -1] + [0, 1])[mesh.faces] * len(picture)
    pixel, face, shares = rasterize(corners, np.zeros(mesh.faces.shape), len(picture))
    points = np.einsum("tc,tcx->tx", shares, mesh.vertices[mesh.faces[face]])
    return points, picture.reshape(-1, 3)[pixel].astype(float)


def test_the_front_has_the_pictures_colours_and_the_back_the_fields(baked):
    points, colours = texels(baked)
    towards = points[:, 2] / RADIUS
    front, back = towards > 0.5, towards < -0.7
    assert front.sum() > 5000 and back.sum() > 2000
    assert np.abs(colours - painted(points))[front].max() < 12
    assert (np.abs(colours - OWN)[back] <= 1).all()
    # no background from the pictures' rims anywhere
    assert colours[:, 2].max() <= 2


def test_only_charts_are_added_to_the_mesh(ball, baked):
    assert np.array_equal(baked.vertices[baked.faces], ball.vertices[ball.faces])
    assert np.array_equal(baked.vertex_normals[baked.faces], ball.vertex_normals[ball.faces])
    assert baked.visual.uv.min() >= 0.0 and baked.visual.uv.max() <= 1.0
    assert baked.metadata == {**ball.metadata, "texture_size": 256}
    assert ball.visual.kind == "vertex" and "texture_size" not in ball.metadata
    corners = baked.visual.uv[baked.faces]
    edges = corners[:, 1:] - corners[:, :1]
    area = 0.5 * np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])
    assert 0.5 < area.sum() < 1.0  # of the texture; charts do not overlap
    stretch = area / ball.area_faces
    assert np.percentile(stretch, 95) < 3 * np.percentile(stretch, 5)
    material = baked.visual.material
    assert (material.metallicFactor, material.roughnessFactor) == (0.0, 0.9)


def test_texels_beside_a_chart_repeat_it(baked):
    # what a reader interpolates at a border is of the surface's colours, without green and without black
    picture = np.asarray(baked.visual.material.baseColorTexture, float)
    rows, columns = (np.clip((baked.visual.uv * [1, -1] + [0, 1]) * 256, 0.5, 255.49) - 0.5).T[::-1]
    front = baked.vertices[:, 2] > 0.6 * RADIUS
    rows, columns = np.floor(rows).astype(int), np.floor(columns).astype(int)
    around = [picture[rows + down, columns + right] for down in (0, 1) for right in (0, 1)]
    assert np.abs(np.array(around) - painted(np.asarray(baked.vertices)))[:, front].max() < 25


def test_what_another_part_hides_takes_no_colour_from_a_picture():
    # from the front camera, half of the wall is hidden by a plate before it
    def plate(x, z, width):
        corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [width, 0.05, 0] + [x, 0, z]
        return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)

    mesh = trimesh.util.concatenate([plate(0.0, 0.0, 0.05), plate(0.025, 0.05, 0.025)])
    camera, size = Camera.from_angles(0.0, 0.0), CONFIG.image_resolution
    nearest = texture._depth_map(mesh, camera, CONFIG.fov_deg, size)
    distance = texture._distance_to_rim(nearest, focal_length(CONFIG.fov_deg), np.zeros((size, size), bool))
    row = size // 2
    assert np.isclose(nearest[row, size // 2 + 4], 0.95) and np.isclose(nearest[row, size // 2 - 4], 1.0)
    assert distance[row, size // 2] == distance[row, size // 2 - 1] == 0.0  # where the plate begins
    assert distance[row, size // 4 + 8] > 5.0 and np.isinf(nearest[0, 0]) and distance[0, 0] == 0.0
    head = SimpleNamespace(
        config=CONFIG,
        view=lambda shot: SimpleNamespace(
            image=Image.new("RGB", (size, size), "red"), background=np.zeros((32, 32), np.float32)
        ),
    )
    points = np.array([[-0.025, 0, 0], [0.025, 0, 0], [0.025, 0, 0.05], [0.2, 0, 0]])
    normals = np.array([[0, 0, 1.0]] * 4)
    colours, quality = texture._from_picture(head, mesh, texture.Shot(), points, normals)
    assert np.allclose(colours, [255, 0, 0])
    assert quality[[0, 2]] == pytest.approx(1.0, abs=0.01) and (quality[[1, 3]] == 0.0).all()
    assert (texture._from_picture(head, mesh, texture.Shot(), points, normals * [1, 1, -1])[1] == 0.0).all()


def test_pictures_are_taken_where_the_model_was_trained():
    shots = texture.shots(CONFIG)
    yaws, pitches = np.array([(shot.yaw, shot.pitch) for shot in shots]).T
    assert 7 <= len(shots) <= 9 and (0.0, 0.0) == (yaws[0], pitches[0])
    assert yaws.max() == -yaws.min() == pytest.approx(0.525) and pitches.max() == -pitches.min() <= 0.2625
    even = texture.shots(dataclasses.replace(CONFIG, pose_distribution="uniform", pose_yaw=0.4))
    assert max(shot.yaw for shot in even) == pytest.approx(0.4)


# ---- files


@pytest.mark.parametrize("ending", TEXTURE_ENDINGS)
def test_a_file_comes_back_with_its_texture(baked, ending, tmp_path):
    path = tmp_path / "new" / f"my head{ending}"
    export_mesh(baked, path, {"truncation": 0.7}, size_mm=100, up="z")
    loaded = trimesh.load(path, force="mesh", process=False)
    material = loaded.visual.material
    picture = material.baseColorTexture if ending == ".glb" else material.image
    assert np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(baked.visual.material.baseColorTexture))
    mm = 0.001 if ending == ".glb" else 1.0
    assert loaded.extents.max() == pytest.approx(100 * mm, rel=1e-4)
    corners, expected = loaded.visual.uv[loaded.faces], baked.visual.uv[baked.faces]
    assert np.allclose(corners, expected, atol=1e-5)
    assert baked.visual.kind == "texture" and baked.extents.max() < 0.2  # the mesh is left as it is


def test_a_glb_with_a_texture_keeps_the_rules_of_gltf(baked, tmp_path):
    path = tmp_path / "head.glb"
    export_mesh(baked, path)
    tree, arrays = read_glb(path)
    assert set(arrays) == {"POSITION", "NORMAL", "TEXCOORD_0", "indices"}
    surface = tree["materials"][0]["pbrMetallicRoughness"]
    assert (surface["metallicFactor"], surface["roughnessFactor"]) == (0, 0.9)
    assert np.allclose(arrays["TEXCOORD_0"], baked.visual.uv * [1, -1] + [0, 1], atol=1e-6)
    assert picture_of(path).startswith(b"\x89PNG\r\n") and picture_of(path).endswith(b"IEND\xaeB`\x82")
    assert tree["asset"]["extras"]["texture_size"] == 256 and tree["asset"]["extras"]["seed"] == 3
    export_mesh(baked, tmp_path / "again.glb")
    assert (tmp_path / "again.glb").read_bytes() == path.read_bytes()
    for messages in validator_messages([path]).values():
        assert [each for each in messages if each["severity"] < 2] == []


def test_an_obj_names_its_material_and_picture_and_stays_closed(ball, baked, tmp_path):
    export_mesh(baked, tmp_path / "-my head.obj")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "-my head.obj", "_my_head.mtl", "_my_head_texture.png"
    ]  # fmt: skip
    surface = (tmp_path / "-my head.obj").read_text(encoding="utf-8")
    material = (tmp_path / "_my_head.mtl").read_text(encoding="utf-8")
    assert surface.startswith("# stylesdf {") and '"seed": 3' in surface.splitlines()[0] == material.splitlines()[0]
    assert "\nmtllib _my_head.mtl\n" in surface and "\nusemtl surface\n" in surface
    assert "\nnewmtl surface\n" in material and "\nmap_Kd _my_head_texture.png\n" in material
    assert str(tmp_path) not in surface + material
    places = np.array([line.split()[1:] for line in surface.splitlines() if line.startswith("v ")], float)
    triples = re.findall(r"(\d+)/(\d+)/(\d+)", surface)
    faces = np.array(triples, int).reshape(-1, 3, 3)[..., 0] - 1
    whole = trimesh.Trimesh(places, faces, process=False)
    assert whole.is_watertight and len(places) == len(ball.vertices) < len(baked.vertices)
    assert whole.volume == pytest.approx(ball.volume, rel=1e-5)


@pytest.mark.parametrize("ending", [".ply", ".stl", ".fbx"])
def test_a_format_without_textures_is_refused(baked, ending, tmp_path):
    with pytest.raises(ValueError, match=f"'head{ending}', expected an ending of .glb, .obj"):
        export_mesh(baked, tmp_path / f"head{ending}")
    assert list(tmp_path.iterdir()) == []


# ---- arguments


@pytest.mark.parametrize("size", [63, 2049, 256.0, True, None])
def test_a_size_out_of_range_is_an_error(ball, size):
    with pytest.raises(ValueError, match="size is .*, expected an integer from 64 to 2048"):
        bake_texture(PaintedBall(), ball, size)


def test_without_xatlas_one_sentence_says_what_to_install(ball, monkeypatch):
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(ValueError, match="xatlas is not installed.*pip install xatlas"):
        bake_texture(PaintedBall(), ball, 64)
