"""What is known of pictures: rows of ``metadata.jsonl``, ``metadata.csv`` and EG3D's ``dataset.json``; poses checked.

Poses are radians, as ``stylesdf.camera`` has them: yaw 0 is frontal and positive where the camera moves to +x, pitch is
positive where it moves to +y.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import posixpath
import re
import unicodedata
from collections.abc import Iterator

import numpy as np

from stylesdf.files import sent_instead

log = logging.getLogger(__name__)
METADATA_FILES = ("metadata.jsonl", "metadata.csv", "dataset.json")  # the first of a folder is read
SIDECARS = (".json", ".cls", ".txt")  # what WebDataset puts beside a picture
LARGEST = {"yaw": math.pi + 1e-6, "pitch": math.pi / 2}
SPOKEN = {"yaw": "radians from −π to π", "pitch": "radians between −π/2 and π/2"}
HUGE = 1e30  # no pose; NaN, infinities and integers beyond floats are not below it
NUMBERS_OF_A_CAMERA = 25  # 16 of camera to world by rows, 9 of the intrinsics
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


class LabelError(ValueError):
    """A label cannot be meant as it stands; the message names file, line and value."""


def key_of(name: str) -> str:
    """Return a picture's name as rows are looked up by: slashes, no ``./``, one Unicode form."""
    return unicodedata.normalize("NFC", posixpath.normpath(name.replace("\\", "/")))


def rows_of(data: bytes, file: str, folder: str = "") -> dict[str, dict]:
    """Read what one file knows of pictures.

    Args:
        data: The file's bytes.
        file: Its path, for errors; its last part is one of ``METADATA_FILES``.
        folder: Where it lies in the data set, with slashes; its names are relative to that.

    Returns:
        By ``key_of`` a picture's name: what is known of it, with ``yaw`` and ``pitch`` as floats where it has a pose.

    Raises:
        LabelError: It is something else, two rows of a picture differ, or a pose is none.
    """
    kind = file.replace("\\", "/").rsplit("/", 1)[-1]
    read = {"metadata.jsonl": _json_lines, "metadata.csv": _csv, "dataset.json": _cameras}[kind]
    if what := sent_instead(data):
        raise LabelError(f"{file} is {what}")
    try:
        text = data.decode(BYTE_ORDER_MARKS.get(data[:2], BYTE_ORDER_MARKS.get(data[:3], "utf-8")))
    except UnicodeError as error:
        raise LabelError(f"{file} is no text in UTF-8: {error}") from None
    rows: dict[str, dict] = {}
    for place, row in read(text, file):
        key = key_of(posixpath.join(folder, row["file_name"].replace("\\", "/")))
        row = check_pose(row, place)
        if rows.get(key, row) != row:
            raise LabelError(f"{place}: {row['file_name']} has another row before, which differs")
        rows[key] = row
    return rows


def sidecar_row(data: bytes, ending: str, place: str) -> dict:
    """Read what a file beside a single picture knows of it.

    Args:
        data: The file's bytes.
        ending: ``json``, whose numbers and texts are columns; ``cls`` or ``txt``, which is a column of that name.
        place: For errors.

    Raises:
        LabelError: It is no JSON, or a pose is none.
    """
    text = data.decode("utf-8-sig", "replace").strip()
    if ending != "json":
        return {ending: int(text) if ending == "cls" and re.fullmatch("[0-9]{1,18}", text) else text}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{place} is no JSON: {error}") from None
    if not isinstance(values, dict):
        return {"json": values} if isinstance(values, (int, float, str)) else {}
    row = {name: value for name, value in values.items() if value is None or isinstance(value, (int, float, str))}
    return check_pose(row, place)


def check_pose(row: dict, place: str) -> dict:
    """Return a row whose pose was looked at.

    Args:
        row: What is known of a picture; ``yaw`` and ``pitch`` may be missing or None.
        place: File and line, for errors.

    Raises:
        LabelError: One of them is no finite number of radians, or lies beyond what a camera can have.
    """
    for name, largest in LARGEST.items():
        value = row.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -HUGE < value < HUGE:
            raise LabelError(f"{place}: {name} is {value!r}, expected a finite number of radians")
        if abs(value) > largest or name == "pitch" and abs(value) == largest:
            hint = f"; as degrees it would be {math.radians(value):.4g} radians" if abs(value) <= 360 else ""
            raise LabelError(f"{place}: {name} is {value!r}, expected {SPOKEN[name]}{hint}")
    return row


def _json_lines(text: str, file: str) -> Iterator[tuple[str, dict]]:
    wanted = f"{file}: metadata.jsonl is not one JSON object with a file_name per line"
    for number, line in enumerate(text.split("\n"), 1):  # other ends of lines may stand within JSON
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LabelError(f"{wanted}: line {number}: {error}") from None
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str) or not row["file_name"]:
            raise LabelError(f"{wanted}: line {number} is {line.strip()[:100]}")
        yield f"{file}, line {number}", row


def _csv(text: str, file: str) -> Iterator[tuple[str, dict]]:
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="")
    columns = [column.strip() for column in reader.fieldnames or ()]
    if "file_name" not in columns:
        raise LabelError(f"{file}: no column file_name in its first line, {header.strip()[:100]!r}")
    reader.fieldnames = columns
    try:
        for row in reader:
            place = f"{file}, line {reader.line_num}"
            if None in row or not row["file_name"]:
                raise LabelError(f"{place}: expected {len(columns)} cells, the file's name among them")
            yield place, row | {name: _number(row[name], name, place) for name in LARGEST if name in row}
    except csv.Error as error:
        raise LabelError(f"{file}, line {reader.line_num}: {error}") from None


def _number(cell: str, name: str, place: str) -> float | None:
    if not cell.strip():
        return None
    try:
        if "_" in cell:
            raise ValueError
        return float(cell)
    except ValueError:
        raise LabelError(f"{place}: {name} is {cell!r}, expected a number of radians") from None


def _cameras(text: str, file: str) -> Iterator[tuple[str, dict]]:
    """Read EG3D's cameras, or StyleGAN's class numbers as a column ``label``; another JSON of that name knows nothing.

    EG3D's cameras are OpenCV's: the columns of camera to world are right, down, forward and the camera's place, in a
    world whose y points up and whose frontal camera stands at +z. The pose is the direction the camera looks in, also
    where it does not look at the origin; its distance, roll and intrinsics are not kept.
    """
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{file} is no JSON: {error}") from None
    labels = about.get("labels") if isinstance(about, dict) else None
    if not isinstance(labels, list):
        log.info("%s has no list of labels, nothing is taken from it", file)
        return
    for number, entry in enumerate(labels, 1):
        place = f"{file}, label {number}"
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str) or not entry[0]:
            raise LabelError(f"{place} is {str(entry)[:100]}, expected [name, label]")
        name, label = entry
        if isinstance(label, list):
            yaw, pitch = _pose_of_camera(label, f"{place} ({name})")
            yield place, {"file_name": name, "yaw": yaw, "pitch": pitch}
        else:
            yield place, {"file_name": name, "label": label}


def _pose_of_camera(label: list, place: str) -> tuple[float, float]:
    """Return yaw and pitch of one of EG3D's cameras."""
    if len(label) != NUMBERS_OF_A_CAMERA or any(
        type(value) not in (int, float) or not -HUGE < value < HUGE for value in label
    ):
        raise LabelError(f"{place} is {str(label)[:60]}, expected {NUMBERS_OF_A_CAMERA} finite numbers")
    matrix = np.array(label[:16], dtype=np.float64).reshape(4, 4)
    rotation, position = matrix[:3, :3], matrix[:3, 3]
    if not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-3):
        raise LabelError(f"{place}: camera to world is {label[:16]}, expected 0, 0, 0, 1 at its end")
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-2) or np.linalg.det(rotation) < 0:
        raise LabelError(f"{place}: camera to world is {label[:16]}, expected a rotation in its first three columns")
    forward = rotation[:, 2] / np.linalg.norm(rotation[:, 2])
    if forward @ position > 0:
        raise LabelError(f"{place}: the camera looks away from the origin, expected OpenCV's axes right, down, forward")
    # back = −forward = (cos pitch · sin yaw, sin pitch, cos pitch · cos yaw)
    yaw, pitch = math.atan2(-forward[0], -forward[2]), math.asin(np.clip(-forward[1], -1, 1))
    return yaw + 0.0, pitch + 0.0
