"""The command ``python -m train evaluate``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from stylesdf.files import replacing
from train.data.images import load_images
from train.evaluation import inception, mobilenet
from train.evaluation.features import RESIZE_FILTERS
from train.evaluation.registry import METRICS, NUM_SEEDS
from train.evaluation.report import NAMES, evaluate, markdown_table
from train.evaluation.subjects import SUBJECTS
from train.evaluation.views import PICTURES, Options
from train.pretrained import PretrainedGenerator

NUM_QUICK_SEEDS, QUICK_REPEATS = 25, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    metrics = [METRICS[name] for name in NAMES]
    default = f"all that the data allows but {', '.join(each.name for each in metrics if each.has_to_be_named)}"
    more = ", ".join(f"{each.num_seeds} for {each.name}" for each in metrics if each.num_seeds != NUM_SEEDS)
    of_subjects = ", ".join(each.name for each in metrics if "subject" in each.needs)
    parser.add_argument("model", metavar="MODEL", help="folder or hub id of the checkpoint")
    parser.add_argument("--data", help="the data set (folder, zip, hub id, toy-heads:N), to compare with")
    parser.add_argument("--out", type=Path, help="folder for metrics.json and metrics.md")
    parser.add_argument("--metrics", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: {default})")
    parser.add_argument(
        "--subject", choices=SUBJECTS,
        help=f"what the model shows, for {of_subjects} (default: what the data says of itself)",
    )  # fmt: skip
    parser.add_argument(
        "--num-seeds", type=int, metavar="N", help=f"seeds 0 to N − 1 (default: {NUM_SEEDS}; {more})"
    )
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
        help="evaluate the decoder's images, or the renderer's thumbnails alone (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--inception", type=Path, metavar="FILE",
        help="the Inception network of fid and kid as TorchScript (default: torch-fidelity's, which downloads it)",
    )  # fmt: skip
    parser.add_argument(
        "--resize", choices=RESIZE_FILTERS, default="lanczos",
        help=f"filter by which pictures get {inception.SIZE} pixels for fid and kid (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--mobilenet", type=Path, metavar="FILE",
        help=f"{mobilenet.WEIGHTS_FILE} for mobilenet-frechet (default: that of {mobilenet.PACKAGE})",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--reader", type=Path, metavar="FILE",
        help="where the network that reads poses and attributes is kept; trained where absent, up to half an hour "
        "(default: the subject's, which is shipped)",
    )  # fmt: skip


def run(args: argparse.Namespace, reading: Mapping[str, object]) -> int:
    """Evaluate as the command line says; the table goes to standard output, progress to standard error.

    Args:
        args: As of ``add_arguments``.
        reading: How pictures are read, as ``load_images`` takes it.
    """
    options = Options(
        subject=args.subject, pictures=args.pictures, reader=args.reader, inception=args.inception, resize=args.resize,
        mobilenet=args.mobilenet, device=args.device,
    )  # fmt: skip
    model = PretrainedGenerator.from_pretrained(args.model, device=args.device)
    config, data = model.config, None
    if args.data is not None:
        sizes = config.image_resolution, config.render_resolution
        where = {"full_size": config.has_decoder and args.pictures == "image", "cache_dir": args.cache_dir}
        data = load_images(args.data, *sizes, fov_deg=config.fov_deg, **where, **reading)
    num_seeds = args.num_seeds if args.num_seeds is not None else NUM_QUICK_SEEDS if args.quick else None
    repeats = args.repeats if args.repeats is not None else QUICK_REPEATS if args.quick else 1
    show = Progress()
    for truncation in args.truncation:
        report = evaluate(model, data, args.metrics or None, num_seeds, truncation, show, repeats, options)
        show.end()
        table = markdown_table(report)
        if args.out is not None:
            name = "metrics" if len(args.truncation) == 1 else f"metrics-{truncation:g}"
            for ending, text in (("json", json.dumps(report, indent=2) + "\n"), ("md", table)):
                with replacing(args.out / f"{name}.{ending}") as temporary:
                    temporary.write_text(text, encoding="utf-8")
        print(table, end="")
    return 0


class Progress:
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
