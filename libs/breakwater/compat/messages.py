"""Protobuf messages by their descriptors alone: samples with a value of its own in every field, and which fields are set."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError, Message

TIMESTAMP = "google.protobuf.Timestamp"
STRUCT = "google.protobuf.Struct"
_EPOCH = datetime(2031, 1, 1, tzinfo=UTC)
_DEPTH_MAX = 4
# Where a service checks what a text says, a sample must say something it takes.
_PLAUSIBLE: dict[str, str] = {"dataset": "leads", "format": "xlsx", "fields": "name"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field of a sample that holds a value: its path, and how that value shows in rows of a database."""

    path: str
    shown: str
    kind: type | None = None
    """str or int where a word of either may stand instead (`say`)."""


class Messages:
    """The messages of one image."""

    def __init__(self, image: bytes) -> None:
        """Raises `ValueError` for what is no image."""
        try:
            self.files = FileDescriptorSet.FromString(image)
        except DecodeError as error:
            raise ValueError("the image cannot be read") from error
        self._pool = descriptor_pool.DescriptorPool()
        for file in self.files.file:
            self._pool.Add(file)

    @classmethod
    def of(cls, image: Path) -> "Messages":
        """Of an image's file."""
        return _of(image, image.stat().st_mtime_ns)

    def new(self, name: str) -> Message:
        """An empty message. Raises `KeyError`."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))()

    def has(self, name: str) -> bool:
        """Whether a message is in the image."""
        return any(f"{file.package}.{each.name}" == name for file in self.files.file for each in file.message_type)

    def events_of(self, service: str) -> list[str]:
        """The full names of what a service publishes: the messages of its `events.proto`."""
        name = f"breakwater/{service}/v1/events.proto"
        return [
            f"{file.package}.{each.name}" for file in self.files.file if file.name == name for each in file.message_type
        ]

    def methods_of(self, service: str) -> dict[str, tuple[str, str, bool, bool]]:
        """RPCs of a package `breakwater.<service>.v1`: request, response, whether the client and the server stream."""
        return {
            f"{file.package}.{each.name}/{method.name}": (
                method.input_type.lstrip("."),
                method.output_type.lstrip("."),
                method.client_streaming,
                method.server_streaming,
            )
            for file in self.files.file
            if file.package == f"breakwater.{service}.v1"
            for each in file.service
            for method in each.method
        }

    def sample(self, name: str, seed: int = 0) -> tuple[Message, list[Leaf]]:
        """A message with a value of its own in every field, the same at every call; another `seed`, other values."""
        message = self.new(name)
        leaves: list[Leaf] = []
        _fill(message, f"{name}:", leaves, 0, seed)
        return message, [replace(leaf, path=leaf.path.partition(":")[2]) for leaf in leaves]

    def fields_set(self, name: str, content: bytes) -> list[str]:
        """The paths of the fields a serialised message sets."""
        message = self.new(name)
        message.ParseFromString(content)
        return sorted(set(_paths(message, "", 0)))


def clear(message: Message, path: str) -> None:
    """Leaves the field at `path` empty, in each of the messages on the way there."""
    name, _, rest = path.partition(".")
    if not rest:
        message.ClearField(name)
        return
    inner = getattr(message, name)
    for each in inner if message.DESCRIPTOR.fields_by_name[name].is_repeated else (inner,):
        clear(each, rest)


def say(message: Message, path: str, word: str | int) -> None:
    """Puts a word into the field at `path`, in each of the messages on the way there. Raises `ValueError` for too large a one."""
    name, _, rest = path.partition(".")
    if not rest:
        setattr(message, name, word)
        return
    inner = getattr(message, name)
    for each in inner if message.DESCRIPTOR.fields_by_name[name].is_repeated else (inner,):
        say(each, rest, word)


@lru_cache(maxsize=64)
def _of(image: Path, _mtime_ns: int) -> Messages:
    return Messages(image.read_bytes())


def _fill(message: Any, prefix: str, leaves: list[Leaf], depth: int, seed: int) -> None:
    for field in message.DESCRIPTOR.fields:
        path = f"{prefix}{field.name}"
        if _is_map(field):
            if field.message_type.fields_by_name["value"].message_type is None:
                getattr(message, field.name)["stage"] = _text(path, seed)
                leaves.append(Leaf(path, _text(path, seed)))
        elif field.message_type is not None:
            _fill_message(message, field, path, leaves, depth, seed)
        else:
            value, shown = _scalar(field, path, seed)
            if field.is_repeated:
                getattr(message, field.name).append(value)
                leaves.append(Leaf(path, shown))
                continue
            setattr(message, field.name, value)
            told = type(value) in {str, int} and field.enum_type is None
            leaves.append(Leaf(path, shown, type(value) if told else None))


def _fill_message(message: Any, field: FieldDescriptor, path: str, leaves: list[Leaf], depth: int, seed: int) -> None:
    inner = getattr(message, field.name)
    target = inner.add() if field.is_repeated else inner
    kind = field.message_type.full_name if field.message_type else ""
    if kind == TIMESTAMP:
        moment = _EPOCH + timedelta(days=_number(path) % 360 + 360 * seed)
        target.FromDatetime(moment)
        leaves.append(Leaf(path, moment.strftime("%Y-%m-%dT")))
    elif kind == STRUCT:
        target.update({"source": _text(path, seed)})
        leaves.append(Leaf(path, _text(path, seed)))
    elif depth < _DEPTH_MAX:
        target.SetInParent()
        _fill(target, f"{path}.", leaves, depth + 1, seed)


def _scalar(field: FieldDescriptor, path: str, seed: int) -> tuple[Any, str]:
    """A value, and how it shows; empty where it is not the field's own and so proves nothing."""
    number, kind = _number(path, seed), field.cpp_type
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _text(path, seed).encode(), _text(path, seed)
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = f"{number}.25" if field.name == "amount" else _text(path, seed)
        plausible = _PLAUSIBLE.get(field.name)
        return plausible or text, "" if plausible else text
    if field.enum_type is not None:
        return field.enum_type.values[-1].number, ""
    if kind in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        return number + 0.5, f"{number}.5"
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return True, ""
    # A stage told as a number is one of two (5).
    return (2, "") if field.name == "stage" else (number, str(number))


def _text(path: str, seed: int = 0) -> str:
    """An id-shaped text: services that want a UUID take it, the others take anything."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}/{path}" if seed else path))


def _number(path: str, seed: int = 0) -> int:
    """Each seed has a range of its own: no number of one is another's."""
    return 10_000 + uuid.uuid5(uuid.NAMESPACE_URL, path).int % 50_000 + 50_000 * seed


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _paths(message: Any, prefix: str, depth: int) -> Iterator[str]:
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        yield path
        if field.message_type is None or _is_map(field) or depth >= _DEPTH_MAX:
            continue
        for inner in value if field.is_repeated else (value,):
            if not _is_well_known(inner.DESCRIPTOR):
                yield from _paths(inner, f"{path}.", depth + 1)


def _is_well_known(descriptor: Descriptor) -> bool:
    return descriptor.full_name.startswith("google.protobuf.")
