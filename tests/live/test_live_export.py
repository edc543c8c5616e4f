"""The exporter: what it refuses, what it measures, and what kind of page it writes."""

import base64
import copy
import dataclasses
import html.parser
import json
import re

import pytest
import torch

from stylesdf import StyleSDF
from stylesdf.__main__ import main
from stylesdf.live.export import FOLDER, check_model, export_live, measure_bounds, pack, page
from stylesdf.version import __version__


@pytest.fixture
def model(tiny_toy_config) -> StyleSDF:
    model = StyleSDF(tiny_toy_config).eval()
    model.update_means(100)
    return model


class Parts(html.parser.HTMLParser):
    """The elements of a page: scripts with what they hold, and everything that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.addresses, self.policy, self._open = [], [], None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [attributes[name] for name in ("src", "href", "action", "data") if name in attributes]
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]
        if tag == "script":
            self._open = {**attributes, "text": ""}
            self.scripts.append(self._open)

    def handle_endtag(self, tag):
        if tag == "script":
            self._open = None

    def handle_data(self, text):
        if self._open is not None:
            self._open["text"] += text


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"view_directions": True}, "this model's colour depends on the viewing direction"),
        ({"field_width": 132}, "field_width is 132, expected at most 128"),
        ({"field_depth": 7}, "field_depth is 7, expected at most 6"),
        ({"latent_size": 1024}, "latent_size is 1024, expected at most 512"),
        ({"latent_size": 15}, "latent_size is 15, expected at least 16"),
    ],
)
def test_models_that_a_page_cannot_draw_are_refused(tiny_toy_config, tmp_path, change, sentence):
    model = StyleSDF(dataclasses.replace(tiny_toy_config, **change))
    with pytest.raises(ValueError, match=re.escape(sentence)):
        export_live(model, tmp_path / "heads.html")
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="expected an ending of .html, .htm"):
        export_live(model, tmp_path / "heads.pdf")
    with pytest.raises(ValueError, match="weights are 'int8', expected one of float16, float32"):
        export_live(model, tmp_path / "heads.html", weights="int8")
    with pytest.raises(ValueError, match="fov_deg is 500"):
        export_live(model, tmp_path / "heads.html", fov_deg=500)
    broken = copy.deepcopy(model)
    broken.field.sdf_head.bias.data.fill_(1e6)
    with pytest.raises(ValueError, match="beyond float16, expected weights='float32'"):
        pack(broken)
    pack(broken, "float32")
    broken.field.sdf_head.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        pack(broken)


def test_the_page_is_one_file_that_loads_nothing(model, tmp_path):
    model.name_or_path = '</script><img src="x">{{weights}}'
    export_live(model, tmp_path / "new" / "heads.html")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["heads.html"]
    parts = Parts((tmp_path / "new" / "heads.html").read_text(encoding="utf-8"))
    assert parts.addresses == []
    assert parts.policy.startswith("default-src 'none'")
    by_id = {script.get("id"): script["text"] for script in parts.scripts}
    header = json.loads(by_id["header"])
    assert (header["name"], header["version"]) == (model.name_or_path, __version__)
    expected, data = pack(model)
    assert header == expected
    assert base64.b64decode(by_id["weights"]) == data
    assert {"field", "guide", "trace", "normals", "shade"} <= set(by_id)
    assert export_live(model, tmp_path / "again.html") is None
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "new" / "heads.html").read_bytes()


def test_a_page_does_not_tell_where_the_model_lay(model, tmp_path):
    model.save_pretrained(tmp_path / "checkpoints" / "mine")
    for folder, name in (("checkpoints/mine", "checkpoints/mine"), ("checkpoints", "checkpoints")):
        model.name_or_path = str(tmp_path / folder)
        assert pack(model)[0]["name"] == name
    model.name_or_path = "you/heads@v2"
    assert pack(model)[0]["name"] == "you/heads@v2"


def test_the_viewer_is_small():
    files = [path for path in FOLDER.iterdir() if path.suffix in (".html", ".css", ".js", ".glsl")]
    size = sum(path.stat().st_size for path in files)
    print(f"the viewer has {size:,} bytes in {len(files)} files")
    assert size <= 100_000


def test_bounds_of_a_ball(tiny_toy_config):
    """Distances of the unit ball's kind: slope 1, and an interpolation error of about h²/(8 r) times two curvatures."""

    class Ball:
        def condition(self, w):
            return self

        def sdf(self, points):
            return points.norm(dim=-1) - 0.06

        def sdf_and_gradient(self, points):
            return self.sdf(points), torch.nn.functional.normalize(points, dim=-1)

    model = StyleSDF(tiny_toy_config)
    model.__dict__["_modules"]["field"] = torch.nn.Module()
    model.field.condition = Ball().condition
    bounds = measure_bounds(model)
    assert bounds.slope == pytest.approx(1.0, abs=1e-3)
    assert 0.5 * 2 / (8 * 0.06) <= bounds.guide_error <= 1.5 * 2 / (8 * 0.06)


def test_bounds_of_a_field_without_a_surface(tiny_toy_config):
    model = StyleSDF(tiny_toy_config)
    model.field.sdf_head.weight.data.zero_()
    model.field.sdf_head.bias.data.fill_(1.0)
    assert measure_bounds(model).slope > 0.0


def test_the_command_line(bundled, tmp_path, capsys):
    out = tmp_path / "heads.html"
    assert main(["export", "--model", str(bundled), "--out", str(out)]) == 0
    print(capsys.readouterr().out)
    assert out.stat().st_size <= 3_000_000
    header = json.loads({script.get("id"): script["text"] for script in Parts(out.read_text()).scripts}["header"])
    assert (header["name"], header["dtype"]) == (f"checkpoints/{bundled.name}", "float16")


def test_the_command_line_refuses_in_one_sentence(tiny_model, tmp_path, capsys):
    folder = StyleSDF(tiny_model.config)
    folder.save_pretrained(tmp_path / "model")
    assert main(["export", "--model", str(tmp_path / "model"), "--out", str(tmp_path / "heads.html")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "which a live page cannot draw" in said


def test_an_onnx_file_has_no_choice_of_weights(tmp_path, capsys):
    assert main(["export", "--weights", "float16", "--out", str(tmp_path / "model.onnx")]) == 2
    assert "--weights is float16, but only a web page" in capsys.readouterr().err


def test_check_model_takes_the_bundled_kind(model):
    check_model(model)
    assert "{{" not in re.sub(r"<script.*?</script>", "", page(*pack(model)), flags=re.DOTALL)
