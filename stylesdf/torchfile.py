"""Tensors of a torch file, read without importing or running anything that it names.

A torch file arranges its tensors by a pickle, a small program that may ask for any function to be called. Here that
program is followed on plain values: dictionaries, lists, numbers and text are built, a tensor becomes a note of where
its numbers lie, and whatever else it asks for becomes an ``Inert`` with the name. Nothing is looked up by a name.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from stylesdf.config import shown
from stylesdf.files import text_instead

MAX_FILE_BYTES = 1 << 32
MAX_RECORDS = 20_000  # tensors of a file; the released ones have about 1,000
MAX_STRUCTURE_BYTES = 1 << 22  # of the part that says how tensors are arranged
MAX_DIMENSIONS, MAX_NUMBER, MAX_NAME = 8, 1 << 62, 100
MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001  # what torch before 1.6 begins a file with
DTYPES = {
    f"torch.{place}{name}Storage": dtype
    for place in ("", "cuda.")
    for name, dtype in {
        "Float": torch.float32,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Double": torch.float64,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}
DICTIONARIES = ("collections.OrderedDict", "collections.defaultdict")
TENSORS = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")


@dataclass(frozen=True, eq=False)
class Inert:
    """Something that a file asks for by a name, or the outcome of calling it; neither was done."""

    name: str


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor whose numbers are still in the file.

    Attributes:
        dtype: Of the numbers.
        key: Of the storage they lie in.
        offset: Of the first one, in numbers.
        size: Shape.
        stride: In numbers, for every dimension.
    """

    dtype: torch.dtype
    key: str
    offset: int = 0
    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole tensor, also where it repeats stored numbers."""
        count = self.dtype.itemsize
        for extent in self.size:
            count *= extent
        return count


class TorchFile:
    """A file of ``torch.save``, also of torch before 1.6.

    Attributes:
        contents: What the file holds, with ``Stored`` in place of tensors and ``Inert`` in place of objects.
        called: Names of what it asks to be called besides building tensors, sorted; nothing was.
    """

    def __init__(self, path: Path) -> None:
        """Read how the tensors are arranged, and none of them.

        Raises:
            ValueError: It is no torch file, or unfolds to more than its size. A damaged one can raise nearly anything.
        """
        self.path = path
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise ValueError(f"it has {size:,} bytes, expected at most {MAX_FILE_BYTES:,}")
        with open(path, "rb") as file:
            head = file.read(MAX_STRUCTURE_BYTES + (1 << 16))
        self._places: dict[str, int] | None = None
        program = _Program()
        if head.startswith(b"PK"):
            self._folder, structure = _read_structure(path, size)
            self.contents = program.run(BytesIO(structure))
        else:
            self.contents, self._places = _read_stream(program, path, BytesIO(head), size)
        self.called = sorted(program.called)

    def read(self, part: Mapping[str, Stored]) -> dict[str, Tensor]:
        """Return tensors of the file, in memory.

        Raises:
            ValueError: One lies outside what is stored.
        """
        dtypes = {stored.key: stored.dtype for stored in part.values()}
        read = self._read_records if self._places is None else self._read_places
        storages = {key: _numbers(data, dtypes[key]) for key, data in read(dtypes)}
        tensors = {}
        for name, stored in part.items():
            storage = storages[stored.key]
            last = stored.offset + sum((extent - 1) * step for extent, step in zip(stored.size, stored.stride))
            if storage.dtype != stored.dtype or last >= len(storage):
                raise ValueError(f"tensor {shown(name)} lies outside what is stored")
            tensors[name] = storage.as_strided(stored.size, stored.stride, stored.offset)
        return tensors

    def _read_records(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        with zipfile.ZipFile(self.path) as archive:
            for key in keys:
                yield key, archive.read(f"{self._folder}data/{key}")

    def _read_places(self, dtypes: Mapping[str, torch.dtype]) -> Iterator[tuple[str, bytes]]:
        with open(self.path, "rb") as file:
            for key, dtype in dtypes.items():
                file.seek(self._places[key])
                yield key, file.read(int.from_bytes(file.read(8), "little") * dtype.itemsize)


def _numbers(data: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _read_structure(path: Path, size: int) -> tuple[str, bytes]:
    """Return the folder of a zip file's records and its pickle, once its directory has been looked at.

    Raises:
        ValueError: The zip unfolds to more than its size, is laid out so that readers could see different ones, or is
            another zip than torch writes.
    """
    with open(path, "rb") as file:
        file.seek(max(size - 22, 0))
        end = file.read(22)  # the end record, without a comment behind it
    num_records = int.from_bytes(end[10:12], "little")
    if len(end) < 22 or end[:4] != b"PK\5\6" or end[20:] != b"\0\0" or not 0 < num_records <= MAX_RECORDS:
        raise ValueError("it is cut off, or no zip file as torch writes it")
    if int.from_bytes(end[12:16], "little") > 256 * MAX_RECORDS:
        raise ValueError("the zip file's directory is too large")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = [record.filename for record in records]
        packed = [name for name in names if name.lower().endswith((".pt", ".pth", ".safetensors"))]
        if packed:
            raise ValueError(f"it is a zip with {shown(packed[0])} in it: unpack that first")
        folder = names[0].split("/")[0] + "/"
        if any(name.startswith(f"{folder}code/") for name in names):
            raise ValueError("it is a TorchScript program: save the state_dict() of its model instead")
        if len(records) != num_records or len(set(names)) != num_records:
            raise ValueError("the zip file's directory contradicts itself")
        if any(record.compress_type or record.file_size != record.compress_size for record in records):
            raise ValueError("the zip file is compressed, torch's are not: download it once more")
        if sum(record.file_size for record in records) > size:
            raise ValueError("the zip file's records overlap")
        if f"{folder}data.pkl" not in names:
            raise ValueError("it is a zip without data.pkl")
        record = archive.getinfo(f"{folder}data.pkl")
        if record.file_size > MAX_STRUCTURE_BYTES:
            raise ValueError(f"its structure has {record.file_size:,} bytes, expected at most {MAX_STRUCTURE_BYTES:,}")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("it was written by a big-endian machine: save it again on another")
        return folder, archive.read(record)


def _read_stream(program: _Program, path: Path, head: BytesIO, size: int) -> tuple[object, dict[str, int]]:
    """Return what a file of torch before 1.6 holds, and by their keys where its storages start.

    Args:
        program: New.
        path: The file.
        head: Its beginning, in which everything but the storages lies.
        size: Of the file, bytes.

    Raises:
        ValueError: It is another pickle, is cut off, or has more than its storages.
    """
    if program.run(head) != MAGIC_NUMBER or program.run(head) != PROTOCOL_VERSION:
        raise ValueError("it is a pickle, but none that torch.save wrote: save the tensors again with torch.save")
    machine = program.run(head)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("it was written by a big-endian machine: save it again on another")
    contents, keys = program.run(head), program.run(head)
    places, place = {}, head.tell()
    with open(path, "rb") as file:
        for key in keys:
            places[key] = place
            file.seek(place)
            place += 8 + int.from_bytes(file.read(8), "little") * program.dtypes[key].itemsize
            if place > size:
                raise ValueError("it is cut off")
    if place != size or len(places) != len(keys):
        raise ValueError("its storages are not all that it has")
    return contents, places


class _Program:
    """What a pickle's instructions do to a stack, on plain values."""

    def __init__(self) -> None:
        self.called: set[str] = set()
        self.dtypes: dict[str, torch.dtype] = {}  # of storages, by their keys

    def run(self, file: BinaryIO) -> object:
        """Follow one program to its end, where the file then stands."""
        self.stack, self.marks, self.memo = [], [], {}
        for code, value, _ in pickletools.genops(file):
            if code.name == "STOP":
                break
            self._step(code.name, value)
        return self.stack.pop()

    def _step(self, name: str, value: object) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(len(stack))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE" | "EMPTY_SET":
                stack.append({"DICT": dict, "LIST": list, "TUPLE": tuple, "SET": list}[name.removeprefix("EMPTY_")]())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
            case "TUPLE" | "LIST" | "FROZENSET":
                stack.append((tuple if name == "TUPLE" else list)(self._since_mark()))
            case "DICT":
                items = self._since_mark()
                stack.append({})
                self._set(items)
            case "APPEND" | "SETITEM":
                size = 1 if name == "APPEND" else 2
                items = stack[-size:]
                del stack[-size:]
                self._set(items)
            case "APPENDS" | "SETITEMS" | "ADDITEMS":
                self._set(self._since_mark())
            case "POP" | "DUP":
                stack.append(stack[-1]) if name == "DUP" else stack.pop()
            case "POP_MARK":
                self._since_mark()
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self.memo[len(self.memo) if name == "MEMOIZE" else int(value)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[int(value)])
            case "PERSID" | "BINPERSID":
                stack.append(self._storage(value if name == "PERSID" else stack.pop()))
            case "GLOBAL" | "STACK_GLOBAL" | "INST" | "OBJ" | "REDUCE" | "BUILD" | "NEWOBJ" | "NEWOBJ_EX":
                self._ask(name, value)
            case _:
                if pickletools.code2op[_CODES[name]].arg is None or name.startswith("EXT"):
                    raise ValueError(f"it has the instruction {name}")
                stack.append(value)  # a number, text or bytes

    def _since_mark(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _set(self, items: list) -> None:
        """Put items into the list or dictionary on the stack; objects get none."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, dict):
            for key, item in zip(items[::2], items[1::2], strict=True):
                _check_key(key)
                target[key] = item
        elif not isinstance(target, Inert):
            raise ValueError("it puts something into what holds nothing")

    def _ask(self, name: str, value: object) -> None:
        """Put what an instruction asks for on the stack: a tensor, a dictionary, or an ``Inert``."""
        stack = self.stack
        if name == "GLOBAL":
            stack.append(Inert(_name(*value.split(" ", 1))))
        elif name == "STACK_GLOBAL":
            stack[-2:] = [Inert(_name(*stack[-2:]))]
        elif name == "BUILD":  # attributes
            stack.pop()
        elif name == "INST":
            stack.append(self._called(_name(*value.split(" ", 1)), self._since_mark()))
        elif name == "OBJ":
            kind, *arguments = self._since_mark()
            stack.append(self._called(kind.name, arguments))
        else:
            if name == "NEWOBJ_EX":
                stack.pop()
            kind, arguments = stack[-2:]
            stack[-2:] = [self._called(kind.name, arguments)]

    def _called(self, name: str, arguments: Sequence) -> object:
        if name == "torch._tensor._rebuild_from_type_v2" and isinstance(arguments[0], Inert):
            name, arguments = arguments[0].name, arguments[2]
        if name in TENSORS:
            storage, offset, size, stride = arguments[:4]
            is_shape = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)
            if not isinstance(storage, Stored) or not is_shape or len(size) > MAX_DIMENSIONS:
                raise ValueError("it has a tensor without numbers")
            if not all(type(number) is int and 0 <= number < MAX_NUMBER for number in (offset, *size, *stride)):
                raise ValueError("it has a tensor of impossible size")
            return Stored(storage.dtype, storage.key, storage.offset + offset, size, stride)
        if name in PARAMETERS and isinstance(arguments[0], Stored):
            return arguments[0]
        if name in DICTIONARIES:
            self.stack.append({})
            for pair in arguments[0] if arguments and isinstance(arguments[0], list) else []:  # Python 2 wrote these
                self._set(pair)
            return self.stack.pop()
        self.called.add(name)
        return Inert(name)

    def _storage(self, about: object) -> Stored | Inert:
        """Return where numbers lie, from (``"storage"``, type, key, device, count) and in old files a view of it."""
        if not isinstance(about, tuple) or about[0] != "storage":
            return about[1] if isinstance(about, tuple) and isinstance(about[1], Inert) else Inert("a module")
        kind, key, _, _, *view = about[1:]
        if not isinstance(kind, Inert) or kind.name not in DTYPES or not isinstance(key, str):
            raise ValueError(f"it has numbers of the kind {shown(getattr(kind, 'name', kind))}")
        dtype = self.dtypes.setdefault(key, DTYPES[kind.name])
        if dtype != DTYPES[kind.name]:
            raise ValueError("it has two kinds of numbers in one storage")
        return Stored(dtype, key, view[0][1] if view and view[0] else 0)


def _check_key(key: object) -> None:
    """Refuse a key that could take for ever to hash."""
    parts = key if isinstance(key, tuple) and len(key) <= MAX_DIMENSIONS else (key,)
    for part in parts:
        is_small = isinstance(part, int) and abs(part) < MAX_NUMBER
        if not (is_small or part is None or isinstance(part, (str, bytes, float, Inert))):
            raise ValueError("it has a key that is no text and no number")


def _name(module: object, attribute: object) -> str:
    if not all(isinstance(part, str) and len(part) <= MAX_NAME for part in (module, attribute)):
        raise ValueError(f"it asks for {shown(attribute)} of {shown(module)}")
    return f"{module}.{attribute}"


_CODES = {code.name: code.code for code in pickletools.opcodes}


def what_it_is_instead(head: bytes) -> str:
    """Name a file that is known to be no torch file, by its beginning, and the way out; empty where it may be one."""
    if what := text_instead(head[:1024]):
        return f"it is {what}"
    if head.startswith((b"Rar!", b"7z\xbc\xaf", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return "it is packed: unpack it first"
    if head[257:262] == b"ustar" or head.startswith((b"sys_info\0", b"pickle\0", b"storages\0", b"tensors\0")):
        return "it is a tar archive: unpack it, or, if torch before 1.0 wrote it, save it again with torch 1.0 to 2.5"
    return ""
