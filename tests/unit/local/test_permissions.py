"""The permission table of NATS says what the services do, and nothing more."""

import pytest

from breakwater.local.nats import granted_users, subjects_of
from breakwater.local.topology import PROCESSES


def test_every_process_has_a_user_and_nobody_else():
    """One user a process; `operator` is the launcher's own and not in the table."""
    assert set(granted_users()) == set(PROCESSES)


@pytest.mark.parametrize("user", PROCESSES)
def test_nobody_is_granted_everything(user):
    """No bare wildcard, no JetStream API as a whole, no inbox but one's own."""
    subjects = subjects_of(user, granted_users()[user])
    granted = subjects["publish"]["allow"] + subjects["subscribe"]["allow"]
    assert set(granted).isdisjoint({">", "*", "$JS.>", "$JS.API.>", "_INBOX.>", "breakwater.>"})
    assert [subject for subject in granted if "INBOX" in subject] == [f"_INBOX_{user}.>"]


@pytest.mark.parametrize("user", PROCESSES)
def test_only_the_owner_publishes_events(user):
    """A service publishes below its own name; ops may publish any event again, for dead letters."""
    subjects = subjects_of(user, granted_users()[user])["publish"]["allow"]
    events = [subject for subject in subjects if subject.startswith("breakwater.") and ".dead." not in subject]
    others = [subject for subject in events if not subject.startswith((f"breakwater.{user}.", "breakwater.edges."))]
    assert others == (["breakwater.*.v1.*"] if user == "ops" else [])


@pytest.mark.parametrize("user", PROCESSES)
def test_nobody_deletes_a_stream_or_a_consumer(user):
    """Deleting is the operator's; the watch of overrides ends its own ephemeral consumer."""
    subjects = subjects_of(user, granted_users()[user])["publish"]["allow"]
    verbs = [subject for subject in subjects if ".DELETE." in subject or ".PURGE." in subject]
    assert verbs == ["$JS.API.CONSUMER.DELETE.KV_overrides.*"]
