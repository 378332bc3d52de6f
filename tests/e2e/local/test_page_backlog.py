"""Dead letters on the page."""

import asyncio

import pytest
from playwright.sync_api import expect

from tests.e2e.local.test_oncall import publish_poison
from tests.support.browser import signed_in

SEEN_WITHIN_MS = 45_000

pytestmark = pytest.mark.capability(38)


def test_dead_letters_are_replayed_from_the_page(breakable):
    """They are listed with their reason; a replay says so, takes the letter away and stands on the timeline."""
    asyncio.run(publish_poison(breakable))
    with signed_in(breakable, "oncall", place="?view=waiting") as page:
        replay = page.locator("#dead-letters").get_by_role("button").first
        expect(replay).to_be_visible(timeout=SEEN_WITHIN_MS)
        expect(page.locator("#dead-letters")).to_contain_text("LeadAssigned")
        name = replay.get_attribute("aria-label")
        replay.click()
        expect(page.locator("#said")).to_contain_text("replayed")
        page.keyboard.press("3")
        expect(page.locator("#timeline")).to_contain_text(f"dead letter {name.split()[-1]} of")
