"""Run metrics on a model: one report that fits JSON, one Markdown table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from stylesdf.checkpoint import WEIGHTS_FILE
from stylesdf.model import Generator
from train.data.images import ImageSet
from train.evaluation import appearance, consistency, distributions, fid, geometry, inception, readings
from train.evaluation.registry import METRICS, NETWORKS, NUM_SEEDS, Metric, Quantity
from train.evaluation.subjects import SUBJECTS
from train.evaluation.views import Context, Options

FORMAT = 2
MODULES = (geometry, consistency, appearance, distributions, fid, readings)
# in the order of the table; that of the registry depends on what was imported first
NAMES = tuple(name for module in MODULES for name, each in METRICS.items() if each.module == module.__name__)


@torch.no_grad()
def evaluate(
    model: Generator,
    data: ImageSet | None = None,
    metrics: list[str] | None = None,
    num_seeds: int | None = None,
    truncation: float = 1.0,
    progress: Callable[[str, float], None] | None = None,
    repeats: int = 1,
    options: Options = Options(),  # noqa: B008 - frozen
) -> dict:
    """Measure a model.

    Args:
        model: Generator; one that was loaded with ``from_pretrained`` has its file's hash in the report.
        data: Pictures of the data set, for what is measured on them too.
        metrics: Names of ``METRICS``; None takes all that can be measured with this data and subject, but none that
            needs a network whose weights are not part of the project.
        num_seeds: Seeds 0 to ``num_seeds`` − 1; the next repeat takes the next so many. None: as many as each metric
            has by default, 500 or 1,000.
        truncation: In [0, 1]; 1 is none.
        progress: Called with a metric's name and the share of it that is done, in [0, 1].
        repeats: How often, with other seeds each; the report holds means, and standard deviations as ``spread``.
        options: How the model is looked at, and which subject it shows.

    Returns:
        A report that fits JSON; the same model gives the same report.

    Raises:
        ValueError: An unknown metric, or one that needs data, a subject, a background or a network that is not there;
            fewer than 2 seeds; a truncation out of range; data of another subject than asked for.
    """
    asked = NUM_SEEDS if num_seeds is None else num_seeds
    for name, value, least in (("num_seeds", asked, 2), ("repeats", repeats, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}, expected an integer of at least {least}")
    if not 0.0 <= truncation <= 1.0:
        raise ValueError(f"truncation is {truncation!r}, expected a number in [0, 1]")
    progress = progress or (lambda name, share: None)
    context = Context(data, options)
    names = _chosen(metrics, context)
    # before hours of the others, where one is missing
    needed = {need for name in names for need in METRICS[name].needs}
    networks = {name: getattr(context, name).identity for name in NETWORKS if name in needed}
    about = _about_model(model)  # now: a run may write another model there meanwhile
    counts = {name: num_seeds or METRICS[name].num_seeds for name in names}
    rounds = []
    for repeat in range(repeats):
        results = {}
        for name, count in counts.items():
            context.report = partial(progress, name)
            seeds = range(repeat * count, (repeat + 1) * count)
            results[name] = METRICS[name].measure(model, seeds, truncation, context)
        rounds.append(results)
    usual = min(counts.values(), default=NUM_SEEDS)
    return {
        "format": FORMAT,
        "model": about,
        "subject": context.subject.name if context.subject else None,
        "seeds": f"0-{repeats * usual - 1}",
        "num_seeds": usual,
        "other_seeds": {name: f"0-{repeats * count - 1}" for name, count in counts.items() if count != usual},
        "repeats": repeats,
        "truncation": truncation,
        "pictures": context.pictures_of(model),
        "networks": networks,
        "inception": {"size": inception.SIZE, "resize": options.resize} if "inception" in networks else None,
        "metrics": {name: _over_rounds(rounds, name, np.mean) for name in names},
        "spread": {name: _over_rounds(rounds, name, partial(np.std, ddof=1)) for name in names} if repeats > 1 else {},
    }


def default_metrics(context: Context) -> list[str]:
    """Return all metrics that this data and subject allow, but none that needs a network whose weights are not ours."""
    each_of = [METRICS[name] for name in NAMES]
    return [each.name for each in each_of if not each.needs_network and not _what_is_missing(each, context)]


def _chosen(metrics: list[str] | None, context: Context) -> list[str]:
    """Return the names of the metrics to measure."""
    if metrics is None:
        return default_metrics(context)
    for name in metrics:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}, expected of {', '.join(NAMES)}")
        missing = _what_is_missing(METRICS[name], context)
        if missing:
            raise ValueError(f"the metric {name} {missing}")
    return list(dict.fromkeys(metrics))


def _what_is_missing(metric: Metric, context: Context) -> str:
    """Say what a metric needs that is not there, as the rest of a sentence; empty where all is there."""
    subjects = ", ".join(SUBJECTS)
    if "data" in metric.needs and context.data is None:
        return "compares with the data, expected some (--data)"
    if "subject" in metric.needs and context.subject is None:
        titles = " or ".join(subject.title for subject in SUBJECTS.values())
        return f"is only for {titles}, expected data that was drawn as such, or one of {subjects} with --subject"
    if "background" in metric.needs and context.background is None:
        return f"needs pictures on one plain background, expected data with such, or one of {subjects} with --subject"
    return ""


def _over_rounds(rounds: list[dict], metric: str, summary: Callable) -> dict:
    """Summarise each number of a metric over the rounds that have it."""
    found = {}
    for name in rounds[0][metric]:
        values = [results[metric][name] for results in rounds if results[metric][name] is not None]
        found[name] = values[0] if len(rounds) == 1 and values else float(summary(values)) if values else None
    return found


def _about_model(model: Generator) -> dict:
    return {
        "name": str(getattr(model, "name_or_path", None) or "unnamed"),
        "sha256": _weights_hash(model),
        "commit": getattr(model, "commit_hash", None),
        "config": model.config.to_dict(),
    }


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
    model, subject = report["model"], SUBJECTS.get(report["subject"])
    digest = f", sha256 `{model['sha256'][:16]}…`" if model["sha256"] else ""
    others = "".join(f" ({name}: {seeds})" for name, seeds in report["other_seeds"].items())
    repeats = f" in {report['repeats']} rounds, mean ± deviation of one" if report["repeats"] > 1 else ""
    lines = [
        f"Model `{model['name']}`{digest}; seeds {report['seeds']}{others}{repeats}, truncation "
        f"{report['truncation']:g}, pictures: the {report['pictures']}.{_about_networks(report)}",
        "",
        f"| metric | | model | {subject.title if subject else 'reference'} | better |",
        "|---|---|---:|---:|---|",
    ]
    for name, result in report["metrics"].items():
        for quantity in METRICS[name].rows(subject):
            reference = quantity.reference
            if isinstance(reference, str):
                reference = result.get(reference)
            shown = _show(quantity, reference)
            value = _show(quantity, result[quantity.name])
            if report["spread"]:
                value += f" ± {_show(quantity, report['spread'][name][quantity.name])}"
            lines.append(f"| {name} | {quantity.text} | {value} | {shown} | {quantity.better} |")
    return "\n".join(lines) + "\n"


def compare(reports: Mapping[float, dict], metrics: Sequence[str] | None = None) -> str:
    """Return reports of one model at several truncations as one Markdown table.

    Args:
        reports: Truncation → report of ``evaluate``; the reference column is the last one's.
        metrics: Names of metrics, in their order; None takes all. What no report has is left out, what
            some lack is empty there.
    """
    last = list(reports.values())[-1]
    subject = SUBJECTS.get(last["subject"])
    columns = [f"ψ {truncation:g}" for truncation in reports] + [subject.title if subject else "reference"]
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name in metrics or NAMES:
        results = [report["metrics"].get(name) for report in reports.values()]
        measured = [result for result in results if result]
        for quantity in METRICS[name].rows(subject) if measured else ():
            reference = quantity.reference
            if isinstance(reference, str):
                reference = measured[-1].get(reference)
            cells = [_show(quantity, result[quantity.name]) if result else "" for result in results]
            lines.append(f"| {quantity.text} | {' | '.join([*cells, _show(quantity, reference)])} |")
    return "\n".join(lines) + "\n"


def _about_networks(report: dict) -> str:
    text, how = "".join(f" {name}: {identity}." for name, identity in report["networks"].items()), report["inception"]
    return f"{text} Inception saw them resized to {how['size']}×{how['size']} ({how['resize']})." if how else text


def _show(quantity: Quantity, value: float | None) -> str:
    if value is None:
        return "–"
    if quantity.unit == "share":
        return f"{100 * value:.1f} %"
    if quantity.unit == "degrees":
        return f"{value:.1f}°"
    return f"{value:.3f}"
