"""Damaged and hostile files: each loads correctly or gives one clear error; none crashes, hangs, runs or eats memory.

A seeded mutator works on a small checkpoint folder, a sharded one and an original file. The cases run in a process of
their own with little address space, each with a few seconds of the processor. ``STYLESDF_FUZZ=10000`` sets the
number; one case is looked at with ``python -m tests.test_fuzz 1 SEED``.
"""

import ast
import dataclasses
import io
import json
import math
import os
import pickle
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from stylesdf.checkpoint import shard_names
from stylesdf.convert import _original_shape, convert_checkpoint, generator_names
from tests.tiny import TINY, Model

ROOT = Path(__file__).parents[1]
NUM_CASES = int(os.environ.get("STYLESDF_FUZZ", 400))
SECONDS = 5.0  # of the processor, for one case; one that only waits meets the timeout of all
SPARE_BYTES = 1 << 30  # of address space, over what the process has before the first case
NUMPY_TYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64}

CONFIG = dataclasses.replace(
    TINY,
    latent_size=8,
    field_width=8,
    render_resolution=8,
    num_samples=4,
    decoder_style_size=8,
    decoder_channels=(4, 4),
)


class TooSlow(BaseException):
    """Not an Exception, so that nothing takes it for a damaged file."""


# What is mutated


class Seeds:
    """Small files that are fine, made once.

    Attributes:
        whole: Files of a checkpoint folder.
        sharded: The same in shards.
        original: An original ``.pt`` file.
    """

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        model = Model(CONFIG)
        model.save_pretrained(folder / "whole")
        model.save_pretrained(folder / "sharded", max_shard_size=4000)
        self.whole, self.sharded = (read(folder / name) for name in ("whole", "sharded"))
        state = {}
        for original, ours in generator_names(CONFIG).items():
            tensor = model.state_dict()[ours]
            tensor = tensor.exp() if ours == "renderer.log_beta" else tensor
            state[original] = tensor.reshape(_original_shape(ours, tensor.shape)).clone()
        buffer = io.BytesIO()
        torch.save({"g": {}, "d": {}, "g_ema": state}, buffer)
        self.original = buffer.getvalue()


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Mutations: bytes


def flip_bits(content: bytes, rng: random.Random, last: int | None = None) -> bytes:
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        content[rng.randrange(min(last or len(content), len(content)))] ^= 1 << rng.randrange(8)
    return bytes(content)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def splice(content: bytes, rng: random.Random) -> bytes:
    """Take out, double or overwrite a stretch."""
    start, length = rng.randrange(len(content)), rng.choice([1, 2, 8, 100, 1000])
    middle = rng.choice([b"", content[start : start + length] * 2, rng.randbytes(length), b"\0" * length])
    return content[:start] + middle + content[start + rng.choice([0, length]) :]


def junk(content: bytes, rng: random.Random) -> bytes:
    starts = [b"", b"\x80\x02", b"PK\x03\x04", b"{", b"\xff\xfe", struct.pack("<Q", rng.choice([0, 2, 1 << 40]))]
    return rng.choice(starts) + rng.randbytes(rng.choice([0, 1, 8, 500]))


BYTES = (flip_bits, flip_bits, cut, splice, junk)


# Mutations: JSON


def wild_value(rng: random.Random, depth: int = 0):
    numbers = [0, -1, 1, 2, 3, 7, 8, 64, 4096, 4097, 1 << 31, 1 << 63, 1 << 64, 10**30, 0.5, 1e300, -0.0, 1e-320]
    others = [None, True, False, "", "8", "x" * 3000, "../x", "\n\r\0", "\ud800", math.nan, math.inf, -math.inf]
    choice = rng.randrange(10)
    if choice < 4 or depth > 3:
        return rng.choice(numbers)
    if choice < 7:
        return rng.choice(others)
    if choice < 9:
        return [wild_value(rng, depth + 1) for _ in range(rng.choice([0, 1, 2, 4, 40]))]
    return {str(wild_value(rng, depth + 2))[:50]: wild_value(rng, depth + 1) for _ in range(rng.choice([0, 1, 3]))}


def nested(rng: random.Random) -> bytes:
    depth = rng.choice([10, 500, 990, 5000, 100_000])
    start, end = rng.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'{"format":', b"}")])
    return start * depth + rng.choice([b"1", b""]) + end * rng.choice([depth, 0])


def wild_json(content: bytes, rng: random.Random) -> bytes:
    """Change values, keys or structure; what comes out is mostly JSON."""
    values = json.loads(content)
    kind = rng.randrange(8)
    if kind == 0:
        return nested(rng)
    if kind == 1:
        return json.dumps(wild_value(rng)).encode()
    if kind == 2:  # a key twice
        key = rng.choice(list(values))
        return content.rstrip().rstrip(b"}") + f", {json.dumps(key)}: {json.dumps(values[key])}}}".encode()
    for _ in range(rng.choice([1, 1, 2, 5])):
        place = values
        while isinstance(place, dict) and place and rng.random() < 0.6:
            inner = rng.choice(list(place.values()))
            if not isinstance(inner, dict):
                break
            place = inner
        if isinstance(place, dict) and place:
            key = rng.choice(list(place))
            if kind == 3:
                del place[key]
            elif kind == 4:
                place[rng.choice(["x", "", "__proto__", key + " ", "a" * 500])] = place.pop(key)
            else:
                place[key] = wild_value(rng)
    return json.dumps(values).encode()


# Mutations: safetensors


def parse(content: bytes) -> tuple[dict, bytes]:
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def build(header: dict | bytes, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def wild_header(content: bytes, rng: random.Random) -> bytes:
    header, data = parse(content)
    return build(wild_json(json.dumps(header).encode(), rng), data)


def absurd_length(content: bytes, rng: random.Random) -> bytes:
    header, data = parse(content)
    lengths = [0, 1, len(content), len(content) - 8, 1 << 20, (1 << 20) + 1, 1 << 31, 1 << 40, 1 << 63, (1 << 64) - 1]
    return build(header, data, rng.choice(lengths))


def wild_tensor(content: bytes, rng: random.Random) -> bytes:
    """A tensor of another shape, type or place, the rest as it was."""
    header, data = parse(content)
    tensor = header[rng.choice([name for name in header if name != "__metadata__"])]
    kind = rng.randrange(4)
    if kind == 0:
        shapes = [[], [1], [0], [-1], [1 << 40], [1 << 62, 4], [1] * 70, tensor["shape"][::-1], [*tensor["shape"], 1]]
        tensor["shape"] = rng.choice(shapes)
    elif kind == 1:
        tensor["dtype"] = rng.choice(["F64", "F16", "BF16", "I32", "U8", "BOOL", "F8_E4M3", "C64", "F4", "x", "", 3])
    elif kind == 2:
        start, end = tensor["data_offsets"]
        offsets = [[end, start], [0, len(data)], [start, end + 1], [-1, end], [start, 1 << 62], [start + 4, end + 4]]
        tensor["data_offsets"] = rng.choice(offsets)
    else:
        other = header[rng.choice([name for name in header if name != "__metadata__"])]
        other["data_offsets"] = tensor["data_offsets"]
    return build(header, data)


def wild_numbers(content: bytes, rng: random.Random) -> bytes:
    """Values that are not finite, huge, or just others: the last kind does load."""
    header, data = parse(content)
    data = bytearray(data)
    for _ in range(rng.choice([1, 3])):
        at = 4 * rng.randrange(len(data) // 4)
        value = rng.choice([math.nan, math.inf, -math.inf, 3e38, 1.5, -2.0, 1e-40])
        data[at : at + 4] = struct.pack("<f", value)
    return build(header, bytes(data))


SAFETENSORS = (*BYTES, wild_header, wild_header, absurd_length, wild_tensor, wild_tensor, wild_numbers)


def mutate_folder(files: dict[str, bytes], rng: random.Random) -> dict[str, bytes]:
    files = dict(files)
    name = rng.choice([name for name in files if name != "README.md" or rng.random() < 0.1])
    if name.endswith(".json"):
        mutation = rng.choice([*BYTES, wild_json, wild_json, wild_json, wild_json])
    else:
        mutation = rng.choice(SAFETENSORS if name.endswith(".safetensors") else BYTES)
    files[name] = mutation(files[name], rng)
    return files


# Mutations: original files


def hostile_structure(trap: Path) -> list[bytes]:
    """Pickles that would create a file, or take for ever, or much memory."""

    class Payload:
        def __reduce__(self):
            return os.mknod, (str(trap),)

    command = f"echo > {trap}"
    length = struct.pack("<I", len(command))
    pairs = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60))
    return [
        pickle.dumps({"g_ema": Payload()}, protocol=2),
        pickle.dumps({"g_ema": Payload()}, protocol=4),
        b"\x80\x02cposix\nsystem\nX" + length + command.encode() + b"\x85R.",
        f"cos\nsystem\n(S'{command}'\ntR.".encode(),
        b"\x80\x02K\x01K\x02\x86q\x00" + pairs + b"}h\x3cK\x01s.",
        b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
        b"\x80\x02ctorch\nFloatTensor\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
    ]


def mutate_structure(program: bytes, rng: random.Random, trap: Path) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(hostile_structure(trap))
    if kind == 1:  # numbers: sizes, strides and offsets of tensors
        program = bytearray(program)
        for at in rng.sample([i for i, byte in enumerate(program) if byte in b"KM"], 3):
            program[at + 1 : at + 2] = bytes([rng.choice([0, 1, 3, 255, 128])])
        return bytes(program)
    return rng.choice([flip_bits, splice, cut])(program, rng)


def mutate_original(content: bytes, rng: random.Random, trap: Path) -> bytes:
    if rng.random() < 0.4:
        if rng.random() < 0.4:  # the directory at the end
            return content[:-4000] + flip_bits(content[-4000:], rng)
        return rng.choice(BYTES)(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in records if name.endswith("data.pkl"))
    kind = rng.random()
    if kind < 0.75:
        records[name] = mutate_structure(records[name], rng, trap)
    else:
        name = rng.choice(list(records))
        records[name] = rng.choice([bytes(1 << 22), b"\xff" * len(records[name]), junk(records[name], rng)])
    buffer = io.BytesIO()
    compression = zipfile.ZIP_DEFLATED if kind > 0.95 else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    return buffer.getvalue()


# One case


def assert_loaded(model: Model, folder: Path) -> None:
    """All tensors are there, finite, and those of the file, read by hand."""
    want = {name: tensor.shape for name, tensor in Model(model.config).state_dict().items()}
    state = model.state_dict()
    assert {name: tensor.shape for name, tensor in state.items()} == want
    index = folder / "model.safetensors.index.json"
    for shard in ["model.safetensors"] if (folder / "model.safetensors").exists() else shard_names(index):
        header, data = parse((folder / shard).read_bytes())
        for name, tensor in header.items():
            if name != "__metadata__" and tensor["dtype"] in NUMPY_TYPES:
                start, end = tensor["data_offsets"]
                values = np.frombuffer(data[start:end], NUMPY_TYPES[tensor["dtype"]]).reshape(tensor["shape"])
                assert name not in state or np.array_equal(state[name].numpy(), values.astype(np.float32)), name
    assert all(torch.isfinite(tensor).all() and not tensor.is_meta for tensor in model.state_dict().values())


def run_case(seed: int, seeds: Seeds, folder: Path, trap: Path) -> str:
    """Mutate, load, and say how it ended: ``loaded`` or ``refused``, all else is an exception."""
    rng = random.Random(seed)
    kind = rng.random()
    checkpoint = folder / "model"
    try:
        if kind < 0.35:
            folder.mkdir()
            (folder / "x.pt").write_bytes(mutate_original(seeds.original, rng, trap))
            convert_checkpoint(folder / "x.pt", checkpoint, "ffhq", {"num_samples": 4})
            model = Model.from_pretrained(checkpoint)
        else:
            checkpoint.mkdir(parents=True)
            files = mutate_folder(seeds.whole if kind < 0.8 else seeds.sharded, rng)
            for name, content in files.items():
                (checkpoint / name).write_bytes(content)
            model = Model.from_pretrained(checkpoint, strict=rng.random() < 0.8)
    except ValueError as error:
        text = str(error)
        assert text and "\n" not in text and len(text) < 2000, f"not one clear line: {text[:3000]!r}"
        assert not (kind < 0.35 and checkpoint.exists()), "something half-written is left"
        return "refused"
    assert not trap.exists(), "code of the file has run"
    if model.config != CONFIG or kind < 0.35 or rng.random() < 0.3:
        assert len(model.state_dict()) > 10
    assert_loaded(model, checkpoint)
    return "loaded"


def run_batch(num_cases: int, first: int) -> dict:
    """Run cases one after the other; a case that hangs in C is left to the caller's timeout."""

    def too_slow(*_):
        raise TooSlow

    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, too_slow)
    counts, problems, slowest = Counter(), [], 0.0
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        seeds = Seeds(root / "seeds")
        trap = root / "trap"
        limit_memory()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for seed in range(first, first + num_cases):
            print(seed, file=sys.stderr, flush=True)  # the last line names a case that crashes
            before = time.process_time()
            try:
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                try:
                    counts[run_case(seed, seeds, root / str(seed), trap)] += 1
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
            except TooSlow:
                problems.append(f"case {seed} took over {SECONDS:g} s")
            except Exception as error:
                problems.append(f"case {seed}: {type(error).__name__}: {str(error)[:500]}")
            if trap.exists():
                problems.append(f"case {seed} ran code")
                trap.unlink()
            slowest = max(slowest, time.process_time() - before)
            remove(root / str(seed))
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    return {**counts, "problems": problems, "slowest_cpu_seconds": slowest, "grown_mb": growth / 1024}


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir() if folder.exists() else None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory the Linux way")
def test_mutated_files_load_or_are_refused():
    before = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-m", "tests.test_fuzz", str(NUM_CASES), "0"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120 + NUM_CASES * 0.5,
    )
    last = [line for line in run.stderr.splitlines() if line.isdigit()][-1:]
    assert run.returncode == 0, f"crashed in case {last}: {run.stderr[-2000:]}"
    report = json.loads(run.stdout.splitlines()[-1])
    print(f"{NUM_CASES} cases in {time.perf_counter() - before:.0f} s: {report}")
    assert report["problems"] == []
    assert report["loaded"] + report["refused"] == NUM_CASES
    assert report["loaded"] > 0.03 * NUM_CASES and report["refused"] > 0.3 * NUM_CASES  # the mutations do something
    assert report["grown_mb"] < 300


# No code from files


def unpicklers(source: str) -> list[str]:
    """Lines that could run code from a file."""
    modules = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "hickle"}
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            if [alias.name for alias in node.names] == ["UnpicklingError"]:  # what a refused file raises
                continue
            found += [f"{node.lineno}: {name}" for name in names if name.split(".")[0] in modules]
        elif isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if call.endswith("torch.load") and options.get("weights_only") != "True":
                found.append(f"{node.lineno}: {call}")
            if options.get("allow_pickle", "False") != "False":
                found.append(f"{node.lineno}: {call}(allow_pickle)")
    return found


def test_nothing_unpickles():
    sources = [path for name in ("stylesdf", "train", "scripts") for path in (ROOT / name).rglob("*.py")]
    for path in [*sources, ROOT / "app.py"]:
        text = path.read_text(encoding="utf-8")
        assert unpicklers(text) == [], path
        # TorchScript brings operations of its own, none of Python's; only the network that FID asks for comes so
        assert "jit.load" not in text or path.name == "inception.py", path
    for bad in ("import pickle", "from joblib import load", "torch.load(x)", "torch.load(x, weights_only=False)"):
        assert unpicklers(bad)
    assert unpicklers("np.load(x, allow_pickle=True)") and not unpicklers("torch.load(x, weights_only=True)")


if __name__ == "__main__":
    print(json.dumps(run_batch(int(sys.argv[1]), int(sys.argv[2]))))
