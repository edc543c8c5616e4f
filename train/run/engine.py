"""Where a step runs: device, processes, micro-batches and precision, through accelerate. None changes the gradient.

Every process draws the randomness of the whole batch from the same generator and computes its own share of it, in
micro-batches where memory asks for that; each loss is a mean over the whole batch, so the sum of the shares' gradients
over micro-batches and processes is the gradient of the batch. On a GPU the decoder's noise is the exception: there all
images have one source of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor

from train.data.images import to_device
from train.errors import RunError

if torch.distributed.is_available():
    # Its functions take the process group as it is when they are defined for their default. An optimiser imports it:
    # were there a group by then, its threads would outlive Accelerator.end_training(), and sometimes abort the process.
    import torch.distributed.nn  # noqa: F401


Result = TypeVar("Result")


def check_micro_batch(micro_batch: int) -> None:
    """Refuse a negative number of images.

    Raises:
        ValueError: It is one.
    """
    if micro_batch < 0:
        raise ValueError(f"micro_batch is {micro_batch}, expected 0 or more images")


class Engine:
    """Processes, micro-batches and precision of a run; what it says about precision holds for the whole process.

    Args:
        accelerator: Of accelerate; None is one process on the CPU in full precision.
        micro_batch: Most images that a process works on at once; 0 is all of its share. Where the discriminator looks
            at the deviation within groups of four images, it must be a multiple of four.
    """

    def __init__(self, accelerator: Accelerator | None = None, micro_batch: int = 0) -> None:
        check_micro_batch(micro_batch)
        self.accelerator = accelerator or Accelerator(cpu=True)
        self.micro_batch = micro_batch
        _set_tf32(self.accelerator.mixed_precision == "bf16")

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.accelerator.is_main_process

    def parts(self, batch_size: int) -> list[slice]:
        """Return the slices of a batch that this process works on, one after the other.

        Raises:
            ValueError: There are more processes than images.
        """
        return self._parts_of(batch_size, self.accelerator.process_index)

    def own(self, count: int) -> slice:
        """Return this process's share of a batch in one part, where it is of codes: micro-batches are of images."""
        return self._share(count, self.accelerator.process_index)

    def check_groups(self, batch_size: int, group_size: int, name: str = "batch_size") -> None:
        """Refuse parts of a batch in which a discriminator would compare other images than in the whole batch.

        Args:
            batch_size: Images per step.
            group_size: Images that the discriminator compares, at most; 1 where it looks at each by itself.
            name: The setting that says how many images.

        Raises:
            ValueError: A process or micro-batch gets a part of a group, or there are more processes than images.
        """
        sizes = self.part_sizes(batch_size)
        group = math.gcd(batch_size, group_size)
        if any(math.gcd(size, group_size) != group for size in sizes):
            count = self.accelerator.num_processes
            micro = f" and --micro-batch a multiple of {group_size}" if self.micro_batch else ""
            raise ValueError(
                f"{name} is {batch_size}, which would be worked on in parts of {_listed(sizes)} images, but the "
                f"discriminator compares them in groups of {group}: with {count} process{'es' * (count > 1)} expected "
                f"a multiple of {count * group_size}{micro}"
            )

    def part_sizes(self, batch_size: int) -> list[int]:
        """Return how many images the parts of a batch have, in all processes."""
        parts = [self._parts_of(batch_size, rank) for rank in range(self.accelerator.num_processes)]
        return [part.stop - part.start for own in parts for part in own]

    def _parts_of(self, batch_size: int, rank: int) -> list[slice]:
        share = self._share(batch_size, rank)
        size = self.micro_batch or share.stop - share.start
        return [slice(top, min(top + size, share.stop)) for top in range(share.start, share.stop, size)]

    def _share(self, batch_size: int, rank: int) -> slice:
        count = self.accelerator.num_processes
        if batch_size < count:
            raise ValueError(f"a batch of {batch_size} cannot be shared by {count} processes")
        return slice(batch_size * rank // count, batch_size * (rank + 1) // count)

    def autocast(self):
        """Context in which convolutions run in the precision that was asked for; without it, in full precision."""
        return self.accelerator.autocast()

    def optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Sum the gradients of all processes, take a step, clear them."""
        self.sum_gradients(optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def sum_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Replace each gradient by its sum over all processes."""
        if self.accelerator.num_processes > 1:
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            flat = self.accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="sum")
            for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients])):
                gradient.copy_(total.view_as(gradient))

    def total(self, value: Tensor) -> Tensor:
        """Sum a tensor over all processes."""
        return self.accelerator.reduce(value, reduction="sum") if self.accelerator.num_processes > 1 else value

    def gather(self, value: Tensor) -> Tensor:
        """Return a tensor of every process, in their order, along the first axis; they have one shape."""
        return self.accelerator.gather(value) if self.accelerator.num_processes > 1 else value

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag), device=self.device)) > 0)

    def main_first(self, task: Callable[[], Result]) -> Result:
        """Call a function in the main process, then in the others, and wait for all; a failure of the first ends all.

        Raises:
            RunError: In the other processes, where it failed in the main one.
        """
        result, error = None, None
        if self.is_main:
            try:
                result = task()
            except (ValueError, OSError) as caught:
                error = caught
        if self.any(error is not None):
            raise error or RunError("the first process could not go on, it has said why")
        if not self.is_main:
            result = task()
        if self.accelerator.num_processes > 1:
            self.accelerator.wait_for_everyone()
        return result


def _set_tf32(products: bool) -> None:
    """Let a GPU's matrix products, or none of them, round their factors to TF32, ten bits; sums stay in float32.

    Convolutions do not round outside of autocast: of itself PyTorch would let those of float32 do so.
    """
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = False


def _listed(sizes: list[int]) -> str:
    return " and ".join(str(size) for size in sorted(set(sizes)))


class Means:
    """Terms of a batch, averaged over its parts and processes by their share of it; they stay on the device.

    Args:
        engine: Where the batch is worked on.
        batch_size: How many images it has.
    """

    def __init__(self, engine: Engine, batch_size: int) -> None:
        self._engine = engine
        self._has_variety = max(engine.part_sizes(batch_size)) > 1
        self._sums: dict[str, Tensor] = {}
        self._shares: dict[str, float] = {}

    def add(self, terms: dict[str, Tensor], share: float) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + share * value.detach().float()
            self._shares[name] = self._shares.get(name, 0.0) + share

    def add_variety(self, images: Tensor, share: float) -> None:
        """Add the mean deviation of a part's images ``(B, C, H, W)`` from each other; a single one has none."""
        if not self._has_variety:
            return
        images = images.detach().float()
        is_single = len(images) == 1
        value = images.new_zeros(()) if is_single else images.std(dim=0).mean()
        self.add({"variety": value}, 0.0 if is_single else share)

    def result(self) -> dict[str, Tensor]:
        """Return every term, ``()``; variety where some part has several images."""
        if not self._sums:
            return {}
        sums = torch.stack(list(self._sums.values()))
        sums, shares = self._engine.total(torch.stack([sums, sums.new_tensor(list(self._shares.values()))]))
        return dict(zip(self._sums, (sums / shares).unbind()))


def fetch(record: dict[str, Tensor]) -> dict[str, float]:
    """Return a step's terms, ``()`` each, as numbers: in one copy, for which the host waits once."""
    return dict(zip(record, torch.stack(list(record.values())).tolist())) if record else {}


def share_of(part: slice, batch_size: int) -> float:
    """Return which share of a batch a part is."""
    return (part.stop - part.start) / batch_size


def take(draws: dict[str, Tensor], part: slice, device: torch.device) -> dict[str, Tensor]:
    """Return one part of what was drawn for a whole batch, on the device."""
    return {name: to_device(values[part], device) for name, values in draws.items()}
