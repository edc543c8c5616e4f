"""What strangers drop, type and link: each is one sentence, quickly, and none is markup."""

import ast
import html
import json
import tracemalloc
import zlib

import pytest

from stylesdf.card import CardFacts, model_card
from stylesdf.config import StyleSDFConfig
from stylesdf.demo.models import ModelShelf, NotLoaded
from stylesdf.demo.scene import MAX_PICTURE_BYTES, PNG_SIGNATURE, Scene
from stylesdf.words import in_html, in_markdown
from tests.conftest import ROOT

PLAIN = Scene("toy", 3)


def chunk(kind: bytes, data: bytes = b"", length: int | None = None, check: int | None = None) -> bytes:
    check = zlib.crc32(kind + data) if check is None else check
    return (len(data) if length is None else length).to_bytes(4, "big") + kind + data + check.to_bytes(4, "big")


def size(width: int, height: int) -> bytes:
    return width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"


HEADER = PNG_SIGNATURE + chunk(b"IHDR", size(4, 4))
END = chunk(b"IDAT", zlib.compress(b"\0" * 52)) + chunk(b"IEND")


def saying(text: str | bytes) -> bytes:
    text = text if isinstance(text, bytes) else text.encode("latin-1")
    return HEADER + chunk(b"tEXt", b"stylesdf\0" + text) + END


def scene(**fields) -> bytes:
    return saying(json.dumps({"model": "toy", "seed": 3, **fields}))


NO_PNG, DAMAGED, SILENT, UNREAD = "is no PNG", "is damaged", "says nothing of its seed", "cannot be read, expected JSON"
PICTURES = {
    "empty": (b"", NO_PNG),
    "one byte": (b"\x89", NO_PNG),
    "text": (b"no picture at all", NO_PNG),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"\0" * 99, NO_PNG),
    "gif": (b"GIF89a" + b"\0" * 99, NO_PNG),
    "line ends changed": (HEADER.replace(b"\r\n", b"\n") + END, NO_PNG),
    "signature only": (PNG_SIGNATURE, DAMAGED),
    "half a chunk": (PNG_SIGNATURE + b"\0\0\0", DAMAGED),
    "cut in its size": (HEADER[:-9], DAMAGED),
    "no size first": (PNG_SIGNATURE + chunk(b"tEXt", b"stylesdf\0{}") + END, DAMAGED),
    "size too short": (PNG_SIGNATURE + chunk(b"IHDR", size(4, 4)[:-1]) + END, DAMAGED),
    "size empty": (PNG_SIGNATURE + chunk(b"IHDR") + END, DAMAGED),
    "size of 4 GB": (PNG_SIGNATURE + chunk(b"IHDR", size(4, 4), length=2**32 - 1) + END, DAMAGED),
    "wrong sum of the size": (PNG_SIGNATURE + chunk(b"IHDR", size(4, 4), check=1) + END, DAMAGED),
    "no width": (PNG_SIGNATURE + chunk(b"IHDR", size(0, 4)) + END, "has 0×4 pixels"),
    "no height": (PNG_SIGNATURE + chunk(b"IHDR", size(4, 0)) + END, "has 4×0 pixels"),
    "bomb": (PNG_SIGNATURE + chunk(b"IHDR", size(13_300, 13_300)) + END, "has 13300×13300 pixels, expected at most"),
    "wide": (PNG_SIGNATURE + chunk(b"IHDR", size(2**31 - 1, 1)) + END, "has 2147483647×1 pixels"),
    "tall": (PNG_SIGNATURE + chunk(b"IHDR", size(1, 2**32 - 1)) + END, "has 1×4294967295 pixels"),
    "no text": (HEADER + END, SILENT),
    "nothing but a size": (HEADER + chunk(b"IEND"), SILENT),
    "cut after its size": (HEADER, DAMAGED),
    "text behind the pixels": (HEADER + END[:-12] + chunk(b"tEXt", b"stylesdf\0{}") + chunk(b"IEND"), SILENT),
    "compressed text": (HEADER + chunk(b"zTXt", b"stylesdf\0\0" + zlib.compress(b"\0" * 10**7)) + END, SILENT),
    "international text": (HEADER + chunk(b"iTXt", b"stylesdf\0\0\0\0\0{}") + END, SILENT),
    "another's text": (HEADER + chunk(b"tEXt", b"Comment\0{}") + END, SILENT),
    "a longer key": (HEADER + chunk(b"tEXt", b"stylesdfs\0{}") + END, SILENT),
    "a key alone": (HEADER + chunk(b"tEXt", b"stylesdf") + END, SILENT),
    "wrong sum of the text": (HEADER + chunk(b"tEXt", b"stylesdf\0{}", check=7) + END, DAMAGED),
    "text beyond the file": (HEADER + chunk(b"tEXt", b"stylesdf\0{}", length=900), DAMAGED),
    "long text": (saying("[" * 30_000), "text has 30,009 bytes, expected at most 20,000"),
    "long header": (HEADER + chunk(b"tEXt", b"x\0") * 8_000 + END, SILENT),
    "long chunk first": (HEADER + chunk(b"iCCP", b"\0" * 2_000_000) + chunk(b"tEXt", b"stylesdf\0{}") + END, SILENT),
    "large file": (HEADER + b"\0" * MAX_PICTURE_BYTES, "bytes, expected at most 8,000,000"),
    "empty scene": (saying(""), UNREAD),
    "no JSON": (saying("seed 3"), UNREAD),
    "bytes": (saying(b"\xff\xfe\0{"), UNREAD),
    "list": (saying("[1, 2]"), UNREAD),
    "null": (saying("null"), UNREAD),
    "number": (saying("3"), UNREAD),
    "nested": (saying("[" * 9_000 + "]" * 9_000), UNREAD),
    "nested field": (saying('{"model": "toy", "seed": ' + "[" * 400 + "]" * 400 + "}"), r"seed is \[\["),
    "too many digits": (saying('{"model": "toy", "seed": 1' + "0" * 9_000 + "}"), UNREAD),
    "huge seed": (scene(seed=10**400), "seed is 1000"),
    "huge truncation": (scene(truncation=10**400), "truncation is 1000"),
    "huge angle": (scene(yaw=10**400), "yaw is 1000"),
    "infinite": (saying('{"model": "toy", "seed": 3, "fov": 1e999}'), "fov is inf"),
    "not a number": (saying('{"model": "toy", "seed": 3, "pitch": NaN}'), "pitch is nan"),
    "seed is true": (scene(seed=True), "seed is True"),
    "seed is broken": (scene(seed=3.5), "seed is 3.5"),
    "seed below": (scene(seed=-1), "seed is -1"),
    "no model": (saying('{"seed": 3}'), "model is None"),
    "model of nothing": (scene(model=""), "model is ''"),
    "model is a list": (scene(model=["toy"]), r"model is \['toy'\]"),
    "model of 301 letters": (scene(model="m" * 301), "expected a name of 1 to 300 characters"),
    "half a letter": (scene(model="\ud800"), "model is "),
    "letters that turn the line": (scene(model="\u202etoy"), "model is "),
    "mode is a list": (scene(mode=["image"]), r"mode is \['image'\]"),
    "quality is a dict": (scene(quality={"a": 1}), r"quality is \{'a': 1\}"),
}


def assert_told(error: ValueError) -> None:
    assert "\n" not in str(error) and 10 < len(str(error)) < 400 and "Traceback" not in str(error)


@pytest.mark.parametrize("name", PICTURES)
def test_a_hostile_picture_is_one_sentence(tmp_path, name):
    content, words = PICTURES[name]
    (tmp_path / "a.png").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words) as told:
            Scene.from_picture(tmp_path / "a.png")
        assert tracemalloc.get_traced_memory()[1] < 3_000_000  # nothing is decoded or unpacked
    finally:
        tracemalloc.stop()
    assert_told(told.value)


def test_paths_that_are_no_file_are_one_sentence(tmp_path):
    for path in (tmp_path, tmp_path / "missing.png", tmp_path / ("x" * 300 + ".png"), tmp_path / "a" / "b.png"):
        with pytest.raises(ValueError, match="the file cannot be read") as told:
            Scene.from_picture(path)
        assert str(tmp_path) not in str(told.value)


LINKS = [
    ({"seed": ""}, "seed of the link is ''"),
    ({"seed": "three"}, "seed of the link is 'three'"),
    ({"seed": "3.0"}, "seed of the link is '3.0'"),
    ({"seed": "-1"}, "seed is -1"),
    ({"seed": "9" * 299}, "seed is 999"),
    ({"seed": "9" * 301}, "seed of the link has 301 characters"),
    ({"seed": "0x10"}, "seed of the link"),
    ({"seed": "<b>3</b>"}, "seed of the link"),
    ({"psi": "1e999"}, "truncation is inf"),
    ({"psi": "nan"}, "truncation is nan"),
    ({"psi": "-0.1"}, "truncation is -0.1"),
    ({"yaw": "9" * 300}, "yaw is 1e"),
    ({"yaw": "91"}, "yaw is 91"),
    ({"pitch": "--5"}, "pitch of the link"),
    ({"roll": "inf"}, "roll is inf"),
    ({"fov": "0"}, "fov is 0"),
    ({"texture": "-3"}, "texture_seed is -3"),
    ({"to": "4294967296"}, "morph_seed is 4294967296"),
    ({"share": "2"}, "morph_share is 2"),
    ({"mode": "<img src=x onerror=alert(1)>"}, "mode is '<img src=x"),
    ({"quality": "exact\n\nfast"}, "quality is 'exact"),
    ({"model": ""}, "model is ''"),
    ({"model": "a" * 301}, "model of the link has 301 characters"),
    ({"model": "a\0b"}, "model is "),
    ({"model": "a\u202eb"}, "model is "),
]


@pytest.mark.parametrize("query, words", LINKS)
def test_a_hostile_link_is_one_sentence(query, words):
    with pytest.raises(ValueError, match=words) as told:
        Scene.from_query(query, PLAIN)
    assert_told(told.value)


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    root = tmp_path_factory.mktemp("public")
    for name in ("small", "other"):
        (root / "checkpoints" / name).mkdir(parents=True)
        (root / "checkpoints" / name / "config.json").write_text("{}", encoding="utf-8")
    (root / "secret").mkdir()
    (root / "checkpoints" / "out").symlink_to(root / "secret")
    return ModelShelf(root, is_public=True)


PATHS = [
    "/", "/etc", "/etc/passwd", "/proc/self/environ", "/dev/zero", ".", "..", "../..", "~", "~root", "checkpoints",
    "checkpoints/", "checkpoints/..", "checkpoints/../secret", "checkpoints/out", "checkpoints/missing", "secret",
    "./secret", "out", "checkpoints/small/config.json", "file:///etc/passwd", "a/b/c",
    "https://example.org/model", "\\\\host\\share", "C:\\Windows", "owner/../name", "x" * 300, "a/" * 150, "small\0",
    "", " ", "<b>small</b>", "owner/name@",
]  # fmt: skip


@pytest.mark.parametrize("text", PATHS)
def test_a_hostile_path_opens_nothing(public, text):
    for door in (public.get, public.load, public.look_up):
        with pytest.raises(ValueError) as told:
            door(text)
        assert not isinstance(told.value, NotLoaded)
        assert_told(told.value)
        assert str(public.root) not in str(told.value)


@pytest.mark.parametrize("text", ["owner/name@../../x", "owner/name@a\\b", "owner/name@~x", "owner/name@-x"])
def test_a_hostile_revision_asks_nobody(public, text):
    with pytest.raises(NotLoaded):
        public.get(text)
    with pytest.raises(ValueError, match="revision is") as told:
        public.load(text)
    assert_told(told.value)


MARKUP = [
    "<img src=//evil.example/x.png>", "<form action=//evil.example><input name=password></form>", "<b onload=a()>",
    "[here](https://evil.example)", "![x](//evil.example/x.png)", "**bold** _it_ `code` ~~no~~ | a | b |", "<!--",
    "$$\\frac{1}{2}$$", "https://evil.example www.evil.example a@evil.example", "# title\n- list\n> quote", "&lt;b&gt;",
]  # fmt: skip


@pytest.mark.parametrize("text", MARKUP)
def test_text_from_outside_is_shown_as_it_is(text):
    line = " ".join(text.split())
    parser = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"html": True, "linkify": False})
    (_, inline, _) = parser.parse(f"The model {in_markdown(text)} is here.")
    assert "".join(child.content for child in inline.children) == f"The model {line} is here."
    assert {child.type for child in inline.children} <= {"text", "text_special"}
    assert "https://" not in in_markdown(text) and "www." not in in_markdown(text) and "@" not in in_markdown(text)
    assert html.unescape(in_html(text)) == line and not set("<>") & set(in_html(text))


HOSTILE = "<img src=//evil.example/x.png>[a](b)"
HOSTILE_CARD = "---\nlicense: <img/src=//evil.example>\n---\n"


def doors(public, tiny_model, monkeypatch) -> dict[str, str]:
    """What the page and a card show of what others wrote, as it goes out."""
    gr = pytest.importorskip("gradio")
    from stylesdf.demo import page
    from stylesdf.demo.tabs.models import about

    said = []
    monkeypatch.setattr(gr, "Warning", said.append)
    monkeypatch.setattr(gr, "Info", said.append)

    def told(act) -> str:
        with pytest.raises(gr.Error) as raised, page.speaking("Title", OSError):
            act()
        return raised.value.message

    def refuse():
        raise OSError(HOSTILE)

    page.warn(f"The link cannot be followed: {HOSTILE}")
    page.tell(HOSTILE)
    folder = public.root / "checkpoints" / "other"
    (folder / "config.json").write_text(json.dumps({"format": 1, HOSTILE: 1}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"0" * 64)
    (folder / "README.md").write_text(HOSTILE_CARD, encoding="utf-8")
    tiny_model.name_or_path, tiny_model.commit_hash, tiny_model.card = HOSTILE, "<img>01", HOSTILE_CARD
    facts = CardFacts(metrics={"<img>": 1.0}, metrics_dataset=HOSTILE, training={HOSTILE: HOSTILE})
    card = model_card(StyleSDFConfig(), HOSTILE.replace("/", ""), facts)
    return {
        "a link": said[0],
        "what is told": said[1],
        "a link's number": told(lambda: Scene.from_query({"seed": HOSTILE}, PLAIN)),
        "a model's name": told(lambda: public.get(HOSTILE)),
        "a config's key": told(lambda: public.load("other")),
        "an error of the hub": told(refuse),
        "a licence asked for": public.look_up("other"),
        "a licence that came": about(tiny_model),
        "a card's title": card[card.index("\n# ") :].split("\n")[1],
        "a card's tables": "".join(line for line in card.split("\n") if line.startswith("| ") and "img" in line),
    }


def test_every_door_shows_words(public, tiny_model, monkeypatch):
    for door, shown in doors(public, tiny_model, monkeypatch).items():
        assert "img" in shown and "<" not in shown, door
        is_markdown = "licence" in door or "card" in door
        assert not is_markdown or "[a](b)" not in shown, door


def test_toasts_go_through_one_place():
    for path in [*ROOT.glob("stylesdf/demo/**/*.py"), ROOT / "app.py"]:
        used = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "gr"
        }
        assert path.name == "page.py" or not used & {"Error", "Warning", "Info", "Success"}, path
