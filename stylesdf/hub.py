"""Checkpoints on the hub and in folders: ``from_pretrained``, ``save_pretrained``, ``push_to_hub``.

Written here rather than taken from ``PyTorchModelHubMixin``, which loads missing tensors as random ones, hides errors
of the hub behind a TypeError, takes no device or dtype and overwrites a card that was edited.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from stylesdf.card import model_card, rename_in_card
from stylesdf.checkpoint import (
    CARD_FILE,
    DISCRIMINATOR_FILES,
    ShapesOnly,
    built_as,
    bundled_or_given,
    checkpoint_contents,
    load_card,
    load_config,
    load_weights,
    save_model,
    stale_files,
)
from stylesdf.config import StyleSDFConfig, shown
from stylesdf.directions import Directions
from stylesdf.encoder import Encoder
from stylesdf.repository import Repository, check_link, find_local, parse_hub_id
from stylesdf.torch_state import ordinary_torch
from stylesdf.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi
    from typing_extensions import Self

SUBFOLDER = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
VARIANT = re.compile(r"\w{1,40}", re.ASCII)
PUSH_ATTEMPTS = 5
# what goes with a model, and what its file says beside the size of a code
COMPANIONS = {"inverter": (Encoder, "num_coordinates"), "directions": (Directions, "names")}

logger = logging.getLogger(__name__)


class HubMixin:
    """``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` for a module that is built from its config alone.

    Attributes:
        name_or_path: What the model was loaded from; None for a new one.
        commit_hash: The hub commit it was loaded from; None for a local folder.
        card: Text of the model card it came with, and goes with: a licence must not get lost on the way.
        inverter: The network that finds the head in a picture, which it came with, and goes with; None where there is
            none. It is no part of the module: its tensors are not among the model's.
        directions: Edits with names; the same holds for them.
    """

    name_or_path: str | None = None
    commit_hash: str | None = None
    card: str | None = None
    inverter: Encoder | None = None
    directions: Directions | None = None

    @property
    def public_name(self) -> str:
        """Where the model came from, as files say that are passed on: hub ids and relative folders as they are.

        Of an absolute path only the folder's name is left, and ``checkpoints/`` before it where it lies in such a one.
        """
        name = str(self.name_or_path or "unnamed")
        path = Path(name)
        if not path.is_absolute():
            return name
        return f"checkpoints/{path.name}" if path.parent.name == "checkpoints" else path.name

    @classmethod
    @ordinary_torch()
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        subfolder: str | None = None,
        variant: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        strict: bool = True,
    ) -> Self:
        """Load a model in evaluation mode from a folder, a file or the hub.

        Args:
            pretrained_model_name_or_path: A checkpoint folder, a ``.safetensors`` file beside its ``config.json``,
                or a hub repository ``name/name``, also ``name/name@revision``. What exists here goes first; a bundled
                model, ``checkpoints/people`` or ``checkpoints/toy-heads``, is found from everywhere.
            revision: Branch, tag or commit of the repository; without effect on a folder.
            token: Access token of the hub; None takes the stored one, False none.
            cache_dir: Where downloads are kept; None takes the hub's default.
            force_download: Download again what is in the cache.
            local_files_only: Use the cache alone.
            subfolder: Where in the folder or repository the checkpoint lies, as ``"a/b"``.
            variant: Weights to take, ``"fp16"`` for ``model.fp16.safetensors``; None takes ``model.safetensors``.
            device: Where the model goes; None is the CPU.
            dtype: Floating point type of the model; None is float32, also with a variant.
            strict: Missing or unexpected tensors are errors. Otherwise warnings name them, and what is missing gets
                the initial values of a new model, the same ones in every call, which is an unfinished model: train it.
                A file with less than half of the model is refused all the same.

        Raises:
            ValueError: Neither a folder nor a repository id, a checkpoint that does not fit, a damaged download, or a
                device that is not there. Errors of the hub (``huggingface_hub.errors``) pass unchanged.
        """
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"dtype is {dtype}, expected a floating point type such as torch.float32")
        if not isinstance(pretrained_model_name_or_path, (str, os.PathLike)):
            name = shown(pretrained_model_name_or_path)
            raise ValueError(f"the model is {name}, expected a folder, a file or a hub repository id")
        _check_device(device)
        for name, value, pattern in (("subfolder", subfolder, SUBFOLDER), ("variant", variant, VARIANT)):
            if value is not None and not (isinstance(value, str) and pattern.fullmatch(value)):
                raise ValueError(f"{name} is {shown(value)}, expected a plain name")
        found = find_local(bundled_or_given(pretrained_model_name_or_path), subfolder, variant)
        if found is None:
            repo_id, revision = parse_hub_id(pretrained_model_name_or_path, revision)
            logger.info("there is no folder %s here: asking the hub for the model of that name", repo_id)
            repo = Repository(
                repo_id, revision, subfolder, token=token, cache_dir=cache_dir, local_files_only=local_files_only,
                force_download=force_download,
            )  # fmt: skip
            found = repo.download(variant)
        config = load_config(found.folder)
        with torch.device("meta"), ShapesOnly():
            model = cls(config)
        if missing := load_weights(model, found.weights, strict=strict):
            _fill(model, missing)
        model.name_or_path = str(pretrained_model_name_or_path)
        model.commit_hash = found.commit_hash
        model.card = load_card(found.card) if found.card else None
        for kind, path in found.companions.items():
            vars(model)[kind] = load_companion(kind, path, config)
        return model.to(device=device, dtype=dtype).eval()

    def save_pretrained(
        self,
        folder: str | Path,
        card: str | None = None,
        *,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
    ) -> None:
        """Write ``config.json``, ``model.safetensors`` (float32), inverter and directions, and a missing ``README.md``.

        Args:
            folder: Created where absent. Inverter and directions of other weights in it are removed.
            card: Text of the model card; None takes the one the model was loaded with, else a template.
            variant: ``"fp16"`` or ``"bf16"`` writes ``model.fp16.safetensors`` in half precision beside what is there.
            max_shard_size: Bytes, or a text such as ``"200MB"``; larger weights are cut into shards of at most this.

        Raises:
            ValueError: ``folder`` is a file, an unknown variant, or a tensor holds values that are not finite.
        """
        save_model(self, folder, self.card if card is None else card, variant, max_shard_size)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        commit_message: str = "Upload a StyleSDF model",
        card: str | None = None,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        discriminators: Mapping[str, torch.nn.Module] | None = None,
    ) -> CommitInfo:
        """Upload the model in one commit, and a card where the repository has none; no commit where nothing changed.

        Where someone else commits in between, it is compared and tried again, so that config and weights of a commit
        always belong together. Inverter and directions of other weights are removed from the repository.

        Args:
            repo_id: ``name/name``; created where absent.
            private: Whether a new repository is private; None takes the account's default.
            token: Access token of the hub; None takes the stored one.
            revision: Branch, created where absent; None is the main one.
            create_pr: Open a pull request instead of committing.
            commit_message: Title of the commit.
            card: Text of the model card; None takes the one the model was loaded with, else a template.
            variant: As in ``save_pretrained``.
            max_shard_size: As in ``save_pretrained``.
            discriminators: ``"thumbnail"`` or ``"image"`` → discriminator, or ``"encoder"`` → stage 1's encoder,
                uploaded for training on; or another ``"inverter"`` or ``"directions"``.

        Returns:
            The hub's ``CommitInfo``.

        Raises:
            ValueError: An unknown variant, or a tensor holds values that are not finite. Errors of the hub pass
                unchanged.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
        from huggingface_hub.errors import HfHubHTTPError

        contents = checkpoint_contents(self, variant, max_shard_size, discriminators)
        api = HfApi(token=token, library_name="stylesdf", library_version=__version__)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not create_pr and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        card = self.card if card is None else card
        card = model_card(self.config, repo_id) if card is None else rename_in_card(card, repo_id)
        for attempts_left in reversed(range(PUSH_ATTEMPTS)):
            head = api.model_info(repo_id, revision=revision)
            names = [file.rfilename for file in head.siblings or []]
            files = contents if CARD_FILE in names else {**contents, CARD_FILE: card.encode()}
            operations = [CommitOperationAdd(name, content) for name, content in files.items()]
            stale = stale_files(names, contents, variant, partial(_sha256_on_hub, api, repo_id, head.sha))
            operations += [CommitOperationDelete(name) for name in stale]
            try:
                return api.create_commit(
                    repo_id,
                    operations,
                    commit_message=commit_message,
                    revision=revision,
                    create_pr=create_pr,
                    parent_commit=head.sha,
                )
            except HfHubHTTPError as error:
                if error.response.status_code != 412 or not attempts_left:  # 412: someone committed meanwhile
                    raise
                logger.info("%s has changed meanwhile, comparing again", repo_id)


def load_discriminator(discriminator: torch.nn.Module, kind: str, name_or_path: str | Path) -> bool:
    """Fill a discriminator from the optional file beside a model.

    Args:
        discriminator: Changed in place.
        kind: As in ``find_discriminator``.
        name_or_path: As in ``from_pretrained``: a checkpoint folder or ``name/name[@revision]``.

    Returns:
        Whether there was such a file.

    Raises:
        ValueError: An unknown kind, or a file that does not fit. Errors of the hub pass unchanged.
    """
    path = find_discriminator(kind, name_or_path)
    if path is not None:
        load_weights(discriminator, path)
    return path is not None


def find_discriminator(kind: str, name_or_path: str | Path) -> Path | None:
    """Return the optional file of a discriminator or the encoder beside a model, downloaded where it is on the hub.

    Args:
        kind: ``"thumbnail"`` (stage 1), ``"image"`` (stage 2), or ``"encoder"``: that of stage 1's reconstruction.
        name_or_path: As in ``from_pretrained``: a checkpoint folder or ``name/name[@revision]``.

    Raises:
        ValueError: An unknown kind. Errors of the hub pass unchanged.
    """
    if kind not in DISCRIMINATOR_FILES:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(DISCRIMINATOR_FILES)}")
    name = DISCRIMINATOR_FILES[kind]
    folder = bundled_or_given(name_or_path)
    if os.path.isdir(folder):
        path = Path(folder) / name
        check_link(path)
        return path if path.is_file() else None
    repo_id, revision = parse_hub_id(name_or_path, None)
    repo = Repository(repo_id, revision)
    path = repo.fetch_optional(name)
    if path is not None:
        repo.check_content(path)
    return path


def load_companion(kind: str, path: str | Path, config: StyleSDFConfig) -> Encoder | Directions:
    """Read ``inverter.safetensors`` or ``directions.safetensors``.

    Args:
        kind: ``"inverter"`` or ``"directions"``.
        path: Of the file.
        config: Of the model beside it.

    Raises:
        ValueError: It is something else, or of a model with other codes.
    """
    network, size = COMPANIONS[kind]
    sizes = built_as(path, config.latent_size, ("latent_size", size))
    with torch.device("meta"), ShapesOnly():
        companion = network(**sizes)
    load_weights(companion, path)
    return companion.eval().requires_grad_(False)


def _check_device(device: torch.device | str | None) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError):  # which, depends on the kind of device
        raise ValueError(f"device {str(device)!r} is not there, expected cpu, cuda, cuda:1, ...") from None


def _fill(model: torch.nn.Module, missing: list[str]) -> None:
    """Give missing tensors the values of a new model; the random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        new = type(model)(model.config).state_dict()
    model.load_state_dict({name: new[name] for name in missing}, strict=False, assign=True)


def _sha256_on_hub(api: HfApi, repo_id: str, commit: str, name: str) -> str | None:
    """Return the hash of a weights file in a commit; None where the hub does not keep it as a large file."""
    (found,) = api.get_paths_info(repo_id, [name], revision=commit)
    return found.lfs.sha256 if found.lfs else None
