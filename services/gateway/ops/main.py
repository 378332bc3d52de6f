"""Composition root of the ops process: the only reader of its settings."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from breakwater.chassis import lifecycle, metrics
from breakwater.chassis.auth import CallerVerifier, KeySource
from breakwater.chassis.clock import Clock
from breakwater.chassis.logging import get_logger
from breakwater.chassis.service import Service
from breakwater.chassis.settings import Environment, MisconfiguredError, load, read_secret
from breakwater.resilience.shedding import Limiter
from breakwater.robots import FORMS, Credential, Robot
from breakwater.slo import objectives
from services.gateway.http import platform
from services.gateway.http.declare import Api
from services.gateway.http.edge import Edge, EdgeLimits
from services.gateway.http.ratelimit import RateLimiter, RateLimits
from services.gateway.http.server import HttpServer, ServerLimits
from services.gateway.ops.alarms.domain import alarm_of, alarm_of_alert
from services.gateway.ops.alarms.store import PostgresClaims
from services.gateway.ops.alarms.usecases import AlarmLimits, Alarms, Once
from services.gateway.ops.alarms.ways import GroupRobot, Inboxes
from services.gateway.ops.alerts.domain import Alert
from services.gateway.ops.alerts.usecases import Alerts
from services.gateway.ops.budgets.domain import Budgets, BurnRate, Promise, Promises
from services.gateway.ops.clients import DeadLetters, OverrideCarrier, Peers
from services.gateway.ops.console import Console
from services.gateway.ops.consumer import Feed
from services.gateway.ops.edges.backlogs import BacklogBook
from services.gateway.ops.history.domain import History, Span
from services.gateway.ops.http import alerts as alert_routes
from services.gateway.ops.http import api as ops_api
from services.gateway.ops.http import board, page, policies, stream, waiting
from services.gateway.ops.http import history as past
from services.gateway.ops.http import incidents as incident_routes
from services.gateway.ops.http import playbooks as playbook_routes
from services.gateway.ops.http.access import OpsRoute
from services.gateway.ops.http.refusals import refusals_to
from services.gateway.ops.http.sessions import SessionGate, Sessions
from services.gateway.ops.incidents.store import PostgresIncidents
from services.gateway.ops.overrides.store import PostgresOrders
from services.gateway.ops.overrides.usecases import Overrides
from services.gateway.ops.playbooks import reading
from services.gateway.ops.playbooks.reading import Library
from services.gateway.ops.playbooks.usecases import Playbooks
from services.gateway.ops.playbooks.world import CommandLine, OpsWorld
from services.gateway.ops.settings import OpsSettings
from services.gateway.ops.timeline.store import Timeline

PEERS = ("leads", "notify", "files", "health", "gateway")


def main() -> None:
    """Runs until SIGTERM or SIGINT, then drains."""
    lifecycle.run(serve)


async def serve() -> None:
    """One ops process."""
    settings = load(OpsSettings)
    async with Service("ops", settings, policies=Path(__file__).with_name("policies.yaml")) as service:
        clock = service.clock
        database = await service.open_database()
        bus = await service.open_bus()
        timeline = Timeline(database, clock)
        console = Console(timeline, clock, settings.owners, settings.incident_unknown_s_max)
        peers = Peers({name: service.channels(name) for name in PEERS})
        carrier = OverrideCarrier(peers, bus, service.name, service.overrides)
        orders = PostgresOrders(database, clock)
        overrides = Overrides(
            carrier, orders, console, console, clock, service.name, chaos_allowed=settings.chaos_allowed
        )
        span = Span(settings.history_fine_s, settings.history_coarse_s, edges_max=settings.history_edges_max)
        history, backlogs = History(span), BacklogBook()
        budgets = Budgets(_promises(settings), settings.history_edges_max)
        feed = Feed(console, history, budgets, backlogs, peers, clock, own=service.edges)
        await feed.subscribe(bus)
        service.background("edge-feed", feed.run)
        service.background("overrides-laid", overrides.run)
        service.background("overrides-remembered", overrides.remember)
        service.background("timeline", timeline.run)
        service.background("incidents", partial(console.remember_incidents, PostgresIncidents(database)))
        alarms = _alarms(service, console, PostgresClaims(database))
        service.background("alarms", alarms.run)
        alerts = Alerts(console, console, AlertAlarms(alarms, clock, settings.console_url), clock)
        service.background("alerts", alerts.run)
        letters, library = DeadLetters(bus), reading.read(settings.playbooks_dir)
        for file, problem in library.refused.items():
            get_logger(__name__).error("playbook_refused", file=file, problem=problem)
        world = OpsWorld(console, overrides, letters, alarms, clock, _command_line(settings))
        playbooks = Playbooks(library.playbooks, world, console, clock)
        service.background("playbooks", playbooks.run)
        shown = Shown(console, overrides, peers, history, budgets, backlogs, letters, alerts, library, playbooks)
        service.add_front(await _http(service, shown))
        await service.run()


def _promises(settings: OpsSettings) -> Promises:
    """Raises `MisconfiguredError` for a file that is not understood."""
    if settings.objectives_file is None:
        return Promises()
    try:
        found = objectives.load(settings.objectives_file)
    except (objectives.WrongObjectivesError, OSError) as error:
        raise MisconfiguredError(f"BREAKWATER_OBJECTIVES_FILE: {error}") from error
    seconds = objectives.seconds_of
    return Promises(
        {each.name: Promise(each.objective, each.requests_min) for each in found.of_kind("dependency")},
        seconds(found.period),
        tuple(
            BurnRate(seconds(rate.long), seconds(rate.short), rate.factor, rate.severity) for rate in found.burn_rates
        ),
    )


def _command_line(settings: OpsSettings) -> CommandLine:
    root = settings.playbooks_dir.parents[1] if settings.playbooks_dir else None
    basics = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return CommandLine(
        settings.playbook_command, root, basics | ({"BREAKWATER_STATE": str(settings.state)} if settings.state else {})
    )


def _alarms(service: Service[OpsSettings], console: Console, claims: PostgresClaims) -> Alarms:
    """Raises `MisconfiguredError` for a robot that cannot speak."""
    settings, clock = service.settings, service.clock
    limits = AlarmLimits(pending_max=settings.alarms_pending_max, give_up_s=settings.alarm_give_up_s)
    inboxes = Inboxes(service.channel("notify"), settings.alarm_recipients)
    robot = _robot(service)
    alarms = Alarms(inboxes, Once(robot, claims, clock) if robot else None, console, clock, limits)
    console.alarm(
        lambda incident, occasion: alarms.announce(alarm_of(incident, occasion, clock.now(), settings.console_url))
    )
    return alarms


@dataclass(frozen=True, slots=True)
class AlertAlarms:
    """Alerts that no incident explains go the way of alarms."""

    alarms: Alarms
    clock: Clock
    console_url: str

    def alert_unexplained(self, alert: Alert, *, firing: bool) -> None:
        """On its way."""
        self.alarms.announce(alarm_of_alert(alert, self.clock.now(), self.console_url, firing=firing))


def _robot(service: Service[OpsSettings]) -> GroupRobot | None:
    settings = service.settings
    name = settings.alarm_robot
    if not name:
        return None
    if settings.alarm_robot_key_file is None:
        raise MisconfiguredError("BREAKWATER_ALARM_ROBOT_KEY_FILE is missing: the robot's address has a key")
    key = read_secret(settings.alarm_robot_key_file).decode()
    secret = read_secret(settings.alarm_robot_secret_file).decode() if settings.alarm_robot_secret_file else ""
    client = service.http(name, judge=FORMS[name].judge)
    try:
        return GroupRobot(Robot(name, client, Credential(key, secret), service.clock))
    except ValueError as error:
        raise MisconfiguredError(f"BREAKWATER_ALARM_ROBOT_KEY_FILE: {error}") from error


class OpsFront:
    """The HTTP server with its streams, which end before the rest is drained."""

    def __init__(self, server: HttpServer, streams: stream.StreamGate) -> None:
        self._server = server
        self._streams = streams

    async def start(self) -> None:
        """Takes connections."""
        await self._server.start()

    async def drain(self, grace_s: float) -> None:
        """Ends the streams, then what is in flight."""
        self._streams.end()
        await self._server.drain(grace_s)


@dataclass(frozen=True, slots=True)
class Shown:
    """What the API and the page show and act upon."""

    console: Console
    overrides: Overrides
    peers: Peers
    history: History
    budgets: Budgets
    backlogs: BacklogBook
    letters: DeadLetters
    alerts: Alerts
    library: Library
    playbooks: Playbooks

    def add_routes(self, api: Api, views: ops_api.Views, clock: Clock) -> None:
        """The routes of each part."""
        ops_api.add_routes(api, self.console, self.overrides, views, clock)
        incident_routes.add_routes(api, self.console, clock)
        policies.add_routes(api, self.console, self.peers)
        past.add_routes(api, self.history, clock)
        alert_routes.add_routes(api, self.alerts)
        playbook_routes.add_routes(api, self.library, self.playbooks)
        waiting.add_routes(api, self.console, self.backlogs, self.letters, clock)


async def _http(service: Service[OpsSettings], shown: Shown) -> OpsFront:
    settings, clock, console = service.settings, service.clock, shown.console
    keys = KeySource(settings.caller_jwks, production=settings.environment is Environment.PRODUCTION, clock=clock)
    await keys.start()
    service.background("caller-keys", keys.run)
    verifier = CallerVerifier(keys, settings.caller_issuer, clock=clock)
    sessions = Sessions(verifier, clock, sessions_max=settings.sessions_max, session_s_max=settings.session_s_max)
    views = ops_api.Views(shown.overrides, shown.budgets, clock)
    api = Api(OpsRoute)
    shown.add_routes(api, views, clock)
    page.add_routes(api, sessions, settings.runbooks_dir)
    platform.add_routes(api, ready=lambda: server.accepting, ops_url=None)
    limits = RateLimits(settings.rate_quota, settings.rate_window_s, settings.rate_callers_max)
    # All of it is ops traffic: bounded, never shed for load.
    limiter = Limiter(ceiling=1, ops_max=settings.http_concurrency_max, adaptive=False, floor=1, clock=clock)
    metrics.LIMITS.watch("http", limiter)
    edge = Edge(
        api.routes,
        verifier=verifier,
        rate_limiter=RateLimiter(limits, clock),
        hmac_key=b"",
        limiter=limiter,
        limits=EdgeLimits(
            body_size_bytes_max=settings.http_body_size_bytes_max,
            send_timeout_s=settings.http_send_timeout_s,
        ),
        clock=clock,
        on_refusal=refusals_to(console),
    )
    rows = board.Board(console, shown.backlogs, clock, is_wide=views.is_wide, spending=views.spending)
    service.background("board", rows.run)
    gate = stream.StreamGate(
        edge,
        feeds={stream.PATH: stream.EdgeStream(console, views, clock).events, board.PATH: rows.events},
        verifier=verifier,
        streams_max=settings.streams_max,
        send_timeout_s=settings.http_send_timeout_s,
    )
    server = HttpServer(
        SessionGate(gate, sessions),
        host=settings.host,
        port=settings.http_port,
        limits=ServerLimits(
            connections_max=settings.http_connections_max,
            head_size_bytes_max=settings.http_head_size_bytes_max,
            head_timeout_s=settings.http_head_timeout_s,
            keep_alive_s=settings.http_keep_alive_s,
        ),
    )
    return OpsFront(server, gate)
