"""The model card of a recipe's result: how it was made in one line, what it measures, what it cannot do."""

from __future__ import annotations

from collections.abc import Mapping

from stylesdf.card import CardFacts, model_card
from stylesdf.config import StyleSDFConfig
from train.evaluation.report import compare
from train.recipes.base import Recipe

# what of the reports the card shows; the rest stands in metrics.json
SHOWN = (
    "pose", "surface", "silhouette", "relief", "smoothness", "depth-consistency", "shares", "recall",
    "mobilenet-frechet", "classifier",
)  # fmt: skip


def recipe_card(recipe: Recipe, config: StyleSDFConfig, reports: Mapping[float, dict]) -> str:
    """Write the card.

    Args:
        recipe: Which the model is the result of.
        config: Of the model.
        reports: Truncation → report of the evaluation.
    """
    runs = " → ".join(f"`{run.name}` ({run.settings.total_steps} steps)" for run in recipe.runs)
    about = f"""{recipe.about}

![Seeds 0 to 23 from the front, truncation 0.7, unpicked](seeds.png)

## How it was made

```bash
python -m train run {recipe.name} --out runs/{recipe.name}
```

{runs}. The settings stand in `train/recipes/{recipe.name.replace("-", "_")}.py`, the loss terms in the `*-log.jsonl`
files, the full reports in `metrics.json` and `metrics-1.json`; `train/EVALUATION.md` says what each metric is. \
{recipe.limits}

## Measured

{compare(reports, SHOWN).strip()}

![One head at −2 to 2 along each of its edits, and what moves with them](directions.png)"""
    return model_card(config, f"checkpoints/{recipe.name}", CardFacts(about=about, sample_grid="grid.png"))
