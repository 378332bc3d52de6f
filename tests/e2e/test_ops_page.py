"""The on-call's page in a real browser."""

import os
import signal
import time

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.support.browser import row, signed_in
from tests.support.platform import eventually

OPEN_WITHIN_MS = 15_000
VIEWS = {
    "edges": "",
    "one edge": "?view=edge&caller=gateway&dependency=postgres",
    "graph": "?view=graph&ops=1",
    "timeline": "?view=timeline",
    "backlog": "?view=waiting",
    "runbook": "?view=runbook&name=BreakwaterDependencyDown",
}

pytestmark = pytest.mark.capability(38)


def open_the_circuit(platform):
    """Asks for exports until the gateway's circuit to files is open."""
    api = platform.api()

    def asked():
        api.post("/v1/exports", json={"dataset": "leads", "format": "csv"})
        edges = platform.ops().get("/v1/dependencies").json()["edges"]
        return any((e["caller"], e["dependency"], e["state"]) == ("gateway", "files", "open") for e in edges)

    eventually("the circuit gateway -> files to open", asked, within_s=40, every_s=0.2)


def test_every_edge_of_the_platform_is_shown(platform):
    """The page lists the edges the API lists, each of every process."""

    def fresh():
        # A process that an earlier test restarted is shown twice until its predecessor has been silent for 5 s.
        edges = platform.ops().get("/v1/dependencies").json()["edges"]
        pairs = {(edge["caller"], edge["dependency"]) for edge in edges if not edge["stale"]}
        return pairs if len(edges) == len(pairs) else None

    pairs = eventually("one report of each process", fresh, within_s=30)
    assert {("gateway", d) for d in ("leads", "notify", "files", "health", "postgres", "nats")} <= pairs
    assert {("files", "leads"), ("files", "objects"), ("leads", "postgres"), ("notify", "nats")} <= pairs
    with signed_in(platform) as page:
        expect(page.locator("#edges-body .row")).to_have_count(len(pairs))
        for caller, dependency in pairs:
            expect(row(page, caller, dependency)).to_have_count(1)
        expect(page.locator("#freshness")).to_contain_text("data")


@pytest.mark.capability(36, 37)
def test_a_breaker_is_seen_to_open_and_to_close(platform):
    """files is stopped: the row turns to open and comes first; files is back: it closes by itself."""
    with signed_in(platform) as page:
        platform.cli("service", "stop", "files")
        try:
            open_the_circuit(platform)
            badge = row(page, "gateway", "files").locator(".badge")
            expect(badge).to_contain_text("open", timeout=OPEN_WITHIN_MS)
            expect(page.locator("#edges-body .row").first).to_contain_text("→ files")
            expect(page.locator("#verdict")).to_contain_text("not closed")
            expect(page.locator("#incidents")).to_contain_text("files is failing")
            page.keyboard.press("3")
            expect(page.locator("#timeline")).to_contain_text("gateway → files: closed → open")
            page.keyboard.press("1")
            for _ in range(20):
                platform.api().post("/v1/exports", json={"dataset": "leads", "format": "csv"})
            expect(row(page, "gateway", "files").locator(".slo")).to_contain_text("×", timeout=OPEN_WITHIN_MS)
            row(page, "gateway", "files").get_by_role("link").click()
            expect(page.locator("#detail-tiles")).to_contain_text("SLO 99.5")
            expect(page.locator("#detail-tiles")).to_contain_text("budget spent")
            page.keyboard.press("1")
        finally:
            platform.cli("service", "start", "files")
        api = platform.api()

        def closed():
            api.post("/v1/exports", json={"dataset": "leads", "format": "csv"})
            page.wait_for_timeout(100)
            return "closed" in badge.inner_text()

        eventually("the circuit to close on the page", closed, within_s=60, every_s=0.2)
        page.keyboard.press("3")
        expect(page.locator("#timeline")).to_contain_text("→ closed")


def test_an_override_is_laid_and_lifted_from_the_page(platform):
    """A reason is asked for; the row shows the override, who laid it and why; lifting ends it."""
    with signed_in(platform, "oncall") as page:
        line = row(page, "gateway", "health")
        line.get_by_role("button").click()
        page.get_by_role("button", name="Set the override").click()
        expect(page.locator("#override")).to_be_visible()
        page.fill("input[name=reason]", "a drill of the page's test")
        page.get_by_role("button", name="Set the override").click()
        expect(line.locator(".badge")).to_contain_text("fallback", timeout=5_000)
        assert "drill" in line.locator(".badge").get_attribute("title")
        line.get_by_role("link").click()
        expect(page.locator("#detail-override")).to_contain_text("a drill of the page's test")
        expect(page.locator("#detail-override")).to_contain_text("computed: closed")
        page.keyboard.press("3")
        expect(page.locator("#timeline")).to_contain_text("by anna")
        page.keyboard.press("1")
        line.get_by_role("button", name="Lift").click()
        expect(line.locator(".badge")).to_contain_text("closed", timeout=5_000)


def test_chaos_is_laid_and_seen_on_the_page(platform):
    """Its fields come with the mode; the row shows that it is forced, and what is injected."""
    with signed_in(platform, "oncall") as page:
        line = row(page, "gateway", "health")
        line.get_by_role("button").click()
        expect(page.locator("#fault")).to_be_hidden()
        page.select_option("select[name=mode]", "chaos")
        page.select_option("select[name=kind]", "reset")
        expect(page.locator("input[name=p50]")).to_be_hidden()
        page.fill("input[name=percent]", "50")
        page.fill("input[name=reason]", "a drill of the page's test")
        page.get_by_role("button", name="Set the override").click()
        expect(line.locator(".badge")).to_contain_text("chaos", timeout=5_000)
        assert "reset, 50.0%" in line.locator(".badge").get_attribute("title")
        line.get_by_role("button", name="Lift").click()
        expect(line.locator(".badge")).to_contain_text("closed", timeout=5_000)


def test_who_may_only_look_cannot_override(platform):
    """A manager sees the page; their override is refused with the reason in the dialog."""
    with signed_in(platform, "manager") as page:
        row(page, "gateway", "health").get_by_role("button").click()
        page.fill("input[name=reason]", "not mine to press")
        page.get_by_role("button", name="Set the override").click()
        expect(page.locator("#override-error")).to_contain_text("may not do this")


def test_the_page_speaks_chinese_and_fits_a_phone(platform):
    """中文 on demand and kept; on a phone nothing runs out of the screen."""
    with signed_in(platform, viewport={"width": 390, "height": 800}) as page:
        page.click("#language")
        expect(page.locator("#edges-title")).to_have_text("依赖关系（最差在前）")
        page.reload()
        expect(page.locator("#edges-title")).to_have_text("依赖关系（最差在前）")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_every_view_has_a_link_and_is_accessible(platform):
    """The link opens the view at once; axe finds nothing wrong with it, dark and light."""
    with signed_in(platform, place="?view=timeline") as page:
        expect(page.locator("#timeline-title")).to_be_visible()
        for name, place in VIEWS.items():
            page.goto(f"{platform.ready['ops']}/ops{place}")
            shown = page.locator("main section:not([hidden]) h2:visible").first
            expect(shown).not_to_be_empty()
            if name == "one edge":
                expect(page.locator("#detail-charts svg")).to_have_count(3, timeout=10_000)
                expect(page.locator("#detail-policy")).to_contain_text("attempt_timeout_s")
                expect(page.locator("#detail-instances tbody tr")).to_have_count(1)
            if name == "graph":
                expect(page.locator("#graph a[aria-label^='gateway → postgres']")).to_have_count(1)
            if name == "backlog":
                expect(page.locator("#backlogs")).to_contain_text("first-touch")
                expect(page.locator("#dead-letters")).not_to_be_empty()
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                found = Axe().run(page, options={"resultTypes": ["violations"]})
                assert found.violations_count == 0, (name, theme, found.generate_report())


def test_the_page_is_used_by_keyboard_alone(platform):
    """Down the list, into an edge, its override, back, a filter that stands in the address, other views."""
    with signed_in(platform) as page:
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("ArrowUp")
        name = page.evaluate("document.activeElement.textContent")
        assert " → " in name
        page.keyboard.press("Enter")
        expect(page.locator("#detail-title")).to_have_text(name)
        page.keyboard.press("o")
        expect(page.locator("#override-edge")).to_have_text(name)
        assert page.evaluate("document.activeElement.name") == "reason"
        page.keyboard.press("Escape")
        expect(page.locator("#override")).to_be_hidden()
        expect(page.locator("#view-edge")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#view-edges")).to_be_visible()
        expect(page.locator("#edges-body a:focus")).to_have_text(name)
        page.keyboard.press("/")
        expect(page.locator("#filter-edges")).to_be_focused()
        page.keyboard.type("health postgres")
        expect(page.locator("#edges-body .row")).to_have_count(1)
        assert "q=health" in page.url
        page.keyboard.press("Escape")
        page.keyboard.press("2")
        expect(page.locator("#view-graph")).to_be_visible()
        page.go_back()
        expect(page.locator("#filter-edges")).to_have_value("health postgres")


def test_a_key_pressed_before_the_page_is_drawn_again_counts(platform):
    """Escape closes a dialog and the next one goes back, also where nothing was drawn in between."""
    with signed_in(platform, place="?view=edge&caller=gateway&dependency=postgres") as page:
        page.keyboard.press("o")
        expect(page.locator("input[name=reason]")).to_be_focused()
        page.evaluate("""() => {
            const field = document.activeElement;
            document.getElementById("override").close();
            field.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
        }""")
        expect(page.locator("#view-edges")).to_be_visible()


def test_what_is_not_heard_is_unknown_within_five_seconds(platform):
    """The ops process stands still: after less than 5 s nothing is called closed any more; it goes on: it is again."""
    with signed_in(platform) as page:
        badges = page.locator("#edges-body .badge")
        expect(badges.filter(has_text="closed").first).to_be_visible()
        # What the page itself says of the age of its data at the moment it gives it up.
        page.evaluate("""() => {
            const [verdict, freshness] = ["verdict", "freshness"].map((id) => document.getElementById(id));
            globalThis.aged = new Promise((tell) => new MutationObserver(() => {
                if (verdict.dataset.level === "unknown") requestAnimationFrame(() => tell(freshness.textContent));
            }).observe(verdict, { attributes: true }));
        }""")
        pid = platform.pid("ops")
        os.kill(pid, signal.SIGSTOP)
        try:
            said = page.evaluate("globalThis.aged")
            expect(badges.filter(has_text="closed")).to_have_count(0)
            expect(badges.filter(has_text="unknown").first).to_be_visible()
            assert page.title().startswith("? Unknown")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert int(said.split()[1]) <= 5, said
        expect(badges.filter(has_text="closed").first).to_be_visible(timeout=OPEN_WITHIN_MS)


def test_a_stranger_sees_the_way_in_only(platform):
    """Without a session the page is the sign-in, the data is 401, and a wrong token says so."""
    stranger = platform.ops()
    assert stranger.get("/v1/dependencies", headers={"authorization": ""}).status_code == 401
    for path in ("/v1/dependencies/stream", "/ops/stream", "/v1/backlogs", "/v1/dead-letters"):
        assert stranger.get(path, headers={"authorization": ""}).status_code == 401
    answer = stranger.get("/ops", headers={"authorization": ""})
    assert "Sign in" in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    refused = stranger.post("/ops/session", headers={"authorization": "Bearer nonsense"})
    assert refused.status_code == 401


def journey_alert(status):
    """A message of Alertmanager's webhook: the budget of exports is being spent, or no more."""
    labels = {"alertname": "BreakwaterJourneyBudgetBurning", "journey": "export", "severity": "critical"}
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    alert = {"status": status, "labels": labels, "startsAt": started, "fingerprint": "5eed0f07e57"}
    return {"version": "4", "status": status, "receiver": "incidents", "alerts": [alert]}


def test_a_journey_that_spends_its_budget_is_told_until_it_does_no_more(platform):
    """Which journey, and the way to its runbook, in both languages; an end takes it away."""
    alertmanager = platform.ops("service", "alertmanager")
    with signed_in(platform) as page:
        shown = page.locator("#journeys")
        expect(shown).to_be_hidden()
        assert alertmanager.post("/v1/alerts", json=journey_alert("firing")).json() == {"changed": 1}
        try:
            expect(shown).to_contain_text("exports spends its error budget", timeout=OPEN_WITHIN_MS)
            page.reload()
            expect(shown).to_contain_text("exports", timeout=OPEN_WITHIN_MS)
            found = Axe().run(page, options={"resultTypes": ["violations"]})
            assert found.violations_count == 0, found.generate_report()
            page.click("#language")
            expect(shown).to_contain_text("正在快速消耗错误预算")
            shown.get_by_role("link").click()
            expect(page.locator("#runbook h2")).to_contain_text("BreakwaterJourneyBudgetBurning")
        finally:
            alertmanager.post("/v1/alerts", json=journey_alert("resolved"))
        expect(shown).to_be_hidden(timeout=OPEN_WITHIN_MS)


def test_a_row_keeps_its_place_until_it_has_been_better_for_a_while(platform):
    """What is worse moves at once; at a threshold, now better and now worse, a row stays until it was not worse for 5 s."""
    moments = [(0, 4), (1, 2), (2, 4), (3, 2), (7.9, 4), (8, 4), (8.1, 3), (8.2, 1)]
    with signed_in(platform) as page:
        places = page.evaluate(
            """async (moments) => {
                const { placeOf } = await import(document.querySelector("link[href$='/list.js']").href);
                let place;
                return moments.map(([at_s, standing]) => (place = placeOf(place, standing, 1000 * at_s)).standing);
            }""",
            moments,
        )
    assert places == [4, 2, 2, 2, 2, 4, 3, 1]


def test_the_files_of_the_page_are_asked_for_once(platform):
    """Their address names their version: a browser keeps them. Who has another version's page gets them too, not to be kept."""
    with signed_in(platform) as page:
        page.goto("about:blank")
        page.goto(f"{platform.ready['ops']}/ops")
        expect(page.locator("#edges-body .row").first).to_be_visible()
        files = page.evaluate("""() => performance.getEntriesByType("resource")
            .filter((each) => each.name.includes("/ops/assets/")).map((each) => [each.name, each.transferSize])""")
    assert len({address for address, _ in files}) > 20
    assert [address for address, size_bytes in files if size_bytes] == []
    ops = platform.ops()
    address = next(address for address, _ in files if address.endswith("/page.js"))
    kept = ops.get(address)
    assert "immutable" in kept.headers["cache-control"]
    other = ops.get(address.replace(address.split("/")[-2], "another-version"))
    assert (other.text, other.headers["cache-control"]) == (kept.text, "no-cache")
    assert ops.get(address.replace("page.js", "nothing.js")).status_code == 404


def test_a_request_of_another_site_is_refused(platform):
    """A cookie alone is not enough for an unsafe request: it must come from our own page."""
    ops = platform.ops()
    opened = ops.post("/ops/session")
    cookie = opened.headers["set-cookie"].split(";")[0]
    assert {"Secure", "HttpOnly", "SameSite=Strict"} <= {
        part.strip() for part in opened.headers["set-cookie"].split(";")
    }
    with_cookie = {"cookie": cookie, "sec-fetch-site": "cross-site"}
    bare = platform.ops()
    del bare.headers["authorization"]
    path = "/v1/dependencies/health/override"
    assert bare.get("/v1/dependencies", headers={"cookie": cookie}).status_code == 200
    assert bare.request("DELETE", path, headers=with_cookie).status_code == 403
    assert bare.request("DELETE", path, headers=with_cookie | {"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/dependencies/stream", "/ops/stream"])
def test_an_open_stream_holds_no_restart(platform, path):
    """Somebody watches while ops is restarted: it is back long before a drain's grace is over."""
    ops = platform.ops()
    with ops.stream("GET", path) as stream:
        lines = stream.iter_lines()
        assert "snapshot" in next(lines)
        began = time.monotonic()
        platform.cli("service", "restart", "ops")
        assert time.monotonic() - began < 8
