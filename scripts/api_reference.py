"""Write docs/api.md from the docstrings and the command line's help: the same code gives the same file.

python scripts/api_reference.py
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
from collections import Counter
from pathlib import Path
from pydoc import locate

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import stylesdf  # noqa: E402
from stylesdf.config import DEFAULT_MODEL  # noqa: E402

PAGE = ROOT / "docs" / "api.md"
MODEL = "stylesdf.StyleSDF"
HEAD = "stylesdf.head.Head"
SECTIONS = {
    "Load, save, publish": [f"{MODEL}.from_pretrained", f"{MODEL}.save_pretrained", f"{MODEL}.push_to_hub"],
    "For people": [
        MODEL,
        f"{MODEL}.generate",
        f"{MODEL}.head",
        f"{MODEL}.head_from_codes",
        f"{MODEL}.load_head",
        f"{MODEL}.invert",
        "stylesdf.inversion.Inversion",
        "stylesdf.fit.Progress",
        f"{MODEL}.edit",
        f"{MODEL}.blend",
        f"{MODEL}.morph",
        f"{MODEL}.extract_mesh",
        f"{MODEL}.render_orbit",
        f"{MODEL}.export_live",
        f"{MODEL}.latents",
        "stylesdf.outputs.GenerateResult",
        HEAD,
        f"{HEAD}.view",
        f"{HEAD}.thumbnail",
        f"{HEAD}.orbit",
        f"{HEAD}.mesh",
        f"{HEAD}.slice",
        f"{HEAD}.save",
        f"{HEAD}.compiled",
        "stylesdf.Shot",
        "stylesdf.Shot.round",
        "stylesdf.head.View",
        "stylesdf.slice.SdfSlice",
        "stylesdf.film.write_video",
        "stylesdf.arguments.parse_seeds",
        "stylesdf.mesh.refine_mesh",
        "stylesdf.texture.bake_texture",
        "stylesdf.meshfile.export_mesh",
    ],
    "For programs": [
        f"{MODEL}.forward",
        f"{MODEL}.mapping",
        f"{MODEL}.decoder_codes",
        f"{MODEL}.render",
        f"{MODEL}.synthesis",
        f"{MODEL}.sdf",
        f"{MODEL}.update_means",
        "stylesdf.Camera",
        "stylesdf.Camera.from_angles",
        "stylesdf.Camera.to",
        "stylesdf.Camera.expand",
        "stylesdf.outputs.StyleSDFOutput",
        "stylesdf.outputs.RenderOutput",
    ],
    "Settings": [
        "stylesdf.StyleSDFConfig",
        "stylesdf.StyleSDFConfig.to_dict",
        "stylesdf.StyleSDFConfig.from_dict",
        "stylesdf.preset",
    ],
    "Other formats": [
        "stylesdf.convert.convert_checkpoint",
        "stylesdf.export.export_onnx",
        "stylesdf.export.SingleView",
        "stylesdf.export.SingleView.forward",
    ],
}
INTRODUCTION = """# Reference

Made from the docstrings by `python scripts/api_reference.py`; a test compares. Below a function stand its arguments,
below a class its attributes. Each raises ValueError where an argument is out of range. Shapes: B batch, N seeds, P
points, H W thumbnail, R image, S samples of a ray, C channels.
"""


def public_objects() -> dict[str, object]:
    """Return everything the page describes, by its full name."""
    return {name: locate(name) for names in SECTIONS.values() for name in names}


def parameters(thing: object) -> list[inspect.Parameter]:
    """Return what a function or class is called with, without ``self``."""
    return [value for value in inspect.signature(thing).parameters.values() if value.name != "self"]


def returned(thing: object) -> str | None:
    """Return the annotation of what a function returns; None where it has none, and of a class."""
    annotation = inspect.signature(thing).return_annotation
    return None if inspect.isclass(thing) or annotation is inspect.Signature.empty else str(annotation)


def write_page() -> str:
    """Return the text of the page."""
    parts, objects = [INTRODUCTION], public_objects()
    for title, names in SECTIONS.items():
        parts += [f"## {title}\n", *(_entry(name, objects[name]) for name in names)]
    return "\n".join([*parts, _command_line()])


def _entry(name: str, thing: object) -> str:
    is_in_face = name.split(".")[1] in stylesdf.__all__
    title = f"### {name.removeprefix('stylesdf.') if is_in_face else name}"
    if returned(thing) not in (None, "None"):
        title += f" → `{returned(thing)}`"
    return "\n".join([f"{title}\n", _markdown(inspect.getdoc(thing), parameters(thing))])


def _word(value: inspect.Parameter) -> str:
    word = {value.VAR_POSITIONAL: "*", value.VAR_KEYWORD: "**"}.get(value.kind, "") + value.name
    word += f": {value.annotation}" if value.annotation is not value.empty else ""
    default = "Shot()" if value.default == stylesdf.Shot() else repr(value.default)
    return word + (f" = {default}" if value.default is not value.empty else "")


def _markdown(text: str, taken: list[inspect.Parameter]) -> str:
    """Turn a docstring in Google's style into Markdown; ``taken`` say more of an argument than its name."""
    words = {value.name: _word(value) for value in taken}
    by_name = next((value.name for value in taken if value.kind is value.KEYWORD_ONLY), None)
    lines, in_list = [], False
    text = re.sub(r"\nRaises:\n    ValueError: (An argument|A value) out of (its )?range\.$", "", text)
    text = re.sub(r", or an argument out of range\.$", ".", text, flags=re.MULTILINE)  # said once, above
    text = re.sub(r"(?<=ValueError: )An argument out of range, or (a)", "A", text)
    text = text.replace("\nReturns:\n    ", "\nReturns: ").replace("\nRaises:\n    ", "\nRaises ")
    for line in text.replace("``", "`").splitlines():
        if line in ("Args:", "Attributes:"):
            in_list = False
        elif line.startswith("        "):
            lines.append(("  " if in_list else "") + line.strip())
        elif found := re.fullmatch(r"    (\*{0,2}\w+): (.*)", line):
            lines += ["\nBy name only:\n"] if found[1] == by_name else []
            lines.append(f"- `{words.get(found[1], found[1])}`: {found[2]}")
            in_list = True
        else:
            lines.append(line.strip())
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _command_line() -> str:
    os.environ.update(NO_COLOR="1", STYLESDF_MODEL=DEFAULT_MODEL)
    from stylesdf.__main__ import build_parser

    parser = build_parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    lines = {name: _option_lines(command) for name, command in commands.choices.items()}
    counts = Counter(line for command in lines.values() for line in command.values())
    shared = [line for line, count in counts.items() if count > 1]
    about = "`stylesdf` is `python -m stylesdf`; [its page](command-line.md) has examples. "
    parts = ["## Command line\n", about + parser.epilog.split("\n\n")[-1] + "\n"]
    parts += ["Behind an option stands its default, or its choices, the first of them the default unless the text says"]
    parts += ["otherwise. Several commands take:\n", *shared]
    for name, command in commands.choices.items():
        about = f"{command.description[0].upper()}{command.description[1:]}."
        taken = [f"`{flag}`" for flag, line in lines[name].items() if line in shared]
        about += f" Also takes {', '.join(taken)}." if taken else ""
        needed = _needed(command)
        about += f" Needs {' and '.join(needed)}." if needed else ""
        parts += [f"\n### stylesdf {name}\n", f"{about}\n"]
        parts += [line for line in lines[name].values() if line not in shared]
    return "\n".join(parts) + "\n"


def _option_lines(command: argparse.ArgumentParser) -> dict[str, str]:
    """Return the line of each option or argument of a command, by its name."""
    lines = {}
    for action in command._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name, is_plain = _name(action), any(action.default is no for no in (None, False, argparse.SUPPRESS))
        values = list(map(str, action.choices or ())) or ([] if is_plain else [str(action.default)])
        assert is_plain or str(action.default) in values
        values.sort(key=lambda value: value != str(action.default))
        lines[name] = f"- `{' '.join([name, '|'.join(values)]).rstrip()}`: {action.help}."
    return lines


def _needed(command: argparse.ArgumentParser) -> list[str]:
    groups = [group for group in command._mutually_exclusive_groups if group.required]
    single = [f"`{_name(action)}`" for action in command._actions if action.required and action.option_strings]
    return single + [" or ".join(f"`{_name(action)}`" for action in group._group_actions) for group in groups]


def _name(action: argparse.Action) -> str:
    return "/".join(action.option_strings) or action.metavar


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(write_page(), encoding="utf-8")
