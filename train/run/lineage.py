"""What a run starts from, and what it hands on of that: what it does not train itself goes with its model again."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from stylesdf.card import CardFacts, model_card
from stylesdf.checkpoint import CARD_FILE, DISCRIMINATOR_FILES, save_model
from stylesdf.config import StyleSDFConfig
from stylesdf.files import replacing
from stylesdf.hub import find_discriminator
from stylesdf.model import Generator
from train.data.images import ImageSet
from train.pretrained import DECODER_FIELDS, PretrainedGenerator, copy_decoder, copy_renderer
from train.run.card import UNKNOWN_LICENCE

log = logging.getLogger(__name__)
READ_BY_DECODER = ("latent_size", "field_width", "render_resolution")  # of the renderer's config
KEPT_FACTS = ("licence", "about", "datasets", "base_model")  # of a card, in a run's settings


@dataclass(frozen=True)
class Origin:
    """What a run starts from.

    Attributes:
        data: Its pictures; None where it needs none.
        initial: The model it goes on with; None starts from nothing.
        facts: What the card of the run's model says about that.
        files: Discriminators and encoder beside that model, by their kinds in ``DISCRIMINATOR_FILES``; found at once,
            so that they are at hand when the run ends. An inverter is not among them: it knows that very model.
    """

    data: ImageSet | None = None
    initial: PretrainedGenerator | None = None
    facts: CardFacts = field(default_factory=lambda: CardFacts(licence=UNKNOWN_LICENCE))
    files: dict[str, Path] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", _files_beside(self.initial))

    def describe(self) -> dict[str, dict | None]:
        """Return ``data``, ``initial`` and ``card`` as a run's settings keep them."""
        data, initial = self.data, self.initial
        return {
            "data": None if data is None else {"name": data.name, "identity": data.identity},
            "initial": None if initial is None else {"name": _full_name(initial), "sha256": weights_hash(initial)},
            "card": {name: getattr(self.facts, name) for name in KEPT_FACTS},
        }

    def card(self, config: StyleSDFConfig, folder: Path, training: Mapping[str, object]) -> str:
        """Return the card of the run's model.

        Args:
            config: Of the model.
            folder: Where it goes.
            training: Setting → value: the stage and its steps.
        """
        return model_card(config, folder.resolve().name, dataclasses.replace(self.facts, training=training))

    def handed_on(self, trained: Iterable[str]) -> list[Path]:
        """Return the files that go with the run's model as they are, given the kinds that it trains itself."""
        return [path for kind, path in self.files.items() if kind not in set(trained)]


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of a model's tensors, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def finished_model(average: Generator, initial: Generator | None) -> PretrainedGenerator:
    """Return the model that a run leaves: its averaged weights with their means, on the average's device.

    Where the run trains no decoder and started from a model with one, that decoder is set on the trained renderer. If
    it no longer fits, the log says so.

    Args:
        average: Averaged weights.
        initial: The model that the run started from; None: from nothing.
    """
    if average is initial:  # the run has trained nothing of it
        return initial
    config, source = average.config, average
    if not config.has_decoder and initial is not None and initial.config.has_decoder:
        misfits = [name for name in READ_BY_DECODER if getattr(initial.config, name) != getattr(config, name)]
        if misfits:
            log.warning("the initial model's decoder does not fit another %s, it is not handed on", misfits[0])
        else:
            config = dataclasses.replace(config, **{name: getattr(initial.config, name) for name in DECODER_FIELDS})
            source = initial
    with torch.random.fork_rng(devices=[]):  # a new model draws its initial values
        model = PretrainedGenerator(config)
    copy_renderer(average, model)
    if config.has_decoder:
        copy_decoder(source, model)
    model.to(average.w_avg.device).update_means()
    return model.eval()


def write_model(
    model: PretrainedGenerator,
    folder: Path,
    trained: Mapping[str, nn.Module],
    origin: Origin,
    training: Mapping[str, object] | None = None,
) -> None:
    """Write a run's model with what belongs beside it.

    A card that is there stays, but for its number of steps, if that is all in which it differs from the new one.

    Args:
        model: Of ``finished_model``.
        folder: Where to.
        trained: Discriminators and encoder of the run, by their kinds.
        origin: Whose other files go with them.
        training: What the card says of the run, as of ``Origin.card``; None says nothing.
    """
    card, path = origin.card(model.config, folder, training or {}), folder / CARD_FILE
    save_model(model, folder, card=card, discriminators=trained, beside=origin.handed_on(trained))
    written = path.read_text(encoding="utf-8", errors="replace")
    if written != card and _without_steps(written) == _without_steps(card):
        with replacing(path) as temporary:
            temporary.write_text(card, encoding="utf-8")


def _without_steps(card: str) -> str:
    return re.sub(r"^\| steps \| \d+ \|$", "", card, flags=re.MULTILINE)


def _files_beside(model: PretrainedGenerator | None) -> dict[str, Path]:
    name = "" if model is None else _full_name(model)
    if not name:
        return {}
    beside = Path(name).parent if Path(name).is_file() else name
    found = {kind: find_discriminator(kind, beside) for kind in DISCRIMINATOR_FILES}
    return {kind: path for kind, path in found.items() if path is not None}


def _full_name(model: PretrainedGenerator) -> str:
    """Return where a model can be had again from anywhere: a whole path, or a hub id with its commit; else nothing."""
    name = str(model.name_or_path or "")
    if name and Path(name).exists():
        return str(Path(name).resolve())
    return f"{name.partition('@')[0]}@{model.commit_hash}" if model.commit_hash else name
