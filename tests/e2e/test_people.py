"""The organisation through the platform's own API: a person comes, is given leads, and leaves."""

import pytest

from tests.support.platform import eventually

TEAM = "e2e-people"


def leads_of(api, owner_id: str) -> list[str]:
    answer = api.get("/v1/leads", params={"owner_id": owner_id, "limit": 200})
    assert answer.status_code == 200, answer.text
    return [lead["id"] for lead in answer.json()["items"]]


@pytest.fixture(scope="module")
def api(platform):
    """An administrator's client, with a team and two people of its own."""
    api = platform.api()
    person = {"name": "端到端", "team_id": TEAM, "weight": 0, "open_leads_max": 500}
    team = api.put(
        f"/v1/teams/{TEAM}", json={"name": "端到端组", "supervisor_id": "sales-supervisor", "parent_id": "sales"}
    )
    assert team.status_code == 201, team.text
    for person_id in ("e2e-stays", "e2e-leaves"):
        put = api.put(f"/v1/people/{person_id}", json=person)
        assert put.status_code == 201, put.text
        assert put.json()["supervisor_id"] == "sales-supervisor"
    return api


@pytest.mark.capability(116, 118, 125)
def test_the_leads_of_who_leaves_go_to_others(api) -> None:
    """Forty leads come with their owner; the owner leaves; a moment later each has one owner, who is not them."""
    rows = "".join(f"离职客户{n},e2e,+8617000{n:06d},e2e-leaves\n" for n in range(40))
    file = {"file": ("leads.csv", f"姓名,来源,手机,负责人工号\n{rows}".encode(), "text/csv")}
    started = api.post("/v1/imports", files=file)
    assert started.status_code in {200, 201, 202}, started.text
    held = eventually(
        "they hold forty leads", lambda: len(leads_of(api, "e2e-leaves")) == 40 and leads_of(api, "e2e-leaves")
    )
    gone = api.put("/v1/people/e2e-leaves", json={"name": "端到端", "team_id": TEAM, "weight": 0, "active": False})
    assert (gone.status_code, gone.json()["reason_against"]) == (200, "不在职")
    eventually("they hold none", lambda: not leads_of(api, "e2e-leaves"))
    for lead_id in held[:5]:
        told = api.get(f"/v1/leads/{lead_id}/assignments").json()["items"]
        assert len(told) == 2, told
        assert told[-1]["owner_id"] not in {None, "e2e-leaves"}


def test_a_leave_is_taken_back_and_findings_are_listed(api) -> None:
    """Everything a page of the organisation needs is there, and what is wrong is refused with its field."""
    leave = {"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2099-01-01T00:00:00Z", "reason": "长假"}
    added = api.post("/v1/people/e2e-stays/leave", json=leave)
    assert added.status_code == 201, added.text
    shown = api.get("/v1/people/e2e-stays").json()
    assert (shown["reason_against"], [each["reason"] for each in shown["leave"]]) == ("休假", ["长假"])
    assert api.delete(f"/v1/people/e2e-stays/leave/{added.json()['id']}").status_code == 200
    assert api.get("/v1/people/e2e-stays").json()["reason_against"] is None
    duty = [{"weekday": 1, "start": "09:00", "end": "24:00"}]
    body = {"name": "端到端", "team_id": TEAM, "weight": 0, "duty": duty, "leads_per_day_max": 9}
    put = api.put("/v1/people/e2e-stays", json=body)
    assert (put.status_code, put.json()["duty"], put.json()["leads_per_day_max"]) == (200, duty, 9)
    refused = api.put("/v1/people/e2e-stays", json=body | {"duty": [{"weekday": 1, "start": "18:00", "end": "09:00"}]})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "duty.0")
    stale = api.put("/v1/people/e2e-stays", json=body | {"expected_sequence": put.json()["sequence"] - 1})
    assert stale.status_code == 409, stale.text
    assert api.get("/v1/people/findings").status_code == 200
    assert TEAM in {team["id"] for team in api.get("/v1/teams", params={"limit": 200}).json()["items"]}
    asked = api.get("/v1/organisation").json()
    assert asked == {"channels_required": [], "on_time_weight": 0.15}
    assert api.put("/v1/organisation", json=asked).json() == asked
