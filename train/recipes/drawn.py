"""What recipes of drawn pictures have in common: sizes, settings, and the order of their runs.

An encoder shows the field the data's own pictures first, from the camera each was drawn from, so shapes and colours are
there within minutes; mouths, glasses and beards take longest. What poses explain of the codes is subtracted from them:
heads whose codes told the pose lagged behind the camera. Then the mapping learns to give the codes that the data has,
the surface is polished, and the decoder learns to draw what the field shows of new heads with a ray for each pixel of
the full size; then, from the data's own pictures and the codes that the encoder reads in them, what the field is too
coarse for: lips, noses, lashes (``train/stages/pairs.py``). Against an adversary that did not know what a head should
look like it drew wrinkles. Last, a network learns to find heads in pictures, the finished model's and the data's.

Muon learns the matrices: by Adam the field takes half as many steps again, the decoder more than twice as many.
"""

from __future__ import annotations

import dataclasses

from stylesdf.config import StyleSDFConfig
from train.config import DecoderConfig, EncoderConfig, GameConfig, Phase, PolishConfig, PriorConfig, RendererConfig
from train.recipes.base import Run

LEAST_TRUNCATION = 0.7  # codes are truncated by a ψ between this and 1 in every run

MODEL = StyleSDFConfig(
    latent_size=256,
    field_width=96,
    field_depth=4,
    view_directions=False,
    num_samples=24,
    scene_radius=0.112,
    background="learned",
    cull_to_ball=True,
    decoder_style_size=64,
    decoder_mapping_layers=2,
    decoder_channels=(96, 48, 24),
)

# few rays of many pictures, then more of fewer: each goes through a pixel of the full size
SHOWN = RendererConfig(
    phases=(
        Phase(resolution=16, steps=2000, batch_size=32, num_samples=16),
        Phase(resolution=32, steps=20000, batch_size=16, num_samples=24, surface_guided=True),
    ),
    game=GameConfig(
        learning_rate=6e-4, matrix_learning_rate=4e-4, adam_beta1=0.9, adam_beta2=0.99, final_learning_rate=0.05,
        ema_decay=0.998,
    ),
    terms={
        "reconstruction": 10.0, "coverage": 5.0, "divergence": 2e-4, "leak": 0.1, "eikonal": 0.7,
        "minimal_surface": 0.05, "sphere_anchor": 20.0, "bounds": 10.0,
    },
    sphere_steps=600,
    sphere_learning_rate=1e-3,
    sphere_radius=0.085,
    beta_start=0.015,
    beta_end=0.0016,
    least_truncation=LEAST_TRUNCATION,
    num_points=100,
)  # fmt: skip

POLISHED = PolishConfig(
    steps=500,
    beta_end=0.0008,
    least_truncation=LEAST_TRUNCATION,
    num_points=900,
    terms={
        "colour": 20.0, "coverage": 10.0, "eikonal": 1.0, "minimal_surface": 0.2, "solidity": 150.0, "speckle": 0.05,
    },
)  # fmt: skip

# the decoder's weights are scaled as it runs (equalised learning rate): steps of 2e-2 are those of 1e-3 elsewhere
DECODED = DecoderConfig(
    steps=1200,
    draws_field=True,
    batch_size=8,
    game=GameConfig(
        learning_rate=2e-2, matrix_learning_rate=5e-2, adam_beta1=0.5, adam_beta2=0.99, final_learning_rate=0.03,
        ema_decay=0.998,
    ),
    path_length_weight=0.0,
    mixing_probability=0.0,
    least_truncation=LEAST_TRUNCATION,
    num_renderings=400,
)

# smaller steps, and pairs weigh so much that the adversary decides only what they leave open: else it draws rims
DETAILED = dataclasses.replace(
    DECODED,
    steps=2000,
    draws_field=False,
    pair_weight=100.0,
    thumbnail_weight=50.0,
    game=dataclasses.replace(
        DECODED.game, learning_rate=4e-3, matrix_learning_rate=1e-2, discriminator_learning_rate=1e-3,
        final_learning_rate=0.1, r1_every=4,
    ),
    r1_gamma=0.3,
)


def chain(
    shown: RendererConfig = SHOWN, decoded: DecoderConfig = DECODED, detailed: DecoderConfig = DETAILED
) -> tuple[Run, ...]:
    """Return the runs, each of which goes on with the one before it."""
    return (
        Run("shown", shown),
        Run("prior", PriorConfig(), "shown"),
        Run("polished", POLISHED, "prior"),
        Run("decoded", decoded, "polished"),
        Run("detailed", detailed, "decoded"),
        Run("inverter", EncoderConfig(), "detailed"),
    )
