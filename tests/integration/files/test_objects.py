"""The object store on a real folder: whole objects or none."""

import asyncio

import pytest

from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.resilience import CircuitState, Policy, PolicySettings
from services.files.exports.objects import PART_BYTES, PIECE_BYTES_MAX, ObjectStore, classify

pytestmark = pytest.mark.capability(36)


@pytest.fixture
def policy():
    return Policy(PolicySettings(caller="files", dependency="objects", calls_min=2), classify=classify)


@pytest.fixture
def store(tmp_path, policy):
    return ObjectStore((tmp_path / "objects").as_uri(), policy)


def found(tmp_path):
    """Every file of the folder."""
    return sorted(str(path.relative_to(tmp_path / "objects")) for path in tmp_path.rglob("*") if path.is_file())


async def read(store, key, offset, length):
    """The pieces of an object."""
    return [piece async for piece in store.read(key, offset, length)]


async def test_an_object_appears_when_it_is_whole(store, tmp_path):
    """While it is written nobody can read it; afterwards all of it is there."""
    content = bytes(range(256)) * 4 * 1024 * 10
    async with store.writing("exports/a/w.xlsx") as write:
        for start in range(0, len(content), 100_000):
            await write(content[start : start + 100_000])
        with pytest.raises(NotFoundError):
            await read(store, "exports/a/w.xlsx", 0, 10)
    pieces = await read(store, "exports/a/w.xlsx", 0, len(content))
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= PIECE_BYTES_MAX
    assert b"".join(await read(store, "exports/a/w.xlsx", 1_000, 5)) == content[1_000:1_005]
    assert found(tmp_path) == ["exports/a/w.xlsx"]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_failed_upload_leaves_nothing(store, tmp_path, error):
    """Whatever ends the block early, no object and no part of one remains."""
    with pytest.raises(error):
        async with store.writing("exports/a/w.xlsx") as write:
            await write(b"x" * (PART_BYTES + 1))
            raise error
    assert found(tmp_path) == []


async def test_clearing_a_folder_takes_unfinished_uploads_along(store, tmp_path):
    """What a killed worker left goes with its job, and nothing else does."""
    for name in ("a/w.xlsx", "ab/w.xlsx"):
        async with store.writing(f"exports/{name}") as write:
            await write(b"x")
    (tmp_path / "objects/exports/a/dead.xlsx#1").write_bytes(b"half")
    await store.clear("exports/a")
    await store.clear("exports/never")
    assert found(tmp_path) == ["exports/ab/w.xlsx"]


async def test_deleting_twice_is_no_error(store, tmp_path):
    """An object that is gone is deleted already."""
    async with store.writing("k") as write:
        await write(b"x")
    await store.delete("k")
    await store.delete("k")
    assert found(tmp_path) == []


async def test_a_store_that_fails_opens_the_edge(store, tmp_path, policy):
    """Failures of the store are told as such and counted against it, and then it is left alone for a while."""
    (tmp_path / "objects/exports").write_text("a file where a folder should be")
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            async with store.writing("exports/a/w.xlsx") as write:
                await write(b"x")
        assert caught.value.dependency == "objects"
    assert policy.snapshot().state is CircuitState.OPEN
    with pytest.raises(UnavailableError) as caught:
        await read(store, "exports/a/w.xlsx", 0, 1)
    assert caught.value.dependency == "objects"


async def test_failures_of_others_do_not_count_against_the_store(store, policy):
    """Rows that stop coming, or come slowly, say nothing about the place they go to."""
    for _ in range(5):
        with pytest.raises(UnavailableError, match="leads"):
            async with store.writing("k"):
                raise UnavailableError("leads is out", dependency="leads")
        with pytest.raises(NotFoundError):
            await read(store, "nothing", 0, 1)
    assert policy.snapshot().state is CircuitState.CLOSED
