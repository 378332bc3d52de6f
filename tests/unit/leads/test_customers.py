"""One customer, one record (53, 70, 124): what makes two leads the same customer's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.leads.intake.companies import company_key
from services.leads.intake.customers import Customer, Identity, recognise

pytestmark = pytest.mark.capability(53, 70, 124)


class FakeCustomers:
    """The keys and customers of a database with one client."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.customers: dict[str, Customer] = {}

    async def claim_keys(self, claims: Mapping[str, str]) -> dict[str, str]:
        for key, customer_id in claims.items():
            self.keys.setdefault(key, customer_id)
        return {key: self.keys[key] for key in claims}

    async def move_keys(self, keys: Mapping[str, str]) -> None:
        self.keys.update(keys)

    async def lock_customers(self, ids: Sequence[str]) -> list[Customer]:
        return [replace(self.customers[customer_id], is_new=False, changed=False) for customer_id in ids]

    async def capture(self, *identities: Identity) -> list[str]:
        found = await recognise(self, identities)
        self.customers.update({customer.id: customer for customer in found})
        return [customer.id for customer in found]


FANG = Identity("王芳", "恒力机械有限公司", "+8613800000001", "fang@hengli.cn")


@pytest.mark.parametrize(
    "again",
    [
        Identity("小王", phone=FANG.phone),
        Identity("Wang Fang", email=FANG.email),
        Identity("王芳", "恒力机械"),
        Identity("王 芳", "恒力机械股份有限公司", phone="+8613999999999"),
        Identity("谁", external_ids=("zoho:contact:1",)),
    ],
)
async def test_phone_email_company_with_name_or_an_external_id_is_enough(again: Identity) -> None:
    """Any one of them finds the customer again."""
    store = FakeCustomers()
    [first] = await store.capture(replace(FANG, external_ids=("zoho:contact:1",)))
    assert await store.capture(again) == [first]


async def test_namesakes_with_their_own_phone_and_email_are_two() -> None:
    """Two Smiths of one company whose phones and addresses differ are two people."""
    store = FakeCustomers()
    first, second = await store.capture(FANG, replace(FANG, phone="+8613800000002", email="fang2@hengli.cn"))
    assert first != second


async def test_a_batch_sees_what_stands_above_in_it() -> None:
    """Ten rows of one customer in one file are one customer."""
    store = FakeCustomers()
    ids = await store.capture(FANG, Identity("a", phone=FANG.phone), Identity("b", email=FANG.email))
    assert len(set(ids)) == 1


async def test_blanks_of_the_record_are_filled_and_nothing_is_overwritten() -> None:
    """A second form adds its e-mail address and changes no phone number."""
    store = FakeCustomers()
    [customer_id] = await store.capture(Identity("王芳", phone=FANG.phone))
    await store.capture(Identity("王芳", "恒力", phone=FANG.phone, email=FANG.email))
    await store.capture(Identity("王芳", phone="+8613811111111", email=FANG.email))
    customer = store.customers[customer_id]
    assert (customer.phone, customer.email, customer.company) == (FANG.phone, FANG.email, "恒力")


async def test_a_key_learnt_later_finds_the_customer_too() -> None:
    """After phone and e-mail came together once, either is enough."""
    store = FakeCustomers()
    [first] = await store.capture(Identity("王芳", phone=FANG.phone))
    await store.capture(Identity("王芳", phone=FANG.phone, email=FANG.email))
    assert await store.capture(Identity("?", email=FANG.email)) == [first]


identities = st.builds(
    Identity,
    name=st.sampled_from(["王芳", "李强"]),
    company=st.sampled_from(["", "恒力", "恒力有限公司"]),
    phone=st.sampled_from(["", "1", "2", "3"]),
    email=st.sampled_from(["", "a", "b", "c"]),
)


@given(st.lists(identities, min_size=1, max_size=12), st.data())
async def test_batches_recognise_as_single_captures_do(entries: list[Identity], data: st.DataObject) -> None:
    """However a file is cut into chunks, the same rows are the same customers."""
    one_by_one, in_batches = FakeCustomers(), FakeCustomers()
    alone = [(await one_by_one.capture(entry))[0] for entry in entries]
    cut = data.draw(st.integers(0, len(entries)))
    together = [*await in_batches.capture(*entries[:cut]), *await in_batches.capture(*entries[cut:])]
    assert _grouping(alone) == _grouping(together)


def _grouping(ids: Sequence[str]) -> list[int]:
    return [ids.index(customer_id) for customer_id in ids]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("苏州恒力机械有限公司", "苏州恒力机械"),
        ("苏州恒力机械有限公司", "苏州恒力机械有限 公司"),
        ("苏州恒力机械有限公司", "苏州　恒力机械 有限 责任公司"),
        ("苏州恒力机械股份有限公司", "苏州恒力机械集团"),
        ("Acme Co., Ltd.", "ACME"),
        ("Acme Inc", "acme, inc."),
        ("恒力（上海）公司", "恒力(上海)"),
    ],
)
def test_legal_forms_do_not_tell_companies_apart(one: str, other: str) -> None:
    """有限公司 and Co., Ltd. are written or left out as people please."""
    assert company_key(one) == company_key(other) != ""


@pytest.mark.parametrize(("one", "other"), [("恒力机械", "恒力化工"), ("Acme", "Acme Labs"), ("公司", "集团")])
def test_different_names_stay_different(one: str, other: str) -> None:
    """Only the legal form is dropped, and never the whole name."""
    assert company_key(one) != company_key(other)
