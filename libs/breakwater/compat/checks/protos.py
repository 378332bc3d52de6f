"""Protos: buf over every deployed image, options and stubs by descriptors, RPCs at providers (checks 1 and 2)."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from breakwater.compat import protos
from breakwater.compat.artifacts import Release
from breakwater.compat.checks.auth import Deployed
from breakwater.compat.checks.events import Party
from breakwater.compat.emits import Emission
from breakwater.compat.messages import Messages
from breakwater.compat.verdict import CheckResult, Finding, Verdict

DIMENSION = "proto"
_CURE = "Keep the old field or RPC beside the new one until no deployed consumer uses it."
NOBODY = "no known consumer"
_QUOTED = re.compile(r'(message|enum|service|RPC) "([A-Za-z0-9_.]+)"')


class Users:
    """Who uses which messages and RPCs, by what deployed consumers were seen sending and taking in."""

    def __init__(self, deployed: Sequence[Deployed], parties: Sequence[Party], messages: Messages) -> None:
        self._by_name: dict[str, set[str]] = {}
        for each in deployed:
            for method in each.emission.rpcs:
                self._add(messages, method, f"{each.consumer} {each.version}")
        for party in parties:
            for event_type in party.interface.consumes:
                self._reach(messages, event_type, f"{party.name} {party.version}")

    def of(self, annotation: protos.Annotation) -> str:
        """The consumers of what buf's sentence speaks of; all known ones where it names a whole file."""
        quoted = _QUOTED.findall(annotation.message)
        if any(kind == "RPC" for kind, _ in quoted):
            # Who calls another one of its service is not hurt.
            quoted = [each for each in quoted if each[0] == "RPC"]
        names = {part for _, name in quoted for part in (name, name.rpartition(".")[2])}
        found = set().union(*(self._by_name.get(name, set()) for name in names)) if names else set()
        if not names:
            found = set().union(*self._by_name.values())
        return ", ".join(sorted(found)) or NOBODY

    def _add(self, messages: Messages, method: str, consumer: str) -> None:
        service, _, rpc = method.partition("/")
        for name in (service.rpartition(".")[2], rpc):
            self._by_name.setdefault(name, set()).add(consumer)
        kinds = messages.methods_of(service.split(".")[1]).get(method)
        for kind in kinds[:2] if kinds else ():
            self._reach(messages, kind, consumer)

    def _reach(self, messages: Messages, kind: str, consumer: str) -> None:
        try:
            descriptor: Any = messages.new(kind).DESCRIPTOR
        except KeyError:
            return
        waiting, seen = [descriptor], set()
        while waiting:
            each = waiting.pop()
            if each.full_name in seen:
                continue
            seen.add(each.full_name)
            self._by_name.setdefault(each.name, set()).add(consumer)
            for field in getattr(each, "fields", ()):
                waiting += [inner for inner in (field.message_type, field.enum_type) if inner is not None]


def lint(tree: Path) -> CheckResult:
    """buf lint over the whole tree."""
    findings = tuple(
        Finding(Verdict.BREAKING, DIMENSION, "style", f"{each.message} ({each.rule}, {each.place})")
        for each in protos.lint(tree)
    )
    return CheckResult("proto lint", sum(1 for _ in tree.rglob("*.proto")), findings)


def breaking(tree: Path, candidate: Path, release: Release, users: Users) -> CheckResult:
    """From one deployed release's image to the candidate's: of the same packages, so that a deleted file shows.

    Raises `RuntimeError` when buf fails.
    """
    annotations = protos.breaking(tree, candidate, release.image)
    findings = tuple(
        Finding(Verdict.BREAKING, DIMENSION, users.of(each), f"{each.message} ({each.rule}, {each.place})", _CURE)
        for each in sorted(annotations, key=lambda each: users.of(each) == NOBODY)
    )
    count = len(Messages.of(release.image).files.file)
    return CheckResult(f"proto breaking from {release.version}", count, findings)


def options(candidate: Path, release: Release) -> CheckResult:
    """Custom options of every element, to which buf is blind: what was annotated must stay annotated the same."""
    before, now = (_options(Messages.of(image).files.file) for image in (release.image, candidate))
    findings = tuple(
        Finding(
            Verdict.BREAKING, DIMENSION, f"{release.service} {release.version}", f"the options of {name} changed", _CURE
        )
        for name, content in before.items()
        if content and name in now and now[name] != content
    )
    return CheckResult(f"options beside {release.version}", len(before), findings)


def _options(files: Sequence[Any]) -> dict[str, bytes]:
    """The serialised extensions of each element's options, by its name."""
    return {name: _extensions(element.options) for file in files for name, element in _elements(file)}


def _extensions(options: Any) -> bytes:
    custom = type(options).FromString(options.SerializeToString())
    for field, _ in list(custom.ListFields()):
        if not field.is_extension:
            custom.ClearField(field.name)
    content: bytes = custom.SerializeToString(deterministic=True)
    return content


def _elements(file: Any) -> Iterator[tuple[str, Any]]:
    yield file.name, file
    waiting = [(file.package, message) for message in file.message_type]
    while waiting:
        prefix, message = waiting.pop()
        name = f"{prefix}.{message.name}"
        yield name, message
        yield from ((f"{name}.{field.name}", field) for field in message.field)
        waiting += [(name, inner) for inner in message.nested_type]
    for enum in file.enum_type:
        yield f"{file.package}.{enum.name}", enum
        yield from ((f"{file.package}.{enum.name}.{value.name}", value) for value in enum.value)
    for service in file.service:
        yield f"{file.package}.{service.name}", service
        yield from ((f"{file.package}.{service.name}/{method.name}", method) for method in service.method)


def stubs(root: Path, messages: Messages) -> CheckResult:
    """What the candidate's code speaks is what its protos say: the descriptors inside of the committed stubs."""
    examined, findings = 0, []
    for file in messages.files.file:
        if not file.name.startswith("breakwater/"):
            continue
        examined += 1
        path = root / "libs" / file.name.replace(".proto", "_pb2.py")
        if not path.is_file():
            findings.append(
                Finding(Verdict.BREAKING, DIMENSION, "stubs", f"{file.name} has no stub", "Run `make proto`.")
            )
        elif _plain(_descriptor_in(path)) != _plain(file):
            detail = f"the stub of {file.name} says something else than the proto"
            findings.append(Finding(Verdict.BREAKING, DIMENSION, "stubs", detail, "Run `make proto`."))
    return CheckResult("stubs beside protos", examined, tuple(findings))


def _descriptor_in(path: Path) -> FileDescriptorProto:
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "AddSerializedFile"
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, bytes)
        ):
            return FileDescriptorProto.FromString(node.args[0].value)
    raise ValueError(f"{path.name} holds no descriptor")


def _plain(file: FileDescriptorProto) -> bytes:
    """Without comments and with no JSON name that follows from the field's: compilers differ in both."""
    plain = FileDescriptorProto()
    plain.CopyFrom(file)
    plain.ClearField("source_code_info")
    waiting = list(plain.message_type)
    while waiting:
        message = waiting.pop()
        waiting += message.nested_type
        for field in message.field:
            if field.json_name == _json_name(field.name):
                field.ClearField("json_name")
    # buf marks its images in an unknown field.
    plain.DiscardUnknownFields()
    return plain.SerializeToString(deterministic=True)


def _json_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def known_to_providers(emitted: Sequence[Emission], releases: Mapping[str, Sequence[Release]]) -> CheckResult:
    """Every RPC the candidate calls is in the image of every deployed release of its provider; so are the fields it sets."""
    examined, findings = 0, []
    for emission in emitted:
        for release in releases.get(emission.provider, ()):
            image = Messages.of(release.image)
            for method, fields in emission.rpcs.items():
                examined += 1
                known = image.methods_of(method.split(".")[1]).get(method)
                subject = f"{release.service} {release.version}"
                cure = f"Deploy {release.service} first, or stay."
                if known is None:
                    detail = f"{emission.consumer} calls {method}, which it does not serve"
                    findings.append(Finding(Verdict.BREAKING, DIMENSION, subject, detail, cure))
                    continue
                unknown = [path for path in fields if not has(image, known[0], path)]
                if unknown:
                    detail = f"{emission.consumer} sets {', '.join(unknown)} of {known[0]}, which it would drop"
                    findings.append(Finding(Verdict.NARROWED, DIMENSION, subject, detail, cure))
    return CheckResult("RPCs at deployed providers", examined, tuple(findings))


def has(image: Messages, name: str, path: str) -> bool:
    """Whether a message of the image has the field at `path`, such as `actor.sub`."""
    descriptor: Any = image.new(name).DESCRIPTOR
    for step in path.split("."):
        field = descriptor.fields_by_name.get(step) if descriptor is not None else None
        if field is None:
            return False
        descriptor = field.message_type
    return True
