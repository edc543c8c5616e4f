"""The model card of a recipe's result: how it was made in one line, what it measures, what it cannot do."""

from __future__ import annotations

import shlex
from collections.abc import Container, Mapping

from stylesdf.card import CardFacts, model_card
from stylesdf.checkpoint import REPORT_FILES
from stylesdf.config import StyleSDFConfig
from train.data.sources import hub_ids, source_name
from train.evaluation.report import compare
from train.recipes import RECIPES
from train.recipes.base import Recipe

GRID_FILE, (_, STRIPS_FILE) = "grid.png", REPORT_FILES

# what of the reports the card shows; the rest stands in metrics.json
SHOWN = (
    "pose", "surface", "silhouette", "relief", "smoothness", "depth-consistency", "shares", "recall",
    "mobilenet-frechet", "classifier",
)  # fmt: skip


def recipe_card(
    recipe: Recipe,
    config: StyleSDFConfig,
    reports: Mapping[float, dict],
    licence: str,
    pictures: Container[str] = (),
) -> str:
    """Write the card; what the recipe says about its own pictures is left out where it learned from others.

    Args:
        recipe: Which the model is the result of.
        config: Of the model.
        reports: Truncation → report of the evaluation.
        licence: Of the model, the hub's identifier.
        pictures: Names of the pictures that lie beside the model; no others are linked but that of the seeds.
    """
    own = next(iter(RECIPES[recipe.name].values())).data
    about, limits, folder = recipe.about, f" {recipe.limits}", recipe.name
    if recipe.size is None and recipe.seed == 0:  # the bundled one
        folder = f"checkpoints/{recipe.name.replace('_', '-')}"
    command = f"{recipe.command} --out runs/{recipe.name}"
    if recipe.data != own:
        name, folder = source_name(recipe.data), recipe.name
        command += f" --data {shlex.quote(name)}"
        if own is not None:
            about, limits = f"Learned from `{name}` with the recipe `{recipe.name}`, in place of `{own}`.", ""
    for name, value in recipe.reading.items():
        command += f" --{name.replace('_', '-')} {shlex.quote(str(value))}"
    directions = f"\n\n![One head at −2 to 2 along each of its edits, and what moves with them]({STRIPS_FILE})"
    runs = " → ".join(f"`{run.name}` ({run.settings.total_steps} steps)" for run in recipe.runs)
    text = f"""{about}

![Seeds 0 to 23 from the front, truncation 0.7, unpicked](seeds.png)

## How it was made

```bash
{command}
```

{runs}. The settings follow from `train/recipes/{recipe.name}.py`, the loss terms in the `*-log.jsonl`
files, the full reports in `metrics.json` and `metrics-1.json`; `train/EVALUATION.md` says what each metric is.{limits}

## Measured

{compare(reports, SHOWN).strip()}{directions if STRIPS_FILE in pictures else ""}"""
    grid = GRID_FILE if GRID_FILE in pictures else None
    facts = CardFacts(licence, text, hub_ids(recipe.data), sample_grid=grid)
    return model_card(config, folder, facts)
