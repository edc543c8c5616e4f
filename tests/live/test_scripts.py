"""The viewer's numbers in node: the same latents, codes and layers as in PyTorch; links, metadata and code."""

import base64
import copy
import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from stylesdf import StyleSDF
from stylesdf.arguments import parse_edits
from stylesdf.demo.scene import Scene
from stylesdf.directions import Directions
from stylesdf.live.export import FieldBounds, pack
from stylesdf.mesh import field_normals
from tests.live.node import run_script

HEADER = {
    "name": "you/heads@v2", "commit": "abc", "version": "0.1.0", "fov_deg": 12, "model_fov_deg": 12,
    "directions": ["age", "beard"],
}  # fmt: skip


def draw(seed: int, size: int) -> np.ndarray:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)).numpy()


def test_a_thousand_seeds_give_the_latents_of_torch(tmp_path):
    spread = np.random.default_rng(0).integers(0, 2**32, 498).tolist()
    seeds = [*range(500), *spread, 2**32 - 1, 2**31]
    found = run_script("return given.map((seed) => Array.from(randn(seed, 256)))", tmp_path, seeds)
    expected = np.stack([draw(seed, 256) for seed in seeds])
    difference = np.abs(np.array(found, dtype=np.float32) - expected).max()
    print(f"largest difference of {len(seeds)} seeds: {difference:.2g}")
    assert difference <= 1e-6


def test_latents_of_any_size(tmp_path):
    sizes = [*range(16, 40), 64, 100, 512, 700]
    found = run_script("return given.map((size) => Array.from(randn(7, size)))", tmp_path, sizes)
    for size, values in zip(sizes, found):
        np.testing.assert_allclose(values, draw(7, size), atol=1e-6, err_msg=str(size))


def test_half_precision_is_read_exactly(tmp_path):
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    text = base64.b64encode(finite.astype("<f2").tobytes()).decode()
    code = "return Array.from(readNumbers(Uint8Array.from(Buffer.from(given, 'base64')), 'float16'))"
    np.testing.assert_array_equal(run_script(code, tmp_path, text), finite.astype(np.float64))


@pytest.fixture(params=["people", "narrow"])
def model(request, tiny_toy_config) -> StyleSDF:
    """The bundled model, and one whose width is no multiple of four and whose latent no multiple of sixteen."""
    if request.param == "people":
        return StyleSDF.from_pretrained(request.getfixturevalue("bundled"))
    model = StyleSDF(dataclasses.replace(tiny_toy_config, field_width=18, field_depth=3, latent_size=23)).eval()
    model.update_means(100)
    return model


def folded(texels: np.ndarray, model: StyleSDF) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray, np.ndarray]:
    """Matrix and offset of every layer, the heads and their biases, from the texture that field.glsl describes."""
    width, depth = texels.shape[1], model.config.field_depth
    blocks = width // 4
    offsets = depth * blocks

    def across(row):  # texel b holds outputs 4b .. 4b+3
        return texels[row, :blocks].reshape(-1)

    layers = [(np.stack([across(offsets + depth + 1 + axis) for axis in range(3)]), across(offsets))]
    for layer in range(1, depth + 1):
        rows = texels[(layer - 1) * blocks : layer * blocks]  # (b, in, 4)
        layers.append((rows.transpose(1, 0, 2).reshape(width, width), across(offsets + layer)))
    return layers, texels[offsets + depth + 4], texels[offsets + depth + 5, 0]


@pytest.mark.parametrize("weights", ["float32", "float16"])
@pytest.mark.parametrize("psi", [0.7, 1.0])
def test_codes_and_folded_layers_are_those_of_pytorch(model, weights, psi, tmp_path, monkeypatch):
    monkeypatch.setattr("stylesdf.live.export.measure_bounds", lambda model: FieldBounds(1.0, 1.0))
    header, data = pack(model, weights)
    if weights == "float16":  # compare with the same rounded numbers
        model = copy.deepcopy(model)
        for tensor in (*model.field.parameters(), *model.renderer_mapping.parameters(), model.w_avg):
            tensor.data.copy_(tensor.data.half())
    seeds, texture, share = [0, 3, 4_000_000_000], 8, 0.25
    code = """
      const model = new Model(given.header, Uint8Array.from(Buffer.from(given.data, 'base64')))
      const heads = given.seeds.map((seed) => {
        const scene = { seed, psi: given.psi, texture: given.texture, to: 5, share: given.share }
        return { w: Array.from(model.code(seed, given.psi)), texels: Array.from(model.head(scene).data) }
      })
      return heads
    """
    given = {"header": header, "data": base64.b64encode(data).decode(), "seeds": seeds, "psi": psi}
    found = run_script(code, tmp_path, {**given, "texture": texture, "share": share})
    worst = 0.0
    for seed, head in zip(seeds, found):
        with torch.no_grad():
            w, other, colours = (model.mapping(model.latents([each]), psi) for each in (seed, 5, texture))
            blend = torch.lerp(w, other, share)
            field = model.field.condition(blend)
            expected = [*field.layers, model.field.view_layer.fold(colours)]
        texels = np.array(head["texels"], dtype=np.float32).reshape(-1, header["field_width"], 4)
        layers, heads, biases = folded(texels, model)
        pairs = [(np.array(head["w"]), w[0].numpy())]
        for (matrix, offset), (torch_matrix, torch_offset) in zip(layers, expected):
            rows, columns = torch_matrix.shape[1:]
            assert not matrix[rows:].any() and not matrix[:, columns:].any() and not offset[columns:].any()
            pairs.append((matrix[:rows, :columns], torch_matrix[0].numpy()))
            pairs.append((offset[:columns], torch_offset[0, 0].numpy()))
        width = model.config.field_width
        pairs.append((heads[:width, 0], field.sdf_head.weight[0].detach().numpy()))
        pairs.append((heads[:width, 1:].T, field.rgb_head.weight.detach().numpy()))
        pairs.append((biases, np.concatenate([field.sdf_head.bias.detach(), field.rgb_head.bias.detach()])))
        worst = max(worst, *(np.abs(ours - theirs).max() / np.abs(theirs).max() for ours, theirs in pairs))
    print(f"largest relative difference: {worst:.2g}")
    assert worst <= 1e-5


def test_edited_codes_are_those_of_python(bundled, tmp_path):
    model = StyleSDF.from_pretrained(bundled)
    header, data = pack(model, "float32")
    code = """
      const model = new Model(given.header, Uint8Array.from(Buffer.from(given.data, 'base64')))
      return given.scenes.map((scene) => Array.from(model.edited(model.blended(scene), readEdits(scene.edit))))
    """
    seeds = [{"seed": 0, "psi": 0.7, "to": None, "share": 0}, {"seed": 3, "psi": 1, "to": 5, "share": 0.4}]
    scenes = [{**scene, "edit": edit} for scene in seeds for edit in ("", "age=2", "hat=1,glasses=-1.5")]
    given = {"header": header, "data": base64.b64encode(data).decode(), "scenes": scenes}
    assert header["directions"] == model.directions.names
    for scene, found in zip(scenes, run_script(code, tmp_path, given)):
        head = model.head(scene["seed"], scene["psi"])
        if scene["to"] is not None:
            head = model.blend(head, model.head(scene["to"], scene["psi"]), scene["share"])
        expected = model.edit(head, parse_edits(scene["edit"])).w[0] if scene["edit"] else head.w[0]
        assert (torch.tensor(found) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_damaged_weights_are_refused(tiny_toy_config, tmp_path):
    model = StyleSDF(tiny_toy_config)
    header, data = pack(model)
    code = """
      const data = Uint8Array.from(Buffer.from(given.data, 'base64'))
      try { new Model(given.header, data) } catch (error) { return error.message }
    """
    given = {"header": header, "data": base64.b64encode(data[:-10]).decode()}
    assert run_script(code, tmp_path, given) == (
        f"This file holds {len(data) - 10} bytes of weights and should hold {len(data)}: it is damaged."
    )


# ---- scenes

SCENES = [
    {},
    {"seed": 3, "psi": 0.5, "yaw": 20.5, "pitch": -7},
    {"seed": 3, "to": 5, "share": 0.25, "roll": 10, "fov": 9.5, "mode": "depth"},
    {"seed": 1, "texture": 4, "yaw": -30},
    {"seed": 2, "to": 6, "share": 0.5, "edit": "age=1.5,beard=-1"},
    {"seed": 1, "cut": "side", "cutAt": 0.1, "mode": "shape", "around": 40, "above": -5},
    {"seed": 4, "yaw": 10, "around": -90, "above": 0},
    {"seed": 5, "perspective": 0.25},
]


def test_fragments_bring_scenes_back(tmp_path):
    code = """
      return given.scenes.map((change) => {
        const scene = { ...firstScene(given.header), ...change }, fragment = writeFragment(scene, given.header)
        return [scene, readFragment(fragment, given.header).scene, fragment]
      })
    """
    found = run_script(code, tmp_path, {"scenes": SCENES, "header": HEADER})
    for scene, again, fragment in found:
        assert again == scene, fragment
    assert [fragment for _, _, fragment in found][:2] == ["#seed=0", "#seed=3&psi=0.5&yaw=20.5&pitch=-7"]


def test_bad_fragments_are_told_and_left_out(tmp_path):
    text = "#seed=<img src=x onerror=alert(1)>&psi=7&yaw=725&mode=xray&share=NaN&model=you/heads&pitch=&fov=1e999&to=-1"
    text += "&edit=hat=1"
    code = "return readFragment(given.text, given.header)"
    found = run_script(code, tmp_path, {"text": text, "header": HEADER})
    scene, complaints = found["scene"], found["complaints"]
    assert (scene["seed"], scene["psi"], scene["yaw"], scene["mode"], scene["to"]) == (0, 1, 5, "image", None)
    told = [complaint.split('"')[0] for complaint in complaints]
    assert told == [f"The link's {name} is " for name in ("seed", "mode", "share", "pitch", "fov", "to", "edit")]
    found = run_script(code, tmp_path, {"text": "#edit=age=1,age=2", "header": HEADER})
    assert found["scene"]["edit"] == "" and len(found["complaints"]) == 1  # as Python, which wants each name once


def test_links_of_the_page_are_links_of_the_viewer(tmp_path):
    seen = {"yaw": -25.5, "pitch": 8.0, "roll": 2.0, "fov": 10.0, "perspective": 0.25, "mode": "shape"}
    scene = Scene("you/heads", 21, 0.9, 4, 5, 0.3, **seen, around=60.0, above=-20.0, edits="beard=2,age=-0.25")
    code = "return readFragment(given.text, given.header)"
    found = run_script(code, tmp_path, {"text": scene.query(), "header": HEADER})
    assert found["complaints"] == []
    values = {
        "seed": 21, "psi": 0.9, "texture": 4, "to": 5, "share": 0.3, "yaw": -25.5, "pitch": 8, "roll": 2, "fov": 10,
        "perspective": 0.25, "around": 60, "above": -20, "mode": "shape", "edit": "age=-0.25,beard=2",
    }  # fmt: skip
    assert {name: found["scene"][name] for name in values} == values


def test_a_picture_remembers_its_scene(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (10, 200, 30)).save(buffer, format="PNG")
    code = """
      const scene = { ...firstScene(given.header), seed: 21, psi: 0.9, to: 5, share: 0.3, yaw: -25.5, mode: 'normals',
        edit: 'age=1.5' }
      const blob = withText(Uint8Array.from(Buffer.from(given.png, 'base64')), metadataOf(scene, given.header))
      return Buffer.from(await blob.arrayBuffer()).toString('base64')
    """
    header = {**HEADER, "name": "köpfe/名"}
    given = {"png": base64.b64encode(buffer.getvalue()).decode(), "header": header}
    path = tmp_path / "picture.png"
    path.write_bytes(base64.b64decode(run_script(code, tmp_path, given)))
    image = Image.open(path)
    image.load()  # checks every chunk's sum
    assert image.getpixel((0, 0)) == (10, 200, 30)
    assert (image.text["seed"], image.text["truncation"], image.text["model"]) == ("21", "0.9", "köpfe/名")
    assert Scene.from_picture(path) == Scene(
        "köpfe/名", 21, 0.9, morph_seed=5, morph_share=0.3, yaw=-25.5, mode="normals", edits="age=1.5"
    )
    given["header"] = {**header, "fov_deg": 20}  # of a file that was exported with a lens of its own
    path.write_bytes(base64.b64decode(run_script(code, tmp_path, given)))
    assert Scene.from_picture(path).fov == 20


def test_the_code_makes_the_same_head(published_toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    header = {**HEADER, "name": "model", "fov_deg": 12, "model_fov_deg": 12}
    code = "return given.scenes.map((change) => pythonOf({ ...firstScene(given.header), ...change }, given.header))"
    for change, text in zip(SCENES, run_script(code, tmp_path, {"scenes": SCENES, "header": header})):
        names = {}
        exec(text, names)
        scene = {"seed": 0, "psi": 0.7, "texture": None, "to": None, "share": 0, **change}
        with torch.no_grad():
            w = published_toy.mapping(published_toy.latents([scene["seed"]]), scene["psi"])
            if scene["to"] is not None:
                other = published_toy.mapping(published_toy.latents([scene["to"]]), scene["psi"])
                w = torch.lerp(w, other, scene["share"])
            w = published_toy.directions.move(published_toy.renderer_mapping, w, parse_edits(scene.get("edit", "")))
            colours = w
            if scene["texture"] is not None:
                colours = published_toy.mapping(published_toy.latents([scene["texture"]]), scene["psi"])
            field = dataclasses.replace(
                published_toy.field.condition(w), view_layer=published_toy.field.view_layer.fold(colours)
            )
            points = torch.rand(1, 50, 3) * 0.1
            ours, theirs = names["head"].field(points, points), field(points, points)
        torch.testing.assert_close(ours.sdf, theirs.sdf)
        torch.testing.assert_close(ours.rgb, theirs.rgb)
        assert field_normals(names["head"].field, points[0]).shape == (50, 3)
    assert len(list(tmp_path.glob("head-*.png"))) == len(SCENES)


@pytest.fixture
def published_toy(tiny_toy_config, tmp_path) -> StyleSDF:
    model = StyleSDF(tiny_toy_config).eval()
    model.update_means(100)
    directions = Directions(tiny_toy_config.latent_size, ["age", "beard"])
    directions.vectors.normal_(std=0.3)
    vars(model)["directions"] = directions
    model.save_pretrained(tmp_path / "model")
    return model
