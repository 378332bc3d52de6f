"""Breaks credentials: every guard of the verifier, where and how it reads, whom it lets in, what clients send."""

import ast
import itertools
from collections.abc import Iterator

from breakwater.compat.vectors import ELSEWHERE
from tests.mutation.mutant import Mutant, Source, walk

PREPARSE = "libs/breakwater/chassis/auth/preparse.py"
VERIFY = "libs/breakwater/chassis/auth/verify.py"
SIGN = "libs/breakwater/chassis/auth/sign.py"
METHODS = "libs/breakwater/chassis/grpc_methods.py"
CHANNELS = "libs/breakwater/chassis/channels.py"
CLAIMS = "libs/breakwater/chassis/auth/claims.py"
SERVERS = ("files", "leads", "notify", "health")
CONSUMERS_OF = {
    "leads": ("gateway", "files", "ops"), "notify": ("gateway", "ops"), "files": ("gateway", "ops"),
    "health": ("gateway", "ops"), "gateway": ("ops", "callers"),
}  # fmt: skip
PROVIDERS_OF = {"files": ("leads",), "gateway": ("leads", "files", "health", "notify")}


def mutants() -> Iterator[Mutant]:
    """All of them, in a fixed order; candidates take turns."""
    turn = itertools.cycle(SERVERS)
    for name, edits in (*_guards(), *_limits()):
        service = next(turn)
        yield Mutant(f"auth: {name} ({service})", service, "auth", CONSUMERS_OF[service], edits)
    yield from _places()
    yield from _callers()
    yield from _clients()


def _guards() -> Iterator[tuple[str, dict[str, str]]]:
    """Each `if ...: raise TokenRefusedError` of the verifier: off, inverted, and without each of its parts."""
    for path in (PREPARSE, VERIFY):
        source = Source.of(path)
        for node in walk(source.tree(), ast.If):
            assert isinstance(node, ast.If)
            if "raise TokenRefusedError" not in source.segment(node.body[-1]):
                continue
            said = " ".join(source.segment(node.test).split())
            yield f"guard off: {said}", source.with_node(node.test, "False")
            yield f"guard inverted: {said}", source.with_node(node.test, f"not ({source.segment(node.test)})")
            if isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.Or):
                for part in node.test.values:
                    spared = " ".join(source.segment(part).split())
                    yield f"guard without a part: {spared}", source.with_node(part, "False")


def _limits() -> Iterator[tuple[str, dict[str, str]]]:
    preparse, verify = Source.of(PREPARSE), Source.of(VERIFY)
    claims, methods = Source.of(CLAIMS), Source.of(METHODS)
    yield "alg Ed25519 dropped", preparse.replaced('{"Ed25519", "EdDSA"}', '{"EdDSA"}')
    yield (
        "alg none added",
        preparse.replaced('{"Ed25519", "EdDSA"}', '{"Ed25519", "EdDSA", "none", "ed25519", "ES256"}'),
    )
    for header in ("jwk", "jku", "x5u", "crit", "b64"):
        yield f"header {header} allowed", preparse.replaced(f'"{header}"', f'"not-{header}"')
    yield "tokens small", preparse.replaced("8 * 1024", "128")
    yield "tokens large", preparse.replaced("8 * 1024", "1024 * 1024")
    yield "texts short", preparse.replaced("TEXT_LENGTH_MAX = 200", "TEXT_LENGTH_MAX = 4")
    yield "texts long", preparse.replaced("TEXT_LENGTH_MAX = 200", "TEXT_LENGTH_MAX = 2000")
    yield "audiences many", preparse.replaced("AUDIENCES_MAX = 16", "AUDIENCES_MAX = 1600")
    yield "leeway of an hour", verify.replaced("LEEWAY_S = 5.0", "LEEWAY_S = 3600.0 * 2")
    yield "leeway of half a minute", verify.replaced("LEEWAY_S = 5.0", "LEEWAY_S = 30.0")
    yield "lifetime of a minute", verify.replaced("SERVICE_LIFETIME_MAX_S = 3600.0", "SERVICE_LIFETIME_MAX_S = 60.0")
    yield "lifetime of a year", verify.replaced("SERVICE_LIFETIME_MAX_S = 3600.0", "SERVICE_LIFETIME_MAX_S = 3e7")
    yield "typ at+jwt wanted", verify.replaced('types={"jwt"}', 'types={"at+jwt"}')
    yield "typ of any kind", verify.replaced('types={"jwt"}', 'types={"jwt", "at+jwt", "jose", None}')
    yield "aud of the platform", verify.replaced("audience=service,", 'audience="breakwater",')
    yield "issuer need not own the key", verify.replaced("or claims.iss != accepted.key.owner", "")
    yield "scheme Token", verify.replaced('_SCHEME = "bearer "', '_SCHEME = "token "')
    yield (
        "scheme in another case only",
        verify.replaced("[: len(_SCHEME)].lower() != _SCHEME", "[: len(_SCHEME)] != _SCHEME"),
    )
    yield "no scheme", verify.replaced("return header[len(_SCHEME) :]", "return header")
    yield (
        "refusals are UNAVAILABLE",
        claims.replaced("import UnauthenticatedError", "import UnavailableError as UnauthenticatedError"),
    )
    yield (
        "refusals are PERMISSION_DENIED",
        claims.replaced("import UnauthenticatedError", "import PermissionDeniedError as UnauthenticatedError"),
    )
    yield (
        "refusals hang",
        methods.replaced(
            "        except TokenRefusedError as error:\n",
            "        except TokenRefusedError as error:\n            await asyncio.sleep(30)\n",
        ),
    )
    yield (
        "verification hangs",
        methods.replaced(
            "        try:\n            caller", "        await asyncio.sleep(30)\n        try:\n            caller"
        ),
    )
    yield "sent twice is taken", methods.replaced("if authorization is not None:", "if False:")
    yield "another copy is taken", methods.replaced("if authorization is not None:", "if authorization == value:")


def _places() -> Iterator[Mutant]:
    """The outage itself: the token is read from another key, on every service."""
    source = Source.of(METHODS)
    for service, key in itertools.product(SERVERS, ELSEWHERE):
        for scheme, value in (("", "Bearer {value}"), (" with a scheme", "{value}")):
            if scheme and key not in {"x-jwt", "x-authorization"}:
                continue
            edit = source.replaced('if key == "authorization":', f'if key == "{key}" and (value := f"{value}"):')
            yield Mutant(f"auth: reads {key}{scheme} ({service})", service, "auth", CONSUMERS_OF[service], edit)


def _callers() -> Iterator[Mutant]:
    """Who may call is changed on a server."""
    for service, old in (("leads", 'callers={"gateway"}'), ("notify", 'callers={"gateway", "ops"}'),
                         ("files", 'callers={"gateway"}'), ("health", 'callers={"gateway"}')):  # fmt: skip
        edit = Source.of(f"services/{service}/main.py").replaced(old, 'callers={"nobody"}')
        yield Mutant(f"auth: callers shut out ({service})", service, "auth", CONSUMERS_OF[service], edit)
    edit = Source.of("services/leads/main.py").replaced('{"gateway", "files"}', '{"gateway"}')
    yield Mutant("auth: files shut out of StreamDataset (leads)", "leads", "auth", ("files",), edit)
    edit = Source.of("libs/breakwater/chassis/service.py").replaced("callers={OPS}", 'callers={"nobody"}')
    for service in SERVERS:
        yield Mutant(f"auth: ops shut out ({service})", service, "auth", ("ops",), edit)


def _clients() -> Iterator[Mutant]:
    """What a client sends is changed."""
    sign, channels = Source.of(SIGN), Source.of(CHANNELS)
    edits = {
        "alg ES256": sign.replaced('ALGORITHM = "Ed25519"', 'ALGORITHM = "ES256"'),
        "alg none": sign.replaced('ALGORITHM = "Ed25519"', 'ALGORITHM = "none"'),
        "typ at+jwt": sign.replaced('"typ": "JWT"', '"typ": "at+jwt"'),
        "no typ": sign.replaced(', "typ": "JWT"', ""),
        "kid a number": sign.replaced('"kid": self._kid', '"kid": 7'),
        "no kid": sign.replaced('"kid": self._kid, ', ""),
        "jku": sign.replaced('"typ": "JWT"', '"typ": "JWT", "jku": "https://keys.invalid"'),
        "crit": sign.replaced('"typ": "JWT"', '"typ": "JWT", "crit": ["x"], "x": 1'),
        "life of a day": sign.replaced("TTL_S = 300", "TTL_S = 86_400"),
        "exp as text": sign.replaced('"exp": now + self._ttl_s', '"exp": str(now + self._ttl_s)'),
        "iat as text": sign.replaced('"iat": now,', '"iat": str(now),'),
        "no iat": sign.replaced('"iat": now,', ""),
        "no exp": sign.replaced('"exp": now + self._ttl_s,', ""),
        "no aud": sign.replaced('"aud": audience,', ""),
        "no iss": sign.replaced('"iss": self._service,', ""),
        "no sub": sign.replaced('"sub": self._service,', ""),
        "aud of the platform": sign.replaced('"aud": audience,', '"aud": "breakwater",'),
        "iss a URL": sign.replaced('"iss": self._service,', '"iss": "https://" + self._service,'),
        "a large token": sign.replaced('"jti": secrets.token_urlsafe(12)', '"jti": secrets.token_urlsafe(9000)'),
        "in x-jwt": channels.replaced('(("authorization", f"Bearer', '(("x-jwt", f"Bearer'),
        "scheme Token": channels.replaced('f"Bearer {', 'f"Token {'),
        "no scheme": channels.replaced('f"Bearer {', 'f"{'),
        "no credential": channels.replaced("if self._signer is None:", "if True:"),
    }
    for name, edit in edits.items():
        yield Mutant(f"auth: client sends {name} (files)", "files", "auth", PROVIDERS_OF["files"], edit)
