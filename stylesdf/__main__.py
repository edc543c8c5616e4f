"""The commands: ``python -m stylesdf demo | generate | invert | mesh | video | morph | export | convert | info``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import torch

from stylesdf.commands import convert, export, generate, info, invert, mesh, morph, video
from stylesdf.commands.output import describe
from stylesdf.demo import start
from stylesdf.fast.allocator import keep_large_blocks
from stylesdf.terminal import Parser, error_line, terminal
from stylesdf.version import __version__

BAD_INPUT, INTERRUPTED = 2, 130
COMMANDS = {
    "demo": start,
    "generate": generate,
    "invert": invert,
    "mesh": mesh,
    "video": video,
    "morph": morph,
    "export": export,
    "convert": convert,
    "info": info,
}  # modules with ABOUT, EXAMPLE, add_options(parser) and run(args)

EXAMPLES = """examples:
  python -m stylesdf demo
  python -m stylesdf generate --seeds 0-3,7 --truncation 0.7 --yaw 0.3 --pitch 0.1 --out pictures
  python -m stylesdf invert photo.png --out mine
  python -m stylesdf mesh --seed 3 --resolution 256 --out head.glb
  python -m stylesdf video --seed 3 --frames 120 --fps 30 --out orbit.mp4
  python -m stylesdf morph --seeds 3,7,11 --frames 120 --out morph.mp4
  python -m stylesdf export --out model.onnx
  python -m stylesdf export --out heads.html
  python -m stylesdf convert ffhq1024x1024.pt checkpoints/ffhq --preset ffhq
  python -m stylesdf info checkpoints/ffhq

Angles are radians: yaw 0.3 is 17 degrees. A model is a checkpoint folder or a hub repository, name/name or
name/name@revision; STYLESDF_MODEL in the environment changes the default."""


class _Parser(Parser):
    """A parser whose errors are one line."""

    def error(self, message: str):
        self.exit(BAD_INPUT, error_line(message))


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults are shown, the epilog keeps its lines."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 on bad input, 130 at Ctrl-C, 143 at SIGTERM, 129 at SIGHUP."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # an error is one line, without the hub's retries before it
    logging.basicConfig(format="stylesdf: %(message)s")
    for asking in ("hub", "repository"):
        logging.getLogger(f"stylesdf.{asking}").setLevel(logging.INFO)  # what they ask, they say first
    try:
        with terminal():
            args = build_parser().parse_args(argv)
            keep_large_blocks()
            args.run(args)
    except BrokenPipeError:  # the reader has seen enough
        pass
    except (ValueError, OSError, ImportError, MemoryError, torch.OutOfMemoryError) as error:
        sys.stderr.write(error_line(describe(error)))
        return BAD_INPUT
    except KeyboardInterrupt as stop:
        sys.stderr.write("stylesdf: interrupted\n")
        return getattr(stop, "status", INTERRUPTED)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; what it reads has ``run``, to be called with it."""
    parser = _Parser("stylesdf", description=__doc__.strip(), epilog=EXAMPLES, formatter_class=_Help)
    parser.add_argument("--version", action="version", version=f"stylesdf {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, command in COMMANDS.items():
        about = {"help": command.ABOUT, "description": command.ABOUT, "epilog": f"example:\n  {command.EXAMPLE}"}
        added = commands.add_parser(name, **about, formatter_class=_Help)
        command.add_options(added)
        added.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
