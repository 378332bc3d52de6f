"""`OrganisationService`."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from breakwater.chassis import wire
from breakwater.leads.v1 import leads_pb2 as pb
from breakwater.leads.v1.leads_pb2_grpc import OrganisationServiceServicer
from services.leads.api.messages import cursor_from, cursor_to, person_to
from services.leads.organisation.usecases import DirectoryReader, list_people


class OrganisationApi(OrganisationServiceServicer):
    """The people leads are routed to."""

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[DirectoryReader]]) -> None:
        self._begin = begin

    async def ListPeople(self, request: pb.ListPeopleRequest, context: Any) -> pb.ListPeopleResponse:
        people, next_place = await list_people(
            self._begin, wire.actor_from(request.actor), cursor_from(request.cursor), request.limit
        )
        return pb.ListPeopleResponse(people=[person_to(each) for each in people], next_cursor=cursor_to(next_place))
