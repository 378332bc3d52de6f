"""The page while what the platform stands on is out."""

import pytest
from playwright.sync_api import expect

from tests.support.browser import row, signed_in
from tests.support.platform import eventually

SEEN_WITHIN_MS = 45_000
BACK_WITHIN_S = 90

pytestmark = [pytest.mark.capability(38), pytest.mark.timeout(400)]


def all_heard(platform):
    """Whether every edge is told of again."""
    return not any(edge["stale"] for edge in platform.ops().get("/v1/dependencies").json()["edges"])


def test_the_page_works_without_nats_without_postgres_and_without_the_gateway(breakable):
    """Each is out in turn: the page opens anew, stays fresh, shows what is silent, and lays and lifts an override."""
    with signed_in(breakable) as page:
        line = row(page, "leads", "nats")
        for part in ("nats", "postgres", "gateway"):
            breakable.cli("service", "stop", part)
            try:
                page.reload()
                expect(line).to_be_visible(timeout=SEEN_WITHIN_MS)
                if part == "gateway":
                    expect(row(page, "gateway", "leads").locator(".badge")).to_contain_text(
                        "unknown", timeout=SEEN_WITHIN_MS
                    )
                line.get_by_role("button").click()
                page.fill("input[name=reason]", f"{part} is out")
                page.get_by_role("button", name="Set the override").click()
                expect(line.locator(".badge")).to_contain_text("fallback", timeout=SEEN_WITHIN_MS)
                line.get_by_role("button", name="Lift").click()
                expect(line.locator(".badge")).not_to_contain_text("fallback", timeout=SEEN_WITHIN_MS)
                expect(line.locator(".badge")).not_to_contain_text("unknown")
                expect(page.locator("#freshness")).not_to_have_class("late")
            finally:
                breakable.cli("service", "start", part)
            eventually(f"every edge to be heard with {part} back", lambda: all_heard(breakable), within_s=BACK_WITHIN_S)
