"""Checkpoints on the hub and in folders: ``from_pretrained``, ``save_pretrained``, ``push_to_hub``.

Written here rather than taken from ``PyTorchModelHubMixin``, which loads missing tensors as random ones, hides errors
of the hub behind a TypeError, takes no device or dtype and overwrites a card that was edited.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import tempfile
from pathlib import Path

import torch

from stylesdf.checkpoint import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, load_config, load_weights, model_card, save_model

__all__ = ["HubMixin", "load_config", "load_weights", "model_card", "save_model"]

HUB_ID = re.compile(r"(?P<repo_id>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\S+))?", re.ASCII)
COMMIT_HASH = re.compile(r"[0-9a-f]{40}")

logger = logging.getLogger(__name__)


class HubMixin:
    """``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` for a module that is built from its config alone.

    Attributes:
        name_or_path: What the model was loaded from; None for a new one.
        commit_hash: The hub commit it was loaded from; None for a local folder.
        card: Text of the model card it came with, and goes with: a licence must not get lost on the way.
    """

    name_or_path: str | None = None
    commit_hash: str | None = None
    card: str | None = None

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        strict: bool = True,
    ):
        """Load a model in evaluation mode from a folder or the hub.

        Args:
            pretrained_model_name_or_path: A checkpoint folder, or a hub repository ``name/name``, also
                ``name/name@revision``. A folder that exists goes first.
            revision: Branch, tag or commit of the repository; without effect on a folder.
            token: Access token of the hub; None takes the stored one.
            cache_dir: Where downloads are kept; None takes the hub's default.
            force_download: Download again what is in the cache.
            local_files_only: Use the cache alone.
            device: Where the model goes; None is the CPU.
            dtype: Floating point type of the model; None is float32.
            strict: Missing or unexpected tensors are errors; otherwise they are logged, and a missing one is random.

        Raises:
            ValueError: Neither a folder nor a repository id, or a checkpoint that does not fit. Errors of the hub
                (``huggingface_hub.errors``) pass unchanged.
        """
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"dtype is {dtype}, expected a floating point type such as torch.float32")
        folder, commit_hash = _find_folder(
            pretrained_model_name_or_path,
            revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        config = load_config(folder)
        with torch.device("meta" if strict else "cpu"):
            model = cls(config)
        load_weights(model, folder / WEIGHTS_FILE, strict=strict)
        model.name_or_path = str(pretrained_model_name_or_path)
        model.commit_hash = commit_hash
        if (folder / CARD_FILE).is_file():
            model.card = (folder / CARD_FILE).read_text(encoding="utf-8", errors="replace")
        return model.to(device=device, dtype=dtype).eval()

    def save_pretrained(self, folder: str | Path, card: str | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` (float32) and, where there is none, ``README.md``.

        Args:
            folder: Created where absent.
            card: Text of the model card; None takes the one the model was loaded with, else a template.

        Raises:
            ValueError: ``folder`` is a file, or a tensor holds values that are not finite.
        """
        save_model(self, folder, self.card if card is None else card)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload a StyleSDF model",
    ):
        """Upload the model, and a card where the repository has none.

        Args:
            repo_id: ``name/name``; created where absent.
            private: Whether a new repository is private; None takes the account's default.
            token: Access token of the hub; None takes the stored one.
            revision: Branch, created where absent; None is the main one.
            create_pr: Open a pull request instead of committing.
            commit_message: Title of the commit.

        Returns:
            The hub's ``CommitInfo``.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token, library_name="stylesdf", library_version=_version())
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not create_pr and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, card=model_card(self.config, repo_id) if self.card is None else self.card)
            has_card = api.file_exists(repo_id, CARD_FILE, revision=revision)
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                create_pr=create_pr,
                commit_message=commit_message,
                ignore_patterns=[CARD_FILE] if has_card else None,
            )


def _find_folder(name_or_path: str | Path, revision: str | None, **download_options) -> tuple[Path, str | None]:
    """Return the local folder of a checkpoint, downloaded where needed, and its commit."""
    if os.path.isdir(name_or_path):
        return Path(name_or_path), None
    if os.path.isfile(name_or_path):
        raise ValueError(f"{name_or_path} is a file, expected a checkpoint folder or a hub repository id")
    found = HUB_ID.fullmatch(str(name_or_path))
    if isinstance(name_or_path, Path) or not found:
        raise ValueError(f"{str(name_or_path)!r} is neither a folder nor a hub repository id (name/name)")
    if found["revision"] and revision not in (None, found["revision"]):
        raise ValueError(f"{name_or_path} names a revision and revision is {revision!r}, expected one of the two")

    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repo_id, revision = found["repo_id"], found["revision"] or revision
    options = {**download_options, "library_name": "stylesdf", "library_version": _version()}
    folder = Path(hf_hub_download(repo_id, CONFIG_FILE, revision=revision, **options)).parent
    # .../snapshots/COMMIT/config.json; the other files are asked for at that commit, whatever is pushed meanwhile
    commit_hash = folder.name if COMMIT_HASH.fullmatch(folder.name) else None
    hf_hub_download(repo_id, WEIGHTS_FILE, revision=commit_hash or revision, **options)
    try:
        hf_hub_download(repo_id, CARD_FILE, revision=commit_hash or revision, **options)
    except EntryNotFoundError:
        logger.info("%s has no model card", repo_id)
    return folder, commit_hash


def _version() -> str | None:
    try:
        return importlib.metadata.version("stylesdf")
    except importlib.metadata.PackageNotFoundError:
        return None
