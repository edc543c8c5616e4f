"""Where a checkpoint lies: in a folder here, or in a repository of the hub whose files come to the cache."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stylesdf.checkpoint import (
    BUNDLED,
    CARD_FILE,
    COMPANION_FILES,
    CONFIG_FILE,
    file_hash,
    index_file,
    shard_names,
    weights_file,
)
from stylesdf.config import shown
from stylesdf.version import __version__

HUB_ID = re.compile(r"(?P<repo_id>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\S+))?", re.ASCII)
COMMIT_HASH = re.compile(r"[0-9a-f]{40}")
REVISION = re.compile(r"(?!.*\.\.)\w[^\s\\~^:?*\[]*")  # the client makes a path of the cache of it
RETRY_SECONDS = (1, 4)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """Where a checkpoint lies on this machine."""

    folder: Path
    weights: Path
    card: Path | None
    companions: Mapping[str, Path]
    commit_hash: str | None = None


def find_local(name_or_path: str | Path, subfolder: str | None, variant: str | None) -> Found | None:
    """Return the checkpoint that a path names; None where nothing is there."""
    path = Path(name_or_path)
    if os.path.isfile(name_or_path):
        if path.suffix != ".safetensors":
            raise ValueError(
                f"{name_or_path} is a file, expected a checkpoint folder, a .safetensors file beside its "
                f"{CONFIG_FILE} or a hub repository id"
            )
        if subfolder is not None or variant is not None:
            raise ValueError(f"{name_or_path} is a file, expected a folder with subfolder or variant")
        folder, weights = path.parent, path
    elif os.path.isdir(name_or_path):
        folder = path / (subfolder or "")
        weights, index = folder / weights_file(variant), folder / index_file(variant)
        if index.is_file() and not weights.is_file():
            weights = index
            for name in shard_names(index):
                check_link(folder / name)
    else:
        return None
    card, companions = folder / CARD_FILE, {kind: folder / name for kind, name in COMPANION_FILES.items()}
    for optional in (card, *companions.values()):
        check_link(optional)
    companions = {kind: path for kind, path in companions.items() if path.is_file()}
    return Found(folder, weights, card if card.is_file() else None, companions)


def check_link(path: Path) -> None:
    """Refuse a link out of its folder, whose content a push would publish; the hub's cache is made of such links."""
    in_cache = any(folder.name == "snapshots" for folder in path.absolute().parents)
    if path.is_symlink() and not in_cache and path.resolve().parent != path.parent.resolve():
        raise ValueError(f"{path} is a link that leads out of its folder, expected a file")


def parse_hub_id(name_or_path: str | Path, revision: str | None) -> tuple[str, str | None]:
    found = HUB_ID.fullmatch(str(name_or_path))
    if isinstance(name_or_path, Path) or not found:
        what = f"{str(name_or_path)!r} is neither a folder nor a hub repository id (name/name)"
        raise ValueError(what + _meant(Path(name_or_path)))
    parent = Path(found["repo_id"]).parent
    if not (found["revision"] or revision) and (os.path.isdir(parent) or parent == Path(BUNDLED)):
        what = f"there is no model folder {name_or_path}{_meant(Path(name_or_path))}"
        raise ValueError(f"{what}; for the hub's model of that name write {name_or_path}@main")
    if found["revision"] and revision not in (None, found["revision"]):
        raise ValueError(f"{name_or_path} names a revision and revision is {revision!r}, expected one of the two")
    revision = found["revision"] or revision
    if revision is not None and not REVISION.fullmatch(revision):
        raise ValueError(f"revision is {shown(revision)}, expected a branch, a tag or a commit")
    return found["repo_id"], revision


def _meant(path: Path) -> str:
    """Return the question for a path that is there and has almost this name; empty where none is."""
    try:
        names = os.listdir(path.parent)
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(path.name, [name for name in names if not name.startswith(".")], 1)
    return f"; is {str(path.parent / close[0])!r} meant?" if close else ""


@contextlib.contextmanager
def reaching_hub() -> Iterator[None]:
    """Raise ConnectionError where the connection to the hub breaks; the client's own error is no OSError there."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        yield
    except HfHubHTTPError:  # an answer
        raise
    except HTTPError as error:
        raise ConnectionError(f"the connection to the hub broke: {error or type(error).__name__}") from error


class Repository:
    """Files of a hub repository; after the first one all come from its commit, whatever is pushed meanwhile."""

    def __init__(
        self,
        repo_id: str,
        revision: str | None,
        subfolder: str | None = None,
        *,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> None:
        self.repo_id = repo_id
        self.revision = revision
        self.subfolder = subfolder
        self.options = {
            "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only,
            "force_download": force_download, "library_name": "stylesdf", "library_version": __version__,
        }  # fmt: skip

    def download(self, variant: str | None) -> Found:
        """Bring config, weights and card to the cache."""
        folder = self._fetch(CONFIG_FILE).parent
        root = folder.parents[self.subfolder.count("/")] if self.subfolder else folder  # .../snapshots/COMMIT
        commit_hash = root.name if COMMIT_HASH.fullmatch(root.name) else None
        self.revision = commit_hash or self.revision
        weights = self._fetch_weights(variant)
        companions = {}
        for kind, name in COMPANION_FILES.items():
            path = self._fetch_beside(name)
            if path is not None:
                self.check_content(path)
                companions[kind] = path
        card = self._fetch_beside(CARD_FILE)
        if card is None and self.subfolder:
            self.subfolder = None
            card = self._fetch_beside(CARD_FILE)
        if card is None:
            logger.info("%s has no model card", self.repo_id)
        return Found(folder, weights, card, companions, commit_hash)

    def _fetch_weights(self, variant: str | None) -> Path:
        weights = self.fetch_optional(weights_file(variant))
        index = None if weights else self.fetch_optional(index_file(variant))
        if index:
            for name in shard_names(index):
                self.check_content(self._fetch(name))
            return index
        weights = weights or self._fetch(weights_file(variant))  # to have the hub's own error
        self.check_content(weights)
        return weights

    def _fetch_beside(self, name: str) -> Path | None:
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return self.fetch_optional(name)
        except LocalEntryNotFoundError as error:
            logger.warning("%s of %s cannot be had: %s", name, self.repo_id, error)
            return None

    def fetch_optional(self, name: str) -> Path | None:
        """Return None where the repository, or without a network the cache, has no such file."""
        from huggingface_hub import is_offline_mode
        from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

        try:
            return None if self._is_known_absent(name) else self._fetch(name)
        except RemoteEntryNotFoundError:
            return None
        except LocalEntryNotFoundError:
            if self.options["local_files_only"] or is_offline_mode():
                return None
            raise

    def _fetch(self, name: str) -> Path:
        """Download one file. The client resumes what breaks off, but tries a server error once; here, three times."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError

        for wait in (*RETRY_SECONDS, None):
            try:
                with reaching_hub():
                    path = hf_hub_download(
                        self.repo_id, name, subfolder=self.subfolder, revision=self.revision, **self.options
                    )
                return Path(path)
            except HfHubHTTPError as error:
                if error.response.status_code < 500 or wait is None:
                    raise
                logger.info("%s: %s, trying again in %d s", name, error.response.status_code, wait)
                time.sleep(wait)

    def _is_known_absent(self, name: str) -> bool:
        """Whether the cache remembers that the commit has no such file; the client would ask the server again."""
        from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

        if self.revision is None:
            return False
        path = f"{self.subfolder}/{name}" if self.subfolder else name
        known = try_to_load_from_cache(self.repo_id, path, self.options["cache_dir"], self.revision)
        return known is _CACHED_NO_EXIST and not self.options["force_download"]

    def check_content(self, path: Path) -> None:
        """Compare large files with the hash that the cache is filed under; the client compares the length alone."""
        blob = Path(os.readlink(path)).name if path.is_symlink() else ""
        if re.fullmatch(r"[0-9a-f]{64}", blob) and file_hash(path, "sha256") != blob:
            raise ValueError(
                f"{path.name} of {self.repo_id} is damaged, its content does not fit its hash; "
                "force_download=True brings it again"
            )
