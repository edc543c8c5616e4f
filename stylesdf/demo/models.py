"""The models that a running page holds, shared by all visitors."""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from concurrent.futures import Future, wait
from pathlib import Path

from stylesdf.card import licence_of
from stylesdf.checkpoint import BUNDLED, CARD_FILE, CONFIG_FILE, DISCRIMINATOR_FILES, load_card
from stylesdf.config import shown
from stylesdf.pipeline import StyleSDF
from stylesdf.repository import HUB_ID, reaching_hub
from stylesdf.words import in_markdown

MAX_MODELS = 3
MAX_LOADING = 2  # at a time
PATIENCE = 60.0  # seconds that somebody waits for a model of the hub
LOOK_UP_SECONDS = 10.0  # that the hub has for an answer


class NotLoaded(ValueError):
    """A model of the hub that is not here, and is not brought by whoever just wants a picture of it."""


class ModelShelf:
    """Loaded models by the name that visitors type; the least recently used one goes when a new one comes.

    Args:
        root: Bundled models lie in its ``checkpoints/``.
        is_public: Whether strangers can reach the page: they get the model it was started with, the bundled ones and
            public ones of the hub, but neither other folders of this machine nor what its hub token opens.
    """

    def __init__(self, root: Path, is_public: bool = False) -> None:
        self.root = root
        self.is_public = is_public
        self.default = ""
        self._models: OrderedDict[str, StyleSDF] = OrderedDict()
        self._folders: dict[str, str] = {}  # by the name that stands for a path of this machine
        self._loading: dict[str, Future] = {}
        self._lock = threading.Lock()  # of the dictionaries, never held for long

    def load_default(self, text: str) -> StyleSDF:
        """Load the model the page is started with; it stays for good, and any folder will do."""
        model = self._load(*self._find(text, is_trusted=True), is_trusted=True)
        self.default = model.name_or_path
        return model

    def load(self, text: str) -> StyleSDF:
        """Load a model, also one that is here already: a hub repository may have changed.

        Who calls waits a minute at most. A load that takes longer goes on, and whoever asks for the same joins it.

        Args:
            text: A bundled folder (``people``, ``checkpoints/people``), a hub repository ``owner/name`` or
                ``owner/name@revision``, or where the page is not public any folder.

        Raises:
            ValueError: No such model, a checkpoint that does not fit, or no answer in time. Errors of the hub pass
                unchanged.
        """
        name, where = self._find(text, self._trusts(text))
        with self._lock:
            loading = self._loading.get(name)
            if loading is None:
                if len(self._loading) >= MAX_LOADING:
                    raise ValueError(f"{len(self._loading)} models are being loaded already, try again in a minute")
                loading = self._loading[name] = Future()
                work = (loading, name, where, self._trusts(text))
                threading.Thread(target=self._finish, args=work, daemon=True).start()
        done, _ = wait([loading], PATIENCE)
        if not done:
            raise ValueError(f"{shown(name)} is not here after {PATIENCE:.0f} s; it is still being loaded, try later")
        return loading.result()

    def get(self, name: str) -> StyleSDF:
        """Return a model that is loaded or lies on this machine; nobody waits for the hub.

        Raises:
            NotLoaded: It is of the hub, and ``load`` has to bring it.
            ValueError: There is no such model.
        """
        if model := self._known(name):
            return model
        known_as, where = self._find(name, self._trusts(name))
        if model := self._known(known_as):
            return model
        if not os.path.exists(where):
            raise NotLoaded(f"the model {shown(name)} is not loaded here, expected one that is")
        return self._load(known_as, where, self._trusts(name))

    def look_up(self, text: str) -> str:
        """Say in Markdown how large a model is and under which licence, without downloading it.

        Raises:
            ValueError: No such model, or no safetensors in it. Errors of the hub pass unchanged.
        """
        is_trusted = self._trusts(text)
        name, where = self._find(text, is_trusted)
        if os.path.isdir(where):
            sizes = {path.name: path.stat().st_size for path in Path(where).iterdir() if path.is_file()}
            card = Path(where) / CARD_FILE
            if not is_trusted and card.is_symlink() and card.resolve().parent != Path(where).resolve():
                raise ValueError(f"{name}/{CARD_FILE} is a link that leads out of its folder, expected a file")
            licence = licence_of(load_card(card))
        else:
            from huggingface_hub import HfApi

            repo_id, _, revision = where.partition("@")
            api = HfApi(token=None if is_trusted else False, library_name="stylesdf")
            options = {"revision": revision or None, "files_metadata": True, "timeout": LOOK_UP_SECONDS}
            with reaching_hub():
                found = api.model_info(repo_id, **options)
            sizes = {file.rfilename: file.size or 0 for file in found.siblings or []}
            licence = (found.card_data or {}).get("license")
        fetched = {file for file in sizes if file.endswith(".safetensors")} - set(DISCRIMINATOR_FILES.values())
        size = sum(sizes[file] for file in fetched)
        if not size or CONFIG_FILE not in sizes:
            raise ValueError(f"{shown(name)} has no {CONFIG_FILE} with a .safetensors file, expected a StyleSDF model")
        told = in_markdown(licence or "not stated")
        return f"**{in_markdown(name)}**: {size / 1e6:.1f} MB, licence {told}. *Load* fetches and shows it."

    def _trusts(self, text: str) -> bool:
        return not self.is_public or text == self.default

    def _known(self, name: str) -> StyleSDF | None:
        with self._lock:
            for known, model in self._models.items():
                if name in (known, pinned(model)):
                    self._models.move_to_end(known)
                    return model
        return None

    def _finish(self, loading: Future, name: str, where: str, is_trusted: bool) -> None:
        model, reason = None, None
        try:
            model = self._load(name, where, is_trusted)
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            reason = error
        with self._lock:
            del self._loading[name]  # first, so that nobody joins a load that is over
        loading.set_exception(reason) if reason else loading.set_result(model)

    def _load(self, name: str, where: str, is_trusted: bool) -> StyleSDF:
        try:
            model = StyleSDF.from_pretrained(where, token=None if is_trusted else False)
        except ValueError as error:  # visitors read it: not where things lie on this machine
            lies = re.sub(r"\S*[/\\]snapshots[/\\]\w+", lambda _: name, str(error).replace(where, name))
            raise ValueError(lies) from error
        model.name_or_path = name  # what stands in the files' metadata; not a path of this machine
        with self._lock:
            self._models[name] = model
            self._models.move_to_end(name)
            removable = [old for old in self._models if old not in (self.default, name)]
            for old in removable[: max(0, len(self._models) - MAX_MODELS)]:
                del self._models[old]
        return model

    def _find(self, text: str, is_trusted: bool) -> tuple[str, str]:
        """Return the name to show and what to load."""
        text = str(text or "").strip()
        if not text:
            raise ValueError("the model is empty, expected a folder or a hub repository owner/name")
        bundled, name = os.path.realpath(self.root / BUNDLED), text.removeprefix(f"{BUNDLED}/")
        folder = os.path.join(bundled, name)
        if name == os.path.basename(name) and os.path.isdir(folder):  # a path, as of another machine, is not looked at
            folder = os.path.realpath(folder)
            if os.path.dirname(folder) == bundled:
                return f"{BUNDLED}/{os.path.basename(folder)}", folder
        if is_trusted and text in self._folders:
            return text, self._folders[text]
        if is_trusted and os.path.exists(text):
            return self._name(text), text
        if not HUB_ID.fullmatch(text) or os.path.exists(text) or text.startswith(f"{BUNDLED}/"):
            offered = sorted(path.parent.name for path in Path(bundled).glob("*/config.json"))
            raise ValueError(
                f"{shown(text)} is neither a folder that can be opened here nor a hub repository (owner/name or "
                f"owner/name@revision); bundled models: {', '.join(offered) or 'none'}"
            )
        return text, text

    def _name(self, folder: str) -> str:
        """Return what a folder is called in links and files, which carry no absolute path."""
        if not os.path.isabs(folder):
            return folder
        stem = os.path.basename(os.path.abspath(folder)) or "model"
        with self._lock:
            name, number = stem, 1
            while self._folders.setdefault(name, folder) != folder:
                number += 1
                name = f"{stem}-{number}"
        return name


def pinned(model: StyleSDF) -> str:
    """Return a model's name with the commit it was loaded at, where it is one of the hub."""
    name = model.name_or_path
    return f"{name.partition('@')[0]}@{model.commit_hash}" if model.commit_hash else name
