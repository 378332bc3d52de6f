"""The main job of README, on data that nobody here wrote."""

import contextlib
import csv
import io
import json
import subprocess
import time
import zipfile
from collections import Counter

import openpyxl
import pypdf
import pytest

from tests.support.platform import ZOHO, eventually

OPEN_STAGES = {"new", "contacted", "qualified"}


def pages(api, path, **query):
    """Every item of a list, page by page."""
    items, cursor = [], ""
    for _ in range(200):
        answer = api.get(path, params={"limit": 200, "cursor": cursor, **query})
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if not cursor:
            return items
    raise AssertionError(f"{path} does not end")


def sheets_of(path):
    """The rows of every sheet of a workbook."""
    with contextlib.closing(openpyxl.load_workbook(path, read_only=True)) as book:
        return [list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets]


@pytest.fixture(scope="module")
def api(platform, zoho):
    """An administrator's client, with the data in."""
    return platform.api()


@pytest.fixture(scope="module")
def companies():
    """Those of the real export's leads."""
    with (ZOHO / "Leads.csv").open(newline="", encoding="utf-8") as file:
        return {row["Company"].strip() for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def leads(api, companies):
    """Every lead of the real export; other tests take in leads of their own."""
    return [lead for lead in pages(api, "/v1/leads") if lead["company"] in companies]


@pytest.mark.capability(53, 70, 124)
def test_the_import_takes_every_lead_of_the_real_export(zoho, leads, companies):
    """3,900 rows become 3,900 leads, none rejected, and the report adds up."""
    report = next(entry for entry in zoho["imports"] if entry["dataset"] == "leads")
    assert (report["state"], report["rows"], report["rejected"]) == ("completed", 3900, 0)
    assert report["created"] + report["merged"] == 3900
    assert len(leads) == 3900
    assert {lead["company"] for lead in leads} == companies


@pytest.mark.capability(3, 8, 118, 125)
def test_every_open_lead_has_one_owner_of_the_organisation_and_an_explanation(api, leads):
    """Open leads are routed by a rule to people of the export's Users, with candidates and reasons."""
    with (ZOHO / "Users.csv").open(newline="", encoding="utf-8") as file:
        users = {row["USER_ID"] for row in csv.DictReader(file)}
    open_leads = [lead for lead in leads if lead["stage"] in OPEN_STAGES]
    assert len(open_leads) > 200
    assert {lead["owner_id"] for lead in open_leads} <= users
    for lead in open_leads[:20]:
        [decision] = api.get(f"/v1/leads/{lead['id']}/assignments").json()["items"]
        assert decision["owner_id"] == lead["owner_id"]
        assert decision["rule_id"]
        assert decision["rule_version"] >= 1
        assert decision["reason"]
        rejected = [candidate for candidate in decision["candidates"] if not candidate["chosen"]]
        assert all(candidate["rejected_because"] for candidate in rejected)


@pytest.mark.capability(8, 40)
def test_a_decision_is_made_again_and_rules_are_tried_before_they_are_in_force(api, leads):
    """Over HTTP: a replay equals what was decided byte for byte; a dry run says what a formula and new rules would do."""
    lead = next(lead for lead in leads if lead["stage"] in OPEN_STAGES)
    where = f"/v1/leads/{lead['id']}/assignments"
    decision = api.get(where).json()["items"][0]
    replay = api.get(f"{where}/{decision['id']}/replay").json()
    assert replay["equal"], replay
    assert replay["decided"] == replay["again"]
    assert json.loads(replay["decided"])["owner_id"] == decision["owner_id"]
    rules = api.get("/v1/routing/rules").json()
    assert api.get(f"/v1/routing/rules/{rules['version']}").json() == rules
    tried = {**rules["document"], "score": {"weights": {"web": 10}, "formula": "weights.web * (website != '')"}}
    run = api.post("/v1/routing/dry-runs", json={"document": tried, "leads_max": 200}).json()
    assert run["leads"] == run["score_then"]["leads"] == sum(each["leads"] for each in run["rules"]) == 200
    assert run["score_today"] is None
    refused = api.post("/v1/routing/dry-runs", json={"document": {**tried, "score": {"formula": "exec(1)"}}})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["score.formula"]


@pytest.mark.capability(125)
def test_each_assignment_notifies_its_owner_exactly_once(api, leads):
    """As many in-app notifications as open leads, one for each."""
    wanted = {f"lead:{lead['id']}" for lead in leads if lead["stage"] in OPEN_STAGES}

    def subjects():
        found = [item["subject"] for item in pages(api, "/v1/notifications", kind="lead_assigned")]
        return found if wanted <= set(found) else None

    found = eventually("a notification for each assignment", subjects)
    about_these = [subject for subject in found if subject in wanted]
    assert len(about_these) == len(wanted)


@pytest.mark.capability(5, 43)
def test_a_clock_is_stopped_and_runs_on_and_the_answering_is_measured(api, leads):
    """Limits are data with a version; a lead shows what is due when; every lead of the import had somebody in time."""
    policies = api.get("/v1/sla/policies").json()
    assert policies["holidays"]["known_until"] >= "2026-12-31"
    again = {"document": policies["document"], "expected_version": policies["version"]}
    assert api.put("/v1/sla/policies", json=again).json()["version"] == policies["version"] + 1
    assert api.put("/v1/sla/policies", json=again).status_code == 409
    place = f"/v1/leads/{next(lead['id'] for lead in leads if lead['stage'] in OPEN_STAGES)}/sla"
    assert api.get(place).json()["stage"] == "claim"
    stopped = api.post(f"{place}/pause", json={"reason": "等待第三方检测"}).json()
    assert (stopped["due_at"], stopped["pauses"][-1]["reason"]) == (None, "等待第三方检测")
    running = api.post(f"{place}/resume").json()
    assert running["paused_at"] is None
    assert running["due_at"] > stopped["paused_at"]
    report = api.get("/v1/sla/report").json()
    [assigned] = [check for check in report["checks"] if check["id"] == 43]
    assert assigned["met"] is True, report
    # At an hour when nobody is on duty the desk has those without an owner of their own, and the desk is nobody.
    with_somebody = report["all"]["assigned_in_time"] + report["all"]["duty_desk_first"]
    assert with_somebody >= sum(lead["stage"] in OPEN_STAGES for lead in leads)


@pytest.mark.capability(17, 18)
def test_signals_of_the_export_become_scores_with_reasons(api, leads):
    """Every customer has a score from 0 to 100; those with invoices say so."""

    def invoiced():
        for lead in [lead for lead in leads if lead["stage"] == "converted"][:400]:
            health = api.get(f"/v1/customers/{lead['customer_id']}/health")
            if health.status_code == 200 and any(
                reason["metric"] == "contract_amount" and reason["actual"]
                for layer in health.json()["layers"]
                for reason in layer["reasons"]
            ):
                return health.json()
        return None

    health = eventually("a customer scored on its invoices", invoiced, within_s=60)
    assert 0 <= health["score"] <= 100
    assert health["grade"] in {"A", "B", "C", "D"}
    for lead in leads[:50]:
        assert api.get(f"/v1/customers/{lead['customer_id']}/health").status_code == 200


@pytest.mark.capability(36, 37)
def test_an_export_is_a_workbook_with_right_types_and_chinese_text(platform, api, tmp_path):
    """The file is made by files, has every lead, text ids, real dates and the Chinese just entered."""
    made = api.post(
        "/v1/leads",
        json={
            "name": "王芳",
            "company": "宁波海天机械有限公司",
            "phone": "13800138000",
            "source": "展会扫码",
            "budget": "620000.50",
        },
    )
    assert made.status_code == 201, made.text
    target = tmp_path / "leads.xlsx"
    report = json.loads(platform.cli("export", "leads", "--format", "xlsx", "-o", str(target), "--json").stdout)
    assert (report["state"], report["engine"]) == ("completed", "files")
    rows = sheets_of(target)[0]
    assert len(rows) - 1 == report["rows"] >= 3901
    [row] = [row for row in rows if "王芳" in row and "宁波海天机械有限公司" in row]
    assert any(isinstance(cell, str) and cell.endswith("13800138000") for cell in row)
    assert any(isinstance(cell, (int, float)) and abs(cell - 620000.5) < 1e-6 for cell in row)
    assert any(hasattr(cell, "year") for cell in row)
    converted = subprocess.run(
        [
            "soffice",
            "--headless",
            "--convert-to",
            "csv:Text - txt - csv (StarCalc):44,34,76",
            "--outdir",
            tmp_path,
            target,
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        timeout=110,
    )
    text = (tmp_path / "leads.csv").read_text(encoding="utf-8")
    assert "王芳" in text, converted.stderr
    assert len(list(csv.reader(text.splitlines()))) == len(rows)


@pytest.mark.capability(41)
def test_a_report_and_renewal_reminders_come_as_pdf(platform, api, leads):
    """A report of some leads; a letter to each customer of one owner, with their name, in a ZIP."""
    owner, _ = min(Counter(lead["owner_id"] for lead in leads if lead["owner_id"]).items(), key=lambda each: each[1])

    def made(**wanted):
        asked = api.post("/v1/exports", json={"format": "pdf", "filter": {"owner_id": owner}, **wanted})
        assert asked.status_code == 202, asked.text

        def finished():
            answer = api.get(f"/v1/exports/{asked.json()['id']}").json()
            return answer if answer["state"] in {"completed", "failed"} else None

        export = eventually("the file", finished, within_s=90)
        assert (export["state"], export["engine"]) == ("completed", "files"), export
        return export, api.get(f"/v1/exports/{export['id']}/content").content

    report, pdf = made(dataset="leads")
    text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)
    assert (report["document"]["template"], f"负责人工号 = {owner}" in text) == ("report", True)
    letter = {"highlights": ["全年可用率 99.98 %"], "offer": "续签三年享八折。", "offer_until": "2026-12-31"}
    batch, archive = made(dataset="renewals", letter=letter)
    with zipfile.ZipFile(io.BytesIO(archive)) as letters:
        manifest = json.loads(letters.read("manifest.json"))
        first = pypdf.PdfReader(io.BytesIO(letters.read(manifest["letters"][0]["file"])))
    assert len(manifest["letters"]) == batch["rows"] >= 1
    assert manifest["document"]["sha256"] == batch["document"]["template_sha256"]
    customer = api.get(f"/v1/customers/{manifest['letters'][0]['customer_id']}").json()
    said = "".join(first.pages[0].extract_text().split())
    for expected in (customer["company"] or customer["name"], *letter["highlights"], letter["offer"]):
        assert "".join(expected.split()) in said


@pytest.mark.capability(36, 37, 39)
def test_with_files_stopped_the_same_command_gives_a_lesser_file_and_the_full_one_follows(platform, api, tmp_path):
    """Within 2 s a degraded file, marked as such; when files is back the full one comes by itself."""
    platform.cli("service", "stop", "files")
    try:
        began = time.monotonic()
        asked = api.post("/v1/exports", json={"dataset": "leads", "format": "xlsx"})
        assert asked.status_code == 202, asked.text
        export_id = asked.json()["id"]

        def finished():
            answer = api.get(f"/v1/exports/{export_id}")
            return answer.json() if answer.json()["state"] == "completed" else None

        export = eventually("a degraded file", finished, within_s=10, every_s=0.02)
        waited_s = time.monotonic() - began
        assert export["engine"] == "local"
        assert export["degraded"]["dependency"] == "files"
        assert export["degraded"]["missing"]
        assert waited_s <= 2.0, waited_s
        target = tmp_path / "degraded.xlsx"
        done = platform.cli("export", "leads", "--format", "xlsx", "-o", str(target))
        assert "degraded" in (done.stdout + done.stderr).lower()
        assert len(sheets_of(target)) >= 2
        content = api.get(f"/v1/exports/{export_id}/content")
        assert content.headers["degraded"] == "files"
        platform.cli("export", "leads", "--format", "pdf", "-o", str(tmp_path / "report.pdf"))
        assert len(sheets_of(tmp_path / "report.xlsx")) >= 2
        assert not (tmp_path / "report.pdf").exists()
    finally:
        platform.cli("service", "start", "files")

    def superseded():
        full_id = api.get(f"/v1/exports/{export_id}").json().get("superseded_by")
        full = api.get(f"/v1/exports/{full_id}").json() if full_id else {}
        return full if full.get("state") == "completed" else None

    full = eventually("the full file", superseded, within_s=60)
    assert (full["engine"], full.get("degraded")) == ("files", None)
    assert full["rows"] >= 3900


def test_a_caller_sees_their_own_leads_only(platform, leads):
    """Scope own lists what the person owns; another's lead does not exist for them."""
    owner = next(lead["owner_id"] for lead in leads if lead["stage"] in OPEN_STAGES)
    mine = platform.api("sales", owner, "own")
    seen = pages(mine, "/v1/leads")
    assert seen
    assert {lead["owner_id"] for lead in seen} == {owner}
    other = next(lead for lead in leads if lead["owner_id"] not in {owner, None, ""})
    assert mine.get(f"/v1/leads/{other['id']}").status_code == 404


@pytest.mark.capability(119)
def test_people_say_how_they_are_told_and_words_are_tried_before_they_are_in_force(api):
    """Over HTTP: wishes are kept, a channel that is not set up is refused by name, a template is shown with sample values."""
    person = api.get("/v1/people", params={"limit": 1}).json()["items"][0]["id"]
    wishes = {"language": "en", "order": ["email"], "muted": ["feishu"], "quiet_from": "22:00", "quiet_to": "08:00"}
    kept = api.put(f"/v1/people/{person}/notification-preferences", json=wishes).json()
    assert kept["preferences"] == wishes
    assert api.get(f"/v1/people/{person}/channels").json() == kept
    refused = api.put(f"/v1/people/{person}/channels/wecom", json={"address": "anna"})
    assert refused.status_code == 422
    assert refused.json()["errors"] == [{"field": "robot", "reason": "wecom:default is not set up here"}]
    api.put(f"/v1/people/{person}/notification-preferences", json={})
    preview = api.post("/v1/notification-templates/lead_overdue/zh/preview", json={"title": "超时 $who"})
    assert preview.json()["title"] == "超时 海天机械 王芳"
    assert {each["language"] for each in api.get("/v1/notification-templates").json()["items"]} == {"zh", "en"}
    assert api.get("/v1/work-orders", params={"state": "open"}).status_code == 200
