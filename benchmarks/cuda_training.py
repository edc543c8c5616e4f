"""Training steps of both stages in several precisions, beside their arithmetic alone: tables of ``benchmarks/cuda.py``.

A step is the kit's whole step, with drawing, average and log; its pictures lie on the device.
"""

from __future__ import annotations

import gc
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.arithmetic import LEAST_SECONDS, Arithmetic, recorded
from benchmarks.estimates import kinds_of_steps, random_pictures, start_of
from benchmarks.images import DEVICE
from benchmarks.measure import seconds
from stylesdf.config import StyleSDFConfig
from train.build import build_stage
from train.config import DecoderConfig, RendererConfig
from train.recipes import RECIPES, Run
from train.run.engine import Engine
from train.stages.decoder import PATH_LENGTH_EVERY

MEASURED = {"ffhq": ("renderer", "decoder"), "people": ("shown", "detailed")}  # recipes, and runs of their large size
SPHERE_STEPS = 300  # at most, before the first step of stage 1
NUM_PICTURES = 200  # at most
SMALLEST_PART = 4  # images of a micro-batch: a group that the discriminator compares
OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True)
class Precision:
    """How a step computes.

    Attributes:
        product_tf32: Whether matrix products round their factors to TF32 (a GPU's, as the next).
        convolution_tf32: Whether convolutions do.
        bfloat16: Discriminators and decoder in bfloat16, as with the kit's ``--mixed-precision bf16``.
        layout: Of the convolutions' weights in memory.
    """

    product_tf32: bool
    convolution_tf32: bool
    bfloat16: bool = False
    layout: torch.memory_format = torch.contiguous_format

    def use(self) -> None:
        """Set what PyTorch keeps for the whole process."""
        torch.backends.cuda.matmul.allow_tf32 = self.product_tf32
        torch.backends.cudnn.allow_tf32 = self.convolution_tf32


FLOAT32 = Precision(False, False)  # the kit's own
DEFAULT = Precision(False, True)  # PyTorch's own on a GPU, so the package's
TF32 = Precision(True, True)
PRECISIONS = {
    "float32": FLOAT32,
    "TF32": TF32,
    "bf16": Precision(True, False, True),  # the kit's ``--mixed-precision bf16``: penalties' convolutions are float32's
    "bf16, all else TF32": Precision(True, True, True),
    "bf16, channels last": Precision(True, False, True, torch.channels_last),
}


class MeasuredEngine(Engine):
    """An engine whose precision may change from step to step: accelerate's is that of the whole process."""

    device = torch.device(DEVICE)
    bfloat16 = False

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)


class Steps:
    """The steps of a stage, which can be taken in one precision or another and leave the weights as they are.

    Args:
        stage: Ready to be trained; its learning rates become zero.

    Attributes:
        kinds: The first step of each kind (with or without a penalty), and how many of a period are of that kind.
    """

    def __init__(self, stage) -> None:
        self.stage = stage
        self.kinds = kinds_of(stage.config)
        self.optimizers: dict[str, torch.optim.Optimizer] = stage.state.optimizers
        networks = nn.ModuleList(stage.state.modules.values())
        self._trained = [parameter for parameter in networks.parameters() if parameter.requires_grad]
        self._layout = torch.contiguous_format
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"] = 0.0

    def enter(self, precision: Precision) -> bool:
        """Take the next steps in a precision; return whether a first one, which allocates, should not count."""
        precision.use()
        self.stage.engine.bfloat16 = precision.bfloat16
        if precision.layout == self._layout:
            return False
        for module in self.stage.state.modules.values():
            module.to(memory_format=precision.layout)
        for optimizer in self.optimizers.values():
            optimizer.state.clear()  # moments lie as the weights do
        self._layout = precision.layout
        return True

    def take(self, step: int) -> None:
        """Take a step, which draws the same every time."""
        torch.manual_seed(step)
        self.stage.state.step = step
        if hasattr(self.stage, "path_length_mean"):
            self.stage.path_length_mean.zero_()
        self.stage.step()

    def mean(self, values: dict[int, float]) -> float:
        """Return the mean over a period of what each kind of step has."""
        return sum(values[step] * count for step, count in self.kinds.items()) / sum(self.kinds.values())

    def arithmetic_seconds(self, least_seconds: float) -> tuple[float, float]:
        """Return the seconds of a step's arithmetic alone, and how many floating-point operations it is."""
        found = {step: Arithmetic() for step in self.kinds}
        for step, arithmetic in found.items():
            with recorded(arithmetic):
                self.take(step)
        floors = {step: arithmetic.floor_seconds(least_seconds) for step, arithmetic in found.items()}
        return self.mean(floors), self.mean({step: arithmetic.flops for step, arithmetic in found.items()})

    def gradients(self) -> dict[str, list[Tensor]]:
        """Return the whole gradients of each network's optimizer steps."""
        found: dict[str, list[Tensor]] = {name: [] for name in self.optimizers}
        hooks = [
            optimizer.register_step_pre_hook(lambda optimizer, *_, kept=found[name]: kept.append(_gradient(optimizer)))
            for name, optimizer in self.optimizers.items()
        ]
        try:
            for step in self.kinds:
                self.take(step)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def recover(self) -> None:
        """Put right what a step left that ended halfway."""
        for parameter in self._trained:
            parameter.requires_grad_(True)
            parameter.grad = None
        free_memory()


def kinds_of(config: RendererConfig | DecoderConfig) -> dict[int, int]:
    """Return the first step of each kind in a stage's last, longest part, and how many of a period are of that kind."""
    first, penalties = 0, []
    if isinstance(config, RendererConfig):
        first = config.total_steps - config.phases[-1].steps
        penalties = [config.game.r1_every] if config.is_adversarial else []
    elif not config.draws_field:
        penalties = [config.game.r1_every] + [PATH_LENGTH_EVERY] * bool(config.path_length_weight)
    return kinds_of_steps(first, penalties)


def _gradient(optimizer: torch.optim.Optimizer) -> Tensor:
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return torch.cat([p.grad.detach().float().flatten() for p in parameters if p.grad is not None]).cpu()


def difference(gradients: list[Tensor], reference: list[Tensor]) -> float:
    """Return by how much of its length a gradient is off, in the worst of the optimizer steps."""
    return max(float((mine - theirs).norm() / theirs.norm()) for mine, theirs in zip(gradients, reference))


def free_memory() -> None:
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()


def attempt(task: Callable[[], object], steps: Steps | None = None) -> str:
    """Do something; return what the machine lacks for it, as a table says it, or nothing where it was done."""
    try:
        task()
    except ImportError as error:
        failure = f"needs {error.name}"
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].replace("|", "/")[:100]
        is_memory = isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in reason or "out of memory" in reason
        failure = OUT_OF_MEMORY if is_memory else f"failed: {reason}"
    else:
        return ""
    free_memory() if steps is None else steps.recover()
    return failure


@dataclass
class Figures:
    """Of one precision.

    Attributes:
        times: Seconds of each kind of step, by its number.
        peak: Bytes that PyTorch held on the GPU at most; 0 on a CPU.
        floor: Seconds of the arithmetic alone, and floating-point operations; None where it was not measured.
        differences: Of gradients from float32's, by optimizer.
        failure: What the machine lacks for it; empty where it was measured.
    """

    times: dict[int, list[float]] = field(default_factory=dict)
    peak: int = 0
    floor: tuple[float, float] | None = None
    differences: dict[str, float] = field(default_factory=dict)
    failure: str = ""


def measure(steps: Steps, rounds: int, least_seconds: float = LEAST_SECONDS) -> dict[str, Figures]:
    """Measure a stage's steps in all precisions, which take turns, then each precision's floor and gradients."""
    all_figures = {name: Figures({step: [] for step in steps.kinds}) for name in PRECISIONS}
    for number in range(rounds):
        for name, precision in PRECISIONS.items():
            figures = all_figures[name]
            if not figures.failure:
                turn = partial(_turn, steps, precision, figures, number == 0)
                figures.failure = attempt(turn, steps)
    reference: dict[str, list[Tensor]] = {}
    for name, precision in PRECISIONS.items():
        figures = all_figures[name]
        if not figures.failure:
            attempt(partial(_compare, steps, precision, figures, reference), steps)
            attempt(partial(_find_floor, steps, precision, figures, all_figures, least_seconds), steps)
    return all_figures


def _turn(steps: Steps, precision: Precision, figures: Figures, is_first: bool) -> None:
    if steps.enter(precision) or is_first:
        for step in steps.kinds:
            steps.take(step)
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    for step, times in figures.times.items():
        times.append(seconds(partial(steps.take, step)))
    if DEVICE == "cuda":
        figures.peak = max(figures.peak, torch.cuda.max_memory_allocated())


def _compare(steps: Steps, precision: Precision, figures: Figures, reference: dict[str, list[Tensor]]) -> None:
    """Compare gradients with float32's; those of float32 itself with a second time, which tells what is chance."""
    steps.enter(precision)
    if precision == FLOAT32:
        reference |= steps.gradients()
    if reference:
        found = steps.gradients()
        figures.differences = {name: difference(found[name], reference[name]) for name in found}


def _find_floor(steps: Steps, precision: Precision, figures: Figures, all_figures: dict, least_seconds: float) -> None:
    if precision == PRECISIONS["bf16, channels last"]:  # the same arithmetic, which was already done in all layouts
        figures.floor = all_figures["bf16"].floor
        return
    steps.enter(precision)
    figures.floor = steps.arithmetic_seconds(least_seconds)


def stages(tiny: bool, names: list[str]) -> Iterator[tuple[str, int, Callable[[int], Steps]]]:
    """Yield what is measured: its title, images per step, and what builds it for a size of micro-batches."""
    for recipe_name in names:
        recipe = RECIPES[recipe_name]["large"]
        for number, run_name in enumerate(MEASURED[recipe_name], start=1):
            run = next(run for run in recipe.runs if run.name == run_name)
            model, run = (tiny_model(recipe.model), _tiny_run(run)) if tiny else (recipe.model, run)
            phases = getattr(run.settings, "phases", None)
            batch = phases[-1].batch_size if phases else run.settings.batch_size
            size = f"{model.image_resolution}×{model.image_resolution}"
            title = f"stage {number}, {recipe_name} ({run_name}), {size}, batch {batch}"
            yield title, batch, partial(build, model, run)


def build(model: StyleSDFConfig, run: Run, micro_batch: int) -> Steps:
    """Build a stage as its recipe does, of random pictures and, for stage 2, of a field that is about a sphere."""
    torch.manual_seed(0)
    settings, initial, pictures = run.settings, None, random_pictures(model)
    few = {name: getattr(pictures, name)[:NUM_PICTURES] for name in ("images", "thumbnails", "poses")}
    data = replace(pictures, **few)
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(settings, RendererConfig):
            settings = replace(settings, sphere_steps=min(settings.sphere_steps, SPHERE_STEPS))
        else:
            initial = start_of(model, run, Path(folder))
        stage = build_stage(model, settings, data, MeasuredEngine(micro_batch=micro_batch), initial)
    stage.prepare()
    return Steps(stage)


def built_to_fit(batch: int, make: Callable[[int], Steps]) -> tuple[Steps, int]:
    """Build with the largest micro-batches whose steps fit into memory in float32, else with the smallest; 0 is all."""
    sizes = [0] + [batch >> n for n in (1, 2, 3, 4) if batch % (SMALLEST_PART << n) == 0]
    for size in sizes[:-1]:
        steps = make(size)
        if not attempt(partial(_turn, steps, FLOAT32, Figures({step: [] for step in steps.kinds}), True), steps):
            return steps, size
        del steps
        free_memory()
    return make(sizes[-1]), sizes[-1]


def tiny_model(model: StyleSDFConfig) -> StyleSDFConfig:
    """Return a miniature of an architecture: 16 × 16 rays, 32 × 32 pixels."""
    return replace(
        model,
        latent_size=16,
        field_width=16,
        field_depth=2,
        render_resolution=16,
        num_samples=8,
        decoder_style_size=16,
        decoder_mapping_layers=2,
        decoder_channels=(8, 8),
    )


def _tiny_run(run: Run) -> Run:
    settings, channels = run.settings, {"discriminator_channels": (8, 8, 8, 8)}
    if isinstance(settings, DecoderConfig):
        return replace(run, settings=replace(settings, batch_size=4, **channels))
    phases = tuple(replace(phase, batch_size=4, resolution=16, num_samples=8) for phase in settings.phases)
    return replace(run, settings=replace(settings, phases=phases, sphere_steps=2, **channels))


def rows(steps: Steps, batch: int, all_figures: dict[str, Figures]) -> list[list[str]]:
    """Return a table of what was measured, its head first."""
    networks = [name.removesuffix("_optimizer") for name in steps.optimizers]
    table = [
        ["precision", "images/s", "ms a step", "floor, ms", "of the floor", "TFLOP/s", "peak, GiB"]
        + [f"gradient off, {name}" for name in networks]
    ]
    for name, figures in all_figures.items():
        if figures.failure:
            table.append([name, figures.failure] + ["–"] * (len(table[0]) - 2))
            continue
        taken = steps.mean({step: statistics.median(times) for step, times in figures.times.items()})
        floor, flops = figures.floor or (math.nan, math.nan)
        shares = [f"{1000 * floor:.3g}", f"{floor / taken:.0%}", f"{flops / taken / 1e12:.3g}"]
        peak = f"{figures.peak / 2**30:.2f}" if figures.peak else "–"
        off = [f"{value:.1e}" for value in figures.differences.values()] or ["–"] * len(networks)
        measured = shares if figures.floor else ["–"] * len(shares)
        table.append([name, f"{batch / taken:.3g}", f"{1000 * taken:.3g}", *measured, peak, *off])
    return table
