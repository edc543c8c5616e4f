"""Which numbers the settings of the training stages may be; settings of the same name have the same range."""

from __future__ import annotations

from stylesdf.arguments import MAX_SEED
from train.override import show

_RANGES = (
    ("steps flow_steps sphere_steps fade_steps freeze_generator_steps", 0, 10**9),
    ("batch_size r1_every", 1, 10**6),
    ("num_points num_renderings", 0, 10**6),
    ("num_samples", 2, 1024),
    ("resolution", 4, 512),
    ("discriminator_channels", 1, 4096),
    ("seed", 0, MAX_SEED),
    ("learning_rate discriminator_learning_rate matrix_learning_rate", 0.0, 1.0),
    ("sphere_learning_rate final_learning_rate", 0.0, 1.0),
    ("augment_probability ada_target mixing_probability least_truncation ema_decay beta_end", 0.0, 1.0),
    ("adam_beta1 adam_beta2", 0.0, 0.999999),
    ("beta_start sphere_radius", 1e-6, 1.0),
    ("sphere_centre_z", -1.0, 1.0),
    ("r1_gamma path_length_weight pair_weight thumbnail_weight", 0.0, 1e6),
    ("learning_rate_scale mapping_learning_rate_multiplier", 0.0, 1e6),
)
BOUNDS = {name: (lowest, highest) for names, lowest, highest in _RANGES for name in names.split()}


def check_bounds(settings, of: str = "") -> None:
    """Refuse a number that is out of range, or one of several; a setting that is None has none.

    Args:
        settings: A dataclass of them.
        of: What the error says after the name of a setting.

    Raises:
        ValueError: There is such a number.
    """
    for name, value in vars(settings).items():
        lowest, highest = BOUNDS.get(name, (None, None))
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if lowest is not None and not all(lowest <= number <= highest for number in numbers):
            kind = "an integer" if isinstance(lowest, int) else "a number"
            raise ValueError(f"{name}{of} is {show(value)}, expected {kind} from {lowest:,} to {highest:,}")
