"""The boards as a page in a real browser, and as files."""

import io
from contextlib import contextmanager

import openpyxl
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from pypdf import PdfReader

from tests.support.boards import lay_team
from tests.support.browser import NO_ANSWER, browser
from tests.support.platform import eventually

pytestmark = pytest.mark.capability(6, 101)

WITHIN_MS = 15_000
TEAM = "boards-e2e"
BOSS = f"{TEAM}-6"
WINDOW = {"width": 1366, "height": 900}


@pytest.fixture(scope="module")
def team(platform):
    """A team of its own, with forty leads of the last days: nobody else's leads are on its boards."""
    return lay_team(platform, TEAM, "看板测试组", leads=40, seed=1)


@contextmanager
def signed_in(platform, place="", *, role="manager", sub=BOSS, scope="team", **options):
    """The boards for somebody who signed in; no script error, nothing blocked, nothing from outside."""
    with browser() as chromium:
        context = chromium.new_context(
            **({"viewport": WINDOW, "reduced_motion": "reduce", "locale": "zh-CN"} | options)
        )
        page = context.new_page()
        errors, outside = [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and NO_ANSWER not in m.text and errors.append(m.text))
        page.on("request", lambda r: r.url.startswith(platform.ready["gateway"]) or outside.append(r.url))
        page.goto(f"{platform.ready['gateway']}/boards{place}")
        page.fill("textarea", platform.token(role, sub, scope))
        page.click("button.primary")
        expect(page.locator("#board[aria-busy=false]")).to_be_visible(timeout=WITHIN_MS)
        yield page
        assert errors == []
        assert outside == []


@pytest.mark.capability(7, 43, 63, 88)
def test_the_page_shows_what_the_api_says_and_leads_to_the_leads_behind_it(platform, team):
    """Figures, teams, who is late; a click on a figure lists as many leads; the list has an address of its own."""
    board = platform.api("manager", BOSS, "team").get("/v1/boards/lead-timeliness").json()
    assert [each["id"] for each in board["teams"]] == [TEAM]
    assert board["total"]["leads"] == 40
    assert {each["id"] for each in board["people"]} <= set(team)
    with signed_in(platform) as page:
        expect(page.locator("h1")).to_have_text("线索时效看板")
        late = page.locator(".tile", has_text="按时率")
        expect(late).to_contain_text(f"超时 {board['total']['late']}")
        expect(late).to_contain_text("绩效权重 15%")
        expect(page.locator(".tile", has_text="15 分钟内分配")).to_contain_text("100.0%")
        expect(page.locator(".late li")).to_have_count(len(board["late"]))
        expect(page.locator(".late li").first).to_contain_text(board["late"][0]["name"])
        late.locator("a").focus()
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("线索明细")
        expect(page.locator("tbody tr")).to_have_count(board["total"]["late"])
        page.reload()
        expect(page.locator("tbody tr")).to_have_count(board["total"]["late"], timeout=WITHIN_MS)
        page.go_back()
        worst = page.locator(".bars a").first
        lost = worst.locator(".number").inner_text()
        worst.click()
        expect(page.locator("tbody tr")).to_have_count(int(lost))


@pytest.mark.capability(7)
def test_a_person_sees_their_own_day_and_the_whereabouts_of_their_leads(platform, team):
    """What is overdue comes first and says so; the KPI has its points; the heat map turns; another's board is not theirs."""
    api = platform.api("sales", team[0], "own")
    mine = api.get("/v1/boards/personal").json()
    assert mine["overdue"]
    answered, weight = mine["timeliness"]["on_time"], mine["measures"]["on_time_weight"]
    assert mine["timeliness"]["on_time_points"] == pytest.approx(100 * weight * answered["met"] / answered["of"])
    with signed_in(platform, "?view=personal", role="sales", sub=team[0], scope="own") as page:
        expect(page.locator("h1")).to_have_text("个人看板 · 王芳")
        shown = page.locator(".tile", has_text="按时率").inner_text().partition("绩效得分")[2].split("/")
        assert [float(each) for each in shown] == pytest.approx(
            [mine["timeliness"]["on_time_points"], 100 * weight], abs=0.1
        )
        expect(page.locator(".actions li")).to_have_count(len(mine["actions"]))
        expect(page.locator(".actions li").first).to_contain_text("逾期")
        shown = page.locator("table.heat tbody td").all_inner_texts()
        assert sum(int(each.split()[0]) for each in shown if each.strip()) == mine["open_leads"]
        page.get_by_role("link", name="金额 × 阶段").click()
        expect(page.locator("table.heat tbody tr")).to_have_count(len(mine["amounts"]))
        assert "heat=amount-stage" in page.url
        page.goto(f"{platform.ready['gateway']}/boards?view=personal&person_id={team[1]}")
        expect(page.locator("#problem")).not_to_be_empty()
    assert api.get(f"/v1/boards/personal?person_id={team[1]}").status_code == 404


def test_the_boards_are_accessible_fit_a_phone_and_speak_english(platform, team):
    """axe finds nothing in either theme; on a phone nothing runs out of the screen; the language is kept."""
    with signed_in(platform, viewport={"width": 390, "height": 800}) as page:
        places = {
            "timeliness": "",
            "personal": f"?view=personal&person_id={team[0]}",
            "leads": "?view=leads&figure=leads",
        }
        for name, place in places.items():
            page.goto(f"{platform.ready['gateway']}/boards{place}")
            expect(page.locator("#board section").first).to_be_visible(timeout=WITHIN_MS)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                found = Axe().run(page, options={"resultTypes": ["violations"]})
                assert found.violations_count == 0, (name, theme, found.generate_report())
        page.click("#language")
        expect(page.locator("h1")).to_have_text("The leads behind it")
        page.reload()
        expect(page.locator("h1")).to_have_text("The leads behind it", timeout=WITHIN_MS)
        page.click("#leave")
        expect(page.locator("#login")).to_be_visible()


@pytest.mark.capability(37)
@pytest.mark.parametrize("dataset", ["lead-timeliness", "personal-board"])
def test_boards_become_files(platform, team, dataset):
    """XLSX and PDF by the export path, with the figures of whoever asks."""
    api = platform.api("sales", team[0], "own")

    def made(kind):
        asked = api.post("/v1/exports", json={"dataset": dataset, "format": kind})
        assert asked.status_code == 202, asked.text
        path = f"/v1/exports/{asked.json()['id']}"
        done = eventually(
            f"{dataset} as {kind}", lambda: (found := api.get(path).json())["state"] == "completed" and found, 60
        )
        assert done["engine"] == "files", done
        return api.get(f"{path}/content").content

    rows = list(openpyxl.load_workbook(io.BytesIO(made("xlsx"))).active.iter_rows(values_only=True))
    text = PdfReader(io.BytesIO(made("pdf"))).pages[0].extract_text()
    if dataset == "lead-timeliness":
        board = api.get("/v1/boards/lead-timeliness").json()
        assert rows[1][:5] == ("全部", None, None, board["total"]["leads"], board["total"]["responded"])
        assert "线索时效看板" in text
        assert "各组：平均首响" in "".join(text.split())
    else:
        assert len(rows) - 1 == len(api.get("/v1/boards/personal").json()["actions"])
        assert "个人看板" in text
        assert "逾期" in text
