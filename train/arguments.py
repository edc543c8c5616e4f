"""The arguments of ``python -m train``."""

from __future__ import annotations

import argparse
from pathlib import Path

from stylesdf.terminal import Parser
from train.evaluation import command
from train.presets import PRESETS
from train.recipes import RECIPES
from train.run.options import RunOptions

EPILOG = """examples:
  python -m train run people --out runs/people
  python -m train look data/cats --out cats.png
  python -m train toy-heads --out data/toy-heads
  python -m train people --out data/people --count 6000 --size 256 --jobs 2
  python -m train renderer --preset toy --data data/toy-heads --out runs/toy/renderer
  python -m train decoder --preset toy --data data/toy-heads --init-from runs/toy/renderer/model --out runs/toy/decoder
  python -m train renderer --preset afhq --data huggan/AFHQv2 --label label=cat --out runs/cats --dry-run
  python -m train encoder --init-from runs/toy/decoder/model --out runs/toy/encoder
  python -m train settings decoder
  python -m train export runs/toy/renderer --out models/early
  python -m train evaluate checkpoints/toy-heads --data data/toy-heads --truncation 0.7 --out runs/metrics
train/README.md explains the settings, train/AFHQ.md goes from a data set id to a published model"""

# what each stage is, whether it needs a model to start from, and whether it takes pictures
STAGES = {
    "renderer": ("stage 1: field and thumbnail", False, True),
    "prior": ("after stage 1 with an encoder: latents give codes like those that the data has", True, True),
    "polish": ("sharper density, solid inside, smoother surface, the same pictures", True, False),
    "decoder": ("stage 2: image, renderer frozen", True, True),
    "encoder": ("after stage 2: a network that finds the head in a picture, where invert starts", True, False),
}
DEFAULTS = RunOptions()
DEFAULT_SPLIT = "train"
DATA_HELP = "folder, zip, tar, Parquet, several (shards/*.tar), hub id USER/NAME[@REVISION], toy-heads[:N], people[:N]"


def parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    main = Parser(
        prog="python -m train",
        description=description,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main.add_subparsers(dest="command", required=True)
    toy = commands.add_parser("toy-heads", help="draw the procedural data set into a folder of images")
    toy.add_argument("--out", type=Path, required=True, help="new folder")
    toy.add_argument("--count", type=int, default=8000, help="images (default: %(default)s)")
    toy.add_argument("--size", type=int, default=256, help="height and width in pixels (default: %(default)s)")
    toy.add_argument("--seed", type=int, default=0, help="of all animals and cameras (default: %(default)s)")
    fov_help = "full field of view, degrees, which has to be the model's (default: %(default)s)"
    toy.add_argument("--fov-deg", type=float, default=12.0, metavar="DEG", help=fov_help)
    _add_look_arguments(commands.add_parser("look", help="say what a data set will be seen as, in seconds"))
    _add_recipe_arguments(commands.add_parser("run", help="from nothing to a finished model, by a recipe"))
    _add_people_arguments(commands.add_parser("people", help="draw people who do not exist into a folder of images"))
    for name, (text, needs_model, needs_data) in STAGES.items():
        stage = commands.add_parser(name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        _add_stage_arguments(stage, name, needs_model, needs_data)
    measure = commands.add_parser("evaluate", help="measure a model", description="Measure a model.")
    command.add_arguments(measure)
    _add_reading_arguments(measure)
    _add_cache_argument(measure)
    directions = commands.add_parser("directions", help="edits with names, into a model's folder")
    directions.add_argument("model", type=Path, metavar="MODEL", help="checkpoint folder")
    directions.add_argument("--data", default="people", help="people as they are drawn on the spot (default: people)")
    factors = "numbered edits of any model instead, without data: so many of shape, and of texture"
    directions.add_argument("--factors", type=int, metavar="N", help=factors)
    directions.add_argument("--seed", type=int, default=0, help="of networks and heads (default: %(default)s)")
    _add_cache_argument(directions)
    export = commands.add_parser("export", help="write the model of a run's saved state")
    export.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    export.add_argument("--out", type=Path, help="folder for the model (default: RUN/model)")
    export.add_argument("--step", type=int, metavar="N", help="of the state (default: the newest intact one)")
    listing = commands.add_parser("settings", help="list every setting with its default and the recipes' values")
    listing.add_argument("stage", nargs="?", choices=STAGES, help="only of this stage")
    return main


def _add_recipe_arguments(recipe: argparse.ArgumentParser) -> None:
    recipe.add_argument("name", choices=RECIPES, help="of the recipe, a file of train/recipes")
    recipe.add_argument("--out", type=Path, required=True, help="folder of all runs; the same command goes on there")
    size_help = "for two cores, or for a GPU (default: small, where there is one)"
    recipe.add_argument("--size", choices=("small", "large"), help=size_help)
    data_help = "pictures instead of the recipe's own, as of renderer; ffhq, afhq and photos need it"
    recipe.add_argument("--data", help=data_help)
    _add_reading_arguments(recipe)
    _add_cache_argument(recipe)
    _add_licence_argument(recipe)
    recipe.add_argument("--seed", type=int, default=0, help="added to every run's seed (default: %(default)s)")
    recipe.add_argument("--dry-run", action="store_true", help="print the runs and what they will cost, and stop")
    recipe.add_argument("--only", metavar="RUN", help="only this run, in this process")
    recipe.add_argument("--processes", type=int, help="that share each batch (default: one on a GPU, two on two cores)")
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


def _add_stage_arguments(stage: argparse.ArgumentParser, name: str, needs_model: bool, needs_data: bool) -> None:
    run = stage.add_argument_group("the run")
    run.add_argument("--preset", default="toy", choices=PRESETS[name], help="settings to start from")
    run.add_argument("--out", type=Path, required=True, help="folder of the run; the same command goes on there")
    set_help = "settings that differ from the preset; more steps than before make a run longer"
    run.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help=set_help)
    run.add_argument(
        "--model-set", nargs="*", default=[], metavar="NAME=VALUE",
        help="settings of the model that differ from the preset's, or from the initial model's",
    )  # fmt: skip
    run.add_argument("--dry-run", action="store_true", help="print all settings and what the run will cost, and stop")
    init_help = "model to start from, with its decoder, discriminators and encoder: a folder or hub id"
    run.add_argument("--init-from", required=needs_model, metavar="MODEL", help=init_help)
    _add_licence_argument(run, "that of the initial model, else ")
    if needs_data:
        data = stage.add_argument_group("data")
        data.add_argument("--data", required=True, help=DATA_HELP)
        _add_reading_arguments(data)
        data.add_argument("--streaming", action="store_true", help="read a hub data set while it is downloaded")
        _add_cache_argument(data)
        hub = stage.add_argument_group("publishing")
        hub.add_argument("--push-to-hub", metavar="USER/NAME", help="push the model here when it is done")
        every_help = "and every N thousand images, of which prior and draws_field count none"
        hub.add_argument("--push-every", type=int, default=0, metavar="N", help=every_help)
        hub.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    _add_machine_arguments(stage)
    _add_watching_arguments(stage)


def _add_licence_argument(run: argparse._ActionsContainer, first: str = "") -> None:
    licence_help = f"of the model, the hub's identifier; yours to choose (default: {first}"
    licence_help += "apache-2.0 for pictures that are drawn here, other for any others)"
    run.add_argument("--licence", help=licence_help)


def _add_reading_arguments(data: argparse._ActionsContainer) -> None:
    column_help = "of several image columns; in a tar, the ending of one of several pictures of a name"
    data.add_argument("--image-column", metavar="NAME", help=column_help)
    data.add_argument("--label", metavar="NAME=VALUE", help="only pictures with this label, as label=cat")
    data.add_argument("--split", default=DEFAULT_SPLIT, help="of a hub data set or a folder of archives")
    data.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")


def _add_cache_argument(data: argparse._ActionsContainer) -> None:
    data.add_argument("--cache-dir", type=Path, help="of decoded pictures; else $STYLESDF_CACHE, ~/.cache/stylesdf")


def _add_look_arguments(look: argparse.ArgumentParser) -> None:
    look.add_argument("data", metavar="DATA", help=DATA_HELP)
    out_help = "write a contact sheet of 48 pictures, evenly spaced, as training will see them"
    look.add_argument("--out", type=Path, metavar="FILE.png", help=out_help)
    preset_help = "whose sizes of image and thumbnail are meant (default: %(default)s)"
    look.add_argument("--preset", default="toy", choices=PRESETS["renderer"], help=preset_help)
    _add_reading_arguments(look)


def _add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--device", default="auto", help="auto takes a GPU where there is one; cpu")
    machine.add_argument(
        "--mixed-precision", default="no", choices=("no", "bf16"),
        help="of discriminators and decoder; the field stays in float32, with TF32 products; no: float32 in all",
    )  # fmt: skip
    machine.add_argument("--micro-batch", type=int, default=0, help="images at once per process; 0: all; same result")


def _add_watching_arguments(parser: argparse.ArgumentParser) -> None:
    watching = parser.add_argument_group("watching (numbers are steps, 0 is never)")
    for option, text in {
        "--save-every": "between states (default: a 400th of the run, at least 200)",
        "--log-every": "between lines of RUN/log.jsonl",
        "--grid-every": "between sample grids (default: a 20th of the run, at least 1000)",
        "--snapshot-every": "between models that are kept in RUN/snapshots",
        "--evaluate-every": "between evaluations, into log, trackers and RUN/evaluation.png",
        "--profile": "to profile, after three to warm up, into RUN/profile: a trace, and operators by time",
    }.items():
        default = getattr(DEFAULTS, option.strip("-").replace("-", "_"))
        default = argparse.SUPPRESS if default is None else default  # of which no help is printed
        watching.add_argument(option, type=int, default=default, metavar="N", help=text)
    metrics_help = "of python -m train evaluate; the first one says which snapshot is the best"
    watching.add_argument("--evaluate-metrics", nargs="+", default=[], metavar="NAME", help=metrics_help)
    seeds_help = "that each of them takes"
    watching.add_argument("--evaluate-seeds", type=int, default=DEFAULTS.evaluate_seeds, metavar="N", help=seeds_help)
    watching.add_argument("--keep", type=int, default=DEFAULTS.keep, metavar="N", help="newest states that are kept")
    watching.add_argument("--stop-on-alarm", action="store_true", help="stop, saved, when something goes wrong")
    watching.add_argument("--tracker", choices=("tensorboard", "wandb", "trackio"), help="log there too")


def run_options(args: argparse.Namespace) -> RunOptions:
    """Return what the arguments say about a run.

    Raises:
        ValueError: A number out of range.
    """
    values = {name: getattr(args, name, default) for name, default in vars(DEFAULTS).items()}
    return RunOptions(**values | {"evaluate_metrics": tuple(args.evaluate_metrics)})
