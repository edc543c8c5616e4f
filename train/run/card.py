"""What the model card of a run says: the licence, what the model was trained on and from, its stage and its steps."""

from __future__ import annotations

from pathlib import Path

from stylesdf.card import CardFacts, licence_of
from train.data.images import ImageSet
from train.data.sources import hub_ids, source_name
from train.pretrained import PretrainedGenerator

DRAWN_LICENCE, UNKNOWN_LICENCE = "apache-2.0", "other"  # of models of pictures that the project draws, and of any other


def default_licence(data: ImageSet | None) -> str:
    """Return the licence of a model that learned from pictures, where nobody says which."""
    return DRAWN_LICENCE if data is not None and data.subject else UNKNOWN_LICENCE


def run_facts(
    how: str,
    source: str | None = None,
    data: ImageSet | None = None,
    initial: PretrainedGenerator | None = None,
    licence: str | None = None,
    label: str | None = None,
) -> CardFacts:
    """Return what the card of a run's model says, but for its steps.

    Args:
        how: The command, in Markdown.
        source: Pictures as ``--data`` takes them; None: the run takes none.
        data: The same, decoded.
        initial: The model that the run starts from; None starts from nothing.
        licence: The hub's identifier; None takes the initial model's, from nothing ``default_licence``. Apache-2.0 is
            no licence that pictures from elsewhere inherit.
        label: Which of the pictures are taken, as ``NAME=VALUE``; None takes all.
    """
    about, base_model = f"Trained with {how}", None
    if source is not None:
        about += f" on {len(data)} pictures of `{source_name(source)}`{f', {label}' if label else ''}"
    if initial is not None:
        name = str(initial.name_or_path).partition("@")[0]
        base_model = name if initial.commit_hash else None
        about += f", starting from `{Path(*Path(name).parts[-2:]).as_posix()}`"
    inherited = DRAWN_LICENCE if initial is None else licence_of(initial.card) or UNKNOWN_LICENCE
    if inherited == DRAWN_LICENCE and (data is not None or initial is None):  # of drawn pictures only
        inherited = default_licence(data)
    return CardFacts(licence or inherited, f"{about}.", hub_ids(source), base_model)
