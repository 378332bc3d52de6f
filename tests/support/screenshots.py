"""`make screenshots`: boards, and the page in calm and in an outage; phone, dark and light, both languages; docs/screenshots/.

Starts a platform of its own with sample data, asks it for what people ask for, stops `files`, and looks.
"""

import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.support.boards import lay_team
from tests.support.browser import browser, sign_in
from tests.support.platform import Platform, eventually, running

PLACE = Path(__file__).parents[2] / "docs" / "screenshots"
DESK = {"viewport": {"width": 1366, "height": 768}}
PHONE = {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2}
EDGE = "?view=edge&caller=gateway&dependency=files"
CALM: dict[str, tuple[str, dict[str, Any]]] = {
    "calm": ("", DESK),
    "calm-zh-dark": ("", {**DESK, "locale": "zh-CN", "color_scheme": "dark"}),
}
OUTAGE: dict[str, tuple[str, dict[str, Any]]] = {
    "outage": ("", DESK),
    "outage-edge": (EDGE, DESK),
    "outage-graph-dark": ("?view=graph", {**DESK, "color_scheme": "dark"}),
    "outage-zh": ("", {**DESK, "locale": "zh-CN"}),
    "outage-phone": ("", PHONE),
    "outage-phone-zh-dark": ("", {**PHONE, "locale": "zh-CN", "color_scheme": "dark"}),
}
BOARDS: dict[str, tuple[str, dict[str, Any]]] = {
    "boards": ("", {**DESK, "locale": "zh-CN"}),
    "boards-dark-en": ("", {**DESK, "color_scheme": "dark"}),
    "boards-personal": ("?view=personal&person_id=east-1", {**DESK, "locale": "zh-CN"}),
    "boards-phone": ("", {**PHONE, "locale": "zh-CN"}),
}


def traffic(platform: Platform) -> None:
    """What people ask for, once."""
    api = platform.api()
    api.get("/v1/leads")
    api.get("/v1/notifications")
    api.post("/v1/exports", json={"dataset": "leads", "format": "csv"})


def is_open(platform: Platform) -> bool:
    """Whether the circuit to files is open and the incident is there, asking on until it is."""
    traffic(platform)
    found = platform.ops().get("/v1/dependencies?caller=gateway&dependency=files").json()
    return bool(found["incidents"]) and found["edges"][0]["state"] == "open"


def look(platform: Platform, shots: dict[str, tuple[str, dict[str, Any]]]) -> None:
    """A picture of each."""
    with browser() as chromium:
        for name, (place, options) in shots.items():
            page: Page = chromium.new_context(**options, reduced_motion="reduce").new_page()
            sign_in(page, platform, place=place)
            expect(page.locator("main section:not([hidden]) h2:visible").first).not_to_be_empty()
            if place == EDGE:
                expect(page.locator("#detail-charts svg")).to_have_count(3)
            for _ in range(5):  # some seconds of traffic, for the small charts
                traffic(platform)
                page.wait_for_timeout(600)
            page.screenshot(path=PLACE / f"{name}.png")
            page.context.close()


def look_at_boards() -> None:
    """A picture of each board, of two teams with some days of work behind them."""
    with tempfile.TemporaryDirectory() as state, running(Path(state)) as platform:
        for team_id, name, leads, seed in (("east", "华东一部", 90, 3), ("south", "华南二部", 60, 4)):
            lay_team(platform, team_id, name, leads=leads, seed=seed)
        with browser() as chromium:
            for name, (place, options) in BOARDS.items():
                page: Page = chromium.new_context(**options, reduced_motion="reduce").new_page()
                page.goto(f"{platform.ready['gateway']}/boards{place}")
                page.fill("textarea", platform.token("manager", "east-6"))
                page.click("button.primary")
                expect(page.locator("#board section").first).to_be_visible()
                page.screenshot(path=PLACE / f"{name}.png", full_page="phone" not in name)
                page.context.close()


def main() -> None:
    """Writes every picture."""
    PLACE.mkdir(exist_ok=True)
    look_at_boards()
    with tempfile.TemporaryDirectory() as state, running(Path(state), "--seed", "1") as platform:
        for _ in range(30):
            traffic(platform)
        look(platform, CALM)
        platform.cli("service", "stop", "files")
        eventually("the circuit to files to open", lambda: is_open(platform), within_s=60)
        look(platform, OUTAGE)


if __name__ == "__main__":
    main()
