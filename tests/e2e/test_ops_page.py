"""The on-call's page in a real browser."""

import time
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.platform import eventually

CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
OPEN_WITHIN_MS = 15_000

pytestmark = pytest.mark.capability(38)


@contextmanager
def signed_in(platform, role="sre", **options):
    """The page of somebody who signed in; no script error and nothing from outside is allowed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_context(**({"viewport": {"width": 1366, "height": 900}} | options)).new_page()
        errors, outside = [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: request.url.startswith(platform.ready["ops"]) or outside.append(request.url))
        page.goto(f"{platform.ready['ops']}/ops")
        page.fill("textarea", platform.token(role, "anna"))
        page.click("button.primary")
        expect(page.locator("#edges tbody tr").first).to_be_visible(timeout=10_000)
        yield page
        browser.close()
        assert errors == []
        assert outside == []


def row(page, caller, dependency):
    """The row of an edge."""
    return page.locator("#edges tbody tr", has_text=f"{caller} → {dependency}")


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
        expect(page.locator("#edges tbody tr")).to_have_count(len(pairs))
        for caller, dependency in pairs:
            expect(row(page, caller, dependency)).to_have_count(1)
        expect(page.locator("#freshness")).to_contain_text("as of")


@pytest.mark.capability(36, 37)
def test_a_breaker_is_seen_to_open_and_to_close(platform):
    """files is stopped: the row turns to open and comes first; files is back: it closes by itself."""
    with signed_in(platform) as page:
        platform.cli("service", "stop", "files")
        try:
            open_the_circuit(platform)
            badge = row(page, "gateway", "files").locator(".badge")
            expect(badge).to_contain_text("open", timeout=OPEN_WITHIN_MS)
            expect(page.locator("#edges tbody tr").first).to_contain_text("→ files")
            expect(page.locator("#verdict")).to_contain_text("not closed")
            expect(page.locator("#incidents")).to_contain_text("files is failing")
            expect(page.locator("#timeline")).to_contain_text("gateway → files: closed → open")
        finally:
            platform.cli("service", "start", "files")
        api = platform.api()

        def closed():
            api.post("/v1/exports", json={"dataset": "leads", "format": "csv"})
            page.wait_for_timeout(100)
            return "closed" in badge.inner_text()

        eventually("the circuit to close on the page", closed, within_s=60, every_s=0.2)
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
        expect(page.locator("#timeline")).to_contain_text("by anna")
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
        assert "reset, 50.0 %" in line.locator(".badge").get_attribute("title")
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


def test_a_stranger_sees_the_way_in_only(platform):
    """Without a session the page is the sign-in, the data is 401, and a wrong token says so."""
    stranger = platform.ops()
    assert stranger.get("/v1/dependencies", headers={"authorization": ""}).status_code == 401
    assert stranger.get("/v1/dependencies/stream", headers={"authorization": ""}).status_code == 401
    answer = stranger.get("/ops", headers={"authorization": ""})
    assert "Sign in" in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    refused = stranger.post("/ops/session", headers={"authorization": "Bearer nonsense"})
    assert refused.status_code == 401


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


def test_an_open_stream_holds_no_restart(platform):
    """Somebody watches while ops is restarted: it is back long before a drain's grace is over."""
    ops = platform.ops()
    with ops.stream("GET", "/v1/dependencies/stream") as stream:
        lines = stream.iter_lines()
        assert "snapshot" in next(lines)
        began = time.monotonic()
        platform.cli("service", "restart", "ops")
        assert time.monotonic() - began < 8
