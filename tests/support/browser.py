"""The on-call's page in a real browser, signed in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.support.platform import Platform

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
TALL_PX = 2_600
"""Rows far from the window are not in the document: below many incidents every edge of a platform is still near."""
FIRST_ROW_WITHIN_MS = 15_000
NO_ANSWER = "Failed to load resource"
"""What Chromium writes to its console for an answer that is no success: the page says it in its own words."""


@contextmanager
def browser() -> Iterator[Any]:
    """A Chromium of its own."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        try:
            yield launched
        finally:
            launched.close()


@contextmanager
def signed_in(platform: Platform, role: str = "sre", place: str = "", **options: Any) -> Iterator[Page]:
    """The page at `place` (`?view=graph`) for somebody who signed in; no script error and nothing from outside is allowed."""
    with browser() as chromium:
        page = chromium.new_context(
            **({"viewport": {"width": 1366, "height": TALL_PX}, "reduced_motion": "reduce"} | options)
        ).new_page()
        errors: list[str] = []
        outside: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console", lambda said: said.type == "error" and NO_ANSWER not in said.text and errors.append(said.text)
        )
        page.on("request", lambda request: request.url.startswith(platform.ready["ops"]) or outside.append(request.url))
        sign_in(page, platform, role, place)
        yield page
        assert errors == []
        assert outside == []


def sign_in(page: Page, platform: Platform, role: str = "sre", place: str = "") -> None:
    """Trades a token for a session on the page, which then shows `place`, with figures."""
    page.goto(f"{platform.ready['ops']}/ops{place}")
    page.fill("textarea", platform.token(role, "anna"))
    page.click("button.primary")
    expect(page.locator("#freshness")).to_contain_text(" s ", timeout=FIRST_ROW_WITHIN_MS)


def row(page: Page, caller: str, dependency: str) -> Locator:
    """The row of an edge."""
    return page.locator("#edges-body .row", has_text=f"{caller} → {dependency}")
