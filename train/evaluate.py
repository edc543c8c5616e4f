"""Run metrics on a model: one JSON report, one Markdown table."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

import train.consistency
import train.fid
import train.likeness  # noqa: F401 - they register their metrics
from stylesdf.checkpoint import WEIGHTS_FILE
from stylesdf.files import replacing
from stylesdf.model import Generator
from train.data.images import ImageSet, load_images, parse_label
from train.inception import RESIZE_FILTERS, SIZE, InceptionOptions
from train.metrics import METRICS, PICTURES, READER_PATH, Context, Quantity
from train.pretrained import PretrainedGenerator

FORMAT = 1
NUM_SEEDS, NUM_QUICK_SEEDS, QUICK_REPEATS = 500, 25, 3


@torch.no_grad()
def evaluate(
    model: Generator,
    data: ImageSet | None = None,
    metrics: list[str] | None = None,
    num_seeds: int = NUM_SEEDS,
    truncation: float = 1.0,
    progress: Callable[[str, float], None] | None = None,
    reader_path: str | Path = READER_PATH,
    repeats: int = 1,
    pictures: str = "image",
    inception: InceptionOptions = InceptionOptions(),  # noqa: B008 - frozen
) -> dict:
    """Measure a model.

    Args:
        model: Generator; one that was loaded with ``from_pretrained`` has its file's hash in the report.
        data: Pictures of the data set, for what is measured on them too.
        metrics: Names of ``METRICS``; None takes all that can be measured with or without data, but none that needs
            the Inception network.
        num_seeds: Seeds 0 to ``num_seeds`` − 1; the next repeat takes the next so many.
        truncation: In [0, 1]; 1 is none.
        progress: Called with a metric's name and the share of it that is done, in [0, 1].
        reader_path: Where the pose reader is kept; trained and written where absent.
        repeats: How often, with other seeds each; the report holds means, and standard deviations as ``spread``.
        pictures: ``"image"`` judges the decoder's images where there is a decoder, ``"thumbnail"`` the renderer's.
        inception: How ``fid`` and ``kid`` look.

    Returns:
        A report that fits JSON; the same model gives the same report.

    Raises:
        ValueError: An unknown metric, or one that needs data without any; fewer than 2 seeds; a truncation out of
            range; no such kind of pictures; no Inception network where one is needed.
    """
    names = _chosen(metrics, data)
    if isinstance(num_seeds, bool) or not isinstance(num_seeds, int) or num_seeds < 2:
        raise ValueError(f"num_seeds is {num_seeds!r}, expected an integer of at least 2")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"repeats is {repeats!r}, expected an integer of at least 1")
    if not 0.0 <= truncation <= 1.0:
        raise ValueError(f"truncation is {truncation!r}, expected a number in [0, 1]")
    progress = progress or (lambda name, share: None)
    context = Context(data, reader_path, pictures=pictures, inception=inception)
    if not model.config.has_decoder:
        context.pictures = "thumbnail"
    looks = any(METRICS[name].needs_inception for name in names)
    network = context.network.identity if looks else None  # before hours of the others, where it is missing
    sha256 = _weights_hash(model)  # now: a run may write another model there meanwhile
    rounds = []
    for first in range(0, repeats * num_seeds, num_seeds):
        results = {}
        for name in names:
            context.report = lambda share, name=name: progress(name, share)
            results[name] = METRICS[name].measure(model, range(first, first + num_seeds), truncation, context)
        rounds.append(results)
    return {
        "format": FORMAT,
        "model": {
            "name": str(getattr(model, "name_or_path", None) or "unnamed"),
            "sha256": sha256,
            "commit": getattr(model, "commit_hash", None),
            "config": model.config.to_dict(),
        },
        "seeds": f"0-{repeats * num_seeds - 1}",
        "num_seeds": num_seeds,
        "repeats": repeats,
        "truncation": truncation,
        "pictures": context.pictures,
        "inception": {"network": network, "size": SIZE, "resize": inception.resize} if looks else None,
        "metrics": {name: _over_rounds(rounds, name, np.mean) for name in names},
        "spread": {name: _over_rounds(rounds, name, partial(np.std, ddof=1)) for name in names} if repeats > 1 else {},
    }


def _chosen(metrics: list[str] | None, data: ImageSet | None) -> list[str]:
    """Return the names of the metrics to measure."""
    possible = [name for name, metric in METRICS.items() if data is not None or not metric.needs_data]
    if metrics is None:
        return [name for name in possible if not METRICS[name].needs_inception]
    for name in metrics:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}, expected of {', '.join(METRICS)}")
        if name not in possible:
            raise ValueError(f"the metric {name} compares with the data, expected some (--data)")
    return list(dict.fromkeys(metrics))


def _over_rounds(rounds: list[dict], metric: str, summary: Callable) -> dict:
    """Summarise each number of a metric over the rounds that have it."""
    found = {}
    for name in rounds[0][metric]:
        values = [results[metric][name] for results in rounds if results[metric][name] is not None]
        found[name] = values[0] if len(rounds) == 1 and values else float(summary(values)) if values else None
    return found


def _weights_hash(model: Generator) -> str | None:
    """Return the SHA-256 of the file that the model was loaded from."""
    name = getattr(model, "name_or_path", None)
    if not name:
        return None
    path = Path(name) / WEIGHTS_FILE
    if not path.is_file():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(str(name).partition("@")[0], WEIGHTS_FILE, revision=model.commit_hash)
        if not isinstance(cached, str):
            return None
        path = Path(cached)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def markdown_table(report: dict) -> str:
    """Return a report as Markdown: one line about the model and one table."""
    model = report["model"]
    digest = f", sha256 `{model['sha256'][:16]}…`" if model["sha256"] else ""
    repeats = f" in {report['repeats']} rounds, mean ± deviation of one" if report["repeats"] > 1 else ""
    lines = [
        f"Model `{model['name']}`{digest}; seeds {report['seeds']}{repeats}, truncation {report['truncation']:g}, "
        f"pictures: the {report['pictures']}.{_about_inception(report['inception'])}",
        "",
        "| metric | | model | toy heads | better |",
        "|---|---|---:|---:|---|",
    ]
    for name, result in report["metrics"].items():
        for quantity in METRICS[name].quantities:
            reference = quantity.reference
            if isinstance(reference, str):
                reference = result[reference]
            shown = _show(quantity, reference)
            value = _show(quantity, result[quantity.name])
            if report["spread"]:
                value += f" ± {_show(quantity, report['spread'][name][quantity.name])}"
            lines.append(f"| {name} | {quantity.text} | {value} | {shown} | {quantity.better} |")
    return "\n".join(lines) + "\n"


def _about_inception(options: dict | None) -> str:
    if options is None:
        return ""
    size, resize = options["size"], options["resize"]
    return f" Inception ({options['network']}) saw them resized to {size}×{size} ({resize})."


def _show(quantity: Quantity, value: float | None) -> str:
    if value is None:
        return "–"
    if quantity.unit == "share":
        return f"{100 * value:.1f} %"
    if quantity.unit == "degrees":
        return f"{value:.1f}°"
    return f"{value:.3f}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    default = f"all but {', '.join(name for name, metric in METRICS.items() if metric.needs_inception)}"
    parser.add_argument("model", metavar="MODEL", help="folder or hub id of the checkpoint")
    parser.add_argument("--data", help="the data set (folder, zip, hub id), to test the reader on it too")
    parser.add_argument("--label", metavar="NAME=VALUE", help="only pictures of the data with this label")
    parser.add_argument("--out", type=Path, help="folder for metrics.json and metrics.md")
    parser.add_argument("--metrics", nargs="*", metavar="NAME", help=f"of {', '.join(METRICS)} (default: {default})")
    parser.add_argument("--num-seeds", type=int, metavar="N", help=f"seeds 0 to N − 1 (default: {NUM_SEEDS})")
    parser.add_argument("--repeats", type=int, metavar="N", help="rounds with other seeds each (default: 1)")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_REPEATS} rounds of {NUM_QUICK_SEEDS} seeds, with their deviation"
    )
    parser.add_argument(
        "--truncation", type=float, nargs="+", default=[1.0], metavar="PSI",
        help="from 0 to 1, no truncation; several make a report each (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", choices=PICTURES, default="image",
        help="judge the decoder's images, or the renderer's thumbnails alone (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--inception", type=Path, metavar="FILE",
        help="the Inception network of fid and kid as TorchScript (default: torch-fidelity's, which downloads it)",
    )  # fmt: skip
    parser.add_argument(
        "--resize", choices=RESIZE_FILTERS, default="lanczos",
        help=f"filter by which pictures get {SIZE} pixels for fid and kid (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--reader", type=Path, default=READER_PATH,
        help="where the network that reads poses is kept; trained where absent, some minutes (default: %(default)s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Evaluate as the command line says; the table goes to standard output, progress to standard error."""
    model = PretrainedGenerator.from_pretrained(args.model, device=args.device)
    config, data = model.config, None
    if args.data is not None:
        label = parse_label(args.label)
        data = load_images(args.data, config.image_resolution, config.render_resolution, label=label)
    num_seeds = args.num_seeds if args.num_seeds is not None else NUM_QUICK_SEEDS if args.quick else NUM_SEEDS
    repeats = args.repeats if args.repeats is not None else QUICK_REPEATS if args.quick else 1
    inception = InceptionOptions(args.inception, args.resize, args.device)
    show = _Progress()
    for truncation in args.truncation:
        report = evaluate(
            model, data, args.metrics or None, num_seeds, truncation, show, args.reader, repeats,
            args.pictures, inception,
        )  # fmt: skip
        show.end()
        table = markdown_table(report)
        if args.out is not None:
            name = "metrics" if len(args.truncation) == 1 else f"metrics-{truncation:g}"
            for ending, text in (("json", json.dumps(report, indent=2) + "\n"), ("md", table)):
                with replacing(args.out / f"{name}.{ending}") as temporary:
                    temporary.write_text(text, encoding="utf-8")
        print(table, end="")
    return 0


class _Progress:
    """A line on standard error for each metric, renewed every two seconds on a terminal."""

    def __init__(self) -> None:
        self.name, self.started, self.shown = None, 0.0, 0.0

    def __call__(self, name: str, share: float) -> None:
        now = time.monotonic()
        if name != self.name:
            self.end()
            self.name, self.started, self.shown = name, now, 0.0
        if sys.stderr.isatty() and (now - self.shown > 2.0 or share == 1.0):
            self.shown = now
            print(f"\r{name}: {100 * share:3.0f} %", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.name is not None:
            start = "\r" if sys.stderr.isatty() else ""
            print(f"{start}{self.name}: {time.monotonic() - self.started:.0f} s", file=sys.stderr, flush=True)
            self.name = None
