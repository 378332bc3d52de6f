"""Callers that go on calling while a test looks at something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.support.platform import Platform, eventually


@contextmanager
def calling(*calls: Callable[[], Any], every_s: float = 0.1) -> Iterator[None]:
    """Makes the calls one after the other, again and again, for the time of a block. Nobody answering ends nothing."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(every_s):
            for call in calls:
                try:
                    call()
                except (httpx2.TransportError, ValueError, KeyError):
                    continue

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def business(platform: Platform) -> list[Callable[[], Any]]:
    """What people do all day: a lead is taken in, its customer read, the inbox looked at; each asks another service."""
    api = platform.api()
    lead = {"name": "王小明", "phone": "13800138000", "source": "官网"}
    # What was broken by the test before may be healing.
    first = eventually("a lead to be taken in", lambda: api.post("/v1/leads", json=lead).json().get("customer_id"))
    return [
        lambda: api.post("/v1/leads", json=lead),
        lambda: api.get(f"/v1/customers/{first}"),
        lambda: api.get("/v1/notifications"),
    ]
