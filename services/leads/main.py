"""Composition root of leads: the only reader of its settings."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from breakwater.chassis import lifecycle
from breakwater.chassis.database import Database
from breakwater.chassis.housekeeping import Housekeeping
from breakwater.chassis.inbox import Consumer
from breakwater.chassis.logging import get_logger
from breakwater.chassis.outbox import Relay
from breakwater.chassis.service import Service
from breakwater.chassis.settings import load
from breakwater.leads.v1.boards_pb2_grpc import add_BoardsServiceServicer_to_server
from breakwater.leads.v1.customers_pb2_grpc import add_CustomersServiceServicer_to_server
from breakwater.leads.v1.followups_pb2_grpc import add_FollowUpServiceServicer_to_server
from breakwater.leads.v1.intake_pb2_grpc import add_IntakeServiceServicer_to_server
from breakwater.leads.v1.leads_pb2_grpc import (
    add_ImportServiceServicer_to_server,
    add_LeadsServiceServicer_to_server,
    add_OrganisationServiceServicer_to_server,
    add_RoutingServiceServicer_to_server,
)
from breakwater.leads.v1.organisation_pb2_grpc import add_DirectoryServiceServicer_to_server
from breakwater.leads.v1.sla_pb2_grpc import add_SlaServiceServicer_to_server
from breakwater.leads.v1.story_pb2_grpc import add_StoryServiceServicer_to_server
from breakwater.leads.v1.tagging_pb2_grpc import add_TaggingServiceServicer_to_server
from services.leads.api.boards import BoardsApi
from services.leads.api.customers import CustomersApi
from services.leads.api.followups import FollowUpsApi
from services.leads.api.imports import ImportsApi
from services.leads.api.intake import IntakeApi
from services.leads.api.leads import Creations, LeadsApi, create_together
from services.leads.api.organisation import DirectoryApi, OrganisationApi
from services.leads.api.routing import RoutingApi
from services.leads.api.sla import SlaApi, SlaStores
from services.leads.api.story import StoryApi
from services.leads.api.tagging import TaggingApi
from services.leads.boards.domain import Measures
from services.leads.boards.morning.store import PostgresMorningStore
from services.leads.boards.morning.usecases import tell_boards
from services.leads.boards.personal.store import PostgresPersonalReader
from services.leads.boards.report.store import PostgresReportReader
from services.leads.boards.usecases import BoardOptions
from services.leads.consumer import NotifyEvents
from services.leads.datasets.store import PostgresDatasetReader
from services.leads.documents.store import Newest, PostgresDocumentStore
from services.leads.followups.playbook import PLAYBOOK, read_playbook
from services.leads.followups.reads import PostgresFollowUpReader
from services.leads.followups.store import PostgresWorkStore
from services.leads.intake.batching import BatchLimits
from services.leads.intake.changes.store import PostgresChangeReader
from services.leads.intake.duplicates.domain import Thresholds
from services.leads.intake.duplicates.store import PostgresCheckStore, PostgresDismissStore, PostgresDuplicateReader
from services.leads.intake.duplicates.worker import DuplicatesWorker
from services.leads.intake.forms.store import PostgresFormStore
from services.leads.intake.growth.domain import GROWTH, read_growth
from services.leads.intake.growth.store import PostgresGrowthReader, PostgresGrowthStore
from services.leads.intake.imports import reading
from services.leads.intake.imports.documents import mapping_of
from services.leads.intake.imports.domain import ImportLimits
from services.leads.intake.imports.runner import ImportRunner
from services.leads.intake.imports.store import WAKE_TOPIC, PostgresImportStore, PostgresStores
from services.leads.intake.imports.usecases import Imports
from services.leads.intake.merges.store import PostgresMergeStore
from services.leads.intake.reads import PostgresLeadReader
from services.leads.intake.store import PostgresCaptureStore
from services.leads.organisation.availability import AvailabilityWatch
from services.leads.organisation.store import SNAPSHOT_TOPIC, PostgresDirectoryReader, PostgresOrganisationStore
from services.leads.routing.rulebook import PostgresRulesStore
from services.leads.routing.store import Snapshots
from services.leads.routing.waiting import PostgresRerouteStore
from services.leads.routing.worker import DealsWorker, RerouteWorker
from services.leads.settings import LeadsSettings
from services.leads.sla.calendar import Holidays
from services.leads.sla.calendars import load_holidays
from services.leads.sla.pauses.store import PostgresClockStore
from services.leads.sla.policies.store import PostgresPolicyStore
from services.leads.sla.silence.domain import SilenceLimits
from services.leads.sla.silence.store import PostgresSilenceStore
from services.leads.sla.silence.usecases import tell_silences
from services.leads.sla.store import PostgresTimerStore
from services.leads.sla.usecases import fire_due_timers
from services.leads.sla.worker import TimerWorker
from services.leads.story.store import PostgresStoryReader
from services.leads.tagging.domain import TAGS, read_dictionary
from services.leads.tagging.store import PostgresTagReader, PostgresTranscriptStore


def main() -> None:
    """Runs until SIGTERM or SIGINT, then drains."""
    lifecycle.run(serve)


async def serve() -> None:
    """One leads process."""
    settings = load(LeadsSettings)
    async with Service("leads", settings, policies=Path(__file__).with_name("policies.yaml")) as service:
        database = await service.open_database()
        bus = await service.open_bus()
        holidays = _holidays(service)
        snapshots = Snapshots(holidays)
        _serve_leads(service, database, snapshots)
        _serve_boards(service, database, snapshots)
        _serve_organisation(service, database, snapshots, holidays)
        imports = _serve_imports(service, database, snapshots)
        _serve_customers(service, database, snapshots)
        _watch_over_leads(service, database, snapshots)
        _serve_sla(service, database, snapshots, holidays)
        relay = Relay(database, bus, service.clock, held=lambda: imports.busy)
        service.background("outbox-relay", relay.run)
        bindings = Consumer(
            bus,
            database,
            stream="NOTIFY",
            durable="leads",
            batch_handlers=NotifyEvents().batch_handlers(),
            clock=service.clock,
        )
        service.background("notify-events", bindings.run)
        service.background("housekeeping", Housekeeping(database, bus, service.clock).run)
        await service.run()


def _holidays(service: Service[LeadsSettings]) -> Holidays:
    holidays = load_holidays(service.settings.holidays_file)
    if service.clock.now().date() > holidays.known_until:
        get_logger(__name__).warning("holidays_unknown", known_until=holidays.known_until.isoformat())
    return holidays


def _serve_leads(service: Service[LeadsSettings], database: Database, snapshots: Snapshots) -> None:
    """Leads and rules."""
    clock, settings = service.clock, service.settings
    creations = Creations(
        partial(create_together, partial(PostgresCaptureStore.begin, database, snapshots), clock),
        BatchLimits(settings.create_batch_size_max, settings.create_waiting_max),
    )
    playbooks = Newest(PLAYBOOK, read_playbook)
    begin_work = partial(PostgresWorkStore.begin, database, snapshots, playbooks)
    begin_follow_ups = partial(PostgresFollowUpReader.begin, database, snapshots, playbooks)
    growths = Newest(GROWTH, read_growth)
    begin_growth = partial(PostgresGrowthReader.begin_growth, database, snapshots, growths)
    leads = LeadsApi(
        creations,
        begin_reading=partial(PostgresLeadReader.begin, database, snapshots),
        begin_work=begin_work,
        begin_follow_ups=begin_follow_ups,
        begin_dataset=partial(PostgresDatasetReader.begin, database, snapshots),
        begin_growth=begin_growth,
        clock=clock,
        boards=_board_options(settings),
    )
    routing = RoutingApi(partial(PostgresRulesStore.begin, database, snapshots), clock)
    follow_ups = FollowUpsApi(
        begin_work, begin_follow_ups, partial(PostgresDocumentStore.begin, database, PLAYBOOK), clock
    )
    service.add_rpc(
        add_LeadsServiceServicer_to_server,
        leads,
        callers={"gateway"},
        callers_of={"StreamDataset": {"gateway", "files"}},
        together={"CreateLead": 2 * settings.create_batch_size_max},
    )
    dictionaries = Newest(TAGS, read_dictionary)
    tagging = TaggingApi(
        partial(PostgresTranscriptStore.begin_tagging, database, snapshots, playbooks, dictionaries),
        partial(PostgresTagReader.begin, database, snapshots, dictionaries),
        partial(PostgresDocumentStore.begin, database, TAGS),
        clock,
    )
    service.add_rpc(add_FollowUpServiceServicer_to_server, follow_ups, callers={"gateway"})
    service.add_rpc(add_TaggingServiceServicer_to_server, tagging, callers={"gateway"})
    stories = StoryApi(partial(PostgresStoryReader.begin, database, snapshots), clock)
    service.add_rpc(add_StoryServiceServicer_to_server, stories, callers={"gateway"})
    intake = IntakeApi(
        creations,
        partial(PostgresGrowthStore.begin_growth, database, snapshots, growths),
        begin_growth,
        partial(PostgresDocumentStore.begin, database, GROWTH),
        partial(PostgresFormStore.begin, database),
        clock,
    )
    service.add_rpc(add_IntakeServiceServicer_to_server, intake, callers={"gateway"})
    service.add_rpc(add_RoutingServiceServicer_to_server, routing, callers={"gateway"})
    service.background("lead-creations", creations.run)


def _serve_boards(service: Service[LeadsSettings], database: Database, snapshots: Snapshots) -> None:
    """Boards."""
    begin = partial(PostgresPersonalReader.begin, database, snapshots)
    options = _board_options(service.settings)
    boards = BoardsApi(begin, service.clock, options)
    service.add_rpc(add_BoardsServiceServicer_to_server, boards, callers={"gateway"})
    if not service.settings.board_mornings:
        return
    begin_morning = partial(PostgresMorningStore.begin, database, snapshots)
    mornings = TimerWorker(
        "board-mornings",
        partial(tell_boards, begin_morning, service.settings.board_morning_at, options),
        service.clock,
        poll_s=service.settings.board_morning_poll_s,
        batch_size_max=1,
    )
    service.background("board-mornings", mornings.run)


def _board_options(settings: LeadsSettings) -> BoardOptions:
    measures = Measures(
        assigned_within=timedelta(seconds=settings.assigned_within_s),
        assigned_share=settings.assigned_share_min,
        contact_within=timedelta(seconds=settings.contact_within_s),
        contact_share=settings.contact_share_min,
        alarm_within=timedelta(seconds=settings.silence_after_s),
        unassigned_after=timedelta(seconds=settings.board_unassigned_after_s),
        late_people=settings.board_late_people,
    )
    return BoardOptions(measures, leads_max=settings.board_leads_max, zone=ZoneInfo(settings.board_time_zone))


def _serve_organisation(
    service: Service[LeadsSettings], database: Database, snapshots: Snapshots, holidays: Holidays
) -> None:
    """People, teams, and what the organisation asks of them."""
    begin_reading = partial(PostgresDirectoryReader.begin, database, snapshots.directory)
    begin_changing = partial(PostgresOrganisationStore.begin, database, holidays)
    organisation = OrganisationApi(begin_reading, service.clock)
    directory = DirectoryApi(begin_reading, begin_changing, service.clock)
    service.add_rpc(add_OrganisationServiceServicer_to_server, organisation, callers={"gateway"})
    service.add_rpc(add_DirectoryServiceServicer_to_server, directory, callers={"gateway"})


def _serve_imports(service: Service[LeadsSettings], database: Database, snapshots: Snapshots) -> ImportRunner:
    """Files, taken and worked on."""
    clock, settings = service.clock, service.settings
    limits = ImportLimits(
        file_bytes_max=settings.import_file_bytes_max,
        unpacked_bytes_max=settings.import_unpacked_bytes_max,
        rows_max=settings.import_rows_max,
        chunk_rows=settings.import_chunk_rows,
        files_received_max=settings.import_files_received_max,
        lease_s=settings.import_lease_s,
        idle_poll_s=settings.import_poll_s,
    )
    store = PostgresImportStore(database, lambda tx: PostgresStores(tx, snapshots), limits)
    runner = ImportRunner(store, mapping_of, clock, limits)
    imports = ImportsApi(Imports(store, mapping_of, reading.inspect, clock, limits))
    service.add_rpc(add_ImportServiceServicer_to_server, imports, callers={"gateway"})
    database.listen(WAKE_TOPIC, runner.wake)
    service.background("imports", runner.run)
    return runner


def _serve_customers(service: Service[LeadsSettings], database: Database, snapshots: Snapshots) -> None:
    """One customer, one record: duplicates, merges, changes."""
    clock, settings = service.clock, service.settings
    thresholds = Thresholds(settings.duplicates_same_score, settings.duplicates_suspected_score)
    begin_merging = partial(PostgresMergeStore.begin, database, snapshots)
    customers = CustomersApi(
        partial(PostgresDuplicateReader.begin, database, snapshots),
        partial(PostgresDismissStore.begin, database, snapshots),
        begin_merging,
        partial(PostgresChangeReader.begin, database, snapshots),
        thresholds,
        clock,
    )
    service.add_rpc(add_CustomersServiceServicer_to_server, customers, callers={"gateway"})
    worker = DuplicatesWorker(
        partial(PostgresCheckStore.begin, database),
        begin_merging,
        thresholds,
        clock,
        poll_s=settings.duplicates_poll_s,
        batch_size_max=settings.duplicates_batch_size_max,
        work_share=settings.duplicates_work_share,
    )
    service.background("duplicates", worker.run)


def _watch_over_leads(service: Service[LeadsSettings], database: Database, snapshots: Snapshots) -> None:
    """First-touch timers, leads nobody follows up, and leads that wait for somebody."""
    clock, settings = service.clock, service.settings
    worker = partial(
        TimerWorker, clock=clock, poll_s=settings.timer_poll_s, batch_size_max=settings.timer_batch_size_max
    )
    timers = partial(fire_due_timers, partial(PostgresTimerStore.begin, database, snapshots))
    limits = SilenceLimits(timedelta(seconds=settings.silence_after_s), settings.silence_daily_max)
    silences = partial(tell_silences, partial(PostgresSilenceStore.begin, database), limits=limits)
    rerouting = RerouteWorker(
        partial(PostgresRerouteStore.begin, database, snapshots),
        clock,
        poll_s=settings.reroute_poll_s,
        batch_size_max=settings.reroute_batch_size_max,
    )
    availability = AvailabilityWatch(database, snapshots.directory, clock, poll_s=settings.availability_poll_s)
    database.listen(SNAPSHOT_TOPIC, rerouting.wake)
    service.background("availability", availability.run)
    service.background("first-touch-timers", worker("first-touch", timers).run)
    service.background("silent-leads", worker("silence", silences).run)
    service.background("reroute-waiting-leads", rerouting.run)
    deals = DealsWorker(database, clock, days=settings.recent_deals_days, refresh_s=settings.recent_deals_refresh_s)
    service.background("recent-deals", deals.run)


def _serve_sla(service: Service[LeadsSettings], database: Database, snapshots: Snapshots, holidays: Holidays) -> None:
    """First-touch limits, calendars, clocks and the report."""
    stores = SlaStores(
        policies=partial(PostgresPolicyStore.begin, database),
        clocks=partial(PostgresClockStore.begin, database, snapshots),
        report=partial(PostgresReportReader.begin, database, snapshots),
    )
    sla = SlaApi(stores, holidays, service.clock, _board_options(service.settings))
    service.add_rpc(add_SlaServiceServicer_to_server, sla, callers={"gateway"})
