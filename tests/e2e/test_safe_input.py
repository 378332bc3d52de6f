"""Input that is unusual but right: replays, encodings, deadlines."""

import pytest

from tests.support.platform import eventually


@pytest.fixture(scope="module")
def api(platform):
    """An administrator's client."""
    return platform.api()


def test_a_replayed_key_answers_the_first_result_and_another_body_is_refused(platform, api):
    """The same key and body: the same lead, marked; another body: 422, and one lead in all."""
    key = {"idempotency-key": "e2e-replay-1"}
    body = {"name": "韩梅梅", "company": "重放有限公司", "source": "website"}
    first = api.post("/v1/leads", json=body, headers=key)
    again = api.post("/v1/leads", json=body, headers=key)
    other = api.post("/v1/leads", json={**body, "name": "李雷"}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert first.json() == again.json()
    assert other.json()["code"] == "idempotency_key_reused"
    [stored] = platform.sql("SELECT count(*) AS leads FROM leads.leads WHERE company = $1", "重放有限公司")
    assert stored["leads"] == 1


@pytest.mark.capability(53, 70)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_file_in_any_usual_encoding_is_read(platform, api, encoding):
    """UTF-8 with and without BOM, GBK and UTF-16 with BOM give the same Chinese text."""
    company = f"编码{encoding}有限公司"
    text = f"姓名,公司,手机,来源\n张三丰,{company},13912345678,展会\n李四光,{company},13812345679,展会\n"
    started = api.post("/v1/imports", files={"file": ("leads.csv", text.encode(encoding))}, data={"mapping": "default"})
    assert started.status_code in {200, 201, 202}, started.text
    import_id = started.json()["id"]

    def done():
        report = api.get(f"/v1/imports/{import_id}").json()
        return report if report["state"] in {"completed", "failed"} else None

    report = eventually("the import to end", done)
    assert (report["state"], report["rows"], report["rejected"]) == ("completed", 2, 0), report
    stored = platform.sql("SELECT name FROM leads.leads WHERE company = $1 ORDER BY name", company)
    assert {row["name"] for row in stored} == {"张三丰", "李四光"}


def test_a_rejected_row_is_listed_with_number_and_reason(api):
    """Good rows are imported; the bad one is listed as a person finds it in the file."""
    rows = ["姓名,公司,手机,来源,邮箱", "王五,甲公司,13700000001,展会,a@example.com"]
    rows += [",乙公司,13700000002,展会,", "赵六,丙公司,x,展会,not-mail"]
    text = "\n".join(rows)
    started = api.post("/v1/imports", files={"file": ("leads.csv", text.encode())}, data={"mapping": "default"})
    import_id = started.json()["id"]

    def done():
        report = api.get(f"/v1/imports/{import_id}").json()
        return report if report["state"] == "completed" else None

    report = eventually("the import to end", done)
    assert (report["rows"], report["rejected"]) == (3, 2), report
    rejections = api.get(report["errors_url"]).json()["items"]
    assert {rejection["row"] for rejection in rejections} == {3, 4}
    assert all(rejection["reason"] and rejection["field"] for rejection in rejections)


def test_a_deadline_that_cannot_be_kept_is_answered_in_time(api):
    """A deadline of a millisecond ends in 503, at once, never in a hang."""
    answer = api.get("/v1/leads", headers={"x-request-timeout": "0.001"})
    assert answer.status_code == 503
    assert answer.json()["code"] == "deadline_exceeded"
    assert answer.elapsed.total_seconds() < 2
