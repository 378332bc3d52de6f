"""One customer, one record: by what a customer is recognised, and finding or making one (53, 70, 124)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from breakwater.chassis.ids import uuid7
from services.leads.intake.companies import company_key, person_name


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of a customer, in the forms `domain.normalise` gives."""

    name: str
    company: str = ""
    phone: str = ""
    email: str = ""
    external_ids: tuple[str, ...] = ()
    """Ids of records of other systems that are this customer, such as "zoho:contact:2585"."""
    by: str = ""
    """Who tells of it."""


@dataclass(slots=True)
class Customer:
    """A customer as one transaction sees and changes it; its row is locked until the transaction ends."""

    id: str
    name: str
    company: str
    phone: str
    email: str
    owner_id: str | None = None
    open_lead_id: str | None = None
    """Its earliest open lead."""
    open_leads: int = 0
    is_new: bool = False
    changed: bool = False
    given: bool = False
    """It has another owner than before."""
    changed_by: str = ""
    """Who told what changed it; empty: a decision of routing did."""


class CustomerStore(Protocol):
    """What recognising customers needs of one open transaction."""

    async def claim_keys(self, claims: Mapping[str, str]) -> dict[str, str]:
        """Who has each key: the customer proposed in `claims`, or the one that had it before.

        The keys stay locked until the transaction ends: whoever else claims one waits.
        """
        ...

    async def move_keys(self, keys: Mapping[str, str]) -> None:
        """Gives keys claimed in this transaction to another customer."""
        ...

    async def lock_customers(self, ids: Sequence[str]) -> list[Customer]:
        """The customers with these ids, locked in the order of the ids."""
        ...


@dataclass(frozen=True, slots=True)
class _Entry:
    """One identity with its keys, worked out once."""

    identity: Identity
    strong: tuple[str, ...]
    """Each of these is one customer."""
    name: str
    """Company and name: the same person, unless what else is known speaks against it; empty when either is unknown."""
    proposed_id: str

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.strong, self.name) if self.name else self.strong


@dataclass(slots=True)
class _Recognition:
    """The customers of one batch, entry by entry, as if each entry had come alone."""

    known: dict[str, Customer]
    """By id."""
    holders: dict[str, str] = field(default_factory=dict)
    """Customer id by key."""

    def customer_of(self, entry: _Entry) -> Customer:
        identity = entry.identity
        customer = self._recognised(entry)
        if customer is None:
            customer = Customer(
                entry.proposed_id, identity.name, identity.company, identity.phone, identity.email, is_new=True
            )
            self.known[customer.id] = customer
        else:
            _fill_blanks(customer, identity)
        for key in entry.keys:
            self.holders.setdefault(key, customer.id)
        return customer

    def _recognised(self, entry: _Entry) -> Customer | None:
        for key in entry.strong:
            if key in self.holders:
                return self.known[self.holders[key]]
        if entry.name in self.holders:
            namesake = self.known[self.holders[entry.name]]
            if not _contradicts(entry.identity, namesake):
                return namesake
        return None


async def recognise(store: CustomerStore, identities: Sequence[Identity]) -> list[Customer]:
    """The customer of each identity: one that is known, or a new one that the caller has to write.

    External id, phone and e-mail decide, in this order; company with name does unless phone and e-mail both contradict.
    Three statements at most, and locks that make concurrent transactions agree on one customer.
    """
    entries = [_Entry(identity, strong_keys(identity), _name_key(identity), uuid7()) for identity in identities]
    claims: dict[str, str] = {}
    for entry in entries:
        for key in entry.keys:
            claims.setdefault(key, entry.proposed_id)
    held = await store.claim_keys(claims) if claims else {}
    before = {key: customer_id for key, customer_id in held.items() if customer_id != claims[key]}
    locked = await store.lock_customers(sorted(set(before.values()))) if before else []
    recognition = _Recognition({customer.id: customer for customer in locked}, before)
    customers = [recognition.customer_of(entry) for entry in entries]
    moved = {key: holder for key, holder in recognition.holders.items() if holder != held[key]}
    if moved:
        await store.move_keys(moved)
    return customers


def strong_keys(identity: Identity) -> tuple[str, ...]:
    """Each of these is one customer."""
    keys = [f"ref:{external_id}" for external_id in identity.external_ids]
    if identity.phone:
        keys.append(f"phone:{identity.phone}")
    if identity.email:
        keys.append(f"email:{identity.email}")
    return tuple(keys)


def _name_key(identity: Identity) -> str:
    company = company_key(identity.company)
    name = person_name(identity.name)
    # 王总 is no name: two people of one company may both be it, unless they are written alike.
    key = name.key if name.full else "".join(identity.name.casefold().split())
    return f"name:{company}:{key}" if company and key else ""


def _contradicts(identity: Identity, customer: Customer) -> bool:
    return bool(
        (identity.phone and customer.phone and identity.phone != customer.phone)
        and (identity.email and customer.email and identity.email != customer.email)
    )


def _fill_blanks(customer: Customer, identity: Identity) -> None:
    for name in ("company", "phone", "email"):
        if not getattr(customer, name) and getattr(identity, name):
            setattr(customer, name, getattr(identity, name))
            customer.changed = not customer.is_new
            customer.changed_by = identity.by
