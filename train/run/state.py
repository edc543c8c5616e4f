"""Exact, atomic saving of a run: tensors in safetensors, the rest in JSON, no pickle, with a SHA-256 of every file.

``sha256sum --check SHA256SUMS`` in the folder of a state checks it by hand.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim import Optimizer

from stylesdf.checkpoint import file_hash
from stylesdf.files import replacing_folder

log = logging.getLogger(__name__)
MAX_FILE_BYTES = 15 * 2**20  # of one file of a state, unless a single tensor is larger
STATE_FILE = "state.json"
HASHES_FILE = "SHA256SUMS"


class RunState:
    """Everything a run needs to go on as if it had never stopped.

    Args:
        modules: Networks by name.
        optimizers: Optimisers by name.
        tensors: Further tensors by name, restored in place.

    Attributes:
        step: Optimizer steps taken so far.
        settings: What the run is, as its ``settings.json``; kept in each state, too.
    """

    def __init__(self, modules: dict[str, nn.Module], optimizers: dict[str, Optimizer], tensors=None) -> None:
        self.modules = modules
        self.optimizers = optimizers
        self.tensors = tensors or {}
        self.step = 0
        self.settings: dict = {}

    def save(self, folder: Path, keep: int = 2) -> Path:
        """Write ``folder/step-NNNNNNNN``, complete or not at all, and drop all but the newest ``keep``."""
        target = folder / f"step-{self.step:08d}"
        if find_damage(target) is not None:  # else a run that was killed later has saved this very step before
            with replacing_folder(target) as partial:
                self._write(partial)
                if target.exists():
                    _remove(target)
        for old in saved_steps(folder)[:-keep]:
            _remove(old)
        for leftover in folder.glob(".*"):  # of a run that was killed while it saved or removed
            shutil.rmtree(leftover, ignore_errors=True)
        return target

    def _write(self, folder: Path) -> None:
        for index, tensors in enumerate(_split(dict(self._named_tensors()))):
            (folder / f"state-{index}.safetensors").write_bytes(save(tensors))
        scalars = {name: _optimizer_scalars(optimizer) for name, optimizer in self.optimizers.items()}
        values = {"step": self.step, "optimizers": scalars, "settings": self.settings}
        (folder / STATE_FILE).write_text(json.dumps(values), encoding="utf-8")
        hashes = {path.name: file_hash(path, "sha256") for path in sorted(folder.iterdir())}
        lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
        (folder / HASHES_FILE).write_text(lines, encoding="ascii")
        for path in folder.iterdir():
            with open(path, "r+b") as file:  # Windows refuses what is open for reading alone
                os.fsync(file.fileno())

    def load(self, source: Path) -> None:
        """Load an intact state.

        Raises:
            ValueError: It does not fit these networks.
        """
        values, stored = read_values(source), {}
        for path in _tensor_files(source):
            stored |= load_file(path)
        if values["optimizers"].keys() != self.optimizers.keys():
            raise ValueError(_misfit(source, " and ".join(values["optimizers"].keys() ^ self.optimizers.keys())))
        for name, optimizer in self.optimizers.items():
            if max(values["optimizers"][name]["started"], default=-1) >= len(_parameters(optimizer)):
                raise ValueError(_misfit(source, name))
            _allocate_moments(optimizer, values["optimizers"][name])
        ours = dict(self._named_tensors(with_random=False))
        for name in sorted(ours.keys() ^ {name for name in stored if not name.startswith("random.")}):
            raise ValueError(_misfit(source, name))
        for name, tensor in ours.items():
            if stored[name].shape != tensor.shape:
                raise ValueError(_misfit(source, name))
            with torch.no_grad():
                tensor.copy_(stored[name])
        torch.set_rng_state(stored["random.cpu"])
        if "random.cuda" in stored and torch.cuda.is_available():
            torch.cuda.set_rng_state(stored["random.cuda"])
        self.step = values["step"]

    def clear_gradients(self) -> None:
        """Drop the gradients of all that the optimisers learn."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def name_of(self, module: nn.Module) -> str | None:
        """Return the name under which a network's tensors are saved, followed by a dot each; None: they are not."""
        for name, owner in self.modules.items():
            for path, part in owner.named_modules():
                if part is module:
                    return f"{name}.{path}" if path else name
        return None

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


# Reading


def saved_steps(folder: Path) -> list[Path]:
    """Return the states in a folder, oldest first; whether they are intact is not looked at."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def step_of(state: Path) -> int:
    """Return the step that the name of a state says."""
    return int(state.name.partition("-")[2])


def newest_intact(folder: Path, rename_damaged: bool = False) -> Path | None:
    """Return the newest state whose files are as they were saved; None where there is no state at all.

    Damaged ones are named in the log.

    Args:
        folder: Of the states.
        rename_damaged: Let the name of each damaged one start with ``damaged-``: it is no state any more.

    Raises:
        ValueError: There are states, but none is intact.
    """
    for path in sorted(set(folder.glob("step-*")) - set(saved_steps(folder))):
        log.warning("%s is not a state, it is left alone", path)
    damaged: dict[Path, str] = {}
    for path in reversed(saved_steps(folder)):
        problem = find_damage(path)
        if problem is None:
            if damaged:
                log.warning("%s: going on from %s instead", _named(damaged), path.name)
            for other in damaged if rename_damaged else ():
                target = other.with_name(f"damaged-{other.name}")
                shutil.rmtree(target, ignore_errors=True)
                other.rename(target)
            return path
        damaged[path] = problem
    if damaged:
        raise ValueError(f"{folder} has no intact state, {_named(damaged)}: remove the folder to begin anew")
    return None


def _named(damaged: dict[Path, str]) -> str:
    return ", ".join(f"{path.name} is damaged ({problem})" for path, problem in damaged.items())


def find_damage(state: Path) -> str | None:
    """Return how the files of a state differ from what was saved, as a few words; None where they do not."""
    try:
        lines = (state / HASHES_FILE).read_text(encoding="ascii").splitlines()
        expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        found = {path.name for path in state.iterdir()} - {HASHES_FILE}
        for name in sorted(expected.keys() ^ found):
            return f"{name} is {'missing' if name in expected else f'not in {HASHES_FILE}'}"
        for name, digest in expected.items():
            if file_hash(state / name, "sha256") != digest:
                return f"{name} differs from its SHA-256"
        step = read_values(state)["step"]
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        return f"{Path(error.filename or state).name}: {error.strerror}"
    except (ValueError, KeyError):
        return f"{HASHES_FILE} or {STATE_FILE} is not readable"
    return None if step == step_of(state) else f"{STATE_FILE} says step {step}"


def read_values(state: Path) -> dict:
    """Return ``step``, ``optimizers`` and ``settings`` of an intact state."""
    return json.loads((state / STATE_FILE).read_text(encoding="utf-8"))


def read_tensors(state: Path, name: str) -> dict[str, Tensor]:
    """Return the tensors of a network in an intact state by their names in the network."""
    tensors = {}
    for path in _tensor_files(state):
        with safe_open(path, framework="pt") as file:
            tensors |= {key: file.get_tensor(key) for key in file.keys() if key.startswith(f"{name}.")}
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items()}


def _tensor_files(state: Path) -> list[Path]:
    return sorted(state.glob("state-*.safetensors"))


def _misfit(state: Path, name: str) -> str:
    return f"{state}: {name} does not fit this run; was it started with other settings?"


# Writing


def _split(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Distribute tensors in their order over files of at most ``MAX_FILE_BYTES``."""
    files: list[dict[str, Tensor]] = [{}]
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


def _parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_scalars(optimizer: Optimizer) -> dict:
    started = [index for index, parameter in enumerate(_parameters(optimizer)) if parameter in optimizer.state]
    return {"started": started}


def _allocate_moments(optimizer: Optimizer, scalars: dict) -> None:
    parameters = _parameters(optimizer)
    is_fused = any(group.get("fused") for group in optimizer.param_groups)
    for index in scalars["started"]:
        parameter = parameters[index]
        if not isinstance(optimizer, torch.optim.Adam):
            optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}  # Muon's
            continue
        optimizer.state[parameter] = {
            # a fused step counts where the parameter is, any other on the CPU
            "step": torch.zeros((), device=parameter.device if is_fused else "cpu"),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
