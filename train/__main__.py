"""Train StyleSDF on single-view photos: data, stage 1, stage 2, evaluation, publishing.

A run is a folder. The same command goes on where a stopped one was last saved: Ctrl-C and SIGTERM save first (exit
status 130 and 143), and a killed run loses at most the steps since its last state. RUN/model is a folder for
StyleSDF.from_pretrained. Several GPUs, or several processes on CPUs:
accelerate launch --multi_gpu --num_processes 2 -m train renderer ...
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import sys
from pathlib import Path

from stylesdf.allocator import keep_large_blocks
from stylesdf.card import CardFacts
from stylesdf.config import preset
from train.config import to_dict
from train.evaluation import command
from train.override import override
from train.presets import PRESETS
from train.recipes import RECIPES

EPILOG = """examples:
  python -m train run people --out runs/people
  python -m train toy-heads --out data/toy-heads
  python -m train people --out data/people --count 6000 --size 256 --jobs 2
  python -m train renderer --preset toy --data data/toy-heads --out runs/toy/renderer
  python -m train decoder --preset toy --data data/toy-heads --init-from runs/toy/renderer/model --out runs/toy/decoder
  python -m train renderer --preset afhq --data huggan/AFHQv2 --label label=cat --out runs/cats --dry-run
  python -m train evaluate checkpoints/toy-heads --data data/toy-heads --truncation 0.7 --out runs/metrics
train/README.md explains the settings, train/AFHQ.md goes from a data set id to a published model"""

STAGES = {
    "renderer": ("stage 1: field and thumbnail", False),
    "prior": ("after stage 1 with an encoder: Gaussian latents give the codes that the data has", True),
    "polish": ("sharper density, solid inside, smoother surface, the same pictures", True),
    "decoder": ("stage 2: image, renderer frozen", True),
}
WITHOUT_DATA = ("polish",)


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv, argparse.Namespace(argv=argv))  # a recipe's processes get them once more
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    for client in ("httpx", "httpx2"):  # of the hub's versions; each would report all of its requests
        logging.getLogger(client).setLevel(logging.WARNING)
    from train.run.signals import Stopped

    try:
        return COMMANDS.get(args.command, _train)(args)
    except (ValueError, FloatingPointError, RuntimeError) as error:
        print(f"python -m train: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"python -m train: {stopped}, saved; the same command goes on from here", file=sys.stderr)
        return 128 + stopped.signal_number
    except KeyboardInterrupt:
        print("python -m train: stopped; the same command goes on from the last saved state", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    toy = commands.add_parser("toy-heads", help="draw the procedural data set into a folder of images")
    toy.add_argument("--out", type=Path, required=True, help="new folder")
    toy.add_argument("--count", type=int, default=8000, help="images (default: %(default)s)")
    toy.add_argument("--size", type=int, default=256, help="height and width in pixels (default: %(default)s)")
    toy.add_argument("--seed", type=int, default=0, help="of all animals and cameras (default: %(default)s)")
    recipe = commands.add_parser("run", help="from nothing to a finished model, by a recipe")
    _add_recipe_arguments(recipe)
    people = commands.add_parser("people", help="draw people who do not exist into a folder of images")
    _add_people_arguments(people)
    for name, (text, needs_model) in STAGES.items():
        stage = commands.add_parser(name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        _add_stage_arguments(stage, name, needs_model)
    measure = commands.add_parser("evaluate", help="measure a model", description="Measure a model.")
    command.add_arguments(measure)
    return parser


def _add_recipe_arguments(recipe: argparse.ArgumentParser) -> None:
    recipe.add_argument("name", choices=RECIPES, help="of the recipe, a file of train/recipes")
    recipe.add_argument("--out", type=Path, required=True, help="folder of all runs; the same command goes on there")
    recipe.add_argument("--size", choices=("small", "large"), default="small", help="for two cores, or for a GPU")
    recipe.add_argument("--seed", type=int, default=0, help="added to every run's seed (default: %(default)s)")
    recipe.add_argument("--dry-run", action="store_true", help="print the runs and what they will cost, and stop")
    recipe.add_argument("--only", metavar="RUN", help="only this run, in this process")
    recipe.add_argument("--processes", type=int, help="that share each batch (default: one on a GPU, two on two cores)")
    recipe.add_argument("--cache-dir", type=Path, help="of decoded pictures; else $STYLESDF_CACHE, ~/.cache/stylesdf")
    _add_machine_arguments(recipe)
    _add_watching_arguments(recipe)


def _add_people_arguments(people: argparse.ArgumentParser) -> None:
    people.add_argument("--out", type=Path, required=True, help="folder; the same command goes on with it")
    people.add_argument("--count", type=int, default=6000, help="images (default: %(default)s)")
    people.add_argument("--size", type=int, default=256, help="height and width in pixels (default: %(default)s)")
    people.add_argument("--seed", type=int, default=0, help="of all people and cameras (default: %(default)s)")
    people.add_argument("--jobs", type=int, default=1, help="processes; the bytes are the same (default: %(default)s)")
    for option, text in (("--glasses-share", "glasses"), ("--hat-share", "a hat")):
        help_text = f"share of people with {text}, 0 to 1 (default: %(default)s)"
        people.add_argument(option, type=float, default=0.06, metavar="SHARE", help=help_text)


def _add_stage_arguments(stage: argparse.ArgumentParser, name: str, needs_model: bool) -> None:
    needs_data = name not in WITHOUT_DATA
    run = stage.add_argument_group("the run")
    run.add_argument("--preset", default="toy", choices=("ffhq", "afhq", "toy"), help="settings to start from")
    run.add_argument("--out", type=Path, required=True, help="folder of the run")
    run.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings that differ from the preset")
    run.add_argument(
        "--model-set", nargs="*", default=[], metavar="NAME=VALUE",
        help="settings of the model that differ from the preset's, or from the initial model's",
    )  # fmt: skip
    run.add_argument("--dry-run", action="store_true", help="print all settings and what the run will cost, and stop")
    if needs_data or needs_model:
        init_help = "model to start from, with its discriminator where there is one: a folder or hub id"
        run.add_argument("--init-from", required=needs_model, metavar="MODEL", help=init_help)
    if name == "decoder":
        decoder_help = "model whose decoder and image discriminator to train on, as the one that was fine-tuned"
        run.add_argument("--decoder-from", metavar="MODEL", help=decoder_help)
    if needs_data or name == "polish":
        data = stage.add_argument_group("data" if needs_data else "data (only for rectify_poses)")
        data_help = "folder, zip, hub data set USER/NAME[@REVISION], toy-heads[:N], people[:N]"
        data.add_argument("--data", required=needs_data, help=data_help)
        data.add_argument("--image-column", metavar="NAME", help="of a hub data set with several image columns")
        data.add_argument("--label", metavar="NAME=VALUE", help="only pictures with this label, as label=cat")
        data.add_argument("--split", default="train", help="of a hub data set")
        data.add_argument("--streaming", action="store_true", help="read a hub data set while it is downloaded")
        data.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")
        data.add_argument("--cache-dir", type=Path, help="of decoded pictures; else $STYLESDF_CACHE, ~/.cache/stylesdf")
    if needs_data:
        hub = stage.add_argument_group("publishing")
        hub.add_argument("--push-to-hub", metavar="USER/NAME", help="push the model here when it is done")
        hub.add_argument("--push-every", type=int, default=0, metavar="N", help="and every N thousand images")
        hub.add_argument("--private", action="store_true", default=None, help="make a new repository private")
        hub.add_argument("--licence", default="other", help="of the model, the hub's identifier; yours to choose")
    _add_machine_arguments(stage)
    _add_watching_arguments(stage)


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--device", default="auto", help="auto takes a GPU where there is one; cpu")
    machine.add_argument(
        "--mixed-precision", default="no", choices=("no", "bf16"),
        help="of discriminators and decoder; the field stays in float32, with TF32 products; no: float32 in all",
    )  # fmt: skip
    machine.add_argument("--micro-batch", type=int, default=0, help="images at once per process; 0: all; same result")


def _add_watching_arguments(parser: argparse.ArgumentParser) -> None:
    habits = parser.add_argument_group("watching")
    habits.add_argument("--save-every", type=int, default=200, help="steps between states")
    habits.add_argument("--keep", type=int, default=2, help="newest states that are kept")
    habits.add_argument("--log-every", type=int, default=20, help="steps between lines of RUN/log.jsonl")
    habits.add_argument("--grid-every", type=int, default=500, help="steps between sample grids")
    habits.add_argument("--stop-on-alarm", action="store_true", help="stop, saved, when something goes wrong")
    habits.add_argument("--tracker", choices=("tensorboard", "wandb", "trackio"), help="log there too")


def _run_recipe(args: argparse.Namespace) -> int:
    from train import recipe as runner

    recipe = RECIPES[args.name][args.size].with_seed(args.seed)
    if args.dry_run:
        print(runner.plan(recipe), end="")
        return 0
    if args.only is not None and args.only not in {run.name for run in recipe.runs}:
        raise ValueError(f"run is {args.only!r}, expected one of {', '.join(run.name for run in recipe.runs)}")
    keep_large_blocks()

    @functools.cache
    def data():
        return runner.load_data(recipe, args.cache_dir)

    if args.only is not None:
        _execute(args, recipe, next(run for run in recipe.runs if run.name == args.only), data())
        return 0
    processes = args.processes or runner.default_processes(args.device)

    def start_run(run):
        data()  # drawn before the processes start
        if processes == 1:
            _execute(args, recipe, run, data())
        else:
            runner.in_processes([*args.argv, "--only", run.name], processes)

    runner.run_recipe(recipe, args.out, start_run, data)
    return 0


def _execute(args: argparse.Namespace, recipe, run, data) -> None:
    from train import recipe as runner
    from train.run.loop import Habits

    habits = Habits(args.save_every, args.keep, args.log_every, args.grid_every, args.stop_on_alarm)
    engine = _engine(args)
    runner.execute(recipe, run, args.out, data, engine, habits)
    engine.accelerator.end_training()  # processes that end without it can abort


def _draw(args: argparse.Namespace) -> int:
    from train.data.toy_heads import ToyHeadsConfig, write_toy_heads

    write_toy_heads(args.out, ToyHeadsConfig(count=args.count, image_size=args.size, seed=args.seed))
    return 0


def _draw_people(args: argparse.Namespace) -> int:
    from train.data.people.write import PeopleConfig, write_people

    config = PeopleConfig(
        count=args.count,
        image_size=args.size,
        seed=args.seed,
        glasses_share=args.glasses_share,
        hat_share=args.hat_share,
    )
    write_people(args.out, config, jobs=args.jobs)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    keep_large_blocks()
    return command.run(args)


def _train(args: argparse.Namespace) -> int:
    stage_config = override(PRESETS[args.command][args.preset], args.set)
    model_config = override(preset(args.preset), args.model_set)
    if args.dry_run:
        from train.run.cost import estimate

        settings = {"model": model_config.to_dict(), "training": to_dict(stage_config)}
        if args.command not in WITHOUT_DATA:
            settings["cost"] = estimate(model_config, stage_config, args.micro_batch)
        print(json.dumps(settings, indent=2))
        return 0
    keep_large_blocks()
    engine = _engine(args)
    _run_stage(args, stage_config, model_config, engine)
    engine.accelerator.end_training()  # processes that end without it can abort
    return 0


def _run_stage(args: argparse.Namespace, stage_config, model_config, engine) -> None:
    from train.build import build_stage, with_decoder_of
    from train.pretrained import PretrainedGenerator
    from train.run.loop import Habits, train

    habits = Habits(args.save_every, args.keep, args.log_every, args.grid_every, args.stop_on_alarm)
    initial, decoder = (
        PretrainedGenerator.from_pretrained(name) if name else None
        for name in (getattr(args, "init_from", None), getattr(args, "decoder_from", None))
    )
    if initial is not None:
        model_config = with_decoder_of(initial.config, (decoder or initial).config, model_config)
        model_config = override(model_config, args.model_set)
    data = _data(args, model_config) if getattr(args, "data", None) else None
    stage = build_stage(model_config, stage_config, data, engine, initial, decoder=decoder)
    card = None if initial is None else initial.card  # its licence goes with it
    publisher = _publisher(args, data) if hasattr(args, "push_to_hub") else None
    train(stage, args.out, habits, card=card, publisher=publisher)


def _engine(args: argparse.Namespace):
    import torch
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    from train.run.engine import Engine

    if args.device not in ("auto", "cpu"):
        raise ValueError(f"device is {args.device!r}, expected auto or cpu; CUDA_VISIBLE_DEVICES chooses among GPUs")
    if args.tracker is not None:
        _check_tracker(args.tracker)
    # without a GPU it takes processes of torchrun for a single one each, unless it is told to stay on the CPU
    are_several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    accelerator = Accelerator(
        cpu=args.device == "cpu" or (are_several and not torch.cuda.is_available()),
        mixed_precision=args.mixed_precision,
        log_with=args.tracker,
        project_config=ProjectConfiguration(project_dir=str(args.out), logging_dir=str(args.out)),
    )
    if are_several and accelerator.num_processes == 1:
        raise ValueError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but this process sees itself alone: start all with torchrun or "
            "accelerate launch --multi_gpu, or unset WORLD_SIZE"
        )
    if accelerator.num_processes == 1 and {"ACCELERATE_MIXED_PRECISION", "MASTER_PORT"} <= os.environ.keys():
        # accelerate launch was asked for several, says where they meet, and starts one where it sees no second GPU
        logging.getLogger(__name__).warning("accelerate launch started one process only: add --multi_gpu for several")
    if args.tracker is not None:
        accelerator.init_trackers(args.tracker)
    return Engine(accelerator, args.micro_batch)


def _check_tracker(name: str) -> None:
    import importlib.util

    if importlib.util.find_spec(name) is None:
        raise ValueError(f"the tracker {name} is not installed: pip install {name}")


def _data(args: argparse.Namespace, model_config):
    from train.data.images import load_images, parse_label

    return load_images(
        args.data,
        model_config.image_resolution,
        model_config.render_resolution,
        image_column=args.image_column,
        label=parse_label(args.label),
        split=args.split,
        streaming=args.streaming,
        limit=args.limit,
        cache_dir=args.cache_dir,
    )


def _publisher(args: argparse.Namespace, data):
    if not args.push_to_hub:
        return None
    from train.run.publish import Publisher

    is_on_hub = not Path(args.data).exists() and "/" in args.data
    facts = CardFacts(
        licence=args.licence,
        about=f"Trained with `python -m train {args.command}` (preset `{args.preset}`) on {len(data)} pictures of "
        f"`{Path(args.data).name if Path(args.data).exists() else args.data}`"
        f"{f', {args.label}' if args.label else ''}.",
        datasets=(args.data.partition("@")[0],) if is_on_hub else (),
        base_model=args.init_from if args.init_from and not Path(args.init_from).exists() else None,
    )
    return Publisher(args.push_to_hub, facts, every_images=1000 * args.push_every, private=args.private)


COMMANDS = {"run": _run_recipe, "toy-heads": _draw, "people": _draw_people, "evaluate": _evaluate}


if __name__ == "__main__":
    sys.exit(main())
