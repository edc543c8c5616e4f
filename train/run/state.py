"""Exact, atomic saving of a run: tensors in safetensors, the rest in JSON, no pickle."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import Optimizer

MAX_FILE_BYTES = 15 * 2**20  # of one file of a state, unless a single tensor is larger


class RunState:
    """Everything a run needs to go on as if it had never stopped.

    Args:
        modules: Networks by name.
        optimizers: Optimisers by name.
        tensors: Further tensors by name, restored in place.
    """

    def __init__(self, modules: dict[str, nn.Module], optimizers: dict[str, Optimizer], tensors=None) -> None:
        self.modules = modules
        self.optimizers = optimizers
        self.tensors = tensors or {}
        self.step = 0

    def save(self, folder: Path, keep: int = 2) -> Path:
        """Write ``folder/step-NNNNNNNN``, complete or not at all, and drop all but the newest ``keep``."""
        target = folder / f"step-{self.step:08d}"
        partial = folder / f".partial-{target.name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for index, tensors in enumerate(_split(dict(self._named_tensors()))):
            save_file(tensors, partial / f"state-{index}.safetensors")
        scalars = {name: _optimizer_scalars(optimizer) for name, optimizer in self.optimizers.items()}
        (partial / "state.json").write_text(json.dumps({"step": self.step, "optimizers": scalars}))
        for path in partial.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if not target.exists():  # else a run that was killed later has saved this very step before
            partial.rename(target)
        for old in saved_steps(folder)[:-keep]:
            _remove(old)
        for leftover in folder.glob(".*"):  # of a run that was killed while it saved or removed
            shutil.rmtree(leftover, ignore_errors=True)
        return target

    def restore(self, folder: Path) -> bool:
        """Load the newest state in ``folder``; return whether there was one.

        Raises:
            ValueError: The state does not fit these networks.
        """
        steps = saved_steps(folder)
        if not steps:
            return False
        stored = {}
        for path in sorted(steps[-1].glob("state-*.safetensors")):
            stored |= load_file(path)
        scalars = json.loads((steps[-1] / "state.json").read_text())
        for name, optimizer in self.optimizers.items():
            _allocate_moments(optimizer, scalars["optimizers"][name])
        for name, tensor in self._named_tensors(with_random=False):
            if name not in stored or stored[name].shape != tensor.shape:
                raise ValueError(f"{steps[-1]}: {name} does not fit this run; was it started with other settings?")
            with torch.no_grad():
                tensor.copy_(stored[name])
        torch.set_rng_state(stored["random.cpu"])
        if "random.cuda" in stored and torch.cuda.is_available():
            torch.cuda.set_rng_state(stored["random.cuda"])
        self.step = scalars["step"]
        return True

    def _named_tensors(self, with_random: bool = True):
        for name, module in self.modules.items():
            for key, tensor in module.state_dict().items():
                yield f"{name}.{key}", tensor
        for name, optimizer in self.optimizers.items():
            for index, parameter in enumerate(_parameters(optimizer)):
                for key, value in optimizer.state.get(parameter, {}).items():
                    yield f"{name}.{index}.{key}", torch.as_tensor(value)
        for name, tensor in self.tensors.items():
            yield f"tensors.{name}", tensor
        if with_random:
            yield "random.cpu", torch.get_rng_state()
            if torch.cuda.is_available():
                yield "random.cuda", torch.cuda.get_rng_state()


def _split(tensors: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Distribute tensors in their order over files of at most ``MAX_FILE_BYTES``."""
    files: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if files[-1] and size + tensor.nbytes > MAX_FILE_BYTES:
            files.append({})
            size = 0
        files[-1][name] = tensor.detach().contiguous()
        size += tensor.nbytes
    return files


def _remove(folder: Path) -> None:
    """Take a state away at once, then its files: a half-removed one is never found."""
    shutil.rmtree(folder.rename(folder.with_name(f".removed-{folder.name}")))


def saved_steps(folder: Path) -> list[Path]:
    """Return the complete states in a folder, oldest first."""
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _parameters(optimizer: Optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_scalars(optimizer: Optimizer) -> dict:
    started = [index for index, parameter in enumerate(_parameters(optimizer)) if parameter in optimizer.state]
    return {"started": started}


def _allocate_moments(optimizer: Optimizer, scalars: dict) -> None:
    parameters = _parameters(optimizer)
    for index in scalars["started"]:
        parameter = parameters[index]
        optimizer.state[parameter] = {
            "step": torch.zeros(()),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
