"""Intake over HTTP on the whole platform: a form that goes live, and a customer who comes twice."""

import pytest

from tests.support.platform import eventually

FORM = {
    "title": "展会登记",
    "source": "展会扫码",
    "fields": [
        {"name": "name", "title": "姓名", "mandatory": True},
        {"name": "phone", "title": "手机", "mandatory": True},
        {"name": "product", "title": "产品", "choices": ["注塑机", "压铸机"]},
    ],
    "alert": {"to": "owner", "title": "展会压铸机客户", "field": "product", "value": "压铸机"},
    "board": {"title": "本周展会线索", "figure": "leads", "days": 7},
}


@pytest.mark.capability(69, 121)
def test_a_form_goes_live_without_a_deployment(platform):
    """Put by one call, answered by the next: the lead is routed, its owner alarmed, the board row counts it."""
    api = platform.api()
    put = api.put("/v1/forms/fair-e2e", json={"document": FORM})
    assert (put.status_code, put.json()["form"]["version"]) == (200, 1), put.text
    values = {"name": "展会来客", "phone": "13977770001", "product": "压铸机"}
    taken = api.post("/v1/forms/fair-e2e/leads", json={"values": values})
    assert taken.status_code == 201, taken.text
    owner_id = taken.json()["assignment"]["owner_id"]
    assert owner_id
    refused = api.post("/v1/forms/fair-e2e/leads", json={"values": {"name": "无", "product": "机床"}})
    assert {error["field"] for error in refused.json()["errors"]} == {"values.phone", "values.product"}
    [row] = [each for each in api.get("/v1/forms").json()["items"] if each["name"] == "fair-e2e"]
    assert (row["title"], row["value"]) == ("本周展会线索", 1)
    owner = platform.api(role="sales", sub=owner_id, scope="own")

    def alarmed():
        told = owner.get("/v1/notifications", params={"limit": 50}).json()["items"]
        return [each for each in told if each["title"] == "展会压铸机客户"]

    [alarm] = eventually("the owner is alarmed", alarmed, within_s=60)
    assert "产品：压铸机" in alarm["body"]


@pytest.mark.capability(53, 75, 88, 124)
def test_a_customer_who_comes_twice_is_listed_merged_and_taken_apart(platform):
    """With reasons, with the change log, and grown on the way."""
    api = platform.api()
    lead = {"name": "端到端", "source": "官网", "phone": "13977770011", "company": "宁波双名精密机械有限公司"}
    first = api.post("/v1/leads", json=lead).json()
    second = api.post("/v1/leads", json={"name": "端到端", "source": "展会", "phone": "13977770101"}).json()
    path = f"/v1/customers/{first['customer_id']}"
    [found] = eventually("the two are suspected", lambda: api.get(f"{path}/duplicates").json()["items"], within_s=60)
    assert (found["customer_id"], found["verdict"]) == (second["customer_id"], "suspected")
    assert [reason["text"] for reason in found["reasons"]] == ["姓名相同", "电话差一位"]
    merge = api.post(f"{path}/merges", json={"customer_id": second["customer_id"], "reason": "同一联系人"})
    assert merge.status_code == 201, merge.text
    assert api.get(f"/v1/customers/{second['customer_id']}").json()["id"] == first["customer_id"]
    refused = api.post(f"/v1/leads/{second['id']}/fields", json={"fields": {"budget": "500000"}})
    assert "growth stage budget" in refused.json()["errors"][0]["reason"]
    grown = api.post(f"/v1/leads/{second['id']}/fields", json={"fields": {"product": "注塑机"}, "reason": "电话"})
    assert [stage["open"] for stage in grown.json()["stages"]] == [True, True, False, False]
    undone = api.post(f"{path}/merges/{merge.json()['id']}/undo")
    assert undone.status_code == 200, undone.text
    changes = api.get(f"/v1/leads/{second['id']}/changes").json()["items"]
    assert {(each["field"], each["after"]) for each in changes} >= {
        ("product", "注塑机"),
        ("customer_id", first["customer_id"]),
        ("customer_id", second["customer_id"]),
    }
