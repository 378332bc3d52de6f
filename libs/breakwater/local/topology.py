"""Which processes make a platform, on which ports, and what each is told (chassis.settings names the variables)."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakwater.local.deployments import code_of, python_path
from breakwater.local.ports import HOST, free_port
from breakwater.local.programs import Program
from breakwater.local.state import CALLER_ISSUER, State

SERVICES = ("leads", "notify", "files", "health")
FRONTS = ("gateway", "ops")
PROCESSES = SERVICES + FRONTS

MODULES: Mapping[str, str] = {name: f"services.{name}" for name in (*SERVICES, "gateway")} | {
    "ops": "services.gateway.ops"
}

DATABASE = "breakwater"
PLAYBOOKS = Path(__file__).parents[3] / "deploy" / "playbooks"
OBJECTIVES = Path(__file__).parents[3] / "deploy" / "slo.yaml"
RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
"""Of the tree that this runs from, as the playbooks."""


@dataclass(frozen=True, slots=True)
class ProcessPorts:
    """Ports of one process; `http` only where it serves HTTP to callers."""

    grpc: int
    metrics: int
    http: int | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port of a platform."""

    postgres: int
    nats: int
    processes: Mapping[str, ProcessPorts]

    @property
    def gateway_url(self) -> str:
        """The gateway as callers reach it."""
        return f"http://{HOST}:{self.processes['gateway'].http}"

    @property
    def ops_url(self) -> str:
        """The ops process as browsers reach it."""
        return f"http://{HOST}:{self.processes['ops'].http}"

    def named(self) -> list[tuple[str, int]]:
        """Every port with the name of its use."""
        ports = [("postgres", self.postgres), ("nats", self.nats)]
        for name, process in self.processes.items():
            ports += [(f"{name} (gRPC)", process.grpc), (f"{name} (metrics)", process.metrics)]
            if process.http is not None:
                ports.append((f"{name} (HTTP)", process.http))
        return ports


_ALARMS = (
    "ALARM_RECIPIENTS",
    "ALARM_ROBOT",
    "ALARM_ROBOT_KEY_FILE",
    "ALARM_ROBOT_SECRET_FILE",
    "HTTP_BASES",
    "EGRESS_PRIVATE",
)
"""What the ops process needs to reach people by itself."""
_CHANNELS = (
    "HTTP_BASES",
    "EGRESS_PRIVATE",
    "ROBOTS_FOLDER",
    "SMTP_SERVER",
    "SMTP_TLS",
    "SMTP_USER",
    "SMTP_PASSWORD_FILE",
    "MAIL_FROM",
)
"""What notify needs to reach people beyond their inbox, where a folder of robots or a sender of mail is given."""


def default_ports() -> Ports:
    """The fixed ports of api.md; 505x for gRPC, 910x for metrics."""
    processes = {
        name: ProcessPorts(grpc=50051 + index, metrics=9101 + index, http={"gateway": 8080, "ops": 8090}.get(name))
        for index, name in enumerate(PROCESSES)
    }
    return Ports(postgres=5432, nats=4222, processes=processes)


def automatic_ports() -> Ports:
    """Free ports, all different."""
    taken: set[int] = set()

    def pick() -> int:
        port = free_port(taken)
        taken.add(port)
        return port

    processes = {
        name: ProcessPorts(grpc=pick(), metrics=pick(), http=pick() if name in FRONTS else None) for name in PROCESSES
    }
    return Ports(postgres=pick(), nats=pick(), processes=processes)


def process_program(name: str, state: State, ports: Ports, lock_fd: int) -> Program:
    """The program of one of our own processes. It inherits the launcher's lock and is killed with the launcher."""
    own = ports.processes[name]
    peers = {peer: f"{HOST}:{process.grpc}" for peer, process in ports.processes.items() if peer != name}
    told = {
        "ENVIRONMENT": "development",
        "GRPC_PORT": str(own.grpc),
        "METRICS_PORT": str(own.metrics),
        "DATABASE_URL": f"postgresql://{name}@{HOST}:{ports.postgres}/{DATABASE}",
        "OPS_URL": ports.ops_url,
        "GATEWAY_URL": ports.gateway_url,
    }
    if own.http is not None:
        told["HTTP_PORT"] = str(own.http)
    if name == "ops" and code_of(state, name) is None and PLAYBOOKS.is_dir():
        # A release may be older than what it would be told, and refuses what it does not know.
        command = json.dumps([str(Path(sys.executable).with_name("breakwater"))])
        told |= {"PLAYBOOKS_DIR": str(PLAYBOOKS), "PLAYBOOK_COMMAND": command, "STATE": str(state.root)}
        told |= {"RUNBOOKS_DIR": str(RUNBOOKS), "OBJECTIVES_FILE": str(OBJECTIVES)}
    return Program(
        (sys.executable, "-P", "-m", MODULES[name]),
        environment(name, state, nats_url=f"nats://{HOST}:{ports.nats}", told=told, peers=peers)
        | python_path(state, name),
        fds=(lock_fd,),
        directory=str(state.root),
    )


def environment(
    name: str, state: State, *, nats_url: str, told: Mapping[str, str], peers: Mapping[str, str]
) -> dict[str, str]:
    """The environment of one of our own processes: its keys and passwords below `state`, and what it is `told`.

    `peers` are host:port by name.
    """
    variables = {
        "HOST": HOST,
        "DATABASE_PASSWORD_FILE": state.password_file(name),
        "NATS_URL": nats_url,
        "NATS_USER": name,
        "NATS_PASSWORD_FILE": state.secrets / f"nats-{name}.password",
        "SERVICE_KEY_FILE": state.service_key(name),
        "SERVICE_JWKS": state.service_jwks,
        "PEERS": ",".join(f"{peer}={address}" for peer, address in peers.items()),
        **_particulars(name, state),
        **told,
        **_passed_on(name),
        **(_channels() if name == "notify" and code_of(state, name) is None else {}),
    }
    basics = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return basics | {"PYTHONUNBUFFERED": "1"} | {f"BREAKWATER_{key}": str(value) for key, value in variables.items()}


def _particulars(name: str, state: State) -> dict[str, Any]:
    callers = {"CALLER_JWKS": state.caller_jwks, "CALLER_ISSUER": CALLER_ISSUER}
    match name:
        case "gateway":
            keys = {"HMAC_KEY_FILE": state.body_key, "SEAL_KEY_FILE": state.seal_key}
            return callers | keys | {"EXPORT_SCRATCH_DIR": state.scratch}
        case "ops":
            return callers
        case "files":
            return {"OBJECT_STORE_URL": state.objects.as_uri(), "SEAL_KEY_FILE": state.seal_key}
        case _:
            return {}


def _passed_on(name: str) -> dict[str, str]:
    # Telemetry and who is woken are the launcher's user's to configure; everything else the launcher decides.
    names = ("OTLP_ENDPOINT", "TRACE_SAMPLE_RATIO", "LOG_LEVEL", *(_ALARMS if name == "ops" else ()))
    return {name: os.environ[f"BREAKWATER_{name}"] for name in names if f"BREAKWATER_{name}" in os.environ}


def _channels() -> dict[str, str]:
    found = {name: os.environ[f"BREAKWATER_{name}"] for name in _CHANNELS if f"BREAKWATER_{name}" in os.environ}
    return found if found.keys() & {"ROBOTS_FOLDER", "MAIL_FROM"} else {}
