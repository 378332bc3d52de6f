"""Events of other services, each taken in once, in the transaction of the event."""

from collections.abc import Sequence

from breakwater.chassis.database import Transaction
from breakwater.chassis.inbox import BatchHandler, Received
from breakwater.notify.v1.events_pb2 import BindingChanged
from services.leads.organisation.bindings import Binding, learn_bindings


class NotifyEvents:
    """What notify publishes and routing stands on: which channels a person can be reached by (119)."""

    def batch_handlers(self) -> dict[str, BatchHandler]:
        """What comes in crowds: a robot is set up for everybody on one day."""
        return {"breakwater.notify.v1.BindingChanged": self.bindings_changed}

    async def bindings_changed(self, tx: Transaction, events: Sequence[Received]) -> None:
        """The order of arrival does not matter: the newest sequence of a person's channel stands."""
        await learn_bindings(tx, [_binding(event) for event in events])


def _binding(event: Received) -> Binding:
    told = BindingChanged.FromString(event.data)
    return Binding(told.person_id, told.channel, told.bound, event.sequence)
