"""What notify tells of people's channels: step 3 of being reachable (119)."""

from collections.abc import Iterable
from dataclasses import dataclass

from breakwater.chassis.database import Transaction
from services.leads.organisation.store import move_version
from services.leads.rows import jsonb


@dataclass(frozen=True, slots=True)
class Binding:
    """A channel of a person, who may not be known here yet, as of the event with this sequence."""

    person_id: str
    channel: str
    bound: bool
    sequence: int


async def learn_bindings(tx: Transaction, bindings: Iterable[Binding]) -> None:
    """Keeps the newest of each person and channel, whatever order they come in; in force with the next transaction."""
    newest: dict[tuple[str, str], Binding] = {}
    for binding in sorted(bindings, key=lambda each: each.sequence):
        newest[binding.person_id, binding.channel] = binding
    if not newest:
        return
    changed = await tx.fetchval(
        """
        WITH told AS (
            SELECT x->>0 AS person_id, x->>1 AS channel, (x->>2)::boolean AS bound, (x->>3)::bigint AS sequence
            FROM jsonb_array_elements($1::jsonb) AS x
        ), before AS (
            SELECT c.person_id, c.channel, c.bound FROM person_channels c JOIN told USING (person_id, channel)
        ), kept AS (
            INSERT INTO person_channels AS c SELECT * FROM told ORDER BY person_id, channel
            ON CONFLICT (person_id, channel) DO UPDATE SET bound = excluded.bound, sequence = excluded.sequence
            WHERE c.sequence < excluded.sequence
            RETURNING person_id, channel, bound
        )
        SELECT count(*) FROM kept LEFT JOIN before USING (person_id, channel)
        WHERE kept.bound IS DISTINCT FROM coalesce(before.bound, false)
        """,
        jsonb((each.person_id, each.channel, each.bound, each.sequence) for each in newest.values()),
    )
    if changed:
        await move_version(tx)
