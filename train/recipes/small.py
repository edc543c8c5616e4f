"""Stages of small models that play against a discriminator, for two CPU cores: neither poses nor masks are used.

The settings ``use_pose_labels`` and ``use_alpha`` turn them on.
"""

from __future__ import annotations

from train.config import DecoderConfig, GameConfig, Phase, RendererConfig

RENDERER = RendererConfig(
    phases=(
        Phase(resolution=16, steps=1600, batch_size=16, num_samples=12, r1_gamma=1.0),
        Phase(resolution=32, steps=3000, batch_size=8, num_samples=16, r1_gamma=0.6, fade_steps=300),
        Phase(
            resolution=64, steps=1500, batch_size=4, num_samples=32, r1_gamma=0.6,
            learning_rate_scale=0.5, fade_steps=300, surface_guided=True,
        ),
    ),
    game=GameConfig(
        learning_rate=3e-4,
        discriminator_learning_rate=4e-4,
        final_learning_rate=0.4,
        r1_every=4,
        freeze_generator_steps=200,
        ema_decay=0.998,
    ),
    terms={"view": 15.0, "eikonal": 0.7, "minimal_surface": 0.05, "sphere_anchor": 20.0, "bounds": 10.0},
    sphere_steps=600,
    sphere_learning_rate=1e-3,
    sphere_radius=0.055,
    sphere_centre_z=-0.015,
    mapping_learning_rate_multiplier=2.0,
    beta_start=0.015,
    beta_end=0.0016,
    num_points=300,
    horizontal_flip=False,
    discriminator_channels=(24, 40, 64, 96, 128, 128),
    use_minibatch_std=True,
)  # fmt: skip

DECODER = DecoderConfig(
    steps=2000,
    batch_size=8,
    game=GameConfig(
        learning_rate=2e-3,
        discriminator_learning_rate=2e-3,
        adam_beta2=0.99,
        final_learning_rate=0.3,
        r1_every=8,
        ema_decay=0.998,
    ),
    r1_gamma=1.0,
    path_length_weight=0.0,
    mixing_probability=0.3,
    thumbnail_weight=20.0,
    num_renderings=800,
    horizontal_flip=False,
    discriminator_channels=(8, 16, 32, 64, 96, 128, 128),
)
