"""Settings of the training stages; every constant that a run may change has a name here.

A setting exists because a recipe sets it or ``train/README.md`` names it. A loss term is there because ``terms`` lists
it, with its weight; ``train/terms.py`` says what each is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from train.augment import OPERATIONS
from train.bounds import check_bounds
from train.override import show

CODES_PER_STEP = 512  # of the prior
CODE_AXES = 64  # principal axes of the codes that it tells apart; along further ones they vary less than their noise
CODE_PATHS, PATHS_AT_ONCE = 400_000, 2000  # of the flow, which the mapping learns from
HEADS_PER_STEP, VIEWS_OF_HEAD, PICTURES_PER_STEP = 3, 2, 48  # of the encoder: heads drawn anew, pictures it learns from
GUIDE_SIDE = 20  # of grids that guide one rendering: with more, measuring them takes longer than what it spares
CHUNK_POINTS = 4096  # of one code, of a field whose activations are computed again
KEPT_NUMBERS = 2**28  # a field's activations of fewer numbers are kept for the way back instead of computed again
STEPS_PER_RENDERING = 4  # of stage 2, for each of the renderings that are exchanged
RENDERINGS_AT_ONCE = 8  # that are exchanged: the processes share them
PAIR_WINDOW, PAIR_MARGIN = 0.5, 3  # of a pair: share of height and width that is judged, rays decoded about it
NOT_OF_PAIRS = (  # settings of stage 2 that the game of patches does not have
    "draws_field", "path_length_weight", "mixing_probability", "game.augment", "game.use_relativistic_loss",
    "game.freeze_generator_steps",
)  # fmt: skip
PATH_LENGTH_EVERY = 4  # steps of stage 2 between path-length penalties, each × as many
TEACHER_OVERSAMPLING = 2  # samples per ray of polishing's teacher, in those of the student
NUM_SURFACE_POINTS = 200  # points near the surface per image whose normals polishing compares with a neighbour's


@dataclass(frozen=True)
class Phase:
    """One stretch of stage 1 at one resolution.

    Attributes:
        resolution: Height and width of the thumbnails, a power of two.
        steps: How many.
        batch_size: Images per step.
        num_samples: Samples per ray.
        r1_gamma: Gradient penalty γ; γ/2 · ‖∇D‖².
        learning_rate_scale: On all learning rates of the stage.
        fade_steps: Steps over which the discriminator's new input layer is faded in.
        surface_guided: Evaluate the field only where a coarse grid of it, measured at every step, says that light can
            be taken or given; without effect on a GPU. Needs ``num_points``; the minimal-surface loss is then measured
            on those points. When to use: on a small machine, once the sharpness is well below the scene's size; with 32
            samples a step then costs a fraction.

    Raises:
        ValueError: A number out of range, or a resolution that is no power of two.
    """

    resolution: int = 64
    steps: int = 200_000
    batch_size: int = 24
    num_samples: int = 24
    r1_gamma: float = 10.0
    learning_rate_scale: float = 1.0
    fade_steps: int = 0
    surface_guided: bool = False

    def __post_init__(self) -> None:
        check_bounds(self, " of a phase")
        if self.resolution & (self.resolution - 1):
            raise ValueError(f"resolution of a phase is {self.resolution}, expected a power of two")


@dataclass(frozen=True)
class GameConfig:
    """Two players that learn against each other, in whichever stage (``train/game.py``). Defaults are stage 1's.

    Attributes:
        learning_rate: Adam's, of the generator.
        matrix_learning_rate: Muon's, of the matrices inside the field (arXiv 2512.14366) or the decoder's kernels; its
            steps are about as large as Adam's at that rate. When to use: details are learned too slowly. 0 leaves them
            to Adam, as the paper does.
        discriminator_learning_rate: Adam's, of the discriminator.
        adam_beta1, adam_beta2: Both optimisers'.
        final_learning_rate: Share of the learning rates that is left at the end; they fall linearly. Stage 1 leaves the
            discriminator's as it is.
        r1_every: Steps from one gradient penalty to the next, each multiplied by this. When to use more than 1: it is a
            third of the discriminator's work; 4 was seen to be as stable at small sizes.
        use_relativistic_loss: Judge real against generated in pairs, and penalise the gradient on both (RpGAN with R1
            and R2, arXiv 2501.05441). When to use: variety collapses.
        augment: Operations among color, translation, cutout on all the discriminator sees (DiffAugment). When to use:
            fewer than about 10,000 pictures.
        augment_probability: Of each operation; with ADA, where it starts.
        ada_target: Where ADA holds the mean sign of the discriminator on real images, 0.6 in its paper; 0 is off, and
            the probability stays. It may go from 0 to 1 over 500,000 images, or over a fifth of a shorter run's steps.
            When to use: instead of a fixed probability, if you cannot try several.
        freeze_generator_steps: First steps in which only the discriminator learns. When to use: no pose labels; it
            then knows which way the start turns before the generator moves.
        ema_decay: Of the published average, per step.

    Raises:
        ValueError: A number out of range; an unknown operation; a probability or ADA without operations; or ADA beside
            the relativistic loss, under which the sign says nothing.
    """

    learning_rate: float = 2e-5
    matrix_learning_rate: float = 0.0
    discriminator_learning_rate: float = 2e-4
    adam_beta1: float = 0.0
    adam_beta2: float = 0.9
    final_learning_rate: float = 1.0
    r1_every: int = 1
    use_relativistic_loss: bool = False
    augment: tuple[str, ...] = ()
    augment_probability: float = 1.0
    ada_target: float = 0.0
    freeze_generator_steps: int = 0
    ema_decay: float = 0.5 ** (32 / 10_000)

    def __post_init__(self) -> None:
        check_bounds(self, " of the game")
        for name in self.augment:
            if name not in OPERATIONS:
                raise ValueError(f"augment names {name!r}, expected operations among {', '.join(OPERATIONS)}")
        for name in ("augment_probability", "ada_target"):
            value = getattr(self, name)
            if not self.augment and value != getattr(GameConfig, name):
                raise ValueError(f"{name} is {value}, but augment is none, expected some of {', '.join(OPERATIONS)}")
        if self.ada_target and self.use_relativistic_loss:
            raise ValueError(
                f"ada_target is {self.ada_target} beside use_relativistic_loss, expected 0: a discriminator of pairs "
                "has no sign on real images alone; set augment_probability instead"
            )


@dataclass(frozen=True)
class RendererConfig:
    """Stage 1: field, mapping and sharpness against the thumbnail discriminator, or field and encoder, which show the
    data's pictures again (the term reconstruction). Defaults are the paper's.

    Attributes:
        phases: Stretches at rising resolution.
        game: Of the two players.
        terms: Weights of further losses, by name: those of ``POINT_TERMS`` (``train/terms.py``), view (both players),
            reconstruction, divergence, coverage (needs pictures with alpha; the paper uses none), leak (the variance
            of codes that poses explain, which is subtracted from the codes, too).
        sphere_steps: Steps of sphere initialisation before the first phase.
        sphere_learning_rate: Adam's, there.
        sphere_radius: World units; None is half the scene radius.
        sphere_centre_z: Where the sphere lies on the axis to the frontal camera, world units. The start decides which
            way a model without pose labels turns: put it on the side of the data's bulk.
        mapping_learning_rate_multiplier: Of the mapping's learning rate, on the generator's.
        beta_start: Sharpness at the start, world units.
        beta_end: The sharpness is held below a bound that falls geometrically from beta_start to this; 0 sets none.
            Render and level set agree only once it is far below the sample spacing.
        least_truncation: Codes are truncated by a ψ drawn between this and 1, so that truncated pictures are judged
            too, and a picture's truncated code (term reconstruction) shows that picture. When to use: the model will be
            shown truncated, and what is rare in the data must not vanish there. 1 truncates none, as in the paper.
        num_points: Random points of the scene per image that the terms of the field are measured on; 0 takes the
            samples of the rays, as the paper does. When to use: a small machine.
        use_pose_labels: Teach the discriminator's pose head from the data's own labels too (the paper does not).
        use_alpha: Judge the alpha channel beside the colours (needs data with one; the paper does not).
        horizontal_flip: Show half of the pictures mirrored (with mirrored yaw); without effect beside the term
            reconstruction.
        discriminator_channels: At the full thumbnail resolution, half of it, ... down to 2×2.
        use_minibatch_std: Show the discriminator the variety of its batch.
        seed: Of everything random.
    """

    phases: tuple[Phase, ...] = (Phase(),)
    game: GameConfig = GameConfig()
    terms: Mapping[str, float] = field(
        default_factory=lambda: {"view": 15.0, "eikonal": 0.1, "minimal_surface": 0.05}
    )
    sphere_steps: int = 10_000
    sphere_learning_rate: float = 1e-4
    sphere_radius: float | None = None
    sphere_centre_z: float = 0.0
    mapping_learning_rate_multiplier: float = 1.0
    beta_start: float = 0.1
    beta_end: float = 0.0
    least_truncation: float = 1.0
    num_points: int = 0
    use_pose_labels: bool = False
    use_alpha: bool = False
    horizontal_flip: bool = True
    discriminator_channels: tuple[int, ...] = (128, 256, 400, 400, 400, 400)
    use_minibatch_std: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def total_steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    @property
    def is_adversarial(self) -> bool:
        """Whether there is a discriminator: the term reconstruction takes its place."""
        return "reconstruction" not in self.terms

    def phase_at(self, step: int) -> tuple[Phase, int]:
        """Return the phase that a step belongs to, and the step within it."""
        for phase in self.phases:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        return self.phases[-1], self.phases[-1].steps + step


@dataclass(frozen=True)
class PriorConfig:
    """A flow learns the data's codes, and the mapping the flow, after stage 1 with an encoder; not in the paper.

    Attributes:
        flow_steps: How many the flow learns, of 512 codes each.
        steps: How many the mapping learns, of 512 codes each.
        seed: Of everything random.
    """

    flow_steps: int = 3000
    steps: int = 48_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def total_steps(self) -> int:
        return self.flow_steps + self.steps


@dataclass(frozen=True)
class PolishConfig:
    """Polishing of a trained renderer, between the stages; not in the paper.

    Attributes:
        steps: How many.
        batch_size: Renderings per step.
        learning_rate: Adam's, of the field alone; it falls linearly to a twentieth.
        beta_end: Where the sharpness falls to by the middle of the run, world units.
        least_truncation: As in stage 1.
        num_points: Random points of the scene per image that eikonal loss, minimal surface and solidity see.
        terms: Weights of all losses, by name: colour and coverage (L1 to the teacher's picture and alpha), those of
            ``POINT_TERMS`` (``train/terms.py``) but sphere_anchor, smoothness (of neighbouring normals), speckle.
        seed: Of everything random.
    """

    steps: int = 1600
    batch_size: int = 4
    learning_rate: float = 2e-4
    beta_end: float = 0.0009
    least_truncation: float = 1.0
    num_points: int = 600
    terms: Mapping[str, float] = field(
        default_factory=lambda: {
            "colour": 10.0, "coverage": 10.0, "eikonal": 1.0, "minimal_surface": 0.05, "solidity": 50.0,
            "smoothness": 0.3,
        }  # fmt: skip
    )
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def total_steps(self) -> int:
        return self.steps


@dataclass(frozen=True)
class DecoderConfig:
    """Stage 2: the decoder against the image discriminator, the renderer frozen. Defaults are the paper's (FFHQ).

    Attributes:
        steps: How many.
        batch_size: Images per step.
        game: Of the two players; rates and betas are those before the lazy ratio n/(n+1) of each.
        r1_gamma: Gradient penalty γ; γ/2 · ‖∇D‖².
        path_length_weight: Weight of the path-length penalty, every fourth step; 0 is off.
        mixing_probability: Share of batches in which later layers take a second latent's style.
        least_truncation: As in stage 1, of the renderer's codes.
        draws_field: The decoder learns to draw what the field itself shows with one ray for each pixel of the image;
            there is no discriminator. When to use: first, so that a short game starts from a picture that is as
            sharp as the field. Off in the paper.
        pair_weight: L1 between the data's pictures and what is decoded of the codes that the encoder beside the model
            reads in them, in a game of patches (``train/stages/pairs.py``). When to use: labelled poses; it draws
            what the field is too coarse for. 0 is the paper's game.
        thumbnail_weight: L1 between the image, area-averaged to the thumbnail's size, and the thumbnail, in the game of
            patches both averaged to half of that size: a short run starts from the renderer's picture instead of
            from nothing. 0 in the paper.
        num_renderings: Renderings kept and shown again, eight of them exchanged at every 32nd step, at every 8th of the
            game of patches: a short run on a small machine is spared most of the rendering. 0 renders every batch
            anew, as the paper does.
        horizontal_flip: Show half of the pictures mirrored, in the paper's game only.
        discriminator_channels: At the image resolution, half of it, ... down to 4×4; None takes min(512, 32768 / R).
            Without effect on the game of patches.
        seed: Of everything random.

    Raises:
        ValueError: A number out of range; ``draws_field`` or ``pair_weight`` without renderings that are kept; or
            ``pair_weight`` beside what the game of patches does not have.
    """

    steps: int = 300_000
    batch_size: int = 32
    game: GameConfig = GameConfig(
        learning_rate=2e-3, discriminator_learning_rate=2e-3, adam_beta2=0.99, r1_every=16
    )
    r1_gamma: float = 10.0
    path_length_weight: float = 2.0
    mixing_probability: float = 0.9
    least_truncation: float = 1.0
    draws_field: bool = False
    pair_weight: float = 0.0
    thumbnail_weight: float = 0.0
    num_renderings: int = 0
    horizontal_flip: bool = True
    discriminator_channels: tuple[int, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self)
        for name in ("draws_field", "pair_weight"):
            if getattr(self, name) and not self.num_renderings:
                raise ValueError(f"{name} is on, but num_renderings is 0: there are no pictures to learn from")
        for name in NOT_OF_PAIRS if self.pair_weight else ():
            if value := attrgetter(name)(self):
                off = show(type(value)())
                raise ValueError(f"{name} is {show(value)} beside pair_weight, whose game has none: expected {off}")

    @property
    def total_steps(self) -> int:
        return self.steps

    @property
    def is_adversarial(self) -> bool:
        """Whether the game is the paper's."""
        return not (self.draws_field or self.pair_weight)


@dataclass(frozen=True)
class EncoderConfig:
    """The network that finds the head in a picture; not in the paper.

    It is taught by pictures of a finished model and, where stage 1 had an encoder, of the data.

    Attributes:
        steps: How many; in each there are three new heads, and 48 pictures of those so far are learned from.
        seed: Of everything random.
    """

    steps: int = 1500
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def total_steps(self) -> int:
        return self.steps


Settings = RendererConfig | PriorConfig | PolishConfig | DecoderConfig | EncoderConfig
STAGE_OF = {
    RendererConfig: "renderer", PriorConfig: "prior", PolishConfig: "polish", DecoderConfig: "decoder",
    EncoderConfig: "encoder",
}  # fmt: skip


def to_dict(config: Settings) -> dict:
    """Return a JSON-able dictionary of a stage's settings."""
    return dataclasses.asdict(config)


def images_shown(config: Settings, steps: int) -> int:
    """Return how many of the data's pictures the first steps of a run look at, those that come again included."""
    if isinstance(config, DecoderConfig):
        return 0 if config.draws_field else steps * config.batch_size
    count = 0
    for phase in config.phases if isinstance(config, RendererConfig) else ():
        count += min(max(steps, 0), phase.steps) * phase.batch_size
        steps -= phase.steps
    return count
