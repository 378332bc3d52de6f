"""The object store on a real folder and on a real S3 server: whole objects or none."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from breakwater.chassis.errors import NotFoundError, UnavailableError
from breakwater.resilience import CircuitState, Policy, PolicySettings
from services.files.exports.objects import PART_BYTES, PIECE_BYTES_MAX, ObjectStore, classify
from tests.support.s3 import Bucket, new_bucket

pytestmark = pytest.mark.capability(36)


@pytest.fixture
def policy():
    return Policy(PolicySettings(caller="files", dependency="objects", calls_min=2), classify=classify)


@dataclass
class Folder:
    """The default: a folder of this machine."""

    path: Path

    def store(self, policy):
        return ObjectStore(self.path.as_uri(), policy)

    def found(self):
        """Every file of the folder, parts of uploads included."""
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())


@dataclass
class S3:
    """A bucket of a real server process."""

    bucket: Bucket

    def store(self, policy):
        return ObjectStore(self.bucket.url, policy, self.bucket.options)

    def found(self):
        """Every object, and every upload that was neither ended nor given up."""
        return self.bucket.objects() + self.bucket.unfinished()


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path):
    """Where objects are kept."""
    if request.param == "folder":
        return Folder(tmp_path / "objects")
    return S3(new_bucket(request.getfixturevalue("s3_server"), f"b{uuid4().hex}"))


@pytest.fixture
def store(place, policy):
    return place.store(policy)


async def read(store, key, offset, length):
    """The pieces of an object."""
    return [piece async for piece in store.read(key, offset, length)]


async def test_an_object_appears_when_it_is_whole(store, place):
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
    assert place.found() == ["exports/a/w.xlsx"]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_failed_upload_leaves_nothing(store, place, error):
    """Whatever ends the block early, no object and no part of one remains."""
    with pytest.raises(error):
        async with store.writing("exports/a/w.xlsx") as write:
            await write(b"x" * (PART_BYTES + 1))
            raise error
    assert place.found() == []


async def test_clearing_a_folder_takes_unfinished_uploads_along(store, place):
    """What a killed worker left goes with its job, and nothing else does; a bucket's own rule ends uploads."""
    for name in ("a/w.xlsx", "ab/w.xlsx"):
        async with store.writing(f"exports/{name}") as write:
            await write(b"x")
    if isinstance(place, Folder):
        (place.path / "exports/a/dead.xlsx#1").write_bytes(b"half")
    await store.clear("exports/a")
    await store.clear("exports/never")
    assert place.found() == ["exports/ab/w.xlsx"]


async def test_deleting_twice_is_no_error(store, place):
    """An object that is gone is deleted already."""
    async with store.writing("k") as write:
        await write(b"x")
    await store.delete("k")
    await store.delete("k")
    assert place.found() == []


async def test_a_store_that_fails_opens_the_edge(place, store, policy):
    """Failures of the store are told as such and counted against it, and then it is left alone for a while."""
    if isinstance(place, Folder):
        (place.path / "exports").write_text("a file where a folder should be")
    else:
        place.bucket.client.delete(f"/{place.bucket.name}").raise_for_status()
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
