"""``export``: a model for other runtimes, or for the browser."""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

from stylesdf.commands import options
from stylesdf.commands.output import check_file
from stylesdf.config import DEFAULT_MODEL
from stylesdf.export import ONNX_ENDINGS, export_onnx
from stylesdf.live.export import HTML_ENDINGS, WEIGHTS

ABOUT = (
    "write one file: an ONNX graph of renderer and decoder (latent, camera and truncation in, image and geometry "
    "out), or a web page that draws the model's heads by itself, offline"
)
EXAMPLE = f"python -m stylesdf export --model {DEFAULT_MODEL} --out heads.html"


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    options.add_fov(parser)
    numbers = f"how a web page stores the weights; None is {WEIGHTS[0]}, float32 is twice the size"
    parser.add_argument("--weights", choices=WEIGHTS, help=numbers)
    endings = f"file that ends in {', '.join(ONNX_ENDINGS)} (ONNX) or {', '.join(HTML_ENDINGS)} (web page)"
    parser.add_argument("--out", type=Path, required=True, help=endings)


def run(args: argparse.Namespace) -> None:
    check_file(args.out, ONNX_ENDINGS + HTML_ENDINGS)
    is_page = args.out.suffix.lower() in HTML_ENDINGS
    if args.weights and not is_page:
        raise ValueError(f"--weights is {args.weights}, but only a web page ({', '.join(HTML_ENDINGS)}) has the choice")
    model = options.load_model(args)
    if is_page:
        model.export_live(args.out, args.weights or WEIGHTS[0], args.fov_deg)
    else:
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else it tells of packages that nothing here needs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, of its own
            export_onnx(model, args.out, args.fov_deg)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")
