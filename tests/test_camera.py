import math

import numpy as np
import pytest
import torch

from stylesdf.camera import PATHS, Camera, camera_rays, focal_length, orbit_angles, project, sample_poses

YAWS, PITCHES, ROLLS = [0.0, 0.3, -1.2, 2.9], [0.0, 0.15, -0.7, 1.5], [0.0, 0.4, -0.2, 3.0]


def test_cameras_are_rigid_right_handed_and_on_the_unit_sphere():
    matrix = Camera.from_angles(YAWS, PITCHES, roll=ROLLS).cam2world
    rotation, position = matrix[:, :, :3], matrix[:, :, 3]
    torch.testing.assert_close(rotation.transpose(1, 2) @ rotation, torch.eye(3).expand(4, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(4))
    torch.testing.assert_close(position.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(rotation[:, :, 2], position)  # back points from the origin to the camera


def test_frontal_view_is_the_identity():
    expected = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]])
    torch.testing.assert_close(Camera.from_angles(0.0, 0.0).cam2world, expected)


def test_signs():
    right, up, _, position = Camera.from_angles([0.3, 0.0], [0.0, 0.2]).cam2world.unbind(-1)
    assert position[0, 0] > 0 and position[0, 1] == 0  # +yaw moves the camera to +x
    assert position[1, 1] > 0 and position[1, 0] == 0  # +pitch moves it to +y
    assert (up[:, 1] > 0).all() and (right[:, 0] > 0).all() and (right[:, 1] == 0).all()
    # the formula, by hand: (cos 0.2 · sin 0.3, sin 0.2, cos 0.2 · cos 0.3)
    position = Camera.from_angles(0.3, 0.2).cam2world[0, :, 3]
    torch.testing.assert_close(position, torch.tensor([0.289629, 0.198669, 0.936293]), atol=1e-6, rtol=0)


def test_roll_turns_the_camera_counter_clockwise():
    right, up, back, _ = Camera.from_angles(0.0, 0.0, roll=math.pi / 2).cam2world[0].unbind(-1)
    torch.testing.assert_close(right, torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(up, torch.tensor([-1.0, 0.0, 0.0]))
    torch.testing.assert_close(back, torch.tensor([0.0, 0.0, 1.0]))


@pytest.mark.parametrize(
    "yaw, pitch, batch_size",
    [
        (0.1, 0.2, 1),
        ([0.1, 0.2], 0.3, 2),
        ((0.1, 0.2), torch.tensor([0.3]), 2),
        (np.float64(0.1), 0.2, 1),
        (0.1, np.float64(0.2), 1),
        (torch.tensor([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3]), 3),
    ],
)
def test_angles_may_be_floats_sequences_arrays_or_tensors(yaw, pitch, batch_size):
    camera = Camera.from_angles(yaw, pitch)
    assert camera.batch_size == batch_size
    torch.testing.assert_close(camera.cam2world[..., 3].norm(dim=-1).float(), torch.ones(batch_size))


@pytest.mark.parametrize(
    "yaw, pitch",
    [
        (math.nan, 0.0), (0.0, math.inf), (0.0, math.pi / 2), (0.0, -2.0), ([0.1, 0.2], [0.1, 0.2, 0.3]), ("a", 0.0),
        (0.0, None),
    ],
)  # fmt: skip
def test_angles_without_a_camera_are_refused(yaw, pitch):
    with pytest.raises(ValueError):
        Camera.from_angles(yaw, pitch)


def test_the_angle_that_is_wrong_is_named():
    with pytest.raises(ValueError, match="pitch is -1.6, expected"):
        Camera.from_angles(0.0, [0.1, -1.6])
    with pytest.raises(ValueError, match="1 of yaw, 2 of pitch, 3 of roll"):
        Camera.from_angles(0.0, [0.1, 0.2], roll=[0.1, 0.2, 0.3])


@pytest.mark.parametrize("shape", [(3, 4), (1, 4, 3), (1, 3, 3)])
def test_a_matrix_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="cam2world"):
        Camera(torch.zeros(shape))


@pytest.mark.parametrize("fov_deg", [0.0, -12.0, 150.0, math.nan, "12", True, [12.0]])
def test_a_wild_field_of_view_is_refused(fov_deg):
    with pytest.raises(ValueError, match="fov_deg"):
        Camera.from_angles(0.0, 0.0, fov_deg=fov_deg)


@pytest.mark.parametrize("perspective", [-0.1, 4.1, math.nan, math.inf])
def test_a_wild_perspective_is_refused(perspective):
    with pytest.raises(ValueError, match=f"perspective is {perspective}, expected a (finite )?number"):
        Camera.from_angles(0.0, 0.0, perspective=perspective)


def test_square_matrices_lose_their_last_row():
    matrix = torch.eye(4)[None]
    torch.testing.assert_close(Camera(matrix).cam2world, matrix[:, :3])


def test_expand_repeats_one_and_refuses_a_misfit():
    one, two = Camera.from_angles(0.3, 0.1, fov_deg=20), Camera.from_angles([0.3, 0.1], 0.1)
    assert one.expand(3).batch_size == 3 and one.expand(3).fov_deg == 20
    with pytest.raises(ValueError, match="2 cameras for 3"):
        two.expand(3)


def test_rays_have_unit_depth():
    camera = Camera.from_angles(YAWS, PITCHES, roll=ROLLS)
    rays_o, rays_d, camera_d = camera_rays(camera, 8, fov_deg=12.0)
    assert rays_o.shape == rays_d.shape == (4, 8, 8, 3) and camera_d.shape == (1, 8, 8, 3)
    forward = -camera.cam2world[:, None, None, :, 2]
    torch.testing.assert_close((rays_d * forward).sum(dim=-1), torch.ones(4, 8, 8))
    assert (camera_d[..., 2] == -1).all()


def test_the_optical_axis_meets_the_origin():
    # an odd number of pixels has one in the middle
    rays_o, rays_d, _ = camera_rays(Camera.from_angles(YAWS, PITCHES), 5, fov_deg=12.0)
    torch.testing.assert_close((rays_o + rays_d)[:, 2, 2], torch.zeros(4, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("perspective", [0.0, 0.5, 1.0, 2.0])
def test_perspective_moves_the_eye_and_keeps_what_lies_at_the_origin(perspective):
    plain, moved = (
        camera_rays(Camera.from_angles(YAWS, PITCHES, roll=ROLLS, perspective=value), 5, fov_deg=12.0)
        for value in (1.0, perspective)
    )
    (rays_o, rays_d, camera_d), back = moved, plain[0]
    torch.testing.assert_close(rays_o + rays_d, plain[0] + plain[1])
    torch.testing.assert_close((rays_d * -back).sum(dim=-1), torch.ones(4, 5, 5))
    if perspective:  # all rays come from one place
        eye = rays_o + (1.0 - 1.0 / perspective) * rays_d
        torch.testing.assert_close(eye, back / perspective, atol=1e-5, rtol=0)
    else:
        torch.testing.assert_close(rays_d, -back, atol=1e-6, rtol=0)
    expected = torch.einsum("bji,bhwj->bhwi", Camera.from_angles(YAWS, PITCHES, roll=ROLLS).cam2world[..., :3], rays_d)
    torch.testing.assert_close(camera_d.expand_as(expected), expected, atol=1e-6, rtol=0)


def test_pixel_centres_by_hand():
    # full view of 90 degrees: the image plane at depth 1 runs from −1 to 1; pixels of a 2×2 image lie at ±0.5
    _, rays_d, _ = camera_rays(Camera.from_angles(0.0, 0.0, fov_deg=90.0), 2, fov_deg=12.0)
    expected = torch.tensor([[[-0.5, 0.5, -1], [0.5, 0.5, -1]], [[-0.5, -0.5, -1], [0.5, -0.5, -1]]])
    torch.testing.assert_close(rays_d[0], expected)
    assert focal_length(90.0) == pytest.approx(0.5)


def test_the_outermost_pixel_edge_is_half_the_field_of_view():
    resolution = 64
    _, _, camera_d = camera_rays(Camera.from_angles(0.0, 0.0), resolution, fov_deg=12.0)
    edge = camera_d[0, 0, -1, 0] * resolution / (resolution - 1)  # from the last centre to the edge
    assert math.degrees(math.atan(edge)) == pytest.approx(6.0, abs=1e-4)


def test_the_same_rays_at_64_and_128():
    # a pixel at 64 is four at 128: its centre is the mean of theirs
    camera = Camera.from_angles([0.3, -0.2], [0.1, 0.2])
    _, coarse, _ = camera_rays(camera, 64, fov_deg=12.0)
    _, fine, _ = camera_rays(camera, 128, fov_deg=12.0)
    torch.testing.assert_close(fine.view(2, 64, 2, 64, 2, 3).mean(dim=(2, 4)), coarse, atol=1e-6, rtol=0)


def test_gaussian_poses_have_the_priors_spread():
    poses = sample_poses(20_000, yaw=0.3, pitch=0.15, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(poses.std(dim=0), torch.tensor([0.3, 0.15]), atol=0.005, rtol=0)
    torch.testing.assert_close(poses.mean(dim=0), torch.zeros(2), atol=0.01, rtol=0)


def test_uniform_poses_fill_their_range():
    poses = sample_poses(20_000, 0.3, 0.15, "uniform", generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(poses.amax(dim=0), torch.tensor([0.3, 0.15]), atol=1e-3, rtol=0)
    torch.testing.assert_close(poses.amin(dim=0), torch.tensor([-0.3, -0.15]), atol=1e-3, rtol=0)


def test_poses_follow_their_generator():
    a, b = (sample_poses(4, 0.3, 0.15, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(a, b)
    with pytest.raises(ValueError, match="cauchy"):
        sample_poses(4, 0.3, 0.15, "cauchy")


def test_an_orbit_closes_and_keeps_its_range():
    angles = torch.tensor(orbit_angles(60, yaw_range=0.5, pitch_range=0.25))
    steps = (angles.roll(-1, dims=0) - angles).norm(dim=-1)
    assert steps.max() < 2 * math.pi * 0.5 / 60 * 1.01  # the last step is no longer than the others
    torch.testing.assert_close(angles.abs().amax(dim=0), torch.tensor([0.5, 0.25]))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_seamless_and_keeps_its_range(path):
    angles = torch.tensor(orbit_angles(120, 0.5, 0.25, path))
    assert (angles.abs().amax(0) <= torch.tensor([0.5, 0.25]) + 1e-6).all()
    assert angles[:, 0].max() == pytest.approx(0.5, abs=0.01) and angles[:, 0].min() == pytest.approx(-0.5, abs=0.01)
    steps = (angles.roll(-1, 0) - angles).norm(dim=1)
    assert steps[-1] <= steps.max() and steps.max() < 0.1  # from the last to the first as between any two
    accelerations = (angles.roll(-1, 0) - 2 * angles + angles.roll(1, 0)).norm(dim=1)
    assert accelerations[0] <= accelerations.max() * (1 + 1e-5) and accelerations.max() < 0.02


def test_paths_differ_as_they_say():
    sweep, spiral = (torch.tensor(orbit_angles(120, 0.5, 0.25, path)) for path in ("sweep", "spiral"))
    assert not sweep[:, 1].any()
    assert (spiral[:60, 1].diff() > 0).all() and (spiral[60:, 1].diff() < 0).all()  # up, then down again
    turns = (spiral[:, 0].diff().sign().diff() != 0).sum()
    assert turns == 6  # three swings to both sides
    assert torch.allclose(spiral[1:60] * torch.tensor([-1.0, 1.0]), spiral[61:].flip(0), atol=1e-6)
    with pytest.raises(ValueError, match="path is 'circle', expected one of ellipse, sweep, spiral"):
        orbit_angles(4, path="circle")


@pytest.mark.parametrize("perspective", [0.0, 0.5, 1.0, 2.0])
def test_a_point_on_a_pixels_ray_is_projected_to_its_centre(perspective):
    camera = Camera.from_angles(0.3, -0.2, roll=0.4, perspective=perspective)
    origins, directions, _ = camera_rays(camera, 16, 12.0)
    places, depth = project(camera, (origins + 1.1 * directions)[0], 12.0, 16)
    centres = torch.arange(16) + 0.5
    expected = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1)
    torch.testing.assert_close(places, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(depth, torch.full((16, 16), 1.1), atol=1e-6, rtol=0)
