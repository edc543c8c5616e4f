"""Meshes of fields whose surface is known exactly."""

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trimesh

from stylesdf.config import StyleSDFConfig
from stylesdf.field import Field
from stylesdf.mesh import cut_open, extract_mesh, field_normals, refine_mesh
from stylesdf.meshfile import MESH_ENDINGS, export_mesh
from stylesdf.outputs import FieldOutput
from tests.fields import gradient_of
from tests.gltf import read_glb, validator_messages

RADIUS = 0.12  # of the scene ball
W = torch.zeros(1, 4)


@dataclasses.dataclass
class KnownField:
    """A field made of two functions of points; ``rgb`` also gets the view directions."""

    function: callable
    colour: callable = lambda points, viewdirs: torch.zeros_like(points)
    view_layer = (torch.zeros(1),)  # whose device and type points take

    def condition(self, w):
        return self

    def sdf(self, points):
        return self.function(points)

    def __call__(self, points, viewdirs):
        return FieldOutput(self.sdf(points), self.colour(points, viewdirs), points)

    def sdf_and_gradient(self, points):
        return self.sdf(points), gradient_of(self.function, points)

    def surface(self, points):
        normals = torch.nn.functional.normalize(gradient_of(self.function, points), dim=-1)
        return normals, self.colour(points, -normals)


def model_of(function, **options) -> SimpleNamespace:
    return SimpleNamespace(field=KnownField(function, **options), config=SimpleNamespace(scene_radius=RADIUS))


def sphere(radius, centre=(0.0, 0.0, 0.0)):
    return lambda points: (points - torch.tensor(centre).to(points)).norm(dim=-1) - radius


def boundary_vertices(mesh) -> np.ndarray:
    edges = np.sort(mesh.edges, axis=1)
    edges, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() <= 2
    return np.unique(edges[counts == 1])


@pytest.fixture(scope="module")
def ball() -> trimesh.Trimesh:
    return extract_mesh(model_of(sphere(0.07)), W, 32)


# ---- the surface


@pytest.mark.parametrize("resolution", [32, 33, 64])
@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (0.02, -0.03, 0.01)])
def test_a_sphere_is_closed_and_has_its_radius(resolution, centre):
    mesh = extract_mesh(model_of(sphere(0.07, centre)), W, resolution)
    voxel = 2 * RADIUS / (resolution - 1)
    distance = np.linalg.norm(mesh.vertices - centre, axis=1)
    assert mesh.is_watertight and mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert np.abs(distance - 0.07).max() < 0.1 * voxel
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.07**3, rel=0.02)  # positive: faces look outwards
    assert mesh.metadata["pieces_dropped"] == 0


def test_normals_point_outwards_and_are_the_fields():
    mesh = extract_mesh(model_of(sphere(0.07)), W, 32)
    radial = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
    assert np.abs(mesh.vertex_normals - radial).max() < 1e-4
    assert (mesh.face_normals * mesh.triangles_center).sum(axis=1).min() > 0


def test_the_world_size_does_not_depend_on_the_grid():
    coarse, fine = (extract_mesh(model_of(sphere(0.07, (0.02, 0.0, -0.03))), W, n) for n in (32, 64))
    assert np.abs(coarse.bounds - fine.bounds).max() < 0.5 * 2 * RADIUS / 31


def test_axes_are_not_swapped():
    def ellipsoid(points):
        return (points / torch.tensor([0.03, 0.06, 0.09])).norm(dim=-1) * 0.03 - 0.03

    mesh = extract_mesh(model_of(ellipsoid), W, 64)
    assert np.allclose(mesh.extents, [0.06, 0.12, 0.18], atol=0.002)


def test_a_vertex_has_the_colour_seen_along_its_inward_normal():
    mesh = extract_mesh(model_of(sphere(0.07), colour=lambda points, viewdirs: 3.0 * viewdirs), W, 32)
    expected = 255.0 / (1.0 + np.exp(3.0 * mesh.vertex_normals))
    assert mesh.visual.vertex_colors.dtype == np.uint8
    assert np.abs(mesh.visual.vertex_colors[:, :3] - expected).max() < 0.6
    assert (mesh.visual.vertex_colors[:, 3] == 255).all()


@pytest.mark.parametrize("function", [lambda x: x[..., 0] * 0 + 0.5, lambda x: x.norm(dim=-1) - 0.9])
def test_a_field_without_a_surface_is_an_error(function):
    with pytest.raises(ValueError, match="no zero level set.*from"):
        extract_mesh(model_of(function), W, 32)


def test_a_field_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="nan"):
        extract_mesh(model_of(lambda x: x[..., 0] / 0.0 * 0.0), W, 32)


def test_a_surface_only_outside_of_the_ball_is_an_error():
    with pytest.raises(ValueError, match="no zero level set"):
        extract_mesh(model_of(sphere(0.02, (RADIUS, RADIUS, RADIUS))), W, 32)


# ---- where the surface leaves the scene ball


def test_a_surface_that_leaves_the_ball_is_cut_open():
    centre = (0.0, -0.1, 0.0)
    mesh = extract_mesh(model_of(sphere(0.08, centre)), W, 48)
    distance = np.linalg.norm(mesh.vertices, axis=1)
    rim = boundary_vertices(mesh)
    assert not mesh.is_watertight
    assert distance.max() <= RADIUS + 1e-6
    assert np.abs(np.linalg.norm(mesh.vertices - centre, axis=1) - 0.08).max() < 0.002  # no cap, no wall
    assert len(rim) > 20 and np.abs(distance[rim] - RADIUS).max() < 0.0005  # one clean rim on the sphere
    assert mesh.euler_number == 1
    assert (mesh.face_normals * (mesh.triangles_center - centre)).sum(axis=1).min() > 0
    degenerate = mesh.area_faces <= 0
    assert degenerate.sum() == 0


def test_a_plane_through_the_ball_is_a_disc():
    mesh = extract_mesh(model_of(lambda points: points[..., 1] - 0.0123), W, 64)
    assert mesh.euler_number == 1
    assert mesh.area == pytest.approx(math.pi * (RADIUS**2 - 0.0123**2), rel=0.005)
    assert np.allclose(mesh.face_normals, [0, 1, 0], atol=1e-3)


def test_a_tube_through_the_ball_is_open_at_both_ends():
    mesh = extract_mesh(model_of(lambda points: points[..., 1:].norm(dim=-1) - 0.05), W, 64)
    assert mesh.euler_number == 0
    assert len(boundary_vertices(mesh)) > 0


def test_what_lies_outside_of_the_ball_does_not_matter():
    def noisy(points):
        distance = points.norm(dim=-1)
        return torch.where(distance > RADIUS + 0.005, torch.sin(500 * points.sum(dim=-1)), distance - 0.07)

    for resolution in (64, 65):
        mesh = extract_mesh(model_of(noisy), W, resolution, keep="all")
        assert mesh.is_watertight and mesh.euler_number == 2


def test_the_inside_of_the_ball_may_be_the_solid():
    # a room: negative near the walls, so that the surface looks inwards and nothing is closed around it
    mesh = extract_mesh(model_of(lambda points: 0.07 - points.norm(dim=-1)), W, 32, keep="all")
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.07).max() < 0.002
    assert mesh.volume < 0


def test_cut_open_keeps_whole_triangles_and_splits_the_others():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [2, 1, 0], [3, 3, 0]])
    faces = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [3, 5, 4]])
    new_vertices, new_faces = cut_open(vertices, faces, vertices[:, 0] - 1.5)
    cut = trimesh.Trimesh(new_vertices, new_faces, process=False)
    assert new_vertices[:, 0].max() == 1.5
    assert cut.area == pytest.approx(0.5 + 0.4375 + 0.5625)  # first whole, then what lies left of x = 1.5
    assert (cut.face_normals[:, 2] > 0.99).all()  # the winding stays
    assert len(np.unique(new_vertices, axis=0)) == len(new_vertices)  # neighbours share the new vertices


def test_cut_open_of_nothing_is_nothing_and_of_all_is_all():
    vertices, faces = np.eye(3), np.array([[0, 1, 2]])
    assert np.array_equal(cut_open(vertices, faces, np.full(3, -1.0))[1], faces)
    assert len(cut_open(vertices, faces, np.ones(3))[1]) == 0


# ---- pieces, chunks, bounds


def test_only_the_largest_piece_is_kept_unless_all_are_wanted():
    def two(points):
        return torch.minimum(sphere(0.05)(points), sphere(0.01, (0.08, 0.0, 0.0))(points))

    largest = extract_mesh(model_of(two), W, 64)
    everything = extract_mesh(model_of(two), W, 64, keep="all")
    assert largest.body_count == 1 and largest.metadata["pieces_dropped"] == 1
    assert everything.body_count == 2 and everything.metadata["pieces_dropped"] == 0
    assert largest.bounds[1, 0] == pytest.approx(0.05, abs=0.002)
    assert len(largest.vertices) == len(largest.visual.vertex_colors) == len(largest.vertex_normals)


def test_the_chunk_size_does_not_change_the_mesh(monkeypatch):
    torch.manual_seed(3)
    config = StyleSDFConfig(latent_size=4, field_width=16, field_depth=2, decoder_channels=())
    field = Field(config)
    with torch.no_grad():
        field.layers[0].linear.weight *= 0.2  # a smooth field
        w = torch.randn(1, 4)
        field.sdf_head.bias -= field.condition(w).sdf(torch.zeros(1, 1, 3)).item()  # the origin is on the surface
    model = SimpleNamespace(field=field, config=config)
    other = extract_mesh(model, w, 32, keep="all")
    monkeypatch.setattr("stylesdf.mesh.points_per_chunk", lambda device: 1000)
    one = extract_mesh(model, w, 32, keep="all")
    assert np.array_equal(one.faces, other.faces)
    assert np.allclose(one.vertices, other.vertices, atol=1e-6)
    assert np.abs(one.visual.vertex_colors.astype(int) - other.visual.vertex_colors).max() <= 1


def test_it_works_in_inference_mode_and_leaves_no_gradients():
    torch.manual_seed(3)
    config = StyleSDFConfig(latent_size=4, field_width=8, field_depth=1, decoder_channels=())
    field = Field(config)
    field.sdf_head.weight.data.copy_(torch.randn(1, 8) * 0.1)
    field.sdf_head.bias.data.zero_()
    model = SimpleNamespace(field=field, config=config)
    with torch.inference_mode():
        mesh = extract_mesh(model, torch.randn(1, 4), 32)
    assert len(mesh.faces) > 0
    assert all(parameter.grad is None for parameter in field.parameters())


def test_progress_rises_to_one():
    seen = []
    extract_mesh(model_of(sphere(0.07)), W, 32, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 2


@pytest.mark.parametrize("resolution", [31, 513, 100_000, 64.0, True, "64"])
def test_a_resolution_out_of_range_is_an_error(resolution):
    with pytest.raises(ValueError, match="resolution is"):
        extract_mesh(model_of(sphere(0.07)), W, resolution)


def test_other_arguments_are_checked():
    with pytest.raises(ValueError, match="keep is 'some', expected one of largest, all"):
        extract_mesh(model_of(sphere(0.07)), W, 32, keep="some")
    with pytest.raises(ValueError, match=r"w has shape \(2, 4\)"):
        extract_mesh(model_of(sphere(0.07)), W.expand(2, 4), 32)


def test_field_normals_are_the_unit_gradient(monkeypatch):
    monkeypatch.setattr("stylesdf.mesh.points_per_chunk", lambda device: 30)
    points = torch.randn(100, 3) * 0.1
    normals = field_normals(KnownField(lambda x: 5.0 * x.norm(dim=-1)), points)
    assert torch.allclose(normals, points / points.norm(dim=-1, keepdim=True), atol=1e-5)
    assert torch.allclose(normals.norm(dim=-1), torch.ones(100), atol=1e-5)


def test_normals_of_a_trained_field_need_no_gradient(tiny_model):
    """Its parameters require one; nobody who asks for normals wants their graph."""
    field = tiny_model.field.condition(tiny_model.mapping(torch.randn(1, tiny_model.config.latent_size)))
    points = torch.randn(100, 3) * 0.05
    normals = field_normals(field, points)
    expected = torch.nn.functional.normalize(gradient_of(lambda x: field.sdf(x[None]), points), dim=-1)
    torch.testing.assert_close(normals, expected.detach(), atol=1e-5, rtol=0)
    assert not normals.requires_grad


# ---- files


@pytest.mark.parametrize("ending", MESH_ENDINGS)
def test_a_file_round_trips_and_has_the_same_bytes_each_time(ball, ending, tmp_path):
    first, second = tmp_path / f"a{ending}", tmp_path / "new" / "folder" / f"b{ending.upper()}"
    export_mesh(ball, first, {"seed": 3})
    export_mesh(extract_mesh(model_of(sphere(0.07)), W, 32), second, {"seed": 3})
    assert first.read_bytes() == second.read_bytes()
    loaded = trimesh.load(first, force="mesh")
    assert len(loaded.faces) == len(ball.faces)
    assert np.allclose(loaded.bounds, ball.bounds, atol=1e-6)
    assert loaded.volume == pytest.approx(ball.volume, rel=1e-4)
    if ending in (".obj", ".ply"):
        assert (loaded.visual.vertex_colors[:, :3] == 128).all()
        assert b'"seed": 3' in first.read_bytes()[:1000]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([first.name, "new"])


def test_a_glb_holds_linear_colours_and_the_fields_normals(ball, tmp_path):
    grey = ball.copy(include_cache=True)
    grey.visual.vertex_colors = np.tile(np.array([0, 128, 255, 255], dtype=np.uint8), (len(grey.vertices), 1))
    export_mesh(grey, tmp_path / "head.glb")
    _, arrays = read_glb(tmp_path / "head.glb")
    assert arrays["COLOR_0"][0] == pytest.approx([0.0, 0.21586, 1.0, 1.0], abs=1e-5)  # half of sRGB's range: a fifth
    assert (arrays["COLOR_0"] == arrays["COLOR_0"][0]).all()
    np.testing.assert_allclose(arrays["NORMAL"], ball.vertex_normals, atol=1e-6)
    assert (grey.visual.vertex_colors == [0, 128, 255, 255]).all()


def test_every_level_of_a_colour_comes_back_from_a_glb(ball, tmp_path):
    levels = ball.copy(include_cache=True)
    levels.visual.vertex_colors = np.repeat(np.arange(len(ball.vertices)).astype(np.uint8)[:, None], 4, axis=1)
    export_mesh(levels, tmp_path / "head.glb")
    linear = read_glb(tmp_path / "head.glb")[1]["COLOR_0"][:, :3]
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055) * 255.0
    assert np.abs(srgb - levels.visual.vertex_colors[:, :3]).max() < 0.03
    assert len(np.unique(linear[:60, 0])) == 60  # in 8 bits these dark ones were 14


def test_a_glb_keeps_the_rules_of_gltf(ball, tmp_path):
    flat = trimesh.Trimesh(ball.vertices, ball.faces, vertex_normals=0.0 * ball.vertices, process=False)
    members = {
        "plain": (ball, {}),
        "without normals": (flat, {}),  # as where a field's gradient vanishes
        "simplified": (refine_mesh(ball, 3, 1000), {}),
        "open": (extract_mesh(model_of(lambda points: points[..., 2]), W, 33), {}),
        "in millimetres": (ball, {"size_mm": 150}),
        "z up": (ball, {"up": "z"}),
        "named": (ball, {"metadata": {"model": 'köpfe/頭 "1"', "texture_seed": None}}),
    }
    for name, (mesh, options) in members.items():
        export_mesh(mesh, tmp_path / f"{name}.glb", **options)
        _, arrays = read_glb(tmp_path / f"{name}.glb")
        assert len(arrays["indices"]) == 3 * len(mesh.faces)
    for name, messages in validator_messages(sorted(tmp_path.glob("*.glb"))).items():
        assert [each for each in messages if each["severity"] < 2] == [], name  # neither an error nor a warning


@pytest.mark.parametrize("ending", MESH_ENDINGS)
def test_a_mesh_can_be_written_in_millimetres_and_upright_for_slicers(ending, tmp_path):
    def ellipsoid(points):
        points = points - torch.tensor([0.0, 0.01, 0.02])
        return (points / torch.tensor([0.03, 0.09, 0.06])).norm(dim=-1) * 0.03 - 0.03

    mesh = extract_mesh(model_of(ellipsoid), W, 48)
    export_mesh(mesh, tmp_path / f"plain{ending}")
    export_mesh(mesh, tmp_path / f"large{ending}", size_mm=150)
    export_mesh(mesh, tmp_path / f"turned{ending}", {"seed": 3}, size_mm=np.float32(150), up="z")
    plain, large, turned = (
        trimesh.load(tmp_path / f"{name}{ending}", force="mesh", process=False) for name in ("plain", "large", "turned")
    )
    mm = 0.001 if ending == ".glb" else 1.0  # glTF's unit is the metre
    assert np.allclose(plain.bounds, mesh.bounds, atol=1e-6)
    assert np.allclose(large.bounds, mesh.bounds * 150 * mm / mesh.extents.max(), atol=1e-4 * mm)
    assert large.extents.argmax() == 1 and turned.extents.argmax() == 2  # y was up, z is
    assert turned.extents.max() == pytest.approx(150 * mm, rel=1e-5)
    centre = turned.bounds.mean(axis=0)
    assert centre[2] > 0 > centre[1] and abs(centre[0]) < mm  # what was in front, +z, is at −y
    assert turned.volume == pytest.approx(large.volume, rel=1e-4)  # turned, not mirrored
    normals = mesh.vertex_normals[:, [0, 2, 1]] * [1, -1, 1]
    if ending == ".glb":
        assert np.allclose(read_glb(tmp_path / "turned.glb")[1]["NORMAL"], normals, atol=1e-5)
    if ending == ".obj":
        lines = (tmp_path / "turned.obj").read_text().splitlines()
        written = np.array([line.split()[1:] for line in lines if line.startswith("vn ")], dtype=float)
        assert np.allclose(written, normals, atol=1e-5)
    if ending in (".obj", ".ply"):
        assert (turned.visual.vertex_colors == mesh.visual.vertex_colors).all()
        assert b'"size_mm": 150.0, "up": "z"' in (tmp_path / f"turned{ending}").read_bytes()[:1000]
    assert np.abs(mesh.vertices).max() < 0.12 and "size_mm" not in mesh.metadata


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size_mm": 0}, "size_mm is 0, expected millimetres above 0 and at most 1,000,000"),
        ({"size_mm": -1.5}, "size_mm is -1.5"),
        ({"size_mm": math.nan}, "size_mm is nan"),
        ({"size_mm": math.inf}, "size_mm is inf"),
        ({"size_mm": True}, "size_mm is True"),
        ({"size_mm": "150"}, "size_mm is '150'"),
        ({"up": "x"}, "up is 'x', expected one of y, z"),
        ({"up": None}, "up is None"),
    ],
)
def test_size_and_axis_are_checked(ball, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_mesh(ball, tmp_path / "head.stl", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_glb_holds_normals_colours_a_dull_material_and_its_origin(ball, tmp_path):
    export_mesh(ball, tmp_path / "head.glb", {"seed": 3, "truncation": 0.7})
    tree, _ = read_glb(tmp_path / "head.glb")
    (primitive,) = tree["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "COLOR_0"}
    material = tree["materials"][primitive["material"]]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert material["pbrMetallicRoughness"]["roughnessFactor"] == 0.9
    assert material["doubleSided"] is True
    assert tree["asset"]["extras"] == tree["meshes"][0]["extras"]
    assert tree["asset"]["extras"]["seed"] == 3
    assert tree["asset"]["extras"]["resolution"] == 32
    assert "seed" not in ball.metadata


def test_an_unknown_ending_is_an_error_that_lists_the_known_ones(ball, tmp_path):
    with pytest.raises(ValueError, match=r"'head.fbx', expected an ending of .glb, .obj, .ply, .stl"):
        export_mesh(ball, tmp_path / "head.fbx")
    assert list(tmp_path.iterdir()) == []


# ---- smoothing and simplification


@pytest.fixture(scope="module")
def lit_ball():
    """A closed ball whose colours tell the side."""
    colour = lambda points, viewdirs: torch.where(points > 0, 3.0, -3.0)  # noqa: E731
    return extract_mesh(model_of(sphere(0.08), colour=colour), W, 48)


def test_nothing_to_refine_is_a_copy(lit_ball):
    same = refine_mesh(lit_ball, 0, len(lit_ball.faces))
    assert same is not lit_ball and same.metadata == lit_ball.metadata
    assert np.array_equal(same.vertices, lit_ball.vertices) and np.array_equal(same.faces, lit_ball.faces)
    assert np.array_equal(same.vertex_normals, lit_ball.vertex_normals)  # still the field's
    assert np.array_equal(same.visual.vertex_colors, lit_ball.visual.vertex_colors)


def test_smoothing_takes_noise_away_and_keeps_the_volume(lit_ball):
    rough = lit_ball.copy()
    rough.vertices += np.random.default_rng(0).normal(scale=5e-4, size=rough.vertices.shape)
    before = rough.vertices.copy()
    smooth = refine_mesh(rough, smoothing=10)
    assert np.array_equal(rough.vertices, before) and "smoothing" not in rough.metadata  # the input is left alone
    spread = [np.linalg.norm(mesh.vertices, axis=1).std() for mesh in (rough, smooth)]
    assert spread[1] < 0.4 * spread[0]
    assert smooth.volume == pytest.approx(lit_ball.volume, rel=0.01)
    assert refine_mesh(lit_ball, smoothing=100).volume == pytest.approx(lit_ball.volume, rel=0.02)
    assert smooth.is_watertight and np.array_equal(smooth.faces, rough.faces)
    outwards = smooth.vertices / np.linalg.norm(smooth.vertices, axis=1, keepdims=True)
    assert (smooth.vertex_normals * outwards).sum(1).min() > 0.95  # its own, not those of the rough one
    assert np.array_equal(smooth.visual.vertex_colors, rough.visual.vertex_colors)
    assert smooth.metadata == {**lit_ball.metadata, "smoothing": 10}


def test_simplification_keeps_shape_colours_normals_and_metadata(lit_ball):
    simple = refine_mesh(lit_ball, max_faces=1000)
    assert len(simple.faces) == 1000 < len(lit_ball.faces) and simple.is_watertight and simple.euler_number == 2
    assert np.linalg.norm(simple.vertices, axis=1) == pytest.approx(0.08, abs=1e-3)
    assert simple.volume == pytest.approx(lit_ball.volume, rel=0.02)
    outwards = simple.vertices / np.linalg.norm(simple.vertices, axis=1, keepdims=True)
    assert (simple.vertex_normals * outwards).sum(1).min() > 0.99
    far = (np.abs(simple.vertices) > 0.01).all(axis=1)  # from where the colour changes
    assert ((simple.visual.vertex_colors[:, :3] > 128) == (simple.vertices > 0))[far].all() and far.sum() > 100
    assert simple.metadata == {**lit_ball.metadata, "max_faces": 1000, "faces_before": len(lit_ball.faces)}
    json.dumps(simple.metadata)


def test_flat_parts_lose_their_triangles_first():
    def box(points):
        outside = points.abs() - 0.05
        return outside.clamp(min=0.0).norm(dim=-1) + outside.amax(-1).clamp(max=0.0)

    simple = refine_mesh(extract_mesh(model_of(box), W, 64), max_faces=1000)
    assert box(torch.from_numpy(np.asarray(simple.vertices))).abs().max() < 5e-4
    on_edges = (np.abs(simple.vertices) > 0.046).sum(1) >= 2
    assert on_edges.mean() > 0.3  # before, 0.15


def test_an_open_surface_may_be_simplified(tmp_path):
    disc = extract_mesh(model_of(lambda points: points[..., 2]), W, 64)
    assert not disc.is_watertight
    simple = refine_mesh(disc, smoothing=2, max_faces=1000)
    assert len(simple.faces) <= 1000 and np.abs(simple.vertices[:, 2]).max() < 1e-6
    assert simple.area == pytest.approx(disc.area, rel=0.02)
    export_mesh(simple, tmp_path / "disc.glb")
    assert read_glb(tmp_path / "disc.glb")[0]["asset"]["extras"] == {
        **disc.metadata, "smoothing": 2, "max_faces": 1000, "faces_before": len(disc.faces)
    }  # fmt: skip


def test_the_bundled_heads_stay_closed(bundled):
    from stylesdf import StyleSDF

    people, toys = (StyleSDF.from_pretrained(folder) for folder in (bundled, bundled.parent / "toy-heads"))
    for model, seed, max_faces in ((people, 1, 1000), (people, 5, 5000), (toys, 35, 1000)):  # the last has a hole
        mesh = model.extract_mesh(seed, 1.0, 64)
        simple = refine_mesh(mesh, 2, max_faces)
        assert mesh.is_watertight and simple.is_watertight and simple.is_winding_consistent
        assert len(simple.faces) <= max_faces and simple.volume == pytest.approx(mesh.volume, rel=0.03)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"smoothing": -1}, "smoothing is -1, expected an integer from 0 to 100"),
        ({"smoothing": 101}, "smoothing is 101"),
        ({"smoothing": 1.0}, "smoothing is 1.0"),
        ({"smoothing": True}, "smoothing is True"),
        ({"smoothing": None}, "smoothing is None"),
        ({"max_faces": 999}, "max_faces is 999, expected an integer from 1000 to 1000000000"),
        ({"max_faces": 2000.0}, "max_faces is 2000.0"),
        ({"max_faces": True}, "max_faces is True"),
    ],
)
def test_refinement_checks_its_arguments(lit_ball, options, message):
    with pytest.raises(ValueError, match=message):
        refine_mesh(lit_ball, **options)


def test_a_mesh_that_would_tear_is_an_error(lit_ball, monkeypatch):
    import fast_simplification

    torn = lit_ball.vertices, lit_ball.faces[:900]
    monkeypatch.setattr(fast_simplification, "simplify", lambda *args, **options: torn)
    with pytest.raises(ValueError, match="max_faces is 1000, too few for this mesh to stay in one piece"):
        refine_mesh(lit_ball, max_faces=1000)
