"""Datasets for exports: typed text cells, the caller's own rows only, one snapshot however long it takes."""

from contextlib import aclosing
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest

from breakwater.chassis.errors import InvalidRequestError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.boards.usecases import BoardOptions
from services.leads.datasets.domain import BOARDS, DATASETS
from services.leads.datasets.store import CHUNK_ROWS, PostgresDatasetReader
from services.leads.datasets.usecases import Head, stream_dataset, unpacked
from services.leads.intake.domain import LeadDraft, Stage
from services.leads.intake.usecases import LeadFilter
from services.leads.organisation.domain import Person

ADMIN = Actor("admin", Role.ADMIN, Scope.ALL)


@pytest.fixture
def stream(leads):
    """A dataset as a stream of parts."""

    def begin(dataset="leads", fields=(), criteria=None, *, actor=ADMIN, base_fields_only=False):
        return stream_dataset(
            partial(PostgresDatasetReader.begin, leads.database, leads.snapshots),
            actor,
            dataset,
            fields,
            criteria or LeadFilter(),
            base_fields_only=base_fields_only,
            options=BoardOptions(),
            now=leads.clock.now(),
        )

    return begin


@pytest.fixture
def read(stream):
    """A whole dataset: its head and its rows."""

    async def read_all(*args, **options):
        head, rows = None, []
        async for part in stream(*args, **options):
            if isinstance(part, Head):
                head = part
            else:
                rows += unpacked(part)
        assert head is not None
        assert head.rows_total == len(rows)
        return head, rows

    return read_all


@pytest.fixture
async def three_leads(leads):
    """Two of 王芳's team, one of them hers, and one of somebody else's."""
    await leads.people(Person("1001", "王芳"), Person("1002", "李娜"), Person("1003", "赵敏", team_id="north"))
    await leads.capture(
        LeadDraft(
            name="张伟",
            source="展会",
            company="海天机械",
            phone="13800138000",
            budget=Decimal("620000.50"),
            owner_id="1001",
            stage=Stage.CONVERTED,
            external_id="zoho:lead:7",
            created_at=datetime(2021, 4, 14, 16, 3, tzinfo=UTC),
        ),
        LeadDraft(name="刘洋", source="官网", email="l@example.cn", owner_id="1002"),
        LeadDraft(name="陈静", source="官网", email="c@example.cn", owner_id="1003"),
    )


async def test_what_separates_cells_is_in_none(read, leads):
    """Cells and rows of a chunk are told apart whatever people wrote."""
    await leads.capture(LeadDraft(name="甲\x1f乙\x1e丙", source="展会", email="x@example.cn", need="a\nb"))
    assert (await read(fields=["name", "need"]))[1] == [["甲乙丙", "a\nb"]]


@pytest.mark.capability(36, 39)
async def test_cells_are_text_in_one_canonical_form(read, three_leads):
    """Ids and phones whole, decimals plain, times RFC 3339 in UTC, blanks empty, titles Chinese."""
    fields = ["phone", "budget", "created_at", "claimed_at", "owner_name", "external_id", "email", "stage"]
    head, rows = await read(fields=fields)
    assert [column.title for column in head.columns[:4]] == ["手机", "预算（元）", "创建时间", "认领时间"]
    assert [column.type for column in head.columns[:3]] == ["text", "decimal", "datetime"]
    assert rows[0] == [
        *("+8613800138000", "620000.50", "2021-04-14T16:03:00.000000Z", "", "王芳", "zoho:lead:7", "", "converted"),
    ]


@pytest.mark.parametrize("dataset", [name for name in DATASETS if name not in BOARDS])
async def test_every_column_of_every_dataset_can_be_read(read, three_leads, dataset):
    """The defaults of leads, customers and assignments are real columns; each row has a cell for each."""
    head, rows = await read(dataset)
    assert [column.name for column in head.columns] == [column.name for column in DATASETS[dataset]]
    assert rows
    assert {len(row) for row in rows} == {len(head.columns)}


@pytest.mark.capability(42)
async def test_a_caller_gets_the_rows_they_may_see(read, three_leads):
    """Own, team or all: leads, their decisions and their customers alike."""

    async def names(dataset, column, actor):
        _, rows = await read(dataset, [column], actor=actor)
        return sorted(row[0] for row in rows)

    for dataset, column in (("leads", "name"), ("customers", "name")):
        assert await names(dataset, column, Actor("1001", Role.SALES, Scope.OWN)) == ["张伟"]
        assert await names(dataset, column, Actor("1001", Role.SALES, Scope.TEAM)) == ["刘洋", "张伟"]
        assert await names(dataset, column, ADMIN) == ["刘洋", "张伟", "陈静"]
    assert await names("assignments", "lead_name", Actor("1003", Role.SALES, Scope.OWN)) == ["陈静"]
    with pytest.raises(PermissionDeniedError):
        await names("leads", "name", Actor("x", Role.ONCALL, Scope.ALL))


async def test_a_filter_narrows(read, three_leads):
    """Stage, source and owner, alone and together."""
    for criteria, wanted in (
        (LeadFilter(source="官网"), ["刘洋", "陈静"]),
        (LeadFilter(stage="converted"), ["张伟"]),
        (LeadFilter(source="官网", owner_id="1003"), ["陈静"]),
        (LeadFilter(stage="lost"), []),
    ):
        _, rows = await read(fields=["name"], criteria=criteria)
        assert [row[0] for row in rows] == wanted


async def test_a_degraded_export_asks_for_base_columns(read, three_leads):
    """Of the asked columns those that are base; all base columns when none of the asked is."""
    head, _ = await read(fields=["need", "name", "claim_by", "phone"], base_fields_only=True)
    assert [column.name for column in head.columns] == ["name", "phone"]
    head, _ = await read(fields=["need"], base_fields_only=True)
    assert {"id", "name", "phone", "stage", "created_at"} <= {column.name for column in head.columns}
    assert all(column.base for column in head.columns)


@pytest.mark.parametrize(
    ("dataset", "fields", "place"),
    [
        ("secrets", (), "dataset"),
        ("leads", ("name", "password"), "fields.1"),
        ("leads", ("name; DROP TABLE leads",), "fields.0"),
        ("leads", ("name", "name"), "fields"),
        ("leads", ("name",) * 101, "fields"),
    ],
)
async def test_what_there_is_not_is_named(read, dataset, fields, place):
    """An unknown dataset or column, one asked twice, too many of them."""
    with pytest.raises(InvalidRequestError) as caught:
        await read(dataset, fields)
    assert [error.field for error in caught.value.errors] == [place]


async def test_a_stream_sees_one_moment(leads, stream):
    """Rows that come while it is read are not in it, whatever the number of chunks; the head says how many there are."""
    drafts = [LeadDraft(name=f"客户{n}", source="展会", email=f"c{n}@example.cn") for n in range(CHUNK_ROWS + 200)]
    await leads.capture(*drafts)
    sizes = []
    async for part in stream(fields=["name"]):
        if isinstance(part, Head):
            assert part.rows_total == len(drafts)
            await leads.capture(LeadDraft(name="新客户", source="展会", email="new@example.cn"))
            continue
        sizes.append(len(unpacked(part)))
        assert ["新客户"] not in unpacked(part)
    assert sizes == [CHUNK_ROWS, 200]


async def test_a_stream_that_is_left_gives_its_connection_back(leads, stream):
    """A caller that goes away in the middle leaves no transaction behind."""
    await leads.capture(*(LeadDraft(name=f"客户{n}", source="展会", email=f"c{n}@example.cn") for n in range(5)))
    for _ in range(12):
        async with aclosing(stream()) as parts:
            async for part in parts:
                if not isinstance(part, Head):
                    break
    open_ones = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    assert await leads.value(open_ones) == 0
