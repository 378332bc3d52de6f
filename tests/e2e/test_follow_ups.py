"""A rep's work with a customer through the platform's own API, from the first refusal to the whole story."""

import pytest

TEXT = "😀客户说预算不够，要等老板批，先发报价"


@pytest.fixture(scope="module")
def admin(platform):
    """An administrator's client."""
    return platform.api()


@pytest.fixture(scope="module")
def lead(admin):
    """A new lead, with whoever the rules gave it to."""
    created = admin.post("/v1/leads", json={"name": "跟进客户", "source": "展会", "phone": "+8617100000001"})
    assert created.status_code == 201, created.text
    return created.json()


@pytest.fixture(scope="module")
def rep(platform, lead):
    """Its owner's client, who sees their own."""
    return platform.api("sales", lead["assignment"]["owner_id"], "own")


@pytest.mark.capability(9, 12, 15, 60, 71, 99, 100, 104)
def test_a_rep_follows_up_and_the_story_tells_it(rep, lead):
    """Refused with every blank field, written by a code, a chat tagged, read back, shown as status, profile and story."""
    here = f"/v1/leads/{lead['id']}"
    refused = rep.post(f"{here}/follow-ups", json={})
    assert (refused.status_code, refused.json()["code"]) == (422, "incomplete_follow_up")
    named = {error["field"] for error in refused.json()["errors"]}
    assert named == {"goal", "customer_words", "next_action", "objection", "next_action_due", "pain_tags"}
    assert rep.get(here).json()["status"]["state"] == "unclaimed"

    quick = {"code": "first-call", "keyword": "ERP替换"}
    first = rep.post(f"{here}/quick-follow-ups", json=quick, headers={"Idempotency-Key": "e2e-quick"})
    again = rep.post(f"{here}/quick-follow-ups", json=quick, headers={"Idempotency-Key": "e2e-quick"})
    assert (first.status_code, again.headers["Idempotent-Replayed"]) == (201, "true"), first.text
    assert again.json() == first.json()
    kept = rep.post(f"{here}/transcripts", json={"kind": "chat", "text": TEXT})
    assert (kept.status_code, kept.json()["stage"]) == (201, "qualified"), kept.text
    read = rep.get(kept.headers["location"]).json()
    assert [TEXT[each["start"] : each["end"]] for each in read["highlights"]] == ["预算不够", "要等老板", "报价"]

    for path in (here, f"/v1/customers/{lead['customer_id']}"):
        assert [each["id"] for each in rep.get(f"{path}/follow-ups").json()["items"]] == [first.json()["id"]]
    status = rep.get(here).json()["status"]
    assert (status["state"], status["next_action"]) == ("working", first.json()["next_action"])
    pains = rep.get(f"/v1/customers/{lead['customer_id']}").json()["pain_tags"]
    assert {each["tag"] for each in pains} == {"ERP替换", "预算不足"}

    story, cursor = [], ""
    while cursor is not None:
        page = rep.get(f"/v1/customers/{lead['customer_id']}/story", params={"limit": 3, "cursor": cursor}).json()
        story, cursor = story + page["items"], page["next_cursor"]
    assert sorted(each["kind"] for each in story) == [
        *("assigned", "claimed", "follow_up", "lead_captured", "stage_changed", "stage_changed", "transcript")
    ]
    assert [each["at"] for each in story] == sorted(each["at"] for each in story)


@pytest.mark.capability(116)
def test_another_rep_is_told_whose_customer_it_is(platform, lead):
    """One who sees it is refused with the owner, one who does not finds nothing."""
    quick = {"code": "quote-sent"}
    sees = platform.api("sales", "e2e-colleague", "all")
    refused = sees.post(f"/v1/leads/{lead['id']}/quick-follow-ups", json=quick)
    assert (refused.status_code, refused.json()["code"]) == (409, "owned_by_another")
    assert lead["assignment"]["owner_id"] in refused.json()["detail"]
    blind = platform.api("sales", "e2e-colleague", "own")
    for answer in (
        blind.post(f"/v1/leads/{lead['id']}/quick-follow-ups", json=quick),
        blind.get(f"/v1/customers/{lead['customer_id']}/story"),
        blind.get(f"/v1/leads/{lead['id']}/follow-ups"),
    ):
        assert answer.status_code == 404


@pytest.mark.capability(10, 11, 44)
def test_what_an_organisation_decides_is_data(admin):
    """Playbook and dictionary come back as they were put; a mistake is told with its place; quality is counted."""
    for path, spoil in (
        ("/v1/follow-ups/playbook", lambda document: document["actions"][1].update(due_after_h="soon")),
        ("/v1/tags/dictionary", lambda document: document["tags"][1].update(words=[])),
    ):
        read = admin.get(path).json()
        kept = admin.put(path, json={"document": read["document"], "expected_version": read["version"]})
        assert (kept.status_code, kept.json()["version"]) == (200, read["version"] + 1), kept.text
        assert kept.json()["document"] == read["document"]
        stale = admin.put(path, json={"document": read["document"], "expected_version": read["version"]})
        assert stale.status_code == 409
        spoil(read["document"])
        refused = admin.put(path, json={"document": read["document"]})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] in {"actions[1].due_after_h", "tags[1].words"}
    assert admin.post("/v1/tags/preview", json={"text": "ＥＲＰ替换"}).json()["tags"][0]["id"] == "erp-replacement"
    quality = admin.get("/v1/follow-ups/quality").json()
    assert quality["all"]["records"] >= quality["all"]["with_next_action_and_due"] >= 1
    assert admin.get("/v1/follow-ups/quality", params={"from": "2026-01-01", "to": "2026-12-01"}).status_code == 422
