"""What the page's rays should find: the first zero of the field along each ray, searched densely in PyTorch."""

import torch

from stylesdf.camera import Camera, camera_rays

SAMPLES = 96  # per ray, inside the ball; between two of them a rim may be missed
HALVINGS = 12


@torch.no_grad()
def find_surface(model, field, camera: Camera, size: int, samples: int = SAMPLES) -> dict[str, torch.Tensor]:
    """Depth, coverage, normals and colour of one field's surface inside the scene ball, row by row from the top.

    Returns:
        ``hit`` ``(H, W)``, ``depth`` ``(H, W)``, ``normals`` ``(H, W, 3)`` and ``rgb`` ``(H, W, 3)`` in [0, 1].
    """
    origins, along, _ = camera_rays(camera, size, model.config.fov_deg)
    origins, along = origins.reshape(-1, 3), along.reshape(-1, 3)
    lengths = along.norm(dim=-1, keepdim=True)
    rays = along / lengths
    middle = -(origins * rays).sum(dim=-1)
    half = (middle.square() - origins.square().sum(dim=-1) + model.config.scene_radius**2).clamp(min=0.0).sqrt()
    meets = (half > 0.0).nonzero().squeeze(1)
    origins, rays, middle, half = origins[meets], rays[meets], middle[meets, None], half[meets, None]
    steps = middle + half * torch.linspace(-1.0, 1.0, samples)  # (R, S)

    def sdf(at):  # (R, S) -> (R, S)
        points = origins[:, None] + rays[:, None] * at[..., None]
        return torch.cat([field.sdf(part[None])[0] for part in points.view(-1, 3).split(8192)]).view(at.shape)

    inside = sdf(steps) < 0.0
    first = inside.float().argmax(dim=1)
    found = inside.any(dim=1)
    low = steps.gather(1, (first - 1).clamp(min=0)[:, None])
    high = steps.gather(1, first[:, None])
    for _ in range(HALVINGS):
        centre = 0.5 * (low + high)
        is_inside = sdf(centre) < 0.0
        low, high = torch.where(is_inside, low, centre), torch.where(is_inside, centre, high)
    points = (origins + rays * high)[found]
    normals, rgb = (torch.cat(parts, dim=1)[0] for parts in
                    zip(*(field.surface(part[None]) for part in points.split(8192))))  # fmt: skip
    hit = torch.zeros(size * size, dtype=torch.bool)
    hit[meets[found]] = True

    def spread(values):
        whole = torch.zeros(size * size, *values.shape[1:])
        whole[hit] = values
        return whole.view(size, size, *values.shape[1:])

    depth = spread(high[found, 0] / lengths[meets, 0][found])
    return {"hit": hit.view(size, size), "depth": depth, "normals": spread(normals), "rgb": spread(torch.sigmoid(rgb))}
