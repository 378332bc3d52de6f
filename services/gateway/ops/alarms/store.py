"""Who tells an alarm, in PostgreSQL: the one place that all ops processes share."""

from uuid import uuid4

from breakwater.chassis.database import Database
from services.gateway.ops.alarms.usecases import Claim

LEASE_S = 6.0
"""Longer than a robot is given; whoever claimed it and says nothing for so long has died."""

# The clock is PostgreSQL's: those of two processes differ.
_CLAIM = """
INSERT INTO alarm_claims (key, claimed_by, claimed_at) VALUES ($1, $2, now())
ON CONFLICT (key) DO UPDATE SET claimed_by = excluded.claimed_by, claimed_at = excluded.claimed_at
WHERE alarm_claims.told_at IS NULL AND alarm_claims.claimed_at < now() - make_interval(secs => $3)
RETURNING key
"""
_TOLD_BY_ANOTHER = "SELECT told_at IS NOT NULL FROM alarm_claims WHERE key = $1"
_TELL = "UPDATE alarm_claims SET told_at = now() WHERE key = $1"
_RELEASE = "DELETE FROM alarm_claims WHERE key = $1 AND claimed_by = $2 AND told_at IS NULL"
_FORGET = "DELETE FROM alarm_claims WHERE claimed_at < now() - interval '30 days'"


class PostgresClaims:
    """Of one process. Every method raises `UnavailableError`."""

    def __init__(self, database: Database, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._lease_s = lease_s
        self._name = uuid4().hex

    async def take(self, key: str) -> Claim:
        """Claims the telling, unless somebody else has."""
        async with self._database.transaction() as tx:
            if await tx.fetchval(_CLAIM, key, self._name, self._lease_s) is not None:
                return Claim.OURS
            return Claim.TOLD if await tx.fetchval(_TOLD_BY_ANOTHER, key) else Claim.THEIRS

    async def told(self, key: str) -> None:
        """Nobody else needs to."""
        async with self._database.transaction() as tx:
            await tx.execute(_TELL, key)
            await tx.execute(_FORGET)

    async def release(self, key: str) -> None:
        """It could not be told: whoever tries next may."""
        async with self._database.transaction() as tx:
            await tx.execute(_RELEASE, key, self._name)
