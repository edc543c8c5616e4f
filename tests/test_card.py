"""The model card: front matter that the hub reads, and a usage example that runs."""

import re

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from stylesdf import StyleSDF
from stylesdf.card import CardFacts, licence_of, model_card, rename_in_card
from stylesdf.config import PRESETS

FACTS = CardFacts(
    licence="cc-by-nc-sa-4.0",
    about="Trained at home.",
    datasets=("someone/toy-heads",),
    base_model="someone/stage-1",
    metrics={"fid": 12.5, "kid": 0.0031},
    metrics_dataset="toy heads: 10,000 | seed 0",
    training={"steps": 60_000, "R1 γ": 10.0, "a|b": "c\nd"},
    sample_grid="samples.png",
)


@pytest.mark.parametrize("name", ["ffhq", "toy"])
def test_front_matter_is_yaml_that_the_hub_reads(name):
    data = ModelCard(model_card(PRESETS[name], "someone/model")).data
    assert (data.library_name, data.pipeline_tag) == ("stylesdf", "unconditional-image-generation")
    assert data.license == "apache-2.0"
    assert "3d-aware-gan" in data.tags
    assert data.datasets is None and data.eval_results is None and data.base_model is None


def test_facts_are_stated():
    card = model_card(PRESETS["toy"], "someone/model", FACTS)
    data = ModelCard(card).data
    assert (data.license, data.base_model) == ("cc-by-nc-sa-4.0", "someone/stage-1")
    assert data.datasets == ["someone/toy-heads"]
    assert data.model_name == "model"
    results = {result.metric_type: result.metric_value for result in data.eval_results}
    assert results == {"fid": 12.5, "kid": 0.0031}
    assert {result.dataset_name for result in data.eval_results} == {"toy heads: 10,000 | seed 0"}
    texts = ("Trained at home.", "![Samples](samples.png)", "| steps | 60000 |", "| a&#124;b | c d |", "abs/2112.11427")
    for text in texts:
        assert text in card
    assert card.index("![Samples]") < card.index("## Use") < card.index("## Training") < card.index("## Limits")


@pytest.mark.parametrize("text", ["mit\nevil: true", "yes", "1.5", 'a"b', "- x", "#", "é: ü", ""])
def test_front_matter_holds_any_text(text):
    card = model_card(PRESETS["toy"], "x", CardFacts(licence=text, datasets=(text,)))
    data = ModelCard(card).data
    assert data.license == text and data.datasets == [text]
    assert "evil" not in data.to_dict()


def test_metrics_say_what_they_compare_with():
    with pytest.raises(ValueError, match="metrics_dataset"):
        CardFacts(metrics={"fid": 3.0})


def test_usage_runs(tiny_config, tmp_path, monkeypatch):
    model = StyleSDF(tiny_config)
    with torch.no_grad():  # the origin lies on the surface
        model.update_means(100)
        model.field.sdf_head.bias -= model.sdf(torch.zeros(1, 3), model.w_avg)
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("heads")
    code = re.search(r"```python\n(.*?)```", (tmp_path / "heads" / "README.md").read_text(), re.DOTALL)[1]
    code = code.replace("truncation=0.7)", "truncation=0.7, resolution=32)")  # to be quick
    exec(compile(code, "README.md", "exec"), {})
    assert Image.open("head.png").size == (32, 32)
    assert (tmp_path / "head.glb").stat().st_size > 0


def test_a_card_that_moves_names_its_new_home():
    card = model_card(PRESETS["toy"], "run 3", FACTS)
    assert rename_in_card(card, "someone/heads") == model_card(PRESETS["toy"], "someone/heads", FACTS).replace(
        "# heads\n", "# run 3\n"
    ).replace("- name: heads", '- name: "run 3"')
    bundled = model_card(PRESETS["toy"], "checkpoints/heads", FACTS)
    assert 'from_pretrained("someone/heads")' in rename_in_card(bundled, "someone/heads")
    of_another = model_card(PRESETS["toy"], "someone/else", FACTS)
    assert rename_in_card(of_another, "someone/heads") == of_another


def test_the_licence_is_the_front_matter_s():
    card = model_card(PRESETS["toy"], "m", CardFacts(licence="cc-by-nc-sa-4.0"))
    assert licence_of(card) == licence_of(card.replace("\n", "\r\n")) == "cc-by-nc-sa-4.0"
    assert licence_of(None) is None and licence_of("# A title\nlicense: fake") is None
