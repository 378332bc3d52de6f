"""Secrets that wait in a queue: sealed for one record, opened by who has the key, worth nothing otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.chassis.sealing import Seals
from breakwater.chassis.settings import SecretFileError

pytestmark = pytest.mark.capability(36)

KEY, OTHER = bytes(range(32)), bytes(range(100, 132))


@pytest.fixture
def key_file(tmp_path):
    """A key in a file of its own."""

    def write(key, mode=0o600):
        path = tmp_path / f"{key[:4].hex()}.key"
        path.write_bytes(key)
        path.chmod(mode)
        return path

    return write


@given(secret=st.text(st.characters(codec="utf-8"), max_size=300), record=st.text(st.characters(codec="utf-8")))
def test_what_is_sealed_for_a_record_is_opened_for_it(secret, record):
    """Every text comes back, and does not stand in what is kept."""
    sealed = Seals(KEY).seal(secret, record)
    assert Seals(KEY).open(sealed, record) == secret
    assert len(secret) < 4 or secret.encode() not in sealed


def test_it_cannot_be_moved_to_another_record():
    """Whoever copies it into a row of their own learns nothing."""
    assert Seals(KEY).open(Seals(KEY).seal("correct horse", "export-1"), "export-2") is None


@pytest.mark.parametrize("place", [0, 1, 12, 13, 40, -1])
def test_a_changed_one_is_not_opened(place):
    """One bit of version, nonce, content or tag."""
    sealed = bytearray(Seals(KEY).seal("correct horse", "export-1"))
    sealed[place] ^= 1
    assert Seals(KEY).open(bytes(sealed), "export-1") is None


@pytest.mark.parametrize("rubbish", [b"", b"\x01", b"\x01" + bytes(5), b"\x01" + bytes(12), b"\x02" + bytes(200)])
def test_what_was_never_sealed_is_not_opened(rubbish):
    """However short or long."""
    assert Seals(KEY).open(rubbish, "export-1") is None


def test_the_key_before_opens_until_it_is_forgotten():
    """A change of the key loses nothing that waits: new ones are sealed with the new key."""
    old = Seals(KEY).seal("correct horse", "export-1")
    between, after = Seals(OTHER, KEY), Seals(OTHER)
    assert between.open(old, "export-1") == "correct horse"
    assert after.open(between.seal("battery", "export-1"), "export-1") == "battery"
    assert after.open(old, "export-1") is None


def test_its_length_tells_little_and_no_two_are_alike():
    """Passwords of the usual lengths are equally long, and the same one differs each time."""
    sealed = [Seals(KEY).seal("x" * length, "export-1") for length in (8, 8, 20, 100)]
    assert len({len(each) for each in sealed}) == 1
    assert len(set(sealed)) == 4


def test_a_secret_past_its_limit_is_refused():
    """4 KiB pass, one byte more does not."""
    assert Seals(KEY).open(Seals(KEY).seal("x" * 4096, "e"), "e") == "x" * 4096
    with pytest.raises(ValueError, match="4096"):
        Seals(KEY).seal("x" * 4097, "e")


@pytest.mark.parametrize("key", [KEY[:31], KEY + b"x", b"k" * 32, b"0123456789" + b"0" * 22])
def test_a_bad_key_stops_the_start_and_is_not_told(key_file, key):
    """Too short, too long, or plainly not random; the message names the file."""
    path = key_file(key)
    with pytest.raises(SecretFileError, match=str(path)) as refused:
        Seals.from_files(path, None)
    assert key.decode() not in str(refused.value)
    with pytest.raises(SecretFileError, match=str(path)):
        Seals.from_files(key_file(OTHER), path)


def test_a_key_that_others_may_read_stops_the_start(key_file):
    """As every secret's file."""
    with pytest.raises(SecretFileError, match="0600"):
        Seals.from_files(key_file(KEY, 0o644), None)
    assert Seals.from_files(key_file(OTHER), None).open(Seals(OTHER).seal("x", "e"), "e") == "x"
