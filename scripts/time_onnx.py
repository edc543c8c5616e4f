"""Compare a model in onnxruntime with itself in PyTorch: largest difference, and seconds for one picture.

OMP_NUM_THREADS=2 python scripts/time_onnx.py
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from stylesdf import Camera, StyleSDF  # noqa: E402
from stylesdf.config import DEFAULT_MODEL  # noqa: E402
from stylesdf.export import INPUTS, OUTPUTS, export_onnx  # noqa: E402
from stylesdf.fast.allocator import keep_large_blocks  # noqa: E402

PSI = 0.7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="folder or hub repository")
    parser.add_argument("--threads", type=int, default=2, help="of both (default: 2)")
    parser.add_argument("--repeats", type=int, default=21, help="pictures each, in turns (default: 21)")
    args = parser.parse_args()
    keep_large_blocks()
    torch.set_num_threads(args.threads)
    model = StyleSDF.from_pretrained(args.model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    z, camera = model.latents([3]), Camera.from_angles(0.3, 0.1)
    inputs = {name: x.numpy() for name, x in zip(INPUTS, (z, camera.cam2world, torch.tensor(PSI)))}
    calls = {"PyTorch": lambda: model(z, camera, PSI), "onnxruntime": lambda: session.run(None, inputs)}
    seconds = {name: [] for name in calls}
    with torch.no_grad():
        expected, got = calls["PyTorch"](), calls["onnxruntime"]()
        for _ in range(args.repeats):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    names = OUTPUTS if model.config.has_decoder else OUTPUTS[1:]
    for name, value in zip(names, got):
        difference = (torch.from_numpy(value) - getattr(expected, name)).abs().max().item()
        print(f"{name:<12} largest difference {difference:.1e}")
    for name, values in seconds.items():
        values = sorted(values)
        print(f"{name:<12} {values[len(values) // 2]:.3f} s in the middle, {values[0]:.3f} s at best")


if __name__ == "__main__":
    main()
