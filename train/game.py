"""Two players: optimisers, adversarial loss and its penalties, augmentation, freezing, falling rates, the average.

Every stage with a discriminator plays by this; what it shows the discriminator is the stage's own.

Shapes: B batch, C channels, H W image.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from train import losses
from train.augment import NUMBERS, adapt_probability, augment
from train.config import GameConfig
from train.run.engine import Engine

ADA_IMAGES = 500_000  # over so many ADA may move the probability from 0 to 1,
ADA_SHARE = 0.2  # or over this share of a run's steps, where these are fewer


class Game:
    """What both players of a stage have in common.

    Args:
        config: Settings.
        engine: Where it runs.
        groups: Parameters that the generator learns, with their learning rates, as Adam takes them.
        matrices: Those of them that Muon learns where it has a rate; kernels ``(O, I, K, K)`` as matrices of O rows.
        discriminator: The other player; None where nothing is adversarial.
        lazy: Every how many steps the generator and the discriminator have a penalty in a step of its own, 0 for none:
            Adam's rate and betas make up for it (StyleGAN2, appendix B). The game of patches has its penalty in the
            game's own step, and rate and betas are changed all the same.

    Attributes:
        augment_probability: Now; what a run saves. ``()``.
    """

    def __init__(
        self,
        config: GameConfig,
        engine: Engine,
        groups: list[dict],
        matrices: Iterable[nn.Parameter],
        discriminator: nn.Module | None,
        lazy: tuple[int, int] = (0, 0),
    ) -> None:
        self.config, self.engine = config, engine
        self.matrix_optimizer, self._rows = None, {}
        if config.matrix_learning_rate:
            self._rows = {matrix: matrix.detach().flatten(1) for matrix in matrices}  # they share their memory
            self.matrix_optimizer = _muon(self._rows.values(), config.matrix_learning_rate)
            groups = [group | {"params": [p for p in group["params"] if p not in self._rows]} for group in groups]
        self.generator_optimizer = _adam(groups, config, lazy[0])
        self.discriminator_optimizer = None
        if discriminator is not None:
            group = {"params": list(discriminator.parameters()), "lr": config.discriminator_learning_rate}
            self.discriminator_optimizer = _adam([group], config, lazy[1])
        self.augment_probability = torch.tensor(config.augment_probability, device=engine.device)

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimisers by the names under which a run saves them."""
        named = {
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            "matrix_optimizer": self.matrix_optimizer,
        }
        return {name: optimizer for name, optimizer in named.items() if optimizer is not None}

    def step_generator(self) -> None:
        """Take the generator's step by the gradients that have arrived, and clear them."""
        self.engine.optimizer_step(self.generator_optimizer)
        if self.matrix_optimizer is not None:
            for matrix, rows in self._rows.items():
                if matrix.grad is not None:
                    rows.grad, matrix.grad = matrix.grad.flatten(1), None
            self.engine.optimizer_step(self.matrix_optimizer)

    def set_learning_rates(self, progress: float, scale: float = 1.0, both_fall: bool = True) -> None:
        """Let the learning rates fall.

        Args:
            progress: Share of the run that is over.
            scale: On all rates.
            both_fall: Whether the discriminator's falls too.
        """
        decay = self.generator_decay(progress)
        scale_learning_rates(self.generator_optimizer, scale * decay)
        if self.matrix_optimizer is not None:
            scale_learning_rates(self.matrix_optimizer, scale * decay)
        if self.discriminator_optimizer is not None:
            scale_learning_rates(self.discriminator_optimizer, scale * (decay if both_fall else 1.0))

    def generator_decay(self, progress: float) -> float:
        """Return what is left of the generator's learning rate when a share of the run is over."""
        return linear_decay(progress, self.config.final_learning_rate)

    def is_frozen(self, step: int) -> bool:
        """Whether only the discriminator learns in a step of the game."""
        return step < self.config.freeze_generator_steps

    def is_penalised(self, step: int) -> bool:
        """Whether the gradient penalty comes in a step."""
        return step % self.config.r1_every == 0

    def draw_augmentation(self, batch: int) -> dict[str, Tensor]:
        """Draw what varies a batch of images, or nothing."""
        return {"augmentation": torch.rand(batch, NUMBERS)} if self.config.augment else {}

    def augmented(self, images: Tensor, draws: dict[str, Tensor], part: slice) -> Tensor:
        """Vary a part of a batch as drawn. ``(B, C, H, W)``."""
        if not self.config.augment:
            return images
        numbers = draws["augmentation"][part].to(images.device)
        return augment(images, numbers, self.config.augment, self.augment_probability)

    def discriminator_terms(self, real_logit: Tensor, fake_logit: Tensor) -> dict[str, Tensor]:
        """Return the discriminator's loss ``d_loss``, and what tells how sure it is. Logits are ``(B, 1)``."""
        return {
            "d_loss": losses.d_logistic_loss(real_logit, fake_logit, self.config.use_relativistic_loss),
            "d_real": real_logit.mean(),
            "d_fake": fake_logit.mean(),
            "d_real_sign": real_logit.sign().mean(),
        }

    def generator_loss(self, fake_logit: Tensor, real_logit: Tensor | None) -> Tensor:
        """Return the generator's loss; the logits of real images ``(B, 1)`` count where the loss is relativistic."""
        return losses.g_nonsaturating_loss(fake_logit, real_logit if self.config.use_relativistic_loss else None)

    def penalty(self, gamma: float, terms: dict[str, Tensor], **pairs: tuple[Tensor, Tensor]) -> Tensor:
        """Return γ/2 · ‖∇D‖², times the steps for which it stands.

        Args:
            gamma: γ.
            terms: The penalties are added here by their names.
            **pairs: Logits ``(B, 1)`` and the images they came from, which require gradients, under ``r1`` and ``r2``.
        """
        penalties = {name: losses.gradient_penalty(*pair) for name, pair in pairs.items()}
        terms |= penalties
        return gamma / 2 * self.config.r1_every * sum(penalties.values())

    def adapt(self, record: dict[str, Tensor], batch: int, total_steps: int) -> None:
        """Let ADA move the probability after a step of so many images; it is added to the record."""
        if not self.config.ada_target:
            return
        sign = record["d_real_sign"]
        step_size = max(batch / ADA_IMAGES, 1.0 / (ADA_SHARE * total_steps))
        moved = adapt_probability(self.augment_probability, sign, self.config.ada_target, step_size)
        self.augment_probability.copy_(moved)
        record["augment_probability"] = moved

    def update_average(self, average: nn.Module, model: nn.Module, step: int) -> None:
        """Move the published average after a step."""
        update_average(average, model, self.config.ema_decay, step)


def linear_decay(progress: float, final: float) -> float:
    """Return what is left of a learning rate that falls linearly from 1 to ``final``."""
    return 1.0 - (1.0 - final) * progress


def scale_learning_rates(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Set the learning rates to a multiple of those that the optimiser was built with."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * scale


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the average's parameters towards the model's, early on faster; buffers are copied.

    a ← d · a + (1 − d) · m, with d the lesser of ``decay`` and (1 + step) / (10 + step), so that it forgets the start.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, 1.0 - decay)
    for mean, value in zip(average.buffers(), model.buffers(), strict=True):
        mean.copy_(value)


def adam(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Adam:
    """Return Adam, which remembers the learning rate that it was built with; on a GPU a step is one kernel."""
    return _built([{"params": list(parameters), "lr": rate}], (0.9, 0.999))


def _muon(matrices: Iterable[Tensor], rate: float) -> torch.optim.Muon:
    """Return Muon, whose steps are about as large as Adam's at the same rate; it remembers that, too (torch 2.9)."""
    return _remembering(torch.optim.Muon(matrices, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"))


def _adam(groups: list[dict], config: GameConfig, every: int) -> torch.optim.Adam:
    ratio = every / (every + 1) if every else 1.0
    betas = (config.adam_beta1**ratio if config.adam_beta1 else 0.0, config.adam_beta2**ratio)
    return _built([group | {"lr": group["lr"] * ratio} for group in groups], betas)


def _built(groups: list[dict], betas: tuple[float, float]) -> torch.optim.Adam:
    on_gpu = all(parameter.is_cuda for group in groups for parameter in group["params"])
    return _remembering(torch.optim.Adam(groups, betas=betas, fused=on_gpu or None))  # None is PyTorch's own choice


def _remembering(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Let an optimiser remember the learning rates that it was built with."""
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer
