"""Run metrics on a model: one report that fits JSON, one Markdown table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from stylesdf.checkpoint import WEIGHTS_FILE, bundled_or_given, file_hash
from stylesdf.model import Generator
from train.data.images import ImageSet
from train.evaluation import appearance, consistency, distributions, fid, geometry, inception, inversion, readings
from train.evaluation.registry import METRICS, NETWORKS, NUM_SEEDS, Metric, Quantity
from train.evaluation.subjects import SUBJECTS
from train.evaluation.views import Context, Options

FORMAT = 3
MODULES = (geometry, consistency, appearance, distributions, fid, readings, inversion)
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
        metrics: Names of ``METRICS``; None takes those of ``default_metrics``.
        num_seeds: Seeds 0 to ``num_seeds`` − 1; the next repeat takes the next so many. None: as many as each metric
            has by default.
        truncation: In [0, 1]; 1 is none.
        progress: Called with a metric's name and the share of it that is done, in [0, 1].
        repeats: How often, with other seeds each; the report holds means, and standard deviations as ``spread``.
        options: How the model is evaluated, and which subject it shows.

    Returns:
        A report that fits JSON; the same model gives the same report.

    Raises:
        ValueError: An unknown metric, or one that needs data, a subject, a background or a network that is not there;
            fewer than 2 seeds; a truncation out of range; data of another subject than asked for.
    """
    _check_numbers(NUM_SEEDS if num_seeds is None else num_seeds, repeats, truncation)
    context = Context(data, options)
    names = chosen_metrics(metrics, context)
    # a network that is missing is an error now, not after hours of other metrics
    needed = {need for name in names for need in METRICS[name].needs}
    networks = {name: getattr(context, name).identity for name in NETWORKS if name in needed}
    about = _about_model(model)  # now: a run may write another model there meanwhile
    counts = {name: num_seeds or METRICS[name].num_seeds for name in names}
    rounds = [_measure_round(model, context, counts, repeat, truncation, progress) for repeat in range(repeats)]
    deviation = partial(np.std, ddof=1)
    return {
        "format": FORMAT,
        "model": about,
        "subject": context.subject.name if context.subject else None,
        **_about_seeds(counts, repeats),
        "truncation": truncation,
        "pictures": context.pictures_of(model),
        "networks": networks,
        "inception": {"size": inception.SIZE, "resize": options.resize} if "inception" in networks else None,
        "metrics": {name: _over_rounds(rounds, name, np.mean) for name in names},
        "spread": {name: _over_rounds(rounds, name, deviation, 2) for name in names} if repeats > 1 else {},
    }


def default_metrics(context: Context) -> list[str]:
    """Return all metrics that this data and subject allow, but none that is slow or needs weights that are not ours."""
    return [name for name in fitting_metrics(context) if not METRICS[name].has_to_be_named]


def fitting_metrics(context: Context) -> list[str]:
    """Return all metrics that this data and subject allow."""
    return [name for name in NAMES if not _what_is_missing(METRICS[name], context)]


def _check_numbers(num_seeds: int, repeats: int, truncation: float) -> None:
    for name, value, least in (("num_seeds", num_seeds, 2), ("repeats", repeats, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}, expected an integer of at least {least}")
    if not 0.0 <= truncation <= 1.0:
        raise ValueError(f"truncation is {truncation!r}, expected a number in [0, 1]")


def chosen_metrics(metrics: list[str] | None, context: Context) -> list[str]:
    """Return the names of the metrics to measure."""
    if metrics is None:
        return default_metrics(context)
    for name in metrics:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}, expected of {', '.join(NAMES)}")
        missing = _what_is_missing(METRICS[name], context)
        if missing:
            raise ValueError(f"the metric {name} {missing}; metrics that fit: {', '.join(fitting_metrics(context))}")
    return list(dict.fromkeys(metrics))


def _what_is_missing(metric: Metric, context: Context) -> str:
    """Say what a metric needs that is not there, as the middle of a sentence; empty where all is there."""
    titles = " or ".join(subject.title for subject in SUBJECTS.values())
    name = context.data.name or "the data" if context.data is not None else "the data"
    if "data" in metric.needs and context.data is None:
        return "compares with the data, expected some (--data)"
    if "subject" in metric.needs and context.subject is None:
        if context.data is None:
            return f"is only for {titles}, expected their data (--data) or one of {', '.join(SUBJECTS)} with --subject"
        return f"is only for {titles}, and {name} was not drawn as either (--subject says so where it was)"
    if "background" in metric.needs and context.background is None:
        if context.data is None:
            return f"needs pictures on one plain background, expected data (--data) or --subject for {titles}"
        return f"needs pictures on one plain background, which those of {name} do not have"
    return ""


def _measure_round(
    model: Generator,
    context: Context,
    counts: Mapping[str, int],
    repeat: int,
    truncation: float,
    progress: Callable[[str, float], None] | None,
) -> dict[str, dict]:
    """Measure every metric on its seeds of one round; ``counts`` is the number of seeds by metric."""
    results = {}
    for name, count in counts.items():
        context.report = partial(progress, name) if progress is not None else lambda share: None
        seeds = range(repeat * count, (repeat + 1) * count)
        results[name] = METRICS[name].measure(model, seeds, truncation, context)
    return results


def _about_seeds(counts: Mapping[str, int], repeats: int) -> dict:
    """Return the entries that say which seeds most metrics took, and which took others."""
    usual = Counter(counts.values()).most_common(1)[0][0] if counts else NUM_SEEDS
    return {
        "seeds": f"0-{repeats * usual - 1}",
        "num_seeds": usual,
        "other_seeds": {name: f"0-{repeats * count - 1}" for name, count in counts.items() if count != usual},
        "repeats": repeats,
    }


def _over_rounds(rounds: list[dict], metric: str, summary: Callable, least: int = 1) -> dict:
    """Summarise each number of a metric over the rounds that have it; None where fewer than ``least`` of them do."""
    found = {}
    for name in rounds[0][metric]:
        values = [results[metric][name] for results in rounds if results[metric][name] is not None]
        if len(values) < least:
            found[name] = None
        else:
            found[name] = float(summary(values)) if len(rounds) > 1 else values[0]
    return found


def _about_model(model: Generator) -> dict:
    return {
        "name": getattr(model, "public_name", "unnamed"),
        "sha256": _weights_hash(model),
        "commit": getattr(model, "commit_hash", None),
        "config": model.config.to_dict(),
    }


def _weights_hash(model: Generator) -> str | None:
    """Return the SHA-256 of the file that the model was loaded from; None where it is none, or several."""
    name = getattr(model, "name_or_path", None)
    if not name:
        return None
    path = Path(bundled_or_given(name))
    if path.is_dir():
        path /= WEIGHTS_FILE
    elif not path.exists():
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(str(name).partition("@")[0], WEIGHTS_FILE, revision=model.commit_hash)
    return file_hash(path, "sha256") if isinstance(path, (str, Path)) and os.path.isfile(path) else None


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
    return f"{text} Inception got them resized to {how['size']}×{how['size']} ({how['resize']})." if how else text


def _show(quantity: Quantity, value: float | None) -> str:
    if value is None:
        return "–"
    if quantity.unit == "share":
        return f"{100 * value:.1f} %"
    if quantity.unit == "degrees":
        return f"{value:.1f}°"
    return f"{value:.3f}"
