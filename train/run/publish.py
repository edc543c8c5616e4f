"""The model on the hub while it trains and when it is done; a failing network never stops a run."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from stylesdf.card import model_card
from stylesdf.checkpoint import CARD_FILE
from stylesdf.config import shown
from stylesdf.files import replacing
from stylesdf.repository import HUB_ID
from train.config import images_shown, to_dict
from train.pretrained import PretrainedGenerator
from train.run.background import one_line
from train.run.folder import newest_grid
from train.run.lineage import Origin, finished_model

log = logging.getLogger(__name__)
GRID_FILE = "samples.png"
ATTEMPTS = 3  # of the last push; earlier ones have the next as their second chance


def check_repository(repo_id: str) -> None:
    """Refuse a name that no repository of the hub can have.

    Raises:
        ValueError: It is none of the form ``USER/NAME``.
    """
    if not HUB_ID.fullmatch(repo_id) or "@" in repo_id:
        raise ValueError(f"the repository to push to is {shown(repo_id)}, expected USER/NAME")


@dataclass
class Publisher:
    """Pushes the averaged model, the run's newest sample grid and its card.

    A card that nobody has touched since it was written here is kept up to date; one that somebody edited stays.

    Attributes:
        repo_id: ``name/name`` on the hub; created where absent.
        every_images: Images between pushes; 0 pushes at the end only.
        private: Whether a new repository is private; None takes the account's default.

    Raises:
        ValueError: A name that no repository can have.
    """

    repo_id: str
    every_images: int = 0
    private: bool | None = None

    def __post_init__(self) -> None:
        check_repository(self.repo_id)
        self._thread: threading.Thread | None = None
        self._last: int | None = None  # how many times every_images had gone by at the last push

    def offer(self, stage, out: Path, origin: Origin) -> None:
        """Push in the background if it is time and the last push is through.

        Args:
            stage: Whose model it is.
            out: Folder of the run.
            origin: What the run starts from, and hands on; its facts are the card's beside the run's settings.
        """
        if not self.every_images:
            return
        count = images_shown(stage.config, stage.state.step) // self.every_images
        if self._last is None:
            self._last = count
        if count > self._last and (self._thread is None or not self._thread.is_alive()):
            self._last = count
            snapshot = self._snapshot(stage, out, origin)
            self._thread = threading.Thread(target=self._try, args=(snapshot, out, 1), daemon=True)
            self._thread.start()

    def finish(self, stage, out: Path, origin: Origin) -> bool:
        """Push the finished model; return whether it arrived. The arguments are those of ``offer``."""
        if self._thread is not None:
            self._thread.join()
        return self._try(self._snapshot(stage, out, origin), out, ATTEMPTS)

    def _snapshot(self, stage, out: Path, origin: Origin) -> _Snapshot:
        model = finished_model(stage.generator_ema, origin.initial).cpu()
        grid = newest_grid(out)
        trained = {name: copy.deepcopy(module).cpu() for name, module in stage.discriminators().items()}
        steps = stage.state.step
        training = {"stage": stage.name, "steps": steps, "images": images_shown(stage.config, steps)}
        training |= {name: value for name, value in to_dict(stage.config).items() if name != "steps"}
        facts = replace(origin.facts, training=training, sample_grid=None if grid is None else GRID_FILE)
        card = model_card(model.config, self.repo_id, facts)
        return _Snapshot(stage.state.step, model, trained, origin.handed_on(trained), grid, card)

    def _try(self, snapshot: _Snapshot, out: Path, attempts: int) -> bool:
        for attempt in range(1, attempts + 1):
            try:
                self._push(snapshot, out)
            except Exception as error:  # whatever the network or the hub does, the run goes on
                log.warning("push to %s failed (%d of %d): %s", self.repo_id, attempt, attempts, one_line(error))
            else:
                log.info("step %d is on the hub: %s", snapshot.step, self.repo_id)
                return True
        return False

    def _push(self, snapshot: _Snapshot, out: Path) -> None:
        from huggingface_hub import CommitOperationAdd, HfApi

        snapshot.model.push_to_hub(
            self.repo_id,
            private=self.private,
            card=snapshot.card,
            discriminators=snapshot.discriminators,
            commit_message=f"Train to step {snapshot.step}",
        )
        api = HfApi(library_name="stylesdf")
        operations = [CommitOperationAdd(path.name, path) for path in snapshot.handed_on]
        if snapshot.grid is not None:
            operations.append(CommitOperationAdd(GRID_FILE, snapshot.grid))
        ours = out / "published-card.md"
        there = Path(api.hf_hub_download(self.repo_id, CARD_FILE, cache_dir=out / ".hub")).read_text(encoding="utf-8")
        is_ours = there == snapshot.card or (ours.exists() and there == ours.read_text(encoding="utf-8"))
        if is_ours:
            operations.append(CommitOperationAdd(CARD_FILE, snapshot.card.encode()))
        if operations:
            api.create_commit(self.repo_id, operations, commit_message=f"Samples of step {snapshot.step}")
        if is_ours:
            with replacing(ours) as temporary:
                temporary.write_text(snapshot.card, encoding="utf-8")


@dataclass(frozen=True)
class _Snapshot:
    """What is pushed: a copy, so that the run can go on meanwhile.

    Attributes:
        step: Of the run.
        model: With its means.
        discriminators: What the run trains beside it.
        handed_on: Files beside the initial model that go with it.
        grid: The newest sample grid that the run has drawn; None where it draws none.
        card: Text of the model card.
    """

    step: int
    model: PretrainedGenerator
    discriminators: Mapping[str, nn.Module]
    handed_on: list[Path]
    grid: Path | None
    card: str
