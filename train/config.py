"""Settings of the two training stages; every constant of a run has a name here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """One stretch of stage 1 at one resolution.

    Attributes:
        resolution: Height and width of the thumbnails.
        steps: How many.
        batch_size: Images per step.
        num_samples: Samples per ray.
        r1_gamma: Gradient penalty γ; γ/2 · ‖∇D‖².
        learning_rate_scale: On all learning rates of the stage.
        fade_steps: Steps over which the discriminator's new input layer is faded in.
        surface_guided: Evaluate the field only where a coarse grid of it, measured at every step, says that light can
            be taken or given; without effect on a GPU. Needs ``eikonal_points``; the minimal-surface loss is then
            measured on those points. When to use: on a small machine, once the sharpness is well below the scene's
            size; with 32 samples a step then costs a fraction.
        is_adversarial: Play against the discriminator. When not to: a first stretch in which only pictures of the data
            are shown again (``reconstruction_weight``).
    """

    resolution: int = 64
    steps: int = 200_000
    batch_size: int = 24
    num_samples: int = 24
    r1_gamma: float = 10.0
    learning_rate_scale: float = 1.0
    fade_steps: int = 0
    surface_guided: bool = False
    is_adversarial: bool = True


@dataclass(frozen=True)
class RendererConfig:
    """Stage 1: field, mapping and sharpness against the thumbnail discriminator. Defaults are the paper's.

    Attributes:
        phases: Stretches at rising resolution.
        sphere_steps: Steps of sphere initialisation before the first phase.
        sphere_learning_rate: Adam's, there.
        sphere_radius: World units; None is half the scene radius.
        sphere_centre_z: Where the sphere lies on the axis to the frontal camera, world units. The start decides which
            way a model without pose labels turns: put it on the side of the data's bulk.
        freeze_generator_steps: First steps in which only the discriminator learns. When to use: no pose labels; it
            then knows which way the start turns before the generator moves.
        generator_learning_rate: Adam's for the field.
        mapping_learning_rate_multiplier: On top, for the mapping.
        scalar_learning_rate: For log β and the background colour.
        final_learning_rate: Share of the generator's learning rate that is left at the end; it falls linearly.
        discriminator_learning_rate: Adam's.
        adam_beta1, adam_beta2: Both optimisers'.
        beta_start: Sharpness at the start, world units.
        beta_end: The sharpness is held below a bound that falls geometrically from beta_start to this; 0 sets none.
            Render and level set agree only once it is far below the sample spacing.
        beta_floor: Smallest sharpness, world units; 0 sets no limit.
        r1_every: Gradient penalty every so many steps, × as many. When to use more than 1: it is a third of the
            discriminator's work; 4 was seen to be as stable at small sizes.
        use_r2: Penalise the gradient on rendered images too, with the same γ (arXiv 2501.05441). When to use: with
            the relativistic loss, whose convergence rests on both.
        use_relativistic_loss: Judge real against rendered in pairs (RpGAN). When to use: variety collapses.
        views_per_latent: Each latent is rendered from so many cameras, within the same batch size. When to use:
            geometry stays flat; the discriminator sees one head from several sides at once.
        augment: Operations among color, translation, cutout on all the discriminator sees (DiffAugment). When to use:
            fewer than about 10,000 pictures.
        augment_probability: Of each operation; with ADA, where it starts.
        ada_target: Where ADA holds the mean sign of the discriminator on real images, 0.6 in its paper; 0 is off, and
            the probability stays. When to use: instead of a fixed probability, if you cannot try several.
        ada_images: Over how many images ADA may move the probability from 0 to 1.
        least_truncation: Codes are truncated by a ψ drawn between this and 1, so that truncated pictures are judged
            too. When to use: the model will be shown truncated, and what is rare in the data must not vanish there. 1
            truncates none, as in the paper.
        reuse_renderings: Show both players the same renderings in a step; a quarter less work (the paper draws anew).
        pose_weight: Weight of the view-consistency loss, for both players.
        use_pose_labels: Teach the discriminator's pose head from the data's own labels too (the paper does not).
        use_pose_labels_only: And from nothing else. Taught from renderings as well, it agrees with the generator on
            angles that are somewhat smaller than the true ones. When to use: with use_pose_labels, to end a run.
        use_alpha: Judge the alpha channel beside the colours (needs data with one; the paper does not).
        eikonal_weight: Weight of the eikonal loss.
        eikonal_points: Random points of the scene per image it is measured on; 0 takes all samples of the rays, as
            the paper does. When to use: a small machine.
        minimal_surface_weight: Weight of the minimal-surface loss.
        sphere_anchor_weight: Pull towards the initial sphere, decaying as exp(−step / sphere_anchor_steps).
        sphere_anchor_steps: Decay time of that pull.
        bounds_weight: Weight of the hinge that keeps the level set between two spheres.
        bounds_outer, bounds_inner: Their radii, as shares of the scene radius.
        solidity_weight: Weight of the hinge that makes the inside solid, measured on the eikonal points. When to use:
            meshes have cavities inside.
        reconstruction_weight: Weight of showing the data's pictures again (``train/stages/reconstruction.py``), a
            batch of them in each step, with as many rays as the phase's thumbnails have, through pixels of the full
            size; never mirrored. 0 is off; the paper does not. When to use: poses are labelled.
        divergence_weight: Within it, of the encoder's divergence from Gaussian latents, per nat. When to use less: the
            codes hold too few details.
        encoder_learning_rate: Adam's, of the encoder; it falls as the generator's.
        horizontal_flip: Show half of the pictures mirrored (with mirrored yaw).
        ema_decay: Of the published average, per step.
        discriminator_channels: At the full thumbnail resolution, half of it, ... down to 2×2.
        use_minibatch_std: Show the discriminator the variety of its batch.
        seed: Of everything random.
    """

    phases: tuple[Phase, ...] = (Phase(),)
    sphere_steps: int = 10_000
    sphere_learning_rate: float = 1e-4
    sphere_radius: float | None = None
    sphere_centre_z: float = 0.0
    freeze_generator_steps: int = 0
    generator_learning_rate: float = 2e-5
    mapping_learning_rate_multiplier: float = 1.0
    scalar_learning_rate: float = 2e-4
    final_learning_rate: float = 1.0
    discriminator_learning_rate: float = 2e-4
    adam_beta1: float = 0.0
    adam_beta2: float = 0.9
    beta_start: float = 0.1
    beta_end: float = 0.0
    beta_floor: float = 0.0
    r1_every: int = 1
    use_r2: bool = False
    use_relativistic_loss: bool = False
    views_per_latent: int = 1
    augment: tuple[str, ...] = ()
    augment_probability: float = 1.0
    ada_target: float = 0.0
    ada_images: int = 500_000
    least_truncation: float = 1.0
    reuse_renderings: bool = False
    pose_weight: float = 15.0
    use_pose_labels: bool = False
    use_pose_labels_only: bool = False
    use_alpha: bool = False
    eikonal_weight: float = 0.1
    eikonal_points: int = 0
    minimal_surface_weight: float = 0.05
    sphere_anchor_weight: float = 0.0
    sphere_anchor_steps: float = 100.0
    bounds_weight: float = 0.0
    bounds_outer: float = 0.94
    bounds_inner: float = 0.1
    solidity_weight: float = 0.0
    reconstruction_weight: float = 0.0
    divergence_weight: float = 1e-4
    encoder_learning_rate: float = 1e-3
    horizontal_flip: bool = True
    ema_decay: float = 0.5 ** (32 / 10_000)
    discriminator_channels: tuple[int, ...] = (128, 256, 400, 400, 400, 400)
    use_minibatch_std: bool = False
    seed: int = 0

    @property
    def total_steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, step: int) -> tuple[Phase, int]:
        """Return the phase that a step belongs to, and the step within it."""
        for phase in self.phases:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        return self.phases[-1], self.phases[-1].steps + step


@dataclass(frozen=True)
class PriorConfig:
    """The mapping against a discriminator of codes, after stage 1 with an encoder; not in the paper.

    Attributes:
        steps: How many.
        batch_size: Codes per step.
        learning_rate, discriminator_learning_rate: Adam's, of the mapping and of the discriminator.
        final_learning_rate: Share of both that is left at the end; they fall linearly.
        adam_beta1, adam_beta2: Both optimisers'.
        r1_gamma, r1_every: Gradient penalty on the data's codes, as in stage 1.
        energy_weight: Of the energy distance of a batch of drawn codes to one of the data's. When to use more: kinds
            of pictures are missing.
        least_truncation: As in stage 1.
        discriminator_width: Channels of its three hidden layers.
        ema_decay: Of the published average, per step.
        seed: Of everything random.
    """

    steps: int = 8000
    batch_size: int = 256
    learning_rate: float = 1e-3
    discriminator_learning_rate: float = 1e-3
    final_learning_rate: float = 0.02
    adam_beta1: float = 0.5
    adam_beta2: float = 0.99
    r1_gamma: float = 0.1
    r1_every: int = 4
    energy_weight: float = 12.0
    least_truncation: float = 1.0
    discriminator_width: int = 256
    ema_decay: float = 0.995
    seed: int = 0

    @property
    def total_steps(self) -> int:
        return self.steps


@dataclass(frozen=True)
class PolishConfig:
    """Polishing of a trained renderer, between the stages; not in the paper. Only ``rectify_poses`` needs data.

    Attributes:
        steps: How many.
        batch_size: Renderings per step.
        learning_rate: Adam's, of the field alone.
        final_learning_rate: Share of the learning rate that is left at the end; it falls linearly.
        beta_end: Where the sharpness falls to by the middle of the run, world units.
        least_truncation: As in stage 1.
        num_points: Random points of the scene per image that eikonal loss, minimal surface and solidity see.
        num_surface_points: Points near the surface per image whose normals are compared with a neighbour's.
        smoothness_reach: How far from the surface and from each other those are, world units.
        outline_sharpness: Contrast, around one half, of the alpha that the pupil is shown; colours count where that of
            the teacher is nearly 0 or 1.
        colour_weight, coverage_weight: L1 to the pictures, and to that alpha.
        eikonal_weight, minimal_surface_weight, solidity_weight: As in stage 1.
        smoothness_weight: Of the mean squared difference of neighbouring unit normals.
        speckle_weight: Of the loss that draws faint blotches of colour together and leaves edges (``speckle_loss``).
            When to use: the adversary left coats mottled.
        rectify_poses: Turn each head so that what a reader, taught the data's labelled poses before the first step,
            sees, in the mean over views, is what was asked for. When to use: heads look, each its own way, up, down or
            aside.
        ema_decay: Of the published average, per step.
        seed: Of everything random.
    """

    steps: int = 1600
    batch_size: int = 4
    learning_rate: float = 2e-4
    final_learning_rate: float = 0.05
    beta_end: float = 0.0009
    least_truncation: float = 1.0
    num_points: int = 600
    num_surface_points: int = 200
    smoothness_reach: float = 0.003
    outline_sharpness: float = 3.0
    colour_weight: float = 10.0
    coverage_weight: float = 10.0
    eikonal_weight: float = 1.0
    minimal_surface_weight: float = 0.05
    solidity_weight: float = 50.0
    smoothness_weight: float = 0.3
    speckle_weight: float = 0.0
    rectify_poses: bool = False
    ema_decay: float = 0.995
    seed: int = 0

    @property
    def total_steps(self) -> int:
        return self.steps


@dataclass(frozen=True)
class DecoderConfig:
    """Stage 2: the decoder against the image discriminator, the renderer frozen. Defaults are the paper's (FFHQ).

    Attributes:
        steps: How many.
        batch_size: Images per step.
        learning_rate: Adam's, both players', before the lazy ratio n/(n+1) of each.
        adam_beta1, adam_beta2: Likewise.
        final_learning_rate: Share of the learning rate that is left at the end; it falls linearly.
        discriminator_learning_rate: The discriminator's, where it differs. When to use: a trained decoder goes on, and
            a new discriminator is to stay ahead of it.
        freeze_generator_steps: First steps, after ``field_steps``, in which only the discriminator learns.
        adversarial_weight: Of the decoder's loss against the discriminator. When to use less: the data's pictures are
            shown again, and the adversary is not to overdo what they teach.
        r1_gamma: Gradient penalty γ; γ/2 · ‖∇D‖².
        r1_every: Every so many steps, × as many.
        use_r2, use_relativistic_loss, augment, augment_probability, ada_target, ada_images: As in stage 1.
        path_length_weight: Weight of the path-length penalty; 0 is off.
        path_length_every: Every so many steps, × as many.
        path_length_decay: Of the running mean.
        mixing_probability: Share of batches in which later layers take a second latent's style.
        least_truncation: As in stage 1, of the renderer's codes.
        field_steps: First steps, in which the decoder learns to draw what the field itself shows with one ray for each
            pixel of the image (L1), before the discriminator comes in. When to use: a short run; it starts from a
            picture that is sharp where the field is. Where no renderings are kept, pictures that are shown again and
            thumbnails are its targets. 0 in the paper.
        shown_share: Of the renderings that are kept, how many show a picture of the data again, from the code that
            stage 1's encoder (``reconstruction_weight`` there) finds for it; its image should be that picture, in
            ``field_steps`` too. When to use: the field is less sharp than the data. 0 in the paper.
        reconstruction_weight: L1 of these images to the pictures, averaged over the whole batch, beside the adversary.
        feature_weight: Likewise, of what the discriminator sees in both, averaged over its blocks (arXiv 1711.11585).
            When to use: lines and highlights that are a pixel off would be blurred.
        thumbnail_weight: L1 between the image, area-averaged to the thumbnail's size, and the thumbnail: a short run
            starts from the renderer's picture instead of from nothing. 0 in the paper.
        num_renderings: Renderings kept and shown again: a short run on a small machine is spared most of the rendering.
            0 renders every batch anew, as the paper does.
        exchange_every: One of them is exchanged every so many steps.
        horizontal_flip: Show half of the pictures mirrored.
        ema_decay: Of the published average, per step.
        discriminator_channels: At the image resolution, half of it, ... down to 4×4; None takes min(512, 32768 / R).
        use_patches: The discriminator judges every place by itself, as far as it sees, and its channels end wherever
            they do. When to use: a short run whose shapes are right. The paper's does not.
        seed: Of everything random.
    """

    steps: int = 300_000
    batch_size: int = 32
    learning_rate: float = 2e-3
    adam_beta1: float = 0.0
    adam_beta2: float = 0.99
    final_learning_rate: float = 1.0
    discriminator_learning_rate: float | None = None
    freeze_generator_steps: int = 0
    adversarial_weight: float = 1.0
    r1_gamma: float = 10.0
    r1_every: int = 16
    use_r2: bool = False
    use_relativistic_loss: bool = False
    augment: tuple[str, ...] = ()
    augment_probability: float = 1.0
    ada_target: float = 0.0
    ada_images: int = 500_000
    path_length_weight: float = 2.0
    path_length_every: int = 4
    path_length_decay: float = 0.01
    mixing_probability: float = 0.9
    least_truncation: float = 1.0
    field_steps: int = 0
    shown_share: float = 0.0
    reconstruction_weight: float = 0.0
    feature_weight: float = 0.0
    thumbnail_weight: float = 0.0
    num_renderings: int = 0
    exchange_every: int = 1
    horizontal_flip: bool = True
    ema_decay: float = 0.5 ** (32 / 10_000)
    discriminator_channels: tuple[int, ...] | None = None
    use_patches: bool = False
    seed: int = 0

    @property
    def total_steps(self) -> int:
        return self.steps


RENDERER_PRESETS = {
    "ffhq": RendererConfig(),
    "afhq": RendererConfig(),
    # For two CPU cores and the toy heads. Neither their poses nor their masks are used; use_pose_labels and use_alpha
    # turn them on.
    "toy": RendererConfig(
        phases=(
            Phase(resolution=16, steps=1600, batch_size=16, num_samples=12, r1_gamma=1.0),
            Phase(resolution=32, steps=3000, batch_size=8, num_samples=16, r1_gamma=0.6, fade_steps=300),
            Phase(
                resolution=64, steps=1500, batch_size=4, num_samples=32, r1_gamma=0.6,
                learning_rate_scale=0.5, fade_steps=300, surface_guided=True,
            ),
        ),
        sphere_steps=600,
        sphere_learning_rate=1e-3,
        sphere_radius=0.055,
        sphere_centre_z=-0.015,
        generator_learning_rate=3e-4,
        mapping_learning_rate_multiplier=2.0,
        scalar_learning_rate=1e-3,
        final_learning_rate=0.4,
        discriminator_learning_rate=4e-4,
        beta_start=0.015,
        beta_end=0.0016,
        beta_floor=0.0015,
        r1_every=4,
        reuse_renderings=True,
        freeze_generator_steps=200,
        eikonal_weight=0.7,
        eikonal_points=300,
        sphere_anchor_weight=20.0,
        bounds_weight=10.0,
        horizontal_flip=False,
        ema_decay=0.998,
        discriminator_channels=(24, 40, 64, 96, 128, 128),
        use_minibatch_std=True,
    ),
}  # fmt: skip

PRIOR_PRESETS = dict.fromkeys(RENDERER_PRESETS, PriorConfig())

POLISH_PRESETS = dict.fromkeys(RENDERER_PRESETS, PolishConfig())

DECODER_PRESETS = {
    "ffhq": DecoderConfig(),
    "afhq": DecoderConfig(r1_gamma=50.0),
    "toy": DecoderConfig(
        steps=2000,
        batch_size=8,
        final_learning_rate=0.3,
        r1_gamma=1.0,
        r1_every=8,
        path_length_weight=0.0,
        mixing_probability=0.3,
        thumbnail_weight=20.0,
        num_renderings=800,
        horizontal_flip=False,
        ema_decay=0.998,
        discriminator_channels=(8, 16, 32, 64, 96, 128, 128),
    ),
}


def to_dict(config) -> dict:
    """Return a JSON-able dictionary of a stage's settings."""
    return dataclasses.asdict(config)


def override(config, assignments: list[str]):
    """Return a config with ``name=value`` texts applied; ``phases.N.name=value`` reaches into a phase.

    Raises:
        ValueError: An unknown name, or a value of another type than the one it replaces.
    """
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"setting {assignment!r} is not of the form name=value")
        config = _replace(config, name.split("."), name, text)
    return config


def _replace(config, path: list[str], name: str, text: str):
    head, rest = path[0], path[1:]
    if head not in {field.name for field in dataclasses.fields(config)}:
        raise ValueError(
            f"unknown setting {name!r}, expected one of {', '.join(f.name for f in dataclasses.fields(config))}"
        )
    value = getattr(config, head)
    if rest:
        if head != "phases" or len(rest) != 2 or not rest[0].isdigit() or int(rest[0]) >= len(value):
            raise ValueError(
                f"unknown setting {name!r}, phases are phases.0.NAME to phases.{len(config.phases) - 1}.NAME"
            )
        phases = list(value)
        phases[int(rest[0])] = _replace(phases[int(rest[0])], rest[1:], name, text)
        return dataclasses.replace(config, phases=tuple(phases))
    annotation = next(field.type for field in dataclasses.fields(config) if field.name == head)
    return dataclasses.replace(config, **{head: _parse(name, annotation, value, text)})


def _parse(name: str, annotation: str, old, text: str):
    """Read a value of an annotated type; an empty text is an empty tuple, ``none`` is None where that is allowed."""
    kind, _, optional = annotation.partition(" | ")
    readers = {"bool": {"true": True, "false": False}.__getitem__, "int": int, "float": float, "str": str}
    try:
        if optional and text.lower() == "none":
            return None
        if kind.startswith("tuple["):
            read = readers[kind[len("tuple[") : -len(", ...]")]]
            return tuple(read(item) for item in text.split(",") if item)
        return readers[kind](text.lower() if kind == "bool" else text)
    except (ValueError, KeyError):
        raise ValueError(f"setting {name} is {text!r}, expected a value like {old!r}") from None
