"""What a run will cost, before it is started: steps, images, memory, hours.

Networks are built without memory, and the layers that they call are counted. A run is a list of tasks (``tasks_of``),
each so much work so often; work is counted in multiply-adds, and what is none, such as a sine or a number that is
filtered, in as many as take its time on a CPU. ``python -m benchmarks.estimates`` sets the estimates beside what is
measured; the constants below were fitted to that on two cores of an AMD EPYC with AVX-512, both of which were at work.
On GPUs nothing was measured: those hours are the same work at another rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from stylesdf.config import StyleSDFConfig
from stylesdf.fast.surface import num_guided_samples
from train.config import (
    CODE_AXES,
    CODE_PATHS,
    CODES_PER_STEP,
    GUIDE_SIDE,
    HEADS_PER_STEP,
    KEPT_NUMBERS,
    NUM_SURFACE_POINTS,
    PATH_LENGTH_EVERY,
    PATHS_AT_ONCE,
    PICTURES_PER_STEP,
    STEPS_PER_RENDERING,
    TEACHER_OVERSAMPLING,
    VIEWS_OF_HEAD,
    DecoderConfig,
    EncoderConfig,
    Phase,
    PolishConfig,
    PriorConfig,
    RendererConfig,
    Settings,
    images_shown,
)
from train.networks.flow import PATH_STEPS, VelocityField
from train.run.counting import (
    decoded_share,
    distance_work,
    generator_weights,
    guide_work,
    guided_share,
    image_discriminator,
    inverter,
    kept_numbers,
    patch_discriminator,
    picture_encoder,
    points_on_rays,
    share_inside,
    synthesis,
    thumbnail_discriminator,
    value_work,
    weights_of,
)
from train.run.grid import SHAPE_SAMPLES
from train.run.memory import numbers_held
from train.run.options import RunOptions

CORE = 0.055  # 10¹² multiply-adds per second of one core, in large convolutions and the field's products
PROCESSES = 2  # that a recipe starts on two cores; they share batches, and each does the rest by itself
# the same of all of a machine, as training of such networks reaches it, not as the maker prints it
HARDWARE = {
    "two CPU cores": PROCESSES * CORE,
    "one consumer GPU (RTX 4090)": 12.0,
    "eight data-centre GPUs (A100)": 50.0,
}

# work in multiply-adds
MATRIX = 1.5  # of a linear layer, where torch takes a slower library
SAMPLE = 3900  # a sample of a ray, to be placed, looked up and composited; twice that with gradients
FEATURE = 157  # a channel of a sample that is integrated to a feature map
READ = 390  # a number of a picture that is read
UPDATE = 235  # a weight: its gradient's sum over processes, Adam, average
PAIRING = 4.2e8  # the flow's pairs of noise and codes in a step
FILLED = 4.7e8  # the distances inside a head with its cavities filled
# work in forward passes
BACK = 2.8  # a field forth and back
CONVOLVED = 3.3  # convolutions forth and back
PENALTY = 7.5  # a gradient penalty, which differentiates derivatives
PATH_LENGTH = 8.0  # of the decoder, likewise
SWEEP = 6.5  # a signed distance with its gradient, forth and back

CODES_PER_SPHERE, POINTS_PER_CODE = 4, 512  # of a step of sphere initialisation
POLISHED_BETA = 0.0008  # world units, of a model that is finished
LIBRARIES = 0.15e9  # bytes, beyond Python with torch
GRID_VIEWS = 24  # of a sample grid: eight heads, three angles


@dataclass(frozen=True)
class Task:
    """Work that a run does again and again.

    Attributes:
        name: As the benchmark has it.
        count: How often.
        work: Multiply-adds each time.
        repeated: How many of them each process does by itself.
    """

    name: str
    count: float
    work: float
    repeated: float = 0.0

    @property
    def core_seconds(self) -> float:
        """Seconds that one core takes each time."""
        return self.work / CORE / 1e12


def estimate(model: StyleSDFConfig, config: Settings, micro_batch: int = 0) -> dict[str, object]:
    """Estimate a run.

    Args:
        model: Architecture; of a run that starts from a model, that model's.
        config: Settings of the stage; their kind says which one.
        micro_batch: Images that are worked on at once; 0 is the whole batch.

    Returns:
        ``steps``; ``images``; ``teraflops`` (10¹² multiply-adds in all); ``memory_gb``, the peak of one process that
        works on whole batches, beyond Python with torch, the pictures left out, which are mapped from files; and
        ``hours`` per hardware, on two cores with two processes.
    """
    tasks = tasks_of(model, config)
    work = sum(task.count * task.work for task in tasks)
    repeated = sum(task.count * task.repeated for task in tasks)
    hours = {name: work / 1e12 / rate / 3600 for name, rate in HARDWARE.items()}
    hours["two CPU cores"] += repeated * (1 - 1 / PROCESSES) / 1e12 / CORE / 3600
    return {
        "steps": config.total_steps,
        "images": images_shown(config, config.total_steps),
        "teraflops": round(work / 1e12, 1),
        "memory_gb": round((LIBRARIES + 4 * numbers_held(model, config, micro_batch)) / 1e9, 2),
        "hours": {name: round(value, 2) for name, value in hours.items()},
    }


def tasks_of(model: StyleSDFConfig, config: Settings) -> list[Task]:
    """Return all that a run does."""
    parts = {
        RendererConfig: _renderer, PriorConfig: _prior, PolishConfig: _polish, DecoderConfig: _decoder,
        EncoderConfig: _encoder,
    }  # fmt: skip
    return [*parts[type(config)](model, config), _grid(model, config)]


def _view(model: StyleSDFConfig, samples: int, beta: float, has_features: bool = False) -> float:
    """A guided view without gradients, its guide's measurement left out."""
    of_point = value_work(model) + FEATURE * model.field_width * has_features
    return samples * (SAMPLE + guided_share(model, beta) * of_point)


def _rendering(model: StyleSDFConfig, num_samples: int, has_features: bool = True) -> float:
    """A thumbnail without gradients, all of its samples evaluated."""
    samples = model.render_resolution**2 * num_samples
    return samples * (SAMPLE + share_inside(model) * value_work(model) + FEATURE * model.field_width * has_features)


def _drawn(model: StyleSDFConfig, config: RendererConfig, phase: Phase) -> float:
    """An image of stage 1, forth and back, with the terms at random points."""
    samples, points = phase.resolution**2 * phase.num_samples, points_on_rays(model, config, phase)
    on_rays = "eikonal" in config.terms and not config.num_points
    of_point = value_work(model) * BACK
    if on_rays:
        of_point = value_work(model) - distance_work(model) + distance_work(model) * SWEEP
    if not phase.surface_guided and kept_numbers(model, points * phase.batch_size) > KEPT_NUMBERS:
        of_point += value_work(model)
    work = 2 * SAMPLE * samples + of_point * points + SWEEP * distance_work(model) * config.num_points
    return work + (guide_work(model, GUIDE_SIDE) if phase.surface_guided else 0.0)


def _judged(model: StyleSDFConfig, config: RendererConfig, phase: Phase) -> float:
    """The discriminator's part in an image of stage 1, both players' steps."""
    every, paired = config.game.r1_every, config.game.use_relativistic_loss
    passes = 2 * CONVOLVED + (PENALTY - CONVOLVED) * (1 + paired) / every  # the penalty shares its forward pass
    passes += CONVOLVED - 1 + paired  # the generator's: no gradients of weights; of pairs, real ones once more
    return passes * thumbnail_discriminator(model, config, phase.resolution).work


# The tasks of each stage.


def _renderer(model: StyleSDFConfig, config: RendererConfig) -> list[Task]:
    encoder = None if config.is_adversarial else picture_encoder(model)
    weights = generator_weights(model)
    sphere = BACK * CODES_PER_SPHERE * POINTS_PER_CODE * distance_work(model) + UPDATE * weights
    tasks = [Task("sphere step", config.sphere_steps, sphere, sphere)]
    for number, phase in enumerate(config.phases):
        of_image = _drawn(model, config, phase)
        if encoder:
            of_image += CONVOLVED * encoder.work + READ * 3 * model.image_resolution**2
            update = UPDATE * (weights + encoder.weights)
        else:
            of_image += _judged(model, config, phase)
            update = UPDATE * (weights + thumbnail_discriminator(model, config, phase.resolution).weights)
        tasks.append(Task(f"phase {number}", phase.steps, phase.batch_size * of_image + update, update))
    return tasks


def _prior(model: StyleSDFConfig, config: PriorConfig) -> list[Task]:
    with torch.device("meta"):
        flow = weights_of(VelocityField(min(CODE_AXES, model.latent_size)))
    mapping = 9 * MATRIX * CODES_PER_STEP * model.latent_size**2
    flow_step, update = (3 * MATRIX * CODES_PER_STEP + UPDATE) * flow + PAIRING, UPDATE * generator_weights(model)
    return [
        Task("flow step", config.flow_steps, flow_step, flow_step),
        Task("paths", CODE_PATHS / PATHS_AT_ONCE, PATHS_AT_ONCE * 2 * MATRIX * PATH_STEPS * flow),
        Task("mapping step", config.steps, mapping + update, update),
    ]


def _polish(model: StyleSDFConfig, config: PolishConfig) -> list[Task]:
    samples, start = model.render_resolution**2 * model.num_samples, 2 * config.beta_end
    share = guided_share(model, config.beta_end, GUIDE_SIDE)
    of_image = TEACHER_OVERSAMPLING * samples * (SAMPLE + guided_share(model, start, GUIDE_SIDE) * value_work(model))
    of_image += samples * (2 * SAMPLE + share * BACK * value_work(model)) + 2 * guide_work(model, GUIDE_SIDE)
    of_image += SWEEP * distance_work(model) * (config.num_points + 2 * NUM_SURFACE_POINTS)
    if "solidity" in config.terms:
        of_image += guide_work(model) + FILLED
    update = UPDATE * generator_weights(model)
    return [Task("step", config.steps, config.batch_size * of_image + update, update)]


def _decoder(model: StyleSDFConfig, config: DecoderConfig) -> list[Task]:
    decoder, rendering = synthesis(model), _rendering(model, model.num_samples)
    trained = generator_weights(model, has_decoder=True) - generator_weights(model)
    if config.pair_weight:
        return _pairs(model, config, decoder.work, rendering, trained)
    tasks, anew = [], rendering
    if config.num_renderings:
        count, anew = config.num_renderings + config.steps / STEPS_PER_RENDERING, 0.0
        tasks.append(Task("rendering", count, rendering))
    if config.draws_field:
        samples = model.image_resolution**2 * num_guided_samples(model, POLISHED_BETA)
        image = guide_work(model) + _view(model, samples, POLISHED_BETA)
        work = config.batch_size * CONVOLVED * decoder.work + UPDATE * trained
        return [*tasks, Task("field image", count, image), Task("field step", config.steps, work, UPDATE * trained)]
    judge, paired = image_discriminator(model, config), config.game.use_relativistic_loss
    read = READ * 3 * model.image_resolution**2
    of_image = anew + (1 + CONVOLVED) * decoder.work + read
    of_image += (3 * CONVOLVED - 1 + paired + PENALTY * (1 + paired) / config.game.r1_every) * judge.work
    if config.path_length_weight:
        of_image += (PATH_LENGTH * decoder.work + anew) / 2 / PATH_LENGTH_EVERY
    update = UPDATE * (trained + judge.weights)
    work = config.batch_size * of_image + update
    return [*tasks, Task("adversarial step", config.steps, work, update)]


def _pairs(
    model: StyleSDFConfig, config: DecoderConfig, decoding: float, rendering: float, trained: int
) -> list[Task]:
    """The second game of stage 2, given the work of an image and of a thumbnail, and how many weights learn."""
    judge, steps = patch_discriminator(model), config.steps
    of_image = CONVOLVED * decoded_share(model) * decoding + READ * 3 * model.image_resolution**2
    of_image += (3 * CONVOLVED - 1 + PENALTY / config.game.r1_every) * judge.work
    update = UPDATE * (trained + judge.weights)
    return [
        Task("pair", config.num_renderings + steps, rendering + picture_encoder(model).work),
        Task("pair step", steps, config.batch_size * of_image + update, update),
    ]


def _encoder(model: StyleSDFConfig, config: EncoderConfig) -> list[Task]:
    samples, network = model.render_resolution**2 * model.num_samples, inverter(model)
    view = _view(model, samples, POLISHED_BETA, model.has_decoder)
    if model.has_decoder:
        view += synthesis(model).work
    update = UPDATE * network.weights
    return [
        Task("head", config.steps * HEADS_PER_STEP, guide_work(model) + VIEWS_OF_HEAD * view),
        Task("step", config.steps, PICTURES_PER_STEP * CONVOLVED * network.work + update, update),
    ]


def _grid(model: StyleSDFConfig, config: Settings) -> Task:
    """A view of a sample grid, which the first process draws while the others wait."""
    every = RunOptions().for_steps(config.total_steps).grid_every
    samples = {RendererConfig: max(model.num_samples, 24), PriorConfig: 48, PolishConfig: 48}
    colours = _rendering(model, samples.get(type(config), model.num_samples))
    if isinstance(config, DecoderConfig) or (isinstance(config, EncoderConfig) and model.has_decoder):
        colours += synthesis(model).work
    work = colours + _rendering(model, SHAPE_SAMPLES, has_features=False)
    return Task("grid view", GRID_VIEWS * -(-config.total_steps // every), work, work)
