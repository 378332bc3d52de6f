"""What the chassis costs on one unary hop: `python -m bench.hop`.

A server process serves the same echo twice: bare grpcio aio, and behind `grpc_server`. A client process calls both,
bare and through a guarded `Channel`, at the same concurrency, in interleaved rounds; the median of the rounds counts.
The ratio is throughput with the chassis on both sides to bare on both sides (measurements.md: lean 0.61, naive 0.30).
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.protobuf.wrappers_pb2 import StringValue

from breakwater.chassis import telemetry
from breakwater.chassis.auth import KeySource, ServiceSigner, ServiceVerifier, new_private_jwk, public_jwk
from breakwater.chassis.channels import Channel
from breakwater.chassis.grpc_server import Server
from breakwater.chassis.settings import ServiceSettings
from breakwater.resilience import Deadline, Policy, PolicySettings, current_deadline

METHOD = "/breakwater.bench.v1.EchoService/Unary"
CODEC: dict[str, Any] = {
    "request_serializer": StringValue.SerializeToString,
    "response_deserializer": StringValue.FromString,
}
Caller = Callable[[], Awaitable[Any]]


async def echo(request: StringValue, context: Any) -> StringValue:  # noqa: ARG001 - a handler's shape
    return StringValue(value=request.value)


def add_echo(servicer: Any, server: Any) -> None:
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(
            servicer, request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString
        )
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("breakwater.bench.v1.EchoService", handlers),)
    )
    server.add_registered_method_handlers("breakwater.bench.v1.EchoService", handlers)


def make_keys(directory: Path) -> None:
    key = new_private_jwk("gateway", development=True)
    path = directory / "gateway.jwk"
    path.write_text(json.dumps(key))
    path.chmod(0o600)
    (directory / "jwks.json").write_text(json.dumps({"keys": [public_jwk(key)]}))


def serve(directory: Path, pipe: Connection) -> None:
    async def main() -> None:
        bare = grpc.aio.server()
        add_echo(echo, bare)
        bare_port = bare.add_insecure_port("127.0.0.1:0")
        await bare.start()
        keys = KeySource(str(directory / "jwks.json"), production=False)
        await keys.start()
        server = Server("files", ServiceSettings(environment="development"), ServiceVerifier(keys, "files"))
        server.add(add_echo, echo, callers={"gateway"})
        await server.start()
        pipe.send((bare_port, server.port))
        await asyncio.to_thread(pipe.recv)
        await bare.stop(0)
        await server.drain(0)

    uvloop.run(main())


async def round_of(call: Caller, concurrency: int, duration_s: float) -> float:
    """Calls a second."""
    count = 0
    ends_at_s = time.perf_counter() + duration_s

    async def client() -> None:
        nonlocal count
        while time.perf_counter() < ends_at_s:
            await call()
            count += 1

    began_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return count / (time.perf_counter() - began_s)


async def measure(directory: Path, ports: tuple[int, int], options: argparse.Namespace) -> dict[str, float]:
    bare_port, port = ports
    signer = ServiceSigner(directory / "gateway.jwk", "gateway", production=False)
    policy = Policy(PolicySettings(caller="gateway", dependency="files", attempt_timer=False, concurrency_max=256))
    request = StringValue(value="x" * 100)
    telemetry.join(None)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{bare_port}") as bare_channel:
        bare = bare_channel.unary_unary(METHOD, **CODEC)
        served = Channel("files", [f"127.0.0.1:{port}"], policy, signer)
        method = served.grpc.unary_unary(METHOD, **CODEC)
        metadata = (("authorization", f"Bearer {signer.token_for('files')}"),)

        async def guarded() -> Any:
            current_deadline.set(Deadline.after(5))
            return await served.unary(method, request)

        callers: dict[str, Caller] = {
            "bare": lambda: bare(request),
            "server": lambda: method(request, metadata=metadata, timeout=5),
            "hop": guarded,
        }
        results: dict[str, list[float]] = {name: [] for name in callers}
        for number in range(options.rounds + 1):
            for name, call in callers.items():
                rate = await round_of(call, options.concurrency, options.seconds)
                if number:  # the first round warms up
                    results[name].append(rate)
        await served.close()
    return {name: statistics.median(rates) for name, rates in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_keys(directory)
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(directory, theirs))
        server.start()
        medians = uvloop.run(measure(directory, ours.recv(), options))
        ours.send("stop")
        server.join()
    bare = medians["bare"]
    for figure, name in (
        ("unary, server of the chassis", "server"),
        ("unary, server and channel of the chassis", "hop"),
    ):
        line = {
            "bench": "hop",
            "figure": figure,
            "value": round(medians[name]),
            "unit": "calls/s",
            "peer": "bare grpcio aio",
            "peer_value": round(bare),
            "ratio": round(medians[name] / bare, 2),
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
