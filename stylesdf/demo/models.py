"""The models that a running page holds, shared by all visitors."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from pathlib import Path

from stylesdf.hub import HUB_ID
from stylesdf.pipeline import StyleSDF

MAX_MODELS = 3


class ModelShelf:
    """Loaded models by the name that visitors type; the least recently used one goes when a new one comes.

    Args:
        root: Folder of the project; bundled models lie in ``root/checkpoints``.
        is_public: Whether strangers can reach the page: they get the model it was started with, the bundled ones and
            public ones of the hub, but neither other folders of this machine nor what its hub token opens.
    """

    def __init__(self, root: Path, is_public: bool = False) -> None:
        self.root = root
        self.is_public = is_public
        self.default = ""
        self._models: OrderedDict[str, StyleSDF] = OrderedDict()
        self._lock = threading.Lock()  # of the dictionary, never held for long
        self._load_lock = threading.Lock()  # one load at a time

    def load_default(self, text: str) -> StyleSDF:
        """Load the model the page is started with; it stays for good, and any folder will do."""
        model = self._load(text, is_trusted=True)
        self.default = model.name_or_path
        return model

    def load(self, text: str) -> StyleSDF:
        """Load a model, also one that is here already: a hub repository may have changed.

        Args:
            text: A bundled folder (``people``, ``checkpoints/people``), a hub repository ``owner/name`` or
                ``owner/name@revision``, or where the page is not public any folder.

        Raises:
            ValueError: No such model, or a checkpoint that does not fit. Errors of the hub pass unchanged.
        """
        return self._load(text, is_trusted=not self.is_public or text == self.default)

    def look_up(self, text: str) -> str:
        """Say how large a model is and under which licence, without downloading it.

        Raises:
            ValueError: No such model, or no safetensors in it. Errors of the hub pass unchanged.
        """
        is_trusted = not self.is_public or text == self.default
        name, where = self._find(text, is_trusted)
        if Path(where).is_dir():
            sizes = {path.name: path.stat().st_size for path in Path(where).iterdir() if path.is_file()}
            card = Path(where) / "README.md"
            licence = licence_of(card.read_text(errors="replace") if card.is_file() else None)
        else:
            from huggingface_hub import HfApi

            repo_id, _, revision = where.partition("@")
            api = HfApi(token=None if is_trusted else False, library_name="stylesdf")
            found = api.model_info(repo_id, revision=revision or None, files_metadata=True)
            sizes = {file.rfilename: file.size or 0 for file in found.siblings or []}
            licence = (found.card_data or {}).get("license")
        size = sum(
            size for file, size in sizes.items() if file.endswith(".safetensors") and "discriminator" not in file
        )
        if not size or "config.json" not in sizes:
            raise ValueError(f"{name!r} has no config.json with a .safetensors file, expected a StyleSDF model")
        return f"`{name}`: {size / 1e6:.1f} MB, licence {licence or 'not stated'}. *Load* fetches and shows it."

    def _load(self, text: str, is_trusted: bool) -> StyleSDF:
        name, where = self._find(text, is_trusted)
        with self._load_lock:
            model = StyleSDF.from_pretrained(where, token=None if is_trusted else False)
            model.name_or_path = name  # what stands in the files' metadata; not a path of this machine
        with self._lock:
            self._models[name] = model
            self._models.move_to_end(name)
            removable = [old for old in self._models if old not in (self.default, name)]
            for old in removable[: max(0, len(self._models) - MAX_MODELS)]:
                del self._models[old]
        return model

    def get(self, name: str) -> StyleSDF:
        """Return a model by its name, loading it again if it had to go."""
        with self._lock:
            for known, model in self._models.items():
                if name in (known, pinned(model)):
                    self._models.move_to_end(known)
                    return model
        return self.load(name)

    def _find(self, text: str, is_trusted: bool) -> tuple[str, str]:
        """Return the name to show and what to load."""
        text = str(text or "").strip()
        if not text:
            raise ValueError("the model is empty, expected a folder or a hub repository owner/name")
        bundled = (self.root / "checkpoints").resolve()
        for folder in (self.root / text, bundled / text):
            if folder.is_dir() and folder.resolve().parent == bundled:
                return f"checkpoints/{folder.resolve().name}", str(folder)
        if Path(text).exists() and is_trusted:
            return text, text
        if not HUB_ID.fullmatch(text) or Path(text).exists() or text.startswith("checkpoints/"):
            offered = ", ".join(sorted(path.parent.name for path in bundled.glob("*/config.json"))) or "none"
            raise ValueError(
                f"{text!r} is neither a folder that can be opened here nor a hub repository (owner/name or "
                f"owner/name@revision); bundled models: {offered}"
            )
        return text, text


def licence_of(card: str | None) -> str | None:
    """Return the licence that a model card's front matter states."""
    front = re.match(r"---\n(.*?)\n---\n", card or "", re.DOTALL)
    found = front and re.search(r"^license:[ \t]*(\S+)[ \t]*$", front.group(1), re.MULTILINE)
    return found.group(1).strip("'\"") if found else None


def pinned(model: StyleSDF) -> str:
    """Return a model's name with the commit it was loaded at, where it is one of the hub."""
    name = model.name_or_path
    return f"{name.partition('@')[0]}@{model.commit_hash}" if model.commit_hash else name
