"""Put the demo page on the hub as a Space, and the model beside it: ``python -m stylesdf.demo.deploy you/heads``.

With ``--static`` the Space is the live page (docs/LIVE.md), which needs no machine; called ``you/heads-live``, it and
the studio ``you/heads`` link each other.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stylesdf.card import licence_of
from stylesdf.checkpoint import BUNDLED, CONFIG_FILE, DISCRIMINATOR_FILES, bundled_root
from stylesdf.config import DEFAULT_MODEL
from stylesdf.demo.live import LIVE_VARIABLE, SPACES_URL
from stylesdf.live.export import pack, page
from stylesdf.pipeline import StyleSDF
from stylesdf.repository import HUB_ID
from stylesdf.terminal import error_line, terminal
from stylesdf.version import __version__

ROOT = Path(__file__).resolve().parents[2]
SINGLE_FILES = ("app.py", "requirements.txt", "README.md", "LICENSE")
FOLDERS = ("stylesdf/", f"{BUNDLED}/")  # ours alone; what else the Space holds is its owner's
MODEL_VARIABLE = "STYLESDF_MODEL"
LIVE_ENDING = "-live"
STATIC_README = """---
title: Live heads
emoji: 🧑
colorFrom: blue
colorTo: yellow
sdk: static
app_file: index.html
license: {licence}
short_description: Every seed is a 3D head that your own browser draws
---

# Live heads

`index.html` holds a generator of heads, `{name}`, and draws them in the browser: seeds, truncation, morphs and mixes
from any side, without a server. Saved, it opens by double click. {studio}Made by
`python -m stylesdf.demo.deploy {repo_id} --static` with StyleSDF {version}, an independent implementation of
[StyleSDF](https://arxiv.org/abs/2112.11427).
"""
HINTS = {
    401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
    402: "the hub wants a paid plan for this kind of Space or hardware",
    403: "the token may not write there",
    404: "there is no such owner or repository, or the token may not see it",
    412: "somebody else committed meanwhile, run this again",
}


def space_files(root: Path, checkpoint: Path) -> dict[str, Path]:
    """Return what a Space is made of, path in the repository → file here.

    Args:
        root: A clone of the project.
        checkpoint: The model's folder; it becomes ``checkpoints/NAME`` without discriminators, which no page needs.

    Raises:
        ValueError: Something is missing, is a link, or the README does not describe a Gradio Space.
    """
    if not (checkpoint / CONFIG_FILE).is_file():
        raise ValueError(f"{checkpoint} has no {CONFIG_FILE}, expected a checkpoint folder")
    files = {name: root / name for name in SINGLE_FILES}
    for path in sorted((root / "stylesdf").rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in name.parts):
            files[name.as_posix()] = path
    for path in sorted(checkpoint.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.name not in DISCRIMINATOR_FILES.values():
            files[f"{BUNDLED}/{checkpoint.resolve().name}/{path.name}"] = path
    for name, path in files.items():
        if not path.is_file():
            raise ValueError(f"{root} has no {name}, expected a clone of the project")
        if path.is_symlink():
            raise ValueError(f"{path} is a link, expected a file")
    front = re.match(r"---\n(.*?)\n---\n", files["README.md"].read_text(encoding="utf-8"), re.DOTALL)
    if not front or not {"sdk: gradio", "app_file: app.py"} <= set(front[1].splitlines()):
        raise ValueError("README.md does not begin with the front matter of a Gradio Space that starts app.py")
    return files


def static_files(checkpoint: Path, repo_id: str, studio: str | None, folder: Path) -> dict[str, Path]:
    """Write what a static Space is made of: the live page and a README; path in the repository → file here.

    Args:
        checkpoint: The model's folder.
        repo_id: The Space, ``owner/name``.
        studio: A Space to link; None where there is none.
        folder: Where to write; it is there.

    Raises:
        ValueError: A folder that is no checkpoint, or a model that a live page cannot draw.
    """
    model = StyleSDF.from_pretrained(checkpoint)
    header, data = pack(model)
    address = SPACES_URL + studio if studio else ""
    readme = STATIC_README.format(
        licence=licence_of(model.card) or "apache-2.0", name=header["name"], repo_id=repo_id, version=__version__,
        studio=f"Meshes and films are made in [the studio]({address}). " if studio else "",
    )  # fmt: skip
    files = {"README.md": readme, "index.html": page({**header, "studio": address}, data)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return {name: folder / name for name in files}


def studio_of(repo_id: str) -> str | None:
    """Return the studio of a live page, ``owner/name`` of ``owner/name-live``; None where there is none on the hub."""
    from huggingface_hub import HfApi

    name = repo_id.removesuffix(LIVE_ENDING)
    return name if name != repo_id and HfApi().repo_exists(name, repo_type="space") else None


def deploy_space(
    repo_id: str,
    files: dict[str, Path],
    sdk: str = "gradio",
    variables: Mapping[str, str] | None = None,
    private: bool | None = None,
    hardware: str | None = None,
) -> tuple[str, bool]:
    """Create or update a Space in one commit; no commit where nothing changed.

    Args:
        repo_id: ``owner/name``; created where absent.
        files: As of ``space_files`` or ``static_files``.
        sdk: ``"gradio"`` or ``"static"``.
        variables: What the Space's page finds in its environment.
        private: Whether a new Space is private; None takes the account's default.
        hardware: The hub's name of a machine; None leaves what is there.

    Returns:
        The Space's address, and whether there was a commit. Errors of the hub pass unchanged.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(library_name="stylesdf", library_version=__version__)
    url = api.create_repo(repo_id, repo_type="space", space_sdk=sdk, private=private, exist_ok=True)
    for name, value in (variables or {}).items():
        set_variable(repo_id, name, value)
    head = api.space_info(repo_id)
    stale = [file.rfilename for file in head.siblings or [] if file.rfilename.startswith(FOLDERS)]
    operations = [CommitOperationAdd(name, path) for name, path in files.items()]
    operations += [CommitOperationDelete(name) for name in stale if name not in files]
    commit = api.create_commit(
        repo_id, operations, commit_message=f"StyleSDF {__version__}", repo_type="space", parent_commit=head.sha
    )
    if hardware is not None and api.get_space_runtime(repo_id).requested_hardware != hardware:
        api.request_space_hardware(repo_id, hardware)
    return str(url), commit.oid != head.sha


def set_variable(repo_id: str, name: str, value: str) -> None:
    """Set what a Space's page finds in its environment; a Space restarts where that is new."""
    from huggingface_hub import HfApi

    api = HfApi(library_name="stylesdf", library_version=__version__)
    known = api.get_space_variables(repo_id).get(name)
    if known is None or known.value != value:
        api.add_space_variable(repo_id, name, value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 2 with one line that says what was wrong, 130 when interrupted."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # an error is one line, without the client's retries before it
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        with terminal():
            _run(_parser().parse_args(argv))
    except HfHubHTTPError as error:
        status = error.response.status_code
        message = f"the hub refuses ({status}): {HINTS.get(status) or error.server_message or error}"
    except (ValueError, OSError, HTTPError) as error:
        message = str(error) or type(error).__name__
    except KeyboardInterrupt as stop:
        return getattr(stop, "status", 130)
    else:
        return 0
    sys.stderr.write(error_line(message))
    return 2


def _run(args: argparse.Namespace) -> None:
    for repo_id in (args.space, args.model_repo):
        found = repo_id and HUB_ID.fullmatch(repo_id)
        if repo_id is not None and not (found and not found["revision"]):
            raise ValueError(f"{repo_id!r} is not a repository of the hub, expected owner/name")
    if args.static and args.hardware:
        raise ValueError(f"--hardware is {args.hardware!r}, but a static Space has no machine")
    checkpoint = args.checkpoint
    studio = studio_of(args.space) if args.static and not args.dry_run else None
    with tempfile.TemporaryDirectory() as folder:
        if args.static:
            sdk, variables, files = "static", {}, static_files(checkpoint, args.space, studio, Path(folder))
        else:
            sdk, variables = "gradio", {MODEL_VARIABLE: f"{BUNDLED}/{checkpoint.resolve().name}"}
            files = space_files(ROOT, checkpoint)
        if args.dry_run:
            for name, path in files.items():
                print(f"{path.stat().st_size:>12,}  {name}")
            total = sum(path.stat().st_size for path in files.values())
            print(f"{total:>12,}  bytes in {len(files)} files for {args.space}")
            return
        if args.model_repo:
            info = StyleSDF.from_pretrained(checkpoint).push_to_hub(args.model_repo, private=args.private)
            print(info.repo_url)
        url, has_changed = deploy_space(args.space, files, sdk, variables, args.private, args.hardware)
    if studio:
        set_variable(studio, LIVE_VARIABLE, args.space)
    print(url if has_changed else f"{url} (nothing changed)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m stylesdf.demo.deploy",
        description="Create or update a Space with the demo page and a model. The token is HF_TOKEN's, or that of "
        "`hf auth login`. Files of the Space outside of stylesdf/ and checkpoints/ that are not ours stay.",
        epilog="examples: python -m stylesdf.demo.deploy you/heads --model-repo you/heads-model --dry-run; "
        "python -m stylesdf.demo.deploy you/heads-live --static",
    )
    parser.add_argument("space", metavar="OWNER/NAME", help="the Space")
    help_text = "the live page, which the visitor's browser draws; NAME-live and the studio NAME link each other"
    parser.add_argument("--static", action="store_true", help=help_text)
    help_text = f"the model's folder (default: {DEFAULT_MODEL})"
    parser.add_argument("--checkpoint", type=Path, default=bundled_root() / DEFAULT_MODEL, help=help_text)
    parser.add_argument("--model-repo", metavar="OWNER/NAME", help="publish the model there, too")
    parser.add_argument("--private", action="store_true", default=None, help="make new repositories private")
    parser.add_argument("--hardware", help="machine of the Space: cpu-basic, t4-small, l4x1, ... (default: as it is)")
    parser.add_argument("--dry-run", action="store_true", help="list the Space's files and their sizes, send nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
