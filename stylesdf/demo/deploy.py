"""Put the demo page on the hub as a Space, and the model beside it: ``python -m stylesdf.demo.deploy you/heads``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from stylesdf.checkpoint import CONFIG_FILE, DISCRIMINATOR_FILES
from stylesdf.config import DEFAULT_MODEL
from stylesdf.hub import HUB_ID
from stylesdf.pipeline import StyleSDF, __version__

ROOT = Path(__file__).resolve().parents[2]
SINGLE_FILES = ("app.py", "requirements.txt", "README.md", "LICENSE")
FOLDERS = ("stylesdf/", "checkpoints/")  # ours alone; what else the Space holds is its owner's
MODEL_VARIABLE = "STYLESDF_MODEL"
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
            files[f"checkpoints/{checkpoint.resolve().name}/{path.name}"] = path
    for name, path in files.items():
        if not path.is_file():
            raise ValueError(f"{root} has no {name}, expected a clone of the project")
        if path.is_symlink():
            raise ValueError(f"{path} is a link, expected a file")
    front = re.match(r"---\n(.*?)\n---\n", files["README.md"].read_text(encoding="utf-8"), re.DOTALL)
    if not front or not {"sdk: gradio", "app_file: app.py"} <= set(front[1].splitlines()):
        raise ValueError("README.md does not begin with the front matter of a Gradio Space that starts app.py")
    return files


def deploy_space(
    repo_id: str,
    files: dict[str, Path],
    model: str,
    private: bool | None = None,
    hardware: str | None = None,
    token: str | None = None,
) -> tuple[str, bool]:
    """Create or update a Space in one commit; no commit where nothing changed.

    Args:
        repo_id: ``owner/name``; created where absent.
        files: As of ``space_files``.
        model: What the page starts with, as ``checkpoints/NAME``.
        private: Whether a new Space is private; None takes the account's default.
        hardware: The hub's name of a machine; None leaves what is there.
        token: Access token; None takes the stored one.

    Returns:
        The Space's address, and whether there was a commit. Errors of the hub pass unchanged.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token, library_name="stylesdf", library_version=__version__)
    url = api.create_repo(repo_id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
    variable = api.get_space_variables(repo_id).get(MODEL_VARIABLE)
    if variable is None or variable.value != model:
        api.add_space_variable(repo_id, MODEL_VARIABLE, model)
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 with one line that says what was wrong."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # an error is one line, without the client's retries before it
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    args = _parser().parse_args(argv)
    try:
        _run(args)
    except HfHubHTTPError as error:
        status = error.response.status_code
        return _fail(f"the hub refuses ({status}): {HINTS.get(status) or error.server_message or error}")
    except (ValueError, OSError, HTTPError) as error:
        return _fail(str(error) or type(error).__name__)
    return 0


def _run(args: argparse.Namespace) -> None:
    for repo_id in (args.space, args.model_repo):
        found = repo_id and HUB_ID.fullmatch(repo_id)
        if repo_id is not None and not (found and not found["revision"]):
            raise ValueError(f"{repo_id!r} is not a repository of the hub, expected owner/name")
    checkpoint = args.checkpoint
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
    model = f"checkpoints/{checkpoint.resolve().name}"
    url, has_changed = deploy_space(args.space, files, model, args.private, args.hardware)
    print(url if has_changed else f"{url} (nothing changed)")


def _fail(message: str) -> int:
    sys.stderr.write(f"stylesdf: error: {' '.join(message.split())}\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m stylesdf.demo.deploy",
        description="Create or update a Space with the demo page and a model. The token is HF_TOKEN's, or that of "
        "`hf auth login`. Files of the Space outside of stylesdf/ and checkpoints/ that are not ours stay.",
        epilog="example: python -m stylesdf.demo.deploy you/heads --model-repo you/heads-model --dry-run",
    )
    parser.add_argument("space", metavar="OWNER/NAME", help="the Space")
    help_text = f"the model's folder (default: {DEFAULT_MODEL})"
    parser.add_argument("--checkpoint", type=Path, default=ROOT / DEFAULT_MODEL, help=help_text)
    parser.add_argument("--model-repo", metavar="OWNER/NAME", help="publish the model there, too")
    parser.add_argument("--private", action="store_true", default=None, help="make new repositories private")
    parser.add_argument("--hardware", help="machine of the Space: cpu-basic, t4-small, l4x1, ... (default: as it is)")
    parser.add_argument("--dry-run", action="store_true", help="list the Space's files and their sizes, send nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
