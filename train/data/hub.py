"""Data sets of the Hugging Face hub, through ``datasets``."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

from train.data.items import Item, Label, Source, one_line
from train.data.labels import LabelError, check_pose
from train.errors import RunError


def open_hub(name: str, image_column: str | None, label: Label | None, split: str, streaming: bool) -> Source:
    import datasets

    repo_id, _, revision = name.partition("@")
    try:
        builder = datasets.load_dataset_builder(repo_id, revision=revision or None)
        if not streaming:
            builder.download_and_prepare()
        data = builder.as_streaming_dataset(split) if streaming else builder.as_dataset(split)
        features = data.features or data.take(1).features or {}
    except Exception as error:  # no such data set, revision or split, a broken file, whatever the network does
        message = f"cannot load the data set {name!r} from the hub, split {split!r}: {one_line(error)}"
        raise ValueError(message) from None
    columns = ", ".join(f"{key} ({type(value).__name__})" for key, value in features.items())
    images = [key for key, value in features.items() if isinstance(value, datasets.Image)]
    if image_column is None:
        if len(images) != 1:
            raise ValueError(f"{name} has {len(images)} image columns; name one with --image-column, among {columns}")
        image_column = images[0]
    if image_column not in images:
        raise ValueError(f"{name} has no image column {image_column!r}, its columns are {columns}")
    # a corrupt picture must not stop the rest
    data = data.decode(False) if streaming else data.cast_column(image_column, datasets.Image(decode=False))
    wanted = _wanted(name, features, label)
    if wanted is not None:
        data = data.filter(wanted, input_columns=[label[0]])
    # the builder's hash is the commit's: a branch that moved on is another data set, streamed or not
    identity = {"hub": repo_id, "commit": builder.hash, "split": split, "column": image_column, "label": label}

    def items() -> Iterator[Item]:
        try:
            for number, row in enumerate(data):
                image = row.pop(image_column) or {}
                where = image.get("path") or f"row {number}"
                row = check_pose(row, f"{name}, row {number}")
                yield Item(where, lambda image=image: _open_cell(image), row)
        except LabelError:
            raise
        except Exception as error:  # whatever the network does to a stream
            raise RunError(f"cannot read the data set {name!r} to its end: {one_line(error)}") from None

    return Source(name, identity, items, count=None if streaming else len(data))


def _open_cell(image: dict) -> io.BufferedIOBase:
    if image.get("bytes") is not None:
        return io.BytesIO(image["bytes"])
    path = image.get("path")
    if not path:
        raise OSError("there is no picture in this row")
    if "://" not in path:
        return open(path, "rb")
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:
            return io.BytesIO(file.read())
    except Exception as error:  # a network that fails must not pass for a broken picture, which would be left out
        raise RunError(f"cannot read {path}: {one_line(error)}") from None


def _wanted(name: str, features, label: Label | None) -> Callable[[object], bool] | None:
    import datasets

    if label is None:
        return None
    column, value = label
    if column not in features:
        raise ValueError(f"{name} has no column {column!r} to filter by, expected one of {', '.join(features)}")
    feature = features[column]
    if not isinstance(feature, datasets.ClassLabel):
        return lambda cell: str(cell) == value
    if value in feature.names:
        number = feature.str2int(value)
    elif value.isdigit() and int(value) < feature.num_classes:
        number = int(value)
    else:
        raise ValueError(f"{column} of {name} is never {value!r}, expected one of {', '.join(feature.names)}")
    return lambda cell: cell == number
