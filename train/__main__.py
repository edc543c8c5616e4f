"""Train StyleSDF on single-view photos: data, stage 1, stage 2, evaluation, publishing.

A run is a folder. The same command goes on where a stopped one was last saved: Ctrl-C and SIGTERM save first (exit
status 130 and 143), and a killed run loses at most the steps since its last state. RUN/model is a folder for
StyleSDF.from_pretrained. Several GPUs, or several processes on CPUs:
accelerate launch --multi_gpu --num_processes 2 -m train renderer ...
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path

from stylesdf.checkpoint import WEIGHTS_FILE
from stylesdf.config import preset
from stylesdf.terminal import terminal
from train.arguments import DEFAULT_SPLIT, STAGES, parser, run_options
from train.config import to_dict
from train.errors import RunError
from train.evaluation import command
from train.override import override
from train.presets import PRESETS
from train.recipes import RECIPES
from train.run.publish import check_repository


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # an error is one line, without the hub's retries before it
    for client in ("httpx", "httpx2"):  # of the hub's versions; each would report all of its requests
        logging.getLogger(client).setLevel(logging.WARNING)
    from train.run.process import prepare_process
    from train.run.signals import Stopped

    prepare_process()
    args = argparse.Namespace(argv=argv, command=None)  # a recipe's processes get them once more
    try:
        with terminal():
            parser(__doc__).parse_args(argv, args)
            return COMMANDS[args.command](args)
    except (ValueError, FloatingPointError, RunError) as error:
        return _refuse(str(error))
    except OSError as error:  # of a path, or of the hub
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except Stopped as stopped:
        print(f"python -m train: {stopped}, saved; the same command goes on from here", file=sys.stderr)
        return 128 + stopped.signal_number
    except KeyboardInterrupt as stop:
        goes_on = "; the same command goes on from the last saved state" if args.command in SAVING else ""
        print(f"python -m train: stopped{goes_on}", file=sys.stderr)
        return getattr(stop, "status", 130)


def _refuse(reason: str) -> int:
    print(f"python -m train: error: {' '.join(reason.split())}", file=sys.stderr)
    return 2


def _run_recipe(args: argparse.Namespace) -> int:
    from train import recipe as runner

    recipe = _recipe(args)
    run_options(args)  # refused before anything is drawn
    if args.dry_run:
        print(runner.plan(recipe, args.cache_dir), end="")
        return 0

    @functools.cache
    def data():
        return runner.load_data(recipe, args.cache_dir)

    if args.only is not None:
        _execute(args, recipe, next(run for run in recipe.runs if run.name == args.only), data())
        return 0
    processes = runner.default_processes(args.device) if args.processes is None else args.processes

    def start_run(run):
        data()  # drawn before the processes start
        if processes == 1:
            _execute(args, recipe, run, data())
        else:
            runner.in_processes([*args.argv, "--only", run.name], processes)

    runner.run_recipe(recipe, args.out, start_run, data)
    return 0


def _recipe(args: argparse.Namespace):
    sizes = RECIPES[args.name]
    size = args.size or next(iter(sizes))
    if size not in sizes:
        raise ValueError(f"size is {size!r}, but {args.name} has only {', '.join(sizes)}")
    recipe = sizes[size].with_seed(args.seed)
    split = None if args.split == DEFAULT_SPLIT else args.split
    reading = {"image_column": args.image_column, "label": args.label, "split": split, "limit": args.limit}
    reading = {name: value for name, value in reading.items() if value is not None}
    recipe = dataclasses.replace(recipe, data=args.data or recipe.data, licence=args.licence, reading=reading)
    if recipe.data is None and not args.dry_run:
        raise ValueError(f"{args.name} draws no pictures of its own, expected --data")
    if args.only is not None and args.only not in {run.name for run in recipe.runs}:
        raise ValueError(f"run is {args.only!r}, expected one of {', '.join(run.name for run in recipe.runs)}")
    if args.processes is not None and args.processes < 1:
        raise ValueError(f"processes is {args.processes}, expected at least 1")
    return recipe


def _execute(args: argparse.Namespace, recipe, run, data) -> None:
    from train import recipe as runner

    engine = _engine(args)
    runner.execute(recipe, run, args.out, data, engine, run_options(args))
    engine.accelerator.end_training()  # processes that end without it can abort


def _look(args: argparse.Namespace) -> int:
    from stylesdf.files import check_ending, replacing
    from train.data.look import look_at

    if args.out is not None:
        check_ending(args.out, (".png",))
    model = preset(args.preset)
    sizes = model.image_resolution, model.render_resolution
    seen = look_at(args.data, *sizes, fov_deg=model.fov_deg, **_reading(args))
    print(seen.text(), end="")
    if args.out is not None:
        if not seen.cells:
            raise ValueError(f"none of the decoded pictures is of use, {args.out} is not written")
        with replacing(args.out) as temporary:
            seen.sheet().save(temporary)
        print(f"{args.out}: {len(seen.cells)} pictures")
    return 0


def _draw(args: argparse.Namespace) -> int:
    from train.data.toy_heads import ToyHeadsConfig, write_toy_heads

    config = ToyHeadsConfig(count=args.count, image_size=args.size, seed=args.seed, fov_deg=args.fov_deg)
    write_toy_heads(args.out, config)
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
    return command.run(args, _reading(args))


def _directions(args: argparse.Namespace) -> int:
    from train import directions, factors
    from train.data.images import load_images
    from train.pretrained import PretrainedGenerator

    if not (args.model / WEIGHTS_FILE).is_file():
        raise ValueError(f"{args.model} is not a folder with {WEIGHTS_FILE}, which could get directions")
    model = PretrainedGenerator.from_pretrained(args.model).eval()
    report = command.Progress()
    kind = directions if args.factors is None else factors
    if args.factors is not None:
        found, summary = factors.find_factors(model, args.factors, args.seed, report)
    else:
        sizes = model.config.image_resolution, model.config.render_resolution
        data = load_images(args.data, *sizes, fov_deg=model.config.fov_deg, cache_dir=args.cache_dir)
        found, summary = directions.learn_directions(model, data, args.seed, report)
    report.end()
    directions.write_directions(args.model, model, found, summary, kind.captions(summary))
    print(kind.table(summary), end="")
    return 0


def _export(args: argparse.Namespace) -> int:
    from train.run.export import export

    folder, step = export(args.run, args.out, args.step)
    print(f"the model of step {step} is in {folder}")
    return 0


def _list_settings(args: argparse.Namespace) -> int:
    from train.listing import settings_text

    print(settings_text(args.stage), end="")
    return 0


def _train(args: argparse.Namespace) -> int:
    stage_config = override(PRESETS[args.command][args.preset], args.set)
    model_config = override(preset(args.preset), args.model_set)
    run_options(args)  # refused before anything is decoded
    if getattr(args, "push_to_hub", None) is not None:
        check_repository(args.push_to_hub)
    if args.dry_run:
        print(json.dumps(_describe_run(args, stage_config, model_config), indent=2, ensure_ascii=False))
        return 0
    engine = _engine(args)
    _run_stage(args, stage_config, model_config, engine)
    engine.accelerator.end_training()  # processes that end without it can abort
    return 0


def _describe_run(args: argparse.Namespace, stage_config, model_config) -> dict:
    """Return what a run would be and cost; a model that it starts from and is not here counts as the preset's."""
    from train.build import check_settings
    from train.run.cost import estimate
    from train.run.engine import check_micro_batch

    check_micro_batch(args.micro_batch)
    if args.init_from and Path(args.init_from).exists():
        _, model_config = _initial(args, model_config)
    check_settings(stage_config, model_config)
    about = {"model": model_config.to_dict(), "training": to_dict(stage_config)}
    about["cost"] = estimate(model_config, stage_config, args.micro_batch)
    if getattr(args, "data", None) is not None:
        about["data"] = _describe_data(args, model_config, stage_config)
    return about


def _initial(args: argparse.Namespace, model_config):
    """Return the model that a run starts from, None for nothing, and the architecture that it trains."""
    from train.build import with_decoder
    from train.pretrained import PretrainedGenerator

    if not args.init_from:
        return None, model_config
    initial = PretrainedGenerator.from_pretrained(args.init_from)
    return initial, override(with_decoder(initial.config, model_config), args.model_set)


def _run_stage(args: argparse.Namespace, stage_config, model_config, engine) -> None:
    from train.build import build_stage, needs_full_size
    from train.run.card import run_facts
    from train.run.lineage import Origin
    from train.run.loop import train

    initial, model_config = _initial(args, model_config)
    full_size = needs_full_size(stage_config, initial if args.evaluate_every else None)
    data = None if getattr(args, "data", None) is None else _data(args, model_config, full_size)
    stage = build_stage(model_config, stage_config, data, engine, initial)
    how, asked = f"`python -m train {args.command}` (preset `{args.preset}`)", getattr(args, "data", None)
    facts = run_facts(how, asked, data, initial, args.licence, getattr(args, "label", None))
    publisher = _publisher(args) if hasattr(args, "push_to_hub") else None
    train(stage, args.out, run_options(args), Origin(data, initial, facts), publisher)


def _engine(args: argparse.Namespace):
    import torch
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration

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
        kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_WAIT)],
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
    return Engine(accelerator, args.micro_batch)


def _check_tracker(name: str) -> None:
    import importlib.util

    if importlib.util.find_spec(name) is None:
        raise ValueError(f"the tracker {name} is not installed: pip install {name}")


def _data(args: argparse.Namespace, model_config, full_size: bool):
    from train.data.images import load_images

    sizes, reading = (model_config.image_resolution, model_config.render_resolution), _reading(args)
    where = {"cache_dir": args.cache_dir, "full_size": full_size, "streaming": args.streaming}
    return load_images(args.data, *sizes, fov_deg=model_config.fov_deg, **where, **reading)


def _describe_data(args: argparse.Namespace, model_config, stage_config) -> str:
    from train.build import needs_full_size
    from train.data.images import describe_images

    sizes = model_config.image_resolution, model_config.render_resolution
    reading = {"streaming": args.streaming, **_reading(args)}
    return describe_images(args.data, *sizes, needs_full_size(stage_config), args.cache_dir, **reading)


def _reading(args: argparse.Namespace) -> dict:
    """Return how pictures are read."""
    from train.data.images import parse_label

    options = {name: getattr(args, name) for name in ("image_column", "split", "limit")}
    return options | {"label": parse_label(args.label)}


def _publisher(args: argparse.Namespace):
    if args.push_to_hub is None:
        return None
    from train.run.publish import Publisher

    return Publisher(args.push_to_hub, every_images=1000 * args.push_every, private=args.private)


# of processes for each other: the first one measures, draws and pushes alone, for longer than PyTorch's 10 minutes
LONGEST_WAIT = timedelta(days=1)
SAVING = (*STAGES, "run", "people")  # commands that go on where they were stopped
COMMANDS = {
    "look": _look,
    "run": _run_recipe,
    "toy-heads": _draw,
    "people": _draw_people,
    "evaluate": _evaluate,
    "directions": _directions,
    "export": _export,
    "settings": _list_settings,
    **dict.fromkeys(STAGES, _train),
}


if __name__ == "__main__":
    sys.exit(main())
