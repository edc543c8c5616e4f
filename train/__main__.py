"""The command line of the training kit: ``python -m train --help``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from stylesdf.allocator import keep_large_blocks
from train import evaluate

EPILOG = """examples:
  python -m train toy-heads --out data/toy-heads
  python -m train renderer --preset toy --data data/toy-heads --out runs/toy/renderer
  python -m train decoder --preset toy --data data/toy-heads --init-from runs/toy/renderer/model --out runs/toy/decoder
  python -m train evaluate checkpoints/toy-heads --data data/toy-heads --truncation 0.7 --out runs/metrics
the same command goes on where a stopped run was last saved; RUN/model is a folder for StyleSDF.from_pretrained"""

DECODER_FIELDS = ("decoder_style_size", "decoder_mapping_layers", "decoder_channels")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    toy = commands.add_parser("toy-heads", help="draw the procedural data set into a folder of images")
    toy.add_argument("--out", type=Path, required=True, help="new folder")
    toy.add_argument("--count", type=int, default=8000, help="images (default: %(default)s)")
    toy.add_argument("--size", type=int, default=256, help="height and width in pixels (default: %(default)s)")
    toy.add_argument("--seed", type=int, default=0, help="of all animals and cameras (default: %(default)s)")
    for name, text in (("renderer", "stage 1: field and thumbnail"), ("decoder", "stage 2: image, renderer frozen")):
        stage = commands.add_parser(name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        stage.add_argument("--preset", default="toy", choices=("ffhq", "afhq", "toy"), help="settings to start from")
        stage.add_argument("--data", type=Path, required=True, help="folder of images")
        stage.add_argument("--out", type=Path, required=True, help="folder of the run")
        stage.add_argument("--device", default="cpu", help="cpu or cuda")
        stage.add_argument(
            "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings that differ from the preset"
        )
        stage.add_argument("--dry-run", action="store_true", help="print all settings and stop")
        stage.add_argument("--save-every", type=int, default=200, help="steps between states")
        stage.add_argument("--grid-every", type=int, default=500, help="steps between sample grids")
        needs_model = name == "decoder"
        init_help = "model to start from, with its discriminator where there is one: a folder or hub id"
        stage.add_argument("--init-from", required=needs_model, metavar="MODEL", help=init_help)
    measure = commands.add_parser("evaluate", help="measure a model of toy heads", description="Measure a model.")
    evaluate.add_arguments(measure)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        return {"toy-heads": _draw, "evaluate": _evaluate}.get(args.command, _train)(args)
    except (ValueError, FloatingPointError) as error:
        print(f"python -m train: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("python -m train: stopped; the same command goes on from the last saved state", file=sys.stderr)
        return 130


def _draw(args: argparse.Namespace) -> int:
    from train.data.toy_heads import ToyHeadsConfig, write_toy_heads

    write_toy_heads(args.out, ToyHeadsConfig(count=args.count, image_size=args.size, seed=args.seed))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    keep_large_blocks()
    return evaluate.run(args)


def _train(args: argparse.Namespace) -> int:
    import dataclasses

    from stylesdf.config import preset
    from stylesdf.hub import load_discriminator
    from train.config import DECODER_PRESETS, RENDERER_PRESETS, override, to_dict

    stage_config = override(
        (RENDERER_PRESETS if args.command == "renderer" else DECODER_PRESETS)[args.preset], args.set
    )
    model_config = preset(args.preset)
    if args.dry_run:
        print(json.dumps({"model": model_config.to_dict(), "training": to_dict(stage_config)}, indent=2))
        return 0
    keep_large_blocks()
    from train.data.images import load_folder
    from train.loop import train
    from train.stages import DecoderStage, PretrainedGenerator, RendererStage

    initial = PretrainedGenerator.from_pretrained(args.init_from) if args.init_from else None
    if initial is not None:
        source = initial.config if initial.config.has_decoder else model_config
        model_config = dataclasses.replace(initial.config, **{name: getattr(source, name) for name in DECODER_FIELDS})
    data = load_folder(args.data, model_config.image_resolution, model_config.render_resolution)
    if args.command == "renderer":
        renderer_config = dataclasses.replace(model_config, decoder_channels=())
        stage = RendererStage(renderer_config, stage_config, data, args.device, initial)
    else:
        stage = DecoderStage(model_config, stage_config, data, initial, args.device)
    if initial is not None:
        load_discriminator(stage.discriminator, stage.judges, args.init_from)
    card = None if initial is None else initial.card  # its licence goes with it
    train(stage, args.out, save_every=args.save_every, grid_every=args.grid_every, card=card)
    return 0


if __name__ == "__main__":
    sys.exit(main())
