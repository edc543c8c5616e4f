"""How good a model of the toy heads is, in numbers: a registry of metrics.

Each metric is a function of (model, seeds, truncation, context) that returns plain numbers, counts among them. What
the pictures show is read by ``HeadReader``; what the geometry is, is asked of the field itself, along dense rays or
on a grid, never of the volume rendering that is being judged.

Shapes: N seeds, H W thumbnail, S samples of a ray.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from stylesdf.camera import Camera, camera_rays
from stylesdf.mesh import extract_mesh
from stylesdf.model import Generator
from stylesdf.renderer import points_per_chunk
from train.data.images import ImageSet, to_signed
from train.data.toy_heads import BACKGROUND, SPECIES
from train.inception import Inception, InceptionOptions, load_inception
from train.poses import MAX_PITCH, MAX_YAW, to_reader_size
from train.reader import HeadReader, draw_heads, load_reader, uniform_poses

READER_PATH = Path(__file__).parent / "data" / "toy-reader.safetensors"  # trained once, as ``train.reader`` says
REFERENCE_SEED = 20_240_602  # heads to hold results against; neither the reader nor a data set has seen them
YAW_RANGE, PITCH_RANGE = math.radians(30.0), math.radians(15.0)
RAY_SAMPLES = 96
MESH_RESOLUTION = 96
MAX_DATA_IMAGES = 1000
MIN_DIFFERENCE = 0.06  # of a colour from the background, to belong to the head
HEAD_AREAS = 1 / 3, 2.0  # of the area of drawn heads; outside there is no head
BETTER = ("higher", "lower", "nearer")
PICTURES = ("image", "thumbnail")


# ---------------------------------------------------------------------------------------------------------------------
# The registry
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """One number of a metric's result, as the report's table shows it.

    Attributes:
        name: Its key in the result.
        text: What it is, for people.
        unit: ``"share"``, ``"degrees"``, ``"world units"`` or empty.
        better: ``"higher"``, ``"lower"``, or ``"nearer"`` to the reference.
        reference: Key of the number that the toy heads themselves reach, or that number; None where there is none.
    """

    name: str
    text: str
    unit: str = ""
    better: str = "higher"
    reference: str | float | None = None

    def __post_init__(self) -> None:
        assert self.better in BETTER, self.better


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        name: Its name.
        quantities: What of its result the table shows.
        measure: Function of (model, seeds, truncation, context) that returns a dictionary of numbers.
        needs_data: Whether it compares with the pictures the model learned from.
        needs_inception: Whether it looks through the Inception network, and so is measured only when it is named.
    """

    name: str
    quantities: tuple[Quantity, ...]
    measure: Callable[[Generator, Sequence[int], float, Context], dict[str, float]]
    needs_data: bool = False
    needs_inception: bool = False


METRICS: dict[str, Metric] = {}


def metric(name: str, *quantities: Quantity, needs_data: bool = False, needs_inception: bool = False):
    """Register the decorated function under a name."""

    def register(function):
        assert name not in METRICS, name
        METRICS[name] = Metric(name, quantities, function, needs_data, needs_inception)
        return function

    return register


@dataclass(frozen=True, eq=False)
class Views:
    """One frontal view per seed.

    Attributes:
        pictures: Colour in [−1, 1], of the kind that is judged, averaged down. ``(N, 3, 64, 64)``.
        alpha: Coverage by the volume rendering, in [0, 1]. ``(N, H, W)``.
        depth: z-depth of the level set, world units; NaN where a ray misses it. ``(N, H, W)``.
    """

    pictures: Tensor
    alpha: Tensor
    depth: Tensor


class Context:
    """What metrics share within one evaluation; everything is made when it is first asked for.

    Args:
        data: The pictures the model learned from, with poses where they have them; None: only freshly drawn heads.
        reader_path: Where the pose reader is kept; trained and written where absent.
        report: Called with the share of the running metric that is done, in [0, 1].
        pictures: Of ``PICTURES``: what of the model is judged, and of the data it is held against. ``"image"`` is the
            decoder's image, and the thumbnail of a model that has none.
        inception: How the metrics that need it look through the Inception network.
    """

    def __init__(
        self,
        data: ImageSet | None = None,
        reader_path: str | Path = READER_PATH,
        report: Callable[[float], None] = lambda share: None,
        pictures: str = "image",
        inception: InceptionOptions = InceptionOptions(),  # noqa: B008 - frozen
    ) -> None:
        if pictures not in PICTURES:
            raise ValueError(f"pictures is {pictures!r}, expected of {', '.join(PICTURES)}")
        self.data = data
        self.reader_path = reader_path
        self.report = report
        self.pictures = pictures
        self.inception = inception
        self.crowd: tuple[tuple, object] | None = None  # of ``train.likeness``
        self.features: tuple[tuple, object] | None = None  # of ``train.fid``
        self._views: tuple[tuple, Views] | None = None
        self._references: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    @cached_property
    def reader(self) -> HeadReader:
        return load_reader(self.reader_path, self.report)

    @cached_property
    def network(self) -> Inception:
        return load_inception(self.inception.path, self.inception.device)

    def real(self, index: Tensor) -> Tensor:
        """Return pictures of the data, of the kind that is judged, in [−1, 1]. ``(N, 3, R, R)``."""
        if self.pictures == "image":
            return self.data.image_batch(index)
        return self.data.thumbnail_batch(index, self.data.thumbnails.shape[-1], 3)

    def references(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw toy heads from the front: pictures, depth with NaN in the background, species' numbers."""
        if count not in self._references:
            front = torch.zeros(count)
            self._references[count] = draw_heads(REFERENCE_SEED, front, front)
        return self._references[count]

    def views(self, model: Generator, seeds: Sequence[int], truncation: float) -> Views:
        """Look at each seed from the front."""
        key = (model, tuple(seeds), truncation)
        if self._views is None or self._views[0] != key:
            rows, camera = [], Camera.from_angles(0.0, 0.0)
            for index, seed in enumerate(seeds):
                w = model.mapping(latent(model, seed), truncation)
                picture, alpha = draw(model, w, camera, truncation, self.pictures)
                rows.append((picture, alpha, level_set_depth(model, w, camera)))
                self.report((index + 1) / len(seeds))
            self._views = (key, Views(*(torch.cat(column) for column in zip(*rows))))
        return self._views[1]


def latent(model: Generator, seed: int) -> Tensor:
    """Return the latent that a seed names, ``(1, latent_size)``: the same as ``StyleSDF.latents``."""
    z = torch.randn(model.config.latent_size, generator=torch.Generator("cpu").manual_seed(seed))
    return z[None].to(model.w_avg)


# ---------------------------------------------------------------------------------------------------------------------
# Looking
# ---------------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def draw_full(
    model: Generator, w: Tensor, camera: Camera, truncation: float, pictures: str = "image"
) -> tuple[Tensor, Tensor]:
    """Generate one picture at full size.

    Args:
        model: Whose picture it is.
        w: Renderer code of one identity. ``(1, latent_size)``.
        camera: One camera.
        truncation: Of the decoder's codes, in [0, 1].
        pictures: Of ``PICTURES``, as ``Context`` has it.

    Returns:
        Picture in [−1, 1] ``(1, 3, R, R)`` and coverage by the volume rendering ``(1, H, W)``, on the CPU.
    """
    rendering = model.render(w, camera)
    picture = rendering.thumbnail
    if pictures == "image" and model.config.has_decoder:
        picture = model.synthesis(rendering.features, model.decoder_codes(w, truncation))
    return picture.float().cpu().clamp(-1.0, 1.0), 1.0 - rendering.background[:, 0].float().cpu()


def draw(
    model: Generator, w: Tensor, camera: Camera, truncation: float, pictures: str = "image"
) -> tuple[Tensor, Tensor]:
    """Generate one picture as the reader sees it: as ``draw_full``, the picture averaged down. ``(1, 3, 64, 64)``."""
    picture, alpha = draw_full(model, w, camera, truncation, pictures)
    return to_reader_size(picture), alpha


@torch.no_grad()
def level_set_depth(model: Generator, w: Tensor, camera: Camera, num_samples: int = RAY_SAMPLES) -> Tensor:
    """Find where each ray of one view first enters the level set inside the scene ball.

    Args:
        model: Whose field it is.
        w: Renderer code of one identity. ``(1, latent_size)``.
        camera: One camera.
        num_samples: Samples per ray; a thinner part than their distance may be missed.

    Returns:
        z-depth in world units, NaN where no sample is inside; on the CPU. ``(1, H, W)``.
    """
    config, field = model.config, model.field.condition(w)
    camera = camera.to(model.device, model.dtype)
    rays_o, rays_d, _ = camera_rays(camera, config.render_resolution, config.fov_deg)
    spacing = (config.far - config.near) / num_samples
    depth = config.near + (torch.arange(num_samples).to(rays_d) + 0.5) * spacing  # (S,)
    points = rays_o[..., None, :] + rays_d[..., None, :] * depth[:, None]  # (1, H, W, S, 3)
    in_ball = points.norm(dim=-1) <= config.scene_radius  # (1, H, W, S)
    sdf = torch.full(in_ball.shape, spacing).to(points)
    chunks = points[in_ball].split(points_per_chunk(points.device))
    sdf[in_ball] = torch.cat([field.sdf(chunk[None])[0] for chunk in chunks])
    inside = sdf < 0
    first = inside.to(torch.uint8).argmax(dim=-1, keepdim=True)  # (1, H, W, 1)
    before = (first - 1).clamp(min=0)
    here, there = sdf.gather(-1, first), sdf.gather(-1, before)
    # linear between the samples on both sides of the surface; at the ball's skin the first sample inside stands
    enters = (there > 0) & in_ball.gather(-1, before)
    back = torch.where(enters, here / (here - there), torch.zeros_like(here)) * spacing
    found = (depth[first] - back).squeeze(-1)
    return torch.where(inside.any(dim=-1), found, torch.nan).float().cpu()


def r_squared(true: Tensor, seen: Tensor) -> float:
    """Return 1 − Σ(seen − true)² / Σ(true − mean)²; negative for answers that are worse than the mean.

    It is 0 where the truth does not vary.
    """
    true, seen = true.double(), seen.double()
    total = (true - true.mean()).square().sum()
    return float(1.0 - (seen - true).square().sum() / total) if total > 0 else 0.0


def correlation(true: Tensor, seen: Tensor) -> float:
    """Return Pearson's correlation; 0 where one of the two does not vary."""
    true, seen = true.double() - true.double().mean(), seen.double() - seen.double().mean()
    scale = true.norm() * seen.norm()
    return float((true * seen).sum() / scale) if scale > 0 else 0.0


def relief(depth: Tensor) -> float | None:
    """Return the depth of a frontal view's relief: 98th less 2nd percentile of ``(H, W)``; None without a surface."""
    found = depth[~depth.isnan()]
    if len(found) == 0:
        return None
    low, high = np.percentile(found.numpy(), [2, 98])
    return float(high - low)


def bulge(depth: Tensor) -> float | None:
    """Return by how much the centre of a silhouette is nearer to the camera than its rim.

    Centre and rim are the thirds of its pixels that lie deepest in the silhouette and nearest to its outline; each
    stands with its median depth.

    Args:
        depth: z-depth, NaN in the background. ``(H, W)``.

    Returns:
        World units, negative for a hollow; None without a surface.
    """
    depth = depth.numpy()
    mask = ~np.isnan(depth)
    if not mask.any():
        return None
    to_outline = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    low, high = np.quantile(to_outline[mask], [1 / 3, 2 / 3])
    rim, centre = depth[mask & (to_outline <= low)], depth[mask & (to_outline >= high)]
    return float(np.median(rim) - np.median(centre))


def variety_of(pictures: Tensor) -> tuple[float, float]:
    """Return RMS colour distances of pictures in [−1, 1], in units of [0, 1]: mean of pairs, mean to the nearest."""
    flat = pictures.flatten(1) / 2.0
    distance = torch.cdist(flat, flat) / math.sqrt(flat.shape[1])
    count = len(flat)
    if count < 2:
        return 0.0, 0.0
    mean = float(distance.fill_diagonal_(0.0).sum() / (count * (count - 1)))
    return mean, float(distance.fill_diagonal_(math.inf).min(dim=1).values.mean())


# ---------------------------------------------------------------------------------------------------------------------
# The metrics
# ---------------------------------------------------------------------------------------------------------------------


@metric(
    "pose",
    Quantity("yaw_r2", "yaw: seen against requested, R²", "", "higher", "reference_yaw_r2"),
    Quantity("pitch_r2", "pitch: seen against requested, R²", "", "higher", "reference_pitch_r2"),
    Quantity("yaw_error_deg", "yaw: mean error", "degrees", "lower", "reference_yaw_error_deg"),
    Quantity("pitch_error_deg", "pitch: mean error", "degrees", "lower", "reference_pitch_error_deg"),
)
def pose(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Does the head turn as requested? One view per seed, evenly over ±30° of yaw and ±15° of pitch.

    A negative correlation is a head that turns the wrong way. The reference is what the reader itself reaches on
    drawn heads with the same poses; ``data_…`` what it reaches on the data with the data's own poses, as far as they
    lie within the range it has learned.
    """
    reader = context.reader
    poses = uniform_poses(len(seeds), YAW_RANGE, PITCH_RANGE)
    pictures = []
    for index, (seed, (yaw, pitch)) in enumerate(zip(seeds, poses.tolist())):
        w = model.mapping(latent(model, seed), truncation)
        pictures.append(draw(model, w, Camera.from_angles(yaw, pitch), truncation, context.pictures)[0])
        context.report((index + 1) / len(seeds))
    result = {"count": len(seeds)} | _pose_errors("", poses, reader.read(torch.cat(pictures))[0])
    drawn, _, _ = draw_heads(REFERENCE_SEED, poses[:, 0], poses[:, 1])
    result |= _pose_errors("reference_", poses, reader.read(drawn)[0])
    data = context.data
    if data is not None and data.poses is not None:
        known = (data.poses.abs() <= torch.tensor([MAX_YAW, MAX_PITCH])).all(dim=1)
        index = known.nonzero()[:MAX_DATA_IMAGES, 0]
        result |= {"data_count": len(index)}
        if len(index):
            real = to_reader_size(to_signed(data.thumbnails[index.numpy()][:, :3]))
            result |= _pose_errors("data_", data.poses[index], reader.read(real)[0])
    return result


def _pose_errors(prefix: str, true: Tensor, seen: Tensor) -> dict[str, float]:
    result = {}
    for column, name in enumerate(("yaw", "pitch")):
        asked, found = true[:, column], seen[:, column]
        result[f"{prefix}{name}_r2"] = r_squared(asked, found)
        result[f"{prefix}{name}_correlation"] = correlation(asked, found)
        result[f"{prefix}{name}_error_deg"] = math.degrees(float((found - asked).abs().mean()))
    return result


@metric(
    "surface",
    Quantity("closed", "level set is one closed surface", "share", "higher", 1.0),
    Quantity("pieces", "pieces of the level set, mean", "", "nearer", 1.0),
    Quantity("absent", "no level set at all", "share", "lower", 0.0),
)
def surface(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Is the level set one closed surface, as it comes out of marching cubes, nothing dropped and nothing repaired?

    A surface that leaves the scene ball is cut open there and does not count as closed; a bubble inside the head
    counts as a piece.
    """
    closed, absent, pieces = 0, 0, []
    for index, seed in enumerate(seeds):
        try:
            mesh = extract_mesh(model, model.mapping(latent(model, seed), truncation), MESH_RESOLUTION, keep="all")
        except ValueError:  # the field has one sign all over the ball
            mesh = None
        if mesh is None or len(mesh.faces) == 0:
            absent += 1
        else:
            pieces.append(mesh.body_count)
            closed += pieces[-1] == 1 and mesh.is_watertight
        context.report((index + 1) / len(seeds))
    return {
        "count": len(seeds),
        "closed": closed / len(seeds),
        "pieces": _mean(pieces),
        "absent": absent / len(seeds),
    }


@metric("silhouette", Quantity("iou", "rendering's and level set's silhouette, IoU", "", "higher", 1.0))
def silhouette(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Does the rendering show the level set? Frontal views; coverage above one half against rays that hit."""
    views = context.views(model, seeds, truncation)
    seen, there = views.alpha > 0.5, ~views.depth.isnan()
    both = (seen & there).sum(dim=(1, 2)).double()
    either = (seen | there).sum(dim=(1, 2)).double()
    iou = both / either.clamp(min=1.0)
    return {"count": len(seeds), "iou": float(iou.mean()), "iou_5th_percentile": float(torch.quantile(iou, 0.05))}


@metric(
    "relief",
    Quantity("relief", "depth of the relief", "world units", "nearer", "reference_relief"),
    Quantity("convex", "centre nearer than rim", "share", "higher", "reference_convex"),
    Quantity("bulge", "by how much nearer, mean", "world units", "nearer", "reference_bulge"),
)
def relief_of_heads(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Is the head as deep as it should be, and does it bulge towards the camera instead of being a hollow mask?

    Heads without a surface have no relief and are not convex.
    """
    result = {"count": len(seeds)} | _relief("", context.views(model, seeds, truncation).depth)
    return result | _relief("reference_", context.references(len(seeds))[1])


def _relief(prefix: str, depth: Tensor) -> dict[str, float]:
    reliefs = [value for view in depth if (value := relief(view)) is not None]
    bulges = [value for view in depth if (value := bulge(view)) is not None]
    return {
        f"{prefix}relief": _mean(reliefs),
        f"{prefix}convex": sum(value > 0 for value in bulges) / len(depth),
        f"{prefix}hollow": sum(value < 0 for value in bulges) / len(depth),
        f"{prefix}bulge": _mean(bulges),
        f"{prefix}with_surface": len(bulges) / len(depth),
    }


@metric(
    "species",
    *(Quantity(name, f"read as {name}", "share", "nearer", f"reference_{name}") for name in SPECIES),
    Quantity("distance", "share that would have to change species", "share", "lower", "reference_distance"),
)
def species(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Are all species there, as often as in the data, where each has the same chance? Frontal views."""
    _, read = context.reader.read(context.views(model, seeds, truncation).pictures)
    drawn, _, true = context.references(len(seeds))
    _, read_again = context.reader.read(drawn)
    result = {"count": len(seeds)} | _shares("", read) | _shares("reference_", read_again)
    return result | {"reader_accuracy": float((read_again == true).double().mean())}


def _shares(prefix: str, read: Tensor) -> dict[str, float]:
    shares = torch.bincount(read, minlength=len(SPECIES)).double() / len(read)
    result = {f"{prefix}{name}": float(share) for name, share in zip(SPECIES, shares)}
    # half of Σ |share − 1/4|, the total variation
    return result | {f"{prefix}distance": float((shares - 1 / len(SPECIES)).abs().sum() / 2)}


@metric(
    "variety",
    Quantity("distance", "RMS colour distance of two heads", "", "nearer", "reference_distance"),
    Quantity("nearest", "RMS colour distance to the most similar head", "", "nearer", "reference_nearest"),
)
def variety(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """How different are the heads from each other? Frontal views, colours in [0, 1]."""
    distance, nearest = variety_of(context.views(model, seeds, truncation).pictures)
    reference_distance, reference_nearest = variety_of(context.references(len(seeds))[0])
    return {
        "count": len(seeds),
        "distance": distance,
        "nearest": nearest,
        "reference_distance": reference_distance,
        "reference_nearest": reference_nearest,
    }


@metric(
    "appearance",
    Quantity("area", "area of the head, of the picture's", "share", "nearer", "reference_area"),
    Quantity("area_spread", "deviation of the area over heads", "share", "nearer", "reference_area_spread"),
    Quantity("colour_shift", "mean colour of all heads, RMS distance from the data's", "", "lower", 0.0),
    Quantity("colour_spread", "deviation of a head's mean colour, RMS", "", "nearer", "reference_colour_spread"),
    Quantity("degenerate", "nothing, or no head's size", "share", "lower", "reference_degenerate"),
)
def appearance(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Do sizes and colours of heads vary as the data's do? Frontal views, no network; colours in [0, 1].

    A head is what differs from the background of the data. Pictures of which less than a third or more than twice
    the area of a drawn head differ are degenerate: nothing is there, or another background, or no head; only the
    others count for the rest, which is None without any.
    """
    drawn = context.references(len(seeds))[0]
    reference = _appearance(drawn, area=None)
    found = _appearance(context.views(model, seeds, truncation).pictures, reference["area"])
    shift = None
    if found["colour"] is not None:
        shift = float((found["colour"] - reference["colour"]).square().mean().sqrt())
    result = {"count": len(seeds), "colour_shift": shift}
    for prefix, numbers in (("", found), ("reference_", reference)):
        result |= {f"{prefix}{name}": value for name, value in numbers.items() if name != "colour"}
    return result


def heads_in(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Find what differs from the toy heads' background: areas as shares ``(N,)`` and mean colours in [0, 1] ``(N, 3)``.

    Args:
        pictures: In [−1, 1]. ``(N, 3, H, W)``.
    """
    pictures = (pictures.double() + 1.0) / 2.0
    mask = differs_from_background(pictures).double()
    colours = (pictures * mask).sum(dim=(2, 3)) / mask.sum(dim=(2, 3)).clamp(min=1.0)
    return mask.mean(dim=(1, 2, 3)), colours


def differs_from_background(pictures: Tensor) -> Tensor:
    """Find the pixels that are not of the toy heads' background. ``(N, 1, H, W)``

    Args:
        pictures: In [0, 1]. ``(N, 3, H, W)``.
    """
    background = torch.tensor(BACKGROUND).to(pictures)[:, None, None]
    return (pictures - background).abs().amax(dim=1, keepdim=True) > MIN_DIFFERENCE


def _appearance(pictures: Tensor, area: float | None) -> dict:
    areas, colours = heads_in(pictures)
    typical = float(areas.mean()) if area is None else area
    is_head = (areas >= HEAD_AREAS[0] * typical) & (areas <= HEAD_AREAS[1] * typical)
    areas, colours = areas[is_head], colours[is_head]
    any_head, several = len(areas) > 0, len(areas) > 1
    return {
        "area": float(areas.mean()) if any_head else None,
        "area_spread": float(areas.std()) if several else None,
        "colour": colours.mean(dim=0) if any_head else None,
        "colour_spread": float(colours.var(dim=0).mean().sqrt()) if several else None,
        "degenerate": float((~is_head).double().mean()),
    }


@metric(
    "smoothness",
    Quantity("bend", "bend of the surface between neighbouring pixels, median", "degrees", "nearer", "reference_bend"),
    Quantity("rough", "share of the surface that bends by more than 30°", "share", "nearer", "reference_rough"),
)
def smoothness(model: Generator, seeds: Sequence[int], truncation: float, context: Context) -> dict[str, float]:
    """Is the level set smooth where the data is? Angles between normals of neighbouring pixels, frontal views.

    Normals are those of the depth map, of heads as of the data; pixels at the outline have none.
    """
    pixel = 2.0 * math.tan(math.radians(model.config.fov_deg) / 2.0)  # of the whole width, at depth 1
    result = {"count": len(seeds)} | _bends("", context.views(model, seeds, truncation).depth, pixel)
    return result | _bends("reference_", context.references(len(seeds))[1], pixel)


def bends(depth: Tensor, width: float) -> Tensor:
    """Return the angles between the normals of horizontally and vertically neighbouring pixels, in degrees.

    Args:
        depth: z-depth, NaN in the background. ``(H, W)``.
        width: Of the view at depth 1, world units.
    """
    step = width / depth.shape[-1] * 2.0
    across, down = (depth[1:-1, 2:] - depth[1:-1, :-2]) / step, (depth[2:, 1:-1] - depth[:-2, 1:-1]) / step
    normals = torch.nn.functional.normalize(torch.stack([across, down, torch.ones_like(across)]), dim=0)
    cosines = [(normals[:, :, 1:] * normals[:, :, :-1]).sum(0), (normals[:, 1:] * normals[:, :-1]).sum(0)]
    angles = torch.cat([cosine[~cosine.isnan()].clamp(-1.0, 1.0).acos() for cosine in cosines])
    return angles.rad2deg()


def _bends(prefix: str, depth: Tensor, width: float) -> dict[str, float]:
    found = [angles for view in depth if len(angles := bends(view, width))]
    return {
        f"{prefix}bend": _mean([float(angles.median()) for angles in found]),
        f"{prefix}rough": _mean([float((angles > 30.0).double().mean()) for angles in found]),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
