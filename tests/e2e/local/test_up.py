"""`breakwater up` and what supervises it, with the real services."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from tests.support.platform import eventually, running, start

SERVICES = {"leads", "notify", "files", "health", "gateway", "ops"}
LEAD = {"name": "王芳", "company": "海天机械", "source": "展会"}


def alive(pid):
    return Path(f"/proc/{pid}").exists()


def pids(status):
    processes = [*status["services"].values(), status["nats"], status["postgres"]]
    return {process["pid"] for process in processes}


def test_the_ready_line_says_where_everything_is(breakable):
    """One JSON line with gateway, ops, services, nats and postgres, as api.md fixes it; status has the same keys."""
    ready, status = breakable.ready, breakable.status()
    assert ready["ready"] is True
    assert set(ready["services"]) == SERVICES
    for name, own in ready["services"].items():
        assert {"grpc", "metrics", "pid"} <= set(own) <= set(status["services"][name])
        # Others may have restarted it since.
        assert alive(status["services"][name]["pid"])
    assert breakable.api().get("/healthz").status_code == 200
    assert breakable.ops().get("/healthz").status_code == 200
    assert set(ready) <= set(status)


def test_everything_listens_on_the_loopback_address_only(breakable):
    """No process of the platform can be reached from another machine."""
    inodes = set()
    for pid in pids(breakable.status()):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = descriptor.readlink().name
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:
                listening.add(local.split(":")[0])
    assert listening <= {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, the second as IPv6 writes it


def test_a_stopped_service_stays_down_until_it_is_started(breakable):
    """`service stop` holds, `service start` brings it back; the others work on."""
    before = breakable.status()["services"]["files"]
    breakable.cli("service", "stop", "files")
    assert breakable.status()["services"]["files"] | {"since": ""} == {
        **before,
        "pid": None,
        "state": "stopped",
        "since": "",
    }
    # Circuits that other tests have opened close by themselves.
    eventually("leads", lambda: breakable.api().get("/v1/leads").status_code == 200)
    breakable.cli("service", "start", "files")
    assert breakable.status()["services"]["files"]["state"] == "ready"


@pytest.mark.parametrize("name", ["leads", "gateway", "ops", "nats", "postgres"])
def test_a_killed_process_is_back_by_itself(breakable, name):
    """kill -9 of any process: it comes back under another pid, and leads are taken again."""
    first = breakable.pid(name)
    os.kill(first, signal.SIGKILL)

    def back():
        status = breakable.status()
        own = status["services"].get(name) or status[name]
        return own["state"] == "ready" and own["pid"] not in {None, first}

    eventually(f"{name} is back", back)
    api = breakable.api()
    eventually("leads are taken", lambda: api.post("/v1/leads", json=LEAD).status_code == 201)


@pytest.mark.parametrize("name", ["nats", "postgres"])
def test_a_server_can_be_restarted_like_a_service(breakable, name):
    """The platform goes on with the data it had."""
    before = eventually("an answer", lambda: _count(breakable))
    breakable.cli("service", "restart", name)
    assert eventually("an answer", lambda: _count(breakable)) >= before


def test_an_unknown_process_is_refused_in_words(breakable):
    """The message names those there are."""
    done = breakable.cli("service", "stop", "redis", check=False)
    assert done.returncode == 1
    assert "There is no 'redis' here" in done.stderr


def test_a_second_launcher_is_refused(breakable):
    """Two launchers on one state would share the data: the second says who is there."""
    done = breakable.cli("up", "--ports", "auto", check=False)
    assert done.returncode == 1
    assert f"pid {breakable.process.pid}" in done.stderr


def test_the_state_is_closed_to_others(breakable):
    """All data is its owner's alone; no password stands in a process's command line."""
    names = [
        "secrets",
        "keys",
        "logs",
        "objects",
        "scratch",
        "postgres",
        "nats",
        "platform.json",
        "control.sock",
        "launcher.pid",
    ]
    open_to_others = [name for name in names if (breakable.state / name).stat().st_mode & 0o077]
    assert open_to_others == []
    secrets = [path.read_text() for path in breakable.state.glob("secrets/*")]
    assert len(secrets) > 10
    # A process that a test before this one has killed may still be on its way back.
    running = eventually("all processes", lambda: all(found := pids(breakable.status())) and found)
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in running]
    assert not [secret for secret in secrets for line in lines if secret in line]


def test_nats_denied_nothing_the_services_need(breakable):
    """The permission table is as narrow as it may be and no narrower."""
    log = "".join(path.read_text() for path in breakable.state.glob("logs/nats.log*"))
    assert "Violation" not in log


def test_a_killed_launcher_leaves_no_process_and_no_lost_data(tmp_path):
    """kill -9 of the launcher ends everything it started; the next start finds the data; Ctrl-C drains and exits 0."""
    state = tmp_path / "state"
    platform = start(state)
    made = platform.api().post("/v1/leads", json=LEAD)
    assert made.status_code == 201, made.text
    started = pids(platform.status())
    platform.process.kill()
    platform.process.wait()
    eventually("no process is left", lambda: not [pid for pid in started if alive(pid)])
    platform.stop()

    again = start(state)
    found = again.api().get(f"/v1/leads/{made.json()['id']}")
    assert found.json()["company"] == "海天机械"
    assert again.stop() == 0
    assert not (state / "platform.json").exists()


def test_seeded_data_goes_through_the_whole_platform(tmp_path):
    """`--seed 1`: people, leads routed to them, calls and invoices, all from one seed."""
    with running(tmp_path / "state", "--seed", "1") as platform:
        api = platform.api()
        stages = {lead["stage"] for lead in api.get("/v1/leads", params={"limit": 200}).json()["items"]}
        assert {"new", "converted"} <= stages
        people = api.get("/v1/people").json()["items"]
        assert len([person for person in people if person["id"].startswith("S0")]) == 14


def _count(platform):
    answer = platform.api().get("/v1/leads", params={"limit": 200})
    return len(answer.json()["items"]) if answer.status_code == 200 else None
