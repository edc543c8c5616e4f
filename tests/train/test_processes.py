"""Several processes, however they are started, give the gradients of one, over two steps.

STYLESDF_FULL_SIZE=1 compares them at the paper's size too, which takes 5 GB for each process and many minutes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
UNGROUPED = ("ungrouped_renderer_stage", "ungrouped_decoder_stage", "field_stage", "pairs_stage")
LAUNCHERS = {
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--main_process_port", "0", "--num_processes"],
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node"],
}
needs_time = pytest.mark.skipif(not os.environ.get("STYLESDF_FULL_SIZE"), reason="STYLESDF_FULL_SIZE is not set")


def gradients(out: Path, launcher: str | None, count: int, stages: tuple[str, ...], timeout: int) -> list[dict]:
    """Return the gradients of two steps of each stage, every optimizer step's under names of their own."""
    out.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    launch = ["-m", *LAUNCHERS[launcher], str(count)] if launcher else []
    command = [sys.executable, *launch, "-m", "tests.train.runs", str(out), *stages]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return [load_file(out / f"{stage}-{count}.safetensors") for stage in stages]


def largest_difference(one: dict, other: dict) -> float:
    """Return the largest difference of any gradient, in units of that gradient's largest element."""
    assert one.keys() == other.keys() and len(one) > 10
    assert any(gradient.abs().max() > 1e-4 for gradient in one.values())
    return max(
        float((one[name] - other[name]).abs().max() / one[name].abs().max().clamp_min(1e-12)) for name in one
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> list[dict]:
    return gradients(tmp_path_factory.mktemp("alone"), None, 1, UNGROUPED, 300)


@pytest.mark.parametrize("launcher, count", [("torchrun", 2), ("torchrun", 3), ("accelerate", 3)])
def test_processes_give_the_gradients_of_one(launcher, count, alone, tmp_path):
    """Three of them take two, three and three of eight pictures."""
    for one, several in zip(alone, gradients(tmp_path, launcher, count, UNGROUPED, 300)):
        assert largest_difference(one, several) < 1e-5


@needs_time
@pytest.mark.parametrize("stage", ["full_renderer_stage", "full_decoder_stage"])
def test_processes_give_the_gradients_of_one_at_full_size(stage, tmp_path):
    (one,) = gradients(tmp_path, None, 1, (stage,), 3600)
    for launcher in LAUNCHERS:
        (two,) = gradients(tmp_path / launcher, launcher, 2, (stage,), 3600)
        difference = largest_difference(one, two)
        print(f"{stage} by {launcher}: {len(one)} gradients, largest difference {difference:.2e}")
        assert difference < 1e-5
