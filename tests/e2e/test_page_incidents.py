"""An incident on the page: handed over, reported, its playbook pressed; and every link that the page has by then."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.support.browser import signed_in
from tests.support.calling import calling

SEEN_WITHIN_MS = 60_000
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
VIEWS = ("", "?view=graph&ops=1", "?view=timeline", "?view=waiting")
MOVE = """(href) => {
    history.pushState(null, "", href);
    dispatchEvent(new PopStateEvent("popstate"));
}"""
LINKS = """() => [...document.querySelectorAll("a[href]:not([download])")].filter((link) => link.checkVisibility())
    .map((link) => link.getAttribute("href")).filter((href) => !href.startsWith("#"))"""

# What waits for seconds never comes to pass: playbooks are not asked for again, and no button appears for want of an answer.
# What comes to stand first is written down: [the alert the incident is for, the first button's words].
WITHOUT_WAITING = """
    for (const name of ["setInterval", "setTimeout"]) {
        const real = globalThis[name];
        globalThis[name] = (act, ms, ...rest) => (ms >= 2000 ? 0 : real(act, ms, ...rest));
    }
    globalThis.stoodFirst = [];
    new MutationObserver(() => {
        for (const first of document.querySelectorAll("#incidents .incident .do > :first-child")) {
            const card = first.closest(".incident");
            if (card.querySelector("h3").textContent.includes("notify")) {
                stoodFirst.push([card.dataset.alert, first.textContent]);
            }
        }
    }).observe(document, { subtree: true, childList: true });
"""

pytestmark = [pytest.mark.capability(37, 38), pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def without_notify(platform):
    """notify is down and asked for, until the module is done with it."""
    api = platform.api()
    platform.cli("service", "stop", "notify")
    try:
        with calling(lambda: api.get("/v1/notifications")):
            yield platform
    finally:
        platform.cli("service", "start", "notify")


def card(page):
    """The incident of notify."""
    return page.locator(".incident", has=page.locator("h3", has_text="notify"))


def test_the_playbook_that_fits_stands_first_from_the_first_moment(without_notify):
    """No other button was ever there to be pressed before it, and it did not take a second question to know."""
    without_notify.cli("service", "stop", "notify", check=False)
    with signed_in(without_notify) as page:
        page.add_init_script(WITHOUT_WAITING)
        page.reload()
        expect(card(page).locator(".do > *").first).to_contain_text("▶", timeout=SEEN_WITHIN_MS)
        stood = page.evaluate("stoodFirst")
        down = {words for alert, words in stood if alert == "BreakwaterDependencyDown"}
        assert down, stood
        assert all(words.startswith("▶") for words in down), stood


def test_an_incident_is_handed_over_and_reported_and_its_playbook_pressed(without_notify):
    """Whose it is stands on the card, the report has it and can be saved; the playbook is previewed, run and verified."""
    with signed_in(without_notify, accept_downloads=True) as page:
        mine = card(page)
        play = mine.get_by_role("button", name="▶")
        expect(play).to_be_visible(timeout=SEEN_WITHIN_MS)
        mine.get_by_role("button", name="Hand over").click()
        page.fill("#hand-over input[name=to]", "boris")
        page.fill("#hand-over input[name=note]", "it is a rehearsal | of the page")
        page.locator("#hand-over").get_by_role("button", name="Hand over").click()
        expect(page.locator("#hand-over")).to_be_hidden()
        expect(mine).to_contain_text("In hand: boris", timeout=SEEN_WITHIN_MS)
        mine.get_by_role("link", name="Report").click()
        expect(page.locator("#report")).to_contain_text(
            "anna handed over to boris: it is a rehearsal | of the page", timeout=SEEN_WITHIN_MS
        )
        with page.expect_download() as saved:
            page.click("#report-save")
        assert saved.value.path().read_text().startswith(f"# {page.url.split('name=')[1]}: ")
        play.click()
        expect(page.locator("#playbook-lines")).to_contain_text("restart notify", timeout=SEEN_WITHIN_MS)
        page.locator("#playbook").get_by_role("button", name="Run it").click()
        expect(page.locator("#playbook-outcome")).to_have_text("✓ Done and verified", timeout=SEEN_WITHIN_MS * 2)
        page.locator("#playbook").get_by_role("button", name="Close").click()
        page.keyboard.press("3")
        expect(page.locator("#timeline")).to_contain_text("playbook notify-hangs done", timeout=SEEN_WITHIN_MS)


def test_every_link_of_the_page_resolves(without_notify):
    """Each leads to what it names: an edge that is known, a runbook that is there, a report, or a file that is served."""
    with signed_in(without_notify) as page:
        expect(card(page)).to_be_visible(timeout=SEEN_WITHIN_MS)
        found, seen = [f"/ops{view}" for view in VIEWS], set()
        found += [f"/ops?view=runbook&name={path.stem}" for path in RUNBOOKS.glob("Breakwater*.md")]
        while found:
            href = found.pop()
            if href in seen:
                continue
            seen.add(href)
            assert href.startswith("/ops"), f"{href} leads out of the page"
            page.evaluate(MOVE, href)
            place = {name: values[0] for name, values in parse_qs(urlsplit(href).query).items()}
            view = place.get("view", "edges")
            expect(page.locator(f"#view-{view}"), href).to_be_visible()
            arrived(page, view, place, href)
            found += [each for each in page.evaluate(LINKS) if each not in seen]
        walked = {parse_qs(urlsplit(href).query).get("view", ["edges"])[0] for href in seen}
        assert {"edges", "edge", "graph", "timeline", "waiting", "runbook", "report"} <= walked


def arrived(page, view, place, href):
    """What the link names is shown, not the words for what is missing."""
    if view == "edge":
        title = page.locator("#detail-title")
        expect(title, href).to_have_text(f"{place['caller']} → {place['dependency']}")
        expect(page.locator("#detail-now"), href).to_be_visible(timeout=SEEN_WITHIN_MS)
    if view == "runbook":
        expect(page.locator("#runbook h2"), href).to_contain_text(place["name"], timeout=SEEN_WITHIN_MS)
        expect(page.locator("#runbook"), href).not_to_contain_text("There is no such runbook")
    if view == "report":
        expect(page.locator("#report-title"), href).to_contain_text(place["name"])
        expect(page.locator("#report th").first, href).to_be_visible(timeout=SEEN_WITHIN_MS)
