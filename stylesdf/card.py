"""The model card: front matter for the hub, and what a reader needs to use, judge and cite a model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stylesdf.config import StyleSDFConfig
from stylesdf.words import in_markdown

TASK = "unconditional-image-generation"
TAGS = ("3d", "3d-aware-gan", "gan", "mesh", "nerf", "sdf")
YAML_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


@dataclass(frozen=True)
class CardFacts:
    """What a card states and the config does not know.

    Attributes:
        licence: The hub's identifier of the weights' licence.
        about: Markdown below the usage: origin, attribution, how the model was made.
        datasets: Hub ids of the data it was trained on.
        base_model: Hub id of the model it was trained on from; None where there is none.
        metrics: The hub's metric name → value, as ``{"fid": 11.5}``.
        metrics_dataset: What the metrics compare with; needed with ``metrics``.
        training: Setting → value, shown as a table.
        sample_grid: Path of a picture in the repository, shown at the top; None where there is none.

    Raises:
        ValueError: Metrics without the data they were measured on.
    """

    licence: str = "apache-2.0"
    about: str = ""
    datasets: tuple[str, ...] = ()
    base_model: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_dataset: str | None = None
    training: Mapping[str, object] = field(default_factory=dict)
    sample_grid: str | None = None

    def __post_init__(self) -> None:
        if self.metrics and not self.metrics_dataset:
            raise ValueError(f"metrics are {dict(self.metrics)!r}, expected a metrics_dataset that they refer to")


def model_card(config: StyleSDFConfig, name: str, facts: CardFacts | None = None) -> str:
    """Write the text of a model card.

    Args:
        config: Of the model.
        name: Hub repository id or folder name, as it stands in the usage example.
        facts: What the config does not know; None takes the defaults.
    """
    facts = facts or CardFacts()
    title = " ".join(name.split("/")[-1].split())
    size = config.render_resolution
    poses = f"{config.pose_distribution}, yaw ±{config.pose_yaw:g}, pitch ±{config.pose_pitch:g} radians"
    what = f"images at {config.image_resolution}×{config.image_resolution}" if config.has_decoder else "renderings only"
    picture = f"![Samples]({facts.sample_grid})\n\n" if facts.sample_grid else ""
    return f"""---
{_front_matter(title, facts)}
---

# {in_markdown(title)}

{picture}A StyleSDF generator: a latent code and a camera give an image and, through a signed distance field, geometry.
Thumbnails at {size}×{size}, {what}; field of view {config.fov_deg:g}° (full angle),
{config.num_samples} samples per ray in a ball of radius {config.scene_radius:g}, `{config.density}` density.

## Use

```python
from stylesdf import StyleSDF

model = StyleSDF.from_pretrained({json.dumps(name, ensure_ascii=False)})
model.generate(seeds=[3], truncation=0.7, yaw=0.3, pitch=0.1).images[0].save("head.png")
model.extract_mesh(seed=3, truncation=0.7).export("head.glb")
# model.export_live("heads.html"): heads in a browser, of a field at most 128 wide, 6 deep, without view directions
```

{facts.about.strip() or "Made with the stylesdf package."}
{_table("Training", facts.training)}{_table("Evaluation", _results(facts))}
## Limits and biases

Images and shapes follow the data the model was trained on, with its gaps and its biases: what is rare there comes out
rarely and worse, and what is generated is no evidence of anything real. Truncation below 1 trades variety for quality.
Cameras far outside the range seen in training ({poses}) give worse
images. Geometry goes with the renderer's thumbnails; details that the decoder adds can differ from view to view.

## Citation

Method: Or-El et al., *StyleSDF: High-Resolution 3D-Consistent Image and Geometry Generation*, CVPR 2022,
[arXiv 2112.11427](https://arxiv.org/abs/2112.11427).
"""


def rename_in_card(card: str, repo_id: str) -> str:
    """Let a usage example that names a folder, or one of ``checkpoints/``, name the repository; all else stays."""
    return re.sub(r'(StyleSDF\.from_pretrained\()"(checkpoints/)?[^"/\n]*"\)', rf'\1"{repo_id}")', card)


def _front_matter(title: str, facts: CardFacts) -> str:
    lines = ["library_name: stylesdf", f"pipeline_tag: {TASK}", f"license: {_yaml(facts.licence)}"]
    if facts.base_model:
        lines.append(f"base_model: {_yaml(facts.base_model)}")
    for key, values in (("datasets", facts.datasets), ("metrics", facts.metrics), ("tags", TAGS)):
        if values:
            lines.append(f"{key}: [{', '.join(map(_yaml, values))}]")
    if facts.metrics:
        dataset = _yaml(facts.metrics_dataset)
        lines += ["model-index:", f"- name: {_yaml(title)}", "  results:", "  - task:", f"      type: {TASK}"]
        lines += ["    dataset:", f"      type: {dataset}", f"      name: {dataset}", "    metrics:"]
        for name, value in facts.metrics.items():
            lines += [f"    - type: {_yaml(name)}", f"      value: {float(value)}"]
    return "\n".join(lines)


def licence_of(card: str | None) -> str | None:
    """Return the licence that a model card's front matter states; None where it states none."""
    front = re.match(r"---\r?\n(.*?)\r?\n---", card or "", re.DOTALL)
    found = front and re.search(r"^license:[ \t]*(\S+)[ \t\r]*$", front[1], re.MULTILINE)
    return found[1].strip("'\"") if found else None


def _results(facts: CardFacts) -> dict[str, object]:
    return {f"{name} on {facts.metrics_dataset}": f"{value:g}" for name, value in facts.metrics.items()}


def _table(title: str, rows: Mapping[str, object]) -> str:
    if not rows:
        return ""
    cells = "\n".join(f"| {in_markdown(name)} | {in_markdown(value)} |" for name, value in rows.items())
    return f"\n## {title}\n\n| | |\n|---|---|\n{cells}\n"


def _yaml(text: str) -> str:
    """Return a YAML scalar; JSON's quotes where plain text could be read as something else."""
    is_plain = re.fullmatch(r"[A-Za-z][\w./+-]*", text, re.ASCII) and text.lower() not in YAML_WORDS
    return text if is_plain else json.dumps(text, ensure_ascii=False)
