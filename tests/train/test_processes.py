"""Several processes, however they are started, give the gradients of one, over two steps.

STYLESDF_FULL_SIZE=1 compares them at the paper's size too, which takes 5 GB for each process and many minutes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.train import runs

ROOT = Path(__file__).parents[2]
UNGROUPED = ("ungrouped_renderer_stage", "ungrouped_decoder_stage", "field_stage", "pairs_stage")
STAGES = (*(stage.__name__ for stage in (*runs.STAGES, runs.uneven_stage)), *UNGROUPED)  # those patch a module: last
LAUNCHERS = {
    "accelerate": ["accelerate.commands.launch", "--multi_gpu", "--main_process_port", "0", "--num_processes"],
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc-per-node"],
}
needs_time = pytest.mark.skipif(not os.environ.get("STYLESDF_FULL_SIZE"), reason="STYLESDF_FULL_SIZE is not set")


def gradients(out: Path, launcher: str | None, count: int, stages: tuple[str, ...], timeout: int) -> dict[str, dict]:
    """Return the gradients of two steps of each stage, every optimizer step's under names of their own."""
    out.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    launch = ["-m", *LAUNCHERS[launcher], str(count)] if launcher else []
    command = [sys.executable, *launch, "-m", "tests.train.runs", str(out), *stages]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return {stage: load_file(out / f"{stage}-{count}.safetensors") for stage in stages}


def largest_difference(one: dict, other: dict) -> float:
    """Return the largest difference of any gradient, in units of that gradient's largest element."""
    assert one.keys() == other.keys() and len(one) > 10
    assert any(gradient.abs().max() > 1e-4 for gradient in one.values())
    return max(
        float((one[name] - other[name]).abs().max() / one[name].abs().max().clamp_min(1e-12)) for name in one
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[str, dict]:
    return gradients(tmp_path_factory.mktemp("alone"), None, 1, STAGES, 300)


@pytest.mark.parametrize("launcher, count, stages", [("torchrun", 2, STAGES), ("accelerate", 3, UNGROUPED)])
def test_processes_give_the_gradients_of_one(launcher, count, stages, alone, tmp_path):
    """Three of them take two, three and three of eight pictures."""
    for stage, several in gradients(tmp_path, launcher, count, stages, 300).items():
        assert largest_difference(alone[stage], several) < 1e-5, stage


@needs_time
@pytest.mark.parametrize("stage", ["full_renderer_stage", "full_decoder_stage"])
def test_processes_give_the_gradients_of_one_at_full_size(stage, tmp_path):
    one = gradients(tmp_path, None, 1, (stage,), 3600)[stage]
    for launcher in LAUNCHERS:
        two = gradients(tmp_path / launcher, launcher, 2, (stage,), 3600)[stage]
        difference = largest_difference(one, two)
        print(f"{stage} by {launcher}: {len(one)} gradients, largest difference {difference:.2e}")
        assert difference < 1e-5
