"""Breaks nobody: added fields and RPCs, widened acceptance with approval, refactorings. None may be blocked."""

import ast
import re
from collections.abc import Iterator

import yaml

from tests.mutation.mutant import ROOT, Mutant, Source, walk
from tests.mutation.protos import FILES

REFACTORED = (
    "libs/breakwater/chassis/auth/preparse.py", "libs/breakwater/chassis/auth/verify.py",
    "libs/breakwater/chassis/auth/sign.py", "libs/breakwater/chassis/grpc_methods.py",
    "libs/breakwater/chassis/channels.py", "libs/breakwater/chassis/cloudevents.py",
    "libs/breakwater/chassis/outbox.py", "libs/breakwater/chassis/inbox.py",
)  # fmt: skip
SERVERS = ("files", "leads", "notify", "health")
APPROVALS = "deploy/approvals.yaml"


def mutants() -> Iterator[Mutant]:
    """All of them, in a fixed order, the null mutant of every service first."""
    for service in (*SERVERS, "gateway"):
        yield _compatible("the null mutant", service, {})
    yield from _added()
    yield from _refactored()
    yield from _widened()
    yield from _http()


def _compatible(said: str, service: str, edits: dict[str, str]) -> Mutant:
    return Mutant(f"compatible: {said} ({service})", service, "none", (), edits, compatible=True)


def _added() -> Iterator[Mutant]:
    """A field in each message, an RPC in each service, a value in each enum, a message in each file."""
    for name, owner in FILES.items():
        # The gateway's own events are checked through files, which takes some of them in: a run of a third the length.
        service = "files" if owner == "gateway" else owner
        source = Source.of(f"proto/breakwater/{name}.proto")
        for message in re.findall(r"^message (\w+) \{$", source.text, re.MULTILINE):
            head = f"message {message} {{\n"
            edit = source.replaced(head, f"{head}  // Added later.\n  string added_later = 900;\n")
            yield _compatible(f"{message} has another field", service, edit)
        for enum in re.findall(r"^enum (\w+) \{$", source.text, re.MULTILINE):
            prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum).upper()
            body = re.search(rf"enum {enum} \{{.*?\n\}}", source.text, re.DOTALL)
            assert body is not None
            edit = source.replaced(body[0], body[0][:-1] + f"  {prefix}_ADDED_LATER = 90;\n}}")
            yield _compatible(f"{enum} has another value", service, edit)
        found = re.search(r"^service (\w+) \{\n", source.text, re.MULTILINE)
        if found:
            added = "  // Added later.\n  rpc AddedLater(AddedLaterRequest) returns (AddedLaterResponse);\n"
            messages = (
                "\n// Added later.\nmessage AddedLaterRequest {}\n\n// Added later.\nmessage AddedLaterResponse {}\n"
            )
            edit = {source.path: source.text.replace(found[0], found[0] + added) + messages} | _served(found[1])
            yield _compatible(f"{found[1]} has another RPC", service, edit)


def _served(service: str) -> dict[str, str]:
    """The edit that serves the added RPC: the chassis starts no server with one that nobody wrote."""
    for root in ("services", "libs/breakwater/chassis"):
        for path in sorted((ROOT / root).rglob("*.py")):
            head = re.search(rf"^class \w+\({service}Servicer\):\n", path.read_text(encoding="utf-8"), re.MULTILINE)
            if head:
                method = "    async def AddedLater(self, request, context):\n        return None\n\n"
                return Source.of(str(path.relative_to(ROOT))).replaced(head[0], head[0] + method)
    raise LookupError(f"nobody serves {service}")


def _refactored() -> Iterator[Mutant]:
    """In each function of what the gate looks at: a local name renamed, a line that does nothing, words about it."""
    turn = 0
    for path in REFACTORED:
        source = Source.of(path)
        for function in walk(source.tree(), ast.FunctionDef | ast.AsyncFunctionDef):
            service = SERVERS[turn % len(SERVERS)]
            local = next(
                (n.id for n in walk(function, ast.Name) if isinstance(n.ctx, ast.Store) and len(n.id) > 3), None
            )
            text = source.segment(function)
            stores = {n.arg for n in walk(function, ast.arg)}
            nested = any(each is not function for each in walk(function, ast.FunctionDef | ast.AsyncFunctionDef))
            taken = (
                local is None
                or local in stores
                or nested
                or f".{local}" in text
                or f"{local}=" in text
                or f'"{local}"' in text
            )
            if not taken:
                turn += 1
                renamed = re.sub(rf"(?<![\w.\"']){local}(?![\w\"'])", f"{local}_here", text)
                yield _compatible(f"{local} of {function.name} renamed", service, source.replaced(text, renamed))


def _widened() -> Iterator[Mutant]:
    """What is accepted more, approved of by name."""
    widenings = (
        ("in x-jwt", "libs/breakwater/chassis/grpc_methods.py", 'if key == "authorization":',
         'if key == "authorization" or (key == "x-jwt" and (value := f"Bearer {value}")):'),
        ("in x-authorization with a scheme", "libs/breakwater/chassis/grpc_methods.py", 'if key == "authorization":',
         'if key in {"authorization", "x-authorization"}:'),
        ("typ wrong", "libs/breakwater/chassis/auth/verify.py", 'types={"jwt"}', 'types={"jwt", "at+jwt"}'),
        ("typ missing", "libs/breakwater/chassis/auth/verify.py", 'types={"jwt"}', 'types={"jwt", None}'),
    )  # fmt: skip
    for credential, path, old, new in widenings:
        for service in SERVERS:
            approval = {"service": service, "credential": credential, "approved_by": "security", "reason": "rehearsed"}
            edits = Source.of(path).replaced(old, new) | {APPROVALS: yaml.safe_dump({"approvals": [approval]})}
            yield _compatible(f"{credential} accepted with approval", service, edits)


def _http() -> Iterator[Mutant]:
    """The gateway takes and answers more."""
    leads, customers = (Source.of(f"services/gateway/http/{name}.py") for name in ("leads", "customers"))
    yield _compatible(
        "NewLead takes another field",
        "gateway",
        leads.replaced("    name: ShortText\n", "    name: ShortText\n    nickname: ShortText | None = None\n"),
    )
    yield _compatible(
        "StageView answers more",
        "gateway",
        customers.replaced("    signals: int\n", "    signals: int\n    added_later: NotRequired[str]\n"),
    )
    yield _compatible(
        "pages may be longer", "gateway", Source.of("services/gateway/http/routes.py").replaced("le=200", "le=500")
    )
