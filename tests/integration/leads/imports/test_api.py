"""`ImportService` as callers speak it."""

import pytest

from breakwater.chassis.errors import InvalidRequestError
from breakwater.chassis.wire import actor_to
from breakwater.identity.v1.identity_pb2 import Idempotency
from breakwater.leads.v1 import leads_pb2 as pb
from services.leads.api.imports import ImportsApi
from tests.integration.leads.imports.conftest import ADMIN

FILE = "姓名,来源\n张伟,展会\n,展会\n李娜,官网\n".encode("utf-16")


@pytest.fixture
def api(platform) -> ImportsApi:
    """The servicer over real imports."""
    return ImportsApi(platform.imports)


def head(**changes) -> pb.StartImportRequest:
    fields = {"actor": actor_to(ADMIN), "idempotency": Idempotency(key="k", body_hmac=b"h"), "filename": "a.csv"}
    return pb.StartImportRequest(head=pb.ImportHead(**fields | changes))


async def stream(*parts):
    for part in parts:
        yield part


async def test_an_import_from_its_start_to_its_rejections(platform, api):
    """Head and pieces in; then its progress, its figures, and the refused row."""
    pieces = [pb.StartImportRequest(content=FILE[:7]), pb.StartImportRequest(content=FILE[7:])]
    answer = await api.StartImport(stream(head(), *pieces), None)
    started = getattr(answer, "import")
    assert (started.state, started.dataset, started.rows, answer.replayed) == ("queued", "leads", 0, False)
    assert not started.HasField("finished_at")

    await platform.runner().run_one()
    request = pb.GetImportRequest(actor=actor_to(ADMIN), id=started.id)
    done = getattr(await api.GetImport(request, None), "import")
    assert (done.state, done.rows, done.rows_done) == ("completed", 3, 3)
    assert (done.created, done.rejected, done.failure) == (2, 1, "")
    assert done.HasField("finished_at")

    page = await api.ListRejections(pb.ListRejectionsRequest(actor=actor_to(ADMIN), import_id=started.id), None)
    assert [(each.row, each.field, each.reason, each.raw) for each in page.rejections] == [
        (3, "name", "is mandatory and blank", ",展会")
    ]
    assert page.next_cursor == ""

    again = await api.StartImport(stream(head(), *pieces), None)
    assert (getattr(again, "import"), again.replayed) == (started, True)


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (pb.StartImportRequest(content=FILE),),
        (pb.StartImportRequest(),),
        (head(), pb.StartImportRequest(content=FILE), head()),
    ],
)
async def test_the_head_comes_first_and_once(platform, api, parts):
    """Anything else is refused and leaves nothing."""
    before = await platform.counts()
    with pytest.raises(InvalidRequestError, match="head"):
        await api.StartImport(stream(*parts), None)
    assert await platform.counts() == before
